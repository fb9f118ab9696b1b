"""
What the benchmark runs in processes of their own: making vaults, making keys, opening keys.

    python bench/workloads.py vault FOLDER --sets 1000 [--alg ES256] [--rotated] [--passphrase]
    python bench/workloads.py generate COUNT [--one-at-a-time]
    python bench/workloads.py open FOLDER COUNT

Everything goes through the operations that commands use. Where identities lie and who commits is said by the
environment that run.py gives.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

URL = "https://keys.example.com"


def make_vault(folder: Path, *, sets: int, alg: str, rotated: bool, passphrase: str | None) -> None:
    """
    Make a vault in which the commit counts as proof of publication.

    Each set has an active and a next key; with *rotated* there is a second commit, and a retiring key too.
    """
    from keyvault.core.algorithms import key_spec
    from keyvault.operations import rotation, setup
    from keyvault.operations.context import Context
    from keyvault.repo.vault import Repository

    # A moment ago, so that nothing is due, and long enough that the first next keys have matured.
    made_at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=26)
    names = {f"set-{number:05}": key_spec(alg) for number in range(sets)}
    setup.init(folder, made_at, os.environ, url=URL, sets=names, passphrase=passphrase, confirm="commit")
    if rotated:
        context = Context(Repository.open(folder, os.environ), made_at + timedelta(hours=25), os.environ)
        rotation.rotate(context, [])


def generate(count: int, *, one_at_a_time: bool) -> None:
    """Make RSA keys of 2048 bits, as a plan of many sets does or one after the other."""
    from keyvault.core.algorithms import key_spec
    from keyvault.crypto import generate

    spec = key_spec("RS256")
    specs = [spec] * count
    made = map(generate.generate, specs) if one_at_a_time else generate.generate_many(specs)
    kids = {key["kid"] for key in made}
    assert len(kids) == count
    print(json.dumps({"keys": len(kids)}))


def open_sealed(folder: Path, count: int) -> None:
    """Open *count* keys of a vault, and say how many keys were derived from the passphrase for that."""
    from jwcrypto import jwa

    from keyvault.operations.context import Context
    from keyvault.operations.keys import open_keys

    derive, derivations = jwa.PBKDF2HMAC, 0

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal derivations
        derivations += 1
        return derive(*arguments, **named)

    jwa.PBKDF2HMAC = counted
    context = Context.find(folder, datetime.now(UTC), os.environ)
    keys = list(context.state().keys.values())[:count]
    opened = sum("d" in key for key in open_keys(context, keys))
    assert opened == count
    print(json.dumps({"keys": opened, "derivations": derivations}))


def pack(site: Path, file: Path) -> None:
    """Write all files of *site* into one, for `unpack`."""
    files = [(str(path.relative_to(site)), path.read_bytes()) for path in sorted(site.rglob("*")) if path.is_file()]
    file.write_bytes(pickle.dumps(files))


def unpack(file: Path, folder: Path) -> None:
    """Write what `pack` took, file by file, as plainly as Python can."""
    made = set()
    for path, data in pickle.loads(file.read_bytes()):  # noqa: S301 - written by the same run
        target = os.path.join(folder, path)  # noqa: PTH118 - the plainest way is the one to compare with
        parent = os.path.dirname(target)  # noqa: PTH120 - the same
        if parent not in made:
            os.makedirs(parent, exist_ok=True)  # noqa: PTH103 - the same
            made.add(parent)
        with open(target, "wb") as out:  # noqa: PTH123 - the same
            out.write(data)


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description="Workloads of the benchmark.")
    commands = parser.add_subparsers(dest="command", required=True)
    vault = commands.add_parser("vault")
    vault.add_argument("folder", type=Path)
    vault.add_argument("--sets", type=int, required=True)
    vault.add_argument("--alg", default="ES256")
    vault.add_argument("--rotated", action="store_true")
    vault.add_argument("--passphrase", action="store_true")
    keys = commands.add_parser("generate")
    keys.add_argument("count", type=int)
    keys.add_argument("--one-at-a-time", action="store_true")
    opening = commands.add_parser("open")
    opening.add_argument("folder", type=Path)
    opening.add_argument("count", type=int)
    for name in ("pack", "unpack"):
        copying = commands.add_parser(name)
        copying.add_argument("source", type=Path)
        copying.add_argument("target", type=Path)
    chosen = parser.parse_args()
    if chosen.command == "vault":
        secret = os.environ["KEYVAULT_PASSPHRASE"] if chosen.passphrase else None
        make_vault(chosen.folder, sets=chosen.sets, alg=chosen.alg, rotated=chosen.rotated, passphrase=secret)
    elif chosen.command == "generate":
        generate(chosen.count, one_at_a_time=chosen.one_at_a_time)
    elif chosen.command == "pack":
        pack(chosen.source, chosen.target)
    elif chosen.command == "unpack":
        unpack(chosen.source, chosen.target)
    else:
        open_sealed(chosen.folder, chosen.count)


if __name__ == "__main__":
    main()
