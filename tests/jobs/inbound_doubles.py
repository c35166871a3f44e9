"""What the tests of the archive share: a number that receives, a place where its webhooks land, a folder, and one moved clock."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from airflow_provider_360dialog.api.client import MediaApi
from airflow_provider_360dialog.exceptions import Dialog360Error
from airflow_provider_360dialog.hooks.folders import folder_at
from airflow_provider_360dialog.hooks.inbound import _file, webhook_files
from airflow_provider_360dialog.jobs.archive import Archiver, write_report
from airflow_provider_360dialog.jobs.calls import Calls
from airflow_provider_360dialog.jobs.intake import Finder, is_payload, take_in
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ports import Channel, Timeouts
from tests.jobs.doubles import Patient
from tests.support.ledger import MovedClock, channel_of, open_store

HOUR_S = 3600.0
DAY_S = 86_400.0
DEADLINE_S = 60.0
"""Nothing that a test waits for takes so long; it is there so that a test ends."""


def jpeg(size_bytes=300):
    """A photo that no other test has."""
    return b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + os.urandom(size_bytes) + b"\xff\xd9"


def message_of(webhook):
    return webhook["entry"][0]["changes"][0]["value"]["messages"][0]


def part_of(webhook):
    message = message_of(webhook)
    return message[message["type"]]


def id_of(webhook):
    return part_of(webhook)["id"]


def hash_of(url):
    """What of a media URL is its secret."""
    return parse_qs(urlsplit(url).query)["hash"][0]


def without(webhook, *names):
    """The same without some fields of its media object."""
    copy = json.loads(json.dumps(webhook))
    for name in names:
        part_of(copy).pop(name)
    return copy


def tree(folder):
    """Every file below a folder, hidden ones and unfinished ones too: relative name -> bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def wait_for(condition, what="what the test waits for"):
    """Wait for a condition, not for a time."""
    ends_at = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < ends_at, f"{what} did not come"
        time.sleep(0.01)


class BothClocks:
    """The ledger's clock and the emulator's, moved together; the ledger is a new one, in ``folder``."""

    def __init__(self, folder, emu):
        self._emu, self._ledger = emu, MovedClock(folder)
        self._ledger.advance(emu.state.now_s() - time.time())

    now_sql = MovedClock.now_sql

    def advance(self, seconds):
        if seconds is None or seconds <= 0:
            return
        self._emu.advance(seconds)
        self._ledger.advance(seconds)


@dataclass
class Outcome:
    """What one run did. ``error``: what `Archiver.archive` raised; then there is no report."""

    run: int
    found: object = None
    error: BaseException | None = None
    report_uri: str | None = None
    not_deleted: int = 0
    counts: object = None
    standing: object = None


@dataclass
class Once:
    """Counts calls of a function that stay what they are."""

    do: object
    calls: list = field(default_factory=list)

    def __call__(self, *args, **kwargs):
        self.calls.append((args, kwargs))
        return self.do(*args, **kwargs)


class Desk:
    """A number with a ledger of its own. `archive` does what the hook does, without Airflow.

    Args:
        number: of the canary. path: an empty folder. stop: the flag; None: one that moves both clocks and does not wait.
    """

    def __init__(self, number, path, *, stop=None, timeouts=None):
        self.number, self.emu, self.path = number, number.emu, path
        self.landing, self.place = path / "landing", path / "archive"
        self.landing.mkdir()
        self.clock = BothClocks(path, self.emu)
        self.stop = stop or Patient(self.clock)
        self.timeouts = timeouts or Timeouts(2.0, 2.0, 5.0)
        self.store = open_store(path, now_sql=self.clock.now_sql)
        self.folder = folder_at(self.place)
        self._apis = []
        self.calls = self.calls_of()

    def now(self):
        return datetime.fromtimestamp(self.emu.state.now_s(), UTC)

    def calls_of(self, *, number=None, stop=None, base_url=None, key=None, **task):
        """A channel's wire and ledger; ``task`` and ``try_number`` as Airflow has them."""
        number = number or self.number
        channel = Channel(api_key=key or number.key, base_url=base_url or number.base_url, timeouts=self.timeouts)
        api = MediaApi(channel, now=self.now)
        self._apis.append(api)
        ledger = channel_of(self.store, number.number_id, api_key=number.key, **task)
        return Calls(api, ledger, now=self.now, stop=stop or self.stop)

    def close(self):
        for api in self._apis:
            api.close()

    # --- what customers send --------------------------------------------------------------------------------------

    def receive(self, content=None, mime_type="image/jpeg", *, url=True, number=None, **more):
        """A customer sends a file; its webhook."""
        return self.emu.inject_webhook_media(
            jpeg() if content is None else content,
            mime_type=mime_type,
            number=(number or self.number).number_id,
            with_url=url,
            **more,
        )

    def forge(self, media_id=None, *, url=None, number=None, received_at=None):
        """A webhook that somebody made up."""
        webhook = without(self.receive(b"x", number=number), "url", "sha256")
        part_of(webhook)["id"] = media_id or str(900_000_000_000_000 + int.from_bytes(os.urandom(6)))
        if url is not None:
            part_of(webhook)["url"] = url
        if received_at is not None:
            message_of(webhook)["timestamp"] = str(int(received_at))
        return webhook

    def forge_many(self, count, *, url=None):
        """Many of these, quickly."""
        text = json.dumps(self.forge("1234567890123456", url="https://h/u" if url else None))
        made = []
        for _ in range(count):
            media_id = str(900_000_000_000_000 + int.from_bytes(os.urandom(6)))
            made.append(json.loads(text.replace("1234567890123456", media_id)))
            if url is not None:
                part_of(made[-1])["url"] = url(media_id)
        return made

    def fake_url(self, ext=None):
        """A URL of the right form that 360dialog never gave."""
        ext = int(self.emu.state.now_s() + 1000 * DAY_S) if ext is None else int(ext)
        return f"https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1&ext={ext}&hash=made-up-{os.urandom(4).hex()}"

    def land(self, name, *webhooks):
        """Write webhooks as JSON Lines; the path."""
        path = self.landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(each) + "\n" for each in webhooks))
        return path

    # --- what is done with it -------------------------------------------------------------------------------------

    def begin(self, calls=None):
        ledger = (calls or self.calls).ledger
        return ledger.intake.begin(task=ledger.task)

    def take_in(self, source, *, run=None, calls=None, payloads=None, **more):
        """Only the intake; what was found."""
        calls = calls or self.calls
        files = webhook_files(source, {} if payloads is None else payloads)
        return take_in(files, run=self.begin(calls) if run is None else run, calls=calls, **more)

    def archiver(self, *, calls=None, folder=None, payloads=None, **options):
        calls, known = calls or self.calls, payloads or {}
        finder = Finder(lambda uri: known.get(uri) if is_payload(uri) else _file(uri))
        return Archiver(lambda call: call(calls), folder or self.folder, finder, calls.stop, **options)

    def archive(self, source=None, *, calls=None, folder=None, webhook_url_life=None, **options):
        """One run from the webhooks to the report. What `Archiver.archive` raises is in the outcome."""
        calls, folder, payloads = calls or self.calls, folder or self.folder, {}
        outcome = Outcome(self.begin(calls))
        life = {} if webhook_url_life is None else {"webhook_url_life": webhook_url_life}
        outcome.found = self.take_in(source, run=outcome.run, calls=calls, payloads=payloads, **life)
        archiver = self.archiver(calls=calls, folder=folder, payloads=payloads, **options)
        try:
            outcome.not_deleted = archiver.archive(outcome.run, calls)
        except Dialog360Error as error:
            outcome.error = error
        else:
            outcome.report_uri = write_report(folder, outcome.run, calls)
        if calls.stop.is_set():
            return outcome
        outcome.counts = calls.ledger.inbound.counts(outcome.run)
        outcome.standing = calls.ledger.inbound.standing()
        return outcome

    # --- what came of it ------------------------------------------------------------------------------------------

    def files(self):
        """What stands in the archive: name -> bytes; everything, so also what should not be there."""
        return tree(self.place) if self.place.exists() else {}

    def archived_ids(self):
        return {name.rpartition("/")[2].split("-")[0] for name in self.files() if "/lost/" not in name}

    def sent(self):
        """Fetches and downloads that reached the emulator."""
        return self.number.sent("fetch"), self.number.sent("download")

    def counters(self):
        return self.emu.counters(self.number.number_id)

    def failed(self):
        """Failed fetches and downloads that 360dialog has counted or could have."""
        refused = self.counters()["refused"]
        return sum(count for name, count in refused.items() if name.startswith(("fetch", "download")))

    def rows(self, *names):
        """The ledger's rows of received files as dictionaries, in the order in which they were taken in."""
        with self.store.read() as db:
            rows = [dict(each) for each in db.execute(schema.inbound.select().order_by(schema.inbound.c.id)).mappings()]
        return [{name: row[name] for name in names} for row in rows] if names else rows

    def row(self, media_id):
        return next(row for row in self.rows() if row["media_id"] == media_id)

    def leases(self):
        return [row["media_id"] for row in self.rows() if row["owner"] is not None]

    def report(self, outcome):
        """The lines of a run's report."""
        with open(outcome.report_uri, encoding="utf-8") as file:  # noqa: PTH123 - the URI is a path here
            return [json.loads(line) for line in file]

    def ledger_bytes(self):
        """All that is written in the ledger's files."""
        with contextlib.closing(sqlite3.connect(self.path / "ledger.db", timeout=30)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return b"".join(path.read_bytes() for path in self.path.glob("ledger.db*"))

    def check_never_blocked(self):
        """By the emulator's own count."""
        counters = self.counters()
        assert (counters["blocks"], counters["blocked_gets"]) == (0, 0)
        assert counters["max_failed_gets_per_hour"] <= 4


@contextmanager
def desk_of(number, path, **options):
    """A desk that is closed at the end. ``path``: an empty folder."""
    desk = Desk(number, path, **options)
    try:
        yield desk
    finally:
        desk.close()


class Gate:
    """Holds calls of a function back until it is opened; tells how many stand before it."""

    def __init__(self, do):
        self._do, self._open, self._lock = do, threading.Event(), threading.Lock()
        self.waiting = 0

    def __call__(self, *args, **kwargs):
        with self._lock:
            self.waiting += 1
        assert self._open.wait(DEADLINE_S), "nobody opened the gate"
        return self._do(*args, **kwargs)

    def open(self):
        self._open.set()
