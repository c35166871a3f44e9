"""Any order of claims, deaths, thefts, deletions and refreshes, on a real store whose clock moves: what must hold, holds."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import hypothesis.strategies as st
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger import store as store_module
from airflow_provider_360dialog.ledger.decisions import DEFAULT_VALIDITY_S, LEASE_S
from airflow_provider_360dialog.ledger.statistics import read_statistics
from airflow_provider_360dialog.ledger.store import Store
from airflow_provider_360dialog.ledger.uploads import Claim
from airflow_provider_360dialog.ports import UploadedMedia
from tests.ledger.doubles import NOW_SQL, START, Worker, file_of, gone, ledger_of, new_id, row_of, states

OUTCOMES = ("heard", "accepted, not heard", "not accepted")
FILES = (file_of("a"), file_of("b"))
LEFT_BEHIND = {schema.DELETED, schema.GONE}
KNOWN = {schema.CURRENT, schema.RETIRING, schema.SURPLUS, schema.DELETING, *LEFT_BEHIND}


@dataclass
class Attempt:
    """A worker with a claim, as 360dialog sees it."""

    file: object
    claim: Claim
    answered: str | None = None  # the one that reached the worker
    cut_off: bool = False  # whether the last POST was


class Ledger(RuleBasedStateMachine):
    """The model: every id that 360dialog gave, and those that reached the ledger."""

    held = Bundle("held")

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="ledger-machine-"))
        self.url = f"sqlite:///{self.folder}/l.db"
        self.now = START
        store = Store(self.url, now_sql=NOW_SQL)
        with store.write() as db:
            db.exec_driver_sql("CREATE TABLE test_clock (at DOUBLE PRECISION NOT NULL)")
            db.exec_driver_sql(f"INSERT INTO test_clock VALUES ({START!r})")
        self.store = store.open()
        self.ledger = ledger_of(self.store)
        self.uploads = self.ledger.uploads
        self.given = Counter()  # ids that 360dialog gave, for each file
        self.recorded = Counter()  # those that were stored
        self.finished = {}  # id -> file
        self.dead = set()  # deleted or gone

    def teardown(self):
        for name in [name for name in store_module._engines if name[1] == self.url]:
            store_module._engines.pop(name).dispose()
        shutil.rmtree(self.folder)

    # --- what workers do

    @rule(
        target=held,
        file=st.sampled_from((FILES[0], *FILES)),
        task=st.sampled_from([None, "t", "u"]),
        try_number=st.integers(1, 3),
        reuse=st.sampled_from([False, False, True]),
        late=st.booleans(),
        outcomes=st.lists(st.sampled_from(OUTCOMES), max_size=2),
    )
    def claim(self, *, file, task, try_number, reuse, late, outcomes):
        if late:
            self.advance(LEASE_S)
        before = row_or_none(self.store, file)
        step = Worker(self.ledger, task=task, try_number=try_number).claim(file, reuse=reuse)
        live = before is not None and before.owner is not None and before.lease_until > self.now
        if isinstance(step, Claim):
            if live:
                assert task is not None
                assert before.task == task
                assert try_number > before.try_number
            assert step.fence == (before.fence if before is not None else 0) + 1
            attempt = Attempt(file, step)
            for outcome in outcomes:
                self._send(attempt, outcome)
            return attempt
        if isinstance(step, UploadedMedia):
            assert reuse
            self._may_be_returned(step, file)
        else:
            assert live
            assert step.for_s == before.lease_until - self.now
        return multiple()

    @rule(file=st.sampled_from(FILES))
    def adopt(self, file):
        found = self.uploads.adopt(file)
        if found is not None:
            self._may_be_returned(found, file)

    @rule(attempt=held, outcome=st.sampled_from(OUTCOMES))
    def send(self, attempt, outcome):
        self._send(attempt, outcome)

    def _send(self, attempt, outcome):
        if attempt.answered is not None or not self._may_send(attempt):
            return
        attempt.cut_off = outcome != "heard"
        if outcome != "not accepted":
            self.given[attempt.file] += 1
        if outcome == "heard":
            attempt.answered = new_id()

    @rule(attempt=consumes(held), how=st.sampled_from(["store", "store", "store twice", "find the bytes wrong", "die"]))
    def end(self, attempt, how):
        """A whole answer is stored, once or (not knowing whether it was) twice; else the claim is given back, or forgotten."""
        if how == "die":
            return
        if attempt.answered is None:
            self.uploads.release(attempt.claim, unknown=attempt.cut_off)
            return
        if how == "find the bytes wrong":
            self.uploads.discard(attempt.claim, attempt.answered)
        else:
            holds = self._holds(attempt)
            for _ in range(2 if how == "store twice" else 1):
                record = self.uploads.complete(attempt.claim, attempt.file, attempt.answered)
                assert (record is not None) is holds
        self.recorded[attempt.file] += 1
        self.finished[attempt.answered] = attempt.file

    @rule(attempt=held)
    def renew(self, attempt):
        assert self.uploads.renew(attempt.claim) is self._holds(attempt)

    # --- what becomes of ids

    @rule(data=st.data(), how=st.sampled_from(["deleting", "deleted", "gone", "used"]))
    def mark(self, data, how):
        alive = sorted(set(self.finished) - self.dead)
        if not alive:
            return
        media_id = data.draw(st.sampled_from(alive))
        if how == "used":
            assert self.uploads.mark_used(media_id)
        elif how == "deleting":
            assert self.uploads.mark(media_id, schema.DELETING)
        else:
            if how == "deleted":
                self.ledger.is_deleted(media_id)
            else:
                self.ledger.is_gone(gone(media_id))
            self.dead.add(media_id)

    @rule(seconds=st.sampled_from([LEASE_S - 1, LEASE_S, LEASE_S, 5 * 86_400.0, 23 * 86_400.0]))
    def advance(self, seconds):
        self.now += seconds
        with self.store.write() as db:
            db.exec_driver_sql(f"UPDATE test_clock SET at = {self.now!r}")

    # --- what must hold

    @invariant()
    def at_most_one_id_is_current(self):
        with self.store.read() as db:
            current = db.execute(
                sa.select(schema.media.c.fingerprint_id, sa.func.count())
                .where(schema.media.c.state == schema.CURRENT)
                .group_by(schema.media.c.fingerprint_id)
            ).all()
        assert all(count == 1 for _, count in current)

    @invariant()
    def no_id_is_lost(self):
        known = states(self.store)
        assert set(known) == set(self.finished)
        assert set(known.values()) <= KNOWN
        assert all(known[media_id] in LEFT_BEHIND for media_id in self.dead)
        assert all(self.ledger.refused.look_up(media_id) is not None for media_id in self.dead)

    @invariant()
    def every_orphan_is_owned_up_to(self):
        owned = 0
        for file in FILES:
            row = row_or_none(self.store, file)
            at_most = 0 if row is None else row.orphan_possible + row.sending
            assert at_most >= self.given[file] - self.recorded[file]
            owned += at_most
        assert read_statistics(self.store)[0].orphan_possible <= owned

    def _holds(self, attempt):
        row = row_of(self.store, attempt.file)
        return (row.fence, row.owner) == (attempt.claim.fence, attempt.claim.owner)

    def _may_send(self, attempt):
        """The first POST is on record with the claim, each further one by `send_again`; who has lost the lease sends nothing."""
        return self.uploads.send_again(attempt.claim) if attempt.cut_off else True

    def _may_be_returned(self, media, file):
        assert self.finished[media.media_id] == file
        assert media.media_id not in self.dead
        assert states(self.store)[media.media_id] == schema.CURRENT
        assert media.safe_until.timestamp() >= self.now + DEFAULT_VALIDITY_S - 0.001


def row_or_none(store, file):
    with store.read() as db:
        return db.execute(sa.select(schema.fingerprint).where(schema.fingerprint.c.sha256 == file.sha256)).first()


TestLedger = Ledger.TestCase
TestLedger.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)
