"""The command line of the proof."""

from __future__ import annotations

from benchmarks import support
from benchmarks.fleet.proof import run

if __name__ == "__main__":
    support.main(run)
