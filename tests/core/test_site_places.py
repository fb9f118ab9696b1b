"""Issuers and extra paths on reserved paths of the site are refused when the policy is read, not when it is rendered."""

from __future__ import annotations

import pytest

from keyvault.core.policy_file import parse_policy
from keyvault.errors import ConfigError
from tests.errors import fails

URL = "https://keys.example.com"


def policy_with(**members: object) -> None:
    parse_policy({"format": 1, "site": {"url": URL}, "sets": {"api": {"alg": "ES256", **members}}})


@pytest.mark.parametrize("folder", ["keys", "sets", "assets", "sets/api"])
def test_an_issuer_in_a_folder_of_the_site(folder: str) -> None:
    """Its JWK Set would be among the files of the site."""
    with fails("place-reserved", ConfigError) as caught:
        policy_with(issuer=f"{URL}/{folder}")
    assert f"{URL}/{folder} " in caught.value.message
    policy_with(issuer=f"{URL}/my-{folder}")


@pytest.mark.parametrize(
    "path",
    ["/_headers", "/.nojekyll", "/.well-known/openid-configuration", "/.well-known/openid-configuration.json"],
)
def test_an_extra_path_on_a_file_of_the_site(path: str) -> None:
    """Two files cannot have the same path."""
    with fails("policy-member-invalid", ConfigError) as caught:
        policy_with(paths=[path])
    assert f"'{path}' is reserved" in caught.value.message
