"""A job that overwrites, removes or replaces the agent: the next command notices before it runs any of it, and puts it back."""

from hashlib import sha256
from pathlib import Path

import pytest

from infra.node.packing import pack_agent
from tests.cloudwatch import node_home

AGENT = pack_agent()[0]
PLANTED = "import sys; print('planted'); sys.exit(0)"
DEEDS = {
    "appended to": f"chmod u+w ~/{AGENT}; echo more >> ~/{AGENT}",
    "replaced": f'rm -f ~/{AGENT}; echo "{PLANTED}" > ~/{AGENT}',
    "removed": f"rm -f ~/{AGENT}",
    "a folder": f"rm -f ~/{AGENT}; mkdir -p ~/{AGENT}/full",
    "a link": f'rm -f ~/{AGENT}; echo "{PLANTED}" > ~/planted.py; ln -s ~/planted.py ~/{AGENT}',
    "no longer linked": "rm ~/.gpujob/agent.pyz; mkdir ~/.gpujob/agent.pyz",
    "linked to another": f'echo "{PLANTED}" > ~/.gpujob/agent-{12 * "0"}.pyz; ln -sfn agent-{12 * "0"}.pyz ~/.gpujob/agent.pyz',
}


@pytest.mark.parametrize("deed", DEEDS)
def test_an_agent_that_a_job_changed_is_put_back_before_it_is_used(project, deed):
    assert project.type("ssh", "--", "sh", "-c", DEEDS[deed]).code == 0
    listed = project.type("jobs")
    assert listed.code == 0, listed.said
    assert "planted" not in listed.said
    home = node_home(project)
    assert (home / AGENT).read_bytes() == pack_agent()[1]
    assert (home / ".gpujob/agent.pyz").resolve() == home / AGENT


def test_the_agent_of_another_version_that_the_machine_runs_is_left_alone(project):
    home = node_home(project)
    other = b"# another version"

    name = f"agent-{sha256(other).hexdigest()[:12]}.pyz"
    (home / ".gpujob" / name).write_bytes(other)
    link = home / ".gpujob/agent.pyz"
    link.unlink()
    link.symlink_to(name)
    try:
        assert project.type("jobs").code == 0
        assert link.readlink() == Path(name)
    finally:
        link.unlink()
        link.symlink_to(Path(AGENT).name)
