"""
Build links from the site to the pages of a code host.

Sources: the addresses of commits on GitHub, GitLab and Forgejo.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from keyvault.core.policy import SitePolicy


def commit_url(site: SitePolicy, commit: str) -> str | None:
    """
    Return the address of *commit* on the host of ``repo_url``, or None without a ``repo_url``.

    GitHub and Forgejo use ``/commit/``, GitLab ``/-/commit/``; a ``repo_url`` may contain ``{commit}``.
    """
    if site.repo_url is None:
        return None
    if "{commit}" in site.repo_url:
        return site.repo_url.replace("{commit}", commit)
    host = urlsplit(site.repo_url).hostname or ""
    form = "/-/commit/" if host.startswith("gitlab.") or ".gitlab." in host else "/commit/"
    # Users copy the address that git clones from, but pages are at the address without ".git".
    return site.repo_url.removesuffix(".git") + form + commit
