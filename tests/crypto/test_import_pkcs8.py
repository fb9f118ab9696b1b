"""PKCS#8 of other programs: version 2 with the public half, restricted to RSASSA-PSS, under every encryption."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, pkcs12

from keyvault.core.ber import is_pkcs12, iteration_count
from keyvault.core.jwk import b64u_decode
from keyvault.crypto.imports import FoundKey, read_keys
from keyvault.crypto.pairs import private_key
from keyvault.errors import JWKError, KeyVaultError, UsageError, WeakKeyError
from tests.crypto.kinds import KINDS, key, members
from tests.crypto.test_import_chains import issue
from tests.errors import fails

PASSWORD = b"correct horse"


def read(data: bytes, password: bytes = PASSWORD) -> FoundKey:
    (found,) = read_keys(data, lambda: password)
    return found


def tlv(tag: int, value: bytes) -> bytes:
    size = len(value)
    length = (
        bytes([size])
        if size < 128
        else bytes([0x80 | (size.bit_length() + 7) // 8]) + size.to_bytes((size.bit_length() + 7) // 8, "big")
    )
    return bytes([tag]) + length + value


def der(kind: str) -> bytes:
    return private_key(key(kind)).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def armored(data: bytes, label: str = "PRIVATE KEY") -> bytes:
    return f"-----BEGIN {label}-----\n".encode() + base64.encodebytes(data) + f"-----END {label}-----\n".encode()


# --- version 2 (RFC 5958) -------------------------------------------------------------------------------


def public_bits(kind: str) -> bytes:
    """Return the public key as the BIT STRING of its SubjectPublicKeyInfo holds it."""
    spki = private_key(key(kind)).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    raw = {"RSA": None, "oct": None}.get(kind, b"")
    if raw is None:
        return private_key(key(kind)).public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    if kind.startswith(("P-", "secp")):
        return b"\x04" + b64u_decode(key(kind)["x"], what="x") + b64u_decode(key(kind)["y"], what="y")
    return b64u_decode(key(kind).get("x") or key(kind)["pub"], what="x") if spki else b""


def version_2(kind: str, public: bytes, *, explicit: bool = False, attributes: bytes = b"") -> bytes:
    """
    Return the key of *kind* with its public half beside it.

    Bouncy Castle, and ring from 0.17 on, write ``[1] IMPLICIT BIT STRING``; older versions of ring an explicit one.
    """
    one = der(kind)
    inner = one[1:]
    size = inner[0]
    body = inner[1:] if size < 128 else inner[1 + (size & 0x7F) :]
    assert body[:3] == b"\x02\x01\x00"
    bits = b"\0" + public
    tagged = tlv(0xA1, tlv(0x03, bits)) if explicit else tlv(0x81, bits)
    return tlv(0x30, b"\x02\x01\x01" + body[3:] + attributes + tagged)


V2 = [kind for kind in KINDS if kind != "oct"]


@pytest.mark.parametrize("wrap", [bytes, armored, base64.b64encode], ids=["DER", "PEM", "Base64"])
@pytest.mark.parametrize("explicit", [False, True], ids=["Bouncy Castle", "early ring"])
@pytest.mark.parametrize("kind", V2)
def test_version_2(kind: str, explicit: bool, wrap: Callable[[bytes], bytes]) -> None:
    """It is read if the public half belongs to the private one, and refused otherwise."""
    good = public_bits(kind)

    assert read(wrap(version_2(kind, good, explicit=explicit))).members == members(key(kind))
    with fails("key-halves-mismatch", WeakKeyError):
        read(wrap(version_2(kind, good[:-1] + bytes([good[-1] ^ 1]), explicit=explicit)))


def test_attributes_are_ignored() -> None:
    """As Windows and Java write them, in either version."""
    attributes = tlv(0xA0, tlv(0x30, tlv(0x06, bytes.fromhex("550f")) + tlv(0x31, tlv(0x04, b"\1"))))

    assert read(version_2("Ed25519", public_bits("Ed25519"), attributes=attributes)).members == members(key("Ed25519"))


def test_a_point_in_short_form() -> None:
    """A compressed point is the same public half."""
    public = private_key(key("P-256")).public_key()
    short = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)  # type: ignore[union-attr]  # it is on a curve

    assert read(version_2("P-256", short)).members == members(key("P-256"))


# --- RSASSA-PSS (RFC 4055) ------------------------------------------------------------------------------

_SHA = {"SHA-1": "2b0e03021a", "SHA-224": "608648016503040204", "SHA-256": "608648016503040201",
        "SHA-384": "608648016503040202", "SHA-512": "608648016503040203"}  # fmt: skip


def _algorithm(name: str, *, null: bool = True) -> bytes:
    return tlv(0x30, tlv(0x06, bytes.fromhex(_SHA[name])) + (b"\x05\0" if null else b""))


def pss_parameters(hashed: str, mask: str | None = None, salt: int | None = None, *, null: bool = True) -> bytes:
    mgf = tlv(0x30, tlv(0x06, bytes.fromhex("2a864886f70d010108")) + _algorithm(mask or hashed, null=null))
    salted = tlv(0xA2, tlv(0x02, bytes([salt]))) if salt is not None else b""
    return tlv(0x30, tlv(0xA0, _algorithm(hashed, null=null)) + tlv(0xA1, mgf) + salted)


def pss_key(parameters: bytes) -> bytes:
    """Return the RSA key in PKCS#8 under the object identifier of RSASSA-PSS."""
    inner = private_key(key("RSA")).private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    name = tlv(0x06, bytes.fromhex("2a864886f70d01010a"))
    return tlv(0x30, b"\x02\x01\x00" + tlv(0x30, name + parameters) + tlv(0x04, inner))


def pss_spki(parameters: bytes) -> bytes:
    """Return its public half likewise."""
    inner = private_key(key("RSA")).public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    name = tlv(0x06, bytes.fromhex("2a864886f70d01010a"))
    return tlv(0x30, tlv(0x30, name + parameters) + tlv(0x03, b"\0" + inner))


@pytest.mark.parametrize("make", [pss_key, pss_spki], ids=["private", "public"])
@pytest.mark.parametrize("wrap", [bytes, armored, base64.b64encode], ids=["DER", "PEM", "Base64"])
def test_the_hash_of_pss_binds(make: Callable[[bytes], bytes], wrap: Callable[[bytes], bytes]) -> None:
    """One hash, one algorithm; without parameters any of three."""
    for hashed, octets, alg in (("SHA-256", 32, "PS256"), ("SHA-384", 48, "PS384"), ("SHA-512", 64, "PS512")):
        for salt, null in ((octets, True), (20, False), (None, True)):
            assert read(wrap(make(pss_parameters(hashed, salt=salt, null=null)))).restricted_to == (alg,)
    assert read(wrap(make(b""))).restricted_to == ("PS256", "PS384", "PS512")
    assert read(wrap(make(b"\x05\0"))).restricted_to == ("PS256", "PS384", "PS512")


@pytest.mark.parametrize(
    "parameters",
    [
        b"\x30\x00",  # the default is SHA-1
        pss_parameters("SHA-1", salt=20),
        pss_parameters("SHA-224", salt=28),
        pss_parameters("SHA-512", "SHA-256", salt=64),
        pss_parameters("SHA-256", salt=64),
    ],
    ids=["default", "SHA-1", "SHA-224", "another mask", "a longer salt"],
)
def test_pss_that_no_jose_algorithm_has(parameters: bytes) -> None:
    """Such a key is refused, and not published with another algorithm."""
    for make in (pss_key, pss_spki):
        with fails("rsa-pss-unsupported", JWKError):
            read(make(parameters))


def openssl(*arguments: str | Path, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True, check=True).stdout


@pytest.mark.interop
def test_pss_of_openssl(tmp_path: Path) -> None:
    """In the clear, under a password, in PKCS#12 and in a certificate: the same restriction."""
    path, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    options = ("rsa_pss_keygen_md:sha512", "rsa_pss_keygen_mgf1_md:sha512", "rsa_pss_keygen_saltlen:64")
    openssl("genpkey", "-algorithm", "RSA-PSS", *(word for one in options for word in ("-pkeyopt", one)), "-out", path)
    subject = ("-subj", "/CN=x", "-addext", "basicConstraints=critical,CA:FALSE")
    openssl("req", "-x509", "-key", path, *subject, "-out", cert)
    secret = f"pass:{PASSWORD.decode()}"
    for data in (
        path.read_bytes(),
        openssl("pkcs8", "-topk8", "-in", path, "-passout", secret),
        openssl("pkcs12", "-export", "-inkey", path, "-in", cert, "-passout", secret),
        openssl("pkey", "-in", path, "-pubout"),
        cert.read_bytes(),
        cert.read_bytes() + path.read_bytes(),
    ):
        assert read(data).restricted_to == ("PS512",)


# --- encryption -----------------------------------------------------------------------------------------


@pytest.mark.interop
@pytest.mark.parametrize(
    "scheme",
    [
        "-scrypt", "-v2 aes-128-cbc -v2prf hmacWithSHA512", "-v2 aes-192-cbc -v2prf hmacWithSHA384", "-v2 des3",
        "-v2 aes-256-cbc -v2prf hmacWithSHA1", "-v1 PBE-SHA1-3DES", "-v2 rc2 -provider legacy -provider default",
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["RSA", "P-256", "Ed25519"])
def test_what_openssl_encrypts(kind: str, scheme: str) -> None:
    """It opens under its password, in PEM and DER; another password is reported as wrong."""
    for form in ("PEM", "DER"):
        data = openssl("pkcs8", "-topk8", "-outform", form, *scheme.split(), "-passout", f"pass:{PASSWORD.decode()}",
                       stdin=armored(der(kind)))  # fmt: skip
        assert read(data).members == members(key(kind))
        with fails("password-wrong", UsageError):
            read(data, b"another")
        with fails("password-missing", UsageError):
            read(data, b"")


@pytest.mark.interop
@pytest.mark.parametrize("cipher", ["camellia-256-cbc", "aria-256-cbc", "aes-256-ofb"])
def test_encryption_that_is_not_supported(cipher: str) -> None:
    """It is reported as such, with the right password and with a wrong one; the hint re-encrypts the key."""
    data = openssl("pkcs8", "-topk8", "-v2", cipher, "-passout", f"pass:{PASSWORD.decode()}", stdin=armored(der("RSA")))

    for password in (PASSWORD, b"another"):
        with fails("encryption-unsupported", UsageError) as caught:
            read(data, password)
        assert "openssl pkcs8 -topk8" in (caught.value.hint or "")


@pytest.mark.interop
@pytest.mark.parametrize(
    "options", ["-keypbe camellia-256-cbc", "-certpbe aria-256-cbc", "-macalg sha512", "-nomac", "-legacy"]
)
def test_pkcs12_of_openssl(options: str, tmp_path: Path) -> None:
    """The library opens a store under any encryption; another password is reported as wrong."""
    leaf = issue("leaf", ca=False)
    (tmp_path / "key.pem").write_bytes(leaf.key_pem + leaf.pem)
    data = openssl(
        "pkcs12", "-export", "-in", tmp_path / "key.pem", *options.split(), "-passout", f"pass:{PASSWORD.decode()}"
    )

    assert read(data).public == leaf.members
    with fails("password-wrong", UsageError):
        read(data, b"another")


@pytest.mark.interop
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
@pytest.mark.parametrize("cipher", ["aes256-ctr", "aes256-cbc", "aes256-gcm@openssh.com"])
def test_openssh_under_a_passphrase(kind: str, cipher: str, tmp_path: Path) -> None:
    """`ssh-keygen -N` writes it; the passphrase opens it, and another one does not."""
    size = ["-b", "2048"] if kind == "rsa" else []
    _ssh_keygen(tmp_path / "key", "-t", kind, *size, "-N", PASSWORD.decode(), "-Z", cipher)
    data = (tmp_path / "key").read_bytes()

    assert read(data).public == read((tmp_path / "key.pub").read_bytes()).members
    with fails("password-wrong", UsageError):
        read(data, b"another")
    with fails("password-missing", UsageError):
        read(data, b"")


@pytest.mark.interop
def test_openssh_with_a_cipher_that_is_not_supported(tmp_path: Path) -> None:
    """It is not reported as a wrong password."""
    _ssh_keygen(tmp_path / "key", "-t", "ed25519", "-N", PASSWORD.decode(), "-Z", "chacha20-poly1305@openssh.com")

    with fails("encryption-unsupported", UsageError) as caught:
        read((tmp_path / "key").read_bytes())
    assert "chacha20-poly1305@openssh.com" in caught.value.message
    assert "ssh-keygen -p" in (caught.value.hint or "")


def _ssh_keygen(path: Path, *arguments: str) -> None:
    subprocess.run(["ssh-keygen", "-q", *arguments, "-f", path], check=True, capture_output=True)


# --- random octets in valid DER -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["RSA", "Ed25519", "P-521"])
def test_iterations_are_counted_by_structure(kind: str) -> None:
    """Octets in a signature or a key that look like a salt and an iteration count are neither."""
    lure = b"\x04\x08saltsalt\x02\x04\x7f\xff\xff\xff" + b"\x04\x40" + bytes(64) + b"\x02\x08" + b"\x7f" * 8
    spki = tlv(0x30, tlv(0x30, tlv(0x06, bytes.fromhex("2a864886f70d010101")) + b"\x05\0") + tlv(0x03, b"\0" + lure))

    assert iteration_count(spki) == 0
    assert iteration_count(tlv(0x30, tlv(0x04, lure) + spki + tlv(0x03, b"\0" + lure))) == 0
    assert not is_pkcs12(tlv(0x30, b"\x02\x01\x03" + tlv(0x02, b"\1")))
    assert read(der(kind)).members == members(key(kind))


def test_random_keys_are_never_refused() -> None:
    """30,000 RSA-sized keys of random octets have no iteration count, and are not PKCS#12 files."""
    frame = pss_key(b"")
    for _ in range(30_000):
        numbers = b"".join(tlv(0x02, b"\1" + os.urandom(size)) for size in (512, 3, 512, 256, 256, 256, 256, 256))
        data = tlv(0x30, b"\x02\x01\x00" + tlv(0x30, tlv(0x06, bytes.fromhex("2a864886f70d010101")) + b"\x05\0")
                   + tlv(0x04, tlv(0x30, b"\x02\x01\x00" + numbers)))  # fmt: skip
        assert iteration_count(data) == 0
        assert not is_pkcs12(data)
    assert iteration_count(frame) == 0


def test_pss_octets_in_a_modulus_restrict_nothing() -> None:
    """The object identifier of RSASSA-PSS counts only if it names the algorithm."""
    found = read(der("RSA"))
    assert found.restricted_to == ()
    spki = private_key(key("RSA")).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert read(spki).restricted_to == ()


@pytest.mark.parametrize(
    "data",
    [
        der("P-256"),
        issue("x", issue("ca", ca=True), ca=False).cert.public_bytes(Encoding.DER),
        pkcs12.serialize_key_and_certificates(b"x", private_key(key("P-256")), None, None, NoEncryption()),  # type: ignore[arg-type]  # EC
    ],
    ids=["PKCS#8", "certificate", "PKCS#12"],
)
def test_the_error_of_damaged_data_is_one_line(data: bytes) -> None:
    """With any octet inverted, the result is the key, or a `KeyVaultError` with a code."""
    errors = []
    for index in range(len(data)):
        damaged = data[:index] + bytes([data[index] ^ 0xFF]) + data[index + 1 :]
        try:
            read(damaged)
        except KeyVaultError as error:
            errors.append(error)
    assert len(errors) > len(data) // 4
    assert [error.message for error in errors if error.code == "failed"] == []
    assert not any("\n" in error.message or key("P-256")["d"][:12] in error.message for error in errors)


@pytest.mark.interop
def test_keys_of_other_kinds() -> None:
    """A key that OpenSSL generates and JOSE does not define is reported as such, and never as damaged."""
    for options, (code, named) in {
        "RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_primes:3": ("rsa-multi-prime", "two primes"),
        "RSA -pkeyopt rsa_keygen_bits:1024": ("rsa-modulus-size", "1024 bits"),
        "EC -pkeyopt ec_paramgen_curve:brainpoolP256r1": ("crv-unknown", "brainpoolP256r1"),
        "EC -pkeyopt ec_paramgen_curve:secp224r1": ("crv-unknown", "secp224r1"),
        "DH -pkeyopt group:ffdhe2048": ("kty-unknown", "key type"),
    }.items():
        pem = openssl("genpkey", "-algorithm", *options.split())
        sealed = openssl("pkcs8", "-topk8", "-passout", f"pass:{PASSWORD.decode()}", stdin=pem)
        for data in (pem, sealed, openssl("pkcs8", "-topk8", "-nocrypt", "-outform", "DER", stdin=pem)):
            with fails(code) as caught:
                read(data)
            assert named in caught.value.message
    explicit = openssl(
        "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"
    )
    assert read(explicit).members["crv"] == "P-256"


@pytest.mark.parametrize("tag", [0x24, 0x30, 0xA0])
def test_deep_nesting(tag: int) -> None:
    """It raises a `KeyVaultError`, not an error of the interpreter."""
    data = b"\x04\x00"
    while len(data) < 100_000:
        data = tlv(tag, data)
    inner = tlv(0xA0, data)
    pfx = tlv(0x30, b"\x02\x01\x03" + tlv(0x30, tlv(0x06, bytes.fromhex("2a864886f70d010701")) + inner))
    indefinite = bytes([tag, 0x80]) * 50_000
    for given in (data, pfx, indefinite, tlv(0x30, b"\x02\x01\x03" + indefinite)):
        with pytest.raises(KeyVaultError):
            read(given)
