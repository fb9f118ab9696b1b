"""
The vectors of Wycheproof and of RFC 7520, with our checks of keys and our opening of envelopes.

No invalid vector is accepted. wycheproof.json lists the vectors that are left out, and the valid vectors that we refuse,
by the id of the test and with the reason; the lists are exact.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyvault.core.envelope_form import check_envelope, decode_member
from keyvault.core.jwk import b64u, b64u_decode, pretty
from keyvault.core.keys import Envelope, Key, WrappedKey
from keyvault.core.lint.documents import Source, lint_jwk_set
from keyvault.core.strength import check_public_key
from keyvault.crypto.envelope import open_bytes
from keyvault.crypto.identities import JWKIdentity, recipient_of
from keyvault.crypto.pairs import check_private_jwk, private_key
from keyvault.crypto.tokens import TokenSigner
from keyvault.errors import EnvelopeError, JWKError, RecordError
from keyvault.repo.records import decode_key, encode_key
from tests.core.build import SEALED, created, make_key
from tests.crypto.keys import number, private, text

LISTS: dict[str, dict[str, list[dict[str, Any]]]] = json.loads(Path(__file__).with_name("wycheproof.json").read_text())


def listed(file: str, name: str) -> set[int]:
    """Return the ids of a list of wycheproof.json."""
    entries = LISTS[file][name]
    ids = [tc_id for entry in entries for tc_id in entry["tcIds"]]
    assert len(ids) == len(set(ids))
    assert all(entry["reason"] for entry in entries)
    return set(ids)


def numbered(vectors: Path, file: str, count: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield (group, test) of a file of Wycheproof, which must have *count* tests."""
    document = json.loads((vectors / "wycheproof" / f"{file}_test.json").read_text())
    tests = [(group, test) for group in document["testGroups"] for test in group["tests"]]
    assert len(tests) == count
    yield from tests


def check_taken(file: str, taken: dict[int, bool], results: dict[int, str]) -> None:
    """Fail if an invalid test was accepted, or if the lists of wycheproof.json are not exact."""
    assert set(results) - set(taken) == listed(file, "left out")
    assert [tc_id for tc_id, yes in taken.items() if yes and results[tc_id] != "valid"] == []
    refused = {tc_id for tc_id, yes in taken.items() if not yes and results[tc_id] == "valid"}
    assert refused == listed(file, "valid and refused")


# --- keys -----------------------------------------------------------------------------------------------

#: Sets that are invalid as a whole, with the code of lint.
SETS = {1: "symmetric-key", 4: "duplicate-kid"}


def test_json_web_key(vectors: Path) -> None:
    """Every invalid key is refused before it signs, and every invalid set by lint; valid ones are accepted."""
    taken, results = {}, {}
    for group, test in numbered(vectors, "json_web_key", 26):
        tc_id, keys = test["tcId"], group["private"].get("keys", [group["private"]])
        results[tc_id] = test["result"]
        if tc_id in SETS:
            findings = lint_jwk_set(Source("set", pretty({"keys": keys})))
            found = {finding.code for finding in findings if finding.level == "error"}
            taken[tc_id] = SETS[tc_id] not in found
        elif tc_id not in listed("json_web_key", "left out"):
            taken[tc_id] = all(can_sign(key) for key in keys)
    check_taken("json_web_key", taken, results)


def can_sign(jwk: dict[str, Any]) -> bool:
    try:
        TokenSigner(jwk)
    except JWKError:
        return False
    return True


# --- encryption -----------------------------------------------------------------------------------------

PLACE = {"kid": "key-1", "set_name": "id-token"}


def parts_of(token: str) -> dict[str, Any]:
    """Return the members of a JWE in compact or flattened form, unchecked."""
    if token.startswith("{"):
        return dict(json.loads(token))
    names = ("protected", "encrypted_key", "iv", "ciphertext", "tag")
    return dict(zip(names, [*token.split("."), "", "", "", ""], strict=False))


def header_of(parts: dict[str, Any]) -> dict[str, Any]:
    """Return the protected header; empty if it cannot be read."""
    try:
        header = json.loads(b64u_decode(parts["protected"], what="protected"))
    except (JWKError, ValueError):
        return {}
    return header if isinstance(header, dict) else {}


def entry_of(parts: dict[str, Any], *, alg: str) -> dict[str, Any]:
    """Return the entry of the only recipient, in the form of our envelopes."""
    epk = header_of(parts).get("epk")
    header = {"alg": alg, "kid": "ops", **({"epk": epk} if epk else {})}
    return {"header": header, "encrypted_key": parts["encrypted_key"]}


def general(parts: dict[str, Any], *, alg: str) -> dict[str, Any]:
    """Return a JWE in the general form."""
    return {
        **{name: parts[name] for name in ("protected", "iv", "ciphertext", "tag")},
        "recipients": [entry_of(parts, alg=alg)],
    }


def as_record(private_member: Any) -> bytes:
    """Return a record whose private half is *private_member*."""
    record = json.loads(encode_key(RECORD))
    return (json.dumps({**record, "private": private_member}, indent=2) + "\n").encode()


RECORD: Key = make_key(created())


def alg_for(jwk: dict[str, Any]) -> str:
    return "RSA-OAEP-256" if jwk["kty"] == "RSA" else "ECDH-ES+A256KW"


@functools.cache
def identity_of(jwk: str) -> JWKIdentity | None:
    """Return the identity of a Wycheproof key with one of our algorithms; None if it cannot be a recipient."""
    members = {**json.loads(jwk), "kid": "ops", "use": "enc"}
    try:
        recipient = recipient_of({**members, "alg": alg_for(members)})
    except JWKError:
        return None
    return JWKIdentity({**members, "alg": recipient.alg})


def test_no_jwe_of_others_is_an_envelope(vectors: Path) -> None:
    """
    All 139, valid or not, are refused, as they are and in the general form: none is bound to a key and a set.

    The refusal is an error of ours, whatever the form.
    """
    for group, test in numbered(vectors, "json_web_encryption", 139):
        parts = parts_of(test["jwe"])
        for form in (test["jwe"], parts, general(parts, alg=str(header_of(parts).get("alg")))):
            with pytest.raises(RecordError):
                open_record(as_record(form), group["private"])


def open_record(data: bytes, jwk: dict[str, Any]) -> bytes:
    key = decode_key(data, path=RECORD.path)
    identity = identity_of(json.dumps(jwk))
    assert isinstance(key.private, Envelope)

    def unwrap(entry: WrappedKey) -> bytes:
        assert identity is not None
        return identity.unwrap(entry)

    return open_bytes(key.private, kid=key.kid, set_name=key.set, recipient="ops", unwrap=unwrap)


def test_json_web_encryption(vectors: Path) -> None:
    """
    Open the parts of an envelope by themselves: recipient, ephemeral key, wrapped key and content.

    Without the binding, a JWE opens if and only if it is valid and has our algorithms.
    """
    taken, results = {}, {}
    for group, test in numbered(vectors, "json_web_encryption", 139):
        plain = opened(parts_of(test["jwe"]), group["private"])
        assert plain is None or plain == bytes.fromhex(test["pt"])
        taken[test["tcId"]], results[test["tcId"]] = plain is not None, test["result"]
    check_taken("json_web_encryption", taken, results)
    assert {tc_id for tc_id, yes in taken.items() if yes} == {66, 90}


def opened(parts: dict[str, Any], jwk: dict[str, Any]) -> bytes | None:
    """Open a JWE with the steps that open an envelope, except the check of its binding."""
    identity = identity_of(json.dumps(jwk))
    header = header_of(parts)
    if identity is None or header.get("alg") != alg_for(jwk) or "protected" not in parts:
        return None
    try:
        cek = identity.unwrap(msgspec.convert(entry_of(parts, alg=header["alg"]), type=WrappedKey))
        iv, ciphertext, tag = (decode_member(parts[name], name) for name in ("iv", "ciphertext", "tag"))
        if not header["enc"].endswith("GCM") or (len(iv), len(tag)) != (12, 16):
            return None
        return AESGCM(cek).decrypt(iv, ciphertext + tag, parts["protected"].encode())
    except (EnvelopeError, msgspec.ValidationError, InvalidTag):
        return None


def test_wrapped_keys_under_another_name(vectors: Path) -> None:
    """A key wrapped with another algorithm does not unwrap under the name of ours; a point off the curve is refused."""
    opened_all, off_curve = [], []
    for group, test in numbered(vectors, "json_web_encryption", 139):
        identity = identity_of(json.dumps(group["private"]))
        parts = parts_of(test["jwe"])
        if identity is None or header_of(parts).get("alg") == alg_for(group["private"]):
            continue
        entry = entry_of(parts, alg=alg_for(group["private"]))
        with contextlib.suppress(EnvelopeError, msgspec.ValidationError):
            opened_all.append((test["tcId"], identity.unwrap(msgspec.convert(entry, type=WrappedKey))))
        if refusal(bound(entry)) == "point-not-on-curve":
            off_curve.append(test["tcId"])
    assert opened_all == []
    assert off_curve == [51]


def bound(entry: dict[str, Any]) -> Envelope:
    """Return an envelope with *entry* and a valid binding."""
    kv = {"format": 1, "kid": PLACE["kid"], "recipients": ["ops"], "set": PLACE["set_name"]}
    protected = b64u(json.dumps({"cty": "jwk+json", "enc": "A256GCM", "kv": kv}, separators=(",", ":")).encode())
    parts = {"iv": b64u(bytes(12)), "ciphertext": "AA", "tag": b64u(bytes(16))}
    return msgspec.convert({"protected": protected, "recipients": [entry], **parts}, type=Envelope)


def refusal(envelope: Envelope) -> str:
    try:
        check_envelope(envelope, **PLACE)
    except EnvelopeError as error:
        return error.code
    return ""


# --- primes ---------------------------------------------------------------------------------------------


def value_of(test: dict[str, Any]) -> int:
    """Return a number of Wycheproof's: hexadecimal, in two's complement."""
    value, digits = int(test["value"], 16), len(test["value"])
    return value - (1 << 4 * digits) if test["value"][0] > "7" else value


def rsa_key(p: int, q: int) -> dict[str, str]:
    """Return the private RSA key of *p* and *q*: complete and consistent, whether they are prime or not."""
    e = next(e for e in range(65_537, 70_000, 2) if math.gcd(e, (p - 1) * (q - 1)) == 1)
    d = pow(e, -1, math.lcm(p - 1, q - 1))
    members = {"n": p * q, "e": e, "d": d, "p": p, "q": q, "dp": d % (p - 1), "dq": d % (q - 1), "qi": pow(q, -1, p)}
    return {"kty": "RSA", **{name: text(value) for name, value in members.items()}}


def is_taken(jwk: dict[str, str]) -> bool:
    try:
        private_key(jwk)
    except JWKError:
        return False
    return True


def test_primality(vectors: Path) -> None:
    """One pseudoprime of each kind, as long as a factor, is refused."""
    q = number(private("RS256"), "q")
    kinds = {
        tuple(test["flags"]): value_of(test)
        for _, test in numbered(vectors, "primality", 317)
        if test["result"] == "invalid" and 1_000 <= value_of(test).bit_length() <= 3_000
    }
    assert [flags for flags, p in kinds.items() if is_taken(rsa_key(p, q))] == []
    assert len(kinds) >= 5


@pytest.mark.slow
def test_primality_of_all(vectors: Path) -> None:
    """Every number as a factor beside a large prime is accepted if and only if it is prime, and not small."""
    tests = {test["tcId"]: test for _, test in numbered(vectors, "primality", 317)}
    results = {tc_id: test["result"] for tc_id, test in tests.items()}
    # Primes of 1279, 990 and 2203 bits: the first that fits, and the longest last, which OpenSSL tests slowly.
    large = [value_of(tests[tc_id]) for tc_id in (254, 264, 255)]
    taken = {}
    for tc_id, test in tests.items():
        p = value_of(test)
        if tc_id not in listed("primality", "left out"):
            q = next(q for q in large if p != q and 2_048 <= (p * q).bit_length() <= 4_096)
            taken[tc_id] = is_taken(rsa_key(p, q))
    check_taken("primality", taken, results)


# --- RFC 7520 -------------------------------------------------------------------------------------------


def cookbook(vectors: Path, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (section, example) of a folder of the cookbook."""
    for path in sorted((vectors / "rfc7520" / folder).glob("*.json")):
        yield path.name.split(".")[0].replace("_", "."), json.loads(path.read_text())


def test_keys_of_rfc_7520(vectors: Path) -> None:
    """Each key of section 3, and each key of an example, is accepted or refused as it should be."""
    for section, jwk in cookbook(vectors, "jwk"):
        if section in ("3.1", "3.3"):
            check_public_key(jwk)
    refused = {}
    for folder in ("jws", "jwe"):
        for section, example in cookbook(vectors, folder):
            given = example["input"]
            keys, algs = given.get("key", []), given["alg"]
            for jwk, alg in zip(*((x if isinstance(x, list) else [x]) for x in (keys, algs)), strict=False):
                try:
                    check_private_jwk(jwk, alg=alg)
                except JWKError as error:
                    refused[f"{section} {alg}"] = error.code
    unknown = ("5.1 RSA1_5", "5.6 dir", "5.7 A256GCMKW", "5.13 RSA1_5", "5.13 A256GCMKW")
    assert refused == dict.fromkeys(unknown, "alg-unknown")


def test_no_jwe_of_rfc_7520_is_an_envelope(vectors: Path) -> None:
    """Every form of every example: none combines our algorithms, and none has a binding."""
    count = 0
    for _, example in cookbook(vectors, "jwe"):
        for form in example["output"].values():
            with pytest.raises(RecordError):
                decode_and_check(as_record(form))
            count += 1
    assert count > 30


def decode_and_check(data: bytes) -> None:
    key = decode_key(data, path=RECORD.path)
    assert isinstance(key.private, Envelope)
    check_envelope(key.private, kid=key.kid, set_name=key.set)


def test_the_record_around_them_is_sound() -> None:
    """The tests above refuse the envelope, and not the record."""
    assert decode_key(as_record(msgspec.to_builtins(SEALED)), path=RECORD.path).kid == RECORD.kid
