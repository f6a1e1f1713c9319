"""A training of jobs.train that is sent and loses its machine ends with the weights of one that never did."""

import os
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests import away_fixtures, s3
from tests.agent.test_away_training import run_here, words_of
from tests.away_fixtures import Sending
from tests.conftest import wait_for

pytestmark = pytest.mark.timeout(600)
proxy, sending = s3.proxy, away_fixtures.sending

TRAIN = (
    *("-m", "jobs.train", "--data", "digits", "--model", "lenet", "--epochs", "4", "--ema", "0.9", "--crop", "1"),
    *("--device", "cpu", "--precision", "float32", "--layout", "contiguous", "--save-every", "0.01s"),
    *("--out", "out", "--resume", "auto"),
)


def test_jobs_train_goes_on_where_its_machine_was_lost_and_ends_with_the_same_weights(
    sending: Sending, tmp_path: Path
) -> None:
    sending.send(*words_of(*TRAIN), files={"note": b""})
    first = sending.boot()
    whole = tmp_path / "whole"
    whole.mkdir()
    checkpoints = first.node.home / ".gpujob/work/1/project/out/checkpoints"
    wait_for(lambda: [*checkpoints.glob("step-*")], "a checkpoint")
    # A file that was just written is not complete yet: the training pauses until one is.
    (training,) = first.node.processes("jobs.train")
    os.kill(training, signal.SIGSTOP)
    wait_for(lambda: find_steps(sending, 1), "the first manifest")
    (step,) = find_steps(sending, 1)
    first.kill()
    sending.boot()
    run_here(whole, *TRAIN)
    end = sending.end(timeout_s=120)
    assert (end["state"], end["attempt"]) == ("succeeded", 2), sending.log(2)
    assert f"resuming from out/checkpoints/{step}" in sending.log(2)
    (tmp_path / "model.safetensors").write_bytes(sending.output("out/model.safetensors"))
    here, there = load_file(tmp_path / "model.safetensors"), load_file(whole / "out/model.safetensors")
    assert here.keys() == there.keys()
    assert all(here[name].equal(there[name]) for name in here)


def find_steps(sending: Sending, attempt: int) -> set[str]:
    """Return the checkpoints that the bucket has of an attempt."""
    found = (sending.get(f"tasks/0/{attempt}/outputs.json") or {"outputs": []})["outputs"]
    return {each["path"].split("/")[2] for each in found if each["path"].startswith("out/checkpoints/step-")}
