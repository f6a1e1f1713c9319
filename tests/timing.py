"""What the tests took: wall time, and processor time with all processes that were started and have ended."""

import os
import time

import pytest

BEGAN_S = time.monotonic()


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell both."""
    used = os.times()
    cpu_s = used.user + used.system + used.children_user + used.children_system
    terminalreporter.write_line(f"wall {time.monotonic() - BEGAN_S:.0f} s, processor {cpu_s:.0f} s")
