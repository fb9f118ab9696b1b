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

#: How many requests are under way at once: a host is looked at, not tried.
PARALLEL = 8
#: Seconds between two looks while waiting; each is longer than the one before.
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 20.0

_COMMIT = re.compile(rb'^  "commit": "([0-9a-f]{40}(?:[0-9a-f]{24})?)"', re.MULTILINE)
#: The commit stands at the beginning of history.json, behind title and url.
_HISTORY_MOST = 64 * 1024


@dataclass(frozen=True, slots=True)
class Checked:
    """
    What a check saw.

    Attributes:
        commit: What was compared with.
        live: The commit that the site says it shows, or None.
        url: Where the site was looked at.
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
        """What is not as the commit says; a warning is of what the host decides."""
        return [one for one in self.findings if one.level == "error"]


@dataclass(frozen=True, slots=True)
class _Place:
    """A document that should be served: its URL, what it should be, and how to compare."""

    url: str
    wanted: bytes
    is_set: bool


def check(
    context: Context,
    commit: Commit,
    url: str | None = None,
    *,
    wait: timedelta = timedelta(0),
    grace: timedelta = timedelta(days=2),
    on_wait: Callable[[Checked, float], None] = lambda checked, pause: None,
) -> Checked:
    """
    Compare what is served at *url* with the site of *commit*.

    Args:
        context: The vault.
        commit: The commit to compare with.
        url: Below the site's own url: only what lies there. Elsewhere: where the whole site is looked for.
        wait: How long to look again while something differs.
        grace: How late something may be before it counts as overdue.
        on_wait: Told before each pause what was seen, and how many seconds the pause takes.
    """
    state = context.state(commit, envelopes=False)
    base, places = _places(state, url)
    deadline, pause = time.monotonic() + wait.total_seconds(), FIRST_PAUSE
    while True:
        shown, findings = _look(context, state, base, places)
        late = [Drift("overdue", line) for line in overdue(state, context.now, grace=grace)]
        checked = Checked(commit, shown, base, len(places), [*findings, *late])
        remaining = deadline - time.monotonic()
        # No deploy mends what is overdue, which is so because of the vault, nor what the host decides.
        if all(one.level == "warning" for one in findings) or remaining <= 0:
            return checked
        pause = min(pause, remaining)
        on_wait(checked, pause)
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)


def _places(state: VaultState, url: str | None) -> tuple[str, list[_Place]]:
    """Return where the site is looked at, and every document there."""
    own = state.policy.site.url
    wanted = (url or own).rstrip("/")
    try:
        live.check_address(wanted)
    except LiveError as error:
        raise UsageError(error.message, hint=f"an https URL, such as {own}") from None
    if "@" in wanted:  # nobody sends it, and it would stand in every finding
        raise UsageError(f"{elided(wanted)[:200]} has a user in it", hint=f"an https URL, such as {own}")
    base = own if (wanted + "/").startswith(own + "/") else wanted
    documents = [(path, data, True) for path, data in jwk_sets(state)]
    documents += [(path, data, False) for path, data in discovery(state)]
    places = [_Place(f"{base}/{path}", data, is_set) for path, data, is_set in documents]
    narrowed = [place for place in places if place.url == wanted or place.url.startswith(wanted + "/")]
    if not narrowed and places:
        raise LiveError(
            f"nothing is published below {wanted}",
            code="refused",
            hint="one of " + ", ".join(own + place for place in list(state.places)[:5]),
        )
    return base, narrowed


def _look(context: Context, state: VaultState, base: str, places: list[_Place]) -> tuple[str | None, list[Drift]]:
    """Return the live commit, and all that differs."""
    commit, findings, answers = None, [], True
    try:
        commit, found = _history(context, state, f"{base}/{HISTORY}")
        findings += found
        findings += _page(f"{base}/")
    except LiveError as error:
        findings.append(_failure(error, f"{base}/{HISTORY}"))
        answers = error.code not in ("unreachable", "tls", "refused")
    if answers:
        with ThreadPoolExecutor(PARALLEL) as pool:
            compared = pool.map(lambda place: list(_compare(context, state, place)), places)
            for done, some in enumerate(compared, 1):
                context.progress("looking", done, len(places))
                findings += some
    return commit, _once(findings)


def _once(findings: list[Drift]) -> list[Drift]:
    """Return *findings*; what is of the host as a whole is said once."""
    said: set[str] = set()
    kept = []
    for one in findings:
        if one.code in ("unreachable", "tls", "tls-expiring"):
            if one.code in said:
                continue
            said.add(one.code)
        kept.append(one)
    return kept


def _failure(error: LiveError, url: str) -> Drift:
    return Drift(error.code, error.message.removeprefix(f"{url} "), url)


def _compare(context: Context, state: VaultState, place: _Place) -> Iterator[Drift]:
    try:
        answer = live.request(place.url)
    except LiveError as error:
        yield _failure(error, place.url)
        return
    yield from response_drift(
        place.url,
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
    if place.is_set:
        yield from set_drift(place.url, state, place.wanted, answer.body)
    else:
        yield from discovery_drift(place.url, place.wanted, answer.body)


def _history(context: Context, state: VaultState, url: str) -> tuple[str | None, list[Drift]]:
    """Return the commit that history.json names, and what that says."""
    answer = live.request(url, max_bytes=_HISTORY_MOST)
    match = _COMMIT.search(answer.body) if answer.status == 200 else None
    if match is None:
        said = f"answers with status {answer.status}" if answer.status != 200 else "names no commit"
        return None, [Drift("page-missing", said, url)]
    commit, git = match[1].decode(), context.repository.git
    if commit == state.commit:
        return commit, []
    short, own = commit[:12], state.commit[:12]
    if git.resolve(commit) is None:
        return commit, [Drift("commit-unknown", f"shows commit {short}, which is not in this clone: git fetch", url)]
    if git.is_ancestor(commit, state.commit):
        return commit, [Drift("stale", f"shows commit {short}, not {own} yet", url)]
    return commit, [Drift("ahead", f"shows commit {short}, which does not lead to {own}: git pull", url)]


def _page(url: str) -> list[Drift]:
    answer = live.request(url)
    if answer.status != 200:
        return [Drift("page-missing", f"answers with status {answer.status}", url)]
    return []
