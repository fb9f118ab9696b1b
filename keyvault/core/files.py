"""The files of a site, as values: rendered, or unchanged since the site was rendered before."""

from __future__ import annotations

from typing import NamedTuple


class Rendered(NamedTuple):
    """
    A file of a site with its content.

    Attributes:
        path: Its path below the root of the site.
        data: Its bytes.
    """

    path: str
    data: bytes


class Unchanged(NamedTuple):
    """
    A file of a site that has the bytes of the previous site.

    Attributes:
        path: Its path below the root of the site.
    """

    path: str


#: A file of a site that is rendered in full or in part.
SiteFile = Rendered | Unchanged
