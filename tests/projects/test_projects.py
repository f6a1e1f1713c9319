"""Projects of the shapes that users have run unmodified, and exactly the files that a person wants are downloaded."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Finished, Laptop
from tests.projects.shapes import SAVE, SHAPES, Shape
from tests.wheels import write_wheel

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@t", "-c", "protocol.file.allow=always")
TRAIN = """import os, sys
import torch, torch.distributed as dist

dist.init_process_group("gloo")
total = torch.tensor([dist.get_rank() + 1.0])
dist.all_reduce(total)
if dist.get_rank() == 0:
    open("total.txt", "w").write(f"{total.item():g} of {dist.get_world_size()}")
dist.barrier()
dist.destroy_process_group()
sys.exit(7 * int(os.environ["RANK"]))
"""


def git(folder: Path, *words: str) -> None:
    subprocess.run([*GIT, *words], cwd=folder, check=True, capture_output=True)


def write(laptop: Laptop, shape: Shape) -> None:
    """Write a project, with a folder of wheels, and lock it if it has a lock."""
    for name, text in shape.files.items():
        laptop.write(name, text)
    if any("wheels" in text for text in shape.files.values()):
        (laptop.project / "wheels").mkdir()
        write_wheel(laptop.project / "wheels", "tiny", "1.0")
    if "uv.lock" in shape.files:
        (laptop.project / "uv.lock").unlink()
        uv = [sys.executable, "-m", "uv", "lock", "--offline", "--quiet"]
        subprocess.run(uv, cwd=laptop.project, check=True, env={**laptop.environment, "UV_PYTHON": sys.executable})
    if shape.ignored:
        laptop.write(".gitignore", shape.ignored)
        git(laptop.project, "init", "-q")
        git(laptop.project, "add", ".")
        git(laptop.project, "commit", "-qm", "All of it")


def downloaded(laptop: Laptop) -> list[str]:
    """The files that the only job of a project brought."""
    [files] = laptop.project.glob("runs/shared-*/files")
    return list_files(files)


def list_files(files: Path) -> list[str]:
    return sorted(path.relative_to(files).as_posix() for path in files.rglob("*") if not path.is_dir())


@pytest.mark.parametrize("kind", SHAPES)
def test_a_project_of_this_shape_runs_and_brings_what_a_person_wants(project: Laptop, kind: str) -> None:
    shape = SHAPES[kind]
    write(project, shape)
    run = project.type("run", *shlex.split(shape.run), cwd=project.project / shape.workdir)
    assert run.code == 0, run.said
    assert downloaded(project) == sorted(shape.outputs), run.said
    results = list(project.project.glob("runs/shared-*/files/result.txt"))
    assert [path.read_text() for path in results] == ["1.4 plugged"] * len(results)


def test_what_one_job_prepares_in_an_ignored_folder_the_next_trains_on(project: Laptop) -> None:
    shape = SHAPES["make with ignored data"]
    write(project, shape)
    prepared = project.type("run", "--no-deps", "prepare.py")
    assert prepared.code == 0, prepared.said
    trained = project.type("run", "--no-deps", "--from", "latest", "train.py")
    assert trained.code == 0, trained.said
    first, second = sorted(project.project.glob("runs/shared-*/files"), key=lambda path: path.stat().st_ctime_ns)
    assert (list_files(first), list_files(second)) == (["data/clean.txt"], ["model.pt"])
    assert (second / "model.pt").read_text() == "clean"


@pytest.mark.timeout(600)  # on a busy computer: it creates 75,000 files
def test_a_project_of_25000_files_runs_and_brings_what_one_wants(project: Laptop) -> None:
    for number in range(250):
        folder = project.project / f"images/{number % 10}/{number}"
        folder.mkdir(parents=True)
        for name in range(100):
            (folder / f"{name}.txt").write_text(f"{number} {name}")
    project.write(
        "train.py", "from pathlib import Path\n" + SAVE.format(what="str(len(list(Path('images').rglob('*.txt'))))")
    )
    try:
        run = project.type("run", "--no-deps", "train.py")
        assert run.code == 0, run.said
        assert "25,001 files" in run.err or "25001 files" in run.err
        assert downloaded(project) == ["model.pt"]
        assert next(project.project.glob("runs/*/files/model.pt")).read_text() == "25000"
    finally:
        shutil.rmtree(project.project / "images")


def test_a_submodule_is_uploaded_with_the_project(project: Laptop, tmp_path_factory: pytest.TempPathFactory) -> None:
    library = tmp_path_factory.mktemp("library")
    (library / "lib.py").write_text("ANSWER = 42\n")
    git(library, "init", "-q")
    git(library, "add", ".")
    git(library, "commit", "-qm", "A library")
    project.write("train.py", "from third_party.lib import ANSWER\nopen('model.pt', 'w').write(str(ANSWER))\n")
    git(project.project, "init", "-q")
    git(project.project, "submodule", "--quiet", "add", str(library), "third_party")
    git(project.project, "add", ".")
    git(project.project, "commit", "-qm", "All of it")
    run: Finished = project.type("run", "train.py")
    assert (run.code, downloaded(project)) == (0, ["model.pt"]), run.said


def test_processes_of_torchrun_reach_each_other_and_the_one_that_fails_decides_and_is_named(project: Laptop) -> None:
    project.write("train.py", TRAIN)
    run = project.type("run", "torchrun", "--standalone", "--nproc-per-node=2", "train.py")
    assert run.code == 7, run.said
    assert "gpujob: rank 1 failed first (exit 7)" in run.out
    [total] = project.project.glob("runs/shared-*/files/total.txt")
    assert total.read_text() == "3 of 2"
    assert "Traceback" not in run.out
