"""Whether a command prints what a page shows, and the values of placeholders."""

from __future__ import annotations

import re

from tests.pages.blocks import PLACEHOLDER

_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ANY_LINES = r"(?:[^\n]*\n)*?"


class Values:
    """The values that the placeholders of a page have so far."""

    def __init__(self, given: dict[str, str] | None = None) -> None:
        self.known = dict(given or {})

    def fill(self, command: str) -> str:
        """A command with values for its placeholders; `LookupError` if one has no value yet."""

        def value(found: re.Match[str]) -> str:
            if found[0] not in self.known:
                raise LookupError(f"no output before this has shown {found[0]}")
            return self.known[found[0]]

        return PLACEHOLDER.sub(value, command)

    def match(self, expected: list[str], printed: str) -> bool:
        """Whether the lines are those that the page shows; learns the values of new placeholders."""
        names: dict[str, str] = {}
        pattern = "".join(self._line(line, names) for line in _trimmed(expected))
        lines = _trimmed([line.rstrip() for line in printed.splitlines()])
        found = re.fullmatch(pattern, "".join(f"{line}\n" for line in lines))
        if found is None:
            return False
        self.known |= {name: found[group] for name, group in names.items()}
        return True

    def _line(self, line: str, names: dict[str, str]) -> str:
        if line.strip() == "…":
            return _ANY_LINES
        pattern, end = "", 0
        for part in re.finditer(rf"…|{PLACEHOLDER.pattern}", line):
            pattern += re.escape(line[end : part.start()]) + self._part(part[0], names)
            end = part.end()
        return pattern + re.escape(line[end:]) + "\n"

    def _part(self, part: str, names: dict[str, str]) -> str:
        if part == "…":
            return r"[^\n]*"
        if part in self.known:
            return re.escape(self.known[part])
        if part in names:
            return f"(?P={names[part]})"
        names[part] = f"p{len(names)}"
        return f"(?P<{names[part]}>{_UUID})"


def _trimmed(lines: list[str]) -> list[str]:
    """Without empty lines at the end."""
    while lines and not lines[-1]:
        lines = lines[:-1]
    return lines
