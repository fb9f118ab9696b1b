"""Generate a key outside of any vault, and derive the kid of a key."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from keyvault.core.jwk import check_kid
from keyvault.core.key_parameters import KeyParameters, derive_kid

if TYPE_CHECKING:
    from keyvault.crypto.generate import PrivateJWK


def generate_key(
    form: KeyParameters, *, now: datetime, kid: str | None = None, kid_from: str = "sha-256"
) -> PrivateJWK:
    """
    Return a fresh private JWK of *form*, which no vault has.

    Its kid is *kid*, or is derived as *kid_from* says; if that would begin with ``-`` or ``_``, a new key is generated.
    """
    from keyvault.crypto.generate import generate_from_parameters

    while True:
        private = generate_from_parameters(form)
        chosen = check_kid(kid) if kid is not None else derived_kid(private, kid_from, now)
        if kid is not None or chosen[0] not in "-_":
            return {"kty": private["kty"], "kid": chosen, **private}


def derived_kid(members: PrivateJWK, kid_from: str, now: datetime) -> str:
    """Return the kid of a key in the form *kid_from*. Raises the errors of `derive_kid`."""
    from keyvault.core.key_objects import public_der

    needs_der = kid_from == "spki" and members["kty"] != "oct"
    return derive_kid(members, kid_from, now=now, der=public_der(members) if needs_der else None)
