"""The walls between the parts: who may import what, and that each part is where packaging expects it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.commands import COMMANDS
from tests import walls
from tests.conftest import REPOSITORY

FLOOR = 200  # files; that many there are at least, so that no wall looks at nothing
LONG = "\n".join(f"    x = {n}" for n in range(60))
BREACHES = [
    ("libraries", "cli/breach.py", "def f():\n    import boto3\n"),
    ("libraries", "infra/breach.py", "from rich.table import Table\n"),
    ("libraries", "infra/ec2/breach.py", "import paramiko.transport\n"),
    ("libraries", "infra/sshd.py", "from paramiko import Channel\n"),
    ("libraries", "infra/breach.py", "import asyncssh\n"),
    ("libraries", "cli/breach.py", "from importlib import import_module\nimport_module('torch.cuda')\n"),
    ("fabric", "infra/breach.py", "from fabric import Config\n"),
    ("fabric", "cli/breach.py", "if TYPE_CHECKING:\n    from fabric import Connection\n"),
    ("fabric", "infra/run/breach.py", "def f(connection):\n    connection.transport.join()\n"),
    ("directions", "infra/breach.py", "from cli import show\n"),
    ("directions", "infra/ec2/breach.py", "from ...jobs import fit\n"),
    ("directions", "jobs/data/breach.py", "from infra.model import Node\n"),
    ("layers", "infra/base/breach.py", "def f():\n    from infra.ledger import costs\n"),
    ("layers", "infra/node/agent/breach.py", "from .outputs import sieve\n"),
    ("layers", "infra/local/machine/breach.py", "from infra.local.cloud import answers\n"),
    ("layers", "infra/breach/new.py", ""),
    ("circles", "infra/breach.py", "def f():\n    from infra import breach\n"),
    ("commands", "cli/steps/breach.py", "from cli.job import runs\n"),
    ("commands", "cli/job/breach.py", "def f():\n    from cli.job.pages import listen\n"),
    ("rooms", "infra/breach/new.py", ""),
    ("rooms", "infra/local/cloud/machines/breach.py", ""),
    ("prints", "infra/node/agent/breach.py", "def f():\n    print()\n"),
    ("git", "infra/breach.py", "import subprocess\nsubprocess.run(['git', 'status'])\n"),
    ("agent imports", "infra/node/agent/breach.py", "import psutil\n"),
    ("agent imports", "infra/node/agent/breach.py", "from ..client import ask\n"),
    ("agent imports", "infra/node/agent/breach.py", "from infra.node.agent import times\n"),
    ("python 3.8", "infra/node/agent/breach.py", "match 1:\n    case 1: pass\n"),
    ("python 3.8", "infra/node/agent/breach.py", "import tomllib\n"),
    ("python 3.8", "infra/node/agent/breach.py", "x = 'a'.removeprefix('a')\n"),
    ("python 3.8", "infra/node/agent/breach.py", "def f(x: list[int]): pass\n"),
    ("local cloud", "cli/breach.py", "from infra.local import server\n"),
    ("local cloud", "infra/breach.py", "from infra import local\n"),
    ("local cloud", "infra/breach.py", "try:\n    import infra.local.cloud.server.service\nexcept ImportError: pass\n"),
    ("packages", "infra/breach/__init__.py", ""),
    ("ansible", "ansible/roles/__init__.py", ""),
    ("files", "jobs/breach.py", "\n" * 301),
    ("functions", "cli/breach.py", f"async def f():\n{LONG}\n"),
    ("parameters", "infra/breach.py", "class A:\n    def f(self, a, b, c, /, d, *e, f, **g): pass\n"),
    ("parameters", "cli/breach.py", "@option('--a')\nasync def f(a, b, c, d, e, f, g): pass\n"),
    ("tags", "cli/breach.py", "OWNER = 'gpujob:owner'\n"),
    ("tags", "infra/local/cloud/breach.py", "def f(tags):\n    return tags['gpujob:new-one']\n"),
    ("format", "infra/breach.py", "x = [\n  1]  # fmt: skip\n"),
    ("format", "infra/breach.py", "# fmt: off\nx = [ 1 ]\n"),
]


@pytest.mark.parametrize("wall", walls.WALLS)
def test_the_wall_stands(wall):
    assert walls.WALLS[wall](REPOSITORY) == []


def test_the_walls_look_at_every_file():
    assert len(walls.sources(REPOSITORY)) > FLOOR


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, in which nothing is wrong."""
    folder = tmp_path_factory.mktemp("tree")
    for part in (*walls.OURS, "ansible", "lesson"):
        shutil.copytree(REPOSITORY / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    return folder


@pytest.mark.parametrize(("wall", "name", "text"), BREACHES, ids=[f"{n}-{one[0]}" for n, one in enumerate(BREACHES)])
def test_a_breach_of_the_wall_is_found(copy, wall, name, text):
    breach = copy / name
    made = not breach.parent.exists()
    breach.parent.mkdir(exist_ok=True)
    breach.write_text(text)
    try:
        assert [
            one for one in walls.WALLS[wall](copy) if "breach" in one or str(breach.parent.relative_to(copy)) in one
        ]
    finally:
        breach.unlink()
        if made:
            breach.parent.rmdir()


def test_each_wall_has_a_breach_that_it_finds():
    assert {wall for wall, _, _ in BREACHES} == set(walls.WALLS)


SSH = {"fabric", "paramiko", "cryptography", "tenacity"}
AWS = {"boto3", "botocore", "cryptography", "tenacity"}
HEAVY = SSH | AWS | {"rich", "moto", "asyncssh", "torch", "torchvision", "sklearn"}
JOBS = ("jobs", "logs", "wait", "attach", "cancel", "fetch", "top", "notebook", "tensorboard")
# Which commands may load what before they know their options: those that always use it. All others load nothing heavy.
LOADING = [
    (SSH, (*JOBS, "data", "verify", "setup", "ssh", "tunnel", "ssh-config")),
    (AWS, ("offers", "ls", "images", "cost", "sweep", "check", "local")),
    (SSH | AWS, ("extend", "stop", "start", "bake", "down")),
    (
        set(),
        (
            "init",
            "up",
            "run",
            "send",
            "receipt",
            "policy",
            "bucket",
            "config",
            "help",
            "runs",
            "tasks",
            "diff",
            "rerun",
            "open",
            "completion",
        ),
    ),
    (set(), ("",)),
]


def load(folder: Path, script: str) -> str:
    """Run a script that has the command as `gpujob`, in a folder; return what it says of heavy libraries."""
    start = f"import sys\nsys.path.insert(0, {str(REPOSITORY)!r})\nfrom cli.main import gpujob\n"
    heavy = f"\nprint(*sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    words = [sys.executable, "-c", start + script + heavy]
    return subprocess.run(words, cwd=folder, capture_output=True, check=True, text=True).stderr


@pytest.mark.parametrize(("allowed", "commands"), LOADING, ids=[commands[0] for _, commands in LOADING])
def test_help_loads_nothing_heavy_that_its_command_may_not_need(tmp_path, allowed, commands):
    words = [[*filter(None, [command]), "--help"] for command in commands]
    script = f"for words in {words}: gpujob.main(words, standalone_mode=False)"
    assert set(load(tmp_path, script).split()) <= allowed


def test_the_version_loads_nothing_heavy(tmp_path):
    assert load(tmp_path, "gpujob.main(['--version'], standalone_mode=False)") == "\n"


def test_each_command_is_looked_at():
    assert sorted(name for _, commands in LOADING for name in commands if name) == sorted(COMMANDS)


def test_no_module_hides_one_of_the_standard_library():
    # Run as a file, cli/__main__.py has its own folder first on the path.
    files = [path.relative_to(REPOSITORY / "cli") for path in (REPOSITORY / "cli").rglob("*.py")]
    names = {path.parts[0].removesuffix(".py") for path in files}
    assert "commands" in names
    assert names & sys.stdlib_module_names == set()


def test_a_project_that_sets_options_of_up_and_run_slows_no_other_command(tmp_path):
    (tmp_path / "gpujob.toml").write_text('[up]\ngpu = "T4"\n[run]\ngpus = 1\n')
    script = "from cli.options.defaults import read_defaults\nassert len(read_defaults(gpujob, 'policy')) == 2"
    assert load(tmp_path, script) == "\n"
