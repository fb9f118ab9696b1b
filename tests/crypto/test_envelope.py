"""Sealed private keys: they open for their recipients, with other tools too, and not after a change."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyvault.core.envelope_form import PLAINTEXT_MAX, check_envelope, check_recipient
from keyvault.core.jwk import PublicJWK, b64u, b64u_decode
from keyvault.core.keys import Envelope, Key, Recipient
from keyvault.crypto.envelope import (
    Sealer,
    envelope_of,
    open_bytes,
    parse_private,
)
from keyvault.crypto.identities import JWKIdentity
from keyvault.errors import EnvelopeError, JWKError
from tests.core.build import T0, activated, created, deactivated, make_key, revoked, withdrawn
from tests.crypto.keys import changed, identity, private, public, recipient, text, unwrapper
from tests.errors import fails

#: kid, algorithm and curve of one recipient of each kind.
P256 = ("ops", "ECDH-ES+A256KW", "P-256")
X25519 = ("laptop", "ECDH-ES+A256KW", "X25519")
RSA = ("awskms:///arn:aws:kms:eu-west-1:1:key/2", "RSA-OAEP-256", None)
KINDS = [pytest.param(kind, id=str(kind[2] or kind[1])) for kind in (P256, X25519, RSA)]
Kind = tuple[str, str, str | None]

PLAIN = msgspec.json.encode(private("ES256"))
PLACE = {"kid": "key-1", "set_name": "id-token"}
PBES = "PBES2-HS512+A256KW"


def seal(*kinds: Kind, plain: bytes = PLAIN) -> Envelope:
    """Return *plain* sealed to a recipient of each of *kinds*."""
    return Sealer({kind[0]: recipient(*kind) for kind in kinds}).seal_bytes(plain, **PLACE)


def opened(envelope: Envelope, kind: Kind = P256, **place: str) -> bytes:
    """Open *envelope* as the recipient of *kind*."""
    return open_bytes(envelope, **{**PLACE, **place}, recipient=kind[0], unwrap=unwrapper(*kind).unwrap)


def reread(document: Any) -> Envelope:
    """Return *document* as it is read from a record."""
    return msgspec.json.decode(msgspec.json.encode(document), type=Envelope)


def refusal(document: Any, kind: Kind = P256) -> tuple[str, str] | None:
    """Return code and message of the error of opening *document*; None if it opens, to the sealed plaintext."""
    try:
        plain = opened(reread(document), kind)
    except EnvelopeError as error:
        return error.code, error.message
    except msgspec.ValidationError as error:  # the reader of records refuses it
        return "", str(error)
    assert plain == PLAIN
    return None


def check_refusal(document: Any, code: str, named: str = "", kind: Kind = P256) -> None:
    """Check that *document* does not open, with that code, and that the message has the text *named*."""
    found = refusal(document, kind)
    assert found is not None
    assert (found[0], named in found[1]) == (code, True), found


def document(*kinds: Kind) -> dict[str, Any]:
    """Return a sealed key as JSON."""
    return msgspec.to_builtins(seal(*kinds or (P256,)))


def header_of(envelope: dict[str, Any]) -> dict[str, Any]:
    return json.loads(b64u_decode(envelope["protected"], what="protected"))


def with_header(envelope: dict[str, Any], header: Any, **how: Any) -> dict[str, Any]:
    """Return *envelope* with another protected header, written in the canonical way or as *how* says."""
    how = how or {"separators": (",", ":")}
    return {**envelope, "protected": b64u(json.dumps(header, **how).encode())}


# --- round trips ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_one_recipient_opens_what_was_sealed(kind: Kind) -> None:
    """Each kind of recipient, alone; the general form is used for a single recipient, too."""
    envelope = seal(kind)
    assert opened(envelope, kind) == PLAIN
    assert [kind[0]] == [entry.header.kid for entry in envelope.recipients] == check_envelope(envelope, **PLACE)


def test_each_of_three_recipients_opens_what_was_sealed() -> None:
    """A laptop, a shared key and a KMS: any one of them is enough."""
    envelope = seal(P256, X25519, RSA)
    assert [opened(envelope, kind) for kind in (P256, X25519, RSA)] == [PLAIN] * 3


@pytest.mark.parametrize("count", [17, 32])
def test_many_recipients(count: int) -> None:
    """Up to 32 recipients; the first, the last and one between them open it."""
    kinds = [(f"person-{index:02}", "ECDH-ES+A256KW", ("P-256", "X25519")[index % 2]) for index in range(count)]
    envelope = seal(*reversed(kinds))
    assert [kind[0] for kind in kinds] == [entry.header.kid for entry in envelope.recipients]
    for kind in (kinds[0], kinds[count // 2], kinds[-1]):
        assert opened(envelope, kind) == PLAIN


@given(st.binary(min_size=1, max_size=300))
def test_any_plaintext_comes_back(plain: bytes) -> None:
    """Sealing and opening neither parse nor change the plaintext."""
    assert plain == opened(seal(X25519, plain=plain), X25519)


def test_a_private_key_is_sealed_as_json() -> None:
    """`seal` is `seal_bytes` of the JWK."""
    sealer = Sealer({P256[0]: recipient(*P256)})
    jwk = private("ES256")
    envelope = sealer.seal(jwk, **PLACE)
    assert {**jwk, "kid": jwk["kid"]} == parse_private(opened(envelope), public(jwk))


def test_nothing_is_used_twice() -> None:
    """Content key, IV and ephemeral keys are fresh each time and for each recipient."""
    envelopes = [seal(P256, X25519, RSA) for _ in range(4)]
    assert len({envelope.iv for envelope in envelopes}) == 4
    assert len({envelope.ciphertext for envelope in envelopes}) == 4
    entries = [entry for envelope in envelopes for entry in envelope.recipients]
    assert len({entry.encrypted_key for entry in entries}) == 12
    assert len({entry.header.epk.x for entry in entries if entry.header.epk is not msgspec.UNSET}) == 8


def test_the_protected_header_binds_place_and_recipients() -> None:
    """The protected header, which the tag covers, has the values that a JWE's tag does not cover by itself."""
    envelope = document(P256, X25519)
    assert b64u_decode(envelope["protected"], what="protected") == (
        b'{"cty":"jwk+json","enc":"A256GCM",'
        b'"kv":{"format":1,"kid":"key-1","recipients":["laptop","ops"],"set":"id-token"}}'
    )
    assert list(envelope) == ["protected", "recipients", "iv", "ciphertext", "tag"]


@pytest.mark.parametrize(("size", "taken"), [(1, True), (PLAINTEXT_MAX, True), (PLAINTEXT_MAX + 1, False)])
def test_the_size_of_the_plaintext(size: int, taken: bool) -> None:
    """16 KiB, five times the largest private key."""
    if taken:
        assert len(opened(seal(P256, plain=b"x" * size))) == size
    else:
        with fails("private-key-too-large", EnvelopeError) as caught:
            seal(P256, plain=b"x" * size)
        assert f"{size} bytes is too large; the limit is {PLAINTEXT_MAX}" in caught.value.message


# --- other tools ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_jwcrypto_opens_it_without_us(kind: Kind) -> None:
    """It is a JWE in general JSON form: no lock-in."""
    from jwcrypto.jwe import JWE
    from jwcrypto.jwk import JWK

    members = {name: value for name, value in identity(*kind).items() if name not in ("kid", "use", "alg")}
    token = JWE(algs=["ECDH-ES+A256KW", "RSA-OAEP-256", "A256GCM"])
    token.deserialize(json.dumps(document(P256, X25519, RSA)), JWK(**members))
    assert token.payload == PLAIN


@pytest.mark.interop
@pytest.mark.skipif(not shutil.which("jose"), reason="the jose command is not installed")
@pytest.mark.parametrize("others", [(), (X25519,), (X25519, RSA)])
def test_the_jose_command_opens_it_without_us(others: tuple[Kind, ...], tmp_path: Path) -> None:
    """`jose jwe dec -i- -k identity.jwk` prints the private JWK, as docs/format.md promises."""
    (tmp_path / "identity.jwk").write_text(json.dumps(identity(*P256)))
    done = subprocess.run(
        ["jose", "jwe", "dec", "-i-", "-k", str(tmp_path / "identity.jwk")],
        input=json.dumps(document(P256, *others)).encode(),
        capture_output=True,
        check=True,
    )
    assert done.stdout == PLAIN


# --- changes --------------------------------------------------------------------------------------------


def nodes(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every node of a JSON document but its root."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield (*path, name)
        yield from nodes(item, (*path, name))


def at(value: Any, path: tuple[str | int, ...]) -> Any:
    for name in path:
        value = value[name]
    return value


def put(value: Any, path: tuple[str | int, ...], item: Any) -> Any:
    value = copy.deepcopy(value)
    at(value, path[:-1])[path[-1]] = item
    return value


@pytest.mark.parametrize("kind", KINDS)
def test_every_changed_node_is_refused(kind: Kind) -> None:
    """A node that is removed, of another type, empty, longer, or has a new sibling is refused."""
    envelope = document(kind)
    accepted = []
    for path in nodes(envelope):
        old = at(envelope, path)
        strangers = [None, 7, 1.5, True, "", "AA", [], {}, [old], {"a": old}]
        if isinstance(old, str):
            strangers += [old + "A", old[:-1], old + "=", old + "\n", " " + old, old.swapcase(), old[::-1]]
        elif isinstance(old, list):
            strangers += [old + old, [*old, {}]]
        else:
            strangers += [{**old, "zip": "DEF"}, {**old, "crit": []}, {**old, "k": "AA"}, {**old, "y": "AA"}]
        removed = copy.deepcopy(envelope)
        del at(removed, path[:-1])[path[-1]]
        mutants = [removed, *(put(envelope, path, stranger) for stranger in strangers if stranger != old)]
        accepted += [(path, mutant) for mutant in mutants if refusal(mutant, kind) is None]
    assert accepted == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_flipped_octet_is_refused(kind: Kind) -> None:
    """One bit in any octet of any encoded member, the highest and the lowest one."""
    envelope = document(kind)
    accepted = []
    for path in nodes(envelope):
        old = at(envelope, path)
        if not isinstance(old, str) or path[-1] in ("alg", "kid", "kty", "crv"):
            continue
        step = 16 if path[-1] == "encrypted_key" and kind == RSA else 1  # each RSA key costs milliseconds
        for index in range(0, len(b64u_decode(old, what="member")), step):
            for bits in (0x01, 0x80):
                mutant = put(envelope, path, changed(old, at=index, bits=bits))
                if refusal(mutant, kind) is None:
                    accepted.append((path, index, bits))
    assert accepted == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_changed_letter_is_refused(kind: Kind) -> None:
    """Names and numbers too: each character of each string, replaced by its neighbour."""
    envelope = document(kind)
    accepted = []
    for path in nodes(envelope):
        old = at(envelope, path)
        if isinstance(old, str) and len(old) < 100:
            for index, letter in enumerate(old):
                other = old[:index] + chr(ord(letter) ^ 1) + old[index + 1 :]
                if refusal(put(envelope, path, other), kind) is None:
                    accepted.append((path, other))
    assert accepted == []


def test_a_mirrored_ephemeral_key_is_no_other_key() -> None:
    """
    A point and its mirror image agree on one secret, so the swap opens the same key and nothing else.

    ECDH takes the x coordinate alone; no tag covers the y of an ephemeral key. This is the one change of an
    envelope that opening cannot notice; the record's history shows it.
    """
    envelope = document(P256)
    path = ("recipients", 0, "header", "epk", "y")
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    mirrored = prime - int.from_bytes(b64u_decode(at(envelope, path), what="y"), "big")
    assert refusal(put(envelope, path, text(mirrored, 32))) is None


# --- errors of opening ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        ({"protected": "*"}, "base64url-invalid", "'protected'"),
        ({"protected": "AB"}, "base64url-not-canonical", "'protected'"),
        ({"protected": b64u(b"{}")}, "envelope-header-malformed", "Object missing required field"),
        ({"protected": b64u(b"[" * 100_000)}, "envelope-header-malformed", ""),
        ({"protected": b64u(b"\xff")}, "envelope-header-malformed", ""),
        ({"iv": "AA=="}, "base64url-not-canonical", "'iv'"),
        ({"iv": b64u(bytes(11))}, "envelope-member-length", "'iv' must have 12 octets"),
        ({"iv": b64u(bytes(13))}, "envelope-member-length", "'iv' must have 12 octets"),
        ({"iv": ""}, "envelope-member-length", "'iv' must have 12 octets"),
        ({"tag": b64u(bytes(12))}, "envelope-member-length", "'tag' must have 16 octets"),
        ({"tag": b64u(bytes(17))}, "envelope-member-length", "'tag' must have 16 octets"),
        ({"ciphertext": ""}, "envelope-member-length", f"'ciphertext' must have 1 to {PLAINTEXT_MAX} octets"),
        (
            {"ciphertext": b64u(bytes(PLAINTEXT_MAX + 1))},
            "envelope-member-length",
            f"'ciphertext' must have 1 to {PLAINTEXT_MAX} octets",
        ),
        ({"ciphertext": "é"}, "base64url-invalid", "'ciphertext'"),
        ({"recipients": []}, "envelope-recipient-count", "0 recipients"),
        ({"iv": b64u(bytes(12))}, "envelope-tampered", "key-1"),
        ({"tag": b64u(bytes(16))}, "envelope-tampered", "key-1"),
    ],
)
def test_invalid_members(change: dict[str, Any], code: str, named: str) -> None:
    """The message names the member; if possible, no cryptography runs before."""
    check_refusal({**document(), **change}, code, named)


def test_a_header_cannot_repaint_a_screen() -> None:
    """Control characters in the name of a member are escaped."""
    envelope = document()
    changed_envelope = with_header(envelope, {**header_of(envelope), "\x1b[31m\u2028": 1}, ensure_ascii=False)
    check_refusal(changed_envelope, "envelope-header-malformed", "unknown field `\\x1b[31m\\u2028`")


def test_a_header_cannot_fill_a_screen() -> None:
    """The parser's message is cut after 120 characters."""
    envelope = document()
    code, message = refusal(with_header(envelope, {"m" * 300: 1})) or ("", "")
    assert code == "envelope-header-malformed"
    assert message.endswith("Object contains unknown field `" + "m" * 89)


@pytest.mark.parametrize("member", ["unprotected", "aad", "header", "encrypted_key", "zip", "x"])
def test_optional_members_of_a_jwe(member: str) -> None:
    """The reader of records refuses them, whatever they mean."""
    with pytest.raises(msgspec.ValidationError, match=f"unknown field `{member}`"):
        reread({**document(), member: "AA"})


@pytest.mark.parametrize("member", ["zip", "crit", "alg", "kid", "p2c", "b64"])
def test_unknown_members_of_the_header(member: str) -> None:
    """Compression, extensions and second algorithms have no place in the protected header."""
    envelope = document()
    header = header_of(envelope)
    check_refusal(with_header(envelope, {**header, member: "DEF"}), "envelope-header-malformed")
    header["kv"][member] = "DEF" if member != "kid" else 7
    check_refusal(with_header(envelope, header), "envelope-header-malformed")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"cty": "JWK"}, "cty 'JWK' and enc 'A256GCM'; they must be jwk+json and A256GCM"),
        ({"enc": "A128GCM"}, "cty 'jwk+json' and enc 'A128GCM'; they must be jwk+json and A256GCM"),
        ({"cty": "x" * 500}, "cty '" + "x" * 37 + "…' and enc 'A256GCM'; they must be jwk+json and A256GCM"),
        ({"enc": "x" * 500}, "cty 'jwk+json' and enc '" + "x" * 37 + "…'; they must be jwk+json and A256GCM"),
    ],
)
def test_other_contents(change: dict[str, Any], named: str) -> None:
    """Only one content type and one cipher are written and read."""
    envelope = document()
    check_refusal(with_header(envelope, {**header_of(envelope), **change}), "envelope-alg-unsupported", named)


@pytest.mark.parametrize(
    "how", [{"indent": 1}, {"separators": (", ", ":")}, {"sort_keys": False, "separators": (",", ": ")}]
)
def test_another_spelling_of_the_header(how: dict[str, Any]) -> None:
    """One header has one spelling."""
    envelope = document()
    check_refusal(with_header(envelope, header_of(envelope), **how), "envelope-not-canonical")


def test_another_order_of_the_header() -> None:
    """Members in another order, or twice, are another spelling."""
    envelope = document()
    header = header_of(envelope)
    swapped = dict(reversed(header.items()))
    twice = json.dumps(header, separators=(",", ":")).replace('{"cty"', '{"cty":"x","cty"').encode()
    for other in (with_header(envelope, swapped), {**envelope, "protected": b64u(twice)}):
        check_refusal(other, "envelope-not-canonical")


@pytest.mark.parametrize("place", [{"kid": "key-2"}, {"set_name": "other"}])
def test_the_envelope_of_another_record(place: dict[str, str]) -> None:
    """An envelope that was moved to another key or set does not open there."""
    with fails("envelope-misplaced", EnvelopeError) as caught:
        opened(seal(P256), **place)
    assert "key 'key-1' of set 'id-token'" in caught.value.message


def test_a_long_kid_is_cut() -> None:
    """A message shows 137 characters of it: more than our kids have."""
    envelope = Sealer({"ops": recipient(*P256)}).seal_bytes(PLAIN, kid="k" * 256, set_name="id-token")
    with fails("envelope-misplaced", EnvelopeError) as caught:
        check_envelope(envelope, kid="key-1", set_name="id-token")
    assert f"key '{'k' * 137}…' of set 'id-token'" in caught.value.message


def test_recipients_cannot_be_added_removed_or_reordered() -> None:
    """The header binds the list of recipients."""
    three = document(P256, X25519, RSA)
    first, second, third = three["recipients"]
    stranger = {**first, "header": {**first["header"], "kid": "zed"}}
    for entries in ([first], [second, third], [second, first, third], [first, second, third, stranger]):
        check_refusal({**three, "recipients": entries}, "envelope-recipients")


def test_recipients_cannot_be_swapped() -> None:
    """A content key under the kid of another recipient does not unwrap."""
    one, two = ("a", P256[1], P256[2]), ("b", P256[1], P256[2])
    envelope = document(one, two)
    first, second = envelope["recipients"]
    keys = [{**first, "encrypted_key": second["encrypted_key"]}, {**second, "encrypted_key": first["encrypted_key"]}]
    names = [put(second, ("header", "kid"), "a"), put(first, ("header", "kid"), "b")]
    for entries in (keys, names):
        for kind in (one, two):
            check_refusal({**envelope, "recipients": entries}, "content-key-invalid", repr(kind[0]), kind)


@pytest.mark.parametrize("count", [33, 5_000])
def test_too_many_recipients_cost_nothing(count: int) -> None:
    """They are counted before anything is computed."""
    envelope = document()
    entries = [put(envelope["recipients"][0], ("header", "kid"), f"{index:04}") for index in range(count)]
    check_refusal(
        {**envelope, "recipients": entries}, "envelope-recipient-count", f"{count} recipients; the limit is 32"
    )


def test_a_repeated_recipient() -> None:
    """A kid would be ambiguous."""
    envelope = document()
    check_refusal({**envelope, "recipients": envelope["recipients"] * 2}, "envelope-recipient-twice")


@pytest.mark.parametrize(
    ("member", "value", "code"),
    [
        ("format", 2, "envelope-format"),
        ("recipients", ["zed"], "envelope-recipients"),
        ("recipients", [], "envelope-recipients"),
        ("recipients", ["ops", "zed"], "envelope-recipients"),
    ],
)
def test_a_binding_to_others(member: str, value: Any, code: str) -> None:
    """A header that was rewritten must agree with the list, too."""
    envelope = document()
    header = header_of(envelope)
    header["kv"][member] = value
    check_refusal(with_header(envelope, header), code)


def entry(kind: Kind, **change: Any) -> dict[str, Any]:
    """Return an envelope for *kind* with members of its only entry changed."""
    envelope = document(kind)
    for name, value in change.items():
        place = envelope["recipients"][0] if name == "encrypted_key" else envelope["recipients"][0]["header"]
        place[name] = value
        if value is None:
            del place[name]
    return envelope


EPK = {"kty": "EC", "crv": "P-256", "x": text(5, 32), "y": text(5, 32)}
LOW_ORDER = {"kty": "OKP", "crv": "X25519", "x": text(0, 32)}


@pytest.mark.parametrize(
    ("kind", "change", "code", "named"),
    [
        (P256, {"alg": "RSA1_5"}, "recipient-alg-unsupported", "'RSA1_5'"),
        (P256, {"alg": "dir"}, "recipient-alg-unsupported", "'dir'"),
        (P256, {"alg": PBES}, "recipient-alg-unsupported", f"'{PBES}'"),
        (P256, {"alg": "x" * 500}, "recipient-alg-unsupported", "'" + "x" * 37 + "…'"),
        (P256, {"encrypted_key": "AB"}, "base64url-not-canonical", "'encrypted_key'"),
        (P256, {"encrypted_key": ""}, "envelope-entry-malformed", "'ops'"),
        (P256, {"encrypted_key": b64u(bytes(39))}, "envelope-entry-malformed", "'ops'"),
        (P256, {"encrypted_key": b64u(bytes(41))}, "envelope-entry-malformed", "'ops'"),
        (P256, {"encrypted_key": b64u(bytes(40))}, "content-key-invalid", "'ops'"),
        (P256, {"epk": None}, "envelope-entry-malformed", "'ops'"),
        (P256, {"epk": EPK}, "point-not-on-curve", "ephemeral key of recipient 'ops'"),
        (P256, {"epk": {**EPK, "x": "AA"}}, "key-length", "ephemeral key of recipient 'ops'"),
        (P256, {"epk": {**EPK, "crv": "P-384"}}, "recipient-crv-unsupported", "'P-384'"),
        (P256, {"epk": {**EPK, "crv": "X448"}}, "recipient-crv-unsupported", "'X448'"),
        (P256, {"epk": {**EPK, "crv": "c" * 60}}, "recipient-crv-unsupported", f"'{'c' * 17}…'"),
        (P256, {"epk": {**EPK, "kty": "OKP"}}, "envelope-entry-malformed", "'ops'"),
        (
            P256,
            {"epk": {"kty": "OKP", "crv": "P-256", "x": text(9, 32)}},
            "alg-mismatch",
            "ephemeral key of recipient 'ops': a key of type 'OKP' on 'P-256'",
        ),
        (P256, {"epk": {"kty": "OKP", "crv": "X25519", "x": text(9 << 248, 32)}}, "content-key-invalid", "'ops'"),
        (X25519, {"epk": LOW_ORDER}, "point-low-order", "ephemeral key of recipient 'laptop'"),
        (RSA, {"epk": EPK}, "envelope-entry-malformed", repr(RSA[0])),
        (RSA, {"encrypted_key": b64u(bytes(255))}, "envelope-entry-malformed", repr(RSA[0])),
        (RSA, {"encrypted_key": b64u(bytes(256))}, "content-key-invalid", repr(RSA[0])),
        (RSA, {"encrypted_key": b64u(bytes(512))}, "content-key-invalid", repr(RSA[0])),
        (RSA, {"encrypted_key": b64u(bytes(513))}, "envelope-entry-malformed", repr(RSA[0])),
    ],
)
def test_invalid_entries(kind: Kind, change: dict[str, Any], code: str, named: str) -> None:
    """Every entry must have the form of its algorithm, whichever recipient opens the envelope."""
    check_refusal(entry(kind, **change), code, named, kind)


def test_the_hint_lists_supported_algorithms() -> None:
    """It names the algorithms that wrap a content key."""
    envelope = reread(entry(P256, alg="dir"))
    with fails("recipient-alg-unsupported", EnvelopeError) as caught:
        check_envelope(envelope, **PLACE)
    assert "ECDH-ES+A256KW, RSA-OAEP-256" in (caught.value.hint or "")


def test_an_envelope_for_other_recipients() -> None:
    """An identity that is not a recipient is not tried."""
    with fails("envelope-recipient-unknown", EnvelopeError) as caught:
        opened(seal(P256), X25519)
    assert "'laptop'" in caught.value.message


def test_an_identity_of_another_algorithm() -> None:
    """An RSA identity with the kid of a P-256 recipient does not try to unwrap."""
    envelope = seal(P256)
    other = JWKIdentity({**identity(*RSA), "kid": "ops"})
    with fails("identity-alg-mismatch", EnvelopeError):
        open_bytes(envelope, **PLACE, recipient="ops", unwrap=other.unwrap)


def test_an_identity_of_the_same_name() -> None:
    """Another key with the same kid does not unwrap."""
    other = JWKIdentity({**identity("someone", *P256[1:]), "kid": "ops"})
    with fails("content-key-invalid", EnvelopeError):
        open_bytes(seal(P256), **PLACE, recipient="ops", unwrap=other.unwrap)


@pytest.mark.parametrize(
    ("cek", "code", "named"),
    [
        (b"", "content-key-invalid", "0 octets; expected 32"),
        (bytes(16), "content-key-invalid", "16 octets; expected 32"),
        (bytes(32), "envelope-tampered", "key-1"),
    ],
)
def test_a_provider_that_returns_the_wrong_content_key(cek: bytes, code: str, named: str) -> None:
    """The response of a KMS is checked."""
    unwrap: Callable[[Any], bytes] = lambda entry: cek  # noqa: E731 - shorter than a function that says the same
    with fails(code, EnvelopeError) as caught:
        open_bytes(seal(P256), **PLACE, recipient="ops", unwrap=unwrap)
    assert named in caught.value.message


# --- the plaintext --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plain", "code", "named"),
    [
        (b"", "plaintext-malformed", "not a JWK"),
        (b"\xff", "plaintext-malformed", "not a JWK"),
        (b"[]", "plaintext-malformed", "not a JWK"),
        (b'{"d":1}', "plaintext-malformed", "not a JWK"),
        (b"[" * 100_000, "plaintext-malformed", "not a JWK"),
        (b"{}", "plaintext-of-other-key", "another key"),
        (msgspec.json.encode(private("ES256", number=1)), "plaintext-of-other-key", "another key"),
        (msgspec.json.encode({**private("ES256"), "kty": "OKP"}), "plaintext-of-other-key", "another key"),
        (
            msgspec.json.encode({name: value for name, value in private("ES256").items() if name != "d"}),
            "plaintext-malformed",
            "no private half",
        ),
    ],
)
def test_the_plaintext_has_to_be_the_private_half(plain: bytes, code: str, named: str) -> None:
    """Anyone can seal any bytes to a recipient: the plaintext is compared with the public half."""
    key = public(private("ES256"))
    with fails(code, EnvelopeError) as caught:
        parse_private(plain, key)
    assert key.kid in caught.value.message
    assert named in caught.value.message


def test_names_come_from_the_record() -> None:
    """kid, use and alg come from the record, whatever was sealed with the key; an imported key may have another kid."""
    jwk = private("ES256")
    plain = msgspec.json.encode({**jwk, "kid": "other", "use": "enc", "alg": "none"})
    assert jwk == parse_private(plain, public(jwk))


def test_a_symmetric_key_comes_out_with_its_secret() -> None:
    """It has no public half to compare."""
    jwk = private("HS256")
    assert parse_private(msgspec.json.encode(jwk), public(jwk))["k"] == jwk["k"]


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (make_key(created(), withdrawn(T0), kid="a"), "key a is withdrawn: its private half was removed"),
        (make_key(created(), revoked(T0), kid="a"), "key a is revoked: its private half was removed"),
        (
            Key(1, "s", make_key(created(), kid="a").public, (created(), activated(), deactivated(T0, T0))),
            "key a is retiring: its private half is not in the vault",
        ),
    ],
)
def test_a_key_without_an_envelope(key: Key, reason: str) -> None:
    """The message says why there is none."""
    with fails("private-half-missing", EnvelopeError) as caught:
        envelope_of(key)
    assert caught.value.message.startswith(reason)


def test_a_key_with_an_envelope() -> None:
    """The envelope comes from the record."""
    key = make_key(created())
    assert envelope_of(key) is key.private


# --- recipients -----------------------------------------------------------------------------------------


def test_no_recipients() -> None:
    """Without a recipient, the key would be lost."""
    with fails("recipients-missing", EnvelopeError) as caught:
        Sealer({})
    assert caught.value.hint == "keyvault repair --dry-run, if the list was lost; else keyvault recipient add FILE"


def test_too_many_recipients() -> None:
    """Opening would refuse the envelope."""
    with fails("recipients-too-many", EnvelopeError) as caught:
        Sealer(dict.fromkeys(map(str, range(33)), recipient(*P256)))
    assert "33 recipients; the limit is 32" in caught.value.message


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        ({"use": "sig"}, "recipient-alg-unsupported", "use 'sig' and alg 'ECDH-ES+A256KW'"),
        ({"alg": "ECDH-ES"}, "recipient-alg-unsupported", "use 'enc' and alg 'ECDH-ES'"),
        ({"alg": "RSA-OAEP"}, "recipient-alg-unsupported", "use 'enc' and alg 'RSA-OAEP'"),
        ({"alg": "A256KW"}, "recipient-alg-unsupported", "use 'enc' and alg 'A256KW'"),
        ({"use": "u" * 60}, "recipient-alg-unsupported", f"use '{'u' * 17}…' and alg"),
        ({"alg": "a" * 60}, "recipient-alg-unsupported", f"alg '{'a' * 37}…'"),
        ({"crv": "c" * 60}, "recipient-crv-unsupported", f"'{'c' * 17}…'"),
        ({"alg": "RSA-OAEP-256"}, "alg-mismatch", "type 'EC' on 'P-256'"),
        ({"crv": "P-384"}, "recipient-crv-unsupported", "'P-384'"),
        ({"crv": msgspec.UNSET}, "recipient-crv-unsupported", "UNSET"),
        ({"crv": "X25519"}, "alg-mismatch", "type 'EC' on 'X25519'"),
        ({"x": text(5, 32)}, "point-not-on-curve", "P-256"),
        ({"y": msgspec.UNSET}, "base64url-invalid", "'y'"),
    ],
)
def test_invalid_recipients(change: dict[str, Any], code: str, named: str) -> None:
    """A key that is weak, or of another type, is refused before anything is sealed to it."""
    weak: Recipient = msgspec.structs.replace(recipient(*P256), **change)
    with fails(code, JWKError) as caught:
        check_recipient(weak)
    assert named in caught.value.message
    with fails(code, JWKError):
        Sealer({"ops": weak})


@pytest.mark.parametrize(
    ("change", "code", "supported"),
    [
        ({"use": "sig"}, "recipient-alg-unsupported", "ECDH-ES+A256KW, RSA-OAEP-256"),
        ({"crv": "P-384"}, "recipient-crv-unsupported", "P-256 or X25519"),
    ],
)
def test_the_hint_lists_supported_recipients(change: dict[str, Any], code: str, supported: str) -> None:
    """It names the algorithms, or the curves."""
    with fails(code, JWKError) as caught:
        check_recipient(msgspec.structs.replace(recipient(*P256), **change))
    assert supported in (caught.value.hint or "")


def test_an_rsa_recipient_of_1024_bits() -> None:
    """Sealing to it would be publishing."""
    weak = msgspec.structs.replace(recipient(*RSA), n=text(2**1023 + 1))
    with fails("rsa-modulus-size", JWKError) as caught:
        Sealer({"ops": weak})
    assert "1024 bits" in caught.value.message


@pytest.mark.parametrize("alg", ["ES256", "HS256", "ML-DSA-44"])
def test_the_plaintext_has_a_private_half(alg: str) -> None:
    """Each type of key has another private member, and without it the plaintext is refused."""
    jwk = private(alg)
    shown = public(jwk) if alg != "HS256" else PublicJWK(kty="oct", kid=jwk["kid"], use="sig", alg=alg)
    assert parse_private(msgspec.json.encode(jwk), shown) == jwk
    bare = {name: value for name, value in jwk.items() if name not in ("d", "k", "priv")}
    with fails("plaintext-malformed", EnvelopeError):
        parse_private(msgspec.json.encode(bare), shown)
