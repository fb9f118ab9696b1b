"""Files of keys: reads those that a command line names, and writes new ones without overwriting any."""

import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from keyvault.cli.output import emit_bytes, note
from keyvault.core.text import elided
from keyvault.errors import UsageError

if TYPE_CHECKING:
    from keyvault.crypto.imports import AskPassword


def read_input(name: str) -> bytes:
    """
    Return the bytes of the file *name*, or of stdin if it is ``-``.

    Raises:
        UsageError: If the file cannot be read.
    """
    from keyvault.crypto.imports import FILE_MAX

    if name == "-":
        return sys.stdin.buffer.read(FILE_MAX + 1)
    try:
        with Path(name).open("rb") as file:
            return file.read(FILE_MAX + 1)
    except OSError as error:
        raise UsageError(f"{elided(name)} cannot be read: {error.strerror}", code="file-unreadable") from None


def read_password(source: str | None) -> bytes | None:
    """
    Return the first line of the file *source*, or None if there is no *source*.

    Raises:
        UsageError: If the file cannot be read, or its first line is empty.
    """
    if source is None:
        return None
    lines = read_input(source).splitlines()
    if not lines or not lines[0]:
        raise UsageError(f"--password-file {source} has an empty first line", code="password-missing")
    return lines[0]


def ask_password(source: str | None) -> "AskPassword":
    """Return a function that reads the password from *source* or asks the terminal for it, once."""

    @functools.cache
    def ask() -> bytes | None:
        if source is not None:
            return read_password(source)
        if not sys.stdin.isatty():
            return None
        import getpass

        return getpass.getpass("Password of the file: ", stream=sys.stderr).encode()

    return ask


def check_free(path: Path, private_path: Path | None = None) -> None:
    """
    Check that a public file can be written to *path*, before the private key is written to *private_path*.

    Without this check, a failure would leave the private file without its public counterpart.

    Raises:
        UsageError: If *path* exists, equals *private_path*, or lies in a folder that does not exist.
    """
    if path == private_path:
        raise UsageError(f"{elided(str(path))} cannot be two files at once", code="option-conflict")
    if path.exists() or path.is_symlink():
        raise UsageError(
            f"{elided(str(path))} exists already and is not overwritten", code="file-exists", hint="name another file"
        )
    if not path.parent.is_dir() and (private_path is None or path.parent != private_path.parent):
        raise UsageError(f"folder not found: {path.parent}", code="folder-not-found")


def write_public(data: bytes, path: Path) -> None:
    """
    Write *data* to the new file *path*.

    Raises:
        UsageError: If the file exists already or cannot be written.
    """
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        raise UsageError(
            f"{elided(str(path))} exists already and is not overwritten",
            code="file-exists",
            hint="remove it, or print to stdout with > FILE",
        ) from None
    except OSError as error:
        raise UsageError(f"{elided(str(path))} cannot be written: {error.strerror}", code="file-unwritable") from None


def write_private(data: bytes, path: Path | None, form: str, *, force: bool) -> None:
    """
    Write a private key in the format *form* to the new file *path*, or print it if *path* is None.

    Raises:
        UsageError: If the file exists or cannot be written, or stdout is a terminal and *force* is False.
    """
    from keyvault.crypto.identity_file import write_private_file

    if path is not None:
        write_private_file(path, data)
        note(f"wrote {path}, readable by you alone")
    elif sys.stdout.isatty() and not force:
        raise UsageError(
            "a private key is not printed to a terminal",
            code="output-is-terminal",
            hint="-o FILE, a pipe, or --force",
        )
    else:
        print_key(data, form)


def print_key(data: bytes, form: str) -> None:
    """
    Print *data*, a key in the format *form*, to stdout.

    Raises:
        UsageError: If the format is binary and stdout is a terminal.
    """
    from keyvault.crypto.exports import BINARY

    if form in BINARY and sys.stdout.isatty():
        raise UsageError(
            f"{form} is binary and is not printed to a terminal", code="output-is-terminal", hint="-o FILE, or a pipe"
        )
    emit_bytes(data)
