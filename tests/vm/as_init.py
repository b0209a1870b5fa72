"""The app of an enclave: a child of `postern run`, which is process 1 of the virtual machine (tests/vm/enclave). Its daemon, which an
enclave has on its parent, runs beside it, reached over the kernel's vsock loopback."""
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import tty

import pytest

from postern import Daemon, Peer, connect, echo, receive, wait_until

AHEAD = 3600  # seconds that the parent's clock is, of ours when the machine started
OUT, ERR = 3, 4  # what the app was started with as 1 and 2: pytest has its own


def lines(daemon, name):
    return [event["line"] for event in daemon.events(event="enclave log", enclave="here", name=name)]


class Parent:
    """What is right about the time: our clock at the start and an hour, whatever is done to our clock."""

    def __init__(self):
        self.begin = time.time_ns() + AHEAD * 10**9 - time.monotonic_ns()

    def now(self):
        return self.begin + time.monotonic_ns()

    def serve(self, connection):
        while len(asked := receive(connection, 8)) == 8:
            connection.sendall(asked + struct.pack(">Q", self.now()))


@pytest.fixture(scope="module")
def parent():
    return Parent()


@pytest.fixture(scope="module")
def daemon(parent):
    clock, there = Peer(parent.serve), Peer(echo)
    one = Daemon({
        "enclaves": {"here": {"cid": "local"}},
        "listeners": {"session": {"listen": "vsock://any:7000", "protocol": "framed", "allow": {"here": ["logs", "time", "echo"]}}},
        "routes": {"logs": {"type": "log"}, "time": {"type": "relay", "to": clock.address}, "echo": {"type": "relay", "to": there.address}},
    }).start()
    yield one  # and goes on running: what is said after the end of the app is for it to log
    shutil.copy(one.log_file, "/results/daemon-log")


def test_process_1():
    assert pathlib.Path("/proc/1/comm").read_text() == "postern\n"
    assert os.getppid() == 1 and os.getsid(0) == os.getpid()


def test_mounts():
    there = {line.split()[1]: line.split()[2] for line in pathlib.Path("/proc/mounts").read_text().splitlines()}
    expected = {"/dev": "devtmpfs", "/proc": "proc", "/sys": "sysfs", "/dev/shm": "tmpfs", "/dev/pts": "devpts", "/tmp": "tmpfs",
                "/sys/fs/cgroup": "cgroup2"}
    assert {path: there.get(path) for path in expected} == expected
    assert "/run" not in there and os.path.exists("/run/lock")  # the image has files there, which stay to be seen
    assert os.readlink("/dev/fd") == "/proc/self/fd"


def test_what_the_app_is_given():
    assert os.environ["GREETING"] == "hello from the settings"
    assert os.getcwd() == "/postern/tests/vm"
    assert "/usr/bin" in os.environ["PATH"]


def test_modules_are_loaded():
    assert pathlib.Path("/sys/module/vsock_loopback").exists()


def test_loopback_is_up():
    for family, host in (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"):
        with socket.create_server((host, 0), family=family) as server, socket.create_connection(server.getsockname()[:2]):
            pass


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:4430", "unix:///run/echo.sock"])
def test_listeners_lead_over_vsock(daemon, address):
    """They were there before the daemon was; who comes waits for the session."""
    with connect(address) as client:
        client.sendall(b"hello")
        assert receive(client, 5) == b"hello"


def test_lines_arrive_with_the_enclaves_name(daemon):
    os.write(OUT, b"a line of the app\n")
    os.write(ERR, b"and one of its trouble\n")
    wait_until(lambda: "a line of the app" in lines(daemon, "stdout"), 50)
    wait_until(lambda: "and one of its trouble" in lines(daemon, "stderr"), 50)


def test_the_clock_is_set(daemon, parent):
    wait_until(lambda: abs(time.time_ns() - parent.now()) < 10**9, 50, "the clock")
    wait_until(lambda: any(line.endswith("by the parent's clock: set") for line in lines(daemon, "postern")), 50, "a word about it")


def test_a_clock_that_drifts_is_mended(daemon, parent):
    told = len(lines(daemon, "postern"))
    wait_until(lambda: abs(time.time_ns() - parent.now()) < 10**9, 50, "the clock")
    time.clock_settime_ns(time.CLOCK_REALTIME, time.time_ns() - 5 * 10**9)
    wait_until(lambda: abs(time.time_ns() - parent.now()) < 10**9, 50, "the clock")
    wait_until(lambda: any("after it was last right: set" in line for line in lines(daemon, "postern")[told:]), 50, "a word about it")


def test_signals_are_passed_on():
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    os.kill(1, signal.SIGUSR1)
    wait_until(lambda: heard == [signal.SIGUSR1], 50, "the signal")
    signal.signal(signal.SIGUSR1, before)


def test_orphans_are_reaped():
    """A process whose parent has ended becomes a child of process 1, and is gone when it ends, and no zombie."""
    read_end, write_end = os.pipe()
    tell, told = os.pipe()
    middle = os.fork()
    if middle == 0:
        os.close(write_end)
        if os.fork() == 0:
            os.write(told, b"%d" % os.getpid())
            os.read(read_end, 1)
        os._exit(0)
    os.waitpid(middle, 0)
    orphan = int(os.read(tell, 20))
    parent = pathlib.Path(f"/proc/{orphan}/stat")
    wait_until(lambda: parent.read_text().split()[3] == "1", 50, "the adoption")
    os.close(write_end)
    wait_until(lambda: not parent.exists(), 50, "the end of the orphan")


def test_a_sleeper_is_left_behind():
    """For the end: process 1 has to end it, though it does not want to."""
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(10000)
        os._exit(0)


def main():
    """As the app: what pytest prints goes to the machine's second serial port, what it found to the third disk."""
    assert (os.dup(1), os.dup(2)) == (OUT, ERR)
    port = os.open("/dev/ttyS1", os.O_WRONLY)
    os.dup2(port, 1)
    os.dup2(port, 2)
    tty.setraw(port)
    status = pytest.main(["-q", "-p", "no:cacheprovider", "--durations=3", __file__])
    results = pathlib.Path("/results")
    (results / "status").write_text(f"{int(status)}\n")
    subprocess.run("dmesg >dmesg; tar -cf /dev/vdc .; sync", shell=True, check=True, cwd=results)
    sys.exit(42)


if __name__ == "__main__":
    main()
