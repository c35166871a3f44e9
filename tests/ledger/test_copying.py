"""A whole ledger goes into an empty one: nothing is left behind, and work goes on there."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from airflow_provider_360dialog.exceptions import LedgerMissingError, LedgerRefusedError
from airflow_provider_360dialog.ledger import copying, schema
from airflow_provider_360dialog.ledger.campaign_runs import Presence
from airflow_provider_360dialog.ledger.campaigns import Campaigns
from airflow_provider_360dialog.ledger.channel import ChannelLedger
from airflow_provider_360dialog.ledger.channels import Channels
from airflow_provider_360dialog.ledger.copying import copy_ledger
from airflow_provider_360dialog.ledger.decisions import Claimant
from airflow_provider_360dialog.ledger.store import Store
from airflow_provider_360dialog.ledger.uploads import Claim
from tests.ledger.doubles import file_of, together, upload
from tests.support.ledger import MovedClock
from tests.ui.demo import CENTRE, NORTH, Demo


@pytest.fixture
def old(tmp_path):
    """A SQLite ledger with something of everything."""
    (tmp_path / "old").mkdir()
    clock = MovedClock(tmp_path / "old")
    store = Store(f"sqlite:///{tmp_path}/old/ledger.db", now_sql=clock.now_sql).open()
    demo = Demo(store, clock).fill(ids=40, items=18)
    with Presence(store, 1, 1, None).told():
        pass
    with store.write() as db:
        db.execute(schema.audit.insert().values(at=1.0, channel_id=1, media_id="7", action="deleted", reason="r"))
        db.execute(schema.source.insert().values(question="q", stamp="s", verdict="{}", seen_at=1.0))
        db.execute(schema.refused.insert().values(channel_id=1, media_id="8", status=400, details="d", refused_at=1.0))
    demo.store, demo.clock = store, clock
    return demo


def rows_of(store):
    """Table -> its rows, but what one machine noted of itself."""
    with store.read() as db:
        found = {table.name: sorted(map(repr, db.execute(sa.select(table)))) for table in schema.metadata.tables.values()}
    found["d360_meta"] = [row for row in found["d360_meta"] if "boot:" not in row]
    return found


def test_everything_goes_along_and_work_goes_on(old, url, monkeypatch):
    """In pages; keys are known there, ids answer, and new rows get numbers of their own."""
    monkeypatch.setattr(copying, "_PAGE", 7)
    target = Store(url)
    copied = copy_ledger(old.store, target)
    before = rows_of(old.store)
    assert all(before.values()), [name for name, rows in before.items() if not rows]
    assert rows_of(target) == before
    assert copied == {name: len(rows) for name, rows in before.items() if name != "d360_meta"}
    by_key, _ = Channels(target).look_up(api_key=f"test-key-{NORTH}", conn_id="another", origin="https://h")
    assert by_key == old.channels[NORTH].identity
    upload(ChannelLedger(target, lambda: old.channels[CENTRE].identity), file_of("a new one"))
    done = Campaigns(target).work(Campaigns(target).find("welcome-logo"))
    assert [(each.items, each.ready) for each in done] == [(1, 1)]
    assert Campaigns(target).begin_plan("another", 4e9).row > len(before["d360_campaign"])


def test_nothing_is_copied_over_something(old, url):
    """Also not where the copy was made a moment ago; what stands there stays."""
    target = Store(url)
    copy_ledger(old.store, target)
    before = rows_of(target)
    with pytest.raises(LedgerRefusedError, match="a copy needs an empty database"):
        copy_ledger(old.store, target)
    assert rows_of(target) == before


def test_of_two_copies_at_once_one_is_made(old, url):
    def attempt(_):
        try:
            return sum(copy_ledger(old.store, Store(url)).values()) > 0
        except LedgerRefusedError:
            return False

    assert sorted(together(2, attempt)) == [False, True]
    assert rows_of(Store(url)) == rows_of(old.store)


def test_a_copy_that_breaks_off_leaves_an_empty_ledger(old, url, monkeypatch):
    """And can be made again."""
    with monkeypatch.context() as broken:
        broken.setattr(copying, "_copy_pepper", None)
        with pytest.raises(TypeError):
            copy_ledger(old.store, Store(url))
    with Store(url).open().read() as db:
        assert db.execute(sa.select(schema.channel)).all() == []
    assert copy_ledger(old.store, Store(url))["d360_channel"] == 4


def claimed(demo):
    assert isinstance(demo.channels[NORTH].uploads.claim(demo.file(), Claimant("somebody"), reuse=False), Claim)


def fetching(demo):
    demo.channels[NORTH].ration.hold(for_s=60)


def archiving(demo):
    assert demo.channels[NORTH].inbound.take(Claimant("somebody"))


@pytest.mark.parametrize("work", [claimed, fetching, archiving])
def test_a_ledger_that_is_at_work_is_not_copied(old, url, work):
    """What is under way would come to its end in the old one only."""
    work(old)
    with pytest.raises(LedgerRefusedError, match="tasks are at work in it"):
        copy_ledger(old.store, Store(url))


def test_a_killed_tasks_work_is_over_in_a_while(old, url):
    claimed(old)
    old.clock.advance(130)
    assert copy_ledger(old.store, Store(url))["d360_channel"] == 4


def test_a_ledger_is_no_copy_of_itself(old):
    with pytest.raises(LedgerRefusedError, match="the ledger that is to be copied"):
        copy_ledger(old.store, Store(f"sqlite:///{old.store.place}"))


def test_where_there_is_no_ledger_there_is_nothing_to_copy(tmp_path, url):
    with pytest.raises(LedgerMissingError):
        copy_ledger(Store(f"sqlite:///{tmp_path}/none.db"), Store(url))
