"""A job's own project is a package there: commands, entry points and metadata, whatever builds it. No network."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.node.agent.environment.overlay import make_environment, site_of
from infra.node.agent.environment.project.install import install_projects
from infra.node.agent.environment.project.search import find_projects
from infra.node.agent.environment.uv import DependenciesError

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

    def install(self, start: str = ".") -> bool:
        with self.log.open("ab") as log:
            return install_projects(
                self.own, find_projects(self.tree, self.tree / start, [self.own], []), self.tree, log
            )

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
