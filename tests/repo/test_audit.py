"""`audit` finds nothing in legal histories, and reports each illegal change by its code, commit and file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keyvault.core.algorithms import key_spec
from keyvault.core.events import Event
from keyvault.core.history.findings import ERRORS, NOTES, Finding
from keyvault.core.jwk import b64u, b64u_decode, pretty, thumbprint
from keyvault.core.keys import Key
from keyvault.crypto.generate import generate
from keyvault.crypto.identities import new_identity
from keyvault.errors import KeyVaultError
from keyvault.operations import keys, rotation
from keyvault.repo.records import RECORD_MAX, encode_recipients
from tests.repo import test_signatures
from tests.repo.histories import (
    KEPT,
    LEAD,
    URL,
    amended,
    as_found,
    audit,
    due,
    make_story,
    mend,
    new_key,
    recipient,
    rotated,
    sealed,
    write,
)
from tests.vaults import DAY, HOUR, MINUTE, SECOND, Vault, copy_vault, make_vault, run_git

RECIPIENTS = "keys.enc/recipients.json"
POLICY = "keyvault.toml"
#: A text that looks like a private key but is not one.
PEM = (
    "-----BEGIN PRIVATE KEY-----\n"
    + b64u(b"0" * 48).replace("-", "A").replace("_", "B")
    + "\n-----END PRIVATE KEY-----\n"
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    return make_story(tmp_path_factory.mktemp("story"))


@pytest.fixture(scope="module")
def known(template: Vault) -> tuple[Finding, ...]:
    return audit(template).findings


@pytest.fixture
def story(template: Vault, tmp_path: Path) -> Vault:
    """A vault of the test's own with every kind of event."""
    return copy_vault(template, tmp_path)


@pytest.fixture
def news(known: tuple[Finding, ...]) -> Callable[[Vault], list[Finding]]:
    """A function that returns the findings of an audit, except those of the story itself."""

    def new(vault: Vault, **options: Any) -> list[Finding]:
        return [finding for finding in audit(vault, **options).findings if finding not in known]

    return new


# --- legal histories ------------------------------------------------------------------------------------


def test_a_legal_history(template: Vault, known: tuple[Finding, ...]) -> None:
    """For the commits of commands, the audit only notes new recipients and forced events."""
    assert [finding.code for finding in known] == ["recipients-changed", "forced"]
    assert audit(template).errors == ()
    assert audit(template).commits == len(template.log)


def test_from_any_commit_on(template: Vault) -> None:
    """An audit since any trusted commit has the findings about the later commits, and no others."""
    commits = template.git("rev-list", "HEAD").splitlines()
    whole = audit(template).findings
    for done, commit in enumerate(commits):
        found = audit(template, since=commit)
        assert (found.commits, found.since) == (done, commit)
        assert list(found.findings) == [finding for finding in whole if finding.commit in commits[:done]]


def test_up_to_any_commit(template: Vault) -> None:
    """The audit of an older commit ignores later commits."""
    whole = audit(template).findings
    for commit in template.git("rev-list", "HEAD~12").splitlines():
        older = template.git("rev-list", commit).splitlines()
        assert list(audit(template, revision=commit).findings) == [
            finding for finding in whole if finding.commit in older
        ]


def test_the_story_goes_on(story: Vault, news: Callable[..., list[Finding]]) -> None:
    """Closing and removing a set, and changing an algorithm, cause no errors."""
    due(story)
    rotation.rotate(story.wait(HOUR).context(), ["session"], forced="a test")
    keys.remove_set(story.wait(HOUR).context(), "access-token")
    due(story.wait(KEPT + SECOND))
    keys.remove_set(story.wait(HOUR).context(), "access-token")
    rotation.rotate(story.wait(HOUR).context(), ["id-token"], alg="EdDSA")
    due(story.wait(400 * DAY))
    due(story.wait(KEPT + DAY))
    keys.remove_set(story.wait(HOUR).context(), "session", forced="not used")

    assert {finding.code for finding in news(story)} == {"forced"}


def test_every_event_of_the_story(template: Vault) -> None:
    """The story contains every kind of event."""
    names = {event.event for key in template.state().keys.values() for event in key.events}
    assert names == {"created", "published", "activated", "deactivated", "reactivated", "withdrawn", "revoked"}


# --- mutations ------------------------------------------------------------------------------------------

Make = Callable[[Vault], str | None]


@dataclass(frozen=True)
class Mutant:
    """
    One way to make a history illegal.

    Attributes:
        codes: The codes of all findings, the most specific first.
        make: Commits the change, and returns the file of the finding with the first code.
        mends: Whether restoring the files of the parent commit mends everything.
    """

    codes: tuple[str, ...]
    make: Make
    mends: bool = True


MUTANTS: dict[str, Mutant] = {}


def mutant(name: str, *found: str, mends: bool = True) -> Callable[[Make], Make]:
    def register(make: Make) -> Make:
        assert name not in MUTANTS
        MUTANTS[name] = Mutant(found, make, mends)
        return make

    return register


def rewrite(name: str, *found: str, change: Callable[[bytes, Key], bytes]) -> None:
    """Register a mutant that changes the bytes of the record of the active key."""

    def make(vault: Vault) -> str:
        key = vault.active()
        vault.commit({key.path: change(pretty(key), key)})
        return key.path

    mutant(name, *found)(make)


def put(name: str, *found: str, path: str, content: bytes | str | None, mode: str = "100644") -> None:
    """Register a mutant that puts one file."""

    def make(vault: Vault) -> str:
        if content is None:
            vault.commit({path: None})
        else:
            vault.plant(path, content, mode=mode)
        return path

    mutant(name, *found)(make)


# -- files

put("a file beside the keys", "unexpected-path", path="keys.enc/notes.txt", content="hello")
put("a file too deep", "unexpected-path", path="keys.enc/id-token/old/x.json", content="{}")
put("a file in a set that is no record", "unexpected-path", path="keys.enc/id-token/x.txt", content="hello")
put("an identity too deep", "unexpected-path", "identity-malformed", path="keys.enc/identities/a/b.json", content="{}")
put("signers in another place", "unexpected-path", path="keys.enc/id-token/allowed_signers", content="")
put("a policy that is executable", "unexpected-mode", path="keys.enc/README.md", content="# hi", mode="100755")
put(
    "a policy that is a link", "unexpected-mode", "policy-malformed", path=POLICY, content="../elsewhere", mode="120000"
)  # fmt: skip
put(
    "recipients that are a link", "unexpected-mode", "recipients-malformed", path=RECIPIENTS, content="/etc/passwd",
    mode="120000",
)  # fmt: skip
put(
    "keys that are a submodule", "unexpected-mode", "unexpected-path", path="keys.enc/more", content="1" * 40,
    mode="160000",
)  # fmt: skip
put("a private key in the vault", "private-in-clear", path="keys.enc/README.md", content=PEM)
put("a private key outside of it", "private-in-clear", path="tests/key.pem", content=PEM)
put("a private key behind a link", "private-in-clear", path="link", content=PEM, mode="120000")
put("an identity in the clear", "identity-malformed", "private-in-clear", path="keys.enc/identities/eve.json",
    content=pretty(new_identity("eve")))  # fmt: skip
put("an identity that is none", "identity-malformed", path="keys.enc/identities/eve.json", content="[" * 10_000)


@mutant("a record that is executable", "unexpected-mode")
def _(vault: Vault) -> str:
    key = vault.active()
    vault.plant(key.path, pretty(key), mode="100755")
    return key.path


@mutant("a record that is a link", "unexpected-mode", "record-malformed")
def _(vault: Vault) -> str:
    key = vault.active()
    vault.plant(key.path, "recipients.json", mode="120000")
    return key.path


@mutant("a record that is a submodule", "unexpected-mode", "record-removed", "active-missing")
def _(vault: Vault) -> str:
    path = vault.active().path
    vault.plant(path, vault.head, mode="160000")
    return path


@mutant("a folder of keys that is a link", "unexpected-mode", "unexpected-path", "record-removed", "next-missing",
        "active-missing", "recipients-missing")  # fmt: skip
def _(vault: Vault) -> str:
    _swap_entry(vault, "keys.enc", "120000 blob " + vault.git("hash-object", "-w", "--stdin", stdin=b"/tmp"))
    return "keys.enc"


def _swap_entry(vault: Vault, name: str, entry: str) -> str:
    """Commit the tree of HEAD with the top-level entry *name* replaced or added."""
    lines = [line for line in vault.git("ls-tree", "HEAD").splitlines() if line.partition("\t")[2] != name]
    tree = vault.git("mktree", "--missing", stdin="\n".join([*lines, f"{entry}\t{name}", ""]).encode())
    commit = vault.git("commit-tree", tree, "-p", "HEAD", "-m", "by mktree")
    vault.git("update-ref", "HEAD", commit)
    return commit


def _unsafe(name: str) -> None:
    @mutant(f"a folder {name!a}", "unsafe-path")
    def make(vault: Vault) -> str:
        blob = vault.git("hash-object", "-w", "--stdin", stdin=b"hello")
        inner = vault.git("mktree", stdin=f"100644 blob {blob}\tconfig\n".encode())
        _swap_entry(vault, name, f"040000 tree {inner}")
        return f"{name}/config".encode("unicode_escape").decode() if not name.isascii() else f"{name}/config"


for _name in (".GIT", "..", "git~1", ".git ", ".g\u200cit"):
    _unsafe(_name)


@mutant("a private key in a note", "private-in-clear", mends=False)
def _(vault: Vault) -> str:
    secret = json.dumps({**generate(key_spec("EdDSA"))})
    key = vault.next("access-token")
    write(vault, amended(key, Event(at=vault.now, event="withdrawn", note=secret[:499]), private=msgspec.UNSET),
          new_key(vault, Event(at=vault.now, event="created"), set_name="access-token", alg="EdDSA"))  # fmt: skip
    return key.path


# -- keyvault.toml and the recipients

put("no policy", "policy-missing", path=POLICY, content=None)
put("a policy that is no TOML", "policy-malformed", path=POLICY, content="[[[")
put("a policy that is no text", "policy-malformed", path=POLICY, content=b"\xff\xfe\0")
put("a policy of another format", "policy-malformed", path=POLICY, content="format = 2\n")
put("recipients that are no list", "recipients-malformed", path=RECIPIENTS, content="{}")
put("no recipients", "recipients-missing", path=RECIPIENTS, content=None)


def edit(name: str, *found: str, old: str, new: str) -> None:
    """Register a mutant that edits keyvault.toml."""

    def make(vault: Vault) -> str:
        vault.edit_policy(old, new)
        return "" if found[0] == "set-orphaned" else POLICY

    mutant(name, *found)(make)


edit("a policy with an unknown member", "policy-malformed", old="[defaults]", new='[defaults]\nleadd = "3h"')
edit("a shorter lead", "policy-loosened", old='publication_lead = "24h"', new='publication_lead = "23h59m59s"')
edit("commits as proof", "policy-loosened", old='confirm = "live"', new='confirm = "commit"')
edit("paths that are left out", "policy-loosened", old="[defaults]", new='[audit]\nexclude = ["*"]\n\n[defaults]')
edit("a wider skew", "policy-loosened", old='clock_skew = "10m"', new='clock_skew = "24h"')
edit("a set without a table", "set-orphaned", old="[sets.box]", new="[sets.chest]")


@mutant("recipients in another order", "recipients-malformed")
def _(vault: Vault) -> str:
    text = (vault.folder / RECIPIENTS).read_text()
    vault.commit({RECIPIENTS: text + "\n"})
    return RECIPIENTS


@mutant("a recipient off its curve", "recipient-weak", "recipients-changed", "not-resealed")
def _(vault: Vault) -> str:
    eve = recipient("eve")
    weak = msgspec.structs.replace(eve, y=eve.x)
    vault.commit({RECIPIENTS: encode_recipients({**vault.state().recipients, "eve": weak})})
    return RECIPIENTS


@mutant("a recipient of a short RSA key", "recipient-weak", "recipients-changed", "not-resealed")
def _(vault: Vault) -> str:
    weak = {"kty": "RSA", "kid": "eve", "use": "enc", "alg": "RSA-OAEP-256", "n": b64u(b"\xc1" * 128), "e": "AQAB"}
    document = {
        "keys": sorted([*msgspec.to_builtins([*vault.state().recipients.values()]), weak], key=lambda one: one["kid"])
    }
    vault.commit({RECIPIENTS: pretty(document)})
    return RECIPIENTS


@mutant("recipients changed, and nothing sealed again", "not-resealed", "recipients-changed")
def _(vault: Vault) -> str:
    vault.commit({RECIPIENTS: encode_recipients({**vault.state().recipients, "eve": recipient("eve")})})
    return vault.active().path


@mutant("a key to the clear hand of another one", "not-resealed", "recipients-changed", mends=False)
def _(vault: Vault) -> str:
    (kid,) = vault.state().recipients
    vault.commit({RECIPIENTS: encode_recipients({kid: recipient(kid)})})
    return vault.active().path


# -- a record by itself

rewrite("whitespace", "record-not-canonical", change=lambda data, key: data + b"\n")
rewrite("another order", "record-not-canonical",
        change=lambda data, key: (json.dumps(json.loads(data), indent=2, sort_keys=True) + "\n").encode())  # fmt: skip
rewrite("a member twice", "record-not-canonical",
        change=lambda data, key: data.replace(b'"format": 1,', b'"format": 1,\n  "format": 1,'))  # fmt: skip
rewrite("line ends of Windows", "record-not-canonical", change=lambda data, key: data.replace(b"\n", b"\r\n"))
rewrite("an offset for Z", "record-not-canonical", change=lambda data, key: data.replace(b'Z"', b'+00:00"', 1))
rewrite("an unknown member", "record-malformed",
        change=lambda data, key: data.replace(b'"format": 1,', b'"format": 1,\n  "more": 1,'))  # fmt: skip
rewrite("an unknown member of the public key", "record-malformed",
        change=lambda data, key: data.replace(b'"kty"', b'"k": "AA",\n    "kty"', 1))  # fmt: skip
rewrite("another format", "record-malformed", change=lambda data, key: data.replace(b'"format": 1', b'"format": 2'))
rewrite("a format of many digits", "record-malformed",
        change=lambda data, key: data.replace(b'"format": 1', b'"format": ' + b"9" * 5_000))  # fmt: skip
rewrite("no JSON", "record-malformed", change=lambda data, key: b"\0" + data)
rewrite("nothing", "record-malformed", change=lambda data, key: b"")
rewrite("depth", "record-malformed", change=lambda data, key: b"[" * 100_000)
rewrite("too large", "record-too-large", change=lambda data, key: data + b" " * (RECORD_MAX + 1 - len(data)))
rewrite("just not too large", "record-not-canonical", change=lambda data, key: data + b" " * (RECORD_MAX - len(data)))
rewrite("NaN for seconds", "record-malformed", change=lambda data, key: data.replace(b": 3600", b": NaN", 1))
rewrite("too much for seconds", "record-malformed", change=lambda data, key: data.replace(b": 3600", b": 1e999", 1))
rewrite("half a second", "record-malformed", change=lambda data, key: data.replace(b": 3600", b": 3600.5", 1))
rewrite("a hundred digits of seconds", "event-changed",
        change=lambda data, key: data.replace(b": 3600", b": " + b"9" * 100, 1))  # fmt: skip
rewrite("a lone surrogate", "record-malformed",
        change=lambda data, key: data.replace(b'"id-token"', b'"\\ud800"', 1))  # fmt: skip


@mutant("a record moved to another name", "record-misplaced", "kid-reused", "record-removed")
def _(vault: Vault) -> str:
    key = vault.set().retiring[0]
    vault.commit({key.path: None, "keys.enc/id-token/old.json": pretty(key)})
    return "keys.enc/id-token/old.json"


@mutant("a record in the folder of another set", "record-misplaced", "kid-reused", mends=False)
def _(vault: Vault) -> str:
    gone = next(key for key in vault.set().keys if key.state == "withdrawn")
    path = gone.path.replace("id-token", "access-token")
    vault.commit({path: pretty(gone)})
    return path


@mutant("a set that cannot be", "record-malformed", mends=False)
def _(vault: Vault) -> str:
    key = new_key(vault, Event(at=vault.now, event="created"), Event(at=vault.now, event="withdrawn"),
                  set_name="Bad Set", seal=False)  # fmt: skip
    write(vault, key)
    return key.path


def public(name: str, *found: str, change: Callable[[dict[str, Any]], dict[str, Any]], alg: str = "ES256",
           imported: bool = False, set_name: str = "id-token") -> None:  # fmt: skip
    """Register a mutant that creates a key with a wrong public half, and withdraws it at once."""

    def make(vault: Vault) -> str:
        made = {name: value for name, value in generate(key_spec(alg)).items() if name in _PUBLIC}
        jwk = change(made)
        created = Event(at=vault.now, event="created", imported=imported)
        record = {"format": 1, "set": set_name, "public": jwk, "events": msgspec.to_builtins(
            [created, Event(at=vault.now, event="withdrawn")])}  # fmt: skip
        key = msgspec.convert(record, Key)
        write(vault, key)
        return key.path

    mutant(name, *found, mends=False)(make)


_PUBLIC = ("kty", "kid", "use", "alg", "crv", "x", "y", "n", "e")


def _relabelled(jwk: dict[str, Any]) -> dict[str, Any]:
    """Return *jwk* with its thumbprint as its kid."""
    return {**jwk, "kid": thumbprint(jwk)}


def _small_factor(jwk: dict[str, Any]) -> dict[str, Any]:
    modulus = int.from_bytes(b64u_decode(jwk["n"], what="n"), "big") // 3 * 3
    return _relabelled({**jwk, "n": b64u(modulus.to_bytes(256, "big"))})


public("a use of its own", "public-profile", change=lambda jwk: {**jwk, "use": "enc"})
public("a member of another type", "public-profile", change=lambda jwk: {**jwk, "e": "AQAB"})
public("a public key without y", "public-profile",
       change=lambda jwk: {name: value for name, value in jwk.items() if name != "y"})  # fmt: skip
public("an unknown type", "public-profile", "algorithm-differs", change=lambda jwk: {**jwk, "kty": "AKP"})
public("an algorithm that is none", "public-profile", "algorithm-differs", change=lambda jwk: {**jwk, "alg": "none"})
public("a kid of two lines", "public-profile", change=lambda jwk: {**jwk, "kid": "a\nb"})
public("a kid that is a path", "kid-mismatch", change=lambda jwk: {**jwk, "kid": "../../x"})
public("a symmetric key with more", "public-profile", "algorithm-differs",
       change=lambda jwk: {"kty": "oct", "kid": "a", "use": "sig", "alg": "HS256", "x": "AA"})  # fmt: skip
public("a coordinate in other letters", "public-profile", change=lambda jwk: _relabelled({**jwk, "x": jwk["x"] + "="}))
public("a point off the curve", "key-weak", change=lambda jwk: _relabelled({**jwk, "y": jwk["x"]}))
public("a modulus with a small factor", "key-weak", "algorithm-differs", change=_small_factor, alg="RS256")
public(
    "a small exponent", "key-weak", "algorithm-differs", change=lambda jwk: _relabelled({**jwk, "e": "Aw"}), alg="RS256"
)
public("a name that is not the key's", "kid-mismatch", change=lambda jwk: {**jwk, "kid": "my-key"})
public("a point of low order", "key-weak", change=lambda jwk: _relabelled({**jwk, "x": b64u(b"\1" + b"\0" * 31)}),
       alg="EdDSA", set_name="access-token")  # fmt: skip


def _envelope(name: str, *found: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Register a mutant that changes the envelope of the active key."""

    def make(vault: Vault) -> str:
        key = vault.active()
        document = json.loads(pretty(key))
        change(document["private"])
        vault.commit({key.path: (json.dumps(document, indent=2) + "\n").encode()})
        return key.path

    mutant(name, *found)(make)


_envelope("a tag cut short", "envelope-malformed", "resealed", change=lambda jwe: jwe.update(tag=jwe["tag"][:-2]))
_envelope("another initial vector", "resealed", change=lambda jwe: jwe.update(iv=b64u(b"\0" * 12)))
_envelope("an unknown way to wrap", "envelope-malformed", "resealed",
          change=lambda jwe: jwe["recipients"][0]["header"].update(alg="dir"))  # fmt: skip
_envelope("an ephemeral key off its curve", "envelope-malformed", "resealed",
          change=lambda jwe: jwe["recipients"][0]["header"]["epk"].update(y=jwe["recipients"][0]["header"]["epk"]["x"]))  # fmt: skip
_envelope("a header that names others", "envelope-malformed", "envelope-recipients", "resealed",
          change=lambda jwe: jwe["recipients"][0]["header"].update(kid="eve"))  # fmt: skip
_envelope("nobody to open it", "envelope-malformed", "envelope-recipients", "resealed",
          change=lambda jwe: jwe.update(recipients=[]))  # fmt: skip
_envelope("a member more", "record-malformed", change=lambda jwe: jwe.update(aad="AA"))


@mutant("sealed to an attacker, too", "envelope-recipients", "resealed")
def _(vault: Vault) -> str:
    key = vault.active()
    private = keys.open_key(vault.context(), key)
    both = [*vault.state().recipients.values(), recipient("eve")]
    write(vault, amended(key, private=sealed(vault, private, "id-token", both)))
    return key.path


@mutant("a new key for an attacker alone", "envelope-recipients", mends=False)
def _(vault: Vault) -> str:
    activated, retired, created = rotated(vault.wait(LEAD), vault.now)
    replacement = new_key(vault, *created.events, to=[recipient("eve")])
    write(vault, activated, retired, replacement)
    return replacement.path


@mutant("the envelope of another key", "envelope-malformed", "resealed")
def _(vault: Vault) -> str:
    key = vault.active()
    write(vault, amended(key, private=vault.next().private))
    return key.path


# -- a record against its earlier versions


@mutant("a record removed", "record-removed")
def _(vault: Vault) -> str:
    path = next(key.path for key in vault.set().keys if key.state == "revoked")
    vault.commit({path: None})
    return path


@mutant("the active key removed", "record-removed", "active-missing")
def _(vault: Vault) -> str:
    path = vault.active().path
    vault.commit({path: None})
    return path


@mutant("the whole vault removed", "record-removed", "active-missing", "next-missing", "recipients-missing")
def _(vault: Vault) -> str:
    path = vault.active().path
    vault.commit({name: None for name in vault.files() if name.startswith("keys.enc/") or name == POLICY})
    return path


def _events(name: str, *found: str, change: Callable[[list[dict[str, Any]], Vault], Any], mends: bool = True) -> None:
    """Register a mutant that changes the events of the active key as JSON."""

    def make(vault: Vault) -> str:
        key = vault.active()
        document = json.loads(pretty(key))
        change(document["events"], vault)
        vault.commit({key.path: (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()})
        return key.path

    mutant(name, *found, mends=mends)(make)


def _append(name: str, *found: str, mends: bool = True, **members: Any) -> None:
    """Register a mutant that appends an event, now, to the active key."""

    def change(events: list[dict[str, Any]], vault: Vault) -> None:
        given = {"at": f"{vault.now:%Y-%m-%dT%H:%M:%SZ}", **members}
        events.append({name: given[name] for name in Event.__struct_fields__ if name in given})

    _events(name, *found, change=change, mends=mends)


_events("the newest event removed", "event-removed", "active-missing", change=lambda events, vault: events.pop())
_events("a receipt removed", "event-changed", change=lambda events, vault: events.pop(1))
_events("no events", "event-malformed", "event-removed", "active-missing", change=lambda events, vault: events.clear())
_events(
    "events in another order",
    "event-changed",
    change=lambda events, vault: events.reverse() or events.insert(0, events.pop()),
)
_events("a receipt moved back", "event-changed",
        change=lambda events, vault: events[1].update(at="2026-11-24T00:00:00Z"))  # fmt: skip
_events("a note put in later", "event-changed", change=lambda events, vault: events[1].update(note="hello"))
_events(
    "a key that is suddenly imported", "event-changed", change=lambda events, vault: events[0].update(imported=True)
)
_append("an instant without a zone", "event-malformed", at="2026-12-24T00:00:00", event="lifetime", token_lifetime=3600)
_append(
    "an instant of another zone",
    "event-malformed",
    at="2026-12-24T00:00:00+01:00",
    event="lifetime",
    token_lifetime=3600,
)
_append("an instant with fractions", "event-malformed", "instant-future", at="2027-12-24T00:00:00.500000Z", event="lifetime",
        token_lifetime=3600)  # fmt: skip
_append("keep_until without a zone", "event-malformed", event="deactivated", keep_until="2027-12-24T00:00:00")
_append("an event without its member", "event-malformed", event="lifetime")
_append("an event with a member too many", "event-malformed", event="lifetime", token_lifetime=3600, url=URL)
_append("imported in the middle", "event-malformed", event="lifetime", token_lifetime=3600, imported=True)
_append("a note of blanks", "event-malformed", event="lifetime", token_lifetime=3600, note=" ")
_append("a note too long", "event-malformed", event="lifetime", token_lifetime=3600, note="x" * 501)
_append("no seconds", "event-malformed", "token-lifetime", event="lifetime", token_lifetime=0)
_append(
    "a number of seconds out of bounds", "event-malformed", "token-lifetime", event="lifetime", token_lifetime=2**62
)
_append("less than no seconds", "event-malformed", "token-lifetime", event="lifetime", token_lifetime=-(2**62))
_append("keep_until before it", "event-malformed", "kept-too-short", "active-missing", event="deactivated",
        keep_until="2026-11-24T00:00:00Z")  # fmt: skip
_append("an unknown event", "record-malformed", event="exported")
_append("a second activation", "event-order", event="activated", token_lifetime=3600)
_append("created again", "event-order", "active-missing", "two-next", event="created")
_append(
    "the last instant that can be", "instant-future", at="8999-12-31T23:59:59Z", event="lifetime", token_lifetime=3600
)
_append("an instant after all", "event-malformed", at="9999-12-31T23:59:59Z", event="lifetime", token_lifetime=3600)
_append("the first instant that there is", "instant-backdated", "instant-decreases", "instant-before-set",
        at="0001-01-01T00:00:00Z", event="lifetime", token_lifetime=3600)  # fmt: skip
_append("kept for ever from the last instant on", "instant-future", "kept-too-short", "active-missing",
        at="8999-12-31T23:59:59Z", event="deactivated", keep_until="8999-12-31T23:59:59Z")  # fmt: skip
_append("forced without need", "forced", mends=False, event="lifetime", token_lifetime=3600, forced="just so")


@mutant("an event after the end", "event-order")
def _(vault: Vault) -> str:
    gone = next(key for key in vault.set().keys if key.state == "withdrawn")
    write(vault, amended(gone, Event(at=vault.now, event="published", url=URL)))
    return gone.path


@mutant("the public key exchanged", "public-changed", "kid-mismatch")
def _(vault: Vault) -> str:
    key = vault.active()
    other = new_key(vault, seal=False)
    write(vault, amended(key, public=msgspec.structs.replace(other.public, kid=key.kid)))
    return key.path


@mutant("the public key exchanged, and called imported", "public-changed", "event-changed", "resealed")
def _(vault: Vault) -> str:
    key = vault.active()
    private = {**generate(key_spec("ES256")), "kid": key.kid}
    other = new_key(vault, private=private)
    first = msgspec.structs.replace(key.events[0], imported=True)
    write(vault, amended(other, events=(first, *key.events[1:])))
    return key.path


def _newcomer(vault: Vault, **more: Any) -> Key:
    """Return a foreign key that is created and withdrawn in one commit: only its kid matters."""
    at = vault.now
    events = (Event(at=at, event="created", imported=True), Event(at=at, event="withdrawn"))
    return new_key(vault, *events, seal=False, **more)


def passing(name: str, *found: str, imported: bool = True, pause: timedelta = timedelta(0), kept: timedelta = KEPT,
            signs: bool = False) -> None:  # fmt: skip
    """Register a mutant with a key that is activated and deactivated in one commit, as by an import as retiring."""

    def make(vault: Vault) -> str:
        at = vault.now
        events = [
            Event(at=at, event="created", imported=imported),
            Event(at=at, event="activated", token_lifetime=3_600),
            Event(at=at + pause, event="deactivated", keep_until=at + pause + kept),
        ]
        if signs:
            events.append(Event(at=at + pause, event="reactivated", token_lifetime=3_600))
        key = new_key(vault, *events)
        write(vault, key)
        return "" if signs else key.path  # two active keys are a finding about the set

    mutant(name, *found, mends=False)(make)


passing("a key of the vault's own that comes as retiring", "activated-unseen", imported=False)
passing("an imported key that signs for a second", "activated-unseen", pause=SECOND)
passing("an imported key that is kept too short", "kept-too-short", kept=KEPT - SECOND)
passing("an imported key that comes back at once", "two-active", signs=True)


@mutant("a next key that passes through active in one instant", "activated-early", "next-missing", mends=False)
def _(vault: Vault) -> str:
    at, key = vault.now, vault.next()
    events = (
        Event(at=at, event="activated", token_lifetime=3_600),
        Event(at=at, event="deactivated", keep_until=at + KEPT),
    )
    write(vault, amended(key, *events))
    return key.path


@mutant("an imported key that takes the place of the active one", "activated-unseen", mends=False)
def _(vault: Vault) -> str:
    at, old = vault.now, vault.active()
    key = new_key(
        vault, Event(at=at, event="created", imported=True), Event(at=at, event="activated", token_lifetime=3_600)
    )
    write(vault, key, amended(old, Event(at=at, event="deactivated", keep_until=at + KEPT)))
    return key.path


@mutant("a kid of another set", "kid-reused", mends=False)
def _(vault: Vault) -> str:
    key = _newcomer(vault, kid=vault.active("access-token").kid)
    write(vault, key)
    return key.path


@mutant("a kid in other case", "kid-reused", mends=False)
def _(vault: Vault) -> str:
    key = _newcomer(vault, kid=vault.active().kid.swapcase())
    write(vault, key)
    return key.path


@mutant("a kid of a key that was removed", "kid-reused", mends=False)
def _(vault: Vault) -> str:
    kid = next(key for key in vault.set().keys if key.state == "withdrawn").kid
    vault.commit({f"keys.enc/id-token/{kid}.json": None})
    vault.commit({"NEWS": "nothing"})
    key = _newcomer(vault, kid=kid)
    write(vault, key)
    return key.path


@mutant("one key under two kids", "key-reused", mends=False)
def _(vault: Vault) -> str:
    twin = keys.open_key(vault.context(), vault.active())
    key = _newcomer(vault, kid="twin", private=twin)
    write(vault, key)
    return key.path


@mutant("a key without a private half", "private-missing", mends=False)
def _(vault: Vault) -> str:
    activated, retired, created = rotated(vault.wait(LEAD), vault.now)
    replacement = amended(created, private=msgspec.UNSET)
    write(vault, activated, retired, replacement)
    return replacement.path


@mutant("the private half dropped", "private-removed")
def _(vault: Vault) -> str:
    key = vault.active()
    write(vault, amended(key, private=msgspec.UNSET))
    return key.path


@mutant("the private half of a key that has ended put back", "private-added", "private-kept")
def _(vault: Vault) -> str:
    gone = next(key for key in vault.set().keys if key.state == "revoked")
    write(vault, amended(gone, private=sealed(vault, {**generate(key_spec("ES256")), "kid": gone.kid}, "id-token")))
    return gone.path


@mutant("the private half kept by a key that ends", "private-kept")
def _(vault: Vault) -> str:
    old = vault.set().retiring[0]
    write(vault, amended(old, Event(at=vault.now, event="withdrawn")))
    return old.path


@mutant("the private half exchanged", "resealed")
def _(vault: Vault) -> str:
    key = vault.active()
    other = {**generate(key_spec("ES256")), "kid": key.kid}
    write(vault, amended(key, private=sealed(vault, other, "id-token")))
    return key.path


@mutant("the private half sealed anew, for a copy of a recipient", "resealed")
def _(vault: Vault) -> str:
    key = vault.active()
    private = keys.open_key(vault.context(), key)
    (kid,) = vault.state().recipients
    write(vault, amended(key, private=sealed(vault, private, "id-token", [recipient(kid)])))
    return key.path


# -- sets


@mutant("a second active key", "two-active", "activated-unseen", mends=False)
def _(vault: Vault) -> str:
    at = vault.now
    made = new_key(vault, Event(at=at, event="created"), Event(at=at, event="activated", token_lifetime=3_600))
    write(vault, made)
    return ""


@mutant("a second next key", "two-next", mends=False)
def _(vault: Vault) -> str:
    write(vault, new_key(vault, Event(at=vault.now, event="created")))
    return ""


@mutant("nobody active", "active-missing", mends=False)
def _(vault: Vault) -> str:
    key = vault.active()
    write(vault, amended(key, Event(at=vault.now, event="deactivated", keep_until=vault.now + KEPT)))
    return ""


@mutant("nobody next", "next-missing", mends=False)
def _(vault: Vault) -> str:
    key = vault.next()
    write(vault, amended(key, Event(at=vault.now, event="withdrawn"), private=msgspec.UNSET))
    return ""


@mutant("a key of another algorithm", "algorithm-differs", mends=False)
def _(vault: Vault) -> str:
    activated, retired, _ = rotated(vault.wait(LEAD), vault.now)
    replacement = new_key(vault, Event(at=vault.now, event="created"), alg="ES384")
    write(vault, activated, retired, replacement)
    return replacement.path


@mutant("a set with a terminal's commands in its name", "two-active", "two-next", "set-orphaned", "record-malformed",
        mends=False)  # fmt: skip
def _(vault: Vault) -> str:
    at = vault.now
    name = "\x1b[2Jevil\u202e"
    made = [new_key(vault, Event(at=at, event="created"), *more, set_name=name)
            for more in [()] * 2 + [(Event(at=at, event="activated", token_lifetime=3_600),)] * 2]  # fmt: skip
    write(vault, *made)
    return ""


# -- timing; the table BOUNDARIES is below


@mutant("an activation of a key that was never seen", "activated-unseen", mends=False)
def _(vault: Vault) -> str:
    vault.wait(LEAD)
    write(vault, *rotated(vault, vault.now))
    vault.wait(MINUTE)
    activated, retired, created = rotated(vault, vault.now)
    write(vault, activated, retired, created)
    return activated.path


@mutant("a receipt from elsewhere", "receipt-url")
def _(vault: Vault) -> str:
    key = vault.next()
    write(vault, amended(key, Event(at=vault.now, event="published", url="https://evil.example/\x1b[2J")))
    return key.path


@mutant("a receipt of the first instant", "receipt-too-soon", "two-next", mends=False)
def _(vault: Vault) -> str:
    key = new_key(vault, Event(at=vault.now, event="created"), Event(at=vault.now, event="published", url=URL))
    write(vault, key)
    return key.path


def each_mutant() -> Iterator[Any]:
    """Yield the name of each mutant; the first with its main code is fast, the others are slow."""
    seen: set[str] = set()
    for name, mutation in MUTANTS.items():
        yield pytest.param(name, marks=pytest.mark.slow if mutation.codes[0] in seen else ())
        seen.add(mutation.codes[0])


@pytest.mark.parametrize("name", list(each_mutant()))
def test_mutations(name: str, story: Vault, news: Callable[..., list[Finding]]) -> None:
    """
    The audit reports each mutation with its codes, commit and file, and nothing else.

    It reports everything that is not readable. After a restore, the findings stay, some as notes, and there are no
    new ones.
    """
    wanted = MUTANTS[name]
    before = story.head
    path = wanted.make(story)
    bad, head = news(story), story.head
    found = [finding for finding in bad if finding.commit == head]

    assert {finding.code for finding in found} == set(wanted.codes), found
    main = [finding.path for finding in found if finding.code == wanted.codes[0]]
    assert path in main
    assert all(finding.message.isprintable() and finding.path.isprintable() for finding in found)
    assert all(finding.level == ("note" if finding.code in NOTES else "error") for finding in found)
    assert len({(finding.code, finding.path, finding.message) for finding in found}) == len(found)
    try:
        story.repository.read(head)
    except KeyVaultError:
        assert [finding for finding in found if finding.level == "error"]

    assert [finding for finding in bad if finding.commit == before] == []
    mend(story)
    after = news(story)
    assert as_found(after[: len(bad)]) == bad
    assert not wanted.mends or len(after) == len(bad), after[len(bad) :]


def test_there_are_many_kinds() -> None:
    """Every code has a mutation: here, among merges, or among signatures."""
    assert len(MUTANTS) >= 60
    found = {code for mutation in MUTANTS.values() for code in mutation.codes}
    found |= {code for _, _, below, at, above in BOUNDARIES.values() for code in (*below, *at, *above)}
    found |= {"vault-begun-twice", "pin-missing"} | test_signatures.CODES
    assert found == {*ERRORS, *NOTES} - {"mended", "repaired"}


# --- boundaries -----------------------------------------------------------------------------------------

Timed = Callable[[Vault, timedelta], None]


def _activation(name: str, alg: str | None = None) -> Timed:
    def make(vault: Vault, offset: timedelta) -> None:
        if alg is not None:
            keys.add_set(vault.context(), name, spec=key_spec(alg))
        key = vault.next(name)
        seen = next((event.at for event in key.events if event.event == "published"), key.events[0].at)
        vault.now = seen + LEAD + offset
        write(vault, *rotated(vault, vault.now, name=name))

    return make


def _activation_by_commit(vault: Vault, offset: timedelta) -> None:
    vault.edit_policy('confirm = "live"', 'confirm = "commit"')
    due(vault.wait(HOUR))
    rotation.rotate(vault.wait(HOUR).context(), ["id-token"], forced="a test")
    vault.now = vault.next().events[0].at + LEAD + offset
    write(vault, *rotated(vault, vault.now))


def _withdrawal(vault: Vault, offset: timedelta) -> None:
    rotation.rotate(vault.wait(2 * DAY).context(), ["id-token"])
    old = vault.set().retiring[0]
    until = old.events[-1].keep_until
    assert until is not None
    vault.now = until + offset
    write(vault, amended(old, Event(at=vault.now, event="withdrawn"), private=msgspec.UNSET))


def _promise(name: str) -> Timed:
    def make(vault: Vault, offset: timedelta) -> None:
        vault.wait(LEAD)
        activated, retired, created = rotated(vault, vault.now, name=name)
        last = msgspec.structs.replace(retired.events[-1], keep_until=retired.events[-1].keep_until + offset)
        write(vault, activated, amended(retired, events=(*retired.events[:-1], last)), created)

    return make


def _old_promise(vault: Vault, offset: timedelta) -> None:
    """The present policy has a shorter lifetime than the one under which the tokens were signed."""
    vault.edit_policy('token_lifetime = "1h"', 'token_lifetime = "5h"')
    due(vault.wait(HOUR))
    vault.edit_policy('token_lifetime = "5h"', 'token_lifetime = "1h"')
    vault.wait(LEAD)
    activated, retired, created = rotated(vault, vault.now)
    last = msgspec.structs.replace(retired.events[-1], keep_until=vault.now + KEPT + 4 * HOUR + offset)
    write(vault, activated, amended(retired, events=(*retired.events[:-1], last)), created)


def _lifetime(vault: Vault, offset: timedelta) -> None:
    seconds = 3_600 + int(offset.total_seconds())
    write(vault, amended(vault.active(), Event(at=vault.now, event="lifetime", token_lifetime=seconds)))


def _event_from_its_commit(distance: timedelta) -> Timed:
    def make(vault: Vault, offset: timedelta) -> None:
        vault.wait(DAY)
        at = vault.now + distance + offset
        write(vault, amended(vault.active(), Event(at=at, event="lifetime", token_lifetime=3_600)))
        vault.wait(DAY)

    return make


def _event_from_the_audit(vault: Vault, offset: timedelta) -> None:
    now = vault.now
    vault.now += 10 * MINUTE + offset
    write(vault, amended(vault.active(), Event(at=vault.now, event="lifetime", token_lifetime=3_600)))
    vault.now = now


def _event_from_its_set(vault: Vault, offset: timedelta) -> None:
    due(vault)  # withdraws the retiring key
    at = vault.now + offset
    write(vault, amended(vault.active(), Event(at=at, event="lifetime", token_lifetime=3_600)))


def _event_from_its_record(vault: Vault, offset: timedelta) -> None:
    key, event = vault.active(), Event(at=vault.now, event="lifetime", token_lifetime=3_600)
    write(vault, amended(key, event, msgspec.structs.replace(event, at=vault.now + offset)))


def _lead(vault: Vault, offset: timedelta) -> None:
    seconds = 86_400 + int(offset.total_seconds())
    vault.edit_policy('publication_lead = "24h"', f'publication_lead = "{seconds}s"')


def _note(vault: Vault, offset: timedelta) -> None:
    note = "x" * (500 + int(offset.total_seconds()))
    write(vault, amended(vault.active(), Event(at=vault.now, event="lifetime", token_lifetime=3_600, note=note)))


EARLY, SHORT, LIFE = ("activated-early",), ("kept-too-short",), ("token-lifetime",)
PAST, FUTURE = ("instant-backdated",), ("instant-future",)

#: The findings one second before, exactly at, and one second after a boundary.
BOUNDARIES: dict[str, tuple[str, Timed, tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "lead": ("first seen + lead", _activation("id-token"), EARLY, (), ()),
    "lead of a symmetric key": ("made + lead", _activation("late", "HS256"), EARLY, (), ()),
    "lead of a key that waits for no host": (
        "made + lead", _activation_by_commit, ("forced", "policy-loosened", *EARLY), ("forced", "policy-loosened"),
        ("forced", "policy-loosened"),
    ),
    "lead of a key to encrypt with": ("none", _activation("late", "ECDH-ES+A256KW"), (), (), ()),
    "withdrawal": ("strictly after keep_until", _withdrawal, ("withdrawn-early",), ("withdrawn-early",), ()),
    "promise": ("lag + lifetime + skew", _promise("id-token"), SHORT, (), ()),
    "promise of another policy": ("the longest on record", _old_promise, SHORT, (), ()),
    "retention": ("a year", _promise("box"), SHORT, (), ()),
    "lifetime": ("that of policy", _lifetime, LIFE, (), LIFE),
    "before its commit": ("skew", _event_from_its_commit(-10 * MINUTE), PAST, (), ()),
    "after its commit": ("skew", _event_from_its_commit(10 * MINUTE), (), (), FUTURE),
    "after the audit": ("skew", _event_from_the_audit, (), (), FUTURE),
    "before the set": ("the newest of the set", _event_from_its_set, ("instant-before-set",), (), ()),
    "before its own record": ("the one before it", _event_from_its_record, ("instant-decreases",), (), ()),
    "a lead in policy": ("the lead before", _lead, ("policy-loosened",), (), ()),
    "a note": ("500 letters", _note, (), (), ("event-malformed",)),
}  # fmt: skip


@pytest.mark.parametrize(
    "seconds", [pytest.param(-1, marks=pytest.mark.slow), 0, pytest.param(1, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", BOUNDARIES)
def test_boundaries(name: str, seconds: int, story: Vault, news: Callable[..., list[Finding]]) -> None:
    """The findings one second before, exactly at and one second after a boundary match docs/lifecycle.md."""
    _, make, *wanted = BOUNDARIES[name]
    make(story, seconds * SECOND)
    assert {finding.code for finding in news(story)} == set(wanted[seconds + 1])


def test_a_file_of_the_same_name_in_another_folder_mends_nothing(tmp_path: Path, environ: dict[str, str]) -> None:
    """Only the removal of a file of the vault mends the findings about it."""
    top = tmp_path / "mono"
    top.mkdir()
    run_git(top, environ, "init", "--quiet", "--initial-branch=main")
    (top / "keyvault.toml").write_text("format = 1\n")
    run_git(top, environ, "add", "--all")
    run_git(top, environ, "commit", "--quiet", "-m", "a file of the repository")
    vault = make_vault(tmp_path, folder="mono/keys", environ=environ)
    vault.git("update-index", "--chmod=+x", "keyvault.toml")
    vault.git("commit", "--quiet", "-m", "executable")
    run_git(top, environ, "rm", "--quiet", "--cached", "keyvault.toml")
    run_git(top, environ, "commit", "--quiet", "-m", "remove the file of the repository")

    assert {finding.code for finding in audit(vault).errors} == {"unexpected-mode"}


@pytest.mark.parametrize("seconds", [0, -(2**40), 2**33, 253_402_300_799, 2**62])
def test_a_commit_of_any_date(seconds: int, story: Vault, news: Callable[..., list[Finding]]) -> None:
    """A commit may have any date: events are then too new or too old, but the audit does not fail."""
    key = amended(story.active(), Event(at=story.now, event="lifetime", token_lifetime=3_600))
    write(story, key)
    raw = story.git("cat-file", "commit", "HEAD")
    dated = re.sub(r"(?m)^(author|committer) (.*>) \d+ ", rf"\1 \2 {seconds} ", raw) + "\n"
    oid = story.git("hash-object", "-w", "-t", "commit", "--literally", "--stdin", stdin=dated.encode())
    story.git("update-ref", "HEAD", oid)

    found = news(story)
    assert {finding.code for finding in found} <= {"instant-future", "instant-backdated"}
    assert [finding.commit for finding in found] == [oid]
