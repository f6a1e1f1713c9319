"""A script of fast.ai's course runs unmodified, with fastai from requirements.txt and the machine's own torch."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Laptop
from tests.projects.test_projects import downloaded

SCRIPT = """from fastai.vision.all import *

photos = Path("photos")
dls = ImageDataLoaders.from_folder(photos, valid_pct=0.25, seed=1, item_tfms=Resize(64), bs=4)
learn = vision_learner(dls, squeezenet1_1, metrics=error_rate)
learn.fine_tune(1)
print("this is", learn.predict(photos / "red" / "0.png")[0])
learn.export("model.pkl")
"""
FIND = "from importlib.util import find_spec; print(find_spec('fastai').origin, find_spec('torch').origin, sep='\\n')"


def can_install(*names: str) -> bool:
    """Return whether the package index answers and has these packages."""
    words = [sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--no-deps", "--system-certs", *names]
    try:
        return subprocess.run(words, capture_output=True, timeout=60, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


@pytest.fixture
def torch_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pretrained weights as torch keeps it, with the file that torchvision would download."""
    import torch
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    home = tmp_path_factory.mktemp("torch")
    kept = home / "hub/checkpoints" / SqueezeNet1_1_Weights.DEFAULT.url.rpartition("/")[2]
    kept.parent.mkdir(parents=True)
    torch.save(squeezenet1_1().state_dict(), kept)
    return home


@pytest.mark.timeout(600)  # it downloads and installs some 60 packages
def test_a_fastai_script_runs_unmodified_with_the_torch_of_the_machine(project: Laptop, torch_home: Path) -> None:
    if not can_install("fastai"):
        pytest.skip("fastai cannot be installed here")
    project.write("train.py", SCRIPT)
    project.write("requirements.txt", "fastai\n")
    for name in ("red", "blue"):
        folder = project.project / "photos" / name
        folder.mkdir(parents=True)
        for at in range(8):
            Image.new("RGB", (64, 64), name).save(folder / f"{at}.png")
    run = project.type("run", "--env", f"TORCH_HOME={torch_home}", "train.py", timeout_s=500)
    assert run.code == 0, run.said
    assert "error_rate" in run.out
    assert "this is red" in run.out or "this is blue" in run.out
    assert downloaded(project) == ["photos/model.pkl"], run.said
    kept = project.type("run", "--", "python", "-c", FIND)
    assert [f"{sys.prefix}/" in line for line in kept.out.splitlines()[-2:]] == [False, True], kept.said
