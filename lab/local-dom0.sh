#!/bin/sh
# Sets up a local dom0 in new mount, pid and uts namespaces: mounts a tree of its own over the machine's,
# then becomes COMMAND.  The mounts end with the namespaces.
#
#   local-dom0.sh SCRATCH NAME BOOT_ID ROOT COMMAND...
#
# The directories of the tree are those of ROOT: / for this machine's own, or the root of another Debian suite.
set -eu

scratch=$1 name=$2 boot_id=$3 root=${4%/}
shift 4

mount -t tmpfs -o mode=755 tmpfs "$scratch"

# Devices: an overlay of /dev would hide what is mounted there, and its nodes do not work in a user
# namespace.
mkdir "$scratch/dev"
mount -t tmpfs -o mode=755 tmpfs "$scratch/dev"
for node in null zero full random urandom tty; do
    : >"$scratch/dev/$node"
    mount --bind "/dev/$node" "$scratch/dev/$node"
done
mkdir -m 1777 "$scratch/dev/shm"
ln -s /proc/self/fd "$scratch/dev/fd"
for stream in in:0 out:1 err:2; do
    ln -s "/proc/self/fd/${stream#*:}" "$scratch/dev/std${stream%:*}"
done
mount --rbind "$scratch/dev" /dev

# A host name and a boot ID of its own.
hostname "$name"
printf '%s\n' "$boot_id" >"$scratch/boot_id"
mount --bind "$scratch/boot_id" /proc/sys/kernel/random/boot_id

# Last, as one of these may hide SCRATCH itself.
cd "$scratch"
mkdir etc opt run usr var etc.work opt.work run.work usr.work var.work
# In a user namespace, too, this host's root can write to a directory made here.
mkdir -p etc/ceph run/lock usr/bin usr/libexec usr/sbin usr/share var/lib var/log
for part in etc opt run usr var; do
    mount -t overlay -o "lowerdir=$root/$part,upperdir=./$part,workdir=./$part.work" overlay "/$part"
done
cd /

exec "$@"
