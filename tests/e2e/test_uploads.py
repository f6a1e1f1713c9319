"""A machine that ends in the middle of a job, whose log and outputs are in the bucket of its cluster."""

import json
from pathlib import Path

from tests.conftest import Laptop, wait_for

TRAIN = """\
import time
open('step.txt', 'w').write('1')
print('step 1', flush=True)
time.sleep(600)
"""


def has_outputs(laptop: Laptop) -> bool:
    """Return whether the job's first output has arrived in the bucket: job, log, manifest and the file."""
    jobs = json.loads(laptop.type("bucket", "ls", "auto", "--dry-run", "--json").out)
    return bool(jobs) and jobs[0]["objects"] > 3


def test_a_job_is_read_from_the_bucket_once_its_machine_is_gone(laptop, tmp_path):
    up = laptop.type("up", "stud", "--dry-run", "--bucket", "auto")
    assert up.code == 0, up.said
    assert "  bucket   auto; log and outputs uploaded every minute\n" in up.err
    laptop.write("train.py", TRAIN)
    assert laptop.type("run", "--detach", "train.py").code == 0
    wait_for(lambda: has_outputs(laptop), "upload of the output")
    laptop.type("ssh", "stud", "--", "sudo shutdown -h now")
    wait_for(lambda: "reading the bucket" in laptop.type("jobs").err, "end of the machine")

    assert [job["state"] for job in json.loads(laptop.type("jobs", "--json").out)] == ["interrupted"]
    assert laptop.type("logs").out == "step 1\n"
    other = move_away(laptop, tmp_path / "elsewhere")
    assert [job["cluster"] for job in json.loads(other.type("bucket", "ls", "auto", "--json").out)] == ["stud"]
    assert [job["state"] for job in json.loads(other.type("jobs", "--cluster", "stud", "--json").out)] == [
        "interrupted"
    ]
    assert other.type("logs", "--cluster", "stud").out == "step 1\n"
    fetch = other.type("fetch", "--cluster", "stud")
    assert fetch.code == 0, fetch.said
    assert (other.project / "runs/stud-1/files/step.txt").read_text() == "1"
    assert "its machine ended before the last upload" in fetch.err
    receipt = json.loads(other.type("receipt", "--cluster", "stud", "--json").out)
    assert (receipt["job"]["state"], receipt["instance_type"]) == ("interrupted", "g4dn.xlarge"), receipt
    stays = laptop.type("down", "stud", "--yes")
    assert stays.code == 0, stays.said
    remove = laptop.type("bucket", "rm", "auto", "--all", "--dry-run", "--yes")
    assert remove.err == "deleted 4 objects\n"
    assert json.loads(laptop.type("bucket", "du", "auto", "--dry-run", "--json").out)["jobs"] == 0


def move_away(laptop: Laptop, folder: Path) -> Laptop:
    """Return another laptop: credentials of the same cloud and the bucket's name, no cluster, no project."""
    state = folder / "home/.local/state/gpujob"
    state.mkdir(parents=True)
    (state / "local").symlink_to(laptop.home / ".local/state/gpujob/local")
    (folder / "other").mkdir()
    settings = {"GPUJOB_DRY_RUN": "1", "GPUJOB_BUCKET": "auto"}
    return Laptop(folder / "home", folder / "other", settings)
