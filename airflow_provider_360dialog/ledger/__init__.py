"""Remember every media id, and who may upload what: SQL, and pure decisions. Knows no network and no Airflow."""
