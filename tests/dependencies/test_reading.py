"""How manifests are understood: every spelling that pip, Poetry, setuptools and conda have for the same thing."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from infra.dependencies import conda, poetry
from infra.dependencies.names import describe_addition, package_of
from infra.dependencies.pyproject import Chosen, read_project
from infra.dependencies.requirements import read_lines, read_requirements
from infra.dependencies.sources import Sources

EXAMPLES = int(os.environ.get("GPUJOB_TEST_EXAMPLES", "40"))
MANY = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))


def sources(folder: Path, **files: str | bytes) -> Sources:
    """A project; __ stands for the dot in its files' names."""
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Sources(folder, frozenset(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_requirements_file_is_read_in_any_encoding(tmp_path, encoding, end):
    text = end.join(["# coding: utf-8", "torch>=2  # größer", "small", ""])
    mark = b"\xff\xfe" if encoding == "utf-16-le" else b""
    flat = read_requirements(sources(tmp_path, requirements__txt=mark + text.encode(encoding)), "requirements.txt")
    assert flat.lines == ["torch>=2", "small"]


def test_what_a_requirements_file_includes_is_read_from_its_folder(tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "base.txt").write_text(
        "-r ../requirements.txt\n--constraint=limits.txt\n./a-1.0-py3-none-any.whl\n"
    )
    (tmp_path / "more" / "limits.txt").write_text("small<3\n")
    (tmp_path / "more" / "a-1.0-py3-none-any.whl").touch()
    flat = read_requirements(sources(tmp_path, requirements__txt="small\n-rmore/base.txt\n"), "requirements.txt")
    assert (flat.lines, flat.constraints) == (["small", "./more/a-1.0-py3-none-any.whl"], ["small<3"])
    assert flat.archives == ["more/a-1.0-py3-none-any.whl"]


@pytest.mark.parametrize(
    ("line", "lines", "options"),
    [
        ("-i https://host/simple", ["--index-url https://host/simple"], []),
        ("--extra-index-url=https://host/x", ["--extra-index-url https://host/x"], []),
        ("small==1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb", 1, []),
        ("--pre", [], ["--prerelease=allow"]),
        ("--trusted-host host", [], ["--allow-insecure-host=host"]),
        ("--prefer-binary", [], []),
        ("--no-binary :all:", ["--no-binary :all:"], []),
        ("pkg-resources==0.0.0", [], []),
        ("-e git+https://host/x.git@v1#egg=x", ["git+https://host/x.git@v1#egg=x"], []),
        ("x[a,b]>=1,<2 ; python_version < '3.9'", 1, []),
        ("x @ https://host/x-1-py3-none-any.whl", 1, []),
        ("--find-links https://host/links", 1, []),
    ],
)
def test_a_line_is_read_as_pip_does(tmp_path, line, lines, options):
    flat = read_lines(sources(tmp_path), line.splitlines(), "requirements.txt", ".")
    assert len(flat.lines) == lines if isinstance(lines, int) else flat.lines == lines
    assert flat.options == options


@pytest.mark.parametrize(
    "line", [".", "./", "-e .", "--editable=.", "-e .[dev, gpu]", "  -e ./  # ours", "file:.", "x @ file:."]
)
def test_a_line_that_means_the_project_itself_is_known(tmp_path, line):
    flat = read_lines(sources(tmp_path, setup__py=""), ["torch", line], "requirements.txt", ".")
    assert ([folder for folder, _ in flat.projects], flat.lines) == (["."], ["torch"])


NAMES = st.from_regex(r"[A-Za-z]([A-Za-z0-9._-]{0,10}[A-Za-z0-9])?", fullmatch=True)
VERSIONS = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}", fullmatch=True)
CLAUSES = st.lists(st.tuples(st.sampled_from(["==", ">=", "<", "!=", "~=", ">"]), VERSIONS), max_size=3)


@MANY
@given(
    NAMES,
    CLAUSES,
    st.lists(NAMES, max_size=2),
    st.sampled_from(["", " ; python_version >= '3.8'"]),
    st.sampled_from(["", "  # x"]),
)
def test_a_requirement_means_the_same_after_reading(name, clauses, extras, marker, comment):
    spec = ",".join(operator + (f"{version}.0" if operator == "~=" else version) for operator, version in clauses)
    text = f"{name}{'[' + ','.join(extras) + ']' if extras else ''}{spec}{marker}"
    flat = read_lines(Sources(Path("/nonexistent"), frozenset()), [f"  {text}{comment}"], "requirements.txt", ".")
    assert [Requirement(line) for line in flat.lines] == [Requirement(text)]


@MANY
@given(st.lists(st.integers(0, 20), min_size=1, max_size=4), st.sampled_from("^~"))
def test_poetry_s_ranges_contain_their_version_and_end_at_the_next(numbers, sign):
    version = ".".join(map(str, numbers))
    allowed = SpecifierSet(poetry.as_specifier(f"{sign}{version}", "x"))
    assert version in allowed
    assert f"{numbers[0] + 1}.0" not in allowed


@pytest.mark.parametrize(
    ("version", "meant"),
    [
        ("^1.2.3", ">=1.2.3,<2"),
        ("^0.2.3", ">=0.2.3,<0.3"),
        ("^0.0.3", ">=0.0.3,<0.0.4"),
        ("~1.2", ">=1.2,<1.3"),
        ("~1", ">=1,<2"),
        ("1.2.*", "==1.2.*"),
        ("1.2", "==1.2"),
        ("*", ""),
        (">=1 <2", ">=1,<2"),
        (">= 1.0, != 1.5", ">=1.0,!=1.5"),
        ("~=1.4.2", "~=1.4.2"),
    ],
)
def test_poetry_s_constraints_are_translated(version, meant):
    assert poetry.as_specifier(version, "x") == meant


@pytest.mark.parametrize(
    ("text", "lines", "unknown"),
    [
        ("numpy=1.24", ["numpy==1.24.*"], []),
        ("conda-forge::numpy=1.24.1=py311h_0", ["numpy==1.24.1"], []),
        ("pytorch>=2.0,<3", ["torch>=2.0,<3"], []),
        ("pandas 1.5", ["pandas==1.5.*"], []),
        ("cudatoolkit=11.8", [], []),
        ("python=3.9", [], []),
        ("gdal", [], ["gdal"]),
    ],
)
def test_conda_s_packages_are_pypi_s_only_where_the_name_is_known(text, lines, unknown):
    assert conda.translate([text]) == (lines, unknown)


@pytest.mark.parametrize(
    ("files", "lines"),
    [
        (
            {"setup__py": "import setuptools\nNEEDS = ['a']\nsetuptools.setup(install_requires=NEEDS + ['b>1'])"},
            ("a", "b>1"),
        ),
        ({"setup__cfg": "[options]\ninstall_requires =\n    a\n    b>1\n"}, ("a", "b>1")),
        ({"setup__cfg": "[options]\ninstall_requires = file: needs.txt\n", "needs__txt": "a\n"}, ("a",)),
        (
            {
                "pyproject__toml": '[project]\nname = "x"\ndynamic = ["dependencies"]\n'
                '[tool.setuptools.dynamic]\ndependencies = {file = ["needs.txt"]}\n',
                "needs__txt": "a\nb\n",
            },
            ("a", "b"),
        ),
        (
            {
                "pyproject__toml": "[tool.poetry.dependencies]\npython = '^3.9'\n"
                "a = {version = '^1', extras = ['x'], markers = \"os_name=='posix'\"}\n"
                "b = {git = 'https://host/b.git', tag = 'v1'}\nc = {version = '*', optional = true}\n"
            },
            ("a[x]>=1,<2 ; (os_name=='posix')", "b @ git+https://host/b.git@v1"),
        ),
    ],
)
def test_what_a_project_lists_is_read_without_running_it(tmp_path, files, lines):
    assert read_project(sources(tmp_path, **files), ".", Chosen()).lines == lines


@pytest.mark.parametrize(
    "files",
    [
        {
            "setup__py": "from setuptools import setup\nsetup(install_requires=open('needs.txt').read().split())",
            "needs__txt": "a",
        },
        {"pyproject__toml": '[project]\nname = "x"\ndynamic = ["dependencies"]\n', "needs__txt": "a"},
    ],
)
def test_what_only_the_build_backend_knows_is_left_to_it_and_watched(tmp_path, files):
    found = read_project(sources(tmp_path, **files), ".", Chosen())
    assert (found.lines, len(found.files)) == ((), 1)
    assert "needs.txt" in found.watched


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("cv2", "opencv-python-headless"),
        ("PIL.Image", "pillow"),
        ("google.protobuf.x", "protobuf"),
        ("my_thing.x", "my-thing"),
    ],
)
def test_the_package_of_a_module_is_known(module, package):
    assert package_of(module) == package


def test_how_to_add_a_package_depends_on_the_manifest():
    assert describe_addition("yaml", "a/requirements.txt") == "add this line to a/requirements.txt: pyyaml"
    assert describe_addition("yaml", "uv.lock") == "uv add 'pyyaml'"
    assert describe_addition("yaml", "") == "create requirements.txt with this line: pyyaml"
    assert (
        describe_addition("yaml", "env/environment.yml") == "add '- pyyaml' to the pip section of env/environment.yml"
    )
