"""
Return the CI workflows of `init --ci`, which rotate and publish a vault, and the lock of the tool that they run.

The files ship with the package. Existing files of a repository are never replaced. Code hosts read workflows at the
top of a repository only, so the workflows of a vault in a subfolder name that folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlsplit

from keyvault.core.text import printable, quoted
from keyvault.errors import RenderError, UsageError

KINDS = ("github", "gitlab", "none")

DISTRIBUTION = "jwks-keyvault"

#: A distribution's name with optional extras, and the version, URL or hashes that pin it.
_REQUIREMENT = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[A-Za-z0-9,._ -]+\])? *(?:===?|@) *[^\s;#]\S*(?: +--hash=\S+)*"
)

#: By kind: files of the package, below keyvault/ci, and their paths in a repository.
_FILES: Mapping[str, Mapping[str, str]] = {
    "github": {
        "github/rotate-and-publish.yml": ".github/workflows/rotate-and-publish.yml",
        "github/pull-request.yml": ".github/workflows/pull-request.yml",
        "github/dependabot.yml": ".github/dependabot.yml",
        "github/action.yml": ".github/actions/keyvault/action.yml",
    },
    "gitlab": {"gitlab/gitlab-ci.yml": ".gitlab-ci.yml"},
    "none": {},
}

#: By kind: the folder of the locks and the version of the tool. If it exists, none of its files is written.
_TOOLS = {"github": ".github/actions/keyvault", "gitlab": ".gitlab/keyvault"}

#: A path that workflows can name; no part begins with a dash.
_PLAIN_FOLDER = re.compile(r"(?!-)[A-Za-z0-9._-]+(?:/(?!-)[A-Za-z0-9._-]+)*")

#: How workflows name the folder of the vault: the top of the repository, and another FOLDER.
_FOLDER_MARKS = (
    (b"${{ vars.KEYVAULT_DIR || '.' }}", b"${{ vars.KEYVAULT_DIR || 'FOLDER' }}"),
    (b'\n  KEYVAULT_DIR: "."\n', b'\n  KEYVAULT_DIR: "FOLDER"\n'),
    (b"\n        - keyvault.toml\n", b"\n        - FOLDER/keyvault.toml\n"),
)

_LOCKS = ("requirements.lock", "requirements-build.lock")


def ci_files(kind: str, *, tool: str | None = None) -> dict[str, bytes]:
    """
    Return the files that make CI of *kind* rotate and publish a vault, by path in its repository.

    Args:
        kind: ``github``, ``gitlab`` or ``none``.
        tool: The line of a requirements file that CI installs; None takes the keyvault that runs here.

    Raises:
        UsageError: If there is no such kind, or *tool* is not a line of a requirements file.
    """
    if kind not in KINDS:
        raise UsageError(
            f"unknown value {quoted(kind, 40)} of --ci", code="option-invalid", hint="one of " + ", ".join(KINDS)
        )
    if kind == "none":
        if tool is not None:
            raise UsageError(
                "--tool needs --ci github or --ci gitlab", code="option-conflict", hint="--ci github or --ci gitlab"
            )
        return {}
    files = {path: _packaged(name) for name, path in _FILES[kind].items()}
    folder = _TOOLS[kind]
    files |= {f"{folder}/{name}": _packaged(name) for name in _LOCKS}
    files[f"{folder}/tool.txt"] = _requirement(tool if tool is not None else installed_tool()).encode()
    return files


def for_folder(files: Mapping[str, bytes], folder: str) -> dict[str, bytes]:
    """
    Return *files* for a vault in *folder*, a path from the top of the repository, or empty for the top itself.

    Raises:
        UsageError: If the path has characters that are special in YAML, in an expression or in bash.
    """
    if not files or not folder:
        return dict(files)
    if not _PLAIN_FOLDER.fullmatch(folder):
        raise UsageError(
            f"--ci does not support the folder {quoted(folder, 100)}: workflows must name it",
            code="path-invalid",
            hint="use letters, digits and . _ - / in the path of the vault",
        )
    named = {}
    for path, data in files.items():
        for old, new in _FOLDER_MARKS:
            data = data.replace(old, new.replace(b"FOLDER", folder.encode()))
        named[path] = data
    return named


def without_existing(files: Mapping[str, bytes], folder: Path) -> dict[str, bytes]:
    """Return those of *files* that do not exist in *folder* yet."""
    kept = tuple(f"{tool}/" for tool in _TOOLS.values() if (folder / tool).exists())
    return {
        path: data
        for path, data in files.items()
        if not path.startswith(kept) and not (folder / path).exists() and not (folder / path).is_symlink()
    }


def installed_tool() -> str:
    """Return the requirement that makes pip install this very keyvault: a version, or the commit it was built from."""
    try:
        found = distribution(DISTRIBUTION)
    except PackageNotFoundError:
        raise UsageError(
            "this keyvault is not installed, so its version for CI is unknown",
            code="tool-unknown",
            hint=f"--tool {DISTRIBUTION}==1.2.3, or --tool '{DISTRIBUTION} @ git+https://…@COMMIT'",
        ) from None
    # PEP 610: only distributions that pip installed from a URL or a folder have this file.
    recorded = found.read_text("direct_url.json")
    if recorded is None:
        return f"{DISTRIBUTION}=={found.version}"
    url, commit = _origin(recorded)
    if not commit:
        # An index may lack it, or may have another package under its name.
        raise UsageError(
            "this keyvault was not installed from an index or a commit, so its version for CI is unknown",
            code="tool-unknown",
            hint=f"--tool '{DISTRIBUTION} @ git+https://…@COMMIT'",
        )
    return f"{DISTRIBUTION} @ git+{url}@{commit}"


def _origin(text: str | None) -> tuple[str, str]:
    """Return the https URL and the commit that a direct_url.json names, or two empty strings."""
    try:
        value = json.loads(text or "{}")
        url, commit = value["url"], value["vcs_info"]["commit_id"]
        parts = urlsplit(url)
        # Such a URL may contain a user's name and password, which must not be written into a repository.
        if parts.scheme == "https" and parts.hostname and "@" not in parts.netloc:
            return url, commit
    except (ValueError, KeyError, TypeError):
        pass
    return "", ""


def _requirement(text: str) -> str:
    if printable(text) != text or not _REQUIREMENT.fullmatch(text.strip()):
        raise UsageError(
            f"--tool {quoted(text, 100)} is not a line of a requirements file",
            code="option-invalid",
            hint=f"--tool {DISTRIBUTION}==1.2.3",
        )
    return text.strip() + "\n"


def _packaged(name: str) -> bytes:
    """Return a file of keyvault/ci."""
    path = Path(__file__).resolve().parent.parent / "ci" / name
    if not path.is_file():
        raise RenderError(f"the package lacks ci/{name}", code="package-incomplete", hint="install it again")
    return path.read_bytes()
