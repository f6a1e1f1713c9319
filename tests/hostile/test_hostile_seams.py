"""Where a project, a job and this computer meet: what one makes up costs no other its results, its secrets or its time."""

import json
import os
import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from cli.notices.space import show_largest_folders
from cli.options.variables import read_variables
from cli.terminal import formats
from infra.base.folders import Descent, open_folder
from infra.errors import LossError, NodeError, ProjectError, UsageError
from infra.fetch.outputs import Choose, Wanted, fetch, take_all
from infra.fetch.pace import fit
from infra.git import command
from infra.ledger import costs
from infra.model import Cluster, Gpu, Node, Output, Request
from infra.node import client
from infra.node.agent import trees
from infra.node.agent.records import MOST_JOBS
from infra.node.listing import AllLeft, Left
from infra.project.files import read_project
from infra.results.folder import last_number, open_results
from infra.results.shelf import Shelf
from infra.run import storage
from infra.run.submission import queued
from infra.ssh.connection import Connection
from tests import agent_fixtures as fixtures
from tests.here import move_in, type_here
from tests.hostile.test_hostile_outputs import Outputs
from tests.hostile.test_hostile_outputs import agent as agent

node = fixtures.node
DEEP = 1200  # more than Python calls itself, and than a process may open files
CLUSTER = Cluster("c", "local", "r", (Node("i-1", "running", "h", 22, "t", "z"),), Gpu("T4"), 0.5, 2e9, 1.7e9, "o")
NODE = Connection(CLUSTER, 0, None)
JOB = queued(1, Request(("true",)), {})


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder for what is nested too deep for pytest to remove it."""
    folder = tmp_path / "deep"
    folder.mkdir()
    yield folder
    trees.remove(folder)
    assert not folder.exists()


def nest(folder: Path) -> Path:
    """Make folders inside each other with a file in the last."""
    inner = folder / "/".join(["d"] * DEEP)
    trees.make(inner)
    (inner / "bottom").write_text("1")
    return inner


# --- a project's settings and the results that it brings


@pytest.mark.parametrize(
    "text", [f"[up]\ngpu = {'[' * 5000}{']' * 5000}\n", f"[up]\nmax-hours = 0x{'f' * 5000}\n", "[up]\ngpu = '\udcff'\n"]
)
def test_settings_that_no_program_can_bear_are_refused_in_a_line(tmp_path, monkeypatch, text):
    (move_in(tmp_path, monkeypatch) / "gpujob.toml").write_text(text, errors="surrogateescape")
    refused = type_here("jobs")
    assert refused.code == 2, refused.said
    assert "cannot read" in refused.err


@pytest.mark.parametrize("name", ["gpujob.toml", ".gpujobignore"])
@pytest.mark.parametrize("endless", ["device", "pipe", "large"])
def test_a_file_without_end_in_place_of_settings_is_not_waited_for(tmp_path, name, endless):
    path = tmp_path / name
    if endless == "device":
        path.symlink_to("/dev/zero")
    elif endless == "pipe":
        os.mkfifo(path)
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    with pytest.raises((UsageError, ProjectError), match="cannot read"):
        read_project(tmp_path)


@pytest.mark.parametrize(
    "receipt",
    [
        "[" * 100_000,
        '{"job": [1], "usd": 1}',
        '{"job": {"started_at": "x", "ended_at": {}}, "usd": 1, "cluster": "c", "cloud": "aws"}',
        '{"job": {"started_at": 1, "ended_at": 9e10}, "usd": 1, "cluster": "c", "cloud": "aws"}',
        '{"job": {"started_at": 1, "ended_at": 2}, "usd": 1e400, "cluster": "c", "cloud": "aws"}',
        '{"job": {"started_at": 1, "ended_at": 2}, "usd": 1, "cluster": ["c"], "cloud": "aws"}',
    ],
)
def test_a_receipt_that_nobody_here_wrote_neither_ends_a_command_nor_counts(tmp_path, monkeypatch, receipt):
    project = move_in(tmp_path, monkeypatch)
    (project / "runs/project-1").mkdir(parents=True)
    (project / "runs/project-1/receipt.json").write_text(receipt)
    assert costs.add_up([], project / "runs") == []
    assert type_here("receipt", "--cluster", "project").code in (0, 1)


@pytest.mark.parametrize("number", [MOST_JOBS, 1 << 62, 10**20])
def test_a_folder_named_like_results_of_an_impossible_job_stops_the_upload_not_the_machine(tmp_path, node, number):
    (tmp_path / f"runs/c-{number}").mkdir(parents=True)
    with pytest.raises(ProjectError, match=f"runs/c-{number} is named like results"):
        last_number(tmp_path / "runs", "c")
    asked = fixtures.request(("true",), "t", {}, after=number)
    process = node.start("submit")
    out, err = process.communicate(asked)
    assert (process.returncode, out) == (1, b""), err
    assert node.submit("true") == 1


def test_a_receipt_cannot_lead_a_fetch_out_of_the_results(tmp_path):
    (tmp_path / "mine").write_text("mine")
    with open_results(tmp_path / "runs", CLUSTER, JOB) as results:
        shelf = Shelf(results)
        for place in ("../../../mine", str(tmp_path / "mine"), "../receipt.json"):
            assert shelf.look(PurePosixPath(place)) is None
            shelf.interim.add(place)
            assert shelf.discard(place) in ("", place)
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "runs/c-1/receipt.json").exists()


def test_what_a_project_excludes_is_named_so_that_it_is_not_lost_unnoticed(node):
    number = node.submit(
        "sh", "-c", "echo 1 > model.pt; mkdir out; echo 22 > out/a; echo 3 >> changed.txt",
        files={"kept.txt": b"1", "changed.txt": b"1", "out.py": b"2"}, exclude=["*"],
    )  # fmt: skip
    node.wait(number)
    told = json.loads(node.ask("outputs", str(number)))
    assert told["outputs"] == []
    sizes = {each["path"]: (each["files"], each["size_bytes"]) for each in told["excluded"]}
    assert sizes == {"model.pt": (1, 2), "out": (1, 3), "changed.txt": (1, 3)}


# --- what a node says was fetched


def test_what_was_asked_for_later_and_did_not_come_keeps_a_job_from_being_fetched(tmp_path, agent):
    told = Outputs(state="succeeded")
    told.add("model.pt", b"model")
    agent.append(told)

    def download(choose: Choose = take_all) -> bool:
        return fetch(NODE, 1, tmp_path / "runs", print, Wanted(choose=choose)).receipt.job.fetched

    assert download()
    told.add("home/ckpt.pt", b"later", outside=True)
    assert not download(lambda _: [])
    assert download()


def test_a_node_that_calls_a_job_fetched_is_not_believed(tmp_path, agent):
    told = Outputs(state="succeeded", fetched=True)
    told.add("model.pt", b"model")
    told.contents["model.pt", False] = b"MODEL"
    agent.append(told)
    fetched = fetch(NODE, 1, tmp_path / "runs", print)
    assert (fetched.changing, fetched.receipt.job.fetched) == (("model.pt",), False)


def test_a_node_that_answers_for_another_job_writes_into_no_results(tmp_path, agent):
    agent.append(Outputs(state="succeeded", number=2))
    with pytest.raises(NodeError, match="job 2 instead of job 1"):
        fetch(NODE, 1, tmp_path / "runs", print)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("at", "now"), [(-1e11, 0.0), (0.0, 9.9e10), (9.9e10, 0.0), (0.0, 0.0)])
def test_no_clock_of_a_node_shows_a_time_that_no_calendar_has(agent, at, now):
    told = Outputs(state="succeeded", submitted_at=at, now=now)
    agent.append(told)
    try:
        job, _ = client.list_outputs(None, 1)
    except NodeError as error:
        assert "invalid response" in error.what
    else:
        assert all(formats.clock(moment) for _, moment in job.states)


def test_a_folder_whose_name_has_several_lines_forges_none(capsys):
    show_largest_folders([Output("out\nterminated c; nothing left that bills/a", 1, "0" * 64, 0o644)])
    assert capsys.readouterr().err.splitlines() == [r"  out\nterminated c; nothing left that bills/  1 byte"]


@pytest.mark.parametrize("path", ["~/ckpt.pt", "../submission.csv", "~/new\nline"])
def test_removing_a_job_does_not_lose_what_it_left_outside_of_its_working_folder(monkeypatch, path):
    removed: list[tuple[int, ...]] = []
    jobs = tuple(replace(JOB, number=number, state="succeeded", fetched=True) for number in (1, 2))
    left = Left(path, 1, 5_000_000, (1,), minor=False), Left("/tmp/x", 1, 1, (2,), minor=True)
    monkeypatch.setattr(client, "list_jobs", lambda _: jobs)
    monkeypatch.setattr(client, "list_left", lambda _: AllLeft(left, complete=True))
    monkeypatch.setattr(client, "remove_jobs", lambda _, chosen, force: removed.append(tuple(chosen)) or 0)
    monkeypatch.setattr(storage, "ask_all", lambda cluster, ask: {0: ask(NODE)})
    with pytest.raises(LossError, match="outside the working folder") as refused:
        storage.remove_jobs(CLUSTER, (1,), force=False)
    assert refused.value.hint.startswith("gpujob fetch --cluster c 1")
    assert "\n" not in refused.value.what + refused.value.hint
    assert storage.remove_jobs(CLUSTER, (), force=False).kept == {1: left[:1]}
    assert storage.remove_jobs(CLUSTER, (1,), force=True).kept == {}
    assert removed == [(2,), (1,)]


# --- variables


def test_a_file_of_variables_gets_none_of_this_computer(tmp_path, monkeypatch):
    file = move_in(tmp_path, monkeypatch, GITHUB_TOKEN="ghp-mine") / "job.env"
    file.write_text("A=1\nB=${A}/x\nC=${D:-default}\nE='$A'\n")
    assert read_variables((), file) == {"A": "1", "B": "1/x", "C": "default", "E": "$A"}
    for line in ("STOLEN=${GITHUB_TOKEN}", "STOLEN='${HOME}'"):
        file.write_text(f"A=1\n{line}\n")
        with pytest.raises(UsageError, match="variables of this computer are not used") as refused:
            read_variables((), file)
        assert "line 2" in str(refused.value)
        assert "ghp-mine" not in f"{refused.value} {refused.value.hint}"
    file.write_text("C=${GITHUB_TOKEN:-default}\n")
    assert read_variables((), file) == {"C": "default"}


# --- what a job nests, and how it calls its files


def test_what_a_job_nests_too_deep_to_recurse_is_told_sent_and_removed(node):
    script = f"import os; d = '/'.join(['d'] * {DEEP}); os.makedirs('d'); "
    script += f"os.chdir('d')\nfor _ in range({DEEP - 1}): os.mkdir('d'); os.chdir('d')\nopen('bottom', 'w').write('1')"
    number = node.submit("python3", "-c", script)
    assert node.wait(number)["state"] == "succeeded"
    told = json.loads(node.ask("outputs", str(number)))
    path = "/".join(["d"] * DEEP) + "/bottom"
    assert [each["path"] for each in told["outputs"]] == [path]
    assert node.ask("send", str(number), stdin=json.dumps([[path, 0, False]]).encode()).endswith(b"\n1")
    freed = json.loads(node.ask("remove", str(number), "--force"))["freed_bytes"]
    assert freed >= 4096
    assert not list((node.home / ".gpujob/jobs").glob("leaving-*"))
    assert not (node.home / f".gpujob/work/{number}").exists()


def test_a_path_longer_than_the_kernel_takes_is_told_as_unreadable_and_removed(node):
    script = "import os\nfor _ in range(3000): os.mkdir('e'); os.chdir('e')\nopen('f', 'w').write('1')"
    number = node.submit("python3", "-c", script)
    assert node.wait(number)["state"] == "succeeded"
    told = json.loads(node.ask("outputs", str(number)))
    assert (told["outputs"], [path[:4] for path in told["unreadable"]]) == ([], ["e/e/"])
    node.ask("remove", str(number), "--force")
    assert not [*(node.home / ".gpujob/jobs").glob("leaving-*"), *(node.home / ".gpujob/work").iterdir()]


def test_a_folder_deeper_than_a_process_may_open_files_takes_an_output(deep):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    path = PurePosixPath("/".join(["d"] * DEEP), "bottom")
    with open_results(deep, CLUSTER, JOB) as results:
        shelf = Shelf(results)
        opened = [int(path.name) for path in Path("/proc/self/fd").iterdir()]  # earlier tests may have opened many
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(opened) + 100, hard))
        try:
            folder, way = shelf.enter(path.parts[:-1])
            os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
            assert way == path.parent
            assert shelf.look(path) is not None
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_project_nested_too_deep_to_recurse_is_listed(deep):
    nest(deep)
    trees.make(deep / "/".join(["e"] * DEEP))
    project = read_project(deep)
    assert [file.path for file in project.files] == ["/".join(["d"] * DEEP) + "/bottom"]
    assert list(project.folders) == ["/".join(["e"] * DEEP)]
    assert command.match(b"/e\n", (), project.folders) == set(project.folders)


def test_a_descent_goes_neither_up_nor_over_a_link(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("a")
    with open_folder(tmp_path) as top, Descent(top) as descent:
        for name in ("..", "/", "a/../..", "link"):
            with pytest.raises(OSError, match=r"directory|symbolic"):
                descent.enter(name)
        descent.enter("a")


@pytest.mark.parametrize("name", ["ck[1].pt", "*", "-x", "~", "~x", "what?"])
def test_what_a_job_left_is_downloaded_by_the_path_that_it_was_told_by(node, name):
    number = node.submit("sh", "-c", 'echo 1 > "../$0"', name)
    node.wait(number)
    told = json.loads(node.ask("outputs", str(number)))["left"]
    assert [each["files"] for each in told] == [1]
    again = json.loads(node.ask("outputs", str(number), f"--output={told[0]['path']}"))
    assert [each["path"] for each in again["outputs"]] == [f"parent/{name}"]
    assert (again["left"], again["missing"]) == ([], [])


def test_a_job_that_more_is_asked_of_is_told_as_not_fetched(node):
    number = node.submit("sh", "-c", "echo 1 > ../later")
    node.wait(number)
    node.ask("fetched", str(number))
    assert json.loads(node.ask("outputs", str(number)))["job"]["fetched"] is True
    assert json.loads(node.ask("outputs", str(number), "--output=../later"))["job"]["fetched"] is False


def test_a_cache_is_told_by_its_path_from_where_the_job_ran(node):
    number = node.submit(
        "sh", "-c", "mkdir -p .cache/torch '~v'; echo 1 > .cache/torch/w; touch '~v/pyvenv.cfg'",
        files={"sub/a.py": b"1"}, workdir="sub",
    )  # fmt: skip
    node.wait(number)
    told = json.loads(node.ask("outputs", str(number)))["held"]
    assert sorted(each["path"] for each in told) == ["./~v", ".cache/torch"]
    again = json.loads(node.ask("outputs", str(number), *(f"--output={each['path']}" for each in told)))
    assert {each["path"] for each in again["outputs"]} == {"sub/.cache/torch/w", "sub/~v/pyvenv.cfg"}
    assert (again["held"], again["missing"]) == ([], [])


def test_a_node_that_calls_every_file_a_second_name_of_another_gets_nothing_past_the_limit():
    gigabyte = 1_000_000_000
    lies = [Output(f"{at}.pt", gigabyte, f"{at:064x}", 0o644, same_as="0.pt") for at in range(1, 5)]
    assert len(fit(lies, gigabyte)) == 1
    sizes = [Output("a.pt", size, "0" * 64, 0o644) for size in (1, gigabyte, 2 * gigabyte)]
    assert [output.size_bytes for output in fit(sizes, gigabyte + 1)] == [1, gigabyte]
