"""What downloads cost: AWS bills data that leaves it by the gigabyte, beside the machine."""

# https://aws.amazon.com/ec2/pricing/on-demand/#Data_Transfer: to the internet, beyond the first 100 GB a month, which are free.
USD_PER_GB = 0.09


def transfer_usd(size_bytes: int, usd_per_gb: float = USD_PER_GB) -> float:
    """Return what it costs to download so much, in USD."""
    return size_bytes / 1e9 * usd_per_gb
