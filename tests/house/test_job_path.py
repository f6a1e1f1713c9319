"""The path of a job in the design names files and functions that exist."""

import ast
import re

import pytest

from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs/design/job.md"
STEPS = re.findall(
    r"^(\d+)\. (.*)$", PAGE.read_text().partition("## The path of a job\n")[2].partition("\n## ")[0], re.M
)


def test_the_steps_are_numbered_in_order():
    assert [int(number) for number, _ in STEPS] == list(range(1, len(STEPS) + 1))
    assert len(STEPS) > 20


@pytest.mark.parametrize("step", [text for _, text in STEPS])
def test_each_step_names_a_function_that_exists(step):
    found = re.match(r"`([\w/]+\.py)` `(\w+)` ", step)
    assert found, "a step begins with a file and a function"
    tree = ast.parse((REPOSITORY / found[1]).read_text())
    assert found[2] in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
