"""`smblock doctor`: finds what is wrong with SRs and this host, and how to fix it."""

import sys

from smblock import Error, worker
from smblock._core import (
    doctor_report,
    host_findings,
    is_same_finding,
    pool_findings,
    repair_sr,
    sr_findings,
    unreadable_sr,
)
from smblock.cli import srs
from smblock.cli.arguments import add_command, add_sr
from smblock.cli.check import other_configs
from smblock.cli.facts import facts_of
from smblock.cli.output import is_terminal
from smblock.cli.pool_facts import pool_facts
from smblock.cli.repair import remove_stale
from smblock.sm import DATAPATHS, util

EPILOG = """The exit status is 0 if nothing is wrong, 1 if the worst finding is a warning, 2 if something fails, and 3
if the doctor cannot look, because XAPI does not reply, for example. docs/user/findings.md describes each id."""
CANNOT_LOOK = 3
# What of a finding's severity is no trouble.
NO_TROUBLE = ("ok", "note", "not run")


def add_to(commands):
    parser = add_command(
        commands,
        "doctor",
        _run,
        help="find what is wrong with an SR, or with all SRs of this host, and how to fix it",
        epilog=EPILOG,
    )
    parser.add_argument("--all", action="store_true", help="also show what is well")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="do what the next scan and the next plug would do: finish or undo what dead processes left, release "
        "claims that are over, unmap devices that no VDI uses, free space; remove SM's keys and links of hosts that do "
        "not use a VDI",
    )
    add_sr(parser)
    parser.set_defaults(failed=CANNOT_LOOK)


def _run(options):
    found = srs.one_or_all(options)
    if options.repair:
        _repair_all(options, found)
    report = report_of(options.session, found, options.json, options.all)
    print(report.text)
    return report.status


def report_of(get_session, found, as_json, everything=False):
    """The report on these SRs, the pool and this host. `get_session` returns the XAPI session."""
    sections = [("SR %s (%s)" % (sr.uuid, sr.name or sr.type), look_at(get_session, sr)) for sr in found]
    sections += _look_at_pool(get_session)
    sections.append(("this host", host_findings(sorted({sr.type for sr in found}))))
    return doctor_report(sections, as_json, everything)


def _look_at_pool(get_session):
    """The section about the versions of the pool's hosts; empty if XAPI cannot be asked."""
    try:
        return [("this pool", pool_findings(pool_facts(get_session())))]
    except Exception as error:
        util.logException("doctor: asking XAPI for the versions of hosts")
        print("the versions of the pool's hosts are unknown: %s" % error, file=sys.stderr)
        return []


def look_at(get_session, sr):
    """The findings about an SR."""
    if is_terminal():
        print("looking at SR %s (%s) ..." % (sr.uuid, sr.name), file=sys.stderr)
    try:
        core = sr.open(get_session)
        others = other_configs(get_session, sr.type)
        return sr_findings(core, DATAPATHS, others, facts_of(get_session(), sr))
    except Error as error:
        return [unreadable_sr(sr.uuid, str(error))]


def _repair_all(options, found):
    """Repairs each SR, and prints what is well since."""
    for sr in found:
        before = look_at(options.session, sr)
        try:
            core = sr.open(options.session)
            repair_sr(core)
        except Error as error:
            print("SR %s: not repaired: %s" % (sr.uuid, error), file=sys.stderr)
            continue
        if core.needs_worker:
            worker.start(sr.uuid, sr.device_config, util.SMlog)
            _tell(options, "SR %s: started the reclaim worker" % sr.uuid)
        remove_stale(options.session(), before)
        after = look_at(options.session, sr)
        for old in before:
            was_trouble = old.severity not in NO_TROUBLE or old.remedy is not None
            if was_trouble and not any(is_same_finding(old, new) for new in after):
                _tell(options, "SR %s: repaired %s %s: %s" % (sr.uuid, old.id, old.object, old.found))


def _tell(options, text):
    """What was done; with --json stdout has the report only."""
    print(text, file=sys.stderr if options.json else sys.stdout)
