"""What `top` shows of one machine and of several, on narrow and wide terminals."""

import time
from dataclasses import replace

import pytest
from rich.console import Console

from cli.job.usage import frame, head, plain_lines
from infra.model import Cluster, Gpu, GpuUse, JobUse, Node, NodeUse
from tests.here import move_in
from tests.history.past import JOB

GIB = 1 << 30
GPUS = (
    GpuUse(0, "NVIDIA A10G", 97.0, 20 * GIB, 22 * GIB, 71.0),
    GpuUse(1, "NVIDIA A10G", 3.0, 1 * GIB, 22 * GIB, None),
)
LINE = "epoch 3 " + "loss 0.123456 " * 14
RUNNING = replace(JOB, state="running", exit_code=None, ended_at=None, seconds=60.0)
USE = NodeUse(1.0, 4, 2.5, 16 * GIB, 8 * GIB, 100 * GIB, 50 * GIB, GPUS, (JobUse(RUNNING, 1.5, GIB, LINE),))
NODE = Node("i-1", "running", "h", 22, "g5.12xlarge", "us-east-1a", price_usd=1.0)
CLUSTER = Cluster("stud", "aws", "us-east-1", (NODE,), Gpu("A10G", 2), 1.0, time.time() + 12 * 3600, time.time(), "o")


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    return move_in(tmp_path, monkeypatch)


def draw(width: int, *uses: NodeUse) -> str:
    """Return a frame as a terminal shows it."""
    console = Console(width=width, file=None)
    with console.capture() as shown:
        console.print(frame(replace(CLUSTER, nodes=(NODE,) * len(uses)), uses, "", width))
    return shown.get()


def test_each_gpu_has_its_memory_and_its_temperature_if_it_reports_one():
    shown = head(CLUSTER, [USE])
    assert shown["gpu 0"].endswith(" 97%, 20.0 GiB of 22.0 GiB, 71 °C, NVIDIA A10G")
    assert shown["gpu 1"].endswith(" 3%, 1.0 GiB of 22.0 GiB, NVIDIA A10G")


def test_all_machines_of_a_cluster_are_shown():
    shown = head(replace(CLUSTER, nodes=(NODE, NODE)), [USE, replace(USE, cpu_used=0.1, gpus=(), jobs=())])
    assert shown["cluster"] == "stud, 2 x g5.12xlarge, us-east-1a"
    assert shown["node 0"] == "cpu 2.5 of 4, memory 8.0 GiB of 16.0 GiB, disk 53.7 GB free"
    assert shown["  gpus 0"] == "97% 3%, 21.0 GiB of 44.0 GiB, 71 °C"
    assert shown["node 1"].startswith("cpu 0.1 of 4, ")
    assert "  gpus 1" not in shown
    assert [line for line in plain_lines(CLUSTER, [USE]) if line.startswith("1\t")]


@pytest.mark.parametrize("width", [80, 120, 260])
def test_the_last_line_takes_the_width_that_there_is(width):
    lines = draw(width, USE, USE).splitlines()
    assert max(map(len, lines)) <= width
    [row] = [line for line in lines if "epoch 3" in line]
    assert width - 12 < len(row.rstrip()) or LINE.strip() in row
    assert lines[-1].startswith("q or Ctrl-C exits")


def test_failing_uploads_of_any_machine_are_said_below_the_jobs():
    failing = replace(USE, upload_fault="AccessDenied: no\x1b[2J")
    said = "warning: nothing is uploaded to the bucket: AccessDenied: no"
    assert [line for line in plain_lines(CLUSTER, [failing]) if line.startswith(said) and "\x1b" not in line]
    assert said in draw(120, USE, failing)
    assert said not in draw(120, USE, USE)
