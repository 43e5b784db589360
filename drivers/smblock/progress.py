"""The output of smblock reclaim."""

import sys
import time

# How often the line of a terminal changes, in seconds.
REFRESH_SECONDS = 0.5
# The states that change the line of a terminal, and its first word.
SHOWN = {"progress": "freeing", "counting": "counting"}


def print_state(state, image, text, out=None):
    print("%-8s %s: %s" % (state, image, text), file=out, flush=True)


class Progress:
    """Prints one line for each image that is done, failed or waits.

    On a terminal, one more line shows the progress of the current image, and is overwritten.
    """

    def __init__(self, out=None, clock=time.monotonic):
        self._out = out
        self.clock = clock
        self.image = None
        self.since = self.last = 0.0
        self.first = self.width = self.reports = 0

    @property
    def out(self):
        # The first connection to the cluster replaces sys.stdout.
        return self._out or sys.stdout

    def report(self, state, image, text, done, total):
        self.reports += state != "counting"
        if state not in SHOWN:
            self.end()
            self.image = None
            print_state(state, image, text, self.out)
        elif self.out.isatty():
            self._show(SHOWN[state], image, text, done, total)

    def _show(self, word, image, unit, done, total):
        now = self.clock()
        if image != self.image:
            self.image, self.since, self.first = image, now, done
        elif now - self.last < REFRESH_SECONDS:
            return
        self.last = now
        line = "%-8s %s: %s" % (word, image, self._describe(unit, done, total, now - self.since))
        self.out.write("\r" + line.ljust(self.width))
        self.out.flush()
        self.width = len(line)

    def _describe(self, unit, done, total, seconds):
        words = ["%d%%" % (done * 100 // max(total, 1)), amount(done, total, unit)]
        rate = (done - self.first) / seconds if seconds > 0 else 0
        if rate > 0:
            words.append("%s/s" % one(rate, unit))
            words.append("%s left" % duration((total - done) / rate))
        return ", ".join(words)

    def end(self):
        """Removes the line of a terminal."""
        if self.width:
            self.out.write("\r" + " " * self.width + "\r")
            self.width = 0


def one(number, unit):
    if unit != "bytes":
        return "%d %s" % (number, unit)
    for name in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return "%.4g %s" % (number, name)
        number /= 1024
    return "%.4g TiB" % number


def amount(done, total, unit):
    if unit == "bytes":
        return "%s of %s" % (one(done, unit), one(total, unit))
    return "%d of %d %s" % (done, total, unit)


def duration(seconds):
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return "%d h %d min" % (hours, minutes)
    return "%d min %d s" % (minutes, seconds) if minutes else "%d s" % seconds
