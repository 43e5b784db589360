"""The query language of `get_all_records_where`.

    expression = field "name" = "value" | field "name" != "value" | true | false
               | not expression | ( expression ) | expression and|or expression

As in xapi, words need no blank between them: sm sends `"…" andfield "host" = "…"`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from lab.xapi.errors import ApiError

Predicate = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(
    r"""\s*(?:(?P<word>field|and|or|not|true|false)|(?P<mark>!=|=|\(|\))"""
    r"""|"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)')"""
)


def as_text(value: Any) -> str:
    """A field's value as the query language compares it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict) and not value:
        return "()"
    return str(value)


def compile_query(text: str) -> Predicate:
    """Compile a query to a predicate on a record; INVALID_VALUE if it cannot be parsed."""
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._tokens()
        self.at = 0

    def _tokens(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        at = 0
        text = self.text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise self._error(f"unexpected {text[at:]!r}")
            at = match.end()
            kind = match.lastgroup or ""
            value = match.group(kind)
            if kind in ("double", "single"):
                found.append(("literal", re.sub(r"\\(.)", r"\1", value)))
            else:
                found.append((value, value))
        return found

    def _error(self, why: str) -> ApiError:
        return ApiError("INVALID_VALUE", self.text, why)

    def _peek(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def _take(self, *kinds: str) -> str:
        if self._peek() not in kinds:
            raise self._error(f"expected {' or '.join(kinds)} at word {self.at + 1}")
        self.at += 1
        return self.tokens[self.at - 1][1]

    def parse(self) -> Predicate:
        predicate = self._either()
        if self.at != len(self.tokens):
            raise self._error(f"unexpected {self._peek()} at word {self.at + 1}")
        return predicate

    def _either(self) -> Predicate:
        left = self._both()
        while self._peek() == "or":
            self._take("or")
            left = _or(left, self._both())
        return left

    def _both(self) -> Predicate:
        left = self._one()
        while self._peek() == "and":
            self._take("and")
            left = _and(left, self._one())
        return left

    def _one(self) -> Predicate:
        head = self._take("field", "true", "false", "not", "(")
        if head in ("true", "false"):
            return lambda _record: head == "true"
        if head == "not":
            inner = self._one()
            return lambda record: not inner(record)
        if head == "(":
            inner = self._either()
            self._take(")")
            return inner
        name = self._take("literal")
        equal = self._take("=", "!=") == "="
        value = self._take("literal")
        # Queries name a namespaced field as xapi's tables do: name__label is a record's name_label.
        field = name.replace("__", "_")

        def compare(record: Mapping[str, Any]) -> bool:
            if field not in record:
                raise self._error(f"no field {name}")
            return (as_text(record[field]) == value) is equal

        return compare


def _or(left: Predicate, right: Predicate) -> Predicate:
    return lambda record: left(record) or right(record)


def _and(left: Predicate, right: Predicate) -> Predicate:
    return lambda record: left(record) and right(record)
