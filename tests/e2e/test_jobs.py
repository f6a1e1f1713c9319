"""What jobs do, good and bad, and that none of it is lost."""

import hashlib
import json
import re
import shutil
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import psutil
import pytest

from tests.cloudwatch import node_home
from tests.conftest import wait_for


def job_number(said: str) -> int:
    """The number that `run` told."""
    return int(re.search(r"job (\d+) on", said).group(1))


@pytest.mark.parametrize("code", [0, 3, 255])
def test_run_exits_with_the_job_s_code(project, code):
    project.write("end.py", f"raise SystemExit({code})")
    assert project.type("run", "end.py").code == code


def test_variables_reach_the_job_and_the_nearer_ones_win(project):
    project.write("job.env", "ONE=file\nTWO='of file'\n")
    project.write("show.py", "import os; print(os.environ['ONE'], os.environ['TWO'], os.environ['THREE'])")
    run = project.type("run", "--env-file", "job.env", "--env", "ONE=given", "-e", "THREE=a=b c", "show.py")
    assert run.out == "given of file a=b c\n"


def write_wheel(path: Path) -> None:
    """A wheel of one module."""
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny_thing.py", "ANSWER = 42\n")
        wheel.writestr("tiny_thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\n")
        wheel.writestr(
            "tiny_thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("tiny_thing-1.0.dist-info/RECORD", "")


def test_what_a_project_depends_on_is_installed_once_and_on_top_of_what_is_there(project):
    write_wheel(project.project / "wheels/tiny_thing-1.0-py3-none-any.whl")
    project.write("requirements.txt", "./wheels/tiny_thing-1.0-py3-none-any.whl\n")
    project.write("use.py", "import pytest, tiny_thing; print(tiny_thing.ANSWER)")
    first, second = project.type("run", "use.py"), project.type("run", "use.py")
    assert (first.code, second.code) == (0, 0), first.said
    assert "dependencies installed in" in first.out
    assert "dependencies from requirements.txt are already installed" in second.out
    assert first.out.endswith("42\n")
    jobs = json.loads(project.type("jobs", "--json").out)[-2:]
    assert jobs[0]["dependencies"] == jobs[1]["dependencies"] != ""


def test_the_manifest_nearest_to_the_script_is_named_and_a_missing_module_with_the_line_to_add(project):
    project.write("requirements.txt", "nowhere-to-be-had\n")
    (project.project / "week3").mkdir()
    project.write("week3/requirements.txt", "pytest\n")
    project.write("week3/use.py", "import pytest, serial")
    run = project.type("run", "week3/use.py")
    assert run.code == 1
    assert "dependencies: week3/requirements.txt\n" in run.said
    assert "'serial' is not installed (dependencies were from week3/requirements.txt)" in run.said
    added = "  add this line to week3/requirements.txt: pyserial\n"
    assert added in run.err
    number, elsewhere = str(job_number(run.err)), project.home.parent
    assert added in project.type("logs", "-f", number).err
    wait = project.type("wait", number, cwd=elsewhere)
    assert (wait.code, added in wait.err) == (1, True), wait.said


def test_a_missing_program_is_explained_also_when_the_jobs_are_listed(project):
    run = project.type("run", "--no-deps", "--", "no-such-program", "--now")
    said = "the local cloud runs this computer's programs, and 'no-such-program' is not installed here\n"
    assert (run.code, said in run.err) == (127, True), run.said
    assert f"job {job_number(run.err)} failed (exit 127) after" in (listed := project.type("jobs").err)
    assert said in listed


def test_dependencies_that_cannot_be_had_start_no_job_and_name_the_way_around(project):
    project.write("requirements.txt", "./wheels/not_there-1.0-py3-none-any.whl\n")
    run = project.type("run", "--", "echo", "ran")
    assert run.code == 2
    assert "requirements.txt, line 1: no file ./wheels/not_there-1.0-py3-none-any.whl" in run.said
    assert "ran\n" not in run.out
    around = project.type("run", "--no-deps", "--", "echo", "ran")
    assert around.out == "ran\n"


def test_another_interpreter_can_be_asked_for(project):
    project.write("which.py", "import os, sys; print(os.path.realpath(sys.executable))")
    run = project.type("run", "--python", "/usr/bin/python3", "which.py")
    assert run.out == f"{Path('/usr/bin/python3').resolve()}\n"
    missing = project.type("run", "--python", "/not/there", "which.py")
    assert (missing.code, "the interpreter /not/there does not run" in missing.said) == (1, True)


def test_the_project_s_own_settings_say_what_travels_and_what_options_default_to(project):
    project.write(".gitignore", "data/\n")
    for name in ("data/labels.csv", "data/images.bin", "notes/long.txt"):
        project.write(name, name)
    (project.project / "empty").mkdir()
    project.write(
        "gpujob.toml", '[sync]\ninclude = ["data/*.csv"]\nexclude = ["notes/"]\n[run]\nname = "mine"\nenv = ["A=1"]\n'
    )
    run = project.type("run", "--", "sh", "-c", "echo $A; find . -mindepth 1 -not -name outputs | sort")
    assert run.out.split() == ["1", "./.gitignore", "./data", "./data/labels.csv", "./empty", "./gpujob.toml"], run.said
    assert json.loads(project.type("jobs", "--json").out)[-1]["name"] == "mine"
    assert project.type("run", "--env", "A=typed", "--", "sh", "-c", "echo $A").out == "typed\n"


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("[runn]\nname = 'x'", "no such command: [runn]"),
        ("[run]\nnane = 'x'", "has no option --nane"),
        ("[run]\ngpus = 'many'", "gpujob.toml: [run] gpus: 'many' is not"),
        ("[run]\ngpus = [1]", "gpujob.toml: [run] gpus: must be a single value"),
        ("[run.env]\nA = '1'", "gpujob.toml: [run] env: must be a list"),
    ],
)
def test_settings_that_no_command_knows_are_told(project, table, says):
    project.write("gpujob.toml", table)
    run = project.type("run", "--", "true")
    assert (run.code, says in run.err) == (2, True), run.said


def test_a_time_limit_is_told(project):
    run = project.type("run", "--time-limit", "0.2s", "--", "sleep", "600")
    assert run.code == 143
    assert "its time limit of 0.2 s was reached" in run.err


def test_a_named_job_is_listed_by_its_name(project):
    assert project.type("run", "--name", "best-one", "--", "true").code == 0
    assert "best-one" in project.type("jobs").out


def test_a_job_ended_by_sigkill_counts_as_137(project):
    project.write("end.py", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    run = project.type("run", "end.py")
    assert run.code == 137
    assert re.search(
        r"job \d+ was killed \(SIGKILL, exit 137\) after .*; its largest process used up to \d+ MiB", run.err
    )


def test_the_memory_that_a_job_used_at_most_is_recorded(project):
    project.write("use.py", "x = bytearray(300_000_000)")
    number = job_number(project.type("run", "use.py").err)
    [job] = [job for job in json.loads(project.type("jobs", "--json").out) if job["number"] == number]
    assert 300_000_000 < job["peak_memory_bytes"] < 400_000_000


def test_any_command_runs_and_one_that_is_not_there_is_127(project):
    assert project.type("run", "--", "sh", "-c", "echo $GPUJOB_JOB; exit 4").code == 4
    missing = project.type("run", "--", "no-such-program")
    assert missing.code == 127
    assert "cannot run no-such-program" in missing.out


def test_a_module_runs_as_with_python_m(project):
    project.write("package/__init__.py", "")
    project.write("package/train.py", "import sys; print(__name__, sys.argv[1:])")
    run = project.type("run", "-m", "package.train", "--epochs", "2")
    assert run.out == "__main__ ['--epochs', '2']\n"


def test_a_job_runs_where_the_person_stands_in_the_project(project):
    subprocess.run(["git", "init", "-q", project.project], check=True)
    project.write("lib.py", "")
    script = project.write("sub/train.py", "import os; print(os.getcwd()); open('here.txt', 'w').write('x')")
    run = project.type("run", "train.py", cwd=script.parent)
    assert run.out.rstrip().endswith("/project/sub")
    [home] = (project.project / "runs").glob("shared-*")
    assert (home / "files/sub/here.txt").read_text() == "x"


def test_a_project_of_odd_names_arrives_as_it_is(project):
    subprocess.run(["git", "init", "-q", project.project], check=True)
    odd = project.write("a folder/näme with ' \" $HOME `x` spaces.txt", "odd")
    project.write("empty", b"")
    project.write("binary", bytes(range(256)))
    project.write("run.sh", "#!/bin/sh\n").chmod(0o755)
    (project.project / "link").symlink_to("a folder")
    (project.project / "outside").symlink_to("/etc")
    project.write(".env", "PASSWORD=hunter2")
    project.write(".gitignore", "ignored/\n!kept\n")
    project.write("ignored/big", "x")
    project.write(
        "show.py",
        "import os, hashlib, json\n"
        "found = {}\n"
        "for parent, folders, files in os.walk('.'):\n"
        "    for name in files + folders:\n"
        "        path = os.path.join(parent, name)\n"
        "        found[os.path.relpath(path)] = os.readlink(path) if os.path.islink(path) else ("
        " 'folder' if os.path.isdir(path) else [oct(os.stat(path).st_mode & 0o777), open(path, 'rb').read().hex()])\n"
        "print(json.dumps(found))\n",
    )
    run = project.type("run", "show.py")
    assert run.code == 0, run.said
    found = json.loads(run.out)
    assert found.pop("show.py")
    assert found == {
        "a folder": "folder",
        str(odd.relative_to(project.project)): ["0o644", b"odd".hex()],
        "empty": ["0o644", ""],
        "binary": ["0o644", bytes(range(256)).hex()],
        "run.sh": ["0o755", b"#!/bin/sh\n".hex()],
        "link": "a folder",
        "outputs": "folder",
        ".gitignore": ["0o644", b"ignored/\n!kept\n".hex()],
    }
    assert "'.env'" in run.err
    assert "'outside'" in run.err
    assert "hunter2" not in run.said


def test_a_job_that_writes_nothing_has_a_receipt_and_no_outputs(project):
    run = project.type("run", "--", "true")
    assert run.code == 0
    assert "no outputs\n" in run.err


def test_a_hundred_megabytes_come_home_whole(project):
    project.write("big.py", "import os; open('big.bin', 'wb').write(os.urandom(100_000_000)); print('written')")
    run = project.type("run", "big.py")
    assert run.code == 0, run.said
    [home] = (project.project / "runs").glob("shared-*")
    [output] = json.loads((home / "receipt.json").read_text())["outputs"]
    assert output["size_bytes"] == 100_000_000
    assert hashlib.sha256((home / "files/big.bin").read_bytes()).hexdigest() == output["sha256"]


def test_changed_files_and_links_are_outputs_and_untouched_ones_are_not(project):
    project.write("data.txt", "before")
    project.write("same.txt", "same")
    project.write(
        "change.py",
        "import os\n"
        "open('data.txt', 'w').write('after')\n"
        "open('same.txt', 'w').write('same')\n"
        "open('best.pt', 'w').write('1'); os.link('best.pt', 'last.pt'); os.symlink('best.pt', 'latest')\n"
        "os.symlink('/etc/passwd', 'escape'); os.mkfifo('pipe')\n",
    )
    assert project.type("run", "change.py").code == 0
    [home] = (project.project / "runs").glob("shared-*")
    assert {p.name for p in home.iterdir()} == {".gitignore", "receipt.json", "job.log", "files"}
    assert {p.name for p in (home / "files").iterdir()} == {"data.txt", "best.pt", "last.pt", "latest"}
    assert (home / "files/data.txt").read_text() == "after"
    assert (project.project / "data.txt").read_text() == "before"
    assert (home / "files/latest").readlink().name == "best.pt"


def test_bytes_that_are_no_text_pass_through_unchanged(project):
    noise = bytes(range(256)) * 10
    project.write("noise.py", f"import sys; sys.stdout.buffer.write({noise!r})")
    process = project.start("run", "--raw", "noise.py")
    assert process.communicate(timeout=120)[0] == noise
    [log] = (project.project / "runs").glob("*/job.log")
    assert log.read_bytes() == noise


def test_no_process_of_a_job_outlives_it(project):
    project.write(
        "fork.py",
        "import os, signal, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "        print(os.getpid(), flush=True); time.sleep(600)\n"
        "    os._exit(0)\n"
        "os.wait(); time.sleep(0.5)\n",
    )
    run = project.type("run", "fork.py")
    assert run.code == 0
    assert not psutil.pid_exists(int(run.out))


def test_cancel_ends_every_process_and_says_so(project):
    project.write(
        "stubborn.py",
        "import os, time\n"
        "child = os.fork()\n"
        "if child == 0: os.setsid(); time.sleep(600)\n"
        "print(os.getpid(), child, flush=True); time.sleep(600)\n",
    )
    number = job_number(project.type("run", "--detach", "stubborn.py").err)
    wait_for(lambda: project.type("logs", str(number)).out, "output")
    pids = [int(pid) for pid in project.type("logs", str(number)).out.split()]
    cancel = project.type("cancel", "--cluster", "shared", str(number))
    assert cancel.code == 0
    assert "cancelled" in cancel.err
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert "nothing to do" in project.type("cancel", "--cluster", "shared", str(number)).err


SLOW = """
import pathlib, sys, time
for line in range(40):
    print("line", line, "x" * 1000)
    time.sleep(0.1)
pathlib.Path("done.txt").write_text("done")
"""


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT, signal.SIGHUP])
def test_a_job_goes_on_when_its_client_is_gone_and_nothing_of_it_is_lost(project, stop):
    project.write("slow.py", SLOW)
    process = project.start("run", "slow.py")
    first = process.stdout.readline()
    assert first.startswith(b"line 0")
    process.send_signal(stop)
    said = process.communicate(timeout=120)[1].decode()
    if stop != signal.SIGKILL:
        assert process.returncode == 130
        assert "gpujob logs" in said
    number = job_number(said)

    whole = "".join(f"line {line} {'x' * 1000}\n" for line in range(40))
    follow = project.type("logs", "-f", str(number))
    assert follow.out == whole
    assert "succeeded" in follow.err
    fetch = project.type("fetch", str(number))
    assert fetch.code == 0, fetch.said
    assert (project.project / f"runs/shared-{number}/files/done.txt").read_text() == "done"


def test_wait_ends_with_the_job_and_its_code(project):
    project.write("end.py", "import time; time.sleep(1); raise SystemExit(7)")
    number = job_number(project.type("run", "--detach", "end.py").err)
    for _ in range(2):  # while it runs, and when it is over
        wait = project.type("wait", str(number))
        assert wait.code == 7
        assert f"job {number} failed (exit 7)" in wait.err


def test_the_tail_of_a_log_is_its_last_lines(project):
    number = job_number(project.type("run", "--", "printf", "%s", "a\nb\nc\n").err)
    log = node_home(project) / f".gpujob/jobs/{number}/log"
    assert log.read_text() == "a\nb\nc\n"
    for printed, lines, expected in (
        ("a\nb\nc\n", 2, "b\nc\n"),
        ("a\nb\nc", 2, "b\nc"),
        ("a\n", 5, "a\n"),
        ("a\n", 0, ""),
        ("", 3, ""),
        ("a\n\n\n", 2, "\n\n"),
    ):
        log.write_text(printed)
        assert project.type("logs", "--tail", str(lines), str(number)).out == expected, (printed, lines)


def test_a_log_is_shown_from_a_time_or_a_byte_on(project):
    go = project.project / "go"
    project.write(
        "talk.py",
        "import os, sys, time\n"
        "print('early')\n"
        "while not os.path.exists(sys.argv[1]): time.sleep(0.02)\n"
        "print('late')\n",
    )
    started = project.type("run", "--detach", "talk.py", str(go))
    number = str(job_number(started.err))
    wait_for(lambda: "early" in project.type("logs", number).out, "first line")
    time.sleep(3)  # the book of times has a line for each second
    since = time.time()
    go.touch()
    assert project.type("wait", number).code == 0
    assert project.type("logs", number, "--since", "6b").out == "late\n"
    assert project.type("logs", number, "--since", f"{time.time() - since + 1:.0f}s").out == "late\n"
    assert project.type("logs", number, "--since", "1h").out == "early\nlate\n"
    refused = project.type("logs", number, "--since", "yesterday")
    assert (refused.code, "is not a time" in refused.err) == (2, True)


def test_down_refuses_while_a_job_runs_and_fetches_what_is_left(laptop):
    go = laptop.home / "go"
    laptop.write(
        "slow.py",
        "import os, sys, time\n"
        "while not os.path.exists(sys.argv[1]): time.sleep(0.02)\n"
        "open('out.txt', 'w').write('x')\n",
    )
    assert laptop.type("up", "--dry-run").code == 0
    assert laptop.type("run", "--detach", "slow.py", str(go)).code == 0
    refused = laptop.type("down")
    assert refused.code == 1
    assert "job 1 of 'project' is still running" in refused.err
    assert "--force" in refused.err
    go.touch()
    assert "succeeded" in laptop.type("logs", "-f").err
    assert laptop.type("down").code == 0
    assert (laptop.project / "runs/project-1/files/out.txt").read_text() == "x"


def test_down_with_force_ends_a_running_job(laptop):
    assert laptop.type("up", "--dry-run").code == 0
    assert laptop.type("run", "--detach", "--", "sleep", "600").code == 0
    assert laptop.type("down", "--force").code == 0
    assert laptop.type("ls").out == ""


def test_fetch_again_keeps_what_a_person_changed_here(project):
    project.write("train.py", "open('notes.txt', 'w').write('theirs')")
    number = job_number(project.type("run", "train.py").err)
    home = project.project / f"runs/shared-{number}"
    (home / "files/notes.txt").write_text("mine")
    fetch = project.type("fetch", str(number))
    assert fetch.code == 0
    assert (home / "files/notes.txt").read_text() == "mine"
    assert (home / "files/notes.txt.from-node").read_text() == "theirs"


def test_outputs_may_bear_the_names_of_our_own_records(project):
    project.write(
        "train.py",
        "import os\n"
        "for name in ('receipt.json', 'changes.patch', '.job.log.part', '.receipt.json.part'): os.mkdir(name)\n"
        "for name in ('job.log', '.gitignore', 'files', 'receipt.json/mine'): open(name, 'w').write('theirs')\n",
    )
    run = project.type("run", "train.py")
    assert run.code == 0, run.said
    number = job_number(run.err)
    home = project.project / f"runs/shared-{number}"
    for name in ("job.log", ".gitignore", "files", "receipt.json/mine"):
        assert (home / "files" / name).read_text() == "theirs"
    assert json.loads((home / "receipt.json").read_text())["job"]["number"] == number
    assert (home / ".gitignore").read_text() == "*\n"
    assert project.type("fetch", str(number)).code == 0


def test_a_job_s_results_have_a_receipt_from_the_moment_it_is_queued(project):
    number = job_number(project.type("run", "--detach", "--name", "early", "--", "true").err)
    receipt = json.loads((project.project / f"runs/shared-{number}/receipt.json").read_text())
    assert (receipt["cluster"], receipt["job"]["number"], receipt["job"]["name"]) == ("shared", number, "early")
    assert (receipt["job"]["state"], receipt["outputs"]) == ("queued", [])


def test_what_else_lies_in_runs_is_the_user_s(project):
    project.write("runs/exp1.yaml", "lr: 0.1")
    project.write("runs/shared-notes/todo.txt", "mine")
    assert project.type("run", "--", "true").code == 0
    assert {path.name for path in (project.project / "runs").iterdir()} > {"exp1.yaml", "shared-notes"}
    assert not (project.project / "runs/.gitignore").exists()
    subprocess.run(["git", "init", "-q", project.project], check=True)
    listed = ["git", "-C", str(project.project), "ls-files", "--others", "--exclude-standard"]
    assert set(subprocess.run(listed, capture_output=True, check=True).stdout.decode().split()) == {
        "runs/exp1.yaml",
        "runs/shared-notes/todo.txt",
    }


def test_the_receipt_tells_the_commit_and_whether_it_was_changed(project):
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(project.project)]
    project.write("train.py", "pass")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, check=True).stdout.decode().strip()
    snapshots: set[str] = set()
    for changed in (False, True):
        number = job_number(project.type("run", "train.py").err)
        source = json.loads((project.project / f"runs/shared-{number}/receipt.json").read_text())["job"]["source"]
        assert (source["commit"], source["changed"]) == (head, changed)
        patch = project.project / f"runs/shared-{number}/changes.patch"
        assert patch.exists() == changed
        snapshots.add(source["snapshot"])
        project.write("train.py", "pass  # changed")
    assert len(snapshots) == 2
    assert "+pass  # changed" in patch.read_text()


def test_jobs_as_json_tells_each(project):
    number = job_number(project.type("run", "--", "false").err)
    jobs = json.loads(project.type("jobs", "--json").out)
    [job] = [job for job in jobs if job["number"] == number]
    assert (job["state"], job["exit_code"], job["fetched"]) == ("failed", 1, True)


@pytest.mark.skipif(not shutil.which("ssh"), reason="no ssh program here")
def test_ssh_logs_in_with_the_pinned_key(project):
    answer = project.type("ssh", "shared", "--", "echo", "a b", "$HOME")
    assert answer.code == 0, answer.said
    assert answer.out == "a b $HOME\n"
