"""Arguments in, one job, a small result out."""
