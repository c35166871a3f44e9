"""Record which media ids were sent, from a list that somebody else's send has left. Asks the ledger and nobody else."""

from __future__ import annotations

import csv
import json
import logging
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from airflow_provider_360dialog.api.identity import check_media_id
from airflow_provider_360dialog.exceptions import CallError, MediaIdInvalidError, StoppedError
from airflow_provider_360dialog.jobs.calls import patiently
from airflow_provider_360dialog.ledger.cleanup import Cleanup, channel_numbers, channels_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Iterator

    from airflow_provider_360dialog.ledger.store import Store

Form: TypeAlias = Literal["jsonl", "csv", "text"]

log = logging.getLogger(__name__)

_PAGE: Final = 500


@dataclass(frozen=True)
class Sent:
    """One line: a media id, and the phone number id of its channel where the line has one."""

    media_id: str
    phone_number_id: str | None = None


def form_of(name: str) -> Form:
    """What a file holds, by its name: ``.jsonl`` or ``.ndjson``, ``.csv``, also with ``.gz`` behind; else one id a line."""
    name = name.lower().removesuffix(".gz")
    if name.endswith((".jsonl", ".ndjson")):
        return "jsonl"
    return "csv" if name.endswith(".csv") else "text"


def read_sent(lines: Iterable[str], form: Form) -> Iterator[Sent]:
    """The ids of a list, as they come.

    Args:
        lines: without their ends. form: JSON objects or CSV with a column ``media_id`` (an export is both) and, if there is one,
            ``phone_number_id``, without which every channel is searched; or one id a line. Lines without an id are skipped.

    Raises:
        CallError: a line is none of that; its number is named.
    """
    read = {"jsonl": _read_jsonl, "csv": _read_csv, "text": _read_text}[form]
    for number, media_id, phone_number_id in read(lines):
        if media_id:
            try:
                yield Sent(check_media_id(media_id), str(phone_number_id) if phone_number_id else None)
            except MediaIdInvalidError as error:
                raise CallError(f"Line {number}: {error}") from None


def mark_used(sent: Iterable[Sent], *, store: Store, stop: threading.Event, trust_last_use: bool = False) -> dict[str, int]:
    """Record sends, 500 at a time.

    Args:
        sent: what was sent. store: the ledger, opened. stop: set when the task is told to end.
        trust_last_use: prolong the promise to 29 days from now; see `Uploads.mark_used`.

    Returns:
        ``ids``: lines with an id. ``known``: ids that are on record. ``unknown``: ids that are not. Doubles within 500 lines
        count once.
    """
    remaining, ids, asked, known = iter(sent), 0, 0, 0
    numbers: dict[str, int] = patiently(lambda: channel_numbers(store), stop=stop)
    while page := list(islice(remaining, _PAGE)):
        if stop.is_set():
            raise StoppedError(operation="record what was sent")
        ids += len(page)
        for number, those in _by_number(page):
            asked += len(those)
            channels = [numbers[number]] if number in numbers else []
            if number is None:
                channels = patiently(partial(channels_of, store, those), stop=stop)
            for channel in channels:
                mark = partial(Cleanup(store, channel).mark_used_many, those, trust_last_use=trust_last_use)
                known += patiently(mark, stop=stop)
    log.info("%d ids were sent: %d are on record, %d are not", ids, known, asked - known)
    return {"ids": ids, "known": known, "unknown": max(0, asked - known)}


def _by_number(page: list[Sent]) -> Iterator[tuple[str | None, list[str]]]:
    whose: Callable[[Sent], str] = lambda each: each.phone_number_id or ""  # noqa: E731 - a key for sorting
    for number, group in groupby(sorted(page, key=whose), key=whose):
        yield number or None, sorted({each.media_id for each in group})


def _read_jsonl(lines: Iterable[str]) -> Iterator[tuple[int, object, object]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            facts = json.loads(line)
        except ValueError:
            facts = None
        if not isinstance(facts, dict) or "media_id" not in facts:
            raise CallError(f"Line {number} is no JSON object with a 'media_id'.")
        yield number, facts["media_id"], facts.get("phone_number_id")


def _read_csv(lines: Iterable[str]) -> Iterator[tuple[int, object, object]]:
    rows = csv.DictReader(f"{line}\n" for line in lines)
    try:
        if "media_id" not in (rows.fieldnames or ()):
            raise CallError("The first line of the CSV file names no column 'media_id'.")
        for row in rows:
            yield rows.line_num, row["media_id"], row.get("phone_number_id")
    except csv.Error as fault:
        raise CallError(f"Line {rows.line_num} is no CSV: {fault}.") from fault


def _read_text(lines: Iterable[str]) -> Iterator[tuple[int, object, object]]:
    for number, line in enumerate(lines, start=1):
        yield number, line.strip(), None
