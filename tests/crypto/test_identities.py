"""Identities: the sources that a keyring searches, passphrases, and files that only their owner can read."""

from __future__ import annotations

import json
import os
import re
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
from tests.errors import fails

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


def test_sources_are_searched_in_order() -> None:
    """The first identity that can open wins, whatever the order of the recipients."""
    ring = Keyring([source("a", document("one")), source("b", document("two"), document("ops"))])
    assert ring.find(["ops", "two"]).kid == "two"
    assert ring.find(["ops"]).kid == "ops"
    assert ring.find(["ops", "one"]).kid == "ops"  # already in memory


def test_a_source_is_read_once_and_only_when_needed() -> None:
    """Later sources are not read while an earlier source has the identity."""
    read: list[str] = []

    def place(name: str, *kids: str) -> Source:
        return Source(name, lambda: read.append(name) or [(kid, document(kid)) for kid in kids])

    ring = Keyring([place("a", "one"), place("b", "two")])
    ring.find(["one"])
    assert read == ["a"]
    ring.find(["two"])
    ring.find(["two"])
    assert read == ["a", "b"]


def test_the_error_lists_the_sources_and_the_recipients() -> None:
    """The message names the sources and the problems in them; the hint names the identities that could open."""
    ring = Keyring([source("--identity FILE"), source("KEYVAULT_IDENTITY", b"nonsense", document("stranger"))])
    with fails("identity-missing", IdentityError) as caught:
        ring.find(["ops", "laptop"])
    assert caught.value.message == (
        "no identity opens the key: searched --identity FILE; KEYVAULT_IDENTITY "
        "(KEYVAULT_IDENTITY/0: not an identity: invalid JSON)"
    )
    assert "ops, laptop" in (caught.value.hint or "")


def test_the_error_of_an_empty_keyring() -> None:
    """There are no sources and no recipients."""
    with fails("identity-missing", IdentityError) as caught:
        Keyring().find([])
    assert caught.value.message.endswith("searched nothing")
    assert "no recipient" in (caught.value.hint or "")


def test_one_bad_document_does_not_hide_the_others() -> None:
    """A malformed and a weak identity are skipped."""
    weak = msgspec.json.encode({**identity("ops"), "d": identity("other")["d"]})
    ring = Keyring([source("a", b"[]", weak, document("ops"))])
    assert ring.find(["ops"]).kid == "ops"


def test_a_jwk_set_holds_the_old_and_the_new_identity() -> None:
    """While identities change, one source has both."""
    both = msgspec.json.encode({"keys": [identity("old"), identity("new")]})
    ring = Keyring([source("KEYVAULT_IDENTITY", both)])
    assert [ring.find([kid]).kid for kid in ("new", "old")] == ["new", "old"]
    assert list(ring.kids()) == [
        ("old", "KEYVAULT_IDENTITY/0", False),
        ("new", "KEYVAULT_IDENTITY/0", False),
    ]


def test_listing_opens_nothing(encrypted: bytes) -> None:
    """Kids and places are listed without a passphrase; other documents are skipped."""
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
    """Decryption returns the original identity."""
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
    ("answer", "code", "hint"),
    [
        (None, "passphrase-missing", "set KEYVAULT_PASSPHRASE"),
        ("", "passphrase-wrong", "check KEYVAULT_PASSPHRASE"),
        ("Correct horse battery staple", "passphrase-wrong", "check KEYVAULT_PASSPHRASE"),
        ("\udcff\ud800", "passphrase-wrong", "check KEYVAULT_PASSPHRASE"),
    ],
)
def test_a_passphrase_that_is_missing_or_wrong(encrypted: bytes, answer: str | None, code: str, hint: str) -> None:
    """The two have different codes, the message names the identity, and the hint the variable."""
    (locked,) = identity_documents(encrypted)
    with fails(code, IdentityError) as caught:
        locked.open(lambda kid: answer)
    assert "identity ops" in caught.value.message
    assert hint == caught.value.hint


@pytest.mark.parametrize("passphrase", ["", "1234567"])
def test_a_passphrase_has_eight_characters(passphrase: str) -> None:
    """Seven are too few."""
    with fails("passphrase-too-short", UsageError):
        encrypt_identity(identity("ops"), passphrase)


@pytest.mark.parametrize("passphrase", ["12345678", "pässwörd ☃ 密码", "raw \udcff byte of an environment"])
def test_any_text_can_be_a_passphrase(passphrase: str) -> None:
    """Eight characters are enough, and every character counts."""
    (locked,) = identity_documents(encrypt_identity(identity("ops"), passphrase))
    assert identity("ops") == locked.open(lambda kid: passphrase)


def test_a_passphrase_is_asked_only_for_an_identity_that_helps(encrypted: bytes) -> None:
    """The keyring does not ask for the passphrase of an identity that is not a recipient, or not needed."""
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


@pytest.mark.parametrize(
    ("header", "code", "named"),
    [
        ({"alg": "PBES2-HS256+A128KW"}, "identity-encryption-unsupported", "'PBES2-HS256+A128KW' and enc 'A256GCM'"),
        ({"alg": "dir"}, "identity-encryption-unsupported", "alg 'dir' and enc 'A256GCM'"),
        ({"enc": "A128CBC-HS256"}, "identity-encryption-unsupported", "enc 'A128CBC-HS256'"),
        ({"enc": ["A256GCM"]}, "identity-encryption-unsupported", "enc ['A256GCM']"),
        *(
            ({"p2c": count}, "identity-encryption-unsupported", f"p2c {count!r}; it must be 600000 to 10000000")
            for count in (0, -1, 1, 599_999, 10_000_001, 2**31, 600_000.0, "600000", True, [])
        ),
        ({"p2c": None}, "encrypted-identity-malformed", "protected header"),
        ({"p2s": None}, "encrypted-identity-malformed", "protected header"),
        ({"kid": None}, "encrypted-identity-malformed", "protected header"),
        ({"zip": "DEF"}, "encrypted-identity-malformed", "protected header"),
        ({"crit": ["exp"]}, "encrypted-identity-malformed", "protected header"),
        ({"kid": "a b"}, "recipient-kid-invalid", "'a b'"),
        ({"kid": 7}, "recipient-kid-invalid", "7"),
    ],
)
def test_headers_that_are_refused(encrypted: bytes, header: dict[str, Any], code: str, named: str) -> None:
    """Too few iterations do not protect, and too many are an attack: the check precedes the key derivation."""
    with fails(code, JWKError) as caught:
        identity_documents(relabelled(encrypted, **header))
    assert named in caught.value.message


@pytest.mark.parametrize("rounds", [PBES2_ITERATIONS, PBES2_ITERATIONS_MAX])
def test_the_bounds_of_the_iterations(encrypted: bytes, rounds: int) -> None:
    """Both bounds are allowed."""
    assert identity_documents(relabelled(encrypted, p2c=rounds))[0].kid == "ops"


PLAIN = "identity-malformed"
ENCRYPTED = "encrypted-identity-malformed"


@pytest.mark.parametrize(
    ("data", "code", "named"),
    [
        (b"", PLAIN, "JSON"),
        (b"\xff\xfe{}", PLAIN, "JSON"),
        (b"[" * 60_000, PLAIN, "JSON"),
        (b'{"kty": NaN}', PLAIN, "JSON"),
        (b"[]", PLAIN, "JSON object"),
        (b'"jwk"', PLAIN, "JSON object"),
        (b"{}", PLAIN, "private JWK"),
        (b'{"keys": {}}', PLAIN, "'keys'"),
        (b'{"keys": [7]}', PLAIN, "private JWK"),
        (b'{"keys": [{"kty": "EC"}]}', PLAIN, "private JWK"),
        (b'{"d": "AA"}', "recipient-kid-invalid", "None"),
        (b'{"d": "AA", "kid": "ops"}', PLAIN, "identity ops has no alg"),
        (b'{"d": "AA", "kid": "ops", "alg": 7}', PLAIN, "identity ops has no alg"),
        (b'{"d": "AA", "kid": "ops", "alg": "x"}', "kty-unknown", "None"),
        (b'{"d": "AA", "kid": "ops", "alg": "x", "kty": "EC"}', "member-missing", "'crv'"),
        (b'{"protected": "e30"}', ENCRYPTED, "protected, encrypted_key, iv, ciphertext and tag"),
        (
            b'{"protected": "e30", "encrypted_key": "", "iv": "", "ciphertext": "", "tag": "", "recipients": []}',
            ENCRYPTED,
            "protected, encrypted_key, iv, ciphertext and tag",
        ),
        (
            b'{"protected": "e30", "encrypted_key": 7, "iv": "", "ciphertext": "", "tag": ""}',
            ENCRYPTED,
            "a member is not a string",
        ),
        (
            b'{"protected": "*", "encrypted_key": "", "iv": "", "ciphertext": "", "tag": ""}',
            "base64url-invalid",
            "'protected'",
        ),
        (
            b'{"protected": "AAAA", "encrypted_key": "", "iv": "", "ciphertext": "", "tag": ""}',
            ENCRYPTED,
            "protected header is not JSON",
        ),
        (
            b'{"protected": "W10", "encrypted_key": "", "iv": "", "ciphertext": "", "tag": ""}',
            ENCRYPTED,
            "members of its protected header",
        ),
        (b" " * (IDENTITY_MAX + 1), "identity-too-large", "65537 bytes is too large; the limit is 65536"),
    ],
)
def test_documents_that_are_not_identities(data: bytes, code: str, named: str) -> None:
    """The message is one line that says what is wrong, and quotes nothing of the document."""
    with fails(code, JWKError) as caught:
        identity_documents(data)
    assert named in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("member", ["encrypted_key", "iv", "ciphertext", "tag"])
@pytest.mark.parametrize("value", ["", "AA", "*", "é", "A" * 200])
def test_an_encrypted_identity_that_was_changed(encrypted: bytes, member: str, value: str) -> None:
    """It does not open, with the error of a wrong passphrase."""
    (locked,) = identity_documents(json.dumps({**json.loads(encrypted), member: value}).encode())
    with fails("passphrase-wrong", IdentityError):
        locked.open(lambda kid: PASSPHRASE)


@pytest.mark.parametrize("header", [{"p2s": 7}, {"p2s": []}, {"p2s": "*"}, {"p2s": "AA"}, {"cty": 7}, {"kid": "other"}])
def test_a_header_that_was_changed(encrypted: bytes, header: dict[str, Any]) -> None:
    """The header is covered by the tag."""
    (locked,) = identity_documents(relabelled(encrypted, **header))
    with fails("passphrase-wrong", IdentityError):
        locked.open(lambda kid: PASSPHRASE)


def encrypted_by_jwcrypto(plaintext: object) -> bytes:
    """Return *plaintext* under PASSPHRASE, as another tool would write it for the identity `ops`."""
    header = {
        "alg": PBES2,
        "cty": "jwk+json",
        "enc": "A256GCM",
        "kid": "ops",
        "p2c": PBES2_ITERATIONS,
        "p2s": "c2FsdHNhbHQ",
    }
    token = JWE(json.dumps(plaintext).encode(), protected=json.dumps(header))
    with pytest.MonkeyPatch.context() as patch:  # jwcrypto limits the iterations
        patch.setattr(jwa, "default_max_pbkdf2_iterations", PBES2_ITERATIONS)
        token.add_recipient(JWK(kty="oct", k=b64u(PASSPHRASE.encode())))
    return token.serialize(compact=False).encode()


@pytest.mark.parametrize(
    ("plaintext", "code"),
    [
        (identity("laptop"), "identity-mismatch"),
        ({"kid": "ops"}, "identity-malformed"),
        ({"kid": "ops", "d": "AA"}, "identity-malformed"),
        ({"kid": "ops", "d": "AA", "alg": "RSA-OAEP-256"}, "kty-unknown"),
        ({"kid": "ops", "d": 7}, "passphrase-wrong"),
        ([], "passphrase-wrong"),
    ],
)
def test_the_plaintext_has_to_be_the_identity(plaintext: object, code: str) -> None:
    """Other tools write such files too: the plaintext is checked like any document, and the keyring quotes the error."""
    data = encrypted_by_jwcrypto(plaintext)
    (document,) = identity_documents(data)
    with fails(code) as caught:
        document.open(lambda kid: PASSPHRASE)
    ring = Keyring([source("a", data)], ask=lambda kid: PASSPHRASE)
    with fails("identity-missing", IdentityError) as missing:
        ring.find(["ops"])
    assert missing.value.message.endswith(f"searched a (a/0: {caught.value.message})")


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
    """Its kid is a given label or comes from its thumbprint, and its recipient has no private member."""
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
    """Labels and key URIs are kids."""
    assert new_identity("ops-2026")["kid"] == "ops-2026"
    with fails("recipient-kid-invalid", JWKError):
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
def test_valid_recipient_kids(label: str) -> None:
    """Printable ASCII without the special characters of shells and pages."""
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
def test_invalid_recipient_kids(label: object) -> None:
    """Blanks, quotes, markup, escapes, other alphabets and types; the message shows at most 80 characters."""
    with fails("recipient-kid-invalid", JWKError) as caught:
        check_recipient_kid(label)
    assert re.search(r"^invalid recipient kid .{1,80}$", caught.value.message)
    assert "ops-2026" in (caught.value.hint or "")


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
    ("jwk", "code", "named"),
    [
        (private("HS256"), "recipient-symmetric", ""),
        (private("ES256"), "recipient-alg-unsupported", "'sig'"),
        ({**identity("ops"), "kid": "a b"}, "recipient-kid-invalid", "'a b'"),
        ({**identity("ops"), "alg": ["x"]}, "recipient-alg-unsupported", "'ops' has use 'enc' and alg \"['x']\""),
        ({"kty": "EC"}, "member-missing", "'crv'"),
        ({}, "kty-unknown", "None"),
    ],
)
def test_keys_that_cannot_be_recipients(jwk: dict[str, Any], code: str, named: str) -> None:
    """Keys for signing, symmetric keys, and malformed keys."""
    with fails(code, JWKError) as caught:
        recipient_of(jwk)
    assert named in caught.value.message


def test_an_identity_whose_halves_do_not_match() -> None:
    """It is refused when it is loaded, not when it is used."""
    with fails("key-halves-mismatch", JWKError):
        JWKIdentity({**identity("ops"), "d": identity("other")["d"]})


def test_an_entry_that_cannot_be_decoded() -> None:
    """An identity refuses an encrypted key that is not base64url."""
    envelope = Sealer({"ops": recipient("ops")}).seal_bytes(b"x", kid="k", set_name="s")
    entry: WrappedKey = msgspec.structs.replace(envelope.recipients[0], encrypted_key="*")
    with fails("base64url-invalid", EnvelopeError) as caught:
        JWKIdentity(identity("ops")).unwrap(entry)
    assert "'encrypted_key'" in caught.value.message


# --- files ----------------------------------------------------------------------------------------------


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    """Set the umask; restore it afterwards."""
    old = os.umask(0o022)
    os.umask(old)
    yield os.umask
    os.umask(old)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777])
def test_an_identity_file_is_its_owners_alone(mask: int, umask: Callable[[int], int], tmp_path: Path) -> None:
    """0600 whatever the umask; a created folder is 0700."""
    path = tmp_path / ("created" if mask != 0o777 else "") / "identity.jwk"
    umask(mask)
    write_private_file(path, b"secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    if mask != 0o777:
        assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0
    assert path.read_bytes() == b"secret"


def test_an_identity_is_never_overwritten(tmp_path: Path) -> None:
    """An existing file stays as it is."""
    path = tmp_path / "identity.jwk"
    path.write_bytes(b"the only copy")
    with fails("file-exists", UsageError) as caught:
        write_private_file(path, b"secret")
    assert str(path) in caught.value.message
    assert path.read_bytes() == b"the only copy"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """The secret is not written through a link, even if the link is dangling."""
    elsewhere, link = tmp_path / "elsewhere", tmp_path / "identity.jwk"
    link.symlink_to(elsewhere)
    with fails("file-exists", UsageError):
        write_private_file(link, b"secret")
    assert not elsewhere.exists()


def test_a_file_that_cannot_be_created(tmp_path: Path) -> None:
    """The message has the system's reason."""
    (tmp_path / "file").write_bytes(b"")
    with fails("file-unwritable", UsageError) as caught:
        write_private_file(tmp_path / "file" / "identity.jwk", b"secret")
    assert caught.value.message.endswith(": Not a directory")
    with fails("file-unwritable", UsageError) as caught:
        write_private_file(tmp_path / ("x" * 300), b"secret")
    assert caught.value.message.endswith(": File name too long")


def test_a_system_without_fchmod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere, the file's creation sets its mode."""
    monkeypatch.delattr(os, "fchmod")
    write_private_file(tmp_path / "identity.jwk", b"secret")
    assert (tmp_path / "identity.jwk").read_bytes() == b"secret"


def test_a_file_is_a_source(tmp_path: Path) -> None:
    """It must exist, because the user named it."""
    path = tmp_path / "identity.jwk"
    path.write_bytes(document())
    place = file_source(path, label="--identity")
    assert place.where == f"--identity {path}"
    assert Keyring([place]).find(["ops"]).kid == "ops"
    missing = file_source(tmp_path / "missing", label="--identity")
    with fails("file-unreadable", IdentityError) as caught:
        Keyring([missing]).find(["ops"])
    assert re.search(r"/missing .*: No such file or directory$", caught.value.message)


def test_a_folder_is_a_source(tmp_path: Path) -> None:
    """Every *.json of it, by name; a missing folder is empty."""
    for name in ("b.json", "a.json", "c.txt"):
        (tmp_path / name).write_bytes(document(name[0]))
    place = folder_source(tmp_path)
    assert [kid for kid, _, _ in Keyring([place]).kids()] == ["a", "b"]
    assert list(folder_source(tmp_path / "missing").read()) == []


def test_a_variable_is_a_source() -> None:
    """Whatever bytes the environment has."""
    assert list(Keyring([text_source("KEYVAULT_IDENTITY", document().decode())]).kids()) == [
        ("ops", "KEYVAULT_IDENTITY", False)
    ]
    with fails("identity-missing", IdentityError) as caught:
        Keyring([text_source("KEYVAULT_IDENTITY", "\udcff")]).find(["ops"])
    assert caught.value.message.endswith("(KEYVAULT_IDENTITY: not an identity: invalid JSON)")


def test_a_path_that_is_not_a_file(tmp_path: Path) -> None:
    """Folders and devices are not read."""
    with fails("file-unreadable", IdentityError) as caught:
        read_identity_file(tmp_path)
    assert caught.value.message.endswith(": Is a directory")
    with fails("file-not-regular", IdentityError) as caught:
        read_identity_file(Path("/dev/null"))
    assert "/dev/null" in caught.value.message


def test_a_pipe_is_read(tmp_path: Path) -> None:
    """`--identity <(pass show keyvault)` works, without a file on disk."""
    reader, writer = os.pipe()
    os.write(writer, document())
    os.close(writer)
    assert read_identity_file(Path(f"/dev/fd/{reader}")) == document()
    os.close(reader)


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    """One byte above the limit is enough to refuse it."""
    (tmp_path / "huge").write_bytes(b" " * (IDENTITY_MAX * 10))
    data = read_identity_file(tmp_path / "huge")
    assert len(data) == IDENTITY_MAX + 1
    with fails("identity-too-large", JWKError):
        identity_documents(data)


def test_a_plain_document_opens_without_a_passphrase() -> None:
    """Only its string members are members of the JWK."""
    plain = IdentityDocument("ops", encrypted=False, content={**identity("ops"), "ext": True, "key_ops": ["x"]})
    assert identity("ops") == plain.open(refuse_to_answer)
