"""Errors of object stores, with hints; and what a store must be able to do."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from keyvault.errors import PublishError
from keyvault.operations import rotation
from keyvault.publish.store_errors import explain
from tests.errors import fails
from tests.publish.fronts import Request, error_body, front
from tests.publish.servers import SERVERS, Store
from tests.publish.test_stores import put
from tests.site.vaults import Lab

REGION = "the region 'us-east-1' is wrong; expecting 'eu-central-1'"
CLOCK = "set the clock of this machine: the time is part of the signature of requests"
MISSING = "create it first, or check its name, the account and the region"
CREDENTIALS = "check the credentials: s3-cloudfront.md and gcs-azure.md in docs/publish list the variables"
ALLOWED = "check the credentials and their permissions: list, read, write, delete"
EXPIRED = "the credentials have expired: get new ones"


@pytest.mark.parametrize(
    ("status", "code", "message", "hint"),
    [
        (400, "AuthorizationHeaderMalformed", REGION, "export AWS_REGION=eu-central-1"),
        (400, "IllegalLocationConstraintException", "wrong place", "export AWS_REGION with the region of the bucket"),
        (
            403,
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
            CLOCK,
        ),
        (404, "NoSuchBucket", "The specified bucket does not exist", MISSING),
        (403, "AccessDenied", "Access Denied", ALLOWED),
        (403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", CREDENTIALS),
        (403, "SignatureDoesNotMatch", "The request signature we calculated does not match.", CREDENTIALS),
        (400, "ExpiredToken", "The provided token has expired.", EXPIRED),
        (400, "InvalidArgument", "something else", None),
    ],
)
def test_the_store_says_why(vault: Lab, status: int, code: str, message: str, hint: str | None) -> None:
    """The error has the code and message of the store, nothing else of its answer, and the right hint."""
    environ = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-secret", "AWS_REGION": "us-east-1"}
    answer = (status, {"Content-Type": "application/xml"}, error_body(code, message))
    with front(None, lambda _: answer) as store, fails("store-failed", PublishError) as refused:
        put(vault, Store("front", "s3", {**environ, "AWS_ENDPOINT_URL": store.url}, None), "site")
    assert (
        refused.value.message == f"s3://keys-example-com/site: the store answers {status} {code}: {message.rstrip('.')}"
    )
    assert refused.value.hint == hint


def test_a_bucket_of_another_region(vault: Lab) -> None:
    """Amazon redirects to the endpoint of the region, without a Location: the region is named."""
    more = "<Endpoint>keys-example-com.s3.eu-west-3.amazonaws.com</Endpoint>"
    answer = (301, {"Content-Type": "application/xml"}, error_body("PermanentRedirect", "use the endpoint", more))
    environ = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-secret", "AWS_REGION": "us-east-1"}
    with front(None, lambda _: answer) as store, fails("store-failed", PublishError) as refused:
        put(vault, Store("front", "s3", {**environ, "AWS_ENDPOINT_URL": store.url}, None), "site")
    assert (refused.value.hint or "").startswith("export AWS_REGION")


@pytest.mark.parametrize(
    "body",
    [
        "<Code>X</Code><Message>" + "a very long message " * 200 + "</Message>",
        "<Code>X</Code><Message>two\nlines \x1b[31m</Message>",
        "<Code>X</Code><Message>eyJhbGciOiJSUzI1NiIsImtpZCI6IjE2NzQ5OTk5OTk5OTkifQ</Message>",
    ],
)
def test_words_of_a_store_are_bounded(body: str) -> None:
    """A message is a printable line of limited length, and shows nothing that looks like a key."""
    text = f"Generic S3 error: status code: 400 Bad Request: <Error>{body}</Error>\n\nDebug source:\n{'x' * 9999}"
    message = explain("s3://bucket", RuntimeError(text)).message
    assert message.isprintable()
    assert len(message) < 450
    assert "eyJhbGciOiJSUzI1NiIsImtpZCI6" not in message


# --- what a store must be able to do --------------------------------------------------------------------


@pytest.fixture(scope="module")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store that checks signatures and conditions."""
    with SERVERS["seaweedfs"](tmp_path_factory.mktemp("store")) as found:
        yield found


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store that checks no signatures, so that a proxy may change a request."""
    with SERVERS["moto"](tmp_path_factory.mktemp("store")) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("ignored", [("if-none-match",), ("if-match",), ("if-match", "if-none-match")])
def test_a_store_that_ignores_conditions(vault: Lab, moto: Store, ignored: tuple[str, ...]) -> None:
    """It is refused after at most history.json was written, and existing objects do not change."""
    prefix = "-".join(ignored)
    with front(moto.environ["AWS_ENDPOINT_URL"], without=ignored) as store:
        careless = replace(moto, environ={**moto.environ, "AWS_ENDPOINT_URL": store.url})
        with fails("store-unconditional", PublishError) as refused:
            put(vault, careless, prefix)
        assert "docs/publishing.md#object-stores" in (refused.value.hint or "")
        assert moto.names(prefix) == {"history.json"}
        put(vault, moto, prefix)
        before, headers = moto.site(prefix), moto.get(prefix, "history.json")[1]
        rotation.rotate(vault.context(), ["id-token"], forced="a drill")
        put(vault, careless, prefix, dry_run=True)
        with fails("store-unconditional", PublishError):
            put(vault, careless, prefix)
    assert (moto.site(prefix), moto.get(prefix, "history.json")[1]) == (before, headers)


@pytest.mark.slow
def test_a_bucket_with_an_object_lock(vault: Lab, seaweedfs: Store) -> None:
    """Such a bucket requires checksums: each object is sent with its SHA-256."""

    def refuse(request: Request) -> tuple[int, Mapping[str, str], bytes] | None:
        named = {name for name in request.headers if name == "content-md5" or name.startswith("x-amz-checksum-")}
        if request.method != "PUT" or named:
            return None
        what = (
            "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters"
        )
        return 400, {"Content-Type": "application/xml"}, error_body("InvalidRequest", what)

    with front(seaweedfs.environ["AWS_ENDPOINT_URL"], refuse) as store:
        # The signed request names the proxy, which forwards that name.
        put(vault, replace(seaweedfs, environ={**seaweedfs.environ, "AWS_ENDPOINT_URL": store.url}), "locked")
    assert seaweedfs.site("locked") == vault.site()
    sent = [request for request in store.requests if request.method == "PUT"]
    assert len(sent) >= len(vault.site())
    for request in sent:
        digest = base64.b64encode(hashlib.sha256(request.body).digest()).decode()
        assert request.headers["x-amz-checksum-sha256"] == digest


@pytest.mark.slow
def test_missing_buckets_of_real_stores(vault: Lab, tmp_path: Path) -> None:
    """Each store names the error, and the hint is the same."""
    for name in ("seaweedfs", "azurite"):
        folder = tmp_path / name
        folder.mkdir()
        with SERVERS[name](folder) as store, fails("store-failed", PublishError) as refused:
            put(vault, replace_bucket(store), "site")
        assert re.search("the store answers 404 (NoSuchBucket|ContainerNotFound): ", refused.value.message)
        assert refused.value.hint == MISSING


def replace_bucket(store: Store) -> Store:
    """Return *store* with destinations in a bucket that does not exist."""

    class Elsewhere(Store):
        def destination(self, prefix: str) -> str:
            return f"{self.scheme}://no-such-bucket/{prefix}"

    return Elsewhere(store.name, store.scheme, store.environ, store.client)
