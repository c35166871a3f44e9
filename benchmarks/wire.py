"""What the wire costs, measured side by side with bare `requests`, against the emulator in a process of its own.

    python benchmarks/wire.py cpu       2,000 files of 100 kB with 16 threads: client CPU of `api` over `requests` with `files=`
    python benchmarks/wire.py memory    one file of 100 MB: growth of the peak resident size, upload and download

Prints one line of JSON. Sizes and repeats are options; medians are of the repeats, which alternate between the contestants.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

KEY = "test-key"
PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde"
    b"\x00\x00\x00\x0cIDATx\x9cc```\x00\x00\x00\x04\x00\x01\xf6\x178U\x00\x00\x00\x00IEND\xaeB`\x82"
)


@contextmanager
def emulator_process() -> Iterator[str]:
    """A running emulator's base URL; no limit of uploads."""
    command = [sys.executable, "-m", "airflow_provider_360dialog.emulator", "--port", "0", "--posts-per-s", "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            yield next(word for word in line.split() if word.startswith("http://")).rstrip(",")
        finally:
            process.terminate()
            process.wait(15)


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds of this process while ``work`` runs."""
    started = time.process_time()
    work()
    return time.process_time() - started


def cpu(args: argparse.Namespace) -> dict[str, object]:
    """Client CPU of the wire against that of bare `requests`."""
    import requests

    from airflow_provider_360dialog.api.client import MediaApi
    from airflow_provider_360dialog.hooks.places import LocalSource
    from airflow_provider_360dialog.ports import Channel

    with tempfile.TemporaryDirectory() as folder, emulator_process() as base_url:
        paths = []
        for number in range(args.files):
            paths.append(Path(folder, f"{number}.png"))
            paths[-1].write_bytes(PNG + os.urandom(args.bytes - len(PNG)))
        hashes = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
        api = MediaApi(Channel(api_key=KEY, base_url=base_url))
        local = threading.local()

        def bare(path: Path) -> None:
            session = local.__dict__.setdefault("session", requests.Session())
            with path.open("rb") as file:
                answer = session.post(
                    f"{base_url}/media",
                    headers={"D360-API-KEY": KEY},
                    data={"messaging_product": "whatsapp", "type": "image/png"},
                    files={"file": (path.name, file, "image/png")},
                    timeout=(10, 20),
                )
            answer.raise_for_status()
            assert answer.json()["id"]

        def ours(path: Path) -> None:
            outcome = api.upload(
                LocalSource(path), size_bytes=args.bytes, sha256=hashes[path], mime_type="image/png", filename=path.name
            )
            assert isinstance(outcome, str), outcome

        spent: dict[str, list[float]] = {"bare": [], "ours": []}
        with ThreadPoolExecutor(args.threads) as pool:
            for call in (bare, ours):  # connections, caches and imports are warm
                list(pool.map(call, paths[:100]))
            for _ in range(args.repeats):
                spent["bare"].append(cpu_s(lambda: list(pool.map(bare, paths))))
                spent["ours"].append(cpu_s(lambda: list(pool.map(ours, paths))))
    ms = {name: statistics.median(values) / args.files * 1000 for name, values in spent.items()}
    ratios = [ours / bare for ours, bare in zip(spent["ours"], spent["bare"], strict=True)]
    return {
        "benchmark": "cpu per upload",
        "files": args.files,
        "bytes": args.bytes,
        "threads": args.threads,
        "repeats": args.repeats,
        "bare_ms": round(ms["bare"], 3),
        "ours_ms": round(ms["ours"], 3),
        "ratio_median": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 2) for ratio in ratios],
    }


def _pdf(size_bytes: int) -> bytes:
    begin, end = b"%PDF-1.7\n", b"\nstartxref\n0\n%%EOF\n"
    return begin + os.urandom(size_bytes - len(begin) - len(end)) + end


def memory(args: argparse.Namespace) -> dict[str, object]:
    """Growth of the peak resident size by one large upload and one large download, each in a process of its own."""
    grown: dict[str, list[float]] = {"upload": [], "download": []}
    with tempfile.TemporaryDirectory() as folder, emulator_process() as base_url:
        path = Path(folder, "large.pdf")
        path.write_bytes(_pdf(args.bytes))
        for _ in range(args.repeats):
            for operation, values in grown.items():
                command = [sys.executable, __file__, f"_{operation}", base_url, str(path)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                values.append(float(done.stdout))
    return {
        "benchmark": "peak memory growth, MB",
        "bytes": args.bytes,
        **{name: round(statistics.median(values), 2) for name, values in grown.items()},
        "all": grown,
    }


def _one(operation: str, base_url: str, path: Path) -> None:
    """In its own process: do it with a small file first, so that only the size of the large one is measured."""
    from airflow_provider_360dialog.api.client import MediaApi
    from airflow_provider_360dialog.hooks.places import LocalDestination, LocalSource
    from airflow_provider_360dialog.jobs.calls import Calls
    from airflow_provider_360dialog.jobs.retrieve import download
    from airflow_provider_360dialog.jobs.upload import upload
    from airflow_provider_360dialog.ledger.channel import ChannelLedger
    from airflow_provider_360dialog.ledger.channels import Channels
    from airflow_provider_360dialog.ledger.store import Store
    from airflow_provider_360dialog.ports import Channel

    store = Store(f"sqlite:///{path.parent}/ledger-{os.getpid()}.db").open()
    identity = Channels(store).bind(api_key=KEY, conn_id="benchmark", origin=base_url, phone_number_id="1")
    calls = Calls(MediaApi(Channel(api_key=KEY, base_url=base_url)), ChannelLedger(store, lambda: identity))
    if operation == "send":
        print(upload(LocalSource(path), calls=calls).media_id)
        return
    small = path.with_name("small.pdf")
    small.write_bytes(_pdf(1_000_000))
    target = LocalDestination(path.with_name(f"again-{os.getpid()}.pdf"), overwrite=True)
    small_id = upload(LocalSource(small), calls=calls).media_id
    download(target, calls=calls, media_id=small_id)
    if operation == "upload":
        print(_growth_mb(lambda: upload(LocalSource(path), calls=calls)))
    else:
        media_id = _upload_elsewhere(base_url, path)
        print(_growth_mb(lambda: download(target, calls=calls, media_id=media_id)))


def _upload_elsewhere(base_url: str, path: Path) -> str:
    """The id of the large file, uploaded by another process, so that this one's peak is the download's."""
    command = [sys.executable, __file__, "_send", base_url, str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _growth_mb(work: Callable[[], object]) -> float:
    """How far the resident size rises above where it stood, looked at every millisecond."""
    page_bytes = os.sysconf("SC_PAGE_SIZE")

    def resident_mb() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * page_bytes / 1e6

    before_mb = resident_mb()
    seen_mb = [before_mb]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            seen_mb.append(resident_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    done.set()
    watcher.join()
    assert len(seen_mb) > 20, "too quick to be measured"
    return max(seen_mb) - before_mb


def main() -> None:
    """Run one benchmark."""
    if sys.argv[1:2] in (["_upload"], ["_download"], ["_send"]):
        _one(sys.argv[1][1:], sys.argv[2], Path(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("cpu")
    one.add_argument("--files", type=int, default=2000)
    one.add_argument("--bytes", type=int, default=100_000)
    one.add_argument("--threads", type=int, default=16)
    one.add_argument("--repeats", type=int, default=5)
    one.set_defaults(run=cpu)
    two = commands.add_parser("memory")
    two.add_argument("--bytes", type=int, default=100_000_000)
    two.add_argument("--repeats", type=int, default=3)
    two.set_defaults(run=memory)
    args = parser.parse_args()
    print(json.dumps(args.run(args)))


if __name__ == "__main__":
    main()
