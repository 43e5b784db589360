"""What all guests boot, made once from Debian's packages and kept in the cache."""

from __future__ import annotations

import hashlib
import lzma
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.lab import LabError, run
from tests.lab.guest import cpio

_KERNEL = "linux-image-amd64"  # the flavour that has 9p; the cloud one has not
_BUSYBOX = "busybox-static"
_DOWNLOAD_SECONDS = 300.0

# What the guest loads at boot, each after those it depends on.
_MODULES = (
    "virtio_pci", "virtio_net", "9p", "9pnet_virtio", "overlay",
    "crc32c_generic", "rbd", "nbd", "ext4", "dm_mod", "dm_snapshot",
)  # fmt: skip


@dataclass(frozen=True)
class Image:
    """An uncompressed kernel, and a first root with its modules and busybox; the init is not in it."""

    kernel: Path
    initrd: Path


def prepare(cache: Path) -> Image:
    """The guests' image from the folder `cache`; made there on the first call, with apt's help."""
    recipe = hashlib.sha256(repr(_MODULES).encode()).hexdigest()[:16]
    folder = cache / f"guest-{recipe}"
    image = Image(folder / "vmlinux", folder / "initrd.cpio")
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=cache, prefix="guest-") as scratch:
            new = Path(scratch) / "image"
            new.mkdir()
            _make(Path(scratch), Image(new / image.kernel.name, new / image.initrd.name))
            try:
                new.rename(folder)
            except OSError:
                if not folder.is_dir():  # another process was quicker otherwise
                    raise
    return image


def _make(scratch: Path, image: Image) -> None:
    dependencies = run(["apt-cache", "depends", _KERNEL], timeout=60).stdout.decode()
    newest = re.search(r"Depends: (\S+)", dependencies)
    if newest is None:
        raise LabError(f"{_KERNEL}: not known to apt; run `apt-get update` first")
    kernel = _unpack(newest.group(1), scratch)
    busybox = _unpack(_BUSYBOX, scratch) / "bin" / "busybox"
    vmlinuz = next((kernel / "boot").glob("vmlinuz-*"))
    image.kernel.write_bytes(_uncompressed(vmlinuz.read_bytes()))
    modules = _in_load_order(kernel / "lib" / "modules")
    files = {"bin/busybox": (busybox.read_bytes(), 0o755)}
    for number, module in enumerate(modules):
        files[f"modules/{number:02}-{module.name}"] = (module.read_bytes(), 0o644)
    image.initrd.write_bytes(cpio.archive(files))


def _unpack(package: str, scratch: Path) -> Path:
    """Download a Debian package and take out its files; it is not installed."""
    folder = scratch / package
    folder.mkdir()
    done = subprocess.run(
        ["apt-get", "download", "-qq", package], cwd=folder, capture_output=True, timeout=_DOWNLOAD_SECONDS, check=False
    )
    if done.returncode != 0:
        raise LabError(f"apt-get download {package}: {done.stderr.decode(errors='replace').strip()}")
    run(["dpkg-deb", "-x", next(folder.glob("*.deb")), folder], timeout=120)
    return folder


def _in_load_order(tree: Path) -> list[Path]:
    """The modules of `_MODULES` and what they depend on, as files, in the order to load them."""
    known = {path.stem.replace("-", "_"): path for path in tree.rglob("*.ko")}
    ordered: list[Path] = []

    def add(name: str) -> None:
        path = known.get(name)
        if path is None or path in ordered:
            return  # built into the kernel, or there already
        for needed in re.findall(rb"\0depends=([^\0]*)\0", path.read_bytes()):
            for dependency in filter(None, needed.decode().split(",")):
                add(dependency.replace("-", "_"))
        ordered.append(path)

    for module in _MODULES:
        if module not in known:
            raise LabError(f"the kernel's package has no module {module}")
        add(module)
    return ordered


def _uncompressed(vmlinuz: bytes) -> bytes:
    """The kernel proper: emulated, its own unpacking would take longer than all of the boot."""
    start = vmlinuz.find(lzma_magic := b"\xfd7zXZ\0")
    while start >= 0:
        try:
            kernel = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(vmlinuz[start:])
        except lzma.LZMAError:
            kernel = b""
        if kernel.startswith(b"\x7fELF"):
            return kernel
        start = vmlinuz.find(lzma_magic, start + 1)
    raise LabError("no xz-compressed kernel in the package's vmlinuz: was Debian's way of packing it changed?")
