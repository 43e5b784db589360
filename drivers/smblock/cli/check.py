"""`smblock check`: whether this host can serve an SR, before one is created."""

from smblock import check, sr_type_of
from smblock.cli import srs
from smblock.cli.arguments import add_command, add_sr
from smblock.sm import DATAPATHS, util


def add_to(commands):
    parser = add_command(
        commands, "check", _run, help="check each part that an SR needs on this host, before creating one"
    )
    add_sr(parser)


def _run(options):
    if options.sr or options.words:
        sr = srs.find(options)
        config, sr_type = sr.device_config, sr.type
    else:
        config = options.device_config
        sr_type = sr_type_of(config)
    report = check(sr_type, config, DATAPATHS, other_configs(options.session, sr_type), options.json)
    print(report.text)
    return 0 if report.healthy else 1


def other_configs(get_session, sr_type):
    """Returns the device-configs of this host's SRs of a type. Empty if XAPI cannot be asked."""
    try:
        session = get_session()
        xenapi = session.xenapi
        here = util.get_this_host_ref(session)
        of_type = xenapi.SR.get_all_records_where('field "type" = "%s"' % sr_type)
        pbds = xenapi.PBD.get_all_records_where('field "host" = "%s"' % here)
        return [pbd["device_config"] for pbd in pbds.values() if pbd["SR"] in of_type]
    except Exception:
        util.logException("check: asking XAPI for this host's other SRs")
        return []
