"""Other programs read the key files that we write, and we read theirs: OpenSSL, jose, step, keytool."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keyvault.core.jwk import b64u, b64u_decode, thumbprint
from keyvault.core.key_objects import public_der
from keyvault.crypto.exports import encode_keys
from keyvault.crypto.generate import PrivateJWK
from keyvault.crypto.imports import FoundKey, read_keys
from keyvault.crypto.pairs import private_key
from keyvault.errors import UsageError
from keyvault.operations.export_keys import public_half
from tests.crypto.kinds import AGREEMENT, CERTIFICATE, KINDS, ML_DSA, PASSWORD, key, members
from tests.errors import fails
from tests.interop.foreign import ForeignError, build_step, needs, openssl_version, run

pytestmark = pytest.mark.interop

#: Keys with two halves, and those of them that sign.
PAIRS = [kind for kind in KINDS if kind != "oct"]
SIGNING = [kind for kind in PAIRS if kind not in AGREEMENT]

#: The messages of programs about unsupported keys, by request and kind. If a listed request works, its test fails, so that
#: docs/coming-from.md does not claim a limit that is gone.
UNKNOWN: dict[tuple[str, str], str] = {
    # OpenSSL has ML-DSA since 3.5.
    **{("openssl pkey", kind): "unsupported" for kind in ML_DSA if openssl_version() < (3, 5)},
    **{("openssl x509", kind): "Error getting public key" for kind in ML_DSA if openssl_version() < (3, 5)},
    **{("openssl genpkey", kind): "ML-DSA-" for kind in ML_DSA if openssl_version() < (3, 5)},
    # jose knows RSA, EC and oct.
    **{("jose jwk pub", kind): "Error removing private keys!" for kind in ("Ed25519", "Ed448", *AGREEMENT, *ML_DSA)},
    **{("jose jwk thp", kind): "another thumbprint" for kind in ("Ed25519", "Ed448", *AGREEMENT, *ML_DSA)},
    # step supports the keys of go-jose and Go: no secp256k1, no Ed448, and key agreement on NIST curves only.
    **{
        (asked, kind): "error reading JWK: unsupported format"
        for asked in ("step crypto jwk public", "step crypto jwk thumbprint")
        for kind in ("secp256k1", "Ed448", *AGREEMENT, *ML_DSA)
    },
    ("step crypto jwk thumbprint", "oct"): "unknown key type",
    **{
        (asked, kind): words
        for asked in ("step crypto key inspect", "step crypto key format")
        for kind, words in {
            "secp256k1": "unknown elliptic curve",
            "Ed448": "unknown algorithm: 1.3.101.113",
            "X448": "unknown algorithm: 1.3.101.111",
            "X25519": "*ecdh.PrivateKey",
            **dict.fromkeys(ML_DSA, "unknown algorithm: 2.16.840.1.101.3.4.3."),
        }.items()
    },
    **{("step crypto jwt verify", kind): "unsupported format" for kind in ("secp256k1", "Ed448", *ML_DSA)},
}


def expect(asked: str, kind: str, attempt: Callable[[], None]) -> None:
    """Call *attempt*, which must fail with the message in the table, if there is one."""
    words = UNKNOWN.get((asked, kind))
    if words is None:
        attempt()
        return
    with pytest.raises(ForeignError) as caught:
        attempt()
    assert words in str(caught.value)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Give a function that writes a key in a format and returns the file."""

    def written(kind: str, form: str, password: bytes | None = None) -> Path:
        path = tmp_path / f"key.{form}"
        path.write_bytes(encode_keys([key(kind)], form, name="key", certificate=CERTIFICATE, password=password))
        return path

    return written


@pytest.fixture
def password(tmp_path: Path) -> Path:
    """Return a file with the password."""
    path = tmp_path / "password"
    path.write_bytes(PASSWORD)
    return path


def read(data: bytes) -> FoundKey:
    """Return the only private key in a file."""
    (found,) = read_keys(data, lambda: PASSWORD)
    assert found.private
    return found


def spki(kind: str) -> bytes:
    return public_der(members(key(kind)))


# --- OpenSSL reads what we write --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form", ["pem", *(pytest.param(form, marks=pytest.mark.slow) for form in ("pem encrypted", "der", "der encrypted"))]
)
@pytest.mark.parametrize("kind", PAIRS)
def test_openssl_reads_pkcs8(kind: str, form: str, write: Callable[..., Path], password: Path) -> None:
    """OpenSSL reads the private key, and derives the same public key from it."""
    needs("openssl")
    name, _, encrypted = form.partition(" ")
    path = write(kind, name, PASSWORD if encrypted else None)
    command = ["openssl", "pkey", "-in", path, "-inform", name.upper(), "-passin", f"file:{password}"]

    def attempt() -> None:
        assert run(*command, "-pubout", "-outform", "DER") == spki(kind)
        assert run(*command, "-noout", "-text")

    expect("openssl pkey", kind, attempt)


@pytest.mark.parametrize("form", ["pem", pytest.param("der", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", PAIRS)
def test_openssl_reads_public_keys(kind: str, form: str, tmp_path: Path) -> None:
    """OpenSSL reads SubjectPublicKeyInfo in both encodings."""
    needs("openssl")
    (tmp_path / "key").write_bytes(public_half(key(kind), form))

    def attempt() -> None:
        command = ["openssl", "pkey", "-pubin", "-in", tmp_path / "key", "-inform", form.upper()]
        assert run(*command, "-pubout", "-outform", "DER") == spki(kind)

    if kind in ML_DSA and openssl_version() < (3, 5):
        with pytest.raises(ForeignError):
            attempt()
    else:
        attempt()


@pytest.mark.parametrize("kind", [kind for kind in SIGNING if kind not in ML_DSA])
def test_openssl_reads_pkcs12(kind: str, write: Callable[..., Path], password: Path) -> None:
    """OpenSSL reads the key, its certificate, and the kid as their friendly name."""
    needs("openssl")
    path = write(kind, "p12", PASSWORD)

    printed = run("openssl", "pkcs12", "-in", path, "-passin", f"file:{password}", "-nodes", "-nocerts")

    assert read(printed).members == members(key(kind))
    assert f"friendlyName: {key(kind)['kid']}".encode() in printed


@pytest.mark.parametrize("kind", SIGNING)
def test_openssl_reads_certificates(kind: str, write: Callable[..., Path]) -> None:
    """The certificate's public key is ours, and its signature verifies."""
    needs("openssl")
    path = write(kind, "x509")

    def attempt() -> None:
        (found,) = read_keys(run("openssl", "x509", "-in", path, "-noout", "-pubkey"))
        assert public_der(found.public) == spki(kind)
        at = str(int(CERTIFICATE.now.timestamp()) + 60)
        assert b": OK" in run("openssl", "verify", "-attime", at, "-CAfile", path, "-check_ss_sig", path)

    expect("openssl x509", kind, attempt)


# --- we read what OpenSSL writes --------------------------------------------------------------------------

_GENPKEY = {
    "RSA": ["RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    **{crv: ["EC", "-pkeyopt", f"ec_paramgen_curve:{crv}"] for crv in ("P-256", "P-384", "P-521", "secp256k1")},
    **{kind: [kind] for kind in ("Ed25519", "Ed448", *AGREEMENT, *ML_DSA)},
}


@functools.cache
def _openssl_key(kind: str) -> bytes:
    return run("openssl", "genpkey", "-algorithm", *_GENPKEY[kind])


def same(data: bytes, kind: str) -> None:
    """Expect *data* to contain the key of *kind* that OpenSSL generated."""
    found = read(data)
    derived = run("openssl", "pkey", "-pubout", "-outform", "DER", stdin=_openssl_key(kind))
    assert public_der(found.public) == derived
    pkcs8 = encode_keys([{**found.members, "kid": "key"}], "pem", name="key", certificate=CERTIFICATE)
    text = [run("openssl", "pkey", "-noout", "-text", stdin=key) for key in (pkcs8, _openssl_key(kind))]
    assert text[0] == text[1]


#: The command for each format, with a key in PKCS#8 on stdin, and the kinds of keys that it supports.
_TRADITIONAL = ("RSA", "P-256", "P-384", "P-521", "secp256k1")
_OPENSSL_WRITES: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "PKCS#8": (["pkey"], (*_GENPKEY,)),
    "PKCS#8, DER": (["pkey", "-outform", "DER"], (*_GENPKEY,)),
    "PKCS#1 or SEC 1": (["pkey", "-traditional"], _TRADITIONAL),
    "PKCS#1 or SEC 1, DER": (["pkey", "-traditional", "-outform", "DER"], _TRADITIONAL),
    "SEC 1 with parameters": (["ec"], ("P-256", "P-521", "secp256k1")),
    # Under a password ML-DSA is read as the seed alone, which is not how OpenSSL writes it by itself.
    "PKCS#8, AES-256": (
        ["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout"],
        tuple(kind for kind in _GENPKEY if kind not in ML_DSA),
    ),
    "PKCS#8, AES-128, SHA-512": (
        ["pkcs8", "-topk8", "-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA512", "-passout"],
        ("RSA", "P-256"),
    ),
    "PKCS#8, scrypt": (["pkcs8", "-topk8", "-scrypt", "-passout"], ("RSA", "Ed25519")),
    "PKCS#8, AES-256, DER": (
        ["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-outform", "DER", "-passout"],
        ("RSA", "P-256"),
    ),
    "PKCS#8, 3DES of PKCS#12": (["pkcs8", "-topk8", "-v1", "PBE-SHA1-3DES", "-passout"], ("RSA", "P-256")),
    "legacy PEM, AES-128": (["pkey", "-traditional", "-aes128", "-passout"], _TRADITIONAL),
    "legacy PEM, AES-256": (["pkey", "-traditional", "-aes256", "-passout"], ("RSA", "P-256")),
    "legacy PEM, 3DES": (["pkey", "-traditional", "-des3", "-passout"], ("RSA", "P-256")),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "kind"), [(form, kind) for form, (_, kinds) in _OPENSSL_WRITES.items() for kind in kinds]
)
def test_we_read_keys_of_openssl(form: str, kind: str, password: Path) -> None:
    """We read the same key, to its last number."""
    needs("openssl")

    def attempt() -> None:
        command = [*_OPENSSL_WRITES[form][0]]
        command += [f"file:{password}"] if command[-1] == "-passout" else []
        same(run("openssl", *command, stdin=_openssl_key(kind)), kind)

    expect("openssl genpkey", kind, attempt)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["RSA", "P-256", "Ed25519", "Ed448"])
@pytest.mark.parametrize(
    "ciphers",
    [
        [],
        ["-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1"],
        ["-keypbe", "AES-128-CBC", "-certpbe", "NONE", "-macalg", "sha512"],
    ],
    ids=["modern", "legacy", "certificate in the clear"],
)
def test_we_read_pkcs12_of_openssl(kind: str, ciphers: list[str], tmp_path: Path, password: Path) -> None:
    """We read today's ciphers and those of Java 8 and Windows 7; the certificate does not count as a second key."""
    needs("openssl")
    (tmp_path / "key").write_bytes(_openssl_key(kind))
    run("openssl", "req", "-x509", "-key", tmp_path / "key", "-subj", "/CN=key", "-out", tmp_path / "certificate")
    files = ["-inkey", tmp_path / "key", "-in", tmp_path / "certificate", "-name", "key-1"]

    data = run("openssl", "pkcs12", "-export", *files, "-passout", f"file:{password}", *ciphers)

    same(data, kind)
    assert read(data).kid == "key-1"


@pytest.mark.slow
@pytest.mark.parametrize("form", ["PEM", "DER"])
@pytest.mark.parametrize("kind", ["RSA", "P-384", "Ed25519"])
def test_we_read_certificates_of_openssl(kind: str, form: str, tmp_path: Path) -> None:
    """We read the public key. By default, OpenSSL writes a CA certificate, whose key does not belong in a set."""
    needs("openssl")
    (tmp_path / "key").write_bytes(_openssl_key(kind))
    command = ["openssl", "req", "-x509", "-key", tmp_path / "key", "-subj", "/CN=key", "-outform", form]

    (found,) = read_keys(run(*command, "-addext", "basicConstraints=CA:FALSE"))
    with fails("key-of-ca", UsageError) as caught:
        read_keys(run(*command))

    assert "openssl x509 -noout -pubkey" in (caught.value.hint or "")
    assert not found.private
    assert public_der(found.public) == run("openssl", "pkey", "-in", tmp_path / "key", "-pubout", "-outform", "DER")


def test_we_read_public_keys_of_openssl() -> None:
    """We read SubjectPublicKeyInfo and PKCS#1."""
    needs("openssl")
    derived = run("openssl", "pkey", "-pubout", "-outform", "DER", stdin=_openssl_key("RSA"))

    for command in (["pkey", "-pubout"], ["rsa", "-RSAPublicKey_out"], ["pkey", "-pubout", "-outform", "DER"]):
        (found,) = read_keys(run("openssl", *command, stdin=_openssl_key("RSA")))
        assert public_der(found.public) == derived


# --- jose -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_jose_removes_the_private_half(kind: str, write: Callable[..., Path]) -> None:
    """jose removes the private members and leaves our public JWK; of a symmetric key no secret is left."""
    needs("jose")

    def attempt() -> None:
        printed = json.loads(run("jose", "jwk", "pub", "-i", write(kind, "jwk")))
        expected = json.loads(public_half(key(kind), "jwk")) if kind != "oct" else {**key(kind), "k": None}
        assert {**printed, **({"k": None} if kind == "oct" else {})} == expected

    expect("jose jwk pub", kind, attempt)


@pytest.mark.parametrize("kind", KINDS)
def test_jose_computes_the_kid(kind: str, write: Callable[..., Path]) -> None:
    """jose computes the same thumbprint."""
    needs("jose")

    def attempt() -> None:
        printed = run("jose", "jwk", "thp", "-i", write(kind, "jwk")).decode()
        if printed != key(kind)["kid"]:
            raise ForeignError(f"another thumbprint, {printed}")

    expect("jose jwk thp", kind, attempt)


@pytest.mark.parametrize("kind", KINDS)
def test_jose_respects_the_use_of_a_key(kind: str, write: Callable[..., Path]) -> None:
    """A key with use sig signs and does not wrap keys; a key with use enc wraps and does not sign."""
    needs("jose")
    path = write(kind, "jwk")
    good, bad = ("wrapKey", "sign") if kind in AGREEMENT else ("sign", "wrapKey")

    run("jose", "jwk", "use", "-i", path, "-u", good)
    with pytest.raises(ForeignError):
        run("jose", "jwk", "use", "-i", path, "-u", bad)


_JOSE_MAKES = (
    *("RS256", "RS512", "PS256", "ES256", "ES384", "ES512", "HS256", "HS512", "RSA-OAEP", "RSA-OAEP-256"),
    *("ECDH-ES+A128KW", "A128KW", "A256GCMKW", "A256CBC-HS512"),
)


@pytest.mark.slow
@pytest.mark.parametrize("alg", _JOSE_MAKES)
def test_we_read_keys_of_jose(alg: str) -> None:
    """We read members without a kid, from `jose jwk gen`."""
    needs("jose")
    if alg not in run("jose", "alg").decode().split():
        pytest.skip(f"this build of jose does not know {alg}")
    made = run("jose", "jwk", "gen", "-i", json.dumps({"alg": alg}))

    found = read(made)

    assert (found.kid, found.alg) == (None, alg)
    assert {name: json.loads(made)[name] for name in found.members} == found.members
    assert run("jose", "jwk", "thp", "-i", "-", stdin=made).decode() == thumbprint(found.members)


# --- step -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def step(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return the path of the program."""
    folder = tmp_path_factory.getbasetemp()
    return build_step(folder if worker_id == "master" else folder.parent)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_step_reads_our_jwk(kind: str, step: Path, write: Callable[..., Path]) -> None:
    """`step crypto jwk public` and `thumbprint` read it."""
    data = write(kind, "jwk").read_bytes()

    def public() -> None:
        printed = json.loads(run(step, "crypto", "jwk", "public", stdin=data))
        assert printed == json.loads(public_half(key(kind), "jwk"))

    def computed() -> None:
        assert run(step, "crypto", "jwk", "thumbprint", stdin=data).decode().strip() == key(kind)["kid"]

    if kind != "oct":  # step prints nothing, and exits with 0
        expect("step crypto jwk public", kind, public)
    expect("step crypto jwk thumbprint", kind, computed)


@pytest.mark.slow
@pytest.mark.parametrize("encrypted", [False, True], ids=["in the clear", "encrypted"])
@pytest.mark.parametrize("kind", PAIRS)
def test_step_reads_our_pem(kind: str, encrypted: bool, step: Path, write: Callable[..., Path], password: Path) -> None:
    """`step crypto key inspect` reads it, and we read the JWK and the DER that `format` writes."""
    path = write(kind, "pem", PASSWORD if encrypted else None)
    ours = ["--password-file", password] if encrypted else []
    bare = ["--no-password", "--insecure"]

    def inspect() -> None:
        assert b"Private" in run(step, "crypto", "key", "inspect", path, *ours)

    def reformat() -> None:
        jwk = run(step, "crypto", "key", "format", "--jwk", *bare, *ours, path)
        assert read(jwk).members == members(key(kind))
        der = run(step, "crypto", "key", "format", "--der", "--pkcs8", *bare, *ours, path)
        assert read(der).members == members(key(kind))

    expect("step crypto key inspect", kind, inspect)
    expect("step crypto key format", kind, reformat)


def _token(jwk: PrivateJWK) -> bytes:
    """Sign a token that is valid in this century."""
    from jwcrypto.jwk import JWK
    from jwcrypto.jwt import JWT

    claims = {
        "iss": "https://keys.example.com",
        "aud": "app",
        "sub": "alice",
        "iat": 1_577_836_800,
        "exp": 4_102_444_799,
    }
    if jwk["kty"] == "AKP":
        signing = ".".join(b64u(json.dumps(part).encode()) for part in ({"alg": jwk["alg"], "kid": jwk["kid"]}, claims))
        loaded: Any = private_key(jwk)
        return f"{signing}.{b64u(loaded.sign(signing.encode()))}".encode()
    token = JWT(header={"alg": jwk["alg"], "kid": jwk["kid"], "typ": "JWT"}, claims=claims, algs=[jwk["alg"]])
    token.make_signed_token(JWK(**jwk))
    return str(token.serialize()).encode()


@pytest.mark.slow
@pytest.mark.parametrize("kind", SIGNING)
def test_step_verifies_with_our_set(kind: str, step: Path, tmp_path: Path) -> None:
    """step verifies a token with the published JWK Set."""
    (tmp_path / "jwks.json").write_bytes(public_half(key(kind), "jwks"))
    command = [step, "crypto", "jwt", "verify", "--jwks", tmp_path / "jwks.json"]
    command += ["--iss", "https://keys.example.com", "--aud", "app"]

    def attempt() -> None:
        assert json.loads(run(*command, stdin=_token(key(kind))))["payload"]["sub"] == "alice"

    expect("step crypto jwt verify", kind, attempt)


_STEP_MAKES = {
    "RSA": ["--kty", "RSA"],
    **{crv: ["--kty", "EC", "--crv", crv] for crv in ("P-256", "P-384", "P-521")},
    "Ed25519": ["--kty", "OKP", "--crv", "Ed25519"],
    "oct": ["--kty", "oct", "--size", "48"],
    "enc": ["--kty", "RSA", "--use", "enc"],
    "kid": ["--kid", "payments-2026"],
}


@pytest.mark.slow
@pytest.mark.parametrize("encrypted", [False, True], ids=["in the clear", "encrypted"])
@pytest.mark.parametrize("what", _STEP_MAKES)
def test_we_read_keys_of_step(what: str, encrypted: bool, step: Path, tmp_path: Path, password: Path) -> None:
    """We read the encrypted JWK of `step crypto jwk create`, and keep kid, use and alg."""
    protect = ["--password-file", password] if encrypted else ["--no-password", "--insecure"]

    run(step, "crypto", "jwk", "create", "public.json", "private.json", *_STEP_MAKES[what], *protect, cwd=tmp_path)
    found = read((tmp_path / "private.json").read_bytes())

    if what == "oct":
        assert (found.use, found.alg) == ("sig", "HS256")
        # Its help documents another size, and its public file contains the secret.
        assert len(b64u_decode(found.members["k"], what="k")) == 48
        assert json.loads((tmp_path / "public.json").read_bytes())["k"] == found.members["k"]
        return
    public = json.loads((tmp_path / "public.json").read_bytes())
    assert (found.kid, found.use, found.alg) == (public["kid"], public["use"], public["alg"])
    assert found.public == {name: public[name] for name in found.public}
    assert found.kid == ("payments-2026" if what == "kid" else thumbprint(found.members))


@pytest.mark.slow
@pytest.mark.parametrize("encrypted", [False, True], ids=["in the clear", "encrypted"])
@pytest.mark.parametrize("what", [name for name in _STEP_MAKES if name not in ("oct", "enc", "kid")])
def test_we_read_pem_of_step(what: str, encrypted: bool, step: Path, tmp_path: Path, password: Path) -> None:
    """We read `step crypto keypair`, whose encrypted PEM has OpenSSL's legacy format."""
    protect = ["--password-file", password] if encrypted else ["--no-password", "--insecure"]

    run(step, "crypto", "keypair", "public.pem", "private.pem", *_STEP_MAKES[what], *protect, cwd=tmp_path)
    found = read((tmp_path / "private.pem").read_bytes())

    (public,) = read_keys((tmp_path / "public.pem").read_bytes())
    assert public.public == found.public


# --- Java -------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in SIGNING if kind not in ML_DSA])
def test_keytool_reads_our_pkcs12(kind: str, write: Callable[..., Path]) -> None:
    """keytool lists a private key under its kid; Java folds the case of an alias."""
    needs("keytool")
    command = ["keytool", "-list", "-keystore", write(kind, "p12", PASSWORD), "-storepass", PASSWORD.decode()]

    printed = run(*command).decode()

    assert "PrivateKeyEntry" in printed
    assert key(kind)["kid"].lower() in printed
