"""The calls of each operation, as steps for the program in bench/limit: those of the driver, in its order.

tests/test_bench.py compares how many they are with the table of the driver's own
(rust/sr-ceph/tests/on_ceph/round_trips/table.rs).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# The bytes of the driver's values.
INTENT, RECORD, MARK, META = 395, 590, 230, 370
HEAD = 2**64 - 2
NIL = "00000000-0000-0000-0000-000000000000"
# A comparison of an image by several threads, or up to its first change.
_THREADS, _ALL, _WHOLE_OBJECTS = 4, 0, 1
# About how many objects one part of a listing has.
_OBJECTS_OF_PART = 50_000

_USAGE = [
    "mon " + json.dumps({"prefix": "df", "detail": "detail", "format": "json"}),
    "mon " + json.dumps({"prefix": "osd dump", "format": "json"}),
]


@dataclass(frozen=True)
class Image:
    name: str
    id: str


@dataclass(frozen=True)
class Snapshot:
    image: Image
    name: str
    id: int


@dataclass(frozen=True)
class Steps:
    """The steps of operations in one SR. `data_pool`: the pool for the data of new images."""

    sr: str
    pool: str
    data_pool: str

    def stat(self) -> list[str]:
        return [self._entry(NIL), *_USAGE, self._list()]

    def create(self, vdi: str, size: int) -> list[str]:
        image = self._name(vdi)
        return [
            *_USAGE,
            self._entry(vdi),
            f"stat rbd_id.{image}",
            self._begin(vdi),
            f"create {image} {size} {self.data_pool}",
            *self._made(image),
            self._finish(vdi, f"=vdi.{vdi}", f"+vdi.{vdi}:{RECORD}"),
        ]

    def resize(self, vdi: str, image: Image, size: int) -> list[str]:
        return [
            self._entry(vdi),
            *_look(image),
            *_USAGE,
            self._begin(vdi),
            f"open {image.id}",
            f"resize {size}",
            "close",
            self._finish(vdi, f"=vdi.{vdi}", f"~vdi.{vdi}"),
        ]

    def snapshot(self, vdi: str, image: Image, new: str) -> list[str]:
        return [
            self._entry(new),
            *_USAGE,
            self._entry(vdi),
            *_look(image),
            self._begin(vdi),
            f"open {image.id}",
            f"snap {new}",
            "close",
            self._finish(vdi, f"=vdi.{new}", f"+vdi.{new}:{RECORD}", f"=vdi.{vdi}", f"~vdi.{vdi}"),
        ]

    def clone_of_snapshot(self, source: str, snapshot: Snapshot, new: str) -> list[str]:
        return [self._entry(source), *self._clone(source, snapshot, new)]

    def clone_of_disk(self, source: str, base: Snapshot, size: int, new: str) -> list[str]:
        """The second clone of a disk, and each later one."""
        image = base.image
        return [
            self._entry(source),
            f"view {image.id}",
            "snaps",
            _header(image, "get_size", HEAD),
            f"diff {base.name} {size} 1 {_WHOLE_OBJECTS}",
            "close",
            _header(image, "get_size", HEAD),
            *self._clone(source, base, new),
        ]

    def delete(self, vdi: str, image: Image) -> list[str]:
        return [
            self._entry(vdi),
            f"lock {image.id}",
            _header(image, "get_features", HEAD),
            self._begin(vdi, f"-vdi.{vdi}"),
            *self._dispose(vdi, image),
        ]

    def revert(self, vdi: str, old: Image, snapshot_vdi: str, snapshot: Snapshot) -> list[str]:
        """For an image that nothing needs."""
        name = self._name(vdi, int(old.name.rpartition(".")[2]) + 1)
        return [
            self._entry(snapshot_vdi),
            self._entry(vdi),
            _header(old, "get_features", HEAD),
            f"stat rbd_id.{name}",
            self._begin(vdi, f"=vdi.{snapshot_vdi}"),
            *self._cloned(snapshot, name),
            self._entry(vdi),
            self._write(f"=op.{vdi}", f"=vdi.{vdi}", f"+vdi.{vdi}:{RECORD}", f"+op.{vdi}:{INTENT}"),
            *self._dispose(vdi, old),
        ]

    def scan(self) -> list[str]:
        return ["directory", self._list(), *_USAGE, "sizes", "trash"]

    def changed_blocks(self, older: str, of_older: Snapshot, newer: str, of_newer: Snapshot, size: int) -> list[str]:
        image = of_newer.image
        return [
            self._entry(older),
            self._entry(newer),
            f"view {image.id}",
            "snaps",
            "snaps",
            f"at {of_newer.id}",
            _header(image, "get_size", HEAD),
            f"diff {of_older.name} {size} {_THREADS} {_ALL}",
            "close",
            *(_header(image, "get_snapshot_name", snapshot.id) for snapshot in (of_newer, of_older)),
        ]

    def count(self, objects: int) -> list[str]:
        """Frees what is pending, which is nothing, and counts the pool's objects."""
        start = [self._list(), self._write("=worker", f"+worker:{INTENT}")]
        end = self._write("=worker", "-worker")
        return [
            *start,
            self._list(),
            "trash",
            end,
            *start,
            *_USAGE,
            f"count {max(1, -(-objects // _OBJECTS_OF_PART))}",
            self._list(),
            f"read {self._catalogue} utilisation",
            self._write("=utilisation", f"+utilisation:{MARK}"),
            end,
        ]

    def snapshots_of_a_vm(self, disks: Sequence[tuple[str, Image]], news: Sequence[str]) -> list[list[str]]:
        """One command for each disk: the first one takes all snapshots."""
        vdis = [vdi for vdi, _ in disks]
        first, others = vdis[0], vdis[1:]
        prepared = [change for vdi in others for change in (f"=prepared.{vdi}", f"+prepared.{vdi}:{RECORD}")]
        taken = [change for vdi in vdis for change in (f"=op.{vdi}", f"-op.{vdi}", f"=vdi.{vdi}", f"~vdi.{vdi}")]
        intents = [change for vdi in vdis for change in (f"=vdi.{vdi}", f"=op.{vdi}", f"+op.{vdi}:{INTENT}")]
        take = [
            self._entry(first, news[0], *others),
            self._entry(news[0]),
            *_USAGE,
            self._entry(first),
            *_look(disks[0][1]),
            self._entry(*others),
            *(step for _, image in disks[1:] for step in _look(image)),
            self._write("=sr", *intents),
            "snapshots " + " ".join(f"{image.id} {new}" for (_, image), new in zip(disks, news, strict=True)),
            self._write(f"=vdi.{news[0]}", f"+vdi.{news[0]}:{RECORD}", *taken, *prepared),
        ]
        adopt = [
            [
                self._entry(vdi, new, *(other for other in vdis if other != vdi)),
                self._write(
                    *("=sr", f"=vdi.{vdi}", f"=prepared.{vdi}", f"-prepared.{vdi}"),
                    *(f"=vdi.{new}", f"+vdi.{new}:{RECORD}"),
                ),
            ]
            for vdi, new in zip(others, news[1:], strict=True)
        ]
        return [take, *adopt]

    @property
    def _catalogue(self) -> str:
        return f"smblock.sr.{self.sr}"

    def _name(self, vdi: str, number: int = 0) -> str:
        return f"smblock.{self.sr}.{vdi}.{number}"

    def _entry(self, *vdis: str) -> str:
        keys = [f"{kind}.{vdi}" for vdi in vdis for kind in ("vdi", "op", "prepared")]
        return f"read {self._catalogue} sr " + " ".join(keys)

    def _list(self) -> str:
        return f"list {self._catalogue}"

    def _write(self, *changes: str) -> str:
        return f"write {self._catalogue} " + " ".join(changes)

    def _begin(self, vdi: str, *also: str) -> str:
        return self._write("=sr", f"=vdi.{vdi}", f"=op.{vdi}", f"+op.{vdi}:{INTENT}", *also)

    def _finish(self, vdi: str, *changes: str) -> str:
        return self._write(f"=op.{vdi}", *changes, f"-op.{vdi}")

    def _clone(self, source: str, snapshot: Snapshot, new: str) -> Iterable[str]:
        name = self._name(new)
        yield self._entry(new)
        yield f"stat rbd_id.{name}"
        yield self._begin(new, f"=vdi.{source}")
        yield from self._cloned(snapshot, name)
        yield self._finish(new, f"=vdi.{new}", f"+vdi.{new}:{RECORD}")

    def _cloned(self, snapshot: Snapshot, name: str) -> Iterable[str]:
        parent = snapshot.image
        yield f"read rbd_directory id_{parent.id}"
        yield f"{_header(parent, 'get_snapshot_name', snapshot.id)} snapshot"
        yield f"clone {parent.name} $snapshot {name} {self.data_pool}"
        yield from self._made(name)

    @staticmethod
    def _made(name: str) -> Iterable[str]:
        new = Image(name, "$id")
        yield f"id {name} id"
        yield _header(new, "get_features", HEAD)
        yield f"meta {new.id} {META}"

    def _dispose(self, vdi: str, image: Image) -> Iterable[str]:
        yield from (f"view {image.id}", "snaps", "watchers", "close")
        yield _header(image, "op_features_get")
        yield f"read rbd_directory id_{image.id}"
        yield from (f"id {image.name} old", "lock $old", f"trash_move {image.name}")
        yield self._finish(vdi, f"+trash.{image.id}:{MARK}")
        yield from (*_USAGE, self._list())
        task = {"prefix": "rbd task add trash remove", "image_id_spec": f"{self.pool}/{image.id}"}
        yield "mgr " + json.dumps(task)


def _header(image: Image, method: str, snapshot: int | None = None) -> str:
    return f"header {image.id} {method}" + ("" if snapshot is None else f" {snapshot}")


def _look(image: Image) -> list[str]:
    """The size of an image, its parent, its snapshots."""
    methods = [("get_size", HEAD), ("parent_overlap_get", HEAD), ("get_snapcontext", None)]
    return [_header(image, method, snapshot) for method, snapshot in methods]
