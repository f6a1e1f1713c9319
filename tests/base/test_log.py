"""When something breaks: one line for the person, the rest in a log that holds no secret."""

import io
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cli.terminal import progress
from infra.base import redaction
from tests.conftest import REPOSITORY, Laptop, make_laptop

CRASH = """
import sys
sys.path.insert(0, {repository!r})
import cli.main
def crash(*_, **__):
    import logging, os
    logging.getLogger("infra.test").info("planted: %s", {planted!r})
    raise {error}
cli.main.gpujob.commands["ls"].callback = crash
cli.main.main()
"""
PLANTED = {
    "HF_TOKEN": "hf_" + "a1B2" * 8,
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "DATABASE_PASSWORD": "pä'ss\"wo\\rd\n\ttwo",
    "MY_API_KEY": "k7!x",
}


def test_masking_takes_time_in_proportion_to_the_text():
    began = time.process_time()  # whatever else the computer does
    for text in ("y" * 1_000_000, "token" * 200_000, "a-" * 500_000, "x://" * 250_000, "eyJ" * 300_000):
        redaction.redact(text)
    assert time.process_time() - began < 10


def crash(laptop: Laptop, error: str, *words: str, planted: str = "") -> "subprocess.CompletedProcess[str]":
    script = CRASH.format(repository=str(REPOSITORY), planted=planted, error=error)
    return subprocess.run(
        [sys.executable, "-c", script, *words, "ls"],
        cwd=laptop.project,
        env={**laptop.environment, **PLANTED},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def quiet(tmp_path: Path) -> Laptop:
    """A laptop with no cloud."""
    return make_laptop(tmp_path)


def logs(laptop: Laptop) -> list[Path]:
    return sorted((laptop.home / ".local/state/gpujob/logs").glob("*.log"))


def test_an_unexpected_error_is_one_line_and_the_log_has_its_traceback(quiet):
    ended = crash(quiet, "RuntimeError('boom \\x1b]0;t\\x07\\nfake line')")
    (log,) = logs(quiet)
    assert ended.returncode == 3
    said = ended.stderr.splitlines()
    assert said[0] == "gpujob: unexpected error: RuntimeError: boom \\x1b]0;t\\x07 fake line"
    assert said[1] == f"  log: {log}"
    assert "gpujob check --report" in said[2]
    assert len(said) == 3
    text = log.read_text()
    assert "Traceback" in text and "boom" in text and "\x1b" not in text
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700


def test_no_secret_reaches_the_log_or_the_screen(quiet):
    signed = "x-amz-security-token:FwoGZXIvYXdz password=hunter2 https://me:hunter2@example.org AKIAIOSFODNN7EXAMPLE"
    planted = f"{PLANTED} {signed} " + " ".join(PLANTED.values())
    ended = crash(quiet, "RuntimeError(os.environ['DATABASE_PASSWORD'], os.environ['HF_TOKEN'])", "-v", planted=planted)
    text = logs(quiet)[0].read_text() + ended.stdout + ended.stderr
    assert "planted" in text and "RuntimeError" in text
    secrets = [*PLANTED.values(), "hunter2", "FwoGZXIvYXdz", "AKIAIOSFODNN7EXAMPLE", "pä", "two"]
    assert [secret for secret in secrets if secret in text or repr(secret)[1:-1] in text] == []


def test_verbose_shows_what_the_log_gets(quiet):
    assert "planted: this" not in crash(quiet, "RuntimeError()", planted="this").stderr
    assert "planted: this" in crash(quiet, "RuntimeError()", "-v", planted="this").stderr


def test_a_log_that_cannot_be_written_is_no_reason_to_fail_otherwise(quiet):
    (quiet.home / ".local").write_text("no folder")
    ended = crash(quiet, "RuntimeError('boom')")
    assert ended.returncode == 3
    assert "RuntimeError: boom" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_logs_are_few_and_bounded(quiet):
    folder = quiet.home / ".local/state/gpujob/logs"
    folder.mkdir(parents=True)
    for number in range(30):
        (folder / f"2020-01-01T00-00-{number:02}-ls-1.log").write_text("old")
    crash(quiet, "RuntimeError([logging.getLogger('infra.test').info('y' * 10_000) for _ in range(200)])")
    assert len(logs(quiet)) == 20
    assert logs(quiet)[-1].stat().st_size < 3 << 20


def test_help_and_errors_in_words_leave_no_log(quiet):
    for words in (("--help",), ("ls", "--help"), ("ls", "--bogus"), ("--version",)):
        quiet.type(*words)
    assert logs(quiet) == []


def test_each_call_to_aws_and_each_step_of_ssh_is_logged(rented: Laptop, project: Laptop):
    typed = project.type("-v", "jobs")
    assert re.search(r"i-\w+ at 127.0.0.1:\d+: connected, \d+\.\d+ s", typed.err)
    assert re.search(r"i-\w+ at 127.0.0.1:\d+: logged in to \S+, \d+\.\d+ s", typed.err)
    assert re.search(r"python3 -I -S -c \S+ jobs: exit code 0, \d+\.\d+ s", typed.err)
    listed = project.type("-v", "ls", "--dry-run")
    assert re.search(r"ec2 DescribeInstances in us-east-1: ok, request \S+, \d+\.\d+ s", listed.err)


def test_the_values_of_a_job_s_secrets_and_variables_are_in_no_log(rented: Laptop, tmp_path):
    laptop = Laptop(rented.home, tmp_path, {**rented.settings, "WANDB": "planted-secret-1"})
    laptop.write("train.py", "import os; print(len(os.environ['WANDB'] + os.environ['MODE']))")
    ran = laptop.type("-v", "run", "--secret", "WANDB", "--env", "MODE=planted-value-2", "train.py")
    assert ran.code == 0, ran.said
    text = "".join(log.read_text() for log in logs(laptop))
    assert "submit" in text
    assert "planted-secret-1" not in text + ran.err and "planted-value-2" not in text + ran.err


def test_a_report_has_what_helps_and_nothing_private(quiet):
    crash(quiet, "RuntimeError('boom', os.environ['HF_TOKEN'])")
    quiet.write("gpujob.toml", '[up]\ngpu = "PLANTED-GPU"\n[setup.variables]\ndotfiles_repository = "PLANTED-URL"\n')
    quiet = Laptop(quiet.home, quiet.project, {**PLANTED, "AWS_PROFILE": "PLANTED-PROFILE"})
    typed = quiet.type("check", "--report")
    path = Path(re.search(r"wrote (.*)", typed.err)[1])
    text = path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for wanted in (
        "Python 3",
        "paramiko ",
        "[up]: gpu",
        "dotfiles_repository",
        "AWS_PROFILE",
        "check credentials",
        "boom",
    ):
        assert wanted in text
    assert [value for value in [*PLANTED.values(), "PLANTED", str(quiet.home)] if value in text] == []


def test_a_report_shortens_account_ids(laptop: Laptop):
    assert laptop.type("up", "private-name", "--dry-run").code == 0
    typed = laptop.type("check", "--dry-run", "--report")
    text = Path(re.search(r"wrote (.*)", typed.err)[1]).read_text()
    assert "cluster 1: local us-east-1" in text and "running" in text
    assert "DescribeInstances" in text
    assert "123456789012" not in text and "private-name" not in text


@given(st.text(min_size=6, max_size=30).filter(lambda value: value.strip() and "*" not in value), st.text(max_size=20))
@example("\\n'\"\\", "")
def test_a_hidden_value_is_masked_however_it_is_quoted(value, around):
    redaction.hide([value])
    try:
        for text in (value, repr(value), repr({"k": value})):
            assert value not in redaction.redact(f"{around}{text}{around}") or value in redaction.MASK + around
    finally:
        redaction._hidden.clear()


def test_a_spinner_shows_what_a_node_says_as_text(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.steps() as report:
        report("[/red] [bold]\x1b]0;title\x07\nline")
    assert "[/red] [bold]" in stream.getvalue()
    assert "\x1b]" not in stream.getvalue()
