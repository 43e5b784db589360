"""SM's keys in a VDI's sm_config: which host has the VDI active, activating or paused."""

HOST_TAG = "host_"  # and the host's reference: it has the VDI active, "RW" or "RO"
ACTIVATING = "activating"
PAUSED = "paused"


class Tags:
    """The keys of one VDI."""

    def __init__(self, session, vdi_ref):
        self._vdi = session.xenapi.VDI
        self._vdi_ref = vdi_ref

    def read(self):
        return self._vdi.get_sm_config(self._vdi_ref)

    def add(self, key, value):
        self._vdi.add_to_sm_config(self._vdi_ref, key, value)

    def remove(self, key):
        self._vdi.remove_from_sm_config(self._vdi_ref, key)

    def drop(self, key, tags):
        """Removes a key if it is in `tags`, which saves a call of XAPI."""
        if key in tags:
            self.remove(key)


def hosts_of(tags):
    """Returns the references of the hosts that have the VDI active."""
    return [tag[len(HOST_TAG) :] for tag in tags if tag.startswith(HOST_TAG)]
