"""Judge a file: its true type, its size, what is inside, and the name to send it with. No network, no database, no Airflow.

Two rooms of its own need native libraries: `decoding`, the worker processes and what is tried in them; `preparation`, which mends
pictures.
"""
