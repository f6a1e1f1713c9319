"""The starter project runs as it was laid."""

import subprocess
import sys

from conftest import environment

from tests.conftest import COMMAND


def init(*words: str, cwd: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*COMMAND, "init", *words], cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def test_the_starter_project_trains_by_itself_and_is_never_laid_over_another(tmp_path):
    laid = init("hello", cwd=tmp_path)
    assert laid.returncode == 0, laid.stderr
    folder = tmp_path / "hello"
    assert {"train.py", "jobs", "gpujob.toml", "README.md"} <= {path.name for path in folder.iterdir()}
    assert len((folder / "README.md").read_text().splitlines()) <= 12
    alone = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    words = ["--data", "digits", "--model", "mean-image", "--device", "cpu"]
    ended = subprocess.run(
        [sys.executable, "train.py", *words],
        cwd=folder,
        env=alone,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert (folder / "outputs" / "model.safetensors").is_file()
    (folder / "train.py").write_text("mine")
    again = init("hello", cwd=tmp_path)
    assert again.returncode == 2
    assert "already" in again.stderr
    assert (folder / "train.py").read_text() == "mine"
