"""docs/inbound.md: its receiver of webhooks is run as it stands there, and its figures and tables are those of the code."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import httpx
import pytest

from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.hooks.inbound import ENDINGS
from airflow_provider_360dialog.jobs import archive, intake
from airflow_provider_360dialog.ledger import inbound, rules
from airflow_provider_360dialog.ledger.intake import MOST_PENDING
from airflow_provider_360dialog.webhook import INBOUND_LIFE, Inbound, InboundMedia, UnusableMedia
from tests.docs import test_examples as examples
from tests.docs.pages import between, codes, section

emulated = examples.emulated  # the emulator behind the default connection, in an empty folder

SECRET = "a-secret-of-the-test"
WEBHOOK = b'{"object": "whatsapp_business_account", "entry": []}\n'
HEADER = {"X-Webhook-Secret": SECRET}
SETTINGS = ("WEBHOOK_FOLDER", "WEBHOOK_HEADER_SECRET", "WEBHOOK_SIGNING_SECRET")


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Run the block of the page with these settings; what it defines."""

    def start(**settings):
        for name in SETTINGS:
            monkeypatch.delenv(name, raising=False)
        for name, value in {"WEBHOOK_FOLDER": str(tmp_path / "webhooks"), **settings}.items():
            monkeypatch.setenv(name, value)
        (block,) = examples.RECEIVERS
        namespace = {"__name__": "receiver"}
        exec(compile(block.text, str(block), "exec"), namespace)
        return namespace

    return start


def post(receiver, body, headers):
    async def send():
        transport = httpx.ASGITransport(app=receiver["app"])
        async with httpx.AsyncClient(transport=transport, base_url="http://receiver") as client:
            return await client.post("/webhook", content=body, headers=headers)

    return asyncio.run(send())


def signature(body, secret=SECRET):
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def landed(tmp_path):
    """Every file below the folder of webhooks, hidden ones too."""
    return sorted(path for path in (tmp_path / "webhooks").rglob("*") if path.is_file())


def in_pieces(size_bytes):
    """A body whose length is not said beforehand."""

    async def pieces():
        for _ in range(size_bytes // 65_536 + 1):
            yield b" " * 65_536

    return pieces()


# --- the receiver -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no signature"),
        pytest.param({"X-Hub-Signature-256": ""}, id="an empty one"),
        pytest.param({"X-Hub-Signature-256": f"sha256={signature(WEBHOOK, 'another secret')}"}, id="one by another secret"),
        pytest.param({"X-Hub-Signature-256": f"sha256={signature(WEBHOOK + b' ')}"}, id="one of another body"),
        pytest.param({"X-360dialog-Signature": signature(WEBHOOK)[:-1]}, id="one that is cut off"),
        pytest.param({"X-Hub-Signature-256": "sha256=é".encode("latin-1")}, id="one that is no ASCII"),
        pytest.param(HEADER, id="the secret itself"),
    ],
)
def test_a_webhook_without_the_right_signature_is_refused_and_not_stored(headers, start, tmp_path):
    assert post(start(WEBHOOK_SIGNING_SECRET=SECRET), WEBHOOK, headers).status_code == 403
    assert landed(tmp_path) == []


@pytest.mark.parametrize(
    "headers", [{}, {"X-Webhook-Secret": "another"}, {"X-Hub-Signature-256": f"sha256={signature(WEBHOOK)}"}]
)
def test_a_webhook_without_the_right_header_is_refused_and_not_stored(headers, start, tmp_path):
    assert post(start(WEBHOOK_HEADER_SECRET=SECRET), WEBHOOK, headers).status_code == 403
    assert landed(tmp_path) == []


@pytest.mark.parametrize("headers", [HEADER, {"X-360dialog-Signature": signature(WEBHOOK, "other")}])
def test_with_both_secrets_one_is_not_enough(headers, start, tmp_path):
    receiver = start(WEBHOOK_HEADER_SECRET=SECRET, WEBHOOK_SIGNING_SECRET="other")
    assert post(receiver, WEBHOOK, headers).status_code == 403
    assert landed(tmp_path) == []
    assert post(receiver, WEBHOOK, HEADER | {"X-360dialog-Signature": signature(WEBHOOK, "other")}).status_code == 200


def test_it_does_not_start_without_a_secret(start):
    with pytest.raises(SystemExit, match="WEBHOOK_HEADER_SECRET"):
        start()


@pytest.mark.parametrize(
    ("setting", "headers"),
    [
        pytest.param("WEBHOOK_SIGNING_SECRET", {"X-Hub-Signature-256": f"sha256={signature(WEBHOOK)}"}, id="Meta"),
        pytest.param("WEBHOOK_SIGNING_SECRET", {"X-360dialog-Signature": signature(WEBHOOK)}, id="360dialog"),
        pytest.param("WEBHOOK_HEADER_SECRET", HEADER, id="header"),
    ],
)
def test_a_good_webhook_is_stored_as_it_came(setting, headers, start, tmp_path):
    receiver = start(**{setting: SECRET})
    assert post(receiver, WEBHOOK, headers).status_code == 200
    assert post(receiver, WEBHOOK, headers).status_code == 200
    files = landed(tmp_path)
    assert len(files) == 2  # one for each, and nothing unfinished beside them
    for path in files:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d/\d\d/[0-9a-f-]{36}\.json", str(path.relative_to(tmp_path / "webhooks")))
        assert path.read_bytes() == WEBHOOK


@pytest.mark.parametrize("body", [b" " * (3 * 1024 * 1024 + 1), None], ids=["at once", "in pieces"])
def test_a_webhook_that_is_too_large_is_refused_and_not_stored(body, start, tmp_path):
    sent = in_pieces(3 * 1024 * 1024) if body is None else body
    assert post(start(WEBHOOK_HEADER_SECRET=SECRET), sent, HEADER).status_code == 413
    assert landed(tmp_path) == []


def test_the_largest_webhook_is_taken(start, tmp_path):
    body = b" " * (3 * 1024 * 1024)
    assert post(start(WEBHOOK_HEADER_SECRET=SECRET), body, HEADER).status_code == 200
    assert [path.stat().st_size for path in landed(tmp_path)] == [len(body)]


def test_a_webhook_can_be_put_into_an_object_store(start):
    """By one put; a store in memory stands for it."""
    import fsspec

    receiver = start(WEBHOOK_FOLDER="memory://inbox/webhooks", WEBHOOK_HEADER_SECRET=SECRET)
    assert post(receiver, WEBHOOK, HEADER).status_code == 200
    store = fsspec.filesystem("memory")
    (path,) = store.find("/inbox/webhooks")
    assert re.fullmatch(r"/inbox/webhooks/\d{4}-\d\d-\d\d/\d\d/[0-9a-f-]{36}\.json", path)
    assert store.cat_file(path) == WEBHOOK
    store.rm("/inbox", recursive=True)


def test_what_it_landed_is_archived(start, tmp_path, emulated):
    """And the pages show the fields that result and metadata have."""
    photo = Path("summer.jpg").read_bytes()
    receiver = start(WEBHOOK_HEADER_SECRET=SECRET)
    for caption, with_url in (("by its URL", True), ("by its id", False)):
        webhook = emulated.inject_webhook_media(photo + caption.encode(), caption=caption, with_url=with_url)
        assert post(receiver, json.dumps(webhook).encode(), HEADER).status_code == 200
    (lost,) = webhook["entry"][0]["changes"][0]["value"]["messages"]
    del lost["image"]["id"]
    lost["id"] = "wamid.lost"
    assert post(receiver, json.dumps(webhook).encode(), HEADER).status_code == 200

    result = Dialog360Hook().archive_inbound(f"{tmp_path}/webhooks/", "archive", write_metadata=True)

    assert result["counts"] | {"bytes": 0} == {
        "taken_in": 3, "archived": 2, "bytes": 0, "lost": 1, "pending": 0, "suspects": 0, "not_deleted": 0
    }  # fmt: skip
    names = [path.relative_to("archive") for path in sorted(Path("archive").rglob("*.jpg"))]
    assert len(names) == 2
    for name in names:
        content = Path("archive", name).read_bytes()
        assert content.startswith(photo)
        sha8 = hashlib.sha256(content).hexdigest()[:8]
        assert re.fullmatch(rf"{emulated.number_id}/\d{{4}}/\d\d/\d\d/\d+-{sha8}\.jpg", str(name))
        metadata = json.loads(Path("archive", f"{name}.json").read_text())
        assert set(metadata) == first_cells("metadata")
        assert content == photo + metadata["caption"].encode()
    assert re.search(rf"/{emulated.number_id}/lost/\d{{4}}-\d\d-\d\d-run-\d+\.jsonl$", result["lost_uri"])

    shown = json.loads(re.search(r"```json\n(.*?)```", section("inbound.md", "The archive of what customers send"), re.DOTALL)[1])
    assert list(shown) == list(result)
    assert list(shown["counts"]) == list(result["counts"])
    assert codes(described("counts")) >= set(result["counts"])
    assert first_cells_of(section("operators.md", "Dialog360ArchiveInboundMediaOperator")) >= set(result)


# --- figures and tables -------------------------------------------------------------------------------------------


def first_cells_of(text):
    return {name for cell in re.findall(r"^\|([^|]+)\|", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)}


def first_cells(marker):
    return first_cells_of(between("inbound.md", marker))


def described(name):
    (row,) = re.findall(rf"^\| `{name}` \|.*$", section("operators.md", "Dialog360ArchiveInboundMediaOperator"), re.MULTILINE)
    return row


def test_every_reason_of_a_loss_has_its_row():
    rows = re.findall(r"^\| `(\w+)` \|", between("inbound.md", "reasons"), re.MULTILINE)
    assert rows == list(get_args(inbound.Loss))


def test_every_field_of_the_report_has_its_row():
    lost = inbound.LostMedia(1, "1", "image", "gone", "", 0.0, None, "webhooks/a.json", 1)
    assert re.findall(r"^\| `(\w+)` \|", between("inbound.md", "report"), re.MULTILINE) == list(
        json.loads(archive._report_line(lost))
    )


def test_every_count_of_webhooks_is_described():
    counts = {each.name for each in fields(intake.Intake)} - {"fault"}
    assert first_cells_of(section("operators.md", "Dialog360ArchiveInboundMediaOperator")) >= counts


def test_the_fields_of_a_payload_are_those_that_are_read():
    text = section("operators.md", "read_inbound")
    assert first_cells_of(text) == {each.name for each in fields(Inbound)}
    for name, record in (("media", InboundMedia), ("unusable", UnusableMedia)):
        (row,) = re.findall(rf"^\| `{name}` \|.*$", text, re.MULTILINE)
        assert codes(row) >= {each.name for each in fields(record)}


def test_the_fields_of_a_standing_are_those_that_are_given():
    assert codes(section("operators.md", "inbound_standing")) >= {each.name for each in fields(inbound.Standing)} | {
        "oldest_pending_s"
    }


def test_the_numbers_of_the_archive_are_those_that_hold():
    numbers = {name: f"{value:.6g}" for name, value in vars(inbound).items() if name.isupper() and type(value) in {int, float}}
    assert len(numbers) > 5
    assert re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", between("architecture.md", "inbound"), re.MULTILINE) == list(numbers.items())


def test_the_words_for_these_numbers_are_right():
    assert INBOUND_LIFE.total_seconds() == inbound.LIFE_S == 7 * 86_400
    order = section("inbound.md", "In what order")
    assert inbound.URGENT_S == 86_400
    assert "What ends within a day" in order
    assert inbound.LAST_MOMENT_S == 60
    assert "In the last minute of its seven days" in order
    assert (inbound.AGAIN_AFTER_S, inbound.LONGEST_REST_S) == (3600, 86_400)
    assert "an hour, then 2, 4, ... up to a day" in order
    assert archive._HANDS == 3
    assert "Three files are under way at once." in order
    assert archive._READY_AFTER_S == 5
    assert "younger than five seconds" in order
    assert inbound.LEASE_S == 120
    assert "other tasks do so after two minutes" in order
    assert rules.MOST_BY_WEBHOOK_URL == 2
    assert "At most two of the credits" in order
    assert "at most 2 of the credits" in section("operators.md", "The error budget")
    forged = section("inbound.md", "Why the sender is checked")
    assert (inbound.SUSPECT_AFTER, inbound.SUSPECT_EVERY_S) == (3, 3600)
    assert "Three failures in a row" in forged
    assert "one an hour" in forged


def test_the_throughput_is_what_the_budgets_allow():
    order = section("inbound.md", "In what order")
    strict, documented = rules.STRICT, rules.DOCUMENTED
    assert strict.window_s == documented.window_s == 3600
    assert f"{strict.max_errors} credits and 1 % dead ids that is {strict.max_errors / 0.01:,.0f} an hour" in order
    assert f"{documented.max_errors} credits" in order
    assert f"{documented.max_errors / 0.01:,.0f}." in order


def test_the_bounds_of_what_is_read_are_those_that_hold():
    text = section("inbound.md", "What the archive reads")
    assert f"{intake.DOCUMENT_MAX_BYTES >> 20} MiB" in text
    assert f"{intake.LINE_MAX_BYTES >> 20} MiB" in text
    assert f"{MOST_PENDING:,} files" in text
    assert {code for code in codes(text) if code.startswith(".")} == {each for each in ENDINGS if not each.endswith(".gz")} | {
        ".gz"
    }
    assert intake.WEBHOOK_URL_LIFE.total_seconds() == 300
    assert "`webhook_url_life` after the message (5 minutes" in section("inbound.md", "In what order")
