__all__ = ["Error", "__version__"]

__version__: str

class Error(Exception):
    """A storage operation failed; str(error) says what, on which object, and what to do about it."""

    # The name of SM's error, as in XE_SR_ERRORCODES.xml: "VDIInUse", "SRNoSpace", ...
    key: str
    # The errno of the call that failed, positive, or None.
    errno: int | None
