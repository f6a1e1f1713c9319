"""Variables and gpujob.toml: one rule for all options, `gpujob config`, and what is reported if it has no effect."""

import json
from pathlib import Path

import pytest

from cli.main import gpujob
from cli.options.declared import GuardedOption, variable_of
from cli.options.defaults import VARIABLES
from tests.cli.test_danger import options_of, walk
from tests.conftest import Laptop
from tests.here import move_in, type_here

COMMANDS = [("", gpujob), *walk(gpujob)]
UNSET = {"--help", "--version", "--sort"}  # each listing has columns of its own to sort by
OWN = {("run", "--nodes"), ("send", "--nodes")}  # GPUJOB_NODES is the option of `up`


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A project folder without settings."""
    return move_in(tmp_path, monkeypatch)


def read(*words: str, **variables: str) -> dict[str, dict]:
    """Return the settings that `gpujob config --json` lists, by command and option."""
    listed = json.loads(type_here("config", *words, "--json", **variables).out)
    return {f"{one['command']} {one['option']}": one for one in listed}


def test_each_option_has_the_variable_with_its_name():
    odd = {
        f"{name} {flag}: {one.envvar}"
        for name, command in COMMANDS
        for flag, one in options_of(command)
        if flag not in UNSET and (name, flag) not in OWN and one.envvar != variable_of([flag.split("/")[0]])
        if not (isinstance(one, GuardedOption) and one.typed_only)
    }
    assert odd == set(), "declare it with option() of cli/options/declared.py"


def test_the_variables_that_are_known_are_those_of_the_commands():
    found = {one.envvar for _, command in COMMANDS for one in command.params if one.envvar}
    assert found == VARIABLES, "list the option in cli/options/defaults.py"


def test_no_help_repeats_the_rule_for_variables_and_the_main_help_states_it():
    for name in ("up", "run", "fetch"):
        assert "GPUJOB_" not in type_here(name, "--help").out.replace("GPUJOB_TASK", "")
    assert "GPUJOB_ + option name: GPUJOB_MAX_HOURS=6" in type_here("--help").out


def test_config_lists_what_the_file_a_variable_and_the_default_say(folder):
    (folder / "gpujob.toml").write_text(
        '[up]\ngpu = "A10G"\nmax-hours = 3\nspot = true\n[sync]\ninclude = ["a.csv"]\n[setup.variables]\nshell = "zsh"\n'
    )
    found = read(GPUJOB_MAX_HOURS="6", GPUJOB_ZONE="us-east-1a us-east-1b")
    assert (found["up gpu"]["value"], found["up gpu"]["source"]) == ("A10G", "file")
    assert (found["up max-hours"]["value"], found["up max-hours"]["source"]) == ("6", "variable")
    assert (found["start max-hours"]["value"], found["start max-hours"]["variable"]) == ("6", "GPUJOB_MAX_HOURS")
    assert (found["up spot"]["value"], found["up spot"]["source"]) == (True, "file")
    assert (found["up disk"]["value"], found["up disk"]["source"]) == (100, "default")
    assert found["up zone"]["value"] == ["us-east-1a", "us-east-1b"]
    assert found["[sync] include"]["value"] == ["a.csv"]
    assert found["[setup.variables] shell"]["value"] == "zsh"
    assert not {"up yes", "down force", "extend hours"} & {*found}
    shown = type_here("config", "up", GPUJOB_MAX_HOURS="6").out
    assert "up gpu\tA10G\tgpujob.toml\tGPUJOB_GPU\n" in shown
    assert "up max-hours\t6\tvariable\tGPUJOB_MAX_HOURS\n" in shown
    assert "up spot\ttrue\tgpujob.toml\tGPUJOB_SPOT\n" in shown
    assert "start" not in shown


def test_config_of_a_command_with_subcommands_lists_theirs(folder):
    assert {"images region", "images rm region"} <= {*read("images")}
    assert "no settings for 'stat'" in type_here("config", "stat").err


def test_config_exits_with_1_for_a_value_that_a_command_refuses(folder):
    typed = type_here("config", GPUJOB_DISK="huge")
    assert typed.code == 1
    assert "invalid: up disk (GPUJOB_DISK): 'huge' is not a valid integer" in typed.err
    assert type_here("config").code == 0


@pytest.mark.parametrize(
    ("variable", "instead"), [("GPUJOB_SPOTT", "did you mean GPUJOB_SPOT?"), ("GPUJOB_Q", "list all: gpujob config")]
)
def test_an_unknown_variable_is_reported_once(folder, variable, instead):
    typed = type_here("policy", **{variable: "1"})
    assert typed.code == 0
    assert typed.err.count(f"warning: ignoring the unknown variable {variable}; {instead}\n") == 1


def test_a_variable_of_another_command_and_those_of_a_job_are_not_reported(folder):
    known = {"GPUJOB_GPU": "T4", "GPUJOB_YES": "1", "GPUJOB_JOB": "1", "GPUJOB_OUTPUTS": "/x"}
    assert "warning" not in type_here("policy", **known).err


def test_an_unknown_key_is_refused_with_what_it_resembles(folder):
    (folder / "gpujob.toml").write_text('[up]\ngup = "T4"\n')
    refused = type_here("config")
    assert refused.code == 2
    assert "gpujob.toml: gpujob up has no option --gup; did you mean gpu?" in refused.err


def test_the_variable_of_the_market_counts_unless_the_command_line_names_one(rented: Laptop, tmp_path):
    laptop = Laptop(rented.home, tmp_path, {**rented.settings, "GPUJOB_SPOT": "1"})
    for words, market in ([], "spot"), (["--on-demand"], "on-demand"):
        plan = json.loads(laptop.type("up", "other", "--plan", "--dry-run", "--json", *words).out)
        assert plan["request"]["markets"] == [market]
