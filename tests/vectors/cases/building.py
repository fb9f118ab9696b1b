"""Build records and vectors, and change them."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

from keyvault.core.jwk import b64u, b64u_decode, file_stem, thumbprint
from tests.vectors.reading import FOLDER

T0 = "2026-11-23T17:00:00Z"
URL = "https://keys.example.com/.well-known/jwks.json"
PUBLIC = {"EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "RSA": ("n", "e"), "oct": ()}

ACCEPTED, RECORD, ENVELOPE, WEAK, KEY = "accepted", "RecordError", "EnvelopeError", "WeakKeyError", "JWKError"
MALFORMED, SPELLING = "record-malformed", "record-not-canonical"

RFC8259, RFC7515, RFC7516, RFC7517, RFC7518 = ("RFC 8259", "RFC 7515", "RFC 7516", "RFC 7517", "RFC 7518")

Doc = dict[str, Any]


class Vectors:
    """The vectors of one file, in the order in which they are added."""

    def __init__(self, name: str, about: str, **more: Any) -> None:
        self.name, self.head = name, {"about": about, **more}
        self.vectors: list[Doc] = []

    def add(self, name: str, about: str, kind: str, data: Any, *codes: str, path: str, source: str = "") -> None:
        """
        Add a vector: *kind* is the expected result of using the record, *codes* are the expected findings of the audit.
        """
        cited = {"source": source} if source else {}
        judged = {"class": kind, "audit": list(codes), "path": path}
        self.vectors.append({"name": name, "about": about, **cited, **judged, "data": encoded(data)})

    def write(self) -> None:
        text = json.dumps({**self.head, "vectors": self.vectors}, indent=1)
        (FOLDER / f"{self.name}.json").write_text(text + "\n")


def encoded(data: Any) -> Any:
    """Return *data* as a vector contains it; see `reading.octets`."""
    if isinstance(data, bytes):
        try:
            return data.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(data).decode()}
    return [encoded(part) for part in data] if isinstance(data, list) else data


def times(count: int, text: str) -> Doc:
    return {"repeat": text, "times": count}


# --- records --------------------------------------------------------------------------------------------


def text(document: Doc) -> str:
    """Return *document* in the form of a record."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def place(document: Doc) -> str:
    return f"keys.enc/{document['set']}/{file_stem(document['public']['kid'])}.json"


def event(name: str, at: str = T0, **more: Any) -> Doc:
    carried = {
        "published": {"url": URL},
        "activated": {"token_lifetime": 3600},
        "reactivated": {"token_lifetime": 3600},
        "lifetime": {"token_lifetime": 7200},
        "deactivated": {"keep_until": "2026-11-24T17:00:00Z"},
        "revoked": {"reason": "compromised"},
    }
    made = {"at": at, "event": name, **carried.get(name, {}), **more}
    return {member: value for member, value in made.items() if value is not None}


def record(jwk: Doc, *events: Doc, alg: str = "ES256", use: str = "sig", kid: Any = None, **more: Any) -> Doc:
    """Return a record of *jwk*; with a kid other than its thumbprint, the key is imported."""
    members = {name: jwk[name] for name in PUBLIC.get(jwk["kty"], ()) if name in jwk}
    made = kid if kid is not None else thumbprint(jwk)
    first = event("created") if kid is None else event("created", imported=True)
    public = {"kty": jwk["kty"], "kid": made, "use": use, "alg": alg, **members}
    return {"format": 1, "set": "id-token", "public": public, "events": list(events) or [first], **more}


def but(document: Doc, *path: Any, to: Any = ...) -> Doc:
    """Return *document* with the member at *path* set to *to*, or removed."""
    document = copy.deepcopy(document)
    inner = document
    for name in path[:-1]:
        inner = inner[name]
    if to is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return document


def swap(data: str, old: str, new: str) -> str:
    assert old in data, old
    return data.replace(old, new, 1)


def flipped(member: str) -> str:
    """Return *member* with one bit of its first octet changed."""
    data = bytearray(b64u_decode(member, what="member"))
    data[0] ^= 1
    return b64u(bytes(data))


def stray_bits(member: str) -> str:
    """Return *member* with one unused bit of its last letter set."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert len(member) % 4
    return member[:-1] + letters[letters.index(member[-1]) | 1]
