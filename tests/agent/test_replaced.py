"""What the bucket keeps of a job that removes its last checkpoint before the next one is complete there."""

from typing import Any

from infra.node.agent.bucket.replaced import keep_replaced
from tests import away_fixtures, s3
from tests.away_fixtures import Sending
from tests.conftest import wait_for

proxy, sending = s3.proxy, away_fixtures.sending

# Saves a checkpoint of two files, then another one, removes the first, and is not yet done with the second one's last file.
TRAINING = b"""
import pathlib, shutil, sys, time
def save(step):
    folder = pathlib.Path("out/ck", f"step-{step}")
    folder.mkdir(parents=True)
    (folder / "a").write_text(f"weights {step}")
    (folder / "b").write_text(f"state {step}")
    return folder
first = save(1)
while not (pathlib.Path.home() / "go").exists():
    time.sleep(0.05)
second = save(2)
shutil.rmtree(first)
with (second / "b").open("a") as state:
    time.sleep(600)
"""


def named(*paths: str) -> dict[tuple[bool, str], dict[str, Any]]:
    """Return outputs with these names."""
    return {(False, path): {"path": path} for path in paths}


OLD, NEW = named("out/ck/step-1/a", "out/ck/step-1/b"), ("out/ck/step-2/a", "out/ck/step-2/b")


def test_the_last_checkpoint_stays_until_all_of_the_next_one_is_there() -> None:
    assert keep_replaced(OLD, {}, NEW) == OLD
    assert keep_replaced(OLD, named(NEW[0]), NEW[1:]) == OLD
    assert keep_replaced(OLD, named(*NEW), ()) == named(*NEW)
    assert keep_replaced({}, named(NEW[0], "out/metrics"), NEW[1:]) == named("out/metrics")


def test_a_single_file_stays_until_the_next_one_is_there() -> None:
    for folder in ("", "ck/"):
        before, after = named(f"{folder}1.pt"), named(f"{folder}2.pt")
        assert keep_replaced(before, {}, [f"{folder}2.pt"]) == before
        assert keep_replaced(before, after, []) == after
        assert keep_replaced(before, after, [f"{folder}state.json"]) == after, "that is written all the time"


def test_what_is_removed_for_good_and_logs_that_are_written_keep_nothing() -> None:
    assert keep_replaced(OLD, {}, ()) == {}
    assert keep_replaced(OLD, {}, ("out/ck/train.log", "out/ck/events.out.tfevents.1")) == {}
    assert keep_replaced(OLD, {}, ("out/ck/step-1/a",)) == {}, "the round itself keeps what is being rewritten"
    assert keep_replaced(OLD, {}, ("elsewhere/deep/er/a",)) == {}


def test_a_machine_that_is_lost_while_a_checkpoint_is_replaced_leaves_the_one_before(sending: Sending) -> None:
    sending.send("python", "training.py", files={"training.py": TRAINING}, first_s=0.05, upload_s=1.0)
    machine = sending.boot()
    wait_for(sending.has_output, "the first checkpoint")
    (machine.node.home / "go").touch()
    wait_for(lambda: "out/ck/step-2/b" in sending.get("tasks/0/1/outputs.json")["unsettled"], "the second checkpoint")
    machine.kill()
    assert [sending.output(f"out/ck/step-1/{name}") for name in "ab"] == [b"weights 1", b"state 1"]
    saved = sending.get("tasks/0/1/outputs.json")["outputs"]
    assert {each["path"] for each in saved} == {"out/ck/step-1/a", "out/ck/step-1/b"}
