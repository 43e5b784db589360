"""Checks that the modules of a crate use each other in one direction only: `make lint`.

    python scripts/check_circles.py [--edges] DIRECTORY...

DIRECTORY is the `src` of a crate, `…/CRATE/src`. `--edges` also prints which module uses which. A module uses another

- by a path: `crate::record::Claim`, `super::claim`,
- by a method of a type of this crate, which `use` lines do not show: `self.commit(…)` in an `impl` of the type,
  `self.journal().begin(…)` and `ceph_sr.commit(…)` by the name of the type in snake case.

Not counted: `mod`, and a `pub use` that gives names of a module's own directory to others; calls of methods of traits;
tests. A method is found by its name and the name of the value, not by its type: a value must have the name of its
type, or end with it (`own_catalogue`).

Prints each circle, with the uses that make it. The exit status is 1 if one is not in ALLOWED, or if ALLOWED has one
that does not exist.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

# Circles that stay: the crate, the modules, and why.
ALLOWED = [
    (
        "sr-ceph",
        {"memory", "memory/client", "memory/hosts", "memory/host_state"},
        "a model of one cluster and its hosts, whose state is behind one lock",
    ),
]

Edges = dict[tuple[str, str], set[str]]

_LITERALS = re.compile(
    r'//[^\n]*|/\*.*?\*/|r(#+)".*?"\1|b?"(?:[^"\\]|\\.)*"|b?\'(?:[^\'\\\n]|\\[^\n]{1,8}?)\'', re.DOTALL
)
_TESTS = re.compile(r"#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*mod\s+\w+\s*\{")
_REEXPORT = re.compile(r"\bpub(?:\([^)]*\))?\s+use\s+(?:self::)?(?!crate\b|super\b)[^;]*;")
_IMPL = re.compile(
    r"\bimpl\b(?:\s*<[^{;]*?>)?\s+(?P<trait>[\w:]+(?:<[^{;]*?>)?\s+for\s+)?(?P<type>[A-Za-z_][\w:]*)\s*(?:<[^{;]*?>)?\s*\{"
)
_FN = re.compile(r"\bfn\s+(\w+)")
_USE = re.compile(r"\buse\s+([^;]+);")
_PATH = re.compile(r"\b(crate|super|self)((?:::\s*(?:\w+))+)")
_ANY_PATH = re.compile(r"(?<![\w:])([a-z_]\w*)((?:::\s*\w+)+)")
_CALL = re.compile(r"\b(\w+)(?:\(\))?(?=\s*\.\s*(\w+)\s*(?:::<[^>]*>)?\()")


def code_of(text: str) -> str:
    """The text without comments, strings and tests."""
    text = _LITERALS.sub(lambda found: '""' if '"' in found[0] else " ", text)
    while found := _TESTS.search(text):
        text = text[: found.start()] + text[end_of_block(text, found.end()) :]
    return text


def end_of_block(text: str, start: int) -> int:
    """The end of the block whose content begins at `start`."""
    depth = 1
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return at + 1
    return len(text)


def impls(code: str) -> Iterator[tuple[str, str, bool]]:
    """Each `impl`: the type, the content, and whether it is of a trait."""
    for found in _IMPL.finditer(code):
        content = code[found.end() : end_of_block(code, found.end())]
        yield found["type"].split("::")[-1], content, bool(found["trait"])


def trees(text: str) -> Iterator[str]:
    """The paths of a `use` tree: `a::{b, c::d}` has `a::b` and `a::c::d`."""
    text = text.strip()
    opened = text.find("{")
    if opened < 0:
        yield text.split(" as ")[0].strip()
        return
    head, inner = text[:opened], text[opened + 1 : text.rindex("}")]
    depth, start = 0, 0
    for at, letter in enumerate(inner + ","):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            if part := inner[start:at].strip():
                yield from trees(head + part)
            start = at + 1


def snake(name: str) -> str:
    """`SnakeCase` as `snake_case`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Crate:
    """The modules of a crate, with their definitions."""

    def __init__(self, directory: Path) -> None:
        self.code = {name_of(file, directory): code_of(file.read_text()) for file in sorted(directory.rglob("*.rs"))}
        # Files that only `#[cfg(test)]` names, by `#[path]`, are named `…_tests.rs`.
        self.code = {name: code for name, code in self.code.items() if not name.endswith("_tests")}
        self.methods: dict[tuple[str, str], set[str]] = defaultdict(set)
        for name, code in self.code.items():
            for of, content, of_trait in impls(code):
                for method in [] if of_trait else _FN.findall(content):
                    self.methods[of, method].add(name)
        self.types = {snake(of): of for of, _ in self.methods}

    def edges(self) -> Edges:
        """Which module uses which other one, and which names of it."""
        edges: Edges = defaultdict(set)
        for name, code in self.code.items():
            for path in self.paths(name, code):
                target = self.module_of(path)
                if target and target != name:
                    edges[name, target].add("::".join(path))
            for of, method in self.calls(code):
                for target in self.methods.get((of, method), set()) - {name}:
                    edges[name, target].add(f"{of}.{method}()")
        return edges

    def paths(self, name: str, code: str) -> Iterator[list[str]]:
        """The paths from the root of the crate that a module names."""
        code = _REEXPORT.sub("", code)
        used = [self.from_root(name, path) for found in _USE.findall(code) for path in trees(found)]
        code = _USE.sub("", code)
        yield from used
        for found in _PATH.finditer(code):
            yield self.from_root(name, found[0])
        # `use crate::vdi;` and then `vdi::create::undo(…)`.
        modules = {path[-1]: path for path in used if "/".join(path) in self.code and path}
        here = name.split("/") if name else []
        for first, rest in _ANY_PATH.findall(code):
            path = modules.get(first) or ([*here, first] if "/".join([*here, first]) in self.code else None)
            if path:
                yield path + [part.strip() for part in rest.split("::")[1:]]

    def from_root(self, name: str, path: str) -> list[str]:
        """A path that a module names, from the root of the crate; empty if it is another crate's."""
        parts = [part.strip() for part in path.split("::")]
        here = [] if name == "" else name.split("/")
        if parts[0] == "crate":
            return parts[1:]
        if parts[0] == "self":
            parts = parts[1:]
        elif parts[0] != "super" and "/".join([*here, parts[0]]) not in self.code:
            return []
        while parts and parts[0] == "super":
            here, parts = here[:-1], parts[1:]
        return here + parts

    def module_of(self, path: list[str]) -> str | None:
        """The module of a path; `None` for the root of the crate."""
        while path and "/".join(path) not in self.code:
            path = path[:-1]
        return "/".join(path) if path else None

    def calls(self, code: str) -> Iterator[tuple[str, str]]:
        """The methods that are called on a value with the name of a type of this crate."""
        outside = code
        for of, content, _ in impls(code):
            outside = outside.replace(content, "")
            yield from self.calls_in(content, of)
        yield from self.calls_in(outside, "")

    def calls_in(self, code: str, own: str) -> Iterator[tuple[str, str]]:
        for value, method in _CALL.findall(code):
            if value == "self":
                yield own, method
                continue
            for name, of in self.types.items():
                if value == name or value.endswith(f"_{name}"):
                    yield of, method


def name_of(file: Path, directory: Path) -> str:
    """`vdi/create` for `vdi/create.rs`; nothing for `lib.rs`."""
    name = file.relative_to(directory).with_suffix("").as_posix()
    return "" if name == "lib" else name.removesuffix("/mod")


def circles(edges: Edges) -> list[list[str]]:
    """The groups of modules each of which uses all the others, directly or not."""
    uses: dict[str, set[str]] = defaultdict(set)
    for source, target in edges:
        if source:  # the root names every module
            uses[source].add(target)
    reach: dict[str, set[str]] = {}
    for start in list(uses):
        seen: set[str] = set()
        todo = list(uses[start])
        while todo:
            at = todo.pop()
            if at not in seen:
                seen.add(at)
                todo += uses.get(at, set())
        reach[start] = seen
    groups = {
        tuple(sorted(other for other in seen if start in reach.get(other, set())))
        for start, seen in reach.items()
        if start in seen
    }
    return [list(group) for group in sorted(groups)]


def main(arguments: list[str]) -> int:
    """Prints the circles of each crate. 1 if there is one."""
    found = False
    for directory in (Path(argument) for argument in arguments if not argument.startswith("-")):
        edges = Crate(directory).edges()
        if "--edges" in arguments:
            for (source, target), names in sorted(edges.items()):
                print(f"{source or 'lib'} -> {target}: {', '.join(sorted(names))}")
            of_methods = [names for names in edges.values() if any(name.endswith("()") for name in names)]
            print(f"{directory}: {len(edges)} edges, {len(of_methods)} of them by methods")
        allowed = [modules for crate, modules, _ in ALLOWED if crate == directory.absolute().parent.name]
        groups = circles(edges)
        for modules in allowed:
            if sorted(modules) not in groups:
                found = True
                print(f"{directory}: ALLOWED has a circle that is gone: {', '.join(sorted(modules))}")
        for group in groups:
            if set(group) in allowed:
                continue
            found = True
            print(f"{directory}: these modules use each other in a circle: {', '.join(group)}")
            for (source, target), names in sorted(edges.items()):
                if source in group and target in group:
                    print(f"    {source} -> {target}: {', '.join(sorted(names))}")
    return int(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
