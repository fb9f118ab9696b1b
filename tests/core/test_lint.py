"""Rules of lint: each speaks where a document breaks verifiers, and no other does; a good document gets none."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.lint.consumers import CONSUMERS, find_consumers
from keyvault.core.lint.documents import Source, lint_discovery, lint_jwk_set, read
from keyvault.core.lint.rules import RULES, Finding
from keyvault.core.lint.transport import Response, is_local, lint_address
from keyvault.core.strength import RSA_EXPONENT_MIN
from keyvault.core.text import printable
from keyvault.errors import UsageError
from tests.core.lint_cases import HEADERS, ISSUER, URL, Case, cases, document, jwk, number, private, sound
from tests.core.test_strength import sound as sound_modulus
from tests.errors import fails

CONFIGURATION = f"{ISSUER}/.well-known/openid-configuration"
DISCOVERY: dict[str, Any] = {
    "issuer": ISSUER,
    "jwks_uri": f"{ISSUER}/.well-known/jwks.json",
    "authorization_endpoint": "urn:kubernetes:programmatic_authorization",
    "response_types_supported": ["id_token"],
    "subject_types_supported": ["public"],
    "id_token_signing_alg_values_supported": ["ES256", "RS256"],
}


@functools.cache
def table() -> dict[str, Case]:
    return dict(cases())


def lint(case: Case, *consumers: str) -> list[Finding]:
    return lint_jwk_set(Source("it", case.body, URL, case.response), find_consumers(consumers))


def codes(findings: list[Finding]) -> set[str]:
    return {found.code for found in findings}


def keys(*members: Any) -> list[Finding]:
    return lint_jwk_set(Source("it", json.dumps({"keys": members}).encode()))


def discovery(url: str | None = CONFIGURATION, **changes: Any) -> list[Finding]:
    """Return the findings for the good discovery document with *changes*; None removes a member."""
    members = {name: value for name, value in {**DISCOVERY, **changes}.items() if value is not None}
    return lint_discovery(Source("it", json.dumps(members).encode(), url), sound())


# --- the table of cases ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, _ in cases()])
def test_a_case_has_its_findings_and_no_other(name: str) -> None:
    """Each problem is found, and no other: the other rules report nothing about sound keys."""
    case = table()[name]

    found = lint(case)

    assert codes(found) == case.codes
    for finding in found:
        assert (finding.level, finding.hurts) == (RULES[finding.code].level, RULES[finding.code].hurts)
        assert finding.message == printable(finding.message)
        assert finding.document == "it"


#: Rules that need more than a JWK Set and its answer; each has a test of its own below.
ELSEWHERE = {
    *("not-https", "url-port", "url-query", "redirect-not-followed"),
    *("no-jwks-uri", "jwks-uri-other-host", "jwks-uri-local", "issuer-mismatch"),
    *(
        "discovery-redirect",
        "discovery-content-type",
        "content-type-octets",
        "discovery-incomplete",
        "no-rs256",
        "alg-not-listed",
        "alg-without-key",
    ),
    *("algorithm-refused", "algorithm-untold", "mixed-key-types", "issuer-elsewhere"),
}


def test_every_rule_has_a_case() -> None:
    """A rule that nothing breaks is dead."""
    assert {code for case in table().values() for code in case.codes} | ELSEWHERE == set(RULES)


def test_a_finding_says_which_key() -> None:
    """By its kid, or by its position if the kid is missing or unprintable."""
    own = private("RSA", "own")

    assert [finding.where for finding in keys(*sound(), jwk(own, use="x"))] == ["own"]
    assert {finding.where for finding in keys(*sound(), jwk(own, kid=None))} == {"keys[2]"}
    assert {finding.where for finding in keys(*sound(), jwk(own, kid=7))} == {"keys[2]"}
    assert {finding.where for finding in keys(*sound(), None)} == {"keys[2]"}


@pytest.mark.parametrize(
    ("kind", "alg", "use", "found"),
    [
        ("RSA", "dir", "enc", {"alg-mismatch"}),
        ("RSA", "A128KW", "enc", {"alg-mismatch"}),
        ("RSA", "RSA1_5", "enc", set()),
        ("RSA", "RSA1_5", "sig", {"use-sig-alg-enc"}),
        ("RSA", "ML-DSA-44", "sig", {"alg-mismatch"}),
        ("RSA", "ML-DSA-44", "enc", {"alg-mismatch", "use-enc-alg-sig"}),
        ("P-256", "RSA-OAEP-512", "enc", {"alg-mismatch"}),
        ("P-256", "ECDH-ES+A128KW", "enc", set()),
        ("P-256", "none", "sig", {"unknown-alg"}),
        ("Ed25519", "ECDH-ES", "enc", {"alg-mismatch"}),
        ("Ed25519", "HS512", "sig", {"hmac-alg"}),
    ],
)
def test_registered_algorithms(kind: str, alg: str, use: str, found: set[str]) -> None:
    """All of the registry are known, those that no vault makes, too."""
    assert codes(keys(*sound(), jwk(private(kind, "own"), alg=alg, use=use))) == found


def test_messages() -> None:
    """They are short and contain the invalid value."""
    own, other = private("RSA", "own"), private("P-256", "own")

    def messages(*members: Any) -> list[str]:
        return [finding.message for finding in keys(*sound(), *members)]

    assert messages(jwk(own, use="tls")) == ["use is 'tls', expected sig or enc"]
    assert messages(jwk(own, kid=7)) == ["kid is a number, not a string: no token can refer to it"]
    assert messages(jwk(own, n=None)) == ["n is missing"]
    assert messages(jwk(own, n="!")) == ["n is not base64url"]
    assert messages(jwk(other, alg="RS256")) == ["alg RS256 does not fit a key of type EC on P-256"]
    assert messages(jwk(own, alg="ES256")) == ["alg ES256 does not fit a key of type RSA"]
    assert messages(jwk(own, alg="word " * 16)) == [f"alg {'word ' * 16} is not registered"]
    assert messages(jwk(own, alg="word " * 17)) == [f"alg {'word ' * 15}word… is not registered"]
    assert messages(jwk(own, alg="x" * 22)) == ["alg (text of 22 characters, not shown) is not registered"]
    assert messages(jwk(own), jwk(own, kid="b")) == ["the same key is also in the set as b"]
    assert messages(*(jwk(own, kid=name) for name in "abcde")) == ["the same key is also in the set as b, c, d, …"]
    assert [finding.where for finding in keys(*(jwk(own, kid=name) for name in "ab"))] == ["a"]
    twice = b'{"keys": [{"kty": "LMS", "kid": "a", "kid": "a", "use": "sig", "alg": "RS256", "alg": "RS256"}]}'
    assert lint_jwk_set(Source("it", twice))[0].message == "kid, alg: more than once in one object"
    assert lint(table()["single jwk"])[0].message.endswith("it is a single JWK, put it into an array")
    assert lint(table()["no keys"])[0].message == "has no array keys"


def test_no_key_material_in_findings() -> None:
    """Private members are named, not shown."""
    for name in ("private", "oct"):
        text = table()[name].body.decode()
        shown = " ".join(finding.message for finding in lint(table()[name]))
        for member in json.loads(text)["keys"][-1].values():
            assert len(member) < 20 or member not in shown


# --- boundaries -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("max-age=299", "cache-short"),
        ("max-age=300", None),
        ("max-age=3600", None),
        ("max-age=3601", "cache-long"),
        ('Public, Max-Age="600"', None),
        ("max-age=600, no-cache", "cache-forbidden"),
        ("NO-STORE", "cache-forbidden"),
        ('no-cache="set-cookie", max-age=600', "cache-forbidden"),
        ("public", "cache-unsaid"),
        ("x-max-age=600", "cache-unsaid"),
        ("max-age=soon", "cache-unsaid"),
        ("", "cache-unsaid"),
    ],
)
def test_cache_control(header: str, code: str | None) -> None:
    """5 min and 1 h are the bounds of keyvault.toml, too."""
    response = Response(200, {**HEADERS, "cache-control": header})

    found = lint_jwk_set(Source("it", document(), URL, response))

    assert codes(found) == ({code} if code else set())


@pytest.mark.parametrize(
    ("kind", "path", "code"),
    [
        ("application/json", "/jwks.json", None),
        ("Application/JSON; charset=utf-8", "/jwks.json", None),
        ("application/jwk-set+json", "/jwks.json", None),
        ("application/octet-stream", "/.well-known/jwks", "content-type-octets"),
        ("application/octet-stream", "/jwks.json", "content-type"),
        ("text/plain", "/.well-known/jwks", "content-type"),
    ],
)
def test_content_type(kind: str, path: str, code: str | None) -> None:
    """Hosts send application/octet-stream for a file without an extension."""
    response = Response(200, {**HEADERS, "content-type": kind})

    found = lint_jwk_set(Source("it", document(), f"https://keys.example.com{path}", response))

    assert codes(found) == ({code} if code else set())


@pytest.mark.parametrize(
    ("status", "found"),
    [
        (199, {"status"}),
        (200, {"no-cors"}),
        (206, {"status-not-200", "no-cors"}),
        (299, {"status-not-200", "no-cors"}),
        (300, {"status"}),
        (404, {"status"}),
    ],
)
def test_status(status: int, found: set[str]) -> None:
    """The headers of an error page say nothing about the document."""
    headers = {name: value for name, value in HEADERS.items() if "origin" not in name}

    assert codes(lint_jwk_set(Source("it", document(), URL, Response(status, headers)))) == found


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (32_768, None),
        (32_769, "over-32-kib"),
        (51_200, "over-32-kib"),
        (51_201, "over-50-kib"),
        (262_144, "over-50-kib"),
        (262_145, "too-large"),
    ],
)
def test_size(octets: int, code: str | None) -> None:
    """The content of a document that is too large is not checked."""
    data = document().ljust(octets)
    broken = b'{"keys": []}'.ljust(octets)

    assert codes(lint_jwk_set(Source("it", data))) == ({code} if code else set())
    assert ("empty-set" in codes(lint_jwk_set(Source("it", broken)))) is (code != "too-large")


def test_a_truncated_body_is_not_checked() -> None:
    """It is reported like a body that is too large."""
    assert codes(lint_jwk_set(Source("it", b"{", URL, Response(200, HEADERS, complete=False)))) == {"too-large"}


@pytest.mark.parametrize(
    ("count", "found"),
    [(8, set()), (9, {"over-8-keys"}), (100, {"over-8-keys"}), (101, {"over-8-keys", "over-100-keys"})],
)
def test_number_of_keys(count: int, found: set[str]) -> None:
    """Each type is counted by itself for AWS, all together for GCP."""
    many = [jwk(private("P-256", f"many {index}"), kid=f"many {index}") for index in range(count)]

    assert codes(keys(*many)) == found


def test_more_keys_than_the_limit() -> None:
    """Later keys are not checked."""
    many = [{"kty": "oct", "kid": str(index)} for index in range(1_000)]
    found = keys(*many, {"kty": "RSA", "kid": "last"})

    assert "over-1000-keys" not in codes(keys(*many))
    assert "over-1000-keys" in codes(found)
    assert "last" not in {finding.where for finding in found}
    assert {"999", "0"} <= {finding.where for finding in found}


@pytest.mark.parametrize(
    ("bits", "code"),
    [(2047, "short-rsa-key"), (2048, None), (4096, None), (4097, "long-rsa-key"), (100_000, "long-rsa-key")],
)
def test_length_of_rsa_keys(bits: int, code: str | None) -> None:
    """The modulus is a placeholder for a product of two primes, so the test searches for no primes."""
    modulus = sound_modulus(f"lint {bits}", bits) if bits < 5_000 else 1 << (bits - 1)
    key = {"kty": "RSA", "kid": "it", "use": "sig", "alg": "RS256", "n": number(modulus), "e": number(RSA_EXPONENT_MIN)}

    assert codes(keys(key)) == ({code} if code else set())


# --- addresses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://keys.example.com/jwks.json", []),
        ("http://keys.example.com/jwks.json", ["not-https"]),
        ("ftp://keys.example.com/jwks.json", ["not-https"]),
        ("HTTPS://keys.example.com/jwks.json", []),
        ("https://keys.example.com:443/jwks.json", ["url-port"]),
        ("https://keys.example.com:8443/jwks.json?a=1", ["url-port", "url-query"]),
        ("https://keys.example.com/jwks.json#a", ["url-query"]),
        ("https://keys.example.com:no/jwks.json", ["not-https"]),
        ("https://[::1/jwks.json", ["not-https"]),
        ("urn:kubernetes", ["not-https"]),
        ("", ["not-https"]),
        ("http://localhost:8000/jwks.json?a=1", []),
    ],
)
def test_addresses(url: str, found: list[str]) -> None:
    """AWS IAM wants https without port and query; a preview on this machine is not held to that."""
    assert [finding.code for finding in lint_address(url)] == found


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *((host, True) for host in ("localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "[::1]", "[::]")),
        *((host, True) for host in ("[::ffff:127.0.0.1]", "2130706433", "0x7f000001", "127.1", "0177.0.0.1")),
        *((host, False) for host in ("keys.example.com", "203.0.113.7", "[2001:db8::7]", "localhost.evil.example")),
        *((host, False) for host in ("7.example", "0x7f.example")),
    ],
)
def test_the_machine_itself(host: str, local: bool) -> None:
    """In every spelling that a resolver takes."""
    assert is_local(f"https://{host}/") is local


# --- discovery ------------------------------------------------------------------------------------------


def test_a_good_discovery_document() -> None:
    """Nothing to say, at both of its paths, for either form of the issuer, and in a file."""
    assert discovery() == []
    assert discovery(f"{CONFIGURATION}.json") == []
    assert discovery(issuer=f"{ISSUER}/") == []
    assert discovery(None) == []


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"issuer": "https://other.example"}, {"issuer-mismatch"}),
        ({"issuer": f"{ISSUER}//"}, {"issuer-mismatch"}),
        ({"issuer": f"{ISSUER}/a"}, {"issuer-mismatch"}),
        ({"issuer": ISSUER.upper()}, {"issuer-mismatch"}),
        ({"issuer": None}, {"issuer-mismatch"}),
        ({"issuer": ["x"]}, {"issuer-mismatch"}),
        ({"issuer": "http://issuer.example"}, {"issuer-mismatch", "not-https"}),
        ({"issuer": f"{ISSUER}?a"}, {"issuer-mismatch", "url-query"}),
        ({"jwks_uri": None}, {"no-jwks-uri"}),
        ({"jwks_uri": 7}, {"no-jwks-uri"}),
        ({"jwks_uri": "/jwks.json"}, {"no-jwks-uri"}),
        ({"jwks_uri": "https://[::1/"}, {"no-jwks-uri"}),
        ({"jwks_uri": "http://issuer.example/jwks.json"}, {"not-https"}),
        ({"jwks_uri": "https://keys.example.com/jwks.json"}, {"jwks-uri-other-host"}),
        ({"jwks_uri": "https://issuer.example:8443/jwks.json"}, {"jwks-uri-other-host", "url-port"}),
        ({"jwks_uri": "http://localhost:8080/jwks.json"}, {"jwks-uri-local"}),
        ({"jwks_uri": "https://0x7f.1/jwks.json"}, {"jwks-uri-local"}),
        ({"authorization_endpoint": None}, {"discovery-incomplete"}),
        ({"response_types_supported": "id_token"}, {"discovery-incomplete"}),
        ({"subject_types_supported": None}, {"discovery-incomplete"}),
        ({"id_token_signing_alg_values_supported": None}, {"discovery-incomplete"}),
        ({"id_token_signing_alg_values_supported": {}}, {"discovery-incomplete"}),
        ({"id_token_signing_alg_values_supported": ["RS256"]}, {"alg-not-listed"}),
        ({"id_token_signing_alg_values_supported": ["ES256"]}, {"alg-not-listed", "no-rs256"}),
        ({"id_token_signing_alg_values_supported": ["ES256", "RS256", "PS256"]}, {"alg-without-key"}),
        ({"id_token_signing_alg_values_supported": ["ES256", "RS256", "HS256", "none", 7]}, set()),
    ],
)
def test_discovery(changes: dict[str, Any], found: set[str]) -> None:
    """Each member by itself."""
    assert codes(discovery(**changes)) == found


def test_discovery_at_another_place() -> None:
    """A document at another path does not identify its issuer."""
    assert discovery(f"{ISSUER}/metadata.json", issuer="https://other.example") == []


def test_discovery_without_its_keys() -> None:
    """Without the keys of the set nothing is compared."""
    source = Source("it", json.dumps({**DISCOVERY, "id_token_signing_alg_values_supported": ["RS256"]}).encode())

    assert lint_discovery(source, None) == []
    assert codes(lint_discovery(source, [jwk(private("P-256", "own"), use="enc", alg="ECDH-ES")])) == {
        "alg-without-key"
    }


@pytest.mark.parametrize(
    ("data", "found"), [(b"[]", {"not-object"}), (b"<html>", {"not-json"}), (b"null", {"not-object"})]
)
def test_no_discovery_document(data: bytes, found: set[str]) -> None:
    """As for JWK Sets."""
    assert codes(lint_discovery(Source("it", data, CONFIGURATION))) == found
    assert codes(lint_discovery(Source("it", data, CONFIGURATION, Response(404, HEADERS)))) == {"status", *found}


@pytest.mark.parametrize("kind", ["application/octet-stream", "text/plain; charset=utf-8", "text/html", "x"])
def test_type_of_a_discovery_document(kind: str) -> None:
    """Those of GitHub Pages and of GitLab Pages: Spring by issuer does not start, and Rust's openidconnect refuses it."""
    response = Response(200, {**HEADERS, "content-type": kind})
    found = lint_discovery(Source("it", json.dumps(DISCOVERY).encode(), CONFIGURATION, response), sound())

    assert [(finding.code, finding.level, finding.hurts) for finding in found] == [
        (
            "discovery-content-type",
            "warning",
            ("Spring Security 6.5 and 7.1 (by issuer)", "openidconnect 4.1 (Rust)"),
        )
    ]


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", None])
def test_type_that_a_discovery_document_can_have(kind: str | None) -> None:
    """Without any type there is a note."""
    headers = {name: value for name, value in {**HEADERS, "content-type": kind}.items() if value is not None}
    found = lint_discovery(Source("it", json.dumps(DISCOVERY).encode(), CONFIGURATION, Response(200, headers)), sound())

    assert [(finding.code, finding.level) for finding in found] == ([] if kind else [("no-content-type", "note")])


def test_discovery_findings_name_only_its_readers() -> None:
    """A redirect is for them to follow, and PyJWT never sees the document."""
    data = json.dumps(DISCOVERY).encode()
    found = lint_discovery(
        Source("it", b"\xef\xbb\xbf" + data, CONFIGURATION, Response(200, HEADERS, redirects=(URL,)))
    )

    assert {finding.code: (finding.level, finding.hurts) for finding in found} == {
        "discovery-redirect": ("note", ()),
        "byte-order-mark": ("error", ("go-oidc 3.21", "Kubernetes (go-oidc 2)")),
    }
    assert lint_discovery(Source("it", b"[]", CONFIGURATION))[0].hurts == ("go-oidc 3.21", "Kubernetes (go-oidc 2)")


# --- consumers of a document ----------------------------------------------------------------------------


def test_for_makes_a_note_a_warning() -> None:
    """For the named consumers only; a worse level stays."""
    case = table()["9 keys"]
    assert [finding.level for finding in lint(case)] == ["note"]
    assert [finding.level for finding in lint(case, "gcp") if finding.code == "over-8-keys"] == ["warning"]
    assert [finding.level for finding in lint(case, "pyjwt")] == ["note"]

    # The names of jose and joserfc begin alike; the two of AWS are one library.
    assert [finding.level for finding in lint(table()["key_ops"], "aws")] == ["warning"]
    assert [finding.level for finding in lint(table()["kid twice"], "jose")] == ["error"]
    assert {finding.level for finding in lint(table()["eddsa"], "joserfc", "jose")} == {"note"}


@pytest.mark.parametrize(
    ("consumer", "refused"),
    [
        ("aws", {"PS256", "EdDSA", "ES256K"}),
        ("gcp", {"PS256", "EdDSA", "ES256K", "ES384"}),
        ("entra", {"PS256", "EdDSA", "ES256K", "ES384", "ES256"}),
        ("kubernetes", {"EdDSA", "ES256K"}),
        ("pyjwt", set()),
        ("jose", {"ES256K"}),
        ("spring", {"EdDSA", "ES256K"}),
        ("cap", {"ES256K"}),
        ("oauth4webapi", {"ES256K"}),
    ],
)
def test_algorithms_of_consumers(consumer: str, refused: set[str]) -> None:
    """Keys for encryption are ignored."""
    own = [
        jwk(private("RSA", "own"), alg="PS256", kid="PS256"),
        jwk(private("P-384", "own"), kid="ES384"),
        jwk(private("P-256", "es"), kid="ES256"),
        jwk(private("RSA", "rs"), kid="RS256"),
        jwk(private("Ed25519", "own"), kid="EdDSA"),
        jwk(private("secp256k1", "own"), kid="ES256K"),
        jwk(private("P-256", "own"), kid="enc", use="enc", alg="ECDH-ES"),
        jwk(private("RSA", "second"), kid="enc by alg", use=None, alg="RSA-OAEP"),
        jwk(private("P-256", "second"), kid="enc by use", use="enc", alg="ES256K"),
    ]
    source = Source("it", json.dumps({"keys": own}).encode())

    found = lint_jwk_set(source, find_consumers([consumer]))

    assert {finding.where for finding in found if finding.code == "algorithm-refused"} == refused
    assert {finding.hurts for finding in found if finding.code == "algorithm-refused"} <= {(CONSUMERS[consumer].label,)}


def test_algorithms_that_spring_accepts_only_if_configured() -> None:
    """By issuer it takes those of the keys; by jwk-set-uri RS256, unless jws-algorithms names others: a note."""
    found = lint_jwk_set(Source("it", document()), find_consumers(["spring"]))

    assert [(finding.code, finding.level, finding.where) for finding in found] == [("algorithm-untold", "note", "es")]
    assert (
        found[0].message
        == "Spring Security 6.5 and 7.1 with the URL of the set accepts ES256 only if it is configured to"
    )


def test_mixed_types_are_reported_for_python_jose_only() -> None:
    """Every vault has RSA and EC keys by default, and other consumers accept them."""
    mixed, alone = table()["clean"], Source("it", json.dumps({"keys": sound()[:1]}).encode())

    assert codes(lint(mixed, "python-jose")) == {"mixed-key-types"}
    assert lint(mixed, *(set(CONSUMERS) - {"python-jose", "entra", "spring"})) == []
    assert lint_jwk_set(alone, find_consumers(["python-jose"])) == []


def test_unknown_consumer() -> None:
    """The hint lists all, and the nearest first."""
    with fails("consumer-unknown", UsageError) as caught:
        find_consumers(["aws", "kubernets"])
    assert "'kubernets'" in caught.value.message
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("did you mean 'kubernetes'?\none of aws, gcp, entra, kubernetes, ")
    assert all(name in caught.value.hint for name in CONSUMERS)

    assert find_consumers(["AWS", "aws", "Aws"])[0].label == "AWS IAM"


# --- foreign data ---------------------------------------------------------------------------------------

_MEMBERS = st.sampled_from(
    [
        *("kty", "kid", "use", "alg", "crv", "x", "y", "n", "e", "d", "k", "key_ops", "nbf", "exp", "revoked"),
        *("x5c", "x5t", "x5t#S256", "x5u", "jku"),
        *("keys", "issuer", "jwks_uri", "id_token_signing_alg_values_supported"),
    ]
)
_WORDS = st.sampled_from(
    [
        *("RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "X448", "RS256", "ES256", "EdDSA", "HS256", "sig", "enc"),
        *("AQAB", "AA", "https://[::1", "https://a:b/", "http://localhost", "\ud800", "\x1b[31m", ""),
    ]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | _WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_MEMBERS | st.text(), inner, max_size=8),
    max_leaves=20,
)
_KEYS = st.lists(st.dictionaries(_MEMBERS, _WORDS | _VALUES, max_size=12) | _VALUES, max_size=6)


def look(data: bytes) -> list[Finding]:
    """Lint *data* as either kind of document, for everybody."""
    everybody = find_consumers(CONSUMERS)
    source = Source("it", data, CONFIGURATION)
    return [*lint_jwk_set(source, everybody), *lint_discovery(source, read(data).keys, everybody)]


def is_sound(findings: list[Finding]) -> bool:
    texts = [text for finding in findings for text in (finding.message, finding.where)]
    return all(text == printable(text) and len(text) < 1_000 for text in texts)


@given(_KEYS)
def test_any_keys(members: list[Any]) -> None:
    """Any set gives printable findings and no exception."""
    assert is_sound(look(json.dumps({"keys": members}).encode()))


@given(st.dictionaries(_MEMBERS, _WORDS | _VALUES, max_size=12) | _VALUES)
def test_any_document(value: Any) -> None:
    """The same holds for other JSON."""
    assert is_sound(look(json.dumps(value).encode()))


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """The same holds for other bytes."""
    assert is_sound(look(data))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'{"keys": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not-json"),
        (b'{"keys": ' + b'{"a":' * 30_000 + b"1" + b"}" * 30_000 + b"}", "not-json"),
        (b'{"keys": [' + b"9" * 200_000 + b"]}", "key-not-object"),
        (b'{"keys": [{"kid": "a", "exp": 1e999}]}', "lifetime-member"),
        (b'{"keys": [{"kid": "\\ud800", "kty": "RSA"}]}', "malformed-key"),
        (b"{" + b",".join([b'"a": 1'] * 30_000) + b"}", "duplicate-top-member"),
        (b'{"keys": [{' + b",".join([b'"a": 1'] * 30_000) + b"}]}", "duplicate-member"),
        (b"\x00" * 1_000, "utf-16"),
        (b"\xff\xfe" + b"\x00\xd8" * 3, "utf-16"),
        (b"\xef\xbb\xbf\xff", "not-utf-8"),
    ],
)
def test_hostile_bytes(data: bytes, code: str) -> None:
    """A document that tries to exhaust a parser is refused or read in bounded time."""
    found = look(data)

    assert code in codes(found)
    assert is_sound(found)
