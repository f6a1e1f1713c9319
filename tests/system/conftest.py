"""Machines with systemd: root alone can boot them."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.base.interrupts import interrupt_on_stop
from tests.system.mirror import serve
from tests.system.site import Site, rent

TIMEOUT_S = 1800
NEEDED = ("apt-cacher-ng", "mmdebstrap", "systemd-nspawn", "nsenter", "ip", "ssh")


def why_not() -> str:
    """Return why no machine can be booted here; "" if one can."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if os.getuid() != 0:
        return "booting a machine needs root"
    if missing:
        return f"booting a machine needs {', '.join(missing)}"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give machines time to boot and to be set up, and skip what cannot be done here."""
    here = [item for item in items if Path(item.path).is_relative_to(Path(__file__).parent)]
    for item in here:
        item.add_marker(pytest.mark.timeout(TIMEOUT_S))
    if here and (reason := why_not()):
        for item in here:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_configure() -> None:
    """Clean up after a polite kill, too."""
    interrupt_on_stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A machine that nothing was done to yet, with a way to packages."""
    folder = tmp_path_factory.mktemp("site")
    with rent(folder) as rented, serve(folder / "mirror", rented.machine.here):
        yield rented
