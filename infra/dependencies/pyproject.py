"""Read a project's dependencies from its pyproject.toml, setup.cfg or setup.py."""

import ast
import configparser
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from packaging.utils import canonicalize_name

from infra.dependencies import poetry
from infra.dependencies.requirements import Flat, read_lines, read_requirements
from infra.dependencies.sources import Sources, join
from infra.errors import UsageError
from infra.model.dependencies import Dependencies

PYPROJECT, SETUP_CFG, SETUP_PY = "pyproject.toml", "setup.cfg", "setup.py"
# What a build backend may read its requirements from.
READ_BY_BACKENDS = (".toml", ".cfg", ".py", ".txt", ".in", ".ini", ".lock")


@dataclass(frozen=True)
class Chosen:
    """The extras and groups to install besides what is always needed."""

    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def check(self, where: str, extras: Iterable[str], groups: Iterable[str]) -> None:
        """Raise UsageError for an extra or a group that does not exist."""
        for flag, names, known in (("--extra", self.extras, extras), ("--group", self.groups, groups)):
            there = {canonicalize_name(name): name for name in known}
            for name in names:
                if canonicalize_name(name) not in there:
                    hint = f"it has {', '.join(sorted(there.values()))}" if there else "it has none"
                    raise UsageError(f"{where} has no {flag.removeprefix('--')} '{name}'", f"omit {flag}; {hint}")


def read_project(sources: Sources, folder: str, chosen: Chosen) -> Dependencies | None:
    """Return the dependencies of the project in a folder; None if not declared. Raises UsageError."""
    readers = (read_pyproject, read_setup_py, read_setup_cfg)
    return next(filter(None, (reader(sources, folder, chosen) for reader in readers)), None)


def read_pyproject(sources: Sources, folder: str, chosen: Chosen) -> Dependencies | None:
    """Return the dependencies that pyproject.toml lists or leaves to the build backend; None if neither."""
    name = join(folder, PYPROJECT)
    settings = sources.toml(name)
    project = table_of(settings, "project")
    groups = {**table_of(settings, "dependency-groups")}
    dynamic = set(project.get("dynamic", ())) & {"dependencies", "optional-dependencies"}
    if table_of(settings, "tool", "poetry", "dependencies") and "dependencies" not in project:
        found = poetry.read_declared(settings, folder, chosen.extras, chosen.groups)
        return found if found.lines or found.projects else None
    if not (project.get("dependencies") or dynamic or chosen.extras or chosen.groups):
        return None
    if not project and not groups:
        return None
    extras = table_of(project, "optional-dependencies")
    if "optional-dependencies" not in dynamic:
        chosen.check(name, extras, groups)
    if dynamic and (flat := read_dynamic(sources, folder, settings, chosen, dynamic)):
        return make(flat, name, folder)
    return Dependencies(
        name,
        folder=folder,
        files=(name,) if project else (),
        groups=tuple(f"{name}:{group}" for group in chosen.groups),
        options=tuple(f"--extra={extra}" for extra in chosen.extras),
        watched=watch_folder(sources, folder) if dynamic else (name,),
    )


def read_dynamic(
    sources: Sources, folder: str, settings: Mapping[str, Any], chosen: Chosen, dynamic: set[str]
) -> Flat | None:
    """Return the requirements that setuptools would read from files; None if only the backend can tell.

    Groups, and what [project] lists itself, are left to uv.
    """
    table = table_of(settings, "tool", "setuptools", "dynamic")
    project = table_of(settings, "project")
    listed = [*project.get("dependencies", ())]
    entries = [table_of(table, "dependencies")] if "dependencies" in dynamic else []
    for extra in chosen.extras:
        inner = table_of(table, "optional-dependencies", extra)
        entries += [inner] if inner else []
        listed += table_of(project, "optional-dependencies").get(extra, ())
    if chosen.groups or not all(entry.get("file") for entry in entries):
        return None
    flats = [read_lines(sources, listed, join(folder, PYPROJECT), folder)]
    for entry in entries:
        files = [entry["file"]] if isinstance(entry["file"], str) else entry["file"]
        flats += [read_requirements(sources, join(folder, file)) for file in files]
    return merge(flats)


def read_setup_cfg(sources: Sources, folder: str, chosen: Chosen) -> Dependencies | None:
    """Return what a setup.cfg lists; None if it lists nothing."""
    name = join(folder, SETUP_CFG)
    if not sources.has(name):
        return None
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(sources.read(name))
    except configparser.Error as error:
        raise UsageError(
            f"cannot read {name}: {str(error).splitlines()[0]}", "fix it, or run with --no-deps"
        ) from error
    extras = dict(parser["options.extras_require"]) if parser.has_section("options.extras_require") else {}
    texts = [parser.get("options", "install_requires", fallback="")]
    if not texts[0].strip() and not (extras and chosen.extras):
        return None
    chosen.check(name, extras, ())
    texts += [text for extra, text in extras.items() if extra in chosen.extras]
    flats = []
    for text in texts:
        if text.strip().startswith("file:"):
            files = text.strip().removeprefix("file:").split(",")
            flats += [read_requirements(sources, join(folder, file.strip())) for file in files]
        else:
            flats.append(read_lines(sources, text.replace(";\n", "\n").splitlines(), name, folder))
    return make(merge(flats), name, folder)


def read_setup_py(sources: Sources, folder: str, chosen: Chosen) -> Dependencies | None:
    """Return what a setup.py lists; if that is computed, the node asks the build backend."""
    name = join(folder, SETUP_PY)
    if not sources.has(name):
        return None
    try:
        tree = ast.parse(sources.read(name))
    except (SyntaxError, ValueError, RecursionError):
        return None  # written for Python 2, or not a setup.py at all
    keywords = find_keywords(tree)
    if keywords is None or ("install_requires" not in keywords and "extras_require" not in keywords):
        return None
    known = find_constants(tree)
    try:
        listed = evaluate(keywords.get("install_requires"), known) or []
        extras = evaluate(keywords.get("extras_require"), known) or {}
        lines = listed.splitlines() if isinstance(listed, str) else [str(line) for line in listed]
        added = {extra: [extras[extra]] if isinstance(extras[extra], str) else [*extras[extra]] for extra in extras}
    except (ValueError, TypeError):
        options = tuple(f"--extra={extra}" for extra in chosen.extras)
        watched = watch_folder(sources, folder)
        return Dependencies(name, folder=folder, files=(name,), options=options, watched=watched)
    chosen.check(name, added, ())
    lines += [line for extra in chosen.extras for line in added.get(extra, ())]
    return make(read_lines(sources, lines, name, folder), name, folder) if lines else None


def find_keywords(tree: ast.Module) -> dict[str, ast.expr] | None:
    """Return the arguments of the call of setup(); None if there is none."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "setup":
            unpacked = next((each.value for each in node.keywords if each.arg is None), None)
            named = {each.arg: each.value for each in node.keywords if each.arg}
            return {"install_requires": unpacked, **named} if unpacked else named
    return None


def find_constants(tree: ast.Module) -> dict[str, Any]:
    """Return the variables of a module that are assigned once, to a constant expression."""
    known: dict[str, Any] = {}
    changed = {
        node.target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name)
    }
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            try:
                value = evaluate(node.value, known)
            except (ValueError, TypeError):
                changed.add(name)
                continue
            changed.update({name} & known.keys())
            known[name] = value
    return {name: value for name, value in known.items() if name not in changed}


def evaluate(node: ast.expr | None, known: Mapping[str, Any]) -> Any:
    """Return the value of an expression of literals, known names and additions; raises ValueError."""
    if node is None:
        return None
    if isinstance(node, ast.Name) and node.id in known:
        return known[node.id]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return evaluate(node.left, known) + evaluate(node.right, known)
    if isinstance(node, ast.Dict) and all(key is not None for key in node.keys):
        return {evaluate(key, known): evaluate(value, known) for key, value in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.List | ast.Tuple) and not any(isinstance(each, ast.Starred) for each in node.elts):
        return [evaluate(each, known) for each in node.elts]
    return ast.literal_eval(node)


def watch_folder(sources: Sources, folder: str) -> tuple[str, ...]:
    """Return the files that a build backend may read a project's requirements from."""
    inside = [join(folder, name) for name in sources.inside(folder) if name.endswith(READ_BY_BACKENDS)]
    further = join(folder, "requirements")
    return (*inside, *(join(further, name) for name in sources.inside(further)))


def table_of(table: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return a table inside tables; {} if it is missing, or not a table."""
    found: Any = table
    for name in names:
        found = found.get(name) if isinstance(found, Mapping) else None
    return dict(found) if isinstance(found, Mapping) else {}


def combine(parts: Sequence[Dependencies]) -> Dependencies:
    """Return the first dependencies with all that the others add to them."""

    def join_all(read: Callable[[Dependencies], tuple[str, ...]]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(each for part in parts for each in read(part)))

    return replace(
        parts[0],
        lines=join_all(lambda part: part.lines),
        constraints=join_all(lambda part: part.constraints),
        files=join_all(lambda part: part.files),
        groups=join_all(lambda part: part.groups),
        options=join_all(lambda part: part.options),
        watched=join_all(lambda part: part.watched),
    )


def merge(flats: Iterable[Flat]) -> Flat:
    """Return several lists as one."""
    whole = Flat()
    for flat in flats:
        for name, part in vars(flat).items():
            getattr(whole, name).extend(part)
    return whole


def make(flat: Flat, name: str, folder: str) -> Dependencies:
    """Return the dependencies that a list of requirements states."""
    return Dependencies(
        name,
        folder=folder,
        lines=tuple(flat.lines),
        constraints=tuple(flat.constraints),
        options=tuple(dict.fromkeys(flat.options)),
        watched=tuple(flat.archives),
        projects=tuple(dict.fromkeys(flat.projects)),
    )
