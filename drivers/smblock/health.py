"""The state of this host's SRs, each looked at by a process of its own, at the same time and with one deadline."""

import collections
import time

from smblock._core import health_of
from smblock.child import Child
from smblock.hosts import bounded
from smblock.sm import util

LOOK_SECONDS = 60
CALLS_SECONDS = 20  # for each call of XAPI

# The SR as cli.srs.FoundSr, the core's JSON or "" if there is none, why there is none, and how long it took.
Seen = collections.namedtuple("Seen", "sr health error seconds")


def look_at(session, srs):
    """Returns what is seen of each SR. An SR that cannot be read does not hide the others."""
    began = time.monotonic()
    children = [(sr, Child("looking at SR %s" % sr.uuid, _work(session, sr), LOOK_SECONDS)) for sr in srs]
    return [_result(sr, child, began) for sr, child in children]


def _work(session, sr):
    def work():
        # The connection of the session belongs to the other process.
        with bounded(session, CALLS_SECONDS) as own:
            began = time.monotonic()
            return health_of(sr.open(lambda: own)), time.monotonic() - began

    return work


def _result(sr, child, began):
    try:
        health, seconds = child.result()
        return Seen(sr, health, "", seconds)
    except Exception as error:
        util.SMlog("SR %s: it cannot be looked at: %s" % (sr.uuid, error))
        return Seen(sr, "", str(error), time.monotonic() - began)
