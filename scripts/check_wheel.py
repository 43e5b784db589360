"""Checks whether a wheel can be shipped: `check_wheel.py WHEEL`, exit 0 or 1.

A dom0 has glibc 2.17 and Python 3.6. A binary that needs newer ones would fail only when the driver is
loaded. So the wheel's own tags are not enough: auditwheel and abi3audit check the binary in it.
"""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any
from zipfile import ZipFile

GLIBC_TAG = "manylinux_2_17_x86_64"
WHEEL_TAGS = "cp36-abi3-manylinux2014_x86_64"
BINARY = "smblock/_core.abi3.so"
# sr::PURPOSE of rust/sr in a build without the feature "sim", and with it.
FOR_HOSTS = b"smblock for hosts, without simulators"
FOR_TESTS = b"smblock with simulators, for tests only"
PACKAGE = Path(__file__).parent.parent / "drivers" / "smblock"


def report(program: str, *arguments: str) -> Any:
    """The JSON that an auditor, installed beside this interpreter, writes with any result."""
    path = Path(sysconfig.get_path("scripts")) / program
    done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=120, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        sys.exit(f"{program} failed with exit status {done.returncode}: {done.stdout}{done.stderr}")


def glibc_faults(wheel: Path) -> list[str]:
    found = report("auditwheel", "show", "--json", str(wheel))
    faults = []
    if found["overall_tag"] != GLIBC_TAG:
        faults.append(f"needs {found['overall_tag']}, not {GLIBC_TAG}: {found['versioned_symbols']}")
    if found["external_libs"]:
        faults.append(f"links libraries that a dom0 may lack: {sorted(found['external_libs'])}")
    return faults


def python_faults(wheel: Path) -> list[str]:
    [audit] = report("abi3audit", "--report", str(wheel))["specs"].values()
    results = {entry["name"]: entry["result"] for entry in audit["wheel"]}
    if set(results) != {Path(BINARY).name}:
        return [f"holds the binaries {sorted(results)}, not {Path(BINARY).name} alone"]
    result = results[Path(BINARY).name]
    if result["is_abi3"] and result["baseline"] == "3.6" and result["is_abi3_baseline_compatible"]:
        return []
    return [
        f"needs Python {result['computed']}, not {result['baseline']}: "
        f"{result['non_abi3_symbols']} {result['future_abi3_objects']}"
    ]


def content_faults(wheel: Path) -> list[str]:
    with ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    sources = [path for path in PACKAGE.rglob("*") if path.suffix in {".py", ".pyi"} or path.name == "py.typed"]
    expected = {BINARY, *(f"smblock/{path.relative_to(PACKAGE)}" for path in sources)}
    return [f"holds {sorted(found)}, not {sorted(expected)}"] if found != expected else []


def simulator_faults(wheel: Path) -> list[str]:
    with ZipFile(wheel) as archive:
        binary = archive.read(BINARY)
    if FOR_HOSTS in binary and FOR_TESTS not in binary:
        return []
    return ['holds simulators: build it without the Cargo feature "sim" of sr, sr-ceph and sr-crucible']


def main(wheel: Path) -> int:
    faults = [] if wheel.stem.endswith(WHEEL_TAGS) else [f"is not tagged {WHEEL_TAGS}"]
    faults += content_faults(wheel) + glibc_faults(wheel) + python_faults(wheel) + simulator_faults(wheel)
    for fault in faults:
        print(f"{wheel.name} {fault}", file=sys.stderr)
    if not faults:
        print(f"{wheel.name}: glibc 2.17, Python 3.6 and later, no library but libc's own, no simulator")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
