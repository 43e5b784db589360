"""The driver measured beside the `rbd` and `ceph` commands: `make bench`, or `python -m bench --help`.

program      runs in each process: one call of the core, timed
sides        the two sides: the core, and the commands that CephRBDSR executes
rounds       the measurements, side by side and interleaved
copies       snapshots, clones, reverts, and operations whose time must not depend on a disk's size
commands     whole SM commands, on the simulators of sm and xapi
datapath     maps, and fio on mapped disks, in a virtual machine
goals        the goals, and whether they are met
plot         the plot, as SVG
report       docs/dev/performance.md, and README's part
"""
