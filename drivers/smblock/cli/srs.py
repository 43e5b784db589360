"""Finding SRs in XAPI, and opening their core."""

import uuid

from smblock import sr_type_of
from smblock.cli.arguments import UsageError
from smblock.cli.output import CliError
from smblock.core import open_core
from smblock.sm import util

SR_TYPES = ("cephrbd", "crucible")


class FoundSr:
    """An SR, and the device-config with which this host reaches it. XAPI may not have it: then it has no name.

    plugged     whether it is plugged on this host; None if it has no PBD of this host
    """

    def __init__(self, sr_uuid, sr_type, device_config, name="", plugged=None, ref=None):
        self.uuid = sr_uuid
        self.type = sr_type
        self.device_config = device_config
        self.name = name
        self.plugged = plugged
        self.ref = ref

    def open(self, session):
        """The core. `session` returns the XAPI session if it is needed."""
        return open_core(self.type, session, self.uuid, self.device_config)


def all_srs(session):
    """Every SR of smblock's types in this pool, sorted by name."""
    srs = {}
    for sr_type in SR_TYPES:
        srs.update(session.xenapi.SR.get_all_records_where('field "type" = "%s"' % sr_type))
    here = util.get_this_host_ref(session)
    pbds = session.xenapi.PBD.get_all_records_where('field "host" = "%s"' % here) if srs else {}
    by_sr = {pbd["SR"]: pbd for pbd in pbds.values()}
    found = [_found(session, ref, sr, by_sr.get(ref)) for ref, sr in srs.items()]
    return sorted(found, key=lambda sr: (sr.name, sr.uuid))


def one_or_all(options):
    """The SR that the arguments name, or all SRs that this host has a PBD of."""
    if options.sr or options.words or options.device_config:
        return [find(options)]
    try:
        with options.session as session:
            return [sr for sr in all_srs(session) if sr.plugged is not None and sr.device_config]
    except Exception as error:
        raise CliError("cannot ask this host's XAPI for its SRs: %s" % error) from error


def host_names(options):
    """The names of the pool's hosts, by UUID. None of them if XAPI cannot be asked."""
    try:
        with options.session as session:
            hosts = session.xenapi.host.get_all_records().values()
            return {host["uuid"]: host["name_label"] for host in hosts}
    except Exception:
        util.logException("asking XAPI for the names of hosts")
        return {}


def find(options):
    """The SR that the arguments name."""
    word = _word(options)
    by_hand = options.device_config
    try:
        found = _matching(options.session(), word)
    except Exception as error:
        if not (by_hand and is_uuid(word)):
            raise CliError("cannot ask this host's XAPI for SR %s: %s" % (word, error)) from error
        util.logException("SR %s: asking XAPI for its type" % word)
        found = []
    finally:
        options.session.close()  # the work may take hours; a later use of XAPI opens another session
    if len(found) > 1:
        uuids = ", ".join(sr.uuid for sr in found)
        raise CliError("several SRs have the name %r: give the UUID of one of them: %s" % (word, uuids))
    if found:
        (sr,) = found
        sr.device_config = by_hand or sr.device_config
        if sr.device_config is None:
            raise CliError("SR %s has no PBD, so its device-config is not known: give it as for xe sr-create" % sr.uuid)
        return sr
    if by_hand and is_uuid(word):
        return FoundSr(str(uuid.UUID(word)), sr_type_of(by_hand), by_hand)
    fix = "give its UUID" if by_hand else "list the SRs with: smblock sr list"
    raise CliError("this pool has no SR %s of type %s: %s" % (word, " or ".join(SR_TYPES), fix))


def _word(options):
    words = [options.sr] if options.sr else options.words
    if not words:
        raise UsageError("an SR is missing: give its UUID or its name")
    return words[0]


def _matching(session, word):
    """The SRs of smblock's types with that UUID or name."""
    matching = [sr for sr in all_srs(session) if word in (sr.uuid, sr.name)]
    return [sr for sr in matching if sr.uuid == word] or matching


def _found(session, ref, sr, pbd):
    if pbd is None:
        pbds = list(session.xenapi.PBD.get_all_records_where('field "SR" = "%s"' % ref).values())
        config = pbds[0]["device_config"] if pbds else None
        return FoundSr(sr["uuid"], sr["type"], config, sr["name_label"], None, ref)
    plugged = bool(pbd["currently_attached"])
    return FoundSr(sr["uuid"], sr["type"], pbd["device_config"], sr["name_label"], plugged, ref)


def is_uuid(word):
    try:
        uuid.UUID(word)
    except ValueError:
        return False
    return True
