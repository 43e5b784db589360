#!/bin/sh
# Installs smblock on this host of XCP-ng. `./install.sh --help` lists the options; packaging/smblock_setup does the work.
set -eu
umask 022
here=$(dirname "$(readlink -f "$0")")

if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 6))' 2>/dev/null; then
    echo "install.sh: Python 3.6 or newer is needed, as python3: $(python3 --version 2>&1 || true)" >&2
    echo "         -> yum install python3      (XCP-ng 8.2 and older are not supported)" >&2
    exit 1
fi
exec python3 "$here/packaging/smblock-setup" install "$@"
