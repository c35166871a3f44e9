"""`python -m airflow_provider_360dialog.cli`: the same as `dialog360`."""

from __future__ import annotations

import sys

from airflow_provider_360dialog.cli import main

if __name__ == "__main__":
    sys.exit(main())
