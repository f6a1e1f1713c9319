"""What a script imports, which package provides a module, and how to add it to a manifest."""

import ast
import json
import posixpath
import re
import sys
from collections.abc import Iterator

from infra.dependencies.search import find_script
from infra.dependencies.sources import Sources
from infra.errors import UsageError
from infra.model import Request
from infra.project.files import Project

# Common modules; any other is assumed to come from a package of the same name.
PACKAGES = {
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "Bio": "biopython",
    "clip": "git+https://github.com/openai/CLIP.git",
    "Crypto": "pycryptodome",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "distutils": "setuptools",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "faiss": "faiss-cpu",
    "fitz": "pymupdf",
    "git": "gitpython",
    "google.protobuf": "protobuf",
    "hydra": "hydra-core",
    "IPython": "ipython",
    "jwt": "pyjwt",
    "kaggle_environments": "kaggle-environments",
    "Levenshtein": "levenshtein",
    "magic": "python-magic",
    "mpl_toolkits": "matplotlib",
    "MySQLdb": "mysqlclient",
    "OpenGL": "pyopengl",
    "OpenSSL": "pyopenssl",
    "PIL": "pillow",
    "pkg_resources": "setuptools<81",
    "pl_bolts": "lightning-bolts",
    "pptx": "python-pptx",
    "psycopg2": "psycopg2-binary",
    "pycocotools": "pycocotools",
    "pytorch_lightning": "pytorch-lightning",
    "pywt": "pywavelets",
    "rest_framework": "djangorestframework",
    "segmentation_models_pytorch": "segmentation-models-pytorch",
    "sentence_transformers": "sentence-transformers",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "skopt": "scikit-optimize",
    "slugify": "python-slugify",
    "socks": "pysocks",
    "telegram": "python-telegram-bot",
    "tensorboard_logger": "tensorboard-logger",
    "tensorboardX": "tensorboardX",
    "umap": "umap-learn",
    "usb": "pyusb",
    "websocket": "websocket-client",
    "wx": "wxpython",
    "yaml": "pyyaml",
    "zmq": "pyzmq",
}
# How to add a package, by the name of the manifest. Any other manifest is a requirements file or a script.
ADDING = {
    "": "create requirements.txt with this line: {package}",
    "uv.lock": "uv add '{package}'",
    "poetry.lock": "poetry add '{package}'",
    "pdm.lock": "pdm add '{package}'",
    "Pipfile.lock": "pipenv install '{package}'",
    "Pipfile": "pipenv install '{package}'",
    "pyproject.toml": 'add "{package}" to the dependencies in {manifest}',
    "setup.py": 'add "{package}" to install_requires in {manifest}',
    "setup.cfg": "add {package} to install_requires in {manifest}",
}
IN_IMAGES = frozenset({"torch", "torchvision", "torchaudio", "numpy", "IPython", "ipywidgets"})
"""Modules that images for training have."""
MOST_BYTES = 20_000_000  # of a notebook with its outputs
INSTALLED = re.compile(r"^\s*[!%](?:pip3?|uv pip|python3? -m pip)\s+install\s+(.+)$", re.MULTILINE)
OTHER_LANGUAGE = re.compile(r"%%(?!time\b|timeit\b|capture\b)")
MAGIC = re.compile(r"^(\s*)[!%?].*$", re.MULTILINE)
NAME = re.compile(r"[\w.-]+")


def package_of(module: str) -> str:
    """Return the package that provides a module, as a requirement."""
    parts = module.split(".")
    names = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((PACKAGES[name] for name in names if name in PACKAGES), parts[0].replace("_", "-"))


def describe_addition(module: str, manifest: str) -> str:
    """Return how to add the package of a module to a manifest."""
    package, name = package_of(module), posixpath.basename(manifest)
    if name.endswith((".yml", ".yaml")):
        return f"add '- {package}' to the pip section of {manifest}"
    if name.endswith(".py") and name not in ADDING:
        return f'add "{package}" to the dependencies at the top of {manifest}'
    return ADDING.get(name, "add this line to {manifest}: {package}").format(package=package, manifest=manifest)


def find_imports(project: Project, request: Request) -> tuple[str, tuple[str, ...]]:
    """Return the script or notebook of a job, and the packages it imports; ("", ()) without one.

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
