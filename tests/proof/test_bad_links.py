"""The proof of bad links and wrong clocks at small size, and the guards of its link and its clocks."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time

import pytest

from benchmarks import bad_links, skewed, support
from tests.support.proxy import proxy


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_a_bad_link_and_wrong_clocks_double_nothing_and_nothing_is_sent_without_the_ledger(engine):
    """P1 to P4: cuts, 100 ms, a stall, a refusal; and workers whose clocks are five minutes apart."""
    found = bad_links.run(files=60, processes=2, seconds=5, received=8, dead=1, away_s=1.5, archive_runs=2, loaded=1, library=0)
    assert found["holds"], found


class Echo:
    """A server that says what it hears."""

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        return self._listener.getsockname()[1]

    def __exit__(self, *_):
        self._listener.close()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    @staticmethod
    def _echo(connection):
        with connection:
            try:
                while block := connection.recv(1000):
                    connection.sendall(block)
            except OSError:
                return


@pytest.fixture
def link():
    with Echo() as port, proxy(port) as link:
        yield link


@pytest.fixture
def ask(link):
    """Says something over a connection, and hears it again; None where nothing comes within the time."""
    connection = socket.create_connection(("127.0.0.1", link.port), timeout=5)

    def ask(within_s=5.0):
        connection.settimeout(within_s)
        try:
            connection.sendall(b"x")
            return connection.recv(10)
        except TimeoutError:
            return None

    with connection:
        yield ask


def test_the_link_adds_its_delay_to_each_question(link, ask):
    assert ask() == b"x"
    link.delay_s = 0.2
    began = time.monotonic()
    assert ask() == b"x"
    assert time.monotonic() - began >= 0.2


def test_what_a_stall_holds_back_passes_afterwards(link, ask):
    link.stall()
    assert ask(within_s=0.3) is None
    link.go_on()
    assert ask().startswith(b"x")


def test_a_cut_connection_is_reset_and_a_new_one_passes(link, ask):
    assert ask() == b"x"
    link.cut(1)
    with pytest.raises(ConnectionError):
        for _ in range(3):
            if ask() == b"":
                raise ConnectionResetError
    assert link.cuts == 1
    with socket.create_connection(("127.0.0.1", link.port), timeout=5) as other:
        other.sendall(b"y")
        assert other.recv(10) == b"y"


def test_who_is_refused_hears_nothing_until_the_link_goes_on(link):
    link.refuse()
    with socket.create_connection(("127.0.0.1", link.port), timeout=5) as other, contextlib.suppress(ConnectionError):
        assert other.recv(10) == b""
    link.go_on()
    with socket.create_connection(("127.0.0.1", link.port), timeout=5) as other:
        other.sendall(b"y")
        assert other.recv(10) == b"y"


@pytest.mark.parametrize("ahead_s", [-150.0, 150.0])
def test_a_patched_clock_is_wrong_where_the_provider_reads_it(ahead_s):
    """And right for the process itself, whose waits must not change."""
    program = (
        "import json, sys, time; from benchmarks import skewed; ahead_s = float(sys.argv[1]); skewed._patch(ahead_s)\n"
        "from airflow_provider_360dialog.hooks import places\n"
        "print(json.dumps([skewed._wrong_by_s(time.monotonic() - time.time()), places.time.time() - time.time()]))"
    )
    command = [sys.executable, "-c", program, str(ahead_s)]
    done = subprocess.run(command, cwd=support.CHECKOUT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == pytest.approx([ahead_s, ahead_s], abs=1.0)


def test_a_library_that_is_not_there_is_not_found(monkeypatch):
    monkeypatch.setattr(skewed, "_LIBRARY", "nowhere/libnothing.so")
    assert skewed.find_library() is None
