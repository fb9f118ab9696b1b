"""
Keys as other programs store them: JWK, JWK Set, encrypted JWK, PEM, DER, PKCS#12, X.509, a realm of Keycloak's.

Says what a file holds. Every private key that leaves here has halves that belong together and passed the checks of
`pairs`; every public one those of ``core/strength``. What a library says about a broken key is never passed on, since
it may quote the key.

Sources: RFC 7517 (JWK, and section 7 for encrypted ones), RFC 7468 (PEM), RFC 5958 (PKCS#8), RFC 8017 (PKCS#1),
RFC 5915 (SEC1), RFC 9881 (ML-DSA), RFC 7292 (PKCS#12), RFC 5280 (X.509); Keycloak's org.keycloak.keys.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from keyvault.core.jwk import PRIVATE_MEMBERS, REQUIRED, b64u, b64u_decode, check_kid, check_label_is_public
from keyvault.core.pem import public_der, public_members
from keyvault.core.strength import check_public_key
from keyvault.crypto.generate import PrivateJWK, members_of
from keyvault.crypto.pairs import private_key
from keyvault.crypto.pbes2 import Locked
from keyvault.errors import JWKError, UsageError, WeakKeyError

FILE_MAX = 1024 * 1024
KEYS_MAX = 64
#: More rounds than this only serve to keep us busy.
P2C_MAX = 2_000_000

#: Gives the password of a file, or None where nobody has one; asked at most once.
AskPassword = Callable[[], bytes | None]


@dataclass(frozen=True, slots=True)
class FoundKey:
    """
    A key of a file.

    Attributes:
        members: ``kty`` and the members of the key, private ones too where the file has them; no labels.
        kid: The kid that it has there, or None.
        use: ``sig`` or ``enc``, or None.
        alg: Its algorithm, or None.
        pss: Whether the file keeps an RSA key to PSS (RFC 4055 section 1.2).
    """

    members: PrivateJWK = field(repr=False)
    kid: str | None = None
    use: str | None = None
    alg: str | None = None
    pss: bool = False

    @property
    def private(self) -> bool:
        """Whether the private half is there."""
        return self.members.keys() != set(REQUIRED[self.members["kty"]]) or self.members["kty"] == "oct"

    @property
    def public(self) -> dict[str, str]:
        """The public members."""
        return {name: self.members[name] for name in REQUIRED[self.members["kty"]] if name != "k"}


def read_keys(data: bytes, ask: AskPassword = lambda: None) -> list[FoundKey]:
    """
    Return the keys that *data* holds, in its order; a public key beside its private half is not said twice.

    Args:
        data: A whole file.
        ask: Where the password of what is encrypted comes from.

    Raises:
        UsageError: It holds no key, is too large, or the password is missing or wrong.
        JWKError: A key is malformed.
        WeakKeyError: A key is weak, or its halves do not belong together.
    """
    if len(data) > FILE_MAX:
        raise UsageError(f"more than {FILE_MAX // 1024 // 1024} MiB is no file of keys")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old curves and ciphers: what is not taken is said below
        found = list(_read(data, _Password(ask)))
    if not found:
        raise UsageError("there is no key in it")
    if len(found) > KEYS_MAX:
        raise UsageError(f"{len(found)} keys are too many: at most {KEYS_MAX} at once")
    halves = {frozenset(one.public.items()) for one in found if one.private}
    return [one for one in found if one.private or frozenset(one.public.items()) not in halves]


class _Password:
    """Asks once, when the first encrypted thing is met."""

    def __init__(self, ask: AskPassword) -> None:
        self._ask, self._known, self._value = ask, False, b""

    def get(self) -> bytes:
        if not self._known:
            self._value, self._known = self._ask() or b"", True
        if not self._value:
            raise UsageError("the key is encrypted, and there is no password", hint="--password-file FILE")
        return self._value


_WRONG = "the password is wrong, or the file is damaged"


def _read(data: bytes, password: _Password) -> Iterator[FoundKey]:
    if data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        return _read_json(data, password)  # a member of it may be PEM
    if b"-----BEGIN " in data:
        return _read_pem(data, password)
    if data[:1] == b"\x30":
        return iter(_read_der(data, password))
    return _read_json(data, password)


# --- JSON -----------------------------------------------------------------------------------------------


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands there twice")
    return found


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _read_json(data: bytes, password: _Password) -> Iterator[FoundKey]:
    try:
        document = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise UsageError("neither JSON nor PEM nor DER: no key can be read from it") from None
    yield from _read_document(document, password)


def _read_document(document: object, password: _Password) -> Iterator[FoundKey]:
    if isinstance(document, list):
        for one in document:
            yield from _read_document(one, password)
        return
    if not isinstance(document, dict):
        raise UsageError("it is JSON, but no JWK, JWK Set, encrypted JWK or realm")
    if isinstance(document.get("keys"), list):
        yield from _read_set(document["keys"], password)
    elif "kty" in document:
        yield read_jwk(document)
    elif "ciphertext" in document:
        yield from _read_json(_decrypt(document, password.get()), password)
    elif isinstance(document.get("components"), dict):
        yield from _read_realm(document["components"].get("org.keycloak.keys.KeyProvider", []))
    else:
        raise UsageError("it is JSON, but no JWK, JWK Set, encrypted JWK or realm")


def _read_set(keys: list[Any], password: _Password) -> Iterator[FoundKey]:
    for number, jwk in enumerate(keys, 1):
        if not isinstance(jwk, dict):
            raise JWKError(f"key {number} of the set is not an object")
        try:
            yield from _read_document(jwk, password)
        except (JWKError, UsageError) as error:
            raise type(error)(f"key {number} of the set: {error.message}", hint=error.hint) from None


def _label(jwk: Mapping[str, Any], name: str) -> str | None:
    value = jwk.get(name)
    if value is not None and not isinstance(value, str):
        raise JWKError(f"member {name!r} must be a string")
    return value


def read_jwk(jwk: Mapping[str, Any]) -> FoundKey:
    """
    Return a JWK as a key that was found; members that we do not know are left out.

    Raises:
        JWKError: It is malformed.
        WeakKeyError: It is weak, or its halves do not belong together.
    """
    kty = jwk.get("kty")
    check_label_is_public(jwk)
    if kty == "oct":
        members = {"kty": "oct", "k": b64u(b64u_decode(jwk.get("k"), what="member 'k'"))}
    elif jwk.keys() & PRIVATE_MEMBERS:
        members = members_of(private_key(jwk))
    else:
        check_public_key(jwk)
        members = {name: jwk[name] for name in REQUIRED[str(kty)]}
    return FoundKey(members, _label(jwk, "kid"), _label(jwk, "use"), _label(jwk, "alg"))


def _decrypt(document: Mapping[str, Any], password: bytes) -> bytes:
    """Open an encrypted JWK, such as `step crypto jwk create` writes."""
    try:
        locked = Locked.read(document)
    except ValueError:
        locked = None
    if locked is None or locked.header["p2c"] > P2C_MAX:
        raise UsageError("the encrypted JWK is not encrypted under a password, or in a way that is not taken here")
    try:
        return locked.open(password)
    except ValueError:
        raise UsageError(_WRONG) from None


# --- Keycloak -------------------------------------------------------------------------------------------

#: Where each kind of provider has its key, and what that is for where nothing is said.
_PROVIDER_KEYS = {
    "privateKey": "sig",
    "ecdsaPrivateKey": "sig",
    "ecdhPrivateKey": "enc",
    "eddsaPrivateKey": "sig",
    "mldsaPrivateKey": "sig",
}


def _read_realm(providers: object) -> Iterator[FoundKey]:
    """
    Yield the keys of a realm's providers, as Keycloak's DefaultKeyManager goes through them.

    The one that it signs with comes first: active ones by priority, then passive ones, which it only verifies with.
    """
    if not isinstance(providers, list):
        raise UsageError("the realm has no key providers")
    configs = []
    for provider in providers:
        config = provider.get("config") if isinstance(provider, dict) else None
        if isinstance(config, dict):
            plain = {name: str(value[0]) for name, value in config.items() if isinstance(value, list) and value}
            if plain.get("enabled") != "false" and str(provider.get("providerId")) != "aes-generated":
                configs.append((plain.get("active") == "false", -_priority(plain), str(provider.get("id", "")), plain))
    for *_, config in sorted(configs, key=lambda one: one[:3]):
        name = next((name for name in _PROVIDER_KEYS if name in config), None)
        secret = config.get("secret")
        if "*" in (config[name] if name else secret or ""):
            raise UsageError("the realm's private keys are masked", hint="export it on the server: kc.sh export")
        if name is not None:
            found = FoundKey(members_of(_provider_key(config[name])))
            use = _keycloak_use(config) or _PROVIDER_KEYS[name]
            kid = config.get("kid") if name == "privateKey" else None
            yield FoundKey(found.members, kid or kid_of_spki(found.public), use, _keycloak_algorithm(config, name, use))
        elif secret is not None:
            members = {"kty": "oct", "k": b64u(_from_base64(secret.translate(str.maketrans("-_", "+/"))))}
            yield FoundKey(members, config.get("kid"), "sig", config.get("algorithm"))


def _provider_key(text: str) -> Any:
    """Load a key that Keycloak made, in Base64, or one that was uploaded to it, in PEM."""
    if "-----BEGIN " in text:
        return _load(serialization.load_pem_private_key, text.encode(), None)
    return _load(serialization.load_der_private_key, _seed_alone(_from_base64(text)), None)


def _keycloak_use(config: Mapping[str, str]) -> str | None:
    return {"SIG": "sig", "ENC": "enc"}.get(config.get("keyUse", "").upper())


def _keycloak_algorithm(config: Mapping[str, str], name: str, use: str) -> str | None:
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
    except (binascii.Error, ValueError):
        raise JWKError("a key of the realm is not Base64") from None


def kid_of_spki(public: Mapping[str, str]) -> str:
    """Return the kid that Kubernetes and Keycloak give to a public key: the SHA-256 of its DER."""
    return b64u(hashlib.sha256(public_der(public)).digest())


# --- PEM and DER ----------------------------------------------------------------------------------------

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----.*?-----END \1-----", re.DOTALL)
#: How OpenSSL encrypted keys before PKCS#8 (RFC 1421 section 4.6.1.3). The library panics where the IV is cut short.
_DEK_INFO = re.compile(rb"DEK-Info: *(?:AES-(?:128|192|256)-CBC,[0-9A-Fa-f]{32}|DES-EDE3-CBC,[0-9A-Fa-f]{16})\s")
_SKIPPED = frozenset({"EC PARAMETERS", "DSA PARAMETERS", "DH PARAMETERS"})


def _read_pem(data: bytes, password: _Password) -> Iterator[FoundKey]:
    blocks = list(_BLOCK.finditer(data))
    if not blocks:
        raise UsageError("the PEM block has no end")
    for block in blocks:
        label, text = block[1].decode(), block[0]
        if label in _SKIPPED:
            continue
        if label == "CERTIFICATE":
            yield _certificate(text)
        elif label == "OPENSSH PRIVATE KEY":
            _check_rounds(_body(text))
            yield _private(partial(serialization.load_ssh_private_key, text), password)
        elif b"DEK-Info" in text and not _DEK_INFO.search(text):
            raise UsageError("the key is encrypted in a way that is not taken here, or the file is damaged")
        elif label.endswith("PRIVATE KEY"):
            body = _body(text)
            if label == "ENCRYPTED PRIVATE KEY":
                _check_rounds(body)
            der = body if label == "PRIVATE KEY" else b""
            alone = _seed_alone(der)
            load = serialization.load_pem_private_key if alone == der else serialization.load_der_private_key
            yield _for_pss(body, _private(partial(load, text if alone == der else alone), password))
        elif label.endswith("PUBLIC KEY"):
            yield _for_pss(_body(text), _public(_load(serialization.load_pem_public_key, text)))
        else:
            raise UsageError(f"a PEM block {label} holds no key that is taken here")


def _body(block: bytes) -> bytes:
    """Return what a block of PEM holds, or nothing where that is not Base64."""
    try:
        return base64.b64decode(block.split(b"-----")[2], validate=False)
    except binascii.Error:
        return b""


#: What salts are followed by: an OCTET STRING of 4 to 64 octets, then an INTEGER that says how often to hash.
_ROUNDS = re.compile(rb"\x04([\x04-\x40])", re.DOTALL)
_BCRYPT = re.compile(rb"openssh-key-v1\0.{4}[a-z0-9@.-]{4,40}\0\0\0\x06bcrypt.{4}\0\0\0(.)", re.DOTALL)
BCRYPT_MAX = 512


def _check_rounds(data: bytes) -> None:
    """
    Refuse what would keep us busy for hours: PKCS#8, PKCS#12 and OpenSSH's keys say themselves how often to hash.

    Raises:
        UsageError: It is more often than any program asks for.
    """
    counts = []
    for found in _ROUNDS.finditer(data):
        at = found.end() + found[1][0]
        if data[at : at + 1] == b"\x02" and 1 <= (data[at + 1 : at + 2] or b"\0")[0] <= 8:
            counts.append(int.from_bytes(data[at + 2 : at + 2 + data[at + 1]], "big"))
    too_many = max(counts, default=0) > P2C_MAX
    if bcrypt := _BCRYPT.match(data):
        at = bcrypt.end() + bcrypt[1][0]
        too_many = int.from_bytes(data[at : at + 4], "big") > BCRYPT_MAX
    if too_many:
        raise UsageError("it asks for so many rounds of hashing that reading it would take hours")


#: The object identifier of id-RSASSA-PSS, as it stands in the header of a key.
_PSS = bytes.fromhex("06092a864886f70d01010a")


def _for_pss(der: bytes, found: FoundKey) -> FoundKey:
    """Return *found* with what its header says: an RSA key for PSS must not be used with anything else."""
    return replace(found, pss=found.members["kty"] == "RSA" and _PSS in der[:48])


def _read_der(data: bytes, password: _Password) -> list[FoundKey]:
    _check_rounds(data)
    if _is_pkcs12(data):
        return _read_pkcs12(data, password)
    readers: tuple[Callable[[], FoundKey], ...] = (
        lambda: _for_pss(data, _private(partial(serialization.load_der_private_key, _seed_alone(data)), password)),
        lambda: _for_pss(data, _public(_load(serialization.load_der_public_key, data))),
        lambda: _certificate(data),
    )
    for reader in readers:
        try:
            return [reader()]
        except _UnreadableError:
            continue
    raise UsageError("neither a key nor a certificate in DER")


_ML_DSA = re.compile(
    rb"\x30\x82..\x02\x01\0(\x30\x0b\x06\x09`\x86H\x01e\x03\x04\x03[\x11-\x13])\x04\x82..(.+)", re.DOTALL
)
_BOTH = re.compile(rb"\x30\x82..\x04\x20(.{32})\x04\x82..(.+)", re.DOTALL)


def _seed_alone(der: bytes) -> bytes:
    """
    Return a PKCS#8 of ML-DSA with the seed alone; other bytes as they are.

    OpenSSL and Bouncy Castle write what the seed expands to beside it, which the cryptography package does not read.
    """
    found = _ML_DSA.fullmatch(der)
    if found is None:
        return der
    both = _BOTH.fullmatch(found[2])
    if both is None:
        raise JWKError("an ML-DSA key without its seed cannot be a JWK")
    alone = b"\x30\x34\x02\x01\0" + found[1] + b"\x04\x22\x80\x20" + both[1]
    public = public_members(_load(serialization.load_der_private_key, alone, None).public_key())["pub"]
    raw = b64u_decode(public, what="member 'pub'")
    # It begins with rho, K and tr (FIPS 204 algorithm 24); tr is a hash of the public key.
    if both[2][:32] != raw[:32] or both[2][64:128] != hashlib.shake_256(raw).digest(64):
        raise WeakKeyError("the seed of the ML-DSA key belongs to another key")
    return alone


def _is_pkcs12(data: bytes) -> bool:
    """Whether the first thing in the outer sequence is the integer 3, the version of PKCS#12 (RFC 7292 section 4)."""
    start = 2 + (data[1] & 0x7F if len(data) > 1 and data[1] & 0x80 else 0)
    return data[start : start + 3] == b"\x02\x01\x03"


def _read_pkcs12(data: bytes, password: _Password) -> list[FoundKey]:
    from cryptography.hazmat.primitives.serialization import pkcs12

    def load(secret: bytes | None) -> Any:
        try:
            return pkcs12.load_pkcs12(data, secret)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            return None

    store = load(None) or load(password.get())
    if store is None:
        raise UsageError(_WRONG)
    if store.key is not None:
        _check_alone(store.cert, store.additional_certs)
        found = _private(lambda secret: store.key, password)
        return [replace(found, kid=_friendly_name(store.cert))]
    certificates = [one for one in (store.cert, *store.additional_certs) if one is not None]
    return [_public(_load(one.certificate.public_key)) for one in certificates]


def _check_alone(own: Any, others: Any) -> None:
    """Refuse a file with certificates that are in no chain: it holds more keys, of which the library gives one."""
    issuers = {
        one.certificate.issuer for one in (own, *others) if one and one.certificate.issuer != one.certificate.subject
    }
    if any(one.certificate.subject not in issuers for one in others):
        raise UsageError(
            "the PKCS#12 file seems to hold several keys, of which only one can be read",
            hint="keytool -importkeystore -srcalias NAME makes a file of one",
        )


def _friendly_name(certificate: Any) -> str | None:
    """Return the name of a key in a PKCS#12 file, where it can be a kid: what `exports` writes there is one."""
    name = certificate.friendly_name if certificate is not None else None
    try:
        return check_kid(name.decode()) if name else None
    except (JWKError, UnicodeDecodeError):
        return None


class _UnreadableError(JWKError):
    """The bytes are nothing of the kind that was tried."""


def _load(load: Callable[..., Any], *arguments: object) -> Any:
    try:
        return load(*arguments)
    except UnsupportedAlgorithm:
        raise JWKError("the key is of a type or on a curve that is none of JOSE") from None
    except (ValueError, TypeError):
        raise _UnreadableError("the key is damaged, or of no kind that is read here") from None


def _private(load: Callable[[bytes | None], Any], password: _Password) -> FoundKey:
    try:
        key = load(None)
    except UnsupportedAlgorithm:
        raise JWKError("the key is of a type or on a curve that is none of JOSE") from None
    except TypeError:  # encrypted
        try:
            key = load(password.get())
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise UsageError(_WRONG) from None
    except ValueError:
        raise _UnreadableError("the private key is damaged, or of no kind that is read here") from None
    members = members_of(key)
    return read_jwk(members)


def _public(key: Any) -> FoundKey:
    return read_jwk(public_members(key))


def _certificate(data: bytes) -> FoundKey:
    from cryptography import x509

    load = x509.load_pem_x509_certificate if data[:1] == b"-" else x509.load_der_x509_certificate
    certificate = _load(load, data)
    found = _public(_load(certificate.public_key))
    return replace(found, pss=certificate.public_key_algorithm_oid == x509.PublicKeyAlgorithmOID.RSASSA_PSS)
