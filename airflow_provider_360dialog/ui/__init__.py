"""The media page inside Airflow's web UI: reads the ledger, changes nothing."""
