"""SRs of type crucible: XAPI's database for the core."""

import os

from smblock.alarms import NO_SUCH_OBJECT, Alarms
from smblock.hosts import DECLARED_DEAD, NO_SUCH_HOST, Hosts, failure_code
from smblock.sm import util
from smblock.vdi import CoreVDI

# The command that supervises one server. The server's runtime directory is added.
SUPERVISOR = [os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "smblock-crucible-server")]

# Key of host.other_config: the boot in which the host last plugged or used an SR.
BOOT = "smblock_boot"

# The driver's own keys in a VDI's sm_config.
PREFIX = "crucible_"


class CrucibleXapi(Alarms):
    """XAPI's database and secrets, for the core. VDIs, hosts and secrets are named by UUID."""

    server_supervisor = SUPERVISOR

    def __init__(self, session, sr_uuid):
        self._session = session
        self._sr_uuid = sr_uuid

    def sm_config(self, vdi_uuid):
        """Returns a VDI's sm_config. None if XAPI has no such VDI."""
        try:
            return self._vdi.get_sm_config(self._vdi.get_by_uuid(vdi_uuid))
        except Exception as error:
            if failure_code(error) in NO_SUCH_OBJECT:
                return None
            raise

    def add(self, vdi_uuid, key, value):
        """Adds a key to a VDI's sm_config. Returns False if the key exists."""
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
        """Returns the sm_config of each VDI of the SR, by UUID."""
        sr_ref = self._session.xenapi.SR.get_by_uuid(self._sr_uuid)
        records = self._vdi.get_all_records_where('field "SR" = "%s"' % sr_ref)
        return {record["uuid"]: record["sm_config"] for record in records.values()}

    def pool_uuid(self):
        (pool,) = self._session.xenapi.pool.get_all_records().values()
        return pool["uuid"]

    def host_state(self, host_uuid):
        """Returns whether a host was declared dead, and the boot that it has published. None if XAPI has no such host.

        `host_metrics.live` is not read: a missing heartbeat does not stop the servers of a host.
        """
        host = self._session.xenapi.host
        try:
            noted = host.get_other_config(host.get_by_uuid(host_uuid))
        except Exception as error:
            if failure_code(error) in NO_SUCH_HOST:
                return None
            raise
        return DECLARED_DEAD in noted, noted.get(BOOT)

    def reconcile_host(self, host_uuid, vdi_uuid):
        """Returns the reply of a host's plugin about a VDI, as JSON. Empty if the host cannot be asked."""
        return Hosts(lambda: self._session, self._sr_uuid).reconcile_host(host_uuid, vdi_uuid)

    def publish_boot(self, boot_id):
        """Publishes the boot of this host. Its claims of an earlier boot are over then."""
        host = self._session.xenapi.host
        me = host.get_by_uuid(util.get_this_host())
        if host.get_other_config(me).get(BOOT) != boot_id:
            host.remove_from_other_config(me, BOOT)
            host.add_to_other_config(me, BOOT, boot_id)

    def revive(self, host_uuid):
        """Removes the note that a host was declared dead."""
        host = self._session.xenapi.host
        host.remove_from_other_config(host.get_by_uuid(host_uuid), DECLARED_DEAD)

    def secret(self, secret_uuid):
        secret = self._session.xenapi.secret
        return secret.get_value(secret.get_by_uuid(secret_uuid))

    @property
    def _vdi(self):
        return self._session.xenapi.VDI


class OwnKeys:
    """Keys of a VDI's sm_config that SM must keep, for its test `key in sm_config_keep`.

    A scan removes every key that did not exist when it began. Another host's claim that is made meanwhile
    is such a key. Its name cannot be listed beforehand.
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
        """Does nothing: only XAPI keeps names and descriptions of volumes."""
