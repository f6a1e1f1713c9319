"""A job could not find a program: which package has it, and where to install that."""

import re
import shlex

from cli.reasons.failure import Failure
from cli.reasons.modules import used_manifest
from infra.dependencies.names import describe_addition

NOT_FOUND = 127  # the exit code of a shell, and of gpujob, for a program that does not exist
OF_MAKE = re.compile(r"^make(?:\[\d+\])?: \*\*\* .* Error 127$", re.MULTILINE)
NAME = r"[\"'`\u2018]?([\w.+/-]{1,200})[\"'\u2019]?"
MISSING = (
    re.compile(rf"^gpujob: cannot run {NAME}: No such file or directory$", re.MULTILINE),
    re.compile(rf"^\S+: (?:line )?\d+: {NAME}: (?:command )?not found$", re.MULTILINE),
    re.compile(
        rf"^(?:make(?:\[\d+\])?|(?:/usr/bin/)?env|nohup|time|xargs): {NAME}: No such file or directory$", re.MULTILINE
    ),
)
# Packages of Python that have a program of another name.
OF_PYTHON = {
    "accelerate": "accelerate",
    "composer": "mosaicml",
    "deepspeed": "deepspeed",
    "dvc": "dvc",
    "gdown": "gdown",
    "huggingface-cli": "huggingface_hub",
    "hf": "huggingface_hub",
    "ipython": "ipython",
    "jupyter": "jupyter",
    "kaggle": "kaggle",
    "lightning": "lightning",
    "mlflow": "mlflow",
    "nbdev_test": "nbdev",
    "papermill": "papermill",
    "pytest": "pytest",
    "ray": "ray",
    "streamlit": "streamlit",
    "tensorboard": "tensorboard",
    "torchrun": "torch",
    "vllm": "vllm",
    "wandb": "wandb",
    "yolo": "ultralytics",
}
# Ubuntu's packages, for programs that may be missing from its server images.
OF_UBUNTU = {
    "Rscript": "r-base-core",
    "R": "r-base-core",
    "aria2c": "aria2",
    "cmake": "cmake",
    "convert": "imagemagick",
    "ffmpeg": "ffmpeg",
    "g++": "g++",
    "gcc": "gcc",
    "git": "git",
    "git-lfs": "git-lfs",
    "java": "default-jre-headless",
    "julia": "julia",
    "make": "make",
    "mpirun": "openmpi-bin",
    "ninja": "ninja-build",
    "node": "nodejs",
    "npm": "npm",
    "p7zip": "p7zip",
    "parallel": "parallel",
    "rsync": "rsync",
    "sox": "sox",
    "tesseract": "tesseract-ocr",
    "tmux": "tmux",
    "tree": "tree",
    "unrar": "unrar-free",
    "unzip": "unzip",
    "wget": "wget",
    "zip": "zip",
}


def explain(failure: Failure) -> str:
    """Return how to get the missing program; "" if this is not the reason."""
    if failure.job.exit_code != NOT_FOUND and not OF_MAKE.search(failure.log):
        return ""
    found = [match for pattern in MISSING for match in pattern.finditer(failure.log)]
    if not found:
        return ""
    name = max(found, key=lambda match: match.start())[1]
    if "/" in name:
        return ""  # the message says all that there is to say
    if package := OF_PYTHON.get(name):
        manifest = str(failure.job.source.get("manifest") or "")
        return f"'{name}' is not installed ({used_manifest(failure.job)})\n  {describe_addition(package, manifest)}"
    return describe_absence(failure, name)


def describe_absence(failure: Failure, name: str) -> str:
    """Return that the machine has no program of this name, and how to install it."""
    cluster = failure.cluster
    if cluster.is_local:
        return f"the local cloud runs this computer's programs, and '{name}' is not installed here"
    package = OF_UBUNTU.get(name)
    if package is None:
        return f"the machine has no program '{name}', nor is it one of the project or its dependencies"
    install = f"sudo apt-get update && sudo apt-get install -y {package}"
    return (
        f"'{name}' is not installed on the machine\n  Install it: gpujob ssh {cluster.name} -- {shlex.quote(install)}"
    )
