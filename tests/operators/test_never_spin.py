"""Every operator and sensor against a 360dialog that always gives the same answer: hours of retries, waits and new runs.

A scheduler is simulated: an hourly DAG, retries, deferrals and reschedules, each at its instant. The clocks of the emulator, the
ledger and this process are one clock here, which is moved and never waited for. Counted is what the emulator saw.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import json
import logging
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from airflow.sdk import BaseOperator, BaseSensorOperator
from airflow.sdk.bases import sensor as airflows_sensor
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException, AirflowSensorTimeout, TaskDeferred
from airflow.sdk.execution_time.context import set_current_context

from airflow_provider_360dialog import emulator
from airflow_provider_360dialog.api import client
from airflow_provider_360dialog.api.repeat import FURTHER_ATTEMPTS
from airflow_provider_360dialog.emulator.state import LAST_REQUESTS
from airflow_provider_360dialog.exceptions import (
    AnswerUnreadableError,
    Dialog360Error,
    ServerError,
    ThrottledError,
    TransientError,
)
from airflow_provider_360dialog.get_provider_info import get_provider_info
from airflow_provider_360dialog.hooks import ledger, waiting
from airflow_provider_360dialog.hooks.campaigns import Campaigns
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.jobs import archive
from airflow_provider_360dialog.ledger.rules import STRICT
from airflow_provider_360dialog.ledger.store import Store
from airflow_provider_360dialog.operators.base import Dialog360Operator
from airflow_provider_360dialog.operators.campaigns import (
    Dialog360ExportCampaignOperator,
    Dialog360PlanCampaignOperator,
    Dialog360RefreshMediaOperator,
    Dialog360UploadCampaignOperator,
)
from airflow_provider_360dialog.operators.cleanup import Dialog360CleanupMediaOperator, Dialog360MarkUsedOperator
from airflow_provider_360dialog.operators.files import Dialog360CheckMediaOperator, Dialog360PrepareMediaOperator
from airflow_provider_360dialog.operators.inbound import Dialog360ArchiveInboundMediaOperator
from airflow_provider_360dialog.operators.media import (
    Dialog360DeleteMediaOperator,
    Dialog360DownloadMediaOperator,
    Dialog360FetchMediaUrlOperator,
    Dialog360UploadMediaOperator,
)
from airflow_provider_360dialog.sensors import base as ledger_sensor
from airflow_provider_360dialog.sensors.campaign import Dialog360CampaignReadySensor
from airflow_provider_360dialog.sensors.inbound import Dialog360InboundDrainedSensor
from airflow_provider_360dialog.sensors.retrieval import Dialog360RetrievalOpenSensor
from tests.canary import CANARY, Number
from tests.jobs import doubles
from tests.jobs.doubles import JPEG, Patient

HOUR = timedelta(hours=1)
HOURS = 4
RETRIES = 3
RETRY_DELAY = timedelta(minutes=5)
RUNS = 2
"""That one hour can see: one that was late, and its own."""
HEALTH = 2
"""Questions of one execution: whose the key is; and, once it was refused, whether the number has moved away."""
URLS = 3
"""By which one file may be tried: its webhook's; that of its id; and, once, a new one of its id."""
FILES = 2
_conn_ids = map("number_{}".format, itertools.count())


# --- the world ----------------------------------------------------------------------------------------------------


class World:
    """One emulator and one ledger, whose clocks and ours are one clock."""

    now_sql = "world_now()"

    def __init__(self, emu, path):
        self.emu, self.path, self._lock = emu, path, threading.Lock()

    def now_s(self):
        return self.emu.state.now_s()

    def now(self, _zone=UTC):
        return datetime.fromtimestamp(self.now_s(), UTC)

    def advance(self, seconds):
        """Waits of several threads come one after the other."""
        with self._lock:
            self.emu.advance(seconds)

    def tell(self, connection, _record):
        """Give a new connection to the ledger its clock."""
        connection.create_function("world_now", 0, self.now_s)


@pytest.fixture(scope="module")
def ledger_folder(tmp_path_factory):
    """In memory where there is such a place: thousands of transactions need not wait for the disk."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path_factory.mktemp("world")
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="never-spin-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def world(ledger_folder):
    with emulator.running(profile="strict", posts_per_s=10**6) as emu, pytest.MonkeyPatch.context() as patch:
        found = World(emu, ledger_folder / "ledger.db")
        url = f"sqlite:///{found.path}"
        patch.setitem(ledger._stores, url, Store(url, now_sql=World.now_sql, single_host=False))
        sa.event.listen(sa.engine.Engine, "connect", found.tell)
        here = type("Moved", (datetime,), {"now": staticmethod(found.now)})
        for module in (client, waiting, ledger_sensor):  # whoever tells the time of this process
            patch.setattr(module, "datetime", here)
        patch.setattr(airflows_sensor, "timezone", SimpleNamespace(utcnow=found.now))
        patch.setattr(doubles, "PACE_S", 0.1)  # the turn of an upload costs no time either
        logging.disable(logging.CRITICAL)  # there are thousands of attempts, and no key or URL here is watched
        patch.setattr(CANARY, "look_at_error", lambda _: None)
        yield found
        logging.disable(logging.NOTSET)
        sa.event.remove(sa.engine.Engine, "connect", found.tell)


@dataclass
class Bench:
    """A fresh number of the world, with its connection and a folder."""

    world: World
    number: Number
    conn_id: str
    folder: Path

    @property
    def hook(self):
        return Dialog360Hook(self.conn_id)

    def receive(self, **more):
        """A customer has sent a file, a minute ago."""
        sent = {"mime_type": "image/jpeg", "number": self.number.number_id, "url_life_s": 86_400.0} | more
        webhook = self.world.emu.inject_webhook_media(JPEG + os.urandom(8), **sent)
        message = webhook["entry"][0]["changes"][0]["value"]["messages"][0]
        message["timestamp"] = str(int((self.world.now() - timedelta(minutes=1)).timestamp()))
        return webhook

    def received(self):
        """The id of a file that a customer has sent."""
        message = self.receive()["entry"][0]["changes"][0]["value"]["messages"][0]
        return message["image"]["id"]

    def files(self, count=FILES):
        folder = self.folder / "files"
        folder.mkdir(exist_ok=True)
        for each in range(count):
            (folder / f"{each}.jpg").write_bytes(JPEG + os.urandom(8))
        return folder


@pytest.fixture
def bench(world, tmp_path, monkeypatch):
    conn_id = next(_conn_ids)
    number_id = f"5{conn_id.rpartition('_')[2]:0>14}"
    key = f"test-key-{number_id}"
    world.emu.add_number(number_id, key)
    fields = {"conn_type": "dialog360", "host": world.emu.base_url, "password": key}
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
    monkeypatch.setenv("AIRFLOW__DIALOG360__LEDGER_PATH", str(world.path))
    yield Bench(world, Number(world.emu, number_id, key), conn_id, tmp_path)
    world.emu.disarm()


# --- the scheduler ------------------------------------------------------------------------------------------------


@dataclass
class Scheduler:
    """What Airflow does with one task of an hourly DAG, with `RETRIES`.

    Attributes:
        executions: when each began and ended. outcomes: how they ended, by name.
    """

    world: World
    make: Callable[[], Any]
    executions: list[tuple[datetime, datetime]] = field(default_factory=list)
    outcomes: Counter = field(default_factory=Counter)

    def run(self):
        """For some hours; a run begins on the hour, or late where the one before was not over."""
        self.began_at = due = self.world.now()
        self.ends_at = self.began_at + HOURS * HOUR
        for number in itertools.count():
            self._move_to(due)
            if self.world.now() >= self.ends_at:
                return
            self._dag_run(number)
            missed = (self.world.now() - due) // HOUR
            due += HOUR * max(1, missed)  # catchup=False: of those that were missed, the last one only

    def _dag_run(self, number):
        try_number, first_wait, resume = 1, None, None
        while self.world.now() < self.ends_at:
            ti = SimpleNamespace(
                dag_id="d", run_id=f"r{number}", task_id="t", map_index=-1, try_number=try_number,
                get_first_reschedule_date=lambda _, first_wait=first_wait: first_wait,
            )  # fmt: skip
            began_at = self.world.now()
            ended, until, resume = self._execute(ti, resume)
            self.executions.append((began_at, self.world.now()))
            self.outcomes[ended] += 1
            if until is None and (ended != "retry" or try_number > RETRIES):
                return
            if ended == "retry":
                try_number, first_wait, until = try_number + 1, None, self.world.now() + RETRY_DELAY
            elif ended == "rescheduled":
                first_wait = first_wait or began_at
            assert until > self.world.now(), f"it spins: {ended} to an instant that is over"
            assert len(self.executions) < HOURS * 200, "it spins"
            self._move_to(until)

    def _execute(self, ti, resume):
        """How it ended; when it goes on, or None; and, after a deferral, where."""
        context, task = {"ti": ti}, self.make()
        try:
            with set_current_context(context):
                if resume is None:
                    task.execute(context)
                else:
                    task.resume_execution(*resume, context)
        except TaskDeferred as deferred:
            kwargs = json.loads(json.dumps(deferred.kwargs or {}))
            until, timeout = deferred.trigger.moment, deferred.timeout
            if timeout is not None and self.world.now() + timeout < until:
                self._move_to(self.world.now() + timeout)
                return "timed out", None, None
            return "deferred", until, (deferred.method_name, kwargs | {"event": {}})
        except AirflowRescheduleException as rescheduled:
            return "rescheduled", rescheduled.reschedule_date, None
        except AirflowFailException:
            return "failed", None, None
        except AirflowSensorTimeout:
            return "timed out", None, None
        except TransientError:
            return "retry", None, None
        return "success", None, None

    def _move_to(self, instant):
        self.world.advance(max(0.0, (instant - self.world.now()).total_seconds()))


# --- who does what ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """What an operator is given to do.

    Attributes:
        prepare: makes what it needs while 360dialog still works, and gives its arguments.
        sends: operation -> for how many files or ids it may be sent in one execution. What is not in it may not be sent at all.
        struck: the operation that always gets the same answer. is_known: whether it is on record whose the key is.
    """

    prepare: Callable[[Bench], dict[str, Any]]
    sends: dict[str, int] = field(default_factory=dict)
    struck: str = "any"
    is_known: bool = True


def planned(bench, **more):
    """A campaign of a few files that are not uploaded yet."""
    name = bench.conn_id
    until = bench.world.now() + timedelta(days=10)
    Campaigns().plan(name, str(bench.files()), [bench.conn_id], until)
    return {"campaign": name, **more}


def uploaded(bench):
    Campaigns().upload(planned(bench)["campaign"], bench.hook)


def to_be_renewed(bench):
    """Ids that are two days old, where all have to work as long as can be promised."""
    uploaded(bench)
    bench.world.advance(2 * 86_400.0)
    return {"valid_until": (bench.world.now() + timedelta(days=28)).isoformat()}


def to_be_deleted(bench):
    """A plan of a clean-up that was approved."""
    for path in sorted(bench.files().iterdir()):
        bench.hook.upload(path)
    said = {"policy": "delete_unreferenced", "plan_uri": str(bench.folder / "plan.jsonl"), "grace": timedelta(0)}
    bench.world.advance(60.0)
    Dialog360CleanupMediaOperator(task_id="t", dialog360_conn_id=bench.conn_id, mode="plan", **said).execute({})
    assert len((bench.folder / "plan.jsonl").read_text().splitlines()) == 1 + FILES
    return said | {"mode": "apply"}


def landed(bench):
    """Webhooks with and without a URL: many in one file, and one alone."""
    folder = bench.folder / "webhooks"
    folder.mkdir()
    many = [bench.receive(with_url=number % 2 == 0) for number in range(RECEIVED - 1)]
    (folder / "many.jsonl").write_text("\n".join(map(json.dumps, many)))
    (folder / "one.json").write_text(json.dumps(bench.receive()))
    return {"source": str(folder), "destination": str(bench.folder / "archive")}


def pending(bench):
    """Something that was taken in, and cannot be had."""
    fault = bench.number.arm("error", operation="any", status=500, times=2)
    arguments = {"source": bench.receive(with_url=False), "destination": str(bench.folder / "archive")}
    bench.hook.get_conn().ledger.identity  # noqa: B018 - asks whose the key is
    made = Dialog360ArchiveInboundMediaOperator(task_id="t", dialog360_conn_id=bench.conn_id, **arguments)
    made.hook._session.stop = Patient(bench.world)
    made.execute({})
    bench.world.emu.disarm(fault.fault_id)
    return {"older_than": timedelta(0)}


def spent(bench):
    """All credits are spent."""
    calls = bench.hook.get_conn()
    for _ in range(STRICT.max_errors):
        calls.ledger.ration.spend(calls.ledger.ration.hold(for_s=60.0))
    return {}


def downloading(bench, **more):
    return {"media_id": bench.received(), "destination": str(bench.folder / "a.jpg"), **more}


def written(bench, name, text):
    path = bench.folder / name
    path.write_text(text)
    return str(path)


GETS = {"fetch": 1, "download": 1}
RECEIVED = 10
GETS_OF_ARCHIVE = {"fetch": RECEIVED, "download": RECEIVED}
ONE_UPLOAD = {"upload": 1}
SCENARIOS = {
    Dialog360UploadMediaOperator: {
        "a file": Scenario(lambda bench: {"path": str(bench.files() / "0.jpg")}, ONE_UPLOAD),
        "a new key": Scenario(
            lambda bench: {"path": str(bench.files() / "0.jpg"), "deferrable": True}, ONE_UPLOAD, is_known=False
        ),
    },
    Dialog360FetchMediaUrlOperator: {
        "an id": Scenario(lambda bench: {"media_id": bench.received()}, GETS),
        "an id that was refused": Scenario(
            lambda bench: {"media_id": bench.received(), "ask_again": True, "deferrable": True}, GETS
        ),
        "a new key": Scenario(lambda bench: {"media_id": bench.received()}, GETS, is_known=False),
    },
    Dialog360DownloadMediaOperator: {
        "an id": Scenario(lambda bench: downloading(bench, ask_again=True, deferrable=True), GETS),
        "a URL that does not work": Scenario(downloading, GETS, struck="download"),
    },
    Dialog360DeleteMediaOperator: {
        "ids": Scenario(lambda bench: {"media_id": [bench.received() for _ in range(FILES)]}, {"delete": FILES}),
    },
    Dialog360PlanCampaignOperator: {
        "a folder": Scenario(
            lambda bench: planned(
                bench, source=str(bench.files()), channels=[bench.conn_id], needed_until=bench.world.now() + timedelta(days=9)
            )
        ),
    },
    Dialog360UploadCampaignOperator: {
        "a plan": Scenario(planned, {"upload": FILES}),
    },
    Dialog360ExportCampaignOperator: {
        "what is not complete": Scenario(lambda bench: planned(bench, destination=str(bench.folder / "ids.csv"))),
    },
    Dialog360RefreshMediaOperator: {
        "ids that end": Scenario(to_be_renewed, {"upload": FILES}),
    },
    Dialog360CleanupMediaOperator: {
        "a plan": Scenario(to_be_deleted, {"delete": FILES}),
    },
    Dialog360MarkUsedOperator: {
        "ids": Scenario(lambda bench: {"source": written(bench, "ids.txt", "123\n456\n")}),
    },
    Dialog360ArchiveInboundMediaOperator: {
        "webhooks": Scenario(landed, GETS_OF_ARCHIVE),
        "URLs that do not work": Scenario(lambda bench: landed(bench) | {"deferrable": True}, GETS_OF_ARCHIVE, struck="download"),
        "copies that cannot be deleted": Scenario(
            lambda bench: landed(bench) | {"delete_after_archive": True}, GETS_OF_ARCHIVE | {"delete": RECEIVED}, struck="delete"
        ),
        "a new key": Scenario(landed, GETS_OF_ARCHIVE, is_known=False),
    },
    Dialog360RetrievalOpenSensor: {"a spent budget": Scenario(spent)},
    Dialog360CampaignReadySensor: {"what is not uploaded": Scenario(planned)},
    Dialog360CheckMediaOperator: {"a folder": Scenario(lambda bench: {"source": str(bench.files())})},
    Dialog360PrepareMediaOperator: {
        "a folder": Scenario(lambda bench: {"source": str(bench.files()), "destination": str(bench.folder / "ready")})
    },
    Dialog360InboundDrainedSensor: {"what cannot be had": Scenario(pending)},
}


@dataclass(frozen=True)
class Constant:
    """An answer that never changes.

    Attributes:
        fault: how the emulator gives it. counts_as: the faults, in the words of `api.repeat`, for which a call repeats itself.
    """

    fault: dict[str, Any]
    counts_as: tuple[type[Dialog360Error], ...] = ()

    @property
    def is_throttle(self):
        return ThrottledError in self.counts_as


ANSWERS = {
    "401": Constant({"kind": "unauthorized"}),
    "403": Constant({"kind": "error", "status": 403, "text": "Forbidden"}),
    "404": Constant({"kind": "error", "status": 404, "text": "Not found"}),
    "400 in odd words": Constant({"kind": "error", "status": 400, "text": "The moon is in the wrong house"}),
    "429": Constant({"kind": "error", "status": 429, "text": "Too many"}, (ThrottledError,)),
    "400 that is a throttle": Constant(
        {"kind": "error", "status": 400, "text": "You have exceeded the endpoint rate limit", "retry_after": 60.0},
        (ThrottledError,),
    ),
    "500": Constant({"kind": "error", "status": 500}, (ServerError,)),
    "garbage": Constant({"kind": "error", "status": 200, "text": "]]><?"}, (AnswerUnreadableError,)),
    "a web page with 200": Constant({"kind": "html", "status": 200, "performs": False}, (AnswerUnreadableError,)),
    "nothing with 200": Constant({"kind": "empty", "status": 200, "performs": False}, (AnswerUnreadableError,)),
}


def classes_of(section):
    """Every operator or sensor of the provider, as Airflow is told of them."""
    names = [name for each in get_provider_info()[section] for name in each["python-modules"]]
    return {
        found
        for module in map(importlib.import_module, names)
        for _, found in inspect.getmembers(module, inspect.isclass)
        if issubclass(found, BaseOperator) and found.__module__ == module.__name__ and not found.__name__.startswith("_")
    }


def test_every_operator_and_sensor_has_a_scenario():
    """A new one cannot be forgotten."""
    operators, sensors = classes_of("operators"), classes_of("sensors")
    assert len(operators) >= 11
    assert len(sensors) >= 3
    assert all(issubclass(each, BaseSensorOperator) for each in sensors)
    assert operators | sensors == set(SCENARIOS)
    assert all(SCENARIOS.values())


def test_every_module_with_an_operator_is_known_to_airflow(checkout):
    """Else its classes would be missing above."""
    known = {
        name for section in ("operators", "sensors") for each in get_provider_info()[section] for name in each["python-modules"]
    }
    there = {
        f"airflow_provider_360dialog.{folder}.{path.stem}"
        for folder in ("operators", "sensors")
        for path in (checkout / "airflow_provider_360dialog" / folder).glob("*.py")
        if path.stem not in {"__init__", "base", "links", "summary"}
    }
    assert there == known


# --- the proof ----------------------------------------------------------------------------------------------------


def operation_of(request):
    if request["path"].endswith("/health_status"):
        return "health"
    if "/attachments/" in request["path"]:
        return "download"
    return {"POST": "upload", "GET": "fetch", "DELETE": "delete"}[request["method"]]


def most_in_an_hour(instants):
    """Of instants in seconds: the most in any hour."""
    instants = sorted(instants)
    return max((sum(at <= each < at + 3600.0 for each in instants) for at in instants), default=0)


def attempts(operation, answer):
    """How often one call may send the same request."""
    return 1 + max((FURTHER_ATTEMPTS[operation].get(each, 0) for each in answer.counts_as), default=0)


def seen(bench):
    """Operation -> the instants at which such requests arrived, in seconds."""
    found: dict[str, list[float]] = {}
    for request in bench.world.emu.requests(LAST_REQUESTS):
        found.setdefault(operation_of(request), []).append(request["arrived_at_s"])
    assert sum(map(len, found.values())) < LAST_REQUESTS  # the emulator has forgotten none
    return found


def per_execution(scenario, answer):
    """Operation -> how many such requests one execution may send."""
    bounds = {"health": HEALTH * attempts("health", answer)}
    for operation, files in scenario.sends.items():
        tries = URLS if operation in GETS else 1  # by each URL that a file may have
        bounds[operation] = files * tries * attempts(operation, answer)
    return bounds


def check_bounds(bench, scenario, answer, scheduler):
    """What the emulator saw, hour by hour."""
    found = seen(bench)
    assert set(found) <= {*scenario.sends, "health"}
    failing = [at for operation in GETS if scenario.struck in {"any", operation} for at in found.get(operation, ())]
    assert most_in_an_hour(failing) <= STRICT.max_errors
    if answer.is_throttle and "retry_after" not in answer.fault:  # a block that was seen is waited out to its end
        assert most_in_an_hour(failing) <= min(archive._HANDS, scenario.sends.get("fetch", 0))
    for hour in range(HOURS + 1):
        from_, to = (scheduler.began_at + each * HOUR for each in (hour, hour + 1))
        executions = sum(began < to and ended >= from_ for began, ended in scheduler.executions)
        for operation, bound in per_execution(scenario, answer).items():
            count = sum(from_.timestamp() <= at < to.timestamp() for at in found.get(operation, ()))
            assert count <= executions * bound, (operation, hour)
    counters = bench.world.emu.counters(bench.number.number_id)
    assert (counters["blocks"], counters["blocked_gets"]) == (0, 0)


def check_pace(scheduler, answer):
    """How often the task itself was run in an hour: by runs and retries; where it is throttled, by how long it waits each time."""
    began = [each.timestamp() for each, _ in scheduler.executions]
    most = RUNS * (1 + RETRIES)
    if answer.is_throttle:
        most += int(HOUR / waiting.SHORTEST_WAIT)
    assert most_in_an_hour(began) <= most
    assert scheduler.executions[-1][1] >= scheduler.ends_at - HOUR - timedelta(minutes=1)  # it went on to the end


def play(operator, scenario, answer, bench, **more):
    """Prepare; let 360dialog fail; run for some hours."""
    if scenario.is_known:
        bench.hook.get_conn().ledger.identity  # noqa: B018 - asks whose the key is
    arguments = scenario.prepare(bench) | more
    if "dialog360_conn_id" in operator.template_fields:
        arguments["dialog360_conn_id"] = bench.conn_id

    def make():
        made = operator(task_id="t", **arguments)
        if isinstance(made, Dialog360Operator):
            made.hook._session.stop = Patient(bench.world)
        return made

    bench.world.emu.reset_counters()
    bench.number.arm(**answer.fault, operation=scenario.struck, times="always")
    scheduler = Scheduler(bench.world, make)
    scheduler.run()
    return scheduler


SENDING = [
    pytest.param(operator, scenario, id=f"{operator.__name__}, {name}")
    for operator, scenarios in SCENARIOS.items()
    for name, scenario in scenarios.items()
    if scenario.sends
]
SILENT = [
    pytest.param(operator, scenario, more, id=f"{operator.__name__}, {' '.join(more) or 'as it is'}")
    for operator, scenarios in SCENARIOS.items()
    for scenario in scenarios.values()
    if not scenario.sends
    for more in ([{}, {"deferrable": True}] if issubclass(operator, BaseSensorOperator) else [{}])
]


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize(("operator", "scenario"), SENDING)
def test_no_constant_answer_makes_a_task_ask_on_and_on(operator, scenario, answer, bench):
    """Failed GETs stay within the budget in any hour, and nobody is ever blocked; the rest follows from runs and retries."""
    scheduler = play(operator, scenario, answer, bench)
    check_bounds(bench, scenario, answer, scheduler)
    check_pace(scheduler, answer)
    assert bench.world.emu.requests(1), "nothing was sent at all"


@pytest.mark.parametrize(("operator", "scenario", "more"), SILENT)
def test_what_only_looks_into_the_ledger_asks_nobody(operator, scenario, more, bench):
    """So no answer can make a difference; and it waits between two looks."""
    answer = ANSWERS["500"]
    scheduler = play(operator, scenario, answer, bench, **more)
    assert bench.world.emu.requests(1) == []
    check_pace(scheduler, answer if not issubclass(operator, BaseSensorOperator) else ANSWERS["429"])
    assert not issubclass(operator, BaseSensorOperator) or scheduler.outcomes["deferred" if more else "rescheduled"]
