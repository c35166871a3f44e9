"""The media page as Airflow mounts it, with Airflow's own authentication; ledgers are filled through the ledger's own classes."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from airflow_provider_360dialog.ledger import store as store_module
from tests.support.ledger import open_store


@pytest.fixture(scope="session")
def media_page():
    """The application; made once, as in an API server."""
    from airflow_provider_360dialog.ui.plugin import PREFIX, MediaPage

    page = MediaPage()
    outer = FastAPI()
    outer.mount(PREFIX, page)
    return outer


@pytest.fixture(scope="session")
def auth_manager():
    """Airflow's simple auth manager, which signs the tokens that the routes ask for."""
    from airflow import settings
    from airflow.api_fastapi.app import init_auth_manager
    from airflow.models.revoked_token import RevokedToken

    RevokedToken.__table__.create(settings.engine, checkfirst=True)  # all that a token's check wants of Airflow's database
    return init_auth_manager(FastAPI())


def _client(app, **headers):
    return TestClient(app, base_url="http://testserver/dialog360/", headers=headers, follow_redirects=False)


@pytest.fixture
def anonymous(media_page, auth_manager):
    """Somebody who is not logged in."""
    return _client(media_page)


@pytest.fixture
def visitor(media_page, auth_manager):
    """Somebody who is logged in, with the least role there is."""
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    token = auth_manager.generate_jwt(SimpleAuthManagerUser(username="vi", role="viewer"))
    return _client(media_page, Authorization=f"Bearer {token}")


@pytest.fixture
def store(own_ledger):
    """The ledger that the page finds by its configuration; real time."""
    yield open_store(own_ledger.parent)
    forget(own_ledger.parent)


def forget(folder):
    """Close what is open of the ledgers in a folder."""
    for name in [name for name in store_module._engines if str(folder) in name[1]]:
        store_module._engines.pop(name).dispose()
