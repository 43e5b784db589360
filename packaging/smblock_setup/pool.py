"""Runs install.sh on each host of a pool, one after the other, the master first."""

import collections
import io
import os
import shlex
import sys
import tarfile

from smblock_setup import SetupError, host, installer

HOST_SECONDS = 900
_SSH = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15"]
# What install.sh needs, beside the wheel.
_PARTS = ("install.sh", "drivers", "packaging", "provisioners")
_REMOTE = (
    'd=$(mktemp -d /var/tmp/smblock.XXXXXX) && trap \'rm -rf "$d"\' EXIT && tar xf - -C "$d" && "$d"/install.sh %s'
)

Host = collections.namedtuple("Host", "uuid name address")


def run(options):
    """Does on each host what the other options say; returns 1 if a host failed."""
    if options.root:
        raise SetupError("--pool works on hosts: it takes no --root")
    hosts = _chosen(_hosts(), options.hosts)
    here = host.own_uuid()
    archive = _archive(options)
    arguments = _arguments(options)
    results = []
    for member in hosts:
        print("== %s (%s)" % (member.name, member.address), flush=True)
        done = _on_host(member, arguments, archive, here)
        sys.stdout.write(done.output)
        sys.stdout.flush()
        results.append((member, done))
        if done.status != 0:
            print(done.error.strip(), file=sys.stderr, flush=True)
    return _summary(results, arguments)


def _hosts():
    with host.xapi() as xenapi:
        (pool,) = xenapi.pool.get_all_records().values()
        found = xenapi.host.get_all_records()
    ordered = sorted(found, key=lambda ref: (ref != pool["master"], found[ref]["name_label"]))
    return [Host(found[ref]["uuid"], found[ref]["name_label"], found[ref]["address"]) for ref in ordered]


def _chosen(hosts, names):
    if not names:
        return hosts
    wanted = names.split(",")
    unknown = [name for name in wanted if not any(name in member for member in hosts)]
    if unknown:
        known = ", ".join(member.name for member in hosts)
        raise SetupError("the pool has no host %s. Its hosts are %s" % (", ".join(unknown), known))
    return [member for member in hosts if any(name in member for name in wanted)]


def _arguments(options):
    flags = ("dry_run", "uninstall", "verify", "restart", "replace_driver", "force")
    return ["--" + flag.replace("_", "-") for flag in flags if getattr(options, flag)]


def _archive(options):
    """The bytes of a tar archive with install.sh and what it needs."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for part in _PARTS:
            archive.add(os.path.join(options.package, part), part, filter=_without_caches)
        wheel = installer.find_wheel(options)
        archive.add(wheel, os.path.basename(wheel))
    return buffer.getvalue()


def _without_caches(member):
    return None if os.path.basename(member.name) == "__pycache__" else member


def _on_host(member, arguments, archive, here):
    command = _REMOTE % " ".join(shlex.quote(argument) for argument in arguments)
    argv = ["bash", "-c", command] if member.uuid == here else [*_SSH, "root@" + member.address, command]
    return host.run(argv, HOST_SECONDS, dict(os.environ), archive)


def _summary(results, arguments):
    width = max(len(member.name) for member, _ in results)
    print("\n%-*s  %-15s  %s" % (width, "host", "address", "result"))
    for member, done in results:
        text = host.last_line(done.output) if done.status == 0 else "FAILED: " + host.last_line(done.error)
        print("%-*s  %-15s  %s" % (width, member.name, member.address, text))
    failed = [member.name for member, done in results if done.status != 0]
    if not failed:
        return 0
    again = " ".join(["--pool", "--hosts", shlex.quote(",".join(failed)), *arguments])
    print("\n%d of %d hosts failed. Fix them, then run: ./install.sh %s" % (len(failed), len(results), again))
    return 1
