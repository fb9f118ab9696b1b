"""
Foreign documents that hold a private key, in every place and encoding, and the search for it in what comes out.

The key is the same in every run. `DOCUMENTS` are what readers of files, URLs and variables are given, `DAMAGES` what
somebody may have done to a vault.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from keyvault.core.jwk import b64u, thumbprint
from tests.cli.canaries import forms
from tests.vaults import Vault

#: How many characters of a key in a row are a leak: 12 of Base64 are 72 bits.
LEAST = 12

_KEY = ec.derive_private_key(
    int.from_bytes(hashlib.sha256(b"a canary of the tests").digest(), "big") >> 1, ec.SECP256R1()
)
_NUMBERS = _KEY.private_numbers()
SECRET = _NUMBERS.private_value.to_bytes(32, "big")
D = b64u(SECRET)
_PUBLIC = {
    "kty": "EC",
    "crv": "P-256",
    "x": b64u(_NUMBERS.public_numbers.x.to_bytes(32, "big")),
    "y": b64u(_NUMBERS.public_numbers.y.to_bytes(32, "big")),
}
JWK: dict[str, Any] = {**_PUBLIC, "d": D, "kid": thumbprint(_PUBLIC), "use": "sig", "alg": "ES256"}
OCT = {"kty": "oct", "k": D, "kid": "mac", "use": "sig", "alg": "HS256"}
DER = _KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
PEM = _KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
SEC1 = _KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


# --- the search -----------------------------------------------------------------------------------------


def _grams(data: bytes) -> list[bytes]:
    return [data[at : at + LEAST] for at in range(len(data) - LEAST + 1)]


#: Every run of the key in every form: of its octets, and of its Base64, which may be encoded once more.
_LEAKS = frozenset(gram for secret in (SECRET, D.encode()) for form in forms(secret) for gram in _grams(form))


def _readings(data: bytes) -> set[bytes]:
    """Return *data* as it is, and without the separators that programs insert."""
    return {
        data,
        re.sub(rb"\\+u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)).encode(errors="replace"), data),
        unquote_to_bytes(data),
        re.sub(rb"\\+[nrt]|[\s:\"'\\,|]", b"", data),
    }


def _has_leak(data: bytes) -> bool:
    return not all(_LEAKS.isdisjoint(_grams(reading)) for reading in _readings(data))


def leaks(data: bytes) -> list[str]:
    """Return the lines of *data* that hold a run of the key, in any form."""
    if not _has_leak(data):
        return []
    lines = [line for line in data.splitlines() if _has_leak(line)]
    return [line.decode(errors="backslashreplace") for line in lines] or ["over several lines"]


# --- documents ------------------------------------------------------------------------------------------


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _escaped(text: str) -> str:
    return "".join(f"\\u{ord(char):04x}" for char in text)


def _with(**members: object) -> bytes:
    """Return the public key as a JWK with other members: those that are None are left out."""
    jwk = {name: value for name, value in {**JWK, "d": None, **members}.items() if value is not None}
    return _json(jwk)


def _base64(data: bytes) -> bytes:
    return base64.b64encode(data)


DOCUMENTS: dict[str, bytes] = {
    # Whole keys, in containers that are right, wrong, or one inside the other.
    "jwk": _json(JWK),
    "jwk without alg": _json({**_PUBLIC, "d": D}),
    "jwks": _json({"keys": [JWK]}),
    "oct": _json({"keys": [OCT]}),
    "jwk in a string": _json(json.dumps(JWK)),
    "jwk in a string in a string": _json(json.dumps(json.dumps(JWK))),
    "jwks of strings": _json({"keys": [json.dumps(JWK)]}),
    "list of jwks": _json([JWK]),
    "jwks in jwks": _json({"keys": [{"keys": [JWK]}]}),
    "keys by kid": _json({"keys": {"a": JWK}}),
    "keys is a string": _json({"keys": D}),
    "jwk in a member": _json({"key": JWK, "jwk": json.dumps(JWK)}),
    "escaped": (json.dumps({**JWK, "d": "D"}).replace('"D"', f'"{_escaped(D)}"')).encode(),
    "all escaped": f'"{_escaped(json.dumps(JWK))}"'.encode(),
    "base64 of jwk": _base64(_json(JWK)),
    "base64 of jwk in a string": _json(_base64(_json(JWK)).decode()),
    "utf-16": json.dumps(JWK).encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + _json(JWK),
    "member twice": _json(JWK)[:-1] + b', "d": "' + D.encode() + b'"}',
    "python": repr(JWK).encode(),
    "two documents": _json(JWK) + b"\n" + _json(JWK),
    # Cut off, broken, of the wrong type.
    "cut in the key": _json({"d": D, **JWK})[:40],
    "cut at the end": _json(JWK)[:-1],
    "not a number": _json(JWK)[:-1] + b', "x5t": NaN}',
    "no utf-8": b"\xff" + _json(JWK),
    "deep": b"[" * 2000 + _json(D),
    **{
        f"d is {name}": _with(d=value)
        for name, value in {
            "a list": [D],
            "an object": {"d": D},
            "a number": int.from_bytes(SECRET, "big"),
            "hex": SECRET.hex(),
            "padded": D + "=",
            "base64": _base64(SECRET).decode(),
            "base64 twice": _base64(D.encode()).decode(),
            "too long": D + D,
            "too short": D[:-4],
            "with a blank": D[:20] + " " + D[20:],
            "with a line break": D[:20] + "\n" + D[20:],
        }.items()
    },
    # The key in every other member. A kid is public, so a public document has none that could be told from a secret.
    **{
        f"{name} is the key": _with(**{name: D})
        for name in ("alg", "use", "kty", "crv", "x", "y", "x5t", "x5u", "iss", "ext")
    },
    **{
        f"private, {name} is the key": _json({**JWK, name: D})
        for name in ("kid", "alg", "use", "kty", "crv", "x", "y")
    },
    "key_ops has the key": _with(key_ops=[D]),
    "x5c has the key": _with(x5c=[D, _base64(DER).decode()]),
    "the key names a member": _with(**{D: 1}),
    "the key names the only member": _json({D: {"kty": "EC"}}),
    "kid is the jwk": _with(kid=json.dumps(JWK)),
    "alg is the jwk": _with(alg=JWK),
    "only a string": _json(D),
    "only a number": str(int.from_bytes(SECRET, "big")).encode(),
    "only text": D.encode(),
    "only hex": SECRET.hex().encode(),
    # PEM and DER.
    "pem": PEM.encode(),
    "sec1": SEC1.encode(),
    "pem in a string": _json(PEM),
    "pem with escaped breaks": PEM.replace("\n", "\\n").encode(),
    "pem on one line": PEM.replace("\n", " ").encode(),
    "base64 of pem": _base64(PEM.encode()),
    "label of a certificate": PEM.replace("PRIVATE KEY", "CERTIFICATE").encode(),
    "label of a public key": PEM.replace("PRIVATE KEY", "PUBLIC KEY").encode(),
    "label of another key": PEM.replace("PRIVATE KEY", "RSA PRIVATE KEY").encode(),
    "label of openssh": PEM.replace("PRIVATE KEY", "OPENSSH PRIVATE KEY").encode(),
    "label encrypted": PEM.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY").encode(),
    "label is the key": f"-----BEGIN {D}-----\n{D}\n-----END {D}-----\n".encode(),
    "pem cut off": PEM[:90].encode(),
    "pem without an end": PEM.partition("-----END")[0].encode(),
    "pem with rubbish": PEM.replace("M", "!", 1).encode(),
    "der": DER,
    "der cut off": DER[:-20],
    "der in base64": _base64(DER),
    "der with more": DER + SECRET,
    "octets": SECRET,
    # As other programs store keys.
    "dotenv": f"SIGNING_KEY='{json.dumps(JWK)}'\n".encode(),
    "dotenv pem": f'SIGNING_KEY="{PEM}"\n'.encode(),
    "secret": f"apiVersion: v1\nkind: Secret\ndata:\n  key: {_base64(PEM.encode()).decode()}\n".encode(),
    "yaml": "".join(f"{name}: {value}\n" for name, value in JWK.items()).encode(),
    "toml": f"[key]\nd = '{D}'\n".encode(),
    "service account": _json({"type": "service_account", "private_key_id": D, "private_key": PEM}),
    "realm": _json(
        {
            "realm": "a",
            "components": {
                "org.keycloak.keys.KeyProvider": [
                    {"name": D, "providerId": "rsa", "config": {"privateKey": [D], "algorithm": [D], "kid": [D]}}
                ]
            },
        }
    ),
    "jwe": _json({"protected": D, "encrypted_key": D, "iv": D, "ciphertext": D, "tag": D}),
    "jwe header": _json(
        {
            "protected": b64u(_json({"alg": D, "enc": D, "kid": D, "p2c": D, "p2s": D, "cty": D})),
            "encrypted_key": D, "iv": D, "ciphertext": D, "tag": D,
        }
    ),
    "record": _json({"format": 1, "set": "id-token", "public": _PUBLIC, "private": JWK, "events": [{"at": D, "event": D}]}),
    "recipients": _json({"recipients": [JWK], "keys": [JWK]}),
    # Discovery documents.
    "discovery": _json({"issuer": D, "jwks_uri": f"https://keys.example.com/{D}"}),
    "discovery with the jwk": _json({"issuer": JWK, "jwks_uri": json.dumps(JWK), D: [D], "jwks": {"keys": [JWK]}}),
    "discovery with a user": _json({"issuer": f"https://u:{D}@x.example", "jwks_uri": f"https://u:{D}@127.0.0.1:1/"}),
}  # fmt: skip

#: Tokens, which are text.
TOKENS: dict[str, str] = {
    "kid": ".".join((b64u(_json({"alg": "ES256", "kid": D})), b64u(b"{}"), "AAAA")),
    "alg": ".".join((b64u(_json({"alg": D, "kid": "x"})), b64u(b"{}"), "AAAA")),
    "alg without kid": ".".join((b64u(_json({"alg": D})), b64u(b"{}"), "AAAA")),
    "kid is no string": ".".join((b64u(_json({"alg": "ES256", "kid": JWK})), b64u(b"{}"), "AAAA")),
    "header is a string": ".".join((b64u(_json(D)), b64u(b"{}"), "AAAA")),
    "no base64": f"{D}!.{D}.{D}",
    "signature": f"e30.e30.{D}",
    "two parts": f"{D}.{D}",
    "jwe": f"eyJhbGciOiJkaXIifQ..{D}.{D}.{D}",
    **{f"document {name}": data.decode() for name, data in DOCUMENTS.items() if data.isascii()},
}


# --- vaults that somebody damaged -----------------------------------------------------------------------

Damage = Callable[[Vault], object]


def _edited(old: str, new: str) -> Damage:
    return lambda vault: vault.plant("keyvault.toml", (vault.folder / "keyvault.toml").read_text().replace(old, new, 1))


def _appended(text: str) -> Damage:
    return lambda vault: vault.plant("keyvault.toml", (vault.folder / "keyvault.toml").read_text() + text)


def _record(change: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(vault: Vault) -> None:
        path = vault.next().path
        record = json.loads((vault.folder / path).read_text())
        change(record)
        vault.plant(path, json.dumps(record, indent=2) + "\n")

    return damage


def _planted(path: str, content: bytes | str) -> Damage:
    return lambda vault: vault.plant(path, content)


def _in_git(path: str, text: str) -> Damage:
    def damage(vault: Vault) -> None:
        place = vault.git_dir / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("a") as file:
            file.write(text)

    return damage


def _private_member(record: dict[str, Any]) -> None:
    record["public"]["d"] = D


_TABLE = "[sets.id-token]\n"
_INLINE = json.dumps(json.dumps(JWK))

DAMAGES: dict[str, Damage] = {
    "keyvault.toml is the key": _planted("keyvault.toml", json.dumps(JWK)),
    "keyvault.toml is pem": _planted("keyvault.toml", PEM),
    "the key in a line": _appended(f"\n{D}\n"),
    "the key is a member": _appended(f"\n[{D}]\nx = 1\n"),
    "the key is a value of a member": _edited(_TABLE, f'{_TABLE}"{D}" = "{D}"\n'),
    "unknown member": _edited(_TABLE, f'{_TABLE}d = "{D}"\n'),
    "string not closed": _appended(f'\nkey = "{D}\n'),
    "a jwk in a string": _appended(f"\nkey = {_INLINE}\n"),
    "format": _edited("format = 1\n", f'format = "{D}"\n'),
    **{
        f"{name} of the set": _edited(f'{_TABLE}alg = "ES256"\n', f'{_TABLE}alg = "ES256"\n{name} = "{D}"\n')
        for name in ("issuer", "crv", "cryptoperiod", "token_lifetime", "external")
    },
    "paths of the set": _edited(_TABLE, f'{_TABLE}paths = ["{D}", "/{D}"]\n'),
    "alg of the set": _edited(f'{_TABLE}alg = "ES256"', f'{_TABLE}alg = "{D}"'),
    "name of the set": _edited(_TABLE, f'[sets."{D} x"]\n'),
    "url of the site": _edited('url = "https://keys.example.com"', f'url = "https://u:{D}@keys.example.com"'),
    "url is the key": _edited('url = "https://keys.example.com"', f'url = "{D}"'),
    "max_age": _edited("[site]\n", f'[site]\nmax_age = "{D}"\n'),
    "member of the site": _edited("[site]\n", f"[site]\nkey = {_INLINE}\n"),
    "record is the key": lambda vault: vault.plant(vault.next().path, json.dumps(JWK)),
    "record is pem": lambda vault: vault.plant(vault.next().path, PEM),
    "record has a private member": _record(_private_member),
    "record has the key in the clear": _record(lambda record: record.update(private=JWK)),
    "record has another member": _record(lambda record: record.update({D: D})),
    **{
        f"record has the key as {name}": _record(lambda record, name=name: record["public"].update({name: D}))  # type: ignore[misc]  # a lambda with a default has no type
        for name in ("kid", "alg", "use", "kty", "crv", "x")
    },
    "record of another set": _record(lambda record: record.update(set=D)),
    "event": _record(lambda record: record["events"].append({"at": D, "event": D})),
    "note": _record(lambda record: record["events"][0].update(note=json.dumps(JWK))),
    "envelope": _record(lambda record: record["private"].update(protected=D)),
    "envelope header": _record(
        lambda record: record["private"].update(
            protected=b64u(_json({"cty": D, "enc": D, "kv": {"format": 1, "kid": D, "recipients": [D], "set": D}}))
        )
    ),
    "recipient of an envelope": _record(lambda record: record["private"]["recipients"][0]["header"].update(alg=D)),
    "recipients are the key": _planted("keys.enc/recipients.json", json.dumps(JWK)),
    "recipients have the key": _planted("keys.enc/recipients.json", json.dumps({"recipients": [{**JWK, "use": D}]})),
    "a file that does not belong": _planted("keys.enc/backup.txt", PEM),
    "an identity in the clear": _planted("keys.enc/identities/a.json", json.dumps(JWK)),
    "signers": _planted("keys.enc/allowed_signers", f"{D} {D}\n{PEM}"),
    "openpgp signers": _planted("keys.enc/allowed_signers.asc", PEM),
    "a template": _planted("site_template/index.html", f"{{% if {D} %}}{{{{ {D} }}}}{PEM}"),
    "a template that shows it": _planted("site_template/index.html", f"<p>{json.dumps(JWK)}</p>"),
    "a file beside the vault": _planted("backup.json", json.dumps(JWK)),
    "git's configuration": _in_git("config", f"[core]\n\tbare = {D}\n"),
    "a line of git's configuration": _in_git("config", f"\n{D} = ]\n"),
    "packed refs": _in_git("packed-refs", f"{D} refs/heads/x\n{PEM}\n"),
    "a ref": _in_git("refs/heads/main", f"{D}\n"),
    "head": _in_git("HEAD", f"{D}\n"),
    "a remote with a password": lambda vault: vault.git(
        "config", "remote.origin.url", f"https://u:{D}@127.0.0.1:1/x.git"
    ),
    "a remote of another kind": lambda vault: vault.git("config", "remote.origin.url", f"{D}::{D}"),
    "a remote that is away": lambda vault: vault.git("config", "remote.origin.url", f"/nowhere/{D}"),
    "a remote of another name": lambda vault: vault.git("config", "branch.main.remote", D),
}


def everything(named: Iterable[tuple[str, bytes]]) -> Mapping[str, list[str]]:
    """Return the leaks, by their place."""
    return {where: found for where, data in named if (found := leaks(data))}
