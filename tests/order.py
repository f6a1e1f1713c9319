"""Another order of tests each time, of files and in each file; `--seed N` brings one back, `--seed 0` is as written."""

import random
from itertools import groupby
from typing import Any

import pytest

MOST = 10_000


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --seed."""
    parser.addoption("--seed", type=int, help="shuffle the tests by this number, or with 0 not at all")


def pytest_configure(config: pytest.Config) -> None:
    """Choose a seed; the processes that run tests beside each other get it from the first."""
    if config.option.seed is None:
        config.option.seed = getattr(config, "workerinput", {}).get("seed") or random.randint(1, MOST)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell the seed to a process that will run some of the tests."""
    node.workerinput["seed"] = node.config.option.seed


def pytest_report_header(config: pytest.Config) -> str:
    """Tell the seed."""
    return f"order of tests: --seed {config.option.seed}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffle."""
    if not config.option.seed:
        return
    dice = random.Random(config.option.seed)
    files = [list(group) for _, group in groupby(items, lambda item: item.path)]
    dice.shuffle(files)
    for tests in files:
        dice.shuffle(tests)
    items[:] = [test for tests in files for test in tests]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    """Tell the seed once more where something failed."""
    if exitstatus:
        terminalreporter.write_line(f"the same order again: --seed {terminalreporter.config.option.seed}")
