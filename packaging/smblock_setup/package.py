"""What the RPM's scriptlets do. Each runs on the host, or in the root directory that rpm has entered."""

import os
import sys
import syslog

from smblock_setup import (
    SetupError,
    alarm,
    caches,
    change,
    findings,
    layout,
    preflight,
    registration,
    selftest,
    transaction,
    usage,
    versions,
)

PACKAGED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "packaged.txt")


def before_package(version):
    """Runs as the version that is installed, before another one is unpacked. Refuses an older one over a newer one.

    rpm itself compares packages. This is for files of install.sh, which rpm does not have.
    """
    transaction.recover("")
    noted = versions.manifest("")
    if noted and versions.key(noted["version"]) > versions.key(version):
        text = "install.sh has installed smblock %s, which is newer than %s. Remove it first: smblock-setup uninstall"
        raise SetupError(text % (noted["version"], version))


def after_package():
    """Runs after the files are in place, at the first installation and at an upgrade."""
    transaction.discard("")
    _take_over()
    caches.remove("")
    plan, _ = registration.register("")
    for warning in plan.warnings:
        print("smblock-setup: %s" % warning, file=sys.stderr)


def after_update():
    """Runs after each update of sm and of xapi-core, and of smblock: registers anew, and tries the driver."""
    problems = []
    try:
        registration.register("")
    except SetupError as error:
        problems.append("the registration failed: %s" % error)
    if preflight.sm_generation("") is None:
        problems.append("there is no SM in /opt/xensource/sm")
    else:
        found = selftest.run("")
        problems += [finding.text for finding in found if finding.state == findings.FAILED]
    for problem in problems:
        _complain(problem)
    alarm.report(problems)
    return 1 if problems else 0


def before_removal(force):
    """Refuses to remove the package while an SR is plugged; else has xapi run the drivers no longer."""
    usage.require_unplugged("", force)
    usage.end_export_server()
    registration.unregister("")


def _take_over():
    """The files of install.sh are the package's now. Those that the package does not have are removed."""
    noted = versions.manifest("")
    if not noted:
        return
    with open(PACKAGED) as file:
        packaged = set(file.read().split("\n"))
    for path in noted["files"]:
        if path not in packaged and os.path.lexists(path):
            os.unlink(path)
    _keep_replaced(noted["replaced"])
    os.unlink(layout.MANIFEST)


def _keep_replaced(replaced):
    """Has the directory of replaced files contain the links of the other driver too: %postun moves all of it back."""
    for path, kept in replaced.items():
        copy = os.path.join(change.REPLACED, os.path.basename(path))
        if kept.startswith(change.LINK) and not os.path.lexists(copy):
            os.makedirs(change.REPLACED, exist_ok=True)
            os.symlink(kept[len(change.LINK) :], copy)


def _complain(problem):
    text = "smblock does not work after this update: %s" % problem
    print("smblock-setup: ERROR: %s" % text, file=sys.stderr)
    print("smblock-setup: SRs of smblock cannot be used on this host until this is fixed. Check: %s verify"
          % (layout.LIBEXEC + "/smblock-setup"), file=sys.stderr)  # fmt: skip
    syslog.openlog("SM", 0, syslog.LOG_LOCAL2)
    syslog.syslog(syslog.LOG_ERR, "[%d] %s" % (os.getpid(), text))
