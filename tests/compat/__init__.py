"""The driver on other versions of Ceph, of the kernel and of Python: `make test-compat`.

`roots` makes the root directories of other Debian suites, `cells` lists what is combined with what, `run` runs
pytest for each cell, `report` writes docs/user/compatibility.md.
"""
