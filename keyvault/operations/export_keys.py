"""Export keys in the formats of other programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from keyvault.core.algorithms import ALGORITHMS
from keyvault.core.jwk import PublicJWK, jwk_set_bytes, pretty, public_jwk
from keyvault.core.keys import Key
from keyvault.core.state import VaultState
from keyvault.core.text import quoted
from keyvault.errors import UsageError
from keyvault.operations.context import Context
from keyvault.operations.keys import open_keys, select

if TYPE_CHECKING:
    from keyvault.crypto.exports import CertificateOptions
    from keyvault.crypto.generate import PrivateJWK

#: The formats of public keys.
PUBLIC_FORMATS = ("jwk", "jwks", "pem", "der")


def encode_public(keys: Sequence[PublicJWK], form: str, *, name: str) -> bytes:
    """
    Return public keys in *form*, one of `PUBLIC_FORMATS`.

    Raises:
        UsageError: If a key is symmetric, or the format is unknown or holds a single key and there are more.
    """
    from keyvault.site.documents import public_der, public_pem

    if form in ("p12", "x509", "dotenv", "kubernetes-secret", "apiserver"):
        raise UsageError(f"--format {form} needs the private half", code="option-missing", hint="--private")
    if form not in PUBLIC_FORMATS:
        raise UsageError(
            f"unknown value {quoted(form, 40)} of --format",
            code="option-invalid",
            hint="one of " + ", ".join(PUBLIC_FORMATS),
        )
    if any(key.kty == "oct" for key in keys):
        raise UsageError("a symmetric key has no public half", code="key-symmetric", hint="--private")
    if form in ("jwk", "der") and len(keys) != 1:
        raise UsageError(
            f"{name} has {len(keys)} keys, but --format {form} holds a single key",
            code="format-single-key",
            hint="--active, a kid, or --format jwks",
        )
    if form == "pem":
        return b"".join(public_pem(key) for key in keys)
    if form == "der":
        return public_der(keys[0])
    return pretty(keys[0]) if form == "jwk" else jwk_set_bytes(keys)


def public_half(private: PrivateJWK, form: str) -> bytes:
    """Return the public half of a private JWK in *form*, with the labels of the JWK."""
    if "alg" in private and "use" in private and private["alg"] in ALGORITHMS:
        return encode_public([public_jwk(private, kid=private["kid"], alg=private["alg"])], form, name="the key")
    return _unlabelled_half(private, form)


def _unlabelled_half(private: PrivateJWK, form: str) -> bytes:
    from keyvault.core.jwk import REQUIRED
    from keyvault.core.key_objects import public_der
    from keyvault.site.documents import pem

    if private["kty"] == "oct":
        raise UsageError("a symmetric key has no public half", code="key-symmetric", hint="--private")
    kept = ("kty", "kid", "use", "alg", *REQUIRED[private["kty"]])
    public = {name: value for name, value in private.items() if name in kept}
    if form == "jwk":
        return pretty(public)
    if form == "jwks":
        return pretty({"keys": [public]})
    der = public_der(private)
    return pem(der) if form == "pem" else der


# --- keys of a vault ------------------------------------------------------------------------------------


def chosen_keys(state: VaultState, name: str, *, active: bool = False) -> list[Key]:
    """
    Return the keys that *name*, a set or a kid, means; with *active*, only the active key.

    Raises:
        UsageError: If there is no such set or key, or no active key.
    """
    keys = [key for key in select(state, name) if key.state == "active" or not active]
    if not keys:
        raise UsageError(f"{name} has no active key", code="active-key-missing", hint="keyvault rotate --due")
    return keys


def export_public(context: Context, name: str, *, active: bool = False, form: str = "jwk") -> bytes:
    """Return public keys of *name* in *form*. Raises the errors of `chosen_keys` and `encode_public`."""
    keys = chosen_keys(context.state(), name, active=active)
    return encode_public([key.public for key in keys], form, name=name)


def export_private(
    context: Context,
    name: str,
    *,
    certificate: CertificateOptions,
    active: bool = False,
    form: str = "jwk",
    password: bytes | None = None,
    x5c: bool = False,
) -> tuple[bytes, list[str]]:
    """
    Return private keys of *name* in *form*, and remarks: keys without a private half here, names that Java changes.

    Args:
        context: The vault.
        name: A set, or a kid.
        certificate: The content of certificates, for formats that have them.
        active: Export only the active key of a set.
        form: One of `exports.FORMATS`.
        password: Encrypts the keys, if the format supports it.
        x5c: Whether JWKs carry a self-signed certificate.

    Raises:
        UsageError: If there is no such key, its private half is elsewhere, or the format does not support it.
        IdentityError: If no identity opens the key.
    """
    from keyvault.crypto.exports import encode_keys

    chosen = chosen_keys(context.state(), name, active=active)
    keys = [key for key in chosen if key.sealed]
    if not keys:
        raise UsageError(f"no private half of {name} is in the vault", code="private-half-missing")
    opened = list(open_keys(context, keys))
    data = encode_keys(opened, form, name=name, certificate=certificate, password=password, x5c=x5c)
    remarks = export_remarks(opened, form)
    if missing := [key.kid for key in chosen if not key.sealed]:
        remarks.append(f"skipped keys without a private half here: {', '.join(missing)}")
    return data, remarks


def export_remarks(keys: Sequence[PrivateJWK], form: str) -> list[str]:
    """Return remarks on *keys* in *form*: the JDK reads the names in a PKCS#12 file in lower case."""
    changed = [key["kid"] for key in keys if form == "p12" and key["kid"] != key["kid"].lower()]
    return [
        f"Java reads the name of this key as {kid.lower()}: set the kid {kid} in the program that signs, or tokens "
        "name a kid that is not published (docs/coming-from.md says how)"
        for kid in changed
    ]


def export_apiserver(context: Context, name: str) -> dict[str, bytes]:
    """
    Return the two files that a kube-apiserver needs: its private key, and the public keys that it verifies with.

    Raises:
        UsageError: If the set has no active key.
        IdentityError: If no identity opens it.
    """
    from keyvault.crypto.pairs import private_pem

    state = context.state()
    (active,) = chosen_keys(state, name, active=True)
    (private,) = open_keys(context, [active])
    keys = [key.public for key in state.find_set(name).jwk_set] if name in state.sets else [active.public]
    return {"sa.key": private_pem(private), "sa.pub": encode_public(keys, "pem", name=name)}
