"""Every vector gets what it must get, from each of the three that read records."""

from __future__ import annotations

import re
import tracemalloc
from typing import Any

import msgspec
import pytest

from keyvault import errors
from keyvault.core.history.findings import ERRORS
from keyvault.core.history.versions import read_record
from keyvault.core.keys import Envelope
from keyvault.core.text import printable
from keyvault.crypto.envelope import Sealer, open_bytes
from keyvault.crypto.identities import JWKIdentity, new_identity, recipient_of
from keyvault.errors import EnvelopeError, KeyVaultError, RecordError
from tests.errors import fails
from tests.vectors.reading import FILES, JUDGED_LATER, audit, load, octets, read, use, vectors

ALL = [
    pytest.param(vector, id=f"{name}: {vector['name']}".encode("ascii", "replace").decode())
    for name, vector in vectors()
]
#: Of records that one cannot write down; 256 KiB is the largest that is parsed.
MEMORY_MAX = 16 * 1024 * 1024


def outcome(vector: dict[str, Any]) -> str:
    """Return the name of the error that whoever uses the record of *vector* gets, or "accepted"."""
    try:
        use(read(octets(vector["data"]), vector["path"]))
    except KeyVaultError as error:
        assert error.message == printable(error.message)  # noqa: PT017 - some vectors are accepted
        assert len(error.message) < 1_000  # noqa: PT017 - the same
        return type(error).__name__
    return "accepted"


@pytest.mark.parametrize("vector", ALL)
def test_vector(vector: dict[str, Any]) -> None:
    """Whoever uses the record gets exactly the class that the vector names, and the audit finds exactly its codes."""
    assert outcome(vector) == vector["class"], vector["about"]
    assert audit(octets(vector["data"]), vector["path"]) == vector["audit"], vector["about"]


def test_the_two_readers_agree() -> None:
    """What commands refuse to read is found by the audit, and what it finds they refuse, there or where a key is used."""
    apart = []
    for name, vector in vectors():
        data, path = octets(vector["data"]), vector["path"]
        codes = audit(data, path)
        try:
            read(data, path)
        except RecordError:
            agree = bool(codes)
        else:
            agree = set(codes) <= JUDGED_LATER and (not codes or vector["class"] != "accepted")
        if not agree:
            apart.append((name, vector["name"], codes))
    assert apart == []


def test_what_nobody_can_see_without_an_identity() -> None:
    """The audit is silent on refused records only where the cryptography alone can tell."""
    silent = {name for name, vector in vectors() if vector["class"] != "accepted" and not vector["audit"]}
    assert silent == {"envelopes"}


def test_findings_are_printable() -> None:
    """What the audit says of a hostile record can be shown on a terminal."""
    for _, vector in vectors():
        for _, message in read_record(octets(vector["data"]), vector["path"], None)[1]:
            assert message == printable(message)
            assert len(message) < 500


def test_large_vectors_take_little_memory() -> None:
    """What is built by repeating is judged within a small multiple of the largest record that is parsed."""
    for _, vector in vectors():
        if isinstance(vector["data"], str):
            continue
        data = octets(vector["data"])
        tracemalloc.start()
        try:
            audit(data, vector["path"])
            outcome(vector)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < MEMORY_MAX + 4 * len(data), vector["name"]


# --- envelopes for other people -------------------------------------------------------------------------


def test_nobody_else_opens_one() -> None:
    """Fresh identities under the same labels open none of the envelopes, and get no other error than that."""
    algorithms = {jwk["kid"]: (jwk["alg"], jwk.get("crv")) for jwk in load("envelopes")["identities"]}
    fresh = {kid: JWKIdentity(new_identity(kid, alg=alg, crv=crv)) for kid, (alg, crv) in algorithms.items()}
    good = {vector["name"]: vector for vector in load("envelopes")["vectors"] if vector["class"] == "accepted"}
    for vector in good.values():
        key = read(octets(vector["data"]), vector["path"])
        assert isinstance(key.private, Envelope)
        for entry in key.private.recipients:
            if identity := fresh.get(entry.header.kid):
                with fails("content-key-invalid", EnvelopeError):
                    open_bytes(
                        key.private, kid=key.kid, set_name=key.set, recipient=identity.kid, unwrap=identity.unwrap
                    )


def test_what_is_sealed_now_is_like_the_vectors() -> None:
    """An envelope of today has the form of the accepted ones: the files have not gone stale."""
    jwk = load("envelopes")["identities"][0]
    vector = next(one for one in load("envelopes")["vectors"] if one["name"] == "P-256")
    key = read(octets(vector["data"]), vector["path"])
    sealed = Sealer({jwk["kid"]: recipient_of(jwk)}).seal_bytes(use(key) or b"", kid=key.kid, set_name=key.set)
    assert isinstance(key.private, Envelope)
    assert sealed.protected == key.private.protected
    lengths = [{path: len(value) for path, value in leaves(msgspec.to_builtins(one))} for one in (sealed, key.private)]
    assert lengths[0] == lengths[1]


def leaves(value: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(value, str):
        return [(path, value)]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [leaf for name, item in items for leaf in leaves(item, f"{path}/{name}")]


# --- the files ------------------------------------------------------------------------------------------


def test_the_files_are_sound() -> None:
    """More than two hundred, each with its own name, a class and codes that exist, and no other member."""
    classes = {name for name in vars(errors) if name.endswith("Error")} | {"accepted"}
    count = 0
    for name in FILES:
        document = load(name)
        names = [vector["name"] for vector in document["vectors"]]
        assert len(names) == len(set(names)), [one for one in names if names.count(one) > 1]
        count += len(names)
        assert document["about"]
        for vector in document["vectors"]:
            assert set(vector) - {"source"} == {"name", "about", "class", "audit", "path", "data"}
            assert vector["class"] in classes
            assert set(vector["audit"]) <= set(ERRORS)
    assert count >= 200


def test_the_identities_are_marked_as_worthless() -> None:
    """They stand in the clear, and the file says so."""
    assert re.search("protect nothing", load("envelopes")["warning"])
