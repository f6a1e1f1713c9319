"""The tasks of an array, listed from what was downloaded: values of the grid, metrics, time and cost of each."""

import csv
import json

import jsonschema
import pytest

from infra.model import Counts
from tests import schemas
from tests.here import move_in, type_here
from tests.history.past import record, record_array

GRID = [
    ({"lr": "1e-3", "seed": "0"}, "epoch,loss,lr\n1,0.9,1\n2,0.3,1\n", "loss 9.9\n"),
    ({"lr": "1e-2", "seed": "0"}, "", "loss 0.1 accuracy 0.75\n"),
    ({"lr": "10", "seed": "0"}, "", "loss 7.5\nValueError: nan\n"),
]


@pytest.fixture
def project(tmp_path, monkeypatch):
    return move_in(tmp_path, monkeypatch)


def cells(typed):
    assert typed.code == 0, typed.said
    return [line.split("\t") for line in typed.out.splitlines()]


def test_each_task_has_a_row_with_its_values_its_last_metrics_and_its_part_of_the_cost(project):
    record_array(project, 4, GRID)
    assert cells(type_here("tasks", "4")) == [
        ["task", "lr", "seed", "loss", "accuracy", "state", "exit", "duration", "cost"],
        ["0", "1e-3", "0", "0.3", "", "succeeded", "", "10 s", "$0.17"],
        ["1", "1e-2", "0", "0.1", "0.75", "succeeded", "", "20 s", "$0.33"],
        ["2", "10", "0", "7.5", "", "failed", "1", "30 s", "$0.50"],
    ]


@pytest.mark.parametrize(
    ("column", "order"),
    [
        ("loss", "102"),
        ("-loss", "201"),
        ("lr", "012"),
        ("-lr", "210"),
        ("accuracy", "102"),
        ("-task", "210"),
        ("exit", "012"),
    ],
)
def test_tasks_are_sorted_by_any_column_numbers_as_numbers_and_empty_ones_last(project, column, order):
    record_array(project, 4, GRID)
    assert "".join(row[0] for row in cells(type_here("tasks", f"--sort={column}"))[1:]) == order


def test_an_unknown_column_is_refused_with_the_nearest(project):
    record_array(project, 4, GRID)
    refused = type_here("tasks", "--sort", "-los")
    assert (refused.code, "gpujob tasks 4 --sort -loss" in refused.err) == (2, True)


def test_csv_has_all_metrics_and_numbers_as_they_are(project):
    record_array(project, 4, GRID)
    rows = list(csv.DictReader(type_here("tasks", "--csv", "--sort", "loss").out.splitlines()))
    assert [row["task"] for row in rows] == ["1", "0", "2"]
    assert rows[1] == {
        **{"task": "0", "lr": "1e-3", "seed": "0", "loss": "0.3", "metric lr": "1.0", "accuracy": ""},
        **{"state": "succeeded", "exit_code": "0", "seconds": "10.0", "usd": str(10 * (1.0 / 60)), "node": "0"},
        "attempts": "1",
    }


def test_json_says_what_its_schema_says_and_where_the_files_are(project):
    home = record_array(project, 4, GRID)
    data = json.loads(type_here("tasks", "--json").out)
    jsonschema.validate(data, schemas.read_schemas()["tasks"])
    assert (data[0]["values"], data[0]["metrics"]) == ({"lr": "1e-3", "seed": "0"}, {"loss": 0.3, "lr": 1.0})
    assert (data[0]["folder"], data[2]["log"]) == (str(home / "files/0"), str(home / "files/2.log"))


def test_a_grid_s_names_may_be_those_of_columns(project):
    record_array(project, 4, [({"state": "x", "cost": "2"}, "task,loss\n9,0.5\n", "")])
    shown = ["task", "grid state", "grid cost", "loss", "state", "duration", "cost"]
    assert cells(type_here("tasks"))[0] == shown
    assert type_here("tasks", "--csv").out.startswith("task,grid state,grid cost,metric task,loss,state,")


def test_the_latest_array_is_listed_and_other_runs_are_none(project):
    refused = type_here("tasks")
    assert (refused.code, "no array among the runs" in refused.err) == (1, True)
    record_array(project, 4, GRID)
    record(project, 5, log="loss 0.5\n")
    assert len(cells(type_here("tasks"))) == 4
    refused = type_here("tasks", "5")
    assert (refused.code, "it is not an array" in refused.err, "gpujob receipt 5" in refused.err) == (2, True, True)


def test_an_array_that_was_downloaded_while_it_ran_says_how_to_update_it(project):
    record_array(project, 4, GRID, state="running", exit_code=None)
    assert "gpujob fetch 4" in type_here("tasks").err
    record(project, 5, state="queued", exit_code=None, counts=Counts(left=3))
    refused = type_here("tasks")
    assert (refused.code, "gpujob fetch 5" in refused.err) == (1, True)


def test_metrics_of_a_task_are_read_through_no_link_and_are_not_those_of_the_array(project):
    home = record_array(project, 4, GRID)
    (project / "mine.csv").write_text("loss\n0.0001\n")
    (home / "files/0/metrics.csv").unlink()
    (home / "files/0/metrics.csv").symlink_to(project / "mine.csv")
    assert cells(type_here("tasks"))[1][3] == "9.9"  # from its log
    assert "0.3" not in type_here("runs").out
