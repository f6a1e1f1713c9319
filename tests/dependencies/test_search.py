"""Which manifest is read: the nearest one to the job's script, and of several in a folder the most exact."""

import json
from pathlib import Path

import pytest

from infra.dependencies.search import find_dependencies
from infra.errors import UsageError
from infra.model import Dependencies, Request
from infra.project.files import read_project

PROJECT = '[project]\nname = "mine"\nversion = "1"\ndependencies = ["small>=1"]\n'


def write(folder: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def find(folder: Path, *command: str, **options: tuple[str, ...]) -> Dependencies | None:
    return find_dependencies(read_project(folder), Request(command or ("python", "train.py"), **options))


def refusal(folder: Path, *command: str, **options: tuple[str, ...]) -> str:
    with pytest.raises(UsageError) as caught:
        find(folder, *command, **options)
    return f"{caught.value.what}; {caught.value.hint}"


def test_the_manifest_nearest_to_the_script_is_read(tmp_path):
    write(
        tmp_path, {"requirements.txt": "outer", "course/week3/requirements.txt": "inner", "course/week3/a/train.py": ""}
    )
    write(tmp_path, {"course/week3/a/pyproject.toml": "[tool.ruff]\nline-length = 100\n", "train.py": ""})
    near, far = find(tmp_path, "python", "course/week3/a/train.py"), find(tmp_path, "python", "train.py")
    assert (near.manifest, near.lines) == ("course/week3/requirements.txt", ("inner",))
    assert (far.manifest, far.lines) == ("requirements.txt", ("outer",))


def test_groups_and_extras_of_the_manifest_near_a_notebook_can_be_chosen(tmp_path):
    content = PROJECT + '[project.optional-dependencies]\nplot = ["tall"]\n[dependency-groups]\nlab = ["wide"]\n'
    write(tmp_path, {"nb/pyproject.toml": content, "nb/1 a.ipynb": "{}", "requirements.txt": "outer"})
    found = find(tmp_path, "python", "-m", "nbconvert", "--inplace", "nb/1 a.ipynb", extras=("plot",), groups=("lab",))
    assert found.manifest == "nb/pyproject.toml"
    assert (found.options, found.groups) == (("--extra=plot",), ("nb/pyproject.toml:lab",))


def test_of_several_manifests_in_a_folder_the_most_exact_is_read(tmp_path):
    files = {
        "environment.yml": "dependencies: [numpy]",
        "setup.cfg": "[options]\ninstall_requires = small\n",
        "setup.py": "from setuptools import setup\nsetup(install_requires=['small'])\n",
        "pyproject.toml": PROJECT,
        "Pipfile": '[packages]\nsmall = "*"\n',
        "requirements.txt": "small",
        "poetry.lock": '[[package]]\nname = "small"\nversion = "1.0"\n',
        "pylock.toml": 'lock-version = "1.0"\n',
        "uv.lock": "version = 1\n",
    }
    assert find(tmp_path) is None
    for name, content in files.items():
        write(tmp_path, {name: content})
        assert find(tmp_path).manifest == name
    assert find(tmp_path).kind == "uv.lock"


def test_what_is_not_uploaded_is_not_read(tmp_path):
    write(tmp_path, {".gitignore": "requirements.txt\nmore.txt\n", "requirements.txt": "small", "more.txt": "x"})
    assert find(tmp_path) is None
    write(tmp_path, {".gitignore": "more.txt\n", "requirements.txt": "-r more.txt\n"})
    assert "requirements.txt, line 1: more.txt is not uploaded" in refusal(tmp_path)


def test_a_script_that_lists_its_own_dependencies_needs_no_manifest(tmp_path):
    script = '#!/usr/bin/env python\r\n# /// script\r\n# dependencies = ["small<2"]\r\n# ///\r\nprint()\r\n'
    write(tmp_path, {"requirements.txt": "other", "train.py": script})
    assert (find(tmp_path).manifest, find(tmp_path).lines) == ("train.py", ("small<2",))
    write(tmp_path, {"train.py": '# /// script\n# dependencies = ["small"\n# ///\n'})
    assert "train.py: its inline metadata is not valid TOML" in refusal(tmp_path)


def test_extras_and_groups_are_those_that_there_are(tmp_path):
    more = '[project.optional-dependencies]\ngpu = ["big"]\n[dependency-groups]\ntest = ["pytest"]\n'
    write(tmp_path, {"pyproject.toml": PROJECT + more})
    found = find(tmp_path, extras=("gpu",), groups=("test",))
    assert (found.options, found.groups) == (("--extra=gpu",), ("pyproject.toml:test",))
    assert refusal(tmp_path, extras=("cpu",)) == "pyproject.toml has no extra 'cpu'; omit --extra; it has gpu"
    assert refusal(tmp_path, groups=("dev",)) == "pyproject.toml has no group 'dev'; omit --group; it has test"
    write(tmp_path, {"requirements.txt": "small"})
    assert find(tmp_path, extras=("gpu",)).manifest == "pyproject.toml"
    assert find(tmp_path).manifest == "requirements.txt"


def test_a_group_of_requirements_files_is_the_one_of_that_name(tmp_path):
    write(tmp_path, {"requirements-gpu.txt": "big", "requirements-cpu.txt": "small", "requirements-dev.txt": "pytest"})
    assert "requirements-cpu.txt" in refusal(tmp_path)
    assert "choose one: --group cpu" in refusal(tmp_path)
    assert find(tmp_path, groups=("gpu",)).lines == ("big",)
    write(tmp_path, {"requirements.txt": "base"})
    assert (find(tmp_path).lines, find(tmp_path, groups=("gpu",)).lines) == (("base",), ("base", "big"))


def test_a_member_of_a_workspace_uses_the_lock_of_its_root(tmp_path):
    write(tmp_path, {"pyproject.toml": '[tool.uv.workspace]\nmembers = ["packages/*"]\nexclude = ["packages/old"]\n'})
    write(tmp_path, {"uv.lock": "", "packages/new/pyproject.toml": PROJECT, "packages/old/pyproject.toml": PROJECT})
    write(tmp_path, {"packages/new/train.py": "", "packages/old/train.py": ""})
    found = find(tmp_path, "python", "packages/new/train.py")
    assert (found.manifest, found.folder, found.options) == ("uv.lock", ".", ("--no-dev", "--package=mine"))
    assert found.declared == {"small": ">=1"}
    assert find(tmp_path, "python", "packages/old/train.py").manifest == "packages/old/pyproject.toml"


def test_credentials_of_an_index_stand_in_no_line(tmp_path):
    lines = (
        "--index-url https://me:hunter22@host/simple\nx @ git+https://tok3n-abc@host/x.git\ny @ git+ssh://git@host/y\n"
    )
    write(tmp_path, {"requirements.txt": lines})
    found = find(tmp_path)
    assert found.secrets == {"GPUJOB_INDEX_1": "me:hunter22", "GPUJOB_INDEX_2": "tok3n-abc"}
    assert found.lines[0] == "--index-url https://${GPUJOB_INDEX_1}@host/simple"
    assert "hunter22" not in repr(found)
    assert "git+ssh://git@host/y" in found.lines[2]
    write(tmp_path, {"requirements.txt": "-c https://me:hunter22@host/c.txt\nx @@ https://me:hunter22@host/y.whl\n"})
    assert "hunter22" not in refusal(tmp_path)


def test_folders_of_the_project_bring_what_they_need(tmp_path):
    write(
        tmp_path,
        {
            "requirements.txt": "-e .[gpu]\n-e ./inner\n",
            "inner/setup.py": "from setuptools import setup\n"
            "needs = ['inner-needs']\nsetup(name='inner', install_requires=needs + ['more'])\n",
        },
    )
    write(tmp_path, {"pyproject.toml": PROJECT + '[project.optional-dependencies]\ngpu = ["big"]\n'})
    found = find(tmp_path)
    assert (found.files, found.options) == (("pyproject.toml",), ("--extra=gpu",))
    assert found.lines == ("inner-needs", "more")
    assert found.projects == ((".", ("gpu",)), ("inner", ()))


def test_a_lock_that_lacks_what_the_project_requires_is_refused(tmp_path):
    poetry = '[tool.poetry]\nname = "x"\n[tool.poetry.dependencies]\npython = "^3.9"\nsmall = "^1.2"\n'
    write(tmp_path, {"pyproject.toml": poetry, "poetry.lock": '[[package]]\nname = "small"\nversion = "1.1"\n'})
    assert refusal(tmp_path) == (
        "poetry.lock is out of date: it has small 1.1, the project requires small<2,>=1.2; poetry lock"
    )
    write(tmp_path, {"poetry.lock": ""})
    assert refusal(tmp_path).startswith("poetry.lock is out of date: small, which")
    write(
        tmp_path,
        {"pyproject.toml": PROJECT.replace(">=1", ">=2"), "pdm.lock": '[[package]]\nname = "small"\nversion = "1"\n'},
    )
    (tmp_path / "poetry.lock").unlink()
    assert refusal(tmp_path).endswith("pdm lock")
    (tmp_path / "pdm.lock").unlink()
    lock = {"default": {"small": {"version": "==1.0", "hashes": ["sha256:aa"]}}, "develop": {}}
    write(tmp_path, {"Pipfile": '[packages]\nsmall = ">=2"\n', "Pipfile.lock": json.dumps(lock)})
    assert refusal(tmp_path).endswith("pipenv lock")
    write(tmp_path, {"Pipfile": '[packages]\nsmall = "*"\n'})
    assert find(tmp_path).lines == ("small==1.0 --hash=sha256:aa",)


def test_a_poetry_lock_is_read_for_what_is_needed_only_and_where(tmp_path):
    write(
        tmp_path,
        {
            "pyproject.toml": '[tool.poetry]\nname = "x"\n[tool.poetry.dependencies]\na = "*"\n'
            '[tool.poetry.group.dev.dependencies]\ntested = "*"\n',
            "poetry.lock": """
[[package]]
name = "a"
version = "1"
files = [{file = "a.whl", hash = "sha256:aa"}]
[package.dependencies]
b = ">=1"
colorama = {version = "*", markers = "sys_platform == 'win32'"}
[[package]]
name = "b"
version = "2"
[[package]]
name = "colorama"
version = "3"
[[package]]
name = "tested"
version = "4"
""",
        },
    )
    assert sorted(find(tmp_path).lines) == [
        "a==1 --hash=sha256:aa",
        "b==2",
        'colorama==3 ; ((sys_platform == "win32"))',
    ]
    assert "tested==4" in find(tmp_path, groups=("dev",)).lines


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("pyproject.toml", "[project\n", "pyproject.toml is not valid TOML"),
        ("requirements.txt", "a\nb ==\n", "requirements.txt, line 2: 'b ==' is not a requirement"),
        ("requirements.txt", "--no-such-option\n", "requirements.txt, line 1: unknown option --no-such-option"),
        ("requirements.txt", "-r gone.txt\n", "requirements.txt, line 1: no file gone.txt"),
        (
            "requirements.txt",
            "numpy @ file:///croot/numpy/work\n",
            "line 1: numpy comes from a file of another computer",
        ),
        ("requirements.txt", "-e ./gone\n", "line 1: no file ./gone"),
        ("requirements.txt", b"\xff\xfe\xff", "cannot read requirements.txt"),
        ("environment.yml", "dependencies: [", "environment.yml is not a valid environment file"),
        ("Pipfile.lock", "{}", "Pipfile.lock is not a lock of Pipenv"),
        ("Pipfile", '[packages]\nx = "^1 || ^2"\n', "Pipfile: x allows alternatives"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_named_with_its_line(tmp_path, name, content, said):
    write(tmp_path, {name: content})
    assert said in refusal(tmp_path)
    assert len(refusal(tmp_path).splitlines()) == 1


MEMBER = '[project]\nname = "{name}"\nversion = "1"\ndependencies = [{needs}]\n'


def test_folders_that_uv_s_sources_name_are_imported_and_what_they_need_is_installed(tmp_path):
    sources = (
        "[tool.uv.sources]\n"
        'Helper = [{ path = "libs/helper", editable = true, marker = "python_version > \'3\'" }]\n'
        'unused = { path = "../elsewhere" }\nwheel = { path = "wheels/wheel-1-py3-none-any.whl" }\n'
        'remote = { git = "https://example.com/remote" }\n'
    )
    needs = '"helper[fast]>=1", "wheel", "remote", "small"'
    write(
        tmp_path,
        {
            "pyproject.toml": MEMBER.format(name="mine", needs=needs) + sources,
            "libs/helper/pyproject.toml": MEMBER.format(name="helper", needs='"deep"')
            + '[project.optional-dependencies]\nfast = ["numba"]\n[tool.uv.sources]\ndeep = { path = "../deep" }\n',
            "libs/deep/setup.py": "from setuptools import setup\nsetup(install_requires=['six'])\n",
            "wheels/wheel-1-py3-none-any.whl": "",
        },
    )
    found = find(tmp_path)
    assert found.projects == (("libs/helper", ("fast",)), ("libs/deep", ()))
    assert found.files == ("pyproject.toml", "libs/helper/pyproject.toml")
    assert (found.lines, found.options) == (("six",), ("--extra=fast",))
    assert [line.split()[0] for line in found.overrides] == ["helper", "deep"]
    assert "wheels/wheel-1-py3-none-any.whl" in found.watched


def test_a_workspace_needs_no_lock_and_a_script_may_name_folders_too(tmp_path):
    script = (
        '# /// script\n# dependencies = ["lib"]\n# [tool.uv.sources]\n# lib = { path = "../packages/lib" }\n# ///\n'
    )
    write(
        tmp_path,
        {
            "pyproject.toml": '[tool.uv.workspace]\nmembers = ["packages/*"]\n'
            "[tool.uv.sources]\nlib = { workspace = true }\n",
            "packages/lib/pyproject.toml": MEMBER.format(name="lib", needs='"six"'),
            "packages/app/pyproject.toml": MEMBER.format(name="app", needs='"lib", "small"'),
            "packages/app/train.py": "",
            "packages/app/tests/sample/pyproject.toml": MEMBER.format(name="sample", needs='"nowhere"'),
            "tools/make.py": script,
        },
    )
    whole, member, tool = (
        find(tmp_path, "python", name) for name in ("x.py", "packages/app/train.py", "tools/make.py")
    )
    assert {folder for folder, _ in whole.projects} == {"packages/app", "packages/lib"}
    assert member.projects == (("packages/lib", ()),)
    assert {*whole.files} == {*member.files} == {"packages/app/pyproject.toml", "packages/lib/pyproject.toml"}
    assert whole.overrides == member.overrides != ()
    assert (tool.manifest, tool.projects) == ("tools/make.py", (("packages/lib", ()),))


def test_the_sources_and_indexes_of_a_script_are_its_own_and_not_those_of_strangers(tmp_path):
    table = """dependencies = ["one[x]>=1", "two; python_version > '3'", "three", "four"]
[[tool.uv.index]]
url = "https://index.example/simple"
[tool.uv.sources]
one = { git = "https://example.com/one", tag = "v1", subdirectory = "python" }
two = { url = "https://example.com/two-1-py3-none-any.whl" }
three = [{ path = "three-1-py3-none-any.whl", marker = "sys_platform == 'linux'" }]
"""
    script = "".join(f"# {line}\n" for line in ["/// script", *table.splitlines(), "///"])
    write(tmp_path, {"tools/make.py": script, "tools/three-1-py3-none-any.whl": ""})
    assert find(tmp_path, "python", "tools/make.py").lines == (
        "--extra-index-url https://index.example/simple",
        "one[x] @ git+https://example.com/one@v1#subdirectory=python",
        'two @ https://example.com/two-1-py3-none-any.whl ; (python_version > "3")',
        "./tools/three-1-py3-none-any.whl ; (sys_platform == 'linux')",
        "four",
    )


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (
            '{ path = "../helper" }',
            "'helper' comes from ../helper, outside the project; run from a folder that contains",
        ),
        ('{ path = "libs/helper" }', "'helper' comes from libs/helper, which is missing"),
        ('{ path = "secret/helper" }', "'helper' comes from secret/helper, which is not uploaded, as git ignores it"),
        ("{ workspace = true }", "'helper' is in a workspace outside the project"),
    ],
)
def test_a_folder_that_a_source_names_and_that_is_not_uploaded_is_named(tmp_path, source, says):
    sources = f"[tool.uv.sources]\nhelper = {source}\n"
    write(
        tmp_path, {"pyproject.toml": MEMBER.format(name="mine", needs='"helper"') + sources, ".gitignore": "secret/\n"}
    )
    write(tmp_path, {"secret/helper/pyproject.toml": MEMBER.format(name="helper", needs="")})
    assert says in refusal(tmp_path)


def test_what_only_conda_would_install_is_named_before_the_job_starts(tmp_path):
    write(tmp_path, {"environment.yml": "dependencies: [python=3.10.8, gdal, numpy]\n"})
    _, unknown, python = find(tmp_path).notes
    assert unknown == "not installed without conda: gdal"
    assert python.startswith("without conda, 'python=3.10.8' is ignored; ")
