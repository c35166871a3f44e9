"""What a task says at its end: what was done, how much, how long it took, what is left, where the reports are.

Numbers and the places of reports, nothing else: no key, no file's name, no media id, no campaign.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from airflow_provider_360dialog.exceptions import Dialog360Error, WaitError
from airflow_provider_360dialog.hooks.places import shown_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T", bound=Mapping[str, Any])

log = logging.getLogger(__name__)

_REPORT: Final = "_uri"
_LEFT_OUT: Final = frozenset({"receipt"})


class Tell(Protocol):
    """Takes a task's result, with numbers beside it that are for the summary alone, and gives it back."""

    def __call__(self, result: T, /, **more: Any) -> T:
        """Once, with the result that goes to XCom."""
        ...


@contextmanager
def summing_up(what: str) -> Iterator[Tell]:
    """Log a few aligned lines when the block ends, also where it ends in a wait or an error.

    Args:
        what: is done, in a few words.
    """
    began_at = time.monotonic()
    facts: dict[str, str] = {}

    def tell(result: T, /, **more: Any) -> T:
        facts.update(_facts({**result, **more}))
        return result

    end = "failed"
    try:
        yield tell
        end = "done"
    except WaitError as error:
        end = f"waits until {error.retry_at.isoformat(timespec='seconds')}"
        raise
    except Dialog360Error as error:
        facts.update(_facts({name: value for name, value in vars(error).items() if name.endswith(_REPORT)}))
        raise
    finally:
        log.info("=== 360dialog, %s: %s (%.1f s)", what, end, time.monotonic() - began_at)
        width = max(map(len, facts), default=0)
        for name, text in facts.items():
            log.info("    %s  %s", name.ljust(width), text)


def _facts(result: Mapping[str, Any], within: str = "") -> dict[str, str]:
    """The lines, by their names: numbers, what numbers are nested in them, and places of reports."""
    found: dict[str, str] = {}
    for key, value in result.items():
        name = f"{within}{key}".replace("_", " ")
        if isinstance(value, Mapping) and key not in _LEFT_OUT:
            found |= _facts(value, "" if key == "counts" else f"{key}: ")
        elif isinstance(value, bool):
            found[name] = "yes" if value else "no"
        elif isinstance(value, int | float):
            found[name] = f"{value:,}"
        elif isinstance(value, str) and key.endswith(_REPORT):
            found[name.removesuffix(" uri")] = shown_uri(value) if "://" in value else value
    return found
