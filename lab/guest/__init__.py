"""The virtual machine of a `GuestDom0`: Debian's kernel, and this machine's files.

It needs no KVM, no privileges and no installation: qemu emulates, the kernel is unpacked from its package
into a cache directory, user networking reaches the lab's servers, and the root is this machine's, read-only
over 9p with a tmpfs on top.
"""
