"""Why Airflow has no such connection here, in words that name the way out."""

from __future__ import annotations

import os


def why_missing(conn_id: str, *, conn_type: str = "dialog360") -> tuple[str, str]:
    """What is wrong, and what to do.

    Args:
        conn_id: of the connection. conn_type: of one that would do.
    """
    variable = f"AIRFLOW_CONN_{conn_id.upper()}"
    if variable in os.environ:
        message = f"The environment variable {variable} is set, but Airflow cannot read it."
        return message, "It has to be a JSON object or a URI; see docs/connection.md."
    message = "There is no such connection: not in the environment, not in a secrets backend"
    fault = _metadata_fault()
    if fault is None:
        remedy = f"airflow connections add {conn_id} --conn-type {conn_type} --conn-password ... or set {variable}."
        return f"{message}, not in Airflow's metadata database.", remedy
    message += f"; and Airflow's metadata database cannot be read from this process ({fault})."
    return message, f"Run this where the scheduler runs, with its [database] sql_alchemy_conn; or set {variable}."


def _metadata_fault() -> str | None:
    """Why a connection that is stored in Airflow's database would not be seen from here; None where it would."""
    import sqlalchemy as sa
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session

    try:
        with create_session() as session:
            session.scalar(sa.select(Connection.id).limit(1))
    except Exception as fault:  # noqa: BLE001 - whatever a driver raises; its text may hold the database's password
        return type(fault).__name__
    return None
