"""What people write into a record stays there for good, so it must not stop the site from being rendered."""

from __future__ import annotations

import pytest

from keyvault.errors import UsageError
from keyvault.operations import rotation
from tests.site.vaults import Lab


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN RSA PRIVATE KEY----- MIIE",
        'it was {"kty":"EC","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}',
        "AGE-SECRET-KEY-1QQPQZ",
    ],
)
def test_a_private_key_is_no_reason(vault: Lab, text: str) -> None:
    """A key pasted into a note or a reason is refused when it is typed, and nothing is written."""
    head = vault.head
    with pytest.raises(UsageError, match="holds what looks like a private key") as caught:
        rotation.rotate(vault.context(), ["id-token"], forced=text)
    assert text not in caught.value.message
    with pytest.raises(UsageError, match="--note holds what looks like a private key"):
        rotation.revoke(vault.context(), vault.key("id-token", "active").kid, reason="compromised", note=text)
    assert head == vault.head
