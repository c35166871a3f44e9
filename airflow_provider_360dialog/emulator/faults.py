"""The one table of misbehaviours: names, parameters, and at which stage of a request each strikes.

Arming is in `armory`, what a kind does to an answer or a socket in `strikes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any

from airflow_provider_360dialog.emulator.settings import ErrorShape


class Operation(StrEnum):
    """What a request asks for."""

    UPLOAD = "upload"
    FETCH = "fetch"
    DOWNLOAD = "download"
    DELETE = "delete"
    HEALTH = "health"


class Stage(Enum):
    """Where in the way of a request a fault strikes."""

    GATE = "before the key and the limits are looked at, as a proxy would"
    INSTEAD = "in place of the true answer, after the limits"
    RESHAPE = "on the true answer"


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of a fault kind.

    Attributes:
        types: Accepted Python types; `int` is accepted for `float`.
        default: Value when it is not given.
        meaning: One sentence with unit and range.
        choices: Allowed values, empty for any.
    """

    types: tuple[type, ...]
    default: Any
    meaning: str
    choices: tuple[Any, ...] = ()

    def check(self, name: str, value: Any) -> Any:
        """Return the value, or refuse it.

        Raises:
            ValueError: Wrong type, or not one of the choices.
        """
        if isinstance(value, int) and not isinstance(value, bool) and float in self.types:
            value = float(value)
        if not isinstance(value, self.types) or (isinstance(value, bool) and bool not in self.types):
            raise ValueError(f"{name} must be {' or '.join(kind.__name__ for kind in self.types)}, not {value!r}")
        if self.choices and value not in self.choices:
            raise ValueError(f"{name} must be one of {list(self.choices)}, not {value!r}")
        if isinstance(value, int | float) and value < 0 and name != "delta_bytes":
            raise ValueError(f"{name} must not be negative, not {value!r}")
        if name == "status" and isinstance(value, int) and not 200 <= value <= 599:
            raise ValueError(f"status must lie between 200 and 599, not {value!r}")
        return value


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One row of the table."""

    name: str
    stage: Stage
    meaning: str
    params: Mapping[str, Param] = field(default_factory=dict)
    operations: tuple[Operation, ...] = tuple(Operation)


_NONE = type(None)
_WHEN = Param((str,), "headers", "strike after the request's headers, or after its body was read", ("headers", "body"))
_PERFORMS = "whether the request takes effect first (an upload is stored, an id deleted)"
_SHAPE = Param((str, _NONE), None, "error shape; the emulator's own without it", (None, *map(str, ErrorShape)))

FAULT_KINDS: dict[str, FaultKind] = {
    kind.name: kind
    for kind in (
        FaultKind(
            "redirect",
            Stage.GATE,
            "redirect; without `location` to the same origin, where the request then works",
            {
                "status": Param((int,), 308, "status", (301, 302, 303, 307, 308)),
                "location": Param((str, _NONE), None, "verbatim Location; `{path}` stands for path and query"),
                "hops": Param((int,), 1, "same-origin redirects until the request is served"),
                "loop": Param((bool,), False, "also redirect requests that already followed one"),
                "when": _WHEN,
            },
        ),
        FaultKind("reset", Stage.GATE, "reset the connection (RST)", {"when": _WHEN}),
        FaultKind(
            "need_user_agent",
            Stage.GATE,
            "refuse requests that carry no User-Agent",
            {"status": Param((int,), 403, "status"), "text": Param((str,), "Forbidden", "text")},
        ),
        FaultKind(
            "error",
            Stage.INSTEAD,
            "answer with an error",
            {
                "status": Param((int,), 500, "status"),
                "shape": _SHAPE,
                "text": Param((str,), "Internal server error", "what the body says"),
                "code": Param((int,), 1, "Meta's code, in shape A"),
                "subcode": Param((int, _NONE), None, "Meta's subcode, in shape A"),
                "retry_after": Param((float, str, _NONE), None, "Retry-After: seconds, or verbatim text"),
                "retry_after_format": Param((str,), "seconds", "how seconds are written", ("seconds", "date")),
                "performs": Param((bool,), False, _PERFORMS),
            },
        ),
        FaultKind("unauthorized", Stage.INSTEAD, "answer 401 as for a revoked key", {"shape": _SHAPE}),
        FaultKind(
            "html",
            Stage.INSTEAD,
            "answer with a proxy's page",
            {
                "status": Param((int,), 502, "status"),
                "performs": Param((bool, _NONE), None, _PERFORMS + "; None: if status < 400"),
            },
        ),
        FaultKind(
            "empty",
            Stage.INSTEAD,
            "answer without a body",
            {"status": Param((int,), 200, "status"), "performs": Param((bool,), True, _PERFORMS)},
        ),
        FaultKind(
            "drop",
            Stage.INSTEAD,
            "read the request, then close the connection without an answer",
            {"performs": Param((bool,), True, _PERFORMS)},
        ),
        FaultKind("delay", Stage.RESHAPE, "only wait `delay_s` before answering"),
        FaultKind("gzip", Stage.RESHAPE, "compress the body unasked"),
        FaultKind(
            "gzip_bomb",
            Stage.RESHAPE,
            "answer with a small gzip body of many zeros",
            {"size_bytes": Param((int,), 1 << 30, "size once decompressed, in bytes")},
        ),
        FaultKind(
            "truncate",
            Stage.RESHAPE,
            "promise the whole body, send a part of it, close",
            {"keep_bytes": Param((int, _NONE), None, "bytes that are sent; half of them without it")},
        ),
        FaultKind(
            "endless",
            Stage.RESHAPE,
            "go on sending blanks after the body",
            {"size_bytes": Param((int, _NONE), None, "stop after this many more bytes; never without it")},
        ),
        FaultKind(
            "drip",
            Stage.RESHAPE,
            "send slowly, then close",
            {
                "bytes_per_s": Param((float,), 10.0, "bytes per second; above 0"),
                "part": Param((str,), "body", "what is slow", ("head", "body", "all")),
            },
        ),
        FaultKind(
            "wrong_bytes",
            Stage.RESHAPE,
            "send as many bytes as expected, but others",
            operations=(Operation.DOWNLOAD,),
        ),
        FaultKind(
            "wrong_size",
            Stage.RESHAPE,
            "a body (download) or a `file_size` (fetch) of another length",
            {"delta_bytes": Param((int,), 1, "bytes more, or fewer if negative")},
            operations=(Operation.DOWNLOAD, Operation.FETCH),
        ),
        FaultKind(
            "omit_field",
            Stage.RESHAPE,
            "leave a field out of the JSON answer",
            {"field": Param((str,), "id", "top-level field")},
            operations=(Operation.UPLOAD, Operation.FETCH, Operation.DELETE, Operation.HEALTH),
        ),
        FaultKind(
            "string_file_size",
            Stage.RESHAPE,
            "`file_size` as a string, as Meta's sample shows it",
            operations=(Operation.FETCH,),
        ),
        FaultKind(
            "base64_sha256",
            Stage.RESHAPE,
            "`sha256` in base64, as in webhooks",
            operations=(Operation.FETCH,),
        ),
    )
}
