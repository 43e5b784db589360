"""Fakes of programs of an XCP-ng host, for tests of the installation only: xapi, xe, the toolstack, ssh, modinfo.

The fake xapi is one JSON file, /run/fake-xapi.json. It has the drivers that the list allowed
when the toolstack was restarted.
"""

PATH = "/run/fake-xapi.json"

XENAPI = '''
"""A fake of Python's XenAPI: it reads /run/fake-xapi.json. Tests of the installation use it."""
import json
import re


class Failure(Exception):
    pass


class _Class:
    def __init__(self, name):
        self.name = name

    def get_all_records(self):
        with open("/run/fake-xapi.json") as file:
            return json.load(file).get(self.name, {})

    def get_all_records_where(self, query):
        key, value = re.match('field "(.*)" = "(.*)"$', query).groups()
        return {ref: record for ref, record in self.get_all_records().items() if record[key] == value}

    def get_hostname(self, ref):
        return self.get_all_records()[ref]["hostname"]

    def create(self, *arguments):
        with open("/run/fake-messages", "a") as file:
            file.write(json.dumps(arguments) + "\\n")
        record = dict(zip(["name", "priority", "cls", "uuid", "body"], arguments))
        self._change(lambda records: records.update({str(len(records)): record}))

    def destroy(self, ref):
        self._change(lambda records: records.pop(ref))

    def _change(self, change):
        with open("/run/fake-xapi.json") as file:
            state = json.load(file)
        change(state.setdefault(self.name, {}))
        with open("/run/fake-xapi.json", "w") as file:
            json.dump(state, file)

    def logout(self):
        pass


class _Xenapi:
    def __getattr__(self, name):
        return _Class(name)

    def login_with_password(self, *_):
        open("/run/fake-xapi.json").close()


class _Session:
    xenapi = _Xenapi()


xapi_local = _Session
'''

# What a restart does to the drivers: systemd runs the drop-ins' ExecStartPre, then xapi reads its files and asks
# each driver that they allow.
RESTART = '''#!/usr/bin/python3
"""A fake of xe-toolstack-restart."""
import glob
import json
import os
import re
import subprocess
import xmlrpc.client

for path in sorted(glob.glob("/etc/systemd/system/xapi.service.d/*.conf")):
    for line in open(path):
        if line.startswith("ExecStartPre=-"):
            subprocess.call(line[len("ExecStartPre=-"):].split())
types = []
for path in ["/etc/xapi.conf"] + sorted(glob.glob("/etc/xapi.conf.d/*")):
    for line in open(path, errors="replace"):
        found = re.match("sm-plugins *= *([^#]*)", line)
        if found:
            types = found.group(1).split()
with open("/run/fake-xapi.json") as file:
    state = json.load(file)
state["SM"] = {}
params = {"host_ref": "", "command": "sr_get_driver_info", "args": [], "device_config": {}}
request = xmlrpc.client.dumps((params,), "sr_get_driver_info")
for path in glob.glob("/opt/xensource/sm/*SR"):
    name = os.path.basename(path)[:-2].lower()
    if name in types or "*" in types:
        try:
            (info,), _ = xmlrpc.client.loads(subprocess.check_output([path, request]).decode())
        except Exception:
            continue
        state["SM"]["ref-" + name] = {"type": name, "version": info["driver_version"], "host_pending_features": {}}
with open("/run/fake-xapi.json", "w") as file:
    json.dump(state, file)
with open("/run/fake-restarts", "a") as file:
    file.write("restarted\\n")
'''

XE = "#!/bin/sh\n# A fake of xe: it exists.\nexit 0\n"

MODINFO = """#!/bin/sh
# A fake of modinfo: /run/fake-modules lists the kernel's modules.
for name; do :; done
grep -qx "$name" /run/fake-modules && echo "/lib/modules/4.19.0+1/$name.ko"
"""

SYSTEMCTL = '#!/bin/sh\n# A fake of systemctl: it notes its arguments.\necho "$@" >>/run/fake-systemctl\n'

# Another host's root is mounted at /media/ADDRESS, if the host is up.
SSH = """#!/bin/sh
# A fake of ssh: it runs the command in the root of the other host.
while [ "$#" -gt 2 ]; do shift; done
host=${1#root@} command=$2
if [ ! -d "/media/$host/opt" ]; then
    echo "ssh: connect to host $host port 22: No route to host" >&2
    exit 255
fi
exec chroot "/media/$host" sh -c "$command"
"""
