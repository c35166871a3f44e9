"""`python -m airflow_provider_360dialog.emulator`: the emulator in a process of its own."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from airflow_provider_360dialog.emulator.server import DEFAULT_KEY, build_server, listen, open_state
from airflow_provider_360dialog.emulator.settings import BlockedAnswer, ErrorShape, Profile, Settings


def build_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(prog="python -m airflow_provider_360dialog.emulator", description=__doc__)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    add("--port", type=int, default=8360, help="port, 0 for a free one (default %(default)s)")
    add("--number-id", help="first phone number id (default: a new one each time; with --data always the same)")
    add("--key", default=DEFAULT_KEY, help="its key (default %(default)s)")
    add("--data", type=Path, help="folder that remembers numbers, media and bytes over a restart")
    add("--any-key", action="store_true", help="an unknown key opens a new number instead of a 401")
    add("--profile", choices=list(map(str, Profile)), default="documented", help="error throttle (default %(default)s)")
    add("--error-shape", choices=list(map(str, ErrorShape)), default="B", help="gateway errors (default %(default)s)")
    add("--blocked-answer", choices=list(map(str, BlockedAnswer)), default="429", help="default %(default)s")
    add("--extend-block", action="store_true", help="a request during a block starts the block anew")
    add("--count-failed-downloads", choices=["yes", "no"], help="spend failures on downloads (default: the profile's)")
    add("--posts-per-s", type=int, default=25, help="uploads per sliding second and number (default %(default)s)")
    add("--service-s", type=float, default=0.0, help="seconds that an upload takes (default %(default)s)")
    add("--jitter-s", type=float, default=0.0, help="random delay before the limiter, up to (default %(default)s)")
    add("--lost-url-status", type=int, default=404, help="download by a dead URL (default %(default)s)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    args = build_parser().parse_args(argv)
    downloads = {"yes": True, "no": False, None: None}[args.count_failed_downloads]
    settings = Settings(
        profile=args.profile,
        error_shape=args.error_shape,
        blocked_answer=args.blocked_answer,
        extend_block=args.extend_block,
        count_failed_downloads=downloads,
        any_key=args.any_key,
        posts_per_s=args.posts_per_s,
        service_s=args.service_s,
        jitter_s=args.jitter_s,
        lost_url_status=args.lost_url_status,
    )
    state = open_state(settings, number_id=args.number_id, key=args.key, data_dir=args.data)
    number_id = next(iter(state.numbers))
    try:
        sock, base_url = listen(args.host, args.port)
        with sock:
            line = f"{base_url} number {number_id} key {state.key_of(number_id)}"
            server = build_server(state, lambda: print(line, flush=True))  # noqa: T201  (what a caller waits for)

            def stop(*_: object) -> None:
                server.should_exit = True

            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, stop)  # uvicorn raises the signal again after it stopped; that ends here
            server.run([sock])
    finally:
        state.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
