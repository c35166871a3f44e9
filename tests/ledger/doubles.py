"""What the ledger's tests share: a clock that moves, a wire that answers health, files, and the rows as they stand."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import sqlite3
import threading
from pathlib import Path

import psycopg
import sqlalchemy as sa

from airflow_provider_360dialog.exceptions import MediaGoneError
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.channel import ChannelLedger
from airflow_provider_360dialog.ledger.channels import Channels
from airflow_provider_360dialog.ledger.decisions import LEASE_S, Claimant
from airflow_provider_360dialog.ledger.uploads import Claim, Fingerprint
from airflow_provider_360dialog.ports import Channel, Health, Policy

START = 1_800_000_000.0
NOW_SQL = "(SELECT at FROM test_clock)"
ORIGIN = "https://h"
_media_ids = itertools.count(10**14)


class Clock:
    """The ledger's clock: a row in its own database, the same for every process."""

    def __init__(self, url, *, stands=False):
        self._url = url
        self.now = START
        if stands:
            return
        self._execute(f"CREATE TABLE test_clock AS SELECT {START!r}{'' if url.startswith('sqlite') else '::float8'} AS at")

    def advance(self, seconds):
        """Move it, also backwards."""
        self.now += seconds
        self._execute(f"UPDATE test_clock SET at = {self.now!r}")

    def lapse(self):
        """Past the end of every lease."""
        self.advance(LEASE_S + 1)

    def _execute(self, sql):
        execute(self._url, sql)


def execute(url, sql):
    """One statement on a ledger's database, by another way than the ledger's; its rows."""
    if url.startswith("sqlite"):
        db = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)
        try:
            rows = db.execute(sql).fetchall()
            db.commit()
            return rows
        finally:
            db.close()
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as db:
        cursor = db.execute(sql)
        return cursor.fetchall() if cursor.description else []


class Worker:
    """One process that uploads one file, step by step; its POSTs are counted as 360dialog would."""

    def __init__(self, ledger, name="w", *, task=None, try_number=0):
        self.uploads = ledger.uploads
        self.claimant = Claimant(f"{name}:{next(_media_ids)}", task, try_number)

    def claim(self, file, **more):
        return self.uploads.claim(file, self.claimant, **more)


def file_of(content: bytes | str = b"photo", mime_type="image/jpeg"):
    """A fingerprint."""
    content = content.encode() if isinstance(content, str) else content
    return Fingerprint(hashlib.sha256(content).hexdigest(), mime_type, len(content))


def new_id():
    """A media id that was never given before."""
    return f"{os.getpid()}{next(_media_ids)}"


def upload(ledger, file, media_id=None, **more):
    """Claim and complete: the media id. ``more``: for the claim."""
    media_id = media_id or new_id()
    claim = Worker(ledger).claim(file, **{"reuse": False} | more)
    assert isinstance(claim, Claim)
    assert ledger.uploads.complete(claim, file, media_id) is not None
    return media_id


def gone(media_id, **more):
    """360dialog's refusal of an id."""
    facts = {"operation": "fetch", "status": 400, "code": 100, "details": "no such object"} | more
    return MediaGoneError(media_id=media_id, **facts)


def states(store):
    """Media id -> state."""
    with store.read() as db:
        return {row.media_id: row.state for row in db.execute(sa.select(schema.media.c.media_id, schema.media.c.state))}


def row_of(store, file):
    """The fingerprint's row, as it stands."""
    with store.read() as db:
        return db.execute(sa.select(schema.fingerprint).where(schema.fingerprint.c.sha256 == file.sha256)).one()


def unsure(store, file):
    """What the ledger owns up to for one file, running claims included."""
    row = row_of(store, file)
    return row.orphan_possible + row.sending


def ledger_of(store, number="100000000000001", **task):
    """A number's part of a ledger."""
    identity = Channels(store).bind(
        api_key="test-key-of-the-ledger", conn_id=f"c_{number}", origin=ORIGIN, phone_number_id=number
    )
    return ChannelLedger(store, lambda: identity, **task)


class FakeApi:
    """A wire that only knows health: a number, an error, or nothing; counts how often it was asked."""

    def __init__(self, answer=None):
        self.answer, self.asked = answer, 0

    def health(self):
        self.asked += 1
        if isinstance(self.answer, Exception):
            return self.answer
        return Health("AVAILABLE", self.answer, {}, ())


def connection_of(key, field=None, origin=ORIGIN):
    """What an Airflow connection says."""
    return Channel(api_key=key, base_url=origin, policy=Policy(phone_number_id=field))


class StampedSource:
    """A file in memory with a stamp, like one that lies still; counts how often it was opened."""

    def __init__(self, content, name="photo.jpg", stamp="1"):
        self.content, self.name, self.uri, self.opened = content, name, f"memory:{name}", 0
        self.stamped = stamp

    def size_bytes(self):
        return len(self.content)

    def open(self):
        self.opened += 1
        return io.BytesIO(self.content)

    def stamp(self):
        return self.stamped


class Waiting(threading.Event):
    """A flag to stop for which waiting takes no time but runs ``meanwhile`` once."""

    def __init__(self, meanwhile=None):
        super().__init__()
        self.meanwhile, self.waits_s = meanwhile, []

    def wait(self, timeout=None):
        self.waits_s.append(timeout)
        run, self.meanwhile = self.meanwhile, None
        if run is not None:
            run()
        assert len(self.waits_s) < 1000, "it waits for ever"
        return self.is_set()


def together(count, act):
    """Run ``act(i)`` in threads that start at once; their results, errors raised."""
    barrier, results = threading.Barrier(count), [None] * count
    errors = []

    def run(i):
        try:
            barrier.wait(10)
            results[i] = act(i)
        except Exception as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "it hangs"
    if errors:
        raise errors[0]
    return results


def file_place(url):
    """The path of a SQLite ledger."""
    return Path(url.removeprefix("sqlite:///"))
