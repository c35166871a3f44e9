"""One line of the doctor's list, and the few rules that make one. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from airflow_provider_360dialog.cli.words import duration

Level: TypeAlias = Literal["ok", "warn", "FAIL"]

SKEW_WARN_S: Final = 5.0
SKEW_FAIL_S: Final = 300.0


@dataclass(frozen=True)
class Check:
    """What was looked at.

    Attributes:
        name: what. level: ok, warn, FAIL. message: what was found. remedy: what to do; empty where nothing has to be done.
        conn_id: the connection it is about, or None.
    """

    name: str
    level: Level
    message: str
    remedy: str = ""
    conn_id: str | None = None


def check_skew(name: str, skew_s: float, *, unsure_s: float, other: str, conn_id: str | None = None) -> Check:
    """Judge two clocks.

    Args:
        name: of the check. skew_s: this machine's clock minus the other's. unsure_s: how far the measurement may be off.
        other: whose the other is. conn_id: see `Check`.
    """
    surely_s = max(0.0, abs(skew_s) - unsure_s)
    side = "ahead of" if skew_s > 0 else "behind"
    if surely_s <= SKEW_WARN_S:
        return Check(name, "ok", f"This machine and {other} agree within {SKEW_WARN_S:g} s.", conn_id=conn_id)
    return Check(
        name,
        "FAIL" if surely_s > SKEW_FAIL_S else "warn",
        f"This machine's clock is {duration(skew_s)} {side} {other}.",
        "Let NTP or chrony set the clocks. The ledger goes by its database's clock, but deadlines and certificates do not.",
        conn_id,
    )
