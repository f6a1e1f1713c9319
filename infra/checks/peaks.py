"""Published peak performance of GPUs in TFLOP/s: dense bfloat16 (half before Ampere) on tensor cores.

Sources: the data sheets of T4 (65), V100 SXM2 (125), A100 (312), L4 (242 with sparsity), L40S (733 with sparsity, 362 without),
H100 and H200 SXM (1979 with sparsity), B200 (HGX B200: 36 PFLOP/s with sparsity for eight), and of the A10G, which only AWS has,
https://www.baseten.co/blog/nvidia-a10-vs-a10g-for-ml-model-inference/ (70). Figures with sparsity are halved.
https://www.nvidia.com/en-us/data-center/h100/ and its siblings; https://docs.nvidia.com/dgx/dgxb200-user-guide/
"""

import re

PEAK_TFLOPS = {
    "T4": 65.0,
    "T4G": 65.0,
    "V100": 125.0,
    "A10G": 70.0,
    "L4": 121.0,
    "L40S": 362.0,
    "A100": 312.0,
    "H100": 989.0,
    "H200": 989.0,
    "B200": 2250.0,
}
# Of the peak; a healthy T4 or L4, limited to 70 W, sustains only about a third of it.
PLAUSIBLE = 0.25


def peak_tflops(name: str) -> float | None:
    """Return a GPU's peak by the driver's name for it; None for an unknown or partial GPU."""
    words = re.split(r"[\s_-]+", name)
    # A part by vGPU profile, as in "NVIDIA L4-3Q", or a slice.
    if any(re.fullmatch(r"\d+[QCAB]|MIG", word) for word in words):
        return None
    return next((PEAK_TFLOPS[word] for word in words if word in PEAK_TFLOPS), None)
