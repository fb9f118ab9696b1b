"""
Start the command line quickly: a server imports keyvault once and forks for each command.

A shim called ``keyvault`` goes on the PATH. It passes its arguments, folder, environment and streams to the server,
which runs the command in a new process under the test's clock. The shim ends with that process's exit code. A
simulation of half a year starts the command thousands of times.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

PROJECT = Path(__file__).parent.parent.parent

# Without site and in isolated mode Python starts in 10 ms.
_SHIM = """#!{python} -IS
import json, os, socket, sys
try:
    server = socket.socket(socket.AF_UNIX)
    server.connect({path!r})
    request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(request).to_bytes(4, "big")], [0, 1, 2])
    server.sendall(request)
    code = server.recv(1)
    sys.stdout.flush()
    os._exit(code[0] if code else 70)
except OSError as error:
    sys.exit(f"keyvault: the server of the test does not answer: {{error}}")
"""


@contextlib.contextmanager
def command(clock: Path, failing: Path | None = None) -> Iterator[Path]:
    """
    Yield a folder for the PATH that contains ``keyvault``.

    Args:
        clock: A file with the present instant, read for each command.
        failing: The compiled ``tests/repo/failing.c``, for commands whose environment preloads it.
    """
    folder = Path(tempfile.mkdtemp(prefix="kv-"))  # the path of a socket is short
    place = str(folder / "socket")
    shim = folder / "bin" / "keyvault"
    shim.parent.mkdir()
    shim.write_text(_SHIM.format(python=sys.executable, path=place))
    shim.chmod(0o755)
    ready, ready_end = os.pipe()
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.ci.forked", place, str(clock), str(ready_end)],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "LD_PRELOAD": str(failing or "")},
        stdin=subprocess.DEVNULL,
        pass_fds=(ready_end,),
    )
    os.close(ready_end)
    try:
        assert os.read(ready, 1) == b"r", "the server did not start"
        yield shim.parent
    finally:
        os.close(ready)
        server.kill()
        server.wait()
        shutil.rmtree(folder)


def _serve(place: str, clock: Path, ready_end: int) -> None:
    import keyvault.operations.check  # imported once, not for each command
    import keyvault.operations.publish
    import keyvault.operations.reports
    import keyvault.operations.rotation
    import keyvault.operations.site
    import keyvault.publish.live  # noqa: F401
    from keyvault.cli import main

    server = socket.socket(socket.AF_UNIX)
    server.bind(place)
    server.listen(16)
    os.write(ready_end, b"r")
    os.close(ready_end)
    while True:
        client, _ = server.accept()
        if os.fork() == 0:
            server.close()
            _answer(client, clock, main)
        client.close()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _answer(client: socket.socket, clock: Path, main: object) -> None:
    """Run a command in a child of this child, so that its crash becomes an exit code, too."""
    size, streams, _, _ = socket.recv_fds(client, 4, 3)
    data = b""
    while len(data) < int.from_bytes(size, "big"):
        data += client.recv(65_536)
    arguments, folder, environ = json.loads(data)
    child = os.fork()
    if child == 0:
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environ)
        if "LD_PRELOAD" in environ:
            os.setsid()  # it interrupts the whole process group
            ctypes.CDLL(environ["LD_PRELOAD"]).failing_begin()
        now = datetime.fromisoformat(clock.read_text())
        main.clock = lambda: now  # type: ignore[attr-defined] # a module, handed over
        code = 70
        try:
            code = main.run(arguments)  # type: ignore[attr-defined] # as above
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()  # type: ignore[union-attr] # both are files here
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    client.sendall(bytes([code if code >= 0 else 128 - code]))
    os._exit(0)


if __name__ == "__main__":
    _serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
