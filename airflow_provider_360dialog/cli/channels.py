"""``dialog360 channels``: what each number may do now, and what it has. Asks 360dialog only with ``--health``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO

from airflow_provider_360dialog.cli.page import Page, cell, cells
from airflow_provider_360dialog.cli.progress import told_line
from airflow_provider_360dialog.cli.run import Result
from airflow_provider_360dialog.cli.words import how_many, moment, number_ending, when
from airflow_provider_360dialog.hooks.ledger import ledger_store
from airflow_provider_360dialog.ledger.bounded import total
from airflow_provider_360dialog.ledger.overview import Overview
from airflow_provider_360dialog.ledger.rejects import without_persons

if TYPE_CHECKING:
    from argparse import Namespace

    from airflow_provider_360dialog.cli.checks import Check
    from airflow_provider_360dialog.ledger.bounded import Count
    from airflow_provider_360dialog.ledger.views import ChannelOverview, ConnectionOverview

SOON_DAYS: Final = 7
_PAGE: Final = 100
_COLOURS: Final = {"ok": "green", "warn": "yellow", "FAIL": "bold red"}


def channels(args: Namespace, out: TextIO) -> Result:
    """All of them."""
    store = ledger_store().open_existing()
    found = list(_all(Overview(store)))
    now = store.read_now().timestamp()
    health = _ask(found) if args.health else {}
    is_well = not any(each.frozen_because or each.closed_until or _refused(each) for each in found)
    is_well = is_well and not any(check.level == "FAIL" for check in health.values())
    return Result(_text(found, health, now, out), {"channels": [_told(each, health) for each in found]}, ok=is_well)


def dying_soon(each: ChannelOverview) -> Count:
    """Ids of a channel that stop being safe within a week."""
    return total(each.dying[:SOON_DAYS])


def _all(overview: Overview) -> Iterator[ChannelOverview]:
    after = None
    while True:
        page = overview.channels(after, _PAGE)
        yield from page.rows
        if page.after is None:
            return
        after = page.after


def _ask(found: Sequence[ChannelOverview]) -> dict[str, Check]:
    """What 360dialog says of the key of each connection."""
    from airflow_provider_360dialog.cli.channel_checks import check_key

    conn_ids = sorted({connection.conn_id for each in found for connection in each.connections})
    checks = {}
    with told_line("Asking for the health of keys") as tell:
        for at, conn_id in enumerate(conn_ids, start=1):
            tell(f"Asking for the health of keys: {at:,} of {len(conn_ids):,}")
            checks[conn_id] = check_key(conn_id)
    return checks


# --- for programs -------------------------------------------------------------------------------------------------


def _told(each: ChannelOverview, health: dict[str, Check]) -> dict[str, Any]:
    soon = dying_soon(each)
    told: dict[str, Any] = {
        "number_ends_in": each.ends_in,
        "conn_ids": [connection.conn_id for connection in each.connections],
        "frozen_because": each.frozen_because,
        "key_refused": [
            {"conn_id": one.conn_id, "at": moment(one.key_refused_at), "status": one.key_refused_status} for one in _refused(each)
        ],
        "pace_per_s": round(each.pace_per_s, 2),
        "line_per_s": round(each.line_per_s, 2),
        "paused_until": moment(each.paused_until),
        "error_budget": each.credits,
        "error_budget_left": each.credits_left,
        "blocked": each.is_blocked,
        "closed_until": moment(each.closed_until),
        "live": each.live.number,
        "dying_within_7_days": soon.number,
        "not_exact": {name: count.sure for name, count in _unsure(each.live, soon)},
    }
    if health:
        checks = [health[conn_id] for conn_id in told["conn_ids"]]
        told["health"] = [
            {"conn_id": check.conn_id, "level": check.level, "message": without_persons(check.message), "remedy": check.remedy}
            for check in checks
        ]
    return told


def _refused(each: ChannelOverview) -> list[ConnectionOverview]:
    """Its connections whose key does not work."""
    return [one for one in each.connections if one.key_refused_at is not None]


def _unsure(live: Count, soon: Count) -> Iterator[tuple[str, Count]]:
    return ((name, count) for name, count in (("live", live), ("dying_within_7_days", soon)) if count.sure != "exact")


# --- for people ---------------------------------------------------------------------------------------------------


def _text(found: Sequence[ChannelOverview], health: dict[str, Check], now: float, out: TextIO) -> str:
    page = Page(out)
    if not found:
        page.say("No channel is on record yet.")
        return page.text()
    head = ["number", "connections", "pace/s", "line/s", "budget left", "downloads", "live ids", "end in a week"]
    page.table(head, [_row(each, now) for each in found])
    for each in found:
        if each.frozen_because:
            page.blank()
            page.say(f"{number_ending(each.ends_in)} is frozen: {each.frozen_because}.", "bold red")
        for one in _refused(each):
            page.blank()
            told = f"refused the key of {one.conn_id} (HTTP {one.key_refused_status}) at {when(one.key_refused_at or now, now)}"
            page.say(f"{number_ending(each.ends_in)}: 360dialog {told}, and has accepted nothing since.", "bold red")
        if each.paused_until:
            page.blank()
            page.say(f"{number_ending(each.ends_in)}: no upload before {when(each.paused_until, now)}.", "yellow")
    if health:
        page.blank()
    for check in health.values():
        page.say(f"{check.level:<4}  {check.conn_id}: {without_persons(check.message)}", _COLOURS[check.level])
        if check.remedy:
            page.say(f"      -> {check.remedy}")
    return page.text()


def _row(each: ChannelOverview, now: float) -> list[Any]:
    names = ", ".join(connection.conn_id for connection in each.connections)
    soon = dying_soon(each)
    return [
        *cells(number_ending(each.ends_in), names or "-", f"{each.pace_per_s:.1f}", f"{each.line_per_s:.1f}"),
        cell(f"{each.credits_left} of {each.credits}", "" if each.credits_left else "red"),
        _downloads(each, now),
        *cells(*(count.number if count.sure == "exact" else how_many(count) for count in (each.live, soon))),
    ]


def _downloads(each: ChannelOverview, now: float) -> Any:
    if each.closed_until is None:
        return cell("open", "green")
    return cell(f"{'blocked' if each.is_blocked else 'budget spent'} until {when(each.closed_until, now)}", "red")
