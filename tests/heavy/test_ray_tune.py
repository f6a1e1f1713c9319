"""A sweep by Ray Tune over two nodes, with the real Ray from the project's own requirements: make test-ray."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import Laptop, make_laptop, wait_for

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """A laptop with a cluster of two nodes, in a folder with the sweep."""
    machine = make_laptop(tmp_path_factory.mktemp("ray"), GPUJOB_CLUSTER="pair")
    shutil.copytree(Path(__file__).parent / "sweep", machine.project, dirs_exist_ok=True)
    try:
        up = machine.type("up", "pair", "--dry-run", "--nodes", "2")
        assert up.code == 0, up.said
        yield machine
    finally:
        machine.give_back()


def number_of(said: str) -> str:
    return re.search(r"job (\d+) on", said)[1]


def rays(laptop: Laptop) -> list[str]:
    """Every living process of Ray on the hosts of this laptop's local cloud."""
    found = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
            ours = process.environ().get("HOME", "").startswith(str(laptop.home))
        except psutil.Error:
            continue
        if ours and ("/ray/" in line or "ray::" in line):
            found.append(line)
    return found


def test_a_sweep_runs_on_both_nodes_and_nothing_of_ray_is_left(pair):
    run = pair.type("run", "--nodes", "2", "--launcher", "ray", "tune.py", timeout_s=900)
    assert run.code == 0, run.said
    assert "0| nodes [0, 1]" in run.out
    assert "0| best 0.5 0.0" in run.out
    wait_for(lambda: not rays(pair), "the end of Ray")
    receipt = json.loads((pair.project / f"runs/pair-{number_of(run.said)}/receipt.json").read_text())
    assert [part["exit_code"] for part in receipt["parts"]] == [0, 0]
    paths = [output["path"] for output in receipt["outputs"]]
    assert any(path.startswith("outputs/sweep/") for path in paths)
    assert not [path for path in paths if "session_" in path]


def test_a_worker_that_freezes_ends_the_job_and_ray_everywhere(pair):
    (pair.project / "wait.py").write_text("import ray, time\nray.init()\nprint('up', flush=True)\ntime.sleep(600)\n")
    run = pair.type("run", "--nodes", "2", "--launcher", "ray", "--detach", "wait.py", timeout_s=300)
    number = number_of(run.said)
    wait_for(lambda: "up" in pair.type("logs", "--node", "0", number).out, "the start of the script", 300)
    assert pair.type("local", "fault", "freeze=1").code == 0
    waited = pair.type("wait", number, timeout_s=180)
    assert waited.code == 1
    assert re.search(r"node 1 \(i-\w+\) was not heard of for 30 s", waited.err), waited.said
    assert pair.type("local", "faults", "--clear").code == 0
    wait_for(lambda: not rays(pair), "the end of Ray, also on the node that was frozen")
