"""The kernel and the first root of all guests, made once from Debian's packages and kept in the cache.

The kernel is that of this machine's suite, or of the one whose root directory KERNEL_ROOT names.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab import LabError, run
from lab.guest import cpio

_KERNEL = "linux-image-amd64"  # has 9p; the cloud flavour does not
# From 7.x on, Debian has separate packages for the kernel and its modules.
_KERNEL_PARTS = re.compile(r"linux-(?:image|binary|modules)-\d\S*-amd64")
_BUSYBOX = "busybox-static"
_DOWNLOAD_SECONDS = 300.0

# What the guest loads at boot, each after those it depends on. The guest has no modprobe that would load ciphers
# on demand: Ceph's keys of type 1 need aes and cbc, those of type 2 (kernel 7.x) cts and krb5enc; encrypted connections
# (ms_mode=secure) need gcm, ghash and ctr.
_MODULES = (
    "virtio_pci", "virtio_net", "9p", "9pnet_virtio", "overlay",
    "crc32c_generic", "aes_generic", "cbc", "cts", "authenc", "krb5enc", "camellia_generic", "cmac",
    "ctr", "ghash_generic", "gcm",
    "rbd", "nbd", "ext4", "dm_mod", "dm_snapshot",
)  # fmt: skip
# Some kernels have these built in, or do not have them; all have the others as modules.
_NOT_ALWAYS = {
    "virtio_pci", "crc32c_generic", "aes_generic", "cbc", "cts", "authenc", "krb5enc", "camellia_generic", "cmac",
    "ctr", "ghash_generic", "gcm",
}  # fmt: skip
_ZSTD = b"\x28\xb5\x2f\xfd"
_XZ = b"\xfd7zXZ\0"


@dataclass(frozen=True)
class Image:
    """An uncompressed kernel, and a first root with its modules and busybox; the init is not in it."""

    kernel: Path
    initrd: Path


def prepare(cache: Path, root: str | None = None) -> Image:
    """The guests' image from the directory `cache`; the first call makes it with apt.

    root    the root directory whose apt gives the kernel; KERNEL_ROOT if None, else this machine's
    """
    root = root or os.environ.get("KERNEL_ROOT", "/")
    recipe = hashlib.sha256(repr((_MODULES, root)).encode()).hexdigest()[:16]
    directory = cache / f"guest-{recipe}"
    image = Image(directory / "vmlinux", directory / "initrd.cpio")
    if not directory.is_dir():
        with tempfile.TemporaryDirectory(dir=cache, prefix="guest-") as scratch:
            new = Path(scratch) / "image"
            new.mkdir()
            _make(Path(scratch), Image(new / image.kernel.name, new / image.initrd.name), root)
            try:
                new.rename(directory)
            except OSError:
                if not directory.is_dir():  # else another process was faster
                    raise
    return image


def _make(scratch: Path, image: Image, root: str) -> None:
    unpacked = scratch / "files"
    for package in [*_kernel_packages(root), _BUSYBOX]:
        _unpack(package, unpacked, root)
    busybox = _one_of(unpacked, "bin/busybox", "usr/bin/busybox")
    vmlinuz = _one_of(unpacked, "boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz")
    image.kernel.write_bytes(_kernel_proper(vmlinuz.read_bytes()))
    files = {"bin/busybox": (busybox.read_bytes(), 0o755)}
    tree = _one_of(unpacked, "lib/modules", "usr/lib/modules")
    for number, (name, module) in enumerate(_in_load_order(tree).items()):
        files[f"modules/{number:02}-{name}.ko"] = (module, 0o644)
    image.initrd.write_bytes(cpio.archive(files))


def _kernel_packages(root: str) -> list[str]:
    """The packages of the newest kernel."""
    words = ["depends", "--recurse", "--important", "--no-breaks", "--no-conflicts", "--no-replaces", _KERNEL]
    lines = _apt(root, "apt-cache", *words).splitlines()
    found = sorted({line.strip() for line in lines if _KERNEL_PARTS.fullmatch(line.strip())})
    if not found:
        raise LabError(f"{_KERNEL}: apt does not have it; run `apt-get update` first")
    return found


def _unpack(package: str, directory: Path, root: str) -> None:
    """Download a Debian package and unpack its files, without installing it."""
    # apt writes to the working directory, which must be inside the root directory.
    with tempfile.TemporaryDirectory(dir=Path(root, "var/tmp"), prefix="lab-") as downloads:
        inside = Path("/", Path(downloads).relative_to(root))
        _apt(root, "env", f"--chdir={inside}", "apt-get", "download", "-qq", package)
        run(["dpkg-deb", "-x", next(Path(downloads).glob("*.deb")), directory], timeout=120)


def _apt(root: str, *words: str) -> str:
    """Run a command of apt in a root directory. Returns what it prints."""
    inside = [] if root == "/" else ["chroot", root]
    return run([*inside, *words], timeout=_DOWNLOAD_SECONDS).stdout.decode()


def _one_of(directory: Path, *patterns: str) -> Path:
    found = [path for pattern in patterns for path in sorted(directory.glob(pattern))]
    if not found:
        raise LabError(f"the kernel's packages have no {' and no '.join(patterns)}")
    return found[0]


def _in_load_order(tree: Path) -> dict[str, bytes]:
    """`_MODULES` and what they depend on: name to content, in the order to load them."""
    known = {path.name.partition(".ko")[0].replace("-", "_"): path for path in tree.rglob("*.ko*")}
    ordered: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in ordered or name not in known:
            return  # already there, or built into the kernel
        module = _plain(known[name])
        for needed in re.findall(rb"\0depends=([^\0]*)\0", module):
            for dependency in filter(None, needed.decode().split(",")):
                add(dependency.replace("-", "_"))
        ordered[name] = module

    for module in _MODULES:
        if module not in known and module not in _NOT_ALWAYS:
            raise LabError(f"the kernel's packages have no module {module}")
        add(module)
    return ordered


def _plain(module: Path) -> bytes:
    """The content of a module, which newer suites compress."""
    content = module.read_bytes()
    if module.suffix == ".xz":
        return lzma.decompress(content)
    return _unzstd(content) if module.suffix == ".zst" else content


def _kernel_proper(vmlinuz: bytes) -> bytes:
    """The unpacked kernel: emulated, its own unpacking would take longer than the whole boot."""
    # The kernel's Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length.
    setup_sectors = vmlinuz[0x1F1] or 4
    offset, length = struct.unpack_from("<II", vmlinuz, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = vmlinuz[start : start + length]
    if payload.startswith(_XZ):
        kernel = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(payload)
    elif payload.startswith(_ZSTD):
        kernel = _unzstd(payload[:-4])  # the unpacked size follows
    else:
        raise LabError(f"the kernel is packed in an unknown way: its payload starts with {payload[:6].hex()}")
    if not kernel.startswith(b"\x7fELF"):
        raise LabError("the kernel's payload is no ELF file")
    return kernel


def _unzstd(content: bytes) -> bytes:
    return run(["zstd", "--decompress", "--stdout", "--quiet"], timeout=120, input=content).stdout
