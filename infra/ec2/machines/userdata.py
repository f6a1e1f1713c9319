"""What a machine is told before anything else runs on it: when to power itself off, and what guards it until then."""

import json
from datetime import UTC, datetime

from infra.model import Lease

SERVICE = """\
[Unit]
Description=Power off: the gpujob lease has ended
[Service]
Type=oneshot
ExecStart=/usr/bin/systemctl poweroff --no-block
"""

# At every boot the user data tells the end once more: one that it told before does not undo what was agreed since. A timer unit
# that is written and then started without waiting arms at once; `systemd-run --on-active` would block in bootcmd until
# the boot is complete, which it never is.
LEASE = """\
#!/bin/sh
# The end of the gpujob lease. gpujob-lease: tell it, in seconds since the epoch. gpujob-lease TIME: move it there.
# gpujob-lease --boot TIME: move it there unless that was told at an earlier boot.
timer=/etc/systemd/system/gpujob-lease.timer
told=/etc/systemd/system/gpujob-lease.told
now() { date -u -d "$(sed -n 's/^OnCalendar=//p' $timer)" +%s; }
[ $# -eq 0 ] && { now; exit; }
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
"""

# The agent arrives by SSH once the machine is up; until then this is tried again.
GUARD = """\
[Unit]
Description=gpujob: tell jobs that the lease ends, and end a machine that nothing uses
StartLimitIntervalSec=0
[Service]
User=ubuntu
ExecStart=/bin/sh -c 'exec python3 -I -S ~/.gpujob/agent.pyz guard {idle_s:g} {warning_s:g}'
Restart=always
RestartSec=5
[Install]
WantedBy=multi-user.target
"""

# A laptop that is shut without a word would look like a login for two hours otherwise.
KEEPALIVE = ["net.ipv4.tcp_keepalive_time=60", "net.ipv4.tcp_keepalive_intvl=15", "net.ipv4.tcp_keepalive_probes=4"]


def make_user_data(lease: Lease) -> str:
    """Return cloud-config that arms the lease before anything else runs on the machine.

    It runs in `bootcmd`, the earliest stage and at every boot.
    """
    units, command = "/etc/systemd/system", "/usr/local/sbin/gpujob-lease"
    guard = GUARD.format(idle_s=lease.idle_stop_s, warning_s=lease.warning_s)
    commands = [
        write(f"{units}/gpujob-lease.service", SERVICE),
        write(command, LEASE),
        ["chmod", "755", command],
        [command, "--boot", format_until(lease.until)],
        write(f"{units}/gpujob-guard.service", guard),
        ["systemctl", "daemon-reload"],
        ["systemctl", "enable", "gpujob-guard.service"],
        ["systemctl", "start", "--no-block", "gpujob-guard.service"],
        ["sysctl", "-qw", *KEEPALIVE],
    ]
    # JSON is YAML, and quotes what needs quoting.
    return "#cloud-config\n" + json.dumps({"bootcmd": commands}, indent=1) + "\n"


def write(path: str, text: str) -> list[str]:
    """Return the command that writes a file."""
    return ["sh", "-c", f'printf "%s" "$1" > {path}', "sh", text]


def format_until(until: float) -> str:
    """Return a time as systemd's calendar takes it."""
    return datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
