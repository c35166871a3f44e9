"""What the installed package does on this Python and this Airflow, from its form to a campaign. Run by scripts/test-versions.

Nothing but the wheel can be found here: it is started away from the checkout, with the environment's own Python. Arguments: the folder
of the example DAGs, and one to work in, which is empty.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import entry_points, version
from pathlib import Path

EXAMPLES, WORK = (Path(each).resolve() for each in sys.argv[1:3])
CHANNELS = ("whatsapp_north", "whatsapp_centre", "whatsapp_south")
DAG = "example_campaign_preupload"
os.environ.update(
    AIRFLOW_HOME=str(WORK / "home"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__DAGS_FOLDER=str(EXAMPLES),
    AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS="ada:admin",
    AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE=str(WORK / "passwords.json"),
    AIRFLOW__API_AUTH__JWT_SECRET="no-secret-" * 8,
    AIRFLOW__DIALOG360__LEDGER_PATH=str(WORK / "ledger.db"),
    AIRFLOW__LOGGING__LOGGING_LEVEL="ERROR",
)


def every_module_can_be_imported() -> str:
    """In a process of its own; it also sees to it that the package is the installed one."""
    return _ask("python", str(Path(__file__).with_name("import_everything.py"))).splitlines()[-1].removeprefix("ok ").strip()


def airflow_knows_the_provider() -> str:
    """It has read what the package says of itself."""
    from airflow.providers_manager import ProvidersManager

    found = ProvidersManager().providers["airflow-provider-360dialog"]
    assert found.version == version("airflow-provider-360dialog"), found
    return f"{found.version} in the list of providers"


def the_form_of_the_connection_is_complete() -> str:
    """As Airflow's web UI asks for it."""
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    form = next(each for each in HookMetaService.hook_meta_data() if each.connection_type == "dialog360")
    assert form.hook_name == "360dialog", form
    fields = form.extra_fields or {}
    assert "uploads_per_second" in fields, sorted(fields)
    assert form.standard_fields.password.title == "API key", form.standard_fields
    return f"{len(fields)} fields of its own"


def the_example_dags_parse() -> str:
    """All of them, and no warning of Airflow's about what we use."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # before Airflow 3.2 had moved it
        from airflow.models import DagBag
    bag = DagBag(str(EXAMPLES))
    assert not bag.import_errors, bag.import_errors
    assert len(bag.dags) >= 8, sorted(bag.dags)
    return f"{len(bag.dags)} DAGs"


def the_media_page_answers() -> str:
    """Mounted by the API server, for those who are logged in alone."""
    from airflow.api_fastapi.app import create_app
    from starlette.testclient import TestClient

    user = {"username": "ada", "password": "test-password"}
    (WORK / "passwords.json").write_text(json.dumps({user["username"]: user["password"]}))
    with TestClient(create_app()) as client:
        refused = client.get("/dialog360/campaigns", follow_redirects=False).status_code
        token = client.post("/auth/token", json=user).json()["access_token"]
        page = client.get("/dialog360/campaigns", headers={"Authorization": f"Bearer {token}"})
    assert refused == 401, refused
    assert page.status_code == 200, (page.status_code, page.text[:500])
    assert "vouchers-" in page.text, page.text[:2000]
    return "with a campaign on it, and not without a login"


def a_campaign_gets_its_ids() -> str:
    """`dag.test()` of the example, against the emulator; a second run sends nothing."""
    from airflow_provider_360dialog import emulator

    day = datetime.now(UTC).date().isoformat()
    numbers = [f"20000000000000{index}" for index, _ in enumerate(CHANNELS)]
    with emulator.running(key="test-key") as emulated:
        for number, conn_id in zip(numbers, CHANNELS, strict=True):
            emulated.add_number(number, f"test-key-{conn_id}")
            fields = {"conn_type": "dialog360", "host": emulated.base_url, "password": f"test-key-{conn_id}"}
            os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(fields)
        items = [
            {"key": f"{name}-{conn_id}", "uri": str(EXAMPLES / "media" / name), "channel": conn_id}
            for name in ("photo.jpg", "invoice.pdf")
            for conn_id in CHANNELS
        ]
        (WORK / f"{day}.csv").write_text("key,uri,channel\n" + "".join(",".join(each.values()) + "\n" for each in items))
        for _ in range(2):
            _ask("airflow", "dags", "test", DAG, f"{day}T02:00:00+00:00", "--conf", json.dumps({"folder": str(WORK)}))
            ids = (WORK / f"{day}.ids.csv").read_text().splitlines()
            assert len(ids) == 1 + len(items), ids
            uploads = sum(emulated.counters(number)["requests"].get("upload", 0) for number in numbers)
            assert uploads == len(items), uploads
    return f"{len(items)} uploads in two runs"


def the_command_line_helps() -> str:
    """`dialog360`, and the same below `airflow`."""
    assert "doctor" in _ask("dialog360", "--help")
    assert entry_points(group="console_scripts", name="dialog360")
    return "dialog360 --help"


def _ask(command: str, *arguments: str) -> str:
    """All that it says; it has to succeed."""
    path = Path(sys.executable).parent / command
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False, timeout=300, cwd=WORK)
    assert done.returncode == 0, f"{command} {' '.join(arguments)}: {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}"
    return done.stderr + done.stdout


STEPS: tuple[Callable[[], str], ...] = (
    every_module_can_be_imported,
    airflow_knows_the_provider,
    the_form_of_the_connection_is_complete,
    the_example_dags_parse,
    the_command_line_helps,
    a_campaign_gets_its_ids,
    the_media_page_answers,
)


def main() -> None:
    """Every step; the first that fails ends it with its traceback."""
    print(f"--- Python {platform.python_version()}, Airflow {version('apache-airflow-core')}", flush=True)  # noqa: T201
    _ask("airflow", "db", "migrate")
    for step in STEPS:
        print(f"ok      {step.__name__.replace('_', ' ')}: {step()}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
