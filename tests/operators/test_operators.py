"""The operators one by one, through `execute` and the real hook, against the emulator."""

from __future__ import annotations

import inspect
import json
import pickle
from datetime import UTC, datetime

import pytest
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import DAG, ObjectStoragePath
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException, TaskDeferred
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_360dialog import exceptions
from airflow_provider_360dialog.exceptions import Dialog360Error, ServerError, StoppedError, ThrottledError
from airflow_provider_360dialog.hooks.dialog360 import Dialog360Hook
from airflow_provider_360dialog.operators import media as module
from airflow_provider_360dialog.operators.base import Dialog360Operator
from airflow_provider_360dialog.operators.media import (
    Dialog360DeleteMediaOperator,
    Dialog360DownloadMediaOperator,
    Dialog360FetchMediaUrlOperator,
    Dialog360UploadMediaOperator,
)
from tests.jobs.doubles import JPEG, Patient

ARGUMENTS = {
    Dialog360UploadMediaOperator: {"path": "a.jpg"},
    Dialog360FetchMediaUrlOperator: {"media_id": "1"},
    Dialog360DownloadMediaOperator: {"media_id": "1", "destination": "a.jpg"},
    Dialog360DeleteMediaOperator: {"media_id": "1"},
}
EACH = pytest.mark.parametrize("operator", list(ARGUMENTS), ids=lambda each: each.__name__)


def make(operator, **more):
    """An operator for the connected number, whose waits cost no time."""
    made = operator(task_id="t", dialog360_conn_id="number_a", **ARGUMENTS[operator] | more)
    made.hook._session.stop = Patient()
    return made


def test_every_operator_is_here():
    """A new one must not be forgotten below."""
    found = {each for _, each in inspect.getmembers(module, inspect.isclass) if issubclass(each, Dialog360Operator)}
    assert found - {Dialog360Operator} == set(ARGUMENTS)


# --- what Airflow needs -------------------------------------------------------------------------------------------


@EACH
def test_making_an_operator_does_no_work(operator, monkeypatch):
    """DAG files are parsed again and again, where no connection exists."""
    monkeypatch.setattr(Dialog360Hook, "__init__", lambda *_, **__: pytest.fail("a hook was made"))
    with DAG("d", schedule=None):
        made = operator(task_id="t", **ARGUMENTS[operator])
    assert made.dialog360_conn_id == "dialog360_default"


@EACH
def test_arguments_are_stored_untouched_under_their_own_names(operator):
    """Airflow renders templates into the attributes."""
    marker = object()
    names = [name for name in inspect.signature(operator.__init__).parameters if name not in {"self", "kwargs"}]
    made = operator(task_id="t", **dict.fromkeys(names, marker))
    for name in set(names) & {*operator.template_fields}:
        assert getattr(made, name) is marker
    assert set(operator.template_fields) <= {*names, "dialog360_conn_id"}


@EACH
def test_no_argument_takes_a_key_or_a_url(operator):
    """Rendered arguments are stored and shown."""
    names = {*operator.template_fields, *inspect.signature(operator.__init__).parameters}
    assert not [name for name in names if "key" in name or name == "url" or "password" in name or "token" in name]


def test_a_dag_survives_serialisation():
    """The scheduler and the web server see the serialised form only, so it has every templated field."""
    with DAG("d", schedule=None) as dag:
        for operator, arguments in ARGUMENTS.items():
            operator(task_id=operator.__name__, **arguments)
    back = DagSerialization.deserialize_dag(json.loads(json.dumps(DagSerialization.serialize_dag(dag))))
    for operator, arguments in ARGUMENTS.items():
        task = back.task_dict[operator.__name__]
        assert tuple(task.template_fields) == tuple(operator.template_fields)
        assert {name: getattr(task, name) for name in arguments} == arguments


@EACH
def test_dry_run_of_airflow_works(operator):
    """`BaseOperator.dry_run` is Airflow's method: an argument of that name must not hide it."""
    made = operator(task_id="t", **ARGUMENTS[operator])
    assert callable(made.dry_run)
    made.dry_run()


@EACH
def test_on_kill_ends_waits_and_stops_sending(operator, connected, media, tmp_path):
    """The flag is set; what comes next sends nothing."""
    arguments = {"path": str(media / "photo.jpg"), "destination": str(tmp_path / "a.jpg")}
    made = make(operator, **{name: value for name, value in arguments.items() if name in ARGUMENTS[operator]})
    made.on_kill()
    with pytest.raises(StoppedError):
        made.execute({})
    assert connected.emu.counters(connected.number_id)["requests"] == {}


@EACH
def test_on_kill_before_anything_ran_is_harmless(operator):
    """Where no connection exists either."""
    operator(task_id="t", **ARGUMENTS[operator]).on_kill()


# --- errors and retries -------------------------------------------------------------------------------------------


def leaves(root):
    below = root.__subclasses__()
    return [leaf for each in below for leaf in leaves(each)] if below else [root]


def test_an_error_fails_the_task_for_good_exactly_if_retrying_cannot_help():
    """For every error that there is."""
    found = leaves(Dialog360Error)
    assert len(found) > 20
    for leaf in found:
        error = leaf.__new__(leaf, "words")
        error.retry_at = datetime.now(UTC)
        made = make(Dialog360FetchMediaUrlOperator)
        waits = issubclass(leaf, exceptions.WaitError)
        expected = AirflowRescheduleException if waits else leaf if leaf.retryable else AirflowFailException
        with pytest.raises(expected), made.as_airflow_sees_it():
            raise error
        branch = next(each for each in leaf.__mro__ if each.__base__ is Dialog360Error)
        assert leaf.retryable is (branch in {exceptions.TransientError, exceptions.WaitError})


def test_a_final_failure_says_what_happened_and_keeps_its_cause(connected):
    """In the words of the error that caused it."""
    with pytest.raises(AirflowFailException, match="does not know media id 999") as caught:
        make(Dialog360FetchMediaUrlOperator, media_id="999").execute({})
    assert isinstance(caught.value.__cause__, exceptions.MediaGoneError)
    assert connected.sent("fetch") == 1


def test_a_transient_failure_stays_what_it_is(connected):
    """Airflow's retries, and retry policies, see the error itself."""
    connected.arm("error", operation="fetch", times="always", status=500)
    with pytest.raises(ServerError):
        make(Dialog360FetchMediaUrlOperator).execute({})


BLOCK_S = {"a block that says how long": ({"retry_after": 600.0}, 600), "a block that does not say": ({}, 3600)}


@pytest.mark.parametrize(("more", "seconds"), BLOCK_S.values(), ids=BLOCK_S)
def test_a_block_is_waited_out_without_slot_and_retry(more, seconds, connected):
    """The task is run again at the instant, half a minute later at most."""
    connected.arm("error", operation="fetch", times="always", status=429, text="Too many", **more)
    before = datetime.now(UTC)
    with pytest.raises(AirflowRescheduleException) as caught:
        make(Dialog360FetchMediaUrlOperator).execute({})
    assert seconds - 1 <= (caught.value.reschedule_date - before).total_seconds() <= seconds + 40
    assert connected.sent("fetch") == 1


def test_a_block_is_waited_out_in_the_triggerer_where_the_task_is_deferrable(connected):
    """By the standard provider's trigger, which knows an instant and nothing else; it resumes where it can begin again."""
    connected.arm("error", operation="fetch", status=429, text="Too many")
    made = make(Dialog360FetchMediaUrlOperator, deferrable=True)
    with pytest.raises(TaskDeferred) as caught:
        made.execute({})
    assert isinstance(caught.value.trigger, DateTimeTrigger)
    assert caught.value.method_name == "resume"
    assert 3599 <= (caught.value.trigger.moment - datetime.now(UTC)).total_seconds() <= 3640
    assert not caught.value.kwargs
    with pytest.raises(TaskDeferred):
        made.resume({}, {"moment": "too early"})
    assert connected.sent("fetch") == 1  # the ledger was asked first


def test_a_wait_is_never_for_seconds(connected):
    """A task that is rescheduled for seconds can be taken for a failed one."""
    soon = ThrottledError(operation="upload", status=429, details="", retry_at=datetime.now(UTC))
    with pytest.raises(AirflowRescheduleException) as caught, make(Dialog360UploadMediaOperator).as_airflow_sees_it():
        raise soon
    assert (caught.value.reschedule_date - datetime.now(UTC)).total_seconds() > 58


def test_code_of_ones_own_waits_and_fails_as_operators_do(connected):
    """`with hook.as_airflow_sees_it():` in a `@task`."""
    hook = Dialog360Hook("number_a")
    with pytest.raises(AirflowFailException, match="does not know"), hook.as_airflow_sees_it():
        hook.fetch_media("999")
    connected.arm("error", operation="fetch", status=429, text="Too many")
    with pytest.raises(AirflowRescheduleException), hook.as_airflow_sees_it():
        hook.fetch_media("998")


def test_a_wrong_connection_fails_for_good(monkeypatch):
    """With the field's name."""
    monkeypatch.setenv(
        "AIRFLOW_CONN_NUMBER_A", json.dumps({"conn_type": "dialog360", "password": "k", "host": "waba.360dialog.io"})
    )
    with pytest.raises(AirflowFailException, match="'host'"):
        make(Dialog360DeleteMediaOperator).execute({})


# --- one by one ---------------------------------------------------------------------------------------------------


def test_upload_takes_an_object_storage_path(connected, media):
    """As an object, too."""
    result = make(Dialog360UploadMediaOperator, path=ObjectStoragePath(f"file://{media}/photo.jpg")).execute({})
    assert connected.emu.content(result["media_id"]) == (media / "photo.jpg").read_bytes()


@pytest.mark.parametrize("name", ["mime_type", "filename", "kind", "valid_until"])
def test_a_template_that_renders_to_nothing_is_as_if_not_given(name, connected, media):
    """`{{ params.x or '' }}` is the usual way to leave an argument out."""
    assert make(Dialog360UploadMediaOperator, path=str(media / "photo.jpg"), **{name: ""}).execute({})["media_id"]


def test_download_does_not_overwrite_unless_told(connected, tmp_path):
    """And fails for good, before anything is sent."""
    media_id, _ = connected.receive(JPEG)
    (tmp_path / "a.jpg").write_bytes(b"old")
    arguments = {"media_id": media_id, "destination": str(tmp_path / "a.jpg")}
    with pytest.raises(AirflowFailException, match="overwrite"):
        make(Dialog360DownloadMediaOperator, **arguments).execute({})
    assert connected.sent("fetch") == 0
    result = make(Dialog360DownloadMediaOperator, overwrite=True, sha256="", **arguments).execute({})
    assert (tmp_path / "a.jpg").read_bytes() == JPEG
    assert pickle.loads(pickle.dumps(result)) == result
    assert type(result) is dict


def test_fetch_returns_the_url_only_when_told(connected):
    """Everybody who may read XComs could see it."""
    media_id, _ = connected.receive(JPEG)
    assert "url" not in make(Dialog360FetchMediaUrlOperator, media_id=media_id).execute({})
    url = make(Dialog360FetchMediaUrlOperator, media_id=media_id, return_url=True).execute({})["url"]
    assert url.startswith("https://lookaside.fbsbx.com/whatsapp_business/attachments/?")


@pytest.mark.parametrize(
    ("form", "requested"),
    [
        pytest.param(lambda ids: ids[0], 1, id="one id"),
        pytest.param(lambda ids: f" {ids[0]}\n", 1, id="one id with blanks, as a template leaves them"),
        pytest.param(lambda ids: ids, 3, id="a list"),
        pytest.param(tuple, 3, id="a tuple"),
        pytest.param(lambda ids: ids + ids, 3, id="a list with repeats"),
        pytest.param(json.dumps, 3, id="a JSON list"),
        pytest.param(str, 3, id="a Python list as text"),
        pytest.param(lambda ids: f"  {ids}  ", 3, id="a Python list as text with blanks"),
        pytest.param(iter, 3, id="a lazy sequence"),
        pytest.param(lambda _: [], 0, id="an empty list"),
        pytest.param(lambda _: "[]", 0, id="an empty list as text"),
    ],
)
def test_delete_takes_one_id_or_many_in_every_form(form, requested, connected):
    """What templates, XComs and people write."""
    ids = [connected.receive(JPEG)[0] for _ in range(3)]
    result = make(Dialog360DeleteMediaOperator, media_id=form(ids)).execute({})
    assert result == {"requested": requested, "deleted": requested, "missing": 0, "dry_run": False}
    assert len(connected.emu.live_media(connected.number_id)) == 3 - requested


@pytest.mark.parametrize(
    "media_id",
    [
        pytest.param(["1", "x"], id="one wrong id in a list"),
        pytest.param(["1", 2], id="a number in a list"),
        pytest.param("[1, 2]", id="numbers in a JSON list"),
        pytest.param(123, id="a number"),
        pytest.param(None, id="nothing"),
        pytest.param("None", id="nothing, as a template writes it"),
        pytest.param("", id="an empty text"),
        pytest.param("1,2", id="a list with commas"),
        pytest.param("['1', '2'", id="a list without its end"),
        pytest.param("[None]", id="a list of nothing"),
        pytest.param([["1"]], id="a list in a list"),
        pytest.param({"media_id": "1"}, id="a whole upload result"),
        pytest.param('["1", {"a": 2}]', id="an object in a JSON list"),
        pytest.param(3.5, id="a fraction"),
        pytest.param(b"123", id="bytes"),
    ],
)
@pytest.mark.parametrize("dry_run", [True, False], ids=["dry", "in earnest"])
def test_all_ids_are_judged_before_the_first_is_deleted(media_id, dry_run, connected):
    """Half a clean-up because of a typo is worse than none."""
    with pytest.raises(AirflowFailException):
        make(Dialog360DeleteMediaOperator, media_id=media_id, dry_run=dry_run).execute({})
    assert connected.sent("delete") == 0


def test_a_dry_run_sends_nothing(connected):
    """It only counts."""
    ids = [connected.receive(JPEG)[0] for _ in range(3)]
    result = make(Dialog360DeleteMediaOperator, media_id=ids, dry_run=True).execute({})
    assert result == {"requested": 3, "deleted": 0, "missing": 0, "dry_run": True}
    assert connected.emu.counters(connected.number_id)["requests"] == {}


def test_an_id_that_is_gone_counts_as_missing_or_fails(connected):
    """As the author of the DAG wants it."""
    ids = [connected.receive(JPEG)[0], "999"]
    assert make(Dialog360DeleteMediaOperator, media_id=ids).execute({}) == {
        "requested": 2,
        "deleted": 1,
        "missing": 1,
        "dry_run": False,
    }
    with pytest.raises(AirflowFailException, match="999"):
        make(Dialog360DeleteMediaOperator, media_id=ids[1:], ignore_missing=False).execute({})


def test_a_delete_that_failed_half_way_can_run_again(connected):
    """What is gone already is done."""
    ids = [connected.receive(JPEG)[0] for _ in range(3)]
    connected.arm("error", operation="delete", media_id=ids[1], times=4, status=500)
    with pytest.raises(ServerError):
        make(Dialog360DeleteMediaOperator, media_id=ids).execute({})
    assert make(Dialog360DeleteMediaOperator, media_id=ids).execute({})["missing"] == 1
    assert connected.emu.live_media(connected.number_id) == []
