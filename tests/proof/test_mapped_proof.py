"""The proof against mapped tasks needs a minute of a whole Airflow and says nothing on a busy machine; here only that it can run."""

from __future__ import annotations

from benchmarks import campaign, mapped


def test_the_dags_of_both_ways_load_and_want_the_same_files(tmp_path, monkeypatch):
    from airflow.dag_processing.dagbag import DagBag

    files = {"one": (8, 1), "three": (9, 3)}
    for name, (count, channels) in files.items():
        manifest = campaign.make_campaign(tmp_path / name, count, channels=channels, size_bytes=1000)
        monkeypatch.setenv(f"PROOF_{name.upper()}", str(manifest))
    monkeypatch.setenv("PROOF_NUMBERS", "number_1 number_2 number_3")
    dags = {}
    for path in mapped.DAGS:
        bag = DagBag(path)
        assert bag.import_errors == {}
        dags |= bag.dags
    assert {dag_id: [task.task_id for task in dag.tasks] for dag_id, dag in dags.items()} == {
        "one_mapped": ["items", "upload"],
        "one_operator": ["upload"],
        "three_mapped": ["items", "upload"],
        "three_operator": ["plan", "upload"],
    }
    for name, (count, channels) in files.items():
        rows = dags[f"{name}_mapped"].get_task("items").python_callable(str(tmp_path / name / "manifest.jsonl"))
        assert {row["path"] for row in rows} == {str(path) for path in (tmp_path / name).glob("*.pdf")}
        assert len(rows) == count
        assert len({row["conn_id"] for row in rows}) == channels
