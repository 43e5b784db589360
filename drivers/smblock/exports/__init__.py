"""Exports: VDIs that NBD clients reach under a stable name, through one server on each host.

records.py   which exports the pool has, in XAPI
place.py     an export on this host: plugged, and in the server's directory
control.py   the server on this host: its directory, its control socket, its start
server.py    the program of the server, which also plugs this host's exports again after a boot
"""
