"""Places of the site that no issuer and no extra path may claim: refused when the policy is read, not at a render."""

from __future__ import annotations

import pytest

from keyvault.core.policy_file import parse_policy
from keyvault.errors import ConfigError

URL = "https://keys.example.com"


def policy_with(**members: object) -> None:
    parse_policy({"format": 1, "site": {"url": URL}, "sets": {"api": {"alg": "ES256", **members}}})


@pytest.mark.parametrize("folder", ["keys", "sets", "assets", "sets/api"])
def test_an_issuer_in_a_folder_of_the_site(folder: str) -> None:
    """Its JWK Set would stand among the site's own files."""
    with pytest.raises(ConfigError, match="is in a folder that is reserved for the site"):
        policy_with(issuer=f"{URL}/{folder}")
    policy_with(issuer=f"{URL}/my-{folder}")


@pytest.mark.parametrize(
    "path",
    ["/_headers", "/.nojekyll", "/.well-known/openid-configuration", "/.well-known/openid-configuration.json"],
)
def test_an_extra_path_on_a_file_of_the_site(path: str) -> None:
    """Two things cannot stand at one path."""
    with pytest.raises(ConfigError, match="is reserved for the site"):
        policy_with(paths=[path])
