"""
Publish the site of a commit to the place where the world reads it: a folder, an object store, a branch.

The site is rendered as a whole before anything is written. The files of the place are compared by content, and its
history.json names the commit that it shows: a commit that does not come after that one is refused.

Sources: docs/publishing.md; docs/adr/0018.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from keyvault.core.state import Commit
from keyvault.core.text import elided, quoted
from keyvault.errors import GateError, UsageError
from keyvault.operations.audit import require_clean
from keyvault.operations.context import Context
from keyvault.operations.incremental import MIN_FILES_FOR_STAMP, maker
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
    Site,
    live_commit,
)
from keyvault.publish.folder import Folder
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
    What publishing did, or would do.

    Attributes:
        commit: The commit.
        previous: The commit that the place showed before, if it named one.
        files: How many files the site has.
        uploaded: Paths of those that were new or different there.
        deleted: Paths that were there and are not part of the site.
        sites_below: Folders of the place that are sites of their own, and stay.
        site_above: The site that the place lies in, or None.
        purged: URLs that were purged from the caches in front of the place.
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
        force: Publish even if the live commit is newer or the audit fails.
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
    place = _place(context, destination)
    caches = [open_cache(text, context.environ) for text in dict.fromkeys(invalidate)]
    if not force:
        require_clean(context, commit, since=audited)
    live: str | None = None

    def gate(there: Contents) -> None:
        nonlocal live
        live = live_commit(there.history)
        _check_ours(place, there, live)
        if live is not None and not force:
            _check_newer(context, place.name, live, commit)

    site = _site(context, commit)
    purge = Purge(context, commit, destination, caches)
    with purge.pending(dry_run=dry_run):
        done: Changes = place.put(site, gate, keep=keep, dry_run=dry_run)
    purged = purge.finish(done, dry_run=dry_run)
    return Published(commit, live, done.files, done.uploaded, done.deleted, done.sites_below, done.site_above, purged)


def _place(context: Context, destination: str) -> Destination:
    """Return the place that *destination* names."""
    kind, target = address.parse(destination)
    if kind == "folder":
        return Folder(Path(target), context.repository.folder, context.progress)
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


def _check_ours(place: Destination, there: Contents, live: str | None) -> None:
    """Refuse a place that holds something which is not a site of ours; *live* is the commit that it shows."""
    # history.json is written first: if it names a commit, an upload of ours has begun here.
    if live is not None or not there.paths or all(marker in there.paths for marker in MARKERS):
        return
    owner = f"; it lies in the site at {elided(there.above)}" if there.above else ""
    raise UsageError(
        f"{place.name} holds files that are not a published site, such as {elided(min(there.paths))[:100]}{owner}",
        hint=place.alternative,
    )


def _check_newer(context: Context, name: str, live: str, commit: Commit) -> None:
    """Refuse to go back behind *live*."""
    git = context.repository.git
    if git.resolve(live) is None:
        raise GateError(
            f"{name} shows commit {live[:12]}, which is not in this clone: what is published may be newer",
            hint="git fetch, or use --force if its history was given up",
        )
    if not git.is_ancestor(live, commit):
        raise GateError(
            f"{name} shows commit {live[:12]}, and {commit[:12]} does not come after it",
            hint="publish the head of the branch, or use --force to go back",
        )


# --- the site -------------------------------------------------------------------------------------------


def _site(context: Context, commit: Commit) -> Site:
    """Return the site of *commit*; of a large site, with its fingerprints if it was rendered before."""
    file = context.repository.git.git_dir / _FINGERPRINTS
    digest = cache(lambda: maker(templates_of(context, commit)))
    known = fingerprints.load(file, maker=digest(), commit=commit) if file.exists() else None
    return Site(commit, known, partial(_render, context, commit, digest))


def _render(context: Context, commit: Commit, digest: Callable[[], str]) -> Rendering:
    from keyvault.site.build import discovery, jwk_sets
    from keyvault.site.headers import headers

    state, files = site_files(context, commit)
    max_age = state.policy.site.max_age
    documents = frozenset(path for pairs in (jwk_sets(state), discovery(state)) for path, _ in pairs)
    total = estimated_file_count(state)
    del state  # that of a large vault is dropped while its site is still written
    prints: dict[str, fingerprints.Fingerprint] = {}

    def noted() -> Iterator[tuple[str, bytes]]:
        yield from fingerprints.noting(report_progress(context, total, files), prints)
        if len(prints) >= MIN_FILES_FOR_STAMP:
            found = fingerprints.Fingerprints(digest(), commit, int(max_age.total_seconds()), documents, prints)
            fingerprints.save(context.repository.git.git_dir / _FINGERPRINTS, found)

    return Rendering(noted(), documents, partial(headers, max_age=max_age))


# --- a branch -------------------------------------------------------------------------------------------


class _RemoteBranch:
    """A branch of the remote of the vault."""

    def __init__(self, context: Context, name: str) -> None:
        from keyvault.repo.remote import Remote

        self._check_name(context.repository.git, name)
        # A site has no folder of a vault: its paths count from the top.
        self._git: Git = replace(context.repository.git, prefix="")
        self._remote: Remote = Remote.of(self._git, f"refs/heads/{name}")
        self._now = context.now.replace(microsecond=0)
        self._old: Commit | None = None
        self._tree: Tree | None = None

    @staticmethod
    def _check_name(git: Git, name: str) -> None:
        checked = git.run("check-ref-format", "--branch", name, ok=(0, 128)).decode().strip() if name else ""
        if not checked or checked != name:
            raise UsageError(f"{quoted(name, 100)} cannot be the name of a branch", hint="branch:gh-pages")
        if git.run("symbolic-ref", "--quiet", "HEAD", ok=(0, 1)).decode().strip() == f"refs/heads/{name}":
            raise UsageError(f"{name} is the branch of the vault itself", hint="branch:gh-pages")

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
