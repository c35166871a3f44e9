"""The admin paths under `/_emulator/`: a JSON interface for tests and people on the same machine, without a key."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Body, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field

from airflow_provider_360dialog.emulator.faults import FAULT_KINDS
from airflow_provider_360dialog.emulator.state import DEFAULT_DISPLAY_PHONE, State

ADMIN_PREFIX = "/_emulator"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewNumber(_Strict):
    """A phone number and its key."""

    number_id: str
    key: str
    display_phone: str = DEFAULT_DISPLAY_PHONE


class NewKey(_Strict):
    """The key that replaces the old one."""

    key: str


class Health(_Strict):
    """What `GET /health_status` says of a number."""

    can_send_message: Literal["AVAILABLE", "LIMITED", "BLOCKED"] = "AVAILABLE"
    additional_info: list[str] | None = None
    errors: list[dict[str, Any]] | None = None


class Advance(_Strict):
    """How far the clock moves."""

    advance_s: Annotated[float, Field(ge=0)]


class NewFault(BaseModel):
    """A fault to arm; more fields are the kind's parameters."""

    model_config = ConfigDict(extra="allow")

    kind: str
    operation: str = "any"
    times: int | Literal["always"] = 1
    number_id: str | None = None
    media_id: str | None = None
    delay_s: Annotated[float, Field(ge=0)] = 0.0


class WebhookMedia(_Strict):
    """A file that a customer sends."""

    content_base64: Base64Bytes
    mime_type: str
    number_id: str
    file_name: str | None = None
    caption: str | None = None
    with_url: bool = True
    url_life_s: float | None = None
    sender: str = "15551234567"


def build_admin(state: State) -> FastAPI:
    """Return the admin application of a state; a value it refuses is a 422, a number it does not know a 404."""
    app = FastAPI(title="360dialog emulator", docs_url=f"{ADMIN_PREFIX}/docs", openapi_url=f"{ADMIN_PREFIX}/openapi.json")

    @app.exception_handler(ValueError)
    async def refuse(_request: Request, error: ValueError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=422)

    @app.exception_handler(KeyError)
    async def miss(_request: Request, error: KeyError) -> JSONResponse:
        return JSONResponse({"detail": str(error.args[0])}, status_code=404)

    _add_number_routes(app, state)
    _add_fault_routes(app, state)
    _add_media_routes(app, state)
    return app


def _add_number_routes(app: FastAPI, state: State) -> None:
    @app.get(ADMIN_PREFIX + "/numbers")
    async def numbers() -> list[dict[str, Any]]:
        return [
            {"number_id": number.number_id, "display_phone": number.display_phone, "health": number.health}
            for number in state.numbers.values()
        ]

    @app.post(ADMIN_PREFIX + "/numbers", status_code=201)
    async def add_number(new: NewNumber) -> dict[str, str]:
        state.add_number(new.number_id, new.key, new.display_phone)
        return {"number_id": new.number_id}

    @app.post(ADMIN_PREFIX + "/numbers/{number_id}/key")
    async def rotate_key(number_id: str, new: NewKey) -> dict[str, str]:
        state.rotate_key(number_id, new.key)
        return {"number_id": number_id}

    @app.post(ADMIN_PREFIX + "/numbers/{number_id}/health")
    async def set_health(number_id: str, health: Health) -> dict[str, Any]:
        state.set_health(number_id, health.can_send_message, additional_info=health.additional_info, errors=health.errors)
        return state.number(number_id).health

    @app.post(ADMIN_PREFIX + "/numbers/{number_id}/forgive")
    async def forgive(number_id: str) -> dict[str, str]:
        state.number(number_id).forgive()
        return {"number_id": number_id}

    @app.get(ADMIN_PREFIX + "/counters")
    async def counters(number: str | None = None, times: bool = False) -> dict[str, Any]:
        wanted = [number] if number else list(state.numbers)
        found = {number_id: state.counters(number_id, with_times=times) for number_id in wanted}
        return {"numbers": found, "unknown_key_requests": state.strangers}

    @app.post(ADMIN_PREFIX + "/counters/reset")
    async def reset_counters() -> dict[str, bool]:
        state.reset_counters()
        return {"reset": True}


def _add_fault_routes(app: FastAPI, state: State) -> None:
    @app.get(ADMIN_PREFIX + "/faults")
    async def faults() -> dict[str, Any]:
        kinds = {
            kind.name: {"meaning": kind.meaning, "params": {name: p.meaning for name, p in kind.params.items()}}
            for kind in FAULT_KINDS.values()
        }
        return {"armed": [fault.summary() for fault in state.faults.armed()], "kinds": kinds}

    @app.post(ADMIN_PREFIX + "/faults", status_code=201)
    async def arm(new: NewFault) -> dict[str, Any]:
        return state.faults.arm(**new.model_dump()).summary()

    @app.delete(ADMIN_PREFIX + "/faults")
    async def disarm(fault_id: int | None = None) -> dict[str, int]:
        return {"disarmed": state.faults.disarm(fault_id)}

    @app.get(ADMIN_PREFIX + "/settings")
    async def settings() -> dict[str, Any]:
        return {name: getattr(state.settings, name) for name in state.settings.__slots__}

    @app.post(ADMIN_PREFIX + "/settings")
    async def configure(changes: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        state.configure(**changes)
        return {name: getattr(state.settings, name) for name in state.settings.__slots__}

    @app.post(ADMIN_PREFIX + "/clock")
    async def advance(move: Advance) -> dict[str, float]:
        return {"now_s": state.advance(move.advance_s), "offset_s": state.clock.offset_s}

    @app.get(ADMIN_PREFIX + "/clock")
    async def clock() -> dict[str, float]:
        return {"now_s": state.now_s(), "offset_s": state.clock.offset_s}

    @app.get(ADMIN_PREFIX + "/requests")
    async def requests(last: int = 100) -> list[dict[str, Any]]:
        return state.last_requests(last)


def _add_media_routes(app: FastAPI, state: State) -> None:
    @app.post(ADMIN_PREFIX + "/webhook-media", status_code=201)
    async def webhook_media(new: WebhookMedia) -> dict[str, Any]:
        fields = new.model_dump(exclude={"content_base64"})
        return state.inject_webhook_media(new.content_base64, **fields)

    @app.get(ADMIN_PREFIX + "/media")
    async def media(number: str | None = None) -> list[dict[str, Any]]:
        return [found.summary() for found in state.live_media(number)]

    @app.get(ADMIN_PREFIX + "/media/{media_id}")
    async def one_media(media_id: str) -> dict[str, Any]:
        if media_id not in state.media:
            raise HTTPException(404, f"no media {media_id}")
        return state.media[media_id].summary() | {"alive": state.media[media_id].is_alive(state.now_s())}
