"""Render the site of a commit, file by file, with its templates. `render` writes it to a folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar, cast

from keyvault.core.files import Rendered, SiteFile
from keyvault.core.state import Commit, VaultState
from keyvault.errors import RenderError
from keyvault.operations.context import Context

if TYPE_CHECKING:
    from keyvault.site.pages import Templates

TEMPLATES = "site_template"

#: The maximum size in bytes of an incomplete document that is kept in memory.
_SPOOLED = 1 << 22


def scratch() -> IO[bytes]:
    """Return a temporary file for an incomplete document: in memory, and on the disk once it is large."""
    return cast("IO[bytes]", tempfile.SpooledTemporaryFile(_SPOOLED))


def default_templates() -> dict[str, bytes]:
    """Return the templates that ship with the package, by path."""
    package = Path(__file__).resolve().parent.parent
    # A wheel has them inside the package, the source tree beside it.
    folder = next((path for path in (package / TEMPLATES, package.parent / TEMPLATES) if path.is_dir()), None)
    if folder is None:
        raise RenderError("the package has no templates", code="package-incomplete", hint="install it again")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files_below(folder)}


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below *folder*, sorted; links are skipped."""
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())


def templates_of(context: Context, commit: Commit, *, worktree: bool = False) -> Templates:
    """Return the templates of *commit*, or of the working tree: the vault's own replace the built-in ones."""
    from keyvault.site.pages import Templates

    if worktree:
        folder = context.repository.folder / TEMPLATES
        own = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files_below(folder)}
    else:
        files = context.repository.files(commit, TEMPLATES)
        own = {path.removeprefix(TEMPLATES + "/"): data for path, data in files.items()}
    return Templates(default_templates(), own)


def site_files(context: Context, commit: Commit, *, worktree: bool = False) -> tuple[VaultState, Iterator[Rendered]]:
    """
    Return the state of *commit* and its site, path by path.

    Args:
        context: The vault.
        commit: The commit to render.
        worktree: Take templates from the working tree, to try them out; keys and policy still come from the
            commit.

    Raises:
        RenderError: If a template is broken.
        LeakError: If a private member was about to be published.
        GitError: If the clone is shallow.
    """
    return site_files_with(context, commit, templates_of(context, commit, worktree=worktree))


def site_files_with(context: Context, commit: Commit, templates: Templates) -> tuple[VaultState, Iterator[Rendered]]:
    """Return the state of *commit* and its site, rendered with *templates*. Raises the errors of `site_files`."""
    from keyvault.site.build import build

    # In this order: history needs its memory only for a moment, the keys need theirs for long.
    commits = context.repository.event_commits(commit)
    state = context.repository.read(commit, envelopes=False)
    return state, build(state, commits, templates, scratch=scratch)


File = TypeVar("File", bound=SiteFile)


def estimated_file_count(state: VaultState) -> int:
    """Return roughly how many files the site of *state* has."""
    return 3 * len(state.keys) + 2 * len(state.sets) + 20


def report_progress(context: Context, total: int, files: Iterable[File]) -> Iterator[File]:
    """Yield *files*, about *total* of them, and report progress."""
    for done, item in enumerate(files, 1):
        if done % 100 == 0:
            context.progress("rendering", done, max(total, done))
        yield item
