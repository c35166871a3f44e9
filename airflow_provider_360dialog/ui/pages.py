"""The pages: what the ledger says, put into words and HTML. Knows neither routes nor the database.

Everything is escaped and made printable; a page loads nothing from anywhere, and its policy forbids it to.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from airflow_provider_360dialog.jobs.report import printable, size_words
from airflow_provider_360dialog.ledger.bounded import Count
from airflow_provider_360dialog.ledger.overview import DAY_S
from airflow_provider_360dialog.ledger.rejects import without_persons
from airflow_provider_360dialog.ui.chart import bars, parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_360dialog.ledger.views import (
        CampaignOverview,
        ChannelOverview,
        InboundOverview,
        Page,
        ReasonCount,
        Reject,
    )

_POLICY: Final = (
    "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)


def channels(page: Page[ChannelOverview], *, after: str | None, every_s: int) -> HTMLResponse:
    """The channels."""
    return _page("channels", now=page.now, every_s=every_s, after=after, page=page, here={"after": after})


def campaigns(page: Page[CampaignOverview], *, after: str | None, ended: bool, every_s: int) -> HTMLResponse:
    """The list of campaigns."""
    here = {"ended": "true" if ended else None, "after": after}
    return _page("campaigns", now=page.now, every_s=every_s, after=after, page=page, ended=ended, here=here)


def campaign(
    found: CampaignOverview, reasons: Sequence[ReasonCount], rejects: Page[Reject], *, after: str | None, every_s: int
) -> HTMLResponse:
    """One campaign."""
    told: dict[str, Any] = {"campaign": found, "reasons": reasons, "page": rejects, "after": after}
    return _page("campaign", now=rejects.now, every_s=every_s, here={"name": found.name, "after": after}, **told)


def inbound(page: Page[InboundOverview], *, after: str | None, every_s: int) -> HTMLResponse:
    """What customers sent."""
    return _page("inbound", now=page.now, every_s=every_s, after=after, page=page, here={"after": after})


def message(title: str, text: str, *, status: int) -> HTMLResponse:
    """A page that says one thing."""
    return _page("message", now=None, every_s=0, status=status, after=None, here={}, title=title, text=text)


def _page(name: str, *, now: float | None, every_s: int, status: int = 200, **told: Any) -> HTMLResponse:
    nonce = secrets.token_urlsafe(16)
    html = _templates().get_template(f"{name}.html.jinja").render(name=name, now=now, every_s=every_s, nonce=nonce, **told)
    headers = {
        "Content-Security-Policy": _POLICY.format(nonce=nonce),
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(html, status, headers)


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("airflow_provider_360dialog.ui"),
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,  # before it is escaped
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": count_words,
        "instant": _instant,
        "date": lambda at: datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d"),
        "iso": lambda at: datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds"),
        "size": lambda count: count_words(count, size_words),
        "items": lambda count: f"{count_words(count)} item" + ("" if count == Count(1) else "s"),
        "duration": duration_words,
        "unnumbered": without_persons,
        "dag_run_path": lambda run: f"../dags/{quote(run.dag_id, safe='')}/runs/{quote(run.run_id, safe='')}",
        "rate": lambda per_s: f"{per_s:.1f}",
        "query": lambda pairs: "?" + urlencode({name: value for name, value in pairs.items() if value is not None}),
    }
    environment.globals |= {"bars": bars, "parts": parts, "verdict": verdict, "DAY_S": DAY_S}
    return environment


# --- words --------------------------------------------------------------------------------------------------------


def count_words(count: Count, number_words: Any = "{:,}".format) -> str:
    """``1,234``; ``about 1,200``; ``more than 20,000``."""
    if count.sure == "about":
        return f"about {number_words(_rounded(count.number))}"
    return ("more than " if count.sure == "at_least" else "") + str(number_words(count.number))


def _rounded(number: int) -> int:
    """To three figures: an estimate has no more."""
    return int(float(f"{number:.3g}"))


def duration_words(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3 h 20 min``, ``5 d 4 h``; rounded up, for it is said of what is still to come."""
    whole = max(0, int(-(-seconds // 1)))
    if whole < 90:
        return f"{whole} s"
    minutes = -(-whole // 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def _instant(at: float, now: float) -> str:
    """``14:05:09 UTC`` of today, else with its date."""
    then, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC)
    return then.strftime("%H:%M:%S UTC") if then.date() == today.date() else then.strftime("%Y-%m-%d %H:%M UTC")


def verdict(campaign: CampaignOverview, now: float) -> tuple[str, str]:
    """How a campaign stands: a class (good, warn, bad, none) and a sentence."""
    progress = campaign.progress
    if campaign.needed_until <= now:
        return "none", "It has ended."
    if campaign.planned_at is None:
        return "warn", "It is being planned: what follows grows."
    if not progress.items.number:
        return "warn", "It has no items."
    if not progress.left.number:
        if progress.left.sure != "exact":
            return "good", "As far as a sample shows, every item has its id."
        return ("warn", "Ready, but for what was rejected.") if progress.rejected.number else ("good", "Ready.")
    if campaign.eta_s is None:
        return "bad", "It cannot become ready: nothing may be sent for one of its channels."
    late_s = now + campaign.eta_s - campaign.needed_until
    if late_s > 0:
        return "bad", f"Too late: {duration_words(campaign.eta_s)} of uploads are left, and it is needed before that."
    return "warn", f"Not ready: {duration_words(campaign.eta_s)} of uploads are left."
