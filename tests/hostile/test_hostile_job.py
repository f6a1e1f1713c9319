"""A job may do on its machine what it likes: its record stays true, and what the agent lists and sends stays its outputs."""

import hashlib
import json
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.node.agent import caches
from tests import agent_fixtures as fixtures
from tests.conftest import wait_for

node = fixtures.node

RECORDS = (
    "job.json manifest.json state.json runner.json end.json hashes.json asked.json fetched lock watched queued log"
)
DAEMON = """
import os, sys, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                open("late.txt", "a").write("x")
                open(os.path.expanduser("~/late.txt"), "a").write("x")
                time.sleep(0.01)
        os._exit(0)
time.sleep(0.3)
"""
ODD = r"""
import os, socket
names = b"new\nline", b"esc\x1b[31m", b"latin-\xff", b"quote'\"", b" ", b"-rf", b"x" * 255, b"tab\t", b"~", b"*"
for name in (*names, "\u202e".encode()): open(name, "w").write("1")
os.mkfifo("pipe"); os.mkfifo("dir-pipe")
socket.socket(socket.AF_UNIX).bind("socket")
deep = "/".join(["d" * 40] * 60)
os.makedirs(deep); open(deep + "/bottom", "w").write("1")
os.symlink("loop", "loop"); os.symlink("..", "up"); os.symlink("/", "root"); os.symlink("missing", "dangling")
with open("sparse", "wb") as file: file.truncate(1 << 30)
os.mkdir("shut"); open("shut/a", "w").write("1"); os.chmod("shut/a", 0); os.chmod("shut", 0)
"""


def outputs(node, number: int) -> dict:
    return json.loads(node.ask("outputs", str(number)))


def run(node, *command: str, token: str = "t", **options: object) -> int:
    number = node.submit(*command, token=token, **options)
    node.wait(number)
    return number


def send_all(node, number: int, told: dict) -> dict[str, bytes]:
    """Every file that was told, as it comes over the wire."""
    asked = [[each["path"], 0, each["outside"]] for each in told["outputs"] if each["link"] is None]
    stream = node.ask("send", str(number), stdin=json.dumps(asked).encode())
    found = {}
    while stream:
        line, _, stream = stream.partition(b"\n")
        header = json.loads(line)
        found[header["path"]] = stream[: header["size_bytes"]]
        stream = stream[header["size_bytes"] :]
    return found


def test_a_job_that_writes_to_all_that_lies_beside_it_does_not_rewrite_its_own_end(node):
    script = (
        f"for name in {RECORDS}; do for up in .. ../..; do echo '{{\"exit_code\": 0}}' > $up/$name; done; done; exit 7"
    )
    number = run(node, "sh", "-c", script)
    record = node.record(number)
    assert (record["state"], record["exit_code"], record["fetched"]) == ("failed", 7, False)
    assert run(node, "true", token="next") == number + 1


def test_a_job_that_makes_links_of_the_folders_around_it_does_not_move_the_next_one(node):
    planted = "mkdir -p ~/.gpujob/work/3/project; echo 1 > ~/.gpujob/work/3/project/x"
    script = f"rm -rf ~/.gpujob/work/2; ln -s /tmp ~/.gpujob/work/2; {planted}"
    first = run(node, "sh", "-c", script, token="a")
    for token in "bc":
        number = run(node, "sh", "-c", "pwd; ls", token=token, files={"code.txt": b""})
        log = node.ask("logs", str(number), "0").decode().split()
        assert log == [f"{os.path.realpath(node.home)}/.gpujob/work/{number}/project", "code.txt", "empty", "outputs"]
    assert first == 1


def test_processes_that_a_job_leaves_are_ended_and_what_they_wrote_is_its_output(node):
    number = run(node, sys.executable, "-c", DAEMON)
    wait_for(lambda: not node.processes("-c"), "end of what it left")
    told = outputs(node, number)
    assert [each["path"] for each in told["outputs"]] == ["late.txt"]
    assert [each["path"] for each in told["left"]] == ["~/late.txt"]
    assert hashlib.sha256(send_all(node, number, told)["late.txt"]).hexdigest() == told["outputs"][0]["sha256"]


def test_names_and_kinds_of_files_that_nobody_expects_are_told_and_sent(node):
    number = run(node, sys.executable, "-c", ODD)
    assert node.record(number)["exit_code"] == 0, node.ask("logs", str(number), "0")
    told = outputs(node, number)
    paths = {os.fsencode(each["path"]): each for each in told["outputs"]}
    assert {b"new\nline", b"latin-\xff", b"x" * 255, b" ", b"-rf", b"shut/a", b"sparse"} <= paths.keys()
    assert not {b"pipe", b"dir-pipe", b"socket"} & paths.keys()
    assert {name for name, each in paths.items() if each["link"] is not None} == {b"loop", b"up", b"root", b"dangling"}
    assert told["unreadable"] == []
    big = [each for each in told["outputs"] if each["path"] != "sparse"]
    sent = send_all(node, number, {"outputs": big})
    assert {path: hashlib.sha256(content).hexdigest() for path, content in sent.items()} == {
        each["path"]: each["sha256"] for each in big if each["link"] is None
    }


def test_a_job_that_fills_its_disk_leaves_what_can_be_listed_and_sent(node):
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(node.home / ".gpujob")]
    agent = {path.name: path.read_bytes() for path in (node.home / ".gpujob").iterdir()}
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here: that takes root")
    try:
        for name, content in agent.items():
            (node.home / ".gpujob" / name).write_bytes(content)
        number = run(node, "sh", "-c", "echo 1 > small; dd if=/dev/zero of=fill bs=64k 2> /dev/null; exit 9")
        assert (node.record(number)["state"], node.record(number)["exit_code"]) == ("failed", 9)
        told = outputs(node, number)
        assert {each["path"] for each in told["outputs"]} == {"small", "fill"}
        assert send_all(node, number, told)["small"] == b"1\n"
        outputs(node, number)
        node.ask("fetched", str(number))
    finally:
        subprocess.run(["umount", "--lazy", str(node.home / ".gpujob")], check=True)


def test_a_job_that_changes_the_size_of_a_file_while_it_is_sent_fools_nobody(node):
    number = run(node, "sh", "-c", "echo 1 > a")
    (node.home / f".gpujob/work/{number}/project/a").write_bytes(b"")
    assert send_all(node, number, {"outputs": [{"path": "a", "outside": False, "link": None}]}) == {"a": b""}


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize(
    "name", ["../job.json", "../../1/project/a", "/etc/passwd", "", "a//b", "a/../b", "parent/../../jobs"]
)
def test_no_name_leads_out_of_the_working_folder(node, name, outside):
    number = run(node, "sh", "-c", "mkdir a; echo 1 > a/b")
    process = node.start("send", str(number))
    out, err = process.communicate(json.dumps([[name, 0, outside]]).encode(), timeout=120)
    assert out == b""
    assert b"Traceback" not in err


def test_a_job_that_is_killed_with_its_supervisor_leaves_its_outputs(node):
    number = node.submit("sh", "-c", "echo 1 > a; sleep 600")
    runner, supervisor = node.identity(number, "runner"), node.identity(number, "supervisor")
    main = node.identity(number, "main")
    wait_for(lambda: any(node.home.glob(".gpujob/work/*/project/a")), "the output")
    for pid in (supervisor, runner, main):
        os.kill(pid, signal.SIGKILL)
    assert node.wait(number)["state"] == "interrupted"
    assert [each["path"] for each in outputs(node, number)["outputs"]] == ["a"]


PART = st.sampled_from(["a", "core.1", "venv", "x.pyc", ".cache", "huggingface", "MNIST", "raw", "*", "[", "\n", "é"])


@given(st.lists(PART, min_size=1, max_size=5).map("/".join), st.lists(PART, min_size=1, max_size=3).map("/".join))
def test_a_path_is_excluded_as_soon_as_a_folder_above_it_is(name, pattern):
    if caches.is_excluded(name, [pattern]):
        assert caches.is_excluded(f"{name}/below", [pattern])
    if caches.lies_in_cache(name):
        assert caches.lies_in_cache(f"{name}/below")
