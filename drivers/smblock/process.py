"""Which process has a number."""


def process_started(pid):
    """Returns the start time of a process in clock ticks since boot, or None if it does not run."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            fields = file.read().rpartition(")")[2].split()
        return None if fields[0] in ("Z", "X") else int(fields[19])
    except (FileNotFoundError, ProcessLookupError):
        return None
