"""
The app: options before the command, the list of commands, and the only place that reports errors.

Modules of this package that declare commands must not use ``from __future__ import annotations``: Typer would then
evaluate every annotation from its text at each start.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by a gate, 4 overdue or drift, 5 findings.
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
from keyvault.cli.lazy_commands import LazyTyper
from keyvault.cli.output import printed, report_error
from keyvault.core.text import elided
from keyvault.errors import KeyVaultError

#: The exit code that shells report for a process that Ctrl-C ended; Typer returns it too.
INTERRUPTED = 130

app = LazyTyper(
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
        typer.Option(
            "--vault",
            metavar="DIR",
            envvar="KEYVAULT_DIR",
            help="Folder where the search for the vault starts; it goes upwards.",
        ),
    ] = Path(),
    identity: Annotated[
        Path | None, typer.Option("--identity", metavar="FILE", help="Identity file that opens private keys.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only ids: commits, kids, names.")] = False,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="-vv shows tracebacks of errors.")] = 0,
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    settings.vault, settings.identity = vault, identity
    settings.quiet, settings.verbose, settings.now = quiet, verbose, clock()


for module in (vault, rotation, site, checks, audit, merge, keys, recipients, tokens):
    module.register(app)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            # The caller closed it: the next opened file must not get its file descriptor.
            stream = Path(os.devnull).open("r+", encoding="utf-8")  # noqa: SIM115 - open until the process ends
            setattr(sys, name, stream)
    _forbid_core_dumps()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # never fail on a character that the terminal lacks
    code = run(arguments)
    with contextlib.suppress(ValueError):  # signals can only be set in the main thread
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the outcome is reported and must not change
    sys.exit(code)


def _forbid_core_dumps() -> None:
    """Keep private keys out of the core dumps of this process and its children."""
    if sys.platform != "win32":
        import resource

        # One byte, not zero: with zero, Linux still pipes the dump to a program that core_pattern names.
        with contextlib.suppress(ValueError, OSError):  # the hard limit is zero already and cannot be raised
            resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code, after reporting any error in one line."""
    settings.quiet, settings.verbose, printed.document = False, 0, False
    # Not taken from the parser, since errors of the parser are reported as JSON too.
    settings.as_json = "--json" in (sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(args=arguments, prog_name="keyvault", standalone_mode=False)
        sys.stdout.flush()
    except KeyVaultError as error:
        _trace(error)
        if not settings.quiet:
            github_actions.annotate("error", error.message)
        return _fail(error.message, error.hint, code=error.code, exit_code=error.exit_code)
    except typer.TyperException as error:
        return _usage(error)
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except BrokenPipeError:
        _silence()  # the reader of our output has closed the pipe
        return 1
    except OSError as error:
        _trace(error)
        _silence()
        where = f": {elided(error.filename)}" if isinstance(error.filename, str) else ""
        return _fail(f"{error.strerror or type(error).__name__}".lower() + where, code="system")
    except SystemExit:  # how completion ends
        raise
    except BaseException as error:  # libraries written in Rust raise panics that are not Exceptions
        if not isinstance(error.__cause__, KeyboardInterrupt):  # Python 3.11 wraps one that interrupts a class body
            _trace(error)
            # The text of an unexpected error may contain key material, so only its class is shown.
            hint = "please report it, with the output of: keyvault -vv …"
            return _fail(f"unexpected {type(error).__name__}", hint, code="unexpected")
        code = INTERRUPTED
    if code == INTERRUPTED:
        return _fail("interrupted", code="interrupted", exit_code=INTERRUPTED)
    return code if isinstance(code, int) else 0


def _fail(message: str, hint: str | None = None, *, code: str, exit_code: int = 1) -> int:
    """Report an error and return its exit code."""
    report_error(message, hint, code=code, exit_code=exit_code, as_json=settings.as_json)
    return exit_code


def _trace(error: BaseException) -> None:
    """
    Print tracebacks of *error* and the errors that caused it, with ``-vv``.

    Only keyvault's own errors are printed with their text: that of others may contain key material.
    """
    if settings.verbose < 2:
        return
    import traceback

    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    for cause in reversed(chain):
        print("Traceback (most recent call last):", file=sys.stderr)
        traceback.print_tb(cause.__traceback__)
        text = f": {cause.message}" if isinstance(cause, KeyVaultError) else ""
        print(type(cause).__name__ + text, file=sys.stderr)


def _silence() -> None:
    """Redirect stdout to the null device, so that Python does not fail to flush it at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage(error: typer.TyperException) -> int:
    """Report wrong usage and return its exit code."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help text of the command
        print(error.format_message(), file=sys.stderr)
    else:
        where = context.command_path if context else "keyvault"
        message = _lowered(elided(error.format_message()))
        return _fail(message, f"{where} --help", code="usage", exit_code=error.exit_code)
    return error.exit_code


def _lowered(message: str) -> str:
    message = " ".join(message.split()).rstrip(".")
    return message[:1].lower() + message[1:]
