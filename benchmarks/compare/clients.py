"""How others would upload many files to one number, each in a few lines; for `contest`. Knows nothing of this package.

Each function takes the base URL, the key and the paths, returns the media ids that it got, and needs nothing else.
"""

from __future__ import annotations

import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

THREADS = 10
ATTEMPTS = 10
_FORM = {"messaging_product": "whatsapp"}


def naive_loop(base_url: str, key: str, paths: list[str]) -> list[str]:
    """One after the other; a 429 is tried again a second later."""
    import requests

    media_ids = []
    with requests.Session() as session:
        session.headers["D360-API-KEY"] = key
        for path in paths:
            for _ in range(ATTEMPTS):
                with Path(path).open("rb") as file:
                    files = {"file": (Path(path).name, file, "image/png")}
                    answer = session.post(f"{base_url}/media", data=_FORM, files=files, timeout=60)
                if answer.status_code != 429:
                    break
                time.sleep(1)
            answer.raise_for_status()
            media_ids.append(str(answer.json()["id"]))
    return media_ids


def retry_pool(base_url: str, key: str, paths: list[str]) -> list[str]:
    """Ten threads on one session that retries a 429 with growing, scattered pauses."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util.retry import Retry

    retry = Retry(
        total=ATTEMPTS,
        status_forcelist=[429, 502, 503, 504],
        allowed_methods=None,  # POST too
        backoff_factor=0.5,
        backoff_jitter=0.5,
        respect_retry_after_header=True,
    )
    session = requests.Session()
    session.mount(base_url, HTTPAdapter(max_retries=retry, pool_maxsize=THREADS))
    session.headers["D360-API-KEY"] = key

    def upload(path: str) -> str:
        with Path(path).open("rb") as file:
            files = {"file": (Path(path).name, file, "image/png")}
            answer = session.post(f"{base_url}/media", data=_FORM, files=files, timeout=60)
        answer.raise_for_status()
        return str(answer.json()["id"])

    with session, ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(upload, paths))


def pywa_gather(base_url: str, key: str, paths: list[str]) -> list[str]:
    """The asynchronous client of pywa, ten uploads at a time; a refusal is tried again after a growing, scattered pause."""
    import httpx
    from pywa.errors import WhatsAppError
    from pywa_async.client import WhatsApp

    async def upload(client: WhatsApp, path: str, slots: asyncio.Semaphore) -> str:
        async with slots:
            for attempt in range(ATTEMPTS):
                try:
                    return str((await client.upload_media(Path(path), mime_type="image/png", filename=Path(path).name)).id)
                except WhatsAppError:
                    await asyncio.sleep(random.uniform(0.5, 1) * 2**attempt)
            raise RuntimeError(path)

    async def upload_all() -> list[str]:
        slots = asyncio.Semaphore(THREADS)
        async with httpx.AsyncClient(transport=_to_360dialog(base_url), timeout=60) as session:
            client = WhatsApp(phone_id="100000000000001", token=key, session=session)
            return await asyncio.gather(*(upload(client, path, slots) for path in paths))

    return asyncio.run(upload_all())


def _to_360dialog(base_url: str) -> Any:
    """A transport for pywa, which speaks to Meta: other host, path and header, the rest as pywa made it."""
    import httpx

    class To360dialog(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            request.url = httpx.URL(f"{base_url}/media")
            request.headers["Host"] = request.url.netloc.decode()
            request.headers["D360-API-KEY"] = request.headers.pop("Authorization").removeprefix("Bearer ")
            return await super().handle_async_request(request)

    return To360dialog()
