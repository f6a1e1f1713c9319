"""Check a repository's dotfiles out into the home folder, and write git's settings.

Arguments: the clone, or "" for none, and git's settings as JSON. Prints JSON: whether anything changed, and what to tell.

A file in the way is kept under another name. Files that are as an earlier run left them are replaced.
"""

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

HOME = Path.home()
KEPT = ".before-dotfiles"
SOURCE = ".bashrc.local"
# For interactive shells alone: what it prints would otherwise end up in the output of every command over SSH.
LINE = f"case $- in *i*) [ -f ~/{SOURCE} ] && . ~/{SOURCE};; esac  # dotfiles\n"
OF_THE_REPOSITORY = (".gitattributes", ".gitignore", ".gitmodules", ".github")
# gpujob's own way in, which a repository must not replace.
NEVER = (".gpujob", ".ssh/authorized_keys", ".ssh/authorized_keys2", ".ssh/environment", ".ssh/rc")
LINK, MODULE, PROGRAM = "120000", "160000", "100755"


def git(*words: str) -> bytes:
    """Return what git prints."""
    return subprocess.run(["git", *words], check=True, stdout=subprocess.PIPE).stdout


def list_files(clone: Path) -> "list[tuple[str, str, str]]":
    """Return mode, object and path of the repository's dotfiles."""
    rows = git("-C", str(clone), "ls-tree", "-r", "-z", "HEAD").decode("utf-8", "surrogateescape").split("\0")
    found = [(*row.partition("\t")[0].split()[::2], row.partition("\t")[2]) for row in rows if row]
    return [one for one in found if one[2].startswith(".") and one[2].split("/")[0] not in OF_THE_REPOSITORY]


def look(path: Path) -> "str | None":
    """Return what identifies a file's or link's content; None if there is nothing."""
    if path.is_symlink():
        return f"link {path.readlink()}"
    if path.is_dir():
        return "folder"
    return sha256(path.read_bytes()).hexdigest() if path.exists() else None


def keep(path: Path) -> Path:
    """Rename what is in the way to a name that is free; return that."""
    free = path.with_name(path.name + KEPT)
    number = 1
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.name}{KEPT}.{number}")
    path.rename(free)
    return free


def install(clone: Path, row: "tuple[str, str, str]", known: "str | None") -> str:
    """Write one file of the repository; return what to tell about a file that was in the way."""
    mode, name, path = row
    content, target = git("-C", str(clone), "cat-file", "blob", name), HOME / path
    wanted = f"link {os.fsdecode(content)}" if mode == LINK else sha256(content).hexdigest()
    present = look(target)
    if present == wanted:
        return ""
    target.parent.mkdir(mode=0o700 if path.startswith(".ssh/") else 0o755, parents=True, exist_ok=True)
    told = ""
    if present is not None and present != known:
        told = f"~/{path} was in the way; it is kept as ~/{keep(target).relative_to(HOME)}"
    new = target.with_name(f"{target.name}.new-dotfiles")
    new.unlink(missing_ok=True)
    if mode == LINK:
        new.symlink_to(os.fsdecode(content))
    else:
        new.touch(mode=0o600)
        new.write_bytes(content)
        new.chmod((0o755 if mode == PROGRAM else 0o644) & (0o700 if path.startswith(".ssh/") else 0o777))
    new.replace(target)
    return told


def check_out(clone: Path, known: "dict[str, str]") -> "tuple[dict[str, str], list[str]]":
    """Write the repository's files; return how each was left, and what to tell."""
    left, told = {}, []
    for row in list_files(clone):
        mode, _, path = row
        if path in NEVER or path.split("/")[0] in NEVER:
            told.append(f"~/{path} is not replaced: gpujob needs its own")
        elif mode == MODULE:
            told.append(f"~/{path} is a submodule, which is not checked out; use an install script")
        else:
            told.append(install(clone, row, known.get(path)))
            left[path] = look(HOME / path)
    return left, [one for one in told if one]


def source_local() -> bool:
    """Let interactive shells read .bashrc.local, unless .bashrc does; return whether that changed anything."""
    startup = HOME / ".bashrc"
    text = startup.read_text(errors="surrogateescape") if startup.exists() else ""
    if SOURCE in text or not (HOME / SOURCE).is_file():
        return False
    with startup.open("a") as file:
        file.write(("" if text.endswith("\n") or not text else "\n") + LINE)
    return True


def set_git(settings: "dict[str, str]") -> bool:
    """Write git's settings; return whether that changed anything."""
    changed = False
    for name, value in settings.items():
        words = ["git", "config", "--global", "--get-all", name]
        present = subprocess.run(words, stdout=subprocess.PIPE, check=False).stdout.decode()
        if present != f"{value}\n":
            git("config", "--global", "--replace-all", name, value)
            changed = True
    return changed


def main(folder: str, settings: str) -> None:
    """Do what is not done yet, and print what that was."""
    changed, told = False, []
    if folder:
        record = Path(folder) / ".git" / "gpujob-checked-out.json"
        state = json.loads(record.read_text()) if record.exists() else {"commit": "", "files": {}}
        commit = git("-C", folder, "rev-parse", "HEAD").decode().strip()
        if state["commit"] != commit:
            files, told = check_out(Path(folder), state["files"])
            state, changed = {"commit": commit, "files": files}, True
    # A file that was not edited, and gets a line below, still counts as ours: later versions replace it.
    ours = [path for path, left in state["files"].items() if look(HOME / path) == left] if folder else []
    changed = bool(folder and source_local()) or changed
    changed = set_git(json.loads(settings)) or changed
    if folder and changed:
        state["files"].update({path: look(HOME / path) for path in ours})
        record.write_text(json.dumps(state))
    sys.stdout.write(json.dumps({"changed": changed, "told": told}))


if __name__ == "__main__":
    main(*sys.argv[1:])
