"""
Publish the site of a commit to a folder, an object store or a branch.

The whole site is rendered before anything is written. Files are compared by content. The history.json of the
destination names the commit that it shows; a commit that does not come after it is refused.

Sources: docs/publishing.md; docs/adr/0018.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from keyvault.core.files import Rendered
from keyvault.core.state import Commit
from keyvault.core.text import elided, quoted
from keyvault.errors import GateError, UsageError
from keyvault.operations.audit import require_clean
from keyvault.operations.context import Context
from keyvault.operations.incremental import MIN_FILES_FOR_STAMP, builder_digest
from keyvault.operations.purge import Purge
from keyvault.operations.site import estimated_file_count, report_progress, site_files, templates_of
from keyvault.publish import address, fingerprints
from keyvault.publish.branch import BranchDestination
from keyvault.publish.destination import (
    HISTORY,
    MARKERS,
    Changes,
    Contents,
    Destination,
    Rendering,
    live_commit,
)
from keyvault.publish.folder import FolderDestination
from keyvault.publish.invalidate import open_cache

if TYPE_CHECKING:
    from keyvault.repo.git import Git, Tree
    from keyvault.repo.remote import Remote

__all__ = ["HISTORY", "Published", "live_commit", "publish"]

#: The fingerprints of the site that was published last, in the git directory.
_FINGERPRINTS = "keyvault-rendered/published"


@dataclass(frozen=True, slots=True)
class Published:
    """
    The result of a publication, or of a dry run.

    Attributes:
        commit: The commit.
        previous: The commit that the destination showed before, or None.
        files: The number of files of the site.
        uploaded: The paths that were new or different there.
        deleted: The paths that were there and are not part of the site.
        sites_below: Folders of the destination that are sites of their own, and stay.
        site_above: The site that the destination lies in, or None.
        purged: The URLs that were purged from the caches in front of it.
    """

    commit: Commit
    previous: str | None
    files: int
    uploaded: list[str]
    deleted: list[str]
    sites_below: tuple[str, ...] = ()
    site_above: str | None = None
    purged: list[str] = field(default_factory=list)


def publish(
    context: Context,
    commit: Commit,
    destination: str,
    *,
    dry_run: bool = False,
    force: bool = False,
    keep: Sequence[str] = (),
    audited: str | None = None,
    invalidate: Sequence[str] = (),
) -> Published:
    """
    Publish the site of *commit*, once its history is audited.

    Args:
        context: The vault.
        commit: The commit to publish.
        destination: A folder, ``s3://BUCKET/PREFIX``, ``gs://BUCKET/PREFIX``, ``az://CONTAINER/PREFIX``, or
            ``branch:NAME``.
        dry_run: Report the changes, and write nothing.
        force: Publish without the audit, and over a newer live commit.
        keep: Patterns of paths that are not part of the site and stay all the same.
        audited: A commit that is trusted with all its history: only later commits are audited.
        invalidate: Caches that changed documents are purged from, as ``cloudfront:ID`` or ``cloudflare:ID``.

    Raises:
        AuditError: If the audit of the commit's history fails.
        GateError: If the place shows a commit that does not come before this one, or has another site where this one
            has a file.
        UsageError: If the place is not supported, or holds files that are not a site.
        ConflictError: If somebody else publishes at the same time.
        PublishError: If the place cannot be read or written, or a cache cannot be purged; in that case the site is
            published.
        RenderError: If the site cannot be rendered; nothing was published.
    """
    target = _destination(context, destination)
    caches = [open_cache(text, context.environ) for text in dict.fromkeys(invalidate)]
    if not force:
        require_clean(context, commit, since=audited)
    digest = cache(lambda: builder_digest(templates_of(context, commit)))
    prints = context.repository.git.git_dir / _FINGERPRINTS
    known = fingerprints.load(prints, builder=digest(), commit=commit) if prints.exists() else None
    purge = Purge(context, commit, destination, caches)
    with purge.pending(dry_run=dry_run), target.open(keep, dry_run=dry_run) as place:
        there = place.contents
        live = live_commit(there.history)
        _check_ours(target, there, live)
        if live is not None and not force:
            _check_newer(context, target.name, live, commit)
        documents: Collection[str]
        if known is not None and place.holds(known):
            documents, done = known.documents, Changes(len(known.files), [], [])
        else:
            rendering = _render(context, commit, digest)
            documents, done = rendering.documents, place.write(rendering, dry_run=dry_run)
    purged = purge.finish(done, documents, dry_run=dry_run)
    below = there.below.folders
    return Published(commit, live, done.files, done.uploaded, done.deleted, below, there.above, purged)


def _destination(context: Context, destination: str) -> Destination:
    """Return the destination with this address."""
    kind, target = address.parse(destination)
    if kind == "folder":
        return FolderDestination(Path(target), context.repository.folder, context.progress)
    if kind == "branch":
        return BranchDestination(_RemoteBranch(context, target))
    from keyvault.publish.stores import ObjectStore
    from keyvault.publish.upload import StoreDestination
    from keyvault.site.headers import headers

    return StoreDestination(
        ObjectStore(target, context.environ),
        lambda seconds: partial(headers, max_age=timedelta(seconds=seconds)),
        context.progress,
    )


def _check_ours(target: Destination, there: Contents, live: str | None) -> None:
    """Refuse a destination whose files are not a site of ours; *live* is the commit that it shows."""
    # history.json is written first: if it names a commit, an upload of ours has begun here.
    if live is not None or not there.paths or all(marker in there.paths for marker in MARKERS):
        return
    owner = f"; it lies in the site at {elided(there.above)}" if there.above else ""
    raise UsageError(
        f"{target.name} holds files that are not a published site, such as {elided(min(there.paths))[:100]}{owner}",
        code="place-not-a-site",
        hint=target.alternative,
    )


def _check_newer(context: Context, name: str, live: str, commit: Commit) -> None:
    """Refuse to replace the site of *live* by an older site, or an unrelated site."""
    git = context.repository.git
    if git.resolve(live) is None:
        raise GateError(
            f"{name} shows commit {live[:12]}, which is not in this clone: the published site may be newer",
            code="live-commit-unknown",
            hint="git fetch, or use --force if its history was given up",
        )
    if not git.is_ancestor(live, commit):
        raise GateError(
            f"{name} shows commit {live[:12]}, and {commit[:12]} does not come after it",
            code="live-commit-newer",
            hint="publish the head of the branch, or use --force to go back",
        )


# --- the site -------------------------------------------------------------------------------------------


def _render(context: Context, commit: Commit, digest: Callable[[], str]) -> Rendering:
    from keyvault.site.build import discovery, jwk_sets
    from keyvault.site.headers import headers

    state, files = site_files(context, commit)
    max_age = state.policy.site.max_age
    documents = frozenset(path for pairs in (jwk_sets(state), discovery(state)) for path, _ in pairs)
    total = estimated_file_count(state)
    del state  # frees the memory of a large vault while its site is still written
    prints: dict[str, fingerprints.Fingerprint] = {}

    def recorded() -> Iterator[Rendered]:
        yield from fingerprints.recording(report_progress(context, total, files), prints)
        if len(prints) >= MIN_FILES_FOR_STAMP:
            found = fingerprints.Fingerprints(digest(), commit, int(max_age.total_seconds()), documents, prints)
            fingerprints.save(context.repository.git.git_dir / _FINGERPRINTS, found)

    return Rendering(commit, recorded(), documents, partial(headers, max_age=max_age))


# --- a branch -------------------------------------------------------------------------------------------


class _RemoteBranch:
    """A branch of the remote of the vault."""

    def __init__(self, context: Context, name: str) -> None:
        from keyvault.repo.remote import Remote

        self._check_name(context.repository.git, name)
        # The paths of a site start at the top, also if the vault lies in a subfolder.
        self._git: Git = replace(context.repository.git, prefix="")
        self._remote: Remote = Remote.of(self._git, f"refs/heads/{name}")
        self._now = context.now.replace(microsecond=0)
        self._old: Commit | None = None
        self._tree: Tree | None = None

    @staticmethod
    def _check_name(git: Git, name: str) -> None:
        checked = git.run("check-ref-format", "--branch", name, ok=(0, 128)).decode().strip() if name else ""
        if not checked or checked != name:
            raise UsageError(
                f"{quoted(name, 100)} is not a valid branch name", code="branch-invalid", hint="branch:gh-pages"
            )
        if git.run("symbolic-ref", "--quiet", "HEAD", ok=(0, 1)).decode().strip() == f"refs/heads/{name}":
            raise UsageError(f"{name} is the branch of the vault itself", code="branch-invalid", hint="branch:gh-pages")

    @property
    def name(self) -> str:
        return self._remote.name

    @property
    def alternative(self) -> str:
        branch = self._remote.branch.removeprefix("refs/heads/")
        return (
            f"publish to another branch: branch:{branch}-keys\n"
            f"or give up the old one: git push {self._remote.remote} --delete {branch}\n"
            "or leave its files there: --keep GLOB"
        )

    def fetch(self) -> dict[str, str]:
        self._old = self._remote.fetch()
        return {entry.path: entry.oid for entry in self._git.tree(self._old)} if self._old else {}

    def read(self, oid: str) -> bytes:
        return next(self._git.blobs([oid]))

    def write(self, files: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
        tree = self._tree = self._git.write_tree(self._old, files)
        return {entry.path: entry.oid for entry in self._git.tree(tree)}

    def push(self, message: str) -> None:
        assert self._tree is not None  # `write` comes first
        snapshot = self._git.commit_tree(self._tree, [], message, self._now)
        self._remote.replace(snapshot, old=self._old)
