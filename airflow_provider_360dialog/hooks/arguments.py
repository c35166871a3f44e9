"""What users write where an instant, a share or a bound is wanted."""

from __future__ import annotations

import math
from datetime import datetime

from airflow_provider_360dialog.exceptions import CallError


def instant(name: str, value: datetime | str) -> datetime:
    """An aware instant, from itself or from ISO 8601 text with an offset.

    Args:
        name: of the argument, for the error.

    Raises:
        CallError: it is none, or has no time zone.
    """
    import pendulum

    found: object = value
    if isinstance(value, str):
        try:
            found = pendulum.parse(value, exact=True, tz=None)
        except ValueError:
            found = None
    if isinstance(found, datetime) and found.tzinfo is not None:
        return found
    raise CallError(
        f"{name} has to be an instant with a time zone, not {str(value)[:60]!r}: "
        "an aware datetime, or text such as 2026-12-01T09:00:00+01:00."
    )


def share(name: str, value: object) -> float:
    """A share from 0 to 1, also from its text, which is what a template gives.

    Args:
        name: of the argument, for the error.

    Raises:
        CallError: it is none.
    """
    try:
        found = float(str(value))
    except ValueError:
        found = math.nan
    if not 0 <= found <= 1:
        raise CallError(f"{name} is a share from 0 to 1, not {str(value)[:40]!r}.")
    return found


def bound(name: str, value: object) -> int | None:
    """A whole number from 1 on, also from its text, which is what a template gives; None, or its text, is None.

    Args:
        name: of the argument, for the error.

    Raises:
        CallError: it is none.
    """
    text = str(value).strip()
    if text in {"None", ""}:
        return None
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise CallError(f"{name} is a whole number from 1 on, or None for any number; not {text[:40]!r}.")
    return int(text)
