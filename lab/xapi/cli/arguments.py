"""The arguments of `xe`: a command, key=value words and flags."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lab.xapi.cli.views import CliError

_UNITS = {"": 0, "bytes": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}
_FLAGS = ("minimal", "force", "multiple")
_TRUE = ("true", "yes", "1", "t", "y")
_FALSE = ("false", "no", "0", "f", "n")


@dataclass(frozen=True)
class Arguments:
    """A parsed command line."""

    command: str
    values: dict[str, str]
    flags: frozenset[str]

    def need(self, key: str) -> str:
        """The value of a required parameter."""
        try:
            return self.values[key]
        except KeyError:
            raise CliError(f"Required parameter not found: {key}") from None

    def get(self, key: str, default: str = "") -> str:
        """The value of an optional parameter."""
        return self.values.get(key, default)

    def flag(self, key: str, default: bool = False) -> bool:
        """A parameter that is true or false."""
        value = self.values.get(key, "true" if default else "false").lower()
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
        raise CliError(f"Failed to parse parameter '{key}': expecting 'true' or 'false'")

    def map(self, name: str) -> dict[str, str]:
        """The parameters "name:key=value" as a map."""
        head = f"{name}:"
        return {key.removeprefix(head): value for key, value in self.values.items() if key.startswith(head)}


def parse(words: Sequence[str]) -> Arguments:
    """Split the words of a command line as xe does."""
    if not words:
        raise CliError("Usage: xe <command> [parameter=value ...]")
    values: dict[str, str] = {}
    flags: set[str] = set()
    for word in words[1:]:
        name = word.removeprefix("--")
        if word.startswith("--") and name in _FLAGS:
            flags.add(name)
            continue
        key, mark, value = word.partition("=")
        if not mark:
            raise CliError(f"Syntax error: {word}: expected parameter=value")
        values[key] = value
    return Arguments(words[0], values, frozenset(flags))


def size_in_bytes(typed: str) -> int:
    """A size as typed, "10GiB" or plain bytes."""
    match = re.fullmatch(r"(\d+)\s*([A-Za-z]*)", typed)
    if match is None or match.group(2) not in _UNITS:
        units = ", ".join(unit for unit in _UNITS if unit)
        raise CliError(f"Failed to parse size '{typed}': expecting a number and one of {units}")
    return int(match.group(1)) << _UNITS[match.group(2)]
