"""The test programs of the Rust crates, for tests that run them elsewhere: on a cluster, in a virtual machine."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from lab.wheel import REPOSITORY

BUILD_SECONDS = 590


def rust_programs() -> dict[tuple[str, str], Path]:
    """The programs of the directories `tests`, by crate and name. Cargo builds those that are not up to date."""
    # The whole workspace, as `make test` builds it: with other features, cargo would build the crates again.
    argv = ["cargo", "test", "--workspace", "--locked", "--no-run", "--message-format=json"]
    done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=BUILD_SECONDS, check=True)
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    built = [message for message in messages if message.get("executable") and message["target"]["kind"] == ["test"]]
    return {
        (Path(each["manifest_path"]).parent.name, each["target"]["name"]): Path(each["executable"]) for each in built
    }
