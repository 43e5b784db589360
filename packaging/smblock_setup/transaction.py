"""Changes of many files of which either all are made or none.

The steps, and why stopping after each is safe:

1. Every new file is written to a staging directory of its filesystem, and every file that goes gets a second link
   there. A full disk ends it here, and nothing has changed.
2. The journal is written: all paths, and which of them existed.
3. Each new file is renamed to its place. If that fails, the journal is undone. If the process is killed, the next run
   undoes the journal first.
4. The journal is removed: from here the change counts. Then the staging directories are removed.
"""

import contextlib
import json
import os
import shutil

from smblock_setup import SetupError, atomic, below, reason

STAGE = ".smblock-stage"
_JOURNAL = "journal.json"


class Transaction:
    """The changes of one run. `durable` has each file on the disk before it is put in place."""

    def __init__(self, root, durable=True):
        self._root = root
        self._durable = durable
        self._stages = []
        self._entries = []
        self._directories = []
        self._finished = False

    def __enter__(self):
        self._stage_for(self._root or "/")
        return self

    def __exit__(self, kind, error, _trace):
        if not self._finished:
            recover(self._root)
            self._remove_stages()
        if kind is not None and issubclass(kind, OSError):
            raise SetupError("%s: %s. Nothing was changed" % (error.filename, reason(error))) from error

    def put(self, path, data, mode):
        """Writes the new content of a file. It is in place after `commit`."""
        entry = self._entry(path)
        with open(entry["new"], "wb") as file:
            try:
                file.write(data)
                os.fchmod(file.fileno(), mode)
                if self._durable:
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                error.filename = error.filename or path
                raise

    def link(self, path, destination):
        """Makes a symbolic link. It is in place after `commit`."""
        os.symlink(destination, self._entry(path)["new"])

    def remove(self, path):
        """Removes a file. It is gone after `commit`."""
        self._entry(path)["new"] = None

    def directories(self, also=()):
        """The directories of the host that this makes, with `also` and those above it."""
        for directory in also:
            self._existing_directory(below(self._root, directory))
        return [_on_host(self._root, directory) for directory in self._directories]

    def commit(self):
        """Puts everything in place."""
        _write_journal(self._root, self._entries, self._directories, self._stages)
        for directory in self._directories:
            os.mkdir(directory, 0o755)
        for entry in self._entries:
            if entry["new"]:
                os.rename(entry["new"], entry["target"])
            else:
                os.unlink(entry["target"])
        if self._durable:
            for directory in {os.path.dirname(entry["target"]) for entry in self._entries}:
                atomic.sync_directory(directory)

    def finish(self):
        """Makes the change count: after it nothing is undone."""
        os.unlink(_journal(self._root))
        self._finished = True
        self._remove_stages()

    def _remove_stages(self):
        for stage in self._stages:
            shutil.rmtree(stage, ignore_errors=True)

    def _entry(self, path):
        target = below(self._root, path)
        directory = self._existing_directory(os.path.dirname(target))
        name = os.path.join(self._stage_for(directory), "%04d" % len(self._entries))
        entry = {"target": target, "new": name + ".new", "old": None}
        self._entries.append(entry)
        if os.path.lexists(target):
            if os.path.isdir(target) and not os.path.islink(target):
                raise SetupError("%s is a directory: move it away, then try again" % path)
            entry["old"] = name + ".old"
            os.link(target, entry["old"], follow_symlinks=False)
        return entry

    def _existing_directory(self, directory):
        """The nearest directory that exists; those below it are to be made."""
        missing = []
        while not os.path.isdir(directory):
            missing.append(directory)
            directory = os.path.dirname(directory)
        self._directories += [path for path in reversed(missing) if path not in self._directories]
        return directory

    def _stage_for(self, directory):
        """The staging directory of a directory's filesystem: a file can be renamed from it."""
        top = os.path.realpath(self._root or "/")
        directory = os.path.realpath(directory)
        device = os.stat(directory).st_dev
        while directory not in (top, "/") and os.stat(os.path.dirname(directory)).st_dev == device:
            directory = os.path.dirname(directory)
        stage = os.path.join(directory, STAGE)
        if stage not in self._stages:
            shutil.rmtree(stage, ignore_errors=True)  # of a run that was killed before it had a journal
            os.mkdir(stage, 0o700)
            self._stages.append(stage)
        return stage


def recover(root):
    """Undoes what a run has left that failed or was killed; returns whether any file was put in place."""
    stage = os.path.join(os.path.realpath(root or "/"), STAGE)
    try:
        with open(_journal(root)) as file:
            journal = json.load(file)
    except (FileNotFoundError, ValueError):  # a journal that is not whole: nothing was put in place
        shutil.rmtree(stage, ignore_errors=True)
        return False
    for entry in reversed(journal["entries"]):
        if entry["old"]:
            with contextlib.suppress(FileNotFoundError):  # this much of it was undone already
                os.rename(entry["old"], entry["target"])
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(entry["target"])
    for directory in reversed(journal["directories"]):
        with contextlib.suppress(OSError):
            os.rmdir(directory)
    os.unlink(_journal(root))
    for directory in journal["stages"]:
        shutil.rmtree(directory, ignore_errors=True)
    return True


def discard(root):
    """Forgets what a killed run has left, and undoes nothing: the files are another owner's now."""
    shutil.rmtree(os.path.join(os.path.realpath(root or "/"), STAGE), ignore_errors=True)


def is_interrupted(root):
    """Whether a run was killed while it put files in place."""
    return os.path.exists(_journal(root))


def _journal(root):
    return os.path.join(os.path.realpath(root or "/"), STAGE, _JOURNAL)


def _write_journal(root, entries, directories, stages):
    content = json.dumps({"entries": entries, "directories": directories, "stages": stages})
    atomic.write(_journal(root), content.encode(), 0o600)


def _on_host(root, path):
    return "/" + os.path.relpath(path, root or "/")
