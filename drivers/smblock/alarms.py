"""XAPI's messages and the notes about them, for the core, which decides what is raised: rust/sr/src/alarm.rs."""

import contextlib

from smblock.hosts import NO_SUCH_HOST, bounded, failure_code

CALLS_DEADLINE = 10  # seconds for each call
NO_SUCH_OBJECT = NO_SUCH_HOST


class Alarms:
    """A part of the core's `CephXapi` and `CrucibleXapi`, which have `_session` and `_sr_uuid`."""

    def alarm_notes(self):
        with self._sr() as (sr, sr_ref):
            return sr.get_other_config(sr_ref)

    def add_alarm_note(self, key, value):
        """Adds a key to the SR's other_config. Returns False if the key exists."""
        try:
            with self._sr() as (sr, sr_ref):
                sr.add_to_other_config(sr_ref, key, value)
        except Exception as error:
            if failure_code(error) == "MAP_DUPLICATE_KEY":
                return False
            raise
        return True

    def remove_alarm_note(self, key):
        with self._sr() as (sr, sr_ref):
            sr.remove_from_other_config(sr_ref, key)

    def raise_alarm(self, name, priority, cls, object_uuid, body):
        """Creates a message. Returns its reference."""
        with bounded(self._session, CALLS_DEADLINE) as own:
            return own.xenapi.message.create(name, priority, cls, object_uuid, body)

    def destroy_alarm(self, message_ref):
        """Destroys a message. Succeeds if an administrator has removed it."""
        try:
            with bounded(self._session, CALLS_DEADLINE) as own:
                own.xenapi.message.destroy(message_ref)
        except Exception as error:
            if failure_code(error) not in NO_SUCH_OBJECT:
                raise

    @contextlib.contextmanager
    def _sr(self):
        with bounded(self._session, CALLS_DEADLINE) as own:
            sr = own.xenapi.SR
            yield sr, sr.get_by_uuid(self._sr_uuid)
