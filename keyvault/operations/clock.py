"""
Compare the clock of this machine with the world before an event is written.

An event cannot be taken back, and no later one may be older: one run with a clock that is a year ahead would close a
vault for a year. A vault that was changed within the last day is evidence enough. Otherwise the host of the site is
asked for the time; if it cannot be asked, the command goes on.

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

#: How far a clock may be from that of the host.
TOLERANCE = timedelta(days=1)


def check_clock(context: Context, state: VaultState, *, behind: bool = False) -> bool:
    """
    Check that the instant of the command is not far from what the host of the site says; return whether that is sure.

    Args:
        context: The vault.
        state: Its state; its newest event is known to have happened.
        behind: Whether a clock that is behind is refused too: a repair dates later events back to it.

    Raises:
        GateError: If the clock is wrong by more than a day.
    """
    newest = max((key.life.newest_at for key in state.keys.values()), default=None)
    if newest is None or (newest <= context.now <= newest + TOLERANCE):
        return True
    if not behind and context.now < newest:
        return False  # planners refuse that, and know by how much a set lets clocks differ
    url = state.policy.site.url
    date = _server_date(context, url + "/history.json")
    if date is None:
        logger.info("the clock could not be compared with that of %s", url)
    elif context.now - date > TOLERANCE or (behind and date - context.now > TOLERANCE):
        raise GateError(
            f"the clock of this machine says {format_instant(context.now)}, and {url} says {format_instant(date)}",
            hint="set the clock; keyvault revoke, rollback and rotate --force --reason TEXT go on all the same",
        )
    return date is not None


def _server_date(context: Context, url: str) -> datetime | None:
    if context.server_date is not None:
        return context.server_date(url)
    if context.look is not None:
        return None  # a program that stands in for all hosts
    from keyvault.publish.live import server_date

    return server_date(url)
