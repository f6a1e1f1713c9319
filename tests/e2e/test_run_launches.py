"""`run --gpu` launches the cluster of its job first: nothing is billed for a mistake, and --down ends it."""

from collections.abc import Iterator

import pytest

from tests.cloudwatch import has_machines
from tests.conftest import Laptop
from tests.here import Here

pytestmark = pytest.mark.timeout(400)  # two launches, each with jobs


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """A laptop with a project and no cluster; a test leaves none."""
    folder = tmp_path_factory.mktemp("launches")
    (folder / "project").mkdir()
    laptop = Here(folder, folder / "project")
    laptop.write("train.py", "open('model.bin', 'w').write('weights'); raise SystemExit(3)\n")
    try:
        yield laptop
    finally:
        laptop.give_back()


@pytest.fixture(autouse=True)
def local_cloud(desk: Laptop) -> None:
    """Start the local cloud before each test: without requests and machines it ends itself."""
    assert desk.type("check", "--dry-run").code == 0


def test_one_command_launches_runs_downloads_and_terminates(desk):
    run = desk.type("run", "--gpu", "A10G", "--dry-run", "--down", "train.py")
    assert run.code == 3, run.said
    assert "1 x A10G" in run.err
    assert "'project' is up after" in run.err
    assert "next: gpujob run" not in run.err
    assert "terminated project; nothing left that bills" in run.err
    assert (desk.project / "runs/project-1/files/model.bin").read_text() == "weights"
    assert not has_machines(desk)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--gpu", "A10G", "traim.py"), "next: gpujob run --dry-run --gpu A10G train.py, or"),
        (("--gpu", "A1OG", "train.py"), "next: gpujob run --dry-run --gpu A10G train.py\n"),
        (("--gpu", "A10G", "--gpus", "4", "train.py"), "next: gpujob run --dry-run --gpu A10G:4 --gpus 4 train.py\n"),
        (("--gpus", "4", "train.py"), "next: gpujob run --gpu T4:4 --dry-run --gpus 4 train.py\n"),
        (("--gpu", "A10G", "--down", "--detach", "train.py"), "--down cannot be used with --detach"),
    ],
    ids=["script", "GPU", "too few", "default GPU", "contradiction"],
)
def test_a_mistake_is_found_before_anything_is_launched(desk, words, said):
    run = desk.type("run", "--dry-run", *words)
    assert run.code in (1, 2), run.said
    assert said in run.err, run.err
    assert not has_machines(desk)


def test_a_cluster_that_exists_is_used_and_one_with_another_gpu_is_refused(desk):
    try:
        assert "is up after" in desk.type("run", "--gpu", "T4", "--dry-run", "train.py").err
        again = desk.type("run", "--gpu", "T4", "train.py")
        assert (again.code, "launching" in again.err) == (3, False), again.said
        other = desk.type("run", "--gpu", "A10G", "train.py")
        assert (other.code, "'project' is running with T4, not A10G" in other.err) == (2, True), other.said
    finally:
        assert desk.type("down").code == 0


def test_neither_a_variable_nor_a_file_makes_run_launch(desk):
    variable = Here(desk.home, desk.project, {"GPUJOB_GPU": "A10G"})
    assert "no cluster 'project'" in variable.type("run", "train.py").err
    file = desk.write("gpujob.toml", '[run]\ngpu = "A10G"\n')
    try:
        assert "--gpu is accepted only on the command line" in desk.type("run", "train.py").err
    finally:
        file.unlink()
