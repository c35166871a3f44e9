"""Files decoded by native libraries, in worker processes that may hang or crash without harm: the pool, and the trial."""
