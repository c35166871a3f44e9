"""What Airflow's plugin manager reads: where the media page is, and what stands in the navigation.

Every process of Airflow that knows plugins imports this, task processes too; the page itself is imported at its first request.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send

PREFIX: Final = "/dialog360"


class MediaPage:
    """The page as an ASGI application that is imported when it is first asked for."""

    @cached_property
    def app(self) -> FastAPI:
        """The application itself."""
        from airflow_provider_360dialog.ui.app import create_app  # noqa: PLC0415 - by the API server alone

        return create_app()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request over."""
        await self.app(scope, receive, send)


_APPS: Final[list[Any]] = [{"app": MediaPage(), "url_prefix": PREFIX, "name": "360dialog media"}]
_VIEWS: Final[list[Any]] = [
    {
        "name": "WhatsApp media",
        # Relative: Airflow may live below a path of its own, which its pages name as their base.
        "href": f"{PREFIX.removeprefix('/')}/channels",
        "url_route": "whatsapp-media",
        "destination": "nav",
        "category": "browse",
    }
]


class Dialog360Plugin(AirflowPlugin):
    """The media page, and the way to it under *Browse*."""

    name = "dialog360"
    fastapi_apps = _APPS
    external_views = _VIEWS
