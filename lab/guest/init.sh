#!/bin/busybox sh
# shellcheck shell=dash
# First process of a guest of the lab: puts this machine's files under a tmpfs, makes that the root,
# and becomes the agent.  Its settings are in /settings: NAME, TOKEN, PORT, PYTHON, IPV6.
set -eu
/bin/busybox mkdir -p /bin /proc /sys /dev /ro /rw /newroot
/bin/busybox --install -s /bin
export PATH=/bin

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
# shellcheck source=/dev/null
. /settings
for module in /modules/*; do
    insmod "$module"
done

hostname "$NAME"
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
# The lab's servers listen in the outer machine's 127.1.0.0/16.  qemu's user network reaches them
# under the same addresses if this kernel routes them; the rest of 127.0.0.0/8 stays the guest's
# own.  (Ceph's clients verify the address: an alias such as 10.0.2.2 does not work.)
echo 1 >/proc/sys/net/ipv4/conf/eth0/route_localnet
ip route add default via 10.0.2.2 dev eth0
# In the table that is read first: it precedes lo's 127.0.0.0/8.
ip route add 127.1.0.0/16 via 10.0.2.2 dev eth0 table local

if [ "$IPV6" = yes ]; then
    echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad
    ip -6 addr add fec0::15/64 dev eth0
    ip -6 route add default via fec0::2 dev eth0
fi

mount -t 9p -o trans=virtio,version=9p2000.L,msize=1048576,cache=loose,ro root /ro
mount -t tmpfs tmpfs /rw
mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work overlay /newroot
for directory in run tmp; do
    mount -t tmpfs tmpfs "/newroot/$directory"
done
mkdir -p /newroot/run/lock /dev/shm /dev/pts
chmod 1777 /newroot/tmp
cp /agent.py /newroot/run/lab-agent.py
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
mount -t debugfs debugfs /sys/kernel/debug
for link in fd:fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do
    ln -sf "/proc/self/${link#*:}" "/dev/${link%:*}"
done
for directory in proc sys dev; do
    mount --move "/$directory" "/newroot/$directory"
done

export LAB_AGENT_TOKEN="$TOKEN"
exec switch_root /newroot "$PYTHON" /run/lab-agent.py --port "$PORT" --host "$NAME"
