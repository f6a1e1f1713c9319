"""Dotfiles of the shape of fast.ai's, a repository without an install script, on a Debian that boots."""

from collections.abc import Iterator

import pytest

from tests.system.site import Site

# A copy of that shape, not of the words: settings of shell, editor and terminal, and somebody else's name for git.
REPOSITORY = r"""
apt-get install --yes --no-install-recommends git > /dev/null
mkdir -p /srv/dotfiles && cd /srv/dotfiles
printf 'set -g mouse on\n' > .tmux.conf
printf 'set number\n' > .vimrc
printf "alias ll='ls -l'\n" > .bash_aliases
printf 'stty -ixon\nexport EDITOR=vim\n' > .bashrc.local
printf '[user]\n\tname = Somebody Else\n[pull]\n\trebase = true\n' > .gitconfig
printf 'mine\n' > README.md
git init --quiet && git add --all
git -c user.name=a -c user.email=a@example.org commit --quiet --message x
chown -R ubuntu: /srv/dotfiles
"""
DOTFILES = ("--tags", "dotfiles", "--set", "dotfiles_repository=/srv/dotfiles", "--set", "dotfiles_git_name=Ann Other")


@pytest.fixture(scope="module")
def dotted(site: Site) -> Iterator[Site]:
    """A machine with the repository, and with a file in the way."""
    site.machine.inside("apt-get update > /dev/null" + REPOSITORY)
    site.ssh("echo mine > ~/.vimrc")
    yield site


def test_dotfiles_without_a_script_are_in_the_home_folder_and_what_was_in_the_way_is_kept(dotted):
    look = dotted.set_up(*DOTFILES, "--check")
    assert look.code == 0, look.said
    first = dotted.set_up(*DOTFILES)
    assert first.code == 0, first.said
    assert "node: ~/.vimrc was in the way; it is kept as ~/.vimrc.before-dotfiles" in first.err
    assert dotted.ssh("cat ~/.vimrc.before-dotfiles ~/.vimrc ~/.tmux.conf") == "mine\nset number\nset -g mouse on\n"
    assert dotted.ssh("ls ~/README.md || true") == ""
    assert dotted.ssh("git config user.name; git config pull.rebase") == "Ann Other\ntrue\n"
    assert dotted.ssh("bash -ic 'echo $EDITOR; alias ll' 2> /dev/null") == "vim\nalias ll='ls -l'\n"
    assert dotted.try_ssh("true").stderr == ""  # what .bashrc.local says is for terminals
    assert ", 0 changed" in dotted.set_up(*DOTFILES).said
    assert dotted.laptop.type("run", "--", "true").code == 0
