"""Whose key it is: asked once, remembered without the key, refused where it belongs elsewhere."""

from __future__ import annotations

import itertools

import pytest
import sqlalchemy as sa

from airflow_provider_360dialog.exceptions import (
    AccessRefusedError,
    AnswerUnreadableError,
    ChannelFrozenError,
    ConnectionInvalidError,
    EndpointMissingError,
    KeyRefusedError,
    ServerError,
    UnreachableError,
)
from airflow_provider_360dialog.jobs.identify import freeze_if_moved, identify
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.channels import (
    Ask,
    Channels,
    Identity,
    Known,
    Refused,
    decide_identity,
    decide_new_key,
)
from tests.ledger.doubles import FakeApi, connection_of, execute, file_place

A, B = Identity(1, "100000000000001"), Identity(2, "100000000000002")
KEYS = ("test-key-canary-7f3a-one", "test-key-canary-7f3a-two", "test-key-canary-7f3a-three")


# --- the tables ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "by_key", "by_connection", "expected"),
    [
        pytest.param(None, None, None, Ask, id="nothing is known: ask"),
        pytest.param("A", None, None, Ask, id="only the field speaks: ask"),
        pytest.param(None, None, A, Ask, id="a new key on a known connection: ask"),
        pytest.param("A", None, A, Ask, id="a new key, field and connection agree: ask"),
        pytest.param("A", None, B, Ask, id="a new key, field and connection differ: ask"),
        pytest.param(None, A, None, Known, id="a known key on a new connection"),
        pytest.param(None, A, A, Known, id="a known key where it was"),
        pytest.param(None, A, B, Refused, id="a known key of another number than the connection's"),
        pytest.param("A", A, None, Known, id="a known key, and the field agrees"),
        pytest.param("A", A, A, Known, id="all agree"),
        pytest.param("A", A, B, Known, id="the field says that the change is meant"),
        pytest.param("B", A, None, Refused, id="a known key, and the field says another number"),
        pytest.param("B", A, A, Refused, id="the field was changed, the key was not"),
        pytest.param("B", A, B, Refused, id="the key was changed for another number's"),
    ],
)
def test_a_connection_as_it_stands(field, by_key, by_connection, expected):
    """Key known or not, field filled in or not, connection seen before or not."""
    number = {"A": A.phone_number_id, "B": B.phone_number_id, None: None}[field]
    decided = decide_identity(field=number, by_key=by_key, by_connection=by_connection)
    assert isinstance(decided, expected)
    if expected is Known:
        assert decided.identity == by_key


@pytest.mark.parametrize(
    ("field", "found", "by_connection", "expected"),
    [
        pytest.param(None, "A", None, "A", id="360dialog says whose it is"),
        pytest.param("A", "A", None, "A", id="and the field agrees"),
        pytest.param("B", "A", None, None, id="the field says another"),
        pytest.param(None, "A", A, "A", id="a rotated key"),
        pytest.param(None, "A", B, None, id="a key of another number"),
        pytest.param("A", "A", B, "A", id="another number, and the field says so"),
        pytest.param("A", None, None, "A", id="360dialog does not say: the field is trusted"),
        pytest.param(None, None, None, None, id="nobody says"),
        pytest.param(None, None, A, None, id="nobody says, though the connection had a number"),
    ],
)
def test_a_new_key(field, found, by_connection, expected):
    """What it is bound to; None stands for a refusal."""
    numbers = {"A": A.phone_number_id, "B": B.phone_number_id, None: None}
    decided = decide_new_key(field=numbers[field], found=numbers[found], by_connection=by_connection)
    assert isinstance(decided, Refused) if expected is None else decided == numbers[expected]


def test_no_combination_binds_a_key_against_what_360dialog_says():
    """All of them: where a number is found, it is that one or a refusal."""
    numbers = (None, A.phone_number_id, B.phone_number_id)
    for field, found, by_connection in itertools.product(numbers, numbers, (None, A, B)):
        decided = decide_new_key(field=field, found=found, by_connection=by_connection)
        assert isinstance(decided, Refused) or decided == (found or field)


# --- on a ledger --------------------------------------------------------------------------------------------------


@pytest.fixture
def who(store):
    """Identify a connection; ``(the identity, how often 360dialog was asked)``."""

    def ask(key, answer=None, *, conn_id="a", field=None, origin="https://h"):
        api = FakeApi(answer)
        return identify(connection_of(key, field, origin), api=api, store=store, conn_id=conn_id), api.asked

    return ask


def test_a_key_is_asked_about_once(who):
    """After that, the ledger knows."""
    first, asked = who(KEYS[0], "100000000000001")
    assert (first.phone_number_id, asked) == ("100000000000001", 1)
    assert who(KEYS[0]) == (first, 0)


def test_a_rotated_key_keeps_its_ledger(who):
    """Same number, new key: the same channel; the old key is still known as well."""
    first, _ = who(KEYS[0], "100000000000001")
    assert who(KEYS[1], "100000000000001") == (first, 1)
    assert who(KEYS[1]) == (first, 0)
    assert who(KEYS[0]) == (first, 0)


def test_two_connections_with_one_number_are_one_channel(who):
    """By the same key or by two (needs F85)."""
    first, _ = who(KEYS[0], "100000000000001")
    assert who(KEYS[0], conn_id="b") == (first, 0)
    assert who(KEYS[1], "100000000000001", conn_id="c") == (first, 1)


def test_another_numbers_key_is_refused_and_nothing_is_bound(who, store):
    """Number B's key pasted into connection A (needs F84), whether it is new or known; both numbers are named."""
    who(KEYS[0], "100000000000001")
    who(KEYS[1], "100000000000002", conn_id="b")
    before = rows(store)
    for key, answer in ((KEYS[1], None), (KEYS[2], "100000000000002")):
        with pytest.raises(ConnectionInvalidError, match=r"100000000000001.*100000000000002") as caught:
            who(key, answer)
        assert key not in str(caught.value)
    assert rows(store) == before


def test_a_change_that_is_meant_is_said_in_the_field(who):
    """Then the connection speaks for the other number from then on."""
    who(KEYS[0], "100000000000001")
    second, _ = who(KEYS[1], "100000000000002", field="100000000000002")
    assert who(KEYS[1]) == (second, 0)
    with pytest.raises(ConnectionInvalidError):
        who(KEYS[0])


def test_what_was_proven_at_one_host_holds_there_only(who):
    """An emulator's word says nothing of the real number; the same number is the same channel all the same."""
    real, _ = who(KEYS[0], "100000000000001")
    emulated, asked = who(KEYS[0], "555000000000001", origin="http://127.0.0.1:1")
    assert asked == 1
    assert emulated != real
    assert who(KEYS[0]) == (real, 0)


@pytest.mark.parametrize(
    "silent",
    [
        EndpointMissingError(operation="health"),
        AnswerUnreadableError(operation="health", status=200, reason="it is an HTML page"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_where_nobody_says_whose_the_key_is_the_field_is_named(silent, who):
    """A gateway without that endpoint: the remedy is in the connection."""
    assert who(KEYS[0], silent, field="100000000000001")[0].phone_number_id == "100000000000001"
    with pytest.raises(ConnectionInvalidError, match="Put the number's id into the field 'phone_number_id'"):
        who(KEYS[1], silent, conn_id="b")


@pytest.mark.parametrize(
    "silent",
    [
        AccessRefusedError(operation="health", status=403, code=None, details="no"),
        ServerError(operation="health", status=500, details="no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_where_360dialog_does_not_say_the_field_is_trusted_and_else_it_is_an_error(silent, who):
    """An old account may not have the endpoint."""
    assert who(KEYS[0], silent, field="100000000000001")[0].phone_number_id == "100000000000001"
    with pytest.raises(type(silent)):
        who(KEYS[1], silent, conn_id="b")


@pytest.mark.parametrize(
    "answer",
    [
        KeyRefusedError(operation="health", details="no"),
        UnreachableError(operation="health", origin="https://h", reason="x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_key_that_is_refused_or_cannot_be_asked_about_is_not_bound(answer, who, store):
    """Whatever the field says."""
    with pytest.raises(type(answer)):
        who(KEYS[0], answer, field="100000000000001")
    assert rows(store) == (0, 0, 0)


def test_a_health_without_a_number_needs_the_field(who):
    """The sentence names it."""
    with pytest.raises(ConnectionInvalidError, match="phone_number_id"):
        who(KEYS[0], None)
    assert who(KEYS[0], None, field="100000000000001")[0].phone_number_id == "100000000000001"


def rows(store):
    with store.read() as db:
        tables = (schema.channel, schema.key, schema.connection)
        return tuple(db.scalar(sa.select(sa.func.count()).select_from(table)) for table in tables)


# --- freeze and thaw ----------------------------------------------------------------------------------------------


def test_a_number_that_moved_away_is_frozen_and_a_key_of_its_own_thaws_it(who, store):
    """Nothing is deleted in between (needs F86)."""
    identity, _ = who(KEYS[0], "100000000000001")
    reason = freeze_if_moved(identity, api=FakeApi("100000000000009"), store=store)
    assert "100000000000009" in reason
    with pytest.raises(ChannelFrozenError, match="100000000000009"):
        who(KEYS[0], "100000000000009")
    thawed, asked = who(KEYS[1], "100000000000001")
    assert (thawed, asked) == (identity, 1)
    assert who(KEYS[0])[0].frozen_because is None


@pytest.mark.parametrize(
    "answer", ["100000000000001", None, KeyRefusedError(operation="health", details="no")], ids=["its own", "none", "an error"]
)
def test_nothing_freezes_without_proof(answer, who, store):
    """A 401 may be a 401."""
    identity, _ = who(KEYS[0], "100000000000001")
    assert freeze_if_moved(identity, api=FakeApi(answer), store=store) is None
    assert who(KEYS[0])[0].frozen_because is None


def test_a_number_that_came_back_thaws_with_the_key_that_it_had(who, store):
    """Its own key answers for it again."""
    identity, _ = who(KEYS[0], "100000000000001")
    freeze_if_moved(identity, api=FakeApi("100000000000009"), store=store)
    thawed, asked = who(KEYS[0], "100000000000001")
    assert (thawed.channel_id, thawed.frozen_because) == (identity.channel_id, None)
    assert asked == 1
    assert who(KEYS[0])[1] == 0


def test_only_the_moved_number_is_frozen(who, store):
    """A fault of one number stops no other (needs R6)."""
    moved, _ = who(KEYS[0], "100000000000001")
    who(KEYS[1], "100000000000002", conn_id="b")
    freeze_if_moved(moved, api=FakeApi("100000000000009"), store=store)
    assert who(KEYS[1], conn_id="b")[0].frozen_because is None


# --- keys at rest -------------------------------------------------------------------------------------------------


def test_no_key_is_in_the_ledger(who, url, engine):
    """Nor half of one: looked at are the file's bytes, or every value of every row."""
    for key in KEYS:
        who(key, "100000000000001")
    if engine == "sqlite":
        folder = file_place(url).parent
        content = b"".join(each.read_bytes() for each in folder.iterdir())
    else:
        tables = [name for (name,) in execute(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        assert len(tables) > 5
        content = "\n".join(str(execute(url, f'SELECT * FROM "{table}"')) for table in tables).encode()
    assert b"100000000000001" in content
    for key in KEYS:
        assert key.encode() not in content
        assert key[-12:].encode() not in content
        assert key.encode().hex().encode() not in content


def test_a_fingerprint_says_nothing_outside_of_its_ledger(url, store, who, tmp_path):
    """Two ledgers have different ones for one key, and neither is a plain hash."""
    import hashlib

    from tests.support.ledger import channel_of, open_store

    who(KEYS[0], "100000000000001")
    other = open_store(tmp_path)
    channel_of(other, api_key=KEYS[0])
    marks = set()
    for each in (store, other):
        with each.read() as db:
            marks |= set(db.scalars(sa.select(schema.key.c.fingerprint)))
    assert len(marks) == 2
    assert hashlib.sha256(KEYS[0].encode()).hexdigest() not in marks


def test_many_bind_one_number_at_once(store):
    """One channel comes of it."""
    from tests.ledger.doubles import together

    found = together(
        8,
        lambda i: Channels(store).bind(
            api_key=f"key-{i % 2}", conn_id=f"c{i % 3}", origin="https://h", phone_number_id="100000000000001"
        ),
    )
    assert len(set(found)) == 1
    assert rows(store) == (1, 2, 3)
