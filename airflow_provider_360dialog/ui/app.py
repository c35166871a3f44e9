"""The routes of the media page. GET only, and each for those alone whom Airflow lets see its plugins.

There is nothing here to forge: no route changes anything. What a page says, `pages` decides.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, Final

from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
from airflow.api_fastapi.core_api.security import requires_access_view
from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from airflow_provider_360dialog.exceptions import (
    CampaignUnknownError,
    LedgerMissingError,
    LedgerRefusedError,
    LedgerUnavailableError,
)
from airflow_provider_360dialog.hooks.ledger import ledger_store
from airflow_provider_360dialog.ledger.overview import Overview
from airflow_provider_360dialog.ui import pages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

After = Annotated[str | None, Query(pattern=r"^[0-9]{1,18}(-[0-9]{1,18})?$")]
Every = Annotated[int, Query(alias="every", ge=0, le=3600)]
EVERY_S: Final = 15
"""How often a page asks for itself anew; 0 for never."""


def _overview() -> Overview:
    return Overview(ledger_store().open_existing())


Ledger = Annotated[Overview, Depends(_overview)]


def create_app() -> FastAPI:
    """The application that Airflow mounts. Its own descriptions (OpenAPI) are off: they would be open to everybody."""
    app = FastAPI(
        title="360dialog media",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(requires_access_view(AccessView.PLUGINS))],
    )
    for path, route in (
        ("/", channels),
        ("/channels", channels),
        ("/campaigns", campaigns),
        ("/campaign", campaign),
        ("/inbound", inbound),
    ):
        app.get(path, response_class=HTMLResponse)(route)
    _answer_in_words(app)
    return app


def channels(ledger: Ledger, after: After = None, every: Every = EVERY_S) -> HTMLResponse:
    """Every channel: its pace, its error budget, its ids."""
    return pages.channels(ledger.channels(after), after=after, every_s=every)


def campaigns(ledger: Ledger, *, after: After = None, ended: bool = False, every: Every = EVERY_S) -> HTMLResponse:
    """The campaigns that are still needed, or those that have ended."""
    return pages.campaigns(ledger.campaigns(after, ended=ended), after=after, ended=ended, every_s=every)


def campaign(ledger: Ledger, *, name: str, after: After = None, every: Every = EVERY_S) -> HTMLResponse:
    """One campaign, its channels, and what was rejected."""
    found, reasons = ledger.campaign(name), ledger.reject_reasons(name)
    return pages.campaign(found, reasons, ledger.rejects(name, after), after=after, every_s=every)


def inbound(ledger: Ledger, after: After = None, every: Every = EVERY_S) -> HTMLResponse:
    """What customers sent, as far as it is not archived."""
    return pages.inbound(ledger.inbound(after), after=after, every_s=every)


# --- what is no page ----------------------------------------------------------------------------------------------

_MISSING = "There is no ledger yet. The first task that uploads, plans or archives something makes it; then this page fills."
_UNAVAILABLE = (
    "The ledger's database does not answer. Tasks send nothing while that lasts, and go on by themselves when it is over. "
    "What exactly is wrong stands in the log of the API server."
)


def _answer_in_words(app: FastAPI) -> None:
    """Errors as pages for people, and as JSON for those who do not ask for HTML."""

    def tell(error: type[Exception], status: int, title: str, text: str | Callable[[Exception], str]) -> None:
        @app.exception_handler(error)
        def handle(request: Request, exc: Exception) -> Response:
            if status == 503:
                log.warning("The media page cannot read the ledger: %s", exc)
            return _told(request, status, title, text if isinstance(text, str) else text(exc))

    tell(LedgerMissingError, 200, "Nothing to see yet", _MISSING)
    tell(LedgerUnavailableError, 503, "The ledger cannot be reached", _UNAVAILABLE)
    tell(LedgerRefusedError, 503, "The ledger cannot be used", lambda exc: _first_upper(getattr(exc, "reason", "")))
    tell(CampaignUnknownError, 404, "No such campaign", "No campaign of this name was ever planned.")
    tell(RequestValidationError, 422, "This address is not one of ours", "Begin again with the links above.")

    @app.exception_handler(HTTPException)
    def refuse(request: Request, exc: HTTPException) -> Response:
        title, text = _REFUSALS.get(exc.status_code, ("This did not work", str(exc.detail)))
        return _told(request, exc.status_code, title, text, headers=exc.headers)


_REFUSALS: Final = {
    401: ("You are not logged in", "Log in to Airflow, and open this page again."),
    403: (
        "You may not see this",
        "This page is for those who may see Airflow's plugins. An administrator can give you that right.",
    ),
    404: ("There is no such page", "Begin again with the links above."),
    405: ("This page only shows", "Nothing can be changed here."),
}


def _told(request: Request, status: int, title: str, text: str, headers: Mapping[str, str] | None = None) -> Response:
    if "text/html" not in request.headers.get("accept", "text/html"):
        return JSONResponse({"detail": f"{title}. {text}"}, status, headers={**(headers or {}), "Cache-Control": "no-store"})
    found = pages.message(title, text, status=status)
    found.headers.update(headers or {})
    return found


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]
