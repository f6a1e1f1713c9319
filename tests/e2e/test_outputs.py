"""What counts as an output: what lies outside of the working folder, caches, very much of it, one file under several names."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import COMMAND, Laptop, wait_for

OUTSIDE = """
import os, pathlib
home = pathlib.Path.home()
os.makedirs("../working", exist_ok=True)
pathlib.Path("../working/submission.csv").write_text("id,label")
(home / "ckpt.pt").write_bytes(b"weights")
(home / ".cache/nanochat").mkdir(parents=True, exist_ok=True)
(home / ".cache/nanochat/model.bin").write_bytes(b"m" * 100)
pathlib.Path("inside.txt").write_text("inside")
"""


def results(laptop: Laptop, number: int = 1, cluster: str = "project") -> Path:
    return laptop.project / f"runs/{cluster}-{number}"


def files_below(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def receipt(laptop: Laptop, number: int = 1) -> dict:
    return json.loads((results(laptop, number) / "receipt.json").read_text())


@pytest.fixture
def up(laptop):
    """A laptop with a cluster of its own."""
    assert laptop.type("up", "--dry-run").code == 0
    return laptop


def test_what_lies_outside_is_listed_downloaded_on_request_and_not_lost_by_down(up):
    up.write("write.py", OUTSIDE)
    run = up.type("run", "write.py")
    assert run.code == 0, run.said
    assert "1 output (6 bytes)" in run.err
    for name in (
        "../working/submission.csv (8 bytes)",
        "~/ckpt.pt (7 bytes)",
        "~/.cache/nanochat/model.bin (100 bytes)",
    ):
        assert name in run.err
    [command] = re.findall(r"gpujob (fetch 1 --output.*)", run.err)
    assert "--output '~/ckpt.pt'" in command

    down = up.type("down")
    assert down.code == 1, down.said
    assert "'~/ckpt.pt'" in down.err
    assert "gpujob down project --force" in down.err

    fetch = up.type("fetch", "1", "--output", "~/ckpt.pt", "--output", "../working", "--output", "~/.cache/nanochat")
    assert fetch.code == 0, fetch.said
    assert "outside of the working folder" not in fetch.err
    assert files_below(results(up) / "outside") == {
        "parent/working/submission.csv": "id,label",
        "home/ckpt.pt": "weights",
        "home/.cache/nanochat/model.bin": "m" * 100,
    }
    assert files_below(results(up) / "files") == {"inside.txt": "inside"}
    assert receipt(up)["job"]["fetched"] is True
    assert {each["path"] for each in receipt(up)["outside"]["outputs"]} >= {"home/ckpt.pt"}
    down = up.type("down")
    assert down.code == 0, down.said


def test_what_run_or_the_project_asks_for_comes_by_itself_and_is_never_lost(up):
    up.write("gpujob.toml", '[fetch]\nalso = ["../working"]\nexclude = ["~/.cache/nanochat", "*.tmp"]\n')
    up.write("write.py", OUTSIDE + "open('x.tmp', 'w').write('x')\n")
    assert up.type("run", "--detach", "--output", "~/ckpt.pt", "write.py").code == 0
    assert up.type("wait").code == 0
    down = up.type("down")
    assert down.code == 0, down.said
    assert files_below(results(up) / "outside").keys() == {"parent/working/submission.csv", "home/ckpt.pt"}
    assert files_below(results(up) / "files").keys() == {"inside.txt"}


def test_a_temporary_file_is_named_and_does_not_keep_a_cluster_running(up):
    name = f"gpujob-test-{os.getpid()}.bin"
    up.write("write.py", f"import pathlib, tempfile; pathlib.Path(tempfile.gettempdir(), '{name}').write_text('12345')")
    try:
        run = up.type("run", "write.py")
        assert f"{name} (5 bytes)" in run.err
        down = up.type("down")
        assert (down.code, f"{name} (5 bytes)" in down.err) == (0, True), down.said
    finally:
        (Path("/tmp") / name).unlink(missing_ok=True)


def test_a_path_that_cannot_be_asked_for_starts_no_job(up):
    up.write("a.py", "")
    run = up.type("run", "--output", "~/.ssh/id_rsa", "a.py")
    assert (run.code, "never downloaded" in run.err) == (1, True), run.said
    assert json.loads(up.type("jobs", "--json").out) == []
    assert up.type("run", "--output", "~/nothing", "a.py").err.count("is not there") == 1


def test_caches_stay_on_the_machine_and_are_named_with_the_command_that_downloads_them(up):
    up.write(
        "write.py",
        "import os\n"
        "for path in ('.venv/lib/a.py', 'data/MNIST/raw/train-images-idx3-ubyte', 'out/a.txt', 'core.123'):\n"
        "    os.makedirs(os.path.dirname(path) or '.', exist_ok=True); open(path, 'w').write('1234')\n",
    )
    run = up.type("run", "write.py")
    assert files_below(results(up) / "files").keys() == {"out/a.txt"}
    for name in (".venv (4 bytes)", "data/MNIST/raw (4 bytes)", "core.123 (4 bytes)"):
        assert name in run.err
    assert up.type("fetch", "1", "--output", "data/MNIST/raw").code == 0
    assert files_below(results(up) / "files").keys() == {"out/a.txt", "data/MNIST/raw/train-images-idx3-ubyte"}
    assert up.type("down").code == 0


def test_exclude_leaves_out_what_matches_for_this_time(up):
    up.write("write.py", "open('a.bin', 'w').write('a'); open('b.txt', 'w').write('b')")
    assert up.type("run", "--detach", "write.py").code == 0
    assert up.type("wait").code == 0
    assert up.type("fetch", "1", "--exclude", "*.bin").code == 0
    assert files_below(results(up) / "files").keys() == {"b.txt"}
    assert receipt(up)["job"]["fetched"] is False
    assert up.type("down").code == 0
    assert files_below(results(up) / "files").keys() == {"a.bin", "b.txt"}


def test_more_than_a_gigabyte_is_not_downloaded_unasked_and_not_lost(up):
    big = "for name in ('big/a', 'big/b'):\n    with open(name, 'wb') as file: file.truncate(700_000_000)\n"
    up.write("write.py", f"import os; os.makedirs('big'); open('small', 'w').write('1')\n{big}")
    run = up.type("run", "write.py")
    assert run.code == 0, run.said
    assert "not downloaded yet: 1 file, 700.0 MB" in run.err
    assert "gpujob fetch 1 --yes" in run.err
    assert (results(up) / "files/small").exists()
    (results(up) / "files/big/a").unlink(missing_ok=True)
    down = up.type("down")
    assert (down.code, "gpujob fetch --cluster project 1 --yes" in down.err) == (1, True), down.said


def test_one_file_under_three_names_is_transferred_and_stored_once(up):
    up.write(
        "write.py",
        "import os; open('step-100.pt', 'wb').write(os.urandom(300_000)); os.mkdir('best')\n"
        "os.link('step-100.pt', 'last.pt'); os.link('step-100.pt', 'best/model.pt')\n",
    )
    assert up.type("run", "write.py").code == 0
    names = [results(up) / "files" / name for name in ("step-100.pt", "last.pt", "best/model.pt")]
    assert len({path.stat().st_ino for path in names}) == 1
    assert 300_000 <= receipt(up)["downloaded_bytes"] < 400_000
    assert up.type("fetch", "1").code == 0
    assert receipt(up)["downloaded_bytes"] < 400_000


ROTATE = """
import os, pathlib, time
def wait(name):
    while not os.path.exists(f"../{name}"): time.sleep(0.02)
for step in range(4):
    pathlib.Path(f"ck-{'abcd'[step]}.pt").write_text(f"checkpoint {step}")
    if step > 1: os.remove(f"ck-{'abcd'[step - 2]}.pt")
    print("step", step, flush=True)
    wait(f"go-{step}")
"""


def test_checkpoints_that_the_job_removes_are_removed_here_too_unless_they_were_changed(up):
    up.write("rotate.py", ROTATE)
    run = up.start("run", "--fetch-every", "0.3s", "rotate.py")
    files = results(up) / "files"
    try:
        for step, name in enumerate("abcd"):
            wait_for((files / f"ck-{name}.pt").exists, f"checkpoint {name}", 60)
            if name == "b":
                (files / "ck-b.pt").write_text("mine")
            if name == "d":
                wait_for(lambda: not (files / "ck-a.pt").exists(), "removal of the first", 60)
            [work] = up.home.glob(".local/state/gpujob/local/hosts/*/home/.gpujob/work/1")
            (work / f"go-{step}").touch()
        _, err = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == 0, err
    assert files_below(files) == {"ck-b.pt": "mine", "ck-c.pt": "checkpoint 2", "ck-d.pt": "checkpoint 3"}
    assert {each["path"] for each in receipt(up)["outputs"]} == {"ck-c.pt", "ck-d.pt"}


@pytest.mark.parametrize("stream", ["closed", "full", "gone"])
def test_an_output_that_cannot_be_written_here_does_not_end_or_repeat_the_job(up, stream):
    up.write(
        "say.py",
        "import time\nfor _ in range(40): print('x' * 500, flush=True); time.sleep(0.02)\nopen('done', 'w').write('1')",
    )
    words = f"{' '.join(COMMAND)} run say.py"
    shell = {"closed": f"{words} >&-", "full": f"{words} > /dev/full", "gone": f"{words} | head -n 1"}[stream]
    done = run_shell(up, shell)
    assert "Traceback" not in done
    assert "Exception" not in done
    assert "type it again" not in done
    assert "rerun" not in done
    if stream != "closed":
        assert "gpujob logs" in done
        assert "-f 1" in done
    assert up.type("wait", "1").code == 0
    assert up.type("fetch", "1").code == 0
    assert (results(up) / "files/done").exists()
    assert len(json.loads(up.type("jobs", "--json").out)) == 1


def run_shell(laptop: Laptop, words: str) -> str:
    """What a line of shell says on stderr."""
    done = subprocess.run(
        ["bash", "-c", words], cwd=laptop.project, env=laptop.environment, capture_output=True, timeout=120, check=False
    )
    return done.stderr.decode()
