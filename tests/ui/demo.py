"""A ledger as it may stand on a busy evening: four numbers, campaigns in all states, what customers sent. No file and no key is real.

It is filled through the ledger's own classes, at the instants at which things happened: ``clock`` is moved over the last weeks, and
ends where it began.
"""

from __future__ import annotations

import hashlib
import random
import time

from airflow_provider_360dialog.ledger.campaigns import Campaigns, PlannedItem
from airflow_provider_360dialog.ledger.channels import Channels, Identity
from airflow_provider_360dialog.ledger.decisions import Claimant
from airflow_provider_360dialog.ledger.intake import Arrival
from airflow_provider_360dialog.ledger.uploads import Claim, Fingerprint
from airflow_provider_360dialog.ports import Policy
from tests.support.ledger import channel_of

DAY_S = 86_400.0
NORTH, CENTRE, SOUTH, OLD = "200000000000034", "200000000000058", "200000000000071", "200000000000090"
NO_WORDS = {"mime_type": None, "filename": None, "kind": None}
TOO_LARGE = {
    "code": "image_too_large",
    "message": "The picture has 6,291,456 bytes; the limit for an image is 5 MiB.",
    "remedy": "Save it smaller, or plan the campaign with prepare=True.",
}
NOT_THERE = {"code": "source_unreadable", "message": "s3://vouchers/4917012345678.pdf cannot be read", "remedy": ""}


class Demo:
    """Args: store: an empty ledger, opened, on ``clock`` (`tests.support.ledger.MovedClock`)."""

    def __init__(self, store, clock):
        self._store, self._clock = store, clock
        self._chance = random.Random(360)
        self.left: list[Fingerprint] = []  # what the centre's part of the largest campaign still has to upload
        names = {NORTH: "whatsapp_north", CENTRE: "whatsapp_centre", SOUTH: "whatsapp_south", OLD: "whatsapp_old"}
        self.channels = {number: self._channel(number, conn_id) for number, conn_id in names.items()}

    def fill(self, *, ids=300, items=90):
        """All of it; ``ids``: uploads of the last weeks; ``items``: of the largest campaign."""
        self._uploads_of_the_last_weeks(ids)
        self._campaigns(items)
        self._inbound()
        self._rations()
        return self

    def _channel(self, number, conn_id):
        ledger = channel_of(self._store, number, api_key=f"test-key-{number}")
        channels = Channels(self._store)
        with self._store.write() as db:
            db.exec_driver_sql(f"DELETE FROM d360_connection WHERE conn_id = 'conn_{number}'")
        channels.speak(conn_id, "https://h", Identity(ledger.identity.channel_id, number), Policy())
        return ledger

    def _uploads_of_the_last_weeks(self, ids):
        back = 0.0
        for days_ago, share in ((27.6, 2), (25, 1), (20, 3), (13, 8), (12, 4), (6, 3), (1, 10)):
            self._clock.advance(back - days_ago * DAY_S)
            back = days_ago * DAY_S
            for number, weight in ((NORTH, 5), (CENTRE, 3), (SOUTH, 1)):
                for _ in range(ids * share * weight // 279):
                    self.upload(number, self.file())
        self._clock.advance(back)

    def file(self):
        """A new file's fingerprint."""
        return Fingerprint(
            hashlib.sha256(self._chance.randbytes(8)).hexdigest(), "image/jpeg", self._chance.randrange(60_000, 300_000)
        )

    def upload(self, number, file):
        """It goes up, at once."""
        uploads = self.channels[number].uploads
        claim = uploads.claim(file, Claimant(f"demo:{self._chance.random()}"), reuse=False)
        assert isinstance(claim, Claim)
        assert uploads.complete(claim, file, str(self._chance.randrange(10**14, 10**15))) is not None

    def campaign(self, name, needed_in_s, files, *, rejects=0, exported=False, complete=True):
        """A campaign with an item for each of the files: channel -> files."""
        campaigns = Campaigns(self._store)
        planned = campaigns.begin_plan(name, time.time() + needed_in_s)
        items = [self._item(number, n, file) for number, each in files.items() for n, file in enumerate(each)]
        items += [self._item(NORTH, 10_000 + n, None, TOO_LARGE if n % 3 else NOT_THERE) for n in range(rejects)]
        campaigns.record(planned, items)
        if complete:
            campaigns.end_plan(planned)
        if exported:
            campaigns.note_export(planned, "ab" * 32)

    def _item(self, number, n, file, reason=None):
        key = f"49170123{n:05}"
        said = {"channel_id": self.channels[number].identity.channel_id, "conn_id": "whatsapp", "key": key, "subject": None}
        reasons = () if reason is None else (reason,)
        uri = f"s3://vouchers/{key}.pdf"
        return PlannedItem(**said, uri=uri, said=NO_WORDS, filename=f"{key}.pdf", file=file, reasons=reasons)

    def _campaigns(self, items):
        spring = {NORTH: [self.file() for _ in range(items * 2 // 3)], CENTRE: [self.file() for _ in range(items // 3)]}
        for number, files in spring.items():
            for file in files[: len(files) * 2 // 3]:
                self.upload(number, file)
        self.left = spring[CENTRE][len(spring[CENTRE]) * 2 // 3 :]
        self.campaign("spring-vouchers", 11 * 3600, spring, rejects=7)
        logo = [self.file()]
        self.upload(CENTRE, logo[0])
        self.campaign("welcome-logo", 9 * DAY_S, {CENTRE: logo}, exported=True)
        self.campaign("autumn-catalogue", 3 * DAY_S, {SOUTH: [self.file() for _ in range(20)]}, complete=False)
        self.campaign("moved-number", 30 * 3600, {OLD: [self.file() for _ in range(4)]})
        self.campaign("summer-sale", -2 * DAY_S, {NORTH: [self.file() for _ in range(12)]}, exported=True)

    def _inbound(self):
        now = time.time()
        for number, ages in ((NORTH, {0.2: 40, 2.5: 22, 5.1: 9, 6.4: 4}), (CENTRE, {0.1: 15}), (SOUTH, {})):
            ledger = self.channels[number]
            run = ledger.intake.begin(task=f"archive_{number}")
            for days, count in ages.items():
                made = [Arrival(f"{n}{int(days * 10)}", n, "image", received_at=now - days * DAY_S) for n in range(1, count + 1)]
                ledger.intake.take_in(run, "/webhooks/1.jsonl", f"of {days}", made)
            if number == NORTH:
                for reason, times in (("gone", 2), ("corrupt", 1)):
                    for _ in range(times):
                        ledger.inbound.lose(ledger.inbound.take(ledger.claimant()), run, reason, "", failed=False)

    def _rations(self):
        for ledger in (self.channels[NORTH], self.channels[SOUTH]):
            ledger.ration.reserve()
        self.channels[SOUTH].ration.refused(pause_s=None)
        self.channels[NORTH].ration.spend(self.channels[NORTH].ration.hold(for_s=60))
        self.channels[CENTRE].ration.close(for_s=43 * 60)
        old = Identity(self.channels[OLD].identity.channel_id, OLD)
        Channels(self._store).freeze(old, "the number has moved to another account")
