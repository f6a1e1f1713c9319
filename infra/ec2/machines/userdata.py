"""User data: when a machine powers itself off, and the guard that watches it until then."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from infra.model import LOGIN_USER, Lease

UNITS, COMMAND = "/etc/systemd/system", "/usr/local/sbin/gpujob-lease"
SERVICE = """\
[Unit]
Description=Power off: the gpujob lease has ended
[Service]
Type=oneshot
ExecStart=/usr/bin/systemctl poweroff --no-block
"""

# User data sets the end at every boot; a value applied at an earlier boot must not undo a later extension. A timer unit that is
# written and then started without waiting is armed at once; `systemd-run --on-active` would block in bootcmd until the boot is
# complete, which would never happen.
LEASE = """\
#!/bin/sh
# The end of the gpujob lease. gpujob-lease: print it, in seconds since the epoch. gpujob-lease TIME: set it.
# gpujob-lease --boot TIME: set it unless the same TIME was set at an earlier boot.
# It prints nothing unless the timer is active. A timer whose time is past when the machine boots need not fire.
timer=/etc/systemd/system/gpujob-lease.timer
told=/etc/systemd/system/gpujob-lease.told
now() { date -u -d "$(sed -n 's/^OnCalendar=//p' $timer)" +%s; }
[ $# -eq 0 ] && { systemctl is-active --quiet gpujob-lease.timer && now; exit; }
if [ "$1" = --boot ] && [ -e $timer ] && [ "$(cat $told)" = "$2" ]; then
  until=$(now)
elif [ "$1" = --boot ]; then
  until=$(date -u -d "$2" +%s) || exit 1
  echo "$2" > $told
else
  until=$(date -u -d "$1" +%s) || exit 1
fi
cat > $timer.new <<END
[Unit]
Description=Power off when the gpujob lease ends
[Timer]
OnCalendar=$(date -u -d "@$until" '+%Y-%m-%d %H:%M:%S UTC')
AccuracySec=1s
Persistent=true
Unit=gpujob-lease.service
[Install]
WantedBy=timers.target
END
mv $timer.new $timer
systemctl daemon-reload
systemctl enable gpujob-lease.timer
systemctl restart --no-block gpujob-lease.timer
[ "$until" -gt "$(date +%s)" ] || systemctl poweroff --no-block
"""

# The agent is uploaded by SSH once the machine is up; until then this is retried.
GUARD = """\
[Unit]
Description=gpujob: notify jobs before the lease ends, and power off an idle machine
StartLimitIntervalSec=0
[Service]
User={user}
ExecStart=/bin/sh -c 'exec python3 -I -S ~/.gpujob/agent.pyz guard {idle_s:g} {warning_s:g}'
Restart=always
RestartSec=5
[Install]
WantedBy=multi-user.target
"""

# Only on machines of a sent job. A restart leaves the job's processes alone; the agent finds them again.
SENT = """\
[Unit]
Description=gpujob: work on the sent job
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0
[Service]
User={user}
EnvironmentFile=-/etc/environment
TimeoutStartSec=infinity
ExecStartPre=/usr/bin/python3 -I -S {boot} {settings}
ExecStart=/bin/sh -c 'exec python3 -I -S ~/.gpujob/agent.pyz away'
KillMode=process
Restart=always
RestartSec=5
[Install]
WantedBy=multi-user.target
"""
BOOT_FILE, SETTINGS_FILE = "/usr/local/lib/gpujob-boot.pyz", "/etc/gpujob-sent.json"

# Otherwise a laptop that is suddenly shut would count as a login for two hours.
KEEPALIVE = ["net.ipv4.tcp_keepalive_time=60", "net.ipv4.tcp_keepalive_intvl=15", "net.ipv4.tcp_keepalive_probes=4"]


def list_lease_files(lease: Lease, user: str = LOGIN_USER) -> list[tuple[str, str, str]]:
    """Return path, mode and content of the files with which a machine ends itself."""
    guard = GUARD.format(user=user, idle_s=lease.idle_stop_s, warning_s=lease.warning_s)
    return [
        (f"{UNITS}/gpujob-lease.service", "644", SERVICE),
        (COMMAND, "755", LEASE),
        (f"{UNITS}/gpujob-guard.service", "644", guard),
    ]


@dataclass(frozen=True)
class Sent:
    """What a machine of a sent job starts with: a program that fetches the agent, and its settings."""

    boot: bytes
    settings: Mapping[str, Any]


def make_user_data(lease: Lease, user: str = LOGIN_USER, sent: Sent | None = None) -> str:
    """Return the cloud-config that arms the lease before anything else runs on the machine.

    It runs in `bootcmd`, the earliest stage and at every boot. A machine of a `sent` job then starts to work on it.
    """
    service, command, guard = (write(path, text) for path, _, text in list_lease_files(lease, user))
    commands = [
        service,
        command,
        ["chmod", "755", COMMAND],
        [COMMAND, "--boot", format_until(lease.until)],
        guard,
        ["systemctl", "daemon-reload"],
        ["systemctl", "enable", "gpujob-guard.service"],
        ["systemctl", "start", "--no-block", "gpujob-guard.service"],
        ["sysctl", "-qw", *KEEPALIVE],
        *(start_sent(sent, user) if sent else ()),
    ]
    # JSON is YAML with all the quoting that it needs.
    return "#cloud-config\n" + json.dumps({"bootcmd": commands}, indent=1) + "\n"


def move_lease(text: str, until: float) -> str:
    """Return our user data with another end of the lease."""
    head, _, config = text.partition("\n")
    end = [COMMAND, "--boot", format_until(until)]
    commands = [end if one[:2] == end[:2] else one for one in json.loads(config)["bootcmd"]]
    return f"{head}\n" + json.dumps({"bootcmd": commands}, indent=1) + "\n"


def start_sent(sent: Sent, user: str) -> list[list[str]]:
    """Return the commands that let a machine work on a sent job."""
    unit = SENT.format(user=user, boot=BOOT_FILE, settings=SETTINGS_FILE)
    encoded = base64.b64encode(sent.boot).decode()
    return [
        ["sh", "-c", f'printf "%s" "$1" | base64 -d > {BOOT_FILE}', "sh", encoded],
        write(SETTINGS_FILE, json.dumps(sent.settings)),
        write(f"{UNITS}/gpujob-sent.service", unit),
        ["systemctl", "daemon-reload"],
        ["systemctl", "enable", "gpujob-sent.service"],
        ["systemctl", "start", "--no-block", "gpujob-sent.service"],
    ]


def write(path: str, text: str) -> list[str]:
    """Return the command that writes a file."""
    return ["sh", "-c", f'printf "%s" "$1" > {path}', "sh", text]


def format_until(until: float) -> str:
    """Return a time in the format of systemd's calendar."""
    return datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
