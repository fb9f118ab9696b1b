"""
Count what a process of ours does: found by Python through PYTHONPATH, before anything else runs.

Each process appends a line for every piece of work to a file of its own in the folder that COUNT_INTO names, at once:
one that is killed has told all that it did. Files count where they lie below COUNT_BELOW. What other programs do is
theirs, and so is what workers of a large render do; that they were started is counted. A file that Python opens through
an opener of the caller's is counted twice.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

_INTO, _BELOW = os.environ["COUNT_INTO"], os.environ["COUNT_BELOW"]
_logs: dict[int, int] = {}


def _count(what: str) -> None:
    pid = os.getpid()
    if pid not in _logs:
        _logs[pid] = os.open(os.path.join(_INTO, str(pid)), os.O_WRONLY | os.O_CREAT | os.O_APPEND)  # noqa: PTH118 - as fast
    os.write(_logs[pid], f"{what}\n".encode())


def _is_below(path: object, folder: int = -1) -> bool:
    if not isinstance(path, str | bytes | os.PathLike):
        return False  # the descriptor of a file that was opened, and counted, before
    if folder != -1:  # what removes a tree goes from folder to folder, and knows each by its descriptor
        path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fsdecode(path))  # noqa: PTH115, PTH118 - as fast
    named = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - what is counted must not be resolved
    # Into how many folders git's objects fall is luck.
    return named.startswith(_BELOW) and "/keyvault-objects-" not in named


def _on_open(path: object, mode: object, flags: int) -> None:
    if _is_below(path):
        if flags & (os.O_WRONLY | os.O_RDWR):
            _count("written")
        else:
            _count("read")


#: What the interpreter says of itself, and what is counted then. See "Audit events table" of Python's manual.
_EVENTS: dict[str, Callable[..., None]] = {
    "open": _on_open,
    "os.listdir": lambda path: _count("listed") if _is_below(path) else None,
    "os.scandir": lambda path: _count("listed") if _is_below(path) else None,
    "os.link": lambda source, *rest: _count("linked") if _is_below(source) else None,
    "os.rename": lambda source, *rest: _count("renamed") if _is_below(source) else None,
    "os.remove": lambda path, folder: _count("removed") if _is_below(path, folder) else None,
    "subprocess.Popen": lambda program, *rest: _count(os.path.basename(os.fsdecode(program))),  # noqa: PTH119 - the same
    "socket.connect": lambda *rest: _count("connected"),
}


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _EVENTS:
        _EVENTS[event](*arguments)


#: Attributes of modules that stand for work on keys, and what is counted when they are called. They are looked up by
#: those who call them, so that replacing them is enough. A key is counted as loaded where its numbers are put together.
_KEYS = {
    "cryptography.hazmat.primitives.asymmetric.rsa": {
        "generate_private_key": "made",
        "RSAPublicNumbers": "loaded",
        "RSAPrivateNumbers": "loaded",
    },
    "cryptography.hazmat.primitives.asymmetric.ec": {
        "generate_private_key": "made",
        "derive_private_key": "loaded",
        "EllipticCurvePublicNumbers": "loaded",
        "EllipticCurvePrivateNumbers": "loaded",
    },
    "cryptography.hazmat.primitives.serialization": dict.fromkeys(
        ("load_der_private_key", "load_der_public_key", "load_pem_private_key", "load_pem_public_key"), "loaded"
    ),
    "cryptography.hazmat.primitives.kdf.concatkdf": {"ConcatKDFHash": "derived"},
    "jwcrypto.jwa": {"PBKDF2HMAC": "derived"},
    "keyvault.core.pem": {"load_point": "loaded"},
}


def _counted(call: Callable[..., Any], what: str) -> Callable[..., Any]:
    @functools.wraps(call)
    def counted(*arguments: Any, **named: Any) -> Any:
        _count(what)
        made = call(*arguments, **named)
        while what == "made" and _is_thrown_away(made):
            made = call(*arguments, **named)
        return made

    return counted


def _is_thrown_away(key: Any) -> bool:
    """
    Return whether keyvault would draw *key* again: the thumbprint (RFC 7638) of one in 32 begins with ``-`` or ``_``.

    Such keys never reach it, since a count must not depend on luck. Keys of the counted vaults are on P-256.
    """
    numbers = key.public_key().public_numbers()
    x, y = (
        base64.urlsafe_b64encode(value.to_bytes(32, "big")).rstrip(b"=").decode() for value in (numbers.x, numbers.y)
    )
    members = f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'
    return base64.urlsafe_b64encode(hashlib.sha256(members.encode()).digest())[:1] in (b"-", b"_")


class _Finder(importlib.abc.MetaPathFinder):
    """Lets others find the modules of `_KEYS`, and wraps what is in them when they were loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in _KEYS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        assert spec is not None
        assert spec.loader is not None
        load = spec.loader.exec_module

        def load_and_wrap(module: ModuleType) -> None:
            load(module)
            for attribute, what in _KEYS[name].items():
                setattr(module, attribute, _counted(getattr(module, attribute), what))

        spec.loader.exec_module = load_and_wrap  # type: ignore[method-assign] - of this one loader
        return spec


sys.meta_path.insert(0, _Finder())
sys.addaudithook(_hook)
