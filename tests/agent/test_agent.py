"""The agent by itself: packed as it travels, run by the oldest Python it must know, talked to over pipes."""

import hashlib
import json
import os
import signal
import sys

import pytest

from infra.node.packing import pack_agent
from tests import agent_fixtures as fixtures
from tests.agent_fixtures import in_blocks, request
from tests.conftest import wait_for

node = fixtures.node


def test_a_job_s_whole_life(node):
    number = node.submit("sh", "-c", "cat in.txt; echo out > out.txt; exit 5", files={"in.txt": b"hello"})
    record = node.wait(number)
    assert (record["state"], record["exit_code"], record["log_bytes"]) == ("failed", 5, 5)
    assert node.ask("logs", str(number), "2") == b"llo"
    [output] = json.loads(node.ask("outputs", str(number)))["outputs"]
    assert (output["path"], output["size_bytes"]) == ("out.txt", 4)
    sent = node.ask("send", str(number), stdin=json.dumps([["out.txt", 1, False]]).encode())
    assert sent == b'{"path": "out.txt", "outside": false, "size_bytes": 3}\nut\n'
    node.ask("fetched", str(number))
    assert node.record(number)["fetched"] is True


def test_the_same_token_twice_is_one_job(node):
    first = node.submit("true", token="one")
    assert node.submit("true", token="one") == first
    assert node.submit("true", token="two") == first + 1


def test_only_what_the_node_lacks_is_asked_for_and_a_moved_file_is_not(node):
    first = node.ask("submit", stdin=request(("true",), "one", {"a": b"A", "b": b"B"}))
    files = {"moved/a": b"A", "b": b"B", "c": b"C"}
    again = node.ask("submit", stdin=request(("true",), "two", files, sent=[b"C"]))
    asked = [json.loads(answer.splitlines()[0])["missing"] for answer in (first, again)]
    assert [len(missing) for missing in asked] == [2, 1]
    assert asked[1] == [hashlib.sha256(b"C").hexdigest()]


def test_a_job_that_writes_into_its_code_changes_no_other_job_s(node):
    files = {"code.txt": b"original"}
    first = node.submit("sh", "-c", "echo changed >> code.txt", token="one", files=files)
    node.wait(first)
    second = node.submit("cat", "code.txt", token="two", files=files)
    node.wait(second)
    assert node.ask("logs", str(second), "0") == b"original"


@pytest.mark.parametrize(
    ("files", "options"),
    [
        ({"../x": b"a"}, {}),
        ({"/tmp/x": b"a"}, {}),
        ({"a/../../x": b"b"}, {}),
        ({"": b"a"}, {}),
        ({"a": "/etc"}, {}),
        ({"deep/a": "../../x"}, {}),
        ({"a": "b", "a/x": b"c"}, {}),
        ({"a": "b"}, {"folders": ["a/b"]}),
        ({}, {"folders": ["../x"]}),
        ({}, {"folders": ["/tmp/x"]}),
        ({}, {"folders": ["a/.."]}),
        ({}, {"workdir": "../.."}),
        ({}, {"workdir": "/"}),
    ],
)
def test_paths_that_lead_out_of_the_job_s_folder_are_refused_and_nothing_is_written(node, files, options):
    process = node.start("submit")
    _, err = process.communicate(request(("true",), "t", files, **options), timeout=120)
    assert process.returncode == 1
    assert b"outside the project" in err or b"is behind a link" in err
    assert not list(node.home.glob(".gpujob/jobs/*")), "nothing is begun"
    assert not (node.home / ".gpujob/x").exists()


def test_content_that_does_not_have_its_announced_hash_is_never_kept(node):
    honest = request(("true",), "t", {"a": b"honest"})
    process = node.start("submit")
    _, err = process.communicate(honest.splitlines()[0] + b"\n" + in_blocks(b"fooled"), timeout=120)
    assert process.returncode == 1
    assert b"changed during the upload" in err
    number = node.submit("cat", "a", token="again", files={"a": b"honest"})  # it is asked for once more
    node.wait(number)
    assert node.ask("logs", str(number), "0") == b"honest"


def test_content_that_the_disk_lost_is_told_and_sent_again(node):
    files = {"a": b"kept", "b": b"lost"}
    node.wait(node.submit("true", token="one", files=files))
    [pack] = [path for path in (node.home / ".gpujob/store").iterdir() if "-" in path.name]
    pack.write_bytes(pack.read_bytes().replace(b"lost", b"los\0"))
    process = node.start("submit")
    _, err = process.communicate(request(("true",), "two", files, sent=[]), timeout=120)
    assert (process.returncode, b"rerun the command" in err) == (1, True)
    answer = node.ask("submit", stdin=request(("cat", "a", "b"), "three", files, sent=[b"lost"]))
    number = json.loads(answer.splitlines()[-1])["job"]
    node.wait(number)
    assert node.ask("logs", str(number), "0") == b"keptlost"


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.99])
def test_a_project_that_is_cut_short_starts_no_job(node, keep):
    whole = request(("true",), "t", {"big": os.urandom(100_000)})
    process = node.start("submit")
    _, err = process.communicate(whole[: int(len(whole) * keep)], timeout=120)
    assert process.returncode == 1
    assert b"is incomplete" in err
    assert json.loads(node.ask("jobs")) == []
    assert [p.name for p in (node.home / ".gpujob/jobs").glob("incoming-*")] == []


def test_a_project_with_a_file_too_few_starts_no_job(node):
    process = node.start("submit")
    _, err = process.communicate(request(("true",), "t", {"a": b"1", "b": b"2"}, sent=[b"1"]), timeout=120)
    assert (process.returncode, b"is incomplete" in err) == (1, True)


def test_a_job_that_ignores_sigterm_is_killed_all_the_same(node):
    number = node.submit("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    wait_for(lambda: node.record(number)["log_bytes"], "output")
    record = json.loads(node.ask("cancel", str(number)))
    assert (record["state"], record["exit_code"]) == ("cancelled", 128 + signal.SIGKILL)


def test_jobs_take_turns_in_order_and_those_that_fit_run_side_by_side(node):
    first, second = (node.submit("sleep", "600", token=t, gpus=1, slots=2) for t in "ab")
    both, last = node.submit("true", token="c", gpus=None, slots=2), node.submit("true", token="d", gpus=0, slots=2)
    wait_for(lambda: node.record(second)["state"] == "running", "second job")
    assert [node.record(n)["gpus"] for n in (first, second)] == [[0], [1]]
    assert [node.record(n)["state"] for n in (both, last)] == ["queued", "queued"]
    node.ask("cancel", str(first))
    assert node.record(both)["state"] == "queued"
    node.ask("cancel", str(second))
    assert node.wait(both)["gpus"] == [0, 1]
    assert node.wait(last)["started_at"] >= node.record(both)["started_at"]


def test_a_job_sees_the_gpus_that_it_got_and_its_variables(node):
    number = node.submit("sh", "-c", "echo $CUDA_VISIBLE_DEVICES", gpus=2, slots=4)
    node.wait(number)
    assert node.ask("logs", str(number), "0") == b"0,1\n"


def test_a_queued_job_can_be_cancelled_and_the_line_moves_on(node):
    first, second, third = (node.submit("sleep", "600", token=t, gpus=None) for t in "abc")
    wait_for(lambda: node.record(first)["state"] == "running", "first job")
    record = json.loads(node.ask("cancel", str(second)))
    assert (record["state"], record["started_at"]) == ("cancelled", None)
    assert node.record(third)["state"] == "queued"
    node.ask("cancel", str(first))
    wait_for(lambda: node.record(third)["state"] == "running", "third job")
    node.ask("cancel", str(third))


def test_a_killed_supervisor_in_the_line_holds_nobody_up(node):
    first, second, third = (node.submit("sleep", "600", token=t, gpus=None) for t in "abc")
    state = node.home / f".gpujob/jobs/{second}/state.json"
    wait_for(state.exists, "supervisor")
    os.kill(json.loads(state.read_text())["supervisor"][0], signal.SIGKILL)
    wait_for(lambda: node.record(second)["state"] == "interrupted", "verdict")
    assert node.record(third)["state"] == "queued"
    node.ask("cancel", str(first))
    wait_for(lambda: node.record(third)["state"] == "running", "third job")
    node.ask("cancel", str(third))


def test_a_time_limit_ends_a_job_and_is_told(node):
    number = node.submit("sleep", "600", time_limit_s=0.2)
    record = node.wait(number)
    assert (record["state"], record["exit_code"]) == ("failed", 128 + signal.SIGTERM)
    assert record["reason"] == "its time limit of 0.2 s was reached"


def test_a_follower_that_hangs_up_leaves_no_process(node):
    number = node.submit("sleep", "600")
    follower = node.start("logs", str(number), "0", "--follow")
    follower.stdin.close()
    assert follower.wait(10) == 0
    node.ask("cancel", str(number))


def test_an_unknown_job_and_an_offset_beyond_the_log_are_told_in_one_line(node):
    unknown = node.start("logs", "7", "0")
    assert unknown.communicate(timeout=120)[1] == b"no job 7\n"
    assert unknown.returncode == 3
    number = node.submit("true")
    node.wait(number)
    beyond = node.start("logs", str(number), "1")
    assert b"has only 0 bytes, offset 1 is past its end" in beyond.communicate(timeout=120)[1]
    assert beyond.returncode == 1


@pytest.mark.parametrize("number", ["..", "../jobs", "", "1/../1", "-1"])
def test_a_number_that_is_none_leads_nowhere(node, number):
    process = node.start("outputs", number)
    process.communicate(timeout=120)
    assert process.returncode == 3


def test_a_full_disk_does_not_cost_the_exit_code(node):
    folder = node.home / ".gpujob/jobs"
    number = node.submit("sh", "-c", "while [ ! -e ../go ]; do sleep 0.02; done; exit 5")
    wait_for((folder / str(number) / "end.json").exists, "room for the end")
    room = (folder / str(number) / "end.json").stat()
    (node.home / f".gpujob/work/{number}/go").touch()
    record = node.wait(number)
    assert (record["state"], record["exit_code"]) == ("failed", 5)
    after = (folder / str(number) / "end.json").stat()
    assert (after.st_size, after.st_ino) == (room.st_size, room.st_ino)  # written in place, in room taken before


def test_outputs_without_rights_are_read_all_the_same_and_links_become_relative(node):
    number = node.submit(
        "sh",
        "-c",
        "mkdir shut; echo a > shut/a; chmod 000 shut/a shut; mkdir sub; ln -s $PWD/shut/a sub/link; ln -s /etc far",
    )
    node.wait(number)
    answer = json.loads(node.ask("outputs", str(number)))
    assert answer["unreadable"] == []
    assert {o["path"]: o["link"] for o in answer["outputs"]} == {"shut/a": None, "sub/link": "../shut/a", "far": "/etc"}


def test_a_project_with_a_file_named_outputs_runs(node):
    number = node.submit("sh", "-c", "echo x > $GPUJOB_OUTPUTS/x", files={"outputs": b"a file"})
    assert node.wait(number)["state"] == "succeeded"
    assert [o["path"] for o in json.loads(node.ask("outputs", str(number)))["outputs"]] == ["gpujob-outputs/x"]


def test_a_conda_environment_named_pytorch_is_what_python_means(node):
    python = node.home / "miniforge3/envs/pytorch/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    number = node.submit("python", "-c", "import sys; print(sys.executable)")
    assert node.wait(number)["python"] == str(python)


def test_the_agent_packs_to_the_same_bytes_each_time():
    first = pack_agent()
    pack_agent.cache_clear()
    assert pack_agent() == first
