"""The report of a run, opened in the browser; nothing else of a run is."""

import webbrowser

import pytest

from tests.here import move_in, type_here
from tests.history.past import record


@pytest.fixture
def project(tmp_path, monkeypatch):
    return move_in(tmp_path, monkeypatch, DISPLAY=":9")


@pytest.fixture
def opened(monkeypatch):
    """What was opened in the browser."""
    addresses = []
    monkeypatch.setattr(webbrowser, "open", lambda address: addresses.append(address) or True)
    return addresses


def test_the_report_in_the_fewest_folders_is_opened(project, opened):
    record(project, 1, {"docs/index.html": "", "out/report.html": "", "out/index.html": "", "a.html": ""})
    home = record(project, 2, {"index.html": "", "out/report.html": ""})
    for words in (["1"], [], ["project-2"]):
        assert type_here("open", *words).code == 0
    second = (home / "files/index.html").as_uri()
    assert opened == [(project / "runs/project-1/files/out/report.html").as_uri(), second, second]


@pytest.mark.parametrize("name", ["report.sh", "report.desktop", "index.html.desktop", "report.command", "Report.HTML"])
def test_a_run_without_a_report_opens_as_a_folder(project, opened, name):
    home = record(project, 1, {name: ""})
    assert type_here("open", "1").code == 0
    assert opened == [home.as_uri()]


def test_a_report_that_is_a_link_or_outside_the_run_is_not_opened(project, opened):
    home = record(project, 1, {"report.html": "", "out/index.html": ""})
    (home / "files/report.html").unlink()
    (home / "files/report.html").symlink_to("run.desktop")
    (home / "files/out").rename(home / "elsewhere")
    (home / "files/out").symlink_to(home / "elsewhere")
    receipt = (home / "receipt.json").read_text()
    (home / "receipt.json").write_text(receipt.replace("out/index.html", "../../../index.html"))
    assert type_here("open", "1").code == 0
    assert opened == [home.as_uri()]


def test_without_a_display_or_a_browser_the_path_is_printed(project, opened, monkeypatch):
    home = record(project, 1, {"report.html": ""})
    path = f"{home / 'files/report.html'}\n"
    assert type_here("open", "1", "--no-browser").out == path
    assert type_here("open", "1", DISPLAY="", WAYLAND_DISPLAY="").out == path
    assert opened == []
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    assert type_here("open", "1").out == path
    assert type_here("open", "7").code == 1
