"""`smblock vdi import` and `smblock vdi spec`: disks of images that others have made, and disks for others."""

import json
import re
import uuid
import xml.etree.ElementTree as xml

from smblock._core import import_vdi, locate_vdi
from smblock.cli import srs
from smblock.cli.arguments import UsageError, add_command, add_sr
from smblock.cli.output import CliError, show, size
from smblock.cli.places import find
from smblock.sm import XenAPI

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
SECRET = "SECRET-UUID"


def add_import(group):
    parser = add_command(
        group,
        "import",
        _import,
        help="make a disk of a snapshot of an RBD image that does not belong to the SR",
        epilog="No data is copied: the disk is a clone, which needs the snapshot as long as it exists.",
    )
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        metavar="POOL/IMAGE@SNAPSHOT",
        help="the snapshot, in any pool; for an SR in a namespace: POOL/NAMESPACE/IMAGE@SNAPSHOT, of that namespace",
    )
    parser.add_argument("--name-label", metavar="NAME", help="the disk's name (default: that of the image)")
    parser.add_argument("--name-description", metavar="TEXT", default="", help="the disk's description")
    parser.add_argument(
        "--size", metavar="SIZE", help="bytes, or with KiB, MiB, GiB or TiB; not less than the image (default: as it)"
    )
    add_sr(parser)


def add_spec(group):
    parser = add_command(
        group,
        "spec",
        _spec,
        help="print how QEMU and libvirt name a disk that no host uses, for its use outside XCP-ng",
        epilog="XCP-ng does not find out that another program uses a disk: a VM that is started meanwhile destroys "
        "its content, and so does that program. The key of the user is not printed.",
    )
    parser.add_argument("--vdi", required=True, metavar="VDI|IMAGE", help="UUID or name of a VDI; name of its image")
    add_sr(parser)


def _import(options):
    sr = srs.find(options)
    core = sr.open(options.session)
    core.require("image")
    new = str(uuid.uuid4())
    name = options.name_label
    if name is None:
        name = options.source.rpartition("/")[2].partition("@")[0]
    made = import_vdi(core, new, options.source, _bytes(options.size), name, options.name_description)
    _scan(options, sr, new)
    text = "%s: %s, %s, made of %s" % (new, name, size(made), options.source)
    return show(options, text, {"vdi": new, "name": name, "size": made, "source": options.source})


def _bytes(text):
    if text is None:
        return None
    match = re.match(r"^([0-9]+)\s*(?:([KMGT])i?B?)?$", text)
    if match is None:
        raise UsageError("--size %s is no size: give bytes, or a number with KiB, MiB, GiB or TiB" % text)
    return int(match.group(1)) * UNITS[match.group(2) or ""]


def _scan(options, sr, vdi):
    """XAPI gets the new disk, if it has the SR."""
    if sr.ref is None:
        return
    try:
        with options.session as session:
            session.xenapi.SR.scan(sr.ref)
    except XenAPI.Failure as failure:
        raise CliError(
            "the disk %s was made, but the SR cannot be scanned, so XAPI does not have the disk yet: %s. "
            "Run: xe sr-scan uuid=%s" % (vdi, failure, sr.uuid)
        ) from failure


def _spec(options):
    core = srs.find(options).open(options.session)
    core.require("image")
    found = find(core, options.vdi)
    if len(found) > 1:
        uuids = ", ".join(place["uuid"] for place in found)
        raise CliError("several VDIs have that name or image: give the UUID of one of them: %s" % uuids)
    location = json.loads(locate_vdi(core, found[0]["uuid"]))
    described = dict(location, qemu=qemu(location), libvirt=libvirt(location))
    return show(options, "%s\n\n%s" % (described["qemu"], described["libvirt"]), described)


def qemu(location):
    """The file name of QEMU's driver rbd."""
    words = [("id", location["user"]), ("conf", location["conf"]), ("keyring", location["keyring"])]
    words.append(("mon_host", ";".join(location["monitors"])))
    options = ["%s=%s" % (key, _escape(value)) for key, value in words if value]
    return ":".join(["rbd:%s" % _escape(_name(location))] + options)


def _escape(text):
    """QEMU's separators in a text."""
    return re.sub(r"([\\:=])", r"\\\1", text)


def libvirt(location):
    """libvirt's XML of a disk. The secret with the user's key is made by the administrator."""
    disk = xml.Element("disk", type="network", device="disk")
    xml.SubElement(disk, "driver", name="qemu", type="raw", discard="unmap")
    auth = xml.SubElement(disk, "auth", username=location["user"])
    xml.SubElement(auth, "secret", type="ceph", uuid=SECRET)
    source = xml.SubElement(disk, "source", protocol="rbd", name="%s/%s" % (location["pool"], location["image"]))
    for monitor in location["monitors"]:
        host, _, port = monitor.rpartition(":")
        xml.SubElement(source, "host", name=host.strip("[]"), port=port)
    if location["snapshot"]:
        xml.SubElement(source, "snapshot", name=location["snapshot"])
        xml.SubElement(disk, "readonly")
    xml.SubElement(disk, "target", dev="vda", bus="virtio")
    _indent(disk)
    return xml.tostring(disk, encoding="unicode").rstrip()


def _indent(element, depth=0):
    """xml.etree has this since Python 3.9."""
    children = list(element)
    for number, child in enumerate(children):
        _indent(child, depth + 1)
        is_last = number == len(children) - 1
        child.tail = "\n" + "  " * (depth if is_last else depth + 1)
    if children:
        element.text = "\n" + "  " * (depth + 1)


def _name(location):
    snapshot = location["snapshot"]
    return "%s/%s" % (location["pool"], location["image"]) + ("@" + snapshot if snapshot else "")
