"""Which packages a script or notebook imports that no manifest names."""

import ast
import json
import re
import sys
from collections.abc import Iterator

from infra.dependencies.names import package_of
from infra.dependencies.search import find_script
from infra.dependencies.sources import Sources
from infra.errors import UsageError
from infra.model import Request
from infra.project.files import Project

IN_IMAGES = frozenset({"torch", "torchvision", "torchaudio", "numpy", "IPython", "ipywidgets"})
"""Modules that images for training have."""
MOST_BYTES = 20_000_000  # of a notebook with its outputs
INSTALLED = re.compile(r"^\s*[!%](?:pip3?|uv pip|python3? -m pip)\s+install\s+(.+)$", re.MULTILINE)
OTHER_LANGUAGE = re.compile(r"%%(?!time\b|timeit\b|capture\b)")
MAGIC = re.compile(r"^(\s*)[!%?].*$", re.MULTILINE)
NAME = re.compile(r"[\w.-]+")


def find_imports(project: Project, request: Request) -> tuple[str, tuple[str, ...]]:
    """Return the script or notebook that a job runs, and the packages it imports; ("", ()) if it runs none.

    What comes with Python, the project or an image is left out, as is what the notebook itself installs.
    """
    sizes = {file.path: file.size_bytes for file in project.files}
    sources = Sources(project.root, frozenset(sizes))
    script = find_script(sources, project.workdir, request.command)
    if not script or sizes[script] > MOST_BYTES:
        return "", ()
    try:
        text = sources.read(script)
    except UsageError:  # it is only for information, and the job has been accepted
        return "", ()
    code, installed = read_cells(text) if script.endswith(".ipynb") else (text, frozenset())
    own = {part.removesuffix(".py") for name in sources.names for part in name.split("/")}
    known = sys.stdlib_module_names | IN_IMAGES | own
    packages = {package_of(module) for module in list_modules(code) if module.split(".")[0] not in known}
    return script, tuple(sorted(packages - installed))


def list_modules(code: str) -> Iterator[str]:
    """Yield the modules that code imports, except those it can do without; none from invalid code."""
    try:
        waiting: list[ast.AST] = [ast.parse(code)]
    except (SyntaxError, ValueError, RecursionError):
        return
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
        elif not isinstance(node, ast.Try):
            waiting += ast.iter_child_nodes(node)


def read_cells(text: str) -> tuple[str, frozenset[str]]:
    """Return a notebook's Python code, without IPython's own syntax, and the packages that it installs."""
    try:
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        sources = ["".join(cell["source"]) for cell in cells]
    except (ValueError, LookupError, TypeError, RecursionError):
        return "", frozenset()
    named = (word for source in sources for line in INSTALLED.findall(source) for word in line.split())
    installed = frozenset(found[0].lower() for word in named if (found := NAME.match(word.strip("\"'"))))
    code = (MAGIC.sub(r"\1pass", source) for source in sources if not OTHER_LANGUAGE.match(source))
    return "\n".join(code), installed
