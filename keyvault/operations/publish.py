"""
Bring the site of a commit to where the world reads it: a folder, an object store, a branch.

The site is rendered as a whole before anything is written. What is there is compared by content, and told by its
history.json which commit it shows: a commit that does not come after that one is refused. In an object store
history.json is written first, as the mark of the commit that the place is on its way to, then JWK Sets and
discovery documents, then the rest; deletions come last.

Source: docs/adr/0018.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from keyvault.core.keys import Commit
from keyvault.core.text import elided, quoted
from keyvault.errors import ConflictError, GateError, UsageError
from keyvault.operations.audit import require_clean
from keyvault.operations.context import Context
from keyvault.operations.site import about, counted, site_files
from keyvault.publish.folder import HISTORY, MARKERS, check_output, holds, is_kept, paths_below, write_site

if TYPE_CHECKING:
    from keyvault.publish.stores import ObjectStore

#: A branch that GitHub Pages serves has the name of its domain in this file.
BRANCH_KEEPS = ("CNAME",)

_BRANCH = "branch:"
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@dataclass(frozen=True, slots=True)
class Published:
    """
    What publishing did, or would do.

    Attributes:
        commit: The commit.
        previous: The commit that the place showed before, if it told one.
        files: How many files the site has.
        uploaded: Paths of those that were new or different there.
        deleted: Paths that were there and are not of the site.
    """

    commit: Commit
    previous: str | None
    files: int
    uploaded: list[str]
    deleted: list[str]


@dataclass(frozen=True)
class _Site:
    """
    A rendered site.

    Attributes:
        max_age: How long hosts say that a JWK Set may be kept.
        folder: Where it lies.
        paths: Its files, in the order of writing.
        documents: What of it verifiers read.
    """

    max_age: timedelta
    folder: Path
    paths: list[str]
    documents: frozenset[str]

    def read(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()

    def headers(self, path: str) -> dict[str, str]:
        from keyvault.site.headers import headers

        return headers(path, max_age=self.max_age)


def publish(
    context: Context,
    commit: Commit,
    destination: str,
    *,
    dry_run: bool = False,
    force: bool = False,
    keep: Sequence[str] = (),
    audited: str | None = None,
) -> Published:
    """
    Publish the site of *commit*, once its history is audited.

    Args:
        context: The vault.
        commit: The commit to publish.
        destination: A folder, ``s3://BUCKET/PREFIX``, ``gs://BUCKET/PREFIX``, ``az://CONTAINER/PREFIX``, or
            ``branch:NAME``.
        dry_run: Say what would be done, and do nothing.
        force: Go back behind the commit that the place shows, and past what an audit finds.
        keep: Patterns of paths that are not of the site and stay all the same.
        audited: A commit that is trusted with all its history: only what came after is audited.

    Raises:
        AuditError: The history of the commit holds what must not be.
        GateError: The place shows a commit that does not come before this one.
        UsageError: The place cannot be one, or holds what is not a site.
        ConflictError: Somebody else publishes at the same time.
        PublishError: The place cannot be read or written.
        RenderError: The site cannot be rendered; nothing was published.
    """
    from keyvault.publish.stores import SCHEMES, ObjectStore

    if not force:
        require_clean(context, commit, since=audited)
    scheme = _SCHEME.match(destination)
    if destination.startswith(_BRANCH):
        branch = _branch(context, destination.removeprefix(_BRANCH))
        return _to_branch(context, branch, commit, dry_run=dry_run, force=force, keep=keep)
    if scheme is None:
        return _to_folder(context, Path(destination), commit, dry_run=dry_run, force=force, keep=keep)
    if scheme[1] not in SCHEMES:
        raise UsageError(
            f"{elided(destination)[:200]} is nothing to publish to",
            hint="a folder, s3://BUCKET, gs://BUCKET, az://CONTAINER, or branch:NAME",
        )
    store = ObjectStore(destination, context.environ)
    return _to_store(context, store, commit, dry_run=dry_run, force=force, keep=keep)


def live_commit(history: bytes | None) -> str | None:
    """Return the commit that the history.json of a site names, or None."""
    try:
        document = msgspec.json.decode(history or b"")
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    commit = document.get("commit") if isinstance(document, dict) else None
    return commit if isinstance(commit, str) and _COMMIT.fullmatch(commit) else None


def _as_text(paths: Iterable[str]) -> list[str]:
    """Return *paths* in order, as JSON can have them: the name of a file need not be text."""
    return sorted(path.encode(errors="surrogateescape").decode(errors="backslashreplace") for path in paths)


def _check_gate(context: Context, name: str, live: str | None, commit: Commit, *, force: bool) -> None:
    """Refuse to go back behind *live*."""
    if live is None or force:
        return
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


def _check_ours(name: str, paths: Collection[str], live: str | None, keep: Sequence[str]) -> None:
    """Refuse a place that holds something which is not a site of ours; *live* is the commit that it shows."""
    # history.json is written first: where it names a commit, an upload of ours has begun here.
    ours = live is not None or all(marker in paths for marker in MARKERS)
    if not ours and any(not is_kept(path, keep) for path in paths):
        raise UsageError(
            f"{name} holds files that are not a published site",
            hint="name an empty place, or a prefix of its own below it",
        )


# --- a folder -----------------------------------------------------------------------------------------------


def _to_folder(
    context: Context, output: Path, commit: Commit, *, dry_run: bool, force: bool, keep: Sequence[str]
) -> Published:
    state, files = site_files(context, commit)
    total = about(state)
    del state  # that of a large vault is let go of while its site is still written
    live: str | None = None

    def gate() -> None:
        nonlocal live
        mark = output / HISTORY
        live = live_commit(mark.read_bytes() if mark.is_file() else None)
        _check_gate(context, elided(str(output)), live, commit, force=force)

    paths: set[str] = set()
    uploaded: list[str] = []

    def noted() -> Iterator[tuple[str, bytes]]:
        for path, data in counted(context, total, files):
            paths.add(path)
            if not holds(output / path, data):
                uploaded.append(path)
            yield path, data

    before = set(paths_below(output))
    if dry_run:
        check_output(output, context.repository.folder, keep)
        gate()
        for _ in noted():
            pass
    else:
        write_site(
            noted(),
            output,
            protected=context.repository.folder,
            keep=keep,
            gate=gate,
            served=True,
            progress=context.progress,
        )
    deleted = _as_text(path for path in before - paths if not is_kept(path, keep))
    return Published(commit, live, len(paths), uploaded, deleted)


# --- an object store ----------------------------------------------------------------------------------------


def _render(context: Context, folder: Path, commit: Commit) -> _Site:
    from keyvault.site.build import discovery, jwk_sets

    state, files = site_files(context, commit)
    total, max_age = about(state), state.policy.site.max_age
    documents = [path for pairs in (jwk_sets(state), discovery(state)) for path, _ in pairs]
    del state
    paths: list[str] = []

    def noted() -> Iterator[tuple[str, bytes]]:
        for path, data in counted(context, total, files):
            paths.append(path)
            yield path, data

    write_site(noted(), folder, progress=context.progress)
    return _Site(max_age, folder, paths, frozenset(documents))


def _to_store(
    context: Context, store: ObjectStore, commit: Commit, *, dry_run: bool, force: bool, keep: Sequence[str]
) -> Published:
    from keyvault.publish.stores import Found, Stored, in_parallel

    with tempfile.TemporaryDirectory(prefix="keyvault-") as folder:
        site = _render(context, Path(folder) / "site", commit)
        there = store.listing()
        mark = store.read(HISTORY) if HISTORY in there else None
        live = live_commit(mark.data if mark else None)
        _check_ours(store.name, there, live, keep)
        _check_gate(context, store.name, live, commit, force=force)

        def as_wanted(path: str, found: Found) -> bool:
            wanted = site.headers(path)
            return all(found.headers.get(name) == wanted[name] for name in ("Content-Type", "Cache-Control"))

        # A policy that changed max_age changes the headers of all objects, and the bytes of none.
        fresh = mark is not None and as_wanted(HISTORY, mark)
        seen: dict[str, Stored] = dict(there)

        def differs(path: str) -> bool:
            if path not in there:
                return True
            data = site.read(path)
            if path in site.documents:  # what counts is looked at as it is, not by what the listing says
                found = store.read(path)
                if found is None:
                    seen.pop(path)
                    return True
                seen[path] = found.stored
                return found.data != data or not as_wanted(path, found)
            return not fresh or not store.holds(path, there[path], data)

        total = len(site.paths)
        changed = []
        for done, (path, different) in enumerate(zip(site.paths, in_parallel(differs, site.paths), strict=True), 1):
            context.progress("comparing", done, total)
            if different:
                changed.append(path)
        ordered = [path for phase in _phases(site, changed) for path in phase]
        deleted = sorted(path for path in there.keys() - set(site.paths) if not is_kept(path, keep))
        published = Published(commit, live, total, ordered, deleted)
        if dry_run:
            return published

        def upload(path: str) -> None:
            store.write(path, site.read(path), site.headers(path), over=seen.get(path))

        done = 0
        for phase in _phases(site, changed):
            for _ in in_parallel(upload, phase):
                done += 1
                context.progress("uploading", done, len(ordered))
        if ordered or deleted:
            last = store.read(HISTORY)
            if last is None or live_commit(last.data) != commit:
                raise ConflictError(
                    f"{store.name} is being published by somebody else", hint="run publish again, at the newest commit"
                )
        store.delete(deleted)
        return published


def _phases(site: _Site, changed: Iterable[str]) -> list[list[str]]:
    """Return *changed* as groups, each of which is written when the one before is there as a whole."""
    groups: list[list[str]] = [[], [], [], []]
    for path in changed:
        if path == HISTORY:
            groups[0].append(path)
        elif path in site.documents:
            groups[1].append(path)
        elif path.startswith("assets/"):  # a page without its style is half a page
            groups[2].append(path)
        else:
            groups[3].append(path)
    return groups


# --- a branch -----------------------------------------------------------------------------------------------


def _branch(context: Context, name: str) -> str:
    git = context.repository.git
    checked = git.run("check-ref-format", "--branch", name, ok=(0, 128)).decode().strip() if name else ""
    if not checked or checked != name:
        raise UsageError(f"{quoted(name, 100)} cannot be the name of a branch", hint="branch:gh-pages")
    if git.run("symbolic-ref", "--quiet", "HEAD", ok=(0, 1)).decode().strip() == f"refs/heads/{name}":
        raise UsageError(f"{name} is the branch of the vault itself", hint="branch:gh-pages")
    return name


def _to_branch(
    context: Context, name: str, commit: Commit, *, dry_run: bool, force: bool, keep: Sequence[str]
) -> Published:
    from keyvault.repo.remote import Remote

    keep = (*BRANCH_KEEPS, *keep)
    # A site has no folder of a vault: its paths count from the top.
    git = replace(context.repository.git, prefix="")
    state, files = site_files(context, commit)
    total = about(state)
    del state
    remote = Remote.of(git, f"refs/heads/{name}")
    old = remote.fetch()
    entries = {entry.path: entry for entry in git.tree(old)} if old else {}
    history = entries.get(HISTORY)
    live = live_commit(next(git.blobs([history.oid])) if history else None)
    _check_ours(remote.name, entries, live, keep)
    _check_gate(context, remote.name, live, commit, force=force)
    site: dict[str, None] = {}

    def changed() -> Iterator[tuple[str, bytes | None]]:
        for path, data in counted(context, total, files):
            site[path] = None
            yield path, data
        yield from ((path, None) for path in entries if path not in site and not is_kept(path, keep))

    # Begun on the branch as it is, so that what stays is neither read nor written again.
    tree = git.write_tree(old, changed())
    written = {entry.path: entry.oid for entry in git.tree(tree)}
    uploaded = [path for path in site if path not in entries or entries[path].oid != written[path]]
    deleted = _as_text(path for path in entries if path not in written)
    published = Published(commit, live, len(site), uploaded, deleted)
    if not dry_run and (uploaded or deleted):
        # One commit without a parent: the history of a site is that of the vault.
        snapshot = git.commit_tree(tree, [], f"Publish {commit}\n", context.now.replace(microsecond=0))
        remote.replace(snapshot, old=old)
    return published
