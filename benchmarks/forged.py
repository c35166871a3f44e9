"""Made-up webhooks cost next to nothing, and keep nobody from what customers really sent (P1; US-3).

Whoever can land a webhook can make up media ids, and each costs a failed GET. Over a moved day customers send files; in the third
hour a thousand webhooks with ids that were never given are landed beside theirs, and the archive runs once an hour as in
`inbound`. Three scenes, each on a ledger and an emulator of its own with the stricter of the two throttles:

* ``one_file``: all of them in one JSON Lines file.
* ``single_files``: each in a file of its own, all in one folder.
* ``urls``: in one file, each with a URL of its own that says it ends far in the future.
"""

from __future__ import annotations

import random
import time
from typing import Any

from airflow_provider_360dialog.emulator.webhook import media_part, webhook
from benchmarks import inbound, support
from benchmarks.inbound_days import HOUR_S, Stage, most_in_an_hour, spread, stage

_FIRST, _LATER = 3, 1  # failed requests that a forged batch may cost: at first, and then in any hour
_LAG_S = 10.0  # by how much longer than another a turn may take until its request leaves
_LANDED = 3  # the hour in which it comes
_LATEST_H = 2.0  # by when what a customer sent is archived: the run of the next full hour, and where it has to wait, one more
_SEED = 361
_SCENES = ("one_file", "single_files", "urls")


def run(
    *, engine: str = "both", scenes: str = ",".join(_SCENES), forged: int = 1000, genuine: int = 200, hours: int = 24
) -> dict[str, Any]:
    """Forge.

    Args:
        engine: sqlite, postgresql or both. scenes: which of one_file, single_files and urls.
        forged: webhooks with ids that were never given. genuine: files that customers send. hours: over which they come.
    """
    started = time.monotonic()
    wanted = scenes.split(",")
    if unknown := set(wanted) - set(_SCENES):
        raise SystemExit(f"no such scenes: {', '.join(sorted(unknown))}")
    engines = support.ENGINES if engine == "both" else (engine,)
    figures = {each: {scene: _day(each, scene, forged, genuine, hours) for scene in wanted} for each in engines}
    holds = not any(found["not_kept"] for of_engine in figures.values() for found in of_engine.values())
    sizes = {"forged": forged, "genuine": genuine, "hours": hours}
    return support.tell("forged", sizes | figures, started=started, holds=holds)


def _day(engine: str, batch: str, forged: int, genuine: int, hours: int) -> dict[str, Any]:
    sent = inbound.plan(genuine, dead=0.0, own_url=0.7, hours=hours - 2)
    with stage(engine, workers=1) as scene:
        made_up: set[str] = set()

        def land(hour: int) -> None:
            if hour == _LANDED:
                made_up.update(_forge(scene, batch, forged))

        scene.pass_hours(hours, sent, works=lambda _, __: True, land=land)
        return _judge(scene, made_up)


def _forge(scene: Stage, batch: str, count: int) -> list[str]:
    """Land made-up webhooks; their media ids."""
    noise, number = random.Random(_SEED), scene.place.number
    now_s = scene.emulated.ask("clock")["now_s"] - 60  # of what has only just come, an archive waits a moment
    media_ids = [f"9{noise.randrange(10**14):014}" for _ in range(count)]
    forged = []
    for media_id in media_ids:
        query = f"mid={media_id}&ext={int(now_s) + 6 * 86_400}&hash={noise.randbytes(20).hex()}"
        url = f"https://lookaside.fbsbx.com/whatsapp_business/attachments/?{query}" if batch == "urls" else None
        part = media_part(
            media_id=media_id, mime_type="image/png", sha256_hex=noise.randbytes(32).hex(), file_name="", caption=None, url=url
        )
        facts = {"number_id": number.number_id, "display_phone": "15550000001", "sender": "15557654321"}
        forged.append(webhook(**facts, sent_at_s=int(now_s), kind="image", part=part))
    if batch == "single_files":
        for index, each in enumerate(forged):
            scene.landing.write(f"partner/{index:04}.json", [each])
    else:
        scene.landing.write("partner.jsonl", forged)
    return media_ids


def _judge(scene: Stage, made_up: set[str]) -> dict[str, Any]:
    archived, counters, (worker,) = scene.archived(), scene.counters(), scene.workers
    live, failures = scene.landing.sha256_of, scene.failures
    first = [at for at in failures if at < failures[0] + HOUR_S / 2]
    later = failures[len(first) :]
    reported = {media_id for media_id, _ in scene.reported()}
    figures = {
        "archived": len(archived),
        "identical": sum(archived.get(media_id) == [sha256] for media_id, sha256 in live.items()),
        "age_h": {name: round(of / HOUR_S, 2) for name, of in spread(scene.ages_s()).items()},
        "runs": len(worker.results),
        "waits": worker.waits,
        "suspects": worker.results[-1]["counts"]["suspects"] if worker.results else None,
        "forged_reported": len(reported),
        "failed": len(failures),
        "failed_at_first": len(first),
        "most_failed_in_an_hour_later": most_in_an_hour(later, hour_s=HOUR_S - _LAG_S),
        "most_failed_in_an_hour": scene.most_failed_in_an_hour(),
        "most_failed_and_in_flight": counters["max_failed_plus_in_flight_gets"],
        "failed_at_min": [round((at - failures[0]) / 60, 1) for at in failures][:12],
        "blocks": counters["blocks"],
        "errors": worker.errors[:3],
    }
    kept = {
        "no error": not worker.errors,
        "all genuine ones archived": figures["identical"] == len(live) == len(archived),
        "in the first runs": figures["age_h"]["max"] <= _LATEST_H,
        "at most three at first": 0 < len(first) <= _FIRST,
        "then one an hour": figures["most_failed_in_an_hour_later"] <= _LATER,
        "only forged ones lost": reported <= made_up,
        "never blocked": not counters["blocks"]
        and max(figures["most_failed_in_an_hour"], counters["max_failed_gets_per_hour"]) <= 4,
    }
    return figures | {"not_kept": [promise for promise, is_kept in kept.items() if not is_kept]}


if __name__ == "__main__":
    support.main(run)
