"""
Parse the address of a destination: a folder, ``s3://BUCKET/PREFIX`` and its like, or ``branch:NAME``.

Text that looks like another kind of address, or like a misspelt one, is refused: as the name of a folder, it would
silently create that folder, and the site would go nowhere.
"""

from __future__ import annotations

import os
import re
from typing import Literal, NamedTuple

from keyvault.core.text import elided
from keyvault.errors import UsageError

#: Object stores, by the scheme of their addresses.
STORES = ("s3", "gs", "az")

BRANCH = "branch"

_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_SCP = re.compile(r"\s*[^/\s:]+@[^/\s:]+:")

#: Other names of the same stores, as other tools spell them.
_ALIASES = {
    **dict.fromkeys(("s3a", "s3n"), "s3"),
    "gcs": "gs",
    **dict.fromkeys(("azure", "abfs", "abfss", "wasb", "wasbs"), "az"),
}

_FORMS = "a folder, s3://BUCKET, gs://BUCKET, az://CONTAINER, or branch:NAME"


class Address(NamedTuple):
    """The kind of a destination, and its folder, address of a store, or name of a branch."""

    kind: Literal["folder", "store", "branch"]
    target: str


def parse(destination: str) -> Address:
    """
    Return the address that *destination* spells.

    Raises:
        UsageError: If it is empty, or looks like an unsupported address; the hint has the form that was probably meant.
    """
    if not destination.strip():
        raise UsageError("the destination is empty", code="destination-unsupported", hint=_FORMS)
    if destination in (*STORES, BRANCH):
        raise _unsupported(destination, f"{_form(destination)}; ./{destination} is a folder of that name")
    if _SCP.match(destination):
        raise _unsupported(destination, _GIT_HINT)
    word, slashes, bare = destination.strip().partition("//")
    if slashes and word.lower() in (*STORES, BRANCH, *_ALIASES):
        hint = (
            f"{_hint(word.lower(), bare, destination)}; ./{elided(destination.strip())[:200]} is a folder of that name"
        )
        raise _unsupported(destination, hint)
    found = _SCHEME.match(destination)
    if found is None or (len(found[1]) == 1 and os.name == "nt"):  # a drive, as in C:\www
        return Address("folder", destination)
    scheme, rest = found[1], found[2]
    if destination.startswith(f"{BRANCH}:") and not rest.startswith(("refs/", "//")):
        return Address("branch", rest)
    if scheme in STORES and destination.startswith(f"{scheme}://"):
        return Address("store", destination)
    raise _unsupported(destination, _hint(scheme.lower(), rest.strip(), destination))


def remote_address(folder: str) -> str | None:
    """Return the address of the object store or branch that *folder* looks like, or None if it looks like a folder."""
    found = _SCHEME.match(folder)
    if found is None or found[1].lower() not in (*STORES, BRANCH):
        return None
    return _hint(found[1].lower(), found[2].strip(), folder)


#: A site is pushed to a branch of a remote that the repository already has.
_GIT_HINT = "git remote add origin URL, then publish to branch:NAME"


def _hint(scheme: str, rest: str, destination: str) -> str:
    scheme = _ALIASES.get(scheme, scheme)
    bare = rest.lstrip("/")
    if scheme in STORES:
        return f"{scheme}://{elided(bare)[:200]}" if bare else _form(scheme)
    if scheme == BRANCH:
        name = bare.removeprefix("refs/heads/")
        return f"branch:{elided(name)[:200]}" if name and not name.startswith("refs/") else _form(BRANCH)
    if scheme == "file":
        return f"name the folder: {'/' if rest.startswith('/') else ''}{elided(bare)[:200]}"
    if scheme in ("ssh", "git", "git+ssh", "git+https"):
        return _GIT_HINT
    if rest.startswith("//"):
        return _FORMS
    return f"{_FORMS}; ./{elided(destination.strip())[:200]} is a folder of that name"


def _form(scheme: str) -> str:
    if scheme == BRANCH:
        return "branch:gh-pages"
    return f"{scheme}://{'CONTAINER' if scheme == 'az' else 'BUCKET'}/PREFIX"


def _unsupported(destination: str, hint: str) -> UsageError:
    message = f"unsupported destination: {elided(destination)[:200]}"
    return UsageError(message, code="destination-unsupported", hint=hint)
