"""The virtual machine of a `GuestDom0`: Debian's kernel, and this machine's files.

No KVM, no privileges, nothing installed: qemu emulates, the kernel comes out of its package into a
cache directory, user networking reaches the lab's servers, and the root is this machine's, read-only
over 9p with a tmpfs on top.
"""
