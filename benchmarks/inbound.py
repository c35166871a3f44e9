"""Everything that customers send is archived once and in time, and the number is never blocked (P1, P7; US-3).

For three moved days customers send files to one number, most of them in the hours after a campaign. Their webhooks are landed as
one JSON Lines file an hour and some files of one webhook each; dead ids lie at equal distances, and some webhooks bring no URL.
Once an hour the archive runs (`inbound_days`), on an emulator with the stricter of the two throttles; for half of the time a
second process archives the same number at the same moments. Beside it: what people write today, on the same traffic (`Plain`).
`--dead 0.05` for one in twenty.
"""

from __future__ import annotations

import heapq
import random
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import requests

from benchmarks import support
from benchmarks.inbound_days import HOUR_S, Item, Landing, Stage, Timeline, spread, stage

_MOST = 4  # failed GETs in an hour; more than five, and 360dialog blocks the number
_SEED = 360
_ALONE = 0.1  # of webhooks, in files of their own
_BUSY = {10: 12.0, 11: 6.0, 12: 3.0}  # weights of the hours after a campaign; another one has 1.5 by day and 0.3 by night


def run(
    *, engine: str = "both", items: int = 1000, dead: float = 0.01, own_url: float = 0.7, hours: int = 72, tail_hours: int = 6
) -> dict[str, Any]:
    """Archive.

    Args:
        engine: sqlite, postgresql or both. items: that are sent. dead, own_url: shares of them. hours: over which they come.
        tail_hours: after the last of them.
    """
    started = time.monotonic()
    engines = support.ENGINES if engine == "both" else (engine,)
    sent = plan(items, dead=dead, own_url=own_url, hours=hours)
    figures = {each: _days(each, sent, hours, tail_hours) for each in engines}
    baseline = Plain(sent).archive()
    holds = not any(found["not_kept"] for found in figures.values())
    sizes = {"items": items, "dead": sum(each.is_dead for each in sent), "own_url": own_url, "hours": hours}
    return support.tell("inbound", sizes | figures | {"baseline": baseline}, started=started, holds=holds)


def plan(items: int, *, dead: float, own_url: float, hours: int, seed: int = _SEED) -> list[Item]:
    """What customers send, in its order; the dead ones lie at equal distances."""
    noise = random.Random(seed)
    by_hour = [_BUSY.get(hour % 24, 1.5 if 8 <= hour % 24 < 20 else 0.3) for hour in range(hours)]
    instants = sorted((hour + noise.random()) * HOUR_S for hour in noise.choices(range(hours), by_hour, k=items))
    count = round(items * dead)
    places = {int((index + 0.5) * items / count) for index in range(count)}
    return [
        Item(at_s, int(2000 * 100 ** noise.random()), place in places, noise.random() < own_url, noise.random() < _ALONE)
        for place, at_s in enumerate(instants)
    ]


def _days(engine: str, sent: list[Item], hours: int, tail_hours: int) -> dict[str, Any]:
    def works(worker: int, hour: int) -> bool:
        return worker == 0 or hour // 6 % 2 == 1

    with stage(engine, workers=2) as scene:
        scene.pass_hours(hours + tail_hours, sent, works=works, land=lambda _: None)
        return _judge(scene)


def _judge(scene: Stage) -> dict[str, Any]:
    archived, reported, counters = scene.archived(), scene.reported(), scene.counters()
    live, dead = scene.landing.sha256_of, scene.landing.dead
    downloads = counters["accepted"].get("download", 0)
    results = [result for worker in scene.workers for result in worker.results]
    ages_s = scene.ages_s()
    figures = {
        "archived": len(archived),
        "identical": sum(archived.get(media_id) == [sha256] for media_id, sha256 in live.items()),
        "downloads": downloads,
        "by_own_url": downloads - counters["accepted"].get("fetch", 0),
        "lost_reported": len(reported),
        "runs": [len(worker.results) for worker in scene.workers],
        "archived_by_each": [sum(each["counts"]["archived"] for each in worker.results) for worker in scene.workers],
        "waits": sum(worker.waits for worker in scene.workers),
        "pending": results[-1]["counts"]["pending"] if results else None,
        "failed": len(scene.failures),
        "most_failed_in_an_hour": scene.most_failed_in_an_hour(),
        "most_failed_gets_in_an_hour": counters["max_failed_gets_per_hour"],
        "most_failed_and_in_flight": counters["max_failed_plus_in_flight_gets"],
        "blocks": counters["blocks"],
        "age_h": {name: round(of / HOUR_S, 2) for name, of in spread(ages_s).items()},
        "errors": [error for worker in scene.workers for error in worker.errors][:3],
    }
    kept = {
        "no error": not figures["errors"],
        "all archived and identical": figures["identical"] == len(live) == len(archived) == len(ages_s),
        "each once": downloads == len(live),
        "all dead reported once": reported == Counter((media_id, "gone") for media_id in dead),
        "nothing left": figures["pending"] == 0,
        "never near a block": max(figures["most_failed_in_an_hour"], figures["most_failed_and_in_flight"]) <= _MOST
        and not figures["blocks"],
        "both at work": all(figures["archived_by_each"]),
    }
    return figures | {"not_kept": [promise for promise, is_kept in kept.items() if not is_kept]}


# --- what people write today --------------------------------------------------------------------------------------


class Plain:
    """An hourly run with one mapped task for each webhook, a plain `requests.get` by id, `retries=3`; no budget, no memory.

    Modelled by its order in time, as in `plain_client`: ``callers`` slots, each busy for ``task_s`` with a try; a task that fails
    is tried again after ``retry_delay_s``.
    """

    def __init__(
        self, sent: list[Item], *, callers: int = 16, task_s: float = 2.0, retries: int = 3, retry_delay_s: float = 300.0
    ) -> None:
        self._sent, self._callers, self._task_s = sent, callers, task_s
        self._retries, self._retry_delay_s = retries, retry_delay_s

    def archive(self) -> dict[str, Any]:
        """Figures of an emulator of its own."""
        with support.folder() as home, support.emulator() as emulated, requests.Session() as session:
            emulated.ask("settings", {"profile": "strict"})
            session.headers["D360-API-KEY"] = emulated.numbers[0].key
            landing = Landing(home / "webhooks", emulated)
            timeline = Timeline(lambda step_s: emulated.ask("clock", {"advance_s": step_s}))
            archived = self._pass_time(timeline, landing, lambda media_id: _plain_download(session, emulated, media_id))
            found = emulated.ask("counters")["numbers"][emulated.numbers[0].number_id]
        return {
            "archived": len(archived),
            "live_lost": len(landing.sha256_of.keys() - archived),
            "blocks": found["blocks"],
            "failed": found["failed_gets"],
            "failed_in_a_block": found["blocked_gets"],
            "most_failed_in_an_hour": found["max_failed_gets_per_hour"],
        }

    def _pass_time(self, timeline: Timeline, landing: Landing, ask: Callable[[str], bool]) -> set[str]:
        coming, archived = deque(self._sent), set[str]()
        tries: list[tuple[float, int, str]] = []  # when, how many before, media id
        in_hour: Counter[float] = Counter()
        while coming or tries:
            if coming and (not tries or coming[0].at_s <= tries[0][0]):
                item = coming.popleft()
                timeline.move_to(item.at_s)
                media_id, full_hour = landing.land(item), (item.at_s // HOUR_S + 1) * HOUR_S
                heapq.heappush(tries, (full_hour + in_hour[full_hour] // self._callers * self._task_s, 0, media_id))
                in_hour[full_hour] += 1
                continue
            at_s, tried, media_id = heapq.heappop(tries)
            timeline.move_to(at_s)
            if ask(media_id):
                archived.add(media_id)
            elif tried < self._retries:
                heapq.heappush(tries, (at_s + self._task_s + self._retry_delay_s, tried + 1, media_id))
        return archived


def _plain_download(session: requests.Session, emulated: support.Emulator, media_id: str) -> bool:
    answer = session.get(f"{emulated.base_url}/{media_id}", timeout=30)
    if not answer.ok:
        return False
    url = answer.json()["url"].replace("https://lookaside.fbsbx.com", emulated.base_url)
    return session.get(url, timeout=30).ok


if __name__ == "__main__":
    support.main(run)
