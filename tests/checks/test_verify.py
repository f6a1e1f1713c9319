"""The smoke test of a machine: what is measured there, by stand-ins where the real thing needs a GPU, and how it is judged."""

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from infra.base.decoding import decode
from infra.checks.peaks import peak_tflops
from infra.checks.verification import judge_gpus, judge_machine
from infra.model import Cluster, Gpu, Node
from infra.node.measures import ListedGpu, Measures, Product
from tests import agent_fixtures as fixtures
from tests.conftest import make_laptop
from tests.nvidia import write_tool

pytestmark = pytest.mark.timeout(400)

node = fixtures.node
MISMATCH = (
    "echo 'Failed to initialize NVML: Driver/library version mismatch'; echo 'NVML library version: 570.86'; exit 18"
)
TWO = "echo 'NVIDIA A10G, 23028'; echo 'NVIDIA A10G, 23028'"
# A torch whose GPUs take a millisecond for each product.
TORCH = """
import contextlib
__version__, bfloat16, float16 = "9.9", "torch.bfloat16", "torch.float16"
class Tensor:
    def __matmul__(self, other): cuda.products += 1; return self
    def __eq__(self, other): return self
    all = lambda self: self
    item = lambda self: True
ones = randn = lambda *size, device, dtype: Tensor()
device = lambda kind, index: index
class Event:
    def __init__(self, enable_timing): pass
    def record(self): self.at = cuda.products
    def elapsed_time(self, other): return other.at - self.at
class cuda:
    products, Event = 0, Event
    device_count = staticmethod(lambda: 2)
    get_device_capability = staticmethod(lambda index: (8, 6) if index else (7, 5))
    device = staticmethod(lambda index: contextlib.nullcontext())
    synchronize = staticmethod(lambda: None)
"""


@pytest.fixture
def measure(node, tmp_path, monkeypatch):
    """Measure a node whose nvidia-smi is a shell script, and whose python3 has a module torch."""

    def run(smi: str | None, torch: str) -> Measures:
        programs = tmp_path / "programs"
        programs.mkdir()
        (programs / "torch.py").write_text(torch)
        scripts = {"python3": f'PYTHONPATH={programs} exec {sys.executable} -B "$@"', "nvidia-smi": smi}
        for name, script in scripts.items():
            if script is not None:
                (programs / name).write_text(f"#!/bin/sh\n{script}\n")
                (programs / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        return decode(Measures, json.loads(node.ask("measure")))

    return run


TWO_A10G = Gpu("A10G", 2)


def cluster(gpu: Gpu | None = TWO_A10G, cloud: str = "aws") -> Cluster:
    node = Node("i-1", "running", "127.0.0.1", 22, "g5.12xlarge", "a")
    return Cluster("c", cloud, "r", (node,), gpu, 1.0, 1000.0, 0.0, "me")


def judged(measures: Measures, rented: Cluster) -> dict[str, tuple[str, str]]:
    return {check: (verdict, found) for check, verdict, found in judge_gpus(measures, rented)}


def test_gpus_are_listed_and_each_multiplies_in_the_type_that_it_knows(measure, tmp_path):
    found = measure(TWO, TORCH)
    assert found.gpus == (ListedGpu("NVIDIA A10G", 23028 << 20),) * 2
    assert [product.kind for product in found.torch.products] == ["float16", "bfloat16"]
    assert [round(product.tflops) for product in found.torch.products] == [1100, 1100]  # 2 x 8192^3 a millisecond
    rows = judged(found, cluster())
    assert rows["nvidia-smi"] == ("ok", "NVIDIA A10G (22.5 GiB), NVIDIA A10G (22.5 GiB)")
    assert rows["torch"] == ("ok", "9.9 sees 2 of 2")
    assert rows["matrix product"][0] == "ok"
    assert [disk.name for disk in found.disks if disk.name == "home" and disk.written_bytes_s and disk.read_bytes_s]
    assert not list(tmp_path.glob(".gpujob-verify*"))


def test_a_driver_that_was_changed_under_the_system_is_named_with_its_cure(measure):
    found = measure(MISMATCH, "raise RuntimeError('no CUDA here')")
    rows = judged(found, cluster())
    assert rows["nvidia-smi"][0] == "failed"
    assert "Driver/library version mismatch" in rows["nvidia-smi"][1]
    assert "gpujob stop" in rows["nvidia-smi"][1]
    assert rows["torch"][0] == "failed"
    assert rows["torch"][1].endswith("RuntimeError: no CUDA here")
    assert rows["matrix product"][0] == "failed"


def test_no_nvidia_smi_is_a_failure_where_a_gpu_was_rented_and_none_elsewhere(measure):
    found = replace(measure("exit 127", TORCH), smi="absent")
    assert judged(found, cluster())["nvidia-smi"] == ("failed", "absent")
    for rented in (cluster(None), cluster(cloud="local")):
        rows = judged(found, rented)
        assert {verdict for verdict, _ in rows.values()} == {"not measured", "ok"}
        assert rows["matrix product"][0] == "not measured"


def test_on_the_local_cloud_a_missing_torch_or_another_number_of_gpus_is_no_failure(measure):
    found = measure(TWO, "raise ModuleNotFoundError(\"No module named 'torch'\")")
    rows = judged(replace(found, driver="570.86"), cluster(Gpu("T4", 1), "local"))
    assert {check: verdict for check, (verdict, _) in rows.items()} == {
        "driver": "ok",
        "nvidia-smi": "ok",
        "torch": "not measured",
        "matrix product": "not measured",
    }


def test_what_does_not_fit_fails(measure):
    found = replace(measure(TWO, TORCH), driver="570.86", lease_until=1000.0, guarded=True, now=0.0)
    slow = replace(found.torch, products=(Product("bfloat16", 69), Product("bfloat16", 7)))
    assert judged(replace(found, torch=slow), cluster())["matrix product"][0] == "failed"
    assert judged(replace(found, torch=replace(slow, seen=1)), cluster())["torch"][0] == "failed"
    assert judged(replace(found, gpus=found.gpus[:1]), cluster())["nvidia-smi"][0] == "failed"
    assert judged(replace(found, driver=""), cluster())["driver"][0] == "failed"
    assert judged(replace(found, busy=3), cluster())["matrix product"] == ("not measured", "job 3 is using GPUs")

    def failed(measures: Measures, skew_s: float = 0.0) -> set[str]:
        return {check for check, verdict, _ in judge_machine(measures, cluster(), skew_s) if verdict == "failed"}

    assert failed(found) == set()
    assert failed(found, 90.0) == {"clock"}
    assert failed(replace(found, lease_until=None, guarded=False)) == {"lease", "guard"}
    assert failed(replace(found, lease_until=9000.0)) == {"lease"}
    full = replace(found.disks[0], free_bytes=10)
    assert failed(replace(found, disks=(full,))) == {"disk, home"}


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("Tesla T4", 65),
        ("Tesla V100-SXM2-16GB", 125),
        ("NVIDIA A10G", 70),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA L4-3Q", None),
        ("Tesla K80", None),
    ],
)
def test_the_peak_of_a_gpu_is_known_by_the_name_that_its_driver_gives_it(name, peak):
    assert peak_tflops(name) == peak


def test_verify_measures_every_machine_and_fails_with_what_fails(laptop):
    assert laptop.type("up", "--dry-run", "--nodes", "2").code == 0
    answer = laptop.type("verify", "--json")
    assert answer.code == 0, answer.said
    rows = json.loads(answer.out)
    assert len({row["node"] for row in rows}) == 2
    verdicts = {row["check"]: row["status"] for row in rows}
    assert verdicts["driver"] == verdicts["nvidia-smi"] == verdicts["matrix product"] == "not measured"
    assert {verdicts[check] for check in ("agent", "lease", "guard", "clock", "disk, home", "network")} == {"ok"}
    ring = {row["node"]: row["found"] for row in rows if row["check"] == "network, nodes" and row["status"] == "ok"}
    assert all(re.match(r"to i-\w+: [1-9][\d.]* Gbit/s, 0\.\d+ ms", found) for found in ring.values()), ring
    assert sorted(ring) == sorted(found.split()[1].rstrip(":") for found in ring.values())  # each reaches another one
    for shims in Path(laptop.home).glob(".local/state/gpujob/local/hosts/*/bin"):
        (shims / "nvidia-smi").write_text(f"#!/bin/sh\n{MISMATCH}\n")
        (shims / "nvidia-smi").chmod(0o755)
    broken = laptop.type("verify")
    assert broken.code == 1
    assert "Driver/library version mismatch" in broken.out
    assert "nvidia-smi" in broken.err


def test_jobs_of_the_local_cloud_use_the_gpus_of_this_computer(tmp_path):
    """As on WSL, where nvidia-smi is in a folder that only the user's own PATH has, and the driver is not a module."""
    path = f"{write_tool(tmp_path / 'wsl')}{os.pathsep}{os.environ['PATH']}"
    (tmp_path / "driver").mkdir()
    (tmp_path / "driver/libcuda.so.1").touch()
    desk = make_laptop(tmp_path / "desk", PATH=path, LD_LIBRARY_PATH=f"/nowhere:{tmp_path}/driver")
    desk.write("show.py", "import os, subprocess; print(os.environ['CUDA_VISIBLE_DEVICES'], os.environ['LD_LIBRARY_PATH'])\n"
               "print(subprocess.run(['nvidia-smi', '-L'], capture_output=True, text=True).stdout)\n"
               "raise SystemExit('RuntimeError: CUDA error: invalid device ordinal')\n")  # fmt: skip
    try:
        assert desk.type("up", "--dry-run", "--gpu", "A100:8").code == 0
        run = desk.type("run", "--no-deps", "--gpus", "1", "show.py")
        assert run.out.startswith(f"0 {tmp_path}/driver\nGPU 0: NVIDIA H100"), run.said
        assert "this computer, whose GPUs the local cloud uses, has fewer than A100:8\n" in run.err
        assert json.loads(desk.type("jobs", "--json").out)[0]["driver"] == "570.86.15"
        rows = {row["check"]: row for row in json.loads(desk.type("verify", "--json").out)}
        assert (rows["driver"]["status"], rows["driver"]["found"]) == ("ok", "570.86.15")
        assert rows["nvidia-smi"]["found"] == "NVIDIA H100 80GB HBM3 (79.6 GiB): this computer's, in place of A100:8"
        assert "sees 0 of 1" in rows["torch"]["found"]  # that of this environment, which is for CPUs
    finally:
        desk.give_back()
