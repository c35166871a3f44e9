"""What the ledger and the emulator say of the same uploads."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks import support


def look(url: str, emulated: support.Emulator, number_id: str, noted: list[tuple[str, str]], paths: list[str]) -> dict[str, Any]:
    """Compare.

    Args:
        url: the ledger. emulated: the emulator. number_id: whose. noted: (path, media id) as `upload` returned them.
        paths: all files.
    """
    import hashlib

    import sqlalchemy as sa

    from airflow_provider_360dialog.ledger import schema
    from airflow_provider_360dialog.ledger.statistics import read_statistics
    from airflow_provider_360dialog.ledger.store import Store

    store = Store(url).open_existing()
    media, files = schema.media, schema.fingerprint
    query = sa.select(files.c.sha256, media.c.media_id, media.c.state, media.c.id == files.c.media_row).join_from(media, files)
    query = query.where(media.c.fingerprint_id == files.c.id)
    with store.read() as db:
        rows = db.execute(query).all()
    statistics = read_statistics(store)
    current: dict[str, list[str]] = defaultdict(list)
    for sha256, media_id, state, is_pointed_at in rows:
        if state == schema.CURRENT and is_pointed_at:
            current[sha256].append(media_id)
    live, on_record = emulated.live_ids(number_id), {media_id for _, media_id, _, _ in rows}
    sha256_of = {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths}
    return {
        "current_ids": sum(state == schema.CURRENT for _, _, state, _ in rows),
        "files_with_one_current_id": sum(len(current[sha256_of[path]]) == 1 for path in paths),
        "current_ids_live": sum(ids[0] in live for ids in current.values()),
        "returned": len(noted),
        "returned_not_current": sum(current[sha256_of[path]] != [media_id] for path, media_id in noted),
        "orphans": len(live - on_record),
        "orphan_possible": sum(each.orphan_possible for each in statistics),
    }
