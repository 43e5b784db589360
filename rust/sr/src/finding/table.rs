//! Every kind of finding. `docs/user/findings.md` is made of this table.
//!
//! An id is never used for another kind: `ids.txt` beside this file has all that were ever used, and a test
//! compares. The numbers below 100 are the parts of a check, from 100 on a cephrbd SR, from 300 on a crucible SR, from
//! 400 on this host and what SM and XAPI have.

use super::Kind;
use super::Severity::{self, Failure, Note, Warning};

macro_rules! kinds {
    ($($name:ident $id:literal $severity:ident $title:literal: $meaning:literal;)*) => {
        $(
            #[doc = $title]
            pub static $name: Kind = Kind {
                id: concat!("SMB-F", $id),
                title: $title,
                severity: $severity,
                meaning: $meaning,
            };
        )*
        /// All kinds, in the order of their ids.
        pub static KINDS: &[&Kind] = &[$(&$name),*];
    };
}

/// A part of a check is of this severity unless the check has another one.
const PART: Severity = Warning;

kinds! {
    OTHER_PART "000" PART "another part of a check":
        "A part of the check that has no id of its own.";
    LIBRARY "001" PART "client library":
        "librados and librbd, which the driver loads, in which version.";
    CONF "002" PART "ceph.conf":
        "Ceph's configuration file on this host, as librados reads it.";
    KEYRING "003" PART "keyring":
        "The file with the user's key, its mode, and the type of the key.";
    MONITORS "004" PART "monitors":
        "Whether this host's kernel reaches the monitors and the OSDs in the protocol that it speaks.";
    USER "005" PART "user":
        "Whether the cluster accepts the user, and this kernel the user's key.";
    MON_CAPS "006" PART "mon caps":
        "Whether the user may read the usage and put dead clients on the blocklist.";
    CLOCK "007" PART "clock":
        "How far this host's clock is from the monitors'.";
    CUT_OFF "008" PART "blocklist":
        "Whether a kernel client of this host is on the cluster's blocklist. Then all I/O on its devices fails.";
    LOCK "009" PART "exclusive lock":
        "Whether new images have the feature exclusive-lock.";
    POOL "010" PART "pool":
        "Whether the pool exists, and is replicated.";
    APPLICATION "011" PART "pool application":
        "Whether the pool is enabled for rbd.";
    USAGE "012" PART "pool usage":
        "How much can still be stored, by quota and by capacity. Below the reserve, new disks are refused.";
    OSD_CAPS "013" PART "osd caps":
        "Whether the user may read and write the pool, and call the classes of RBD.";
    MGR_CAPS "014" PART "mgr caps":
        "Whether ceph-mgr frees deleted disks in the background. Without it, a worker on a host does.";
    KERNEL "015" PART "kernel module":
        "Whether this kernel has the module rbd.";
    FEATURES "016" PART "image features":
        "Whether this kernel can map new images.";
    SERVER "030" PART "server":
        "Crucible's NBD server: whether it can be run, and has the option --address.";
    NBD "031" PART "kernel":
        "Whether this kernel has the module nbd.";
    VOLUMES "032" PART "volumes":
        "Whether the list of volumes can be read: the file, or the provisioner.";
    TARGETS "033" PART "targets":
        "Whether each volume could be plugged now, by what its targets reply.";

    UNREADABLE "100" Failure "a record cannot be read":
        "A value of the catalogue is damaged. While it is, no image is purged, because the value may name any. The VDI stays listed as XAPI has it.";
    NEWER "101" Failure "a record of a newer version":
        "A newer smblock has written a value of the catalogue. This version does not change it.";
    UNKNOWN_KEY "102" Warning "an unknown key in the catalogue":
        "A key that is none of smblock's, or none of this version's.";
    DELETING "103" Warning "the SR is being deleted":
        "xe sr-destroy has begun, and has not ended. Nothing can be created. Plugging the SR again ends that.";
    NOT_IN_DIRECTORY "104" Warning "the SR is not in the pool's directory":
        "The object smblock.directory does not name the SR: xe sr-probe does not find it.";

    NO_CATALOGUE "105" Failure "the SR cannot be looked at":
        "The catalogue of the SR could not be read. The parts of the check above have the reason, or the text has.";

    NO_IMAGE "110" Failure "a VDI without its image":
        "The catalogue has the VDI, and the pool does not have its image. It was removed, or moved to another pool, outside smblock.";
    IN_TRASH "111" Failure "the image of a VDI is in the trash":
        "The image of a VDI was moved to the trash outside smblock. Its data is there until the image is purged.";
    NO_SNAPSHOT "112" Failure "a VDI without its snapshot":
        "The VDI is an RBD snapshot, and its image does not have it: it was removed outside smblock.";
    SHRUNK "113" Failure "an image is smaller than its disk":
        "The image was made smaller outside smblock. The end of the disk's data is lost. Plugging it is refused.";
    GROWN "114" Note "an image is larger than its disk":
        "The image was made larger outside smblock. The next scan takes the size over, if no host uses the disk.";
    REFUSED_IMAGE "115" Failure "an image that smblock does not use":
        "A migration of the image is under way, or it was demoted by mirroring. Plugging the disk is refused.";
    UNMAPPABLE "116" Failure "this kernel cannot map an image":
        "The image has features that the kernel of this host lacks: they were enabled outside smblock, or by another host's device-config.";
    LOCKED "117" Failure "an image is locked by hand":
        "The image has a lock that is no client's exclusive lock, as rbd lock add makes it. Nothing of it can be changed.";
    UNLISTED "118" Failure "the directory of the pool lacks an image":
        "The image's header exists, and rbd_directory does not list it. Kernels cannot map it.";
    ORPHAN "119" Warning "an image without a record":
        "The image has this SR's prefix, and the catalogue does not name it. smblock leaves it alone.";
    TRASHED_BY_HAND "120" Warning "an image in the trash that smblock has not moved there":
        "It has this SR's prefix. smblock neither uses nor purges it.";
    LONG_CHAIN "121" Warning "a long chain of parents":
        "Each parent costs one more look for a block that was not written. It is flattened while the disk is not in use and has no snapshots; with changed-block tracking, it always has one. Above 14 parents, snapshots and clones are refused.";
    MANY_SNAPSHOTS "122" Warning "an image has nearly as many snapshots as it can have":
        "At 500 snapshots, the next one is refused.";

    MOVED "123" Warning "an image has another id":
        "The image was migrated or imported again outside smblock. The next scan takes it over, unless it is in use.";

    LEFT_OVER "130" Warning "an unfinished operation":
        "The process that had begun it is gone. The next scan, or the next operation on the VDI, finishes or undoes it.";
    STUCK "131" Warning "an operation takes long":
        "It is much older than any operation takes. The clocks of hosts differ; if the host works, wait for it.";
    UNUSED_SNAPSHOT "132" Warning "a snapshot that no VDI uses":
        "It was taken for a snapshot of a VM that has ended without it. The next scan removes it.";

    BACKLOG "140" Note "space that is still to be freed":
        "ceph-mgr, or the reclaim worker, frees it in the background.";
    BLOCKED "141" Warning "space that cannot be freed now":
        "Something has to be done first. The text has what.";
    NO_WORKER "142" Warning "the reclaim worker has stopped":
        "The catalogue names a worker that does not renew its lease. The next one takes over.";

    STALE_DEVICE "150" Warning "a device that no VDI uses":
        "This host has an image of the SR mapped without a claim, or an image that is no VDI's. A crash has left it, or it was mapped by hand.";
    FENCED_DEVICE "151" Failure "a device that is cut off":
        "The kernel client of the device is on the cluster's blocklist: all I/O on it fails.";

    CLAIM_OF_DEAD "160" Warning "a claim of a host that was declared dead":
        "The next activation cuts the host off, and takes the disk over.";
    CLAIM_OF_UNKNOWN "161" Warning "a claim of a host that this pool does not have":
        "The host was removed from this pool, or is a member of another one. The disk of another pool's host is never taken.";
    CLAIM_OF_EARLIER_BOOT "162" Warning "a claim of an earlier boot of this host":
        "This host has booted since. Plugging the SR, or activating the disk, ends the claim.";
    CLAIM_WITHOUT_DEVICE "163" Warning "a claim of this host without a device":
        "A command of this host was killed. Plugging the SR, or activating the disk, ends the claim.";
    DECLARED_DEAD "164" Failure "this host was declared dead":
        "The other hosts may use its disks. It begins a new life with its next activation. Devices that were mapped before are cut off.";

    NEARLY_FULL "170" Warning "the pool is nearly full":
        "More than 85 % of the quota, or of what the cluster can store, is used. A full pool stops all VMs that write.";

    PGS_INACTIVE "180" Failure "placement groups are inactive":
        "I/O to the data in them waits, without an error, until enough OSDs are back.";
    FULL "181" Failure "the cluster or a pool is full":
        "Ceph stops all writes.";
    NEAR_FULL "182" Warning "the cluster or a pool is nearly full":
        "Ceph warns of an OSD or a pool that is close to its limit.";
    MON_CLOCKS "183" Warning "the monitors' clocks differ":
        "Monitors with wrong clocks lose their quorum.";
    DAEMONS_DOWN "184" Warning "daemons of the cluster are down":
        "The cluster works with less redundancy, or slower.";
    SLOW_OPS "185" Warning "requests are slow":
        "OSDs or monitors have requests that take long: VMs feel it.";
    UPMAP_PRIMARY "186" Failure "kernel clients write to the wrong OSD":
        "The osdmap has pg-upmap-primary entries, as the read balancer of Ceph 18 and later makes them. Kernel clients do not read them: their I/O to these placement groups can hang.";
    OSDMAP_FLAGS "187" Warning "the cluster has flags set":
        "Flags such as pauserd, pausewr, noout or norecover change how the cluster works.";
    HEALTH_UNKNOWN "188" NotRunSeverity "the cluster's health":
        "The health of the cluster could not be read.";
    MSR_RULE "189" Failure "the pool uses a CRUSH rule that kernels lack":
        "Rules of type msr give I/O errors on kernel clients.";

    NOT_FREED "200" Warning "space is not freed for a long time":
        "The list of images to free or to flatten has been the same for 12 hours, as this host has seen it since its boot.";
    HOST_DECLARED_DEAD "201" Warning "a host was declared dead":
        "Its kernel clients are cut off from the cluster before other hosts use its disks. This ends when the host plugs the SR again, or is removed from the pool.";
    NOT_SHARED "202" Warning "the SR is not shared":
        "The SR was created without shared=true in a pool of several hosts: only one of them can use it.";

    TARGET_DOWN "310" Warning "a target is down":
        "The volume works on two copies, and cannot be plugged again until all are back.";
    TARGETS_DOWN "311" Failure "two targets are down":
        "Writes wait until two targets are up.";
    ONE_MACHINE "312" Warning "all targets of a volume are on one machine":
        "The disk is lost with that machine.";
    WRONG_TARGET "313" Failure "a target serves something else":
        "It serves another region than the one of this volume, or in another way than declared. Plugging the disk is refused.";
    SERVER_GONE "314" Failure "a volume has no server":
        "This host has claimed the volume, and its server is gone or does not serve. I/O fails until the disk is unplugged and plugged again.";
    SERVER_DEGRADED "315" Warning "a server works without a target":
        "The target replies to this host, and the server of the volume does not use it.";
    OTHER_GENERATION "316" Failure "a server has another generation than its claim":
        "The server was not started under the claim that is open now. Another server may fence it.";
    VOLUME_CLAIM_OF_DEAD "320" Warning "a claim on a volume of a host that was declared dead":
        "The next activation takes the volume over.";
    VOLUME_CLAIM_OF_UNKNOWN "321" Warning "a claim on a volume of a host that this pool does not have":
        "The host was removed from this pool, or is a member of another one.";
    VOLUME_CLAIM_LEFT "322" Warning "a claim of this host that is over":
        "This host has claimed the volume in an earlier boot, or has neither a server nor a device of it.";
    VOLUME_CLAIM_DAMAGED "323" Failure "the claims of a volume cannot be read":
        "A key of the VDI's sm_config is damaged. Plugging the disk is refused.";
    UNCLAIMED_SERVER "324" Failure "a server or a device without a claim":
        "This host serves a volume that it has not claimed. Another host may start a server too.";
    VDI_WITHOUT_VOLUME "325" Failure "a VDI without its volume":
        "XAPI has the VDI, and neither the file nor the provisioner lists its volume.";
    VOLUME_WITHOUT_VDI "326" Note "a volume that XAPI does not have":
        "The next scan introduces it.";

    TAG_OF_UNKNOWN "410" Note "SM's note of a host that this pool does not have":
        "A key host_... in the VDI's sm_config is of no host of this pool. The next activation removes it.";
    TAG_WITHOUT_DEVICE "411" Note "SM's note that this host uses a VDI, without a device":
        "A key host_... in the VDI's sm_config is of this host, which does not have the VDI. The next activation removes it; other hosts ask this one.";
    TAG_OF_DEAD "412" Note "SM's note of a host that was declared dead":
        "A key host_... in the VDI's sm_config is of a host that was declared dead. The next activation removes it.";
    PAUSED_WITHOUT_SNAPSHOT "413" Note "a VDI is paused, and no snapshot is under way":
        "The key paused in the VDI's sm_config was left by a command that died. The next activation removes it.";
    ACTIVATING_LEFT "414" Note "a VDI is being activated, by no host":
        "The key activating in the VDI's sm_config was left by a command that died. The next activation removes it.";
    LINK_WITHOUT_DEVICE "415" Warning "SM's link to a device that does not exist":
        "A file below /dev/sm names a device of the VDI that this host does not have.";
    NOT_IN_XAPI "416" Note "a VDI that XAPI does not have":
        "The next scan introduces it.";
    ONLY_IN_XAPI "417" Warning "a VDI that only XAPI has":
        "The SR does not have the VDI. The next scan removes it from XAPI.";

    NOT_REGISTERED "420" Failure "xapi does not allow the SR type":
        "The effective sm-plugins of xapi's configuration lacks the type: SRs of the type cannot be plugged.";
    STOCK_TYPES_LOST "421" Warning "xapi's configuration hides SR types":
        "/etc/xapi.conf allows types that a later file of /etc/xapi.conf.d leaves out: SRs of these types cannot be plugged.";
    DRIVER_MISSING "422" Failure "the driver is not where xapi looks":
        "The file of the SR type is missing in xapi's sm-dir, or cannot be executed.";
    LVM_SEES_GUESTS "423" Warning "LVM of this host scans the disks of guests":
        "Without a global_filter, the volume groups inside of guests' disks are visible, and can be activated, in dom0: two writers to one disk.";

    HOST_WITHOUT "430" Warning "a host of the pool does not have smblock":
        "Shared SRs cannot be plugged there. After an upgrade by ISO a host has to get smblock again.";
    HOST_OLDER "431" Warning "a host of the pool has an older smblock":
        "The hosts read each other's records. An older version does not have all capabilities, and xapi leaves them off until every host has them.";
    HOST_NEWER "432" Warning "a host of the pool has a newer smblock":
        "The hosts read each other's records, unless the newer version has another format. The pool's master should have the newest version.";
    HOST_SILENT "433" Warning "the version of a host is unknown":
        "The host's plugin smblock does not reply in time, or xapi cannot reach the host.";
    FEATURES_PENDING "434" Warning "xapi leaves features of the driver off":
        "xapi reads what a driver can do when it starts. A new feature is off until all hosts of the pool have reported it.";
    NO_DRIVER_IN_XAPI "435" Failure "xapi does not have the driver of its SRs":
        "No SR of the type can be plugged. The pool's hosts were installed anew, by an ISO for example, or the driver did not run when xapi started.";
    DRIVER_NOT_READ "436" Warning "xapi has the driver of an earlier version":
        "All hosts have the new version. xapi reads what it can do when the master's toolstack starts.";
    TAG_WITHOUT_CLAIM "437" Note "SM's note that another host uses a VDI, without a claim":
        "A key host_... in the VDI's sm_config is of a host that has not claimed the VDI: a command there was killed, or is about to claim it. A repair asks the host, which removes the key unless it uses the VDI.";

    EXPORT_NOT_SERVED "440" Failure "an export that its host does not serve":
        "Clients cannot connect: the host does not run, its server of exports does not, or the disk could not be plugged there.";
    EXPORT_WITHOUT_VDI "441" Warning "an export without its VDI":
        "XAPI does not have the VDI any longer. The name stays taken until the export is ended.";
    LIMIT_NOT_HELD "442" Warning "the limits of a disk do not hold":
        "The disk has limits (smblock:iops, smblock:mbps, or those of the SR), and its device on this host has others: a value cannot be used, or this host cannot set it. The VM runs without the limit.";
    GROWN_IN_USE "443" Failure "an image was made larger while tapdisk has it open":
        "The image was grown outside smblock. tapdisk keeps the size of its first open, and does not resume a disk of another size: snapshots are refused, because the VM would stop.";
    EXPORT_DAMAGED "446" Failure "an export whose key cannot be read":
        "A key smblock:export:NAME of the pool's other_config was changed by hand. No host serves the export. The other exports are served.";
}

use Severity::NotRun as NotRunSeverity;

/// The kind of a part of a check.
#[must_use]
pub fn of_topic(topic: &str) -> &'static Kind {
    let parts = KINDS.iter().filter(|kind| kind.id < "SMB-F100");
    let mut parts = parts.filter(|kind| kind.title == topic);
    parts.next().copied().unwrap_or(&OTHER_PART)
}
