"""
Check that allowed signers signed commits.

Only git's ``%G?`` decides, never the output of a program: ssh-keygen prints "Good" for unknown signers, too. Two lists,
of SSH keys and of OpenPGP keys, name the allowed signers. Does not use the user's own keyring.

Sources: git-log(1), "Pretty formats"; ssh-keygen(1), "ALLOWED SIGNERS"; gpg(1).
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from keyvault.repo.git import Git

#: The code and the message of a finding by the value of ``%G?``; ``G`` is a good signature of an allowed signer.
_CODES = {
    "N": ("unsigned", "the commit is not signed"),
    "B": ("signature-bad", "the signature of the commit is bad"),
    "U": ("signer-unknown", "the commit is signed by a key that is not an allowed signer"),
    "E": ("signer-unknown", "the commit is signed by a key that is unknown or not an allowed signer"),
    "X": ("signature-expired", "the signature of the commit has expired"),
    "Y": ("signature-expired", "the key that signed the commit has expired"),
    "R": ("signature-expired", "the key that signed the commit was revoked"),
}


@dataclass(frozen=True, slots=True)
class Signers:
    """
    The allowed signers.

    Attributes:
        ssh: An ``allowed_signers`` file, or empty.
        openpgp: OpenPGP public keys, armoured or not, or empty.
    """

    ssh: bytes = b""
    openpgp: bytes = b""

    def __bool__(self) -> bool:
        return bool(self.ssh.strip() or self.openpgp.strip())


def judge_signatures(git: Git, commits: Sequence[str], signers: Signers) -> dict[str, tuple[str, str]]:
    """
    Return (code, message) for each of *commits* without a good signature of *signers*.

    Raises:
        GitError: If a commit is missing.
    """
    if not commits:
        return {}
    with _signer_files(git, signers) as (settings, extra):
        # With log.showSignature, the output of another program would be mixed with ours.
        output = git.run(
            "log", "--no-walk=unsorted", "--stdin", "--no-show-signature", "--format=%H %G?",
            stdin="".join(f"{commit}\n" for commit in commits).encode(), settings=settings, extra=extra,
        ).decode()  # fmt: skip
    missing = _missing_programs(git)
    found = {}
    for line in output.splitlines():
        commit, _, status = line.partition(" ")
        if status == "G":
            continue
        if missing and (program := missing.get(_kind(git, commit))):
            found[commit] = ("signature-unchecked", f"the signature cannot be checked: {program} is not installed")
        else:
            found[commit] = _CODES.get(status, _CODES["E"])
    return found


@contextlib.contextmanager
def _signer_files(git: Git, signers: Signers) -> Iterator[tuple[list[tuple[str, str]], dict[str, str]]]:
    """Yield settings and environment under which git trusts *signers* only."""
    with tempfile.TemporaryDirectory(prefix="keyvault-") as name:
        folder = Path(name)
        allowed, revoked, home = folder / "allowed", folder / "revoked", folder / "gnupg"
        allowed.write_bytes(signers.ssh)
        revoked.write_bytes(b"")
        home.mkdir(mode=0o700)
        # This keyring holds only allowed signers, so gpg trusts all its keys; checking needs no agent.
        (home / "gpg.conf").write_text("trust-model always\nno-autostart\nno-auto-key-retrieve\n")
        programs = git.configuration.programs()
        settings = [
            *programs,
            ("gpg.ssh.allowedSignersFile", str(allowed)),
            ("gpg.ssh.revocationFile", str(revoked)),
            ("gpg.minTrustLevel", "undefined"),
        ]
        extra = {"GNUPGHOME": str(home)}
        if signers.openpgp:
            with contextlib.suppress(OSError):  # without gpg, each commit gets a finding `signature-unchecked`
                subprocess.run(
                    [dict(programs)["gpg.openpgp.program"], "--batch", "--quiet", "--import"],
                    env={**git.environment(), **extra},
                    input=signers.openpgp,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    check=False,
                )
        yield settings, extra


def _missing_programs(git: Git) -> dict[str, str]:
    """Return the programs for checking signatures that are not installed, by the kind of signature."""
    programs, path = dict(git.configuration.programs()), git.environment().get("PATH")
    kinds = {"ssh": programs["gpg.ssh.program"], "openpgp": programs["gpg.openpgp.program"]}
    return {kind: program for kind, program in kinds.items() if shutil.which(program, path=path) is None}


def _kind(git: Git, commit: str) -> str:
    """Return the kind of signature of a commit: ``ssh``, ``openpgp``, or an empty text for any other."""
    header = git.run("cat-file", "commit", commit).partition(b"\n\n")[0]
    kinds = {b"BEGIN SSH SIGNATURE": "ssh", b"BEGIN PGP": "openpgp"}
    return next((kind for mark, kind in kinds.items() if b"\ngpgsig" in header and mark in header), "")
