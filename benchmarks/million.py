"""A million items are planned and exported in flat memory (P9): the same at 10^5 and at 10^6.

Items name few files on many channels, so that each is an upload of its own while the disk holds few files. One process plans, as
the operator does. Then the database itself gives every file its media id, in bulk, and another process exports. Of both the peak
memory is told, over what the imports need, and the time.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa

from airflow_provider_360dialog.ledger.store import Store
from benchmarks import campaign_tasks, support
from benchmarks.answering import answering
from benchmarks.campaign import make_campaign

MOST_MB = 200.0
MORE_MB = 40.0
_UNTRUSTED_S = 2.1  # for so long after a change a file's stamp is not trusted, and the file would be read again
_FILL = (
    """
    INSERT INTO d360_media (id, channel_id, fingerprint_id, media_id, state, state_since, uploaded_at, safe_until)
    SELECT id, channel_id, id, CAST(100000000000000 + id AS TEXT), 'current', :now, :now, :now + 2500000.0 FROM d360_fingerprint
    """,
    "UPDATE d360_fingerprint SET media_row = id",
)


def run(
    *, engine: str = "postgresql", small: int = 100_000, large: int = 1_000_000, channels: int = 100, size_bytes: int = 4096
) -> dict[str, Any]:
    """Plan and export both sizes, each on a ledger of its own.

    It holds where neither task needs more than 200 MB besides its imports, nor 40 MB more for the larger campaign.

    Args:
        engine: sqlite, postgresql or both. small, large: items. channels: that share them. size_bytes: of a file.
    """
    started = time.monotonic()
    engines = support.ENGINES if engine == "both" else (engine,)
    figures = {each: {str(items): _campaign(each, items, channels, size_bytes) for items in (small, large)} for each in engines}
    holds = all(_is_flat(found[str(small)], found[str(large)]) for found in figures.values())
    return support.tell("million", {"channels": channels, "size_bytes": size_bytes} | figures, started=started, holds=holds)


def _is_flat(small: dict[str, Any], large: dict[str, Any]) -> bool:
    if small["errors"] or large["errors"] or small["rows"] != small["items"] or large["rows"] != large["items"]:
        return False
    names = ("plan_memory_mb", "export_memory_mb")
    return all(large[name] <= MOST_MB and large[name] <= small[name] + MORE_MB for name in names)


def _campaign(engine: str, items: int, channels: int, size_bytes: int) -> dict[str, Any]:
    with ExitStack() as stack:
        home = stack.enter_context(support.folder())
        url = stack.enter_context(support.ledger_url(engine, home))
        server = stack.enter_context(answering(numbers=channels, service_s=0.0))
        manifest = _manifest(home, items, channels, size_bytes)
        values = support.airflow_environment(server.emulated, url)
        conn_ids = [number.conn_id for number in server.emulated.numbers]
        planned = _task(campaign_tasks.plan, values, manifest, conn_ids=conn_ids, max_reject_ratio=0.0)
        _give_ids(url)
        exported_to = home / "exported.jsonl"
        exported = _task(campaign_tasks.export, values, manifest, destination=str(exported_to), require_complete=True)
        size = exported_to.stat().st_size if exported_to.exists() else 0
    return {
        "items": items,
        "files": _files_of(items, channels),
        "plan_s": planned["seconds"],
        "plan_memory_mb": planned["memory_over_imports_mb"],
        "plan_memory_with_imports_mb": planned["memory_mb"],
        "export_s": exported["seconds"],
        "export_memory_mb": exported["memory_over_imports_mb"],
        "rows": exported["result"].get("rows"),
        "export_bytes": size,
        "errors": [each["error"] for each in (planned, exported) if each["error"]],
    }


def _files_of(items: int, channels: int) -> int:
    return -(-items // channels)


def _manifest(home: Path, items: int, channels: int, size_bytes: int) -> Path:
    shared = make_campaign(home / "files", _files_of(items, channels), channels=1, size_bytes=size_bytes)
    names = [json.loads(line)["uri"] for line in shared.read_text().splitlines()]
    manifest = shared.with_name("of-all.jsonl")
    with manifest.open("w") as lines:
        for index in range(items):
            row = {"key": f"customer-{index:07}", "uri": names[index // channels], "channel": f"number_{index % channels + 1}"}
            lines.write(json.dumps(row) + "\n")
    time.sleep(_UNTRUSTED_S)
    return manifest


def _task(work: Any, values: dict[str, str], manifest: Path, **arguments: Any) -> dict[str, Any]:
    context, facts = support.workers(), SimpleNamespace(dag_id="p", run_id="p", task_id="t", map_index=-1, try_number=1)
    answers = context.Queue()
    process = context.Process(target=work, args=(values, facts, str(manifest), answers), kwargs=arguments, daemon=True)
    process.start()
    try:
        told: dict[str, Any] = support.answers_of(answers, 1, within_s=7200)[0]
        process.join(10)
    finally:
        process.kill()
    return told


def _give_ids(url: str) -> None:
    """As if everything were uploaded."""
    store = Store(url).open()
    with store.write() as db:
        now = db.scalar(sa.select(store.now))
        for statement in _FILL:
            db.execute(sa.text(statement), {"now": now} if ":now" in statement else {})


if __name__ == "__main__":
    support.main(run)
