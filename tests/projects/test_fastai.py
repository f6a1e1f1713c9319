"""A script of fast.ai's course runs unmodified, with fastai from requirements.txt and the machine's own torch."""

import subprocess
import sys
from pathlib import Path

import pytest

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
PICTURES = """
import sys
from pathlib import Path
from PIL import Image
for name in ("red", "blue"):
    folder = Path(sys.argv[1], name)
    folder.mkdir(parents=True)
    for at in range(8):
        Image.new("RGB", (64, 64), name).save(folder / f"{at}.png")
"""
# The file that torchvision would download; it is there once the script has run.
WEIGHTS = """
import sys
import torch, torchvision
model = torchvision.models.squeezenet1_1()
name = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.url.rpartition("/")[2]
torch.save(model.state_dict(), f"{sys.argv[1]}/{name}")
"""


def can_install(*names: str) -> bool:
    """Return whether the package index answers and has these packages."""
    words = [sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--no-deps", "--system-certs", *names]
    try:
        return subprocess.run(words, capture_output=True, timeout=60, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


@pytest.fixture
def torch_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pretrained weights as torch keeps it."""
    home = tmp_path_factory.mktemp("torch")
    (home / "hub/checkpoints").mkdir(parents=True)
    subprocess.run([sys.executable, "-c", WEIGHTS, home / "hub/checkpoints"], check=True)
    return home


@pytest.mark.timeout(600)  # it downloads and installs some 60 packages
def test_a_fastai_script_runs_unmodified_with_the_torch_of_the_machine(project: Laptop, torch_home: Path) -> None:
    if not can_install("fastai"):
        pytest.skip("fastai cannot be installed here")
    project.write("train.py", SCRIPT)
    project.write("requirements.txt", "fastai\n")
    subprocess.run([sys.executable, "-c", PICTURES, project.project / "photos"], check=True)
    run = project.type("run", "--env", f"TORCH_HOME={torch_home}", "train.py", timeout_s=500)
    assert run.code == 0, run.said
    assert "error_rate" in run.out
    assert "this is red" in run.out or "this is blue" in run.out
    assert downloaded(project) == ["photos/model.pkl"], run.said
    kept = project.type("run", "--", "python", "-c", "import fastai, torch; print(torch.__file__)")
    assert f"{sys.prefix}/" in kept.out, kept.said
