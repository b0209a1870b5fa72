"""The units under a real systemd: how the service starts, reloads, stops, is watched, and what it may do."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

import pytest

from postern import PATIENCE, REPOSITORY, connect, echo, wait_until

CONFIG = pathlib.Path("/etc/postern/postern.yaml")
SOCKET_UNIT = pathlib.Path("/etc/systemd/system/postern-kms-raw.socket")


def systemctl(*arguments, check=True):
    run = subprocess.run(["systemctl", *arguments], text=True, capture_output=True, timeout=PATIENCE)
    assert not check or run.returncode == 0, f"systemctl {arguments}: {run.stderr}{journal()}"
    return run


def journal():
    return subprocess.run(["journalctl", "-u", "postern.service", "--no-pager", "-n", "60"], text=True,
                          capture_output=True).stdout


def show(name, unit="postern.service"):
    return systemctl("show", "--value", "-p", name, unit).stdout.strip()


def write_config(to, port=8000, name="kms-raw"):
    CONFIG.write_text(json.dumps({
        "version": 1,
        "listeners": {name: {"listen": f"vsock://any:{port}", "protocol": "raw", "route": "there", "allow": "any"}},
        "routes": {"there": {"type": "relay", "to": to}},
    }))


def echoes(port=8000):
    with connect(f"vsock://local:{port}") as client:
        client.sendall(b"hello")
        return client.recv(100) == b"hello"


@pytest.fixture
def there(peer):
    return peer(echo)


@pytest.fixture
def service(there):
    """The service as installed, started with a relay from vsock port 8000 to an echo server."""
    systemctl("reset-failed", "postern.service", check=False)
    write_config(there.address)
    systemctl("start", "postern.service")
    yield "postern.service"
    systemctl("stop", "postern.service", check=False)


def test_started_means_ready(service):
    assert show("ActiveState") == "active"
    assert show("StatusText") != ""
    assert echoes()


def test_it_runs_as_its_own_user_with_nothing_to_raise(service):
    status = pathlib.Path(f"/proc/{show('MainPID')}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    fields = {name: value.strip() for name, value in fields.items()}
    assert fields["Uid"].split()[0] != "0"
    assert int(fields["CapEff"], 16) == 0 and int(fields["CapBnd"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"


def test_the_running_unit_is_as_closed_as_the_file_says(service):
    run = subprocess.run(["systemd-analyze", "security", "--threshold=15", service], text=True, capture_output=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_admin_socket_is_for_root_and_the_group(service):
    admin = pathlib.Path("/run/postern/admin.sock")
    assert admin.stat().st_mode & 0o007 == 0
    assert admin.group() == "postern"
    assert admin.parent.stat().st_mode & 0o007 == 0
    run = subprocess.run(["posternctl", "status"], text=True, capture_output=True)
    assert run.returncode == 0, run.stderr


def test_a_reload_puts_the_new_file_in_force(service, there):
    pid = show("MainPID")
    write_config(there.address, port=8001)
    systemctl("reload", service)
    assert show("ActiveState") == "active"
    assert show("MainPID") == pid
    assert echoes(8001)
    with pytest.raises(OSError):
        connect("vsock://local:8000").close()


def test_a_reload_with_a_bad_file_fails_and_changes_nothing(service):
    CONFIG.write_text("version: 1\nlisteners: {nonsense: [}\n")
    assert systemctl("reload", service, check=False).returncode != 0
    assert show("ActiveState") == "active"
    assert echoes()


def test_a_stream_goes_on_through_a_reload(service, there):
    with connect("vsock://local:8000") as client:
        client.sendall(b"before")
        assert client.recv(100) == b"before"
        write_config(there.address, port=8001)
        systemctl("reload", service)
        client.sendall(b"after")
        assert client.recv(100) == b"after"


def test_sighup_is_told_as_reloading(service, there):
    """Type=notify: systemd sees the daemon reload by RELOADING=1 with MONOTONIC_USEC, then READY=1."""
    write_config(there.address, port=8001)
    systemctl("kill", "--kill-whom=main", "--signal=HUP", service)
    wait_until(lambda: answers(8001), what="the new listener")
    wait_until(lambda: show("ActiveState") == "active", what="active again")


def answers(port):
    try:
        return echoes(port)
    except OSError:
        return False


def test_stopping_lets_a_stream_finish(service):
    with connect("vsock://local:8000") as client:
        client.sendall(b"one")
        assert client.recv(100) == b"one"
        systemctl("stop", "--no-block", service)
        wait_until(lambda: not answers(8000), what="the end of accepting")
        assert show("ActiveState") == "deactivating"
        client.sendall(b"two")
        assert client.recv(100) == b"two"
    wait_until(lambda: show("ActiveState") == "inactive", what="the end")
    assert show("ExecMainStatus") == "0"


def test_a_killed_daemon_comes_back(service):
    pid = show("MainPID")
    os.kill(int(pid), signal.SIGKILL)
    wait_until(lambda: show("MainPID") not in ("0", pid) and show("ActiveState") == "active", what="the restart")
    assert echoes()


def test_the_watchdog_restarts_a_hung_daemon(service):
    pid = show("MainPID")
    start = time.monotonic()
    os.kill(int(pid), signal.SIGSTOP)
    wait_until(lambda: show("MainPID") not in ("0", pid) and show("ActiveState") == "active", what="the restart")
    print(f"back after {time.monotonic() - start:.1f} s")
    assert echoes()
    assert "watchdog" in journal().lower()


def test_a_bad_file_fails_the_start_with_the_reason_in_the_journal():
    CONFIG.write_text("version: 1\nlisteners: 7\n")
    assert systemctl("start", "postern.service", check=False).returncode != 0
    assert "postern.yaml:2:" in journal()
    systemctl("stop", "postern.service", check=False)
    systemctl("reset-failed", "postern.service", check=False)


def test_a_socket_unit_hands_over_a_listener_by_name(there):
    """The caller comes before the daemon: systemd holds the socket, starts the daemon, and the stream is carried."""
    shutil.copy(REPOSITORY / "systemd/examples/postern-kms-raw.socket", SOCKET_UNIT)
    systemctl("daemon-reload")
    write_config(there.address)
    try:
        systemctl("start", SOCKET_UNIT.name)
        assert show("ActiveState") == "inactive"
        assert echoes()
        assert show("ActiveState") == "active"
        # The socket outlives the daemon: a caller that comes during a restart waits, and is not refused.
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as client:
            systemctl("restart", "--no-block", "postern.service")
            client.connect((1, 8000))
            client.settimeout(PATIENCE)
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"
    finally:
        systemctl("stop", SOCKET_UNIT.name, "postern.service", check=False)
        SOCKET_UNIT.unlink()
        systemctl("daemon-reload")
