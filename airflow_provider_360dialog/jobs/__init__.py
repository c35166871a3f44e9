"""One module per job: each composes the judgement of files and the wire. Knows no Airflow."""
