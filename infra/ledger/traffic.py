"""Cost of downloads: AWS bills outgoing data per gigabyte, in addition to the machine."""

# https://aws.amazon.com/ec2/pricing/on-demand/#Data_Transfer: to the internet; the first 100 GB a month are free.
USD_PER_GB = 0.09


def transfer_usd(size_bytes: int, usd_per_gb: float = USD_PER_GB) -> float:
    """Return the cost of downloading `size_bytes`, in USD."""
    return size_bytes / 1e9 * usd_per_gb
