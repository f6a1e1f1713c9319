"""The agent is kept compiled beside itself, and whatever is not as it was written there is not used."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.node.packing import INSTALL, pack_agent
from tests import agent_fixtures as fixtures
from tests.agent_fixtures import Node

node = fixtures.node


def replace_by_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DEEDS: dict[str, Callable[[Path], object]] = {
    "appended to": lambda path: path.open("ab").write(b"more"),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "writable by others": lambda path: path.chmod(0o622),
    "unreadable": lambda path: path.unlink(),
    "a link": replace_by_link,
    "a folder": replace_by_folder,
}


def find_archive(node: Node) -> Path:
    """From which archive a call imports the agent."""
    argv = [node.python, "-I", "-S", "-v", pack_agent()[0], "jobs"]
    done = subprocess.run(argv, cwd=node.home, env={"HOME": str(node.home)}, capture_output=True, check=True)
    assert json.loads(done.stdout) == []
    found = re.search(rb"""import '?agent\.records'? # <zipimporter object "(.*)/agent/?">""", done.stderr)
    assert found, done.stderr[-2000:]
    return (node.home / os.fsdecode(found[1])).resolve()


@pytest.mark.parametrize("deed", DEEDS)
def test_a_compiled_agent_is_used_unless_it_was_changed(node, deed):
    source = node.home / pack_agent()[0]
    compiled = find_archive(node)
    assert compiled != source
    assert compiled.stat().st_mode & 0o777 == 0o400
    compiled.chmod(0o600)
    DEEDS[deed](compiled)
    assert find_archive(node) == source


def test_installing_the_agent_compiles_it_and_nothing_else_is_left(tmp_path):
    path, content = pack_agent()
    words = ["sh", "-c", INSTALL, "sh", ".gpujob", path]
    subprocess.run(words, cwd=tmp_path, input=content, check=True)
    names = sorted(each.name for each in (tmp_path / ".gpujob").iterdir())
    assert len(names) == 3
    assert re.fullmatch(r"agent-\w{12}\.\w+\.pyz", names[0])
    assert names[1:] == [Path(path).name, "agent.pyz"]
