"""Format amounts of money: $9.22, under $0.01, $0.54/h."""


def format_usd(amount: float) -> str:
    """Return an amount: $1.50, or under $0.01."""
    return "under $0.01" if 0 < amount < 0.01 else f"${amount:.2f}"


def format_rate(amount: float, per: str = "h") -> str:
    """Return a price per hour, or per another unit of time: $0.54/h, $5.00/month."""
    return f"{format_usd(amount)}/{per}"
