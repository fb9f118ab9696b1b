"""Rows of what takes a moment: help, status of a small vault, making one key."""

from __future__ import annotations

from pathlib import Path

from measure import Side
from peers import program
from rows import Row
from world import CLOCKED, KEYVAULT, TYPER, World


def rows(world: World) -> list[Row]:
    """Return the rows."""
    starts = world.size.starts
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


def _help(world: World) -> tuple[Side, Side]:
    return (
        Side("keyvault --help", (*KEYVAULT, "--help"), world.work),
        Side("bare Typer program, --help", (*TYPER, "--help"), world.work),
    )


def _status(world: World) -> tuple[Side, Side]:
    def make(folder: Path) -> None:
        world.run(*CLOCKED, "init", folder, "--url", "https://keys.example.com")

    vault = world.keep("default", make)
    return (
        Side("keyvault status", (*CLOCKED, "--vault", str(vault), "status"), world.work),
        Side("bare Typer program, a command", (*TYPER, "hello"), world.work),
    )


def _ours(world: World) -> Side:
    command = (*KEYVAULT, "key", "generate", "--alg", "ES256")
    return Side("keyvault key generate --alg ES256", command, world.work)


def _step(world: World) -> tuple[Side, Side]:
    folder = world.path("step")
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
    return _ours(world), peer


def _hydra(world: World) -> tuple[Side, Side]:
    return _ours(world), Side("Hydra's jwk.GenerateJWK, ES256", (program("hydra"), "ES256", "1"), world.work)
