"""Dotfiles without an install script: what the playbook's `check_out.py` does to a home folder: no file is lost."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra import state
from infra.model import Cluster
from infra.setup.inventory import FOLDER
from tests.setup.test_playbook import box, home, play, write_play

__all__ = ["box", "home"]  # fixtures

PROGRAM = FOLDER / "roles/dotfiles/files/check_out.py"
# A repository of the same shape as fast.ai's: no script, settings of shell, editor and terminal, and somebody's name for git.
FILES = {
    ".tmux.conf": "set -g mouse on\n",
    ".vimrc": "set number\n",
    ".bash_aliases": "alias ll='ls -l'\n",
    ".bashrc.local": "export EDITOR=vim\necho loud\n",
    ".gitconfig": "[user]\n\tname = Somebody Else\n\temail = else@example.org\n[pull]\n\trebase = true\n",
    ".config/tool/settings": "x = 1\n",
    ".gitignore": ".cfg\n",
    "README.md": "mine\n",
}
BASHRC = "case $- in\n    *i*) ;;\n      *) return;;\nesac\nalias l=ls\n"


@dataclass(frozen=True)
class Place:
    """A clone and a home folder."""

    clone: Path
    home: Path

    def git(self, *words: str) -> str:
        """Run git in the clone, as somebody."""
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        done = subprocess.run(
            ["git", "-C", self.clone, *who, *words], check=True, capture_output=True, env=self.environment
        )
        return done.stdout.decode()

    @property
    def environment(self) -> dict[str, str]:
        """A user's, whose home this is."""
        return {"HOME": str(self.home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}

    def commit(self, files: dict[str, str]) -> None:
        """Write files and commit them."""
        for name, text in files.items():
            path = self.clone / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "x")

    def run(self, **settings: str) -> tuple[bool, list[str]]:
        """Check it out; return whether that changed anything, and what it told."""
        words = [sys.executable, "-c", PROGRAM.read_text(), str(self.clone), json.dumps(settings)]
        done = subprocess.run(words, check=True, capture_output=True, env=self.environment)
        said: dict[str, Any] = json.loads(done.stdout)
        return said["changed"], said["told"]

    def read(self, name: str) -> str:
        """Return a file of the home folder."""
        return (self.home / name).read_text()

    def bash(self, *words: str) -> str:
        """Return what bash prints, as a login over SSH starts it."""
        words = ("bash", *words)
        return subprocess.run(words, env=self.environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = Place(tmp_path / "home/.dotfiles", tmp_path / "home")
    found.clone.mkdir(parents=True)
    found.git("init", "--quiet")
    found.commit(FILES)
    (found.home / ".bashrc").write_text(BASHRC)
    return found


def test_dotfiles_are_in_the_home_folder_and_the_rest_of_the_repository_is_not(place):
    assert place.run() == (True, [])
    for name in (".tmux.conf", ".vimrc", ".bash_aliases", ".bashrc.local", ".config/tool/settings"):
        assert place.read(name) == FILES[name]
    assert not (place.home / "README.md").exists()
    assert not (place.home / ".gitignore").exists()
    assert place.run() == (False, [])


def test_interactive_shells_read_bashrc_local_and_the_output_of_commands_stays_clean(place):
    place.run()
    assert place.bash("-ic", "echo $EDITOR") == "loud\nvim\n"
    assert place.bash("-c", f". {place.home}/.bashrc; echo $EDITOR") == "\n"
    (place.home / ".bashrc").write_text("[ -f ~/.bashrc.local ] && . ~/.bashrc.local\n")
    assert place.run() == (False, [])
    assert place.read(".bashrc").count(".bashrc.local") == 2


def test_a_file_in_the_way_is_kept_and_named_however_often(place):
    (place.home / ".vimrc").write_text("mine\n")
    (place.home / ".vimrc.before-dotfiles").write_text("older\n")
    assert place.run() == (True, ["~/.vimrc was in the way; it is kept as ~/.vimrc.before-dotfiles.2"])
    assert [place.read(f".vimrc{end}") for end in ("", ".before-dotfiles", ".before-dotfiles.2")] == [
        FILES[".vimrc"], "older\n", "mine\n",
    ]  # fmt: skip


def test_a_new_version_replaces_what_is_as_it_was_left_and_keeps_what_was_edited(place):
    place.run(**{"user.name": "Ann"})
    (place.home / ".vimrc").write_text("edited\n")
    place.commit({".tmux.conf": "new\n", ".vimrc": "new\n", ".gitconfig": "[user]\n\tname = New\n"})
    changed, told = place.run(**{"user.name": "Ann"})
    assert (changed, told) == (True, ["~/.vimrc was in the way; it is kept as ~/.vimrc.before-dotfiles"])
    assert (place.read(".tmux.conf"), place.read(".vimrc.before-dotfiles")) == ("new\n", "edited\n")
    assert place.read(".gitconfig") == "[user]\n\tname = Ann\n"


def test_an_edited_file_stays_the_user_s_when_only_a_setting_changes(place):
    place.run()
    (place.home / ".gitconfig").write_text("[core]\n\teditor = ed\n")
    assert place.run(**{"user.name": "Ann"}) == (True, [])
    place.commit({".gitconfig": "[user]\n\tname = New\n"})
    assert place.run(**{"user.name": "Ann"})[1] == [
        "~/.gitconfig was in the way; it is kept as ~/.gitconfig.before-dotfiles"
    ]
    assert "editor = ed" in place.read(".gitconfig.before-dotfiles")


def test_git_has_the_name_the_address_and_the_cache_that_were_asked_for(place):
    asked = {"user.name": "Ann Other", "user.email": "ann@example.org", "credential.helper": "cache --timeout=7200"}
    assert place.run(**asked)[0]
    for name, value in asked.items():
        assert place.git("config", "--global", name) == f"{value}\n"
    assert place.git("config", "--global", "pull.rebase") == "true\n"
    assert place.run(**asked) == (False, [])


def test_gpujob_s_own_way_in_is_never_replaced(place):
    (place.home / ".ssh").mkdir()
    (place.home / ".ssh/authorized_keys").write_text("gpujob's\n")
    place.commit({".ssh/authorized_keys": "other\n", ".ssh/config": "Host *\n", ".gpujob/agent": "bad\n"})
    assert place.run()[1] == [
        "~/.gpujob/agent is not replaced: gpujob needs its own",
        "~/.ssh/authorized_keys is not replaced: gpujob needs its own",
    ]
    assert place.read(".ssh/authorized_keys") == "gpujob's\n"
    assert (place.home / ".ssh/config").stat().st_mode & 0o777 == 0o600
    assert not (place.home / ".gpujob").exists()


def test_links_and_programs_stay_what_they_are_and_a_folder_in_the_way_is_kept(place):
    (place.home / ".link/mine").mkdir(parents=True)
    (place.clone / ".link").symlink_to(".vimrc")
    place.commit({".local/bin/tool": "#!/bin/sh\n"})
    (place.clone / ".local/bin/tool").chmod(0o755)
    place.commit({})
    assert place.run()[1] == ["~/.link was in the way; it is kept as ~/.link.before-dotfiles"]
    assert (place.home / ".link").readlink() == Path(".vimrc")
    assert (place.home / ".link.before-dotfiles/mine").is_dir()
    assert os.access(place.home / ".local/bin/tool", os.X_OK)


def clone(place: Place, box: Cluster, folder: Path, key: str) -> tuple[str, Any]:
    """Clone it over SSH with a key; return the folder of the connection, and what it came to or the error."""
    node = box.nodes[0]
    pins = state.known_hosts_file("box").read_text().splitlines()
    [pin] = [line.split(maxsplit=1)[1] for line in pins if line.startswith(f"{node.instance_id} ")]
    variables = {
        "dotfiles_repository": f"ssh://{box.user}@127.0.0.1:{node.port}{place.clone}",
        "dotfiles_clone": str(folder / "cloned"),
        "dotfiles_home": str(folder),
        "dotfiles_known_hosts": f"[127.0.0.1]:{node.port} {pin}\n",
    }
    include = {"name": "Clone", "ansible.builtin.include_tasks": f"{FOLDER}/roles/dotfiles/tasks/clone.yml"}
    show = {"name": "Show", "ansible.builtin.debug": {"msg": "{{ dotfiles_connection.path }}"}}
    tasks = {"name": "Do", "block": [include], "always": [show]}
    alone = Cluster(**{**vars(box), "nodes": box.nodes[:1]})
    events, outcome = play(alone, write_play(folder, tasks), variables=variables, files={"dotfiles_key": key})
    assert key not in repr((events, outcome))
    [path] = [line.partition(": ")[2] for event in events for line in event.told]
    return path, outcome


def test_a_private_repository_is_cloned_with_a_key_that_is_not_left_on_the_machine(place, box, tmp_path):
    path, outcome = clone(place, box, tmp_path, state.key_file("box").read_text())
    assert (tmp_path / "cloned/.vimrc").read_text() == FILES[".vimrc"], outcome
    assert path.endswith(".dotfiles")
    assert not Path(path).exists()
    assert not [one for one in psutil.process_iter(["cmdline"]) if path in " ".join(one.info["cmdline"] or [])]


def test_what_is_no_key_is_told_without_being_shown(place, box, tmp_path):
    path, outcome = clone(place, box, tmp_path, "hunter2")
    assert "ssh-add does not accept dotfiles_key" in outcome.what
    assert not Path(path).exists()
