"""Warns of an SR that only one host of the pool can use."""

from smblock._core import alarm_unless_shared
from smblock.checks import check_facts
from smblock.sm import util


def warn_unless_shared(sr):
    """Raises an alarm if an SR was created without shared=true in a pool of several hosts."""
    try:
        if not sr.session.xenapi.SR.get_shared(sr.sr_ref):
            alarm_unless_shared(sr.core, check_facts(sr.session, sr.uuid))
    except Exception:  # the SR was created, and must not fail for this
        util.logException("SR %s: warning that it is not shared" % sr.uuid)
