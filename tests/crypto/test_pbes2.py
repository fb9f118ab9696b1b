"""JWE under a password: compatible with other programs in both directions, without changing settings of jwcrypto."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jwcrypto import jwa
from jwcrypto.jwe import JWE
from jwcrypto.jwk import JWK

from keyvault.core.jwk import b64u
from keyvault.crypto.identities import new_identity
from keyvault.crypto.identity_file import PBES2_ITERATIONS, encrypt_identity, identity_documents
from keyvault.crypto.imports import read_keys
from keyvault.crypto.pbes2 import ALGORITHMS, PasswordJWE, encrypt_with_password

PASSWORD = "pässwörd of the file".encode()
CONTENT = ("A128GCM", "A192GCM", "A256GCM", "A128CBC-HS256", "A192CBC-HS384", "A256CBC-HS512")


def by_jwcrypto(plaintext: bytes, header: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return *plaintext* under PASSWORD, as jwcrypto writes it."""
    token = JWE(plaintext, protected=json.dumps(header), **more)
    token.add_recipient(JWK(kty="oct", k=b64u(PASSWORD)))
    document: dict[str, Any] = json.loads(token.serialize())
    return document


def general(document: dict[str, Any]) -> dict[str, Any]:
    """Return a flattened JWE in the general form."""
    recipient = {name: document[name] for name in ("encrypted_key", "header") if name in document}
    return {name: value for name, value in document.items() if name not in recipient} | {"recipients": [recipient]}


@pytest.mark.parametrize("enc", CONTENT)
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_jwe_of_another_program(alg: str, enc: str) -> None:
    """With each algorithm, flattened and general, with additional data, and only with the right password."""
    document = by_jwcrypto(b"a key", {"alg": alg, "enc": enc}, aad=b"more")
    for form in (document, general(document)):
        assert PasswordJWE.parse(form).decrypt(PASSWORD) == b"a key"
        with pytest.raises(ValueError, match="wrong password"):
            PasswordJWE.parse(form).decrypt(PASSWORD + b"x")


@pytest.mark.parametrize("enc", CONTENT)
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_another_program_decrypts_our_jwe(alg: str, enc: str) -> None:
    """The output is a standard JWE."""
    token = JWE(algs=[alg, enc])
    token.deserialize(
        json.dumps(encrypt_with_password(b"a key", PASSWORD, {"alg": alg, "enc": enc, "p2c": 1000})),
        JWK(kty="oct", k=b64u(PASSWORD)),
    )
    assert token.payload == b"a key"


def test_the_example_of_rfc_7520(vectors: Path) -> None:
    """Section 5.3: a set of keys under a pass phrase."""
    path = vectors / "rfc7520" / "jwe" / "5_3.key_wrap_using_pbes2-aes-keywrap_with-aes-cbc-hmac-sha2.json"
    example = json.loads(path.read_bytes())
    password, plaintext = example["input"]["pwd"].encode(), example["input"]["plaintext"].encode()
    for form in ("json", "json_flat"):
        assert PasswordJWE.parse(example["output"][form]).decrypt(password) == plaintext


HEADER: dict[str, Any] = {"alg": "PBES2-HS512+A256KW", "enc": "A256GCM", "p2c": 1000, "p2s": b64u(bytes(8))}


def document(protected_header: object = HEADER, **members: Any) -> dict[str, Any]:
    return {
        "protected": b64u(json.dumps(protected_header).encode()),
        "encrypted_key": "AA",
        "iv": "AA",
        "ciphertext": "AA",
        "tag": "AA",
    } | members


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        document(protected=7),
        document(protected="*"),
        document(protected="AAAA"),
        document([]),
        document({}),
        document(HEADER | {"alg": "dir"}),
        document(HEADER | {"alg": ["PBES2-HS512+A256KW"]}),
        document(HEADER | {"enc": "A256KW"}),
        document(HEADER | {"enc": None}),
        document(HEADER | {"zip": "DEF"}),
        document(HEADER | {"crit": ["x"]}),
        document(HEADER, header={"p2c": 1}),
        document(HEADER, unprotected=[]),
        *(document(HEADER | {"p2c": rounds}) for rounds in (0, -1, 1.5, True, "1000", None)),
        document(recipients=[]),
        document(recipients=[{"encrypted_key": "AA"}]),
        general(document()) | {"recipients": [{"encrypted_key": "AA"}, {"encrypted_key": "AA"}]},
        general(document()) | {"recipients": [7]},
    ],
    ids=str,
)
def test_other_documents_are_refused(wrong: dict[str, Any]) -> None:
    """Malformed documents, and those that need more than a password, are refused before the key derivation."""
    with pytest.raises(ValueError, match=r"^[a-z]"):
        PasswordJWE.parse(wrong)


@pytest.mark.parametrize("member", ["encrypted_key", "iv", "ciphertext", "tag"])
def test_a_missing_member_does_not_open(member: str) -> None:
    """A missing or damaged member has the error of a wrong password."""
    whole = encrypt_with_password(b"a key", PASSWORD, {"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 1})
    for changed in ({}, {member: ""}, {member: "*"}, {member: "AAAA"}):
        cut = {name: value for name, value in whole.items() if name != member} | changed
        with pytest.raises(ValueError, match="wrong password"):
            PasswordJWE.parse(cut).decrypt(PASSWORD)


def test_a_short_salt_does_not_open() -> None:
    """RFC 7518 section 4.8.1.1 asks for eight octets."""
    with pytest.raises(ValueError, match="wrong password"):
        PasswordJWE.parse(document(HEADER | {"p2s": b64u(bytes(7))})).decrypt(PASSWORD)


def test_the_settings_of_jwcrypto_stay_as_they_are() -> None:
    """A program that limits the work of its own JWEs keeps that limit when an identity or a key was opened."""
    before = {name: getattr(jwa, name) for name in dir(jwa) if name.startswith("default_")}
    identity = new_identity("ops")
    (locked,) = identity_documents(encrypt_identity(identity, "correct horse"))
    assert locked.open(lambda kid: "correct horse") == identity
    key = {name: value for name, value in identity.items() if name not in ("alg", "use")}
    header = {"alg": "PBES2-HS256+A128KW", "enc": "A256GCM", "p2c": PBES2_ITERATIONS}
    sealed = json.dumps(encrypt_with_password(json.dumps(key).encode(), PASSWORD, header)).encode()
    assert [found.kid for found in read_keys(sealed, lambda: PASSWORD)] == ["ops"]

    assert "default_max_pbkdf2_iterations" in before
    assert {name: getattr(jwa, name) for name in before} == before
