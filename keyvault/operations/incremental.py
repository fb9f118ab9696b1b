"""
Render a large site incrementally: only the files that a few commits changed.

The pages of a set depend on that set alone. If only records of some sets changed since a folder was rendered, the files
of all other sets are in that folder already. Its stamp says whether they are intact, see `keyvault.publish.stamp`. In
any doubt, the whole site is rendered.

Source: docs/adr/0022.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from keyvault import config
from keyvault.core.files import SiteFile
from keyvault.core.state import Commit, VaultState
from keyvault.errors import GitError
from keyvault.operations.context import Context
from keyvault.operations.site import TEMPLATES, scratch
from keyvault.publish.destination import HISTORY
from keyvault.publish.folder import Written, is_stamped
from keyvault.publish.stamp import Stamp, StampFile, mark_of
from keyvault.repo.vault import KEYS, is_record_path

if TYPE_CHECKING:
    from keyvault.site.build import PreviousSite
    from keyvault.site.pages import Templates

#: A site of fewer files is rendered sooner than its stamp is read.
MIN_FILES_FOR_STAMP = 2_000

#: If more sets than this changed, the whole site is rendered: git takes a limited number of paths.
MAX_CHANGED_SETS = 100

_LIBRARIES = ("jinja2", "markupsafe", "msgspec", "icalendar", "cryptography")


class IncrementalRender:
    """
    A render that reuses the files of the previous site in the same folder.

    Attributes:
        stamp_file: The file of the folder's stamp.
    """

    def __init__(self, context: Context, output: Path, commit: Commit, templates: Templates) -> None:
        """
        Args:
            context: The vault.
            output: The folder.
            commit: The commit to render.
            templates: The templates.
        """
        self._context, self._output, self._commit, self._templates = context, output, commit, templates
        git = context.repository.git
        digest = cache(lambda: builder_digest(templates))
        self.stamp_file = StampFile.of(git.git_dir, output, builder=digest, commit=commit, least=MIN_FILES_FOR_STAMP)

    @cached_property
    def previous_stamp(self) -> Stamp | None:
        """The stamp of the previous site, if the same program rendered it into this folder."""
        return self.stamp_file.load(self._output)

    def unchanged(self) -> Written | None:
        """Return the result if the folder has the site of this commit already; else None."""
        stamp = self.previous_stamp
        if stamp is None or stamp.commit != self._commit or not is_stamped(self._output, stamp):
            return None
        return Written(len(stamp.files), 0)

    def build(self) -> tuple[VaultState, Iterator[SiteFile]] | None:
        """Return the state and the files of the site, or None if the whole site must be rendered."""
        from keyvault.site.build import build
        from keyvault.site.documents import is_shown

        previous = self._previous_site()
        if previous is None:
            return None
        repository = self._context.repository
        state = repository.read(self._commit, envelopes=False)
        others = [key for key in state.keys.values() if key.set not in previous.changed_sets and is_shown(key)]
        if not all(key.kid in previous.history for key in others):
            return None
        commits = repository.event_commits(self._commit, previous.changed_sets)
        for key in others:
            events = previous.history[key.kid].events
            # The date is not used for sets that did not change.
            commits[key.path] = tuple((event.commit, 0) if event.commit else None for event in events)
        return state, build(state, commits, self._templates, previous, scratch=scratch)

    def _previous_site(self) -> PreviousSite | None:
        from keyvault.site.build import PreviousSite
        from keyvault.site.documents import read_history

        changed_sets = self._changed_sets()
        if self.previous_stamp is None or changed_sets is None:
            return None
        history = self._output / HISTORY
        try:
            if mark_of(history.lstat()) != self.previous_stamp.files.get(HISTORY):
                return None
            return PreviousSite(changed_sets, read_history(history.read_bytes()))
        except (OSError, msgspec.MsgspecError):
            return None

    def _changed_sets(self) -> frozenset[str] | None:
        """Return the sets whose records changed since the stamp, or None if anything else changed."""
        git, stamp = self._context.repository.git, self.previous_stamp
        if stamp is None or git.shallow:
            return None
        try:
            # A merge may bring another, older commit that wrote an event of any key.
            if not git.is_linear(stamp.commit, self._commit):
                return None
            changes = git.changes(stamp.commit, self._commit)
        except GitError:
            return None
        changed = set()
        for change in changes:
            path = change.path.removeprefix(git.prefix) if change.path.startswith(git.prefix) else ""
            if path == config.FILE or path.startswith(f"{TEMPLATES}/"):
                return None
            if path.startswith(f"{KEYS}/") and is_record_path(path):
                changed.add(path.split("/")[1])
        return frozenset(changed) if len(changed) <= MAX_CHANGED_SETS else None


def builder_digest(templates: Templates) -> str:
    """Return a digest of everything that a site depends on besides its commit: program, libraries, templates."""
    digest = hashlib.sha256()
    package = Path(__file__).resolve().parent.parent
    for path in sorted(package.rglob("*.py")):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    digest.update(f"{platform.python_version()}\n".encode())
    for name in _LIBRARIES:
        digest.update(f"{name} {version(name)}\n".encode())
    for name, data in sorted(templates.files.items()):
        digest.update(name.encode() + b"\0" + hashlib.sha256(data).digest())
    return digest.hexdigest()
