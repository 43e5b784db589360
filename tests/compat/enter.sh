#!/bin/sh
# Runs COMMAND in a mount namespace and a network namespace of its own, with the machine's /proc, /sys, /dev
# and SHARED in each root directory. Its mounts and addresses end with it.
#
#   enter.sh SHARED ROOT... -- COMMAND...
set -eu

if [ "${SMBLOCK_COMPAT_INSIDE:-}" != yes ]; then
    SMBLOCK_COMPAT_INSIDE=yes exec unshare --mount --propagation private --net "$0" "$@"
fi
unset SMBLOCK_COMPAT_INSIDE

shared=$1
shift
while [ "$1" != -- ]; do
    for directory in /proc /sys /dev "$shared"; do
        mkdir -p "$1$directory"
        mount --rbind "$directory" "$1$directory"
    done
    shift
done
shift

ip link set lo up
if [ "${LAB_NETWORK:-ipv4}" != ipv4 ]; then
    # Every address of this network is this machine's own: an IPv6 counterpart of 127.0.0.0/8.
    ip -6 route add local fd53:6d62::/32 dev lo
    echo 1 >/proc/sys/net/ipv6/ip_nonlocal_bind
fi
exec "$@"
