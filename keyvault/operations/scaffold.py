"""
What `init --ci` writes beside a vault: workflows that rotate and publish it, and a lock of the tool that they run.

The files ship with the package. What stands in a repository already is never replaced. Forges read these files at the
top of a repository, so those of a vault in a folder below say which folder that is.
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

#: A name, perhaps with extras, and what pins it.
_REQUIREMENT = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*(?:\[[A-Za-z0-9,._ -]+\])? *(?:===?|@) *[^\s;#]\S*(?: +--hash=\S+)*"
)

#: By kind: files of the package, below keyvault/ci, and where they go.
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

#: By kind: where the locks and the version of the tool lie. The folder is one thing: it is written whole or not at all.
_TOOLS = {"github": ".github/actions/keyvault", "gitlab": ".gitlab/keyvault"}

#: A path that workflows can name; no part begins with a dash.
_PLAIN_FOLDER = re.compile(r"(?!-)[A-Za-z0-9._-]+(?:/(?!-)[A-Za-z0-9._-]+)*")

#: Where workflows name the folder of the vault: for the top, and for another FOLDER.
_FOLDER_MARKS = (
    (b"${{ vars.KEYVAULT_DIR || '.' }}", b"${{ vars.KEYVAULT_DIR || 'FOLDER' }}"),
    (b'\n  KEYVAULT_DIR: "."\n', b'\n  KEYVAULT_DIR: "FOLDER"\n'),
    (b"\n        - keyvault.toml\n", b"\n        - FOLDER/keyvault.toml\n"),
)

_LOCKS = ("requirements.lock", "requirements-build.lock")


def ci_files(kind: str, *, tool: str | None = None) -> dict[str, bytes]:
    """
    Return the files that let *kind* rotate and publish a vault, by path in its repository.

    Args:
        kind: ``github``, ``gitlab`` or ``none``.
        tool: What pip shall install there, as a line of a requirements file, when it is not what runs here.

    Raises:
        UsageError: There is no such kind, or *tool* is no line of a requirements file.
    """
    if kind not in KINDS:
        raise UsageError(f"--ci {quoted(kind, 40)} is none of {', '.join(KINDS)}")
    if kind == "none":
        if tool is not None:
            raise UsageError("--tool is for --ci github and --ci gitlab")
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
        UsageError: If the path could mean something to YAML, to an expression or to bash.
    """
    if not files or not folder:
        return dict(files)
    if not _PLAIN_FOLDER.fullmatch(folder):
        raise UsageError(
            f"--ci takes no folder such as {quoted(folder, 100)}: workflows name it",
            hint="use letters, digits and . _ - / in the path of the vault",
        )
    named = {}
    for path, data in files.items():
        for old, new in _FOLDER_MARKS:
            data = data.replace(old, new.replace(b"FOLDER", folder.encode()))
        named[path] = data
    return named


def without_present(files: Mapping[str, bytes], folder: Path) -> dict[str, bytes]:
    """Return those of *files* that are not in *folder* yet."""
    kept = tuple(f"{tool}/" for tool in _TOOLS.values() if (folder / tool).exists())
    return {
        path: data
        for path, data in files.items()
        if not path.startswith(kept) and not (folder / path).exists() and not (folder / path).is_symlink()
    }


def installed_tool() -> str:
    """Return what pip has to be told to install this very keyvault: a version, or a commit where it came from one."""
    try:
        found = distribution(DISTRIBUTION)
    except PackageNotFoundError:
        raise UsageError(
            "this keyvault is not installed, so CI cannot be told what to install",
            hint=f"--tool {DISTRIBUTION}==1.2.3, or --tool '{DISTRIBUTION} @ git+https://…@COMMIT'",
        ) from None
    # PEP 610: only what pip was given by URL, or as a folder, has this file.
    recorded = found.read_text("direct_url.json")
    if recorded is None:
        return f"{DISTRIBUTION}=={found.version}"
    url, commit = _origin(recorded)
    if not commit:
        # An index may not have it, or may have something else under its name.
        raise UsageError(
            "this keyvault was not installed from an index or a commit, so CI cannot be told what to install",
            hint=f"--tool '{DISTRIBUTION} @ git+https://…@COMMIT'",
        )
    return f"{DISTRIBUTION} @ git+{url}@{commit}"


def _origin(text: str | None) -> tuple[str, str]:
    """Return the https URL and the commit that a direct_url.json names, or two empty strings."""
    try:
        value = json.loads(text or "{}")
        url, commit = value["url"], value["vcs_info"]["commit_id"]
        parts = urlsplit(url)
        # A user's name and password may stand in it: such a URL is nobody else's business.
        if parts.scheme == "https" and parts.hostname and "@" not in parts.netloc:
            return url, commit
    except (ValueError, KeyError, TypeError):
        pass
    return "", ""


def _requirement(text: str) -> str:
    if printable(text) != text or not _REQUIREMENT.fullmatch(text.strip()):
        raise UsageError(
            f"--tool {quoted(text, 100)} is not a line of a requirements file",
            hint=f"--tool {DISTRIBUTION}==1.2.3",
        )
    return text.strip() + "\n"


def _packaged(name: str) -> bytes:
    """Return a file of keyvault/ci."""
    path = Path(__file__).resolve().parent.parent / "ci" / name
    if not path.is_file():
        raise RenderError(f"the package lacks ci/{name}", hint="install it again")
    return path.read_bytes()
