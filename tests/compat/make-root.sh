#!/bin/sh
# Makes the root directory of a Debian suite, with its Ceph and the programs of the lab's hosts. Called in a
# mount namespace of its own, so that its mounts end with it.
#
#   make-root.sh SUITE DIRECTORY MIRROR APT_SETTINGS PACKAGE...
set -eu

suite=$1 root=$2 mirror=$3 settings=$4
shift 4
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin
unset TMPDIR

debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$mirror"
# debootstrap leaves some of its own mounts behind.
for directory in proc sys; do
    mountpoint -q "$root/$directory" || mount --rbind "/$directory" "$root/$directory"
done
mount --rbind /dev "$root/dev"
cp /etc/resolv.conf "$root/etc/resolv.conf"
cp "$settings" "$root/etc/apt/apt.conf.d/90compat"
# Without fsync, and without the files that are removed below.
cat >"$root/etc/dpkg/dpkg.cfg.d/compat" <<END
force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
END
# Packages must not start their services.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
chroot "$root" apt-get update -q
chroot "$root" apt-get install -qy --no-install-recommends "$@"
chroot "$root" apt-get clean
rm -rf "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/locale"
