"""The log: one line an end, whatever a peer sends; a reader that stalls or is gone stalls nothing."""
import fcntl
import json
import os
import re
import signal
import subprocess

import pytest

from hello import hello_with, server_name
from postern import PROGRAMS, echo, free_port, receive, wait_until
from traffic import is_cut


def hello(connection):
    connection.sendall(b"hello")
    return receive(connection, 5) == b"hello"


def test_one_line_of_json_for_each_stream(relay, peer):
    daemon = relay(peer(echo).address)
    for _ in range(20):
        with daemon.connect() as client:
            assert hello(client)
    daemon.wait_ended("finished", count=20)
    lines = daemon.log().splitlines()
    assert len([line for line in lines if '"event":"stream ended"' in line]) == 20
    for line in lines:
        event = json.loads(line)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["ts"])
        assert event["level"] in ("error", "warn", "info", "debug") and event["event"]
    assert "hello" not in daemon.log()  # no byte of what was relayed


def test_text_has_the_same_fields(relay, peer):
    daemon = relay(peer(echo).address, log={"format": "text"})
    with daemon.connect() as client:
        assert hello(client)
    line, = wait_until(lambda: [line for line in daemon.log().splitlines() if "stream ended" in line])
    assert re.search(r"^\S+Z info +stream ended reason=finished listener=in route=out destination=tcp://\S+ "
                     r"address=127\.0\.0\.1:\d+ bytes_in=5 bytes_out=5 duration=", line), line


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_name_cannot_forge_a_line(relay, peer, form):
    """What a ClientHello may carry at all is written so that it stays inside its field."""
    daemon = relay(peer(echo).address, route={"sni": ["kms.test"]}, log={"format": form})
    names = [b'x","reason":"finished', b"x\\u000a", b"a=b", b"'", b'"', b"\\", b"%s%n", b"a" * 255, b"\x1b[31m",
             b"a\nb", b"\xff\xfe", b"a\rb"]
    series = set(daemon.metrics())
    for name in names:
        with daemon.connect() as client:
            client.sendall(hello_with([server_name(name)]))
            client.recv(1)
    wait_until(lambda: len([line for line in daemon.log().splitlines() if "stream ended" in line]) == len(names))
    text = daemon.log()
    assert all(character == "\n" or " " <= character <= "~" for character in text)
    assert "finished" not in re.sub(r'x\\*",\\*"reason\\*":\\*"finished', "", text)
    assert set(daemon.metrics()) == series
    if form == "json":
        said = {event.get("sni") for event in daemon.events(reason="denied_sni")}
        assert 'x","reason":"finished' in said and "a" * 255 in said
        assert daemon.events(reason="bad_hello")


def test_thousands_of_hostile_names_add_no_series(relay, peer):
    daemon = relay(peer(echo).address, route={"sni": ["kms.test"]})
    before = daemon.request("GET", "/metrics")[1].count("\n")
    for number in range(1000):
        with daemon.connect() as client:
            client.sendall(hello_with([server_name(b"host-%d.evil.test" % number)]))
            client.recv(1)
    assert daemon.request("GET", "/metrics")[1].count("\n") == before
    assert len(daemon.request("GET", "/status")[1]) < 20000


def start_with_stderr(daemon, stderr):
    daemon.process = subprocess.Popen([daemon.program, "--config", daemon.config_file], stderr=stderr,
                                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                      env={**os.environ, "NOTIFY_SOCKET": str(daemon.folder / "notify"), **daemon.environment})
    daemon.wait_notified("READY=1")


LONG = hello_with([server_name(b'"' * 250)])  # makes a line of more than a kilobyte


def fill_the_log(daemon):
    """Until lines are dropped. 2,000 at once are within the limit of lines of one kind."""
    for turn in range(1900):
        with daemon.connect() as client:
            client.sendall(LONG)
            assert client.recv(1) == b"\x15"
        if turn % 100 == 99 and daemon.metrics()["postern_log_lines_dropped_total"]:
            return
    pytest.fail("no line was dropped")


def narrow_pipe():
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    return reading, writing


def log_findings(daemon):
    return [check for check in json.loads(daemon.ctl("doctor", "--json", check=False).stdout)["checks"] if check["check"] == "log"]


def test_a_reader_that_stalls_stalls_nothing(relay, peer):
    """Standard error is a pipe that nobody reads: streams go on, lines are dropped and counted, and the end comes."""
    daemon = relay("sni", begin=False).configure(route={"sni": ["kms.test"]}, workers=1)
    reading, writing = narrow_pipe()
    try:
        start_with_stderr(daemon, writing)
        assert "lines dropped" not in daemon.ctl("status").stdout
        assert not log_findings(daemon)
        fill_the_log(daemon)
        daemon.wait_quiet()
        assert re.search(r"^log +[1-9]\d* lines? dropped: its reader is too slow$", daemon.ctl("status").stdout, re.MULTILINE)
        finding, = log_findings(daemon)
        assert finding["verdict"] == "warn" and "dropped since" in finding["found"]
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.wait() == 0
    finally:
        os.close(reading)
        os.close(writing)


def test_a_reader_that_comes_back_is_told_what_it_missed(relay, peer):
    daemon = relay("sni", begin=False).configure(route={"sni": ["kms.test"]}, workers=1)
    reading, writing = narrow_pipe()
    with os.fdopen(reading, "rb") as reader:
        start_with_stderr(daemon, writing)
        os.close(writing)
        fill_the_log(daemon)
        for line in reader:
            event = json.loads(line)
            if event["event"] == "log lines dropped":
                break
        else:
            pytest.fail("nothing was told")
        assert event["lines"] > 0
        daemon.wait_quiet()
        daemon.process.send_signal(signal.SIGTERM)
        reader.read()
        assert daemon.wait() == 0


@pytest.mark.parametrize("gone", ["closed", "a pipe without a reader", "a full disk"])
def test_no_reader_at_all(relay, peer, gone):
    daemon = relay(peer(echo).address, begin=False)
    if gone == "closed":
        daemon.process = subprocess.Popen(
            ["bash", "-c", 'exec "$@" 2>&- >&- <&-', "bash", daemon.program, "--config", daemon.config_file],
            env={**os.environ, "NOTIFY_SOCKET": str(daemon.folder / "notify"), **daemon.environment})
        daemon.wait_notified("READY=1")
    elif gone == "a full disk":
        with open("/dev/full", "w") as full:
            start_with_stderr(daemon, full)
    else:
        reading, writing = os.pipe()
        os.close(reading)
        start_with_stderr(daemon, writing)
        os.close(writing)
    for _ in range(50):
        with daemon.connect() as client:
            assert hello(client)


def test_priorities_for_the_journal(relay, tmp_path):
    """When standard error is the journal's own stream, each line begins with its priority."""
    daemon = relay(f"tcp://127.0.0.1:{free_port()}", begin=False)
    with open(daemon.log_file, "wb") as log:
        at = os.fstat(log.fileno())
        daemon.environment = {"JOURNAL_STREAM": f"{at.st_dev}:{at.st_ino}"}
        start_with_stderr(daemon, log)
    assert is_cut(daemon)
    line = wait_until(lambda: [line for line in daemon.log().splitlines() if "connect_refused" in line])[0]
    assert line.startswith("<4>{") and line.endswith("}")
    assert any(line.startswith("<6>{") for line in daemon.log().splitlines())


def test_the_version():
    run = subprocess.run([PROGRAMS / "posternd", "--version"], text=True, capture_output=True)
    assert run.returncode == 0 and re.fullmatch(r"posternd \d+\.\d+\.\d+\n", run.stdout)


@pytest.mark.parametrize("arguments", [[], ["--config"], ["--nonsense"], ["--config", "/dev/null", "more"], ["--check"]])
def test_a_wrong_command_line_exits_2(arguments):
    run = subprocess.run([PROGRAMS / "posternd", *arguments], text=True, capture_output=True)
    assert run.returncode == 2 and "usage: posternd" in run.stderr and run.stdout == ""
