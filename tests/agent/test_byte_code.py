"""Byte code: a job uses what packages were installed with, and what it leaves of its own is no output."""

import json

from tests import agent_fixtures as fixtures

node = fixtures.node

# A module with byte code of another source, which Python is told not to check: https://peps.python.org/pep-0552/
INSTALL = b"""
import importlib.util, marshal, pathlib, sys
module = pathlib.Path(sys.argv[1], "installed.py")
module.write_text("HOW = 'compiled again'")
place = module.parent / "__pycache__" / f"installed.{sys.implementation.cache_tag}.pyc"
place.parent.mkdir()
code = compile("HOW = 'as it was installed'", str(module), "exec")
place.write_bytes(importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8) + marshal.dumps(code))
"""
TRAIN = b"import installed, own.part\nprint(installed.HOW, file=open('said', 'w'))\n"


def test_a_job_uses_the_byte_code_of_installed_packages_and_its_own_is_not_mentioned(node, tmp_path):
    (tmp_path / "site").mkdir()
    files = {"install.py": INSTALL, "train.py": TRAIN, "own/__init__.py": b"", "own/part.py": b""}
    words = f"python3 install.py {tmp_path}/site && python3 train.py && cat said"
    number = node.submit("sh", "-c", words, files=files, env={"PYTHONPATH": f"{tmp_path}/site"})
    node.wait(number)
    assert node.ask("logs", str(number), "0").decode().splitlines()[-1] == "as it was installed"
    answer = json.loads(node.ask("outputs", str(number)))
    assert ([each["path"] for each in answer["outputs"]], answer["held"]) == (["said"], [])
