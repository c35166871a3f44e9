"""``dialog360 doctor``: a checklist that says what is wrong and what to do."""

from __future__ import annotations

import os
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from airflow_provider_360dialog.cli import key_scan
from airflow_provider_360dialog.cli.checks import check_skew
from airflow_provider_360dialog.hooks import ledger as ledger_hook
from airflow_provider_360dialog.ledger.store import Store
from tests.support.wire import answering, http

LIKE_A_KEY = "aBcD3fGh1jKlMn0pQrStUvWxYz"  # as long and as mixed as a real one, and nobody's
HEALTHY = b'{"health_status": {"can_send_message": "AVAILABLE", "entities": []}}'


@pytest.fixture
def doctor(dialog360):
    """Run it; its checks as a list of dictionaries."""

    def run(*words, conn_id="number_a"):
        done = dialog360("doctor", "--json", "--conn-id", conn_id, *words)
        done.checks = done.data["checks"]
        return done

    return run


@pytest.fixture
def connected(number, connect):
    """A healthy installation without a ledger."""
    connect(number.base_url, number.key)
    return number


def of(done, name):
    return [check for check in done.checks if check["name"] == name]


def only(done, name):
    (check,) = of(done, name)
    return check


# --- as a whole ---------------------------------------------------------------------------------------------------


def test_all_is_well(dialog360, doctor, engine, number, uploads):
    uploads()
    done = doctor()
    assert (done.status, done.data["ok"]) == (0, True)
    assert [(check["name"], check["level"]) for check in done.checks] == [
        ("versions", "ok"), ("ledger", "ok"), ("clock", "ok"), ("connection", "ok"), ("key", "ok"), ("identity", "ok"),
        ("clock", "ok"), ("keys in DAG folder", "ok"),
    ]  # fmt: skip
    text = dialog360("doctor", "--conn-id", "number_a")
    assert text.out.splitlines()[-1] == "8 ok, 0 warnings, 0 FAIL."
    assert number.key not in text.out + text.err


def test_it_asks_for_the_health_and_for_nothing_else(doctor, number, uploads):
    """No error budget is spent."""
    uploads()
    before = dict(number.emu.counters(number.number_id)["requests"])
    doctor()
    after = dict(number.emu.counters(number.number_id)["requests"])
    assert after.pop("health") == before.pop("health") + 1
    assert after == before


def test_it_changes_nothing(doctor, engine, number, uploads, sql):
    uploads()
    tables = ("meta", "channel", "key", "connection", "fingerprint", "media", "refused", "source")
    before = [sql(f"SELECT * FROM d360_{table} ORDER BY 1") for table in tables]
    doctor()
    assert [sql(f"SELECT * FROM d360_{table} ORDER BY 1") for table in tables] == before


def test_it_names_the_versions(doctor, connected):
    message = only(doctor(), "versions")["message"]
    assert all(word in message for word in ("provider 0.", "Airflow 3.", "Python 3.", "SQLAlchemy 2.", "requests 2."))


def test_several_connections_are_looked_at_one_by_one(doctor, connected):
    done = doctor("--conn-id", "nobody")
    assert [(check["conn_id"], check["level"]) for check in of(done, "connection")] == [("number_a", "ok"), ("nobody", "FAIL")]
    assert done.status == 1


def test_the_default_connection_is_looked_at_where_none_is_named(dialog360, number, connect):
    connect(number.base_url, number.key, conn_id="dialog360_default")
    done = dialog360("doctor")
    assert done.status == 0
    assert "ok    connection: dialog360_default: http://127.0.0.1:" in done.out


def test_a_check_that_breaks_does_not_hide_the_others(doctor, connected, monkeypatch):
    """And what it says, which may hold a secret, is not shown."""

    def breaks(_folder):
        raise RuntimeError(connected.key)

    monkeypatch.setattr("airflow_provider_360dialog.cli.doctor.scan", breaks)
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", "/tmp")
    done = doctor()
    assert only(done, "keys in DAG folder")["message"] == "This could not be checked (RuntimeError)."
    assert only(done, "key")["level"] == "ok"
    assert done.status == 1


# --- connection and key -------------------------------------------------------------------------------------------


def test_a_connection_that_is_nowhere_is_called_so(doctor, airflow_database):
    check = only(doctor(), "connection")
    assert check["level"] == "FAIL"
    assert "not in Airflow's metadata database" in check["message"]
    assert check["remedy"].startswith("airflow connections add number_a ")


def test_it_says_when_it_cannot_look_into_the_metadata_database(doctor, monkeypatch):
    from airflow.secrets.metastore import MetastoreBackend

    def unreachable(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(MetastoreBackend, "get_connection", unreachable)
    monkeypatch.setattr("airflow.utils.session.create_session", unreachable)
    check = only(doctor(), "connection")
    assert check["level"] == "FAIL"
    assert "metadata database cannot be read from this process (OSError)" in check["message"]
    assert "AIRFLOW_CONN_NUMBER_A" in check["remedy"]


def test_a_connection_in_the_metadata_database_is_found(doctor, number, airflow_database):
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session

    conn_id = f"stored_{number.number_id}"
    with create_session() as session:
        session.add(Connection(conn_id=conn_id, conn_type="dialog360", host=number.base_url, password=number.key))
    try:
        done = doctor(conn_id=conn_id)
        assert [check["level"] for check in done.checks if check["conn_id"] == conn_id] == ["ok"] * 4
    finally:
        with create_session() as session:
            session.query(Connection).filter_by(conn_id=conn_id).delete()
    assert "_AIRFLOW_PROCESS_CONTEXT" not in os.environ


def test_a_variable_that_is_no_connection_is_named(doctor, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_NUMBER_A", '{"conn_type": ')
    check = only(doctor(), "connection")
    assert "AIRFLOW_CONN_NUMBER_A is set, but Airflow cannot read it" in check["message"]


def test_a_wrong_field_is_named(doctor, number, connect):
    connect(number.base_url, number.key, throttle_policy="none")
    done = doctor()
    assert "throttle_policy" in only(done, "connection")["message"]
    assert of(done, "key") == []
    assert done.status == 1


def test_a_key_that_is_refused_fails(doctor, number, connect):
    connect(number.base_url, "test-key-that-was-revoked")
    done = doctor()
    assert only(done, "key")["level"] == "FAIL"
    assert "does not accept the API key" in only(done, "key")["message"]
    assert "test-key-that-was-revoked" not in done.out + done.err


@pytest.mark.parametrize(("state", "level"), [("LIMITED", "warn"), ("BLOCKED", "FAIL")])
def test_a_limited_or_blocked_number_is_said_in_words(doctor, connected, state, level):
    connected.emu.set_health(state, number=connected.number_id)
    check = only(doctor(), "key")
    assert (check["level"], state in check["message"]) == (level, True)
    assert check["remedy"]


def test_a_gateway_that_hiccups_says_nothing_about_the_key(doctor, connected):
    connected.arm("error", operation="health", status=502)
    done = doctor()
    assert only(done, "key")["level"] == "warn"


def test_a_host_that_does_not_answer_fails(doctor, connect):
    connect("http://127.0.0.1:9", "test-key-for-nobody")
    done = doctor()
    assert only(done, "key")["level"] == "FAIL"
    assert done.status == 1


# --- identity -----------------------------------------------------------------------------------------------------


def test_a_key_of_another_number_than_the_field_says_fails(doctor, number, connect):
    connect(number.base_url, number.key, phone_number_id="555")
    check = only(doctor(), "identity")
    assert check["level"] == "FAIL"
    assert f"number {number.number_id}" in check["message"]


def test_a_key_of_another_number_than_on_record_fails(doctor, number, uploads, connect):
    uploads()
    number.emu.add_number("777000000000001", "test-key-of-another-number")
    connect(number.base_url, "test-key-of-another-number")
    check = only(doctor(), "identity")
    assert check["level"] == "FAIL"
    assert "777000000000001" in check["message"]


def test_a_key_on_record_that_answers_for_another_number_now_fails(doctor, number, uploads, sql):
    uploads()
    sql("UPDATE d360_channel SET phone_number_id = '888'")
    check = only(doctor(), "identity")
    assert (check["level"], "888" in check["message"]) == ("FAIL", True)


def test_a_frozen_channel_fails(doctor, uploads, sql):
    uploads()
    sql("UPDATE d360_channel SET frozen_because = 'it moved'")
    check = only(doctor(), "identity")
    assert (check["level"], "frozen: it moved" in check["message"]) == ("FAIL", True)


def test_a_new_key_is_not_bound(doctor, connected, sql, dialog360):
    dialog360("ledger", "init")
    check = only(doctor(), "identity")
    assert (check["level"], "not on record yet" in check["message"]) == ("ok", True)
    assert sql("SELECT * FROM d360_key") == []


# --- ledger and clocks --------------------------------------------------------------------------------------------


def test_a_ledger_with_a_hole_fails(doctor, uploads, sql):
    uploads()
    sql("DROP TABLE d360_source")
    check = only(doctor(), "ledger")
    assert (check["level"], "lacks d360_source" in check["message"]) == ("FAIL", True)


def test_a_missing_ledger_is_a_warning_and_stays_missing(doctor, connected, own_ledger):
    done = doctor()
    assert (only(done, "ledger")["level"], done.status) == ("warn", 0)
    assert not own_ledger.exists()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor", "CeleryExecutor runs tasks on many"),
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1", "each pod of Kubernetes"),
        ("AIRFLOW__DIALOG360__LEDGER_CONN_ID", "ledger_nowhere", "'ledger_nowhere', which Airflow does not have"),
    ],
)
def test_a_ledger_that_may_not_be_used_fails(doctor, connected, monkeypatch, name, value, words):
    monkeypatch.setenv(name, value)
    done = doctor()
    assert (only(done, "ledger")["level"], words in only(done, "ledger")["message"], done.status) == ("FAIL", True, 1)


def test_a_single_host_ledger_by_decree_is_a_warning(doctor, connected, monkeypatch, dialog360):
    dialog360("ledger", "init")
    monkeypatch.setenv("AIRFLOW__DIALOG360__ALLOW_SINGLE_HOST_LEDGER", "True")
    assert [check["level"] for check in of(doctor(), "ledger")] == ["ok", "warn"]


def test_a_ledger_of_another_machine_fails(doctor, connected, sql, dialog360):
    dialog360("ledger", "init")
    sql("DELETE FROM d360_meta WHERE name LIKE 'boot:%'")
    sql("INSERT INTO d360_meta VALUES ('boot:another', :at)", at=str(time.time()))
    check = only(doctor(), "ledger")
    assert (check["level"], "another machine" in check["message"]) == ("FAIL", True)
    assert sql("SELECT count(*) FROM d360_meta WHERE name = 'boot:another'") == [(1,)]


def test_a_ledger_that_cannot_be_written_fails(doctor, connected, sql, dialog360):
    """Seen by writing, not by looking at rights."""
    dialog360("ledger", "init")
    sql("CREATE TRIGGER no_writes BEFORE UPDATE ON d360_meta BEGIN SELECT RAISE(ABORT, 'read only'); END")
    check = only(doctor(), "ledger")
    assert (check["level"], "read only" in check["message"]) == ("FAIL", True)


@pytest.mark.parametrize(("ahead_s", "level"), [(0, "ok"), (60, "warn"), (3600, "FAIL")])
def test_the_ledgers_clock_is_compared(doctor, connected, own_ledger, ahead_s, level):
    url = f"sqlite:///{own_ledger}"
    now = f"((julianday('now') - 2440587.5) * 86400.0 + {ahead_s})"
    ledger_hook._stores[url] = Store(url, now_sql=now).open()
    check = next(check for check in of(doctor(), "clock") if check["conn_id"] is None)
    assert check["level"] == level
    assert ("behind the ledger's database" in check["message"]) == bool(ahead_s)


@pytest.mark.parametrize(("behind_s", "level"), [(0, "ok"), (20, "warn"), (900, "FAIL")])
def test_the_clock_of_360dialog_is_compared(doctor, connect, behind_s, level):
    with answering(
        http(body=HEALTHY, Content_Type="application/json", Date=formatdate(time.time() - behind_s, usegmt=True))
    ) as host:
        connect(host.base_url, "test-key-of-the-wire", phone_number_id="1")
        check = next(check for check in of(doctor(), "clock") if check["conn_id"])
    assert check["level"] == level
    assert ("ahead of 360dialog" in check["message"]) == bool(behind_s)


def test_an_answer_without_a_date_is_not_judged(doctor, connect):
    with answering(http(body=HEALTHY, Content_Type="application/json")) as host:
        connect(host.base_url, "test-key-of-the-wire", phone_number_id="1")
        assert of(doctor(), "clock") == []


@pytest.mark.parametrize(
    ("skew_s", "unsure_s", "level"),
    [
        (5, 0, "ok"),
        (-5, 0, "ok"),
        (5.1, 0, "warn"),
        (-5.1, 0, "warn"),
        (300, 0, "warn"),
        (301, 0, "FAIL"),
        (-301, 0, "FAIL"),
        (20, 16, "ok"),
    ],
)
def test_the_rule_for_clocks(skew_s, unsure_s, level):
    assert check_skew("clock", skew_s, unsure_s=unsure_s, other="it").level == level


# --- keys in DAG files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        pytest.param(f'HEADERS = {{"D360-API-KEY": "{LIKE_A_KEY}"}}', [1], id="beside the header's name"),
        pytest.param(f'URL = "https://waba-v2.360dialog.io"\nX = "{LIKE_A_KEY}"', [2], id="near the host"),
        pytest.param("URL = 'https://waba-v2.360dialog.io'\n" + "\n" * 40 + f"API_KEY = '{LIKE_A_KEY}'", [42], id="named, far from it"),
        pytest.param("# 360dialog.io\n" + "\n" * 40 + f"X = '{LIKE_A_KEY}'", [], id="unnamed and far from it"),
        pytest.param(f'API_KEY = "{LIKE_A_KEY}"', [], id="a key of somebody else's service"),
        pytest.param('KEY = os.environ["D360_API_KEY_OF_NUMBER_2"]  # 360dialog.io', [], id="a variable's name"),
        pytest.param('DAG("whatsapp_upload_360dialog_v2")  # 360dialog.io', [], id="a DAG's name"),
        pytest.param('Dialog360Hook("dialog360_default")', [], id="a connection's name"),
        pytest.param('api_key = "{{ conn.dialog360_default.password }}"  # D360-API-KEY', [], id="a template"),
    ],
)  # fmt: skip
def test_what_looks_like_a_key(text, lines):
    assert key_scan.find_keys(text) == lines


def test_a_key_in_a_dag_file_is_reported_by_place_and_never_shown(dialog360, connected, tmp_path, monkeypatch):
    """T9."""
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "send.py").write_text(f'\n\nHEADERS = {{"D360-API-KEY": "{LIKE_A_KEY}"}}\n')
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path))
    done = dialog360("doctor", "--conn-id", "number_a")
    assert done.status == 1
    assert "FAIL  keys in DAG folder: team/send.py:3 holds a text that looks like an API key.\n" in done.out
    assert LIKE_A_KEY not in done.out + done.err


def test_the_scan_is_bounded_and_says_what_it_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(key_scan, "MAX_FILES", 3)
    for at in range(4):
        (tmp_path / f"dag_{at}.py").write_text("# 360dialog.io")
    (tmp_path / "a_large.py").write_text("#" * (key_scan.MAX_BYTES + 1))
    (tmp_path / "key.txt").write_text(LIKE_A_KEY)
    seen = key_scan.scan(tmp_path)
    assert (seen.files, seen.left_out, seen.places) == (3, 2, ())


def test_the_examples_hold_no_key(checkout):
    seen = key_scan.scan(Path(checkout, "dags_examples"))
    assert seen.files
    assert seen.places == ()
