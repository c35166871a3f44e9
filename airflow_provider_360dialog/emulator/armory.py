"""Which faults wait for which of the next requests; what they do is in `strikes`."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Literal

from airflow_provider_360dialog.emulator.faults import FAULT_KINDS, FaultKind, Operation, Stage


@dataclass(slots=True)
class ArmedFault:
    """A fault that waits for requests.

    Attributes:
        fault_id: Ordinal since the emulator started.
        kind: Row of the table.
        operation: What it strikes, `None` for any operation that the kind allows.
        number_id: Only requests of this number, if given.
        media_id: Only requests for this media id, if given.
        left: Requests that it will still strike; `None` for always.
        delay_s: Seconds to wait before striking.
        params: Parameters, complete with defaults.
        struck: Requests that it has struck.
    """

    fault_id: int
    kind: FaultKind
    operation: Operation | None
    number_id: str | None
    media_id: str | None
    left: int | None
    delay_s: float
    params: dict[str, Any]
    struck: int = 0

    def matches(self, operation: Operation, number_id: str | None, media_id: str | None) -> bool:
        """Tell whether a request is meant."""
        return (
            self.left != 0
            and operation in self.kind.operations
            and self.operation in (None, operation)
            and self.number_id in (None, number_id)
            and self.media_id in (None, media_id)
        )

    def summary(self) -> dict[str, Any]:
        """Return the fault as a JSON object."""
        return {
            "fault_id": self.fault_id,
            "kind": self.kind.name,
            "operation": self.operation or "any",
            "number_id": self.number_id,
            "media_id": self.media_id,
            "left": "always" if self.left is None else self.left,
            "delay_s": self.delay_s,
            "struck": self.struck,
            **self.params,
        }


class Armory:
    """The armed faults in the order of arming; a request meets the first that matches."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._armed: list[ArmedFault] = []

    def arm(
        self,
        kind: str,
        *,
        operation: str = "any",
        times: int | Literal["always"] = 1,
        number_id: str | None = None,
        media_id: str | None = None,
        delay_s: float = 0.0,
        **params: Any,
    ) -> ArmedFault:
        """Arm a fault.

        Raises:
            ValueError: Unknown kind, operation or parameter; the text lists the known ones.
        """
        row = FAULT_KINDS.get(kind)
        if row is None:
            raise ValueError(f"unknown fault {kind!r}; known: {sorted(FAULT_KINDS)}")
        unknown = sorted(set(params) - set(row.params))
        if unknown:
            raise ValueError(f"unknown parameters {unknown} of {kind!r}; known: {sorted(row.params)}")
        complete = {name: param.check(name, params.get(name, param.default)) for name, param in row.params.items()}
        if complete.get("bytes_per_s") == 0:
            raise ValueError("bytes_per_s must be above 0")
        fault = ArmedFault(
            fault_id=next(self._ids),
            kind=row,
            operation=_read_operation(operation, row),
            number_id=number_id,
            media_id=media_id,
            left=_read_times(times),
            delay_s=delay_s,
            params=complete,
        )
        self._armed.append(fault)
        return fault

    def disarm(self, fault_id: int | None = None) -> int:
        """Remove one fault, or all; return how many were removed."""
        before = len(self._armed)
        self._armed = [fault for fault in self._armed if fault_id not in (None, fault.fault_id)]
        return before - len(self._armed)

    def armed(self) -> list[ArmedFault]:
        """Return the faults that still wait for requests."""
        return [fault for fault in self._armed if fault.left != 0]

    def peek(
        self, stages: tuple[Stage, ...], operation: Operation, number_id: str | None, media_id: str | None
    ) -> ArmedFault | None:
        """Return the first fault of these stages that means this request, without spending it."""
        for fault in self._armed:
            if fault.kind.stage in stages and fault.matches(operation, number_id, media_id):
                return fault
        return None

    def spend(self, fault: ArmedFault) -> None:
        """Note that a fault strikes one request; a spent fault is forgotten."""
        fault.struck += 1
        if fault.left is not None:
            fault.left -= 1
            if fault.left == 0:
                self._armed = [other for other in self._armed if other is not fault]


def _read_operation(operation: str, row: FaultKind) -> Operation | None:
    if operation == "any":
        return None
    if operation not in set(Operation):
        raise ValueError(f"unknown operation {operation!r}; known: {['any', *map(str, Operation)]}")
    if operation not in row.operations:
        raise ValueError(f"{row.name!r} strikes only {[str(known) for known in row.operations]}, not {operation!r}")
    return Operation(operation)


def _read_times(times: int | str) -> int | None:
    if times == "always":
        return None
    if isinstance(times, bool) or not isinstance(times, int) or times < 1:
        raise ValueError(f"times must be at least 1 or 'always', not {times!r}")
    return times
