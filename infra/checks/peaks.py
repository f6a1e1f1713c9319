"""What GPUs can do at most, as NVIDIA publishes it: dense products of bfloat16 (half before Ampere) on tensor cores, in TFLOP/s.

Sources: the data sheets of T4 (65), V100 SXM2 (125), A100 (312), L4 (242 with sparsity), L40S (733 with sparsity, 362 without),
H100 and H200 SXM (1979 with sparsity), B200 (HGX B200: 36 PFLOP/s with sparsity for eight), and of the A10G, AWS's own,
https://www.baseten.co/blog/nvidia-a10-vs-a10g-for-ml-model-inference/ (70). Where sparsity was counted, half of it.
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
# Of the peak; a healthy T4 or L4, held to 70 W, may reach no more than a third of it for long.
PLAUSIBLE = 0.25


def peak_tflops(name: str) -> float | None:
    """Return the peak of a GPU by the name that its driver gives it; None for one that is not known, or a part of one."""
    words = re.split(r"[\s_-]+", name)
    # A share by vGPU profile, as in "NVIDIA L4-3Q", or a slice.
    if any(re.fullmatch(r"\d+[QCAB]|MIG", word) for word in words):
        return None
    return next((PEAK_TFLOPS[word] for word in words if word in PEAK_TFLOPS), None)
