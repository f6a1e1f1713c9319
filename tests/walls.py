"""The walls between the parts, each a function of a tree that names what breaks it; a test plants a breach of each."""

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import vermin

OURS = ("cli", "infra", "jobs")
HOMES = {
    "cli": ("click", "rich"),
    "infra/ec2": ("boto3", "botocore"),
    "infra/ssh": ("paramiko",),
    "infra/local": ("moto", "asyncssh"),
    "jobs": ("torch", "torchvision", "sklearn", "scipy"),
}
AGENT = "infra/node/agent"
# From the lowest up: what stands in a line imports nothing of the lines below it. A package without its own line is not allowed.
LAYERS = tuple(
    """
    infra.node.agent.book
    infra.node.agent infra.node.agent.archive
    infra.node.agent.tasks
    infra.node.agent.snapshot infra.node.agent.environment infra.node.agent.aws
    infra.node.agent.environment.project infra.node.agent.muster
    infra.node.agent.data
    infra.node.agent.outputs
    infra.node.agent.inputs infra.node.agent.bucket
    infra.node.agent.job
    infra.node.agent.array
    infra.node.agent.node
    infra.node.agent.pages
    infra.node.agent.requests
    infra.node.agent.away
    infra.model
    infra
    infra.base
    infra.git infra.results
    infra.project
    infra.dependencies
    infra.ssh
    infra.node
    infra.ec2
    infra.local
    infra.local.machine infra.local.cloud infra.ec2.market infra.ec2.network infra.ec2.scaling
    infra.local.cloud.scaling
    infra.local.cloud.market infra.local.cloud.iam infra.ec2.machines infra.ec2.storage
    infra.local.cloud.machines infra.ledger infra.ec2.capacity infra.saved
    infra.local.cloud.server infra.cluster
    infra.setup
    infra.run.nodes
    infra.launch infra.run
    infra.send
    infra.fetch infra.image infra.checks infra.history
    cli.terminal
    cli.options
    cli.facts
    cli.notices
    cli.reasons cli.uploads
    cli.arrays
    cli.steps
    cli.cluster.launch cli.job.submission
    cli.account cli.cluster cli.completion cli.history cli.image cli.job
    cli.away
    cli
    jobs.errors
    jobs.program
    jobs.config
    jobs.images
    jobs.scores
    jobs.tasks
    jobs.augment jobs.data jobs.optim
    jobs.models
    jobs.look
    jobs.perceptrons jobs.training
    jobs.demo jobs.explain
    jobs
    """.strip().splitlines()
)
MOST_LINES, MOST_LINES_OF_A_FUNCTION, MOST_MODULES, MOST_PARAMETERS = 300, 50, 10, 6
TAGS = "infra/ec2/tags.py"
TAG = re.compile(r"gpujob:[a-z-]+")


def sources(root: Path, *folders: str) -> list[str]:
    """Return every Python file below folders of a tree, named from its root; all of ours unless told which."""
    return [str(path.relative_to(root)) for folder in folders or OURS for path in sorted((root / folder).rglob("*.py"))]


@cache
def walk(text: str) -> tuple[ast.AST, ...]:
    """Return every node of a source; the same text is parsed once."""
    return tuple(ast.walk(ast.parse(text)))


def module_of(name: str) -> str:
    """Return the module that a file is, by its name from the root."""
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def nodes(root: Path, name: str) -> tuple[ast.AST, ...]:
    return walk((root / name).read_text())


def calls(root: Path, name: str) -> Iterator[ast.Call]:
    return (node for node in nodes(root, name) if isinstance(node, ast.Call))


def called(node: ast.Call) -> str:
    """Return the last name of what a call calls; "" where it has none."""
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def is_below(name: str, folder: str) -> bool:
    return name.startswith(f"{folder}/")


def imports(root: Path, name: str) -> frozenset[str]:
    """Every module that a file imports, in functions, for type checks and by name included, relative ones in full."""
    return find_imports((root / name).read_text(), Path(name).parent.parts)


@cache
def find_imports(text: str, package: tuple[str, ...]) -> frozenset[str]:
    found = set()
    for node in walk(text):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*above, *([node.module] if node.module else [])))
            found |= {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
            found |= {word.value for word in node.args[:1] if isinstance(word, ast.Constant)}
    return frozenset(found)


def roots(root: Path, name: str) -> set[str]:
    return {module.split(".")[0] for module in imports(root, name)}


def find_strange_libraries(root: Path) -> list[str]:
    """A library is imported in its own folder only."""
    homes = {library: folder for folder, libraries in HOMES.items() for library in libraries}
    return [
        f"{name} imports {library}"
        for name in sources(root)
        for library in sorted(roots(root, name) & set(homes))
        if not is_below(name, homes[library])
    ]


def find_strange_fabric(root: Path) -> list[str]:
    """Fabric is named in infra/ssh only, for the type checker too; elsewhere a connection is our own, and opaque."""
    found = []
    for name in (one for one in sources(root) if not is_below(one, "infra/ssh")):
        found += [f"{name} imports {one}" for one in sorted(imports(root, name)) if one.split(".")[0] == "fabric"]
        attributes = (node for node in nodes(root, name) if isinstance(node, ast.Attribute))
        inside = (node for node in attributes if ast.unparse(node) in ("connection.login", "connection.transport"))
        found += [f"{name}:{node.lineno} reaches into a connection" for node in inside]
    return found


def find_wrong_directions(root: Path) -> list[str]:
    """Machines know neither the screen nor the training code, which stands alone."""
    strangers = {"infra": {"cli", "jobs"}, "jobs": {"cli", "infra"}}
    return [
        f"{name} imports {other}"
        for folder, others in strangers.items()
        for name in sources(root, folder)
        for other in sorted(roots(root, name) & others)
    ]


def find_upward_imports(root: Path) -> list[str]:
    """Each package imports only itself and what is in a lower layer, in functions and for type checks too."""
    heights = {place: height for height, line in enumerate(LAYERS) for place in line.split()}

    def place_of(module: str) -> str:
        while module and module not in heights:
            module = module.rpartition(".")[0]
        return module

    found = []
    for name in sources(root):
        own = module_of(name)
        here = place_of(own)
        if here != own and here != own.rpartition(".")[0]:
            found.append(f"{name} is in no layer")
            continue
        for module in sorted(imports(root, name)):
            there = place_of(module) if module.split(".")[0] in OURS else here
            if there != here and heights[there] >= heights[here]:
                found.append(f"{name} imports {module}")
    return found


def find_circles(root: Path) -> list[str]:
    """No module imports itself by way of others."""
    files = {module_of(name): name for name in sources(root)}
    after = {
        module: {one if one in files else one.rpartition(".")[0] for one in imports(root, name)} & set(files)
        for module, name in files.items()
    }
    while True:  # what imports nothing that is left is in no circle
        free = {module for module, others in after.items() if not others}
        if not free:
            return [f"{files[module]} is in a circle" for module in sorted(after)]
        after = {module: others - free for module, others in after.items() if module not in free}


def find_shared_commands(root: Path) -> list[str]:
    """A module that declares commands is named in the table of cli/commands.py and imported by nothing else."""
    declaring = {
        name.removesuffix(".py").replace("/", ".")
        for name in sources(root, "cli")
        if name != "cli/main.py" and any(declares_command(node) for node in nodes(root, name))
    }
    return [
        f"{name} imports {module}"
        for name in sources(root)
        for module in sorted(imports(root, name))
        if {module, module.rpartition(".")[0]} & declaring
    ]


def declares_command(node: ast.AST) -> bool:
    """Return whether a node is a function that click makes a command or a group of."""
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    return any(isinstance(one, ast.Call) and called(one) in ("command", "group") for one in decorators)


def find_full_packages(root: Path) -> list[str]:
    """A package has ten modules at most, and says what belongs there."""
    found = []
    for folder in sorted({Path(name).parent for name in sources(root)} - {Path("jobs"), Path("cli")}):
        modules = [path for path in (root / folder).glob("*.py") if path.name != "__init__.py"]
        if len(modules) > MOST_MODULES:
            found.append(f"{folder} has {len(modules)} modules")
        start = root / folder / "__init__.py"
        if not start.exists() or not ast.get_docstring(ast.parse(start.read_text())):
            found.append(f"{folder} does not say what belongs there")
    return found


def find_prints(root: Path) -> list[str]:
    """Only cli and the training programs print."""
    return [
        f"{name}:{node.lineno} prints"
        for name in sources(root, "infra")
        for node in calls(root, name)
        if isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def find_git(root: Path) -> list[str]:
    """Git is started in one place, which shields every call from the settings of the project."""
    lists = (
        (name, node)
        for name in sources(root)
        if not name.startswith("infra/git")
        for node in nodes(root, name)
        if isinstance(node, ast.List | ast.Tuple) and node.elts
    )
    return [f"{name}:{node.lineno} starts git" for name, node in lists if getattr(node.elts[0], "value", "") == "git"]


def find_agent_imports(root: Path) -> list[str]:
    """The agent runs by itself: the standard library, and its own modules by relative imports."""
    found = []
    for name in sources(root, AGENT):
        strange = {one for one in imports(root, name) if not one.startswith(AGENT.replace("/", "."))}
        found += [f"{name} imports {one}" for one in strange if one.split(".")[0] not in sys.stdlib_module_names]
        absolute = (node for node in nodes(root, name) if isinstance(node, ast.ImportFrom) and not node.level)
        found += [f"{name} imports {one.module}" for one in absolute if (one.module or "").startswith("infra")]
    return found


def find_new_python(root: Path) -> list[str]:
    """The agent runs on Python 3.8: syntax, modules, functions and arguments; its annotations are never evaluated."""
    needs = {name: find_need((root / name).read_text()) for name in sources(root, AGENT)}
    return [f"{name} {need}" for name, need in needs.items() if need]


@cache
def find_need(text: str) -> str:
    """Return what keeps a source from running on Python 3.8; "" if nothing does."""
    try:
        ast.parse(text, feature_version=(3, 8))
    except SyntaxError as error:
        return str(error)
    version = vermin.visit(text, vermin.Config()).minimum_versions()[1]
    if version is not None and version > (3, 8):
        return f"needs Python {version[0]}.{version[1]}"
    if any(is_annotated(node) for node in walk(text)) and "annotations" not in future(text):
        return "evaluates its annotations"
    return ""


def future(text: str) -> set[str]:
    imported = (node for node in walk(text) if isinstance(node, ast.ImportFrom) and node.module == "__future__")
    return {alias.name for node in imported for alias in node.names}


def is_annotated(node: ast.AST) -> bool:
    return bool(getattr(node, "annotation", None) or getattr(node, "returns", None))


def find_early_local_cloud(root: Path) -> list[str]:
    """The local cloud is imported only when it is asked for: nowhere at the top of a module outside it."""
    return [
        f"{name} imports {module}"
        for name in sources(root, "cli", "infra")
        if not is_below(name, "infra/local")
        for node in ast.parse((root / name).read_text()).body
        for module in imported_by(node)
        if module.startswith("infra.local")
    ]


def imported_by(node: ast.stmt) -> list[str]:
    """Return the modules that a statement at the top of a module imports when the module is loaded."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    below = [*getattr(node, "body", []), *getattr(node, "orelse", [])] if isinstance(node, ast.If | ast.Try) else []
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return []
    return [module for one in below for module in imported_by(one)]


def find_unpackaged(root: Path) -> list[str]:
    """Every folder with code is listed in pyproject.toml, and nothing else is."""
    settings: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {str(Path(name).parent) for name in sources(root)} | {"ansible", "lesson"}
    packages = {f"gpujob.{folder.replace('/', '.')}" for folder in folders}
    return sorted(set(settings["packages"]) ^ packages)


def find_hidden_ansible(root: Path) -> list[str]:
    """The playbook's folder is no package: it would hide the one that is called ansible."""
    return [str(path.relative_to(root)) for path in (root / "ansible").rglob("__init__.py")]


def find_long_files(root: Path) -> list[str]:
    """Files stay short."""
    lines = {name: len((root / name).read_text().splitlines()) for name in sources(root)}
    return [f"{name} has {count} lines" for name, count in lines.items() if count > MOST_LINES]


def functions(root: Path, *folders: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield every function below folders of a tree, each with its file."""
    for name in sources(root, *folders):
        for node in nodes(root, name):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield name, node


def find_long_functions(root: Path) -> list[str]:
    """Functions stay short."""
    return [
        f"{name}: {node.name}"
        for name, node in functions(root)
        if (node.end_lineno or 0) - node.lineno >= MOST_LINES_OF_A_FUNCTION
    ]


def find_many_parameters(root: Path) -> list[str]:
    """Functions take six parameters at most, `self` not counted; a command of click takes one for each option."""
    return [
        f"{name}: {node.name} takes {count_parameters(node)} parameters"
        for name, node in functions(root)
        if count_parameters(node) > MOST_PARAMETERS and not is_command(node)
    ]


def count_parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    given = node.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    return len([each for each in named if each.arg not in ("self", "cls")])


def is_command(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    made_by = (decorator for decorator in node.decorator_list if isinstance(decorator, ast.Call))
    return any(called(decorator) in ("command", "group") for decorator in made_by)


def find_tag_names(root: Path) -> list[str]:
    """The names of tags stand in one module."""
    constants = (
        (name, n) for name in sources(root) if name != TAGS for n in nodes(root, name) if isinstance(n, ast.Constant)
    )
    return [f"{name}:{n.lineno} writes {n.value}" for name, n in constants if TAG.fullmatch(str(n.value))]


def find_unformatted(root: Path) -> list[str]:
    """No code is kept from the formatter to save lines."""
    return [
        f"{name} has code that is not formatted" for name in sources(root) if skips_format((root / name).read_text())
    ]


@cache
def skips_format(text: str) -> bool:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return any(one.type == tokenize.COMMENT and re.match(r"#\s*fmt:\s*(skip|off)", one.string) for one in tokens)


WALLS: dict[str, Callable[[Path], list[str]]] = {
    "libraries": find_strange_libraries,
    "fabric": find_strange_fabric,
    "directions": find_wrong_directions,
    "layers": find_upward_imports,
    "circles": find_circles,
    "commands": find_shared_commands,
    "rooms": find_full_packages,
    "prints": find_prints,
    "git": find_git,
    "agent imports": find_agent_imports,
    "python 3.8": find_new_python,
    "local cloud": find_early_local_cloud,
    "packages": find_unpackaged,
    "ansible": find_hidden_ansible,
    "files": find_long_files,
    "functions": find_long_functions,
    "parameters": find_many_parameters,
    "tags": find_tag_names,
    "format": find_unformatted,
}
