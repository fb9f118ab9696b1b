"""Operations on the commit of a revision, which is resolved once, as the command line resolves it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keyvault.core.state import VaultState
from keyvault.operations import audit as _audit
from keyvault.operations import check as _check
from keyvault.operations import diff as _difference
from keyvault.operations import publish as _publish
from keyvault.operations import render as _render
from keyvault.operations import site as _site
from keyvault.operations.context import Context
from keyvault.publish.folder import Written
from keyvault.repo.audit import Audit


def site_files(
    context: Context, *, revision: str = "HEAD", **options: Any
) -> tuple[VaultState, Iterator[tuple[str, bytes]]]:
    return _site.site_files(context, context.repository.head(revision), **options)


def render(context: Context, output: Path, *, revision: str = "HEAD", **options: Any) -> Written:
    return _render.render(context, context.repository.head(revision), output, **options)


def publish(context: Context, destination: str, *, revision: str = "HEAD", **options: Any) -> _publish.Published:
    return _publish.publish(context, context.repository.head(revision), destination, **options)


def check(context: Context, url: str | None = None, *, revision: str = "HEAD", **options: Any) -> _check.CheckResult:
    return _check.check(context, context.repository.head(revision), url, **options)


def audit(context: Context, *, revision: str = "HEAD", **options: Any) -> Audit:
    return _audit.audit(context, context.repository.head(revision), **options)


def difference(context: Context, base: str, head: str = "HEAD") -> _difference.Difference:
    return _difference.difference(context, context.repository.head(base), context.repository.head(head))
