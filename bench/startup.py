"""Rows of the start-up time: help, status of a small vault, generating a key."""

from __future__ import annotations

from pathlib import Path

from fixtures import CLOCKED, KEYVAULT, TYPER, Workspace
from measure import Side
from peers import program
from rows import Row


def rows(workspace: Workspace) -> list[Row]:
    """Return the rows."""
    starts = workspace.size.starts
    return [
        Row("help", "`keyvault --help` against that of a bare Typer program", _help, starts, bound=1.2),
        Row(
            "status", "status of the vault that `init` creates against a bare Typer command", _status, starts, bound=2.2
        ),
        Row(
            "generate-step",
            "one ES256 key from a new process, against step",
            _step,
            starts,
            needs=("step",),
        ),
        Row(
            "generate-hydra",
            "one ES256 key from a new process, against Ory Hydra's own function, without its server",
            _hydra,
            starts,
            needs=("hydra",),
        ),
    ]


def _help(workspace: Workspace) -> tuple[Side, Side]:
    return (
        Side("keyvault --help", (*KEYVAULT, "--help"), workspace.work),
        Side("bare Typer program, --help", (*TYPER, "--help"), workspace.work),
    )


def _status(workspace: Workspace) -> tuple[Side, Side]:
    def generate(folder: Path) -> None:
        workspace.run(*CLOCKED, "init", folder, "--url", "https://keys.example.com")

    vault = workspace.keep("default", generate)
    return (
        Side("keyvault status", (*CLOCKED, "--vault", str(vault), "status"), workspace.work),
        Side("bare Typer program, a command", (*TYPER, "hello"), workspace.work),
    )


def _ours(workspace: Workspace) -> Side:
    command = (*KEYVAULT, "key", "generate", "--alg", "ES256")
    return Side("keyvault key generate --alg ES256", command, workspace.work)


def _step(workspace: Workspace) -> tuple[Side, Side]:
    folder = workspace.path("step")
    command = "crypto jwk create public.jwk private.jwk --kty EC --crv P-256 --no-password --insecure"

    def remove() -> None:
        for name in ("public.jwk", "private.jwk"):
            (folder / name).unlink(missing_ok=True)

    peer = Side(
        "step crypto jwk create --kty EC --crv P-256",
        (program("step"), *command.split()),
        folder,
        environ={"STEPPATH": str(folder)},
        before=remove,
    )
    return _ours(workspace), peer


def _hydra(workspace: Workspace) -> tuple[Side, Side]:
    return _ours(workspace), Side("Hydra's jwk.GenerateJWK, ES256", (program("hydra"), "ES256", "1"), workspace.work)
