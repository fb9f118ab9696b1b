"""
Verify tokens with Apache, which protects a page with mod_oauth2.

usage: python verify.py VERIFIER JWKS_URL ISSUER AUDIENCE ALG[,ALG…] <tokens

Reads one token a line and prints one JSON line for each, in the same order: {"ok": "the sub of the token"} or
{"error": "the message in the log of the module"}. All tokens of a run go to the same server, with the module's own cache.
The module accepts every algorithm that it supports; it has no setting for the expected ones.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

MODULES = Path("/usr/lib/apache2/modules")

CONFIGURATION = """
ServerRoot "{folder}"
ServerName localhost
Listen 127.0.0.1:{port}
PidFile "{folder}/pid"
ErrorLog "{folder}/log"
{modules}
DocumentRoot "{folder}/pages"
Header always set Subject "%{{OAUTH2_CLAIM_sub}}e"
<Location "/">
  AuthType oauth2
  # How old a token may be is up to its exp.
  OAuth2TokenVerify jwks_uri {url} verify.iat=skip
  OAuth2TargetPass prefix=OAUTH2_CLAIM_
  <RequireAll>
    Require oauth2_claim "iss:{issuer}"
    Require oauth2_claim "aud:{audience}"
  </RequireAll>
</Location>
"""
NEEDED = ("mpm_event", "authn_core", "authz_core", "authz_user", "headers", "oauth2")


def main(_name: str, url: str, issuer: str, audience: str, _algs: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # If root starts the server, it changes to another user, who has to read this.
        folder.chmod(0o755)
        (folder / "pages").mkdir()
        (folder / "pages" / "index.html").write_text("secret")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        modules = "\n".join(f'LoadModule {module}_module "{MODULES}/mod_{module}.so"' for module in NEEDED)
        (folder / "conf").write_text(
            CONFIGURATION.format(folder=folder, port=port, modules=modules, url=url, issuer=issuer, audience=audience)
        )
        server = subprocess.Popen(["/usr/sbin/apache2", "-f", str(folder / "conf"), "-DFOREGROUND"])
        try:
            for line in sys.stdin:
                print(json.dumps(ask(f"http://127.0.0.1:{port}/index.html", line.strip(), folder / "log")), flush=True)
        finally:
            server.terminate()
            server.wait()


def ask(url: str, token: str, log: Path) -> dict[str, str]:
    begin = log.stat().st_size if log.exists() else 0
    for _ in range(200):
        try:
            request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - http, on this machine
            with urllib.request.urlopen(request) as response:  # noqa: S310 - the same
                return {"ok": response.headers["Subject"]}
        except urllib.error.HTTPError as error:
            with log.open() as lines:
                lines.seek(begin)
                return {"error": f"{error.code}: {reason(lines.read())}"}
        except urllib.error.URLError:
            # The server does not listen yet.
            time.sleep(0.05)
    return {"error": "Apache did not start"}


def reason(log: str) -> str:
    """Return the last message of *log*, which comes after the time, the module and the address of the client."""
    messages = re.findall(r"\[client [^]]+\] (.+)", log)
    return messages[-1] if messages else "not a word in the log"


if __name__ == "__main__":
    main(*sys.argv[1:])
