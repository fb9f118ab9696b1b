"""The search for canaries can fail: it finds a key in every form and place, and nothing else."""

from __future__ import annotations

import base64
import functools
import json
import subprocess
import sys
import zlib
from collections.abc import Callable

import pytest
import typer
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwcrypto.jwk import JWK as JoseKey

from keyvault.core.algorithms import key_spec
from keyvault.crypto import generate
from tests.cli.canaries import JWK, PASSPHRASE, members, search, secrets_of
from tests.cli.recording import Recording
from tests.cli.session import commands, form_of, left, objects
from tests.vaults import Vault

ALGORITHMS = {"EC": "ES256", "OKP": "EdDSA", "RSA": "RS256", "oct": "HS256"}


@functools.cache
def canary(kty: str) -> JWK:
    """Return a private key of a type, the same one each time."""
    return generate.generate(key_spec(ALGORITHMS[kty]))


def first(jwk: JWK) -> bytes:
    """Return the first private member of *jwk*."""
    return next(iter(members(jwk).values()))


def encoded(jwk: JWK, encoding: Encoding, form: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    data: bytes = JoseKey(**jwk).get_op_key("sign").private_bytes(encoding, form, NoEncryption())
    return data


# --- forms ----------------------------------------------------------------------------------------------

ANY: dict[str, Callable[[JWK], bytes]] = {
    "json": lambda jwk: json.dumps(jwk).encode(),
    "json-in-json": lambda jwk: json.dumps(json.dumps(jwk, indent=2)).encode(),
    "raw": first,
    "decimal": lambda jwk: str(int.from_bytes(first(jwk), "big")).encode(),
    "hex": lambda jwk: first(jwk).hex().encode(),
    "capitals": lambda jwk: first(jwk).hex().upper().encode(),
    "colons": lambda jwk: first(jwk).hex(":", 1).encode(),
    "python": lambda jwk: repr({"key": first(jwk)}).encode(),
    "base64": lambda jwk: base64.encodebytes(b"before" + first(jwk) + b"after"),
    "zlib": lambda jwk: zlib.compress(b"blob 7\0" + json.dumps(jwk).encode()),
}
PAIRS: dict[str, Callable[[JWK], bytes]] = {
    "pem": lambda jwk: encoded(jwk, Encoding.PEM),
    "pem-in-json": lambda jwk: json.dumps(encoded(jwk, Encoding.PEM).decode()).encode(),
    "der": lambda jwk: encoded(jwk, Encoding.DER),
}
LEGACY: dict[str, Callable[[JWK], bytes]] = {
    "legacy-pem": lambda jwk: encoded(jwk, Encoding.PEM, PrivateFormat.TraditionalOpenSSL),
}
FORMS = {"EC": ANY | PAIRS | LEGACY, "OKP": ANY | PAIRS, "RSA": ANY | PAIRS | LEGACY, "oct": ANY}


@pytest.mark.parametrize(("kty", "form"), [(kty, form) for kty, some in FORMS.items() for form in some])
def test_the_search_finds_every_form(kty: str, form: str) -> None:
    """The search finds the key in every form and at every offset, but not another key in the same form."""
    jwk, write = canary(kty), FORMS[kty][form]
    another = generate.generate(key_spec(ALGORITHMS[kty])) if kty != "RSA" else None
    places = {f"{at} octets before": bytes(range(at)) + write(jwk) + b" and more" for at in range(9)}
    others = {} if another is None else {"another": write(another)}

    assert search(secrets_of([jwk]), places | others) == list(places)


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi"])
def test_the_search_finds_every_member(member: str) -> None:
    """Each private member of an RSA key alone is found; public members are not."""
    jwk = canary("RSA")
    public = json.dumps({name: jwk[name] for name in ("kty", "n", "e", "kid")})
    assert search(secrets_of([jwk]), {"it": jwk[member].encode(), "public": public.encode()}) == ["it"]


def test_the_search_finds_a_passphrase() -> None:
    """As text, and as the JWK that it is wrapped with."""
    wrapped = base64.urlsafe_b64encode(PASSPHRASE.encode()).rstrip(b"=")
    places = {"text": f"KEYVAULT_PASSPHRASE={PASSPHRASE}\0".encode(), "jwk": wrapped, "another": b"correct horse"}
    assert search(secrets_of([]), places) == ["text", "jwk"]


# --- places ---------------------------------------------------------------------------------------------

#: Programs that leak: the use that each makes of `secret`, and the name of the record.
LEAKS = {
    "argument": ("subprocess.run(['true', secret])", "arguments of a child"),
    "environment": ("subprocess.run(['true'], env={**os.environ, 'X': secret})", "environment of a child"),
    "grandchild": ("subprocess.run(['sh', '-c', 'cat | xargs true'], input=secret, text=True)", "arguments of a child"),
    "stdin": ("subprocess.run(['cat'], input=secret, text=True, stdout=-3)", "stream of keyvault"),
    "socket": ("one, two = socket.socketpair(); one.sendall(secret.encode())", "stream of keyvault"),
    "left": ("Path('a').write_text(secret)", "file of keyvault"),
    "removed": ("Path('a').write_text(secret), Path('a').unlink()", "file of keyvault"),
    "replaced": ("Path('a').write_text(secret), Path('b').write_text('.'), Path('b').replace('a')", "file of keyvault"),
    "cut": ("file = open('a', 'w'); file.write(secret); file.truncate(0); file.close()", "file of keyvault"),
    "nameless": ("file = tempfile.TemporaryFile('w'); file.write(secret); file.close()", "file of keyvault"),
    "elsewhere": ("Path(tempfile.mkstemp()[1]).write_text(secret)", "file of keyvault"),
    "by-a-child": ("subprocess.run(['sh', '-c', 'cat > a; rm a'], input=secret, text=True)", "file of a child"),
    "compressed": (
        "subprocess.run('git init -q; git hash-object -w --stdin', input=secret, text=True, shell=True)",
        "file of a child",
    ),
}
PROGRAM = """
import os, socket, subprocess, sys, tempfile
from pathlib import Path
secret = Path(sys.argv[1]).read_text()
"""


@pytest.mark.parametrize("leak", LEAKS)
def test_what_is_recorded_is_found(recording: Recording, vault: Vault, leak: str) -> None:
    """Everything that a process passes on, or writes even for a moment, is recorded."""
    jwk = canary("OKP")
    given = vault.top / "given"
    given.write_text(jwk["d"])
    code, where = LEAKS[leak]
    subprocess.run(
        [sys.executable, "-c", PROGRAM + code, str(given)],
        cwd=vault.top, env=vault.environ | recording.environ, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip

    records = [record for record in recording.records() if not record.known]
    found = search(secrets_of([jwk]), {f"{number} {record}": record.data for number, record in enumerate(records)})
    assert any(where in one for one in found), found


def test_what_keyvault_is_given_is_no_leak(recording: Recording, vault: Vault) -> None:
    """An identity in the environment of keyvault itself is no leak; in its arguments it would be."""
    jwk = canary("OKP")
    for words, extra in (([], {"KEYVAULT_IDENTITY": jwk["d"]}), ([jwk["d"]], {})):
        subprocess.run(["true", *words], env=vault.environ | recording.environ | extra, check=True)
    found = [str(record) for record in recording.records() if search(secrets_of([jwk]), {"": record.data})]
    assert sorted(found) == ["arguments of keyvault", "environment of keyvault"]
    assert [one for one in recording.records() if one.known and one.kind != "environment"] == []


@pytest.mark.parametrize("packed", [False, True])
def test_what_is_left_is_found(vault: Vault, packed: bool) -> None:
    """The search covers unreachable objects, loose or packed, the site, and core dumps."""
    jwk = canary("OKP")
    text = json.dumps(jwk).encode()
    oid = vault.git("hash-object", "-w", "--stdin", stdin=b"a dangling object\n" + text)
    if packed:
        pack = vault.git_dir / "objects" / "pack" / "pack"
        vault.git("pack-objects", "-q", str(pack), stdin=oid.encode())
        (vault.git_dir / "objects" / oid[:2] / oid[2:]).unlink()
    planted = [
        vault.write("public/keys/x.json", text),
        vault.write("core.123", bytes(5000) + text),
        vault.top / "tmp/x",
    ]
    planted[2].write_bytes(text)

    found = search(secrets_of([jwk]), objects(vault) | left(vault, ()))

    stored = next(one for one in found if "/objects/" in one and one.endswith(".pack" if packed else oid[2:]))
    assert sorted(found) == sorted([f"objects of {vault.git_dir}", stored, *map(str, planted)])
    assert str(planted[0]) not in left(vault, planted)


# --- commands -------------------------------------------------------------------------------------------


def test_a_new_command_is_one_that_the_session_lacks() -> None:
    """Every command counts, hidden ones too, and its --json separately."""
    app, below = typer.Typer(), typer.Typer()
    app.add_typer(below, name="group")

    @app.command("plain")
    def plain() -> None: ...

    @below.command("deep", hidden=True)
    def deep(as_json: bool = typer.Option(False, "--json")) -> None: ...

    assert set(commands(typer.main.get_command(app))) == {("plain", False), ("group deep", False), ("group deep", True)}


@pytest.mark.parametrize(
    ("line", "form"),
    [
        ("status", ("status", False)),
        ("--identity key.json key list --all --json", ("key list", True)),
        ("token sign set --claim sub=list", ("token sign", False)),
        ("--version", ("", False)),
        ("key", ("", False)),
    ],
)
def test_a_command_line_names_its_command(line: str, form: tuple[str, bool]) -> None:
    """The first words that name a command are the command."""
    assert form_of(line.split()) == form
