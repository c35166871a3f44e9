"""The benchmarks at tiny size, their arithmetic, and that docs/benchmarks.md and its plots are of benchmarks/results.json.

Which figures come out is for `scripts/benchmarks`: a busy machine says little.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks.compare import __main__ as command
from benchmarks.compare import clients, contest, machine, measure, memory, page, parsing, plots
from benchmarks.support import CHECKOUT

RESULTS = json.loads(command.RESULTS.read_text())
MEASURED = RESULTS["benchmarks"]
FIGURES = [each for found in MEASURED.values() for each in (*found["figures"], *found["ratios"])]


def sheet_of(**figures):
    sheet = measure.Sheet()
    for name, values in figures.items():
        for value in values:
            sheet.add(name, "s", value)
    return sheet


def told(sheet, capsys):
    sheet.tell("some", {}, started=0.0)
    return json.loads(capsys.readouterr().out)


def test_a_ratio_is_taken_round_by_round(capsys):
    """The median of 2, 0.1 and 1 is 1; the ratio of the medians would be 2."""
    sheet = sheet_of(ours=[2, 1, 4], theirs=[1, 10, 4])
    sheet.ratio("times", "ours", "theirs")
    found = told(sheet, capsys)
    assert found["ratios"] == [{"name": "times", "unit": "", "median": 1, "rounds": [2, 0.1, 1]}]
    assert [each["median"] for each in found["figures"]] == [2, 4]
    assert found["rounds"] == 3


def test_a_round_without_a_denominator_has_no_ratio(capsys):
    sheet = sheet_of(ours=[2, 1], theirs=[0, 2])
    sheet.ratio("times", "ours", "theirs")
    assert told(sheet, capsys)["ratios"][0]["rounds"] == [None, 0.5]


@pytest.mark.parametrize(
    ("values", "bound", "holds"),
    [
        pytest.param([1, 2, 3], {"at_least": 2}, True, id="a median at the least holds"),
        pytest.param([1, 1.9, 3], {"at_least": 2}, False, id="a median below it does not"),
        pytest.param([0, 0, 9], {"at_most": 0}, True, id="one bad round of three is not the median"),
        pytest.param([0, 1, 1], {"at_most": 0}, False, id="a median above the most does not hold"),
        pytest.param([None, None], {"at_most": 5}, False, id="what was not measured does not hold"),
    ],
)
def test_a_bound_is_for_the_median(values, bound, holds, capsys):
    sheet = sheet_of(some=values)
    assert sheet.holds
    sheet.bound("some", **bound)
    assert sheet.holds is holds
    assert told(sheet, capsys)["figures"][0].items() >= (bound | {"holds": holds}).items()


def test_another_module_without_figures_is_an_error():
    with pytest.raises(RuntimeError, match="printed no figures"):
        measure.line_of(["dag_runs"])


def test_the_contest_lets_every_way_upload_all_files(capsys):
    found = contest.run(rounds=1, files=12, files_of_the_loop=3, size_bytes=1000, service_s=0.05)
    figures = {each["name"]: each["median"] for each in found["figures"]}
    for name in contest.WAYS.values():
        assert figures[f"not uploaded, {name}"] == 0
        assert figures[f"accepted/s, {name}"] > 0
    assert figures[f"wasted, {contest.WAYS['ours']}"] == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == found


def test_the_rate_of_a_way_ends_where_nearly_all_files_are_there():
    """20 files, one a tenth of a second, and the last after ten seconds of waiting; one refusal between."""
    arrivals = sorted([index / 10 for index in range(19)] + [11.8])
    found = contest._figures(arrivals, 0, 20)
    assert found["per_s"] == pytest.approx(10)
    assert found["all_s"] == pytest.approx(11.8)
    with pytest.raises(RuntimeError, match="refused 1 of 20"):
        contest._figures(arrivals, 1, 20)


def test_every_competitor_is_short():
    """Code that is long would not be what people write."""
    source = Path(clients.__file__).read_text()
    bodies = re.split(r"^def ", source, flags=re.MULTILINE)[1:]
    assert {body.partition("(")[0] for body in bodies} >= set(contest.WAYS) - {"ours"}
    assert all(len(body.strip().splitlines()) < 40 for body in bodies)


def test_the_command_measures_by_name_and_keeps_what_came_out(tmp_path, monkeypatch, capsys):
    """One benchmark whole, as its own process, with its real bound: 20 MB must not need 20 MB more."""
    monkeypatch.setattr(machine, "busy_percent", lambda: 12.5)
    out = tmp_path / "results.json"
    assert command.main(["--quick", "--out", str(out), "memory"]) == 0
    (name, found), *others = json.loads(out.read_text())["benchmarks"].items()
    assert (name, others) == ("memory", [])
    assert found["ran"]["busy_percent_before"] == 12.5
    assert found["sizes"] == command.BENCHMARKS["memory"].quick
    figures = {each["name"]: each["median"] for each in found["figures"]}
    assert set(figures) == {f"peak memory, {name}" for name in memory.CASES.values()}
    assert figures["peak memory, upload, requests with files="] > 20
    assert figures["peak memory, download, requests at once"] > 20
    assert "all hold" in capsys.readouterr().err


def test_a_benchmark_that_fails_or_does_not_hold_is_named_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    told = {"memory": None, "line": {"holds": False}, "rerun": {"holds": True}}
    monkeypatch.setattr(command, "_measure", lambda name, rounds, sizes: told[name])
    out = tmp_path / "results.json"
    assert command.main(["--out", str(out), *told]) == 1
    assert set(json.loads(out.read_text())["benchmarks"]) == {"line", "rerun"}
    assert "failed or not held: memory, line" in capsys.readouterr().err


def test_every_example_is_parsed(capsys):
    found = parsing.run(rounds=1)
    names = {each["name"] for each in found["figures"]}
    examples = {path.stem for path in (CHECKOUT / "dags_examples").glob("example_*.py")}
    assert names == {f"import, {name}" for name in parsing.MODULES} | {f"parse, {name}" for name in {parsing.PLAIN, *examples}}
    assert all(each["median"] > 0 for each in found["figures"])
    capsys.readouterr()


def test_the_dags_of_both_ways_load(tmp_path, monkeypatch):
    from airflow.dag_processing.dagbag import DagBag

    monkeypatch.setenv("PROOF_PLACE", str(tmp_path))
    monkeypatch.setenv("PROOF_ROUNDS", "2")
    monkeypatch.setenv("PROOF_NUMBERS", "number_1 number_2 number_3")
    bag = DagBag(CHECKOUT / "benchmarks" / "compare" / "dags" / "ways.py")
    assert bag.import_errors == {}
    assert {dag_id: [task.task_id for task in dag.tasks] for dag_id, dag in bag.dags.items() if dag_id.endswith("_1")} == {
        "one_mapped_1": ["items", "upload"],
        "one_ours_1": ["upload"],
        "three_mapped_1": ["items", "upload"],
        "three_ours_1": ["plan", "upload"],
    }
    assert len(bag.dags) == 8


def test_results_are_kept_one_by_one_and_never_of_two_machines(tmp_path, monkeypatch, capsys):
    out = tmp_path / "results.json"
    command.keep(out, "memory", {"rounds": 1})
    command.keep(out, "line", {"rounds": 2})
    command.keep(out, "memory", {"rounds": 3})
    assert json.loads(out.read_text())["benchmarks"] == {"line": {"rounds": 2}, "memory": {"rounds": 3}}
    monkeypatch.setattr(machine, "describe", lambda: {"cores": 96})
    command.keep(out, "rerun", {"rounds": 4})
    assert json.loads(out.read_text())["benchmarks"] == {"rerun": {"rounds": 4}}
    assert "dropped" in capsys.readouterr().err


def test_an_unknown_name_is_refused_before_anything_runs(capsys):
    assert command.main(["contest", "contets"]) == 2
    assert "no such benchmarks: contets" in capsys.readouterr().err


def test_all_benchmarks_have_results():
    """How many rounds they are of stands beside them on the page."""
    assert list(MEASURED) == list(command.BENCHMARKS)
    for name, found in MEASURED.items():
        assert found["rounds"] >= 1, name
        assert found["figures"], name


def test_a_stored_median_is_that_of_its_rounds_and_judged_by_its_bound():
    assert len(FIGURES) > 50
    for figure in FIGURES:
        bounds = {key: figure[key] for key in ("at_least", "at_most") if key in figure}
        again = measure._Figure("", "", figure["rounds"], **bounds)
        assert figure["median"] == (None if again.median is None else pytest.approx(again.median, rel=2e-3)), figure
        assert figure.get("holds", True) == again.holds, figure
    for found in MEASURED.values():
        assert found["holds"] == all(each.get("holds", True) for each in (*found["figures"], *found["ratios"]))


def test_the_page_shows_the_results():
    text = page.PAGE.read_text()
    assert page.filled(text, RESULTS) == text
    tables = page.tables_of(RESULTS)
    assert set(tables) == {"machine", "runs", *command.BENCHMARKS}
    for name, table in tables.items():
        assert f"<!-- {name} -->\n{table}<!-- /{name} -->" in text, name


def test_a_changed_figure_changes_the_page():
    changed = json.loads(json.dumps(RESULTS))
    changed["benchmarks"]["line"]["figures"][0]["median"] = 0.1234
    text = page.PAGE.read_text()
    assert page.filled(text, changed) != text


@pytest.mark.parametrize("name", command.BENCHMARKS)
def test_a_plot_is_of_the_results_and_stands_on_the_page(name):
    """By the digest of what it shows, which stands in it: how a number is written may differ from machine to machine."""
    image = page.IMAGES / f"benchmark-{name}.svg"
    assert plots.digest(name, MEASURED[name]) in image.read_text()
    assert f"](images/{image.name})" in page.PAGE.read_text()


def test_a_plot_is_the_same_twice_and_names_no_date():
    drawn = plots.draw("line", MEASURED["line"])
    assert drawn == plots.draw("line", MEASURED["line"])
    assert "dc:date" not in drawn


def test_the_results_name_no_path_and_no_host():
    assert set(RESULTS) == {"machine", "versions", "benchmarks"}
    assert set(RESULTS["machine"]) == set(machine.describe()) == {"cores", "processor", "memory_gib", "system"}
    assert not re.search(r"/(home|root|work|tmp|usr|var)/", command.RESULTS.read_text())
