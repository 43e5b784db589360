"""What SRs of type crucible have beside their core: XAPI's database, and servers' processes."""

import os

from smblock._core import Error, serve_crucible
from smblock.hosts import DECLARED_DEAD, NO_SUCH_HOST, Hosts, LocalSession, failure_code
from smblock.sm import util
from smblock.vdi import CoreVDI

# The program that looks after one server; its run folder is added.
RUNNER = [os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "smblock-crucible-server")]

NO_SUCH_OBJECT = ("UUID_INVALID", "HANDLE_INVALID")

# Key of host.other_config: the boot id of the host, in the boot in which it last plugged or used an SR.
BOOT = "smblock_boot"

# The driver's own keys in a VDI's sm_config.
PREFIX = "crucible_"
SERVER_DIED = "SMBLOCK_CRUCIBLE_SERVER_DIED"
PRIORITY = "2"  # of messages: something is degraded, and may get worse


class CrucibleXapi:
    """XAPI's database and secrets, for the core. VDIs, hosts and secrets are named by UUID."""

    runner = RUNNER

    def __init__(self, session, sr_uuid):
        self._session = session
        self._sr_uuid = sr_uuid

    def sm_config(self, vdi_uuid):
        """A VDI's sm_config; None where XAPI has no such VDI."""
        try:
            return self._vdi.get_sm_config(self._vdi.get_by_uuid(vdi_uuid))
        except Exception as error:
            if failure_code(error) in NO_SUCH_OBJECT:
                return None
            raise

    def add(self, vdi_uuid, key, value):
        """Adds a key to a VDI's sm_config; False: somebody has added it before."""
        try:
            self._vdi.add_to_sm_config(self._vdi.get_by_uuid(vdi_uuid), key, value)
        except Exception as error:
            if failure_code(error) == "MAP_DUPLICATE_KEY":
                return False
            raise
        return True

    def remove(self, vdi_uuid, key):
        self._vdi.remove_from_sm_config(self._vdi.get_by_uuid(vdi_uuid), key)

    def vdis(self):
        """The sm_config of each VDI of the SR."""
        sr_ref = self._session.xenapi.SR.get_by_uuid(self._sr_uuid)
        records = self._vdi.get_all_records_where('field "SR" = "%s"' % sr_ref)
        return {record["uuid"]: record["sm_config"] for record in records.values()}

    def pool_uuid(self):
        (pool,) = self._session.xenapi.pool.get_all_records().values()
        return pool["uuid"]

    def host_state(self, host_uuid):
        """Whether a host was declared dead, and the boot it has published; None if XAPI has no such host.

        `host_metrics.live` is not asked: that XAPI has not heard from a host does not stop its servers.
        """
        host = self._session.xenapi.host
        try:
            noted = host.get_other_config(host.get_by_uuid(host_uuid))
        except Exception as error:
            if failure_code(error) in NO_SUCH_HOST:
                return None
            raise
        return DECLARED_DEAD in noted, noted.get(BOOT)

    def settle_host(self, host_uuid, vdi_uuid):
        """What that host's plugin replies about a VDI, as JSON; empty if it cannot be asked."""
        return self._hosts(self._sr_uuid).settle_host(host_uuid, vdi_uuid)

    def publish_boot(self, boot_id):
        """Lets all hosts see in which boot this one is: claims of an earlier one are over."""
        host = self._session.xenapi.host
        me = host.get_by_uuid(util.get_this_host())
        if host.get_other_config(me).get(BOOT) != boot_id:
            host.remove_from_other_config(me, BOOT)
            host.add_to_other_config(me, BOOT, boot_id)

    def revive(self, host_uuid):
        """Removes the note that a host was declared dead."""
        host = self._session.xenapi.host
        host.remove_from_other_config(host.get_by_uuid(host_uuid), DECLARED_DEAD)

    def tell(self, vdi_uuid, title, text):
        """Raises an alert on the VDI's SR: Xen Orchestra shows no message about a VDI."""
        vdi = self._vdi.get_by_uuid(vdi_uuid)
        sr_uuid = self._sr_uuid or self._session.xenapi.SR.get_uuid(self._vdi.get_SR(vdi))
        about = "VDI %s (%s): %s" % (vdi_uuid, self._vdi.get_name_label(vdi), text)
        self._hosts(sr_uuid).alert(title, PRIORITY, "SR", sr_uuid, about)

    def _hosts(self, sr_uuid):
        return Hosts(lambda: self._session, sr_uuid)

    def secret(self, secret_uuid):
        secret = self._session.xenapi.secret
        return secret.get_value(secret.get_by_uuid(secret_uuid))

    @property
    def _vdi(self):
        return self._session.xenapi.VDI


class OwnKeys:
    """Keys of a VDI's sm_config that SM must leave alone, for its test `key in sm_config_keep`.

    A scan removes every key that was not there when it began. A claim that another host makes
    meanwhile is such a key, and of a name that nobody knows beforehand.
    """

    def __init__(self, others):
        self._others = others

    def __contains__(self, key):
        return key.startswith(PREFIX) or key in self._others


class CrucibleVDI(CoreVDI):
    """A volume."""

    def load(self, vdi_uuid):
        super().load(vdi_uuid)
        self.sm_config_keep = OwnKeys(self.sm_config_keep)

    def update(self, sr_uuid, vdi_uuid):
        """XAPI alone keeps names and descriptions: there is no record to read."""


def run_server(folder):
    """Serves a volume until its server ends. Raises an alert if the server ended by itself. Returns the exit status."""
    try:
        died = serve_crucible(folder, lambda line: util.SMlog("crucible: " + line))
    except Error as error:
        util.SMlog("crucible: %s" % error)
        return 1
    if died is None:
        return 0
    vdi_uuid = os.path.basename(os.path.normpath(folder))
    text = "The server of this disk on host %s ended: %s. Its I/O fails" % (util.get_this_host(), died)
    try:
        with LocalSession() as session:
            CrucibleXapi(session, None).tell(vdi_uuid, SERVER_DIED, text + " until it is unplugged and plugged again.")
    except Exception as error:  # XAPI may be what has failed; the log has it all the same
        util.SMlog("crucible: %s (and XAPI is not told: %s)" % (text, error))
    return 1
