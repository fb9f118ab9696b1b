"""Sets whose kids are the SHA-256 of the public key in DER, as kube-apiserver names keys."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keyvault.core.algorithms import key_spec
from keyvault.core.jwk import b64u
from keyvault.core.key_objects import load_public
from keyvault.errors import ConfigError, RecordError
from keyvault.operations import keys, rotation
from keyvault.repo.records import decode_key, encode_key
from tests.errors import fails
from tests.revisions import audit
from tests.vaults import Vault


@pytest.mark.parametrize("alg", ["ES256", "RS256", "EdDSA", "ES384"])
def test_a_kid_of_the_public_key_in_der(vault: Vault, alg: str) -> None:
    """A set with kid = "spki" names its keys as kube-apiserver does; a record with another kid is refused."""
    keys.add_set(vault.context(), "cluster", spec=key_spec(alg, kid_form="spki"))
    policy = vault.state().policy.sets["cluster"]
    assert policy.spec.kid_form == "spki"

    for key in (vault.active("cluster"), vault.next("cluster")):
        der = load_public(msgspec.to_builtins(key.public)).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert key.kid == b64u(hashlib.sha256(der).digest())
        assert key.kid != key.thumbprint == key.public.thumbprint
        assert key.kid[0] not in "-_"
    rotation.rotate(vault.context(), ["cluster"], forced="a drill")
    assert audit(vault.context()).errors == ()

    other = msgspec.structs.replace(vault.next("cluster"), public=msgspec.structs.replace(key.public, kid="x" * 43))
    with fails("kid-mismatch", RecordError):
        decode_key(encode_key(other), path=other.path)


@pytest.mark.parametrize(("alg", "kid"), [("HS256", "spki"), ("ES256", "sha1"), ("ES256", "")])
def test_unsupported_kid_forms(alg: str, kid: str) -> None:
    """A secret has no public half to hash, and other forms are not supported."""
    with pytest.raises(ConfigError):
        key_spec(alg, kid_form=kid or "none")
