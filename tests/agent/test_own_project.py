"""A job's own project is a package there: commands, entry points and metadata, whatever builds it. No network."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from infra.node.agent.environment import overlay
from infra.node.agent.environment.dependencies import complete_plan, name_indexes
from infra.node.agent.environment.overlay import make_environment, site_of
from infra.node.agent.environment.project.install import install_projects
from infra.node.agent.environment.project.search import find_projects
from infra.node.agent.environment.uv import DependenciesError
from tests.wheels import write_wheel

CODE = "import importlib.metadata as m\nVALUE = 1\ndef main():\n    print('ran', m.version('my-tool'), __file__)\n"
TABLE = """
[project]
name = "my-tool"
version = "1.2"
dependencies = []
[project.scripts]
my-tool = "my_tool:main"
[project.optional-dependencies]
dev = ["pytest; python_version < '3'", "x @ https://x.org/a;b ; os_name == 'nt'", "y"]
[project.entry-points."my.plugins"]
one = "my_tool:VALUE"
"""
BUILD = '[build-system]\nrequires = []\nbuild-backend = "{}"\n'
POETRY = """[tool.poetry]
name = "my-tool"
version = "1.2"
packages = [{include = "my_tool", from = "code"}]
[tool.poetry.scripts]
my-tool = "my_tool:main"
[tool.poetry.plugins."my.plugins"]
one = "my_tool:VALUE"
"""
LEGACY = """
import os
from setuptools import setup
open("built.txt", "w").write("by setup.py")
setup(name="my-tool", version=open("VERSION").read().strip(), package_dir={"": "lib"}, packages=["my_tool"],
      entry_points={"console_scripts": ["my-tool=my_tool:main"], "my.plugins": ["one=my_tool:VALUE"]})
"""
COMPILED = """
from setuptools import Extension, setup
setup(name="my-tool", version="1.2", packages=["my_tool"], ext_modules=[Extension("my_tool._fast", ["fast.c"])],
      entry_points={"console_scripts": ["my-tool=my_tool:main"], "my.plugins": ["one=my_tool:VALUE"]})
"""
FAST = """#include <Python.h>
static struct PyModuleDef fast = {PyModuleDef_HEAD_INIT, "_fast", NULL, -1, NULL};
PyMODINIT_FUNC PyInit__fast(void) { return PyModule_Create(&fast); }
"""
ASK = """
import importlib.metadata as m, json, sys, my_tool
mine = m.distribution("my-tool")
print(json.dumps([mine.version, [point.load() for point in m.entry_points(group="my.plugins")], my_tool.__file__]))
"""
# A build backend of a private index, in the module of its wheel.
BACKEND = """
import os, zipfile
def build_editable(folder, *_):
    with zipfile.ZipFile(os.path.join(folder, "my_tool-1-py3-none-any.whl"), "w") as wheel:
        wheel.writestr("my_tool.pth", os.getcwd())
        info = "my_tool-1.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: my-tool\\nVersion: 1\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return "my_tool-1-py3-none-any.whl"
"""
SRC, FLAT = {"src/my_tool/__init__.py": CODE}, {"my_tool/__init__.py": CODE}
PROJECTS = {
    "setuptools": {"pyproject.toml": BUILD.format("setuptools.build_meta") + TABLE, **SRC},
    "setuptools with an empty setup.py": {
        "setup.py": "from setuptools import setup\n\nsetup()\n",
        "pyproject.toml": TABLE + '[tool.setuptools.packages.find]\nwhere = ["code"]\n',
        "code/my_tool/__init__.py": CODE,
    },
    "hatchling": {
        "pyproject.toml": BUILD.format("hatchling.build")
        + TABLE
        + '[tool.hatch.build.targets.wheel]\npackages = ["python/my_tool"]\n',
        "python/my_tool/__init__.py": CODE,
    },
    "flit": {"pyproject.toml": BUILD.format("flit_core.buildapi") + TABLE, **FLAT},
    "pdm": {"pyproject.toml": BUILD.format("pdm.backend") + TABLE, **SRC},
    "uv": {"pyproject.toml": BUILD.format("uv_build") + TABLE, **SRC},
    "poetry": {
        "pyproject.toml": BUILD.format("poetry.core.masonry.api") + POETRY,
        "code/my_tool/__init__.py": CODE,
    },
    "no build system": {"pyproject.toml": TABLE, **FLAT},
    "setup.py": {"setup.py": LEGACY, "VERSION": "1.2\n", "lib/my_tool/__init__.py": CODE},
    "extension module": {"setup.py": COMPILED, "fast.c": FAST, "my_tool/__init__.py": f"import my_tool._fast\n{CODE}"},
}


@dataclass(frozen=True)
class Place:
    """A working tree, and a job's environment above the tests' own interpreter."""

    tree: Path
    own: str
    log: Path

    def install(self, start: str = ".", **variables: str) -> bool:
        projects = find_projects(self.tree, self.tree / start, [self.own], [])
        with self.log.open("ab") as log:
            return install_projects(self.own, projects, self.tree, log, variables)

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
            (self.tree / name).write_text(text)

    def run(self, *words: str) -> list[str]:
        """Run a command of the environment, away from the working tree; return the lines that it prints."""
        program = Path(self.own).parent / words[0]
        return subprocess.run(
            [program, *words[1:]], cwd="/", check=True, capture_output=True, text=True
        ).stdout.splitlines()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "tree").mkdir()
    own = make_environment(tmp_path / "environment", sys.executable, sys.executable)
    return Place(tmp_path / "tree", own, tmp_path / "log")


@pytest.mark.parametrize("kind", PROJECTS)
def test_the_commands_entry_points_and_metadata_of_a_project_work(place, kind):
    place.write(PROJECTS[kind])
    assert place.install() == (kind in ("setup.py", "extension module")), "only these need their build backend"
    version, values, path = json.loads(place.run("python", "-c", ASK)[0])
    assert (version, values) == ("1.2", [1])
    assert Path(path).is_relative_to(place.tree)
    assert place.run("my-tool") == [f"ran 1.2 {path}"]


def test_the_project_can_be_uninstalled_and_knows_where_it_is_from(place):
    place.write(PROJECTS["setuptools"])
    place.install()
    ask = "import importlib.metadata as m; mine = m.distribution('my-tool'); print(*mine.requires, sep='\\n')"
    url, *needs = place.run("python", "-c", f"{ask}; print(mine.read_text('direct_url.json'))")[::-1]
    assert json.loads(url) == {"url": place.tree.as_uri(), "dir_info": {"editable": True}}
    assert needs[::-1] == [
        "pytest ; (python_version < '3') and extra == 'dev'",
        "x @ https://x.org/a;b ; (os_name == 'nt') and extra == 'dev'",
        "y ; extra == 'dev'",
    ]
    assert place.run("python", "-m", "pip", "uninstall", "-y", "-q", "my-tool") == []
    assert sorted(path.name for path in Path(place.own).parent.glob("my-*")) == []
    assert not list(site_of(place.own).glob("*my_tool*"))


def test_all_members_of_a_uv_workspace_are_installed_wherever_in_it_a_job_starts(place):
    member = '[project]\nname = "{0}"\nversion = "1"\n[project.scripts]\n{0} = "{0}:main"\n' + BUILD.format("uv_build")
    place.write(
        {"pyproject.toml": '[tool.uv.workspace]\nmembers = ["packages/*", "../*"]\nexclude = ["packages/old"]\n'}
    )
    for name in ("one", "two", "old"):
        code = f"def main(): print('{name}')\n"
        place.write(
            {f"packages/{name}/pyproject.toml": member.format(name), f"packages/{name}/src/{name}/__init__.py": code}
        )
    place.install("packages/two")
    assert place.run("one") + place.run("two") == ["one", "two"]
    assert not (Path(place.own).parent / "old").exists()


def test_the_nearest_project_is_installed_and_folders_without_one_are_passed(place):
    place.write(PROJECTS["setuptools"])
    place.write({"inner/pyproject.toml": TABLE.replace("my-tool", "inner-tool"), "inner/my_tool/__init__.py": CODE})
    place.write({"inner/deep/pyproject.toml": "[tool.ruff]\nline-length = 100\n", "inner/deep/x.py": ""})
    place.install("inner/deep")
    assert (Path(place.own).parent / "inner-tool").exists()
    assert not (Path(place.own).parent / "my-tool").exists()


@pytest.mark.parametrize(
    "files",
    [
        {"train.py": ""},
        {"pyproject.toml": "[tool.ruff]\n"},
        {"pyproject.toml": TABLE + "[tool.uv]\npackage = false\n"},
        {"pyproject.toml": "[tool.poetry]\nname = 'x'\nversion = '1'\npackage-mode = false\n"},
        {"setup.py": "print('downloads the data')\nraise SystemExit(1)\n"},
        {"setup.cfg": "[flake8]\nmax-line-length = 100\n[tool:pytest]\nname = 3\n"},
        {"pyproject.toml": "[project\n"},
    ],
)
def test_a_folder_that_is_no_package_is_not_installed(place, files):
    place.write(files)
    assert place.install() is False
    assert [path.name for path in site_of(place.own).iterdir()] == ["zz_below.pth"]
    assert place.log.read_text() == ""


def test_a_folder_of_the_project_hides_no_package_that_is_installed(place):
    place.write(
        {
            "pyproject.toml": TABLE + BUILD.format("flit_core.buildapi"),
            "pytest.py": "VERSION = 'mine'",
            "my_tool.py": CODE,
        }
    )
    place.install()
    assert place.run("python", "-c", "import pytest, my_tool; print(pytest.__file__)") == [pytest.__file__]


def test_a_project_that_cannot_be_built_is_an_error_with_the_builder_s_words(place):
    place.write({"setup.py": "from setuptools import setup\nraise RuntimeError('no CUDA compiler')\nsetup()\n"})
    with pytest.raises(DependenciesError, match=r"^the project could not be built, .*--no-deps$"):
        place.install()
    assert "RuntimeError: no CUDA compiler" in place.log.read_text()


class PrivateIndex(SimpleHTTPRequestHandler):
    """A package index that asks for a user and a password."""

    def do_GET(self) -> None:
        given = self.headers.get("Authorization", "")
        if given == f"Basic {base64.b64encode(b'me:hunter22').decode()}":
            super().do_GET()
        else:
            self.send_error(401)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """A private index with a build backend: where it is, without credentials."""
    (tmp_path / "index/backend").mkdir(parents=True)
    write_wheel(tmp_path / "index/backend", "backend", "1.0", body=BACKEND)
    serve = partial(PrivateIndex, directory=str(tmp_path / "index"))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_build_gets_the_indexes_of_the_manifest_and_their_credentials_and_shows_none(place, index, monkeypatch):
    monkeypatch.setenv("UV_OFFLINE", "0")
    place.write({"pyproject.toml": '[build-system]\nrequires = ["backend"]\nbuild-backend = "backend"\n'})
    place.write({"my_tool.py": CODE})
    job = {"env": {}, "dependencies": {"lines": [f"--index-url http://${{KEY}}@{index}/"], "constraints": []}}
    for key in ("me:wrong-one", "me:hunter22"):
        plan, variables = complete_plan(job, {"KEY": key, "OTHER": "unrelated"}, {})
        assert variables == {"KEY": key}
        settings = {**variables, **name_indexes(plan, variables)}
        if "wrong" in key:
            with pytest.raises(DependenciesError, match="the project could not be built"):
                place.install(**settings)
        else:
            assert place.install(**settings)
    assert place.run("python", "-c", "import my_tool; print(my_tool.VALUE)") == ["1"]
    text = place.log.read_text()
    assert "wrong-one" not in text
    assert "hunter22" not in text
    assert index in text, "what went wrong is said"


def test_a_script_that_names_no_function_is_an_error(place):
    place.write({"pyproject.toml": TABLE.replace("my_tool:main", "my_tool.py")})
    with pytest.raises(DependenciesError, match=r"'my-tool = \"my_tool\.py\"' is not a script"):
        place.install()


def test_a_version_that_is_taken_from_git_does_not_stop_the_build(place):
    version = "version=os.environ['SETUPTOOLS_SCM_PRETEND_VERSION']"
    place.write(
        {"setup.py": f"import os\nfrom setuptools import setup\nsetup(name='x', {version})  # setuptools-scm\n"}
    )
    place.install()
    assert place.run("python", "-c", "import importlib.metadata as m; print(m.version('x'))") == ["0.0.0"]


def test_an_interpreter_is_queried_again_only_when_it_or_its_packages_changed(tmp_path, monkeypatch):
    base = make_environment(tmp_path / "base", sys.executable, sys.executable)
    asked, look = [], overlay.look_below
    monkeypatch.setattr(overlay, "look_below", lambda python: asked.append(python) or look(python))
    known = tmp_path / "known.json"

    def make(name: str) -> str:
        own = make_environment(tmp_path / name, base, base, known)
        return (site_of(own) / "zz_below.pth").read_text()

    first = make("one")
    assert (make("two"), len(asked)) == (first, 1)
    (site_of(base) / "pip").mkdir()
    assert (make("three"), len(asked)) == (first, 2)
    known.write_text(json.dumps({base: {"stamps": 1}}))
    assert (make("four"), len(asked)) == (first, 3)
