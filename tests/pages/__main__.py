"""Prints which blocks of the pages are run by the tests, and why the others are not: python -m tests.pages"""

from pathlib import Path

from lab.wheel import REPOSITORY
from tests.pages.blocks import read
from tests.test_pages_followed import FOLLOWED, NOT_FOLLOWED, PAGES


def main() -> None:
    for name in FOLLOWED:
        path: Path = PAGES / f"{name}.md"
        blocks = read(path).blocks
        print(
            f"{path.relative_to(REPOSITORY)}: {sum(block.is_run for block in blocks)} of {len(blocks)} blocks are run"
        )
        for block in blocks:
            if not block.is_run:
                print(f"  line {block.line}: {block.marks['not run']}")
    for name, reason in NOT_FOLLOWED.items():
        print(f"{(PAGES / name).relative_to(REPOSITORY)}.md: {reason}")


main()
