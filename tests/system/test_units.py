"""The systemd units: what can be told from the files alone. How they behave is tested in tests/vm."""
import os
import pathlib
import re
import signal
import socket
import subprocess

import pytest

from postern import cached, read_all, reply_after_end

UNITS = pathlib.Path(__file__).resolve().parents[2] / "systemd"
SERVICE = UNITS / "postern.service"
SYSTEM_CALLS_AT_MOST = 80
EXPOSURE_AT_MOST = 1.5


HEADER = next((path for path in map(pathlib.Path, ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
                                                   "/usr/include/asm/unistd_64.h")) if path.exists()), None)
needs_header = pytest.mark.skipif(HEADER is None and "POSTERN_IN_VM" in os.environ,
                                  reason="the virtual machine has no headers; this is tested where there is a compiler")


plain_build = pytest.mark.skipif(bool(cached("POSTERN_SANITIZE")),
                                 reason="a sanitizer makes calls of its own; this is tested with the release build")


def system_calls_of_x86_64():
    return set(re.findall(r"#define __NR_(\w+)", HEADER.read_text()))


def default_set():
    lines = subprocess.run(["systemd-analyze", "syscall-filter", "@default"], check=True, text=True,
                           capture_output=True).stdout.splitlines()
    return {line.strip() for line in lines[1:] if line.strip() and "#" not in line}


def allowed_system_calls(unit):
    """What the filter lets through: as systemd reads the lines, @default with the first, then one after another."""
    allowed = set(default_set())
    for line in unit.read_text().splitlines():
        if match := re.fullmatch(r"SystemCallFilter=(~?)(.*)", line):
            names = set(match[2].split())
            assert not any(name.startswith("@") for name in names), "system calls are listed by name"
            allowed = allowed - names if match[1] else allowed | names
    return allowed & system_calls_of_x86_64()


@needs_header
def test_filter_names_only_system_calls_that_exist():
    known = system_calls_of_x86_64()
    for line in SERVICE.read_text().splitlines():
        if match := re.fullmatch(r"SystemCallFilter=~?(.*)", line):
            assert set(match[1].split()) <= known


@needs_header
def test_few_system_calls_are_allowed():
    assert len(allowed_system_calls(SERVICE)) <= SYSTEM_CALLS_AT_MOST


# Asked for by libraries as they are loaded, and not missed: libcap reads which capabilities there are; libnss_systemd
# looks for records of a group that /etc/group does not have.
NOT_MISSED = {"prctl", "readlinkat"}


@needs_header
@plain_build
def test_the_daemon_calls_nothing_that_is_not_allowed(relay, peer, folder):
    """The filter answers EPERM, which much code takes for a reason to do something lesser: so it is not enough that
    things work under it."""
    def started_under_strace(listen):
        daemon = relay(peer(reply_after_end).address, listen, begin=False)
        daemon.spawn(wrapper=["strace", "-f", "-qq", "-e", "signal=none", "-o", str(folder / f"trace-{listen}")])
        daemon.wait_notified("READY=1")
        return daemon

    calls = set()
    for listen in ("tcp", "unix"):
        daemon = started_under_strace(listen)
        with daemon.connect() as client:
            client.sendall(bytes(1_000_000))
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b"got 1000000 bytes"
        daemon.wait_ended("finished")
        assert daemon.request("POST", "/reload")[0] == 200
        daemon.status()
        os.kill(posternd_under(daemon.process.pid), signal.SIGTERM)
        assert daemon.wait() == 0
        calls |= set(re.findall(r"(?m)^\d+ +(\w+)\(", (folder / f"trace-{listen}").read_text()))
    assert "splice" in calls and "epoll_wait" in calls
    assert calls - allowed_system_calls(SERVICE) <= NOT_MISSED


def posternd_under(pid):
    """The process that strace, which is process `pid`, has started."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0])


def test_exposure_is_low():
    run = subprocess.run(["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_AT_MOST * 10:.0f}",
                          str(SERVICE)], text=True, capture_output=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("unit", sorted(UNITS.rglob("*.service")) + sorted(UNITS.rglob("*.socket")),
                         ids=lambda path: path.name)
def test_systemd_understands_every_line(unit, tmp_path):
    """systemd-analyze ignores what it cannot parse, and says so. Programs and pages are not installed here, so their
    lines are left out; the services stand beside the sockets, which look for them."""
    for service in UNITS.rglob("*.service"):
        text = re.sub(r"(?m)^(ExecStart|ExecReload)=.*$", r"\1=/bin/true", service.read_text())
        (tmp_path / service.name).write_text(re.sub(r"(?m)^Documentation=.*$", "", text))
    if unit.suffix == ".socket":
        (tmp_path / unit.name).write_text(unit.read_text())
    run = subprocess.run(["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)], text=True,
                         capture_output=True)
    said = [line for line in run.stderr.splitlines() if str(tmp_path) in line or unit.name in line]
    assert not said and run.returncode == 0, run.stderr
