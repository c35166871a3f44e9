"""Where Airflow meets the provider: connections, paths, and the hook."""
