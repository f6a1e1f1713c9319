"""Bad input: one clear line, the next command to type, never a traceback."""

import shlex
import socket

import pytest

from tests.conftest import Finished, Laptop


def refuses(finished: Finished, code: int, *words: str) -> None:
    """Assert that a command was refused in words a person can use."""
    assert finished.code == code, finished.said
    assert "Traceback" not in finished.said
    for word in words:
        assert word in finished.err
    assert len(finished.err.strip().splitlines()) <= 4


def test_no_credentials(laptop):
    refuses(laptop.type("up"), 1, "no AWS credentials found", "--dry-run")


@pytest.mark.parametrize("command", [["up", "--dry-run"], ["ls"], ["images", "--dry-run"], ["down", "nothing"]])
def test_a_region_that_does_not_exist(laptop, command):
    refuses(
        laptop.type(*command, "--region", "us-moon-1"), 2, "unknown region 'us-moon-1'", "next: use another --region"
    )


def test_a_gpu_that_is_not_there_is_answered_by_memory_and_price_with_the_typed_command(laptop):
    refuses(laptop.type("up", "--dry-run", "--plan", "--gpu", "V100", "--disk", "60"), 1,
            "no V100 in us-east-1. Similar: T4 16 GB $0.53/h, L4 24 GB $0.80/h, A10G 24 GB $1.01/h",
            "next: gpujob up --dry-run --plan --gpu T4 --disk 60\n")  # fmt: skip
    refuses(laptop.type("offers", "--gpu=A10G:3", "--dry-run"), 1, "next: gpujob offers --gpu A10G:4 --dry-run\n")
    refuses(laptop.type("up", "--dry-run", "--gpu", "A11G"), 1, "no A11G", "next: gpujob up --dry-run --gpu A10G\n")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("another", ["--gpu", "A100"]),
        ("another", ["--gpu-memory", "9999"]),
        ("another", ["--zone", "us-east-1z"]),
        ("another", ["--max-cost", "0.01"]),
        ("My Cluster!", []),
    ],
)
def test_every_suggestion_of_a_dry_run_is_one_and_can_be_typed(rented, name, words):
    refused = rented.type("up", name, "--plan", "--dry-run", *words)
    assert refused.code in (1, 2), refused.said
    command, *again = shlex.split(refused.err.partition("next: ")[2].strip())
    assert command == "gpujob"
    assert {"--dry-run", "--plan"} <= set(again)
    assert rented.type(*again).code == 0, again


def test_a_hint_of_a_dry_run_asks_the_local_cloud_too(rented):
    up = rented.type("up", "another", "--dry-run", "--instance-type", "g9.big")
    refuses(up, 1, "gpujob offers --dry-run --region us-east-1")


CONTRADICTIONS = [
    (["--gpu", "T4", "--instance-type", "g5.xlarge"], "g5.xlarge has 1 x A10G, but --gpu is T4"),
    (["--gpu-memory", "48", "--instance-type", "g5.xlarge"], "--gpu-memory is 48 GB"),
    (["--spot", "--on-demand"], "--on-demand cannot be used with --spot"),
    (["--spot", "--spot-first"], "cannot be used with"),
    (["--region", "us-west-2", "--zone", "us-east-1a"], "zone us-east-1a is not in us-west-2"),
    (
        ["--region", "us-west-2", "--region", "us-east-1", "--zone", "us-east-1a"],
        "region us-west-2 has none of the zones",
    ),
]


@pytest.mark.parametrize(("words", "said"), CONTRADICTIONS)
def test_options_that_contradict_each_other_are_refused_and_none_is_ignored(rented, words, said):
    refuses(rented.type("up", "another", "--dry-run", "--plan", *words), 2, said)


def test_what_is_typed_goes_before_what_the_file_says_of_the_same(rented, tmp_path):
    laptop = Laptop(rented.home, tmp_path, rented.settings)
    laptop.write("gpujob.toml", '[up]\ngpu = "T4"\nspot = true\nzone = ["us-east-1a"]\n')
    plan = ("up", "another", "--dry-run", "--plan")
    assert "g5.xlarge" in laptop.type(*plan, "--instance-type", "g5.xlarge").err
    assert "spot, us-east-1" in laptop.type(*plan).err
    assert "on-demand, us-west-2" in laptop.type(*plan, "--on-demand", "--region", "us-west-2").err


def test_a_plan_of_several_machines_says_which_of_them_jobs_use(rented):
    plan = rented.type("up", "another", "--dry-run", "--plan", "--nodes", "2")
    assert "run on the first machine, or on several: gpujob run --cluster another --nodes 2 SCRIPT" in plan.err
    assert "first machine only" not in rented.type("up", "another", "--dry-run", "--plan").err


def test_an_unknown_instance_type(laptop):
    refuses(laptop.type("up", "--dry-run", "--instance-type", "g99.huge"), 1, "no instance type 'g99.huge'")


NONSENSE = [
    ("--gpu", "T4:none"),
    ("--nonsense",),
    *(("--max-hours", hours) for hours in ("-1", "0", "soon", "nan", "inf")),
]


@pytest.mark.parametrize("words", NONSENSE)
def test_options_that_make_no_sense(laptop, words):
    refuses(laptop.type("up", "--dry-run", *words), 2, "gpujob up --help")


def test_a_name_that_is_none(laptop):
    refuses(laptop.type("up", "My Cluster!", "--dry-run"), 2, "invalid cluster name", "gpujob up my-cluster")


def test_a_quota_that_is_too_small_prints_the_command_that_asks_for_more(laptop):
    refuses(
        laptop.type("up", "--dry-run", "--gpu", "B200:8"),
        1,
        "quota",
        "aws service-quotas request-service-quota-increase",
    )


@pytest.mark.parametrize("command", [["run", "--", "true"], ["jobs"], ["logs"], ["fetch"], ["cancel", "1"], ["ssh"]])
def test_no_cluster_is_up(laptop, command):
    refuses(laptop.type(*command), 1, "no cluster 'project'", "gpujob up project")


def test_an_unknown_cluster_tells_which_exist(project):
    refuses(project.type("jobs", "--cluster", "nowhere"), 1, "no cluster 'nowhere'", "shared")


@pytest.mark.parametrize("command", [["logs"], ["fetch"], ["cancel", "--cluster", "shared"]])
def test_an_unknown_job(project, command):
    refuses(project.type(*command, "99999"), 1, "no job 99999", "gpujob jobs")


def test_a_script_that_is_not_there(project):
    refuses(project.type("run", "nowhere.py"), 2, "no such script: 'nowhere.py'")


def test_a_script_by_its_whole_path_or_from_a_folder_beside_it_runs(project):
    project.write("train.py", "import sys; print(sys.argv[0])")
    sub = project.write("sub/empty", "").parent
    (project.project.parent / "way").symlink_to(project.project)
    assert project.type("run", str(project.project / "train.py")).out == "train.py\n"
    assert project.type("run", str(project.project.parent / "way" / "train.py")).out == "train.py\n"
    import subprocess

    subprocess.run(["git", "init", "-q", project.project], check=True)
    assert project.type("run", "../train.py", cwd=sub).out == "../train.py\n"


def test_a_script_that_git_ignores(project):
    project.write("hidden.py", "")
    project.write(".gitignore", "hidden.py")
    refuses(
        project.type("run", "hidden.py"),
        2,
        "'hidden.py' would not be uploaded: .gitignore line 1 (hidden.py)",
        'include = ["hidden.py"]',
    )


def test_outputs_that_could_not_come_home_are_no_reason_to_start_a_job(project):
    before = project.type("jobs", "--json").out
    project.write("runs", "a file where a folder must be")
    for words in (["run", "--", "true"], ["notebook"]):
        refuses(project.type(*words), 1, "cannot write", "then rerun")
    assert project.type("jobs", "--json").out == before


def test_a_port_that_is_taken_is_no_reason_to_start_a_notebook(project):
    before = project.type("jobs", "--json").out
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refuses(
            project.type("notebook", "--port", str(taken.getsockname()[1])), 2, "is in use on this computer", "--port"
        )
    assert project.type("jobs", "--json").out == before


def test_a_script_of_no_known_kind(project):
    project.write("train.txt", "")
    refuses(project.type("run", "train.txt"), 2, "neither a .py nor a .sh file")


def test_a_large_upload_is_not_sent_without_a_word(project):
    with project.write("data/big.bin", "").open("wb") as file:
        file.truncate(201_000_000)
    run = project.type("run", "--", "ls", "data")
    assert run.code == 2
    assert "data/" in run.err
    assert "201.0 MB" in run.err
    assert "add --yes" in run.err
    project.write("data/big.bin", "small now")
    assert project.type("run", "--", "ls", "data").out == "big.bin\n"


def test_more_gpus_than_the_machine_has(project):
    refuses(project.type("run", "--gpus", "2", "--", "true"), 2, "requests 2 GPUs, but 'shared' has 1", "--gpus 1")


def test_a_variable_without_a_value(project):
    refuses(project.type("run", "--env", "NAME", "--", "true"), 2, "'NAME' is not NAME=VALUE")


@pytest.mark.parametrize("wrong", ["half a line", "B=x\0y"])
def test_a_file_of_variables_with_a_line_that_is_none(project, wrong):
    project.write("some.env", f"A='two\nlines'\n\n{wrong}\n")
    refuses(project.type("run", "--env-file", "some.env", "--", "true"), 2, "some.env, line 4: not NAME=VALUE")


def test_paths_of_a_person_s_choice_that_cannot_be(laptop):
    file = laptop.write("taken", "")
    refuses(laptop.type("init", ""), 2, "DIR is empty", "gpujob init DIR")
    refuses(laptop.type("init", "taken"), 2, "'taken' is a file")
    refuses(laptop.type("init", "x" * 300), 1, "File name too long", "fix it and rerun")
    assert "next: cd 'a b' && " in laptop.type("init", "a b").err
    refuses(Laptop(file, laptop.project).type("ls"), 1, f"Not a directory: {file}/", "fix it and rerun")


def test_nothing_to_run(project):
    refuses(project.type("run"), 2, "nothing to run")


def test_a_home_folder_is_no_project(rented: Laptop):
    refuses(rented.type("run", "--", "true", cwd=rented.home), 1, "is not a project folder")


def test_check_without_credentials_fails_with_the_fix(laptop):
    check = laptop.type("check")
    assert check.code == 1
    assert "aws configure" in check.out


def test_a_file_that_cannot_be_read(project):
    (project.project / "gone.py").symlink_to("nowhere.py")
    run = project.type("run", "gone.py")
    refuses(run, 2, "no such script: 'gone.py'")


def test_a_question_is_not_asked_where_nobody_can_answer(rented: Laptop, tmp_path):
    """The local cloud stands in for AWS itself here, by botocore's own variable for the endpoint."""
    import json

    cloud = json.loads((rented.home / ".local/state/gpujob/local/cloud.json").read_text())
    aws = {
        "AWS_ENDPOINT_URL": cloud["url"],
        "GPUJOB_CHECKIP_URL": f"{cloud['url']}/gpujob/checkip",
        "AWS_ACCESS_KEY_ID": cloud["access_key"],
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-west-2",
    }
    laptop = Laptop(tmp_path, tmp_path / "project", aws)
    laptop.project.mkdir()
    up = laptop.type("up")
    assert up.code == 2
    assert "cannot ask for confirmation without a terminal" in up.err
    assert "add --yes" in up.err
    assert laptop.type("ls").out == ""
