from __future__ import annotations

import os

import pytest

from benchmarks import support


@pytest.fixture(params=support.ENGINES)
def engine(request):
    """SQLite, and PostgreSQL where there are programs to start; in CI there have to be."""
    from tests.support.postgres import MISSING

    if request.param == "postgresql" and not support.has_postgres():
        if os.environ.get("CI", "").lower() in {"true", "1"}:
            pytest.fail(f"CI must test PostgreSQL, and there is {MISSING}")
        pytest.skip(f"POSTGRESQL IS NOT TESTED: {MISSING}")
    return request.param
