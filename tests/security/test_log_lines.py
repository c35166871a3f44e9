"""Names, captions and answers that strangers write never begin a line of a log, nor do they talk to a terminal (T11)."""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime, timedelta

import pytest
from airflow.sdk.exceptions import AirflowException

from airflow_provider_360dialog.exceptions import Dialog360Error
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.operators.campaigns import Dialog360PlanCampaignOperator, Dialog360UploadCampaignOperator
from airflow_provider_360dialog.operators.files import Dialog360CheckMediaOperator
from airflow_provider_360dialog.operators.inbound import Dialog360ArchiveInboundMediaOperator
from tests.support.pictures import jpeg
from tests.support.wire import answering, http

FORGED = "CRITICAL key leaked"
EVIL = f"x\n{FORGED}\r\n{FORGED}\x1b[2J\x1b]0;title\x07\u2028{FORGED}\u202e\x85{FORGED}"
CONN_ID = "number_a"
SOON = (datetime.now(UTC) + timedelta(days=2)).isoformat()


@pytest.fixture
def connect(monkeypatch):
    def connect(base_url, key="test-key"):
        fields = {"conn_type": "dialog360", "host": base_url, "password": key, "extra": {"phone_number_id": "700000000000001"}}
        monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", json.dumps(fields))

    return connect


@pytest.fixture
def connected(number, monkeypatch):
    fields = {"conn_type": "dialog360", "host": number.base_url, "password": number.key}
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", json.dumps(fields))
    return number


@pytest.fixture
def said(caplog):
    """Run something, and give every line of ours that it logs, with the text of the error that ends it."""
    caplog.set_level(logging.DEBUG)

    def run(what):
        ended = ""
        try:
            what()
        except (Dialog360Error, AirflowException) as error:
            ended = str(error)
        lines = [each.getMessage() for each in caplog.records if "emulator" not in each.name and each.name != "uvicorn.access"]
        assert lines or ended, "nothing was looked at"
        return [*lines, ended]

    return run


def forged_in(lines):
    """What would look like another line, or move a terminal's cursor. A line of ours that has several is none of a stranger's."""
    return [
        line for line in lines if any(sign in line for sign in (f"\n{FORGED}", "\r", "\x1b", "\x07", "\u2028", "\u202e", "\x85"))
    ]


@pytest.fixture
def folder(tmp_path):
    """A good file, a bad one, both with a hostile name."""
    folder = tmp_path / "files"
    folder.mkdir()
    name = EVIL.replace("/", "_")[:80]
    (folder / f"{name}.jpg").write_bytes(jpeg())
    (folder / f"{name}.pdf").write_bytes(b"<html>not one</html>")
    return folder


def test_of_files_with_hostile_names_no_line_is_forged(folder, connected, said, tmp_path):
    """Uploaded alone, as a campaign by folder, and checked."""
    good, bad = sorted(folder.iterdir())
    ended = []

    def all_ways():
        hook = Dialog360Hook(CONN_ID)
        hook.upload(str(good))
        for way in (
            lambda: hook.upload(str(bad)),
            lambda: hook.upload(str(good.with_name(f"{EVIL[:60]}.none".replace("/", "_")))),
            lambda: Dialog360CheckMediaOperator(task_id="t", source=str(folder), report_uri=str(tmp_path / "r.html")).execute({}),
            lambda: Dialog360UploadCampaignOperator(
                task_id="t", campaign="c", dialog360_conn_id=CONN_ID, source=str(folder), needed_until=SOON, max_reject_ratio=1
            ).execute({}),
        ):
            try:
                way()
            except (Dialog360Error, AirflowException) as error:
                ended.append(str(error))

    assert forged_in([*said(all_ways), *ended]) == []
    assert len(ended) == 3


def test_of_a_manifest_with_hostile_fields_no_line_is_forged(connected, said, tmp_path):
    items = [
        {name: EVIL} | {"key": f"k{at}", "uri": "a.pdf"}
        for at, name in enumerate(("channel", "subject", "filename", "kind", EVIL))
    ]
    items += [{"key": EVIL, "uri": "a.pdf"}, {"key": "k", "uri": EVIL}, {"key": "k", "uri": f"http://u:p@h/?{EVIL}"}]
    manifest = tmp_path / "items.jsonl"
    manifest.write_text("".join(f"{json.dumps(each)}\n" for each in items) + f"{EVIL}\n")
    plan = Dialog360PlanCampaignOperator(
        task_id="t", campaign="c", source=str(manifest), channels=[CONN_ID], needed_until=SOON, max_reject_ratio=1
    )
    assert forged_in(said(lambda: plan.execute({}))) == []


@pytest.mark.parametrize("argument", ["campaign", "source", "needed_until"])
def test_of_hostile_arguments_no_line_is_forged(argument, connected, said):
    """As a run's conf may bring them along. Of a connection id that it does not know, Airflow itself speaks."""
    arguments = {"campaign": "c", "source": "/nowhere/", "needed_until": SOON, "channels": [CONN_ID], argument: EVIL}
    assert forged_in(said(lambda: Dialog360PlanCampaignOperator(task_id="t", **arguments).execute({}))) == []


def test_of_hostile_webhooks_no_line_is_forged(connected, said, tmp_path):
    """Caption, file name, sender and everything else that a customer or a forger chooses; one file is lost, one archived."""
    webhooks = []
    for _ in range(2):
        made = connected.emu.inject_webhook_media(jpeg(), mime_type="image/jpeg", number=connected.number_id, with_url=False)
        message = made["entry"][0]["changes"][0]["value"]["messages"][0]
        message |= {"from": EVIL, "id": EVIL + str(len(webhooks)), "timestamp": str(int(time.time()) - 60)}
        message["image"] |= {"caption": EVIL, "filename": EVIL, "mime_type": EVIL}
        webhooks.append(made)
    message["errors"] = [{"code": 1, "title": EVIL, "error_data": {"details": EVIL}}]
    landed = tmp_path / "landed.jsonl"
    landed.write_text("".join(f"{json.dumps(each)}\n" for each in webhooks) + f"{EVIL}\n")
    archive = Dialog360ArchiveInboundMediaOperator(
        task_id="t", source=str(landed), destination=f"{tmp_path}/archive/", dialog360_conn_id=CONN_ID, on_lost="fail"
    )
    lines = said(lambda: archive.execute({}))
    assert forged_in(lines) == []
    assert "are lost" in lines[-1]


HEALTH = {
    "health_status": {
        "can_send_message": EVIL,
        "entities": [
            {"entity_type": EVIL, "id": "1", "can_send_message": EVIL, "additional_info": [EVIL]},
            {"entity_type": "PHONE_NUMBER", "id": "1", "errors": [{"error_code": EVIL, "error_description": EVIL}]},
        ],
    }
}
ERRORS = {
    "an error": {"error": {"message": EVIL, "code": 100, "error_data": {"details": EVIL}}},
    "a plain error": {"error": EVIL},
    "meta": {"meta": {"developer_message": EVIL}},
    "a list of errors": {"errors": [{"title": EVIL, "details": EVIL}]},
}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 503])
@pytest.mark.parametrize("body", [*map(json.dumps, ERRORS.values()), EVIL], ids=[*ERRORS, "text"])
def test_of_a_hosts_hostile_words_no_line_is_forged(status, body, connect, said):
    with answering(http(f"{status} No", body=body.encode("utf-8", "surrogatepass"), Retry_After="9999")) as host:
        connect(host.base_url)
        assert forged_in(said(lambda: Dialog360Hook(CONN_ID).delete("123"))) == []


def test_of_a_hosts_hostile_health_no_line_is_forged(connect, said):
    """Nor the sentence below the test button, and in the doctor's table."""
    with answering(http(body=json.dumps(HEALTH).encode())) as host:
        connect(host.base_url)
        works, sentence = Dialog360Hook(CONN_ID).test_connection()
        assert forged_in([sentence, *said(lambda: logging.getLogger(__name__).info(sentence))]) == []
        assert works


@pytest.mark.parametrize("location", [f"https://evil.example/{FORGED}\x1b[2J", "http://[", f"//{FORGED}", "\u202e", ""])
def test_of_a_hostile_redirect_no_line_is_forged(location, connect, said):
    with answering(http("302 Found", Location=location.replace("\u202e", "\xe2\x80\xae"))) as host:
        connect(host.base_url)
        lines = said(lambda: Dialog360Hook(CONN_ID).delete("123"))
    assert forged_in(lines) == []
    assert "redirect" in lines[-1]


def test_these_tests_would_see_a_forged_line():
    assert forged_in([f"the file {EVIL} is bad", "all is well", f"the file {EVIL!r} is bad"]) == [f"the file {EVIL} is bad"]
