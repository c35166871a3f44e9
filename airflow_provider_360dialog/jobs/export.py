"""Write down which media id answers for which item of a campaign. Asks the ledger and nobody else."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from airflow_provider_360dialog.exceptions import CampaignIncompleteError
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.campaigns import Campaigns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_360dialog.ledger.campaigns import Campaign, ItemRow
    from airflow_provider_360dialog.ledger.store import Store

log = logging.getLogger(__name__)

COLUMNS: Final = ("key", "channel", "phone_number_id", "media_id", "mime_type", "filename", "sha256", "safe_until")


@dataclass(frozen=True)
class Readiness:
    """How much of a campaign has an id that is safe for long enough.

    Attributes:
        items: all. missing: without such an id, the rejected included. rejected: of these.
        min_safe_until: aware UTC, the first end among the ids that count; None where there is none.
        is_planned: whether all items are known; not while the first plan runs, or where it was ended midway.
    """

    items: int
    missing: int
    rejected: int
    min_safe_until: datetime | None
    is_planned: bool = True

    @property
    def rows(self) -> int:
        """Items that have one."""
        return self.items - self.missing

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing, and there is something."""
        return self.is_planned and self.missing == 0 and self.items > 0


@dataclass(frozen=True)
class Exported:
    """What an export holds. ``version`` grows with each export whose content differs from the last one's."""

    readiness: Readiness
    version: int


def readiness(name: str, *, store: Store, min_valid_until: float | None = None) -> Readiness:
    """How far a campaign is, over all its channels.

    Args:
        name: of the campaign. store: the ledger.
        min_valid_until: float seconds until when an id has to be safe; None for the campaign's own need.

    Raises:
        CampaignUnknownError: it was never planned.
    """
    campaigns = Campaigns(store)
    return _look(campaigns, campaigns.find(name, min_valid_until=min_valid_until))


def export(
    name: str,
    write: Callable[[Iterator[str], int], tuple[int, str]],
    *,
    store: Store,
    as_csv: bool = False,
    min_valid_until: float | None = None,
    require_complete: bool = True,
    named_by_version: bool = False,
) -> Exported:
    """Write the items that have an id, by channel and key: the same campaign gives the same bytes.

    Args:
        name: of the campaign.
        write: takes the lines and the version (0 where it is not known yet), publishes them whole or not at all; gives their
            number and sha256.
        store: the ledger. as_csv: else JSONL. min_valid_until: see `readiness`.
        require_complete: write nothing where an item is missing.
        named_by_version: the version has to be known before it is written, so the items are read twice.

    Raises:
        CampaignUnknownError: it was never planned. CampaignIncompleteError: items are missing, and all are required.
    """
    campaigns = Campaigns(store)
    campaign = campaigns.find(name, min_valid_until=min_valid_until)
    if require_complete:
        _require_complete(name, _look(campaigns, campaign))
    version = 0
    if named_by_version:
        version = campaigns.note_export(
            campaign, _hash_of(_lines(_Tally(campaign).pass_on(campaigns.rows(campaign)), as_csv=as_csv))
        )
    tally = _Tally(campaign)

    def rows() -> Iterator[ItemRow]:
        yield from tally.pass_on(campaigns.rows(campaign))
        if require_complete:  # an id may have died, or a plan have added an item, since the look
            _require_complete(name, tally.result)

    _, sha256 = write(_lines(rows(), as_csv=as_csv), version)
    version = version or campaigns.note_export(campaign, sha256)
    log.info("exported version %d of %r: %d rows, %d missing", version, name, tally.result.rows, tally.result.missing)
    return Exported(tally.result, version)


class _Tally:
    """Counts items on their way."""

    def __init__(self, campaign: Campaign) -> None:
        self._good_until, self._is_planned = campaign.good_until, campaign.is_planned
        self._items = self._missing = self._rejected = 0
        self._first_end: float | None = None

    @property
    def result(self) -> Readiness:
        first = None if self._first_end is None else datetime.fromtimestamp(self._first_end, UTC)
        return Readiness(self._items, self._missing, self._rejected, first, self._is_planned)

    def pass_on(self, rows: Iterator[ItemRow]) -> Iterator[ItemRow]:
        """Those that have an id that is safe for long enough."""
        for row in rows:
            self._items += 1
            self._rejected += row.state == schema.REJECTED
            if row.state == schema.REJECTED or row.safe_until is None or row.safe_until < self._good_until:
                self._missing += 1
                continue
            self._first_end = row.safe_until if self._first_end is None else min(self._first_end, row.safe_until)
            yield row


def _require_complete(name: str, found: Readiness) -> None:
    if not found.is_complete:
        raise CampaignIncompleteError(
            campaign=name,
            missing=found.missing,
            rejected=found.rejected,
            items=found.items,
            is_planned=found.is_planned,
        )


def _hash_of(lines: Iterator[str]) -> str:
    """As the writer of a file would have it."""
    sha256 = hashlib.sha256()
    for line in lines:
        sha256.update(line.encode() + b"\n")
    return sha256.hexdigest()


def _look(campaigns: Campaigns, campaign: Campaign) -> Readiness:
    tally = _Tally(campaign)
    for _ in tally.pass_on(campaigns.rows(campaign)):
        pass
    return tally.result


def _lines(rows: Iterator[ItemRow], *, as_csv: bool) -> Iterator[str]:
    if as_csv:
        yield _csv_line(COLUMNS)
    for row in rows:
        safe_until = None if row.safe_until is None else datetime.fromtimestamp(row.safe_until, UTC).isoformat(timespec="seconds")
        values = (
            row.key,
            row.conn_id,
            row.phone_number_id,
            row.media_id,
            row.mime_type,
            row.filename,
            row.sha256,
            safe_until,
        )
        yield _csv_line(values) if as_csv else json.dumps(dict(zip(COLUMNS, values, strict=True)), ensure_ascii=False)


def _csv_line(values: tuple[str | None, ...]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()
