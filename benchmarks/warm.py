"""Imported once by the server that worker processes are forked from (`support.workers`), so that a restart costs milliseconds."""

from __future__ import annotations

import logging
import sys
from contextlib import redirect_stdout

import psycopg  # noqa: F401

with redirect_stdout(sys.stderr):  # Airflow logs to stdout while it is imported
    import airflow_provider_360dialog.hooks.dialog360
    import airflow_provider_360dialog.hooks.ledger
    import airflow_provider_360dialog.hooks.places
    import airflow_provider_360dialog.jobs.identify
    import airflow_provider_360dialog.jobs.upload  # noqa: F401

logging.disable(logging.INFO)
