"""`publish --invalidate`: the requests to CloudFront and Cloudflare, over HTTP on this machine."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from keyvault.errors import GateError, PublishError, UsageError
from keyvault.operations import rotation
from keyvault.publish.invalidate import BATCH, PATHS_MAX, Cache, Cloudflare, CloudFront, open_cache
from tests.errors import fails
from tests.publish.fronts import Front, Request, front
from tests.publish.test_stores import context
from tests.revisions import publish
from tests.site.vaults import SITE, Lab

DISTRIBUTION, ZONE = "E1EXAMPLE2ABCD", "0123456789abcdef0123456789abcdef"
SECRET, TOKEN = "not-a-secret-of-anybody", "not-a-token-of-anybody"
AWS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": "a-session"}
DONE = {
    "cloudfront": (
        201,
        {"Content-Type": "text/xml"},
        b'<Invalidation xmlns="http://cloudfront.amazonaws.com/doc/2020-05-31/"><Id>I1</Id><Status>InProgress</Status>'
        b"<CreateTime>2026-11-30T00:00:00Z</CreateTime></Invalidation>",
    ),
    "cloudflare": (
        200,
        {"Content-Type": "application/json"},
        b'{"success": true, "errors": [], "result": {"id": "x"}}',
    ),
}
#: Documents of the vault of these tests that a rotation of id-token changes, in the order of paths.
CHANGED = [".well-known/jwks.json", "jwks.json", "sets/id-token/jwks.json"]


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the settings of the user who runs the tests."""
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def answers() -> dict[str, Any]:
    """The answers of the network; a test may change them."""
    return dict(DONE)


@pytest.fixture
def network(no_settings: None, answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """Both networks, on this machine."""

    def answer(request: Request) -> tuple[int, Mapping[str, str], bytes]:
        return answers["cloudfront" if request.path.startswith("/2020-05-31/") else "cloudflare"]

    with front(None, answer) as found:
        for name, value in {**AWS, "AWS_ENDPOINT_URL_CLOUDFRONT": found.url}.items():
            monkeypatch.setenv(name, value)
        yield found


def environ(network: Front) -> dict[str, str]:
    return {**AWS, "CLOUDFLARE_API_TOKEN": TOKEN, "CLOUDFLARE_API_BASE_URL": f"{network.url}/client/v4"}


def signature(request: Request) -> str:
    """Return the signature (version 4) that *request* must have, derived from its text alone."""
    scope = re.search(r"Credential=([^/]+)/([^,]+), SignedHeaders=([^,]+), ", request.headers["authorization"])
    assert scope is not None
    key_id, rest, names = scope.groups()
    assert key_id == AWS["AWS_ACCESS_KEY_ID"]
    signed = names.split(";")
    assert {"host", "x-amz-date", "x-amz-security-token"} <= set(signed)
    path, _, query = request.path.partition("?")
    headers = "".join(f"{name}:{request.headers[name].strip()}\n" for name in signed)
    digest = hashlib.sha256(request.body).hexdigest()
    canonical = "\n".join([request.method, quote(path), query, headers, names, digest])
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", request.headers["x-amz-date"], rest, hashed])
    key = f"AWS4{SECRET}".encode()
    for part in rest.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def paths_of(request: Request) -> list[str]:
    return re.findall(r"<Path>([^<]*)</Path>", request.body.decode())


def reference_of(request: Request) -> str:
    return re.findall(r"<CallerReference>([^<]*)</CallerReference>", request.body.decode())[0]


def run(vault: Lab, network: Front, place: Path, *caches: str, **options: Any) -> Any:
    return publish(context(vault, environ(network)), str(place), invalidate=caches, **options)


@pytest.fixture
def rotated(vault: Lab, tmp_path: Path) -> Lab:
    """A vault that is published at www, and has rotated since."""
    publish(vault.context(), str(tmp_path / "www"))
    rotation.rotate(vault.context(), ["id-token"], forced="a drill")
    return vault


def test_cloudfront(rotated: Lab, network: Front, tmp_path: Path) -> None:
    """One signed request has the paths of the changed documents only; without changes there is no request."""
    done = run(rotated, network, tmp_path / "www", f"cloudfront:{DISTRIBUTION}")
    [request] = network.requests
    assert (request.method, request.path) == ("POST", f"/2020-05-31/distribution/{DISTRIBUTION}/invalidation")
    assert request.headers["authorization"].endswith(f"Signature={signature(request)}")
    assert paths_of(request) == [f"/{path}" for path in CHANGED]
    assert f"<Quantity>{len(CHANGED)}</Quantity>" in request.body.decode()
    assert reference_of(request).startswith(f"keyvault-{rotated.head}-")
    assert done.purged == [f"{SITE}/{path}" for path in CHANGED]
    assert run(rotated, network, tmp_path / "www", f"cloudfront:{DISTRIBUTION}").purged == []
    assert len(network.requests) == 1


def test_cloudflare(rotated: Lab, network: Front, tmp_path: Path) -> None:
    """One request has the URLs of the changed documents, and the token in its header only."""
    done = run(rotated, network, tmp_path / "www", f"cloudflare:{ZONE}")
    [request] = network.requests
    assert (request.method, request.path) == ("POST", f"/client/v4/zones/{ZONE}/purge_cache")
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert json.loads(request.body) == {"files": [f"{SITE}/{path}" for path in CHANGED]}
    assert done.purged == [f"{SITE}/{path}" for path in CHANGED]
    assert run(rotated, network, tmp_path / "www", f"cloudflare:{ZONE}").purged == []
    assert len(network.requests) == 1


def test_both_and_twice(rotated: Lab, network: Front, tmp_path: Path) -> None:
    """Each cache is purged once, however often it is named."""
    both = (f"cloudflare:{ZONE}", f"cloudfront:{DISTRIBUTION}", f"cloudflare:{ZONE}")
    run(rotated, network, tmp_path / "www", *both)
    assert [request.path.split("/")[1] for request in network.requests] == ["client", "2020-05-31"]


def test_dry_run(rotated: Lab, network: Front, tmp_path: Path) -> None:
    """A dry run reports the URLs that it would purge, and sends no request."""
    would = run(rotated, network, tmp_path / "www", f"cloudflare:{ZONE}", dry_run=True)
    assert (would.purged, network.requests) == ([f"{SITE}/{path}" for path in CHANGED], [])
    assert run(rotated, network, tmp_path / "www", f"cloudflare:{ZONE}") == would


def test_a_document_that_goes_is_purged(vault: Lab, network: Front, tmp_path: Path) -> None:
    """A cache must not go on serving a JWK Set that is no longer published."""
    vault.edit_policy("[sets.access-token]", f'[sets.access-token]\nissuer = "{SITE}/b"')
    run(vault, network, tmp_path / "www", f"cloudflare:{ZONE}")
    network.requests.clear()
    vault.edit_policy(f'issuer = "{SITE}/b"', "")
    purged = run(vault, network, tmp_path / "www", f"cloudflare:{ZONE}").purged
    assert {f"{SITE}/b/.well-known/jwks.json", f"{SITE}/b/.well-known/openid-configuration"} <= set(purged)


# --- failures -------------------------------------------------------------------------------------------

REFUSALS: dict[str, tuple[str, tuple[int, Mapping[str, str], bytes], str]] = {
    "cloudfront-denied": (
        f"cloudfront:{DISTRIBUTION}",
        (
            403,
            {},
            b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>not allowed</Message></Error></ErrorResponse>",
        ),
        "AccessDenied: not allowed",
    ),
    "cloudflare-denied": (
        f"cloudflare:{ZONE}",
        (403, {}, b'{"success": false, "errors": [{"code": 10000, "message": "Authentication error"}]}'),
        "it answers with status 403: 10000 Authentication error",
    ),
    "cloudflare-without-success": (
        f"cloudflare:{ZONE}",
        (200, {}, b'{"success": false}'),
        "it answers with status 200",
    ),
    "cloudflare-no-json": (f"cloudflare:{ZONE}", (200, {}, b"\xff" * 70_000), "it answers with status 200"),
    "cloudflare-deep": (f"cloudflare:{ZONE}", (200, {}, b"[" * 60_000), "it answers with status 200"),
    "cloudflare-redirect": (f"cloudflare:{ZONE}", (302, {"Location": "/elsewhere"}, b""), "it answers with status 302"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_says_that_the_site_is_published(
    rotated: Lab, network: Front, answers: dict[str, Any], tmp_path: Path, case: str
) -> None:
    """The message says so, the hint has a command to purge by hand, neither has a secret; the next run purges."""
    cache, answer, reason = REFUSALS[case]
    kind = cache.partition(":")[0]
    answers[kind] = answer
    with fails("purge-failed", PublishError) as refused:
        run(rotated, network, tmp_path / "www", cache)
    assert cache in refused.value.message
    assert refused.value.message.endswith(f": {reason}")
    hint = refused.value.hint or ""
    assert hint.startswith("run publish again, or purge by hand: ")
    assert all(path in hint for path in CHANGED)
    assert not any(secret in refused.value.message + hint for secret in (SECRET, TOKEN))
    assert json.loads((tmp_path / "www" / "history.json").read_text())["commit"] == rotated.head
    assert not any(request.path == "/elsewhere" for request in network.requests)

    answers[kind] = DONE[kind]
    network.requests.clear()
    again = run(rotated, network, tmp_path / "www", cache)
    assert (again.uploaded, again.purged) == ([], [f"{SITE}/{path}" for path in CHANGED])
    assert len(network.requests) == 1
    assert run(rotated, network, tmp_path / "www", cache).purged == []


def test_a_retry_is_the_same_invalidation(
    rotated: Lab, network: Front, answers: dict[str, Any], tmp_path: Path
) -> None:
    """CloudFront treats requests with the same reference as one invalidation."""
    answers["cloudfront"] = (403, {}, b"")
    with fails("purge-failed", PublishError):
        run(rotated, network, tmp_path / "www", f"cloudfront:{DISTRIBUTION}")
    answers["cloudfront"] = DONE["cloudfront"]
    run(rotated, network, tmp_path / "www", f"cloudfront:{DISTRIBUTION}")
    assert len({reference_of(request) for request in network.requests}) == 1
    assert len(network.requests) >= 2


def test_a_server_that_is_busy_is_asked_again(rotated: Lab, tmp_path: Path, no_settings: None) -> None:
    """A request to an overloaded server is repeated a few times, however long a pause the server requests."""
    count = 0

    def answer(_: Request) -> tuple[int, Mapping[str, str], bytes]:
        nonlocal count
        count += 1
        return (503, {"Retry-After": "86400"}, b"") if count < 3 else DONE["cloudflare"]

    with front(None, answer) as network:
        assert len(run(rotated, network, tmp_path / "www", f"cloudflare:{ZONE}").purged) == len(CHANGED)
    assert count == 3


def test_a_network_that_cannot_be_reached(rotated: Lab, network: Front, tmp_path: Path) -> None:
    """The error is one line, and the site is published."""
    nowhere = {**environ(network), "CLOUDFLARE_API_BASE_URL": "http://127.0.0.1:1"}
    with fails("purge-failed", PublishError) as refused:
        publish(context(rotated, nowhere), str(tmp_path / "www"), invalidate=[f"cloudflare:{ZONE}"])
    assert "127.0.0.1" in refused.value.message
    assert TOKEN not in refused.value.message + str(refused.value.hint)


def test_an_upload_that_was_cut_off_purges_all_documents(
    rotated: Lab, network: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed run may have changed any document, so the next run purges all; a refused run leaves no such note."""
    from keyvault.publish.folder import _OpenFolder as Open

    cache = f"cloudflare:{ZONE}"
    real = Open.write

    def cut(*arguments: Any, **options: Any) -> Any:
        real(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(Open, "write", cut)
    with pytest.raises(KeyboardInterrupt):
        run(rotated, network, tmp_path / "www", cache)
    monkeypatch.setattr(Open, "write", real)
    documents = sorted(path for path in rotated.site() if path.endswith("jwks.json") or "openid-config" in path)
    assert run(rotated, network, tmp_path / "www", cache).purged == [f"{SITE}/{path}" for path in documents]

    with pytest.raises(GateError):
        run(rotated, network, tmp_path / "www", cache, revision="HEAD~1")
    assert run(rotated, network, tmp_path / "www", cache).purged == []


# --- many URLs ------------------------------------------------------------------------------------------


def test_batches_of_cloudflare(network: Front) -> None:
    """Cloudflare accepts thirty URLs in a request."""
    urls = [f"{SITE}/{number}" for number in range(2 * BATCH + 1)]
    cache = open_cache(f"cloudflare:{ZONE}", environ(network))
    cache.purge(urls, reference="x")
    sent = [json.loads(request.body)["files"] for request in network.requests]
    assert [len(files) for files in sent] == [BATCH, BATCH, 1]
    assert [url for files in sent for url in files] == urls


@pytest.mark.parametrize(("base", "wildcard"), [("", "/*"), ("/keys", "/keys/*")])
def test_many_paths_of_cloudfront_are_one_wildcard(network: Front, base: str, wildcard: str) -> None:
    """CloudFront accepts a limited number of paths at a time."""
    cache = open_cache(f"cloudfront:{DISTRIBUTION}", environ(network))
    for count in (PATHS_MAX, PATHS_MAX + 1):
        cache.purge([f"{SITE}{base}/{number:05}" for number in range(1, count + 1)], reference="x")
    assert [len(paths_of(request)) for request in network.requests] == [PATHS_MAX, 1]
    # The common prefix of all paths, up to a slash.
    assert paths_of(network.requests[1])[0] == wildcard


# --- usage errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["", "cloudfront", "cloudfront:", "cloudfront:e1", "cloudfront:E1/../X", "cloudflare:x", "fastly:abc", "E1EXAMPLE"],
)
def test_unsupported_caches(vault: Lab, tmp_path: Path, text: str) -> None:
    """Each is refused before anything is published."""
    with fails("cache-unsupported", UsageError) as refused:
        publish(vault.context(), str(tmp_path / "www"), invalidate=[text])
    assert "cloudfront:DISTRIBUTION_ID" in (refused.value.hint or "")
    assert not (tmp_path / "www").exists()


def test_without_a_token(vault: Lab, tmp_path: Path) -> None:
    """A missing token is an error before anything is published."""
    with fails("token-missing", UsageError) as refused:
        publish(vault.context(), str(tmp_path / "www"), invalidate=[f"cloudflare:{ZONE}"])
    assert refused.value.hint == "export CLOUDFLARE_API_TOKEN=TOKEN"
    assert not (tmp_path / "www").exists()


def test_without_the_extra(vault: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CloudFront needs boto3."""
    import sys

    monkeypatch.setitem(sys.modules, "boto3", None)
    with fails("extra-missing", UsageError) as refused:
        publish(vault.context(), str(tmp_path / "www"), invalidate=[f"cloudfront:{DISTRIBUTION}"])
    assert refused.value.hint == "pip install 'jwks-keyvault[aws]'"


OPEN: list[Callable[[Mapping[str, str]], Cache]] = [
    lambda environ: Cloudflare(ZONE, environ),
    lambda environ: CloudFront(DISTRIBUTION, environ),
]


@pytest.mark.parametrize("cache", OPEN)
def test_credentials_go_over_tls_only(
    cache: Callable[[Mapping[str, str]], Cache], monkeypatch: pytest.MonkeyPatch, no_settings: None
) -> None:
    """Plain HTTP is allowed for this machine only."""
    elsewhere = "http://203.0.113.7"
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFRONT", elsewhere)
    with fails("endpoint-not-https", PublishError):
        cache({**AWS, "CLOUDFLARE_API_TOKEN": TOKEN, "CLOUDFLARE_API_BASE_URL": elsewhere})
