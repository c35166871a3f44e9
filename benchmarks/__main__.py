"""`python -m benchmarks ledger [NAME...]`: the proofs at full size, one line of JSON each; exit 1 where one does not hold.

A name may carry other sizes: `scale:large=10000000,engine=sqlite`.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.support import CHECKOUT

PROOFS = {
    "ledger": ("adopt_race", "kill_loop", "dead_id", "rotation", "cpu", "scale"),
    "ration": ("pace", "budget", "credits", "ledger_away", "waiting"),
    "campaign": ("campaign", "mapped"),
    "inbound": ("inbound", "forged", "inbound_airflow"),
    "page": ("pages",),
    "media": ("fuzz", "judging", "preparing"),
    "security": ("fuzz_readers",),
    "fleet": ("fleet", "channels", "bad_links", "million"),
}


def main(arguments: list[str]) -> int:
    subject, names = (arguments[0] if arguments else ""), arguments[1:]
    known = PROOFS.get(subject, ())
    wrong = [name for name in names if name.partition(":")[0] not in known]
    if not known or wrong:
        choices = "; ".join(f"{subject} [{' '.join(names)}]" for subject, names in PROOFS.items())
        print(f"usage: scripts/proof SUBJECT [NAME[:SIZE=VALUE,...]...]\nsubjects and names: {choices}", file=sys.stderr)
        return 2
    failed = []
    for name in names or known:
        proof, _, sizes = name.partition(":")
        options = [f"--{size.replace('_', '-')}" for size in sizes.split(",") if size]
        if subprocess.run([sys.executable, "-m", f"benchmarks.{proof}", *options], cwd=CHECKOUT, check=False).returncode:
            failed.append(name)
    print(f"do not hold: {' '.join(failed)}" if failed else "all hold", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
