"""The settings of docs/publish work on their hosts as the pages say."""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keyvault.site.headers import headers, headers_file
from tests.docs.pages import DOCS, fenced, pages, read
from tests.vaults import Vault, make_vault

NGINX = "docs/publish/nginx.md"
S3 = "docs/publish/s3-cloudfront.md"

NOT_SERVED = ("_headers", ".nojekyll")


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    """Return a vault that fetches no URL."""
    return make_vault(tmp_path / "ada", confirm="commit")


def policies(page: str) -> list[dict[str, Any]]:
    """Return the AWS policies of a page."""
    return [document for text in fenced(read(page), "json") if "Statement" in (document := json.loads(text))]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_json_blocks_are_json(page: Path) -> None:
    """A console accepts a pasted block."""
    for block in fenced(page.read_text(encoding="utf-8"), "json"):
        json.loads(block)


def test_yaml_blocks_are_yaml() -> None:
    """Parts of workflows and configurations are valid YAML, too."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

    for page in pages():
        for block in fenced(page.read_text(encoding="utf-8"), "yaml"):
            assert isinstance(yaml.safe_load(block), dict)


# --- _headers -----------------------------------------------------------------------------------------------


def test_the_page_shows_the_headers_file() -> None:
    """The page shows it without assets, and for one issuer."""
    [shown] = fenced(read("docs/publish/cloudflare-netlify.md"), "")
    json_paths = [".well-known/openid-configuration"]

    assert headers_file(max_age=datetime.timedelta(minutes=10), json_paths=json_paths).decode() == shown


# --- nginx --------------------------------------------------------------------------------------------------


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _nginx(folder: Path, site: Path, port: int) -> list[str]:
    """Return the command that runs nginx with the configuration of the page, with the paths of this test."""
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(nginx).exists() or not shutil.which("openssl"):
        pytest.skip("nginx or openssl is not installed")
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2", *name]
    files = ["-keyout", folder / "privkey.pem", "-out", folder / "fullchain.pem"]
    subprocess.run([*make, *files], check=True, capture_output=True)
    [block] = fenced(read(NGINX), "nginx")
    for old, new in (
        ("/etc/letsencrypt/live/keys.example.com", str(folder)),
        ("/srv/keys/public", str(site)),
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("    listen [::]:443 ssl;\n", ""),
        ("listen 80;", f"listen 127.0.0.1:{_free_port()};"),
        ("    listen [::]:80;\n", ""),
        ("server_name keys.example.com;", "server_name localhost;"),
    ):
        assert old in block
        block = block.replace(old, new)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{block}}}\n"
    )
    return [nginx, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(folder / "nginx.conf")]


def test_nginx_accepts_the_block(tmp_path: Path) -> None:
    """``nginx -t`` accepts it."""
    done = subprocess.run([*_nginx(tmp_path, tmp_path, _free_port()), "-t"], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


@pytest.fixture
def served(vault: Vault, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Return a site, and the address at which nginx serves it."""
    site, port = tmp_path / "site", _free_port()
    done = vault.run("publish", str(site))
    assert done.returncode == 0, done.stderr
    command = _nginx(tmp_path, site, port)
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, (tmp_path / "error.log").read_text()
            time.sleep(0.05)
        yield site, f"https://localhost:{port}"
    finally:
        server.terminate()
        server.wait()


@pytest.mark.slow
def test_nginx_sends_the_headers_of_the_preview(served: tuple[Path, str], tmp_path: Path) -> None:
    """nginx sends the same bytes, type and headers as the preview for each file."""
    site, address = served
    trust = ssl.create_default_context(cafile=str(tmp_path / "fullchain.pem"))
    paths = [path.relative_to(site).as_posix() for path in sorted(site.rglob("*")) if path.is_file()]

    assert ".well-known/openid-configuration" in paths
    assert any(path.startswith("assets/") for path in paths)
    for path in paths:
        if path in NOT_SERVED:
            continue
        with urllib.request.urlopen(f"{address}/{path}", context=trust) as answer:  # noqa: S310 - the address is the test's own
            body, sent = answer.read(), answer.headers
        assert body == (site / path).read_bytes(), path
        expected = headers(path, max_age=datetime.timedelta(minutes=10))
        assert {name: sent[name] for name in expected} == expected, path
        assert ("Content-Security-Policy" in sent) == ("Content-Security-Policy" in expected), path


@pytest.mark.slow
def test_nginx_redirects_to_folders_and_shows_the_error_page(served: tuple[Path, str], tmp_path: Path) -> None:
    """Folders redirect, as the links of the pages need it, and missing paths show the error page."""
    site, address = served
    trust = ssl.create_default_context(cafile=str(tmp_path / "fullchain.pem"))

    with urllib.request.urlopen(f"{address}/", context=trust) as answer:  # noqa: S310 - the address is the test's own
        assert answer.read() == (site / "index.html").read_bytes()
    with pytest.raises(urllib.error.HTTPError) as missing:
        urllib.request.urlopen(f"{address}/nothing", context=trust)  # noqa: S310 - the address is the test's own
    assert missing.value.code == 404
    assert missing.value.read() == (site / "404.html").read_bytes()


# --- AWS ----------------------------------------------------------------------------------------------------


def _as_json(value: Any) -> Any:
    """Return a node of a template with its functions resolved for the page's example."""
    known = {"Ref": {"OIDCProviderArn": "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"}}
    known["Ref"]["Subject"] = "repo:OWNER/REPO:ref:refs/heads/main"
    if isinstance(value, dict):
        if "Ref" in value:
            return known["Ref"][value["Ref"]]
        if "Fn::GetAtt" in value:
            return "arn:aws:s3:::keys-example-com"
        if "Fn::Sub" in value:
            text = value["Fn::Sub"].replace("${Bucket.Arn}", "arn:aws:s3:::keys-example-com")
            text = text.replace("${AWS::Partition}", "aws").replace("${AWS::AccountId}", "123456789012")
            return text.replace("${Distribution}", "E1EXAMPLE")
        return {name: _as_json(member) for name, member in value.items()}
    return [_as_json(member) for member in value] if isinstance(value, list) else value


def _template() -> dict[str, Any]:
    decode = pytest.importorskip("cfnlint.decode.cfn_yaml", reason="cfn-lint is not installed")
    return json.loads(json.dumps(decode.load(str(DOCS / "publish" / "s3-cloudfront.yaml"))))


@pytest.mark.slow
def test_cloudformation_accepts_the_template() -> None:
    """cfn-lint accepts its names, types, values and references."""
    api = pytest.importorskip("cfnlint.api", reason="cfn-lint is not installed")

    assert api.lint_file(DOCS / "publish" / "s3-cloudfront.yaml") == []


def test_the_template_has_the_policies_of_the_page() -> None:
    """The page describes the resources that the template creates."""
    resources = _template()["Resources"]
    role = resources["Publisher"]["Properties"]

    assert policies(S3) == [
        _as_json(resources["BucketPolicy"]["Properties"]["PolicyDocument"]),
        _as_json(role["AssumeRolePolicyDocument"]),
        _as_json(role["Policies"][0]["PolicyDocument"]),
    ]


def test_the_template_sends_the_headers_of_the_preview() -> None:
    """The objects have a type and caching; the distribution adds the other headers."""
    policy = _template()["Resources"]["Headers"]["Properties"]["ResponseHeadersPolicyConfig"]
    expected = headers("index.html", max_age=datetime.timedelta(minutes=10))
    security = policy["SecurityHeadersConfig"]

    assert security["ContentSecurityPolicy"]["ContentSecurityPolicy"] == expected["Content-Security-Policy"]
    assert security["ReferrerPolicy"]["ReferrerPolicy"] == expected["Referrer-Policy"]
    assert policy["CorsConfig"]["AccessControlAllowOrigins"]["Items"] == [expected["Access-Control-Allow-Origin"]]
    assert set(security) == {"ContentTypeOptions", "ReferrerPolicy", "ContentSecurityPolicy"}


#: A store that checks each request with IAM after its setup. It prints its address and a credential.
_STORE = """
import json, sys
import boto3
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
server.start()
endpoint = "http://%s:%s" % server.get_host_and_port()
access = {"endpoint_url": endpoint, "region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
boto3.client("s3", **access).create_bucket(Bucket="keys-example-com")
iam = boto3.client("iam", **access)
iam.create_user(UserName="publisher")
iam.put_user_policy(UserName="publisher", PolicyName="publish", PolicyDocument=sys.argv[1])
key = iam.create_access_key(UserName="publisher")["AccessKey"]
print(json.dumps([endpoint, key["AccessKeyId"], key["SecretAccessKey"]]), flush=True)
sys.stdin.read()
"""
_REQUESTS_TO_SET_UP = "4"


def _publish(vault: Vault, policy: dict[str, Any], times: int) -> list[subprocess.CompletedProcess[str]]:
    """Publish to a new store with a credential that has only the permissions of *policy*."""
    environment = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": _REQUESTS_TO_SET_UP}
    command = [sys.executable, "-c", _STORE, json.dumps(policy)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment, text=True
    ) as store:
        assert store.stdin
        assert store.stdout
        try:
            lines = (line for line in store.stdout if line.startswith("["))
            endpoint, key, secret = json.loads(next(lines))
            access = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
            done = []
            for _ in range(times):
                done.append(vault.run("publish", "s3://keys-example-com", AWS_REGION="us-east-1", **access))
                assert vault.run("rotate", "--all", "--force", "--reason", "as a test").returncode == 0
            return done
        finally:
            store.stdin.close()
            store.kill()


@pytest.fixture
def _moto() -> None:
    for name in ("moto.server", "flask", "boto3", "obstore"):
        pytest.importorskip(name, reason="moto[server] or obstore is not installed")


@pytest.mark.slow
@pytest.mark.usefixtures("_moto")
def test_the_permissions_are_enough(vault: Vault) -> None:
    """They suffice for the first upload, and for one that replaces it."""
    for done in _publish(vault, policies(S3)[2], 2):
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("_moto")
@pytest.mark.parametrize("action", ["s3:ListBucket", "s3:GetObject", "s3:PutObject"])
def test_each_permission_is_needed(vault: Vault, action: str) -> None:
    """Publishing fails without any of them. Only removing the page of a set needs the permission to delete."""
    text = json.dumps(policies(S3)[2])
    less = json.loads(re.sub(rf'"{action}"', '"s3:Nothing"', text))

    done = _publish(vault, less, 2)[1] if action == "s3:GetObject" else _publish(vault, less, 1)[0]

    assert done.returncode == 1
    assert "403" in done.stderr
