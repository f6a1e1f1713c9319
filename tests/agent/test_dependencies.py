"""Installing what a project depends on: real uv, real environments, wheels made here, no network."""

import fcntl
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from infra.dependencies.search import find_dependencies
from infra.model import Request
from infra.node.agent.environment.dependencies import key_of
from infra.node.agent.environment.environments import VERSION, look_at
from infra.node.agent.environment.overlay import make_environment
from infra.node.agent.environment.project.install import install_projects
from infra.node.agent.environment.project.search import find_projects
from infra.node.agent.environment.uv import choose_index_strategy
from infra.node.packing import pack_agent
from infra.project.files import read_project
from infra.run.submission import describe_dependencies
from tests.agent_fixtures import interpreters
from tests.conftest import wait_for
from tests.wheels import write_wheel

PREPARE = """
import json, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from agent.environment.dependencies import DependenciesError, complete_plan, prepare
job = json.load(open(sys.argv[5]))
def cancel(*_): raise KeyboardInterrupt
signal.signal(signal.SIGTERM, cancel)
with open(sys.argv[4], "ab") as log:
    try:
        plan, variables = complete_plan(job, job["secrets"], job["credentials"])
        print(json.dumps(prepare(Path(sys.argv[2]), plan, sys.argv[3], log, variables)))
    except DependenciesError as error:
        print(json.dumps(str(error)))
"""
BACKEND = """
import os, zipfile
def build_wheel(folder, *_):
    with zipfile.ZipFile(os.path.join(folder, "old-1.0-py3-none-any.whl"), "w") as wheel:
        wheel.writestr("old.py", "")
        info = "old-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: old\\nVersion: 1.0\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return "old-1.0-py3-none-any.whl"
"""
WHERE = "import torch, small; print(torch.VERSION, torch.__file__, small.__file__)"
# Stands before uv on PATH: does not begin the step it is told to hold until a file is there.
HOLD = '#!/bin/sh\ncase "$*" in {step}*) touch "{held}"; while [ ! -e "{go}" ]; do sleep 0.02; done;; esac\nexec "{uv}" "$@"\n'


@pytest.fixture(scope="module")
def uv() -> str:
    """The real uv."""
    found = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if not found or subprocess.run([found, "--version"], capture_output=True, check=False).returncode:
        pytest.skip("uv cannot be had here: pip install uv")
    return found


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All the packages there are."""
    folder = tmp_path_factory.mktemp("links")
    run = "def main():\n    import small\n    print('ran with small', small.VERSION)\n"
    for version in ("9.9", "10.0"):
        write_wheel(folder, "torch", version, ["nvidia-fake[runtime]"])
    write_wheel(folder, "nvidia_fake", "1.0")
    write_wheel(folder, "launcher", "1.0", command="launch", body=run)
    for version in ("1.0", "2.0"):
        write_wheel(folder, "small", version)
    return folder


@pytest.fixture(scope="module")
def base(uv: str, links: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter that has torch 9.9, in an environment of its own as on AWS's images."""
    folder = tmp_path_factory.mktemp("base") / "pytorch"
    packages = ["torch==9.9", "launcher"]
    install = [
        uv,
        "pip",
        "install",
        "-q",
        "--offline",
        "--no-cache",
        "-f",
        links,
        "--python",
        folder / "bin" / "python",
    ]
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], check=True)
    subprocess.run([*install, *packages], check=True)
    return str(folder / "bin" / "python")


@dataclass(frozen=True)
class Node:
    """A home folder with the packed agent, and a project."""

    home: Path
    project: Path
    base: str
    uv: str
    links: Path
    python: str = sys.executable
    settings: dict[str, str] = field(default_factory=dict)
    request: dict[str, tuple[str, ...]] = field(default_factory=dict)
    job: dict[str, dict[str, str]] = field(default_factory=dict)
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.home / "log"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.home),
            "PATH": f"{self.home}/bin:/usr/bin:/bin",
            "UV_OFFLINE": "1",
            "UV_CACHE_DIR": str(self.home / "cache"),
            "UV_FIND_LINKS": str(self.links),
            **self.settings,
        }

    def write(self, **files: str) -> None:
        """Write files of the project; __ stands for the dot in their names."""
        for name, text in files.items():
            (self.project / name.replace("__", ".")).write_text(text)

    def start(self, log: str = "log") -> "subprocess.Popen[str]":
        words = [self.python, "-c", PREPARE, self.home / "agent.pyz", self.project, self.base, self.home / log]
        words.append(self.submit())
        (self.home / log).touch()
        self.started.append(subprocess.Popen(words, env=self.environment, stdout=subprocess.PIPE, text=True))
        return self.started[-1]

    def prepare(self) -> tuple[str, str]:
        """The interpreter and the key, or "" and the refusal."""
        answer = finish(self.start())
        return ("", answer) if isinstance(answer, str) else tuple(answer)

    def submit(self) -> Path:
        """What the client would send of the project's dependencies, in a file."""
        project, path = read_project(self.project), self.home / "job.json"
        found = find_dependencies(project, Request(("python", "train.py"), **self.request))
        plan = describe_dependencies(found)
        path.write_text(json.dumps({**plan, "env": {}, "secrets": {}, **self.job}))
        return path

    def environments(self) -> list[Path]:
        return [path for path in (self.home / ".gpujob" / "environments").glob("*") if path.is_dir()]

    def hold(self, step: str) -> Callable[[], None]:
        """Put a uv on PATH that does not begin a step; return what lets it go on."""
        program, go, held = self.home / "bin" / "uv", self.home / "go", self.home / "held"
        program.unlink()
        program.write_text(HOLD.format(step=step, go=go, held=held, uv=self.uv))
        program.chmod(0o755)
        return go.touch


def finish(process: "subprocess.Popen[str]") -> str | list[str]:
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return json.loads(out)


def locked(package: tuple[str, str]) -> str:
    """An entry of a poetry.lock."""
    return '[[package]]\nname = "{}"\nversion = "{}"\n'.format(*package)


def said(python: str, script: str) -> str:
    return subprocess.run([python, "-c", script], check=True, capture_output=True, text=True, cwd="/").stdout.strip()


def installed(python: str) -> list[str]:
    """What an environment holds of its own."""
    site = next(Path(python).parent.parent.glob("lib/python*/site-packages"))
    return sorted(path.name[: -len(".dist-info")] for path in site.glob("*.dist-info"))


@pytest.fixture
def node(uv: str, base: str, links: Path, tmp_path: Path) -> Iterator[Node]:
    home, project = tmp_path / "home", tmp_path / "project"
    (home / "bin").mkdir(parents=True)
    project.mkdir()
    (home / "bin" / "uv").symlink_to(uv)
    (home / "agent.pyz").write_bytes(pack_agent()[1])
    made = Node(home, project, base, uv, links)
    yield made
    (home / "go").touch()
    for process in made.started:
        process.kill()
        process.communicate()
    shutil.rmtree(home)  # pytest keeps the folders of the last runs, and these are large


@pytest.mark.parametrize("python", list(interpreters()))
def test_a_torch_that_the_base_has_and_that_satisfies_is_not_installed_again(node, python):
    node.write(requirements__txt="torch>=9\nsmall\n")
    job_python, key = Node(**{**vars(node), "python": python}).prepare()
    assert key
    assert installed(job_python) == ["small-2.0"]
    assert "warning" not in node.log.read_text(), "uv misses something of the base's"
    version, torch, small = said(job_python, WHERE).split()
    assert version == "9.9"
    assert Path(torch).is_relative_to(Path(node.base).parent.parent)
    assert Path(small).is_relative_to(node.home / ".gpujob" / "environments" / key)
    assert said(job_python, "from importlib.metadata import version; print(version('torch'))") == "9.9"


def test_a_torch_that_does_not_satisfy_is_installed_and_its_companions_with_it(node):
    node.write(requirements__txt="torch>=10\nsmall==1.0\n")
    python, _ = node.prepare()
    assert installed(python) == ["nvidia_fake-1.0", "small-1.0", "torch-10.0"]
    assert said(python, WHERE).split()[0] == "10.0"
    assert said(node.base, "import torch; print(torch.VERSION)") == "9.9"


@pytest.mark.parametrize("declared", ["*", ">=9.9"])
def test_the_image_s_torch_is_kept_where_a_lock_pins_another_patch_release(node, declared):
    node.write(pyproject__toml=f"[tool.poetry.dependencies]\ntorch = '{declared}'\nsmall = '*'\n")
    node.write(poetry__lock="".join(map(locked, (("torch", "9.9.5"), ("small", "1.0"), ("nvidia-fake", "2.0")))))
    python, _ = node.prepare()
    assert installed(python) == ["small-1.0"], node.log.read_text()
    assert "gpujob: keeping torch 9.9 of the image (poetry.lock has 9.9.5)\n" in node.log.read_text()
    assert said(python, WHERE).split()[0] == "9.9"


@pytest.mark.parametrize(("declared", "pinned"), [("9.9.5", "9.9.5"), ("*", "10.0")])
def test_the_image_s_torch_is_replaced_where_it_does_not_satisfy(node, declared, pinned):
    if pinned == "9.9.5":
        write_wheel(node.home, "torch", pinned)
    settings = {"UV_FIND_LINKS": f"{node.links},{node.home}"}
    node.write(
        pyproject__toml=f"[tool.poetry.dependencies]\ntorch = '{declared}'\n", poetry__lock=locked(("torch", pinned))
    )
    python, _ = Node(**{**vars(node), "settings": settings}).prepare()
    assert said(python, "import torch; print(torch.VERSION)") == pinned


def test_the_image_s_torch_is_kept_with_a_lock_of_uv_and_hashes_are_checked(node):
    more = node.home / "more"
    more.mkdir()
    for path in (
        *node.links.glob("small-*"),
        write_wheel(more, "torch", "9.9.1"),
        write_wheel(more, "torchvision", "1.0"),
    ):
        shutil.copy(path, more) if path.parent != more else None
    told = Node(**{**vars(node), "settings": {"UV_FIND_LINKS": str(more)}})
    node.write(
        pyproject__toml='[project]\nname = "mine"\nversion = "1"\nrequires-python = ">=3.8"\n'
        'dependencies = ["torch>=9", "torchvision", "small<2"]\n'
    )
    subprocess.run([node.uv, "lock", "-q"], cwd=node.project, env=told.environment, check=True)
    python, _ = told.prepare()
    assert installed(python) == ["small-1.0", "torchvision-1.0"], node.log.read_text()
    assert "keeping torch 9.9 of the image (uv.lock has 9.9.1)" in node.log.read_text()


def test_a_lock_of_uv_that_is_out_of_date_installs_nothing(node):
    project = '[project]\nname = "mine"\nversion = "1"\nrequires-python = ">=3.8"\ndependencies = ["small{}"]\n'
    node.write(pyproject__toml=project.format("<2"))
    subprocess.run([node.uv, "lock", "-q"], cwd=node.project, env=node.environment, check=True)
    node.write(pyproject__toml=project.format(">=2"))
    python, refusal = node.prepare()
    assert (python, refusal.partition(":")[0]) == ("", "uv.lock is out of date"), node.log.read_text()
    assert "run: uv lock" in refusal
    assert node.environments() == []


def test_credentials_of_an_index_are_in_no_log_and_no_record(node):
    node.write(requirements__txt="--index-url https://me:hunter22@127.0.0.1:9/${TOKEN}/simple\nnowhere\n")
    told = Node(
        **{
            **vars(node),
            "job": {"secrets": {"TOKEN": "t0ken-value"}},
            "settings": {"UV_OFFLINE": "0", "UV_HTTP_RETRIES": "0"},
        }
    )
    python, refusal = told.prepare()
    text = node.log.read_text() + refusal
    assert python == ""
    assert "127.0.0.1:9/***/simple" in text
    assert "hunter22" not in text
    assert "t0ken-value" not in text
    assert "hunter22" not in json.dumps(json.loads((node.home / "job.json").read_text())["dependencies"])


@pytest.mark.parametrize(
    ("urls", "searches"),
    [
        (["--extra-index-url https://download.pytorch.org/whl/cu121"], True),
        (["--index-url https://pypi.org/simple", "--extra-index-url https://pypi.nvidia.com"], True),
        (["--extra-index-url https://pypi.corp.example/simple"], False),
        (
            [
                "--index-url https://${GPUJOB_INDEX_1}@pypi.corp.example/simple",
                "--extra-index-url https://pypi.org/simple",
            ],
            False,
        ),
        (["--extra-index-url https://pypi.org@evil.example/simple"], False),
        ([], False),
    ],
)
def test_other_indexes_are_searched_for_a_version_only_if_all_are_public(urls, searches):
    assert bool(choose_index_strategy([*urls, "torch==1"], {})) == searches


def test_a_folder_of_the_project_is_not_installed_but_what_it_needs_is(node):
    package = '[project]\nname = "{}"\nversion = "1"\nrequires-python = ">=3.8"\ndependencies = [{}]\n'
    node.write(pyproject__toml=package.format("mine", '"helper"') + '[tool.uv.sources]\nhelper = { path = "helper" }\n')
    (node.project / "helper").mkdir()
    (node.project / "helper/pyproject.toml").write_text(package.format("helper", '"small<2"'))
    python, refusal = node.prepare()
    assert python, refusal + node.log.read_text()
    assert installed(python) == ["small-1.0"]


def test_what_the_base_alone_has_needs_no_index(node):
    node.write(requirements__txt="torch\n")
    empty = node.home / "empty"
    empty.mkdir()
    python, _ = Node(**{**vars(node), "links": empty}).prepare()
    assert installed(python) == []
    assert said(python, "import torch; print(torch.VERSION)") == "9.9"


def test_a_command_of_the_base_runs_with_the_job_s_packages(node):
    node.write(requirements__txt="small==1.0\n")
    python, _ = node.prepare()
    own = make_environment(node.home / "environment", python, node.base)
    launch = subprocess.run([Path(own).parent / "launch"], check=True, capture_output=True, text=True)
    assert launch.stdout == "ran with small 1.0\n"


def test_the_log_says_what_is_installed_and_how_long_it_took_and_that_it_is_reused(node):
    node.write(requirements__txt="small\n")
    first = node.prepare()
    lines = node.log.read_text().splitlines()
    assert lines[0] == "gpujob: installing dependencies from requirements.txt ..."
    assert " + small==2.0" in lines
    assert lines[-1].startswith("gpujob: dependencies installed in ")
    assert node.prepare() == first
    assert node.log.read_text().splitlines()[len(lines) :] == [
        "gpujob: dependencies from requirements.txt are already installed"
    ]


def test_an_environment_that_a_job_changed_is_installed_again(node):
    node.write(requirements__txt="small\n")
    first, key = node.prepare()
    module = next(Path(first).parent.parent.glob("lib/python*/site-packages/small/__init__.py"))
    (module.parent / "__pycache__").mkdir(exist_ok=True)
    (module.parent / "__pycache__" / "x.pyc").touch()
    assert node.prepare() == (first, key)
    assert "changed" not in node.log.read_text(), "to import it is not to change it"
    module.write_text("VERSION = 'evil'")
    assert node.prepare() == (first, key)
    assert said(first, "import small; print(small.VERSION)") == "2.0", "nor has uv's cache the job's version"
    assert "a job has changed the installed dependencies; installing them again" in node.log.read_text()


def test_an_environment_that_a_job_changed_is_left_to_the_jobs_that_run_with_it(node):
    node.write(requirements__txt="small\n")
    first, key = node.prepare()
    job = node.home / ".gpujob/jobs/1"
    job.mkdir(parents=True)
    (job / "state.json").write_text(json.dumps({"python": first}))
    planted = Path(first).parent / "planted"
    planted.touch()
    with (job / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second, again = node.prepare()
        assert (planted.exists(), again, node.prepare()) == (True, key, (second, key))
        assert said(second, "import small; print(small.VERSION)") == "2.0"
    assert node.prepare() == (first, key), "the job is over"
    assert not planted.exists()


def test_what_is_not_an_environment_as_it_was_installed_is_sifted_out(node):
    node.write(requirements__txt="small\n")
    kept = Path(node.prepare()[0]).parent.parent
    node.write(requirements__txt="small==1.0\n")
    changed = Path(node.prepare()[0]).parent.parent
    (changed / "bin" / "evil").touch()
    folder = kept.parent
    (folder / "half-built").mkdir()
    (folder / "planted.py").touch()
    (folder / "link").symlink_to(kept)
    code = "import sys; sys.path.insert(0, sys.argv[1]); from agent.environment.dependencies import sift; sift()"
    subprocess.run([sys.executable, "-c", code, node.home / "agent.pyz"], env=node.environment, check=True)
    assert list(folder.iterdir()) == [kept]
    assert said(str(kept / "bin/python"), "import small; print(small.VERSION)") == "2.0"


def test_a_lock_is_installed_exactly_without_the_project(node):
    node.write(
        pyproject__toml='[project]\nname = "mine"\nversion = "1"\nrequires-python = ">=3.8"\ndependencies = ["small<2"]\n'
    )
    subprocess.run([node.uv, "lock", "-q"], cwd=node.project, env=node.environment, check=True)
    node.write(requirements__txt="small==2.0\n")
    python, _ = node.prepare()
    assert installed(python) == ["small-1.0"]
    assert "from uv.lock" in node.log.read_text()
    assert sorted(path.name for path in node.project.iterdir()) == ["pyproject.toml", "requirements.txt", "uv.lock"]


def test_a_pyproject_s_dependencies_are_installed_without_the_project(node):
    node.write(pyproject__toml='[project]\nname = "mine"\nversion = "1"\ndependencies = [\n  "small",\n  "torch",\n]\n')
    python, _ = node.prepare()
    assert installed(python) == ["small-2.0"]


def test_a_requirement_of_the_project_itself_stands_for_its_dependencies(node):
    node.write(pyproject__toml='[project]\nname = "mine"\nversion = "1"\ndependencies = ["small"]\n')
    node.write(requirements__txt="torch\n-e .  # ours\n")
    python, first = node.prepare()
    assert installed(python) == ["small-2.0"]
    assert sorted(path.name for path in node.project.iterdir()) == ["pyproject.toml", "requirements.txt"]
    node.write(pyproject__toml='[project]\nname = "mine"\nversion = "1"\ndependencies = ["small==1.0"]\n')
    python, second = node.prepare()
    assert (installed(python), first == second) == (["small-1.0"], False)


@pytest.mark.parametrize(
    "text",
    [
        "[tool.ruff]\nline-length = 100\n",
        '[project]\nname = "x"\nversion = "1"\n',
        '[project]\nname = "x"\ndependencies = [\n  # "torch",\n]\n[tool.x]\ndependencies = ["no"]\n',
        '[project.optional-dependencies]\ndev = ["pytest"]\n[tool.poetry.dependencies]\npython = "3"\n',
    ],
)
def test_a_pyproject_without_dependencies_installs_nothing(node, text):
    node.write(pyproject__toml=text)
    assert node.prepare() == (node.base, "")
    assert node.log.read_bytes() == b""
    assert not (node.home / ".gpujob").exists()


def test_the_key_follows_what_is_to_be_installed_and_what_the_base_is_and_nothing_else(tmp_path, base, uv):
    def key(interpreter: str = base) -> str:
        found = find_dependencies(read_project(tmp_path), Request(("python", "train.py")))
        return key_of(tmp_path, describe_dependencies(found)["dependencies"], look_at(interpreter))

    (tmp_path / "more").mkdir()
    files = [
        tmp_path / name
        for name in ("requirements.txt", "more/dev.txt", "limits.txt", "more/local-1.0-py3-none-any.whl")
    ]
    files[0].write_text("small\n-r more/dev.txt\n")
    files[1].write_text("-c ../limits.txt\n-r ../requirements.txt\n./local-1.0-py3-none-any.whl\n")
    files[2].write_text("small<3\n")
    files[3].write_bytes(b"a wheel")
    keys = [key()]
    (tmp_path / "train.py").write_text("print()")
    os.utime(files[0], (0, 0))
    assert key() == keys[0]
    for path, change in zip(
        files, ("torch\n", "launcher\n", "launcher<2\n", "of which a byte is different"), strict=True
    ):
        path.write_text(f"# a comment\n{path.read_text()}" if path.suffix == ".txt" else path.read_text())
        assert key() == keys[-1]
        path.write_text(path.read_text() + change)
        keys.append(key())
    (tmp_path / "link").symlink_to(base)
    assert key(str(tmp_path / "link")) != "", "a link to an interpreter is one too"
    keys.append(key(sys.executable))
    site = next(Path(base).parent.parent.glob("lib/python*/site-packages"))
    (site / "another-1.0.dist-info").mkdir()
    try:
        keys.append(key())
    finally:
        (site / "another-1.0.dist-info").rmdir()
    assert len(set(keys)) == len(keys)


def test_two_jobs_that_ask_at_once_build_once_and_the_second_says_that_it_waits(node):
    node.write(requirements__txt="small\n")
    go_on = node.hold("pip")
    first = node.start("first")
    wait_for((node.home / "held").exists, "build under way")
    second = node.start("second")
    wait_for(lambda: "waiting" in (node.home / "second").read_text(), "word that it waits")
    go_on()
    assert finish(first) == finish(second)
    assert "installing" in (node.home / "first").read_text()
    assert "installing" not in (node.home / "second").read_text()
    assert "already installed" in (node.home / "second").read_text()
    assert len(node.environments()) == 1


def test_a_killed_build_is_begun_again_once_what_it_left_running_has_ended(node):
    node.write(requirements__txt="small\n")
    go_on = node.hold("pip")
    first = node.start("first")
    wait_for((node.home / "held").exists, "build under way")
    first.kill()
    second = node.start("second")
    wait_for(lambda: "waiting" in (node.home / "second").read_text(), "word that it waits for the orphan")
    go_on()
    python, _ = finish(second)
    assert "installing dependencies" in (node.home / "second").read_text()
    assert installed(python) == ["small-2.0"]


def test_a_cancelled_build_ends_uv_and_leaves_nothing(node):
    node.write(requirements__txt="small\n")
    go_on = node.hold("pip")
    process = node.start()
    wait_for((node.home / "held").exists, "build under way")
    process.terminate()
    process.wait(timeout=120)
    assert node.environments() == []
    go_on()
    assert installed(node.prepare()[0]) == ["small-2.0"]
    assert "waiting" not in node.log.read_text()


@pytest.mark.parametrize(("module", "requires"), [("torch", ""), ("pkg_resources", '"setuptools"')])
def test_a_package_that_needs_more_for_its_build_than_it_says_is_built(node, module, requires):
    """torch, which only the environment has; and pkg_resources, which the newest setuptools lacks."""
    more = node.home / "more"
    more.mkdir()
    write_wheel(more, "setuptools", "82.0")
    with zipfile.ZipFile(write_wheel(more, "setuptools", "80.0"), "a") as wheel:
        wheel.writestr("pkg_resources/__init__.py", "")
    build = f'[build-system]\nrequires = [{requires}]\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    with tarfile.open(node.project / "old-1.0.tar.gz", "w:gz") as archive:
        for name, text in (("pyproject.toml", build), ("backend.py", f"import {module}\n{BACKEND}")):
            info = tarfile.TarInfo(f"old-1.0/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    node.write(requirements__txt="./old-1.0.tar.gz\n")
    told = Node(**{**vars(node), "settings": {"UV_FIND_LINKS": f"{node.links},{more}"}})
    python, refusal = told.prepare()
    assert installed(python) == ["old-1.0"], refusal + node.log.read_text()


def test_a_failed_build_says_why_and_leaves_nothing(node):
    node.write(requirements__txt="small\nnowhere\n")
    python, refusal = node.prepare()
    assert (python, refusal) == (
        "",
        "uv could not install the dependencies from requirements.txt; see the lines above; "
        "fix the file, or run with --no-deps",
    )
    assert "nowhere" in node.log.read_text()
    assert node.environments() == []
    more = node.home / "more"
    more.mkdir()
    write_wheel(more, "nowhere", "1.0")
    mended = Node(**{**vars(node), "settings": {"UV_FIND_LINKS": f"{node.links},{more}"}})
    assert installed(mended.prepare()[0]) == ["nowhere-1.0", "small-2.0"]


def test_a_folder_of_the_project_is_imported_from_there_with_what_it_needs(node):
    inner = node.project / "inner"
    inner.mkdir()
    (inner / "inner.py").write_text("import small\n")
    (inner / "pyproject.toml").write_text('[project]\nname = "inner"\nversion = "1"\ndependencies = ["small<2"]\n')
    node.write(requirements__txt="-e ./inner\n")
    python, _ = node.prepare()
    assert installed(python) == ["small-1.0"]
    own = make_environment(node.home / "environment", python, node.base)
    named = json.loads(node.submit().read_text())["dependencies"]["projects"]
    projects = find_projects(node.project, node.project, [own], [node.project / folder for folder, _ in named])
    with node.log.open("ab") as log:
        install_projects(own, projects, node.project, log, {})
    assert said(own, "import inner; print(inner.small.VERSION, inner.__file__)") == f"1.0 {inner}/inner.py"


def test_an_environment_yml_without_conda_installs_what_pypi_has_under_the_same_name(node):
    node.write(environment__yml="dependencies: [python=3.11, gdal, pytorch>=9, pip: [small<2]]\n")
    python, _ = node.prepare()
    assert installed(python) == ["small-1.0"]
    assert "conda is not installed on the machine; installing from PyPI" in node.log.read_text()


def test_an_environment_yml_is_conda_s(node):
    conda = node.home / "bin" / "conda"
    conda.write_text(
        f'#!/bin/sh\necho "Collecting conda $1 $2"\nmkdir -p "$4/bin" && ln -s "{sys.executable}" "$4/bin/python"\ntest -f "$6"\n'
    )
    conda.chmod(0o755)
    node.write(environment__yml="dependencies: [python]\n")
    python, key = node.prepare()
    assert python == f"{node.home}/.gpujob/environments/{key}/bin/python"
    assert "conda env create" in node.log.read_text()


def bare_node(node: Node, interpreter: str) -> Node:
    """The node without uv, and with an interpreter that can make no environments, as Debian's without python3-venv."""
    (node.home / "bin" / "uv").unlink()
    python = node.home / "bin" / "python3"
    python.write_text(
        f'#!/bin/sh\ncase "$2" in uv|venv) echo "no module $2"; exit 1;; esac\nexec "{interpreter}" "$@"\n'
    )
    python.chmod(0o755)
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(node.home), "PIP_CONFIG_FILE": os.devnull}
    return Node(**{**vars(node), "base": str(python), "settings": settings})


def test_uv_is_installed_once_where_there_is_none(node):
    bare = bare_node(node, sys.executable)
    write_wheel(node.home, "uv", "1.0", script=f'#!/bin/sh\nexec "{node.uv}" "$@"\n')
    for version in ("1.0", "2.0"):
        node.write(requirements__txt=f"small=={version}\n")
        python, refusal = bare.prepare()
        assert python, (refusal, node.log.read_text())
        assert installed(python) == [f"small-{version}"]
    assert node.log.read_text().count("installing uv") == 1


def test_no_uv_and_none_to_be_had_is_refused(node):
    node.write(requirements__txt="small\n")
    _, refusal = bare_node(node, node.base).prepare()
    assert refusal.endswith("install uv on the machine, or run with --no-deps")
    assert "no module venv" in node.log.read_text()
    assert not (node.home / ".gpujob" / "uv").exists()
    assert node.environments() == []


def test_what_the_user_tells_pip_uv_is_told_too(node):
    elsewhere = node.home / "elsewhere"
    elsewhere.mkdir()
    write_wheel(elsewhere, "small", "3.0")
    write_wheel(elsewhere, "small", "4.0")
    (node.home / "limits.txt").write_text("small<4\n")
    environment = {"PIP_FIND_LINKS": f"{node.links} {elsewhere}", "PIP_CONSTRAINT": str(node.home / "limits.txt")}
    told = Node(**{**vars(node), "settings": environment})
    node.write(requirements__txt="small\n")
    process = subprocess.run(
        [sys.executable, "-c", PREPARE, node.home / "agent.pyz", node.project, node.base, node.log, node.submit()],
        env={name: value for name, value in told.environment.items() if name != "UV_FIND_LINKS"},
        capture_output=True,
        check=True,
    )
    assert installed(json.loads(process.stdout)[0]) == ["small-3.0"]


@pytest.mark.parametrize(
    ("version", "known"),
    [
        ("2.7.0+cu128", True),
        ("1.0rc1", True),
        ("2024.1.post1", True),
        ("1!2.0.dev3", True),
        ("1.0-foo", False),
        ("", False),
    ],
)
def test_a_version_that_uv_could_not_read_is_left_out(version, known):
    assert bool(VERSION.fullmatch(version)) == known
