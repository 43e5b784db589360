"""What the commands print."""

import json
import sys
import time

from smblock.progress import one


class CliError(Exception):
    """A command failed; the text states why and how to fix it."""


def show(options, text, data):
    """Prints a result: as text, or as JSON."""
    if options.json:
        print(json.dumps(data, indent=2, sort_keys=True))
    elif text:
        print(text)
    return 0


def refuse(options, *lines):
    """Prints why a command is not done without --yes. Returns the exit status."""
    print("\n".join(["%s: %s" % (options.parser.prog, lines[0])] + list(lines[1:])))
    return 2


def table(rows):
    """Rows of texts as lines, with columns of equal width."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))] if rows else []
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def size(number):
    """A number of bytes for a person; "unknown" if it is None."""
    return "unknown" if number is None else one(number, "bytes")


def at(seconds):
    """A time, from seconds since 1970."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def is_terminal():
    return sys.stderr.isatty()
