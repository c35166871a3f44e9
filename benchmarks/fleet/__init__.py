"""A whole fleet on CeleryExecutor, PostgreSQL and Redis, killed again and again: `python -m benchmarks.fleet`; see `proof`."""
