"""The steps from what a host has to what it is to have."""

import hashlib
import os

from smblock_setup import below, layout, preflight, registration

REPLACED = layout.STATE + "/replaced"
# In the note of the installation: the other driver has a link, to what follows.
LINK = "-> "


class Change:
    """The steps from what a host has to what it is to have."""

    def __init__(self, options, noted):
        self._root = options.root
        self._noted = noted or {"files": {}, "directories": [], "replaced": {}}
        self.steps = []  # text, and a function of a Transaction
        self.paths = []
        self.replaced = dict(self._noted["replaced"])

    def install(self, item):
        """Has an item as it is to be."""
        target = below(self._root, item.path)
        if item.link:
            self._keep_foreign_link(item.path, item.link)
            self._keep_foreign(item.path)
            self._link(item.path, item.link)
            return
        data = read(item.source)
        if not has(target, data, item.mode):
            self._keep_foreign(item.path)
            self._add(item.path, "install %s" % target, lambda files: files.put(item.path, data, item.mode))

    def remove_others(self, paths):
        """Removes the files of the last installation that are none of these."""
        for path in sorted(set(self._noted["files"]) - paths):
            if os.path.lexists(below(self._root, path)):
                self._add(path, "remove %s" % below(self._root, path), lambda files, path=path: files.remove(path))

    def restore(self):
        """Puts the files back that the first installation has replaced."""
        for path, kept in sorted(self.replaced.items()):
            if kept.startswith(LINK):
                self._drop(path)
                self._link(path, kept[len(LINK) :])
                continue
            data, mode = read(below(self._root, kept)), os.stat(below(self._root, kept)).st_mode & 0o7777
            self._drop(path)
            self._add(path, "restore %s" % below(self._root, path),
                      lambda files, path=path, data=data, mode=mode: files.put(path, data, mode))  # fmt: skip

    def registration(self):
        """Has xapi run the drivers when it starts next."""
        if registration.effective_types(self._root) is None:
            return
        plan = registration.make_plan(self._root)
        target = below(self._root, registration.FILE)
        for text in plan.warnings:
            print("warning  %s" % text)
        if not has(target, plan.content, 0o644):
            self._add(registration.FILE, "register in %s" % target,
                      lambda files: files.put(registration.FILE, plan.content, 0o644))  # fmt: skip

    def apply(self, files):
        """Prepares every step."""
        for _, step in self.steps:
            step(files)

    def noted_directories(self):
        """The directories that earlier installations have made."""
        return self._noted["directories"]

    def _keep_foreign(self, path):
        """Keeps a copy of another driver's file."""
        if path not in preflight.driver_paths() or not preflight.is_foreign(self._root, path, self._noted):
            return
        if os.path.islink(below(self._root, path)):
            self.replaced[path] = LINK + os.readlink(below(self._root, path))
            return
        kept = "%s/%s" % (REPLACED, os.path.basename(path))
        data, mode = read(below(self._root, path)), os.stat(below(self._root, path)).st_mode & 0o7777
        self.replaced[path] = kept
        self._add(kept, "keep %s" % below(self._root, kept), lambda files: files.put(kept, data, mode))

    def _keep_foreign_link(self, path, destination):
        """Notes that another driver has the same link: it stays when smblock is removed."""
        target = below(self._root, path)
        is_new = path not in self._noted["files"] and os.path.islink(target) and os.readlink(target) == destination
        if is_new and preflight.is_foreign(self._root, path + ".py", self._noted):
            self.replaced[path] = LINK + destination

    def _link(self, path, destination):
        """Has the link as it is to be."""
        target = below(self._root, path)
        if not os.path.islink(target) or os.readlink(target) != destination:
            text = "link %s -> %s" % (target, destination)
            self._add(path, text, lambda files: files.link(path, destination))

    def _add(self, path, text, step):
        self.paths.append(path)
        self.steps.append((text, step))

    def _drop(self, path):
        kept = [(path_, step) for path_, step in zip(self.paths, self.steps) if path_ != path]
        self.paths = [path_ for path_, _ in kept]
        self.steps = [step for _, step in kept]


def read(path):
    """The bytes of a file."""
    with open(path, "rb") as file:
        return file.read()


def digest(path):
    """The SHA-256 of a file."""
    return hashlib.sha256(read(path)).hexdigest()


def has(path, data, mode):
    """Whether a file has that content and mode."""
    if os.path.islink(path) or not os.path.isfile(path):
        return False
    return os.stat(path).st_mode & 0o7777 == mode and read(path) == data
