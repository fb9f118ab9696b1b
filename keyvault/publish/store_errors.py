"""
Explain why an object store refused a request: with its error code and message, and a hint.

Codes and messages are public texts of the stores. Nothing else of an answer is shown, since it may repeat the signed
request.

Sources: the lists of error codes of Amazon S3, Azure Blob Storage and Google Cloud Storage.
"""

from __future__ import annotations

import re
from html import unescape

from keyvault.core.text import elided
from keyvault.errors import PublishError

_STATUS = re.compile(r"status code: (\d{3})(?: ([A-Za-z ]+))?")
_CODE = re.compile(r"<Code>([A-Za-z0-9._-]{1,100})</Code>")
#: A code of several words, such as RequestTimeTooSkewed, which looks like a key but is none.
_WORDS = re.compile(r"(?:[A-Z]{1,4}[a-z]{2,}){1,8}")
_MESSAGE = re.compile(r"<Message>([^<]{1,1000})")
_REGION = re.compile(r"<Region>([a-z0-9-]{1,40})</Region>|expecting '([a-z0-9-]{1,40})'")
_ENDPOINT = re.compile(r"<Endpoint>[a-z0-9.-]*\.s3[.-]([a-z0-9-]{1,40})\.amazonaws\.com</Endpoint>")

#: The actions on objects that credentials must allow.
_ACTIONS = "list, read, write, delete"

_CREDENTIALS = "check the credentials: s3-cloudfront.md and gcs-azure.md in docs/publish list the variables"
_ALLOWED = f"check the credentials and their permissions: {_ACTIONS}"
_MISSING = "create it first, or check its name, the account and the region"
_CLOCK = "set the clock of this machine: the time is part of the signature of requests"
_CONDITIONS = "the store must support conditional writes (If-Match, If-None-Match): docs/publishing.md"
_CHECKSUM = "the bucket has an object lock that this store's checksums do not satisfy: use a bucket without one"

_HINTS = {
    "NoSuchBucket": _MISSING,
    "ContainerNotFound": _MISSING,
    "RequestTimeTooSkewed": _CLOCK,
    "RequestExpired": _CLOCK,
    "ExpiredToken": "the credentials have expired: get new ones",
    "ExpiredTokenException": "the credentials have expired: get new ones",
    "TokenRefreshRequired": "the credentials have expired: get new ones",
    "InvalidToken": _CREDENTIALS,
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "AuthenticationFailed": _CREDENTIALS,
    "NotImplemented": _CONDITIONS,
    "MissingUploadObjectWithObjectLockHeaders": _CHECKSUM,
    "BadDigest": _CHECKSUM,
}


def explain(name: str, error: Exception) -> PublishError:
    """Return *error*, which obstore raised for the store *name*, as one line with a hint."""
    text = str(error).split("Debug source:")[0]
    status, code, message = _STATUS.search(text), _CODE.search(text), _MESSAGE.search(text)
    if code:
        details = " ".join(unescape(message[1]).splitlines()[0].split()) if message else ""
        shown = code[1] if _WORDS.fullmatch(code[1]) else elided(code[1])
        reason = f"the store answers {status[1] + ' ' if status else ''}{shown}" + (
            f": {elided(details)}" if details else ""
        )
    elif status:
        reason = f"the store answers {status[1]} {status[2] or ''}".strip()
    else:
        reason = elided(text.split("\n")[0])
    kind = type(error).__name__
    denied = kind in ("PermissionDeniedError", "UnauthenticatedError") or (status and status[1] in ("401", "403"))
    hint = _hint(code[1] if code else "", text) or (_ALLOWED if denied else None)
    return PublishError(f"{name}: {reason.strip().rstrip('.')[:400]}", code="store-failed", hint=hint)


def _hint(code: str, text: str) -> str | None:
    region = _REGION.search(text) or _ENDPOINT.search(text)
    wrong_region = code in ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException")
    if wrong_region or "incorrectly configured region" in text:
        right = next((group for group in region.groups() if group), None) if region else None
        return f"export AWS_REGION={right}" if right else "export AWS_REGION with the region of the bucket"
    if code in ("InvalidRequest", "InvalidArgument") and re.search(r"(?i)object lock|checksum|content-md5", text):
        return _CHECKSUM
    if "169.254.169.254" in text:  # the metadata service of cloud machines, which is the last source of credentials
        return f"no credentials were found; {_CREDENTIALS}"
    return _HINTS.get(code)
