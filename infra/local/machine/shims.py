"""Replacements for a few system commands, so that nothing on a host can reach the real machine's.

Power-off, reboot and the lease go to the host through a named pipe, one line each: `off DELAY_S`,
`reboot DELAY_S`, `cancel`, `lease EPOCH_S`. A pipe, because the path of a Unix socket must be short.
"""

from pathlib import Path
from shlex import quote

SUDO = """
while [ $# -gt 0 ]; do
  case "$1" in
    -u|-g|-U|-C|-h|-p|-r|-t|-T|-D|--user|--group) shift 2 ;;
    -v|-k|-K|--validate) exit 0 ;;
    -l|--list) echo "(ALL) NOPASSWD: ALL"; exit 0 ;;
    -i|-s|--login|--shell) shell=1; shift ;;
    --) shift; break ;;
    -*) shift ;;
    [A-Za-z_]*=*) export "$1"; shift ;;
    *) break ;;
  esac
done
if [ $# -eq 0 ]; then [ -n "$shell" ] && exec "${SHELL:-/bin/sh}"; echo "sudo: no command given" >&2; exit 1; fi
# Shims take precedence even over full paths.
name=${1##*/}
if [ -x "$BIN/$name" ] && [ "$name" != sudo ]; then shift; exec "$BIN/$name" "$@"; fi
exec "$@"
"""

SHUTDOWN = """
kind=off when=
while [ $# -gt 0 ]; do
  case "$1" in
    -c) echo cancel > "$PIPE"; exit 0 ;;
    -r|--reboot) kind=reboot ;;
    -h|-P|-H|--poweroff|--halt|--no-wall) ;;
    -t) shift ;;
    -*) echo "shutdown: the local cloud does not support $1" >&2; exit 1 ;;
    *) [ -z "$when" ] && when=$1 ;;
  esac
  shift
done
case "${when:=+1}" in
  now) delay=0 ;;
  +|+*[!0-9]*) echo "shutdown: invalid time $when" >&2; exit 1 ;;
  +*) delay=$(expr "${when#+}" '*' 60) ;;
  *) echo "shutdown: the local cloud supports now and +MINUTES, not $when" >&2; exit 1 ;;
esac
echo "$kind $delay" > "$PIPE"
"""

SYSTEMCTL = """
for word in "$@"; do
  case "$word" in
    gpujob-guard.service) exit 0 ;;  # the host starts it from the user data
    is-system-running) [ -e "$BIN/../stopping" ] && echo stopping && exit 1; echo running; exit 0 ;;
    poweroff|halt) echo "off 0" > "$PIPE"; exit 0 ;;
    reboot|kexec|soft-reboot) echo "reboot 0" > "$PIPE"; exit 0 ;;
  esac
done
echo "systemctl: the local cloud has no systemd" >&2
exit 1
"""

INIT = """
case "$1" in
  0) echo "off 0" > "$PIPE" ;;
  6) echo "reboot 0" > "$PIPE" ;;
  *) echo "init: the local cloud has no runlevels" >&2; exit 1 ;;
esac
"""

LEASE = """
[ $# -eq 0 ] && exec cat "$BIN/../lease"
until=$(date -u -d "${1% UTC} UTC" +%s) || exit 1
echo "lease $until" > "$PIPE"
"""

# `up` may install the lease and the guard, which are files of the real machine's system.
INSTALL = """
for word in "$@"; do last=$word; done
case "$last" in
  /usr/local/sbin/gpujob-lease)
    cat > /dev/null
    [ -e "$BIN/../lease-command" ] || { echo "install: cannot create '$last': Read-only file system" >&2; exit 1; }
    cp "$BIN/../lease-command" "$BIN/gpujob-lease"; exit ;;
  /etc/systemd/system/gpujob-*) cat > /dev/null; exit 0 ;;
esac
exec /usr/bin/install "$@"
"""

# After a cleaning, the machine boots as if for the first time and generates a new host key.
CLOUD_INIT = """
case "$1" in
  status) [ -e "$BIN/../unfinished" ] && sleep 3600; echo "status: done" ;;
  clean) rm -f "$BIN/../ssh_host_ed25519_key" ;;
  *) echo "cloud-init: the local cloud supports only status and clean" >&2; exit 1 ;;
esac
"""

OFF = 'echo "off 0" > "$PIPE"\n'
REBOOT = 'echo "reboot 0" > "$PIPE"\n'

SCRIPTS = {
    "sudo": SUDO,
    "shutdown": SHUTDOWN,
    "poweroff": OFF,
    "halt": OFF,
    "reboot": REBOOT,
    "systemctl": SYSTEMCTL,
    "init": INIT,
    "telinit": INIT,
    "cloud-init": CLOUD_INIT,
    "install": INSTALL,
    "gpujob-lease": LEASE,
}


def write(folder: Path, pipe: Path, flaws: frozenset[str] = frozenset()) -> None:
    """Write the commands, which signal the host through the pipe; `flaws` are faults of the machine."""
    folder.mkdir(exist_ok=True)
    head = f"#!/bin/sh\nBIN={quote(str(folder))} PIPE={quote(str(pipe))}\n"
    if "unfinished" in flaws:
        (folder.parent / "unfinished").touch()
    for name, body in SCRIPTS.items():
        path = folder / name
        if name == "gpujob-lease" and flaws & {"unarmed", "unarmable"}:
            path = folder.parent / "lease-command"  # as if it were not installed yet
        if name == "gpujob-lease" and "unarmable" in flaws:
            continue
        path.write_text(head + body.lstrip("\n"))
        path.chmod(0o755)
