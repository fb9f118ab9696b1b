"""Private keys in the clear are found in every common storage format; public and encrypted keys pass."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)
from jwcrypto.jwk import JWK

from keyvault.core.leaks import find_private

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
LOCKED = BestAvailableEncryption(b"correct horse")

KINDS = {
    "RSA": JWK.generate(kty="RSA", size=2048),
    "EC": JWK.generate(kty="EC", crv="P-256"),
    "OKP": JWK.generate(kty="OKP", crv="Ed25519"),
    "oct": JWK.generate(kty="oct", size=128),
}


def _pem(key: object, form: PrivateFormat, locked: KeySerializationEncryption | None = None) -> bytes:
    return key.private_bytes(Encoding.PEM, form, locked or NoEncryption())  # type: ignore[attr-defined]  # any of them


def _private(kind: str) -> dict[str, str]:
    return json.loads(KINDS[kind].export())


PLAIN = {
    "PKCS#8": _pem(RSA, PrivateFormat.PKCS8),
    "PKCS#1": _pem(RSA, PrivateFormat.TraditionalOpenSSL),
    "SEC1": _pem(EC, PrivateFormat.TraditionalOpenSSL),
    "PKCS#8 of Ed25519": _pem(ED, PrivateFormat.PKCS8),
    "OpenSSH": _pem(ED, PrivateFormat.OpenSSH),
    "DER": EC.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    "DER, PKCS#1": RSA.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
    "age": b"# public key: age1xyz\nAGE-SECRET-KEY-1" + b"Q" * 58 + b"\n",
    "age after the quantum": b"AGE-SECRET-KEY-PQ-1" + b"Q" * 58 + b"\n",
}
LOCKED_UP = {
    "PKCS#8": _pem(RSA, PrivateFormat.PKCS8, LOCKED),
    "PKCS#1": _pem(RSA, PrivateFormat.TraditionalOpenSSL, LOCKED),
    "DER": EC.private_bytes(Encoding.DER, PrivateFormat.PKCS8, LOCKED),
}


@pytest.mark.parametrize("form", PLAIN)
def test_a_private_key_is_found(form: str) -> None:
    """The key is a separate file."""
    assert find_private(PLAIN[form]) is not None


@pytest.mark.parametrize("form", LOCKED_UP)
def test_an_encrypted_key_passes(form: str) -> None:
    """A passphrase protects the key."""
    assert find_private(LOCKED_UP[form]) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_private_jwk_is_found(kind: str) -> None:
    """The JWK is compact, over many lines, in a JWK Set, or has its members in another order."""
    jwk = _private(kind)
    turned = dict(reversed(jwk.items()))

    for text in (
        json.dumps(jwk),
        json.dumps(jwk, indent=4),
        json.dumps({"keys": [{"kty": "RSA"}, jwk]}),
        json.dumps(turned),
        json.dumps(turned, indent="\t"),
    ):
        assert find_private(text.encode()) is not None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "write",
    [
        lambda jwk: "\n".join(f"  {name}: {value}" for name, value in jwk.items()),  # YAML
        lambda jwk: "\n".join(f'{name} = "{value}"' for name, value in jwk.items()),  # TOML
        lambda jwk: "const key = { " + ", ".join(f"{name}: '{value}'" for name, value in jwk.items()) + " };",
        lambda jwk: "KEY=" + json.dumps(json.dumps(jwk)),  # a JSON string in a dotenv file
        lambda jwk: repr(jwk),  # a dict of Python
        lambda jwk: "data:\n  key: " + base64.b64encode(json.dumps(jwk).encode()).decode(),  # a Kubernetes Secret
        lambda jwk: "data:\n  key: " + base64.b64encode(json.dumps({"keys": [jwk]}, indent=2).encode()).decode(),
    ],
    ids=["YAML", "TOML", "JavaScript", "escaped", "Python", "Secret", "Secret with a set"],
)
def test_a_private_jwk_in_another_file_is_found(kind: str, write: object) -> None:
    """The key is written in the syntax of that file."""
    assert find_private(write(_private(kind)).encode()) is not None  # type: ignore[operator]  # a function, listed above


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_keys_in_utf16_are_found(encoding: str) -> None:
    """PowerShell writes redirected output in UTF-16."""
    assert find_private(("\ufeff" + json.dumps(_private("EC"))).encode(encoding)) is not None


@pytest.mark.parametrize(
    "write",
    [
        lambda pem: json.dumps({"key": pem}),
        lambda pem: pem.replace("\n", "\r\n"),
        lambda pem: "key: |\n" + "".join(f"    {line}\n" for line in pem.splitlines()),
        lambda pem: "key = (\n" + "\n".join(f'    "{line}\\n"' for line in pem.splitlines()) + "\n)",
        lambda pem: "data:\n  tls.key: " + base64.b64encode(pem.encode()).decode(),
    ],
    ids=["JSON", "Windows", "YAML", "Python", "Secret"],
)
def test_pem_in_another_file_is_found(write: object) -> None:
    """The key is written in the syntax of that file."""
    pem = PLAIN["PKCS#8"].decode()

    assert find_private(write(pem).encode()) is not None  # type: ignore[operator]  # a function, listed above


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"\x30\x82\xff\xff" + bytes(100),
        RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(
            {"keys": [json.loads(key.export_public()) for kind, key in KINDS.items() if kind != "oct"]}
        ).encode(),
        b"the label -----BEGIN PRIVATE KEY----- alone, as in a manual",
        b"-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----\n",
        b'{"kty": "EC", "d": "..."}',
        b'the member "d" of a JWK with "kty": "RSA" is private',
        b"an age identity begins with AGE-SECRET-KEY-1",
        b'{"id": "' + b"d" * 40 + b'", "kty": "RSA", "kid": "' + b"k" * 43 + b'"}',
        base64.b64encode(json.dumps({"typ": "JWT", "text": "x" * 100}).encode()),
    ],
    ids=range(13),
)
def test_public_text_passes(data: bytes) -> None:
    """Public keys, labels, explanations and tokens are not reported."""
    assert find_private(data) is None


def test_a_record_of_a_vault_passes(tmp_path: Path) -> None:
    """No file of a vault is reported: its private keys are sealed, and its identity is elsewhere."""
    from keyvault.operations.guard import guard_paths
    from tests.vaults import make_vault

    vault = make_vault(tmp_path)

    look = guard_paths([vault.folder])

    assert look.files > 4
    assert look.findings == ()


@pytest.mark.parametrize("form", [*PLAIN, *KINDS])
def test_the_description_has_no_key_material(form: str) -> None:
    """The description does not have even the first letters of the key."""
    data = PLAIN.get(form) or json.dumps(_private(form)).encode()
    text = data.decode(errors="replace")

    told = find_private(data) or ""

    assert told
    pieces = {text[start : start + 12] for start in range(len(text) - 12)}
    # A label, such as BEGIN PRIVATE KEY, has spaces; no key has.
    assert not any(piece in told for piece in pieces if " " not in piece)


@pytest.mark.parametrize(
    "piece", [b'"kty":"RSA",', b"-----BEGIN PRIVATE KEY-----", b"eyJ", b'"d":"', b"LS0tLS1CRUdJTi", b"\\" * 9]
)
def test_the_search_does_not_backtrack(piece: bytes) -> None:
    """With the beginning of a pattern over and over, a search that backtracks would not end."""
    assert find_private(piece * (300_000 // len(piece))) is None


def test_openssl_agrees(tmp_path: Path) -> None:
    """A key that openssl wrote is found, and passes under a passphrase."""
    key = tmp_path / "key.pem"
    made = subprocess.run(["openssl", "genpkey", "-algorithm", "ED25519"], capture_output=True, check=True).stdout
    key.write_bytes(made)
    locked = subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-in", key, "-passout", "pass:x"], capture_output=True, check=True
    ).stdout

    assert find_private(made) == "a PEM block PRIVATE KEY"
    assert find_private(locked) is None


def test_openssh_agrees(tmp_path: Path) -> None:
    """A key that ssh-keygen wrote passes under a passphrase, and is found without."""
    key = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "correct horse", "-f", key], check=True)
    assert find_private(key.read_bytes()) is None

    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "correct horse", "-N", "", "-f", key], check=True)
    assert find_private(key.read_bytes()) == "a PEM block OPENSSH PRIVATE KEY"


def _wrapped(data: bytes, width: int) -> bytes:
    """Return *data* in Base64 as programs print it."""
    text = base64.b64encode(data).decode()
    return "\n".join(text[place : place + width] for place in range(0, len(text), width)).encode() + b"\n"


EC_JWK = json.loads(KINDS["EC"].export())
DISGUISES = {
    "PEM in Base64, wrapped at 76": _wrapped(PLAIN["PKCS#8"], 76),
    "JWK in Base64, wrapped at 76": _wrapped(KINDS["RSA"].export().encode(), 76),
    "PEM in Base64, wrapped and indented": _wrapped(PLAIN["PKCS#8"], 64).replace(b"\n", b"\n    "),
    "DER in Base64": base64.b64encode(PLAIN["DER"]),
    "DER of RSA in Base64": b'key = "' + base64.b64encode(PLAIN["DER, PKCS#1"]) + b'"',
    "PEM in JSON in JSON": json.dumps(json.dumps({"pem": PLAIN["PKCS#8"].decode()})).encode(),
    "Ruby": "{ {} }".replace("{}", ", ".join(f'"{name}"=>"{value}"' for name, value in EC_JWK.items())).encode(),
    "backticks": ("{ " + ", ".join(f"{name}: `{value}`" for name, value in EC_JWK.items()) + " }").encode(),
}


@pytest.mark.parametrize("name", DISGUISES)
def test_a_private_key_in_disguise_is_found(name: str) -> None:
    """The key has a form in which programs print it or languages write it."""
    assert find_private(DISGUISES[name]) is not None


@pytest.mark.parametrize(
    "data",
    [
        base64.b64encode(EC.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
        base64.b64encode(LOCKED_UP["DER"]),
        _wrapped(LOCKED_UP["PKCS#8"], 76),
    ],
    ids=["public DER", "encrypted DER", "encrypted PEM, wrapped"],
)
def test_public_data_in_base64_passes(data: bytes) -> None:
    """A certificate or an encrypted key looks similar to a private key."""
    assert find_private(data) is None


def _pfx(password: bytes | None, key: object = EC) -> bytes:
    locked = NoEncryption() if password is None else BestAvailableEncryption(password)
    return pkcs12.serialize_key_and_certificates(b"signer", key, None, None, locked)  # type: ignore[arg-type]  # any of them


def _openssl_pfx(folder: Path, *options: str) -> bytes:
    (folder / "key.pem").write_bytes(PLAIN["PKCS#8"])
    command = ["openssl", "pkcs12", "-export", "-nocerts", "-inkey", folder / "key.pem", *options]
    return subprocess.run(command, capture_output=True, check=True).stdout


def _ways(data: bytes) -> list[bytes]:
    """Return a typical binary file."""
    text = base64.b64encode(data).decode()
    return [
        data,
        text.encode(),
        base64.encodebytes(data),
        f"data:\n  key.pfx: {text}\n".encode(),
        json.dumps({"value": text}).encode(),
    ]


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=["RSA", "EC", "OKP"])
def test_pkcs12_without_a_password_is_found(key: object) -> None:
    """Azure Key Vault exports such files; a file with a password passes."""
    for data in _ways(_pfx(None, key)):
        assert "a private key in PKCS#12 without a password" in (find_private(data) or "")
    for data in _ways(_pfx(b"correct horse", key)):
        assert find_private(data) is None


@pytest.mark.interop
def test_pkcs12_of_openssl(tmp_path: Path) -> None:
    """The file has an empty password, the key in the clear, or no MAC."""
    clear = ("-keypbe", "NONE", "-certpbe", "NONE")
    for options in (("-passout", "pass:"), ("-passout", "pass:", *clear), ("-passout", "pass:", *clear, "-nomac"),
                    ("-passout", "pass:secret", *clear)):  # fmt: skip
        for data in _ways(_openssl_pfx(tmp_path, *options)):
            assert "in PKCS#12 without a password" in (find_private(data) or ""), options
    for data in _ways(_openssl_pfx(tmp_path, "-passout", "pass:secret")):
        assert find_private(data) is None
