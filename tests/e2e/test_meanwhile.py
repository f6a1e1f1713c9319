"""While `run` is attached, what a job has written whole comes home; a machine that dies costs only the rest."""

import json
import os
import signal

import psutil

from tests.cloudwatch import watch
from tests.conftest import wait_for
from tests.e2e.test_life import processes_of

WRITE = """
import mmap, os, time
open("whole.txt", "w").write("whole")
half = open("half.txt", "w"); half.write("ha"); half.flush()
with open("mapped.bin", "wb") as file: file.truncate(4096)
with open("mapped.bin", "r+b") as file: mapped = mmap.mmap(file.fileno(), 4096)
print("written")
while not os.path.exists("../changed"): time.sleep(0.05)
os.remove("../changed")
open("whole.txt", "w").write("whole, again")
print("changed")
while not os.path.exists("../go"): time.sleep(0.05)
half.write("lf"); half.close(); mapped[:5] = b"ready"; mapped.close()
print("done")
"""


def job_folder(laptop):
    [folder] = laptop.home.glob(".local/state/gpujob/local/hosts/*/home/.gpujob/work/1")
    return folder


def test_what_is_whole_comes_home_while_the_job_runs_and_what_is_half_written_does_not(laptop):
    assert laptop.type("up", "--dry-run").code == 0
    laptop.write("write.py", WRITE)
    run = laptop.start("run", "--fetch-every", "0.5s", "write.py")
    home = laptop.project / "runs/project-1"
    wait_for((home / "files/whole.txt").exists, "first output")
    (job_folder(laptop) / "changed").touch()
    wait_for(lambda: (home / "files/whole.txt").read_text() == "whole, again", "its second version")
    assert {path.name for path in home.iterdir() if not path.name.startswith(".")} == {"files", "receipt.json"}
    assert [path.name for path in (home / "files").iterdir()] == ["whole.txt"]
    receipt = json.loads((home / "receipt.json").read_text())
    assert (receipt["job"]["state"], receipt["job"]["fetched"]) == ("running", False)
    (job_folder(laptop) / "go").touch()
    out, err = run.communicate(timeout=120)
    assert (run.returncode, out) == (0, b"written\nchanged\ndone\n"), err
    assert (home / "files/half.txt").read_text() == "half"
    assert (home / "files/mapped.bin").read_bytes() == b"ready" + bytes(4091)
    assert (home / "job.log").read_bytes() == out
    assert {path.name for path in home.iterdir()} == {".gitignore", "files", "job.log", "receipt.json"}
    assert {path.name for path in (home / "files").iterdir()} == {"whole.txt", "half.txt", "mapped.bin"}
    assert {o["path"] for o in json.loads((home / "receipt.json").read_text())["outputs"]} == {
        "whole.txt",
        "half.txt",
        "mapped.bin",
    }


def test_a_machine_that_dies_leaves_what_had_come_home_and_its_log(laptop):
    assert laptop.type("up", "--dry-run").code == 0
    laptop.write("write.py", WRITE)
    run = laptop.start("run", "--fetch-every", "0.5s", "write.py")
    home = laptop.project / "runs/project-1"
    wait_for((home / "files/whole.txt").exists, "first output")
    os.kill(watch(laptop).cloud.pid, signal.SIGKILL)
    _, err = run.communicate(timeout=120)
    assert run.returncode == 1
    assert b"Traceback" not in err
    assert (home / "files/whole.txt").read_text() == "whole"
    assert (home / "job.log").read_text() == "written\n", err
    shown = laptop.type("receipt", "1")
    assert shown.code == 0
    assert "whole.txt" in shown.out
    wait_for(lambda: not [p for p in processes_of(laptop) if psutil.pid_exists(p.pid)], "end of the cloud")
