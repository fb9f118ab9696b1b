"""
Check the clock of this machine before an event is written.

An event cannot be undone, and no later event may be older: a single run with a clock that is a year ahead would block
a vault for a year. If the vault changed within the last day, its newest event confirms the clock. Otherwise the clock
is compared with the Date header of the site's host; if that cannot be fetched, the command goes on.

Source: RFC 9110 section 6.6.1 (Date); docs/adr/0029.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from keyvault.core.state import VaultState
from keyvault.core.text import format_instant
from keyvault.errors import GateError
from keyvault.logs import get_logger
from keyvault.operations.context import Context

logger = get_logger(__name__)

#: How far the clock may differ from that of the host.
TOLERANCE = timedelta(days=1)


def check_clock(context: Context, state: VaultState, *, behind: bool = False) -> bool:
    """
    Check the instant of the command against the clock of the site's host, and return whether it was confirmed.

    Args:
        context: The vault.
        state: Its state; its newest event is known to have happened.
        behind: Whether to refuse a clock that is behind, too: a repair dates later events back to it.

    Raises:
        GateError: If the clock is wrong by more than a day.
    """
    newest = max((key.life.newest_at for key in state.keys.values()), default=None)
    if newest is None or (newest <= context.now <= newest + TOLERANCE):
        return True
    if not behind and context.now < newest:
        return False  # planners refuse this, and know the clock_skew of each set
    url = state.policy.site.url
    date = _server_date(context, url + "/history.json")
    if date is None:
        logger.info("the clock could not be compared with that of %s", url)
    elif context.now - date > TOLERANCE or (behind and date - context.now > TOLERANCE):
        raise GateError(
            f"the clock of this machine says {format_instant(context.now)}, but {url} says {format_instant(date)}",
            code="clock-wrong",
            hint="set the clock; keyvault revoke, rollback and rotate --force --reason TEXT run anyway",
        )
    return date is not None


def _server_date(context: Context, url: str) -> datetime | None:
    if context.server_date is not None:
        return context.server_date(url)
    if context.fetch_key_ids is not None:
        return None  # a substitute for all hosts, which has no clock
    from keyvault.publish.live import server_date

    return server_date(url)
