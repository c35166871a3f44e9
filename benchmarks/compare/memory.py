"""Memory for one large file up and down: the hook against bare `requests`, each in a process of its own.

What counts is how far the peak of the resident size (the system's VmHWM, reset before) rises above where the process stood. A
small file went the same way first, so that imports, connections and caches do not count. `requests` uploads with `files=`, and
downloads in both ways that its documentation shows: all at once (`.content`), and in pieces.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import peaks, support
from benchmarks.campaign import make_campaign
from benchmarks.compare.measure import Sheet, progress

MOST_MB = 20.0
CASES = {
    ("ours", "upload"): "upload, this provider",
    ("bare", "upload"): "upload, requests with files=",
    ("ours", "download"): "download, this provider",
    ("pieces", "download"): "download, requests in pieces",
    ("bare", "download"): "download, requests at once",
}
_SMALL_BYTES = 1_000_000


def run(*, rounds: int = 5, size_bytes: int = 100_000_000) -> dict[str, Any]:
    """Send and bring one file, in every way, in every round."""
    started, sheet = time.monotonic(), Sheet()
    with support.folder() as place, support.environment({"TMPDIR": str(place)}), support.emulator() as emulated:
        for name, size in (("small", _SMALL_BYTES), ("large", size_bytes)):
            make_campaign(place / name, 1, channels=1, size_bytes=size)
        paths = [str(next((place / name).glob("*.pdf"))) for name in ("small", "large")]
        for index in range(rounds):
            for (way, direction), name in CASES.items():
                values = support.airflow_environment(emulated, f"sqlite:///{place}/{index}-{way}-{direction}.db")
                grown = _in_a_process((way, direction, values, (emulated.base_url, emulated.numbers[0]), paths))
                sheet.add(f"peak memory, {name}", "MB", grown / 1e6)
            progress("memory", f"round {index + 1} of {rounds}", started)
    for direction in ("upload", "download"):
        sheet.bound(f"peak memory, {CASES['ours', direction]}", at_most=MOST_MB)
    return sheet.tell("memory", {"size_bytes": size_bytes}, started=started)


def _in_a_process(arguments: tuple[Any, ...]) -> int:
    context = support.workers()
    results = context.Queue()
    process = context.Process(target=_one, args=(*arguments, results))
    process.start()
    try:
        found: int = support.answers_of(results, 1, within_s=120)[0]
        process.join(10)
    finally:
        process.kill()
    return found


def _one(
    way: str, direction: str, values: dict[str, str], at: tuple[str, support.Number], paths: list[str], results: Any
) -> None:
    """In a process of its own."""
    os.environ.update(values)
    base_url, number = at
    send, bring = _ours(number.conn_id) if way == "ours" else _bare(base_url, number.key, in_pieces=way == "pieces")
    small, large = paths
    target = Path(large).with_name(f"{os.getpid()}.pdf")
    if direction == "upload":
        send(small)
        results.put(_grown_bytes(lambda: send(large)))
        return
    bring(_media_id(base_url, number.key, small), target)
    target.unlink()
    media_id = _media_id(base_url, number.key, large)
    results.put(_grown_bytes(lambda: bring(media_id, target)))
    assert target.stat().st_size == Path(large).stat().st_size
    target.unlink()


def _grown_bytes(work: Callable[[], object]) -> int:
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is resident
    before = peaks.peak_bytes("self")
    work()
    return peaks.peak_bytes("self") - before


def _media_id(base_url: str, key: str, path: str) -> str:
    """Uploaded by curl, whose memory is not this process's."""
    import subprocess

    form = ["-F", "messaging_product=whatsapp", "-F", f"file=@{path};type=application/pdf"]
    command = ["curl", "--silent", "--fail", "-H", f"D360-API-KEY: {key}", *form, f"{base_url}/media"]
    return str(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)["id"])


def _ours(conn_id: str) -> tuple[Callable[[str], object], Callable[[str, Path], object]]:
    from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook

    hook = Dialog360Hook(conn_id)
    return hook.upload, lambda media_id, target: hook.download(str(target), media_id=media_id)


def _bare(base_url: str, key: str, *, in_pieces: bool) -> tuple[Callable[[str], object], Callable[[str, Path], object]]:
    import requests

    session = requests.Session()
    session.headers["D360-API-KEY"] = key

    def send(path: str) -> None:
        with Path(path).open("rb") as file:
            files = {"file": (Path(path).name, file, "application/pdf")}
            session.post(f"{base_url}/media", data={"messaging_product": "whatsapp"}, files=files, timeout=60).raise_for_status()

    def bring(media_id: str, target: Path) -> None:
        url = session.get(f"{base_url}/{media_id}", timeout=60).json()["url"]
        with session.get(base_url + url.partition(".com")[2], timeout=60, stream=in_pieces) as answer, target.open("wb") as file:
            for piece in answer.iter_content(1 << 18) if in_pieces else [answer.content]:
                file.write(piece)

    return send, bring


if __name__ == "__main__":
    support.main(run)
