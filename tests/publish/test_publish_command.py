"""`keyvault publish` as a user types it: warnings, JSON, the variable of --invalidate, and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.publish.fronts import front
from tests.publish.test_invalidate import DONE, TOKEN, ZONE
from tests.site.vaults import SITE, Lab, MakeVault
from tests.vaults import CLOCKED, PROJECT


def ask(vault: Lab, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Run the command and return its exit code and what it prints to stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-c", CLOCKED, vault.now.isoformat(), "publish", *arguments],
        cwd=vault.folder,
        env={**vault.environ, "PYTHONPATH": str(PROJECT), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


def test_sites_below_and_above(make_vault: MakeVault, tmp_path: Path) -> None:
    """Each run warns of the other site, and JSON names it."""
    top, nested = make_vault(), make_vault(url=f"{SITE}/b")
    www = tmp_path / "www"
    assert ask(top, str(www)) == (
        0,
        f"published commit {top.head[:12]} to {www}: 33 files, 33 uploaded, 0 deleted\n",
        "",
    )
    code, _, err = ask(nested, str(www / "b"))
    assert (code, err) == (0, f"keyvault: warning: this destination lies inside the site at {www}, which keeps it\n")
    code, out, err = ask(top, str(www), "--json")
    assert (code, err) == (0, "keyvault: warning: kept b/, which is a site of its own\n")
    answer = json.loads(out)
    assert (answer["sites_below"], answer["site_above"], answer["purged"]) == (["b"], None, [])
    top.edit_policy("[sets.access-token]", f'[sets.access-token]\nissuer = "{SITE}/b"')
    code, out, err = ask(top, str(www))
    assert (code, out) == (3, "")
    assert err.splitlines()[-1] == "keyvault: hint: publish elsewhere, or remove b/ first if nobody needs that site"


@pytest.mark.parametrize("destination", ["s3:bucket", "branch", "branch:refs/heads/x", "gs:x", "https://x"])
def test_misspelt_destinations(vault: Lab, destination: str) -> None:
    """Wrong usage, one line and a hint, and no folder of that name."""
    before = sorted(vault.folder.iterdir())
    code, out, err = ask(vault, destination)
    assert (code, out) == (2, "")
    assert [line[:16] for line in err.splitlines()] == ["keyvault: error:", "keyvault: hint: "]
    assert sorted(vault.folder.iterdir()) == before


def test_invalidate_from_the_environment(vault: Lab, tmp_path: Path) -> None:
    """A workflow sets a variable; a failure exits with 1 after the site is published, and shows no token."""
    www, other = tmp_path / "www", "f" * 32
    with front(None, lambda _: DONE["cloudflare"]) as network:
        variables = {
            "KEYVAULT_INVALIDATE": f"cloudflare:{ZONE} cloudflare:{other}",
            "CLOUDFLARE_API_TOKEN": TOKEN,
            "CLOUDFLARE_API_BASE_URL": network.url,
        }
        code, out, _ = ask(vault, str(www), "--dry-run", **variables)
        purges = [line.split()[1] for line in out.splitlines() if line.startswith("purge ")]
        assert (code, network.requests) == (0, [])
        assert f"{SITE}/.well-known/jwks.json" in purges
        assert out.splitlines()[-1].endswith(f", {len(purges)} to purge")
        code, out, err = ask(vault, str(www), "--json", **variables)
        assert (code, err, json.loads(out)["purged"]) == (0, "", purges)
        assert [request.path.split("/")[2] for request in network.requests] == [ZONE, other]
    code, out, err = ask(
        vault, str(tmp_path / "elsewhere"), **{**variables, "CLOUDFLARE_API_BASE_URL": "http://127.0.0.1:1"}
    )
    assert (code, out) == (1, "")
    assert err.startswith(f"keyvault: error: the site is published, but cloudflare:{ZONE} still serves old copies: ")
    assert TOKEN not in err
    assert (tmp_path / "elsewhere" / "history.json").exists()
