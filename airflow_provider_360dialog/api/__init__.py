"""The wire: build requests, send them, read answers. Knows no database and no Airflow, and no rule about when to call."""
