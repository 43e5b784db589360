"""One SM command, as xapi starts it: SM's dispatcher, with the commands that SM does not pass to a driver."""

from smblock.activation import Activation, reconcile_killed
from smblock.sm import SRCommand, util
from smblock.toolstack import capabilities_here


class Command(SRCommand.SRCommand):
    """SM's dispatcher."""

    def run_statics(self):
        if self.params["command"] == "sr_get_driver_info":
            capabilities = capabilities_here(self.driver_info["capabilities"])
            self.driver_info = dict(self.driver_info, capabilities=capabilities)
        super().run_statics()

    def run(self, sr):
        reconcile_killed(sr)
        try:
            result = super().run(sr)
            sr.has_succeeded()
            return result
        finally:
            sr.after_command()

    def _run(self, sr, target):
        if self.cmd == "vdi_revert":
            util.SMlog("vdi_revert %s" % self.vdi_uuid)
            return sr.vdi(self.vdi_uuid).revert(self.params["sr_uuid"], self.vdi_uuid)
        if self.cmd == "vdi_epoch_begin":
            # SM calls a driver only for disks with on-boot=reset. This one needs the call for all.
            return target.begin_epoch()
        if self.cmd == "vdi_activate":
            activation = Activation(sr, self.vdi_uuid, self.params["args"][0] == "true")
            return activation.run(lambda: super(Command, self)._run(sr, target))
        return super()._run(sr, target)


def run(driver, driver_info):
    """Runs the command that xapi has started this process for."""
    SRCommand.SRCommand = Command
    SRCommand.run(driver, driver_info)
