"""A job needed a GPU where there is none: on the local cloud, or on a machine without one."""

import re

from cli.reasons.failure import Failure

# Errors only: TensorFlow and JAX also warn about a missing GPU and continue without it.
NO_GPU = re.compile(
    r"Found no NVIDIA driver|NVIDIA driver on your system is too old|not compiled with CUDA enabled"
    r"|No CUDA GPUs are available|no CUDA-capable device|CUDA driver version is insufficient"
    r"|Cannot access accelerator device when none is available|torch\.cuda\.is_available\(\) is False"
    r"|(?:unknown|satisfy) device.*(?:GPU|gpu)|/device:GPU:\d+ unknown device|GPU device not found"
    r"|Unknown backend:? '?(?:gpu|cuda)|RuntimeError: Unable to initialize backend '(?:gpu|cuda)'"
    r"|libcuda\.so[.\d]*: cannot open|cudaError(?:NoDevice|InsufficientDriver)|NVIDIA-SMI has failed"
    r"|nvidia-smi: (?:command )?not found|cannot run nvidia-smi|setup doesn't support bf16/gpu"
)


def explain(failure: Failure) -> str:
    """Return that the machine has no GPU; "" if it has one, or the job did not ask for it."""
    cluster = failure.cluster
    if failure.job.driver or not NO_GPU.search(failure.log):
        return ""
    if cluster.gpu is None:
        where = f" ({cluster.node.instance_type})"
        return f"'{cluster.name}' has no GPU{where}. Launch a machine that has one: gpujob up --gpu T4 NAME"
    if not cluster.is_local:
        return ""
    return f"the local cloud has no GPU; on AWS this would run on {an(str(cluster.gpu))}. Here it must run on the CPU"


def an(name: str) -> str:
    """Return the name of a GPU with its article: a T4, an L4, an A100; several as H100:8."""
    return name if ":" in name else f"{'an' if re.match('[AFHLMNRSX]', name) else 'a'} {name}"
