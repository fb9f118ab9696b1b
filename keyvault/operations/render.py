"""Render the site of a commit to a folder, in full or incrementally."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from keyvault.core.files import Rendered
from keyvault.core.state import Commit
from keyvault.core.text import elided
from keyvault.errors import UsageError
from keyvault.operations.context import Context
from keyvault.operations.site import estimated_file_count, report_progress, site_files_with, templates_of
from keyvault.publish import address

if TYPE_CHECKING:
    from keyvault.publish.folder import Written
    from keyvault.site.pages import Templates


def render(context: Context, commit: Commit, output: Path, *, worktree: bool = False) -> Written:
    """
    Write the site of *commit* to the folder *output*.

    The new folder replaces the old one when it is complete. A large site is rendered incrementally if possible, see
    `incremental`. Errors are those of `site_files` and `write_site`.
    """
    from keyvault.operations.incremental import IncrementalRender
    from keyvault.publish.folder import write_site
    from keyvault.publish.stamp import StaleError

    if (remote := address.remote_address(str(output))) is not None:
        raise UsageError(
            f"{elided(str(output))} is not a folder", code="not-a-folder", hint=f"keyvault publish {remote}"
        )
    protected = context.repository.folder
    templates = templates_of(context, commit, worktree=worktree)
    if worktree:  # a template in the working tree changes between commits
        return write_site(_full(context, commit, templates), output, protected=protected, progress=context.progress)
    incremental = IncrementalRender(context, output, commit, templates)
    if (written := incremental.unchanged()) is not None:
        return written
    if (partial := incremental.build()) is not None:
        state, files = partial
        with contextlib.suppress(StaleError):  # another program changed the folder: render all of it
            return write_site(
                report_progress(context, estimated_file_count(state), files),
                output,
                protected=protected,
                stamp_file=incremental.stamp_file,
                previous=incremental.previous_stamp,
                progress=context.progress,
            )
    files = _full(context, commit, templates)
    return write_site(files, output, protected=protected, stamp_file=incremental.stamp_file, progress=context.progress)


def _full(context: Context, commit: Commit, templates: Templates) -> Iterator[Rendered]:
    # No reference to the state remains, so that of a large vault is freed while its site is still written.
    state, files = site_files_with(context, commit, templates)
    return report_progress(context, estimated_file_count(state), files)
