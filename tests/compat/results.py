"""The results of the cells, kept in the cache from one run to the next."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from tests.compat.roots import compat_cache


@dataclass(frozen=True)
class Result:
    """The result of a cell.

    date       as YYYY-MM-DD
    outcome    passed, failed, or skipped (this machine lacks what it needs)
    text       the counts, or the reason
    failures   the tests that failed
    skips      the tests that were skipped, each with its reason
    versions   what was used, each with its full version
    """

    cell: str
    date: str
    outcome: str
    text: str
    failures: tuple[str, ...] = ()
    skips: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @classmethod
    def now(
        cls, cell: str, outcome: str, text: str, failures: tuple[str, ...] = (), skips: Mapping[str, str] | None = None
    ) -> Self:
        """A result with today's date."""
        return cls(cell, datetime.date.today().isoformat(), outcome, text, failures, skips or {})


def store(result: Result) -> None:
    """Store a result; it replaces the cell's earlier one."""
    directory = compat_cache() / "results"
    directory.mkdir(exist_ok=True)
    (directory / f"{result.cell}.json").write_text(json.dumps(dataclasses.asdict(result), indent=1))


def load() -> dict[str, Result]:
    """Every stored result, by the name of its cell."""
    found = {}
    for path in sorted((compat_cache() / "results").glob("*.json")):
        values = json.loads(path.read_text())
        found[values["cell"]] = Result(**{**values, "failures": tuple(values["failures"])})
    return found
