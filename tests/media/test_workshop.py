"""Real processes that hang, crash and grow: none of it reaches the process that asked."""

import gc
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

import airflow_provider_360dialog
from airflow_provider_360dialog.media.decoding import worker, workshop
from airflow_provider_360dialog.media.decoding.workshop import (
    JobCrashedError,
    JobFailedError,
    JobHungError,
    JobTooLargeError,
    WorkerMissingError,
    Workshop,
    WorkshopClosedError,
)
from tests.media.odd_worker import OddWorkshop, state, wait_until

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def odd():
    with OddWorkshop(workers=1) as workshop:
        yield workshop


def is_gone(pid):
    return wait_until(lambda: state(pid) in "XZ")


def workers_of(pid):
    children = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for each in children for child in each.read_text(encoding="utf-8").split() if state(child) not in "XZ"}


def script(text):
    """Run in a process of its own, which may fork and die."""
    head = """
        import os, signal, sys, threading, time
        from tests.media.odd_worker import OddWorkshop, state, wait_until
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(text)], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    )


def said(text):
    """What a script prints, as words."""
    with script(text) as process:
        words = process.communicate(timeout=60)[0].split()
    assert process.returncode == 0
    return words


# --- a job --------------------------------------------------------------------------------------------------------


def test_a_worker_does_one_job_after_the_other(odd):
    """Starting one costs more than most jobs."""
    first = odd.run("echo", limit_s=10, text="größer \udc80", number=1)
    assert first == {"pid": first["pid"], "text": "größer \udc80", "number": 1}
    assert odd.run("echo", limit_s=10)["pid"] == first["pid"] != os.getpid()


def test_no_process_is_started_before_the_first_job():
    before = workers_of(os.getpid())
    with OddWorkshop() as odd:
        assert workers_of(os.getpid()) == before
        odd.run("echo", limit_s=10)
        assert len(workers_of(os.getpid()) - before) == 1


def test_the_jobs_of_the_real_worker_are_a_fixed_table():
    with Workshop(workers=1) as real, pytest.raises(JobFailedError) as caught:
        real.run("os:system", limit_s=10, command="true")
    assert caught.value.kind == "KeyError"
    assert set(worker.JOBS) == {"decode", "redraw"}


def test_an_exception_is_told_by_its_name_and_its_first_line(odd):
    """Short and printable, for it may quote the file."""
    with pytest.raises(JobFailedError) as caught:
        odd.run("fail", limit_s=10)
    assert caught.value.kind == "OddError"
    assert caught.value.words.startswith("first  [31mlinexxx")
    assert caught.value.words.isprintable()
    assert len(caught.value.words) == 200


def test_what_is_no_answer_is_a_failed_job(odd):
    with pytest.raises(JobFailedError, match="TypeError"):
        odd.run("no_json", limit_s=10)
    assert odd.run("long_answer", limit_s=30, length=10**7)["text"] == "x" * 10**7
    with pytest.raises(JobFailedError, match="too long"):
        odd.run("long_answer", limit_s=30, length=worker.LONGEST_ANSWER_BYTES)


def test_what_cannot_be_asked_costs_no_worker(odd):
    pid = odd.run("echo", limit_s=10)["pid"]
    with pytest.raises(TypeError):
        odd.run("echo", limit_s=10, path=Path())
    assert odd.run("echo", limit_s=10)["pid"] == pid


def test_what_a_library_prints_reaches_neither_the_answer_nor_the_log(odd, capfd):
    assert odd.run("shout", limit_s=10) == {"heard": ""}
    assert capfd.readouterr() == ("", "")


def test_importing_does_not_count(odd):
    """With a cold disk a library takes seconds, and the file is not to blame."""
    assert odd.run("echo", limit_s=0.3, load_s=0.5)["load_s"] == 0.5
    assert odd.run("look_around", limit_s=10)["environment"]["LOADED"] == "yes"


def test_a_worker_waits_for_its_next_job_longer_than_the_last_one_was_given(odd):
    pid = odd.run("echo", limit_s=0.1)["pid"]
    time.sleep(0.8)
    assert state(pid) == "S"


# --- a job that goes wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("job", "error", "facts"),
    [
        ("spin", JobHungError, {"limit_s": 0.3}),
        ("spin_in_native_code", JobHungError, {"limit_s": 0.3}),
        ("segfault", JobCrashedError, {"signal": signal.SIGSEGV, "exit_status": None}),
        ("abort", JobCrashedError, {"signal": signal.SIGABRT, "exit_status": None}),
        ("leave", JobCrashedError, {"signal": None, "exit_status": 3}),
        ("killed", JobTooLargeError, {}),
        ("no_memory", JobTooLargeError, {}),
    ],
)
def test_a_worker_that_is_lost_is_replaced_at_the_next_job(odd, job, error, facts):
    pid = odd.run("echo", limit_s=10)["pid"]
    with pytest.raises(error) as caught:
        odd.run(job, limit_s=0.3 if error is JobHungError else 10)
    assert vars(caught.value) == facts
    assert vars(pickle.loads(pickle.dumps(caught.value))) == facts
    assert state(pid) == "X"
    assert odd.run("echo", limit_s=10)["pid"] != pid


def test_a_worker_has_no_more_memory_than_it_is_given():
    with OddWorkshop(workers=1, memory_bytes=2**29) as odd:
        assert odd.run("grow", limit_s=10, size_bytes=2**27) == {"length": 2**27}
        with pytest.raises(JobTooLargeError):
            odd.run("grow", limit_s=10, size_bytes=2**29)
        assert odd.run("echo", limit_s=10)


def test_one_job_that_goes_wrong_leaves_the_others_alone():
    with OddWorkshop(workers=2) as odd, ThreadPoolExecutor(2) as threads:
        long = threads.submit(odd.run, "nap", limit_s=30, nap_s=0.8)
        for _ in range(3):
            with pytest.raises(JobCrashedError):
                odd.run("segfault", limit_s=10)
        assert long.result()["pid"]


@pytest.mark.parametrize("line", ["no json\n", "[]\n", "{}\n", '{"result": 1}\n', "[" * 100_000 + "\n"])
def test_a_worker_that_was_taken_over_is_not_believed(odd, line):
    with pytest.raises(JobCrashedError):
        odd.run("break_the_protocol", limit_s=10, line=line)
    assert odd.run("echo", limit_s=10)


def test_an_answer_without_an_end_is_not_collected(odd):
    with pytest.raises(JobCrashedError):
        odd.run("break_the_protocol", limit_s=60, line="x" * 2**20, times=10**6)


def test_a_worker_that_dies_while_it_is_idle_costs_no_job(odd):
    pid = odd.run("echo", limit_s=10)["pid"]
    os.kill(pid, signal.SIGKILL)
    assert odd.run("echo", limit_s=10)["pid"] != pid


def test_a_worker_leaves_it_to_its_parent_when_to_stop(odd):
    """A service that is stopped gets SIGTERM in all its processes, and finishes its tasks."""
    assert odd.run("terminated", limit_s=10)


def test_a_lost_worker_takes_with_it_what_it_has_started(odd):
    pid = odd.run("echo", limit_s=10)["pid"]
    children = []
    with ThreadPoolExecutor(1) as threads:
        hung = threads.submit(odd.run, "hang_with_a_child", limit_s=0.5)
        assert wait_until(lambda: children.extend(workers_of(pid)) or children)
        with pytest.raises(JobHungError):
            hung.result()
    assert all(is_gone(child) for child in children)


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError, ConnectionResetError])
def test_an_exception_in_the_one_who_waits_costs_neither_a_worker_nor_a_turn(odd, error):
    """Airflow ends a task by raising in its main thread. The answer that still comes must not be that of the next job."""

    def stop(*_):
        raise error("stop")

    pid = odd.run("echo", limit_s=10)["pid"]
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(error, match="stop"):
            odd.run("nap", limit_s=30, nap_s=10)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert state(pid) == "X"
    assert odd.run("echo", limit_s=10)["pid"] != pid


def test_a_worker_that_does_not_start_is_told_as_that(monkeypatch):
    class Nothing(Workshop):
        _module = "tests.media.nothing_of_that_name"

    with Nothing(workers=1) as nothing:
        for _ in range(2):
            with pytest.raises(WorkerMissingError, match="3 workers ended before they began"):
                nothing.run("echo", limit_s=10)
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        for _ in range(2):
            with pytest.raises(WorkerMissingError, match="FileNotFoundError"):
                nothing.run("echo", limit_s=10)


def test_a_worker_is_replaced_after_many_jobs(odd, monkeypatch):
    """Libraries leak."""
    monkeypatch.setattr(workshop, "_MOST_JOBS", 3)
    pids = [odd.run("echo", limit_s=10)["pid"] for _ in range(7)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]


# --- threads, forks, ends -----------------------------------------------------------------------------------------


def test_more_threads_than_workers_wait_for_their_turn():
    with OddWorkshop(workers=2) as odd, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: odd.run("echo", limit_s=30, number=number), range(200)))
    assert [answer["number"] for answer in answers] == list(range(200))
    assert len({answer["pid"] for answer in answers}) == 2


def test_a_forked_child_has_workers_of_its_own():
    """Also where a thread of the parent was in the midst of a job, and where the child ends without a word."""
    words = said("""
        odd = OddWorkshop(workers=2)
        threads = [threading.Thread(target=odd.run, args=["nap"], kwargs={"limit_s": 60, "nap_s": 1.0}) for _ in range(2)]
        pid = odd.run("echo", limit_s=10)["pid"]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        with odd._crew._changed:
            child = os.fork()
        if child == 0:
            other = odd.run("echo", limit_s=10)["pid"]
            print("own" if other != pid and os.getsid(other) == other else "parent's", flush=True)
            odd.close()
            print(state(other), flush=True)
            os._exit(0)
        print(os.waitpid(child, 0)[1], flush=True)
        for thread in threads:
            thread.join()
        print(odd.run("echo", limit_s=10)["pid"] in {each._process.pid for each in odd._crew._all}, state(pid))
    """)
    assert words == ["own", "X", "0", "True", "S"]


@pytest.mark.parametrize("job", ["odd.run('echo', limit_s=10)", "odd.run('spin_in_native_code', limit_s=0.5)"])
@pytest.mark.parametrize("held", [False, True], ids=["alone", "with a process that holds the line open"])
def test_no_worker_outlives_a_parent_that_was_killed(job, held):
    with script(f"""
        odd = OddWorkshop(workers=1)
        print(odd.run("echo", limit_s=10)["pid"], flush=True)
        line = os.dup(next(iter(odd._crew._all))._channel.fileno())
        if {held} and os.fork() == 0:
            time.sleep(3600)
        threading.Thread(target=lambda: {job}, daemon=True).start()
        time.sleep(0.3)
        print("go", workers := 1, flush=True)
        time.sleep(3600)
    """) as parent:
        pid = int(parent.stdout.readline())
        assert parent.stdout.readline()
        holders = workers_of(parent.pid) - {pid}
        parent.kill()
        parent.wait()
        try:
            assert len(holders) == held
            assert is_gone(pid)
        finally:
            for holder in holders:
                os.kill(holder, signal.SIGKILL)


@pytest.mark.parametrize(
    "end",
    [
        "pass",
        "sys.exit()",
        "odd.close()",
        "del odd",
        "threading.Thread(target=odd.run, args=['spin'], kwargs={'limit_s': 60}, daemon=True).start(); time.sleep(0.3)",
    ],
)
def test_no_worker_outlives_a_process_that_ends(end):
    assert is_gone(int(said(f"odd = OddWorkshop(); print(odd.run('echo', limit_s=10)['pid'], flush=True); {end}")[0]))


def test_a_workshop_that_is_forgotten_ends_its_workers():
    odd = OddWorkshop(workers=1)
    pid = odd.run("echo", limit_s=10)["pid"]
    del odd
    gc.collect()
    assert state(pid) == "X"


def test_closing_ends_what_is_being_done():
    odd = OddWorkshop(workers=1)
    pid = odd.run("echo", limit_s=10)["pid"]
    with ThreadPoolExecutor(3) as threads:
        jobs = [threads.submit(odd.run, "nap", limit_s=60, nap_s=50) for _ in range(3)]
        time.sleep(0.2)
        odd.close()
        for job in jobs:
            with pytest.raises(WorkshopClosedError):
                job.result(timeout=30)
    assert state(pid) == "X"
    odd.close()
    with pytest.raises(WorkshopClosedError):
        odd.run("echo", limit_s=10)


def test_closing_while_workers_start_leaves_none():
    before = workers_of(os.getpid())
    for pause_s in (0, 0.001, 0.01, 0.05):
        odd = OddWorkshop(workers=4)
        threads = [threading.Thread(target=closed_or_done, args=[odd]) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(pause_s)
        odd.close()
        for thread in threads:
            thread.join()
    assert workers_of(os.getpid()) == before


def closed_or_done(odd):
    with suppress(WorkshopClosedError):
        odd.run("echo", limit_s=10)


# --- what a worker is given ---------------------------------------------------------------------------------------


def test_a_worker_knows_no_more_of_the_environment_than_python_needs(odd, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_DIALOG360_DEFAULT", "dialog360://:test-key@")
    monkeypatch.setenv("D360_API_KEY", "test-key")
    around = odd.run("look_around", limit_s=10)
    assert set(around["environment"]) <= {*workshop._KEPT_VARIABLES, "PYTHONPATH"}
    assert around["descriptors"] == ["/dev/null"] * 3
    assert around["executable"] == sys.executable
    assert around["session"] not in {os.getsid(0), 0}
    assert around["core"] == [0, 0]


def test_a_worker_has_the_package_of_its_parent_wherever_that_stands(monkeypatch, tmp_path):
    """Not one that lies in the working directory, nor one that comes first on the path by now; nor does it need a directory."""
    for name in ("airflow_provider_360dialog", "json"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    for first in ("", str(tmp_path)):
        monkeypatch.setattr(sys, "path", [first, *(each for each in sys.path if each)])
        if first:
            (tmp_path / "json" / "__init__.py").unlink()
            (tmp_path / "json").rmdir()
        with OddWorkshop(workers=1) as odd:
            around = odd.run("look_around", limit_s=10)
        assert (around["package"], around["cwd"]) == (airflow_provider_360dialog.__file__, "/")


def test_a_worker_starts_where_the_working_directory_is_gone():
    words = said("""
        import tempfile
        odd = OddWorkshop()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
        print(odd.run("look_around", limit_s=10)["cwd"])
    """)
    assert words == ["/"]
