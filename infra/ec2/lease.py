"""The lease: a deadline that the machine enforces on itself, armed by the first thing its user data does.

Nothing outside the machine is needed for it to end: no laptop, no server, no credentials. It powers off, and the instance's
shutdown behaviour is "terminate".
"""

import json
from datetime import UTC, datetime

from infra.model import Lease, Offer

DISK_GIB = 100
# USD; the list prices of us-east-1, which other regions exceed by little: https://aws.amazon.com/ebs/pricing/
GP3_GIB_MONTH_USD = 0.08
# https://aws.amazon.com/vpc/pricing/ (public IPv4 addresses)
IPV4_HOUR_USD = 0.005
HOURS_A_MONTH = 730

TIMER = """\
[Unit]
Description=Power off when the gpujob lease ends
[Timer]
OnCalendar={when}
AccuracySec=1s
Persistent=true
Unit=gpujob-lease.service
[Install]
WantedBy=timers.target
"""
SERVICE = """\
[Unit]
Description=Power off: the gpujob lease has ended
[Service]
Type=oneshot
ExecStart=/usr/bin/systemctl poweroff --no-block
"""


def make_lease(offer: Offer, max_hours: float, now: float) -> Lease:
    """Return the lease that ends `max_hours` from now, with the most that machine, disk and address can cost until then."""
    hourly = offer.price_usd + DISK_GIB * GP3_GIB_MONTH_USD / HOURS_A_MONTH + IPV4_HOUR_USD
    return Lease(until=now + max_hours * 3600, most_usd=max_hours * hourly)


def make_user_data(lease: Lease) -> str:
    """Return cloud-config that arms the lease before anything else runs on the machine.

    It runs in `bootcmd`, the earliest stage and at every boot. A timer unit that is written and then started without waiting
    arms at once; `systemd-run --on-active` would block there until the boot is complete, which it never is.
    """
    when = datetime.fromtimestamp(lease.until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    units = "/etc/systemd/system/gpujob-lease"
    commands = [
        ["sh", "-c", f'printf "%s" "$1" > {units}.service', "sh", SERVICE],
        ["sh", "-c", f'printf "%s" "$1" > {units}.timer', "sh", TIMER.format(when=when)],
        ["systemctl", "daemon-reload"],
        ["systemctl", "enable", "gpujob-lease.timer"],
        ["systemctl", "start", "--no-block", "gpujob-lease.timer"],
    ]
    # JSON is YAML, and quotes what needs quoting.
    return "#cloud-config\n" + json.dumps({"bootcmd": commands}, indent=1) + "\n"
