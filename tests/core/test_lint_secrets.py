"""Lint reveals no private key: it finds private keys in every place of a document and every encoding, and shows none."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from keyvault.core.algorithms import key_spec
from keyvault.core.labels import OPAQUE_MAX, few, is_label, json_type, shown
from keyvault.core.lint.consumers import CONSUMERS, find_consumers
from keyvault.core.lint.documents import Source, lint_discovery, lint_jwk_set
from keyvault.core.lint.rules import Finding
from keyvault.core.lint.transport import Response
from keyvault.crypto.generate import generate
from tests.cli.canaries import forms, members
from tests.core.lint_cases import ISSUER, document, jwk, private, sound

ALGS = ("RS256", "ES256", "ES512", "EdDSA", "Ed448", "HS256", "ML-DSA-44")
CANARIES: dict[str, dict[str, Any]] = {
    alg: {**key, "kid": "own", "use": "sig"} for alg in ALGS for key in [generate(key_spec(alg))]
}
#: Every stretch of so many characters of a private value, in any form, is one that no message has.
STRETCH = 10


def stretches(key: dict[str, Any]) -> set[str]:
    """Return all stretches of all forms of the private members of *key*."""
    texts = [form.decode() for secret in members(key).values() for form in forms(secret) if form.isascii()]
    return {text[at : at + STRETCH] for text in texts for at in range(len(text) - STRETCH + 1)}


STRETCHES = {alg: stretches(key) for alg, key in CANARIES.items()}


def said(findings: list[Finding]) -> str:
    """Return all that *findings* say."""
    return "\n".join(
        text
        for finding in findings
        for text in (finding.code, finding.message, finding.where, finding.document, *finding.hurts)
    )


def leaks(alg: str, text: str) -> set[str]:
    """Return the parts of the canary *alg* that *text* contains."""
    return {text[at : at + STRETCH] for at in range(len(text) - STRETCH + 1)} & STRETCHES[alg]


def value(alg: str) -> str:
    """Return the private member of *alg* that says it all."""
    key = CANARIES[alg]
    return str(next(key[name] for name in ("d", "k", "priv") if name in key))


def pem(_: dict[str, Any]) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = private("P-256", "own")
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


#: From a private JWK to the bytes of a document that contains it.
DOCUMENTS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "a key of the set": lambda key: document(key),
    "a key alone": lambda key: json.dumps(key).encode(),
    "keys without an array": lambda key: json.dumps({"keys": key}).encode(),
    "in a string": lambda key: json.dumps(json.dumps(key)).encode(),
    "in a string in a string": lambda key: json.dumps(json.dumps(json.dumps(key))).encode(),
    "a set in a string": lambda key: json.dumps(document(key).decode()).encode(),
    "keys in a string": lambda key: json.dumps({"keys": json.dumps([key])}).encode(),
    "among keys in a string": lambda key: document(json.dumps(key)),
    "in Base64": lambda key: json.dumps(base64_of(json.dumps(key))).encode(),
    "in Base64 among keys": lambda key: document(base64_of(json.dumps(key))),
    "in an array": lambda key: json.dumps([key]).encode(),
    "in arrays": lambda key: json.dumps([[[key]]]).encode(),
    "in an array of strings": lambda key: json.dumps([json.dumps(key)]).encode(),
    "a member of a key": lambda key: document(jwk(private("RSA", "own"), jwk=key)),
    "a string of a key": lambda key: document(jwk(private("RSA", "own"), note=json.dumps(key))),
    "beside keys": lambda key: document(private=key),
    "a string beside keys": lambda key: document(note=json.dumps(key)),
    "the name of a member": lambda key: document(**{json.dumps(key): 1}),
    "the name of a member of a key": lambda key: document(jwk(private("RSA", "own"), **{json.dumps(key): 1})),
    "the name of a member that comes twice": lambda key: (
        b'{"keys": [], ' + 2 * (json.dumps(json.dumps(key)).encode() + b": 1, ") + b'"a": 1}'
    ),
    "a member that comes twice": lambda key: b'{"keys": [' + json.dumps(key).encode() + b'], "keys": []}',
    "a key in quotes of YAML": lambda key: ("jwk: '" + json.dumps(key) + "'").encode(),
    "half a document": lambda key: document(key)[:-3],
    "with a byte order mark": lambda key: b"\xef\xbb\xbf" + document(key),
    "in UTF-16": lambda key: document(key).decode().encode("utf-16"),
    "in UTF-16 without a mark": lambda key: json.dumps(json.dumps(key)).encode("utf-16-le"),
    "kid is the key": lambda key: document(jwk(private("RSA", "own"), kid=json.dumps(key))),
    "alg is the key": lambda key: document(jwk(private("RSA", "own"), alg=json.dumps(key))),
    "use is the key as an object": lambda key: document(jwk(private("RSA", "own"), use=key)),
}


@pytest.mark.parametrize("alg", ALGS)
@pytest.mark.parametrize("place", DOCUMENTS)
def test_a_private_key_is_found_and_not_shown(place: str, alg: str) -> None:
    """In every place, of every type, by lint of sets and of discovery documents."""
    data = DOCUMENTS[place](CANARIES[alg])
    everybody = find_consumers(CONSUMERS)

    for findings in (
        lint_jwk_set(Source("it", data), everybody),
        lint_discovery(Source("it", data, f"{ISSUER}/.well-known/openid-configuration"), None, everybody),
    ):
        assert {"private-key", "symmetric-key"} & {finding.code for finding in findings}
        assert leaks(alg, said(findings)) == set()


@pytest.mark.parametrize("wrap", [str, json.dumps, base64_of, lambda text: json.dumps(json.dumps(text))])
def test_pem_is_found(wrap: Callable[[str], str]) -> None:
    """As guard finds it: alone, escaped, in Base64."""
    text = pem({})
    for data in (wrap(text).encode(), document(note=wrap(text)), document(jwk(private("RSA", "own"), kid=wrap(text)))):
        findings = lint_jwk_set(Source("it", data))
        assert "private-key" in {finding.code for finding in findings}
        assert not any(line in said(findings) for line in text.splitlines())


#: Members of a key, and of a discovery document, whose text a message may show.
_KEY_MEMBERS = ("kty", "kid", "use", "alg", "crv", "x", "y", "n", "e", "key_ops", "nbf", "exp", "revoked")
_MORE_KEY_MEMBERS = ("x5c", "x5t", "x5t#S256", "x5u", "jku")
_DISCOVERY_MEMBERS = (
    *("issuer", "jwks_uri", "authorization_endpoint", "subject_types_supported"),
    *("response_types_supported", "id_token_signing_alg_values_supported"),
)


def values(text: str) -> Iterator[Any]:
    """Yield a private value as strangers put it into a member."""
    octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    yield from (text, [text], {text: text}, octets.hex(), octets.hex().upper(), base64.b64encode(octets).decode())
    yield from (f"https://issuer.example/{text}", f"https://{octets[:30].hex()}.example/", f"urn:{text}#{text}")
    yield from (
        str(list(octets)),
        str(int.from_bytes(octets, "big")),
        f"RS256 {text}",
        octets.hex(":"),
        octets.hex("-", 4),
    )


@pytest.mark.parametrize(
    "alg",
    [alg if alg in ("ES256", "HS256", "ML-DSA-44") else pytest.param(alg, marks=pytest.mark.slow) for alg in ALGS],
)
def test_a_private_value_is_not_shown(alg: str) -> None:
    """A bare value looks like any other text, so it gives no finding; but no message contains it."""
    url = f"{ISSUER}/.well-known/openid-configuration"
    everybody = find_consumers(CONSUMERS)
    for one in values(value(alg)):
        for name in (*_KEY_MEMBERS, *_MORE_KEY_MEMBERS):
            rsa, ec = (jwk(private(other, "own"), **{name: one}) for other in ("RSA", "P-256"))
            # Each key twice: some findings compare the keys of a set.
            data = document(rsa, rsa, ec, ec, jwk(private("RSA", "own"), kid="b"))
            assert leaks(alg, said(lint_jwk_set(Source("it", data), everybody))) == set(), (name, one)
        for name in _DISCOVERY_MEMBERS:
            data = json.dumps({"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys", name: one}).encode()
            assert leaks(alg, said(lint_discovery(Source("it", data, url), sound(), everybody))) == set(), (name, one)
        if isinstance(one, str):
            headers = {"content-type": one, "cache-control": one, "content-encoding": one}
            sent = Source("it", document(), url, Response(200, headers, redirects=(one,)))
            assert leaks(alg, said(lint_jwk_set(sent))) == set(), one


@pytest.mark.parametrize(
    "text",
    [
        *("", "own", "RS256", "ECDH-ES+A256KW", "PBES2-HS256+A128KW", "https://issuer.example/.well-known/jwks.json"),
        *("did:web:issuer.example#key-1", "production-signing-key-2026-11-30", "id token signing key of November"),
        *("{72f988bf-86f1-41af-91ab-2d7cd011db47}", "https://login.example/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0"),
        *("https://vault.example.net/keys/sign/0f1e2d", "abc/def+gh=", "text/html; charset=utf-8", "x" * 20),
        *("eu-west-1_AbCdEfGhI", "0123456789abcdefABCDE"),
    ],
)
def test_labels(text: str) -> None:
    """Names as issuers give them."""
    assert is_label(text)
    assert shown(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("0123456789abcdefABCDEF", "a1" * 11, "x" * 22, "X" * 64, "7" * 22, "age-secret-key-1" + "q" * 58),
        *(
            "3f1a9c0e5b7d2f4a6c8e0b1d3f5a7c9e",
            "12, 244, 7, 19, 200, 5, 81, 33, 99, 146, 250, 17, 3, 44, 8, 90",
            "é" * 22,
        ),
    ],
)
def test_text_that_is_not_a_label(text: str) -> None:
    """A text that could encode 128 bits is not a label."""
    assert not is_label(text)
    assert shown(text) == f"(text of {len(text)} characters, not shown)"
    assert few([text, "a", "b", "c"]) == f"(text of {len(text)} characters, not shown), a, b, …"


def test_no_secret_is_a_label() -> None:
    """Whatever it is written in, 128 bits are never shown."""
    for number in range(500):
        secret = hashlib.sha256(str(number).encode()).digest()[:16]
        letters = (base64.urlsafe_b64encode(secret).rstrip(b"="), base64.b64encode(secret), base64.b32encode(secret))
        written = (*(one.decode() for one in letters), secret.hex(), secret.hex(":"), secret.hex("-", 4))
        for text in (*written, str(list(secret)), str(int.from_bytes(secret, "big"))):
            assert not is_label(text)


def test_types() -> None:
    """Messages show the type in place of a value."""
    given = (None, True, 7, 7.5, "x", [], {})
    types = [json_type(value) for value in given]
    assert types == ["null", "a boolean", "a number", "a number", "a string", "an array", "an object"]
    assert len(base64.urlsafe_b64encode(bytes(16)).rstrip(b"=")) > OPAQUE_MAX


def test_a_kid_that_is_a_hash_of_its_key_is_shown() -> None:
    """Thumbprints are 43 characters that tell nothing; the same text as the kid of another key could be anything."""
    from keyvault.core.jwk import thumbprint

    own, other = private("RSA", "own"), private("RSA", "second")
    kid = thumbprint(jwk(own))

    def where(key: dict[str, Any], kids: frozenset[str] = frozenset()) -> list[str]:
        source = Source("it", json.dumps({"keys": [key]}).encode(), kids=kids)
        return [finding.where for finding in lint_jwk_set(source)]

    assert where(jwk(own, kid=kid, use="x")) == [kid]
    assert where(jwk(other, kid=kid, use="x")) == ["keys[0]"]
    assert where(jwk(other, kid=kid, use="x"), frozenset({kid})) == [kid]


def test_the_path_of_a_private_key() -> None:
    """The place is a path; a name in it that is not a label is counted, not shown."""
    key = CANARIES["ES256"]

    def places(data: bytes) -> list[str]:
        return [finding.where for finding in lint_jwk_set(Source("it", data)) if finding.code == "private-key"]

    assert places(document(key)) == ["own"]
    assert places(document(jwk(private("RSA", "own"), backup={"old": json.dumps([key])}))) == ["keys[2].backup.old[0]"]
    assert places(document(**{value("ES256"): key})) == ["(member 2)"]
    assert places(json.dumps(json.dumps(key)).encode()) == [""]
    # Public halves in the same places are not secret.
    public = {name: member for name, member in key.items() if name != "d"}
    assert places(document(public, note=json.dumps(public), jwk=public)) == []


def test_json_that_was_encoded_twice() -> None:
    """The message says so, since a secrets store did this."""
    key = CANARIES["EdDSA"]
    found = lint_jwk_set(Source("it", json.dumps(json.dumps(key)).encode()))

    assert [(finding.code, finding.message) for finding in found] == [
        ("not-object", "is a string, not an object: JSON encoded twice"),
        ("private-key", "private members d of a key in the clear: anyone who reads it can sign; revoke the key"),
    ]
    assert [finding.message for finding in lint_jwk_set(Source("it", b'"hello"'))] == ["is a string, not an object"]
