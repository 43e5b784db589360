"""`smblock reclaim`: frees the space of deleted disks."""

import json
import os
import signal

from smblock._core import pending_work
from smblock.cli import srs
from smblock.cli.arguments import add_command, add_sr
from smblock.cli.output import show
from smblock.progress import SHOWN, Progress, print_state
from smblock.sm import util

NOTHING = "nothing pending"


def add_to(commands):
    parser = add_command(
        commands,
        "reclaim",
        _run,
        help="free the space of deleted disks now, flatten disks with long clone chains, count what each disk takes",
        epilog="The exit status is 1 if an image failed; the text has the reason. An image that waits is no failure.",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--list", action="store_true", help="only list the pending work, and what it waits for")
    how.add_argument("--background", action="store_true", help="run at low priority, and log to SMlog only")
    add_sr(parser)


def _run(options):
    sr = srs.find(options).open(options.session)
    if options.list:
        return _list(options, pending_work(sr))
    # Ctrl-C may end it at any point. Python's own handler would wait until the core returns.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if options.background:
        os.nice(19)
        return 1 if sr.reclaim(_log_state, background=True) else 0
    progress = Progress()
    failed = sr.reclaim(_print_json if options.json else progress.report)
    progress.end()
    if not (options.json or progress.reports):
        print(NOTHING)
    return 1 if failed else 0


def _list(options, pending):
    if options.json:
        rows = [{"image": item.image, "work": item.work, "waits_for": item.waits_for} for item in pending]
        return show(options, "", rows)
    if not pending:
        print(NOTHING)
    for item in pending:
        text = "; ".join(filter(None, [item.work, item.waits_for]))
        print_state("waits" if item.waits_for else "pending", item.image, text)
    return 0


def _log_state(state, image, text, _done, _total):
    if state in ("done", "failed"):
        util.SMlog("reclaim: %s %s: %s" % (state, image, text))


def _print_json(state, image, text, _done, _total):
    """One object a line."""
    if state not in SHOWN:
        print(json.dumps({"state": state, "image": image, "text": text}, sort_keys=True), flush=True)
