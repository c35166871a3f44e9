"""Import time and DAG-parse time, as Airflow's DAG processor has them: in a process forked from one that has imported Airflow.

Beside the modules of this package stands an operator of another provider, beside the example DAGs a DAG of one function, which
needs no provider.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import support
from benchmarks.compare.measure import Sheet, progress

MODULES = {
    "operators.media": "airflow_provider_360dialog.operators.media",
    "operators.campaigns": "airflow_provider_360dialog.operators.campaigns",
    "operators.inbound": "airflow_provider_360dialog.operators.inbound",
    "Airflow's http operator": "airflow.providers.http.operators.http",
}
PLAIN = "a DAG of one function"
_PLAIN_DAG = """
from airflow.sdk import dag, task

@dag
def plain():
    @task
    def work():
        return 1

    work()

plain()
"""
_EXAMPLES = support.CHECKOUT / "dags_examples"


def run(*, rounds: int = 5) -> dict[str, Any]:
    """Import and parse, in every round."""
    started, sheet = time.monotonic(), Sheet()
    with support.folder() as place:
        plain = place / "plain.py"
        plain.write_text(_PLAIN_DAG)
        files = {PLAIN: plain} | {path.stem: path for path in sorted(_EXAMPLES.glob("example_*.py"))}
        wanted = json.dumps({name: str(path) for name, path in files.items()})
        for index in range(rounds):
            command = [sys.executable, "-m", "benchmarks.compare.parsing", "_measure", wanted]
            done = subprocess.run(command, cwd=support.CHECKOUT, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            for name, ms in found["imports"].items():
                sheet.add(f"import, {name}", "ms", ms)
            for name, ms in found["parsed"].items():
                sheet.add(f"parse, {name}", "ms", ms)
            progress("parsing", f"round {index + 1} of {rounds}", started)
    return sheet.tell("parsing", {"examples": len(files) - 1}, started=started)


def _measure(wanted: str) -> None:
    """In a process of its own: everything in forks of it."""
    import airflow.sdk  # noqa: F401 - what every DAG file needs
    from airflow.dag_processing.dagbag import DagBag

    def parse(path: str) -> None:
        bag = DagBag(path)
        assert not bag.import_errors, bag.import_errors
        assert bag.dags

    imports = {name: _ms_in_a_fork(partial(importlib.import_module, module)) for name, module in MODULES.items()}
    parsed = {name: _ms_in_a_fork(partial(parse, path)) for name, path in json.loads(wanted).items()}
    print(json.dumps({"imports": imports, "parsed": parsed}))


def _ms_in_a_fork(work: Callable[[], object]) -> float:
    """Milliseconds of ``work`` in a child, so that nobody finds anything imported by another.

    Raises:
        RuntimeError: the child has failed; its words are on stderr.
    """
    reads, writes = os.pipe()
    pid = os.fork()
    if not pid:
        began = time.perf_counter()
        try:
            work()
            os.write(writes, f"{(time.perf_counter() - began) * 1000:.3f}".encode())
        finally:
            sys.stderr.flush()
            os._exit(0)
    os.close(writes)
    with Path(f"/proc/self/fd/{reads}").open() as pipe:
        told = pipe.read()
    os.close(reads)
    os.waitpid(pid, 0)
    if not told:
        raise RuntimeError("a child has failed")
    return float(told)


if __name__ == "__main__":
    if sys.argv[1:2] == ["_measure"]:
        _measure(sys.argv[2])
    else:
        support.main(run)
