"""xapi's options, read from the files that xapi reads, with its own rules (xcp_service.ml, read_config_file).

First /etc/xapi.conf, then every file of /etc/xapi.conf.d by the bytes of its name, with any suffix. The last line
that sets an option wins. Text after # is a comment, also inside quotes. One pair of quotes around the whole value is
removed. A line that is no assignment is skipped.
"""

import collections
import os
import re

from smblock_setup import SM_HOME, SetupError, below

MAIN = "/etc/xapi.conf"
DIRECTORY = "/etc/xapi.conf.d"

Option = collections.namedtuple("Option", "value file line")
"""The bytes of a value; the file and the number of the line that set it."""

_ASSIGNMENT = re.compile(rb"([^=\\ \t]+)[\\ \t]*=[\\ \t]*(.*)", re.DOTALL)
# White space of a list: the lists of xapi's options end at any of these.
_WHITE = b" \t\n\v\f\r"


def files(root):
    """The files that xapi reads, in its order, as paths of the host."""
    found = [MAIN]
    try:
        names = os.listdir(os.fsencode(below(root, DIRECTORY)))
    except FileNotFoundError:
        names = []
    found += [os.path.join(DIRECTORY, os.fsdecode(name)) for name in sorted(names)]
    return [path for path in found if os.path.isfile(below(root, path))]


def option(root, key, paths=None):
    """The Option in force, or None if no file sets it. `paths` are the files to read, instead of all."""
    found = None
    for path in files(root) if paths is None else paths:
        if not os.path.isfile(below(root, path)):
            continue
        with open(below(root, path), "rb") as lines:
            for number, line in enumerate(lines.read().split(b"\n"), 1):
                assigned = assignment(line)
                if assigned and assigned[0] == key.encode():
                    found = Option(assigned[1], path, number)
    return found


def assignment(line):
    """The key and the value that xapi takes from a line, as bytes; None if the line sets nothing."""
    found = _ASSIGNMENT.search(line.split(b"#", 1)[0].rstrip(b" \t"))
    if found is None:
        return None
    key, value = found.groups()
    if len(value) >= 2 and value[:1] == value[-1:] and value[:1] in (b'"', b"'"):
        value = value[1:-1]
    return key, value


def fields(value):
    """The items of a list, as xapi splits it."""
    return [item for item in re.split(b"[" + _WHITE + b"]+", value) if item]


def sm_dir(root):
    """The directory in which xapi looks for drivers."""
    found = option(root, "sm-dir")
    if found is None or not found.value:
        return SM_HOME
    path = os.fsdecode(found.value)
    if not path.startswith("/"):
        text = "sm-dir is not an absolute path in xapi's configuration: %s (%s, line %d)"
        raise SetupError(text % (path, found.file, found.line))
    return path.rstrip("/") or "/"
