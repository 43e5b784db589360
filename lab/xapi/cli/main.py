"""The `xe` program: parse, call the xapi simulator of the file in SMBLOCK_LAB, print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.xapi.cli import commands
from lab.xapi.cli.arguments import parse
from lab.xapi.cli.failures import explain
from lab.xapi.cli.views import CliError
from lab.xapi.client import Session
from lab.xapi.errors import ApiError

LAB_FILE = "SMBLOCK_LAB"


@dataclass(frozen=True)
class Outcome:
    """The result of a command line for the shell."""

    status: int
    stdout: str = ""
    stderr: str = ""


def run(words: Sequence[str], lab_file: str) -> Outcome:
    """Run one command line against the xapi whose address is in `lab_file`."""
    try:
        args = parse(words)
        with Session(_address(lab_file)) as session:
            return Outcome(0, stdout=commands.run(session, args))
    except CliError as error:
        return Outcome(1, stderr=f"Error: {error}\n")
    except ApiError as error:
        return Outcome(1, stderr=explain(error))
    except OSError as error:
        return Outcome(1, stderr=f"Error: Connection refused (calling connect): {error}\n")


def main(words: Sequence[str]) -> int:
    """The program `xe`. Returns its exit status."""
    outcome = run(words, os.environ.get(LAB_FILE, ""))
    sys.stdout.write(outcome.stdout)
    sys.stderr.write(outcome.stderr)
    return outcome.status


def _address(path: str) -> str:
    if not path:
        raise CliError(f"no lab: {LAB_FILE} must name the file the lab wrote when it started")
    try:
        return str(json.loads(Path(path).read_text())["xapi"])
    except (OSError, ValueError, KeyError) as error:
        raise CliError(f"{LAB_FILE}={path}: cannot read the lab's address: {error}") from None
