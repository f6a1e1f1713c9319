"""Read an environment.yml: for conda if the machine has it, otherwise for PyPI as far as possible."""

import re
from typing import Any

import yaml

from infra.dependencies.pyproject import make
from infra.dependencies.requirements import read_lines
from infra.dependencies.sources import Sources, join
from infra.errors import UsageError
from infra.model.dependencies import Dependencies

NAMES = ("environment.yml", "environment.yaml", "conda_env.yaml", "conda_env.yml", "conda.yaml", "conda.yml")
# Packages with different names on conda and PyPI.
RENAMED = {
    "dask-core": "dask",
    "matplotlib-base": "matplotlib",
    "msgpack-python": "msgpack",
    "opencv": "opencv-python",
    "pillow-simd": "pillow",
    "py-opencv": "opencv-python",
    "py-xgboost": "xgboost",
    "pytables": "tables",
    "pytorch": "torch",
    "pytorch-gpu": "torch",
    "seaborn-base": "seaborn",
    "tensorboardx": "tensorboardX",
    "tensorflow-gpu": "tensorflow",
}
# The same project under the same name on conda and PyPI; any other name may be someone else's on PyPI.
NAMED_ALIKE = """
    absl-py accelerate aiohttp albumentations altair attrs beautifulsoup4 black bokeh boto3 catboost click
    cloudpickle cython dask datasets deepspeed diffusers dill einops faiss-cpu fastai fastapi fastcore flake8 flask
    fsspec gensim geopandas gradio gym gymnasium h5py huggingface_hub hydra-core hyperopt imageio imgaug ipykernel
    ipython ipywidgets isort jax jaxlib jinja2 joblib jsonschema jupyter jupyterlab keras kornia librosa lightgbm
    lightning lxml matplotlib mlflow monai mpmath mypy nbconvert nbformat networkx nibabel nltk notebook numba
    numexpr numpy omegaconf onnx onnxruntime openpyxl optuna packaging pandas pillow plotly polars protobuf psutil
    pyarrow pydantic pydicom pydub pymongo pyproj pytest pytest-cov python-dateutil python-dotenv pytorch-lightning
    pytz pywavelets pyyaml ray regex requests rich safetensors scikit-image scikit-learn scipy seaborn sentencepiece
    shapely six soundfile spacy sqlalchemy statsmodels sympy tabulate tenacity tensorboard tensorflow threadpoolctl
    tifffile timm tokenizers tomli toolz torchaudio torchmetrics torchvision tornado tqdm transformers typer
    typing-extensions ujson umap-learn urllib3 wandb xarray xgboost xlrd yacs zarr
"""
SAME = frozenset(NAMED_ALIKE.split())
# Conda packages that PyPI's packages contain, or that a machine with Python and a GPU driver has.
OF_MACHINE = re.compile(
    r"python|pip|setuptools|wheel|conda|_.*|lib.*|ca-certificates|certifi|openssl|mkl.*|blas|cuda.*|cudnn|nccl|"
    r"pytorch-cuda|pytorch-mutex|ncurses|readline|sqlite|tk|xz|zlib|bzip2|ld_impl_.*|intel-openmp|nodejs|gcc.*|gxx.*"
)
ENTRY = re.compile(r"(?:[\w./-]+::)?([A-Za-z0-9_][\w.-]*)\s*(?:\[[^\]]*\])?\s*([<>=!~].*|\d.*)?")


def read_conda(sources: Sources, folder: str) -> Dependencies | None:
    """Return what an environment file lists; None if there is none. Raises UsageError if it is invalid."""
    name = next((join(folder, each) for each in NAMES if sources.has(join(folder, each))), None)
    if name is None:
        return None
    try:
        listed = (yaml.safe_load(sources.read(name)) or {}).get("dependencies") or []
    except (yaml.YAMLError, AttributeError) as error:
        raise UsageError(f"{name} is not a valid environment file", "fix it, or run with --no-deps") from error
    lines, unknown = translate(listed)
    pip = [str(line) for each in listed if isinstance(each, dict) for line in each.get("pip") or ()]
    found = make(read_lines(sources, [*lines, *pip], name, folder), name, folder)
    notes = [f"{name} needs conda; where the machine has none, what PyPI has under the same name is installed"]
    notes += [f"not installed without conda: {', '.join(unknown)}"] if unknown else []
    return Dependencies(**{**vars(found), "kind": "conda", "watched": (*found.watched, name), "notes": tuple(notes)})


def translate(listed: list[Any]) -> tuple[list[str], list[str]]:
    """Return conda's packages as requirements, and the names that are not known to be the same on PyPI."""
    lines, unknown = [], []
    for text in (each for each in listed if isinstance(each, str)):
        found = ENTRY.fullmatch(text.strip())
        name = found[1].lower() if found else text
        name = RENAMED.get(name, name)
        if found and (name in SAME or name in RENAMED.values()):
            lines.append(name + as_specifier(found[2] or ""))
        elif not OF_MACHINE.fullmatch(name):
            unknown.append(name)
    return lines, unknown


def as_specifier(text: str) -> str:
    """Return conda's constraint in PEP 440 form: =1.2 is ==1.2.*, and =1.2=build the version 1.2."""
    text = text.strip()
    if re.match(r"\d", text):  # "numpy 1.21", an older way to write it
        text = f"={text.split()[0]}"
    exact = re.fullmatch(r"=([\w.*]+)=[\w.*]+", text)
    if exact:
        return f"=={exact[1]}"
    loose = re.fullmatch(r"=\s*([\w.]+?)(?:\.?\*)?", text)
    if loose:
        return f"=={loose[1]}.*"
    return "" if "|" in text else text.replace(" ", "")
