"""Rows of rotations: a single set, a thousand sets in one commit, RSA on all cores."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from fixtures import BENCH, CLOCKED, TYPER, Workspace
from measure import Side
from peers import program
from rows import Row


def rows(workspace: Workspace) -> list[Row]:
    """Return the rows."""
    size = workspace.size
    return [
        Row(
            "rotate-one",
            "rotating one ES256 set, synced to disk, against a bare Typer command and `git commit` with all its fsyncs",
            _rotate_one,
            size.starts,
            bound=2.5,
        ),
        Row(
            "rotate",
            f"per set: rotating {size.rotated:,} ES256 sets in one commit, against a script around `jose` and git",
            _rotate,
            size.runs,
            bound=0.1,
            needs=("jose", "git"),
        ),
        Row(
            "rsa",
            f"per key: rotating {size.rsa} RSA-2048 sets in one commit, against `openssl genrsa` on all cores",
            _rsa,
            size.runs,
            bound=1.0,
            needs=("openssl",),
        ),
    ]


def _rotated(workspace: Workspace, pristine: Path, sets: int, label: str) -> Side:
    """Return our side: rotate every set of a fresh copy of *pristine*."""
    copy = workspace.folder / f"copy-{pristine.name}"
    command = (*CLOCKED, "--vault", str(copy), "rotate", "--all", "--force", "--reason", "benchmark")
    before, after = partial(workspace.fresh_copy, pristine, copy), partial(workspace.put_aside, copy)
    return Side(label, command, workspace.work, units=sets, before=before, after=after)


def _rotate_one(workspace: Workspace) -> tuple[Side, Side]:
    pristine, theirs = workspace.folder / "repository", workspace.folder / "repository-copy"
    if not pristine.exists():
        pristine.mkdir()
        (pristine / "key").write_text("first\n")
        for command in ("init --quiet .", "add key", "commit --quiet --message first"):
            workspace.run("git", *command.split(), folder=pristine)

    def changed() -> None:
        workspace.fresh_copy(pristine, theirs)
        (theirs / "key").write_text("second\n")

    commit = '"$@" hello && exec git -C "$REPOSITORY" -c core.fsync=all commit --quiet --all --message second'
    return (
        _rotated(workspace, workspace.vault(1), 1, "keyvault rotate, 1 set"),
        Side(
            "bare Typer program, a command; git commit of one file",
            ("sh", "-c", commit, "sh", *TYPER),
            workspace.work,
            environ={"REPOSITORY": str(theirs)},
            before=changed,
            after=partial(workspace.put_aside, theirs),
        ),
    )


def _rotate(workspace: Workspace) -> tuple[Side, Side]:
    sets, keys = workspace.size.rotated, workspace.size.jose
    theirs, recipient = workspace.folder / "jose", workspace.folder / "recipient.jwk"
    recipient.write_bytes(workspace.run("jose", "jwk", "gen", "-i", '{"kty":"EC","crv":"P-256"}'))

    def fresh_repository() -> None:
        theirs.mkdir()
        workspace.run("git", "init", "--quiet", ".", folder=theirs)

    return (
        _rotated(workspace, workspace.vault(sets), sets, f"keyvault rotate, {sets:,} sets"),
        Side(
            f"jose jwk gen | jose jwe enc, git commit, {keys} keys",
            ("sh", str(BENCH / "jose_and_git.sh"), str(keys), str(recipient)),
            theirs,
            units=keys,
            before=fresh_repository,
            after=partial(workspace.put_aside, theirs),
        ),
    )


def _rsa(workspace: Workspace) -> tuple[Side, Side]:
    keys, cores = workspace.size.rsa, os.cpu_count() or 1
    genrsa = f"{program('openssl')} genrsa -out /dev/null 2048"
    script = f"seq {keys} | xargs -P {cores} -I @ {genrsa} 2>/dev/null"
    return (
        _rotated(workspace, workspace.vault(keys, alg="RS256"), keys, f"keyvault rotate, {keys} sets"),
        Side(f"openssl genrsa 2048, {cores} at a time", ("sh", "-c", script), workspace.work, units=keys),
    )
