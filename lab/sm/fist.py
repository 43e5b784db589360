"""Simulator of SM's fist points: places in the code where a file in /tmp makes a command fail."""

import os


class FistPoint:
    """The existing points; a driver may add its own to `points`."""

    def __init__(self, points, log):
        self.points = points
        self._log = log

    def activate_custom_fn(self, name, fn):
        if name not in self.points:
            self._log(f"Unknown fist point: {name}")
        elif os.path.exists(f"/tmp/fist_{name}"):
            self._log(f"Executing fist point {name}: starting ...")
            fn()
            self._log(f"Executing fist point {name}: done")
