"""
Render a large site again: make only what a few commits changed, and take along the rest.

What a page shows of a set depends on that set alone. So where all that changed since a folder was rendered is records
of some sets, the files of all other sets are in that folder as they would be made. Its stamp tells whether they still
are: see `keyvault.publish.stamp`. Whatever is in doubt is made again.

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
from keyvault.core.state import Commit, VaultState
from keyvault.errors import GitError
from keyvault.operations.context import Context
from keyvault.operations.site import TEMPLATES, scratch
from keyvault.publish.destination import HISTORY
from keyvault.publish.folder import Written, is_stamped
from keyvault.publish.stamp import Stamp, Stamps, mark_of
from keyvault.repo.vault import KEYS, is_record_path

if TYPE_CHECKING:
    from keyvault.site.build import File, PreviousSite
    from keyvault.site.pages import Templates

#: A site of fewer files is made anew before its stamp is read.
MIN_FILES_FOR_STAMP = 2_000

#: Where more sets changed than this, all is made anew: git takes only so many paths.
MAX_CHANGED_SETS = 100

_LIBRARIES = ("jinja2", "markupsafe", "msgspec", "icalendar", "cryptography")


class IncrementalRender:
    """
    What of the site of a commit is in a folder already.

    Attributes:
        stamps: Where the stamp of the folder is kept.
        known: That stamp, if it is believed.
    """

    def __init__(self, context: Context, output: Path, commit: Commit, templates: Templates) -> None:
        """
        Args:
            context: The vault.
            output: The folder.
            commit: The commit that is to be rendered.
            templates: The templates.
        """
        self._context, self._output, self._commit, self._templates = context, output, commit, templates
        git = context.repository.git
        digest = cache(lambda: builder_digest(templates))
        self.stamps = Stamps.of(git.git_dir, output, builder=digest, commit=commit, least=MIN_FILES_FOR_STAMP)

    @cached_property
    def known(self) -> Stamp | None:
        """That stamp, if it is believed."""
        return self.stamps.load(self._output)

    def unchanged(self) -> Written | None:
        """Return what became of the folder where it holds the site of this very commit already."""
        if self.known is None or self.known.commit != self._commit or not is_stamped(self._output, self.known):
            return None
        return Written(len(self.known.files), 0)

    def build(self) -> tuple[VaultState, Iterator[File]] | None:
        """Return the state and the files, None in place of the bytes of what is there; or None to make all anew."""
        from keyvault.site.build import build
        from keyvault.site.documents import is_shown

        earlier = self._earlier()
        if earlier is None:
            return None
        repository = self._context.repository
        state = repository.read(self._commit, envelopes=False)
        others = [key for key in state.keys.values() if key.set not in earlier.changed_sets and is_shown(key)]
        if not all(key.kid in earlier.history for key in others):
            return None
        commits = repository.event_commits(self._commit, earlier.changed_sets)
        for key in others:
            events = earlier.history[key.kid].events
            commits[key.path] = tuple((event.commit, 0) if event.commit else None for event in events)
        return state, build(state, commits, self._templates, earlier, scratch=scratch)

    def _earlier(self) -> PreviousSite | None:
        from keyvault.site.build import PreviousSite
        from keyvault.site.documents import read_history

        touched = self._touched()
        if self.known is None or touched is None:
            return None
        history = self._output / HISTORY
        try:
            if mark_of(history.lstat()) != self.known.files.get(HISTORY):
                return None
            return PreviousSite(touched, read_history(history.read_bytes()))
        except (OSError, msgspec.MsgspecError):
            return None

    def _touched(self) -> frozenset[str] | None:
        """Return the sets whose records changed since the stamp, or None where more than records did."""
        git, known = self._context.repository.git, self.known
        if known is None or git.shallow:
            return None
        try:
            # A merge may bring another commit that wrote an event of any key, and an older one.
            if not git.is_linear(known.commit, self._commit):
                return None
            changes = git.changes(known.commit, self._commit)
        except GitError:
            return None
        touched = set()
        for change in changes:
            path = change.path.removeprefix(git.prefix) if change.path.startswith(git.prefix) else ""
            if path == config.FILE or path.startswith(f"{TEMPLATES}/"):
                return None
            if path.startswith(f"{KEYS}/") and is_record_path(path):
                touched.add(path.split("/")[1])
        return frozenset(touched) if len(touched) <= MAX_CHANGED_SETS else None


def builder_digest(templates: Templates) -> str:
    """Return a digest of what a site depends on besides its commit."""
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
