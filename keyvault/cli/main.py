"""
The app: options before the command, the list of commands, and the one place where errors are caught.

The modules of this package that declare commands do without ``from __future__ import annotations``: Typer would
have to evaluate every annotation again from its text, at each start.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by a gate, 4 overdue, 5 findings.
"""

import contextlib
import io
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from keyvault.cli import audit, checks, github_actions, keys, merge, recipients, rotation, site, tokens, vault
from keyvault.cli.global_options import clock, settings
from keyvault.cli.lazy_commands import LateTyper
from keyvault.cli.output import emit_json, printed, report_error
from keyvault.core.text import elided
from keyvault.errors import KeyVaultError

#: What a shell reports for a process that Ctrl-C ended; Typer returns it too.
INTERRUPTED = 130

app = LateTyper(
    name="keyvault",
    help="Publish a JSON Web Key Set without a server: encrypted keys in git, a static site from each commit.",
    epilog="Start with:  keyvault init my-keys --url https://keys.example.com",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"keyvault {version('jwks-keyvault')}")
        except PackageNotFoundError:
            print("keyvault, from a source tree that is not installed")
        raise typer.Exit


@app.callback()
def _options(
    vault: Annotated[
        Path,
        typer.Option("--vault", metavar="DIR", envvar="KEYVAULT_DIR", help="Where to look for the vault, upwards."),
    ] = Path(),
    identity: Annotated[
        Path | None, typer.Option("--identity", metavar="FILE", help="An identity that opens private keys.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print ids only.")] = False,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Say more; -vv shows tracebacks.")] = 0,
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    settings.vault, settings.identity = vault, identity
    settings.quiet, settings.verbose, settings.now = quiet, verbose, clock()


for room in (vault, rotation, site, checks, audit, merge, keys, recipients, tokens):
    room.register(app)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            # Closed by the caller: the next file that is opened must not take its place.
            stream = Path(os.devnull).open("r+", encoding="utf-8")  # noqa: SIM115 - open until the process ends
            setattr(sys, name, stream)
    _forbid_core_dumps()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter is no reason to fail
    code = run(arguments)
    with contextlib.suppress(ValueError):  # a program that calls this from a thread of its own
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the outcome was told: it is no other one any more
    sys.exit(code)


def _forbid_core_dumps() -> None:
    """Keep private keys out of core dumps: of this process, and of all that it runs."""
    if sys.platform != "win32":
        import resource

        # One byte and not none: with none, Linux still hands a dump to a program that core_pattern names.
        with contextlib.suppress(ValueError, OSError):  # the hard limit is none already, and cannot be raised
            resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code; every deliberate error becomes one line here."""
    settings.quiet, settings.verbose, printed.document = False, 0, False
    # Read here and not by the parser: a command line that does not parse is an error like any other.
    settings.as_json = "--json" in (sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(args=arguments, prog_name="keyvault", standalone_mode=False)
        sys.stdout.flush()
    except KeyVaultError as error:
        _trace(error)
        if not settings.quiet:
            github_actions.annotate("error", error.message)
        return _failed(error.message, error.hint, code=error.code, exit_code=error.exit_code)
    except typer.TyperException as error:
        return _usage(error)
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except BrokenPipeError:
        _silence()  # whoever reads our output has left
        return 1
    except OSError as error:
        _trace(error)
        _silence()
        where = f": {elided(error.filename)}" if isinstance(error.filename, str) else ""
        return _failed(f"{error.strerror or type(error).__name__}".lower() + where, code="system")
    except SystemExit:  # how completion ends
        raise
    except BaseException as error:  # a library written in Rust may raise what is no Exception
        if not isinstance(error.__cause__, KeyboardInterrupt):  # Python 3.11 wraps it where a class was being made
            _trace(error)
            # The text of an unforeseen error may hold anything, so only its kind is shown.
            hint = "please report it, with the output of: keyvault -vv …"
            return _failed(f"unexpected {type(error).__name__}", hint, code="unexpected")
        code = INTERRUPTED
    if code == INTERRUPTED:
        return _failed("interrupted", code="interrupted", exit_code=INTERRUPTED)
    return code if isinstance(code, int) else 0


def _failed(message: str, hint: str | None = None, *, code: str, exit_code: int = 1) -> int:
    """Report an error, with ``--json`` also as a document on stdout if it has none yet; return the exit code."""
    report_error(message, hint)
    if settings.as_json and not printed.document:
        emit_json({"error": {"code": code, "exit_code": exit_code, "hint": hint, "message": message}})
    return exit_code


def _trace(error: BaseException) -> None:
    """
    Show where *error* came from, with ``-vv``: frames and kind of each error that led to it.

    Only our own errors are shown with their text: that of others may hold anything, a key too.
    """
    if settings.verbose < 2:
        return
    import traceback

    chain: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in chain:
        chain.append(one)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    for one in reversed(chain):
        print("Traceback (most recent call last):", file=sys.stderr)
        traceback.print_tb(one.__traceback__)
        print(type(one).__name__ + (f": {one.message}" if isinstance(one, KeyVaultError) else ""), file=sys.stderr)


def _silence() -> None:
    """Lead stdout nowhere: what could not be written would be tried, and complained about, once more at the end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(error: typer.TyperException) -> int:
    """Report wrong usage, and return its exit code."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help of the command
        print(error.format_message(), file=sys.stderr)
    else:
        where = context.command_path if context else "keyvault"
        message = _lowered(elided(error.format_message()))
        return _failed(message, f"{where} --help", code="usage", exit_code=error.exit_code)
    return error.exit_code


def _lowered(message: str) -> str:
    message = " ".join(message.split()).rstrip(".")
    return message[:1].lower() + message[1:]
