"""The emulator as a process: what it prints, how it stops, what a restart knows, what a large upload costs."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from airflow_provider_360dialog import emulator


@contextlib.contextmanager
def process(*flags):
    command = [sys.executable, "-m", "airflow_provider_360dialog.emulator", "--port", "0", *flags]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        line = server.stdout.readline()
        found = re.fullmatch(r"(http://127\.0\.0\.1:[0-9]+) number ([0-9]+) key (\S+)\n", line)
        assert found, line
        yield server, found[1], {"D360-API-KEY": found[3]}
    finally:
        server.kill()
        server.wait(10)
        server.stdout.close()


def upload(url, headers, content=b"kept"):
    files = {"messaging_product": (None, "whatsapp"), "file": ("a.pdf", content, "application/pdf")}
    return requests.post(f"{url}/media", files=files, headers=headers, timeout=20)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_process_says_where_it_listens_and_stops_cleanly(stop):
    """One line with URL, number and key; exit status 0 on both signals, even with a request hanging."""
    with process("--service-s", "30") as (server, url, headers):
        with pytest.raises(requests.Timeout):
            requests.post(f"{url}/media", data=b"", headers=headers, timeout=0.2)
        server.send_signal(stop)
        assert server.wait(5) == 0


def test_restart_with_a_data_folder_knows_everything(tmp_path):
    """Even after SIGKILL: numbers, keys, ids, bytes, deletions, URLs and the clock; strays are swept."""
    with process("--data", str(tmp_path)) as (server, url, headers):
        kept, deleted = (upload(url, headers).json()["id"] for _ in range(2))
        requests.delete(f"{url}/{deleted}", headers=headers, timeout=10)
        requests.post(f"{url}/_emulator/numbers", json={"number_id": "300", "key": "k"}, timeout=10)
        requests.post(f"{url}/_emulator/clock", json={"advance_s": 86_400}, timeout=10)
        media_url = requests.get(f"{url}/{kept}", headers=headers, timeout=10).json()["url"]
        server.kill()
        server.wait(5)
    (tmp_path / "bytes" / "123").write_bytes(b"half an upload")
    with (tmp_path / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"event": "med')
    for _ in range(2):
        with process("--data", str(tmp_path)) as (_, url, headers):
            again = media_url.replace("https://lookaside.fbsbx.com", url)
            assert requests.get(again, headers=headers, timeout=10).content == b"kept"
            assert requests.get(f"{url}/{deleted}", headers=headers, timeout=10).status_code == 400
            assert requests.get(f"{url}/health_status", headers={"D360-API-KEY": "k"}, timeout=10).json()["id"] == "300"
            assert requests.get(f"{url}/_emulator/clock", timeout=10).json()["offset_s"] == 86_400
    assert [path.name for path in (tmp_path / "bytes").iterdir()] == [kept]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
def test_memory_stays_flat_for_a_large_file():
    """A 100 MB document goes in and out within 16 MB of peak memory."""

    def peak_kb(pid):
        return int(re.search(r"VmHWM:\s+([0-9]+)", Path(f"/proc/{pid}/status").read_text())[1])

    with process() as (server, url, headers):
        upload(url, headers)
        before = peak_kb(server.pid)
        media_id = upload(url, headers, bytes(100_000_000)).json()["id"]
        media_url = requests.get(f"{url}/{media_id}", headers=headers, timeout=10).json()["url"]
        media_url = media_url.replace("https://lookaside.fbsbx.com", url)
        with requests.get(media_url, headers=headers, stream=True, timeout=20) as response:
            assert sum(map(len, response.iter_content(1 << 20))) == 100_000_000
        assert peak_kb(server.pid) - before < 16_000


def test_client_that_leaves_in_the_middle_of_an_upload_leaves_nothing(shared):
    """Half a file is no media, and its spool is removed."""
    import socket
    import time

    host, port = shared.base_url.removeprefix("http://").split(":")
    folder = shared.state.storage.path_of("1").parent
    before = len(list(folder.iterdir()))
    head = f"POST /media HTTP/1.1\r\nHost: x\r\nD360-API-KEY: {shared.key}\r\nContent-Length: 9999\r\n"
    head += "Content-Type: multipart/form-data; boundary=B\r\n\r\n--B\r\n"
    head += 'Content-Disposition: form-data; name="file"; filename="a"\r\nContent-Type: image/png\r\n\r\nxxxx'
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        sock.sendall(head.encode())
        deadline = time.monotonic() + 5
        while len(list(folder.iterdir())) == before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(list(folder.iterdir())) == before + 1
    while len(list(folder.iterdir())) > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(list(folder.iterdir())) == before


def test_two_emulators_share_nothing_and_stop_although_a_client_hangs():
    """The handle starts as many as wanted; leaving the block stops a body that would never end."""
    with emulator.running(profile="strict", key="a") as first, emulator.running(key="b") as second:
        assert first.base_url != second.base_url
        first.arm("endless")
        response = requests.get(f"{first.base_url}/health_status", headers={"D360-API-KEY": "a"}, stream=True, timeout=5)
        assert requests.get(f"{second.base_url}/health_status", headers={"D360-API-KEY": "a"}, timeout=5).status_code == 401
    response.close()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{first.base_url}/health", timeout=5)


def test_handle_with_a_data_folder_finds_its_number_again(tmp_path):
    """The key of an earlier run wins over the default."""
    with emulator.running(data_dir=tmp_path, number_id="77", key="old") as emu:
        emu.rotate_key("77", "new")
    with emulator.running(data_dir=tmp_path) as emu:
        assert (emu.number_id, emu.key) == ("77", "new")
        assert requests.get(f"{emu.base_url}/health_status", headers={"D360-API-KEY": "new"}, timeout=5).status_code == 200
