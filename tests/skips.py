"""Skips: where CI=true a test that is skipped has failed, unless its reason is one that CI cannot help."""

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

ALLOWED = {
    "no CUDA device here": "the machine that runs the tests has no GPU",
    "npm cannot be reached": "a machine may have package indexes for Python and Debian only",
}


Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that was skipped unexpectedly."""
    return refuse((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a file that was skipped unexpectedly."""
    return refuse((yield))


def refuse(report: Report) -> Report:
    """Return the report, failed if it is of an unexpected skip."""
    if os.environ.get("CI") != "true" or not report.skipped or hasattr(report, "wasxfail"):
        return report
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if reason not in ALLOWED:
        report.outcome = "failed"
        report.longrepr = f"skipped where CI=true: {reason} (tests/skips.py lists what may be skipped)"
    return report
