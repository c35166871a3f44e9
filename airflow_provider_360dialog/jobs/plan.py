"""Plan a campaign: read what is wanted, judge every file, and put on record what has to be uploaded. Nothing is sent."""

from __future__ import annotations

import json
import logging
import math
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from airflow_provider_360dialog.exceptions import CallError, CampaignTooLargeError, StoppedError
from airflow_provider_360dialog.jobs.calls import patiently
from airflow_provider_360dialog.jobs.judging import Judges, reason_of, said_of
from airflow_provider_360dialog.jobs.manifest import Malformed, Wanted
from airflow_provider_360dialog.ledger.campaign_runs import ALL_CHANNELS, Presence
from airflow_provider_360dialog.ledger.campaigns import Campaigns, PlannedItem, good_until_of
from airflow_provider_360dialog.ledger.rules import CEILING_PER_S
from airflow_provider_360dialog.ledger.sources import Sources
from airflow_provider_360dialog.ledger.uploads import Fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import IO

    from airflow_provider_360dialog.jobs.judging import Judged, Preparing
    from airflow_provider_360dialog.ledger.store import Store
    from airflow_provider_360dialog.ports import DagRun, Source

T = TypeVar("T")
P = ParamSpec("P")

log = logging.getLogger(__name__)

_PAGE: Final = 200
_TELL_EVERY_S: Final = 10.0
_LONGEST_NAME: Final = 250
_MOST_REASONS: Final = 20
_MANY_REASONS: Final = 1_000


@dataclass(frozen=True)
class PlanChannel:
    """One number that a campaign may use.

    Attributes:
        conn_id: by which a manifest names it. channel_id: its row in the ledger. uploads_per_s: what its connection allows.
    """

    conn_id: str
    channel_id: int
    uploads_per_s: float = CEILING_PER_S

    def seconds(self, uploads: int) -> float:
        """How long so many uploads take at the line, float seconds."""
        return uploads / min(self.uploads_per_s, CEILING_PER_S)


@dataclass(frozen=True)
class Order:
    """What is to be planned.

    Attributes:
        campaign: its name. needed_until: float seconds. channels: connection id -> number.
        replicate: every item on every channel, whatever it says itself.
        whole: these are all channels of the campaign; else what others of its channels need stays.
        max_items: that it may have, the rejected included. max_bytes: that its different files may have, added up over the
            channels. None for any number.
    """

    campaign: str
    needed_until: float
    channels: Mapping[str, PlanChannel]
    replicate: bool = False
    whole: bool = True
    max_items: int | None = None
    max_bytes: int | None = None

    @property
    def numbers(self) -> tuple[PlanChannel, ...]:
        """Each number once, by the first of its connections."""
        found: dict[int, PlanChannel] = {}
        for each in self.channels.values():
            found.setdefault(each.channel_id, each)
        return tuple(found.values())

    def check(self, now: float) -> None:
        """Raise `CallError` where it cannot be. ``now``: float seconds."""
        if not self.campaign.strip() or len(self.campaign) > _LONGEST_NAME or not self.campaign.isprintable():
            raise CallError(f"A campaign's name has 1 to {_LONGEST_NAME} printable characters; this is {self.campaign[:60]!r}.")
        if not self.channels:
            raise CallError("A campaign needs at least one channel: give the connection ids of its numbers.")
        if self.needed_until <= now:
            raise CallError(f"needed_until of campaign {self.campaign!r} is in the past: nothing has to be uploaded for it.")


@dataclass
class ChannelPlan:
    """What a plan found for one channel.

    Attributes:
        items: all of them. rejected, ready: of these. uploads: different files that are still to be sent, of size_bytes together.
        seconds: for these at the line.
    """

    conn_id: str
    items: int = 0
    ready: int = 0
    rejected: int = 0
    uploads: int = 0
    size_bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class PlanResult:
    """What a plan found.

    Attributes:
        items: that were read; on all channels together where they are replicated. rejected, prepared: of these.
        channels: busiest first.
    """

    items: int
    rejected: int
    channels: tuple[ChannelPlan, ...]
    prepared: int = 0

    @property
    def seconds(self) -> float:
        """Until the busiest channel is done, if it begins now and the link is wide enough."""
        return max((each.seconds for each in self.channels), default=0.0)


@dataclass
class Planner:
    """The means of a plan.

    Attributes:
        store: the ledger. source_at: opens a file by its uri; raises where that is none. stop: set when the task is told to end.
        preparing: None judges files as they are. dag_run: on whose behalf; None outside of Airflow's tasks.
    """

    store: Store
    source_at: Callable[[str], Source]
    stop: threading.Event = field(default_factory=threading.Event)
    preparing: Preparing | None = None
    dag_run: DagRun | None = None

    def plan(
        self, wanted: Iterable[Wanted | Malformed], order: Order, *, write_rejects: Callable[[Iterator[str]], object]
    ) -> PlanResult:
        """Read, judge, and put on record: pages of 200, so that memory stays flat.

        Args:
            wanted: what a manifest, a folder or a list gives. order: for whom and until when.
            write_rejects: takes one line of JSON for each rejected item; called where there is any, before the plan is complete.

        Raises:
            CallError: a name or an instant that cannot be. CampaignTooLargeError: more than the order allows. StoppedError: the
                task was told to end. Of the last two what was read before is on record.
        """
        order.check(self.ask(self.store.read_now).timestamp())
        campaigns = Campaigns(self.store)
        campaign = self.ask(campaigns.begin_plan, order.campaign, order.needed_until)
        plan = _Plan(self, order)
        presence = Presence(self.store, campaign.row, ALL_CHANNELS, self.dag_run)
        with tempfile.TemporaryFile("w+", encoding="utf-8") as rejects, presence.told() as seen:
            for planned in plan.pages(wanted, rejects):
                self.ask(campaigns.record, campaign, planned)
                seen()
            _pass_on(rejects, write_rejects)
        only = None if order.whole else {each.channel_id for each in order.numbers}
        let_go = self.ask(campaigns.end_plan, campaign, only=only)
        if let_go:
            log.info("%d items of earlier plans are not wanted any more", let_go)
        work = {each.channel_id: each for each in self.ask(campaigns.work, campaign)}
        found = [
            ChannelPlan(
                conn_id=channel.conn_id,
                items=each.items,
                ready=each.ready,
                rejected=each.rejected,
                uploads=each.uploads,
                size_bytes=each.size_bytes,
                seconds=channel.seconds(each.uploads),
            )
            for channel in order.numbers
            if (each := work.get(channel.channel_id)) is not None
        ]
        return plan.result(found)

    def dry_run(self, wanted: Iterable[Wanted | Malformed], order: Order) -> PlanResult:
        """The same without a trace: nothing is recorded, and rejects are only counted and logged."""
        now = self.ask(self.store.read_now).timestamp()
        order.check(now)
        good_until = good_until_of(order.needed_until, now)
        campaigns, plan = Campaigns(self.store), _Plan(self, order, remembers=False)
        found = {channel.channel_id: ChannelPlan(channel.conn_id) for channel in order.numbers}
        with tempfile.TemporaryFile("w+", encoding="utf-8") as rejects, closing(_Met()) as met:
            for planned in plan.pages(wanted, rejects):
                ready = self.ask(campaigns.ready_among, planned, good_until=good_until)
                for each in planned:
                    of_channel = found[each.channel_id]
                    of_channel.items += 1
                    if each.file is None:
                        of_channel.rejected += 1
                        continue
                    file = (each.channel_id, each.file.sha256, each.file.mime_type)
                    if file in ready:
                        of_channel.ready += 1
                    elif met.is_new(file):
                        of_channel.uploads += 1
                        of_channel.size_bytes += each.file.size_bytes
        for channel in order.numbers:
            found[channel.channel_id].seconds = channel.seconds(found[channel.channel_id].uploads)
        return plan.result(list(found.values()))

    def ask(self, question: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
        """Ask the ledger; for five minutes where it is away."""
        return patiently(partial(question, *args, **more), stop=self.stop)


class _Met:
    """Files that were met before: in a temporary database, so that memory stays flat."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute("BEGIN")
        self._db.execute("CREATE TABLE met (channel_id, sha256, mime_type, PRIMARY KEY (channel_id, sha256, mime_type))")

    def is_new(self, file: tuple[int, str, str]) -> bool:
        return self._db.execute("INSERT OR IGNORE INTO met VALUES (?, ?, ?)", file).rowcount == 1

    def close(self) -> None:
        self._db.close()


class _Plan:
    """One plan under way: pages of what is wanted become pages of what can be recorded; the rest goes to the rejects."""

    def __init__(self, means: Planner, order: Order, *, remembers: bool = True) -> None:
        self._means, self._order = means, order
        self._judges = Judges(
            "plan",
            means.source_at,
            means.stop,
            preparing=means.preparing,
            sources=Sources(means.store),
            remembers=remembers,
        )
        self._items = self._rejected = self._prepared = self._bytes = 0
        self._rough: Counter[str] = Counter()
        self._why: Counter[tuple[str, str]] = Counter()
        self._told_at = -math.inf

    def pages(self, wanted: Iterable[Wanted | Malformed], rejects: IO[str]) -> Iterator[list[PlannedItem]]:
        source = iter(wanted)
        with self._judges as judges, closing(_Met()) as met:
            while page := list(islice(source, _PAGE)):
                if self._means.stop.is_set():
                    raise StoppedError(operation="plan")
                planned = list(self._planned(page, judges, rejects))
                self._check_size(planned, met)
                yield planned
                self._tell()

    def result(self, channels: list[ChannelPlan]) -> PlanResult:
        busiest_first = sorted(channels, key=lambda each: (-each.seconds, each.conn_id))
        for each in busiest_first:
            log.info(
                "%s: %d items, %d ready, %d rejected; %d files of %.1f MB to upload, %.0f s at the line",
                each.conn_id,
                each.items,
                each.ready,
                each.rejected,
                each.uploads,
                each.size_bytes / 1e6,
                each.seconds,
            )
        if self._prepared:
            log.info(
                "%d items have a picture that was prepared: turned, without its position, or of another form", self._prepared
            )
        for (code, message), count in self._why.most_common(_MOST_REASONS):
            log.warning("%d rejected [%s]: %s", count, code, message)
        return PlanResult(self._items, self._rejected, tuple(busiest_first), self._prepared)

    def _check_size(self, planned: list[PlannedItem], met: _Met) -> None:
        order = self._order
        if order.max_items is not None and self._items > order.max_items:
            raise CampaignTooLargeError(campaign=order.campaign, bound="max_items", limit=order.max_items)
        if order.max_bytes is None:
            return
        for each in planned:
            if each.file is not None and met.is_new((each.channel_id, each.file.sha256, each.file.mime_type)):
                self._bytes += each.file.size_bytes
        if self._bytes > order.max_bytes:
            raise CampaignTooLargeError(campaign=order.campaign, bound="max_bytes", limit=order.max_bytes)

    def _planned(self, page: list[Wanted | Malformed], judges: Judges, rejects: IO[str]) -> Iterator[PlannedItem]:
        good = [each for each in page if isinstance(each, Wanted) and self._channels_of(each)[0]]
        judged = dict(zip(map(id, good), judges.judge(good), strict=True))
        for each in page:
            if isinstance(each, Malformed):
                self._items += 1
                self._reject(each, each.channel, [reason_of("malformed", each.reason)], rejects)
                continue
            channels, reason = self._channels_of(each)
            if reason is not None:
                self._items += 1
                self._reject(each, each.channel, [reason_of("channel", reason)], rejects)
            for channel in channels:
                self._items += 1
                yield self._item(each, channel, judged[id(each)], rejects)

    def _item(self, wanted: Wanted, channel: PlanChannel, judged: Judged, rejects: IO[str]) -> PlannedItem:
        verdict = judged.verdict
        file = None
        if verdict is not None and verdict.mime_type is not None:
            file = Fingerprint(verdict.sha256, verdict.mime_type, verdict.size_bytes)
            self._rough[channel.conn_id] += 1
        else:
            self._reject(wanted, channel.conn_id, judged.reasons, rejects)
        uri, said = wanted.uri, said_of(wanted)
        if verdict is not None and verdict.receipt is not None:
            self._prepared += 1
            uri, said = verdict.receipt.uri or uri, {**said, "mime_type": None, "filename": verdict.filename}
        return PlannedItem(
            channel_id=channel.channel_id,
            conn_id=channel.conn_id,
            key=wanted.key,
            uri=uri,
            said=said,
            filename=None if verdict is None else verdict.filename,
            subject=wanted.subject,
            file=file,
            reasons=judged.reasons,
        )

    def _channels_of(self, wanted: Wanted) -> tuple[Sequence[PlanChannel], str | None]:
        """Where an item goes; or, in words, why nowhere."""
        known, numbers = self._order.channels, self._order.numbers
        if self._order.replicate:
            return numbers, None
        if wanted.channel is None:
            if len(numbers) == 1:
                return numbers, None
            return [], "It names no channel, and the campaign has several: give its connection id in the column 'channel'."
        if wanted.channel not in known:
            return [], f"Its channel {wanted.channel[:60]!r} is none of the campaign's: {', '.join(sorted(known))[:200]}."
        return [known[wanted.channel]], None

    def _reject(self, item: Wanted | Malformed, conn_id: str | None, reasons: Sequence[dict[str, str]], rejects: IO[str]) -> None:
        self._rejected += 1
        for each in reasons:  # a path may name a customer: it goes into the file, not into the log
            why = (each["code"], "the file cannot be read" if each["code"] == "source_unreadable" else each["message"])
            if why in self._why or len(self._why) < _MANY_REASONS:
                self._why[why] += 1
        facts = {"line": item.line, "key": item.key, "channel": conn_id, "uri": item.uri, "problems": list(reasons)}
        rejects.write(json.dumps(facts) + "\n")

    def _tell(self) -> None:
        """Every ten seconds, and at once after the first page: how far the plan is, and how long the uploads would take."""
        if time.monotonic() - self._told_at < _TELL_EVERY_S:
            return
        self._told_at = time.monotonic()
        known = self._order.channels
        slowest = sorted(((known[conn_id].seconds(files), conn_id) for conn_id, files in self._rough.items()), reverse=True)
        etas = ", ".join(f"{conn_id} {seconds:.0f} s" for seconds, conn_id in slowest[:5])
        log.info(
            "plan of %r: %d items read so far, %d rejected; at the line the uploads take at most: %s",
            self._order.campaign,
            self._items,
            self._rejected,
            etas or "nothing yet",
        )


def _pass_on(rejects: IO[str], write: Callable[[Iterator[str]], object]) -> None:
    if rejects.tell():
        rejects.seek(0)
        write(line.rstrip("\n") for line in rejects)
