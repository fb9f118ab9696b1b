"""A package that is installed from a wheel works outside the source tree."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.site.vaults import environment

PROJECT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel that the backend of pyproject.toml builds from the source tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(PROJECT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_a_wheel_holds_the_package_and_its_templates(wheel: Path) -> None:
    """The wheel contains templates, assets and ``py.typed``, but no tests and no docs."""
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"keyvault/py.typed", "keyvault/cli/main.py"} <= names
    templates = PROJECT / "site_template"
    for path in templates.rglob("*"):
        if path.is_file():
            assert f"keyvault/site_template/{path.relative_to(templates).as_posix()}" in names
    for path in (PROJECT / "keyvault" / "ci").rglob("*"):
        if path.is_file():
            assert path.relative_to(PROJECT).as_posix() in names
    assert {name.partition("/")[0] for name in names} == {"keyvault", "jwks_keyvault-0.1.0.dist-info"}


@pytest.mark.slow
def test_an_installed_wheel_creates_and_renders_a_vault(wheel: Path, tmp_path: Path) -> None:
    """`init`, `status` and `render` work in a folder outside of the source tree."""
    installed = tmp_path / "site-packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(installed)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    own = {**environment(tmp_path / "home"), "PYTHONPATH": str(installed)}

    def run(*arguments: str, folder: Path) -> str:
        done = subprocess.run(
            [sys.executable, str(installed / "bin" / "keyvault"), *arguments],
            cwd=folder,
            env=own,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = "import keyvault; print(keyvault.__file__)"
    found = subprocess.run([sys.executable, "-c", where], cwd=tmp_path, env=own, capture_output=True, text=True)
    assert Path(found.stdout.strip()) == installed / "keyvault" / "__init__.py"
    run("init", "d", "--url", "https://keys.example.com", folder=tmp_path)
    assert "id-token" in run("status", folder=tmp_path / "d")
    run("render", folder=tmp_path / "d")
    assert (tmp_path / "d" / "public" / "index.html").read_bytes()
    assert (tmp_path / "d" / "public" / ".well-known" / "jwks.json").read_bytes()
