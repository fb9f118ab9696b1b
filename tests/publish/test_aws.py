"""AWS credentials from profiles: read through boto3, or an error with the right hint."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyvault.errors import PublishError
from keyvault.publish import aws
from tests.errors import fails
from tests.publish.servers import SERVERS, Store
from tests.publish.test_stores import context
from tests.revisions import publish
from tests.site.vaults import Lab

SECRET = "not-a-secret-of-anybody"
VARIABLES = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"),
    *("AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_ENDPOINT_URL"),
)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """An environment without credentials, with settings of AWS in which a profile ci has some."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    files = {"AWS_CONFIG_FILE": tmp_path / "config", "AWS_SHARED_CREDENTIALS_FILE": tmp_path / "credentials"}
    files["AWS_CONFIG_FILE"].write_text(
        "[profile ci]\nregion = eu-central-1\n[profile empty]\nregion = eu-west-1\n"
        "[profile sso]\nsso_start_url = https://example.com/start\nsso_region = eu-west-1\n"
        "sso_account_id = 123456789012\nsso_role_name = Publisher\n"
        "[profile program]\ncredential_process = /bin/false\n"
    )
    files["AWS_SHARED_CREDENTIALS_FILE"].write_text(
        f"[ci]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = {SECRET}\n"
    )
    found = {**{name: str(path) for name, path in files.items()}, "AWS_EC2_METADATA_DISABLED": "true"}
    found["HOME"] = str(tmp_path)
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


def test_a_profile_gives_credentials_and_region(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The store uses the same credentials and region as `aws`."""
    monkeypatch.setenv("AWS_PROFILE", "ci")
    found = aws.credentials({**settings, "AWS_PROFILE": "ci"})
    assert found["region"] == "eu-central-1"
    given = found["credential_provider"]()
    assert (given["access_key_id"], given["secret_access_key"]) == ("AKIDEXAMPLE", SECRET)
    assert aws.credentials({**settings, "AWS_PROFILE": "ci", "AWS_REGION": "us-east-1"})["region"] == "us-east-1"


@pytest.mark.parametrize(
    "name", ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]
)
def test_the_environment_comes_first(settings: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the environment has credentials, no profile is read, and boto3 is not needed."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    assert aws.credentials({**settings, "AWS_PROFILE": "ci", name: "x"}) == {}


def test_settings_without_credentials_leave_it_to_the_machine(settings: dict[str, str]) -> None:
    """A file of settings alone does not hide the role of a machine."""
    assert aws.credentials(settings) == {}


@pytest.mark.parametrize(
    ("profile", "reason", "hint"),
    [
        ("nobody", "could not be found", "aws configure list --profile 'nobody'"),
        ("empty", "it has no source of credentials", "aws configure list --profile 'empty'"),
        ("sso", "", "aws sso login --profile 'sso'"),
        ("program", "", "aws configure list --profile 'program'"),
    ],
)
def test_profiles_that_give_none(
    settings: dict[str, str], profile: str, reason: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that names the profile, and the command that helps."""
    monkeypatch.setenv("AWS_PROFILE", profile)
    with fails("aws-profile-unusable", PublishError) as refused:
        aws.credentials({**settings, "AWS_PROFILE": profile})
    assert f"'{profile}'" in refused.value.message
    assert reason in refused.value.message
    assert refused.value.hint == hint
    assert "\n" not in refused.value.message


def test_without_the_extra(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint says what to install, and how to do without it."""
    monkeypatch.setitem(sys.modules, "obstore.auth.boto3", None)
    with fails("extra-missing", PublishError) as refused:
        aws.credentials({**settings, "AWS_PROFILE": "ci"})
    assert (refused.value.hint or "").splitlines() == [
        "pip install 'jwks-keyvault[aws]'",
        'eval "$(aws configure export-credentials --format env)"',
    ]
    assert aws.credentials(settings) == {}  # the files may have nothing but a region


@pytest.fixture(scope="module")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store that checks signatures."""
    with SERVERS["seaweedfs"](tmp_path_factory.mktemp("store")) as found:
        yield found


@pytest.mark.slow
def test_a_profile_publishes(
    vault: Lab, seaweedfs: Store, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publishing to a real store needs only the name of the profile in the environment."""
    monkeypatch.setenv("AWS_PROFILE", "ci")
    own = {**settings, "AWS_PROFILE": "ci", "AWS_ENDPOINT_URL": seaweedfs.environ["AWS_ENDPOINT_URL"]}
    publish(context(vault, own), seaweedfs.destination("profile"))
    assert seaweedfs.site("profile") == vault.site()
