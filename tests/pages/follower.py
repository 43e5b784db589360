"""Follows pages in the lab, each after the pages that it is based on."""

from __future__ import annotations

from pathlib import Path

from tests.pages.blocks import Block, Page, PageError, Step, read
from tests.pages.output import Values
from tests.pages.place import Place
from tests.rpm_packages import NEWER


class Follower:
    """Does what the pages of a directory show. `notes` are the blocks that are not run, with their reasons."""

    def __init__(self, directory: Path, place: Place, version: str) -> None:
        self._directory = directory
        self._place = place
        self._given = {"NEW-VERSION": NEWER, "OLD-VERSION": version}
        self._done: set[str] = set()
        self._begun: set[str] = set()

    def follow(self, name: str) -> None:
        """Follows a page once, after those that it names. `PageError` if something differs."""
        if name in self._done:
            return
        if name in self._begun:
            raise PageError(f"docs/user/{name}.md failed before, or is after itself")
        self._begun.add(name)
        page = read(self._directory / f"{name}.md")
        for other in page.after:
            self.follow(other)
        self._follow(page)
        self._done.add(name)

    def _follow(self, page: Page) -> None:
        values = Values(self._given)
        for block in page.blocks:
            if "lab" in block.marks:
                self._place.act(values.fill(block.marks["lab"]))
            if not block.is_run:
                continue
            if "file" in block.marks:
                place, _, path = block.marks["file"].partition(":")
                self._place.write(place, path, block.text)
                continue
            steps = block.steps()
            for step in steps:
                self._take(block, step, values, fails="fails" in block.marks and step is steps[-1])

    def _take(self, block: Block, step: Step, values: Values, *, fails: bool) -> None:
        try:
            command = values.fill(step.command)
        except LookupError as error:
            raise block.error(f"{step.command}: {error}", step.line) from None
        status, printed = self._place.run(step.place, command)
        shown = f"{step.place}# {command}\n{printed}\nexit status {status}"
        if (status != 0) != fails:
            raise block.error(f"{'does not fail' if fails else 'fails'}: {shown}", step.line)
        if not values.match(step.expected, printed):
            expected = "\n".join(step.expected) or "(nothing)"
            raise block.error(f"prints other text: {shown}\n\nexpected:\n{expected}", step.line)
