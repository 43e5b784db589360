"""The command `smblock`: what an administrator does on a host beside `xe`. One file for each command."""

import argparse
import contextlib
import os
import sys

from smblock import Error, __version__
from smblock.cli import (
    accept,
    adopt,
    check,
    doctor,
    export,
    exports,
    fence,
    metrics,
    pages,
    reclaim,
    release,
    sr,
    status,
    unexport,
    vdi,
)
from smblock.cli.arguments import UsageError
from smblock.cli.output import CliError
from smblock.hosts import LocalSession
from smblock.sm import util

# In the order of the help.
COMMANDS = (check, doctor, status, metrics, sr, vdi, export, exports, unexport)
COMMANDS += (reclaim, release, fence, accept, adopt)

DONE, FAILED, USAGE = 0, 1, 2
EPILOG = """exit status: 0 if the command is done; 1 if it failed; 2 if its arguments are wrong, or --yes is missing.
Commands that have other statuses describe them in their own help."""


class PrintPage(argparse.Action):
    """Prints a page that is made of the parser. What it is made of has no program name of this process."""

    def __init__(self, option_strings, dest, page, help):
        super().__init__(option_strings, dest, nargs=0, help=help)
        self._page = page

    def __call__(self, parser, namespace, values, option_string=None):
        sys.stdout.write(self._page(make_parser("smblock")))
        parser.exit()


def main(arguments=None):
    """Runs one command. Returns the exit status."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    options.session = LocalSession()
    with contextlib.closing(options.session):
        try:
            return options.run(options)
        except UsageError as error:
            options.parser.error(str(error))
        except (Error, CliError) as error:
            print("%s: %s" % (parser.prog, error), file=sys.stderr)
        except Exception as error:
            util.logException("%s %s" % (parser.prog, options.command))
            print("%s: %s; /var/log/SMlog has the details" % (parser.prog, error), file=sys.stderr)
        return getattr(options, "failed", FAILED)


def make_parser(prog=None):
    """The parser of all commands. The man page and the completion are made of it."""
    parser = argparse.ArgumentParser(
        prog=prog or os.path.basename(sys.argv[0]).replace("__main__.py", "smblock"),
        description="smblock's storage for XCP-ng: what xe cannot do. An SR is named by its UUID or its name.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version="smblock " + __version__, help="print the version")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument(
        "--man", action=PrintPage, page=lambda made: pages.man(made, __version__), help="print the man page"
    )
    parser.add_argument("--completion", action=PrintPage, page=pages.completion, help="print the completion of bash")
    commands = parser.add_subparsers(dest="command")
    commands.required = True
    for module in COMMANDS:
        module.add_to(commands)
    return parser
