"""Keystores of the JDK's keytool: we read them, or name the command that converts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyvault.crypto.imports import read_keys
from keyvault.errors import UsageError
from tests.crypto.test_import_chains import issue
from tests.errors import fails
from tests.interop.foreign import needs, run

pytestmark = [pytest.mark.interop, pytest.mark.slow]

PASSWORD = b"changeit"
EC = ("-keyalg", "EC", "-groupname", "secp256r1", "-dname", "CN=signer")


def keytool(command: str, store: Path, *options: str | Path, kind: str = "PKCS12") -> None:
    needs("keytool")
    secret = ["-storepass", PASSWORD.decode()]
    run("keytool", f"-{command}", "-noprompt", "-keystore", store, "-storetype", kind, *secret, *options)


@pytest.mark.parametrize(("kind", "typed"), [("JKS", "keytool -importkeystore"), ("JCEKS", "-srcstoretype JCEKS")])
def test_old_keystores(kind: str, typed: str, tmp_path: Path) -> None:
    """The error for an old keystore has a command that converts it to a readable file."""
    old, new = tmp_path / "key.jks", tmp_path / "key.p12"
    keytool("genkeypair", old, "-alias", "Signer", "-keypass", PASSWORD.decode(), *EC, kind=kind)

    with fails("format-unsupported", UsageError) as caught:
        read_keys(old.read_bytes(), lambda: PASSWORD)

    assert typed in (caught.value.hint or "")
    words = (caught.value.hint or "").replace("FILE", str(old)).replace("key.p12", str(new)).split()
    run(*words, "-srcstorepass", PASSWORD.decode(), "-deststorepass", PASSWORD.decode(), "-noprompt")
    (found,) = read_keys(new.read_bytes(), lambda: PASSWORD)
    assert (found.private, found.kid) == (True, "signer")


def test_all_that_a_keystore_holds(tmp_path: Path) -> None:
    """Two keys are two keys; a partner's certificate and a secret are skipped and named; a lone secret is named."""
    store, alone = tmp_path / "store.p12", tmp_path / "secret.p12"
    hmac = ("-alias", "hmac", "-keyalg", "HmacSHA256", "-keysize", "256")
    keytool("genseckey", alone, *hmac)
    with fails("format-unsupported", UsageError) as caught:
        read_keys(alone.read_bytes(), lambda: PASSWORD)
    assert '{"kty": "oct", "k": BASE64URL}' in (caught.value.hint or "")
    keytool("genkeypair", store, "-alias", "first", *EC)
    keytool("genkeypair", store, "-alias", "second", *EC)
    (tmp_path / "partner.pem").write_bytes(issue("partner").pem)
    keytool("importcert", store, "-alias", "partner", "-file", tmp_path / "partner.pem")
    keytool("genseckey", store, *hmac)

    found = read_keys(store.read_bytes(), lambda: PASSWORD)

    assert [(key.kid, key.private) for key in found] == [("first", True), ("second", True)]
    remarks = " ".join(remark for key in found for remark in key.remarks)
    assert "skipped: a secret key" in remarks
    assert "skipped: the certificate of CN=partner" in remarks
