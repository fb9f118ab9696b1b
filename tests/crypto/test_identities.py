"""Identities: where they are looked for, how a passphrase opens them, and files that only their owner reads."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jwcrypto import jwa
from jwcrypto.jwe import JWE
from jwcrypto.jwk import JWK

from keyvault.core.jwk import b64u, b64u_decode
from keyvault.core.keys import WrappedKey
from keyvault.crypto import pbes2
from keyvault.crypto.envelope import Sealer, open_bytes
from keyvault.crypto.identities import (
    JWKIdentity,
    Keyring,
    Source,
    file_source,
    folder_source,
    new_identity,
    recipient_of,
    text_source,
)
from keyvault.crypto.identity_file import (
    IDENTITY_MAX,
    PBES2,
    PBES2_ITERATIONS,
    PBES2_ITERATIONS_MAX,
    IdentityDocument,
    check_recipient_kid,
    encrypt_identity,
    identity_documents,
    read_identity_file,
    write_private_file,
)
from keyvault.errors import EnvelopeError, IdentityError, JWKError, UsageError
from tests.crypto.keys import identity, private, recipient

PASSPHRASE = "correct horse battery staple"


def source(name: str, *documents: bytes) -> Source:
    return Source(name, lambda: [(f"{name}/{index}", data) for index, data in enumerate(documents)])


def document(kid: str = "ops") -> bytes:
    return msgspec.json.encode(identity(kid))


@pytest.fixture(scope="module")
def encrypted() -> bytes:
    """The identity `ops` under PASSPHRASE."""
    return encrypt_identity(identity("ops"), PASSPHRASE)


def refuse_to_answer(kid: str) -> str | None:
    raise AssertionError(f"asked for the passphrase of {kid}")


# --- a keyring ------------------------------------------------------------------------------------------


def test_places_are_looked_at_in_order() -> None:
    """The first identity that can open wins, whatever the order of the recipients."""
    ring = Keyring([source("a", document("one")), source("b", document("two"), document("ops"))])
    assert ring.find(["ops", "two"]).kid == "two"
    assert ring.find(["ops"]).kid == "ops"
    assert ring.find(["ops", "one"]).kid == "ops"  # it is in memory already


def test_a_place_is_read_once_and_only_when_it_is_needed() -> None:
    """Later places are left alone as long as an earlier one can open."""
    read: list[str] = []

    def place(name: str, *kids: str) -> Source:
        return Source(name, lambda: read.append(name) or [(kid, document(kid)) for kid in kids])

    ring = Keyring([place("a", "one"), place("b", "two")])
    ring.find(["one"])
    assert read == ["a"]
    ring.find(["two"])
    ring.find(["two"])
    assert read == ["a", "b"]


def test_the_error_lists_the_places_and_who_could_open() -> None:
    """What was looked at, what was wrong there, and whose help would do."""
    ring = Keyring([source("--identity FILE"), source("KEYVAULT_IDENTITY", b"nonsense", document("stranger"))])
    with pytest.raises(IdentityError) as caught:
        ring.find(["ops", "laptop"])
    assert caught.value.message == (
        "no identity opens this: looked at --identity FILE; KEYVAULT_IDENTITY "
        "(KEYVAULT_IDENTITY/0: not an identity: not JSON)"
    )
    assert caught.value.hint == "it is sealed to ops, laptop; give one with --identity FILE"


def test_the_error_of_an_empty_keyring() -> None:
    """No places, nobody to ask."""
    with pytest.raises(IdentityError, match=r"^no identity opens this: looked at nowhere$") as caught:
        Keyring().find([])
    assert caught.value.hint == "it is sealed to nobody; give one with --identity FILE"


def test_one_bad_document_does_not_hide_the_others() -> None:
    """A broken, a weak and a locked identity are passed over."""
    weak = msgspec.json.encode({**identity("ops"), "d": identity("other")["d"]})
    ring = Keyring([source("a", b"[]", weak, document("ops"))])
    assert ring.find(["ops"]).kid == "ops"


def test_a_jwk_set_holds_the_old_and_the_new_identity() -> None:
    """While identities change, one place has both."""
    both = msgspec.json.encode({"keys": [identity("old"), identity("new")]})
    ring = Keyring([source("KEYVAULT_IDENTITY", both)])
    assert [ring.find([kid]).kid for kid in ("new", "old")] == ["new", "old"]
    assert list(ring.kids()) == [
        ("old", "KEYVAULT_IDENTITY/0", False),
        ("new", "KEYVAULT_IDENTITY/0", False),
    ]


def test_listing_opens_nothing(encrypted: bytes) -> None:
    """Names and places are told without a passphrase; what is no identity is left out."""
    ring = Keyring([source("a", document("one"), b"{}"), source("b", encrypted)], ask=refuse_to_answer)
    assert list(ring.kids()) == [("one", "a/0", False), ("ops", "b/0", True)]


def test_secrets_do_not_show_in_representations(encrypted: bytes) -> None:
    """A traceback or a log line with these objects holds no key."""
    (plain,), (locked,) = identity_documents(document()), identity_documents(encrypted)
    secret = identity("ops")["d"]
    shown = repr(plain) + repr(locked) + repr(JWKIdentity(identity("ops")))
    assert secret not in shown
    assert repr(JWKIdentity(identity("ops"))) == "JWKIdentity('ops')"


# --- passphrases ----------------------------------------------------------------------------------------


def test_a_passphrase_opens_an_identity(encrypted: bytes) -> None:
    """What comes out is what went in."""
    (locked,) = identity_documents(encrypted)
    assert (locked.kid, locked.encrypted) == ("ops", True)
    assert identity("ops") == locked.open(lambda kid: PASSPHRASE)


def test_an_encrypted_identity_is_a_standard_jwe(encrypted: bytes) -> None:
    """PBES2 with HMAC-SHA-512 and 600,000 rounds, a salt of its own, and no private member in the clear."""
    header = json.loads(b64u_decode(json.loads(encrypted)["protected"], what="protected"))
    assert len(b64u_decode(header.pop("p2s"), what="p2s")) == 16
    assert header == {
        "alg": "PBES2-HS512+A256KW",
        "cty": "jwk+json",
        "enc": "A256GCM",
        "kid": "ops",
        "p2c": 600_000,
    }
    assert identity("ops")["d"].encode() not in encrypted
    assert encrypted.endswith(b"}\n")


@pytest.mark.parametrize(
    ("answer", "message", "hint"),
    [
        (None, "identity ops needs a passphrase", "set KEYVAULT_PASSPHRASE"),
        ("", "wrong passphrase for identity ops", "check KEYVAULT_PASSPHRASE"),
        ("Correct horse battery staple", "wrong passphrase for identity ops", "check KEYVAULT_PASSPHRASE"),
        ("\udcff\ud800", "wrong passphrase for identity ops", "check KEYVAULT_PASSPHRASE"),
    ],
)
def test_a_passphrase_that_is_missing_or_wrong(encrypted: bytes, answer: str | None, message: str, hint: str) -> None:
    """The two are told apart, and the hint names the variable."""
    (locked,) = identity_documents(encrypted)
    with pytest.raises(IdentityError) as caught:
        locked.open(lambda kid: answer)
    assert (message, hint) == (caught.value.message, caught.value.hint)


@pytest.mark.parametrize("passphrase", ["", "1234567"])
def test_a_passphrase_has_eight_characters(passphrase: str) -> None:
    """Seven are too few."""
    with pytest.raises(UsageError, match=r"^a passphrase has at least 8 characters$"):
        encrypt_identity(identity("ops"), passphrase)


@pytest.mark.parametrize("passphrase", ["12345678", "pässwörd ☃ 密码", "raw \udcff byte of an environment"])
def test_any_text_can_be_a_passphrase(passphrase: str) -> None:
    """Eight characters are enough, and every character counts."""
    (locked,) = identity_documents(encrypt_identity(identity("ops"), passphrase))
    assert identity("ops") == locked.open(lambda kid: passphrase)


def test_a_passphrase_is_asked_only_for_an_identity_that_helps(encrypted: bytes) -> None:
    """Nobody is asked for the passphrase of an identity that is not on the list, or not needed."""
    ring = Keyring([source("a", encrypted), source("b", document("laptop"))], ask=refuse_to_answer)
    assert ring.find(["laptop"]).kid == "laptop"


def test_a_thousand_keys_take_one_key_derivation(encrypted: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A passphrase costs its quarter of a second once a process, not once a key."""
    derived: list[int] = []
    derive = pbes2.PBKDF2HMAC

    def counted(*args: Any, **more: Any) -> Any:
        derived.append(1)
        return derive(*args, **more)

    monkeypatch.setattr(pbes2, "PBKDF2HMAC", counted)
    asked: list[str] = []
    ring = Keyring([source("a", encrypted)], ask=lambda kid: asked.append(kid) or PASSPHRASE)
    envelope = Sealer({"ops": recipient("ops")}).seal_bytes(b"x", kid="k", set_name="s")
    for _ in range(1_000):
        holder = ring.find(["ops"])
        assert open_bytes(envelope, kid="k", set_name="s", recipient=holder.kid, unwrap=holder.unwrap) == b"x"
    assert (len(derived), asked) == (1, ["ops"])


# --- hostile documents ----------------------------------------------------------------------------------


def relabelled(encrypted: bytes, **header: Any) -> bytes:
    """Return *encrypted* with members of its protected header changed, or left out where they are None."""
    parsed = json.loads(encrypted)
    old = json.loads(b64u_decode(parsed["protected"], what="protected"))
    new = {name: value for name, value in {**old, **header}.items() if value is not None}
    return json.dumps({**parsed, "protected": b64u(json.dumps(new).encode())}).encode()


ITERATIONS = f"{PBES2_ITERATIONS} to {PBES2_ITERATIONS_MAX} can be"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"alg": "PBES2-HS256+A128KW"}, "encrypted identity has alg 'PBES2-HS256+A128KW' and enc 'A256GCM'"),
        ({"alg": "dir"}, "encrypted identity has alg 'dir' and enc 'A256GCM'"),
        ({"enc": "A128CBC-HS256"}, "encrypted identity has alg 'PBES2-HS512+A256KW' and enc 'A128CBC-HS256'"),
        ({"enc": ["A256GCM"]}, "encrypted identity has alg 'PBES2-HS512+A256KW' and enc ['A256GCM']"),
        *(
            ({"p2c": count}, f"encrypted identity has p2c {count!r}: {ITERATIONS}")
            for count in (0, -1, 1, 599_999, 10_000_001, 2**31, 600_000.0, "600000", True, [])
        ),
        ({"p2c": None}, "not an encrypted identity: its protected header has other members"),
        ({"p2s": None}, "not an encrypted identity: its protected header has other members"),
        ({"kid": None}, "not an encrypted identity: its protected header has other members"),
        ({"zip": "DEF"}, "not an encrypted identity: its protected header has other members"),
        ({"crit": ["exp"]}, "not an encrypted identity: its protected header has other members"),
        ({"kid": "a b"}, "recipient kid 'a b' cannot be used"),
        ({"kid": 7}, "recipient kid 7 cannot be used"),
    ],
)
def test_headers_that_nobody_wrote_here(encrypted: bytes, header: dict[str, Any], message: str) -> None:
    """Too few rounds are no protection and too many an attack: bounded before anything is derived."""
    with pytest.raises(JWKError) as caught:
        identity_documents(relabelled(encrypted, **header))
    assert message == caught.value.message


@pytest.mark.parametrize("rounds", [PBES2_ITERATIONS, PBES2_ITERATIONS_MAX])
def test_the_bounds_of_the_rounds(encrypted: bytes, rounds: int) -> None:
    """Both bounds are read; whether they open is another question."""
    assert identity_documents(relabelled(encrypted, p2c=rounds))[0].kid == "ops"


MEMBERS = "not an encrypted identity: members are protected, encrypted_key, iv, ciphertext and tag"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an identity: not JSON"),
        (b"\xff\xfe{}", "not an identity: not JSON"),
        (b"[" * 60_000, "not an identity: not JSON"),
        (b'{"kty": NaN}', "not an identity: not JSON"),
        (b"[]", "not an identity: not a JSON object"),
        (b'"jwk"', "not an identity: not a JSON object"),
        (b"{}", "not an identity: no private JWK in it"),
        (b'{"keys": {}}', "not an identity: 'keys' is not a list"),
        (b'{"keys": [7]}', "not an identity: no private JWK in it"),
        (b'{"keys": [{"kty": "EC"}]}', "not an identity: no private JWK in it"),
        (b'{"d": "AA"}', "recipient kid None cannot be used"),
        (b'{"d": "AA", "kid": "ops"}', "identity ops has no alg"),
        (b'{"d": "AA", "kid": "ops", "alg": 7}', "identity ops has no alg"),
        (b'{"d": "AA", "kid": "ops", "alg": "x"}', "unknown key type None"),
        (b'{"d": "AA", "kid": "ops", "alg": "x", "kty": "EC"}', "EC key lacks the member 'crv'"),
        (b'{"protected": "e30"}', MEMBERS),
        (
            b'{"protected": "e30", "encrypted_key": "", "iv": "", "ciphertext": "", "tag": "", "recipients": []}',
            MEMBERS,
        ),
        (
            b'{"protected": "e30", "encrypted_key": 7, "iv": "", "ciphertext": "", "tag": ""}',
            "not an encrypted identity: a member is not a string",
        ),
        (
            b'{"protected": "*", "encrypted_key": "", "iv": "", "ciphertext": "", "tag": ""}',
            "member 'protected' is not base64url",
        ),
        (
            b'{"protected": "AAAA", "encrypted_key": "", "iv": "", "ciphertext": "", "tag": ""}',
            "not an encrypted identity: its protected header is not JSON",
        ),
        (
            b'{"protected": "W10", "encrypted_key": "", "iv": "", "ciphertext": "", "tag": ""}',
            "not an encrypted identity: its protected header has other members",
        ),
        (b" " * (IDENTITY_MAX + 1), "identity of 65537 bytes is too large: at most 65536"),
    ],
)
def test_what_is_no_identity(data: bytes, message: str) -> None:
    """One line that says what is wrong, without what stands in it."""
    with pytest.raises(JWKError) as caught:
        identity_documents(data)
    assert message == caught.value.message


@pytest.mark.parametrize("member", ["encrypted_key", "iv", "ciphertext", "tag"])
@pytest.mark.parametrize("value", ["", "AA", "*", "é", "A" * 200])
def test_an_encrypted_identity_that_was_touched(encrypted: bytes, member: str, value: str) -> None:
    """It does not open, and that cannot be told from a wrong passphrase."""
    (locked,) = identity_documents(json.dumps({**json.loads(encrypted), member: value}).encode())
    with pytest.raises(IdentityError, match=r"^wrong passphrase for identity ops$"):
        locked.open(lambda kid: PASSPHRASE)


@pytest.mark.parametrize("header", [{"p2s": 7}, {"p2s": []}, {"p2s": "*"}, {"p2s": "AA"}, {"cty": 7}, {"kid": "other"}])
def test_a_header_that_was_touched(encrypted: bytes, header: dict[str, Any]) -> None:
    """The header is covered by the tag."""
    (locked,) = identity_documents(relabelled(encrypted, **header))
    with pytest.raises(IdentityError, match=r"^wrong passphrase for identity (ops|other)$"):
        locked.open(lambda kid: PASSPHRASE)


def locked_by_hand(inside: object) -> bytes:
    """Return *inside* under PASSPHRASE, as another tool would write it for the identity `ops`."""
    header = {
        "alg": PBES2,
        "cty": "jwk+json",
        "enc": "A256GCM",
        "kid": "ops",
        "p2c": PBES2_ITERATIONS,
        "p2s": "c2FsdHNhbHQ",
    }
    token = JWE(json.dumps(inside).encode(), protected=json.dumps(header))
    with pytest.MonkeyPatch.context() as patch:  # jwcrypto does not write as many rounds as we ask for by itself
        patch.setattr(jwa, "default_max_pbkdf2_iterations", PBES2_ITERATIONS)
        token.add_recipient(JWK(kty="oct", k=b64u(PASSPHRASE.encode())))
    return token.serialize(compact=False).encode()


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        (identity("laptop"), "the identity inside is not ops"),
        ({"kid": "ops"}, "not an identity: no private JWK in it"),
        ({"kid": "ops", "d": "AA"}, "identity ops has no alg"),
        ({"kid": "ops", "d": "AA", "alg": "RSA-OAEP-256"}, "unknown key type None"),
        ({"kid": "ops", "d": 7}, "wrong passphrase for identity ops"),
        ([], "wrong passphrase for identity ops"),
    ],
)
def test_what_was_locked_in_has_to_be_the_identity(inside: object, message: str) -> None:
    """Other tools write such files too: what comes out is looked at like any document."""
    ring = Keyring([source("a", locked_by_hand(inside))], ask=lambda kid: PASSPHRASE)
    with pytest.raises(IdentityError, match=rf"^no identity opens this: looked at a \(a/0: {message}\)$"):
        ring.find(["ops"])


# --- identities and recipients --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alg", "crv", "members"),
    [
        ("ECDH-ES+A256KW", None, {"kty": "EC", "crv": "P-256"}),
        ("ECDH-ES+A256KW", "X25519", {"kty": "OKP", "crv": "X25519"}),
        ("RSA-OAEP-256", None, {"kty": "RSA", "e": "AQAB"}),
    ],
)
def test_a_new_identity(alg: str, crv: str | None, members: dict[str, str]) -> None:
    """It is named after its thumbprint or as one likes, and its recipient has no private member."""
    jwk = new_identity(None, alg=alg, crv=crv)
    assert members.items() <= jwk.items()
    assert jwk["kid"].startswith("id-")
    assert len(jwk["kid"]) == 15
    shown = msgspec.to_builtins(recipient_of(jwk))
    assert set(shown) <= {"kty", "kid", "use", "alg", "crv", "x", "y", "n", "e"}
    assert (shown["use"], shown["alg"]) == ("enc", alg)
    if alg.startswith("RSA"):
        assert len(b64u_decode(jwk["n"], what="n")) == 384


def test_an_identity_can_be_named() -> None:
    """Labels and key URIs are names."""
    assert new_identity("ops-2026")["kid"] == "ops-2026"
    with pytest.raises(JWKError, match=r"^recipient kid 'a b' cannot be used$"):
        new_identity("a b")


@pytest.mark.parametrize(
    "label",
    [
        "ops-2026",
        "a",
        "x" * 300,
        "awskms:///arn:aws:kms:eu-west-1:1:key/2",
        "pkcs11:token=a;object=b",
        "-",
        "ops@example.com",
    ],
)
def test_labels_that_can_be(label: str) -> None:
    """Printable ASCII without what a shell or a page would take for something else."""
    assert label == check_recipient_kid(label)


@pytest.mark.parametrize(
    "label",
    [
        "",
        None,
        7,
        ["a"],
        "x" * 301,
        "a b",
        "a\n",
        "a\t",
        "é",
        "\u202e",
        "a'b",
        'a"b',
        "a\\b",
        "<b>",
        "a`b`",
        "$(a)",
        "\x1b[31m",
    ],
)
def test_labels_that_cannot_be(label: object) -> None:
    """Blanks, quotes, markup, escapes, other alphabets and types."""
    with pytest.raises(JWKError, match=r"^recipient kid .{1,80} cannot be used$") as caught:
        check_recipient_kid(label)
    assert caught.value.hint == "a label such as ops-2026, or a key URI"


def without(jwk: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in jwk.items() if name not in names}


def test_a_bare_public_key_becomes_a_recipient() -> None:
    """use, alg and kid are completed: a KMS exports none of them."""
    jwk = without(identity("ops"), "kid", "use", "alg", "d")
    completed = recipient_of(jwk)
    assert (completed.use, completed.alg) == ("enc", "ECDH-ES+A256KW")
    assert completed.kid.startswith("id-")
    assert recipient_of(without(identity("ops", "RSA-OAEP-256"), "alg", "use")).alg == "RSA-OAEP-256"


@pytest.mark.parametrize(
    ("jwk", "message"),
    [
        (private("HS256"), "a symmetric key cannot be a recipient: everybody who seals could open"),
        (private("ES256"), "recipient '"),
        ({**identity("ops"), "kid": "a b"}, "recipient kid 'a b' cannot be used"),
        ({**identity("ops"), "alg": ["x"]}, "recipient 'ops' has use 'enc' and alg \"\\['x'\\]\""),
        ({"kty": "EC"}, "EC key lacks the member 'crv'"),
        ({}, "unknown key type None"),
    ],
)
def test_what_cannot_be_a_recipient(jwk: dict[str, Any], message: str) -> None:
    """Keys for signing, symmetric keys, and what is no key."""
    with pytest.raises(JWKError, match=f"^{message}"):
        recipient_of(jwk)


def test_an_identity_whose_halves_do_not_match() -> None:
    """It is found out when it is loaded, not when it is needed."""
    with pytest.raises(JWKError, match=r"^the private half does not belong to the public half$"):
        JWKIdentity({**identity("ops"), "d": identity("other")["d"]})


def test_an_entry_that_cannot_be_decoded() -> None:
    """An identity, asked by itself, refuses what is no base64url, as it refuses all that does not unwrap."""
    envelope = Sealer({"ops": recipient("ops")}).seal_bytes(b"x", kid="k", set_name="s")
    entry: WrappedKey = msgspec.structs.replace(envelope.recipients[0], encrypted_key="*")
    with pytest.raises(EnvelopeError, match=r"^envelope member 'encrypted_key' is not base64url$"):
        JWKIdentity(identity("ops")).unwrap(entry)


# --- files ----------------------------------------------------------------------------------------------


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    """Set the umask; the old one is put back."""
    old = os.umask(0o022)
    os.umask(old)
    yield os.umask
    os.umask(old)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777])
def test_an_identity_file_is_its_owners_alone(mask: int, umask: Callable[[int], int], tmp_path: Path) -> None:
    """0600 whatever the umask; a folder that has to be made is 0700."""
    path = tmp_path / ("made" if mask != 0o777 else "") / "identity.jwk"
    umask(mask)
    write_private_file(path, b"secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    if mask != 0o777:
        assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0
    assert path.read_bytes() == b"secret"


def test_an_identity_is_never_overwritten(tmp_path: Path) -> None:
    """A file that is there stays as it is."""
    path = tmp_path / "identity.jwk"
    path.write_bytes(b"the only copy")
    with pytest.raises(
        UsageError, match=r"identity\.jwk exists already: a private key is never overwritten$"
    ) as caught:
        write_private_file(path, b"secret")
    assert caught.value.hint == "name another file"
    assert path.read_bytes() == b"the only copy"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A link that somebody laid does not get the secret, whether its end exists or not."""
    elsewhere, link = tmp_path / "elsewhere", tmp_path / "identity.jwk"
    link.symlink_to(elsewhere)
    with pytest.raises(UsageError, match="exists already"):
        write_private_file(link, b"secret")
    assert not elsewhere.exists()


def test_a_file_that_cannot_be_made(tmp_path: Path) -> None:
    """The system's reason is passed on."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match=r"cannot be written: (Not a directory|File exists)$|exists already"):
        write_private_file(tmp_path / "file" / "identity.jwk", b"secret")
    with pytest.raises(UsageError, match=r"cannot be written: File name too long$"):
        write_private_file(tmp_path / ("x" * 300), b"secret")


def test_a_system_without_fchmod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere the mode of creation has to do."""
    monkeypatch.delattr(os, "fchmod")
    write_private_file(tmp_path / "identity.jwk", b"secret")
    assert (tmp_path / "identity.jwk").read_bytes() == b"secret"


def test_a_file_is_a_place(tmp_path: Path) -> None:
    """It has to be there: it was named."""
    path = tmp_path / "identity.jwk"
    path.write_bytes(document())
    place = file_source(path, label="--identity")
    assert place.where == f"--identity {path}"
    assert Keyring([place]).find(["ops"]).kid == "ops"
    missing = file_source(tmp_path / "missing", label="--identity")
    with pytest.raises(IdentityError, match=r"^identity file .*missing cannot be read: No such file or directory$"):
        Keyring([missing]).find(["ops"])


def test_a_folder_is_a_place(tmp_path: Path) -> None:
    """Every *.json of it, by name; a folder that is not there holds nothing."""
    for name in ("b.json", "a.json", "c.txt"):
        (tmp_path / name).write_bytes(document(name[0]))
    place = folder_source(tmp_path)
    assert [kid for kid, _, _ in Keyring([place]).kids()] == ["a", "b"]
    assert list(folder_source(tmp_path / "missing").read()) == []


def test_a_variable_is_a_place() -> None:
    """Whatever bytes the environment holds."""
    assert list(Keyring([text_source("KEYVAULT_IDENTITY", document().decode())]).kids()) == [
        ("ops", "KEYVAULT_IDENTITY", False)
    ]
    with pytest.raises(IdentityError, match=r"\(KEYVAULT_IDENTITY: not an identity: not JSON\)$"):
        Keyring([text_source("KEYVAULT_IDENTITY", "\udcff")]).find(["ops"])


def test_a_place_that_is_no_file(tmp_path: Path) -> None:
    """Folders and devices are not read."""
    with pytest.raises(IdentityError, match=r"cannot be read: Is a directory$"):
        read_identity_file(tmp_path)
    with pytest.raises(IdentityError, match=r"^/dev/null is not a file$"):
        read_identity_file(Path("/dev/null"))


def test_a_pipe_is_read(tmp_path: Path) -> None:
    """`--identity <(pass show keyvault)` works, without a file on disk."""
    reader, writer = os.pipe()
    os.write(writer, document())
    os.close(writer)
    assert read_identity_file(Path(f"/dev/fd/{reader}")) == document()
    os.close(reader)


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    """One byte more than the bound is enough to refuse it."""
    (tmp_path / "huge").write_bytes(b" " * (IDENTITY_MAX * 10))
    data = read_identity_file(tmp_path / "huge")
    assert len(data) == IDENTITY_MAX + 1
    with pytest.raises(JWKError, match="is too large"):
        identity_documents(data)


def test_a_plain_document_opens_without_a_passphrase() -> None:
    """Only its text members are a JWK."""
    plain = IdentityDocument("ops", encrypted=False, content={**identity("ops"), "ext": True, "key_ops": ["x"]})
    assert identity("ops") == plain.open(refuse_to_answer)
