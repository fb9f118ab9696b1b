"""
Compare the live site with a commit.

Source: docs/check.md.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from keyvault.core.drift import Drift, discovery_drift, response_drift, set_drift
from keyvault.core.outlook import overdue
from keyvault.core.state import Commit, VaultState
from keyvault.core.text import elided
from keyvault.errors import LiveError, UsageError
from keyvault.operations.context import Context
from keyvault.publish import live
from keyvault.publish.destination import HISTORY
from keyvault.site.build import discovery, jwk_sets

#: Parallel requests: few enough not to put a load on a host.
PARALLEL = 8
#: Seconds between two attempts while waiting; each pause is longer than the last.
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 20.0

_COMMIT = re.compile(rb'^  "commit": "([0-9a-f]{40}(?:[0-9a-f]{24})?)"', re.MULTILINE)
#: history.json has its commit at the beginning, after title and url.
_HISTORY_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class CheckResult:
    """
    The result of a check.

    Attributes:
        commit: The commit that the site was compared with.
        live: The commit that the site shows, or None if it names none.
        url: The base URL of the site.
        documents: How many JWK Sets and discovery documents were compared.
        findings: Every difference, and warnings.
    """

    commit: str
    live: str | None
    url: str
    documents: int
    findings: list[Drift]

    @property
    def errors(self) -> list[Drift]:
        """Differences from the commit; warnings concern settings of the host."""
        return [finding for finding in self.findings if finding.level == "error"]


@dataclass(frozen=True, slots=True)
class _Document:
    """A document that should be served: its URL, its expected content, and whether it is a JWK Set."""

    url: str
    expected: bytes
    is_set: bool


def check(
    context: Context,
    commit: Commit,
    url: str | None = None,
    *,
    wait: timedelta = timedelta(0),
    grace: timedelta = timedelta(days=2),
    on_wait: Callable[[CheckResult, float], None] = lambda result, pause: None,
) -> CheckResult:
    """
    Compare the live site at *url* with the site of *commit*.

    Args:
        context: The vault.
        commit: The commit to compare with.
        url: A URL below the site's own url limits the check to documents there. Any other URL is taken as the base
            URL of the whole site.
        wait: How long to retry while something differs.
        grace: Grace period before a transition counts as overdue.
        on_wait: Called before each pause with the result so far and the seconds of the pause.

    Raises:
        UsageError: If *url* is invalid.
        LiveError: If nothing is published below *url*.
    """
    state = context.state(commit, envelopes=False)
    base, documents = _documents(state, url)
    deadline, pause = time.monotonic() + wait.total_seconds(), FIRST_PAUSE
    while True:
        shown, findings = _fetch_and_compare(context, state, base, documents)
        late = [Drift("overdue", line) for line in overdue(state, context.now, grace=grace)]
        result = CheckResult(commit, shown, base, len(documents), [*findings, *late])
        remaining = deadline - time.monotonic()
        # Waiting for a deploy changes neither overdue transitions, which depend on the vault, nor settings of the host.
        if all(finding.level == "warning" for finding in findings) or remaining <= 0:
            return result
        pause = min(pause, remaining)
        on_wait(result, pause)
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)


def _documents(state: VaultState, url: str | None) -> tuple[str, list[_Document]]:
    """Return the base URL of the site, and every document that should be served at or below *url*."""
    own = state.policy.site.url
    wanted = (url or own).rstrip("/")
    try:
        live.check_address(wanted)
    except LiveError as error:
        raise UsageError(error.message, code=error.code, hint=f"an https URL, such as {own}") from None
    if "@" in wanted:  # requests would not send it, and every finding would show it
        raise UsageError(
            f"{elided(wanted)[:200]} must not contain a user name",
            code="url-invalid",
            hint=f"an https URL, such as {own}",
        )
    base = own if (wanted + "/").startswith(own + "/") else wanted
    documents = [_Document(f"{base}/{path}", data, is_set=True) for path, data in jwk_sets(state)]
    documents += [_Document(f"{base}/{path}", data, is_set=False) for path, data in discovery(state)]
    selected = [document for document in documents if (document.url + "/").startswith(wanted + "/")]
    if not selected and documents:
        raise LiveError(
            f"nothing is published below {wanted}",
            code="refused",
            hint="one of " + ", ".join(own + place for place in list(state.places)[:5]),
        )
    return base, selected


def _fetch_and_compare(
    context: Context, state: VaultState, base: str, documents: list[_Document]
) -> tuple[str | None, list[Drift]]:
    """Return the live commit, and all differences."""
    commit, findings, answers = None, [], True
    try:
        commit, found = _check_history(context, state, f"{base}/{HISTORY}")
        findings += found
        findings += _check_page(f"{base}/")
    except LiveError as error:
        findings.append(_failure(error, f"{base}/{HISTORY}"))
        answers = error.code not in ("unreachable", "tls", "refused")
    if answers:
        with ThreadPoolExecutor(PARALLEL) as pool:
            compared = pool.map(lambda document: list(_compare(context, state, document)), documents)
            for done, differences in enumerate(compared, 1):
                context.progress("fetching", done, len(documents))
                findings += differences
    return commit, _without_repeats(findings)


def _without_repeats(findings: list[Drift]) -> list[Drift]:
    """Return *findings*, with each finding about the host as a whole only once."""
    seen: set[str] = set()
    kept = []
    for finding in findings:
        if finding.code in ("unreachable", "tls", "tls-expiring"):
            if finding.code in seen:
                continue
            seen.add(finding.code)
        kept.append(finding)
    return kept


def _failure(error: LiveError, url: str) -> Drift:
    return Drift(error.code, error.message.removeprefix(f"{url} "), url)


def _compare(context: Context, state: VaultState, document: _Document) -> Iterator[Drift]:
    try:
        answer = live.request(document.url)
    except LiveError as error:
        yield _failure(error, document.url)
        return
    yield from response_drift(
        document.url,
        answer.headers,
        status=answer.status,
        redirects=answer.redirects,
        complete=answer.complete,
        expires=answer.certificate_expires_at,
        now=context.now,
        max_age=state.policy.site.max_age,
    )
    if answer.status != 200 or not answer.complete or "content-encoding" in answer.headers:
        return
    if document.is_set:
        yield from set_drift(document.url, state, document.expected, answer.body)
    else:
        yield from discovery_drift(document.url, document.expected, answer.body)


def _check_history(context: Context, state: VaultState, url: str) -> tuple[str | None, list[Drift]]:
    """Return the commit that history.json names, and findings about it."""
    answer = live.request(url, max_bytes=_HISTORY_MAX)
    match = _COMMIT.search(answer.body) if answer.status == 200 else None
    if match is None:
        message = f"answers with status {answer.status}" if answer.status != 200 else "names no commit"
        return None, [Drift("page-missing", message, url)]
    commit, git = match[1].decode(), context.repository.git
    if commit == state.commit:
        return commit, []
    short, own = commit[:12], state.commit[:12]
    if git.resolve(commit) is None:
        return commit, [Drift("commit-unknown", f"shows commit {short}, which is not in this clone: git fetch", url)]
    if git.is_ancestor(commit, state.commit):
        return commit, [Drift("stale", f"shows commit {short}, not {own} yet", url)]
    return commit, [Drift("ahead", f"shows commit {short}, which does not lead to {own}: git pull", url)]


def _check_page(url: str) -> list[Drift]:
    answer = live.request(url)
    if answer.status != 200:
        return [Drift("page-missing", f"answers with status {answer.status}", url)]
    return []
