"""Installs and removes smblock without a package manager: what install.sh does on one host."""

import contextlib
import glob
import json
import os
import shutil
import tempfile
import zipfile

from smblock_setup import (
    SetupError,
    atomic,
    below,
    caches,
    findings,
    host,
    layout,
    preflight,
    reason,
    registration,
    selftest,
    transaction,
    usage,
    verify,
    versions,
)
from smblock_setup.change import Change, digest, has
from smblock_setup.transaction import Transaction

LOCK_SECONDS = 30


def install(options):
    """Installs the wheel and the files beside install.sh; returns the exit status."""
    wheel = find_wheel(options)
    with _unpacked(wheel) as core, _alone(options):
        noted = versions.manifest(options.root)
        items = list(layout.items(options.package, core))
        version = _require_all(options, core, wheel, noted, items)
        change = Change(options, noted)
        for item in items:
            change.install(item)
        change.remove_others({item.path for item in items})
        change.registration()
        if options.dry_run:
            return _report_dry_run(options, change)
        before = versions.installed(options.root)
        tested = _commit(options, change, version, items)
    if not change.steps:
        print("up to date in %s" % below(options.root, layout.SM_HOME))
    else:
        print("installed smblock %s%s" % (version, " (before: %s)" % before if before else ""))
    return activate(options, version, change, tested)


def uninstall(options):
    """Removes what `install` has installed, and nothing else."""
    with _alone(options):
        _require([] if options.root else [preflight.of_package()], options)
        noted = versions.manifest(options.root)
        if noted is None:
            if versions.installed(options.root) is None:
                print("smblock is not installed")
                return 0
            raise SetupError("no note of the installed files: run ./install.sh first, then ./install.sh --uninstall")
        if not options.root:
            usage.require_unplugged(options.root, options.force)
            if not options.dry_run:
                usage.end_export_server()
        change = Change(options, noted)
        change.remove_others(set())
        change.restore()
        if options.dry_run:
            return _report_dry_run(options, change)
        _commit_removal(options, change)
        caches.remove(options.root)
        # The note goes last: until then the next run can go on.
        _remove_directories(options.root, noted["directories"])
        shutil.rmtree(below(options.root, layout.STATE), ignore_errors=True)
        _remove_directories(options.root, noted["directories"])
    print("removed smblock %s" % noted["version"])
    if not options.root:
        reload_units()
        if not (options.restart and _restart(options)):
            print("xapi lists the drivers until it is restarted: run %s" % host.RESTART)
    return 0


def activate(options, version, change, tested):
    """Has xapi use what is installed, and checks whether it does."""
    if options.root:
        return report(verify.of_host(options.root, version, False, tested), quiet=True) if _has_sm(options.root) else 0
    if any("/systemd/" in path for path in change.paths):
        reload_units()
    restarted = options.restart and _restart(options)
    found = verify.of_host("", version, restarted, tested)
    status = report(found)
    waits = sorted({finding.fix for finding in found if finding.state == findings.WARNING and finding.fix})
    print("smblock %s: %s" % (version, "xapi uses it" if not waits and not status else "run " + "; ".join(waits)))
    return status


def report(found, quiet=False):
    """Prints findings, or with `quiet` only what is not well; returns 1 if one has failed."""
    for finding in found:
        if not quiet or finding.state != findings.OK:
            print(finding)
    return 1 if findings.has_failed(found) else 0


def find_wheel(options):
    """The wheel to install: the one that is named, or the only one beside install.sh."""
    if options.wheel:
        if not os.path.isfile(options.wheel):
            raise SetupError("no such file: %s" % options.wheel)
        return options.wheel
    directories = [options.package, os.path.join(options.package, "target/wheels")]
    wheels = [
        path for directory in directories for path in sorted(glob.glob(glob.escape(directory) + "/smblock-*.whl"))
    ]
    if not wheels:
        raise SetupError("no wheel in %s: build one with 'make wheel', or name one with --wheel" % options.package)
    if len(wheels) > 1:
        raise SetupError("several wheels in %s: name one with --wheel" % options.package)
    return wheels[0]


def reload_units():
    """Has systemd read the units anew."""
    if os.path.isdir("/run/systemd/system"):
        host.run(["systemctl", "daemon-reload"], 60)


def _require_all(options, core, wheel, noted, items):
    """Looks at everything before anything is changed; returns the version of the wheel."""
    found = preflight.of_host(options.root)
    if not options.root:
        found.append(preflight.of_package())
    loads, version = preflight.of_wheel(core, wheel)
    found.append(loads)
    found.append(preflight.of_space(options.root, sum(os.path.getsize(item.source) for item in items if item.source)))
    if version:
        found.append(preflight.of_version(options.root, version, options.force))
    found.append(preflight.of_drivers(options.root, noted, options.replace_driver))
    _require(found, options)
    return version


def _require(found, options):
    """Prints what is missing, all of it; SetupError if that keeps smblock from being installed."""
    for finding in found:
        if finding.state == findings.FAILED or (finding.state == findings.WARNING and not options.root):
            print(finding)
    number = sum(finding.state == findings.FAILED for finding in found)
    if number:
        raise SetupError("%d of %d checks failed: nothing was changed" % (number, len(found)))


def _commit(options, change, version, items):
    """Makes the change; returns the findings of the self-test, or None if it did not run."""
    files = {item.path: "-> " + item.link if item.link else digest(item.source) for item in items}
    noted = {"version": version, "files": files, "directories": [], "replaced": change.replaced}
    with _registration_locked(options.root), Transaction(options.root, durable=not options.root) as together:
        change.apply(together)
        directories = together.directories([os.path.dirname(layout.MANIFEST)])
        noted["directories"] = sorted({*directories, *change.noted_directories()})
        content = json.dumps(noted, indent=1, sort_keys=True).encode() + b"\n"
        if not change.steps and has(below(options.root, layout.MANIFEST), content, 0o644):
            return None
        together.put(layout.MANIFEST, content, 0o644)
        together.commit()
        caches.remove(options.root)
        tested = _self_test(options, version)
        together.finish()
    for text, _ in change.steps:
        print(text)
    if registration.effective_types(options.root) is not None:
        registration.register(options.root)  # links, if xapi looks for drivers in another directory
    return tested


def _commit_removal(options, change):
    registered = registration.unregister(options.root)
    try:
        with Transaction(options.root, durable=not options.root) as together:
            change.apply(together)
            together.commit()
            together.finish()
    except BaseException:
        if registered:
            registration.register(options.root)
        raise
    for text, _ in change.steps:
        print(text)


def _remove_directories(root, directories):
    for directory in sorted(directories, reverse=True):
        with contextlib.suppress(OSError):  # others have files there now, or it is gone
            os.rmdir(below(root, directory))


@contextlib.contextmanager
def _registration_locked(root):
    with contextlib.ExitStack() as stack:
        if os.path.isdir(below(root, os.path.dirname(registration.FILE))):
            stack.enter_context(registration.locked(root))
        yield


def _self_test(options, version):
    """Findings. SetupError, which undoes the installation, if xapi would not list the drivers that are in place now."""
    if not _has_sm(options.root):
        return None
    found = selftest.run(options.root, version)
    if findings.has_failed(found):
        report(found)
        raise SetupError("the driver does not run with the SM of this host. The installation was undone")
    return found


def _has_sm(root):
    return bool(preflight.sm_generation(root))


def _report_dry_run(options, change):
    for text, _ in change.steps:
        print("would " + text)
    if not change.steps:
        print("nothing to change in %s" % below(options.root, layout.SM_HOME))
    return 0


def _restart(options):
    """Restarts the toolstack. Domains and their disks go on."""
    done = host.run([host.RESTART], 600)
    if done.status != 0:
        raise SetupError("%s failed: %s" % (host.RESTART, host.last_line(done.error or done.output)))
    print("restarted the toolstack")
    return True


@contextlib.contextmanager
def _alone(options):
    """No other run of install.sh is under way; what a killed one left is undone."""
    root = options.root or "/"
    if options.dry_run:
        if transaction.is_interrupted(options.root):
            print("an installation was interrupted: the next run undoes it first")
        yield
        return
    created = not os.path.isdir(root)
    os.makedirs(root, exist_ok=True)
    try:
        with atomic.locked(root, LOCK_SECONDS):
            if transaction.recover(options.root):
                print("undid an installation that was interrupted")
            yield
    finally:
        if created:
            with contextlib.suppress(OSError):
                os.rmdir(root)


@contextlib.contextmanager
def _unpacked(wheel):
    """A directory with what is in the wheel."""
    directory = tempfile.mkdtemp(prefix="smblock-")
    try:
        try:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(directory)
        except zipfile.BadZipFile:
            raise SetupError("not a wheel: %s" % wheel) from None
        except OSError as error:
            text = "unpacking %s in %s: %s. TMPDIR names another directory"
            raise SetupError(text % (os.path.basename(wheel), directory, reason(error))) from error
        if not os.path.isfile(os.path.join(directory, "smblock", "_core.abi3.so")):
            raise SetupError("not smblock's wheel: %s" % wheel)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
