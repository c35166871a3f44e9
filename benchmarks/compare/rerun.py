"""Plan speed, and what it costs to run a campaign again that has nothing to do.

Plans are made into a new ledger each time, beside the least that any plan could do: read every file once and hash it. One
ledger gets its campaign uploaded and exported; then plan, the upload of every channel and export are done again, each in a
process of its own as a task would be, and the emulator counts what reaches it.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks import campaign_tasks as tasks_of
from benchmarks import support
from benchmarks.campaign import make_campaign
from benchmarks.compare.measure import ENGINE_NAMES, Sheet, engines_of, progress

_UNTRUSTED_S = 2.1  # for so long after a change a file's stamp is not trusted, and the file would be read again


def run(
    *, rounds: int = 5, engine: str = "both", files: int = 3000, channels: int = 6, size_bytes: int = 180_000
) -> dict[str, Any]:
    """Plan anew, and do again what is done, in every round.

    Args:
        rounds: how many. engine: sqlite, postgresql or both. files: of the campaign, shared by the channels.
        size_bytes: of a file.
    """
    started, sheet = time.monotonic(), Sheet()
    engines = engines_of(engine)
    with ExitStack() as stack:
        place = stack.enter_context(support.folder())
        manifest = make_campaign(place / "campaign", files, channels=channels, size_bytes=size_bytes)
        with support.environment({"TMPDIR": str(place)}):
            emulated = stack.enter_context(support.emulator(numbers=channels))
        new_ledger = {each: stack.enter_context(support.ledgers(each, place)) for each in engines}
        time.sleep(_UNTRUSTED_S)
        crews = {each: _Crew(new_ledger[each](), manifest, emulated) for each in engines}
        for each, crew in crews.items():
            sheet.add(f"first run, {ENGINE_NAMES[each]}", "s", crew.run_all())
            progress("rerun", f"uploaded with {ENGINE_NAMES[each]}", started)
        for index in range(rounds):
            sheet.add("read and hash only", "files/s", files / _hash_all(manifest))
            for each, crew in crews.items():
                name = ENGINE_NAMES[each]
                sheet.add(f"plan, {name}", "files/s", files / _Crew(new_ledger[each](), manifest, emulated).plan())
                _note_again(sheet, name, crew, emulated)
            progress("rerun", f"round {index + 1} of {rounds}", started)
    for name in (ENGINE_NAMES[each] for each in engines):
        sheet.ratio(f"plan over read and hash only, {name}", f"plan, {name}", "read and hash only")
        sheet.bound(f"requests of the rerun, {name}", at_most=0)
        sheet.bound(f"files read by the rerun, {name}", at_most=0)
    sizes = {"engine": engine, "files": files, "channels": channels, "size_bytes": size_bytes}
    return sheet.tell("rerun", sizes, started=started)


def _note_again(sheet: Sheet, name: str, crew: _Crew, emulated: support.Emulator) -> None:
    before, crew.opened = _requests(emulated), 0
    sheet.add(f"rerun, {name}", "s", crew.run_all())
    sheet.add(f"requests of the rerun, {name}", "requests", _requests(emulated) - before)
    sheet.add(f"files read by the rerun, {name}", "files", crew.opened)


def _requests(emulated: support.Emulator) -> int:
    return sum(sum(each["requests"].values()) for each in emulated.ask("counters")["numbers"].values())


def _hash_all(manifest: Path) -> float:
    """Seconds."""
    began = time.monotonic()
    for path in manifest.parent.glob("*.pdf"):
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")
    return time.monotonic() - began


class _Crew:
    """Does the tasks of one campaign on one ledger. ``opened`` counts the files that they opened."""

    def __init__(self, url: str, manifest: Path, emulated: support.Emulator) -> None:
        self.opened = 0
        self._manifest, self._emulated = manifest, emulated
        self._values = support.airflow_environment(emulated, url)
        self._conn_ids = [number.conn_id for number in emulated.numbers]

    def plan(self) -> float:
        """Seconds."""
        return self._do((tasks_of.plan, {"conn_ids": self._conn_ids, "max_reject_ratio": 0.0}))

    def run_all(self) -> float:
        """Plan, upload on all channels at once, export; seconds of the three, without the start of their processes."""
        uploads = [(tasks_of.upload, {"conn_id": conn_id, "max_reject_ratio": 0.0}) for conn_id in self._conn_ids]
        destination = str(self._manifest.with_name("ids.jsonl"))
        export = (tasks_of.export, {"destination": destination, "require_complete": True})
        return self.plan() + self._do(*uploads) + self._do(export)

    def _do(self, *tasks: tuple[Any, dict[str, Any]]) -> float:
        """All at once; the seconds of the slowest.

        Raises:
            RuntimeError: one has failed.
        """
        context = support.workers()
        answers = context.Queue()
        processes = []
        for index, (work, options) in enumerate(tasks):
            facts = SimpleNamespace(dag_id="proof", run_id="run", task_id=f"task-{index}", map_index=-1, try_number=1)
            arguments = (self._values, facts, str(self._manifest), answers)
            processes.append(context.Process(target=work, args=arguments, kwargs=options, daemon=True))
            processes[-1].start()
        try:
            told = support.answers_of(answers, len(tasks), within_s=600)
            for process in processes:
                process.join(10)
        finally:
            for process in processes:
                process.kill()
        if errors := [each["error"] for each in told if each["error"]]:
            raise RuntimeError(errors[0])
        self.opened += sum(each.get("opened", 0) for each in told)
        return max(float(each["seconds"]) for each in told)


if __name__ == "__main__":
    support.main(run)
