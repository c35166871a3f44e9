"""A connection that changes while a hook works with it."""

from __future__ import annotations

import logging

import pytest
import sqlalchemy as sa
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse

from airflow_provider_360dialog.exceptions import ConnectionInvalidError, KeyRefusedError, LedgerUnavailableError
from airflow_provider_360dialog.hooks import session
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.hooks.ledger import ledger_store
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.channels import Channels
from airflow_provider_360dialog.ledger.overview import Overview


@pytest.fixture
def hook(number, connect, monkeypatch):
    """One that reads its connection before each call."""
    monkeypatch.setattr(session, "_OFTEN_S", 0.0)
    monkeypatch.setattr(session, "_CHEAP_S", 60.0)
    connect(number.base_url, number.key)
    return Dialog360Hook("number_a")


def said():
    """Connection -> (uploads per second, error budget, when it last spoke), as the ledger has it."""
    table = schema.connection
    with ledger_store().open().read() as db:
        rows = db.execute(sa.select(table.c.conn_id, table.c.uploads_per_second, table.c.error_budget, table.c.policy_at))
        return {row[0]: tuple(row[1:]) for row in rows}


def test_a_changed_policy_counts_from_the_next_call_on(hook, number, connect, photo):
    hook.upload(photo)
    assert said()["number_a"][:2] == (24.5, None)
    connect(number.base_url, number.key, uploads_per_second=5.0, error_budget=2)
    hook.upload(photo)
    _ = hook.get_conn().ledger.identity
    assert said()["number_a"][:2] == (5.0, 2)
    assert number.sent("upload") == 1


def test_a_new_key_is_used_before_the_old_one_is_refused(hook, number, connect, photo):
    hook.upload(photo)
    connect(number.base_url, number.rotate_key())
    before = number.emu.state.strangers
    hook.upload(photo, reuse=False)
    assert number.emu.state.strangers == before


def health():
    """Connection -> status with which its key was refused, as people are told it."""
    (channel,) = Overview(ledger_store().open()).channels().rows
    return {each.conn_id: each.key_refused_status for each in channel.connections}


def test_a_refused_key_is_on_record_until_another_is_accepted(hook, number, connect, photo):
    """A file that is not sent because its id is known says nothing of the key."""
    hook.upload(photo)
    assert health() == {"number_a": None}
    new = number.rotate_key()
    with pytest.raises(KeyRefusedError):
        Dialog360Hook("number_a").upload(photo, reuse=False)
    assert health() == {"number_a": 401}
    Dialog360Hook("number_a").upload(photo)
    assert health() == {"number_a": 401}
    connect(number.base_url, new)
    Dialog360Hook("number_a").upload(photo)
    assert health() == {"number_a": 401}
    Dialog360Hook("number_a").upload(photo, reuse=False)
    assert health() == {"number_a": None}


def test_a_ledger_that_cannot_note_a_refused_key_changes_no_error(hook, number, photo, monkeypatch):
    """It is a courtesy."""
    hook.upload(photo)
    number.rotate_key()

    def away(*_):
        raise LedgerUnavailableError(place="p", reason="r")

    monkeypatch.setattr(Channels, "key_refused", away)
    with pytest.raises(KeyRefusedError):
        hook.upload(photo, reuse=False)


def test_a_connection_that_does_not_change_keeps_its_wire(hook, photo):
    """Its connections stay warm."""
    hook.upload(photo)
    api = hook.get_conn().api
    hook.upload(photo)
    assert hook.get_conn().api is api


def test_a_connection_that_becomes_wrong_names_its_field(hook, number, connect, photo):
    hook.upload(photo)
    connect(number.base_url, number.key, uploads_per_second=-1)
    with pytest.raises(ConnectionInvalidError, match="uploads_per_second"):
        hook.upload(photo)
    connect(number.base_url, number.key)
    assert hook.upload(photo).reused


def test_an_airflow_that_does_not_answer_stops_no_upload(hook, photo, monkeypatch, caplog):
    """Needs F14. Without an earlier reading there is nothing to go on with."""
    away = AirflowRuntimeError(ErrorResponse(error=ErrorType.GENERIC_ERROR))

    def no_answer(*_):
        raise away

    hook.upload(photo)
    monkeypatch.setattr(Dialog360Hook, "get_connection", no_answer)
    with caplog.at_level(logging.WARNING):
        assert hook.upload(photo, reuse=False).media_id
        assert hook.upload(photo, reuse=False).media_id
    assert sum("cannot be read now" in record.getMessage() for record in caplog.records) == 1
    with pytest.raises(AirflowRuntimeError):
        Dialog360Hook("number_a").upload(photo)


def test_a_connection_that_was_deleted_is_not_used_any_more(hook, photo, monkeypatch):
    hook.upload(photo)
    monkeypatch.delenv("AIRFLOW_CONN_NUMBER_A")
    with pytest.raises(AirflowNotFoundException):
        hook.upload(photo)


def test_a_hook_that_lives_long_keeps_its_say(hook, photo, monkeypatch):
    """Else its share of the number would be forgotten after an hour (an hour is long before two of them end)."""
    hook.upload(photo)
    first = said()["number_a"][2]
    hook.upload(photo)
    assert said()["number_a"][2] == first
    monkeypatch.setattr(session, "_SPEAK_EVERY_S", 0.0)
    hook._session._speak_again_at = 0.0
    api = hook.get_conn().api
    _ = hook.get_conn().ledger.identity
    assert said()["number_a"][2] > first
    assert hook.get_conn().api is api


def test_two_connections_of_one_number_that_disagree_are_named(number, connect, photo, caplog):
    """The stricter counts, and a warning says so."""
    connect(number.base_url, number.key)
    connect(number.base_url, number.key, conn_id="number_b", uploads_per_second=5.0)
    Dialog360Hook("number_a").upload(photo)
    with caplog.at_level(logging.WARNING):
        Dialog360Hook("number_b").upload(photo)
    assert "'number_b', 'number_a' say different things of the ration" in caplog.text
