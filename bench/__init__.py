"""The driver measured beside the `rbd` and `ceph` commands: `make bench`, or `python -m bench --help`.

program      what runs in each process of its own: one call of the core, timed
sides        the two rivals: the core, and the commands that CephRBDSR executes
rounds       what is measured, side by side and interleaved
copies       snapshots, clones and reverts, and what a disk's size must not matter to
commands     whole SM commands, on the simulators of sm and xapi
datapath     maps, and fio on what is mapped, in a virtual machine
goals        the goals, and what came of them
plot         the picture, as SVG
report       docs/dev/performance.md, and README's part
"""
