"""
Count the work of keyvault's processes: Python imports this module from PYTHONPATH before anything else runs.

Each process appends a line for each operation, at once, to its own file in the folder COUNT_INTO, so that a killed
process loses no count. Files count if they are below COUNT_BELOW. The work of other programs and of the workers of a
large render does not count, but their starts do. A file that Python opens through a custom opener counts twice.
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
        return False  # the descriptor of an open file, which was counted before
    if folder != -1:  # code that removes a tree refers to each folder by its descriptor
        path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fsdecode(path))  # noqa: PTH115, PTH118 - as fast
    named = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - links must not be resolved
    # The number of folders of git's objects is random.
    return named.startswith(_BELOW) and "/keyvault-objects-" not in named


def _on_open(path: object, mode: object, flags: int) -> None:
    if _is_below(path):
        if flags & (os.O_WRONLY | os.O_RDWR):
            _count("written")
        else:
            _count("read")


#: Audit events of the interpreter, and what they count as. See "Audit events table" of Python's manual.
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


#: Functions that work on keys, and what a call counts as. Callers look them up in their modules, so replacing them is
#: enough. A key counts as loaded when its numbers are assembled.
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
    "keyvault.core.key_objects": {"load_point": "loaded"},
}


def _counted(call: Callable[..., Any], what: str) -> Callable[..., Any]:
    @functools.wraps(call)
    def counted(*arguments: Any, **named: Any) -> Any:
        _count(what)
        made = call(*arguments, **named)
        while what == "made" and _is_rejected(made):
            made = call(*arguments, **named)
        return made

    return counted


def _is_rejected(key: Any) -> bool:
    """
    Return whether keyvault would replace *key*: one thumbprint (RFC 7638) in 32 begins with ``-`` or ``_``.

    Such keys never reach keyvault, because counts must not be random. Keys of the counted vaults are on P-256.
    """
    numbers = key.public_key().public_numbers()
    x, y = (
        base64.urlsafe_b64encode(value.to_bytes(32, "big")).rstrip(b"=").decode() for value in (numbers.x, numbers.y)
    )
    members = f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'
    return base64.urlsafe_b64encode(hashlib.sha256(members.encode()).digest())[:1] in (b"-", b"_")


class _Finder(importlib.abc.MetaPathFinder):
    """Wraps the functions of `_KEYS` after their modules are loaded."""

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
