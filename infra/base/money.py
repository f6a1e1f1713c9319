"""Amounts of money as text, and the price of downloads."""

# https://aws.amazon.com/ec2/pricing/on-demand/#Data_Transfer: to the internet; the first 100 GB a month are free.
USD_PER_GB = 0.09


def format_usd(amount: float) -> str:
    """Return an amount: $1.50, or under $0.01."""
    return "under $0.01" if 0 < amount < 0.01 else f"${amount:.2f}"


def format_rate(amount: float, per: str = "h") -> str:
    """Return a price per hour, or per another unit of time: $0.54/h, $5.00/month."""
    return f"{format_usd(amount)}/{per}"


def transfer_usd(size_bytes: int, usd_per_gb: float = USD_PER_GB) -> float:
    """Return the cost of downloading `size_bytes`, in USD."""
    return size_bytes / 1e9 * usd_per_gb
