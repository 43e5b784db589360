"""Runs a command on a host of the lab: `host1 COMMAND` in the lab's shell, see `lab.shell`."""

from __future__ import annotations

import os
import sys
from multiprocessing.connection import Client


def main(host: str, *words: str) -> int:
    """A shell on the host reads the joined words, as with ssh. The command has no stdin."""
    if not words:
        print(f"usage: {host} COMMAND | --power-off | --power-on", file=sys.stderr)
        return 2
    with Client(os.environ["SMBLOCK_LAB_HOSTS"], "AF_UNIX") as connection:
        connection.send((host, " ".join(words)))
        status, stdout, stderr = connection.recv()
    sys.stdout.buffer.write(stdout)
    sys.stderr.buffer.write(stderr)
    return int(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
