"""Archives in the format of the kernel's initial root: cpio, "newc"."""

from __future__ import annotations

import stat
from collections.abc import Mapping


def archive(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    """An archive of regular files, each a path (no leading slash) with its content and mode.

    It contains their directories.  Archives can be concatenated: later files win.
    """
    directories = sorted(
        {"/".join(path.split("/")[:depth]) for path in files for depth in range(1, path.count("/") + 1)}
    )
    members = [_member(directory, b"", stat.S_IFDIR | 0o755) for directory in directories]
    members += [_member(path, content, stat.S_IFREG | mode) for path, (content, mode) in files.items()]
    return b"".join([*members, _member("TRAILER!!!", b"", 0)])


def _member(path: str, content: bytes, mode: int) -> bytes:
    name = path.encode() + b"\0"
    # Magic, then inode, mode, uid, gid, links, mtime, size, device and its minor (twice), length of
    # the name, checksum: each in eight hexadecimal digits.
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
