"""What counts as an output: what lies outside of the working folder, caches, very much of it, one file under several names."""

import json
import os
import re
import shlex
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


def results(laptop: Laptop) -> Path:
    """The results of the one job of this project."""
    [folder] = (laptop.project / "runs").iterdir()
    return folder


def number_of(laptop: Laptop) -> str:
    return results(laptop).name.rpartition("-")[2]


def files_below(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def receipt(laptop: Laptop) -> dict:
    return json.loads((results(laptop) / "receipt.json").read_text())


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
    assert "not downloaded (outside the working folder" not in fetch.err
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
    assert (run.code, "private to the machine" in run.err) == (1, True), run.said
    assert json.loads(up.type("jobs", "--json").out) == []
    assert up.type("run", "--output", "~/nothing", "a.py").err.count("but not found") == 1


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


def test_exclude_leaves_out_what_matches_for_this_time(project):
    project.write("write.py", "open('a.bin', 'w').write('a'); open('b.txt', 'w').write('b')")
    assert project.type("run", "--detach", "write.py").code == 0
    assert project.type("wait", number_of(project)).code == 0
    assert project.type("fetch", number_of(project), "--exclude", "*.bin").code == 0
    assert files_below(results(project) / "files").keys() == {"b.txt"}
    assert receipt(project)["job"]["fetched"] is False
    assert project.type("fetch", number_of(project)).code == 0
    assert files_below(results(project) / "files").keys() == {"a.bin", "b.txt"}
    assert receipt(project)["job"]["fetched"] is True


def test_more_than_a_gigabyte_is_not_downloaded_unasked_and_not_lost(up):
    sizes = "(('big/a', 1_080_000_000), ('big/b', 10_000_000))"
    big = f"for name, size in {sizes}:\n    with open(name, 'wb') as file: file.truncate(size)\n"
    up.write("write.py", f"import os; os.makedirs('big'); open('small', 'w').write('1')\n{big}")
    run = up.type("run", "write.py")
    assert run.code == 0, run.said
    assert "not yet downloaded: 1 file, 1.1 GB" in run.err
    assert "gpujob fetch 1 --yes" in run.err
    assert (results(up) / "files/small").exists()
    down = up.type("down")
    assert (down.code, "gpujob fetch --cluster project 1 --yes" in down.err) == (1, True), down.said


def test_one_file_under_three_names_is_transferred_and_stored_once(project):
    project.write(
        "write.py",
        "import os; open('step-100.pt', 'wb').write(os.urandom(300_000)); os.mkdir('best')\n"
        "os.link('step-100.pt', 'last.pt'); os.link('step-100.pt', 'best/model.pt')\n",
    )
    assert project.type("run", "write.py").code == 0
    names = [results(project) / "files" / name for name in ("step-100.pt", "last.pt", "best/model.pt")]
    assert len({path.stat().st_ino for path in names}) == 1
    assert 300_000 <= receipt(project)["downloaded_bytes"] < 400_000
    assert project.type("fetch", number_of(project)).code == 0
    assert receipt(project)["downloaded_bytes"] < 400_000
    assert "data transfer would have cost under $0.01" in project.type("receipt", number_of(project)).out


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


def test_checkpoints_that_the_job_removes_are_removed_here_too_unless_they_were_changed(project):
    project.write("rotate.py", ROTATE)
    run = project.start("run", "--fetch-every", "0.3s", "rotate.py")
    try:
        wait_for(lambda: list(project.project.glob("runs/*/files/ck-a.pt")), "first checkpoint")
        files = results(project) / "files"
        [parent] = project.home.glob(f".local/state/gpujob/local/hosts/*/home/.gpujob/work/{number_of(project)}")
        for step, name in enumerate("abcd"):
            wait_for((files / f"ck-{name}.pt").exists, f"checkpoint {name}")
            if name == "b":
                (files / "ck-b.pt").write_text("mine")
            if name == "d":
                wait_for(lambda: not (files / "ck-a.pt").exists(), "removal of the first")
            (parent / f"go-{step}").touch()
        _, err = run.communicate(timeout=120)
    finally:
        run.kill()
    assert run.returncode == 0, err
    assert files_below(files) == {"ck-b.pt": "mine", "ck-c.pt": "checkpoint 2", "ck-d.pt": "checkpoint 3"}
    assert {each["path"] for each in receipt(project)["outputs"]} == {"ck-c.pt", "ck-d.pt"}


SAY = "import time\nfor _ in range(40): print('x' * 500, flush=True); time.sleep(0.02)\nopen('done', 'w').write('1')\n"


@pytest.mark.parametrize("stream", ["closed", "full", "gone"])
def test_an_output_that_cannot_be_written_here_does_not_end_or_repeat_the_job(project, stream):
    project.write("say.py", SAY)
    words = f"{shlex.join(COMMAND)} run say.py"
    said = run_shell(
        project, {"closed": f"{words} >&-", "full": f"{words} > /dev/full", "gone": f"{words} | head -n 1"}[stream]
    )
    number = number_of(project)
    assert not {word for word in ("Traceback", "Exception", "type it again", "rerun") if word in said}, said
    assert stream == "closed" or re.search(rf"gpujob logs.* -f.* {number}", said), said
    assert project.type("wait", number).code == 0
    assert project.type("fetch", number).code == 0
    assert files_below(results(project) / "files") == {"done": "1"}


def test_a_disk_of_this_computer_that_is_full_does_not_end_or_repeat_the_job(project):
    runs = project.project / "runs"
    runs.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(runs)], capture_output=True, check=False
    ).returncode:
        pytest.skip("no file system can be mounted here: that takes root")
    try:
        project.write("say.py", SAY.replace("500", "5000").replace("'1'", "'1' * 200_000"))
        run = project.type("run", "say.py")
        assert run.code == 1, run.said
        assert len(run.out) == 40 * 5001  # it was followed to its end
        number = number_of(project)
        assert "No space left on device" in run.err
        assert "free some disk space, then: gpujob fetch" in run.err or "gpujob fetch" in run.err
        assert not {word for word in ("Traceback", "Exception", "type it again", "rerun") if word in run.said}, run.said
        elsewhere = project.type("fetch", number, "--to", str(project.home / f"elsewhere-{number}"))
        assert elsewhere.code == 0, elsewhere.said
    finally:
        subprocess.run(["umount", "--lazy", str(runs)], check=True)


def run_shell(laptop: Laptop, words: str) -> str:
    """What a line of shell says on stderr."""
    done = subprocess.run(
        ["bash", "-c", words], cwd=laptop.project, env=laptop.environment, capture_output=True, timeout=120, check=False
    )
    return done.stderr.decode()
