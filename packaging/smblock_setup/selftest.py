"""Runs the installed driver as xapi does when it starts: a driver that fails this is one that xapi does not list."""

import os
import re
import sys
import xmlrpc.client

from smblock_setup import DRIVERS, SM_HOME, below, find, host
from smblock_setup.findings import failed, ok

SECONDS = 60
_FIX = "./install.sh of a version for this XCP-ng, or yum update smblock"


def run(root, version=None):
    """Findings: each driver's reply to sr_get_driver_info, and that every module can be imported."""
    findings = [_driver(root, sr_type, version) for sr_type in sorted(DRIVERS)]
    findings.append(_modules(root))
    return findings


def _driver(root, sr_type, version):
    topic = "driver"
    path = below(root, "%s/%s" % (SM_HOME, DRIVERS[sr_type]))
    params = {"host_ref": "", "command": "sr_get_driver_info", "args": [], "device_config": {}}
    request = xmlrpc.client.dumps((params,), "sr_get_driver_info")
    done = host.run([*_interpreter(root), path, request], SECONDS, _environment(root))
    if done.status != 0:
        return failed(topic, "%s does not run: %s" % (sr_type, host.last_line(done.error)), _FIX)
    try:
        (info,), _ = xmlrpc.client.loads(done.output)
        capabilities, found = info["capabilities"], info["driver_version"]
    except Exception as error:  # xapi could not read it either
        return failed(topic, "%s replies no driver info: %s" % (sr_type, error), _FIX)
    if not capabilities:
        return failed(topic, "%s has no capabilities" % sr_type, _FIX)
    if version and found != version:
        return failed(topic, "%s is of version %s, and %s is installed" % (sr_type, found, version), _FIX)
    return ok(topic, "%s %s, %d capabilities" % (sr_type, found, len(capabilities)))


def _modules(root):
    directory = below(root, SM_HOME)
    paths = find(root, SM_HOME + "/smblock/**/*.py")
    names = [re.sub(r"(/__init__)?\.py$", "", os.path.relpath(path, directory)).replace("/", ".") for path in paths]
    code = "import sys, importlib\nsys.path.append(%r)\nfor name in %r: importlib.import_module(name)"
    argv = _interpreter(root) or [host.PYTHON]
    done = host.run([*argv, "-B", "-c", code % (directory, sorted(names))], SECONDS, _environment(root))
    if done.status != 0:
        return failed("modules", "a module cannot be imported: %s" % host.last_line(done.error), _FIX)
    return ok("modules", "%d modules can be imported" % len(names))


def _interpreter(root):
    """Below another root, the interpreter of this program; on a host, the one that the driver's first line names."""
    return [sys.executable] if root else []


def _environment(root):
    if not root:
        return None
    sites = find(root, "/opt/xensource/site-packages") + find(root, "/usr/lib*/python3*/site-packages")
    return host.own_environment(PYTHONPATH=os.pathsep.join([*sites, os.environ.get("PYTHONPATH", "")]))
