import asyncio
import hashlib
import io
import os
import signal
import socket
import sys
import threading
import time
from contextlib import closing

import asyncssh
import paramiko
import psutil
import pytest

from tests import local_cloud_fixtures as fixtures
from tests.local_cloud_fixtures import alive, eventually, lease

shared, machine = fixtures.shared, fixtures.machine

SIZE = 50_000_000


# ---- who comes in


def test_only_the_one_user_with_the_one_key_comes_in(machine):
    for user, proof in (
        ("ubuntu", {"pkey": paramiko.Ed25519Key.from_private_key(io.StringIO(fixtures.make_key()))}),
        ("ubuntu", {"password": "ubuntu"}),
        ("ubuntu", {"password": ""}),
        ("root", {"pkey": machine.world.key}),
    ):
        with pytest.raises(paramiko.SSHException):
            machine.connect(user, **proof)
    assert machine.run("true")[0] == 0


def test_a_machine_without_a_key_pair_lets_nobody_in(shared):
    machine = shared.launch(KeyName=None)
    with pytest.raises(paramiko.SSHException):
        machine.connect()
    shared.ec2.terminate_instances(InstanceIds=[machine.id])


def test_the_console_shows_the_very_key_that_the_server_shows(machine):
    def block() -> list[str]:
        text = machine.world.ec2.get_console_output(InstanceId=machine.id, Latest=True).get("Output", "")
        lines = text.splitlines()
        begin, end = "-----BEGIN SSH HOST KEY KEYS-----", "-----END SSH HOST KEY KEYS-----"
        return lines[lines.index(begin) + 1 : lines.index(end)] if begin in lines else []

    (line,) = eventually(block)
    assert " ".join(line.split()[:2]) == machine.host_key()


# ---- commands


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_a_command_s_exit_code_is_its_own(machine, code):
    assert machine.run(f"exit {code}")[0] == code


def test_a_command_that_dies_of_a_signal_says_so(machine):
    async def ask() -> str:
        key = asyncssh.import_private_key(machine.world.key_text)
        where = {"host": "127.0.0.1", "port": machine.port(), "username": "ubuntu", "config": None, "agent_path": None}
        async with asyncssh.connect(**where, known_hosts=None, client_keys=[key]) as connection:
            return (await connection.run("kill -9 $$")).exit_signal[0]

    assert asyncio.run(ask()) == "KILL"


def test_a_missing_command_fails_as_in_a_shell(machine):
    code, _, errors = machine.run("no-such-command")
    assert code == 127
    assert b"no-such-command" in errors


def test_streams_are_kept_apart_and_carry_every_byte(machine):
    every = bytes(range(256)) * 100
    assert machine.run("tee /dev/stderr", every) == (0, every, every)


def test_fifty_megabytes_go_through_a_command_both_ways(machine):
    data = os.urandom(SIZE)
    code, digest, _ = machine.run("sha256sum", data)
    assert (code, digest.split()[0].decode()) == (0, hashlib.sha256(data).hexdigest())
    code, out, _ = machine.run("cat", data[: SIZE // 2] * 2)
    assert (code, out) == (0, data[: SIZE // 2] * 2)


def test_output_that_nobody_reads_does_not_fill_the_host_s_memory(machine):
    process = machine.host()
    with machine.connect() as connection:
        before = process.memory_info().rss
        channel = connection.get_transport().open_session(window_size=2**16)
        channel.exec_command("head -c 500000000 /dev/zero; sleep 60")
        eventually(lambda: len(channel.in_buffer) >= 2**15)
        for _ in range(20):
            time.sleep(0.02)
            assert process.memory_info().rss - before < 50_000_000


def test_a_command_that_reads_no_input_ends_while_more_is_sent(machine):
    with machine.connect() as connection:
        channel = connection.get_transport().open_session()
        channel.exec_command("exit 3")
        with pytest.raises(OSError, match="closed"):
            while True:
                channel.sendall(bytes(1_000_000))
        assert channel.recv_exit_status() == 3


def test_the_environment_is_built_clean(machine, monkeypatch):
    code, out, _ = machine.run("env; echo CWD=$PWD; python3 -c 'import sys; print(\"PREFIX=\" + sys.prefix)'")
    seen = dict(line.split("=", 1) for line in out.decode().splitlines())
    home = str(machine.world.folder / "hosts" / machine.id / "home")
    assert code == 0
    assert seen["HOME"] == seen["CWD"] == home
    assert seen["USER"] == seen["LOGNAME"] == "ubuntu"
    assert seen["LANG"] == "C.UTF-8"
    assert seen["GPUJOB_LOCAL_HOST"] == machine.id
    assert seen["PREFIX"] == sys.prefix
    shell = {"_", "SHLVL", "PWD", "CWD", "PREFIX", "SSH_CONNECTION"}
    known = {
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "PATH",
        "GPUJOB_LOCAL_HOST",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    }
    assert set(seen) - shell == known


def test_a_login_shell_cannot_reach_the_real_shutdown(machine):
    for command in ("command -v shutdown", "bash -lc 'command -v shutdown'", "sh -lc 'command -v poweroff'"):
        assert f"hosts/{machine.id}/bin/" in machine.run(command)[1].decode()


# ---- terminals


def open_terminal(connection: paramiko.SSHClient, command: str | None = None) -> paramiko.Channel:
    channel = connection.get_transport().open_session()
    channel.get_pty("xterm-256color", width=101, height=33)
    if command:
        channel.exec_command(command)
    else:
        channel.invoke_shell()
    return channel


def read_until(channel: paramiko.Channel, mark: bytes) -> bytes:
    seen = b""
    channel.settimeout(10)
    while mark not in seen:
        data = channel.recv(4096)
        assert data, seen
        seen += data
    return seen


def read_all(channel: paramiko.Channel) -> bytes:
    channel.settimeout(10)
    return b"".join(iter(lambda: channel.recv(4096), b""))


def test_a_terminal_is_a_real_one_that_knows_its_size(machine):
    with machine.connect() as connection:
        channel = open_terminal(connection, "tty; stty size; echo $TERM; read x; stty size; exit 4")
        assert b"/dev/pts/" in (seen := read_until(channel, b"xterm-256color"))
        assert b"33 101" in seen
        channel.resize_pty(width=55, height=22)
        channel.send(b"\n")
        assert b"22 55" in read_all(channel)
        assert channel.recv_exit_status() == 4


def test_ctrl_c_interrupts_what_runs_in_a_terminal(machine):
    with machine.connect() as connection:
        channel = open_terminal(connection, "trap 'echo caught; exit 9' INT; echo ready; sleep 60")
        read_until(channel, b"ready")
        channel.send(b"\x03")
        assert b"caught" in read_all(channel)
        assert channel.recv_exit_status() == 9


def test_a_shell_takes_commands_and_ends_with_the_last_one_s_code(machine):
    with machine.connect() as connection:
        channel = open_terminal(connection)
        channel.send(b"echo $((6*7))-it-is; exit 5\n")
        assert b"42-it-is" in read_all(channel)
        assert channel.recv_exit_status() == 5


def test_a_terminal_s_session_ends_with_its_command_though_a_child_holds_it(machine):
    with machine.connect() as connection:
        channel = open_terminal(connection, "trap '' HUP; sleep 60 & echo said; exit 0")
        assert b"said" in read_all(channel)


# ---- what the connection's end does


def test_dropping_the_connection_closes_a_command_s_input_and_leaves_it_alive(machine):
    machine.run("rm -f told end")
    connection = machine.connect()
    connection.exec_command("cat > told; echo $$ > end; exec sleep 60")
    connection.get_transport().sock.shutdown(socket.SHUT_RDWR)
    pid = int(eventually(lambda: machine.run("cat end")[1]))
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)


def test_dropping_the_connection_hangs_a_terminal_up(machine):
    machine.run("rm -f hung")
    connection = machine.connect()
    channel = open_terminal(connection, "trap 'echo up > hung; exit' HUP; echo ready; while :; do sleep 0.05; done")
    read_until(channel, b"ready")
    connection.get_transport().sock.shutdown(socket.SHUT_RDWR)
    eventually(lambda: machine.run("cat hung")[1] == b"up\n")


def test_a_daemon_survives_its_connection_and_leaves_no_zombie_when_it_ends(machine):
    daemon = machine.start_daemon()
    assert alive(daemon)
    os.kill(daemon, signal.SIGKILL)
    eventually(lambda: not psutil.pid_exists(daemon))


# ---- files and ports


def test_fifty_megabytes_go_through_sftp_and_relative_paths_start_at_home(machine, tmp_path):
    data = os.urandom(SIZE)
    (tmp_path / "up").write_bytes(data)
    with machine.connect() as connection, connection.open_sftp() as sftp:
        sftp.put(str(tmp_path / "up"), "large")
        sftp.get("large", str(tmp_path / "down"))
        assert sftp.normalize(".").endswith(f"{machine.id}/home")
    assert (tmp_path / "down").read_bytes() == data
    assert machine.run("sha256sum < large")[1].split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_a_port_is_reached_through_the_host(machine):
    with closing(socket.create_server(("127.0.0.1", 0))) as server, machine.connect() as connection:

        def echo() -> None:
            with server.accept()[0] as peer:
                peer.sendall(peer.recv(100).upper())

        threading.Thread(target=echo, daemon=True).start()
        target = server.getsockname()
        with connection.get_transport().open_channel("direct-tcpip", target, ("127.0.0.1", 0)) as channel:
            channel.sendall(b"through")
            assert channel.recv(100) == b"THROUGH"


def test_nothing_is_forwarded_back(machine):
    with machine.connect() as connection, pytest.raises(paramiko.SSHException, match="denied"):
        connection.get_transport().request_port_forward("127.0.0.1", 0)


# ---- the machine's own life


def test_terminating_ends_the_host_and_every_process_in_it(shared):
    machine = shared.launch()
    daemon, host = machine.start_daemon(), machine.host().pid
    shared.ec2.terminate_instances(InstanceIds=[machine.id])
    eventually(lambda: not alive(host) and not alive(daemon))
    eventually(lambda: not (shared.folder / "hosts" / machine.id).exists())


def test_stop_and_start_keep_home_and_host_key(shared):
    machine = shared.launch(InstanceInitiatedShutdownBehavior="stop")
    machine.run("echo kept > note")
    daemon, key, host = machine.start_daemon(), machine.host_key(), machine.host().pid
    shared.ec2.stop_instances(InstanceIds=[machine.id])
    shared.ec2.start_instances(InstanceIds=[machine.id])  # before the host has quite ended
    eventually(lambda: not alive(daemon) and not alive(host))
    eventually(lambda: machine.endpoint() and machine.host().pid != host)
    assert machine.run("cat note")[1] == b"kept\n"
    assert machine.host_key() == key
    shared.ec2.stop_instances(InstanceIds=[machine.id])
    eventually(lambda: machine.endpoint() is None)


@pytest.mark.parametrize(
    ("command", "behaviour", "state"),
    [
        ("sudo -n shutdown -h now", "terminate", "terminated"),
        ("sudo -E -u root /sbin/poweroff", "stop", "stopped"),
        ("bash -lc 'shutdown +0'", "terminate", "terminated"),
    ],
)
def test_powering_off_from_inside_does_what_the_instance_was_told_to(shared, command, behaviour, state):
    machine = shared.launch(InstanceInitiatedShutdownBehavior=behaviour)
    daemon = machine.start_daemon()
    with machine.connect() as connection:
        connection.exec_command(command)
        eventually(lambda: machine.state() == state)
    assert not alive(daemon)
    eventually(lambda: machine.endpoint() is None)
    assert "InstanceInitiatedShutdown" in machine.describe()["StateReason"]["Code"]
    shared.ec2.terminate_instances(InstanceIds=[machine.id])


def test_a_planned_shutdown_can_be_called_off_and_odd_ones_are_refused(machine):
    assert machine.run("sudo shutdown +0100")[0] == 0
    assert machine.run("sudo shutdown -c")[0] == 0
    code, _, errors = machine.run("shutdown 12:30")
    assert (code, b"supports now and +MINUTES" in errors) == (1, True)
    assert machine.run("shutdown +5x")[0] == 1
    assert machine.run("systemctl restart ssh")[0] == 1
    assert machine.run("cloud-init status --wait")[1] == b"status: done\n"
    assert machine.run("sudo -n true")[0] == 0
    assert machine.run("sudo A=1 sh -c 'echo $A'")[1] == b"1\n"
    assert machine.state() == "running"


def test_a_reboot_keeps_the_instance_running_under_a_new_host(shared):
    machine = shared.launch()
    key, host = machine.host_key(), machine.host().pid
    machine.run("echo kept > note")
    with machine.connect() as connection:
        connection.exec_command("sudo reboot")
        eventually(lambda: not alive(host))
    eventually(lambda: machine.endpoint() and machine.host().pid != host)
    assert machine.run("cat note")[1] == b"kept\n"
    assert machine.host_key() == key
    shared.ec2.terminate_instances(InstanceIds=[machine.id])


def test_the_lease_ends_the_machine_and_a_passed_one_at_once(shared):
    until = time.time() + 3
    machine = shared.launch(UserData=lease(until))
    eventually(lambda: machine.state() == "terminated")
    assert time.time() >= until - 1
    late = shared.launch(UserData=lease(time.time() - 60))
    eventually(lambda: late.state() == "terminated")


def test_a_lease_can_be_moved_and_outlasts_a_stop(shared):
    machine = shared.launch(UserData=lease(time.time() + 3600), InstanceInitiatedShutdownBehavior="stop")
    # Both in one command on the machine: however late a slow machine gets to it, the first end lies ahead when it is moved.
    soon = "gpujob-lease \"$(date -u -d '+2 seconds' '+%F %T UTC')\""
    assert machine.run(f"{soon} && gpujob-lease '2099-01-01 00:00:00 UTC'")[0] == 0
    time.sleep(3)  # past the first end
    assert machine.state() == "running"
    assert machine.run("gpujob-lease '2020-01-01 00:00:00 UTC'")[0] in (0, -1)
    eventually(lambda: machine.state() == "stopped")
    shared.ec2.start_instances(InstanceIds=[machine.id])
    eventually(lambda: machine.state() == "stopped")
    shared.ec2.terminate_instances(InstanceIds=[machine.id])


def test_a_killed_host_is_a_crashed_machine_that_nobody_restarts(shared):
    machine = shared.launch()
    daemon, host = machine.start_daemon(), machine.host()
    host.kill()
    eventually(lambda: not alive(daemon) and machine.endpoint() is None)
    assert machine.state() == "running"
    assert not [one for one in psutil.Process(shared.cloud.pid).children() if machine.id in one.cwd()]
    shared.ec2.terminate_instances(InstanceIds=[machine.id])
    eventually(lambda: not (shared.folder / "hosts" / machine.id).exists())


def test_a_flood_of_processes_goes_with_its_machine(shared):
    machine = shared.launch()
    machine.run("for n in $(seq 60); do (while :; do setsid sleep 0.01; done) > /dev/null 2>&1 < /dev/null & done")
    host = machine.host()
    family = {one.pid for one in host.children(recursive=True)}
    assert len(family) > 50
    shared.ec2.terminate_instances(InstanceIds=[machine.id])
    eventually(lambda: not any(alive(pid) for pid in family) and not alive(host.pid))


def test_several_machines_come_up_side_by_side(shared):
    machines = [shared.launch() for _ in range(4)]
    ports = {machine.port() for machine in machines}
    assert len(ports) == 4
    shared.ec2.terminate_instances(InstanceIds=[machine.id for machine in machines])
