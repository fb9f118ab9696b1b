"""The last check before publication: it refuses private key material, however it is spelt, in every file."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from keyvault.core.algorithms import key_spec
from keyvault.core.files import Rendered, SiteFile
from keyvault.core.jwk import pretty
from keyvault.crypto.generate import generate
from keyvault.crypto.pairs import private_pem
from keyvault.errors import LeakError
from keyvault.operations import keys, rotation
from keyvault.site import build as build_module
from keyvault.site import documents, pages
from keyvault.site.leak_check import refuse_private
from tests import revisions
from tests.errors import fails
from tests.site.vaults import Lab

PRIVATE = {
    "EC": generate(key_spec("ES256")),
    "OKP": generate(key_spec("EdDSA")),
    "X448": generate(key_spec("ECDH-ES", crv="X448")),
    "oct": generate(key_spec("HS256")),
    "RSA": generate(key_spec("RS256")),
    "AKP": {"kty": "AKP", "alg": "ML-DSA-44", "pub": "A" * 1750, "priv": "B" * 43},
}
EC = PRIVATE["EC"]
AGE = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX"
ENVELOPE = {
    "protected": "eyJlbmMiOiJBMjU2R0NNIn0",
    "recipients": [{"header": {"alg": "RSA-OAEP-256", "kid": "ops"}, "encrypted_key": "Ab_-" * 86}],
    "iv": "AAAAAAAAAAAAAAAA",
    "ciphertext": "Cd_-" * 40,
    "tag": "A" * 22,
}


def escaped(text: str) -> str:
    """Return JSON *text* with every letter of its member names and values as a \\u escape."""
    return "".join(f"\\u{ord(char):04x}" if char.isalnum() else char for char in text)


def plain(value: object) -> str:
    return json.dumps(value)


#: Spellings that are refused in every file.
EVERYWHERE: dict[str, str] = {
    **{f"private {name}": plain(jwk) for name, jwk in PRIVATE.items()},
    "indented": pretty(EC).decode(),
    "in a JWK Set": plain({"keys": [{"kty": "EC"}, EC]}),
    "blanks around the colon": plain(EC).replace('"d": ', '"d"\n\t : \r\n '),
    "one letter escaped": plain(EC).replace('"d"', '"\\u0064"'),
    "capital hexadecimal": plain(PRIVATE["oct"]).replace('"k"', '"\\u006B"'),
    "all letters escaped": escaped(plain(EC)),
    "as HTML": html.escape(plain(EC)),
    "as HTML with decimal references": plain(EC).replace('"', "&#34;"),
    "as HTML with hexadecimal references": plain(EC).replace('"', "&#x22;").replace("d&#x22;:", "&#100;&#x22;:"),
    "escaped, as HTML": html.escape(plain(EC).replace('"d"', '"\\u0064"')),
    "JSON in a string of JSON": plain({"note": plain(EC)}),
    "JSON in a string in a string": plain({"note": plain({"note": plain(EC)})}),
    "JSON in a string, as HTML": html.escape(plain({"note": plain(EC)})),
    "duplicate members, private first": '{"d":"' + EC["d"] + '","d":"x"}',
    "duplicate members, private last": '{"d":"x","d":"' + EC["d"] + '"}',
    "an envelope": plain(ENVELOPE),
    "an encrypted JWK, flattened": plain({"protected": "e30", "encrypted_key": "Ab_-" * 10, "ciphertext": "Cd_-"}),
    "PEM, PKCS#8": private_pem(EC).decode(),
    "PEM, as a string of JSON": plain({"pem": private_pem(EC).decode()}),
    "PEM, PKCS#1": "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----\n",
    "PEM, SEC 1": "-----BEGIN EC PRIVATE KEY-----\nMIIB\n-----END EC PRIVATE KEY-----\n",
    "PEM, encrypted": "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
    "PEM, OpenSSH": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n",
    "PEM, PGP": "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n-----END PGP PRIVATE KEY BLOCK-----\n",
    "PEM with a letter escaped": '"-----BEGIN \\u0050RIVATE KEY-----"',
    "PEM on one line": "-----BEGIN PRIVATE KEY----- MIIB -----END PRIVATE KEY-----",
    "an age identity": AGE,
    "an age identity with its comment": f"# created: 2026-11-23T17:00:00Z\n{AGE}\n",
}


@pytest.mark.parametrize("path", ["a.json", "deep/er/page.html", "notes.txt", "assets/x.svg", "openid/v1/jwks"])
@pytest.mark.parametrize("case", EVERYWHERE)
def test_private_material_is_refused_in_every_file(case: str, path: str) -> None:
    """However a private key is spelt, and whatever the file, the error names the path and shows no byte of the key."""
    with fails("site-private-key", LeakError) as caught:
        refuse_private(path, EVERYWHERE[case].encode())

    message = caught.value.message
    assert message.startswith(f"{path} ")
    assert message.endswith("nothing was written")
    for jwk in PRIVATE.values():
        assert not [member for member in ("d", "k", "priv") if member in jwk and jwk[member][:8] in message]


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv", "ciphertext", "private"])
@pytest.mark.parametrize("path", ["a.json", ".well-known/openid-configuration", "openid/v1/jwks"])
def test_json_with_a_private_member_is_refused_whatever_it_holds(member: str, path: str) -> None:
    """In a JSON file the name of the member is enough: short, empty, a number, a list, deep inside, or doubled."""
    for value in ('""', '"x"', "1", "null", "[]", "{}"):
        bare = f'{{"{member}":{value}}}'
        for text in (bare, f'{{"a":[{{"b":{bare}}}]}}', f"[{bare}]"):
            with fails("site-private-key", LeakError) as caught:
                refuse_private(path, text.encode())
            assert caught.value.message.startswith(f"{path} ")
    with fails("site-private-key", LeakError):
        refuse_private(path, f'{{"x":{{"{member}":1}},"x":2}}'.encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe{\x00}\x00",
        b'{"keys": []} trailing',
        b'{"a": "\xff"}',
        b"[" * 100_000,
        b"<html></html>",
    ],
    ids=["empty", "cut off", "UTF-16", "trailing", "not UTF-8", "too deep", "HTML"],
)
def test_json_file_that_cannot_be_read_is_refused(data: bytes) -> None:
    """A file that the check cannot read does not pass."""
    with fails("site-json-invalid", LeakError) as caught:
        refuse_private("a.json", data)
    assert caught.value.message.startswith("a.json ")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("index.html", "<p>d: the private exponent; p and q its factors</p>"),
        ("index.html", "a debug log of the token service held the private key"),
        ("notes.txt", '"d": "short"'),
        ("keys/x.pem", "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"),
        ("keys/x.pem", "-----BEGIN CERTIFICATE-----\nMFkw\n-----END CERTIFICATE-----\n"),
        ("a.json", '{"kty":"EC","x":"' + "A" * 43 + '","note":"&quot; and \\u0022"}'),
        ("robots.txt", "User-agent: *\nAllow: /\n"),
        ("_headers", "/*\n  Cache-Control: public\n"),
    ],
)
def test_harmless_files_pass(path: str, text: str) -> None:
    """Public keys, certificates and prose about private keys pass."""
    refuse_private(path, text.encode())


def test_every_file_of_a_site_passes(vault: Lab) -> None:
    """The site of a vault with a rotation and a revocation passes."""
    vault.rotate("id-token")
    rotation.revoke(vault.context(), vault.key("access-token", "active").kid, reason="compromised", note="it leaked")

    for path, data in vault.site().items():
        refuse_private(path, data)


def test_every_file_is_checked(vault: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Every page, asset and host file passes the check with exactly the bytes that are yielded.

    history.json, which can be larger than all other files, is checked in pieces: the frame, then the keys of each set.
    """
    seen: dict[str, list[bytes]] = {}
    monkeypatch.setattr(build_module, "refuse_private", lambda path, data: seen.setdefault(path, []).append(data))

    site = vault.site()
    frame, *keys_of_sets = seen["history.json"]
    keys_of_all = b",\n    ".join(data[1:-1] for data in keys_of_sets)
    assert site.pop("history.json") == frame.removesuffix(b"]\n}\n") + b"\n    " + keys_of_all + b"\n  ]\n}\n"
    del seen["history.json"]
    assert {path: [data] for path, data in site.items()} == seen


# --- when the allowlist leaks ---------------------------------------------------------------------------


def leak_into_sets(lab: Lab, monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    """Break the allowlist: JWK Sets carry the private half."""

    def leaking(public: Any) -> bytes:
        return pretty({"keys": [{**json.loads(pretty(key)), "d": secret} for key in public]})

    monkeypatch.setattr(build_module, "jwk_set_bytes", leaking)


def leak_into_single_keys(lab: Lab, monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    """Break the allowlist: files of single keys carry the private half."""
    monkeypatch.setattr(build_module, "pretty", lambda key: pretty({**json.loads(pretty(key)), "d": secret}))


def leak_into_pem(lab: Lab, monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    """Break the allowlist: the PEM is that of the private key."""
    monkeypatch.setattr(build_module, "public_pem", lambda key: private_pem(EC))


def leak_into_history(lab: Lab, monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    """Break the allowlist: history.json carries the sealed private half."""

    def leaking(shown: Any) -> bytes:
        return pretty({"kids": [key.kid for key in shown], "private": {"ciphertext": secret}})

    monkeypatch.setattr(build_module, "history_entries", leaking)


def leak_into_page(lab: Lab, monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    """Break the allowlist: the page shows the private half as JSON."""

    class Leaking(pages.Pages):
        def __iter__(self) -> Iterator[SiteFile]:
            for file in super().__iter__():
                assert isinstance(file, Rendered)
                yield Rendered(file.path, file.data + html.escape(json.dumps({"d": secret})).encode())

    monkeypatch.setattr(build_module, "Pages", Leaking)


def leak_into_discovery(lab: Lab, monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    """Break the allowlist: the discovery document carries keys."""
    monkeypatch.setattr(build_module, "discovery_document", lambda *_: pretty({"jwks": {"keys": [{"d": secret}]}}))


def tree(folder: Path) -> Mapping[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "leak",
    [
        leak_into_sets,
        leak_into_single_keys,
        leak_into_pem,
        leak_into_history,
        leak_into_page,
        leak_into_discovery,
    ],
)
def test_leak_of_the_allowlist_is_stopped(
    vault: Lab, monkeypatch: pytest.MonkeyPatch, leak: Callable[[Lab, pytest.MonkeyPatch, str], None]
) -> None:
    """A bug that puts a private key into the site ends in an error; the old site stays on disk, complete."""
    output = vault.folder / "public"
    revisions.render(vault.context(), output)
    before = tree(output)
    (private,) = keys.open_keys(vault.context(), [vault.key("id-token", "active")])
    vault.commit({"site_template/assets/new.css": "/* a change that must not arrive */"})
    leak(vault, monkeypatch, private["d"])

    with fails("site-private-key", LeakError):
        revisions.render(vault.context(), output)

    assert tree(output) == before
    assert [path.name for path in vault.folder.iterdir() if "keyvault-" in path.name] == []
    for path in vault.folder.rglob("*"):
        if path.is_file():
            assert private["d"].encode() not in path.read_bytes()


def test_allowlist_does_not_pass_a_private_member(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check: a public JWK built from a private JWK has no private member."""
    from keyvault.core.jwk import public_jwk

    for name, private in PRIVATE.items():
        if name not in ("oct", "AKP"):
            public = pretty(public_jwk(private, kid=private["kid"], alg=private["alg"]))
            for member in {"d", "p", "q", "dp", "dq", "qi"} & set(private):
                assert private[member].encode() not in public
                assert member not in json.loads(public)


def test_pem_of_a_public_key_is_built_from_the_public_members() -> None:
    """The PEM writer takes a public JWK and has no access to the private half."""
    from keyvault.core.jwk import public_jwk

    public = public_jwk(EC, kid=EC["kid"], alg=EC["alg"])
    pem = documents.public_pem(public)

    assert b"PUBLIC KEY" in pem
    assert base64.urlsafe_b64decode(EC["d"] + "==") not in base64.b64decode(b"".join(pem.splitlines()[1:-1]))
