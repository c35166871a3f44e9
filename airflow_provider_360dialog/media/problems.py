"""The one way in which a finding is made, so that all of them can be listed."""

from __future__ import annotations

from airflow_provider_360dialog.ports import Problem


def error(code: str, message: str, remedy: str) -> Problem:
    """A finding that forbids an upload: the file would be refused, or fail when it is sent."""
    return Problem(code, "error", message, remedy)


def warning(code: str, message: str, remedy: str) -> Problem:
    """A finding of what will look or sound bad."""
    return Problem(code, "warning", message, remedy)
