"""Every vector gets its expected result from each of the three readers of records."""

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
#: For generated records; the largest that is parsed has 256 KiB.
MEMORY_MAX = 16 * 1024 * 1024


def outcome(vector: dict[str, Any]) -> str:
    """Return the name of the error that the record of *vector* raises when it is used, or ``accepted``."""
    try:
        use(read(octets(vector["data"]), vector["path"]))
    except KeyVaultError as error:
        assert error.message == printable(error.message)  # noqa: PT017 - some vectors are accepted
        assert len(error.message) < 1_000  # noqa: PT017 - the same
        return type(error).__name__
    return "accepted"


@pytest.mark.parametrize("vector", ALL)
def test_vector(vector: dict[str, Any]) -> None:
    """Using the record gives exactly the class that the vector names, and the audit finds exactly its codes."""
    assert outcome(vector) == vector["class"], vector["about"]
    assert audit(octets(vector["data"]), vector["path"]) == vector["audit"], vector["about"]


def test_the_two_readers_agree() -> None:
    """
    The audit has a finding for every record that commands refuse, and commands refuse every record with a finding.
    """
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


def test_damage_that_only_decryption_shows() -> None:
    """The audit finds nothing in a refused record only if the damage is visible to decryption alone."""
    silent = {name for name, vector in vectors() if vector["class"] != "accepted" and not vector["audit"]}
    assert silent == {"envelopes"}


def test_findings_are_printable() -> None:
    """A terminal can show the audit's findings for a hostile record."""
    for _, vector in vectors():
        for _, message in read_record(octets(vector["data"]), vector["path"], None)[1]:
            assert message == printable(message)
            assert len(message) < 500


def test_large_vectors_take_little_memory() -> None:
    """Checking a generated record takes at most a small multiple of the largest record that is parsed."""
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


# --- other identities -----------------------------------------------------------------------------------


def test_other_identities_open_no_envelope() -> None:
    """New identities under the same labels open none of the envelopes, and always get the same error."""
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


def test_new_envelopes_have_the_form_of_the_vectors() -> None:
    """A new envelope has the form of the accepted vectors: the files are not out of date."""
    jwk = load("envelopes")["identities"][0]
    vector = next(candidate for candidate in load("envelopes")["vectors"] if candidate["name"] == "P-256")
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


def test_the_files_are_valid() -> None:
    """
    There are more than two hundred vectors, each with a unique name, a known class, known codes and no other member.
    """
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
    """The test identities are in the clear, and the file says so."""
    assert re.search("protect nothing", load("envelopes")["warning"])
