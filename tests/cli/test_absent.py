"""Which files of this computer a job's arguments, or its error messages, name."""

from pathlib import Path

import pytest

from cli.failures.files import names_in
from cli.notices.withheld import find_excluded, show_absent_arguments
from infra.model import Request
from infra.project.files import Project, read_project
from tests.here import move_in


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose data git ignores, with a folder beside it."""
    folder = move_in(tmp_path, monkeypatch)
    for name in ("sub/train.py", "sub/data/a.csv", "top.csv", ".gitignore", "../other/b.csv", "q/ha ha.csv"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text("*.csv\n")
    return read_project(folder)


@pytest.mark.parametrize(
    ("log", "name"),
    [
        ("FileNotFoundError: [Errno 2] No such file or directory: 'sub/data/a.csv'", "sub/data/a.csv"),
        ("FileNotFoundError: sub/data/a.csv not found.", "sub/data/a.csv"),
        ("cat: top.csv: No such file or directory\ndone", "top.csv"),
        ("cat: 'q/ha ha.csv': No such file or directory", "q/ha ha.csv"),
        ("FileNotFoundError: '/home/ubuntu/.gpujob/work/12/project/sub/data/a.csv'", "sub/data/a.csv"),
        ("[ WARN:0@0.1] global loadsave.cpp:268 findDecoder imread_('top.csv'): can't open/read file", "top.csv"),
        ("OSError: Unable to open file (unable to open file: name = 'top.csv', errno = 2)", "top.csv"),
        ("FileNotFoundError: '../other/b.csv'", "../other/b.csv"),
        ("Error in file(file, \"rt\") : cannot open the file 'top.csv': No such file or directory", "top.csv"),
    ],
)
def test_a_file_that_a_job_missed_is_found_in_what_its_program_says(project, log, name):
    found = next(find_excluded(project, names_in(f"epoch 1\n{log}\nTraceback: sub/train.py\n")))
    assert project.root / found.path == (project.root / name).resolve()
    assert found.rule == ("outside the project" if "other" in name else ".gitignore line 1 (*.csv)")


@pytest.mark.parametrize(
    "log", ["loaded top.csv", "FileNotFoundError: 'nothing.csv' '/etc/passwd' '/' '..' 'sub/train.py' '~'"]
)
def test_what_is_uploaded_or_on_every_machine_is_not_named(project, log):
    assert not list(find_excluded(project, names_in(log)))


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("python sub/train.py top.csv", ["top.csv"]),
        ("python sub/train.py --x=top.csv data.path=sub/data top.csv", ["top.csv", "sub/data"]),
        ("bash -c|python sub/train.py < 'q/ha ha.csv' && true", ["q/ha ha.csv"]),
        ("bash -c|echo 'unclosed", []),
        ("python sub/train.py ../other --lr 0.1 / /usr /tmp ..", ["{home}/other"]),
    ],
)
def test_arguments_are_read_as_the_job_reads_them(project, command, said, capsys):
    head, _, text = command.partition("|")
    show_absent_arguments(project, Request((*head.split(), text) if text else tuple(command.split())))
    lines = capsys.readouterr().err.splitlines()
    names = [each.format(home=project.root.parent) for each in said]
    assert [line.startswith(f"not uploaded: '{name}'") for line, name in zip(lines, names, strict=True)] == [
        True
    ] * len(names)


def test_many_arguments_are_counted(project, capsys):
    for number in range(5):
        (project.root / f"{number}.csv").write_text("")
    show_absent_arguments(project, Request(("cat", *(f"{number}.csv" for number in range(5)))))
    assert capsys.readouterr().err.splitlines()[-1] == "not uploaded: 2 more arguments"
