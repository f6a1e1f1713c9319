"""The page of all runs: whole, harmless, and in no one's way."""

import re
import subprocess
from html.parser import HTMLParser

import pytest

from cli.history.plots import MARGIN, spread
from infra.project.files import read_project
from tests.here import move_in, type_here
from tests.history.past import record, record_array


@pytest.fixture
def project(tmp_path, monkeypatch):
    return move_in(tmp_path, monkeypatch)


def write_page(project):
    written = type_here("runs", "--html")
    assert written.code == 0, written.said
    assert f"wrote {project / 'runs/index.html'}\n" in written.err
    return (project / "runs/index.html").read_text()


class Page(HTMLParser):
    """The elements of a page, and the values of their attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.values, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.values += [f"{name}={value}" for name, value in attributes]

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_has_a_row_for_each_run_and_a_chart_for_each_metric_with_a_curve(project):
    record(project, 1, {"metrics.csv": "loss,acc\n3,0.5\n2,0.6\n1,0.7\n"}, name="small")
    record(project, 2, {"metrics.csv": "loss\n4\n1e308\n-1e308\n" + "2\n" * 5000})
    record(project, 3, log="nothing\n")
    page = Page(write_page(project))
    assert (page.tags.count("tr"), page.tags.count("svg"), page.tags.count("polyline")) == (4, 2, 3)
    curves = [value for value in page.values if value.startswith("points=")]
    assert [len(curve.split()) for curve in curves] == [3, 296, 3]
    assert "nan" not in str(curves)
    assert "small" in page.texts
    assert "http" not in "".join(page.values).replace("http-equiv", "")


def test_what_comes_from_a_node_is_only_text_on_the_page(project):
    evil = "<script>alert(1)</script>\"'><img src=x onerror=y>\x1b[31m\u202e"
    record(project, 1, {"metrics.csv": "loss,<b>x\n1,2\n1,2\n"}, name=evil, command=(evil, "&amp;"))
    text = write_page(project)
    page = Page(text)
    assert not {"script", "img", "b"} & set(page.tags)
    assert not re.search("[\x1b\u202e]", text)
    assert any("<script>alert(1)</script>" in one for one in page.texts)
    assert "Content-Security-Policy" in text


def test_git_and_the_upload_leave_the_page_out(project):
    record(project, 1)
    (project / "train.py").write_text("")
    for words in ([], ["git", "init", "-q"]):
        if words:
            subprocess.run(words, cwd=project, check=True)
        write_page(project)
        assert [file.path for file in read_project(project).files] == ["train.py"]


def test_a_page_or_a_link_of_the_user_s_is_kept(project):
    record(project, 1)
    page = project / "runs/index.html"
    page.write_text("mine")
    refused = type_here("runs", "--html")
    assert (refused.code, "was not written by gpujob" in refused.err, page.read_text()) == (1, True, "mine")
    page.unlink()
    page.symlink_to(project / "elsewhere")
    assert type_here("runs", "--html").code == 1
    assert not (project / "elsewhere").exists()
    page.unlink()
    (project / "runs/.gitignore").write_text("mine\n")
    write_page(project)
    assert (project / "runs/.gitignore").read_text() == "mine\n"
    write_page(project)  # one of its own is replaced


def test_a_run_leads_to_its_results_and_the_page_says_that_dry_runs_cost_nothing(project):
    record(project, 1)
    page = Page(write_page(project))
    assert "href=project-1/" in page.values
    assert "dry runs cost nothing" not in " ".join(page.texts)
    record(project, 2, cluster={"cloud": "local"})
    assert "dry runs cost nothing" in " ".join(Page(write_page(project)).texts)


def test_an_array_has_a_plot_of_each_metric_against_each_value_that_varies_and_a_table(project):
    evil = "<script>x"
    values = [("1e-3", "a"), ("1", evil), ("1e308", "a"), ("-1e308", evil)]
    tasks = [({"lr": lr, "kind": kind, "fixed": "1"}, f"loss\n{at}\n", "") for at, (lr, kind) in enumerate(values)]
    record_array(project, 4, tasks)
    text = write_page(project)
    page = Page(text)
    captions = [line for line in page.texts if " by " in line]
    assert captions == ["loss by lr", "loss by lr", "loss by kind", "loss by kind"]  # each also as a title
    assert (page.tags.count("svg"), page.tags.count("circle"), "script" in page.tags) == (2, 8, False)
    assert "href=project-4/files/2/" in page.values
    assert "nan" not in text
    assert "inf" not in " ".join(value for value in page.values if value[:2] in ("cx", "cy", "po"))


def test_values_that_differ_much_stand_on_a_logarithmic_axis_and_others_by_their_size():
    ways = spread(["0.001", "0.1", "0.01"])
    assert [round(ways[value] - ways["0.001"], 3) for value in ("0.01", "0.1")] == [0.46, 0.92]
    ways = spread(["1", "2", "5"])
    assert round((ways["2"] - ways["1"]) / (ways["5"] - ways["1"]), 3) == 0.25
    assert [*spread(["a", "1", "b"]).values()] == pytest.approx([MARGIN, 0.5, 1 - MARGIN])
    assert len({*spread(["1", "1.0", "nan"]).values()}) == 3
