"""The walls between the parts: who may import what, and that each part is where packaging expects it."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
OURS = ("cli", "infra", "jobs")


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((REPOSITORY / folder).rglob("__init__.py"))]


def name(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports, those inside functions and for type checks included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


def roots(path: Path) -> set[str]:
    return {module.split(".")[0] for module in imports(path)}


@pytest.mark.parametrize(
    ("libraries", "home"),
    [
        ({"click", "rich"}, "cli"),
        ({"boto3", "botocore"}, "infra/ec2"),
        ({"paramiko"}, "infra/ssh"),
        ({"moto", "asyncssh"}, "infra/local"),
        ({"torch", "torchvision", "sklearn"}, "jobs"),
    ],
)
def test_a_library_is_imported_in_its_own_folder_alone(libraries, home):
    strangers = {name(path) for path in sources(*OURS) if roots(path) & libraries and not name(path).startswith(home)}
    assert strangers == set()


def test_fabric_is_used_in_the_ssh_folder_alone():
    """Elsewhere its connection is passed along, and named for the type checker."""
    for path in sources(*OURS):
        if "fabric" in roots(path) and not name(path).startswith("infra/ssh"):
            tree = ast.parse(path.read_text())
            imported = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module == "fabric"]
            assert [alias.name for node in imported for alias in node.names] == ["Connection"], name(path)
            called = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
            assert "Connection" not in called, name(path)


def test_infra_knows_neither_the_screen_nor_the_training_code():
    assert {name(path) for path in sources("infra") if roots(path) & {"cli", "jobs"}} == set()


def test_the_training_code_stands_alone():
    assert {name(path) for path in sources("jobs") if roots(path) & {"cli", "infra"}} == set()


def test_only_cli_prints():
    for path in sources("infra"):
        calls = (n.func for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call))
        assert "print" not in {f.id for f in calls if isinstance(f, ast.Name)}, name(path)


@pytest.mark.parametrize("path", sources("infra/node/agent"), ids=lambda path: path.name)
def test_the_agent_needs_the_standard_library_alone_and_python_3_8(path):
    assert roots(path) <= set(sys.stdlib_module_names)
    ast.parse(path.read_text(), feature_version=(3, 8))


def test_every_command_starts_without_what_is_heavy():
    heavy = ("boto3", "fabric", "paramiko", "rich", "moto", "asyncssh", "torch", "tenacity", "cryptography")
    script = f"import sys, cli.main; print([m for m in {heavy!r} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, check=True, text=True)
    assert answer.stdout == "[]\n"


def test_the_local_cloud_is_imported_only_when_it_is_asked_for():
    for path in sources("cli", "infra"):
        if name(path).startswith("infra/local"):
            continue
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ImportFrom)]
        assert not [node for node in top if (node.module or "").startswith("infra.local")], name(path)


def test_every_folder_with_code_is_packaged():
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {name(path.parent) for path in sources(*OURS)} | {"ansible"}
    assert {f"gpujob.{folder.replace('/', '.')}" for folder in folders} == set(settings["packages"])
    assert settings["package-dir"] == {f"gpujob.{folder.replace('/', '.')}": folder for folder in folders}


def test_the_playbook_does_not_hide_the_package_that_is_called_ansible():
    assert not list((REPOSITORY / "ansible").rglob("__init__.py"))


def test_files_and_functions_stay_short():
    for path in sources(*OURS):
        source = path.read_text()
        assert len(source.splitlines()) <= 300, name(path)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 50, f"{name(path)}: {node.name}"
