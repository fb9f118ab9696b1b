"""
Find credentials of Amazon Web Services outside the environment: profiles and single sign-on, through boto3.

Object stores find environment variables, a web identity and the role of a machine without boto3.

Sources: "Credentials" in the guide of boto3; the reference of obstore.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keyvault.core.text import elided, quoted
from keyvault.errors import PublishError, UsageError

EXTRA = "pip install 'jwks-keyvault[aws]'"

#: Exports the credentials of any profile, without boto3.
EXPORT = 'eval "$(aws configure export-credentials --format env)"'

#: With any of these, object stores find credentials without boto3.
_DIRECT = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


def credentials(environ: Mapping[str, str]) -> dict[str, Any]:
    """
    Return the options of an S3 store that uses a profile; empty if the environment has other credentials.

    Raises:
        PublishError: If the profile has no usable credentials, or needs boto3, which is not installed.
    """
    if any(environ.get(name) for name in _DIRECT) or not _has_profile(environ):
        return {}
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        if not environ.get("AWS_PROFILE"):
            return {}  # the files may have settings only, and the machine may have a role
        raise PublishError(
            f"AWS_PROFILE is {quoted(environ['AWS_PROFILE'])}, and profiles need boto3, which is not installed",
            code="extra-missing",
            hint=f"{EXTRA}\n{EXPORT}",
        ) from None
    found = session(environ)
    try:
        if found.get_credentials() is None:
            if environ.get("AWS_PROFILE"):
                raise ValueError("it has no source of credentials")
            return {}  # the files have settings only
        provider = Boto3CredentialProvider(found)
        provider()  # if the sign-on has expired, this fails and gives the reason
    except Exception as error:
        raise _unusable(environ, error) from None
    region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or provider.config.get("region")
    return {"credential_provider": provider, **({"region": region} if region else {})}


def session(environ: Mapping[str, str]) -> Any:
    """
    Return a session of boto3.

    Raises:
        UsageError: If boto3 is not installed.
        PublishError: If the profile does not exist.
    """
    try:
        import boto3
    except ImportError:
        raise UsageError("AWS needs boto3, which is not installed", code="extra-missing", hint=EXTRA) from None
    try:
        return boto3.Session(profile_name=None if _in_environment(environ) else environ.get("AWS_PROFILE"))
    except Exception as error:
        raise _unusable(environ, error) from None


def _in_environment(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("AWS_ACCESS_KEY_ID"))


def _has_profile(environ: Mapping[str, str]) -> bool:
    home = Path(environ.get("HOME") or environ.get("USERPROFILE") or "~")
    files = (
        environ.get("AWS_CONFIG_FILE") or home / ".aws" / "config",
        environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials",
    )
    return bool(environ.get("AWS_PROFILE")) or any(Path(file).expanduser().is_file() for file in files)


def _unusable(environ: Mapping[str, str], error: Exception) -> PublishError:
    profile = environ.get("AWS_PROFILE") or "default"
    reason = elided(str(error)).rstrip(".")[:200]
    sign_on = "SSO" in type(error).__name__ or "Token" in type(error).__name__
    command = "aws sso login" if sign_on else "aws configure list"
    message = f"the AWS profile {quoted(profile)} has no usable credentials: {reason}"
    return PublishError(message, code="aws-profile-unusable", hint=f"{command} --profile {quoted(profile)}")
