"""A job that installs, removes and overwrites packages changes its own environment and nothing that others use."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import agent_fixtures as fixtures
from tests.agent_fixtures import Node
from tests.wheels import write_wheel

node = fixtures.node
SHOW = "import evil, sys; print('has', evil.VERSION, sys.prefix)"
TRY = "import importlib.util; print(importlib.util.find_spec('evil') is None)"
# Each is typed by a job in its shell.
INSTALLS = {
    "pip": "pip install evil",
    "python -m pip": "python3 -m pip install evil",
    "uv pip": "uv pip install evil",
    "uv pip --system": "uv pip install --system evil",
    "settings that ask for user installs": "printf '[install]\\nuser = true\\n' > c; PIP_CONFIG_FILE=$PWD/c pip install evil",
}
REFUSED = {
    "pip --user": "pip install --user evil",
    "the pip of an interpreter without an environment": f"{os.path.realpath(sys.executable)} -m pip install --user evil",
}
# However Python is started, it is the job's own.
STARTS = (
    *("python", "python3", f"python{sys.version_info[0]}.{sys.version_info[1]}", "./script", "$GPUJOB_PYTHON"),
    "python -c 'import subprocess, sys; subprocess.call([sys.executable, \"script\"])'",
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An environment with pip, uv and a package "good" as the base of all jobs, in a folder with a space."""
    folder = tmp_path_factory.mktemp("base of all") / "pytorch"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    links = folder / "links"
    links.mkdir()
    for name, version in (("good", "1.0"), ("good", "2.0"), ("evil", "6.6")):
        write_wheel(links, name, version, command=f"run-{name}", body="def main(): print('ran', VERSION)\n")
    install = [folder / "bin" / "pip", "install", "-q", "--no-index", "-f", links, "good==1.0"]
    subprocess.run(install, check=True)
    uv = Path(sys.executable).parent / "uv"
    if uv.exists():
        (folder / "bin" / "uv").symlink_to(uv)
    yield folder
    shutil.rmtree(folder)


def run(node: Node, base: Path, script: str, **options: object) -> tuple[int, str]:
    """Run a shell script as a job on the base; its exit code and its log."""
    environment = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": (base / "links").as_uri(), "PIP_NO_CACHE_DIR": "1",
                   "UV_OFFLINE": "1", "UV_FIND_LINKS": str(base / "links"), "UV_CACHE_DIR": str(node.home / "uv")}  # fmt: skip
    number = node.submit(
        *("sh", "-c", script), token=script, python=str(base / "bin" / "python"), env=environment, **options
    )
    record = node.wait(number)
    return record["exit_code"], node.ask("logs", str(number), "0").decode()


def listing(folder: Path) -> dict[str, int]:
    """Every file of a folder, and when it was written."""
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}


def test_what_a_job_installs_is_its_own_however_it_does_it(node, base):
    """One job does it all, since pip takes a second each time."""
    before = listing(base)
    ways = {how: way for how, way in INSTALLS.items() if "uv" not in how or (base / "bin" / "uv").exists()}
    steps = [
        f'echo "{how}"; ({way}) && python -c "{SHOW}" && run-evil; pip uninstall -qy evil' for how, way in ways.items()
    ]
    _, log = run(node, base, "\n".join(steps))
    assert log.count(f"has 6.6 {node.home}/.gpujob/jobs/1/environment\nran 6.6\n") == len(ways), log
    assert listing(base) == before
    assert not (node.home / ".local").exists()


def test_every_way_to_start_python_is_the_job_s_own(node, base):
    script = "#!/usr/bin/env python3\nimport sys; print(sys.prefix)\n"
    words = "\n".join(f"{start} {'' if 'script' in start else 'script'}" for start in STARTS)
    code, log = run(node, base, f"chmod +x script; {words}", files={"script": script.encode()})
    assert (code, set(log.splitlines())) == (0, {f"{node.home}/.gpujob/jobs/1/environment"}), log


def test_what_a_job_installed_no_other_job_has_and_it_goes_with_the_job(node, base):
    code, log = run(node, base, "pip install -q evil && test -e $VIRTUAL_ENV/bin/run-evil")
    assert code == 0, log
    assert not (node.home / ".gpujob/jobs/1/environment").exists()
    assert run(node, base, f'python -c "{TRY}"') == (0, "True\n")


def test_an_install_that_would_go_elsewhere_is_refused(node, base):
    _, log = run(node, base, "\n".join(f"{way} && echo installed" for way in REFUSED.values()))
    assert "installed" not in log
    assert log.count("--user") + log.count("virtualenv (required)") == len(REFUSED), log
    assert not (node.home / ".local").exists()


def test_a_job_can_replace_a_package_of_the_base_for_itself_but_not_remove_it(node, base):
    show = 'python -c "import good; print(good.VERSION)"'
    code, log = run(node, base, f"pip install -q good==2.0 && {show} && run-good")
    assert (code, log.splitlines()[-2:]) == (0, ["2.0", "ran 2.0"])
    code, log = run(node, base, f"pip uninstall -y good; {show} && run-good")
    assert (code, log.splitlines()[-2:]) == (0, ["1.0", "ran 1.0"])


def test_a_program_that_the_user_installed_for_another_interpreter_still_runs(node, base):
    site = node.home / ".local/lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    site.mkdir(parents=True)
    (site / "tool.py").write_text("print('the tool')")
    code, log = run(node, base, f"{os.path.realpath(sys.executable)} -m tool; python -m tool")
    assert (code, log.splitlines()[0]) == (1, "the tool")
