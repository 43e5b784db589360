"""`smblock metrics`: the SRs that are plugged on this host, in the text format of Prometheus."""

import os
import sys
import tempfile

from smblock._core import metrics_page
from smblock.cli import srs
from smblock.cli.arguments import add_command
from smblock.cli.output import CliError
from smblock.health import look_at
from smblock.sm import util

EPILOG = """An SR that cannot be read has smblock_sr_up 0. docs/user/monitoring.md describes each metric."""


def add_to(commands):
    parser = add_command(
        commands, "metrics", _run, help="print metrics of this host's SRs for Prometheus", epilog=EPILOG
    )
    parser.add_argument(
        "--output", metavar="FILE", help="write them to this file, which is replaced as a whole; for node_exporter"
    )


def _run(options):
    page = page_of(options.session)
    if options.output:
        _replace(options.output, page)
    else:
        sys.stdout.write(page)
    return 0


def page_of(get_session):
    """The metrics of this host's plugged SRs."""
    try:
        session = get_session()
        found = [sr for sr in srs.all_srs(session) if sr.plugged]
        name = session.xenapi.host.get_name_label(util.get_this_host_ref(session))
    except Exception as error:
        raise CliError("cannot ask this host's XAPI for its SRs: %s" % error) from error
    seen = look_at(session, found)
    return metrics_page(name, [(each.sr.uuid, each.sr.type, each.sr.name, each.health, each.seconds) for each in seen])


def _replace(path, text):
    """Writes a file in one step. Others may read it: it contains no secret."""
    directory = os.path.dirname(os.path.abspath(path))
    try:
        descriptor, new = tempfile.mkstemp(prefix=".smblock.", dir=directory)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(new, 0o644)
            os.rename(new, path)
        except Exception:
            os.unlink(new)
            raise
    except OSError as error:
        raise CliError("cannot write %s: %s" % (path, error)) from error
