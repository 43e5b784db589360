"""Looks at everything that smblock needs on a host, before anything is changed."""

import os
import re
import shutil
import sys

from smblock_setup import DRIVERS, SM_HOME, SetupError, below, find, host, registration, versions
from smblock_setup.findings import failed, ok, warning

OLDEST_PYTHON = (3, 6)
OLDEST_CEPH = (14, 2)
_LIBRARIES = {"librados": "librados.so.2", "librbd": "librbd.so.1"}
_MODULES = {"rbd": "cephrbd", "nbd": "crucible"}
# Space that stays free besides what is written, in bytes.
_MARGIN = 1 << 20


def of_host(root):
    """Findings about the host: they do not depend on what is to be installed."""
    findings = [_architecture(), _sm(root), _list(root)]
    if not root:
        findings += [_user(), _python(), _xe()]
        findings += [_module(name) for name in sorted(_MODULES)]
        findings += [_library(name) for name in sorted(_LIBRARIES)]
    return findings


def of_wheel(core, wheel):
    """Whether the driver's core, unpacked in the directory `core`, can be loaded here; its version, or None."""
    code = "import smblock; print(smblock.__version__)"
    done = host.run([_interpreter(), "-B", "-c", code], 60, host.own_environment(PYTHONPATH=core))
    if done.status == 0:
        return ok("core", "loads"), done.output.strip()
    text = "the core in %s does not load here: %s" % (wheel, host.last_line(done.error))
    return failed("core", text, "download the file again, and compare it: sha256sum -c SHA256SUMS"), None


def of_space(root, size):
    """Whether `size` bytes, written a second time beside the files in use, leave some space free."""
    path = root or "/"
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    status = os.statvfs(path)
    free, needed = status.f_bavail * status.f_frsize, size + _MARGIN
    if free >= needed:
        return ok("space", "%d MiB free" % (free >> 20))
    text = "%s has %d KiB free, %d KiB are needed" % (path, free >> 10, needed >> 10)
    return failed("space", text, "free space, for example: rm /var/log/*.gz; yum clean all")


def of_version(root, version, force):
    """Whether that version may replace the one that is installed."""
    found = versions.installed(root)
    if found is None or versions.key(found) <= versions.key(version):
        return ok("version", "%s replaces %s" % (version, found) if found else version)
    text = "%s is installed, and newer than %s. An older version may not read the SRs' records" % (found, version)
    if force:
        return warning("version", text, None)
    return failed("version", text, "./install.sh --force if that is meant: docs/user/upgrade.md, Go back")


def of_package():
    """Whether the files on this host belong to an RPM, which another installation would break."""
    done = host.run(["rpm", "-q", "smblock"], 60)
    if done.status != 0:
        return ok("package", "no RPM smblock is installed")
    text = "%s is installed as an RPM" % done.output.strip()
    return failed("package", text, "yum install ./smblock-VERSION.x86_64.rpm, or to remove it: yum remove smblock")


def of_drivers(root, noted, replace):
    """Drivers of others under the names of smblock's: files that are not smblock's."""
    for path in driver_paths():
        if is_foreign(root, path, noted):
            text = "%s is another driver's: its SRs cannot be used before 'smblock adopt' takes them over" % path
            fix = "./install.sh --replace-driver keeps a copy of it, and --uninstall puts it back"
            return warning("driver", text, None) if replace else failed("driver", text, fix)
    return ok("driver", "no other driver has the name of smblock's")


def driver_paths():
    """The files that xapi executes and that SM imports, for each SR type."""
    return ["%s/%s%s" % (SM_HOME, name, suffix) for name in DRIVERS.values() for suffix in ("", ".py")]


def is_foreign(root, path, noted):
    """Whether a file of that name exists and is not smblock's."""
    if path in (noted or {}).get("files", ()):
        return False
    try:
        if os.path.islink(below(root, path)):
            destination = os.path.join(SM_HOME, os.readlink(below(root, path)))
            return os.path.normpath(destination) != path + ".py"
        with open(below(root, path), "rb") as file:
            return b"smblock" not in file.read()
    except OSError:
        return False


def sm_generation(root):
    """3 or 4; 0 if SM is there and of no known generation; None if there is no SM."""
    sites = find(root, "/usr/lib*/python3*/site-packages") + ([] if root else sys.path)
    sites += find(root, "/opt/xensource/site-packages")
    if any(os.path.isfile(os.path.join(site, "sm", "SRCommand.py")) for site in sites):
        return 4
    flat = below(root, SM_HOME + "/SRCommand.py")
    if os.path.isfile(flat):
        return 3 if _is_python_3(flat) else 0
    others = {os.path.basename(path) for path in find(root, SM_HOME + "/*SR")} - set(DRIVERS.values())
    return 0 if others else None


def _is_python_3(path):
    with open(path, "rb") as file:
        try:
            compile(file.read(), path, "exec")
        except SyntaxError:
            return False
    return True


def _architecture():
    machine = os.uname().machine
    if machine == "x86_64":
        return ok("machine", machine)
    return failed("machine", "the core is built for x86_64, this is %s" % machine, "use an x86_64 host")


def _user():
    if os.geteuid() == 0:
        return ok("user", "root")
    return failed("user", "only root can install drivers", "sudo ./install.sh")


def _interpreter():
    return host.PYTHON if os.access(host.PYTHON, os.X_OK) else sys.executable


def _python():
    code = "import sys; print('%d.%d' % sys.version_info[:2]); sys.exit(sys.version_info < (3, 6))"
    done = host.run([host.PYTHON, "-c", code], 20)
    if done.status == 0:
        return ok("python", "%s %s" % (host.PYTHON, done.output.strip()))
    found = done.output.strip() or host.last_line(done.error)
    text = "%s has to be Python %d.%d or newer: %s" % ((host.PYTHON,) + OLDEST_PYTHON + (found,))
    return failed("python", text, "yum reinstall python3")


def _sm(root):
    generation = sm_generation(root)
    if generation:
        return ok("sm", "generation %d" % generation)
    if generation == 0:
        text = "%s has an SM of a generation that is not supported: XCP-ng 8.3 and 9 are" % SM_HOME
        return failed("sm", text, "upgrade the host to XCP-ng 8.3 or newer, or use a newer smblock")
    if root:
        return warning("sm", "%s has no SM" % root, None)
    return failed("sm", "no SM in %s: is this an XCP-ng host?" % SM_HOME, "yum install sm; for an image: --root DIR")


def _list(root):
    try:
        registration.make_plan(root)
    except SetupError as error:
        if root and registration.effective_types(root) is None:
            return warning("sm-plugins", "%s has no configuration of xapi" % root, None)
        return failed("sm-plugins", str(error), None)
    return ok("sm-plugins", "xapi's list can be read")


def _xe():
    if shutil.which("xe", path=host.own_environment()["PATH"]):
        return ok("xe", "found")
    return failed("xe", "no command xe: is this an XCP-ng host?", "yum install xapi-core")


def _module(name):
    needed_by = _MODULES[name]
    done = host.run(["modinfo", "-F", "filename", name], 20)
    if done.status == 0:
        return ok("kernel", "module %s" % name)
    text = "no module %s for Linux %s: SRs of type %s cannot be used" % (name, os.uname().release, needed_by)
    return warning("kernel", text, "boot XCP-ng's own kernel; if it runs: yum reinstall kernel")


def _library(name):
    code = "import ctypes; ctypes.CDLL(%r)" % _LIBRARIES[name]
    done = host.run([host.PYTHON, "-B", "-c", code], 20)
    install = "yum install ceph-common: docs/user/install.md, What a host needs"
    if done.status != 0:
        text = "%s: SRs of type cephrbd cannot be used" % host.last_line(done.error)
        return warning(name, text, install)
    version = host.run(["rpm", "-q", "--queryformat", "%{VERSION}", _LIBRARIES[name].replace(".so.", "")], 60)
    found = re.match(r"(\d+)\.(\d+)", version.output) if version.status == 0 else None
    if found is None:
        return ok(name, "loads; no RPM states its version")
    if tuple(map(int, found.groups())) >= OLDEST_CEPH:
        return ok(name, version.output.strip())
    text = "%s is older than Nautilus (%d.%d): SRs of type cephrbd cannot be used" % (
        (version.output.strip(),) + OLDEST_CEPH
    )
    return warning(name, text, install)
