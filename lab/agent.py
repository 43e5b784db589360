"""The agent: runs inside a dom0 of the lab, and executes the requests of the tests there.

One connection is one request: a line of JSON, then `size` bytes; one reply: a line of JSON, then
the bytes of stdout and stderr.  Each request has a process of its own, so requests run in parallel,
and a driver that hangs or dies affects no other.

    exec     argv, env, timeout; the bytes are its input    -> returncode, stdout, stderr
    sm       the same, for an SM driver or plugin           -> the same
    put      path, mode; the bytes are the file's           -> returncode
    unpack   path; the bytes are a tar archive              -> returncode
    get      path                                           -> returncode, stdout
    forward  path, address, port: from now on connections to the unix socket `path` go there
    preload  modules, path: import them now; each `sm` request then starts from there

Python 3.6 and its standard library: the agent runs on the interpreter the driver is tested with.
"""

import argparse
import importlib
import io
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import tarfile
import tempfile
import time
import traceback

ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin:/opt/xensource/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
    # Replaces the site-packages of dom0's interpreter.
    "PYTHONPATH": "/opt/xensource/site-packages",
}
# Printed to stdout when the agent accepts requests.
LISTENING = "lab agent: listening"
_CHUNK = 1 << 20
_BACKLOG = 128


class Stream:
    """Both directions of one connection, in lines and counted bytes."""

    def __init__(self, connection):
        self._socket = connection
        self._reader = connection.makefile("rb")

    def receive(self):
        """The request and its bytes, or None if the caller closed the connection."""
        line = self._reader.readline()
        if not line.endswith(b"\n"):
            return None
        request = json.loads(line.decode())
        payload = self._reader.read(request["size"])
        return (request, payload) if len(payload) == request["size"] else None

    def close(self):
        self._reader.close()
        self._socket.close()

    def reply(self, header, stdout=b"", stderr=b""):
        header = dict(header, stdout=len(stdout), stderr=len(stderr))
        self._socket.sendall(json.dumps(header).encode() + b"\n" + stdout + stderr)


class Child:
    """A process to start, and the files of its output.

    Output goes to files, not to pipes, because a daemon that the process leaves behind may keep those open.
    """

    def __init__(self, request, payload, preloaded):
        self.argv = request["argv"]
        self._environment = dict(ENVIRONMENT, **request.get("env", {}))
        self._timeout = request["timeout"]
        driver = request["op"] == "sm" and _is_python(self.argv[0])
        self._in_process = driver and preloaded
        if driver and not preloaded:
            self.argv = [sys.executable] + self.argv
        self._stdin = _file(payload)
        self._stdout = _file(b"")
        self._stderr = _file(b"")

    def become(self):
        """Turn this process into the child; returns only by the exceptions that end a process."""
        os.setsid()
        for number, file in enumerate((self._stdin, self._stdout, self._stderr)):
            os.dup2(file.fileno(), number)
            file.close()
        os.environ.clear()
        os.environ.update(self._environment)
        os.chdir("/")
        if not self._in_process:
            # Python ignores SIGPIPE, and its children inherit that.
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            try:
                os.execvpe(self.argv[0], self.argv, self._environment)
            except OSError as error:
                os.write(2, f"{self.argv[0]}: {error}\n".encode())
                os._exit(127)
        sys.argv = list(self.argv)
        sys.path[0] = os.path.dirname(os.path.realpath(self.argv[0]))
        runpy.run_path(self.argv[0], run_name="__main__")
        sys.exit(0)

    def wait(self, pid):
        """Wait for the child. Returns the reply, its stdout and its stderr."""
        end = time.monotonic() + self._timeout
        late = False
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                break
            left = end - time.monotonic()
            if left <= 0 and not late:
                late = True
                os.killpg(pid, signal.SIGKILL)
                end, left = time.monotonic() + 2, 2
            if left <= 0:
                break  # it hangs in the kernel, where SIGKILL has no effect: report it, do not wait
            signal.sigtimedwait([signal.SIGCHLD], left)
        reply = {"timeout": True} if late else {"returncode": _returncode(status)}
        return reply, _content(self._stdout), _content(self._stderr)


class Agent:
    """Accepts requests; each one is served by a fork of this process."""

    def __init__(self, listener, token):
        self._listener = listener
        self._token = token
        self._preloaded = False

    def serve(self):
        """Serve until killed.  A child process leaves this method by the exceptions that end it."""
        # If it is ignored, the kernel reaps the children, also those of daemons when the agent is process 1.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        while True:
            connection, _ = self._listener.accept()
            stream = Stream(connection)
            received = self._receive(stream)
            if received is None:
                pass
            elif received[0]["op"] == "preload":
                # Only this request changes the agent's own process.
                _guarded(stream, self._preload, received[0], stream)
            elif os.fork() == 0:
                self._listener.close()
                self._serve_one(stream, *received)
            stream.close()

    def _receive(self, stream):
        try:
            received = stream.receive()
        except (OSError, ValueError):
            return None  # the closed connection informs the caller
        if received is None or received[0].get("token") != self._token:
            return None
        return received

    def _serve_one(self, stream, request, payload):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if request["op"] in ("exec", "sm"):
            child = Child(request, payload, self._preloaded)
            pid = os.fork()
            if pid == 0:
                # Outside the agent's exception handlers: the child ends as any Python process does.
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
                stream.close()
                child.become()
            _guarded(stream, lambda: stream.reply(*child.wait(pid)))
        elif request["op"] == "forward":
            _guarded(stream, _forward, request, stream)
        else:
            _guarded(stream, _FILE_REQUESTS[request["op"]], request, payload, stream)
        os._exit(0)

    def _preload(self, request, stream):
        # sys.path[0] is the agent's directory; each driver puts its own there.
        sys.path[0:1] = request["path"]
        for name in request["modules"]:
            importlib.import_module(name)
        self._preloaded = True
        stream.reply({"returncode": 0})


def _guarded(stream, action, *arguments):
    """Run an action; a failure goes to the caller."""
    try:
        action(*arguments)
    except Exception:  # the caller waits for a reply
        stream.reply({"error": traceback.format_exc()})


def _put(request, payload, stream):
    path = request["path"]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    new = f"{path}.{os.getpid()}.new"
    with open(new, "wb") as file:
        file.write(payload)
    os.chmod(new, request["mode"])
    os.rename(new, path)
    stream.reply({"returncode": 0})


def _unpack(request, payload, stream):
    with tarfile.open(fileobj=io.BytesIO(payload)) as archive:
        # Old Pythons have no filters; without one, new ones refuse absolute links.
        archive.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
        archive.extractall(request["path"])
    stream.reply({"returncode": 0})


def _get(request, _payload, stream):
    with open(request["path"], "rb") as file:
        stream.reply({"returncode": 0}, file.read())


_FILE_REQUESTS = {"put": _put, "unpack": _unpack, "get": _get}


def _forward(request, stream):
    """Carry connections from a unix socket to a TCP address, for the rest of this process's life."""
    path = request["path"]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(_BACKLOG)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    stream.reply({"returncode": 0})
    while True:
        near, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            with near, socket.create_connection((request["address"], request["port"]), 30) as far:
                far.settimeout(None)
                far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _carry(near, far)
            os._exit(0)
        near.close()


def _carry(near, far):
    """Copy in both directions until both ends are closed."""
    with selectors.DefaultSelector() as ready:
        ready.register(near, selectors.EVENT_READ, far)
        ready.register(far, selectors.EVENT_READ, near)
        while ready.get_map():
            for key, _ in ready.select():
                data = key.fileobj.recv(_CHUNK)
                if data:
                    key.data.sendall(data)
                else:
                    ready.unregister(key.fileobj)
                    key.data.shutdown(socket.SHUT_WR)


def _is_python(path):
    try:
        with open(path, "rb") as file:
            first = file.readline()
    except OSError:
        return False  # exec reports the error
    return first.startswith(b"#!") and b"python" in first


def _file(content):
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - the caller that dups it closes it
    file.write(content)
    file.seek(0)
    return file


def _content(file):
    # The child's writes moved the offset they share.
    file.seek(0)
    return file.read()


def _returncode(status):
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def main():
    """Listen and serve. The token comes in the environment, where `ps` does not show it."""
    parser = argparse.ArgumentParser(description="agent of a lab host")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--fd", type=int, help="a listening unix socket, inherited")
    where.add_argument("--port", type=int, help="a TCP port to listen on")
    parser.add_argument("--host", required=True, help="names the host this agent is of, to who looks for it")
    options = parser.parse_args()
    if options.fd is not None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=options.fd)
        listener.set_inheritable(False)
    else:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("0.0.0.0", options.port))
    listener.listen(_BACKLOG)
    print(LISTENING, flush=True)
    Agent(listener, os.environ.pop("LAB_AGENT_TOKEN")).serve()


if __name__ == "__main__":
    main()
