"""What the fleet has to do: campaigns in waves, each by several runs at once; renewals, received files, clean-ups with approval.

Before the load there are campaigns of three weeks ago (`Past`): one that is needed for another while and whose ids die too early,
and ended ones, one for each wave, whose own files nobody needs, while others of their files are needed by the first one and by
the wave that begins just when the clean-up runs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import subprocess
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import support
from benchmarks.fleet.airflow import PYTHON, Fleet, clean_environment, quoted

if TYPE_CHECKING:
    from benchmarks.fleet.services import EmulatedHost

DAY_S = 86_400
AGE_S = 20 * DAY_S
_SIZE_BYTES = 3000
_PDF_HEAD, _PDF_TAIL = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", b"\nstartxref\n0\n%%EOF\n"
_ENDED = frozenset({"success", "failed"})
_ASKED_FOR_S = 4.0  # an answer that comes within a second of the question looks to Airflow's scheduler like a death in the queue


@dataclass(frozen=True)
class Sizes:
    """How much of everything; files and items are of one channel and one wave.

    Attributes:
        files: of a wave's campaign. runs_at_once: DAG runs of one campaign. old: files of an old campaign.
        inbound: received files. large_bytes: of one file of the first wave.
        wave_s: after which the next wave may begin before the last is done; never more than two campaigns are under way.
    """

    files: int
    runs_at_once: int
    old: int
    inbound: int
    large_bytes: int
    wave_s: float


@dataclass
class Campaign:
    """A campaign and its files: key -> path."""

    name: str
    manifest: Path
    export: Path
    files: dict[str, Path]


@dataclass
class Run:
    """A DAG run that was started."""

    dag_id: str
    run_id: str
    conf: dict[str, Any]
    state: str = "queued"
    tries: int = 0


class Shop:
    """The files of the company, and what is to be done with them."""

    def __init__(self, place: Path, sizes: Sizes, waves: int, seed: int) -> None:
        self._place, self._sizes, self._noise = place, sizes, random.Random(seed)
        self.shared, self.exports, self.manifests = (place / name for name in ("files", "exports", "manifests"))
        for folder in (self.shared, self.exports, self.manifests):
            folder.mkdir(parents=True)
        spring = self._new("spring", sizes.old)
        self.spring = self._campaign("spring", spring)
        borrowed = list(spring.items())[: sizes.old // 2]
        self.ended = [
            self._campaign(f"ended-{wave}", self._new(f"ended-{wave}", sizes.old) | dict(borrowed)) for wave in range(waves)
        ]
        self.waves: list[Campaign] = []

    def wave(self) -> Campaign:
        """The next wave's campaign: new files, and some of the campaign that has just ended."""
        number = len(self.waves)
        files = self._new(f"wave-{number}", self._sizes.files)
        if number == 0:
            files["large"] = self._large()
        if number < len(self.ended):
            old = [(key, path) for key, path in self.ended[number].files.items() if key.startswith("ended")]
            files |= dict(old[: self._sizes.old // 4])
        self.waves.append(self._campaign(f"wave-{number}", files))
        return self.waves[-1]

    def _new(self, name: str, count: int) -> dict[str, Path]:
        paths = {f"{name}-{index:04}": self.shared / f"{name}-{index:04}.png" for index in range(count)}
        for path in paths.values():
            path.write_bytes(support.PNG + self._noise.randbytes(_SIZE_BYTES))
        return paths

    def _large(self) -> Path:
        path = self.shared / "large.pdf"
        path.write_bytes(_PDF_HEAD + self._noise.randbytes(self._sizes.large_bytes) + _PDF_TAIL)
        return path

    def _campaign(self, name: str, files: dict[str, Path]) -> Campaign:
        manifest = self.manifests / f"{name}.jsonl"
        manifest.write_text("".join(json.dumps({"key": key, "uri": str(path)}) + "\n" for key, path in files.items()))
        return Campaign(name, manifest, self.exports / f"{name}.jsonl", files)


def seed_past(shop: Shop, host: EmulatedHost, ledger_url: str, home: Path) -> None:
    """Upload the old campaigns, with the wheel that the fleet runs."""
    values = support.airflow_environment(host.asked, ledger_url)
    soon = (datetime.now(UTC) + timedelta(days=12)).isoformat()
    told = [[each.name, str(each.manifest), soon] for each in (shop.spring, *shop.ended)]
    script = Path(__file__).with_name("seeding.py")
    home.mkdir()
    with (home / "seeding.log").open("wb") as output:
        subprocess.run(
            [str(PYTHON), "-P", str(script), json.dumps(told), *(number.conn_id for number in host.numbers)],
            env=clean_environment(home) | values, cwd=home, stdout=output, stderr=output, timeout=300, check=True,
        )  # fmt: skip


class Inbox:
    """What customers send. ``sha256_of``: of the files that can be had. ``dead``: ids that 360dialog does not know."""

    def __init__(self, place: Path, host: EmulatedHost, seed: int) -> None:
        self.webhooks, self.archive = place / "webhooks", place / "archive"
        self.webhooks.mkdir()
        self.sha256_of: dict[tuple[str, str], str] = {}
        self.dead: set[tuple[str, str]] = set()
        self._host, self._noise = host, random.Random(seed + 1)

    def send(self, count: int, dead: list[int]) -> None:
        """Each number gets files; ``dead``: how many more are announced that nobody has, of each number."""
        for number, lost in zip(self._host.numbers, dead, strict=True):
            said = [self._file(number.number_id, is_dead=False) for _ in range(count)]
            for _ in range(lost):
                said.insert(self._noise.randrange(len(said) + 1), self._file(number.number_id, is_dead=True))
            name = f"{number.conn_id}-{time.time_ns()}.jsonl"
            hidden = self.webhooks.parent / name
            hidden.write_text("".join(f"{json.dumps(webhook)}\n" for webhook in said))
            hidden.rename(self.webhooks / name)

    def _file(self, number_id: str, *, is_dead: bool) -> dict[str, Any]:
        content = support.PNG + self._noise.randbytes(self._noise.randrange(500, 60_000))
        body = {"content_base64": base64.b64encode(content).decode(), "mime_type": "image/png", "number_id": number_id}
        with_url = not is_dead and self._noise.random() < 0.4
        webhook: dict[str, Any] = self._host.asked.ask("webhook-media", body | {"with_url": with_url})
        part = webhook["entry"][0]["changes"][0]["value"]["messages"][0]["image"]
        if is_dead:
            part["id"] = f"9{self._noise.randrange(10**14):014}"
            self.dead.add((number_id, part["id"]))
        else:
            self.sha256_of[number_id, part["id"]] = hashlib.sha256(content).hexdigest()
        return webhook


@dataclass
class Load(threading.Thread):
    """Starts runs until the time is over, and approves what asks for it.

    Attributes:
        runs: all that were started. fault: why the load ended too early. is_over: no more waves begin.
    """

    fleet: Fleet
    shop: Shop
    inbox: Inbox
    sizes: Sizes
    load_s: float
    dead: list[list[int]]
    runs: list[Run] = field(default_factory=list)
    fault: BaseException | None = None

    def __post_init__(self) -> None:
        super().__init__(name="load", daemon=True)
        self.is_over, self.stopped = threading.Event(), threading.Event()
        self._asked_at: dict[str, float] = {}

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        try:
            self._go()
        except BaseException as fault:  # noqa: BLE001 - told to the parent
            self.fault = fault
        finally:
            self.is_over.set()

    def _go(self) -> None:
        ends_at = time.monotonic() + self.load_s
        while time.monotonic() < ends_at and not self.stopped.is_set():
            self.begin_wave()
            next_at = time.monotonic() + self.sizes.wave_s
            while time.monotonic() < ends_at and not self.stopped.wait(2):
                self.look()
                left = sum(run.dag_id == "fleet_campaign" and run.state not in _ENDED for run in self.runs)
                if left == 0 or (left <= self.sizes.runs_at_once and time.monotonic() >= next_at):
                    break

    def begin_wave(self) -> None:
        """Everything at once: the same campaign by several runs, and all the other jobs."""
        number = len(self.shop.waves)
        campaign = self.shop.wave()
        self.inbox.send(self.sizes.inbound, self.dead[number] if number < len(self.dead) else [0] * len(self.dead[0]))
        for copy in range(self.sizes.runs_at_once):
            self.start_run("fleet_campaign", f"{campaign.name}-{copy}", **self.conf_of(campaign))
        self.start_run("fleet_inbound", f"inbound-{number}", webhooks=str(self.inbox.webhooks), archive=str(self.inbox.archive))
        for copy in range(2 if number == 0 else 1):
            soon = (datetime.now(UTC) + timedelta(days=14)).isoformat()
            self.start_run("fleet_refresh", f"refresh-{number}-{copy}", valid_until=soon)
        self.start_run("fleet_cleanup", f"cleanup-{number}", folder=str(self.inbox.archive.parent / "cleanup" / str(number)))

    @staticmethod
    def conf_of(campaign: Campaign) -> dict[str, str]:
        needed_until = (datetime.now(UTC) + timedelta(days=3)).isoformat()
        return {
            "campaign": campaign.name,
            "manifest": str(campaign.manifest),
            "export": str(campaign.export),
            "needed_until": needed_until,
        }

    def start_run(self, dag_id: str, run_id: str, **conf: str) -> Run:
        self.runs.append(Run(dag_id, run_id, conf))
        self.fleet.trigger(dag_id, run_id, conf)
        return self.runs[-1]

    def look(self) -> None:
        """What has ended, and what asks for approval."""
        for run in self.runs:
            if run.state not in _ENDED:
                run.state = self.fleet.state(run.dag_id, run.run_id)
                if run.dag_id == "fleet_cleanup":
                    self._approve(run)

    def _approve(self, run: Run) -> None:
        path = f"dags/{run.dag_id}/dagRuns/{quoted(run.run_id)}/taskInstances/approve"
        state = self.fleet.ask(path)["state"]
        if state not in {"awaiting_input", "deferred"}:
            self._asked_at.pop(run.run_id, None)
            return
        if time.monotonic() - self._asked_at.setdefault(run.run_id, time.monotonic()) < _ASKED_FOR_S:
            return
        try:
            self.fleet.ask(f"{path}/-1/hitlDetails", {"chosen_options": ["Approve"], "params_input": {}}, method="PATCH")
        except RuntimeError as fault:
            if ": 409 " not in str(fault):  # answered already
                raise

    def wait(self, *, within_s: float, but: frozenset[str] = frozenset()) -> list[Run]:
        """Until all runs have ended, except of some DAGs: those that have not."""
        ends_at = time.monotonic() + within_s
        while True:
            self.look()
            left = [run for run in self.runs if run.state not in _ENDED and run.dag_id not in but]
            if not left or time.monotonic() > ends_at:
                return left
            time.sleep(1)
