"""Recipients and identities: recipients open every key, and a removed recipient opens no key that is sealed later."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import msgspec
import pytest

from keyvault.core.envelope_form import check_envelope
from keyvault.core.keys import Key
from keyvault.crypto.envelope import envelope_of, open_bytes
from keyvault.crypto.identities import JWKIdentity
from keyvault.errors import EnvelopeError
from keyvault.repo.records import encode_key, encode_recipients
from tests.cli.terminal import Terminal
from tests.vaults import DAY, HOUR, Vault


def identity(keyvault: Terminal, kid: str, *options: str) -> Path:
    """Generate an identity outside of the vault, and return its file; its public half lies beside it."""
    assert keyvault.vault is not None
    file = keyvault.vault.top / "people" / f"{kid}.json"
    public = keyvault.ok("identity", "new", "--kid", kid, "-o", file, *options).out
    file.with_suffix(".pub").write_text(public)
    return file


def sealed_to(key: Key) -> list[str]:
    return [entry.header.kid for entry in envelope_of(key).recipients]


def opens(file: Path, key: Key) -> bool:
    """Whether the identity in *file* opens *key*, by force: it tries each entry of the envelope."""
    jwk = json.loads(file.read_bytes())
    envelope = envelope_of(key)
    for entry in envelope.recipients:
        try:
            one = JWKIdentity({**jwk, "kid": entry.header.kid})
            open_bytes(envelope, kid=key.kid, set_name=key.set, recipient=one.kid, unwrap=one.unwrap)
        except EnvelopeError:
            continue
        return True
    return False


def all_sealed(vault: Vault) -> list[Key]:
    return [key for key in vault.state().keys.values() if key.sealed]


def test_add(keyvault: Terminal, vault: Vault) -> None:
    """A new recipient opens every key, those that exist too; it is one commit, and nothing else changes."""
    bea = identity(keyvault, "bea")
    (me,) = vault.state().recipients
    before = vault.state()

    result = keyvault.ok("recipient", "add", bea.with_suffix(".pub"))

    assert result.lines == ["added recipient bea", f"commit {vault.head[:12]}"]
    assert vault.log[0] == "add recipient bea"
    after = vault.state()
    assert set(after.recipients) == {"bea", me}
    for kid, key in after.keys.items():
        assert sealed_to(key) == sorted(["bea", me])
        assert opens(bea, key)
        assert msgspec.structs.replace(key, private=before.keys[kid].private) == before.keys[kid]
    assert keyvault.ok("--identity", bea, "recipient", "check").out == "4 sealed keys, 4 opened\n"
    assert vault.status == []


def test_add_by_somebody_who_cannot_open(keyvault: Terminal, vault: Vault) -> None:
    """Keys cannot be re-sealed without an identity that opens them: nothing is written."""
    bea = identity(keyvault, "bea")
    before = vault.head

    result = keyvault("recipient", "add", bea, KEYVAULT_CONFIG_DIR=str(vault.top / "nobody"))

    assert result.code == 1
    assert result.problem == "identity-missing"
    assert vault.head == before


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--crv", "X25519"),
        ("--alg", "RSA-OAEP-256"),
    ],
)
def test_kinds_of_recipients(keyvault: Terminal, vault: Vault, options: tuple[str, ...]) -> None:
    """P-256, X25519 and RSA recipients open what is sealed to them."""
    file = identity(keyvault, "bea", *options)

    keyvault.ok("recipient", "add", file.with_suffix(".pub"))

    assert keyvault.ok("--identity", file, "recipient", "check").out == "4 sealed keys, 4 opened\n"


def test_add_twice(keyvault: Terminal, vault: Vault) -> None:
    """A kid is unique in the list: a second key needs `recipient replace` or another kid."""
    bea = identity(keyvault, "bea")
    keyvault.ok("recipient", "add", bea)

    result = keyvault("recipient", "add", bea)
    assert (result.code, result.error) == (2, "recipient 'bea' already exists")
    assert result.hint == "keyvault recipient replace bea FILE"

    keyvault.ok("recipient", "add", bea, "--kid", "bea-2")
    assert "bea-2" in vault.state().recipients


def test_a_private_file_gives_its_public_half_only(keyvault: Terminal, vault: Vault) -> None:
    """If FILE is a whole identity, only its public half gets into the vault."""
    bea = identity(keyvault, "bea")
    private = json.loads(bea.read_bytes())

    keyvault.ok("recipient", "add", bea)

    assert private["d"].encode() not in b"".join(vault.files().values())


def test_remove(keyvault: Terminal, vault: Vault) -> None:
    """A removed recipient opens no key of the vault from then on; the keys that it could open are listed."""
    bea = identity(keyvault, "bea")
    keyvault.ok("recipient", "add", bea)

    result = keyvault.ok("recipient", "remove", "bea")

    assert result.lines[:2] == ["removed recipient bea", "it could open, and may have kept:"]
    assert result.lines[2].startswith("  id-token")
    assert result.err.startswith("keyvault: hint: the removed recipient knows these keys; ")
    assert result.err.endswith(": keyvault rotate id-token access-token\n")
    assert not any(opens(bea, key) for key in all_sealed(vault))
    assert keyvault("--identity", bea, "recipient", "check", KEYVAULT_CONFIG_DIR="/nowhere").code == 1
    vault.wait(DAY)
    keyvault.ok("rotate", "--all")
    assert not any(opens(bea, key) for key in all_sealed(vault))


def test_remove_and_rotate(keyvault: Terminal, vault: Vault) -> None:
    """With --rotate the next keys are replaced in the same commit: after a single rotation the removed recipient knows no signing key."""
    bea = identity(keyvault, "bea")
    keyvault.ok("recipient", "add", bea)
    before = vault.state()
    known = {key.kid for key in before.keys.values() if opens(bea, key)}
    assert len(known) == 4
    vault.wait(HOUR)

    result = keyvault.ok("recipient", "remove", "bea", "--rotate")

    assert len(vault.log) == 3
    assert "hint: the active keys sign until the new next keys are mature" in result.err
    for name in ("id-token", "access-token"):
        assert vault.next(name).kid not in known
        old = vault.state().keys[before.sets[name].next.kid]  # type: ignore[union-attr]  # every set of this vault has a next key
        assert (old.state, old.sealed) == ("withdrawn", False)
        assert old.events[-1].note == "recipient bea was removed"
    assert not any(opens(bea, key) for key in all_sealed(vault))
    vault.wait(DAY)
    keyvault.ok("rotate", "--all")
    for name in ("id-token", "access-token"):
        assert vault.active(name).kid not in known


def test_remove_the_last(keyvault: Terminal, vault: Vault) -> None:
    """The last recipient cannot be removed: no key could be opened."""
    (me,) = vault.state().recipients

    result = keyvault("recipient", "remove", me)

    assert (result.code, result.hint) == (2, "keyvault recipient add FILE")
    assert result.error == f"{me} is the last recipient: nobody could open any key"


def test_misspelt(keyvault: Terminal, vault: Vault) -> None:
    """The hint for a misspelt recipient is the nearest recipient."""
    keyvault.ok("recipient", "add", identity(keyvault, "operations-2026"))

    for command in (("remove", "operations-2062"), ("replace", "operations-2062", identity(keyvault, "x"))):
        result = keyvault("recipient", *command)
        assert (result.code, result.hint) == (2, "did you mean 'operations-2026'?")


def test_replace(keyvault: Terminal, vault: Vault) -> None:
    """A recipient's key can be replaced, under the same kid or another; the old key then opens nothing."""
    (me,) = vault.state().recipients
    old = identity(keyvault, "bea")
    keyvault.ok("recipient", "add", old)
    new = identity(keyvault, "bea-2")

    result = keyvault.ok("recipient", "replace", "bea", new)
    assert result.lines[0] == "replaced recipient bea by bea-2"
    assert set(vault.state().recipients) == {me, "bea-2"}
    assert all(opens(new, key) and not opens(old, key) for key in all_sealed(vault))

    again = identity(keyvault, "bea-3")
    keyvault.ok("recipient", "replace", "bea-2", again, "--kid", "bea-2")
    assert set(vault.state().recipients) == {me, "bea-2"}
    assert all(opens(again, key) and not opens(new, key) for key in all_sealed(vault))
    taken = keyvault("recipient", "replace", "bea-2", again, "--kid", me)
    assert (taken.code, taken.error) == (2, f"recipient {me!r} already exists")


def test_what_a_merge_left_is_sealed_again(keyvault: Terminal, vault: Vault) -> None:
    """
    A key that a merge left sealed to others is noted by the audit, and sealed again by `replace` with the same file.

    The others keep their envelopes: nobody could tell a new one from a forged one. Done twice is done once.
    """
    bea = identity(keyvault, "bea")
    vault.git("branch", "side")
    keyvault.ok("recipient", "add", bea)
    vault.git("checkout", "--quiet", "side")
    keyvault.ok("set", "add", "reports")
    vault.git("checkout", "--quiet", "main")
    vault.git("merge", "--quiet", "--no-edit", "side")
    assert keyvault.ok("audit", "--json").json["findings"] != []
    before = {key.kid: key.private for key in all_sealed(vault)}
    left = {key.kid for key in all_sealed(vault) if key.set == "reports"}

    result = keyvault.ok("recipient", "replace", "bea", bea)

    assert result.lines[0] == "replaced recipient bea by bea"
    assert all(opens(bea, key) for key in all_sealed(vault))
    assert {key.kid for key in all_sealed(vault) if key.private != before[key.kid]} == left
    found = keyvault.ok("audit", "--json").json["findings"]
    assert {one["code"] for one in found} == {"recipients-changed", "not-resealed"}
    assert keyvault.ok("recipient", "replace", "bea", bea).out == "nothing to do\n"


def test_check_finds_a_foreign_recipient(keyvault: Terminal, vault: Vault) -> None:
    """A key that is sealed to a stranger, or not to every recipient, is reported with exit code 1."""
    keyvault.ok("recipient", "add", identity(keyvault, "bea"))
    listed = dict(vault.state().recipients)
    (me,) = set(listed) - {"bea"}
    vault.commit({"keys.enc/recipients.json": encode_recipients({me: listed[me]})}, "edit the list by hand")

    result = keyvault("recipient", "check")

    assert result.code == 1
    assert result.out == "4 sealed keys, 4 opened\n"
    assert f"is sealed to bea, {me} instead of {me} (and 3 more)" in result.error
    report = keyvault("recipient", "check", "--json").json
    assert len(report["problems"]) == 4


def test_check_finds_tampering(keyvault: Terminal, vault: Vault) -> None:
    """An envelope with an exchanged ciphertext, or one of another key, does not open, and is named."""
    active, following = vault.active(), vault.next()
    swapped = msgspec.structs.replace(active, private=following.private)
    vault.commit({active.path: encode_key(swapped)}, "swap")

    result = keyvault("recipient", "check")

    assert result.code == 1
    assert result.problem == "recipient-check-failed"
    assert result.error.startswith(f"key {active.kid}: ")
    for key in all_sealed(vault):
        if key.kid != active.kid:
            assert check_envelope(envelope_of(key), kid=key.kid, set_name=key.set)
            assert sealed_to(key)


# --- identities -----------------------------------------------------------------------------------------


def test_new_identity(keyvault: Terminal, vault: Vault) -> None:
    """`identity new` writes a private file that only its owner can read, and prints the public half."""
    result = keyvault.ok("identity", "new", "--kid", "bea-2026")

    file = vault.top / "config" / "identities" / "bea-2026.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    private, public = json.loads(file.read_bytes()), result.json
    assert "d" in private
    assert "d" not in public
    assert public == {name: private[name] for name in ("kty", "kid", "use", "alg", "crv", "x", "y")}
    assert result.err == (
        f"keyvault: identity bea-2026 is in {file}, readable by you alone; its public half is on stdout\n"
    )


def test_an_identity_is_never_overwritten(keyvault: Terminal, vault: Vault) -> None:
    """A second identity with the same kid is refused: the first may open keys."""
    keyvault.ok("identity", "new", "--kid", "bea")
    file = vault.top / "config" / "identities" / "bea.json"
    before = file.read_bytes()

    result = keyvault("identity", "new", "--kid", "bea")

    assert (result.code, result.problem, str(file) in result.error) == (2, "file-exists", True)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "place", ["me.json", "keys.enc/me.json", "new/folder/me.json", "./x/../me.json", "link/me.json"]
)
def test_no_identity_in_the_clear_in_the_repository(keyvault: Terminal, vault: Vault, place: str) -> None:
    """No unencrypted identity is written to a repository, not even to a new folder of it."""
    (vault.top / "link").symlink_to(vault.folder)
    target = vault.top / place if place.startswith("link") else vault.folder / place

    result = keyvault("identity", "new", "-o", target)

    assert result.code == 2
    assert "lies in the repository: an identity in the clear must not" in result.error
    assert vault.status == []
    assert not (vault.folder / "new").exists()


def test_an_encrypted_identity_may_lie_in_the_repository(keyvault: Terminal, vault: Vault) -> None:
    """An encrypted identity may be in the vault; with the passphrase it opens keys from a file, a variable or the vault."""
    secret = {"KEYVAULT_PASSPHRASE": "correct horse battery"}
    public = keyvault.ok(
        "identity", "new", "--kid", "ci", "--passphrase", "-o", "keys.enc/identities/ci.json", **secret
    )
    (vault.top / "ci.pub").write_text(public.out)
    keyvault.ok("recipient", "add", vault.top / "ci.pub")
    vault.git("add", "keys.enc/identities/ci.json")
    vault.git("commit", "--quiet", "-m", "an identity under a passphrase")
    elsewhere = {"KEYVAULT_CONFIG_DIR": str(vault.top / "nowhere")}
    text = (vault.folder / "keys.enc/identities/ci.json").read_text()

    assert keyvault.ok("recipient", "check", **secret, **elsewhere).out == "4 sealed keys, 4 opened\n"
    (vault.folder / "keys.enc/identities/ci.json").unlink()
    vault.git("commit", "--quiet", "-am", "remove it")
    assert keyvault("recipient", "check", **secret, **elsewhere).code == 1
    assert keyvault.ok("recipient", "check", **secret, **elsewhere, KEYVAULT_IDENTITY=text).out == (
        "4 sealed keys, 4 opened\n"
    )
    (vault.top / "ci.json").write_text(text)
    named = {"KEYVAULT_IDENTITY_FILE": str(vault.top / "ci.json")}
    assert keyvault.ok("token", "sign", "id-token", **secret, **elsewhere, **named).out.count(".") == 2


def test_where_identities_are_looked_for(keyvault: Terminal, vault: Vault) -> None:
    """--identity goes first, then KEYVAULT_IDENTITY, then the file it names, then the folder for settings."""
    (me,) = vault.state().recipients
    (file,) = (vault.top / "config" / "identities").glob("*.json")
    moved = file.rename(vault.top / "me.json")

    assert keyvault("token", "sign", "id-token").code == 1
    keyvault.ok("--identity", moved, "token", "sign", "id-token")
    keyvault.ok("token", "sign", "id-token", KEYVAULT_IDENTITY_FILE=str(moved))
    keyvault.ok("token", "sign", "id-token", KEYVAULT_IDENTITY=moved.read_text())
    jwks = json.dumps({"keys": [json.loads(identity(keyvault, "old").read_bytes()), json.loads(moved.read_bytes())]})
    keyvault.ok("token", "sign", "id-token", KEYVAULT_IDENTITY=jwks)
    places = keyvault.ok(
        "--identity", moved, "identity", "list", "--json",
        KEYVAULT_IDENTITY=moved.read_text(), KEYVAULT_IDENTITY_FILE=str(moved),
    ).json  # fmt: skip
    assert [one["place"] for one in places] == [str(moved), "KEYVAULT_IDENTITY", str(moved)]
    assert {one["kid"] for one in places} == {me}
    assert keyvault.ok("identity", "list").out.startswith("no identities; searched ")


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"kty":"EC","kid":"x"}', "\x00", "{" * 5000, "x" * 70_000])
def test_a_broken_identity(keyvault: Terminal, vault: Vault, text: str) -> None:
    """A broken identity file is an error that names the file, never its content."""
    broken = vault.top / "broken.json"
    broken.write_text(text)

    result = keyvault("--identity", broken, "token", "sign", "id-token", KEYVAULT_CONFIG_DIR="/nowhere")

    assert (result.code, result.out) == (1, "")
    assert str(broken) in result.error
    assert len(result.err) < 1_500


def test_the_wrong_identity(keyvault: Terminal, vault: Vault) -> None:
    """An identity with the right label and another key does not open: the error says so, without a trace of keys."""
    (me,) = vault.state().recipients
    wrong = identity(keyvault, "wrong")
    jwk = {**json.loads(wrong.read_bytes()), "kid": me}
    wrong.write_text(json.dumps(jwk))

    result = keyvault("--identity", wrong, "token", "sign", "id-token")

    assert (result.code, result.error) == (1, f"identity {me!r} does not unwrap the content key")
    assert jwk["d"] not in result.err
