"""The documents of single keys, read by our code and by other tools."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from typing import Any

import msgspec
import pytest

from keyvault.core.algorithms import key_spec
from keyvault.operations import keys, rotation
from tests.site.vaults import DAY, Lab, new_lab

#: Every key type and curve that a set can publish.
ALL_KINDS = (
    ("rs", "RS256", None),
    ("p256", "ES256", None),
    ("p384", "ES384", None),
    ("p521", "ES512", None),
    ("koblitz", "ES256K", None),
    ("ed25519", "EdDSA", "Ed25519"),
    ("ed448", "EdDSA", "Ed448"),
    ("x25519", "ECDH-ES", "X25519"),
    ("x448", "ECDH-ES", "X448"),
    ("agree", "ECDH-ES+A256KW", "P-384"),
    ("oaep", "RSA-OAEP-256", None),
)

MEMBERS = {
    "RSA": {"kty", "kid", "use", "alg", "n", "e"},
    "EC": {"kty", "kid", "use", "alg", "crv", "x", "y"},
    "OKP": {"kty", "kid", "use", "alg", "crv", "x"},
}


def jwks(value: Any) -> list[dict[str, Any]]:
    """Return every object in *value*, at any depth, that looks like a JWK."""
    found = [value] if isinstance(value, dict) and {"kty", "use"} <= set(value) and "events" not in value else []
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return found + [jwk for child in children for jwk in jwks(child)]


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A vault with a set of every kind that is published, which tests only read."""
    lab = new_lab(tmp_path_factory.mktemp("every-kind") / "vault")
    for name, alg, crv in ALL_KINDS:
        keys.add_set(lab.context(), name, spec=key_spec(alg, crv=crv))
    return lab


def test_published_jwks_have_the_members_of_the_profile_and_no_others(every_kind: Lab) -> None:
    """Each JWK in any JSON file has kty, kid, use, alg and its public members, and nothing else."""
    site = every_kind.site()

    found = [jwk for path, data in site.items() if path.endswith(".json") for jwk in jwks(json.loads(data))]
    assert {jwk["kty"] for jwk in found} == {"RSA", "EC", "OKP"}
    assert len({jwk["kid"] for jwk in found}) == 2 * len(ALL_KINDS)
    for jwk in found:
        assert set(jwk) == MEMBERS[jwk["kty"]]
        assert jwk["use"] in ("sig", "enc")


def test_no_private_byte_is_on_the_site(every_kind: Lab) -> None:
    """The site contains none of the vault's private numbers, in any encoding."""
    context = every_kind.context()
    site = b"\n".join(every_kind.site().values())

    for key in every_kind.state.keys.values():
        (private,) = keys.open_keys(context, [key])
        for member in {"d", "p", "q", "dp", "dq", "qi"} & set(private):
            octets = base64.urlsafe_b64decode(private[member] + "==")
            for spelling in (private[member].encode(), octets, octets.hex().encode(), base64.b64encode(octets)):
                assert spelling not in site


def test_file_of_a_key_is_its_entry_in_the_jwk_set(every_kind: Lab) -> None:
    """keys/KID.json is the same JWK as in the JWK Set."""
    site = every_kind.site()

    for jwk in json.loads(site["jwks.json"])["keys"]:
        assert json.loads(site[f"keys/{jwk['kid']}.json"]) == jwk


def numbers(jwk: dict[str, str]) -> dict[str, str]:
    """Return the public numbers of a JWK in hexadecimal, without leading zeros for RSA."""
    octets = {name: base64.urlsafe_b64decode(jwk[name] + "==").hex() for name in ("n", "e", "x", "y") if name in jwk}
    if jwk["kty"] == "RSA":
        return {name: value.lstrip("0") for name, value in octets.items()}
    if jwk["kty"] == "EC":
        return {"pub": "04" + octets["x"] + octets["y"]}
    return {"pub": octets["x"]}


def read_by_openssl(pem: bytes) -> dict[str, str]:
    """Return the numbers that ``openssl pkey`` reads in *pem*, like `numbers`."""
    done = subprocess.run(["openssl", "pkey", "-pubin", "-noout", "-text"], input=pem, capture_output=True)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    blocks = {
        name.lower(): re.sub(r"[\s:]", "", value)
        for name, value in re.findall(r"^(pub|Modulus):\n((?:    [0-9a-f:]+\n)+)", text, re.M)
    }
    if "modulus" in blocks:
        exponent = re.search(r"Exponent: (\d+)", text)
        assert exponent is not None
        return {"n": blocks["modulus"].lstrip("0"), "e": f"{int(exponent[1]):x}"}
    return blocks


@pytest.mark.interop
def test_openssl_reads_the_same_key_from_pem(every_kind: Lab) -> None:
    """openssl, too, reads the same key from keys/KID.pem as from keys/KID.json."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    site = every_kind.site()

    for kid in every_kind.state.keys:
        assert read_by_openssl(site[f"keys/{kid}.pem"]) == numbers(json.loads(site[f"keys/{kid}.json"]))


def test_pem_and_json_of_withdrawn_keys_stay(vault: Lab) -> None:
    """After years, the key of a signed document can still be downloaded."""
    first = vault.key("id-token", "active")
    vault.rotate("id-token")
    vault.wait(DAY)
    rotation.rotate_due(vault.context())
    site = vault.site()

    assert vault.state.keys[first.kid].state == "withdrawn"
    assert json.loads(site[f"keys/{first.kid}.json"])["kid"] == first.kid
    assert site[f"keys/{first.kid}.pem"].startswith(b"-----BEGIN PUBLIC KEY-----\n")


def test_documents_are_json_with_a_final_newline(every_kind: Lab) -> None:
    """Every JSON file is UTF-8, indented by two spaces, and ends with exactly one newline."""
    for path, data in every_kind.site().items():
        if path.endswith((".json", "openid-configuration")):
            value = json.loads(data)
            assert data == json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n", path


def test_kid_that_is_no_file_name_gets_a_safe_one(vault: Lab) -> None:
    """An imported kid such as ``-x`` or ``CON`` gets a safe file name, which history.json and pages link."""
    key = vault.key("id-token", "next")
    events = (
        msgspec.structs.replace(key.events[0], imported=True),
        msgspec.structs.replace(key.events[0], event="withdrawn"),
    )
    for kid in ("CON", "-rf", "a..", "index"):
        forged = msgspec.structs.replace(
            key, public=msgspec.structs.replace(key.public, kid=kid), events=events, private=msgspec.UNSET
        )
        vault.commit_key(forged)
        stem = "kid-" + hashlib.sha256(kid.encode()).hexdigest()[:32]
        site = vault.site()

        assert json.loads(site[f"keys/{stem}.json"])["kid"] == kid
        shown = {entry["kid"]: entry for entry in json.loads(site["history.json"])["keys"]}
        assert shown[kid]["jwk"] == f"keys/{stem}.json"
        assert f'href="keys/{stem}/index.html"' in site["index.html"].decode()
        page = site[f"keys/{stem}/index.html"].decode()
        assert f'href="../{stem}.json"' in page
        assert f'href="../{stem}.pem"' in page
