"""Find the nearest manifest: from a job's script or working folder up to the project's root."""

import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatch
from typing import Any

from infra.dependencies.conda import read_conda
from infra.dependencies.credentials import take_credentials
from infra.dependencies.locks import read_pdm_lock, read_pipfile_lock, read_poetry_lock, specifiers_of
from infra.dependencies.pyproject import (
    PYPROJECT,
    SETUP_CFG,
    SETUP_PY,
    Chosen,
    combine,
    make,
    merge,
    read_project,
    table_of,
)
from infra.dependencies.requirements import read_lines, read_requirements
from infra.dependencies.sources import NO_DEPS, Sources, above, join
from infra.errors import UsageError
from infra.model import Request
from infra.model.dependencies import Dependencies
from infra.project.files import Project

Reader = Callable[[Sources, str, Chosen], Dependencies | None]
SCRIPTS = (".py", ".ipynb")
UV_LOCK, PYLOCK = "uv.lock", "pylock.toml"
LOOKED_FOR = "requirements.txt, pyproject.toml, a lock, setup.py, Pipfile or environment.yml"
# https://packaging.python.org/specifications/inline-script-metadata/
INLINE = re.compile(r"^# /// script\s*$\s(?P<content>(^#(| .*)$\s)+)^# ///\s*$", re.MULTILINE)
FILES = ("requirements.txt", "requirements/requirements.txt", "requirements/base.txt", "requirements.in")
VARIANT = re.compile(r"requirements[-_.]([\w.-]+)\.txt|([\w.-]+)[-_.]requirements\.txt")
FOR_DEVELOPERS = re.compile(r"dev|devel|develop|development|tests?|testing|docs?|lint|ci|build|optional|extras?")


def find_dependencies(project: Project, request: Request) -> Dependencies | None:
    """Return what a job needs installed, from the nearest manifest; None if there is none.

    Raises UsageError if the manifest is unreadable or out of date, or does not have a requested extra or group.
    """
    sources = Sources(project.root, frozenset(file.path for file in project.files))
    chosen = Chosen(tuple(request.extras), tuple(request.groups))
    script = find_script(sources, project.workdir, request.command)
    found = read_inline(sources, script, chosen) if script.endswith(".py") else None
    folders = above(join(script, "..") if script else project.workdir)
    found = found or next(filter(None, (read_folder(sources, folder, chosen) for folder in folders)), None)
    if found is None and (chosen.extras or chosen.groups):
        flag = f"--extra {chosen.extras[0]}" if chosen.extras else f"--group {chosen.groups[0]}"
        raise UsageError(f"{flag}: no dependencies found (looked for {LOOKED_FOR})", f"omit {flag}")
    return complete(sources, found) if found else None


def complete(sources: Sources, found: Dependencies) -> Dependencies:
    """Return dependencies without credentials, and with those of the project's folders that they require."""
    parts, seen, waiting = [found], set(), [] if found.locked else list(found.projects)
    while waiting:
        project = waiting.pop()
        inner = None if project in seen else read_project(sources, project[0], Chosen(project[1]))
        seen.add(project)
        if inner:
            parts.append(inner)
            waiting += inner.projects
    secrets: dict[str, str] = {}
    whole = combine(parts)
    return replace(
        whole,
        projects=(*found.projects, *(each for each in seen if each not in found.projects)),
        lines=take_credentials(whole.lines, secrets),
        constraints=take_credentials(whole.constraints, secrets),
        secrets=secrets,
    )


def find_script(sources: Sources, workdir: str, command: tuple[str, ...]) -> str:
    """Return the project's script that a command runs; "" if it runs none."""
    names = (join(workdir, word) for word in command if word.endswith(SCRIPTS))
    return next(filter(sources.has, names), "")


def read_folder(sources: Sources, folder: str, chosen: Chosen) -> Dependencies | None:
    """Return the content of the most exact manifest in a folder; None if there is none."""
    readers: tuple[Reader, ...] = (
        read_uv_lock,
        read_pylock,
        read_poetry_lock,
        read_pdm_lock,
        read_requirement_files,
        read_pipfile_lock,
        read_project,
        lambda sources, folder, _: read_conda(sources, folder),
    )
    return next(filter(None, (reader(sources, folder, chosen) for reader in readers)), None)


def read_inline(sources: Sources, script: str, chosen: Chosen) -> Dependencies | None:
    """Return the dependencies that a script lists in a comment; None if it has none."""
    found = INLINE.search(sources.read(script).replace("\r\n", "\n"))
    if found is None:
        return None
    text = "\n".join(line[2:] for line in found["content"].splitlines())
    try:
        table = tomllib.loads(text)
        listed = [str(line) for line in table.get("dependencies", ())]
    except (ValueError, TypeError) as error:
        raise UsageError(f"{script}: its inline metadata is not valid TOML: {error}", NO_DEPS) from error
    chosen.check(script, (), ())
    if table_of(table, "tool", "uv"):  # indexes and sources, which uv reads itself
        return Dependencies(script, files=(script,), watched=(script,))
    folder = join(script, "..")
    return make(read_lines(sources, listed, script, folder), script, folder)


def read_uv_lock(sources: Sources, folder: str, chosen: Chosen) -> Dependencies | None:
    """Return the uv.lock of a project or its workspace; uv itself checks and reads it."""
    settings = sources.toml(join(folder, PYPROJECT))
    if not settings:
        return None
    for root in above(folder):
        lock = join(root, UV_LOCK)
        if sources.has(lock) and sources.has(join(root, PYPROJECT)):
            if root != folder and not is_member(sources, root, folder):
                return None
            extras = table_of(settings, "project", "optional-dependencies")
            root_groups = table_of(settings, "dependency-groups")
            chosen.check(join(folder, PYPROJECT), extras, {*root_groups, "dev"})
            options = [f"--extra={extra}" for extra in chosen.extras] + [f"--group={group}" for group in chosen.groups]
            options += ["--no-dev"] if "dev" not in chosen.groups else []
            if root != folder:
                options.append(f"--package={table_of(settings, 'project').get('name')}")
            elif table_of(settings, "tool", "uv", "workspace") and not chosen.extras:
                options.append("--all-packages")  # the members are installed for each job
            manifests = tuple(name for name in sources.names if name.endswith(f"/{PYPROJECT}") or name == PYPROJECT)
            return Dependencies(
                lock,
                kind="uv.lock",
                folder=root,
                options=tuple(options),
                watched=(lock, *sorted(name for name in manifests if root == "." or name.startswith(f"{root}/"))),
                locked=True,
                declared=declared_by(settings, chosen),
            )
    return None


def is_member(sources: Sources, root: str, folder: str) -> bool:
    """Return whether a folder is a member of the uv workspace of a folder above it."""
    workspace = table_of(sources.toml(join(root, PYPROJECT)), "tool", "uv", "workspace")
    name = folder if root == "." else folder[len(root) + 1 :]
    included, excluded = (
        any(fnmatch(name, str(pattern).rstrip("/")) for pattern in workspace.get(key, ()))
        for key in ("members", "exclude")
    )
    return included and not excluded


def declared_by(settings: dict[str, Any], chosen: Chosen) -> dict[str, str]:
    """Return the constraint of each dependency of a [project], by its name."""
    project = table_of(settings, "project")
    extras = table_of(project, "optional-dependencies")
    return specifiers_of(
        [*project.get("dependencies", ()), *(line for e in chosen.extras for line in extras.get(e, ()))]
    )


def read_pylock(sources: Sources, folder: str, chosen: Chosen) -> Dependencies | None:
    """Return the pylock.toml in a folder; uv itself reads it."""
    name = join(folder, PYLOCK)
    if not sources.has(name):
        return None
    content, settings = sources.toml(name), sources.toml(join(folder, PYPROJECT))
    chosen.check(name, content.get("extras", ()), content.get("dependency-groups", ()))
    options = [f"--extra={extra}" for extra in chosen.extras] + [f"--group={PYLOCK}:{group}" for group in chosen.groups]
    return Dependencies(
        name,
        kind="pylock",
        folder=folder,
        options=tuple(options),
        watched=(name,),
        locked=True,
        declared=declared_by(settings, chosen),
    )


def read_requirement_files(sources: Sources, folder: str, chosen: Chosen) -> Dependencies | None:
    """Return the requirements file in a folder, with that of each group: requirements-GROUP.txt."""
    variants = find_variants(sources, folder)
    name = next((join(folder, each) for each in FILES if sources.has(join(folder, each))), "")
    useful = {variant: path for variant, path in variants.items() if not FOR_DEVELOPERS.fullmatch(variant)}
    groups = [group for group in chosen.groups if group in variants]
    if not name and not groups:
        if len(useful) > 1:
            what = f"there are {', '.join(useful.values())}, but no requirements.txt"
            raise UsageError(what, f"choose one: --group {min(useful)}; or install nothing: --no-deps")
        name = next(iter(useful.values()), "")
    if not name and not groups:
        return None
    names = list(dict.fromkeys([*filter(None, [name]), *(variants[group] for group in groups)]))
    flat = merge(read_requirements(sources, each) for each in names)
    asks_project = (chosen.extras and not flat.projects) or set(chosen.groups) - set(groups)
    if asks_project and any(sources.has(join(folder, each)) for each in (PYPROJECT, SETUP_PY, SETUP_CFG)):
        return None
    chosen.check(name or names[0], chosen.extras if flat.projects else (), variants)
    flat.projects = [(path, tuple(dict.fromkeys((*extras, *chosen.extras)))) for path, extras in flat.projects]
    return make(flat, ", ".join(names), folder)


def find_variants(sources: Sources, folder: str) -> dict[str, str]:
    """Return the requirements files in a folder that are for something, by what they are for."""
    found = {}
    for file in sources.inside(folder):
        if named := VARIANT.fullmatch(file):
            found[named[1] or named[2]] = join(folder, file)
    further = join(folder, "requirements")
    files = (file for file in sources.inside(further) if file.endswith(".txt") and f"requirements/{file}" not in FILES)
    return {**{file.removesuffix(".txt"): join(further, file) for file in files}, **found}
