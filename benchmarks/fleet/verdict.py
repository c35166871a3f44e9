"""Which promises a fleet's run has kept: the emulator's and the ledger's books side by side, and all that was left behind."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.fleet import airflow, books
from benchmarks.fleet.leaks import Leaks
from benchmarks.fleet.stage import METADATA, Stage
from tests.support.postgres import PASSWORD

if TYPE_CHECKING:
    from benchmarks.fleet.chaos import Chaos
    from benchmarks.fleet.ending import Finished
    from benchmarks.fleet.load import Load
    from benchmarks.fleet.services import EmulatedHost

_TASK_MB = 400
_UNDER_WAY = 24  # uploads of a task at once, where each takes a tenth of a second or a little more


@cache
def _sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def judge(
    stage: Stage, load: Load, chaos: Chaos, finished: Finished, *, refused: float
) -> tuple[dict[str, Any], dict[str, bool], dict[str, list[str]]]:
    from airflow_provider_360dialog.ledger.verify import find_disagreements

    store, host = stage.store(), stage.host
    given, ledger = books.read_journal(host.journal()), books.read_ledger(store)
    shop, numbers = stage.shop, [number.number_id for number in host.numbers]

    def files_of(*campaigns: Any) -> set[books.FileKey]:
        return {
            books.FileKey(number, _sha256_of(path)) for each in campaigns for path in each.files.values() for number in numbers
        }

    living, always = files_of(shop.spring, *shop.waves), files_of(shop.spring)
    old = files_of(shop.spring, *shop.ended)
    uploads = books.judge_uploads(given, ledger, living, renewable=old)
    bytes_wrong = [key.sha256[:12] for key in living if not _has_bytes(host, ledger, key)]
    needless = books.needless_deletes(given, ledger, always)
    useless_left = [key.sha256[:12] for key in old - living if any(each not in given.deleted for each in given.uploads[key])]
    not_audited = sorted(given.deleted - books.audited(store))
    exports = [
        line
        for each in shop.waves
        for line in books.judge_export(each.export, each.files, numbers, given, {k: _sha256_of(p) for k, p in each.files.items()})
    ]
    received = books.judge_archive(stage.inbox.archive, stage.inbox.sha256_of, stage.inbox.dead, books.inbound_states(store))
    halves = [str(path.name) for path in stage.inbox.archive.rglob(".*") if path.is_file()]
    wire, is_wire_kept = _judge_wire(host, refused=refused)
    leaks = _look_for_secrets(stage)
    damage = [f"{each.kind}: {each.count}" for each in find_disagreements(store) if each.severity == "damage"]
    runs = [each for each in load.runs if each.state != "success" and each.run_id not in finished.again]
    unfinished = [each.run_id for each in runs if each.dag_id != "fleet_inbound"]
    met = sum(len(event.hit) for event in chaos.events)
    figures: dict[str, Any] = {
        "runs": len(load.runs),
        "runs_started_again": finished.again,
        "runs_not_ended": finished.left,
        "finish_s": finished.seconds,
        "files": uploads.files,
        "uploads_stored": uploads.posts_stored,
        "lost": len(uploads.lost) + len(bytes_wrong),
        "doubled": len(uploads.doubled),
        "orphans": uploads.orphans,
        "orphan_possible": uploads.orphan_possible,
        "surplus": uploads.surplus,
        "uploaded_again": uploads.again,
        "tasks_that_were_met": met,
        "renewed": uploads.renewed,
        **wire,
        "deleted": len(given.deleted),
        "received": received.sent,
        "received_archived": received.archived,
        "received_by_state": received.on_record,
        "hours_moved": finished.hours,
        "halves_left": len(halves),
        "uploads_of_a_run_with_nothing_to_do": finished.calls_for_nothing,
        "task_processes_seen": len(chaos.memory.pids),
        "most_memory_of_a_task_mb": round(chaos.memory.peak / 10**6),
        "looked_at_mb": {kind: round(size / 10**6, 1) for kind, size in leaks.looked_at.items()},
        "secrets_found": len(leaks.found),
    }
    kept = {
        "0 lost ids: each item's file has one current id, which 360dialog knows, with its bytes": not uploads.lost + bytes_wrong,
        "0 doubled: what was uploaded more than once is counted": not uploads.doubled + uploads.unknown_ids,
        "what was uploaded again was under way when its task was killed": uploads.again <= _UNDER_WAY * met,
        **is_wire_kept,
        "nothing was deleted that a living campaign needs": not needless,
        "what nobody needs was deleted, and each delete is in the audit": not useless_left + not_audited,
        "exports name ids that work, one for each item": not exports,
        "received files are archived whole, once, or lost with a reason": not received.wrong + received.missing + halves,
        "no key, no media URL in logs, XCom, tables, messages": not leaks.found and all(leaks.looked_at.values()),
        "a run with nothing to do uploads nothing": finished.calls_for_nothing == 0,
        "tasks stay small": 0 < chaos.memory.peak <= _TASK_MB * 10**6,
        "the ledger agrees with itself": not damage,
        "every run came to its end": not finished.left + unfinished,
        "everything was killed at least once": all(chaos.counts.values()),
        "the fleet ran the installed wheel": "site-packages" in airflow.wheel_folder(),
    }
    wrong = {
        "lost": uploads.lost + bytes_wrong,
        "doubled": uploads.doubled,
        "an id that 360dialog never gave": uploads.unknown_ids,
        "deleted, but needed": needless,
        "not deleted, and needed by nobody": useless_left,
        "deleted without audit": not_audited,
        "export": exports,
        "received": received.wrong + received.missing + halves,
        "secret": leaks.found,
        "ledger": damage,
        "run": finished.left + unfinished,
    }
    return figures, kept, wrong


def _has_bytes(host: EmulatedHost, ledger: dict[books.FileKey, books.Kept], key: books.FileKey) -> bool:
    """Whether 360dialog still has, under a file's current id, exactly the file."""
    kept = ledger.get(key)
    try:
        content = host.content(kept.pointed_at or "") if kept else b""
    except OSError:
        return False
    return hashlib.sha256(content).hexdigest() == key.sha256


def _judge_wire(host: EmulatedHost, *, refused: float) -> tuple[dict[str, Any], dict[str, bool]]:
    """The emulator's counters, over all numbers."""
    told = host.asked.ask("counters?times=1")
    each = list(told["numbers"].values())
    posts = [len(found["post_times_s"]) for found in each]
    over = [books.too_many(found["post_times_s"]) for found in each]
    figures = {
        "posts": sum(posts),
        "most_posts_in_a_second": max(found["max_posts_per_s"] for found in each),
        "refused_by_pace": sum(found["refused_by_pace"] for found in each),
        "too_many_by_number": over,
        "most_failed_gets_in_an_hour": max(found["max_failed_gets_per_hour"] for found in each),
        "most_failed_and_under_way": max(found["max_failed_plus_in_flight_gets"] for found in each),
        "failed_gets": sum(found["failed_gets"] for found in each),
        "blocks": sum(found["blocks"] for found in each),
    }
    kept = {
        "0 blocked numbers": figures["blocks"] == 0 and not any(found["blocked_gets"] for found in each),
        f"at most 25 uploads in any second of a number, but for {refused:.1%} of them": all(
            count <= max(1, refused * total) for count, total in zip(over, posts, strict=True)
        ),
        "at most 4 failed GETs in any hour of a number": figures["most_failed_gets_in_an_hour"] <= books.MOST_FAILED_GETS,
        "no request with a key that nobody has": told["unknown_key_requests"] == 0,
    }
    return figures, kept


def _look_for_secrets(stage: Stage) -> Leaks:
    """Logs, what Airflow and the ledger have on record, messages, and what the jobs wrote; not what has to hold secrets."""
    secrets = {number.key.encode(): f"the key of {number.conn_id}" for number in stage.host.numbers}
    found = Leaks(secrets | {PASSWORD.encode(): "the ledger's password"})
    inbox = stage.inbox
    found.look(stage.broker.save(), "messages", "Redis")
    found.look_at_folder(stage.place, but=(inbox.webhooks, inbox.archive, stage.host.data, stage.shop.shared, stage.broker.dump))
    found.look_at_database(stage.metadata, METADATA, "Airflow's database")
    found.look_at_database(stage.ledger, stage.ledger_url, "ledger")
    return found
