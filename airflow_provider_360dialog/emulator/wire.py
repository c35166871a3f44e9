"""The 360dialog side of the wire as an ASGI application: who asks, whether the limits allow it, what is answered."""

from __future__ import annotations

import asyncio
import random
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_360dialog.emulator import endpoints
from airflow_provider_360dialog.emulator.exchange import Exchange, GoneError
from airflow_provider_360dialog.emulator.faults import Operation, Stage
from airflow_provider_360dialog.emulator.settings import BlockedAnswer, Settings
from airflow_provider_360dialog.emulator.shapes import Answer, bad_key, gateway_error, json_answer
from airflow_provider_360dialog.emulator.strikes import hop, redirect, replacement, strike, takes_effect, without_version

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from airflow_provider_360dialog.emulator.armory import ArmedFault
    from airflow_provider_360dialog.emulator.number import Number
    from airflow_provider_360dialog.emulator.state import State

_HOP = re.compile(r"/_hop/(30[12378])/([0-9]{1,4})(/.*)\Z", re.DOTALL)
_MID = re.compile(r"(?:^|&)mid=([0-9]+)")
_OPERATIONS = {"GET": Operation.FETCH, "DELETE": Operation.DELETE}


@dataclass(frozen=True, slots=True)
class Route:
    """What a request line means.

    Attributes:
        operation: `None` for a path that 360dialog does not serve.
        media_id: The id that is meant, well formed or not.
        is_followed: Whether the path shows that the request followed a redirect of ours.
    """

    operation: Operation | None
    media_id: str | None
    is_followed: bool


def read_route(method: str, path: str, query: str) -> Route:
    """Interpret a request line; a version prefix such as `/v2` is allowed and means nothing."""
    plain = without_version(path)
    is_followed = plain != path
    if plain == endpoints.DOWNLOAD_PATH and method == "GET":
        found = _MID.search(query)
        return Route(Operation.DOWNLOAD, found and found[1], is_followed)
    if plain == "/media" and method == "POST":
        return Route(Operation.UPLOAD, None, is_followed)
    if plain == "/health_status" and method == "GET":
        return Route(Operation.HEALTH, None, is_followed)
    segment = plain[1:]
    if segment and "/" not in segment and method in _OPERATIONS:
        return Route(_OPERATIONS[method], segment, is_followed)
    return Route(None, None, is_followed)


class Wire:
    """The application that answers everything outside the admin paths."""

    def __init__(self, state: State) -> None:
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = Exchange(scope, receive, send, self.state.now_s)
        self.state.requests.append(exchange)
        try:
            await self._serve(exchange)
        except (GoneError, asyncio.CancelledError):  # the client left, or the server stops: nobody waits for an answer
            exchange.settle(None)
        finally:
            exchange.forget()

    async def _serve(self, exchange: Exchange) -> None:
        if found := _HOP.match(exchange.path):
            target = found[3] + (f"?{exchange.query}" if exchange.query else "")
            await exchange.send(hop(target, int(found[1]), int(found[2])))
            return
        if exchange.method == "GET" and exchange.path == "/health":
            await exchange.send(json_answer({"status": "ok"}))
            return
        route = read_route(exchange.method, exchange.path, exchange.query)
        if route.operation is None:
            await exchange.send(gateway_error(self.state.settings.error_shape, 404, "Not found"))
            return
        number = self.state.number_of_key(exchange.headers.get("d360-api-key"))
        if await self._stopped_at_gate(exchange, route, route.operation, number):
            return
        if number is None:
            self.state.strangers += 1
            await exchange.send(bad_key(self.state.settings.error_shape))
            return
        number.counters.requests[route.operation] += 1
        self._watch(exchange, route.operation, number)
        try:
            await self._answer(exchange, route, route.operation, number)
        finally:
            exchange.settle(None)

    async def _stopped_at_gate(self, exchange: Exchange, route: Route, operation: Operation, number: Number | None) -> bool:
        """Let a gate fault strike; return whether it did."""
        number_id = None if number is None else number.number_id
        fault = self.state.faults.peek((Stage.GATE,), operation, number_id, route.media_id)
        if fault is None or not _strikes_here(fault, exchange, route):
            return False
        self.state.faults.spend(fault)
        await asyncio.sleep(fault.delay_s)
        if fault.params.get("when") == "body":
            await exchange.drain()
        if fault.kind.name == "reset":
            await exchange.reset_raw()
        elif fault.kind.name == "redirect":
            if number is not None:
                number.counters.redirected += 1
            await exchange.send(redirect(exchange, fault))
        else:
            shape = self.state.settings.error_shape
            await exchange.send(gateway_error(shape, fault.params["status"], fault.params["text"]))
        return True

    def _watch(self, exchange: Exchange, operation: Operation, number: Number) -> None:
        """Count the answer at the moment it leaves, so that the client cannot be faster than the count."""
        counters = number.counters
        if operation is Operation.FETCH:
            counters.start_get(self.state.now_s())

        def note(status: int | None) -> None:
            counters.answered(operation, status)
            if operation is Operation.FETCH:
                counters.end_get()
            if status is None or status < 400:
                return
            now_s = self.state.now_s()
            if operation is Operation.FETCH:
                counters.fail_get(now_s)
            spends = operation is Operation.FETCH or (
                operation is Operation.DOWNLOAD and self.state.settings.policy.counts_downloads
            )
            if spends and not number.throttle.is_blocked(now_s):
                number.throttle.fail(now_s)

        exchange.on_status = note

    async def _answer(self, exchange: Exchange, route: Route, operation: Operation, number: Number) -> None:
        refusal = await self._refusal(exchange, operation, number)
        if refusal is not None:
            await exchange.send(refusal)
            return
        faults = self.state.faults
        fault = faults.peek((Stage.INSTEAD, Stage.RESHAPE), operation, number.number_id, route.media_id)
        if fault is not None:
            faults.spend(fault)
        if fault is not None and fault.kind.stage is Stage.INSTEAD:
            await self._answer_otherwise(exchange, route, operation, number, fault)
            return
        answer = await self._perform(exchange, route, operation, number)
        if fault is None:
            await exchange.send(answer)
            return
        await asyncio.sleep(fault.delay_s)
        await strike(exchange, answer, fault)

    async def _answer_otherwise(
        self, exchange: Exchange, route: Route, operation: Operation, number: Number, fault: ArmedFault
    ) -> None:
        if takes_effect(fault):
            await self._perform(exchange, route, operation, number)
        else:
            await exchange.drain()
        await asyncio.sleep(fault.delay_s)
        if fault.kind.name == "drop":
            await exchange.close_raw()
        else:
            await exchange.send(replacement(fault, self.state.settings.error_shape, self.state.now_s()))

    async def _refusal(self, exchange: Exchange, operation: Operation, number: Number) -> Answer | None:
        """Return the answer of a limit that is exceeded, else `None`."""
        if operation is Operation.UPLOAD:
            return await self._pace_refusal(exchange, number)
        now_s = self.state.now_s()
        if operation is Operation.FETCH and number.throttle.is_blocked(now_s):
            number.counters.blocked_gets += 1
            if self.state.settings.extend_block:
                number.throttle.extend(now_s)
            return blocked_answer(self.state.settings, number.throttle.retry_after_s(now_s))
        return None

    async def _pace_refusal(self, exchange: Exchange, number: Number) -> Answer | None:
        settings = self.state.settings
        arrived_s = exchange.arrived_s
        if settings.jitter_s:
            await asyncio.sleep(random.uniform(0, settings.jitter_s))  # noqa: S311 - spreads, hides nothing
            arrived_s = time.monotonic()
        number.counters.post_times.append(arrived_s)
        if number.upload_limit.admit(arrived_s, settings.posts_per_s):
            return None
        number.counters.refused_by_pace += 1
        return gateway_error(settings.error_shape, 429, "Too many requests", code=130429)

    async def _perform(self, exchange: Exchange, route: Route, operation: Operation, number: Number) -> Answer:
        media_id = route.media_id or ""
        match operation:
            case Operation.UPLOAD:
                answer = await endpoints.upload(self.state, number, exchange)
                if self.state.settings.service_s:
                    await asyncio.sleep(self.state.settings.service_s)
                return answer
            case Operation.FETCH:
                return endpoints.fetch(self.state, number, media_id)
            case Operation.DOWNLOAD:
                return endpoints.download(self.state, number, exchange.query)
            case Operation.DELETE:
                return endpoints.delete(self.state, number, media_id)
            case Operation.HEALTH:
                return endpoints.health(number)


def _strikes_here(fault: ArmedFault, exchange: Exchange, route: Route) -> bool:
    if fault.kind.name == "need_user_agent":
        return not exchange.headers.get("user-agent")
    return not (fault.kind.name == "redirect" and route.is_followed and not fault.params["loop"])


def blocked_answer(settings: Settings, retry_after_s: float) -> Answer:
    """Return the refusal of a GET while the throttle is shut."""
    shape = settings.error_shape
    match settings.blocked_answer:
        case BlockedAnswer.STATUS_400:
            return gateway_error(shape, 400, "You have exceeded the endpoint rate limit", code=4)
        case BlockedAnswer.STATUS_403:
            return gateway_error(shape, 403, "Forbidden: error limit exceeded, retrieval is blocked", code=4)
        case BlockedAnswer.STATUS_429_RETRY_AFTER:
            headers = [("retry-after", str(max(1, round(retry_after_s + 0.5))))]
            return gateway_error(shape, 429, "Too many failed requests", code=4, headers=headers)
        case BlockedAnswer.STATUS_429:
            return gateway_error(shape, 429, "Too many failed requests", code=4)
