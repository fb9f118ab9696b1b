"""`lint`: of the site of a commit, of files, and of URLs with every kind of answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from keyvault.core.text import printable
from keyvault.errors import LiveError
from keyvault.publish import live
from keyvault.publish.live import Answer
from keyvault.publish.preview import make_server
from keyvault.site.headers import headers
from tests.cli.terminal import Result, Terminal
from tests.core.lint_cases import HEADERS, document, jwk, number, private, sound
from tests.publish.hostile import BEHAVIOURS, HostileHost
from tests.site.vaults import DemoLab
from tests.vaults import MINUTE, SITE, Vault, make_vault

CLEAN = ": nothing breaks verifiers"


@pytest.fixture
def keyvault(tmp_path: Path) -> Terminal:
    """A terminal in a folder without a vault: lint of files and URLs needs none."""
    return Terminal.in_folder(tmp_path)


def codes(result: Result) -> list[str]:
    """Return the codes that a quiet run printed."""
    return result.lines


def put(keyvault: Terminal, *keys: Any, name: str = "jwks.json") -> Path:
    path = keyvault.folder / name
    path.write_bytes(document(*keys))
    return path


# --- what a commit would publish ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sets", "notes"),
    [
        (("id-token:RS256", "access-token:ES256"), set()),
        (("a:PS512", "b:ES384", "c:ES512"), {"no-rs256"}),
        (("a:EdDSA", "b:RS256"), {"eddsa"}),
        (("a:RS256", "mail:RSA-OAEP-256", "post:ECDH-ES+A256KW", "cookies:HS256"), set()),
        (("a:ES256K",), {"uncommon-keys", "no-rs256"}),
        (("cookies:HS256",), set()),
    ],
)
def test_a_fresh_vault_is_clean(tmp_path: Path, sets: tuple[str, ...], notes: set[str]) -> None:
    """A fresh vault has notes at most, as long as rare algorithms have an issuer of their own."""
    keyvault = Terminal.of(make_vault(tmp_path, sets=sets))

    result = keyvault.ok("-q", "lint")

    assert set(codes(result)) == notes
    assert CLEAN in keyvault.ok("lint").err


@pytest.mark.parametrize(
    ("sets", "found"),
    [
        (("a:RS256", "b:ES256K"), {"secp256k1", "uncommon-keys"}),
        (("a:RS256", "b:Ed448"), {"ed448", "rfc-9864-alg", "uncommon-keys"}),
        (("a:RS256", "b:Ed25519"), {"rfc-9864-alg"}),
    ],
)
def test_what_few_know_among_common_keys(tmp_path: Path, sets: tuple[str, ...], found: set[str]) -> None:
    """The problem is found before publication, and disappears with an issuer of its own."""
    vault = make_vault(tmp_path, sets=sets)
    keyvault = Terminal.of(vault)

    result = keyvault("-q", "lint")

    assert (result.code, set(codes(result))) == (5, found)
    assert result.error.endswith(f"in the site of commit {vault.head[:12]}")

    policy = vault.folder / "keyvault.toml"
    policy.write_text(policy.read_text().replace("[sets.b]\n", f'[sets.b]\nissuer = "{SITE}/b"\n'))
    vault.git("commit", "-qam", "an issuer of its own")
    assert set(codes(keyvault("-q", "lint"))) <= {"uncommon-keys", "no-rs256", "rfc-9864-alg"}
    assert set(codes(keyvault("-q", "lint", "--ref", "HEAD~1"))) == found


def test_the_demo_is_clean(demo: DemoLab) -> None:
    """The demo has no problems."""
    result = Terminal(demo.folder, demo.lab.environ).ok("lint")

    assert CLEAN in result.err


def test_what_stands_at_several_paths_is_told_once(vault: Vault) -> None:
    """All documents are listed; a finding names the first."""
    keyvault = Terminal.of(vault)
    report = keyvault("lint", "--for", "entra", "--json").json

    assert report["target"] == vault.head
    assert [one["name"] for one in report["documents"]] == [
        *(".well-known/jwks.json", "jwks.json", "sets/id-token/jwks.json", "sets/access-token/jwks.json"),
        *(".well-known/openid-configuration", ".well-known/openid-configuration.json"),
    ]
    assert "jwks.json" not in {one["document"] for one in report["findings"]}


def test_discovery_is_compared_with_its_keys(vault: Vault) -> None:
    """The algorithms in [site.metadata] are compared with the keys."""
    policy = vault.folder / "keyvault.toml"
    listed = '\n[site.metadata]\nid_token_signing_alg_values_supported = ["RS256"]\n'
    policy.write_text(policy.read_text() + listed)
    vault.git("commit", "-qam", "metadata")

    result = Terminal.of(vault)("-q", "lint")

    assert (result.code, set(codes(result))) == (5, {"eddsa", "alg-not-listed", "alg-without-key"})


def test_for(vault: Vault) -> None:
    """--for decides about notes, and adds rules."""
    keyvault = Terminal.of(vault)

    assert keyvault("lint").code == 0
    assert keyvault("lint", "--for", "pyjwt", "--for", "jose").code == 0
    result = keyvault("lint", "--for", "kubernetes")
    assert result.code == 5
    assert [line.split()[:2] for line in result.lines if "refused" in line] == [["warning", "algorithm-refused"]] * 4
    assert "(hurts Kubernetes (go-oidc 2))" in result.out


# --- files ----------------------------------------------------------------------------------------------


def test_a_file(keyvault: Terminal) -> None:
    """A file is a JWK Set or a discovery document; URLs in it are not fetched."""
    put(keyvault)
    assert keyvault.ok("lint", "jwks.json").err == f"keyvault: checked 1 document{CLEAN}\n"

    put(keyvault, jwk(private("RSA", "own"), use="tls"))
    result = keyvault("lint", "jwks.json")
    assert result.code == 5
    assert result.lines == [
        "jwks.json",
        "  error  unknown-use  own  use is 'tls', expected sig or enc "
        "(hurts PyJWT 2.15, jose 6, jwks-rsa 4, jwx 3.3, and 6 more)",
    ]
    assert (result.error, result.hint) == (
        "1 error in jwks.json",
        "docs/lint.md explains each code",
    )

    discovery = {"issuer": SITE, "jwks_uri": "https://keys.invalid/jwks.json"}
    (keyvault.folder / "discovery.json").write_text(json.dumps(discovery))
    assert codes(keyvault("-q", "lint", "discovery.json")) == ["discovery-incomplete"]


def test_stdin(keyvault: Terminal) -> None:
    """`-` is stdin."""
    assert keyvault("lint", "-", stdin=document().decode()).code == 0
    assert codes(keyvault("-q", "lint", "-", stdin='{"keys": []}')) == ["empty-set"]
    assert codes(keyvault("-q", "lint", "-", stdin=" " * 400_000)) == ["too-large"]


def test_json(keyvault: Terminal) -> None:
    """JSON has all findings, each with the verifiers that it breaks."""
    put(keyvault, jwk(private("P-384", "own"), kid=None))

    result = keyvault("lint", "jwks.json", "--json")

    assert result.code == 5
    size = (keyvault.folder / "jwks.json").stat().st_size
    assert result.json["documents"] == [{"name": "jwks.json", "kind": "jwks", "octets": size, "keys": 3}]
    [finding] = result.json["findings"]
    assert {**finding, "hurts": finding["hurts"][:2]} == {
        "code": "missing-kid",
        "level": "warning",
        "message": "no kid: tokens cannot refer to the key",
        "document": "jwks.json",
        "where": "keys[2]",
        "hurts": ["PyJWT 2.15", "jwks-rsa 4"],
    }


def test_many_findings_of_one_code_are_cut(keyvault: Terminal) -> None:
    """The text shows ten findings of a code and counts the rest; the worst come first; --json prints all."""
    put(keyvault, *({"kty": "AKP", "kid": f"key {index}", "use": "sig"} for index in range(30)))

    result = keyvault("lint", "jwks.json")

    assert [line.split()[0] for line in result.lines] == ["jwks.json", *["error"] * 10, *["warning"] * 10, "note"]
    assert "keyvault: unknown-kty: and 20 more; --json prints all\n" in result.err
    assert "30 errors, 30 warnings, 1 note in jwks.json" in result.err
    assert len(keyvault("lint", "jwks.json", "--json").json["findings"]) == 61


@pytest.mark.parametrize(
    ("arguments", "code", "problem", "said"),
    [
        (("lint", "nowhere.json"), 2, "file-unreadable", "nowhere.json"),
        (("lint", "."), 2, "file-unreadable", "."),
        (("lint", "x" * 5_000), 2, "file-unreadable", "x"),
        (("lint", "ftp://keys.example.com/jwks.json"), 2, "file-unreadable", "keys.example.com/jwks.json"),
        (("lint", "jwks.json", "--ref", "HEAD"), 2, "option-conflict", "--ref"),
        (("lint", "--for", "nobody"), 2, "consumer-unknown", "'nobody'"),
        (("lint",), 1, "vault-missing", "keyvault.toml"),
        (("lint", "https://"), 2, "url-invalid", "https://"),
        (("lint", "https://[::1/jwks.json"), 2, "url-invalid", "https://[::1/jwks.json"),
        (("lint", "https://localhost:1/jwks.json"), 1, "unreachable", "https://localhost:1/jwks.json"),
        (("lint", "https://169.254.169.254/"), 1, "refused", "https://169.254.169.254/"),
        (("lint", "http://2852039166/"), 1, "refused", "http://2852039166/"),
    ],
)
def test_bad_input(keyvault: Terminal, arguments: tuple[str, ...], code: int, problem: str, said: str) -> None:
    """The error is a single line, with the documented exit code."""
    result = keyvault(*arguments)

    assert (result.code, result.problem) == (code, problem)
    assert said in result.error
    assert "unexpected" not in result.err


def test_no_such_commit(vault: Vault) -> None:
    """An unknown revision is an error, as for every command."""
    result = Terminal.of(vault)("lint", "--ref", "no-such-branch")

    assert (result.code, "no-such-branch" in result.error) == (1, True)


def test_foreign_text_cannot_paint(keyvault: Terminal) -> None:
    """Escapes and overrides in a served document are shown, not obeyed."""
    hostile = "\x1b[31m\u202e\n\ud800"
    keys = [*sound(), {"kty": hostile, "kid": hostile, "use": hostile, "alg": hostile, hostile: 1}]
    (keyvault.folder / "jwks.json").write_text(json.dumps({"keys": keys}))

    for result in (keyvault("lint", "jwks.json"), keyvault("lint", "jwks.json", "--json")):
        assert result.code == 5
        assert all(line == printable(line) for line in (result.out + result.err).splitlines())


def test_a_private_key_that_was_encoded_twice(keyvault: Terminal) -> None:
    """The report names the kind of the key on every channel, and shows no part of it."""
    own = private("P-256", "own")
    assert isinstance(own, ec.EllipticCurvePrivateKey)
    d = number(own.private_numbers().private_value, 32)
    (keyvault.folder / "jwk.json").write_text(json.dumps(json.dumps(jwk(own, d=d))))

    for arguments in (("lint", "jwk.json"), ("lint", "jwk.json", "--json"), ("-vv", "lint", "jwk.json")):
        result = keyvault(*arguments)
        assert (result.code, "private-key" in result.out) == (5, True)
        assert not any(d[at : at + 8] in result.out + result.err for at in range(len(d) - 8))


# --- URLs -----------------------------------------------------------------------------------------------


class Web:
    """Simulated hosts, by URL; unknown URLs answer with 404."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes | Answer | LiveError] = {}
        self.asked: list[str] = []

    def request(self, url: str, *, max_bytes: int) -> Answer:
        self.asked.append(url)
        page = self.pages.get(url)
        if isinstance(page, LiveError):
            raise page
        if isinstance(page, Answer):
            return page
        status, body = (404, b"<!doctype html>") if page is None else (200, page)
        return Answer(url, status, HEADERS, body[:max_bytes], len(body) <= max_bytes, (), None)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """Simulated hosts instead of sockets."""
    made = Web()
    monkeypatch.setattr(live, "request", made.request)
    return made


ISSUER = "https://issuer.example"
JWKS = f"{ISSUER}/keys"
CONFIGURATION = f"{ISSUER}/.well-known/openid-configuration"


def discovery(**changes: Any) -> bytes:
    members = {
        "issuer": ISSUER,
        "jwks_uri": JWKS,
        "authorization_endpoint": f"{ISSUER}/authorize",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256", "RS256"],
        **changes,
    }
    return json.dumps(members).encode()


def names(result: Result) -> list[tuple[str, str]]:
    return [(one["kind"], one["name"]) for one in result.json["documents"]]


@pytest.mark.parametrize("target", [ISSUER, f"{ISSUER}/", CONFIGURATION])
def test_an_issuer_or_its_discovery_document(keyvault: Terminal, web: Web, target: str) -> None:
    """Both documents are linted, whichever URL is given."""
    web.pages = {ISSUER: b"<!doctype html>", CONFIGURATION: discovery(), JWKS: document()}

    result = keyvault("lint", target, "--json")

    assert (result.code, result.json["findings"]) == (0, [])
    assert names(result) == [("discovery", CONFIGURATION), ("jwks", JWKS)]
    assert result.json["target"] == target


def test_a_jwk_set_is_asked_once(keyvault: Terminal, web: Web) -> None:
    """A JWK Set is linted without discovery."""
    web.pages = {JWKS: document()}

    assert names(keyvault("lint", JWKS, "--json")) == [("jwks", JWKS)]
    assert web.asked == [JWKS]


def test_findings_of_both_documents(keyvault: Terminal, web: Web) -> None:
    """Findings name the document, and compare both."""
    web.pages = {CONFIGURATION: discovery(id_token_signing_alg_values_supported=["RS256"]), JWKS: document({})}

    findings = keyvault("lint", ISSUER, "--json").json["findings"]

    found = {(one["document"], one["code"]) for one in findings}
    assert (CONFIGURATION, "alg-not-listed") in found
    assert (JWKS, "missing-kty") in found


def test_a_host_like_github_pages(keyvault: Terminal, web: Web) -> None:
    """The type of the discovery document is a warning, with names: exit code 5."""
    kind = {"content-type": "application/octet-stream"}
    web.pages = {
        CONFIGURATION: Answer(CONFIGURATION, 200, {**HEADERS, **kind}, discovery(), True, (), None),
        JWKS: document(),
    }
    result = keyvault("lint", ISSUER, "--json")

    assert (result.code, [one["code"] for one in result.json["findings"]]) == (5, ["discovery-content-type"])
    assert result.json["findings"][0]["hurts"][0].startswith("Spring Security")


def test_a_jwks_uri_that_could_be_anything(keyvault: Terminal, web: Web) -> None:
    """A foreign URL is shown only as far as it is a label, whether its host answers or not."""
    secret = "https://issuer.example/kJ8x3Zq0vT5nR7bW2yL9mD4c"
    web.pages = {CONFIGURATION: discovery(jwks_uri=secret), secret: b'{"keys": []}'}
    result = keyvault("lint", ISSUER)
    assert (result.code, f"jwks_uri of {CONFIGURATION}" in result.out or f"jwks_uri of {ISSUER}" in result.out) == (
        5,
        True,
    )
    assert secret[-12:] not in result.out + result.err

    web.pages[secret] = LiveError(f"{secret} cannot be reached", code="unreachable")
    result = keyvault("lint", ISSUER)
    assert (result.code, result.error) == (1, f"the jwks_uri of {ISSUER} cannot be fetched")
    assert secret[-12:] not in result.out + result.err

    web.pages[secret] = LiveError(f"redirects to another host: {secret}", code="redirect")
    result = keyvault("lint", ISSUER)
    assert (result.code, "redirect-not-followed" in result.out) == (5, True)
    assert secret[-12:] not in result.out + result.err


def test_neither_a_set_nor_an_issuer(keyvault: Terminal, web: Web) -> None:
    """The findings are about the given URL."""
    result = keyvault("lint", f"{ISSUER}/nothing", "--json")

    assert web.asked == [f"{ISSUER}/nothing", f"{ISSUER}/nothing/.well-known/openid-configuration"]
    assert (result.code, [one["code"] for one in result.json["findings"]]) == (5, ["status", "not-json"])
    assert names(result) == [("jwks", f"{ISSUER}/nothing")]

    web.pages[f"{ISSUER}/nothing/.well-known/openid-configuration"] = LiveError("down", code="unreachable")
    assert keyvault("lint", f"{ISSUER}/nothing").code == 5


def test_a_discovery_document_that_is_none(keyvault: Terminal, web: Web) -> None:
    """The well-known URL is the only one that is fetched."""
    result = keyvault("lint", CONFIGURATION, "--json")

    assert web.asked == [CONFIGURATION]
    assert [one["code"] for one in result.json["findings"]] == ["status", "not-json"]
    assert names(result) == [("discovery", CONFIGURATION)]


def test_redirects(keyvault: Terminal, web: Web) -> None:
    """Redirects on the same host are followed and reported; those to another host are only reported."""
    web.pages[JWKS] = Answer(JWKS, 200, HEADERS, document(), True, (f"{JWKS}/",), None)
    assert codes(keyvault("-q", "lint", JWKS)) == ["redirect"]

    web.pages[JWKS] = LiveError(f"{ISSUER} redirects to another host: https://evil.example/", code="redirect")
    result = keyvault("lint", JWKS)
    assert (result.code, result.lines[1].split()[:2]) == (5, ["error", "redirect-not-followed"])
    assert "redirects to another host: https://evil.example/" in result.out

    # Front pages are sent elsewhere all the time; an issuer is what it serves at its well-known place.
    web.pages = {ISSUER: web.pages[JWKS], CONFIGURATION: discovery(), JWKS: document()}
    assert codes(keyvault("-q", "lint", ISSUER)) == []
    web.pages[JWKS] = web.pages[ISSUER]
    assert codes(keyvault("-q", "lint", ISSUER)) == ["redirect-not-followed"]


@pytest.mark.parametrize(
    ("uri", "code"),
    [
        ("http://127.0.0.1:8080/admin", "jwks-uri-local"),
        ("https://localhost/jwks.json", "jwks-uri-local"),
        ("https://2130706433/jwks.json", "jwks-uri-local"),
        ("http://keys.example.com/jwks.json", "not-https"),
        ("file:///etc/passwd", "no-jwks-uri"),
        ("ftp://keys.example.com/jwks.json", "not-https"),
        ("//keys.example.com/jwks.json", "no-jwks-uri"),
        ("https://[::1/", "no-jwks-uri"),
        (["https://keys.example.com"], "no-jwks-uri"),
        (None, "no-jwks-uri"),
    ],
)
def test_jwks_uri_that_is_not_followed(keyvault: Terminal, web: Web, uri: Any, code: str) -> None:
    """A foreign document cannot direct requests to this machine, or to a URL without https."""
    web.pages[CONFIGURATION] = discovery(jwks_uri=uri)

    result = keyvault("-q", "lint", CONFIGURATION)

    assert web.asked == [CONFIGURATION]
    assert result.code == 5
    assert set(codes(result)) - {"jwks-uri-other-host"} == {code}


def test_a_discovery_document_that_names_itself(keyvault: Terminal, web: Web) -> None:
    """The document is linted as both kinds, and each finding is reported once."""
    web.pages[CONFIGURATION] = discovery(jwks_uri=CONFIGURATION)

    result = keyvault("lint", ISSUER)

    assert [line.split()[1] for line in result.lines[1:]] == ["no-keys"]
    assert result.error == f"1 error in {ISSUER}"


def test_keys_that_cannot_be_asked_for(keyvault: Terminal, web: Web) -> None:
    """A host that is down is an error, not a finding."""
    web.pages = {CONFIGURATION: discovery(), JWKS: LiveError(f"{JWKS} cannot be reached", code="unreachable")}

    result = keyvault("lint", ISSUER)

    assert (result.code, result.error) == (1, f"{JWKS} cannot be reached")


def test_plain_http_is_not_asked(keyvault: Terminal, web: Web) -> None:
    """Such URLs are not fetched."""
    result = keyvault("-q", "lint", "http://keys.example.com/jwks.json")

    assert (result.code, codes(result), web.asked) == (5, ["not-https"], [])


def test_a_target_of_anybody(keyvault: Terminal, web: Web) -> None:
    """A URL from a script may be anything."""
    for target in ("https://keys.example.com/\x1b[31m", "HTTPS://KEYS.EXAMPLE.COM/jwks.json?" + "x" * 3_000):
        result = keyvault("lint", target)
        assert result.code == 5
        assert "\x1b" not in result.out + result.err


# --- a real host ----------------------------------------------------------------------------------------


def test_the_preview_is_clean(tmp_path: Path) -> None:
    """The site with the headers that a host should send, over real HTTP, as an issuer and by each URL."""
    files: dict[str, bytes] = {}
    server = make_server(lambda: files, lambda path: headers(path, max_age=10 * MINUTE), port=0)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        url = f"http://localhost:{server.server_address[1]}"
        vault = make_vault(tmp_path, sets=("id-token:RS256", "access-token:ES256"), url=url)
        keyvault = Terminal.of(vault)
        keyvault.ok("render")
        public = vault.folder / "public"
        files |= {str(path.relative_to(public)): path.read_bytes() for path in public.rglob("*") if path.is_file()}

        for target in (url, f"{url}/.well-known/jwks.json", f"{url}/.well-known/openid-configuration.json"):
            result = keyvault("lint", target, "--json")
            assert (result.code, result.json["findings"]) == (0, []), target
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def hostile() -> Iterator[HostileHost]:
    """A host that misbehaves as its path says."""
    with HostileHost() as host:
        yield host


#: Paths whose answers end in an error, since they contain nothing useful.
UNREACHABLE = {
    *("silent", "slow-headers", "slow-body", "endless-continue", "long-header", "many-headers", "redirect-garbage"),
    *("closes-at-once", "resets", "closes-in-headers", "closes-in-chunk", "bad-chunk", "no-http", "old-http"),
    *("bad-status", "length-too-long", "length-negative", "length-garbage"),
}


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", sorted(BEHAVIOURS))
def test_hostile_hosts(
    keyvault: Terminal, hostile: HostileHost, monkeypatch: pytest.MonkeyPatch, behaviour: str
) -> None:
    """Whatever a host does, as the given URL or as the jwks_uri of a good document, the result is findings or a single error."""
    monkeypatch.setattr(live, "TIMEOUT", 0.3)
    jwks = f"{hostile.url}/{behaviour}/.well-known/jwks.json"
    good = {"issuer": hostile.url, "jwks_uri": jwks}
    monkeypatch.setattr(hostile, "jwks", json.dumps(good).encode())

    check_hostile(keyvault("lint", jwks, "--json"), behaviour)
    check_hostile(keyvault("lint", hostile.url, "--json"), behaviour)


def check_hostile(result: Result, behaviour: str) -> None:
    assert "unexpected" not in result.err
    assert all(line == printable(line) for line in result.err.splitlines())
    if result.code == 1:
        assert behaviour in UNREACHABLE
        assert len(result.err.splitlines()) <= 2
    else:
        assert result.code == 5
        levels = {one["level"] for one in result.json["findings"]}
        assert levels & {"error", "warning"}


def test_hostile_headers(keyvault: Terminal, web: Web) -> None:
    """Headers are untrusted text too."""
    odd: Mapping[str, str] = {
        "content-type": "\x1b[31mtext",
        "cache-control": "max-age=" + "9" * 5_000,
        "content-encoding": "",
    }
    web.pages[JWKS] = Answer(JWKS, 200, odd, document(), True, (), None)

    result = keyvault("lint", JWKS)

    assert result.code == 5
    assert "\x1b" not in result.out
    assert set(codes(keyvault("-q", "lint", JWKS))) == {"content-type", "cache-long", "no-cors"}
