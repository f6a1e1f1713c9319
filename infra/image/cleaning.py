"""Clean a node for an image: personal data, jobs, keys, and anything a job left to run later.

The user's home is cleaned as that user, the system as root. On the local cloud a machine shares its system with this computer,
and only its home is cleaned.
"""

from infra.base.text import last_line
from infra.errors import LossError, NodeError
from infra.node import client
from infra.ssh.commands import Answer, execute
from infra.ssh.connection import Connection

NOT_HOME, NO_CLOUD_INIT = 9, 8

# Of gpujob's files, only the jobs' environments are kept, if unchanged since their installation (the agent has checked). Of the
# user's files, histories, credentials, and whatever is run automatically at a login, at boot or by other programs are deleted: a
# job can have written it. $1 is "aws" or "local", where the system, and so /etc/skel, is this computer's.
HOME = """\
[ -n "$HOME" ] && cd "$HOME" || exit 1
for job in .gpujob/jobs/[0-9]*; do
  if [ -d "$job" ] && [ ! -e "$job/fetched" ]; then echo "${job##*/}" >&2; exit 9; fi
done
[ ! -d .gpujob/jobs ] || mv .gpujob/jobs ".gpujob/jobs.$$"  # atomically: nothing must see a partly deleted job
for one in .gpujob/* .gpujob/.[!.]*; do
  case ${one##*/} in environments) ;; *) chmod -R u+rwX "$one" 2> /dev/null; rm -rf "$one" ;; esac
done
rm -rf .bash_history .zsh_history .python_history .lesshst .viminfo .wget-hsts .sudo_as_admin_successful \\
  .ipython/profile_default/history.sqlite .local/share/jupyter/runtime .local/share/jupyter/notebook_secret \\
  .ansible .ssh/id_* .ssh/known_hosts* \\
  .aws .azure .config/gcloud .config/gh .config/rclone .config/wandb .docker/config.json .git-credentials .kaggle .netrc \\
  .pypirc .cache/huggingface/token .cache/huggingface/stored_tokens .huggingface/token
rm -rf .bashrc .bash_profile .bash_login .bash_logout .bash_aliases .profile .zshrc .zshenv .zprofile .zlogin .zlogout \\
  .config/fish .pam_environment .config/environment.d .config/systemd .local/share/systemd .config/autostart \\
  .ssh/rc .ssh/environment .ssh/config .ssh/authorized_keys2 .local/bin bin \\
  .local/lib/python*/site-packages/*.pth .local/lib/python*/site-packages/sitecustomize* \\
  .local/lib/python*/site-packages/usercustomize* .pdbrc .pythonrc* .ipython/profile_default/startup \\
  .ipython/profile_default/*.py .ipython/extensions .jupyter .local/share/jupyter/kernels .local/etc \\
  .gitconfig .config/git .pip .config/pip .config/uv .cache/pip .cache/uv .condarc .mambarc .npmrc .curlrc .wgetrc \\
  .inputrc .tmux.conf .vimrc .vim .exrc .nanorc .config/nvim .gdbinit .config/gdb
[ "$1" = local ] || cp -R /etc/skel/. .
"""

# What the machine needs until it reboots is kept in memory, outside any image, and is restored by `undo`: by this computer if no
# image was created, or by the machine itself after 15 minutes without a reboot.
# The lease and its guard are disabled, for machines that boot the image without gpujob, but not stopped: user data, which is read
# at every boot, enables them again, and finds the latest end.
# machine-id becomes empty rather than "uninitialized", for which systemd would reset every service to its preset.
SYSTEM = """\
set -eu
command -v cloud-init > /dev/null || exit 8
keep=/run/gpujob-bake
rm -rf $keep && mkdir -m 700 $keep
cd /
tar -cf $keep/kept.tar $(ls -d etc/ssh/ssh_host_* etc/machine-id var/lib/cloud root/.ssh/authorized_keys \\
  home/*/.ssh/authorized_keys 2> /dev/null)
cat > $keep/undo <<'END'
tar -C / -xpf /run/gpujob-bake/kept.tar
systemctl -q enable gpujob-lease.timer gpujob-guard.service
rm -rf /run/gpujob-bake
END
systemctl -q stop gpujob-bake.timer 2> /dev/null || true
systemd-run --quiet --collect --unit gpujob-bake --on-active=15min sh $keep/undo
systemctl -q disable gpujob-lease.timer gpujob-guard.service 2> /dev/null || true
rm -rf /home/*/.gpujob/jobs* /home/*/.gpujob/work /home/*/.gpujob/store /home/*/.gpujob/pycache  # created with sudo
rm -rf /var/spool/cron/crontabs/* /var/spool/cron/atjobs/* /var/lib/systemd/linger/* /etc/ld.so.preload
find /tmp /var/tmp -mindepth 1 -maxdepth 1 ! -name 'systemd-private-*' -exec rm -rf {} +
rm -rf /root/.bash_history /root/.python_history /root/.ansible /root/.aws /var/lib/systemd/random-seed
cloud-init clean --logs --seed
journalctl --quiet --rotate && journalctl --quiet --vacuum-time=1s
find /var/log -type f \\( -name '*.gz' -o -name '*.[0-9]' \\) -delete
find /var/log -type f ! -path '/var/log/journal/*' -exec truncate -s 0 {} +
: > /etc/machine-id
rm -f /etc/ssh/ssh_host_* /root/.ssh/authorized_keys /home/*/.ssh/authorized_keys
sync
"""
LOCAL_SYSTEM = "cloud-init clean --logs --seed"
UNDO = ["sudo", "sh", "-c", "! test -e /run/gpujob-bake/undo || sh /run/gpujob-bake/undo"]


def clean(connection: Connection) -> None:
    """Clean a connection's node, which then accepts no logins until it reboots, or until `undo`.

    Raises LossError, before touching any job, if a job's outputs are not downloaded, and NodeError on failure.
    """
    cluster = connection.cluster
    client.remove_changed_environments(connection)
    cleaned = execute(connection, ["sh", "-c", HOME, "sh", cluster.cloud])
    if cleaned.exit_code == NOT_HOME:
        number = read(cleaned)
        raise LossError(
            f"job {number} of '{cluster.name}' has outputs that are not downloaded",
            f"gpujob fetch --cluster {cluster.name} {number}",
        )
    if cleaned.exit_code == 0:
        cleaned = execute(connection, ["sudo", "sh", "-c", LOCAL_SYSTEM if cluster.is_local else SYSTEM])
    if cleaned.exit_code == NO_CLOUD_INIT:
        raise NodeError("the machine has no cloud-init, so machines booted from its image would accept no logins")
    if cleaned.exit_code:
        undo(connection)
        raise NodeError(f"cannot clean the machine: {read(cleaned)}", f"check the machine: gpujob ssh {cluster.name}")


def undo(connection: Connection) -> None:
    """Restore the keys of a cleaned node of which no image was created."""
    if not connection.cluster.is_local:
        execute(connection, UNDO)


def read(answer: Answer) -> str:
    """Return a script's error message."""
    return last_line(answer.stderr)
