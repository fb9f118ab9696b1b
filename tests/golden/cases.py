"""
Golden sites: the public part of a vault, and every byte that is rendered from it.

A case is a folder: ``vault.json`` holds keyvault.toml, the public part of each record, the commit, and which
commit wrote each event; ``site/`` holds the site. There are no private keys, and so no git repository.

    python -m tests.golden.cases write          render the cases again, after a template changed
    python -m tests.golden.cases make           create their vaults again, with new keys
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import msgspec

from keyvault import config
from keyvault.core.algorithms import key_spec
from keyvault.core.keys import Key
from keyvault.core.state import VaultState
from keyvault.operations import keys
from keyvault.operations.demo import make_demo
from keyvault.operations.site import default_templates
from keyvault.site.build import build
from keyvault.site.documents import EventCommits
from keyvault.site.pages import Templates
from tests.site.vaults import SITE, T0, Lab, environment, new_lab

FOLDER = Path(__file__).parent
CASES = ("fresh", "two-years", "many-issuers")


def load(case: str) -> tuple[VaultState, EventCommits]:
    """Return the vault of *case*, and the commit that wrote each event."""
    found = json.loads((FOLDER / case / "vault.json").read_bytes())
    records = [msgspec.convert(record, Key) for record in found["records"]]
    policy = config.read_policy(found["policy"].encode())
    commits = {path: [tuple(entry) for entry in entries] for path, entries in found["commits"].items()}
    return VaultState(found["commit"], policy, {key.kid: key for key in records}), commits


def rendered(case: str) -> dict[str, bytes]:
    """Return the site of *case* as it is rendered now, by path."""
    return dict(build(*load(case), Templates(default_templates())))


def stored(case: str) -> dict[str, bytes]:
    """Return the site of *case* as it should be, by path."""
    folder = FOLDER / case / "site"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write(case: str) -> None:
    """Store the site of *case* as it is rendered now."""
    folder = FOLDER / case / "site"
    shutil.rmtree(folder, ignore_errors=True)
    for path, data in rendered(case).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def store(case: str, lab: Lab) -> None:
    """Store the public part of *lab* as the vault of *case*."""
    state = lab.state
    public = [msgspec.structs.replace(key, private=msgspec.UNSET) for key in state.keys.values()]
    found = {
        "commit": state.commit,
        "policy": (lab.folder / "keyvault.toml").read_text(),
        "records": [msgspec.to_builtins(key) for key in public],
        "commits": lab.repository.event_commits(state.commit),
    }
    (FOLDER / case).mkdir(exist_ok=True)
    (FOLDER / case / "vault.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def make() -> None:
    """Create the vaults of all cases again."""
    with tempfile.TemporaryDirectory() as top:
        store("fresh", new_lab(Path(top) / "fresh" / "vault", "id-token:RS256", "access-token:ES256"))
        own = environment(Path(top) / "demo")
        make_demo(Path(top) / "demo" / "vault", T0, own, progress=lambda label, done, total: None)
        store("two-years", Lab(Path(top) / "demo" / "vault", own, now=T0))
        lab = new_lab(Path(top) / "many" / "vault", "spare:ES256")
        for number in range(1, 13):
            issuer = f"{SITE}/tenants/{number:02}"
            keys.add_set(lab.context(), f"tenant-{number:02}", spec=key_spec("ES256"), issuer=issuer)
        lab.wait(timedelta(hours=1))
        keys.remove_set(lab.context(), "spare", forced="was there to begin with")
        lab.rotate("tenant-01")
        store("many-issuers", lab)


if __name__ == "__main__":
    if sys.argv[1:] == ["make"]:
        make()
    for name in CASES:
        write(name)
