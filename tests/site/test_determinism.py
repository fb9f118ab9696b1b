"""The site is a pure function of the commit: same commit, same bytes, on every machine."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from keyvault.core.algorithms import key_spec
from keyvault.operations import keys, rotation
from tests.site.vaults import DAY, HOUR, SITE, Lab, new_lab

REPOSITORY = Path(__file__).parent.parent.parent

#: Settings that must not matter, one at a time and all together.
WORLDS = {
    "another time zone": {"TZ": "Pacific/Kiritimati"},
    "a time zone with minutes": {"TZ": "Asia/Kathmandu"},
    "the C locale": {"LC_ALL": "C", "LANG": "C"},
    "a Turkish locale": {"LC_ALL": "tr_TR.UTF-8", "LANGUAGE": "tr"},
    "hash seed 1": {"PYTHONHASHSEED": "1"},
    "hash seed 2": {"PYTHONHASHSEED": "4294967295"},
    "optimised Python": {"PYTHONOPTIMIZE": "2"},
    "all of them": {"TZ": "America/St_Johns", "LC_ALL": "C", "PYTHONHASHSEED": "77"},
}
#: The settings of the fast tests.
QUICK = {"all of them"}


def digest(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below *folder*, by path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A vault with everything that a site can show: issuers, kinds of keys, events, text, a merge, own templates."""
    lab = new_lab(
        tmp_path_factory.mktemp("rich") / "vault", "id-token:ES256", "access-token:RS256", title="Schlüssel ☂"
    )
    keys.add_set(lab.context(), "reports", spec=key_spec("EdDSA"), issuer=f"{SITE}/reports")
    keys.add_set(lab.context(), "mail", spec=key_spec("ECDH-ES+A256KW"))
    lab.append_policy('\n[site.metadata]\nscopes_supported = ["openid", "ünusual"]\nservice = {z = 1, a = [true]}\n')
    lab.commit({"site_template/assets/style.css": "body {}\n", "site_template/assets/ä/x.svg": "<svg/>\n"})
    lab.rotate("id-token", "reports")
    lab.git("switch", "--quiet", "--create", "other")
    rotation.revoke(lab.context(), lab.key("access-token", "active").kid, reason="compromised", note="Straße ☠")
    lab.wait(HOUR)
    lab.git("switch", "--quiet", "main")
    rotation.rollback(lab.context(), "id-token", note="zurück")
    lab.wait(HOUR)
    lab.git("merge", "--quiet", "--no-edit", "other")
    lab.wait(2 * DAY)
    rotation.rotate_due(lab.context())
    return lab


def render(
    lab: Lab, output: Path, vault: Path | None = None, *, umask: int = 0o022, more: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Render in a separate process, and return the digests of the site."""
    environ = {**lab.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1", **(more or {})}
    done = subprocess.run(
        [sys.executable, "-m", "keyvault", "--vault", str(vault or lab.folder), "render", "-o", str(output)],
        env=environ,
        capture_output=True,
        umask=umask,
    )
    assert done.returncode == 0, done.stderr.decode()
    return digest(output)


@pytest.fixture(scope="module")
def expected(rich: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return render(rich, tmp_path_factory.mktemp("expected") / "site", more={"PYTHONHASHSEED": "0", "TZ": "UTC"})


@pytest.mark.parametrize(
    "world", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in WORLDS]
)
def test_environment_does_not_matter(rich: Lab, expected: dict[str, str], tmp_path: Path, world: str) -> None:
    """Time zone, locale, hash seed and optimisation change no byte of any file."""
    assert render(rich, tmp_path / "site", more=WORLDS[world]) == expected
    assert len(expected) > 30


@pytest.mark.parametrize("umask", [0o000, 0o027, 0o077])
def test_umask_changes_neither_bytes_nor_modes(rich: Lab, expected: dict[str, str], tmp_path: Path, umask: int) -> None:
    """With any umask, the web server can read every file, and only the owner can write."""
    assert render(rich, tmp_path / "site", umask=umask) == expected
    everything = [tmp_path / "site", *(tmp_path / "site").rglob("*")]
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in everything}
    assert modes == {(True, 0o755), (False, 0o644)}


def test_rendering_twice_in_one_process_gives_the_same(rich: Lab) -> None:
    """The first render leaves nothing behind that changes the second."""
    first, second = rich.site(), rich.site()

    assert first == second
    assert list(first) == list(second), "the order is the same too"


def test_time_of_rendering_does_not_matter(rich: Lab) -> None:
    """Ten years later, the same commit gives the same site: nothing depends on the time of rendering."""
    now = rich.site()
    later = Lab(rich.folder, rich.environ, now=rich.now + 3_653 * DAY)

    assert later.site() == now


@pytest.mark.slow
def test_clones_give_the_same(rich: Lab, expected: dict[str, str], tmp_path: Path) -> None:
    """A fresh, a bare, a mirror and a repacked clone render the same bytes from the same commit."""
    url = f"file://{rich.folder}"
    rich.git("clone", "--quiet", "--no-local", url, str(tmp_path / "clone"))
    rich.git("clone", "--quiet", "--bare", url, str(tmp_path / "bare.git"))
    rich.git("clone", "--quiet", "--mirror", url, str(tmp_path / "mirror.git"))
    rich.git("clone", "--quiet", url, str(tmp_path / "packed"))
    rich.git("-C", str(tmp_path / "packed"), "repack", "-adf", "--quiet")

    for name in ("clone", "bare.git", "mirror.git", "packed"):
        assert render(rich, tmp_path / "sites" / name, tmp_path / name) == expected, name


def test_settings_of_a_clone_do_not_matter(rich: Lab, expected: dict[str, str], tmp_path: Path) -> None:
    """The settings of a clone for line endings, quoting, file modes and logs change no byte."""
    clone = tmp_path / "clone"
    rich.git("clone", "--quiet", f"file://{rich.folder}", str(clone))
    for name, value in {
        "core.autocrlf": "true",
        "core.quotePath": "true",
        "core.fileMode": "false",
        "core.precomposeUnicode": "true",
        "log.date": "relative",
        "log.showSignature": "true",
        "log.follow": "true",
        "log.diffMerges": "first-parent",
        "log.mailmap": "true",
        "diff.renames": "copies",
        "diff.noprefix": "true",
        "diff.algorithm": "patience",
        "diff.orderFile": str(clone / "keyvault.toml"),
        "i18n.logOutputEncoding": "ISO-8859-1",
        "format.pretty": "oneline",
        "color.ui": "always",
    }.items():
        rich.git("-C", str(clone), "config", name, value)

    assert render(rich, tmp_path / "site", clone) == expected


def test_dirty_work_tree_does_not_matter(rich: Lab, expected: dict[str, str], tmp_path: Path) -> None:
    """Uncommitted and staged changes are not on the site, which is rendered from a commit."""
    clone = tmp_path / "clone"
    rich.git("clone", "--quiet", f"file://{rich.folder}", str(clone))
    (clone / "keyvault.toml").write_text("broken [")
    (clone / "site_template" / "assets" / "style.css").write_text("uncommitted")
    (clone / "site_template" / "index.html").write_text("{{ broken")
    rich.git("-C", str(clone), "add", "--all")
    for path in (clone / "keys.enc").rglob("*.json"):
        path.write_text("{}")

    assert render(rich, tmp_path / "site", clone) == expected


def test_replacements_of_a_clone_do_not_matter(rich: Lab, expected: dict[str, str], tmp_path: Path) -> None:
    """A clone with replace refs, which substitute another history, renders the real history."""
    clone = tmp_path / "clone"
    rich.git("clone", "--quiet", f"file://{rich.folder}", str(clone))
    empty = rich.git("-C", str(clone), "commit-tree", "HEAD^{tree}", "-m", "history begins today")
    rich.git("-C", str(clone), "replace", "HEAD", empty)

    assert render(rich, tmp_path / "site", clone) == expected


def test_running_as_somebody_else_does_not_matter(rich: Lab, expected: dict[str, str], tmp_path: Path) -> None:
    """Without a home, an identity or a name for git, the site is the same: rendering needs no secret."""
    environ = {**rich.environ, "HOME": str(tmp_path), "KEYVAULT_CONFIG_DIR": str(tmp_path / "none")}
    for name in [name for name in environ if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER"))]:
        del environ[name]
    stranger = Lab(rich.folder, environ)

    assert render(stranger, tmp_path / "site") == expected
    assert list(tmp_path.iterdir()) == [tmp_path / "site"]
