"""The `xe` program: parse, call the xapi stand-in that SMBLOCK_LAB leads to, print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.lab.xapi.cli import commands
from tests.lab.xapi.cli.arguments import parse
from tests.lab.xapi.cli.failures import explain
from tests.lab.xapi.cli.views import CliError
from tests.lab.xapi.client import Session
from tests.lab.xapi.errors import ApiError

LAB_FILE = "SMBLOCK_LAB"


def main(words: Sequence[str]) -> int:
    """Run one command line; returns xe's exit status."""
    try:
        args = parse(words)
        with Session(_address()) as session:
            sys.stdout.write(commands.run(session, args))
    except CliError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    except ApiError as error:
        sys.stderr.write(explain(error))
        return 1
    except OSError as error:
        sys.stderr.write(f"Error: Connection refused (calling connect): {error}\n")
        return 1
    return 0


def _address() -> str:
    path = os.environ.get(LAB_FILE)
    if not path:
        raise CliError(f"no lab: {LAB_FILE} must name the file the lab wrote when it started")
    try:
        return str(json.loads(Path(path).read_text())["xapi"])
    except (OSError, ValueError, KeyError) as error:
        raise CliError(f"{LAB_FILE}={path}: no lab's address there: {error}") from None
