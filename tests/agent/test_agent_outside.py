"""What a job writes outside of its working tree: the agent finds it, sends what was asked for, and nothing else."""

import itertools
import json
import os
import tempfile
from pathlib import Path

import pytest

from infra.node.agent.outputs import outside
from infra.node.agent.outputs.places import Place
from tests import agent_fixtures as fixtures
from tests.conftest import wait_for

node = fixtures.node


def outputs(node, number: int, *options: str) -> dict:
    return json.loads(node.ask("outputs", str(number), *options))


def run(node, script: str, token: str = "t", **options: object) -> int:
    number = node.submit("sh", "-c", script, token=token, **options)
    node.wait(number)
    return number


def left(node, number: int) -> dict[str, tuple[int, int]]:
    """Files and bytes by path, of what was left outside."""
    return {each["path"]: (each["files"], each["size_bytes"]) for each in outputs(node, number)["left"]}


def send(node, number: int, path: str, outside: bool) -> bytes:
    return node.ask("send", str(number), stdin=json.dumps([[path, 0, outside]]).encode())


def test_a_job_that_writes_beside_its_working_tree_reaches_no_record(node):
    number = run(node, "echo '{}' | tee ../end.json ../job.json ../manifest.json > /dev/null; touch ../fetched; exit 5")
    record = node.record(number)
    assert (record["state"], record["exit_code"], record["fetched"]) == ("failed", 5, False)


def test_what_a_job_writes_outside_is_listed_with_sizes_largest_first(node):
    number = run(
        node,
        "mkdir -p ../working ~/.cache/nanochat/a ~/.cache/nanochat/b; printf 12345 > ../working/submission.csv;"
        " printf 123 > ~/ckpt.pt; printf 1234 > ~/.cache/nanochat/a/x; printf 1234 > ~/.cache/nanochat/b/y; printf 1 > in",
    )
    assert left(node, number) == {
        "~/.cache/nanochat": (2, 8),
        "../working/submission.csv": (1, 5),
        "~/ckpt.pt": (1, 3),
    }
    assert next(iter(left(node, number))) == "~/.cache/nanochat"
    assert [output["path"] for output in outputs(node, number)["outputs"]] == ["in"]


@pytest.mark.parametrize(("script", "listed"), [(": {}", False), (": import {}.nn", False), (": '{}'", True)])
def test_on_the_local_cloud_a_job_names_what_it_writes_to_the_temporary_folder_by_more_than_a_word(
    node, script, listed
):
    with tempfile.TemporaryDirectory(prefix="named") as shared:
        wait = "; while [ ! -e ../go ]; do sleep 0.02; done"
        number = node.submit("sh", "-c", script.format(Path(shared).name) + wait)
        node.identity(number, "main")
        Path(shared, "weights.bin").write_text("1")
        (node.home / f".gpujob/work/{number}/go").touch()
        node.wait(number)
        assert (f"{shared}/weights.bin" in left(node, number)) == listed


def test_of_a_temporary_folder_only_what_a_job_names_is_looked_into(tmp_path, monkeypatch):
    for name in ("named/deep/a", "huge/b", "c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    opened, read = [], outside.read_folder
    monkeypatch.setattr(outside, "read_folder", lambda path: opened.append(Path(path).name) or read(path))
    found = outside.Walk([], []).list_files(Place(str(tmp_path), shared=True), lambda name: name != "huge")
    assert sorted(name for name, _ in found) == ["c", "named/deep/a"]
    assert opened == [tmp_path.name, "named", "deep"]


@pytest.mark.parametrize(("ran_s", "found", "whole"), [(0.5, ["near"], False), (3600, ["near", "a/b/far"], True)])
def test_after_a_short_job_the_search_ends_early_with_what_is_near_and_says_so(
    tmp_path, monkeypatch, ran_s, found, whole
):
    for name in ("near", "a/b/far"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    spent = itertools.count(step=0.04)  # seconds of the processor, whenever that is asked
    monkeypatch.setattr(outside.time, "process_time", lambda: next(spent))
    walk = outside.Walk([], [], outside.share_of([outside.Span(1, 100.0, 100.0 + ran_s, set())]))
    assert [name for name, _ in walk.list_files(Place(str(tmp_path)), lambda _: True)] == found
    assert walk.complete == whole


def test_a_path_beside_the_folder_it_ran_in_is_told_as_seen_from_there(node):
    number = run(node, "printf 1 > ../../x", files={"src/a.py": b""}, workdir="src")
    assert left(node, number) == {"../../x": (1, 1)}


def test_what_lay_there_before_and_what_tools_keep_is_not_listed(node):
    (node.home / "old.txt").write_text("old")
    number = run(
        node,
        "for cache in .cache/pip .cache/uv .cache/huggingface/hub .cache/torch/hub .cache/matplotlib .cache/gpujob"
        " .triton .nv .ssh .local/lib tools/__pycache__; do mkdir -p ~/$cache; echo 1 > ~/$cache/x; done;"
        " mkdir -p ~/env/lib; touch ~/env/pyvenv.cfg; echo 1 > ~/env/lib/x; echo 1 > ~/.bash_history; : > ~/empty;"
        " ln -s /etc ~/etc",
    )
    assert left(node, number) == {}


def test_the_temporary_folder_is_looked_into_too(node, tmp_path_factory):
    temporary = tmp_path_factory.mktemp("temporary")
    number = run(node, 'mkdir "$TMPDIR/work"; echo 12 > "$TMPDIR/work/best.pt"', env={"TMPDIR": str(temporary)})
    [entry] = outputs(node, number)["left"]
    assert (entry["path"], entry["size_bytes"], entry["minor"]) == (f"{temporary}/work/best.pt", 3, True)


def test_a_later_job_s_files_are_not_taken_for_an_earlier_one_s(node):
    first = run(node, "echo 1 > ~/first", token="a")
    second = run(node, "echo 1 > ~/second", token="b")
    assert [list(left(node, number)) for number in (first, second)] == [["~/first"], ["~/second"]]
    everything = json.loads(node.ask("left"))["left"]
    assert {(each["path"], *each["jobs"]) for each in everything} == {("~/first", first), ("~/second", second)}


def test_what_two_jobs_at_a_time_may_have_written_bears_both_their_numbers_unless_one_holds_it(node):
    script = "echo 1 > ~/either; exec 3> ~/mine; echo 1 >&3; : > ../ready; while [ ! -e ../go ]; do sleep 0.02; done"
    long = node.submit("sh", "-c", script, token="a", gpus=0)
    wait_for((node.home / f".gpujob/work/{long}/ready").exists, "file that is held open")
    short = node.submit("sh", "-c", "echo 1 > ~/also", token="b", gpus=0)
    node.wait(short)
    found = {each["path"]: each["jobs"] for each in json.loads(node.ask("left"))["left"]}
    (node.home / f".gpujob/work/{long}/go").touch()
    node.wait(long)
    assert found == {"~/either": [long], "~/mine": [long], "~/also": [long, short]}


def test_a_path_that_was_asked_for_comes_with_the_outputs_and_is_left_no_more(node):
    number = run(node, "mkdir ~/ck; echo 1 > ~/ck/a; echo 2 > ../b; echo 3 > ~/other", outputs=["~/ck", "../b"])
    answer = outputs(node, number)
    assert {(each["path"], each["outside"]) for each in answer["outputs"]} == {("home/ck/a", True), ("parent/b", True)}
    assert [each["path"] for each in answer["left"]] == ["~/other"]
    assert send(node, number, "home/ck/a", True).endswith(b"\n1\n")
    later = outputs(node, number, "--output=~/oth*")
    assert ("home/other", True) in {(each["path"], each["outside"]) for each in later["outputs"]}
    assert later["left"] == []


def test_asking_for_more_makes_a_job_count_as_not_downloaded_again(node):
    number = run(node, "echo 1 > ~/x")
    node.ask("fetched", str(number))
    outputs(node, number, "--output=~/x")
    assert node.record(number)["fetched"] is False
    node.ask("fetched", str(number))
    outputs(node, number, "--output=~/x")
    assert node.record(number)["fetched"] is True


def test_a_path_of_which_there_is_nothing_is_told(node):
    number = run(node, "true", outputs=["~/nothing", "../no*"])
    assert outputs(node, number)["missing"] == ["~/nothing", "../no*"]


NEVER = [
    "",
    "/",
    "//",
    "~root/x",
    "a\0b",
    "~/.ssh/id_rsa",
    "~/.gpujob/notebook.token",
    "/proc/self/environ",
    "~/x/../.ssh",
]


@pytest.mark.parametrize("path", [*NEVER, "/dev/zero"])
def test_what_is_private_or_no_path_cannot_be_asked_for(node, path):
    process = node.start("submit")
    _, err = process.communicate(fixtures.request(("true",), "t", {}, outputs=[path]), timeout=120)
    assert process.returncode == 1
    assert b"download" in err
    assert b"Traceback" not in err


def test_no_link_leads_from_what_was_asked_for_to_what_is_private(node):
    (node.home / ".ssh").mkdir()
    (node.home / ".ssh/id_rsa").write_text("private")
    number = run(
        node,
        "ln -s ~/.ssh ~/keys; mkdir ~/ck; ln -s ~/.ssh ~/ck/keys; ln -s ~/.ssh/id_rsa ~/ck/key; echo 1 > ~/ck/a",
        outputs=["~/keys", "~/ck", "~/keys/id_rsa"],
    )
    answer = outputs(node, number)
    assert answer["missing"] == ["~/keys", "~/keys/id_rsa"]
    assert {each["path"]: each["link"] is None for each in answer["outputs"]} == {
        "home/ck/a": True, "home/ck/keys": False, "home/ck/key": False
    }  # fmt: skip
    for path in ("home/ck/keys/id_rsa", "home/ck/key"):
        assert send(node, number, path, True) == b""


def test_a_whole_home_comes_without_records_keys_and_caches(node):
    (node.home / ".ssh").mkdir()
    (node.home / ".ssh/id_rsa").write_text("private")
    number = run(node, "mkdir -p ~/.cache/pip; echo 1 > ~/.cache/pip/x; echo 1 > ~/a; echo 1 > b", outputs=["~", ".."])
    assert {each["path"] for each in outputs(node, number)["outputs"]} == {"home/a", "b"}


def test_a_path_that_changes_into_a_link_or_a_pipe_after_it_was_listed_sends_nothing(node):
    number = run(node, "mkdir d; echo 1 > d/a; echo 1 > b")
    work = node.home / f".gpujob/work/{number}/project"
    (work / "b").unlink()
    os.mkfifo(work / "b")
    (work / "d").rename(work / "e")
    (work / "d").symlink_to("e")
    assert send(node, number, "b", False) == b""
    assert send(node, number, "d/a", False) == b""


def test_a_job_that_removes_its_working_tree_has_not_written_nothing(node):
    number = run(node, "echo 1 > a; rm -rf $PWD")
    assert outputs(node, number)["unreadable"] == ["."]


def test_what_is_excluded_is_neither_an_output_nor_left(node):
    number = run(
        node, "mkdir big; echo 1 > big/a; echo 1 > b.tmp; echo 1 > c; echo 1 > ~/d.tmp", exclude=["big/", "*.tmp"]
    )
    answer = outputs(node, number)
    assert ([each["path"] for each in answer["outputs"]], answer["left"]) == (["c"], [])


def test_caches_are_held_back_with_their_sizes_unless_one_is_asked_for(node):
    script = (
        "mkdir -p .venv/lib env/lib data/MNIST/raw a/.cache/huggingface/hub node_modules/x a/__pycache__ .pytest_cache kept;"
        "for folder in .venv/lib data/MNIST/raw a/.cache/huggingface/hub node_modules/x a/__pycache__ .pytest_cache env/lib;"
        " do printf 123 > $folder/x; printf 12 > $folder/y; done; touch env/pyvenv.cfg; printf 1 > core.4711;"
        " printf 1 > kept/core.py; printf 1 > kept/data.bin; printf 1 > kept/x.pyc"
    )
    number = run(node, script)
    answer = outputs(node, number)
    assert {each["path"] for each in answer["outputs"]} == {"kept/core.py", "kept/data.bin"}
    held = {each["path"]: (each["files"], each["size_bytes"]) for each in answer["held"]}
    folders = (".venv", "data/MNIST/raw", "a/.cache/huggingface", "node_modules", ".pytest_cache")  # and no byte code
    assert held == {**dict.fromkeys(folders, (2, 5)), "env": (3, 5), "core.4711": (1, 1), "kept/x.pyc": (1, 1)}
    later = outputs(node, number, "--output=data/MNIST", "--output=.venv")
    assert {each["path"] for each in later["outputs"]} > {"data/MNIST/raw/x", ".venv/lib/x", "kept/core.py"}
    assert not {each["path"] for each in later["held"]} & {"data/MNIST/raw", ".venv"}


def test_a_folder_with_a_cache_s_name_that_came_with_the_project_is_none(node):
    number = run(node, "echo 1 > venv/code.py; echo 1 > venv/new", files={"venv/code.py": b"0"})
    answer = outputs(node, number)
    assert ({each["path"] for each in answer["outputs"]}, answer["held"]) == ({"venv/code.py", "venv/new"}, [])


def test_one_file_with_several_names_is_read_once_and_told_as_one(node):
    number = run(node, "echo 1 > a; ln a b; mkdir c; ln a c/last; echo 1 > copy")
    told = {each["path"]: each["same_as"] for each in outputs(node, number)["outputs"]}
    assert told == {"a": "", "b": "a", "c/last": "a", "copy": ""}
    assert len({each["sha256"] for each in outputs(node, number)["outputs"]}) == 1
