"""Simulator of SM's util: the helpers that a raw-block SM driver and SM's own base classes use."""

import contextlib
import copy
import datetime
import errno
import os
import re
import subprocess
import sys
import syslog
import traceback
import uuid as _uuid
import xml.dom.minidom
import xmlrpc.client

import XenAPI
import xs_errors
from fist import FistPoint

LOG_INFO = syslog.LOG_INFO
LOG_WARNING = syslog.LOG_WARNING
LOG_ERR = syslog.LOG_ERR
LOG_DEBUG = syslog.LOG_DEBUG

INVENTORY = "/etc/xensource-inventory"
# the log file of a host without a syslog daemon
LOG_FILE = "/run/sm/SMlog"

PASSWD_PROP_KEYS = ["password", "cifspassword", "chappassword", "incoming_chappassword"]
DEFAULT_SEGMENT_LEN = 950

# control characters, surrogates, and the two noncharacters at the end of each plane
_ILLEGAL_XML = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufddf%s]"
    % "".join(chr(plane << 16 | end) for plane in range(17) for end in (0xFFFE, 0xFFFF))
)


class SMException(Exception):
    """Base of SM's own errors: SRCommand gives them the number of the command that failed."""


class CommandException(SMException):
    def __init__(self, code, cmd="", reason="exec failed"):
        self.code, self.cmd, self.reason = code, cmd, reason
        SMException.__init__(self, self.error_message(code))

    @staticmethod
    def error_message(code):
        if code < 0:
            return f"Signalled {abs(code)}"
        return os.strerror(code) if code else "Success"


class SRBusyException(SMException):
    """The SR could not be locked."""


# --- log


def SMlog(message, ident="SM", priority=LOG_INFO):
    lines = [f"[{os.getpid()}] {line}" for line in str(message).split("\n")]
    if os.path.exists("/dev/log"):
        syslog.openlog(ident, 0, syslog.LOG_LOCAL2)
        for line in lines:
            syslog.syslog(priority, line)
        syslog.closelog()
        return
    now = datetime.datetime.now().strftime("%b %d %H:%M:%S")
    makedirs(os.path.dirname(LOG_FILE))
    with open(LOG_FILE, "a") as log:
        log.writelines(f"{now} {ident}: {line}\n" for line in lines)


fistpoint = FistPoint([], SMlog)


def logException(tag):
    kind, value, where = sys.exc_info()
    if kind is SystemExit:
        sys.exit(0)
    SMlog("***** {}: EXCEPTION {}, {}\n{}".format(tag, kind, value, "".join(traceback.format_tb(where))))


def hidePasswdInConfig(config):
    hidden = [key for key in PASSWD_PROP_KEYS if key in config]
    if not hidden:
        return config
    config = copy.deepcopy(config)
    config.update((key, "******") for key in hidden)
    return config


def hidePasswdInParams(params, configProp):
    """Changes the struct itself, as SM does: the driver's srcmd.params lose the value, too; dconf keeps it."""
    params[configProp] = hidePasswdInConfig(params[configProp])
    return params


def splitXmlText(xmlData, segmentLen=DEFAULT_SEGMENT_LEN, showContd=False):
    rest = str(xmlData).replace("\n", "").replace("\t", "")
    lines = []
    while len(rest) > segmentLen:
        end = rest.rfind(">", 0, segmentLen) + 1 or segmentLen
        lines.append(rest[:end])
        rest = rest[end:]
    lines.append(rest)
    if not showContd:
        return "\n".join(lines)
    last = len(lines) - 1
    return "\n".join(
        ("(Cont'd): " if number else "") + line + (" (Cont'd):" if number < last else "")
        for number, line in enumerate(lines)
    )


# --- values


def roundup(divisor, value):
    return -(-(int(value) or 1) // divisor) * divisor


def to_plain_string(obj):
    return None if obj is None else str(obj)


def default(self, field, thunk):
    return getattr(self, field) if hasattr(self, field) else thunk()


def gen_uuid():
    return str(_uuid.uuid4())


def match_uuid(s):
    return re.search("^[0-9a-f]{8}-(([0-9a-f]{4})-){3}[0-9a-f]{12}", s)


def isLegalXMLString(s):
    return _ILLEGAL_XML.search(s) is None


def strtobool(s):
    if s.lower() in ("y", "yes", "t", "true", "on", "1"):
        return True
    if s.lower() in ("n", "no", "f", "false", "off", "0"):
        return False
    raise ValueError(f"invalid truth value '{s}'")


# --- processes and files


def doexec(args, inputtext=None, new_env=None, text=True):
    """Returns (exit status or minus the signal, stdout, stderr)."""
    env = dict(os.environ, **new_env) if new_env else None
    process = subprocess.Popen(
        args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, universal_newlines=text
    )
    if not text and inputtext is not None:
        inputtext = inputtext.encode()
    stdout, stderr = process.communicate(inputtext)
    return process.returncode, stdout, stderr


def pread(cmdlist, close_stdin=False, scramble=None, expect_rc=0, quiet=False, new_env=None, text=True):
    """Runs a command and returns its stdout; an item (real, shown) is logged as shown."""
    shown = [item if isinstance(item, str) else item[1] for item in cmdlist]
    if scramble:
        shown = ["<filtered out>" if scramble in item else item for item in shown]
    if not quiet:
        SMlog(shown)
    rc, stdout, stderr = doexec(
        [item if isinstance(item, str) else item[0] for item in cmdlist], new_env=new_env, text=text
    )
    if rc != expect_rc:
        SMlog(f"FAILED in util.pread: (rc {rc}) stdout: '{stdout}', stderr: '{stderr}'")
        raise CommandException(rc, str(cmdlist), (stderr or stdout).strip())
    return stdout


def pread2(cmdlist, quiet=False, text=True):
    return pread(cmdlist, quiet=quiet, text=text)


def pathexists(path):
    """True if anything is at that path, also a dangling link."""
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno == errno.EIO:
            raise CommandException(errno.EIO, f"os.lstat({path})", "failed") from error
        return False
    return True


def makedirs(name, mode=0o777):
    os.makedirs(name, mode, exist_ok=True)


def force_unlink(path):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def set_scheduler_sysfs_node(node, scheds):
    path = os.path.join(node, "queue", "scheduler")
    if not os.path.exists(path):
        SMlog(f"no path {path}")
        return
    for sched in scheds:
        try:
            with open(path, "w") as scheduler:
                scheduler.write(f"{sched}\n")
            return
        except OSError as error:
            SMlog(f"Error setting scheduler [{sched}] on [{node}], {error}")


# --- what a driver prints


def sr_get_driver_info(driver_info):
    info = {
        key: driver_info[key]
        for key in ("name", "description", "vendor", "copyright", "driver_version", "required_api_version")
    }
    capabilities = driver_info["capabilities"]
    if "ATOMIC_PAUSE" in capabilities:
        capabilities.extend(extra for extra in ("VDI_ACTIVATE", "VDI_DEACTIVATE") if extra not in capabilities)
    info["capabilities"] = capabilities
    info["configuration"] = [{"key": option[0], "description": option[1]} for option in driver_info["configuration"]]
    return xmlrpc.client.dumps((info,), "", True)


def return_nil():
    return xmlrpc.client.dumps((None,), "", True, allow_none=True)


def SRtoXML(SRlist):
    """The reply to sr_probe: {sr uuid: {size, storagepool, aggregate}}, all but the uuid optional."""
    document = xml.dom.minidom.Document()
    top = document.appendChild(document.createElement("SRlist"))

    def add(parent, tag, value):
        parent.appendChild(document.createElement(tag)).appendChild(document.createTextNode(str(value)))

    for sr_uuid, found in SRlist.items():
        entry = top.appendChild(document.createElement("SR"))
        add(entry, "UUID", sr_uuid)
        for key, tag in (("size", "Size"), ("storagepool", "StoragePool"), ("aggregate", "Aggregate")):
            if key in found:
                add(entry, tag, found[key])
    return document.toprettyxml()


# --- this host, and xapi's records


def _inventory(key):
    found = None
    with open(INVENTORY) as inventory:
        for line in inventory:
            if line.startswith(key):
                found = line.split("'")[1]
    return found


def get_this_host():
    return _inventory("INSTALLATION_UUID")


def get_this_host_ref(session):
    return session.xenapi.host.get_by_uuid(get_this_host())


def get_localhost_ref(session):
    """This host, found by its control domain, as in SM."""
    try:
        domain = _inventory("CONTROL_DOMAIN_UUID")
    except OSError as error:
        raise xs_errors.XenError("EIO", opterr=f"Unable to open inventory file [{INVENTORY}]") from error
    if not domain:
        raise xs_errors.XenError("APILocalhost")
    for record in session.xenapi.VM.get_all_records_where(f'field "uuid" = "{domain}"').values():
        if record["uuid"] == domain:
            return record["resident_on"]
    raise xs_errors.XenError("APILocalhost")


def get_localAPI_session():
    session = XenAPI.xapi_local()
    try:
        session.xenapi.login_with_password("root", "", "", "SM")
    except Exception as error:
        raise xs_errors.XenError("APISession") from error
    return session


def get_master_ref(session):
    return session.xenapi.pool.get_master(session.xenapi.pool.get_all()[0])


def is_master(session):
    return get_this_host_ref(session) == get_master_ref(session)


def get_secret(session, uuid):
    try:
        return session.xenapi.secret.get_value(session.xenapi.secret.get_by_uuid(uuid))
    except Exception as error:
        raise xs_errors.XenError("InvalidSecret", opterr=f"Unable to look up secret [{uuid}]") from error


def sr_get_capability(sr_uuid, session=None):
    local = None
    if session is None:
        session = local = get_localAPI_session()
    try:
        sr_type = session.xenapi.SR.get_record(session.xenapi.SR.get_by_uuid(sr_uuid))["type"]
        plugins = session.xenapi.SM.get_all_records_where(f'field "type" = "{sr_type}"')
        return list(plugins.values())[0]["capabilities"] if plugins else []
    finally:
        if local:
            local.xenapi.session.logout()


def get_hosts_attached_on(session, vdi_uuids):
    hosts = {}
    for vdi_uuid in vdi_uuids:
        try:
            vdi_ref = session.xenapi.VDI.get_by_uuid(vdi_uuid)
        except XenAPI.Failure:
            SMlog(f"VDI {vdi_uuid} not in db, ignoring")
            continue
        hosts.update(
            (key[len("host_") :], True) for key in session.xenapi.VDI.get_sm_config(vdi_ref) if key.startswith("host_")
        )
    return hosts.keys()


def get_online_hosts(session):
    return [
        ref
        for ref, record in session.xenapi.host.get_all_records().items()
        if session.xenapi.host_metrics.get_record(record["metrics"])["live"]
    ]


def attached_as(sm_config):
    for key, mode in sm_config.items():
        if key.startswith("host_") and mode in ("RW", "RO"):
            return mode
    return None


def is_attached_rw(sm_config):
    return any(key.startswith("host_") and mode == "RW" for key, mode in sm_config.items())


def find_my_pbd_record(session, host_ref, sr_ref):
    try:
        for ref, record in session.xenapi.PBD.get_all_records().items():
            if record["host"] == host_ref and record["SR"] == sr_ref:
                return [ref, record]
    except Exception as error:
        SMlog(f"Caught exception while looking up PBD for host {host_ref} SR {sr_ref}: {error}")
    return None


def find_my_pbd(session, host_ref, sr_ref):
    found = find_my_pbd_record(session, host_ref, sr_ref)
    return found[0] if found else None


def list_VDI_records_in_sr(sr):
    sr_ref = sr.session.xenapi.SR.get_by_uuid(sr.uuid)
    return sr.session.xenapi.VDI.get_all_records_where(f'field "SR" = "{sr_ref}"')


def set_dirty(session, sr):
    try:
        session.xenapi.SR.add_to_other_config(sr, "dirty", "")
    except Exception:
        SMlog(f"set_dirty {sr} failed (flag already set?)")


def isInvalidVDI(exception):
    return exception.details[0] in ("HANDLE_INVALID", "UUID_INVALID")


def read_caching_is_restricted(session):
    if session is None:
        return True
    pool = list(session.xenapi.pool.get_all_records().values())[0]
    return pool["restrictions"].get("restrict_read_caching") == "true"
