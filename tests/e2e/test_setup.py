"""`up` sets a machine up before it is ready, or gives all of it back: on the local cloud, with a play of the test's own."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infra.base.installation import install_command
from infra.cluster import clouds
from infra.ec2.account import Account
from infra.ec2.machines.images import Image
from infra.ec2.machines.removal import find_remains
from infra.errors import SetupError, UsageError
from infra.launch import creation, plans
from infra.model import Cluster, Gpu, LaunchRequest
from infra.setup import playbook
from infra.setup.playbook import Setup
from tests.conftest import Laptop
from tests.setup.test_playbook import command, write_play

IMAGES = {kind: Image("ami-1", kind, "/dev/sda1", kind=kind) for kind in ("dlami", "ubuntu", "baked", "other")}
T4 = LaunchRequest(gpu=Gpu("T4"), nodes=2)


@pytest.fixture
def account(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """The local cloud of a laptop whose home is this process's."""
    monkeypatch.setenv("HOME", str(laptop.home))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    yield clouds.start_local()


def rent(account: Account, path: Path) -> tuple[Cluster | SetupError, list[str]]:
    """Rent two machines that a play is run on; return the cluster or the error, and each step that was reported."""
    plan = plans.make_plan(account, "pan", T4)
    assert plan.setup is None
    steps: list[str] = []
    try:
        return creation.create(replace(plan, setup=Setup(playbook=path)), steps.append), steps
    except SetupError as error:
        return error, steps


def test_each_machine_is_set_up_after_its_first_boot_and_before_its_cluster_is_ready(account, laptop, tmp_path):
    cluster, steps = rent(account, write_play(tmp_path, command("Season", "echo salt > ~/salt")))
    assert isinstance(cluster, Cluster)
    assert {"setting up pan-0: Season", "setting up pan-1: Season"} <= set(steps)
    assert steps.index("waiting for its first boot to finish") < steps.index("setting up pan-0: Season")
    assert laptop.type("ssh", "pan", "--node", "1", "--", "cat", "salt").out == "salt\n"
    assert laptop.type("down", "pan").code == 0


def test_where_the_playbook_fails_all_of_it_is_given_back(account, tmp_path):
    error, _ = rent(account, write_play(tmp_path, command("Season", "echo no salt >&2; false")))
    assert isinstance(error, SetupError)
    assert error.what == "'Season' failed on pan-0: exit code 1"
    assert "no salt" in error.__notes__
    assert "--no-setup" in error.hint
    assert find_remains(account, "*") == []


def test_what_is_run_by_itself_depends_on_the_image(account, monkeypatch):
    aws = replace(account, cloud="aws")

    def roles(kind: str, asked: LaunchRequest = T4) -> tuple[str, ...] | None:
        setup = plans.choose_setup(aws, asked, IMAGES[kind], {})
        return setup and setup.tags

    assert roles("ubuntu") == ()
    assert roles("dlami") == ("ssh", "updates", "scratch")
    assert roles("baked") == ("scratch",)
    assert roles("other") is None
    assert roles("ubuntu", replace(T4, setup=False)) is None
    monkeypatch.setattr(playbook, "find_program", lambda: None)
    monkeypatch.setattr(plans, "find_program", lambda: None)
    assert roles("dlami") is None
    with pytest.raises(UsageError) as refused:
        plans.make_plan(aws, "pan", replace(T4, image="ubuntu"))
    assert refused.value.hint == install_command("setup")


def test_up_refuses_dotfiles_that_need_a_key_before_anything_is_launched(account):
    private = {"dotfiles_repository": "git@example.org:me/dotfiles.git"}
    with pytest.raises(UsageError) as refused:
        plans.make_plan(replace(account, cloud="aws"), "pan", replace(T4, image="ubuntu"), private)
    assert "--set-file dotfiles_key=FILE" in refused.value.hint
    playbook.check_unattended({"dotfiles_repository": "https://example.org/me/dotfiles.git"})


def test_a_key_is_taken_from_a_file_only():
    with pytest.raises(UsageError, match="dotfiles_key is a secret") as refused:
        playbook.check_words(Setup(variables={"dotfiles_key": "-----BEGIN"}))
    assert "--set-file dotfiles_key=FILE" in refused.value.hint
    setup = Setup(files={"dotfiles_key": "-----BEGIN"})
    playbook.check_words(setup)
    assert "BEGIN" not in repr(setup)


def test_a_role_or_a_variable_that_the_playbook_has_not_is_refused_with_what_is_near():
    with pytest.raises(UsageError, match="no role 'shh'") as refused:
        playbook.check_words(Setup(tags=("shh",)))
    assert "ssh" in refused.value.hint
    with pytest.raises(UsageError, match="no variable 'dotfiles_repo'") as refused:
        playbook.check_words(Setup(variables={"dotfiles_repo": "https://example.org/me"}))
    assert "dotfiles_repository" in refused.value.hint
    playbook.check_words(
        Setup(("ssh",), variables={"dotfiles_repository": "https://example.org/me", "apt_patience_s": 60})
    )
