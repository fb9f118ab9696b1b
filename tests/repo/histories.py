"""A vault with a history, and functions that change it without any checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from keyvault.core.algorithms import key_spec
from keyvault.core.events import Event
from keyvault.core.history.findings import MENDABLE, Finding
from keyvault.core.jwk import pretty, public_jwk
from keyvault.core.keys import Envelope, Key, Recipient
from keyvault.crypto.envelope import Sealer
from keyvault.crypto.generate import generate
from keyvault.crypto.identities import new_identity, recipient_of
from keyvault.operations import keys, recipients, rotation
from keyvault.operations.context import Context
from keyvault.repo.audit import Audit
from tests.revisions import audit as audit_vault
from tests.vaults import DAY, HOUR, MINUTE, SITE, Vault, make_vault, run_git

URL = f"{SITE}/.well-known/jwks.json"
LEAD = 24 * HOUR
#: How long a key of the story is kept after its deactivation: lag, lifetime, skew.
KEPT = HOUR + HOUR + 10 * MINUTE

Content = bytes | str | None


def recipient(kid: str) -> Recipient:
    """Return a recipient whose identity is discarded."""
    return recipient_of(new_identity(kid))


def make_story(top: Path, *, folder: str = "vault", **options: Any) -> Vault:
    """
    Return a vault with every kind of event: receipts, rotations, a revocation, a rollback, and other recipients.

    Its set id-token has an active, a next and a retiring key, whose time is over; next has its receipt.
    """
    vault = make_vault(top, folder=folder, **options)
    due(vault.wait(20 * MINUTE))
    rotation.rotate(vault.wait(2 * DAY).context(), ["id-token"])
    due(vault.wait(20 * MINUTE))
    due(vault.wait(3 * HOUR))  # withdraws the first key
    recipients.add_recipient(vault.wait(HOUR).context(), recipient("bob"))
    recipients.remove_recipient(vault.wait(HOUR).context(), "bob", rotate=True)
    keys.add_set(vault.wait(HOUR).context(), "box", spec=key_spec("ECDH-ES+A256KW"))
    keys.add_set(vault.wait(HOUR).context(), "session", spec=key_spec("HS256"))
    due(vault.wait(20 * MINUTE))
    rotation.revoke(vault.wait(HOUR).context(), vault.active().kid, reason="compromised", note="found in a log")
    due(vault.wait(20 * MINUTE))
    rotation.rotate(vault.wait(2 * DAY).context(), ["id-token"])
    rotation.rollback(vault.wait(30 * MINUTE).context(), "id-token", note="verifiers complained")
    due(vault.wait(20 * MINUTE))
    vault.commit({"README.md": "# Keys of ours\n"}, "say what this is")
    return vault.wait(3 * HOUR)


def due(vault: Vault) -> None:
    """Run the scheduled job; the host serves the present commit."""
    rotation.rotate_due(vault.context())


def audit(vault: Vault, **options: Any) -> Audit:
    """Audit the vault at its present instant."""
    return audit_vault(Context(vault.repository, vault.now, vault.environ), **options)


def codes(found: Audit) -> set[str]:
    """Return the codes of the findings."""
    return {finding.code for finding in found.findings}


# --- records --------------------------------------------------------------------------------------------


def amended(key: Key, *events: Event, **changes: Any) -> Key:
    """Return *key* with *events* appended, or with other members."""
    return msgspec.structs.replace(key, **{"events": (*key.events, *events), **changes})


def files(*records: Key) -> dict[str, Content]:
    """Return the files of *records*, legal or not."""
    return {key.path: pretty(key) for key in records}


def write(vault: Vault, *records: Key, **more: Content) -> str:
    """Commit *records* without any checks."""
    return vault.commit({**files(*records), **more})


def sealed(vault: Vault, private: Mapping[str, Any], set_name: str, to: Iterable[Recipient] | None = None) -> Envelope:
    """Return *private* sealed to the recipients of the vault, or to others."""
    chosen = vault.state().recipients if to is None else {recipient.kid: recipient for recipient in to}
    return Sealer(chosen).seal(dict(private), kid=private["kid"], set_name=set_name)


def new_key(
    vault: Vault,
    *events: Event,
    set_name: str = "id-token",
    alg: str = "ES256",
    kid: str | None = None,
    private: Mapping[str, Any] | None = None,
    to: Iterable[Recipient] | None = None,
    seal: bool = True,
) -> Key:
    """Return a key with *events*, as another tool might create it."""
    jwk = {**(private or generate(key_spec(alg)))}
    jwk["kid"] = kid or jwk["kid"]
    envelope = sealed(vault, jwk, set_name, to) if seal else msgspec.UNSET
    return Key(1, set_name, public_jwk(jwk, kid=jwk["kid"], alg=alg), events, envelope)


def rotated(vault: Vault, at: datetime, *, name: str = "id-token", **activation: Any) -> list[Key]:
    """Return the records that a rotation at *at* changes and creates, even if it is illegal."""
    table = vault.set(name).policy
    kept = table.retention if table.use == "enc" else KEPT
    return [
        amended(vault.next(name), Event(at=at, event="activated", token_lifetime=3_600, **activation)),
        amended(vault.active(name), Event(at=at, event="deactivated", keep_until=at + kept)),
        new_key(vault, Event(at=at, event="created"), set_name=name, alg=table.spec.alg),
    ]


# --- commits --------------------------------------------------------------------------------------------


def commit_tree(vault: Vault, tree: str, *parents: str, at: datetime | None = None) -> str:
    """Write a commit of *tree* by plain git, dated now or *at*, and check it out."""
    date = f"@{int((at or vault.now).timestamp())} +0000"
    environ = vault.environ | {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    arguments = [word for parent in parents for word in ("-p", parent)]
    commit = run_git(vault.folder, environ, "commit-tree", tree, *arguments, "-m", "by plain git")
    vault.git("reset", "--quiet", "--hard", commit)
    return commit


def merge(vault: Vault, *parents: str, tree: str | None = None, changes: Mapping[str, Content] | None = None) -> str:
    """
    Commit a merge of *parents*, and check it out.

    Its tree is *tree*, or that of the first parent, with *changes*.
    """
    base = tree or f"{parents[0]}^{{tree}}"
    environ = vault.environ | {"GIT_INDEX_FILE": str(vault.top / "merging.index")}
    run_git(vault.folder, environ, "read-tree", base)
    for path, content in (changes or {}).items():
        if content is None:
            run_git(vault.folder, environ, "update-index", "--force-remove", path)
        else:
            data = content.encode() if isinstance(content, str) else content
            oid = vault.git("hash-object", "-w", "--stdin", stdin=data)
            run_git(vault.folder, environ, "update-index", "--add", "--cacheinfo", f"100644,{oid},{path}")
    return commit_tree(vault, run_git(vault.folder, environ, "write-tree"), *parents)


def clean_merge(vault: Vault, ours: str, theirs: str) -> str:
    """Let git merge *theirs* into *ours*, and check out the result."""
    vault.git("switch", "--quiet", "--detach", ours)
    date = f"@{int(vault.now.timestamp())} +0000"
    environ = vault.environ | {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    run_git(vault.folder, environ, "merge", "--quiet", "--no-ff", "-m", "merge", theirs)
    return vault.head


def text_at(vault: Vault, revision: str, path: str) -> str:
    """Return a file of *revision*."""
    return vault.git("cat-file", "blob", f"{revision}:{path}") + "\n"


def mend(vault: Vault) -> str:
    """Revert the newest commit, as ``git revert`` does."""
    return commit_tree(vault, "HEAD~^{tree}", "HEAD")


def as_found(findings: Iterable[Finding]) -> list[Finding]:
    """Return *findings* as they were before a commit mended them and turned them into notes."""
    found = []
    for finding in findings:
        if finding.code == "mended":
            code, _, rest = finding.message.partition(", mended in ")
            assert code in MENDABLE
            finding = msgspec.structs.replace(finding, code=code, message=rest.partition(": ")[2])
        found.append(finding)
    return found
