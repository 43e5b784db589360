"""smblock-setup: what install.sh, the RPM's scriptlets and xapi's start do on a host."""

import argparse
import os
import sys

from smblock_setup import DRIVERS, SetupError, installer, package, pool, reason, registration, verify, versions

_HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main(arguments=None):
    """Runs one command; the exit status is 0 if it succeeded."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # The options of install.sh have a parser of their own: its messages name install.sh.
    is_install = arguments[:1] == ["install"]
    options = _install_parser().parse_args(arguments[1:]) if is_install else _parser().parse_args(arguments)
    os.umask(0o022)
    root = getattr(options, "root", None)
    options.root = os.path.abspath(root).rstrip("/") if root else ""
    try:
        return options.run(options) or 0
    except SetupError as error:
        text = str(error)
    except OSError as error:
        text = "%s: %s" % (error.filename or options.name, reason(error))
    except KeyboardInterrupt:
        text = "interrupted: nothing was changed"
    print("%s: %s" % (options.name, text), file=sys.stderr)
    return 1


def _parser():
    parser = argparse.ArgumentParser(prog="smblock-setup", description="smblock on a host of XCP-ng")
    parser.set_defaults(name="smblock-setup")
    commands = parser.add_subparsers(dest="command")
    commands.required = True

    def add(name, run, **more):
        command = commands.add_parser(name, **more)
        command.set_defaults(run=run, name="smblock-setup")
        _add_root(command)
        return command

    register = add("register", _register, help="add smblock's types to those that xapi runs at its next start")
    register.add_argument("--quiet", action="store_true", help="print warnings and errors only")
    add("unregister", _unregister, help="undo register")
    checks = add("verify", _verify, help="check whether xapi uses what is installed")
    checks.add_argument("--restarted", action="store_true", help="the toolstack has been restarted: xapi has to use it")
    remove = add("uninstall", _uninstall, help="remove what install.sh has installed")
    remove.add_argument("--dry-run", action="store_true", help="print what would be removed")
    remove.add_argument("--restart", action="store_true", help="restart the toolstack afterwards")
    remove.add_argument("--force", action="store_true", help="remove it also if xapi does not reply")
    add("install", None, help="what install.sh does")

    # For the scriptlets of the RPM.
    before = commands.add_parser("before-package")
    before.add_argument("version")
    before.set_defaults(run=lambda options: package.before_package(options.version))
    commands.add_parser("after-package").set_defaults(run=lambda _: package.after_package())
    commands.add_parser("after-update").set_defaults(run=lambda _: package.after_update())
    removal = commands.add_parser("before-removal")
    removal.add_argument("--force", action="store_true")
    removal.set_defaults(run=lambda options: package.before_removal(options.force))
    return parser


def _install_parser():
    text = "Installs smblock on this host of XCP-ng, registers it with xapi, and checks both. Can be repeated."
    command = argparse.ArgumentParser(prog="install.sh", description=text, allow_abbrev=False)
    command.set_defaults(run=_install, name="install.sh", package=_HERE)
    _add_root(command)
    command.add_argument("--wheel", metavar="FILE", help="the wheel (default: the one beside install.sh)")
    command.add_argument("--dry-run", action="store_true", help="print what would be changed, and change nothing")
    what = command.add_mutually_exclusive_group()
    what.add_argument("--uninstall", action="store_true", help="remove smblock, and leave the host as it was before")
    what.add_argument("--verify", action="store_true", help="only check whether xapi uses what is installed")
    command.add_argument("--pool", action="store_true", help="do it on each host of the pool, by ssh, the master first")
    command.add_argument("--hosts", metavar="NAME,…", help="with --pool: on these hosts only")
    command.add_argument("--restart", action="store_true", help="restart the toolstack afterwards")
    command.add_argument("--replace-driver", action="store_true", help="replace another driver of the same name")
    command.add_argument("--force", action="store_true", help="install an older version; remove without xapi")
    return command


def _add_root(parser):
    parser.add_argument("--root", type=_directory, metavar="DIR", help="work below DIR instead of on this host")


def _directory(text):
    if not text:
        raise argparse.ArgumentTypeError("the directory has no name")
    return text


def _register(options):
    plan, changed = registration.register(options.root)
    for warning in plan.warnings:
        print("smblock-setup: %s" % warning, file=sys.stderr)
    if not options.quiet:
        state = "registered" if changed else "already registered"
        print("%s %s: sm-plugins=%s" % (state, " and ".join(DRIVERS), " ".join(plan.types)))


def _unregister(options):
    print("unregistered" if registration.unregister(options.root) else "not registered")


def _verify(options):
    version = versions.installed(options.root)
    if version is None:
        raise SetupError("smblock is not installed: run ./install.sh")
    return installer.report(verify.of_host(options.root, version, options.restarted))


def _uninstall(options):
    return installer.uninstall(options)


def _install(options):
    if options.hosts and not options.pool:
        raise SetupError("--hosts needs --pool")
    if options.pool:
        return pool.run(options)
    if options.uninstall:
        return installer.uninstall(options)
    if options.verify:
        options.restarted = options.restart
        return _verify(options)
    return installer.install(options)


if __name__ == "__main__":
    sys.exit(main())
