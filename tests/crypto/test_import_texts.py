"""Keys in the files around them, and files that are no keys: each is read, or named for what it is."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jwcrypto.jwe import JWE
from jwcrypto.jwk import JWK

from keyvault.crypto.exports import FORMATS, encode_keys
from keyvault.crypto.imports import FoundKey, read_keys
from keyvault.errors import JWKError, KeyVaultError, UsageError
from tests.crypto.kinds import CERTIFICATE, KINDS, PASSWORD, key, members
from tests.crypto.server_files import keycloak_provider, keycloak_realm
from tests.crypto.test_import_chains import issue
from tests.errors import fails

PEM = {
    kind: encode_keys([key(kind)], "pem", name="key", certificate=CERTIFICATE).decode()
    for kind in ("RSA", "P-256", "Ed25519")
}


def read(data: bytes | str) -> list[FoundKey]:
    return read_keys(data.encode() if isinstance(data, str) else data, lambda: PASSWORD)


def one(data: bytes | str) -> FoundKey:
    (found,) = read(data)
    return found


def b64(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def secret(kind: str = "Secret", **members: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "signer", "labels": {"data": "x"}}, **members}


#: Common encodings and files around a PEM block.
AROUND: dict[str, Callable[[str], bytes | str]] = {
    "escaped": lambda pem: pem.replace("\n", "\\n"),
    "escaped twice": lambda pem: json.dumps(pem.replace("\n", "\\n")),
    "a JSON string": json.dumps,
    "Windows": lambda pem: pem.replace("\n", "\r\n"),
    "old Macs": lambda pem: pem.replace("\n", "\\r\\n"),
    "UTF-16": lambda pem: ("\ufeff" + pem).encode("utf-16-le"),
    "UTF-16 from the other end": lambda pem: ("\ufeff" + pem).encode("utf-16-be"),
    "a mark": lambda pem: b"\xef\xbb\xbf" + pem.encode(),
    "indented": lambda pem: "".join(f"    {line}\n" for line in pem.splitlines()),
    "Python": lambda pem: "key = (\n" + "\n".join(f'    "{line}\\n"' for line in pem.splitlines()) + "\n)",
    "JavaScript": lambda pem: "const key =\n" + " +\n".join(f"  '{line}\\n'" for line in pem.splitlines()) + ";",
    "text before it": lambda pem: f"Bag Attributes\n    friendlyName: x\nsubject=CN = x\n{pem}\nthe end\n",
    "a line of OpenSSL before it": lambda pem: f"subject=CN = signer.example.com, O = Example, OU = {'x' * 40}\n{pem}",
    "Base64": b64,
    "Base64 in lines": lambda pem: base64.encodebytes(pem.encode()),
    "Base64 twice": lambda pem: b64(b64(pem)),
    "base64url": lambda pem: base64.urlsafe_b64encode(pem.encode()).rstrip(b"="),
    "dotenv": lambda pem: 'PORT=80\nPRIVATE_KEY="' + pem.replace("\n", "\\n") + '"\n',
    "dotenv, many lines": lambda pem: f'# signer\nexport PRIVATE_KEY="{pem}"\nPORT=80\n',
    "dotenv, apostrophes": lambda pem: f"PRIVATE_KEY='{pem}'\n",
    "dotenv, bare": lambda pem: "PRIVATE_KEY=" + pem.replace("\n", "\\n") + "\n",
    "dotenv, Base64": lambda pem: f"PORT=80\nPRIVATE_KEY={b64(pem)}\n",
    "Secret, JSON": lambda pem: json.dumps(secret(data={"tls.key": b64(pem)})),
    "Secret, JSON text": lambda pem: json.dumps(secret(stringData={"tls.key": pem})),
    "Secret, YAML": lambda pem: yaml.safe_dump(secret(data={"tls.key": b64(pem)})),
    "Secret, YAML text": lambda pem: yaml.safe_dump(secret(stringData={"tls.key": pem})),
    "Secret, YAML block": lambda pem: (
        "kind: Secret\nstringData:\n  key.pem: |\n"
        + "".join(f"    {line}\n" for line in pem.splitlines())
        + "  other: x\n"
    ),
    "Secret, wrapped": lambda pem: (
        "kind: Secret\ndata:\n  key.pem: >-\n"
        + "".join(f"    {b64(pem)[at : at + 60]}\n" for at in range(0, len(b64(pem)), 60))
    ),
    "Secrets in a list": lambda pem: json.dumps({"kind": "List", "items": [secret(data={"k": b64(pem)})]}),
    "two documents": lambda pem: "kind: ConfigMap\ndata:\n  a: b\n---\n" + yaml.safe_dump(secret(data={"k": b64(pem)})),
}


@pytest.mark.parametrize("kind", PEM)
@pytest.mark.parametrize("around", AROUND)
def test_pem_in_the_files_around_it(around: str, kind: str) -> None:
    """The same key, and nothing else."""
    found = one(AROUND[around](PEM[kind]))

    assert (found.members, found.kid) == (members(key(kind)), None)


def test_a_service_account_of_google() -> None:
    """Its kid is private_key_id; it signs with RS256."""
    document = {"type": "service_account", "private_key_id": "0f1e2d", "private_key": PEM["RSA"], "client_id": "1"}

    found = one(json.dumps(document))

    assert (found.kid, found.use, found.alg) == ("0f1e2d", "sig", "RS256")
    assert found.members == members(key("RSA"))
    assert one(json.dumps([document])).kid == "0f1e2d"
    assert one(json.dumps(secret(data={"sa.json": b64(json.dumps(document))}))).kid == "0f1e2d"


def test_a_secret_for_tls() -> None:
    """Key and chain are one key, with the kid that stands beside them."""
    ca = issue("ca", ca=True)
    leaf = issue("leaf", ca, ca=False)
    entries = {"tls.crt": b64(leaf.pem + ca.pem), "tls.key": b64(leaf.key_pem), "ca.crt": b64(ca.pem), "kid": b64("me")}

    found = one(yaml.safe_dump(secret(data=entries)))

    assert (found.public, found.private, found.kid, found.remarks) == (leaf.members, True, "me", ())


def test_a_secret_without_a_key() -> None:
    """The message names its entries."""
    with fails("key-not-found", UsageError) as caught:
        read(yaml.safe_dump(secret(data={"user": b64("jo"), "password": b64("x" * 43)})))
    assert caught.value.message.endswith(": password, user")


class Styled(str):
    """Text that PyYAML writes in the style of the test."""

    __slots__ = ()


@pytest.mark.parametrize("style", [None, '"', "'", "|", ">"])
@pytest.mark.parametrize("width", [40, 80, 10_000])
def test_a_scalar_of_yaml_in_any_style(style: str | None, width: int) -> None:
    """The reader of Secrets supports all styles of PyYAML: quoted, escaped, folded over lines, in blocks."""

    class Dumper(yaml.SafeDumper):
        pass

    Dumper.add_representer(
        Styled, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style=style)
    )
    texts = (
        PEM["RSA"],
        json.dumps({"keys": [key("RSA")]}, indent=2) + "\n",
        json.dumps(key("P-256") | {"kid": "it's"}),
    )
    for text in texts:
        document = yaml.dump({**secret(stringData={"a": Styled(text), "kid": "me"})}, Dumper=Dumper, width=width)

        (found,) = read(document)

        assert found.private, document


def test_an_entry_that_is_damaged() -> None:
    """The message names the entry and the PEM block."""
    broken = PEM["RSA"].replace("M", "A", 1)
    with fails("format-unrecognized", JWKError) as caught:
        read(json.dumps(secret(stringData={"key.pem": broken})))
    assert caught.value.message.startswith("entry of the Secret key.pem: PEM block PRIVATE KEY: ")


# --- our own formats ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sealed", [False, True], ids=["open", "sealed"])
def test_every_format_of_ours_is_read(kind: str, form: str, sealed: bool) -> None:
    """With the kid, use and alg that it has a place for."""
    jwk = key(kind)
    try:
        data = encode_keys(
            [jwk], form, name="access-token", certificate=CERTIFICATE, password=PASSWORD if sealed else None
        )
    except UsageError:
        return  # test_exchange_formats lists the keys that a format does not support

    found = one(data)

    if form == "x509":
        assert found.public == {name: jwk[name] for name in found.public}
        return
    assert found.members == members(jwk)
    if form in ("jwk", "jwks", "dotenv", "kubernetes-secret"):
        assert (found.kid, found.use, found.alg) == (jwk["kid"], jwk["use"], jwk["alg"])
    if form == "p12":
        assert found.kid == jwk["kid"]


def test_several_keys_of_ours() -> None:
    """In the formats that hold several."""
    keys = [key("RSA"), key("P-256"), key("Ed25519")]
    for form in ("jwks", "pem", "dotenv"):
        data = encode_keys(keys, form, name="access-token", certificate=CERTIFICATE)
        assert [found.members for found in read(data)] == [members(jwk) for jwk in keys]


def test_text_that_is_no_key() -> None:
    """Words, numbers, Base64 of anything."""
    for data in (
        b"hello",
        b"NAME=value\n",
        b64(b"x" * 100).encode(),
        b"A" * 64,
        b"\0" * 64,
        b"kind: Secret\n",
        b"\xff\xfe",
    ):
        with pytest.raises(KeyVaultError) as caught:
            read(data)
        assert "\n" not in caught.value.message
        assert "damaged" not in caught.value.message


# --- files of other formats -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "named", "command"),
    [
        (b"\xfe\xed\xfe\xed\0\0\0\2", "(JKS)", "keytool -importkeystore -srckeystore"),
        (b"\xce\xce\xce\xce\0\0\0\2", "(JCEKS)", "-srcstoretype JCEKS"),
        (b"PuTTY-User-Key-File-3: ssh-ed25519\n", "PuTTY keys", "puttygen FILE -O private-openssh"),
    ],
)
def test_a_file_of_another_format(data: bytes, named: str, command: str) -> None:
    """The message names the format, and the hint the command that converts it; in Base64 likewise."""
    for given in (data, b64(data.ljust(64, b"\1")).encode()):
        with fails("format-unsupported", UsageError) as caught:
            read(given)
        assert named in caught.value.message
        assert command in (caught.value.hint or "")


def openssl(*arguments: str | Path, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True, check=True).stdout


@pytest.mark.interop
def test_requests_and_bundles(tmp_path: Path) -> None:
    """The message names a certificate request and PKCS#7."""
    path = tmp_path / "key.pem"
    path.write_text(PEM["RSA"])
    request = openssl("req", "-new", "-key", path, "-subj", "/CN=x")
    with fails("format-unsupported", UsageError) as caught:
        read(request)
    assert "certificate requests" in caught.value.message
    certificate = tmp_path / "cert.pem"
    certificate.write_bytes(issue("x", ca=False).pem)
    with fails("format-unsupported", UsageError) as caught:
        read(openssl("crl2pkcs7", "-nocrl", "-certfile", certificate))
    assert "PKCS#7" in caught.value.message
    trusted = openssl("x509", "-in", certificate, "-addtrust", "serverAuth", "-trustout")
    assert not one(trusted).private


LABELS = ("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "PUBLIC KEY", "CERTIFICATE", "ENCRYPTED PRIVATE KEY")


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("kind", PEM)
def test_a_label_that_says_something_else(kind: str, label: str) -> None:
    """The content counts."""
    assert one(PEM[kind].replace("PRIVATE KEY", label)).members == members(key(kind))


def test_several_realms() -> None:
    """The message lists them, and the hint selects one; a list of one realm is that realm."""
    realms = [
        {**json.loads(keycloak_realm([keycloak_provider(number, "rsa-generated", key("RSA"))])), "realm": name}
        for number, name in enumerate(("master", "demo"))
    ]

    with fails("realm-ambiguous", UsageError) as caught:
        read(json.dumps(realms))
    assert caught.value.message.endswith(": master, demo")
    assert caught.value.hint == "jq '.[] | select(.realm == \"master\")' FILE | keyvault key import SET -"
    assert one(json.dumps(realms[1:])).private


# --- Keycloak's priorities ------------------------------------------------------------------------------


def _keystore(number: int, **config: str) -> dict[str, Any]:
    plain = {"keystore": "/opt/keys.p12", "keyAlias": "mine", "priority": "200", **config}
    return {
        "id": f"id-{number}",
        "name": "our-keystore",
        "providerId": "java-keystore",
        "config": {name: [value] for name, value in plain.items()},
    }


def test_a_realm_that_signs_with_a_key_elsewhere() -> None:
    """The key that would become active is not the signing key: a remark names the provider of that key."""
    rsa = keycloak_provider(1, "rsa-generated", key("RSA"))

    found = one(keycloak_realm([rsa, _keystore(2)]))

    assert "signs with the key of provider our-keystore (java-keystore)" in found.remarks[0]
    assert "import its keystore first" in found.remarks[0]


@pytest.mark.parametrize(
    "config",
    [{"priority": "50"}, {"active": "false"}, {"enabled": "false"}, {"keyUse": "ENC"}],
    ids=str,
)
def test_a_keystore_that_does_not_sign(config: dict[str, str]) -> None:
    """Lower in priority, passive, off, or for encryption: no remark."""
    rsa = keycloak_provider(1, "rsa-generated", key("RSA"))

    assert one(keycloak_realm([rsa, _keystore(2, **config)])).remarks == ()


@pytest.mark.parametrize("how", ["crlf", "comment", "List in JSON"])
def test_secrets_as_kubectl_and_windows_write_them(how: str) -> None:
    """Line ends, comments and lists change nothing."""
    encoded = b64(PEM["P-256"])
    text = f"apiVersion: v1\nkind: Secret\ndata:\n  tls.key: {encoded}\n"
    data = {
        "crlf": text.replace("\n", "\r\n"),
        "comment": text.replace("kind: Secret", "kind: Secret # ours").replace(encoded, f"{encoded} # prod"),
        "List in JSON": json.dumps({"kind": "List", "items": [secret(data={"tls.key": encoded})]}),
    }[how]
    assert one(data).members == members(key("P-256"))


@pytest.mark.parametrize(
    "text",
    [
        "apiVersion: v1\nitems:\n- apiVersion: v1\n  data:\n    k: QUJD\n  kind: Secret\nkind: List\n",
        'apiVersion: v1\nkind: Secret\ndata: {"k": "QUJD"}\n',
    ],
    ids=["a list", "braces"],
)
def test_secrets_in_unsupported_yaml(text: str) -> None:
    """Without a YAML library these forms are not supported; the hint is the command that prints JSON."""
    with fails("format-unsupported", UsageError) as caught:
        read(text)
    assert caught.value.hint == "kubectl get secret NAME -o json | keyvault key import SET -"


def test_an_unsupported_key_in_a_set() -> None:
    """It is skipped, and a remark names it."""
    jwk = {**members(key("P-256")), "kid": "good"}
    data = json.dumps({"keys": [{"kty": "XYZ", "kid": "q"}, {"kty": "EC", "crv": "P-192", "x": "AA", "y": "AA"}, jwk]})
    found = one(data)

    assert found.kid == "good"
    assert found.remarks == (
        "skipped: key 1 of the set has an unsupported type or curve",
        "skipped: key 2 of the set has an unsupported type or curve",
    )


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        ("", "key-not-found", "empty"),
        ("\n", "key-not-found", "empty"),
        ('{"kid": "a", "kid": "b"}', "json-member-duplicate", ""),
    ],
)
def test_empty_and_ambiguous_files(text: str, code: str, named: str) -> None:
    """The message says what is wrong."""
    with fails(code, UsageError) as caught:
        read(text)
    assert named in caught.value.message


def test_a_compact_encrypted_jwk() -> None:
    """The form of all JOSE libraries; the JSON form has the same five parts."""
    header = {"alg": "PBES2-HS256+A128KW", "enc": "A256GCM", "cty": "jwk+json"}
    token = JWE(json.dumps(members(key("P-256"))).encode(), json.dumps(header))
    token.add_recipient(JWK(kty="oct", k=base64.urlsafe_b64encode(PASSWORD).decode().rstrip("=")))

    assert one(token.serialize(compact=True)).members == members(key("P-256"))
