"""
Read the keys in the export of a Keycloak realm, in the order of Keycloak's DefaultKeyManager.

Source: Keycloak's org.keycloak.keys.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from keyvault.core.jwk import b64u
from keyvault.core.key_objects import spki_kid
from keyvault.core.text import elided
from keyvault.crypto.imports.binary import read_binary
from keyvault.crypto.imports.found import FoundKey, Password
from keyvault.crypto.imports.pem import BEGIN, read_pem
from keyvault.errors import JWKError, UsageError

PROVIDERS = "org.keycloak.keys.KeyProvider"

#: The member of each kind of provider that holds its key, and the default use of that key.
_PROVIDER_KEYS = {
    "privateKey": "sig",
    "ecdsaPrivateKey": "sig",
    "ecdhPrivateKey": "enc",
    "eddsaPrivateKey": "sig",
    "mldsaPrivateKey": "sig",
}


def read_realm(providers: object, password: Password) -> Iterator[FoundKey]:
    """
    Yield the keys of a realm's providers.

    The realm's signing key comes first: active keys by priority, then passive ones, which only verify.

    Raises:
        UsageError: If the realm has no providers, or its keys are masked.
        JWKError: If a key is malformed.
    """
    if not isinstance(providers, list):
        raise UsageError("the realm has no key providers", code="key-not-found")
    configs = []
    for provider in providers:
        config = provider.get("config") if isinstance(provider, dict) else None
        if isinstance(config, dict):
            plain = {name: str(value[0]) for name, value in config.items() if isinstance(value, list) and value}
            kind = str(provider.get("providerId"))
            if plain.get("enabled") != "false" and kind != "aes-generated":
                order = (plain.get("active") == "false", -_priority(plain), str(provider.get("id", "")))
                configs.append((order, kind, str(provider.get("name", kind)), plain))
    missing: list[str] = []
    signs = False
    for (passive, *_), kind, name, config in sorted(configs, key=lambda entry: entry[0]):
        found = _read_provider(config, password)
        if found is None:
            if not signs and not passive and (_use(config) or "sig") == "sig":
                missing.append(f"{elided(name)[:60]} ({elided(kind)[:40]})")
            continue
        if missing and not signs and found.use == "sig" and found.members["kty"] != "oct":
            remark = (
                f"the realm signs with the key of provider {', '.join(missing)}, which has a higher priority, but "
                "the export lacks that private key: import its keystore first, or this key becomes active instead"
            )
            found = replace(found, remarks=(*found.remarks, remark))
        signs = signs or (found.use == "sig" and found.members["kty"] != "oct")
        yield found


def _read_provider(config: Mapping[str, str], password: Password) -> FoundKey | None:
    """Return the key of a provider; None if the export lacks it, such as the key of a ``java-keystore``."""
    name = next((name for name in _PROVIDER_KEYS if name in config), None)
    secret = config.get("secret")
    if "*" in (config[name] if name else secret or ""):
        raise UsageError(
            "the realm's private keys are masked",
            code="realm-keys-masked",
            hint="export the realm on the server: kc.sh export",
        )
    if name is not None:
        found = _read_key(config[name], password)
        use = _use(config) or _PROVIDER_KEYS[name]
        kid = config.get("kid") if name == "privateKey" else None
        return replace(found, kid=kid or spki_kid(found.public), use=use, alg=_algorithm(config, name, use))
    if secret is not None:
        members = {"kty": "oct", "k": b64u(_from_base64(secret.translate(str.maketrans("-_", "+/"))))}
        return FoundKey(members, config.get("kid"), "sig", config.get("algorithm"))
    return None


def _read_key(text: str, password: Password) -> FoundKey:
    """Read a key that Keycloak generated, in Base64, or an uploaded one, in PEM."""
    found = list(read_pem(text, password)) if BEGIN in text else read_binary(_from_base64(text), password)
    key = next((item for item in found if isinstance(item, FoundKey)), None)
    if key is None:
        raise JWKError("a key provider of the realm has a certificate instead of a key", code="realm-key-malformed")
    return key


def _use(config: Mapping[str, str]) -> str | None:
    return {"SIG": "sig", "ENC": "enc"}.get(config.get("keyUse", "").upper())


def _algorithm(config: Mapping[str, str], name: str, use: str) -> str | None:
    if name == "ecdhPrivateKey":
        return config.get("ecdhAlgorithm", "ECDH-ES")
    usual = {"sig": "RS256", "enc": "RSA-OAEP"}[use] if name == "privateKey" else None
    return config.get("algorithm", usual)


def _priority(config: Mapping[str, str]) -> int:
    text = config.get("priority", "0")
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else 0


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))
    except ValueError:
        raise JWKError("a key of the realm is not Base64", code="realm-key-malformed") from None
