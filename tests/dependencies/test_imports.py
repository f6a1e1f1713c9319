"""What a script or notebook imports is named where no manifest says what to install."""

import json
from pathlib import Path

import pytest

from infra.dependencies.names import find_imports
from infra.model import Request
from infra.project.files import read_project


def imports(folder: Path, script: str, *sources: str) -> tuple[str, ...]:
    text = sources[0]
    if script.endswith(".ipynb"):
        text = json.dumps({"cells": [{"cell_type": "code", "source": source.splitlines(True)} for source in sources]})
    (folder / script).write_text(text)
    found, packages = find_imports(read_project(folder), Request(("python", script)))
    assert found == script
    return packages


@pytest.mark.parametrize("script", ["train.py", "explore.ipynb"])
def test_packages_that_are_imported_are_named_but_not_what_every_job_has(tmp_path, script):
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers/plots.py").write_text("")
    code = "import os, yaml, torch\nfrom helpers import plots\nfrom . import x\ndef f():\n    import sklearn.svm\n"
    assert imports(tmp_path, script, code) == ("pyyaml", "scikit-learn")


def test_what_a_script_can_do_without_is_not_named(tmp_path):
    assert imports(tmp_path, "train.py", "try:\n    import wandb\nexcept ImportError:\n    wandb = None\n") == ()


def test_a_notebook_s_own_syntax_is_skipped_and_what_it_installs_is_not_named(tmp_path):
    cells = (
        '%pip install -q seaborn "tqdm>=4"\n!pip install pandas',
        "%matplotlib inline\nif True:\n    !ls\nimport seaborn, tqdm, pandas, rich",
        "%%bash\nimport me | convert",
        "%%time\nimport umap",
    )
    assert imports(tmp_path, "explore.ipynb", *cells) == ("rich", "umap-learn")


@pytest.mark.parametrize("text", ["import", "\0", "{}", "[1]", '{"cells": [{}]}', '{"cells": 3}'])
def test_what_cannot_be_read_names_nothing(tmp_path, text):
    (tmp_path / "a.ipynb").write_text(text)
    assert find_imports(read_project(tmp_path), Request(("python", "a.ipynb"))) == ("a.ipynb", ())
    assert imports(tmp_path, "b.py", text) == ()


def test_a_command_that_is_no_script_of_the_project_names_nothing(tmp_path):
    assert find_imports(read_project(tmp_path), Request(("python", "-m", "pytest"))) == ("", ())
