"""What the SM drivers share: SM's own modules, wherever this XCP-ng keeps them, and its errors."""

import functools

try:  # sm 4: a package
    from sm import SR, VDI, SRCommand, blktap2
    from sm.core import util, xs_errors
except ImportError:  # sm 3, as in XCP-ng 8.3: modules beside the drivers
    import blktap2
    import SR
    import SRCommand
    import util
    import VDI
    import xs_errors

from smblock._core import Error

__all__ = ["DATAPATHS", "SR", "VDI", "SRCommand", "as_sm_error", "take_over", "util"]

# How this SM connects a disk: xapi gets a tapdisk's NBD socket and, up to SM 3, a block device too.
DATAPATHS = ("aio", "phy") if hasattr(blktap2.VDI, "BackendLink") else ("aio",)


def as_sm_error(method):
    """Lets an error of the core reach xapi under SM's name for it, with its text."""

    @functools.wraps(method)
    def wrapper(*args, **kwargs):
        try:
            return method(*args, **kwargs)
        except Error as error:
            raise xs_errors.XenError(error.key, opterr=str(error)) from error

    return wrapper


def take_over(target, attributes):
    """Puts what the core says about an SR or a VDI on SM's object for it."""
    for name, value in attributes.items():
        setattr(target, name, value)
    return target
