"""postern ping: answers, and all the ways of getting none."""
import re
import signal
import subprocess

import pytest

from client import POSTERN, postern
from postern import PATIENCE, free_port, read_all


@pytest.mark.parametrize("transport", ["unix", "tcp", "hybrid"])
def test_answers(parent, transport):
    daemon = parent({"out": "tcp://127.0.0.1:1"}, transport)
    run = postern(daemon.address, "ping", "-c", "3", "-i", "20ms", text=True)
    assert run.returncode == 0 and run.stderr == "", run.stderr
    lines = run.stdout.splitlines()
    for number, line in enumerate(lines[:3], 1):
        assert re.fullmatch(rf"answer from {re.escape(daemon.address)}: seq={number} time=\d+\.\d{{3}} ms", line)
    assert lines[4] == f"--- {daemon.address} ---"
    assert re.fullmatch(r"3 sent, 3 answered, 0% lost, \d+ ms", lines[5])
    assert re.fullmatch(r"round trip min/avg/max = [\d.]+/[\d.]+/[\d.]+ ms", lines[6])
    event = daemon.wait_event(event="session ended")
    assert event["code"] == "no_error"


def test_the_address_comes_from_the_environment(parent):
    daemon = parent({"out": "tcp://127.0.0.1:1"})
    run = subprocess.run([POSTERN, "ping", "-c1"], env={"POSTERN_ADDRESS": daemon.address}, capture_output=True, timeout=PATIENCE)
    assert run.returncode == 0, run.stderr


def fails(run, *words):
    assert run.returncode == 1
    for word in words:
        assert word in run.stderr, run.stderr


def test_nobody_is_there(folder):
    address = f"unix://{folder}/none.sock"
    fails(postern(address, "ping", "-c", "1", text=True), f"cannot connect to {address}: No such file or directory")
    address = f"tcp://127.0.0.1:{free_port()}"
    fails(postern(address, "ping", "-c", "1", text=True), f"cannot connect to {address}: Connection refused")


def test_somebody_else_is_there(peer):
    silent = peer(read_all)
    fails(postern(silent.address, "ping", "-c", "1", "-W", "300ms", text=True), silent.address)
    web = peer(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    fails(postern(web.address, "ping", "-c", "1", text=True), web.address, "protocol")
    closed = peer(lambda connection: None)
    fails(postern(closed.address, "ping", "-c", "1", text=True), closed.address)


def test_an_output_that_fails(parent):
    """Without a count, too: who cannot tell has no reason to ask."""
    daemon = parent({"out": "tcp://127.0.0.1:1"})
    with open("/dev/full", "wb") as full:
        run = subprocess.run([POSTERN, "--connect", daemon.address, "ping", "-i", "10ms"], stdout=full, stderr=subprocess.PIPE, text=True,
                             timeout=PATIENCE)
    fails(run, "cannot write the output: No space left on device")
    with subprocess.Popen([POSTERN, "--connect", daemon.address, "ping", "-i", "10ms"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert "seq=1 " in run.stdout.readline()
        run.stdout.close()
        assert run.wait(PATIENCE) == 1 and "cannot write the output: Broken pipe" in run.stderr.read()


def test_the_daemon_stands_still(parent):
    daemon = parent({"out": "tcp://127.0.0.1:1"})
    pinging = subprocess.Popen([POSTERN, "--connect", daemon.address, "ping", "-i", "10ms", "-W", "2s"], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert "seq=1 " in pinging.stdout.readline()
    daemon.process.send_signal(signal.SIGSTOP)
    out, err = pinging.communicate(timeout=PATIENCE)
    daemon.process.send_signal(signal.SIGCONT)
    assert pinging.returncode == 1
    assert f"no answer from {daemon.address} within 2000 ms" in err
    sent, answered = map(int, re.search(r"(\d+) sent, (\d+) answered", out).groups())
    assert sent == answered + 1


def test_the_daemon_ends(parent):
    daemon = parent({"out": "tcp://127.0.0.1:1"})
    pinging = subprocess.Popen([POSTERN, "--connect", daemon.address, "ping", "-i", "10ms"], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert "seq=1 " in pinging.stdout.readline()
    daemon.kill()
    out, err = pinging.communicate(timeout=PATIENCE)
    assert pinging.returncode == 1 and daemon.address in err and "round trip" in out, err


def test_an_interruption_shows_what_was_found(parent):
    daemon = parent({"out": "tcp://127.0.0.1:1"})
    pinging = subprocess.Popen([POSTERN, "--connect", daemon.address, "ping", "-i", "1h"], text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    assert "seq=1 " in pinging.stdout.readline()
    pinging.send_signal(signal.SIGINT)
    out, err = pinging.communicate(timeout=PATIENCE)
    assert pinging.returncode == 0 and "1 sent, 1 answered, 0% lost" in out and err == ""
