"""Which package provides a module, where their names differ, and how to add it to a manifest."""

import posixpath

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
