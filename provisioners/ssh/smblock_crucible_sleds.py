"""The sleds of smblock-crucible-provisioner: commands there, and what they tell about volumes.

It needs nothing of smblock's: a provisioner runs without the driver, too.
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
# The driver waits an hour where data is written, else a minute, and then kills what runs.
STEP_SECONDS = 40
# A sled that takes longer to say what it has is as good as down.
SURVEY_SECONDS = 10
BRING_BACK = "bring the sled back, or, if it is gone for good, take it out of provisioner_sleds"
SLED_SCRIPT = os.path.join(os.path.dirname(os.path.realpath(__file__)), "smblock-crucible-sled")


class Failed(Exception):
    """What was asked for could not be done; the message is for the administrator."""


class Sled:
    """A server that keeps regions."""

    def __init__(self, destination, address, config):
        self.destination = destination
        self.address = address
        self._config = config
        self._running = set()

    def start(self, command, *args):
        """Have the sled's script begin a command in the folder for regions."""
        words = ["sh", "-s", "--", command, self._config.folder, *map(str, args)]
        if self.destination != "local":
            # ssh makes one line of its words, for the shell over there.
            words = [*self._config.ssh, "--", self.destination, " ".join(map(shlex.quote, words))]
        try:
            running = Running(self, command, words)
        except OSError as error:
            raise Failed("sled %s: %s: %s" % (self.destination, command, error)) from None
        self._running.add(running)
        return running

    def run(self, command, *args, timeout=STEP_SECONDS):
        """The same, to its end; what it prints, in bytes."""
        running = self.start(command, *args)
        try:
            return running.output(timeout)
        finally:
            self._running.discard(running)

    def cancel(self):
        """Nothing waits for this sled any more."""
        for running in list(self._running):
            running.kill()


class Running:
    """A command that a sled's script does. What is written to its stdin, or its end, is the command's to read."""

    def __init__(self, sled, command, words):
        self._doing = "sled %s: %s" % (sled.destination, command)
        self._closing = threading.Lock()
        with open(SLED_SCRIPT, "rb") as file:
            script = file.read()
        stdin, self._stdin = os.pipe()
        try:
            # The shell reads as much as there is: more of it must not come later. A pipe holds 64 KiB.
            os.write(self._stdin, script)
            self._process = subprocess.Popen(words, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except OSError:
            self._close()
            raise
        finally:
            os.close(stdin)

    def output(self, timeout):
        """What it prints until its end."""
        try:
            stdout, stderr = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed("%s: not done in %d s" % (self._doing, timeout)) from None
        finally:
            self._close()
        if self._process.returncode != 0:
            said = stderr.decode(errors="replace").strip() or "exit status %d" % self._process.returncode
            raise Failed("%s: %s" % (self._doing, said))
        return stdout

    def end(self, timeout):
        """Let it read the end of its stdin, and finish."""
        self._close()
        self.output(timeout)

    def beat(self):
        """Let it read that this process lives. One that has ended shows at its output."""
        with self._closing, contextlib.suppress(OSError):
            if self._stdin is not None:
                os.write(self._stdin, b".\n")

    def wait_for(self, word, timeout):
        """Wait until it prints a line."""
        # It prints this line alone before its end, so nothing is left in a buffer for output().
        watch = threading.Timer(timeout, self.kill)
        watch.start()
        line = self._process.stdout.readline()
        watch.cancel()
        if line.strip() != word:
            self.end(timeout)
            raise Failed("%s: it ended early" % self._doing)

    def require_running(self):
        """It must not have ended by itself."""
        if self._process.poll() is not None:
            self.output(STEP_SECONDS)
            raise Failed("%s: it ended early" % self._doing)

    def kill(self):
        """End it here; a sled's script sees the end of its stdin."""
        self._close()
        with contextlib.suppress(OSError):
            self._process.kill()

    def _close(self):
        with self._closing:
            if self._stdin is not None:
                os.close(self._stdin)
                self._stdin = None


def ask_all(sleds, command, *args):
    """Pairs of a sled and its lines, or the failure, as they reply."""
    with ThreadPoolExecutor(len(sleds)) as all_at_once:
        asked = {all_at_once.submit(sled.run, command, *args, timeout=SURVEY_SECONDS): sled for sled in sleds}
        for reply in as_completed(asked):
            sled = asked[reply]
            try:
                yield sled, warned(sled, reply.result().splitlines())
            except Failed as failure:
                yield sled, Failed("%s; %s" % (failure, BRING_BACK))


def warned(sled, lines):
    """The lines that are no warnings. Those are for the log of the driver."""
    for line in lines:
        if line.startswith(b"! "):
            sys.stderr.write("sled %s: %s\n" % (sled.destination, line[2:].decode(errors="replace")))
    return [line for line in lines if line and not line.startswith(b"! ")]


def records(sled, lines):
    """The volumes in what the sled's script shows: each is the name of a file, and what is in it."""
    shown = []
    for line in lines:
        if line.startswith(b"@ "):
            shown.append((line[2:].decode(errors="replace"), []))
        elif shown:
            shown[-1][1].append(line)
    return [parsed(sled, path, b"\n".join(content)) for path, content in shown]


def parsed(sled, path, content):
    """What a volume's file says."""
    try:
        record = json.loads(content.decode())
        volume = record["volume"]
        if str(uuid.UUID(volume["uuid"])) != os.path.basename(os.path.dirname(path)):
            raise ValueError("it is about volume %s" % volume["uuid"])
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
    """A record, which must be the same on every sled."""
    if known is not None and known != record:
        message = "volume %s: smblock.json of sled %s differs from that of another sled; compare them, and keep one"
        raise Failed(message % (record["volume"]["uuid"], sled.destination))
    return record


def find(sleds, volume):
    """The record of one volume, by what its own sleds say; None if no sled has any. Others may be away."""
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
