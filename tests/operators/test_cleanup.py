"""Clean-up and recorded sends through the operators, the real hook and the emulator."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta

import pytest
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import DAG, ObjectStoragePath
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException, TaskDeferred
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_360dialog.exceptions import CallError, ServerError, StoppedError
from airflow_provider_360dialog.hooks.cleanup import read_max_delete
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.ledger import schema
from airflow_provider_360dialog.ledger.campaigns import Campaigns, PlannedItem
from airflow_provider_360dialog.ledger.uploads import Fingerprint
from airflow_provider_360dialog.operators.cleanup import Dialog360CleanupMediaOperator, Dialog360MarkUsedOperator
from airflow_provider_360dialog.operators.media import Dialog360DeleteMediaOperator
from tests.jobs.doubles import JPEG, Patient


@pytest.fixture
def hook(connected):
    return Dialog360Hook("number_a")


@pytest.fixture
def uploaded(hook, tmp_path):
    """Three files with an id."""
    found = []
    for number in range(3):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(JPEG + os.urandom(8))
        found.append(hook.upload(path))
    return found


@pytest.fixture
def plan_campaign(hook):
    """Put a campaign on record."""

    def plan(name, days, uploaded, subject=None):
        ledger = hook.get_conn().ledger
        campaigns, now = Campaigns(ledger.store), ledger.store.read_now().timestamp()
        campaign = campaigns.begin_plan(name, now + days * 86_400)
        said = {"mime_type": None, "filename": None, "kind": None}
        items = [
            PlannedItem(
                ledger.identity.channel_id,
                "number_a",
                each.media_id,
                "/f",
                said,
                "a.jpg",
                subject,
                Fingerprint(each.sha256, each.mime_type, each.size_bytes),
            )
            for each in uploaded
        ]
        campaigns.record(campaign, items)
        campaigns.end_plan(campaign)

    return plan


@pytest.fixture
def summer(uploaded, plan_campaign):
    """A campaign that is over, one of whose files another one needs."""
    plan_campaign("summer", -1, uploaded)
    plan_campaign("autumn", 5, uploaded[2:])
    return [each.media_id for each in uploaded]


@pytest.fixture
def clean_up(tmp_path):
    """Makes an operator for the connected number, whose waits cost no time."""

    def make(**more):
        arguments = {"policy": "delete_campaign", "campaign": "summer", "plan_uri": str(tmp_path / "plan.jsonl")}
        made = Dialog360CleanupMediaOperator(task_id="t", dialog360_conn_id="number_a", **arguments | more)
        made.hook._session.stop = Patient()
        return made

    return make


def alive(number):
    return {each.media_id for each in number.emu.live_media(number.number_id)}


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- clean-up -----------------------------------------------------------------------------------------------------


def test_a_campaign_is_cleaned_up_by_a_plan_that_is_a_file(clean_up, summer, connected, tmp_path):
    """What another needs stays; results are small, and the audit lies beside the plan."""
    plan_uri, audit_uri = str(tmp_path / "plan.jsonl"), str(tmp_path / "plan.jsonl.audit.jsonl")
    assert clean_up().execute({}) == {"planned": 2, "kept_referenced": 1, "expired": 0, "plan_uri": plan_uri}
    header, *lines = read(tmp_path / "plan.jsonl")
    assert (header["dialog360_cleanup"], header["channel"], header["campaign"]) == (1, connected.number_id, "summer")
    assert {line["media_id"]: line.get("keep", False) for line in lines} == dict(zip(summer, (False, False, True), strict=True))
    assert alive(connected) == set(summer)
    result = clean_up(mode="apply", max_delete="2").execute({})
    assert {name: value for name, value in result.items() if value} == {
        "planned": 2,
        "deleted": 2,
        "kept_referenced": 1,
        "plan_uri": plan_uri,
        "audit_uri": audit_uri,
    }
    assert len(json.dumps(result)) < 1000
    assert alive(connected) == {summer[2]}
    assert {line["media_id"]: line["action"] for line in read(tmp_path / "plan.jsonl.audit.jsonl")[1:]} == {
        summer[0]: "deleted",
        summer[1]: "deleted",
        summer[2]: "kept",
    }
    assert clean_up(mode="apply").execute({})["deleted"] == 0
    assert connected.sent("delete") == 2


def test_plan_and_audit_may_lie_in_an_object_store(clean_up, summer, connected, tmp_path):
    """Also as an object."""
    place = ObjectStoragePath(f"file://{tmp_path}/far/plan.jsonl")
    clean_up(plan_uri=place).execute({})
    result = clean_up(plan_uri=place, mode="apply").execute({})
    assert result["deleted"] == 2
    assert ObjectStoragePath(result["audit_uri"]).exists()


def test_by_default_it_only_keeps_the_books(connected, uploaded):
    """Nothing is sent."""
    before = len(connected.emu.requests())
    assert Dialog360CleanupMediaOperator(task_id="t", dialog360_conn_id="number_a").execute({}) == {"expired": 0}
    assert len(connected.emu.requests()) == before


def test_a_subject_is_erased_and_rendered_nowhere(clean_up, uploaded, plan_campaign, connected, tmp_path):
    """Neither as a template nor in plan, audit or result (needs T8)."""
    assert "subject" not in Dialog360CleanupMediaOperator.template_fields
    plan_campaign("summer", 5, uploaded[:2], subject="+4915112345678")
    wish = {"policy": "erase_subject", "campaign": None, "subject": "+4915112345678"}
    clean_up(**wish).execute({})
    result = clean_up(**wish, mode="apply").execute({})
    assert (result["deleted"], result["erased_items"]) == (2, 2)
    files = [path.read_text() for path in tmp_path.glob("*.jsonl")]
    assert len(files) == 2
    assert not any("49151" in text for text in [*files, json.dumps(result)])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        pytest.param({"plan_uri": ""}, "needs plan_uri", id="no place for the plan"),
        pytest.param({"plan_uri": "/tmp/plans/"}, "needs plan_uri", id="a folder"),
        pytest.param({"campaign": ""}, "needs campaign", id="no campaign, as a template renders nothing"),
        pytest.param({"policy": "expire_only"}, "name another policy", id="a plan that nobody would make"),
        pytest.param({"policy": "all"}, "policy is expire_only, delete_unreferenced", id="no such policy"),
        pytest.param({"mode": "now"}, "'plan' or 'apply'", id="no such mode"),
        pytest.param({"grace": 24}, "timedelta", id="a grace without its unit"),
        pytest.param({"max_delete": "half"}, "number of ids", id="a bound that is none"),
        pytest.param({"campaign": "winter"}, "not on record", id="a campaign that was never planned"),
        pytest.param({"mode": "apply", "max_delete": "1"}, "raising max_delete to 2", id="too many for the bound"),
        pytest.param({"mode": "apply", "max_delete": 0.3}, "raising max_delete to 2", id="too many for the share"),
        pytest.param({"mode": "apply", "campaign": "autumn"}, "another campaign", id="another campaign's plan"),
        pytest.param({"mode": "apply", "plan_uri": "/nowhere/p.jsonl"}, "nowhere", id="a plan that is not there"),
    ],
)
def test_what_retrying_cannot_mend_fails_for_good(more, words, clean_up, summer, connected):
    """And nothing is deleted."""
    clean_up().execute({})
    with pytest.raises(AirflowFailException, match=words):
        clean_up(**more).execute({})
    assert connected.sent("delete") == 0


@pytest.mark.parametrize("deferrable", [True, False])
def test_where_deletes_are_throttled_it_goes_on_later(deferrable, clean_up, summer, connected):
    """Without its slot; then it deletes the rest."""
    clean_up().execute({})
    connected.arm("error", operation="delete", status=429, text="Too many")
    made = clean_up(mode="apply", deferrable=deferrable)
    with pytest.raises(TaskDeferred if deferrable else AirflowRescheduleException) as caught:
        made.execute({})
    if deferrable:
        assert isinstance(caught.value.trigger, DateTimeTrigger)
        assert (caught.value.trigger.moment - datetime.now(UTC)).total_seconds() > 590
    assert made.resume({})["deleted"] == 2


def test_an_id_that_fails_fails_the_task_and_its_retry_deletes_it(clean_up, summer, connected, tmp_path):
    """The audit says so meanwhile."""
    clean_up().execute({})
    connected.arm("error", operation="delete", media_id=summer[0], times=4, status=500)
    with pytest.raises(ServerError):
        clean_up(mode="apply").execute({})
    assert "failed" in (tmp_path / "plan.jsonl.audit.jsonl").read_text()
    assert clean_up(mode="apply").execute({})["deleted"] == 1
    assert alive(connected) == {summer[2]}


def test_a_key_that_is_replaced_meanwhile_does_not_end_it(clean_up, summer, connected, connect, monkeypatch):
    """The connection is read once more (needs F41)."""
    clean_up().execute({})
    made = clean_up(mode="apply")
    made.hook.get_conn()
    monkeypatch.setattr(made.hook._session, "_read_again_at", float("inf"))
    connect(connected.base_url, connected.rotate_key())
    assert made.execute({})["deleted"] == 2


def test_an_audit_that_could_not_be_written_keeps_anything_from_being_deleted(clean_up, summer, connected, tmp_path):
    """Nothing is deleted that cannot be accounted for."""
    clean_up().execute({})
    (tmp_path / "plan.jsonl.audit.jsonl").mkdir()
    with pytest.raises(AirflowFailException, match="folder"):
        clean_up(mode="apply").execute({})
    assert connected.sent("delete") == 0


def test_on_kill_stops_it(clean_up, summer, connected):
    """Nothing is sent."""
    clean_up().execute({})
    made = clean_up(mode="apply")
    made.on_kill()
    with pytest.raises(StoppedError):
        made.execute({})
    assert connected.sent("delete") == 0


@pytest.mark.parametrize(
    ("value", "bound"),
    [
        *[(None, None), ("", None), ("None", None)],
        *[(0, 0), (500, 500), ("500", 500), (" 7 ", 7), ("1", 1), (1, 1)],
        *[(0.25, 0.25), ("0.25", 0.25), (1.0, 1.0), ("1.0", 1.0), (0.0, 0.0)],
    ],
)
def test_a_bound_is_a_number_or_a_share(value, bound):
    """A whole number counts ids, a fraction is a share; also as text."""
    read = read_max_delete(value)
    assert read == bound
    assert type(read) is type(bound)


@pytest.mark.parametrize("value", [-1, "-0.5", 1.5, "1e3", True, "nan", "inf", "half", "1,000", [5]])
def test_what_is_no_bound_is_refused(value):
    """Rather than to delete without one."""
    with pytest.raises(CallError):
        read_max_delete(value)


# --- delete -------------------------------------------------------------------------------------------------------


def test_delete_refuses_what_a_campaign_needs_unless_forced(summer, connected):
    """All of the list or none of it (needs T16)."""
    make = lambda **more: Dialog360DeleteMediaOperator(task_id="t", dialog360_conn_id="number_a", **more)  # noqa: E731
    for media_id in (summer, summer[2]):
        with pytest.raises(AirflowFailException, match="force=True"):
            make(media_id=media_id).execute({})
    assert connected.sent("delete") == 0
    assert make(media_id=summer, force=True).execute({})["deleted"] == 3


# --- sends --------------------------------------------------------------------------------------------------------


FORMS = {
    "jsonl": lambda ids: "".join(json.dumps({"key": "a", "media_id": each}) + "\n" for each in [*ids, None]),
    "csv": lambda ids: "key,media_id\r\n" + "".join(f'"a\nb",{each}\r\n' for each in [*ids, ""]),
    "txt": lambda ids: "\n".join([*ids, "", ids[0]]),
}


@pytest.mark.parametrize("form", FORMS)
def test_sends_are_recorded_from_a_file_without_a_key(form, uploaded, hook, tmp_path, monkeypatch):
    """An export of either kind, or one id a line; what is not on record is counted."""
    monkeypatch.delenv("AIRFLOW_CONN_NUMBER_A")
    ids = [*(each.media_id for each in uploaded[:2]), "404404"]
    (tmp_path / f"sent.{form}").write_text(FORMS[form](ids), newline="")
    result = Dialog360MarkUsedOperator(task_id="t", source=str(tmp_path / f"sent.{form}")).execute({})
    assert result == {"ids": 3 + (form == "txt"), "known": 2, "unknown": 1}
    store = hook._session._calls.ledger.store
    with store.read() as db:
        used = {row.media_id for row in db.execute(schema.media.select()) if row.last_used_at is not None}
    assert used == set(ids[:2])


@pytest.mark.parametrize("trusted", [True, False])
def test_sends_are_looked_for_at_their_number_only(trusted, uploaded, hook, connected, tmp_path):
    """Where the file names it; and prolong the promise where they are trusted."""
    lines = [{"media_id": uploaded[0].media_id, "phone_number_id": connected.number_id}]
    lines += [{"media_id": uploaded[1].media_id, "phone_number_id": "1"}]
    (tmp_path / "sent.jsonl").write_text("\n".join(map(json.dumps, lines)))
    result = Dialog360MarkUsedOperator(task_id="t", source=str(tmp_path / "sent.jsonl"), trust_last_use=trusted).execute({})
    assert result == {"ids": 2, "known": 1, "unknown": 1}
    record = hook.upload(tmp_path / "0.jpg")
    assert (record.safe_until > uploaded[0].safe_until) is trusted
    assert record.safe_until - uploaded[0].safe_until < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.jsonl", '{"media_id": "1"}\n["1"]', "Line 2"),
        ("a.jsonl", '{"id": "1"}', "Line 1"),
        ("a.jsonl", '{"media_id": 17}', "Line 1"),
        ("a.csv", "id\n1", "no column 'media_id'"),
        ("a.csv", "media_id\n1\nx", "Line 3"),
        ("a.csv", "", "no column 'media_id'"),
        ("a.txt", "1\nhttps://example.com", "Line 2"),
        ("b.txt", None, "b.txt"),
    ],
)
def test_a_file_that_holds_no_ids_fails_for_good(name, text, words, tmp_path, own_ledger):
    """With the line."""
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(AirflowFailException, match=words):
        Dialog360MarkUsedOperator(task_id="t", source=str(tmp_path / name)).execute({})


def test_recording_stops_when_told(uploaded, tmp_path):
    """Between two pages."""
    (tmp_path / "sent.txt").write_text(uploaded[0].media_id)
    made = Dialog360MarkUsedOperator(task_id="t", source=str(tmp_path / "sent.txt"))
    made.on_kill()
    with pytest.raises(StoppedError):
        made.execute({})


# --- what Airflow needs -------------------------------------------------------------------------------------------


def test_a_dag_survives_serialisation(monkeypatch):
    """Making them does no work, and no subject is in what the web server sees."""
    monkeypatch.setattr(Dialog360Hook, "__init__", lambda *_, **__: pytest.fail("a hook was made"))
    with DAG("d", schedule=None) as dag:
        Dialog360CleanupMediaOperator(task_id="a", policy="erase_subject", subject="+4915112345678", plan_uri="{{ ds }}.jsonl")
        Dialog360MarkUsedOperator(task_id="b", source="{{ ds }}.csv")
    text = json.dumps(DagSerialization.serialize_dag(dag))
    assert "49151" not in text
    back = DagSerialization.deserialize_dag(json.loads(text))
    assert back.task_dict["a"].plan_uri == "{{ ds }}.jsonl"
    assert back.task_dict["b"].source == "{{ ds }}.csv"


def test_their_arguments_are_stored_untouched_under_their_own_names():
    """Airflow renders templates into the attributes."""
    made = Dialog360CleanupMediaOperator(task_id="t", max_delete="{{ x }}", plan_uri="{{ y }}", campaign="{{ z }}")
    assert [getattr(made, name) for name in made.template_fields] == ["{{ z }}", "{{ y }}", "{{ x }}", "dialog360_default"]
    assert made.grace == timedelta(hours=24)
    made.dry_run()
