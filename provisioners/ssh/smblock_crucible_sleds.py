"""The sleds of smblock-crucible-provisioner: runs commands on them, and reads their records of volumes.

It imports nothing of smblock: a provisioner also runs without the driver.
"""

import contextlib
import json
import os
import shlex
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor, as_completed

COPIES = 3
# The driver kills a command after an hour if it writes data, else after a minute.
STEP_SECONDS = 40
# Seconds for a sled to list its volumes. One that takes longer counts as down.
SURVEY_SECONDS = 10
BRING_BACK = "start the sled; if it is permanently lost, remove it from provisioner_sleds"
SLED_SCRIPT = os.path.join(os.path.dirname(os.path.realpath(__file__)), "smblock-crucible-sled")


class Failed(Exception):
    """The command failed. The message is for the administrator."""


class Sled:
    """A server that keeps regions."""

    def __init__(self, destination, address, config):
        self.destination = destination
        self.address = address
        self._config = config
        self._running = set()

    def start(self, command, *args):
        """Starts a command of the sled's script, in the directory for regions."""
        words = ["sh", "-s", "--", command, self._config.directory, *map(str, args)]
        if self.destination != "local":
            # ssh joins its words to one line for the shell of the sled.
            words = [*self._config.ssh, "--", self.destination, " ".join(map(shlex.quote, words))]
        try:
            running = Running(self, command, words)
        except OSError as error:
            raise Failed("sled %s: %s: %s" % (self.destination, command, error)) from None
        self._running.add(running)
        return running

    def run(self, command, *args, timeout=STEP_SECONDS):
        """Runs a command until it ends. Returns its output in bytes."""
        running = self.start(command, *args)
        try:
            return running.output(timeout)
        finally:
            self._running.discard(running)

    def cancel(self):
        """Kills the commands that run on this sled."""
        for running in list(self._running):
            running.kill()


class Running:
    """A running command of a sled's script. The command reads stdin after the script."""

    def __init__(self, sled, command, words):
        self._doing = "sled %s: %s" % (sled.destination, command)
        self._closing = threading.Lock()
        with open(SLED_SCRIPT, "rb") as file:
            script = file.read()
        stdin, self._stdin = os.pipe()
        try:
            # Written at once, so that the shell reads all of the script at once. A pipe holds 64 KiB.
            os.write(self._stdin, script)
            self._process = subprocess.Popen(words, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except OSError:
            self._close()
            raise
        finally:
            os.close(stdin)

    def output(self, timeout):
        """Waits until the command ends. Returns its output."""
        try:
            stdout, stderr = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed("%s: timed out after %d s" % (self._doing, timeout)) from None
        finally:
            self._close()
        if self._process.returncode != 0:
            message = stderr.decode(errors="replace").strip() or "exit status %d" % self._process.returncode
            raise Failed("%s: %s" % (self._doing, message))
        return stdout

    def end(self, timeout):
        """Closes the command's stdin, and waits until the command ends."""
        self._close()
        self.output(timeout)

    def beat(self):
        """Sends to the command that this process lives. `output` reports a command that has ended."""
        with self._closing, contextlib.suppress(OSError):
            if self._stdin is not None:
                os.write(self._stdin, b".\n")

    def wait_for(self, word, timeout):
        """Waits until the command prints the line `word`."""
        # It prints only this line before its end, so the buffer is empty for output().
        watch = threading.Timer(timeout, self.kill)
        watch.start()
        line = self._process.stdout.readline()
        watch.cancel()
        if line.strip() != word:
            self.end(timeout)
            raise Failed("%s: the command ended before the copy was complete" % self._doing)

    def require_running(self):
        """Raises `Failed` if the command has ended."""
        if self._process.poll() is not None:
            self.output(STEP_SECONDS)
            raise Failed("%s: the command ended before the copy was complete" % self._doing)

    def kill(self):
        """Kills the command's process on this host. The sled's script reads the end of its stdin."""
        self._close()
        with contextlib.suppress(OSError):
            self._process.kill()

    def _close(self):
        with self._closing:
            if self._stdin is not None:
                os.close(self._stdin)
                self._stdin = None


def ask_all(sleds, command, *args):
    """Runs a command on all sleds. Yields each sled with its lines of output or its failure, as they reply."""
    with ThreadPoolExecutor(len(sleds)) as all_at_once:
        asked = {all_at_once.submit(sled.run, command, *args, timeout=SURVEY_SECONDS): sled for sled in sleds}
        for reply in as_completed(asked):
            sled = asked[reply]
            try:
                yield sled, warned(sled, reply.result().splitlines())
            except Failed as failure:
                yield sled, Failed("%s; %s" % (failure, BRING_BACK))


def warned(sled, lines):
    """Writes warnings to stderr, for the log of the driver. Returns the other lines."""
    for line in lines:
        if line.startswith(b"! "):
            sys.stderr.write("sled %s: %s\n" % (sled.destination, line[2:].decode(errors="replace")))
    return [line for line in lines if line and not line.startswith(b"! ")]


def records(sled, lines):
    """Returns the volumes in the output of the sled's script: for each, the name of its file, and its content."""
    shown = []
    for line in lines:
        if line.startswith(b"@ "):
            shown.append((line[2:].decode(errors="replace"), []))
        elif shown:
            shown[-1][1].append(line)
    return [parsed(sled, path, b"\n".join(content)) for path, content in shown]


def parsed(sled, path, content):
    """Returns the content of a volume's file, checked."""
    try:
        record = json.loads(content.decode())
        volume = record["volume"]
        if str(uuid.UUID(volume["uuid"])) != os.path.basename(os.path.dirname(path)):
            raise ValueError("it is the record of volume %s" % volume["uuid"])
        for field, kind in (("size", int), ("targets", list)):
            if not isinstance(volume[field], kind):
                raise ValueError("no %s" % field)
        places = [(region["sled"], int(region["port"])) for region in record["regions"]]
        if len(places) != COPIES:
            raise ValueError("no %d regions" % COPIES)
        str(uuid.UUID(record["sr"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = "sled %s: %s is damaged (%s: %s); copy it from another sled of that volume"
        raise Failed(message % (sled.destination, path, type(error).__name__, error)) from None
    return record


def agreed(known, record, sled):
    """Returns the record. Raises `Failed` if another sled has a different one."""
    if known is not None and known != record:
        message = "volume %s: smblock.json of sled %s differs from that of another sled; compare them, and keep one"
        raise Failed(message % (record["volume"]["uuid"], sled.destination))
    return record


def find(sleds, volume):
    """Returns the record of one volume, or None if no sled has it. Only the volume's own sleds must reply."""
    record, failure, silent = None, None, {sled.destination for sled in sleds}
    for sled, lines in ask_all(sleds, "find_volume", volume):
        silent.discard(sled.destination)
        if isinstance(lines, Failed):
            failure = failure or lines
            continue
        for found in records(sled, lines):
            record = agreed(record, found, sled)
        if record is not None and silent.isdisjoint(region["sled"] for region in record["regions"]):
            for other in sleds:
                other.cancel()
            return record
    if record is None and failure is not None:
        raise failure
    return record
