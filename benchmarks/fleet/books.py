"""What the emulator's and the ledger's books say of the promises, once all is done. Reads only.

The emulator's books: its journal (each media id with its number, hash and birth, each delete) and its counters (arrivals of
uploads, failed GETs, blocks). The ledger's: its tables.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from airflow_provider_360dialog.ledger import schema

if TYPE_CHECKING:
    from airflow_provider_360dialog.ledger.store import Store

MOST_POSTS_PER_S = 25
MOST_FAILED_GETS = 4


class FileKey(NamedTuple):
    """A file on a number."""

    number_id: str
    sha256: str


@dataclass(frozen=True)
class Given:
    """The emulator's books. ``uploads``: ids by file, in order of birth. ``file_of``: of each id. ``deleted``: ids."""

    uploads: dict[FileKey, list[str]]
    file_of: dict[str, FileKey]
    deleted: set[str]


@dataclass
class Kept:
    """The ledger's row of a file."""

    by_state: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    pointed_at: str | None = None
    orphan_possible: int = 0


def read_journal(events: Iterable[dict[str, Any]]) -> Given:
    """What the emulator remembers of uploaded media."""
    uploads: dict[FileKey, list[str]] = defaultdict(list)
    file_of, deleted = {}, set()
    for event in events:
        if event["event"] == "media" and event["origin"] == "uploaded":
            key = FileKey(event["number_id"], event["sha256_hex"])
            uploads[key].append(event["media_id"])
            file_of[event["media_id"]] = key
        elif event["event"] == "deleted":
            deleted.add(event["media_id"])
    return Given(dict(uploads), file_of, deleted & set(file_of))


def read_ledger(store: Store) -> dict[FileKey, Kept]:
    """What the ledger remembers of them."""
    files, media, channel = schema.fingerprint, schema.media, schema.channel
    found: dict[FileKey, Kept] = defaultdict(Kept)
    of_files = sa.select(channel.c.phone_number_id, files.c.sha256, files.c.orphan_possible, files.c.sending).join_from(
        files, channel
    )
    of_media = (
        sa.select(channel.c.phone_number_id, files.c.sha256, media.c.media_id, media.c.state, media.c.id == files.c.media_row)
        .join_from(media, files, files.c.id == media.c.fingerprint_id)
        .join(channel, channel.c.id == files.c.channel_id)
    )
    with store.read() as db:
        for number_id, sha256, orphans, sending in db.execute(of_files):
            found[FileKey(number_id, sha256)].orphan_possible = orphans + sending
        for number_id, sha256, media_id, state, is_pointed_at in db.execute(of_media):
            kept = found[FileKey(number_id, sha256)]
            kept.by_state[state].append(media_id)
            if is_pointed_at:
                kept.pointed_at = media_id
    return dict(found)


@dataclass
class Uploads:
    """What became of the files. Each list names files or ids that break a promise; all are empty where it holds.

    ``again``: uploads beyond the first of files whose id nobody had a reason to replace.
    """

    files: int = 0
    posts_stored: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unknown_ids: list[str] = field(default_factory=list)
    orphans: int = 0
    orphan_possible: int = 0
    surplus: int = 0
    renewed: int = 0
    again: int = 0


def judge_uploads(
    given: Given, ledger: dict[FileKey, Kept], wanted: Collection[FileKey], *, renewable: Collection[FileKey]
) -> Uploads:
    """Compare the books.

    Args:
        given: the emulator's. ledger: the ledger's. wanted: files that a living campaign needs, each with one current id.
        renewable: those whose ids were old, or were deleted: one more upload of each is right.
    """
    found = Uploads(files=len(wanted), posts_stored=len(given.file_of))
    for key in wanted:
        kept = ledger.get(key)
        current = kept.pointed_at if kept else None
        if current is None or given.file_of.get(current) != key or current in given.deleted:
            found.lost.append(f"{key.number_id}/{key.sha256[:12]}: current id {current}")
    for key in {*given.uploads, *ledger}:
        kept, ids = ledger.get(key, Kept()), set(given.uploads.get(key, ()))
        on_record = {media_id for of_state in kept.by_state.values() for media_id in of_state}
        orphans = ids - on_record
        found.again += max(0, len(ids) - 1) if key not in renewable else 0
        found.unknown_ids += sorted(on_record - ids)
        found.orphans += len(orphans)
        found.orphan_possible += kept.orphan_possible
        found.surplus += len([media_id for media_id in kept.by_state[schema.SURPLUS] if media_id not in given.deleted])
        answering, retiring = kept.by_state[schema.CURRENT], kept.by_state[schema.RETIRING]
        found.renewed += len(retiring)
        why = []
        if len(answering) > 1 or (answering and answering != [kept.pointed_at]):
            why.append(f"{len(answering)} current ids, {kept.pointed_at} answers")
        if len(retiring) > (key in renewable):
            why.append(f"{len(retiring)} ids that were replaced without need")
        if len(orphans) > kept.orphan_possible:
            why.append(f"{len(orphans)} ids that nobody has on record, and {kept.orphan_possible} counted as possible")
        found.doubled += [f"{key.number_id}/{key.sha256[:12]}: {each}" for each in why]
    return found


def too_many(instants: Iterable[float], most: int = MOST_POSTS_PER_S) -> int:
    """How many uploads came although ``most`` that count had come within the last second; such a one does not count itself."""
    within: deque[float] = deque()
    over = 0
    for at in sorted(instants):
        while within and at - within[0] >= 1.0:
            within.popleft()
        if len(within) < most:
            within.append(at)
        else:
            over += 1
    return over


def needless_deletes(given: Given, ledger: dict[FileKey, Kept], protected: Collection[FileKey]) -> list[str]:
    """Deleted ids of files that a campaign has needed all the time, unless a newer id stands beside it or it never answered."""
    wrong = []
    for media_id in given.deleted:
        key = given.file_of[media_id]
        kept = ledger.get(key, Kept())
        if key in protected and (kept.pointed_at is None or kept.pointed_at in given.deleted):
            wrong.append(media_id)
    return wrong


@dataclass
class Inbound:
    """What became of received files."""

    sent: int = 0
    archived: int = 0
    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    on_record: dict[str, int] = field(default_factory=dict)


def judge_archive(
    archive: Path, sha256_of: dict[tuple[str, str], str], dead: Collection[tuple[str, str]], states: dict[tuple[str, str], str]
) -> Inbound:
    """Compare what was sent with the archive and the ledger.

    Args:
        archive: the folder. sha256_of: (number id, media id) -> of the files that can be had. dead: ids that nobody has.
        states: by the ledger: ``archived``, ``pending``, ``lost: reason``.
    """
    found = Inbound(sent=len(sha256_of) + len(dead), on_record=dict(Counter(states.values())))
    names: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in archive.rglob("*") if archive.exists() else ():
        if not path.is_file() or "lost" in path.parent.name:
            continue
        number_id = path.relative_to(archive).parts[0]
        names[number_id, path.name.partition("-")[0]].append(path)
    for key, paths in names.items():
        right = [path for path in paths if hashlib.sha256(path.read_bytes()).hexdigest() == sha256_of.get(key)]
        if len(paths) != 1 or not right or states.get(key) != schema.ARCHIVED:
            found.wrong.append(f"{key[1]}: {len(paths)} files, {len(right)} right, {states.get(key)}")
    found.archived = len(names)
    for key in sha256_of:
        if key not in names:
            found.missing.append(f"{key[1]}: {states.get(key, 'not on record')}")
    for key in dead:
        if not states.get(key, "").startswith(("pending", "lost: gone")):
            found.wrong.append(f"{key[1]}, which nobody has: {states.get(key, 'not on record')}")
    return found


def inbound_states(store: Store) -> dict[tuple[str, str], str]:
    """(number id, media id) -> what the ledger says of it."""
    inbound, channel = schema.inbound, schema.channel
    query = sa.select(channel.c.phone_number_id, inbound.c.media_id, inbound.c.state, inbound.c.reason).join_from(
        inbound, channel
    )
    with store.read() as db:
        rows = db.execute(query).all()
    return {(row[0], row[1]): f"lost: {row[3]}" if row[2] == schema.LOST else str(row[2]) for row in rows}


def audited(store: Store) -> set[str]:
    """Ids whose delete stands in the audit."""
    with store.read() as db:
        gone = schema.audit.c.action.in_(["deleted", "gone already"])
        return set(db.scalars(sa.select(schema.audit.c.media_id).where(gone)))


def judge_export(
    path: Path, keys: Collection[str], numbers: Collection[str], given: Given, sha256_of: dict[str, str]
) -> list[str]:
    """What is wrong with an exported file: a row for each item, each with an id that works and means its bytes.

    Args:
        path: the export. keys: of the campaign's items. numbers: number ids. given: the emulator's books.
        sha256_of: of each key's file.
    """
    if not path.exists():
        return [f"{path.name}: there is none"]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    wrong = []
    if sorted((row["phone_number_id"], row["key"]) for row in rows) != sorted(
        (number, key) for number in numbers for key in keys
    ):
        wrong.append(f"{path.name}: {len(rows)} rows for {len(keys) * len(numbers)} items")
    for row in rows:
        is_right = given.file_of.get(row["media_id"]) == FileKey(row["phone_number_id"], sha256_of[row["key"]])
        if not is_right or row["media_id"] in given.deleted:
            wrong.append(f"{path.name}: {row['media_id']} is not what {row['key']} needs")
    return wrong
