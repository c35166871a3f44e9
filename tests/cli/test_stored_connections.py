"""Connections that are stored in Airflow's metadata database, from a shell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

from airflow_provider_360dialog import emulator

AIRFLOW = """
import sys
from airflow.cli.cli_parser import get_parser
for words in (["db", "migrate"], ["connections", "add", "number_a", "--conn-type", "dialog360", "--conn-host", sys.argv[1],
                                  "--conn-password", "test-key"]):
    args = get_parser().parse_args(words)
    args.func(args)
"""
WATCHED = """
import os, sys
from airflow_provider_360dialog.cli import main

class Watch:
    def find_spec(self, name, *_):
        if name == "airflow":
            sys.stderr.write(f"context {os.environ.get('_AIRFLOW_PROCESS_CONTEXT')}\\n")

sys.meta_path.insert(0, Watch())
at = sys.argv.index("then")
sys.exit(main(sys.argv[1:at]) or main(sys.argv[at + 1 :]))
"""


def run(home, *words):
    environment = {**os.environ, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__UNIT_TEST_MODE": "False"}
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done


def test_a_connection_in_the_metadata_database_works_from_a_shell(tmp_path):
    """For that the process has to call itself a server before Airflow is imported: this version's own commands do the same."""
    folder = tmp_path / "vouchers"
    folder.mkdir()
    (folder / "one.txt").write_text("one")
    until = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    with emulator.running() as emu:
        run(tmp_path, sys.executable, "-c", AIRFLOW, emu.base_url)
        plan = ("plan", "summer", folder, "--channel", "number_a", "--needed-until", until, "--json")
        done = run(tmp_path, sys.executable, "-c", WATCHED, *plan, "then", "channels", "--health", "--json")
    assert done.stderr.startswith("context server\n")
    planned, _, channels = done.stdout.partition("\n{")
    assert json.loads(planned)["channels"] == ["number_a"]
    (channel,) = json.loads("{" + channels)["channels"]
    assert [(each["conn_id"], each["level"]) for each in channel["health"]] == [("number_a", "ok")]
