"""A sent training that loses its machine ends with the weights of one that never did, to the last bit."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import away_fixtures, s3
from tests.away_fixtures import Sending
from tests.conftest import wait_for

pytestmark = pytest.mark.timeout(400)  # each run takes a process that loads torch
proxy, sending = s3.proxy, away_fixtures.sending

ROOT = Path(__file__).parent.parent.parent
ALONE = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
SPEC = find_spec("sklearn")
DIGITS = Path(SPEC.origin).parent / "datasets/data/digits.csv.gz" if SPEC and SPEC.origin else Path()
# As users write it: nothing in it knows of gpujob, but for the pause in which the first machine is lost. Order and dropout
# come from torch's random numbers, the rate from a schedule, the weights to keep from an average.
PLAIN = b"""
import os, pathlib, time
import numpy, torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
torch.manual_seed(0)
table = torch.from_numpy(numpy.loadtxt("digits.csv.gz", delimiter=",", max_rows=400, dtype="float32"))
images, labels = table[:, :-1] / 16, table[:, -1].long()
model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(32, 10))
average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)
parts = {"model": model, "average": average, "optimizer": optimizer, "schedule": schedule}
path, first = pathlib.Path("last.pt"), 0
if path.exists():
    saved = torch.load(path)
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    torch.set_rng_state(saved["random"])
    first = saved["epoch"] + 1
for epoch in range(first, 6):
    for batch in torch.randperm(len(images)).split(100):
        loss = torch.nn.functional.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        average.update_parameters(model)
    schedule.step()
    state = {name: part.state_dict() for name, part in parts.items()}
    torch.save({**state, "random": torch.get_rng_state(), "epoch": epoch}, "last.new")
    os.replace("last.new", path)
    print("epoch", epoch, flush=True)
    while epoch == 2 and os.environ.get("GPUJOB_ATTEMPT") == "1":
        time.sleep(1)
flat = [each.detach().flatten() for network in (model, average) for each in network.parameters()]
pathlib.Path("weights").write_bytes(torch.cat(flat).numpy().tobytes())
"""


def run_here(folder: Path, *words: str) -> None:
    """Run Python in a folder to its end, without gpujob."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GPUJOB_")}
    subprocess.run([sys.executable, *words], cwd=folder, env={**kept, **ALONE}, check=True, capture_output=True)


def words_of(*words: str) -> list[str]:
    """Return the same as a command of a job."""
    return ["env", *(f"{name}={value}" for name, value in ALONE.items()), sys.executable, *words]


def test_a_plain_loop_goes_on_where_its_machine_was_lost_and_ends_with_the_same_weights(
    sending: Sending, tmp_path: Path
) -> None:
    files = {"train.py": PLAIN, "digits.csv.gz": DIGITS.read_bytes()}
    sending.send(*words_of("train.py"), files=files)
    first = sending.boot()
    whole = tmp_path / "whole"
    whole.mkdir()
    for name, content in files.items():
        (whole / name).write_bytes(content)
    run_here(whole, "train.py")
    wait_for(sending.has_output, "the first manifest")
    first.kill()
    sending.boot()
    end = sending.end(timeout_s=120)
    assert (end["state"], end["attempt"]) == ("succeeded", 2)
    assert "epoch 0" not in sending.log(2)
    assert sending.output("weights") == (whole / "weights").read_bytes()
