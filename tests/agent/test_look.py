"""What the agent finds for `top`, and what that costs when hundreds of jobs have ended."""

import json
import os
import subprocess

from infra.node.agent.usage import gpu_use
from tests import agent_fixtures as fixtures
from tests.conftest import REPOSITORY

node = fixtures.node
END = {"exit_code": 0, "cancelled": False, "reason": "", "ended_at": 2.0, "seconds": 1.0}
COUNT = """
import sys
opened = []
sys.addaudithook(lambda event, given: opened.append(given[0]) if event == "open" and "/.gpujob/jobs/" in str(given[0]) else None)
from infra.node.agent.node.look import list_shown
for _ in range(2):
    opened.clear()
    shown = list_shown(3)
print(len(opened), [job["number"] for job in shown])
"""


def record_job(node, number: int, ended: bool = True, like: int = 1) -> None:
    """Write the records of a job like another one."""
    folder = node.home / f".gpujob/jobs/{number}"
    folder.mkdir()
    job = node.home / f".gpujob/jobs/{like}/job.json"
    (folder / "job.json").write_text(job.read_text())
    (folder / "state.json").write_text(json.dumps({"started_at": 1.0, "started_s": 1.0}))
    (folder / "end.json").write_text(json.dumps(END) if ended else " " * 4096)


def numbers(node, count: int) -> list[int]:
    """The jobs that are shown."""
    return [each["job"]["number"] for each in json.loads(node.ask("look", str(count)))["jobs"]]


def test_hundreds_of_ended_jobs_cost_as_little_as_ten(node):
    assert node.wait(node.submit("true"))["state"] == "succeeded"
    counts = []
    for first, last in ((2, 10), (11, 300)):
        for number in range(first, last + 1):
            record_job(node, number)
        environment = {"HOME": str(node.home), "PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)}
        said = subprocess.run([node.python, "-c", COUNT], env=environment, capture_output=True, check=True).stdout
        count, _, shown = said.decode().partition(" ")
        assert json.loads(shown) == [last - 2, last - 1, last]
        counts.append(int(count))
    assert counts[0] == counts[1] < 40


def test_a_running_job_is_shown_however_many_later_ones_have_ended_until_it_ends(node):
    first = node.submit("sleep", "600")
    node.identity(first, "main")
    assert numbers(node, 3) == [first]
    for number in range(first + 1, first + 10):
        record_job(node, number, like=first)
    for _ in range(2):
        assert numbers(node, 2) == [first, first + 8, first + 9]
        assert numbers(node, 0) == [first]
    node.ask("cancel", str(first))
    assert numbers(node, 2) == [first + 8, first + 9]
    assert numbers(node, 0) == []


def test_a_long_last_line_is_kept_for_a_wide_terminal(node):
    number = node.submit("python3", "-c", "print('x' * 450 + 'end')")
    node.wait(number)
    [job] = json.loads(node.ask("look", "1"))["jobs"]
    assert job["last_line"] == "x" * 450 + "end"


def test_a_gpu_has_memory_and_temperature_and_one_that_does_not_report_it_is_shown(tmp_path, monkeypatch):
    smi = tmp_path / "nvidia-smi"
    smi.write_text(
        "#!/bin/sh\n"
        'test "$1" = --query-gpu=index,name,utilization.gpu,memory.used,memory.total,temperature.gpu || exit 1\n'
        "echo '0, NVIDIA A10G, 97, 20000, 23028, 71'; echo '1, NVIDIA A10G, 0, 1, 23028, [N/A]'\n"
    )
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    first, second = gpu_use()
    assert (first["percent"], first["memory_used_bytes"], first["temperature_c"]) == (97, 20000 << 20, 71)
    assert (second["name"], second["temperature_c"]) == ("NVIDIA A10G", None)
