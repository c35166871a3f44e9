"""Judge a file: its true type, its size, and the name to send it with. No network, no database, no Airflow."""
