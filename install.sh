#!/bin/bash
# Lays the SM drivers and their core out on this host, or under another root, as a dom0 has them.
# Run again, it changes only what differs.
set -euo pipefail
umask 022

usage() {
    cat <<EOF
usage: install.sh [--root DIR] [--wheel FILE] [--dry-run]

Installs smblock's SM drivers where xapi looks for them (sm-dir in /etc/xapi.conf and
/etc/xapi.conf.d, else /opt/xensource/sm), and xapi's plugin and hooks of smblock in /etc/xapi.d; has
the kernel's rbd module loaded at boot, and tells systemd how Crucible volumes are served.

  --root DIR    install under DIR instead of on this host
  --wheel FILE  the wheel with the core (default: the one in target/wheels beside this script)
  --dry-run     say what would be changed, and change nothing
EOF
}

die() {
    echo "install.sh: $*" >&2
    exit 1
}

here=$(dirname "$(readlink -f "$0")")
root="" wheel="" dry_run=""
while [ $# -gt 0 ]; do
    case $1 in
    --root | --wheel)
        if [ -z "${2-}" ]; then die "$1 needs a value"; fi
        if [ "$1" = --root ]; then root=$2; else wheel=$2; fi
        shift
        ;;
    --dry-run) dry_run=1 ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && die "unknown argument: $1" ;;
    esac
    shift
done
# "/" is this host, and every path below starts with a slash of its own.
root=${root%/}

# The sm-dir that xapi uses: its files in xapi's own order, the last one to name it wins.
effective_sm_dir() {
    local file value found=/opt/xensource/sm
    for file in "$root/etc/xapi.conf" "$root"/etc/xapi.conf.d/*; do
        [ -f "$file" ] || continue
        value=$(sed -n 's/#.*//; s/^[[:space:]]*sm-dir[[:space:]]*=[[:space:]]*//p' "$file" |
            tail -n 1 | sed "s/[[:space:]]*\$//; s/^\([\"']\)\(.*\)\1\$/\2/")
        found=${value:-$found}
    done
    case $found in
    /*) echo "${found%/}" ;;
    *) die "sm-dir is not an absolute path in xapi's configuration: $found" ;;
    esac
}

[ "$(uname -m)" = x86_64 ] || die "the core is built for x86_64, this is $(uname -m)"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 6))' 2>/dev/null ||
    die "python3 3.6 or newer is needed: $(python3 --version 2>&1 || true)"
if [ -z "$wheel" ]; then
    wheels=("$here"/target/wheels/smblock-*.whl)
    [ -f "${wheels[0]}" ] || die "no wheel in $here/target/wheels: build one with 'make wheel', or name one with --wheel"
    [ ${#wheels[@]} -eq 1 ] || die "several wheels in $here/target/wheels: name one with --wheel"
    wheel=${wheels[0]}
fi
[ -f "$wheel" ] || die "no such file: $wheel"
compgen -G "$here/drivers/*SR.py" >/dev/null || die "no drivers in $here/drivers"
sm_dir=$(effective_sm_dir)
if [ -z "$root" ]; then
    [ -d "$sm_dir" ] || die "no $sm_dir: is this an XCP-ng host? (--root installs elsewhere)"
    [ -w "$sm_dir" ] || die "$sm_dir is not writable: run this as root"
fi

# Unpacked beside nothing that xapi reads, and tried there, before any file in use is touched.
staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT
python3 -m zipfile -e "$wheel" "$staging" >/dev/null 2>&1 || die "not a wheel: $wheel"
[ -f "$staging/smblock/_core.abi3.so" ] || die "not smblock's wheel: $wheel"
error=$(cd "$staging" && python3 -B -c 'import smblock' 2>&1) ||
    die "the core in $wheel does not load here: ${error##*$'\n'}"

changes=0

# Whether a change is to be made; says so in any case.
changing() {
    changes=$((changes + 1))
    echo "${dry_run:+would }$*"
    [ -z "$dry_run" ]
}

# Puts what the command leaves in the file named last to $1, at once: xapi may execute a driver, and a
# running process has the core mapped, at any moment. The name in between is none that xapi scans for.
replace() {
    local target=$1 temporary
    shift
    mkdir -p "$(dirname "$target")"
    temporary=$(mktemp -u "$(dirname "$target")/.smblock.XXXXXXXX")
    "$@" "$temporary"
    mv -fT "$temporary" "$target"
}

put_file() { # MODE SOURCE TARGET
    if [ ! -L "$3" ] && cmp -s "$2" "$3" && [ "$(stat -c %a "$3")" = "$1" ]; then return; fi
    if changing "install $3"; then replace "$3" install -m "$1" "$2"; fi
}

put_link() { # DESTINATION TARGET
    if [ "$(readlink "$2")" = "$1" ]; then return; fi
    if changing "link $2 -> $1"; then replace "$2" ln -s "$1"; fi
}

# What is called first, callers last: a driver started in the middle of this finds a core that is at
# least as new as itself.
put_file 755 "$staging/smblock/_core.abi3.so" "$root$sm_dir/smblock/_core.abi3.so"
for file in "$staging"/smblock/*; do
    case $file in
    */_core.abi3.so | */__pycache__) ;;
    *) put_file 644 "$file" "$root$sm_dir/smblock/${file##*/}" ;;
    esac
done
for file in "$here"/provisioners/ssh/* "$here"/drivers/*; do
    [ -f "$file" ] || continue
    name=${file##*/}
    put_file 755 "$file" "$root$sm_dir/$name"
    # xapi executes the name without suffix; SM imports the file that it points to, by its suffix.
    case $name in *SR.py) put_link "$name" "$root$sm_dir/${name%.py}" ;; esac
done
# xapi's own folders: they do not follow sm-dir.
for file in "$here"/packaging/xapi/*/*; do
    sed "s|@SM_DIR@|$sm_dir|" "$file" >"$staging/program"
    put_file 755 "$staging/program" "$root/etc/xapi.d/${file#"$here"/packaging/xapi/}"
done
echo rbd >"$staging/modules"
put_file 644 "$staging/modules" "$root/etc/modules-load.d/smblock.conf"
units_before=$changes
for file in "$here"/packaging/systemd/*.service; do
    sed "s|@SM_DIR@|$sm_dir|" "$file" >"$staging/unit"
    put_file 644 "$staging/unit" "$root/etc/systemd/system/${file##*/}"
done
if [ "$changes" -gt "$units_before" ] && [ -z "$root$dry_run" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi

if [ "$changes" -eq 0 ]; then echo "up to date in $root$sm_dir"; fi
