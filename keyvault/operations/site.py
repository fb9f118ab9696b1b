"""Render the site of a commit: to memory, to a folder, and as a preview."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar, cast
from urllib.parse import urlsplit

from keyvault.core.state import Commit, VaultState
from keyvault.core.text import elided
from keyvault.errors import RenderError, UsageError
from keyvault.operations.context import Context
from keyvault.publish import address

if TYPE_CHECKING:
    from keyvault.publish.folder import Written
    from keyvault.site.pages import Templates

TEMPLATES = "site_template"


#: How much of a document that is not whole is kept in memory, in bytes.
_SPOOLED = 1 << 22


def scratch() -> IO[bytes]:
    """Return a file for what is not whole yet: in memory, and on the disk once it is large."""
    return cast("IO[bytes]", tempfile.SpooledTemporaryFile(_SPOOLED))


def default_templates() -> dict[str, bytes]:
    """Return the templates that ship with the package, by path."""
    package = Path(__file__).resolve().parent.parent
    # In a wheel they lie in the package; in the source tree beside it.
    folder = next((path for path in (package / TEMPLATES, package.parent / TEMPLATES) if path.is_dir()), None)
    if folder is None:
        raise RenderError("the package has no templates", hint="install it again")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in _files(folder)}


def _files(folder: Path) -> Iterator[Path]:
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())


def templates_of(context: Context, commit: Commit, *, worktree: bool = False) -> Templates:
    """Return the templates of *commit*, or of the work tree: the vault's own in place of ours."""
    from keyvault.site.pages import Templates

    if worktree:
        folder = context.repository.folder / TEMPLATES
        own = {path.relative_to(folder).as_posix(): path.read_bytes() for path in _files(folder)}
    else:
        files = context.repository.files(commit, TEMPLATES)
        own = {path.removeprefix(TEMPLATES + "/"): data for path, data in files.items()}
    return Templates(default_templates(), own)


def site_files(
    context: Context, commit: Commit, *, worktree: bool = False
) -> tuple[VaultState, Iterator[tuple[str, bytes]]]:
    """
    Return the state of *commit* and its site, path by path.

    Args:
        context: The vault.
        commit: The commit to render.
        worktree: Take templates from the work tree, to try them out; keys and policy still come from the
            commit.

    Raises:
        RenderError: A template is broken.
        LeakError: A private member was about to be published.
        GitError: History was cut off.
    """
    return _all_files(context, commit, templates_of(context, commit, worktree=worktree))


def _all_files(
    context: Context, commit: Commit, templates: Templates
) -> tuple[VaultState, Iterator[tuple[str, bytes]]]:
    from keyvault.site.build import build, made

    # In this order: what history takes for a moment, the keys take for long.
    commits = context.repository.event_commits(commit)
    state = context.repository.read(commit, envelopes=False)
    return state, made(build(state, commits, templates, scratch=scratch))


def render(context: Context, commit: Commit, output: Path, *, worktree: bool = False) -> Written:
    """
    Write the site of *commit* to the folder *output*, and return what became of the folder.

    The folder is swapped in when it is complete. In that of a large site only what changed since it was rendered is
    made again, see `again`; errors as `site_files` and `write_site`.
    """
    from keyvault.operations.again import Again
    from keyvault.publish.folder import write_site
    from keyvault.publish.stamp import StaleError

    if (remote := address.remote(str(output))) is not None:
        raise UsageError(f"{elided(str(output))} is not a folder", hint=f"keyvault publish {remote}")
    protected = context.repository.folder
    templates = templates_of(context, commit, worktree=worktree)
    if worktree:  # who tries templates out changes them all the time
        return write_site(
            _all_counted(context, commit, templates), output, protected=protected, progress=context.progress
        )
    again = Again(context, output, commit, templates)
    if (written := again.unchanged()) is not None:
        return written
    if (planned := again.build()) is not None:
        state, changes = planned
        with contextlib.suppress(StaleError):  # somebody was at the folder: all is made again
            return write_site(
                counted(context, about(state), changes),
                output,
                protected=protected,
                stamps=again.stamps,
                known=again.known,
                progress=context.progress,
            )
    return write_site(
        _all_counted(context, commit, templates),
        output,
        protected=protected,
        stamps=again.stamps,
        progress=context.progress,
    )


def _all_counted(context: Context, commit: Commit, templates: Templates) -> Iterator[tuple[str, bytes]]:
    # Nothing here keeps the state: that of a large vault is let go of while its site is still written.
    state, files = _all_files(context, commit, templates)
    return counted(context, about(state), files)


Data = TypeVar("Data", bytes, bytes | None)


def about(state: VaultState) -> int:
    """Return about how many files the site of *state* has."""
    return 3 * len(state.keys) + 2 * len(state.sets) + 20


def counted(context: Context, total: int, files: Iterable[tuple[str, Data]]) -> Iterator[tuple[str, Data]]:
    """Yield *files*, about *total* of them, and tell how far it is."""
    for done, item in enumerate(files, 1):
        if done % 100 == 0:
            context.progress("rendering", done, max(total, done))
        yield item


class Preview:
    """The site as it is now: rendered again when the vault's commit or a template of the work tree changes."""

    def __init__(
        self, context: Context, *, on_render: Callable[[str], None], on_error: Callable[[Exception], None]
    ) -> None:
        """
        Args:
            context: The vault.
            on_render: Told the commit after each rendering.
            on_error: Told when a rendering fails; the site before it goes on being served.
        """
        self._context, self._on_render, self._on_error = context, on_render, on_error
        self._files: Mapping[str, bytes] = {}
        self._seen: object = None
        self._asked_at = 0.0

    def __call__(self) -> Mapping[str, bytes]:
        """Return the files of the site."""
        from keyvault.errors import KeyVaultError

        if time.monotonic() - self._asked_at < 0.5:
            return self._files
        self._asked_at = time.monotonic()
        try:
            commit = self._context.repository.head()
            mark = commit, self._templates()
            if mark != self._seen:
                self._seen = mark  # what cannot be rendered is told once, not at each request
                _, files = site_files(self._context, commit, worktree=True)
                self._files = dict(files)
                self._on_render(commit)
        except (KeyVaultError, OSError) as error:  # an editor may be replacing a template right now
            self._on_error(error)
        return self._files

    def _templates(self) -> object:
        """Return a value that changes when a template of the work tree does."""
        folder = self._context.repository.folder / TEMPLATES
        return [(str(path), path.stat().st_mtime_ns) for path in _files(folder)]


def serve(
    context: Context,
    *,
    port: int,
    on_ready: Callable[[str], None],
    on_render: Callable[[str], None],
    on_error: Callable[[Exception], None],
) -> None:
    """
    Serve a preview on 127.0.0.1 until interrupted.

    Args:
        context: The vault.
        port: Where to listen; 0 takes a free one.
        on_ready: Told the address.
        on_render: Told the commit after each rendering.
        on_error: Told when a rendering fails.
    """
    from keyvault.publish.preview import make_server
    from keyvault.site.headers import headers

    policy = context.state().policy
    preview = Preview(context, on_render=on_render, on_error=on_error)
    base = urlsplit(policy.site.url).path
    server = make_server(preview, lambda path: headers(path, max_age=policy.site.max_age), port=port, base=base)
    preview()
    # Ctrl-C reaches the main thread while it sleeps, and none in the middle of its work. It does not join: a
    # join that is interrupted takes a running thread for a stopped one.
    loop = threading.Thread(target=server.serve_forever, daemon=True)
    try:
        loop.start()
        on_ready(f"http://127.0.0.1:{server.server_address[1]}{base}/")
        while loop.is_alive():
            time.sleep(0.2)
    finally:
        if loop.is_alive():
            server.shutdown()
        server.server_close()
