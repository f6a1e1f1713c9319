"""What only the command line may say: a file that came with a project, or a variable set long ago, loosens no safety."""

from collections.abc import Iterator

import click
import pytest

from cli.main import gpujob
from cli.options.declared import DANGEROUS, GuardedOption, option, variable_of
from tests.here import move_in, type_here

# Each option that a variable or gpujob.toml may set was looked at: it destroys nothing, skips no question, widens no
# limit without being shown in a plan that asks, and reaches nothing of the person's outside the project unasked
# (--secret and --env-file of a gpujob.toml are confirmed by hand).
HARMLESS = {
    "--all-regions",
    "--all-tasks",
    "--as-it-was",
    "--boot-timeout",
    "--browser",
    "--bucket",  # of the caller's own account: S3 refuses any other
    "--buckets",
    "--check",
    "--clear",
    "--detach",
    "--disk",
    "--dry-run",
    "--env",
    "--env-file",
    "--every",
    "--exclude",
    "--extra",
    "--fetch-every",
    "--follow",
    "--from",
    "--gpu",
    "--gpu-memory",
    "--gpus",
    "--group",
    "--hang-after",
    "--help",
    "--html",
    "--idle-stop",
    "--image",
    "--instance-profile",
    "--instance-type",
    "--kms-key",
    "--csv",
    "--reservation",
    "--send",
    "--login-user",
    "--machines",
    "--interactive",
    "--json",
    "--max-cost",
    "--max-hours",
    "--max-price",
    "--module",
    "--name",
    "--no-color",
    "--no-deps",
    "--node",
    "--nodes",
    "--on-demand",
    "--once",
    "--output",
    "--owner-only",
    "--pattern",
    "--plan",
    "--port",
    "--private",
    "--profile",
    "--proxy-jump",
    "--python",
    "--raw",
    "--launcher",
    "--nproc",
    "--refresh",
    "--region",
    "--report",
    "--retries",
    "--secret",
    "--security-group",
    "--set",
    "--setup",
    "--share",
    "--since",
    "--sort",
    "--spot",
    "--spot-first",
    "--ssh-from",
    "--subnet",
    "--tag",
    "--tags",
    "--tail",
    "--template",
    "--time-limit",
    "--torchrun",
    "--version",
    "--wait",
    "--workdir",
    "--zone",
}
TYPED = {
    "bake": {"--as", "--yes"},
    "bucket rm": {"--all", "--cluster", "--yes"},
    "cancel": {"--all", "--cluster"},
    "completion": {"--install"},
    "init": {"--yes"},
    "data push": {"--allow-outside"},
    "data rm": {"--cluster"},
    "jobs rm": {"--cluster", "--done", "--force"},
    "down": {"--all", "--force", "--if-exists", "--yes"},
    "extend": {"--hours", "--yes"},
    "fetch": {"--all", "--overwrite", "--yes"},
    "images rm": {"--all-regions", "--if-exists", "--yes"},
    "notebook": {"--stop", "--yes"},
    "rerun": {"--yes"},
    "send": {"--array", "--grid", "--grid-file", "--kill-stalled", "--yes"},
    "setup": {"--set-file"},
    "run": {"--array", "--down", "--dry-run", "--gpu", "--grid", "--grid-file", "--kill-stalled", "--yes"},
    "ssh-config": {"--yes"},
    "start": {"--instance-type", "--yes"},
    "stop": {"--force", "--yes"},
    "sweep": {"--everyone", "--yes"},
    "up": {"--yes"},
}


def walk(group: click.Group, *above: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield " ".join((*above, name)), command
        if isinstance(command, click.Group):
            yield from walk(command, *above, name)


def options_of(command: click.Command) -> Iterator[tuple[str, click.Option]]:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield next(name for name in parameter.opts if name.startswith("--")), parameter


COMMANDS = dict(walk(gpujob))
GUARDED = [
    pytest.param(name, flag, one, id=f"{name} {flag}")
    for name, command in COMMANDS.items()
    for flag, one in options_of(command)
    if isinstance(one, GuardedOption) and name != "data"  # whose table names data sets
]
TYPED_ONLY = [case for case in GUARDED if case.values[2].typed_only and case.values[2].envvar]


def test_every_option_is_harmless_or_declared_to_be_typed():
    assert not HARMLESS & DANGEROUS
    loose = {
        f"{name} {flag}"
        for name, command in COMMANDS.items()
        for flag, one in options_of(command)
        if flag not in HARMLESS and not isinstance(one, GuardedOption)
    }
    assert loose == set(), "say in HARMLESS why gpujob.toml may set it, or declare it with typed_option"


def test_what_destroys_skips_a_question_or_widens_a_limit_is_typed():
    found = {
        name: flags
        for name, command in COMMANDS.items()
        if (flags := {f for f, one in options_of(command) if isinstance(one, GuardedOption) and one.typed_only})
    }
    assert found == TYPED


@pytest.mark.parametrize("flag", sorted(DANGEROUS))
def test_a_dangerous_flag_cannot_be_declared_as_an_ordinary_option(flag):
    with pytest.raises(ValueError, match="must be a typed_option"):
        option(flag, is_flag=True)


@pytest.mark.parametrize(("command", "flag", "one"), GUARDED)
def test_gpujob_toml_cannot_set_it_and_the_message_names_file_and_key(tmp_path, monkeypatch, command, flag, one):
    project = move_in(tmp_path, monkeypatch)
    table = command.replace(" ", ".")
    value = "true" if one.is_flag else '"2"'
    (project / "gpujob.toml").write_text(f"[{table}]\n{flag[2:]} = {value}\n")
    for words in (command.split(), ["ls"]):
        refused = type_here(*words)
        assert refused.code == 2, refused.said
        assert "gpujob.toml: " in refused.err
        if " " not in command:
            assert f"gpujob.toml: [{command}] {flag[2:]}: {flag} is accepted only on the command line" in refused.err


NEEDED = {
    "bake": ["--as", "x"],
    "cancel": ["1"],
    "completion": ["bash"],
    "extend": ["--hours", "1"],
    "images rm": ["x"],
    "rerun": ["1"],
}


@pytest.mark.parametrize(("command", "flag", "one"), TYPED_ONLY)
def test_a_variable_cannot_set_it(tmp_path, monkeypatch, command, flag, one):
    move_in(tmp_path, monkeypatch)
    variable = variable_of((flag,))
    needed = NEEDED.get(command, [])
    words = [word for word in needed if word not in (flag, "x" if flag == "--as" else "1" if flag == "--hours" else "")]
    refused = type_here(*command.split(), *words, **{variable: "true"})
    assert refused.code == 2, refused.said
    assert f"{variable} sets {flag}, which is accepted only on the command line" in refused.err


ENDING = [
    (["down"], "gpujob down other"),
    (["stop"], "gpujob stop other"),
    (["bake", "--as", "cake"], "gpujob bake other --as cake"),
    (["cancel", "1", "a{b"], "gpujob cancel --cluster other 1 'a{b'"),
    (["cancel"], "gpujob cancel --cluster other"),
    (["notebook", "--stop"], "gpujob notebook other --stop"),
]


@pytest.mark.parametrize(("words", "instead"), ENDING)
def test_a_variable_does_not_choose_the_cluster_that_a_command_ends(tmp_path, monkeypatch, words, instead):
    move_in(tmp_path, monkeypatch)
    refused = type_here(*words, GPUJOB_CLUSTER="other")
    assert refused.code == 2, refused.said
    assert "GPUJOB_CLUSTER is other" in refused.err
    assert f"next: {instead}\n" in refused.err
    assert "GPUJOB_CLUSTER is" not in type_here(*words, GPUJOB_CLUSTER="project").err  # the folder's own


def test_a_flag_that_is_typed_is_taken_whatever_the_variable(tmp_path, monkeypatch):
    move_in(tmp_path, monkeypatch)
    assert "GPUJOB_FORCE" not in type_here("down", "--force", "--dry-run", GPUJOB_FORCE="1").err
