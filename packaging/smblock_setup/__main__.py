"""smblock-setup: what install.sh, the RPM's scriptlets and xapi's start do on a host."""

import argparse
import sys

from smblock_setup import DRIVERS, SetupError, reason, registration


def main(arguments=None):
    """Runs one command; the exit status is 0 if it succeeded."""
    options = _parser().parse_args(arguments)
    options.root = options.root.rstrip("/")
    try:
        return options.run(options) or 0
    except SetupError as error:
        text = str(error)
    except OSError as error:
        text = "%s: %s" % (error.filename, reason(error))
    print("%s: %s" % (options.name, text), file=sys.stderr)
    return 1


def _parser():
    parser = argparse.ArgumentParser(prog="smblock-setup", description="smblock on a host of XCP-ng")
    parser.set_defaults(name="smblock-setup")
    commands = parser.add_subparsers(dest="command")
    commands.required = True

    add = commands.add_parser("register", help="add smblock's types to those that xapi runs at its next start")
    _add_root(add)
    add.add_argument("--quiet", action="store_true", help="print warnings and errors only")
    add.set_defaults(run=_register)

    remove = commands.add_parser("unregister", help="undo register")
    _add_root(remove)
    remove.set_defaults(run=_unregister)
    return parser


def _add_root(parser):
    parser.add_argument("--root", default="", metavar="DIR", help="work below DIR instead of on this host")


def _register(options):
    plan, changed = registration.register(options.root)
    for warning in plan.warnings:
        print("smblock-setup: %s" % warning, file=sys.stderr)
    if not options.quiet:
        state = "registered" if changed else "already registered"
        print("%s %s: sm-plugins=%s" % (state, " and ".join(DRIVERS), " ".join(plan.types)))


def _unregister(options):
    print("unregistered" if registration.unregister(options.root) else "not registered")


if __name__ == "__main__":
    sys.exit(main())
