#!/usr/bin/python3
"""Simulator of SM's resetvdis: it clears the tags of hosts in VDI records."""

import sys

import lock
import util
import XenAPI


def reset_sr(session, host_uuid, sr_uuid, is_sr_master):
    """Runs before each sr_attach: clears this host's tags, and on the master the paused tags, too."""
    locks = [lock.Lock(lock.LOCK_TYPE_GC_RUNNING, sr_uuid), lock.Lock("sr", sr_uuid)]
    for each in locks:
        each.acquire()
    try:
        sr_ref = session.xenapi.SR.get_by_uuid(sr_uuid)
        host_key = f"host_{session.xenapi.host.get_by_uuid(host_uuid)}"
        util.SMlog(f"RESET for SR {sr_uuid} (master: {is_sr_master})")
        records = session.xenapi.VDI.get_all_records_where(f'field "SR" = "{sr_ref}"')
        for vdi_ref, record in records.items():
            if record["sm_config"].get(host_key):
                session.xenapi.VDI.remove_from_sm_config(vdi_ref, host_key)
            if is_sr_master and record["sm_config"].get("paused"):
                session.xenapi.VDI.remove_from_sm_config(vdi_ref, "paused")
    finally:
        for each in reversed(locks):
            each.release()


def reset_vdi(session, vdi_uuid, force, term_output=True, writable=True):
    """Asks each host of a tag whether it has the VDI open, and clears the tags of those that do not.

    Returns False if one has it open. The plugin on-slave finds only drivers that SM ships,
    and fails for others: then this fails, too.
    """

    def say(message):
        util.SMlog(message)
        if term_output:
            print(message)

    vdi_ref = session.xenapi.VDI.get_by_uuid(vdi_uuid)
    record = session.xenapi.VDI.get_record(vdi_ref)
    clean = True
    for key in [key for key in record["sm_config"] if key.startswith("host_")]:
        host_ref = key[len("host_") :]
        try:
            host = session.xenapi.host.get_record(host_ref)["uuid"]
        except XenAPI.Failure as failure:
            say(f"Invalid host: {host_ref} ({failure})")
            session.xenapi.VDI.remove_from_sm_config(vdi_ref, key)
            continue
        if (
            not force
            and session.xenapi.host.call_plugin(
                host_ref, "on-slave", "is_open", {"vdiUuid": vdi_uuid, "srRef": record["SR"]}
            )
            != "False"
        ):
            say(f"ERROR: VDI {vdi_uuid} is still open on host {host}")
            if writable:
                return False
            clean = False
            continue
        session.xenapi.VDI.remove_from_sm_config(vdi_ref, key)
        say(f"Cleared {vdi_uuid} on host {host}")
    return clean


def main(arguments):
    """`resetvdis.py [all] HOST_UUID SR_UUID [--master]`, or `resetvdis.py single VDI_UUID [--force]`."""
    session = util.get_localAPI_session()
    try:
        if arguments[0] == "single":
            reset_vdi(session, arguments[1], force="--force" in arguments[2:])
        else:
            host_uuid, sr_uuid, *flags = arguments[1:] if arguments[0] == "all" else arguments
            reset_sr(session, host_uuid, sr_uuid, "--master" in flags)
    finally:
        session.xenapi.session.logout()


if __name__ == "__main__":
    main(sys.argv[1:])
