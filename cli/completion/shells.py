"""Set up completion in a shell: completion."""

import os
import shlex
from pathlib import Path

import click

from cli.completion.answers import SHELLS, VARIABLE
from cli.options.declared import typed_option
from cli.terminal import show

MARK = "# gpujob completion"


@click.command()
@click.argument("shell", type=click.Choice([*SHELLS]))
@typed_option("--install", is_flag=True, help="Install the script for this user instead of printing it.")
@click.pass_context
def completion(context: click.Context, shell: str, install: bool) -> None:
    """Print the completion script of a shell, or install it.

    Completes commands, options, clusters, jobs, GPUs, regions, images and roles. It never asks AWS.

    \b
    gpujob completion bash --install
    source <(gpujob completion zsh)     only in this shell
    """  # noqa: D301  click reads the backspace
    script = SHELLS[shell](context.find_root().command, {}, "gpujob", VARIABLE).source()
    if not install:
        show.echo(script)
        return
    for path in install_script(shell, script):
        show.say(f"wrote {path}")
    show.say(f"next: exec {shell}")


def install_script(shell: str, script: str) -> list[Path]:
    """Install the script, and a line in the shell's startup file if needed; return the changed files."""
    path = find_place(shell)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script, encoding="utf-8")
    changed = [path]
    if startup := find_startup(shell):
        text = startup.read_text(encoding="utf-8", errors="surrogateescape") if startup.exists() else ""
        if MARK not in text:
            place = shlex.quote(str(path))
            with startup.open("a", encoding="utf-8") as file:
                file.write(f"\n[ -r {place} ] && . {place}  {MARK}\n")
            changed.append(startup)
    return changed


def find_place(shell: str) -> Path:
    """Return the file of a shell's script."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return {
        "bash": data / "bash-completion/completions/gpujob",
        "zsh": data / "zsh/site-functions/_gpujob",
        "fish": config / "fish/completions/gpujob.fish",
    }[shell]


def find_startup(shell: str) -> Path | None:
    """Return the startup file that must load the script; None for fish, which finds it."""
    if shell == "bash":
        return Path.home() / ".bashrc"
    return Path(os.environ.get("ZDOTDIR") or Path.home()) / ".zshrc" if shell == "zsh" else None
