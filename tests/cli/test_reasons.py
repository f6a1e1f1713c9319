"""Reasons of failures that are known by what frameworks print."""

from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from cli.reasons import disks, explanations, files, gpus, modules, programs, terminals
from cli.reasons.failure import Failure
from infra.model import Cluster, Gpu, Node, Request
from infra.node import client
from infra.project.files import Project
from infra.run.options import describe_options
from infra.run.submission import queued
from tests.here import move_in

NODE = Node("i-1", "running", "127.0.0.1", 22, "t3.micro", "us-east-1a")
LOCAL = Cluster("project", "local", "us-east-1", (NODE,), Gpu("T4"), 1.0, 0.0, 0.0, "me")


@pytest.fixture
def failure(tmp_path, monkeypatch) -> Failure:
    root = move_in(tmp_path, monkeypatch)
    project = Project(root, ".", (), (), (), (), (), ())
    return Failure(LOCAL, queued(1, Request(("python", "x.py")), {}), "", root, lambda: project)


@pytest.mark.parametrize(
    "line",
    [
        "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a",
        "AssertionError: Torch not compiled with CUDA enabled",
        "RuntimeError: No CUDA GPUs are available",
        "RuntimeError: Cannot access accelerator device when none is available.",
        "RuntimeError: Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False. If you",
        "tensorflow.python.framework.errors_impl.InvalidArgumentError: Could not satisfy device specification '/job:local"
        "host/replica:0/task:0/device:GPU:0'. enable_soft_placement=0.",
        "tensorflow.python.framework.errors_impl.InvalidArgumentError: /job:localhost/replica:0/task:0/device:GPU:0 unknown"
        " device.",
        "RuntimeError: Unknown backend: 'gpu' requested, but no platforms that are instances of gpu are present.",
        "RuntimeError: Unable to initialize backend 'cuda': FAILED_PRECONDITION: No visible GPU devices.",
        "cupy_backends.cuda.api.runtime.CUDARuntimeError: cudaErrorInsufficientDriver: CUDA driver version is insufficient",
        "gpujob: cannot run nvidia-smi: No such file or directory",
        "bash: line 1: nvidia-smi: command not found",
        "ImportError: libcuda.so.1: cannot open shared object file: No such file or directory",
    ],
)
def test_a_missing_gpu_is_explained_in_the_words_of_each_framework(failure, line):
    failed = replace(failure, log=f"epoch 1\n{line}\n")
    said = "the local cloud has no GPU; on AWS this would run on a T4. Here it must run on the CPU"
    assert gpus.explain(failed) == said
    several = replace(failed, cluster=replace(LOCAL, gpu=Gpu("H100", 8)))
    assert "would run on H100:8." in gpus.explain(several)
    assert "would run on an A100." in gpus.explain(replace(failed, cluster=replace(LOCAL, gpu=Gpu("A100"))))
    assert "'project' has no GPU (t3.micro)" in gpus.explain(replace(failed, cluster=replace(LOCAL, gpu=None)))
    assert gpus.explain(replace(failed, job=replace(failed.job, driver="550.1"))) == ""
    assert gpus.explain(replace(failed, cluster=replace(LOCAL, cloud="aws"))) == ""


@pytest.mark.parametrize(
    "line",
    [
        "Could not find cuda drivers on your machine, GPU will not be used.",
        "INFO:jax._src.xla_bridge:Unable to initialize backend 'cuda': no GPU",
        "ValueError: bad shape",
    ],
)
def test_a_failure_for_another_reason_is_not_blamed_on_the_gpu(failure, line):
    assert gpus.explain(replace(failure, log=f"{line}\nKeyError: 'x'\n")) == ""


@pytest.mark.parametrize(
    "end", ["EOFError: EOF when reading a line", "bdb.BdbQuit", "Password: Aborted!\n".replace("Password: ", "")]
)
def test_a_job_that_asks_without_a_terminal_is_told_how_to_have_one(failure, end, monkeypatch):
    monkeypatch.setattr("sys.argv", ["gpujob", "run", "--gpus", "1", "ask.py", "a b"])
    failed = replace(failure, log=f"Traceback (most recent call last):\n{end}\n")
    again = "gpujob run --interactive --gpus 1 ask.py 'a b'"
    assert terminals.explain(failed).endswith(f"Give it one: {again}")
    assert terminals.explain(replace(failed, log=f"{end}\nKeyError: 1\n")) == ""
    monkeypatch.setattr("sys.argv", ["gpujob", "wait", "3"])
    assert terminals.explain(failed).endswith("gpujob run --interactive x.py")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "gpujob: cannot run accelerate: No such file or directory",
            "'accelerate' is not installed (dependencies were from requirements.txt)\n"
            "  add this line to requirements.txt: accelerate",
        ),
        ("train.sh: line 3: torchrun: command not found", "  add this line to requirements.txt: torch"),
        (
            "sh: 1: Rscript: not found",
            "  Install it: gpujob ssh project -- 'sudo apt-get update && sudo apt-get install -y",
        ),
        ("/usr/bin/env: \u2018Rscript\u2019: No such file or directory", "'Rscript' is not installed on the machine"),
        ("bash: line 1: shop-trian: command not found", "no program 'shop-trian', nor is it one of the project"),
        ("make: wget: No such file or directory\nmake: *** [Makefile:2: data] Error 127", "install -y wget"),
        ("bash: line 1: /opt/tool/run: No such file or directory", ""),
    ],
)
def test_a_missing_program_is_explained_with_the_package_that_has_it(failure, line, said):
    code = 2 if "make" in line else 127
    job = replace(failure.job, exit_code=code, source={"manifest": "requirements.txt"})
    failed = replace(failure, cluster=replace(LOCAL, cloud="aws"), job=job, log=f"step 1\n{line}\n")
    assert said in programs.explain(failed)
    assert bool(said) == bool(programs.explain(failed))
    assert (
        programs.explain(replace(failed, job=replace(job, exit_code=1), log="bash: line 1: x: command not found")) == ""
    )


def test_on_the_local_cloud_nothing_is_installed_for_a_missing_program(failure):
    job = replace(failure.job, exit_code=127)
    failed = replace(failure, job=job, log="gpujob: cannot run Rscript: No such file or directory\n")
    assert programs.explain(failed).endswith("runs this computer's programs, and 'Rscript' is not installed here")


@pytest.mark.parametrize(
    ("workdir", "said"),
    [
        (".", "'src' is in the top folder of the project, where Python did not look: --env PYTHONPATH=."),
        ("scripts", "'src' is in the top folder of the project, where Python did not look: --env PYTHONPATH=.."),
    ],
)
def test_a_module_of_the_project_that_python_did_not_find_is_named_with_its_path(failure, workdir, said):
    (failure.root / "src").mkdir()
    (failure.root / "src/model.py").touch()
    job = replace(failure.job, source={"options": describe_options(Request(("python", "train.py")), workdir)})
    assert modules.explain(replace(failure, job=job, log="ModuleNotFoundError: No module named 'src'\n")) == said


def test_a_missing_module_is_explained_in_a_notebook_s_coloured_traceback_too(failure, monkeypatch):
    log = b"\x1b[31mModuleNotFoundError\x1b[39m: No module named \x1b[38;5;28;01m'humanize'\x1b[39;00m\n"
    monkeypatch.setattr(client, "find_tail", lambda *_: 0)
    monkeypatch.setattr(client, "read_log", lambda *_: iter([log]))
    failed = replace(failure.job, state="failed", exit_code=1)
    said = explanations.find_reason(mock.Mock(cluster=LOCAL, rank=0), failed, failure.read())
    assert "'humanize' is not installed" in said


def test_a_program_s_settings_in_the_home_folder_come_with_the_command_that_copies_them(failure):
    settings = Path.home() / ".config/my tool/a.ini"
    settings.parent.mkdir(parents=True)
    settings.write_text("[a]\n")
    log = "FileNotFoundError: [Errno 2] No such file or directory: '/home/ubuntu/.config/my tool/a.ini'"
    said = files.explain(replace(failure, log=log))
    copy = "mkdir -p '\"'\"'.config/my tool'\"'\"' && cat > '\"'\"'.config/my tool/a.ini'\"'\"'"
    assert f"gpujob ssh project -- '{copy}' < ~/'.config/my tool/a.ini'" in said
    assert not files.explain(replace(failure, log=log.replace("ini", "cfg")))


def test_no_command_copies_a_private_key_whatever_a_job_says_that_it_misses(failure):
    for name in (".ssh/id_ed25519", ".aws/credentials", ".netrc"):
        (Path.home() / name).parent.mkdir(exist_ok=True)
        (Path.home() / name).write_text("secret")
        log = f"FileNotFoundError: [Errno 2] No such file or directory: '/home/ubuntu/{name}'"
        assert "gpujob ssh" not in files.explain(replace(failure, log=log))


def test_a_job_that_has_filled_the_disk_gets_the_commands_that_make_space(failure):
    full = "node 1 (i-1): No space left on device: 0 MB of 12 MB are free on the machine's disk"
    said = disks.explain(replace(failure, job=replace(failure.job, reason=full)))
    assert said.startswith("free disk space: gpujob jobs rm --done\n"), said
    assert disks.explain(replace(failure, job=replace(failure.job, reason="node 1 (i-1) failed first"))) == ""
