"""``dialog360 ledger ...``: make it, count it, doubt it, copy it."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from airflow_provider_360dialog.cli.run import Result, UsageError
from airflow_provider_360dialog.cli.words import counted, duration, table
from airflow_provider_360dialog.exceptions import LedgerRefusedError, destination_error
from airflow_provider_360dialog.hooks.ledger import ledger_store
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.condition import standing_version

if TYPE_CHECKING:
    from argparse import Namespace

    from airflow_provider_360dialog.ledger.statistics import ChannelStatistics
    from airflow_provider_360dialog.ledger.store import Store
    from airflow_provider_360dialog.ledger.verify import Finding


def init(_args: Namespace, _out: TextIO) -> Result:
    """Create the ledger; one that stands is left as it is."""
    store = ledger_store()
    created = standing_version(store) is None
    if created:
        store.open()
    else:
        store.open_existing()
    words = "The ledger was created" if created else "The ledger stands already"
    return Result(f"{words}: {_where(store)}.", {**_place(store), "created": created})


def migrate(_args: Namespace, _out: TextIO) -> Result:
    """Upgrade the schema; an empty database gets the newest."""
    store = ledger_store()
    before, after = standing_version(store), store.migrate(upgrade=True)
    if after != schema.VERSION:
        reason = f"no way leads from its schema (version {after}) to this provider's ({schema.VERSION})"
        raise LedgerRefusedError(place=store.place, reason=reason)
    if before is None:
        words = "There was no ledger; it was created"
    elif before == after:
        words = "Nothing to do, the schema is up to date"
    else:
        words = f"The schema was brought from version {before} to {after}"
    return Result(f"{words}: {_where(store)}.", {**_place(store), "version_before": before})


def stats(_args: Namespace, _out: TextIO) -> Result:
    """Counts of each channel."""
    from airflow_provider_360dialog.ledger.statistics import read_statistics

    store = ledger_store().open_existing()
    channels = read_statistics(store)
    head = ["phone number id", *schema.MEDIA_STATES, "uploading", "orphan_possible", "refused", "soonest end"]
    text = table(head, [_row(each) for each in channels]) if channels else "No channel is on record yet."
    return Result(
        f"Ledger: {_where(store)}\n\n{text}",
        {**_place(store), "channels": [asdict(each) for each in channels]},
    )


def verify(args: Namespace, _out: TextIO) -> Result:
    """What does not fit together."""
    from airflow_provider_360dialog.ledger.verify import find_disagreements

    store = ledger_store().open_existing()
    restored_at = args.restored_at and args.restored_at.timestamp()
    findings = find_disagreements(store, restored_at=restored_at, examples=args.limit)
    wrong = [each for each in findings if each.severity != "notice"]
    verdict = (
        "The ledger agrees with itself." if not wrong else f"{counted(len(wrong), 'kind of problem', 'kinds of problems')} found."
    )
    text = "\n\n".join([f"Ledger: {_where(store)}", *map(_paragraph, findings), verdict])
    return Result(text, {**_place(store), "findings": [asdict(each) for each in findings]}, ok=not wrong)


def copy(args: Namespace, _out: TextIO) -> Result:
    """All of it, to the database behind a connection."""
    from airflow_provider_360dialog.hooks.ledger import ledger_behind
    from airflow_provider_360dialog.ledger.copying import copy_ledger

    source, target = ledger_store(), ledger_behind(args.to)
    rows = copy_ledger(source, target)
    text = table(["table", "rows"], [[name, count] for name, count in rows.items() if count])
    words = f"Copied: {_where(source)}\nTo:     {_where(target)}\n\n{text}\n\nNow set [dialog360] ledger_conn_id to {args.to}."
    return Result(words, {**_place(target), "from": source.place, "rows": rows})


def export(args: Namespace, out: TextIO) -> Result:
    """Every media id, to standard output or a place."""
    if args.to is None and (args.json or args.overwrite):
        raise UsageError("--json and --overwrite go with --to; without it the media ids themselves are the output")
    form = args.format or ("jsonl" if (args.to or "").endswith((".jsonl", ".ndjson")) else "csv")
    store = ledger_store().open_existing()
    if args.to is None:
        _write(store, out, form)
        return Result("")
    from airflow_provider_360dialog.hooks.places import destination_at

    place = destination_at(args.to, overwrite=args.overwrite)
    place.check()
    try:
        with place.stage() as staged:
            os.fchmod(staged.file.fileno(), 0o600)  # sha256 values can confirm that a known document was sent
            text = io.TextIOWrapper(staged.file, encoding="utf-8", newline="")
            rows = _write(store, text, form)
            text.detach()
            staged.publish()
    except OSError as fault:
        raise destination_error(place.uri, fault) from fault
    words = f"{counted(rows, 'media id')} written to {place.uri} ({form})."
    return Result(words, {**_place(store), "rows": rows, "to": place.uri, "format": form})


def _write(store: Store, out: TextIO, form: str) -> int:
    from airflow_provider_360dialog.ledger.export import FIELDS, read_media

    rows = 0
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
    if form == "csv":
        writer.writeheader()
    for row in read_media(store):
        if form == "csv":
            writer.writerow(row)
        else:
            out.write(json.dumps(row) + "\n")
        rows += 1
    out.flush()
    return rows


def _place(store: Store) -> dict[str, Any]:
    return {"ledger": store.place, "engine": store.dialect, "schema_version": schema.VERSION}


def _where(store: Store) -> str:
    return f"{store.place} ({store.dialect}, schema version {schema.VERSION})"


def _row(each: ChannelStatistics) -> list[object]:
    ends = each.soonest_end_s
    end = "-" if ends is None else f"in {duration(ends)}" if ends > 0 else f"{duration(ends)} ago"
    name = f"{each.phone_number_id} (frozen)" if each.frozen else each.phone_number_id
    states = [each.media.get(state, 0) for state in schema.MEDIA_STATES]
    return [name, *states, each.uploading, each.orphan_possible, each.refused, end]


def _paragraph(each: Finding) -> str:
    lines = [f"{each.severity}  {each.kind}: {each.count:,}", f"  {each.meaning}", f"  -> {each.remedy}"]
    lines += ["     " + ", ".join(f"{name} {value}" for name, value in row.items()) for row in each.examples]
    if len(each.examples) < each.count:
        lines.append(f"     ... and {each.count - len(each.examples):,} more")
    return "\n".join(lines)
