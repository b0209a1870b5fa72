"""The scripted DNS server itself: what it is asked, and what comes back on the wire."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest

from dns_server import DnsServer, encode_name
from postern import PATIENCE

PROGRAM = os.path.join(os.path.dirname(__file__), "dns_server.py")
NUMBERS = {"A": 1, "AAAA": 28}


def query(name, kind):
    return struct.pack(">HHHHHH", 0x1234, 0x0100, 1, 0, 0, 0) + encode_name(name) + struct.pack(">HH", NUMBERS[kind], 1)


def ask(port, name, kind="A", timeout=PATIENCE):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(timeout)
        udp.sendto(query(name, kind), ("127.0.0.1", port))
        return udp.recv(65535)


def ask_tcp(port, name, kind="A"):
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as tcp:
        message = query(name, kind)
        tcp.sendall(struct.pack(">H", len(message)) + message)
        stream = tcp.makefile("rb")
        return stream.read(struct.unpack(">H", stream.read(2))[0])


def header(message):
    """Whether it is truncated, the code, the number of records."""
    number, flags, questions, records = struct.unpack_from(">HHHH", message)
    assert number == 0x1234 and flags & 0x8000 and questions == 1
    return bool(flags & 0x0200), flags & 15, records


@pytest.fixture
def dns():
    with DnsServer() as server:
        yield server


def test_addresses(dns):
    dns.set("Name.test.", a=["192.0.2.1", "192.0.2.2"], aaaa=["2001:db8::1"], ttl=7)
    message = ask(dns.port, "name.test")
    assert header(message) == (False, 0, 2)
    assert message.endswith(struct.pack(">IH", 7, 4) + bytes([192, 0, 2, 2]))
    assert header(ask(dns.port, "name.test", "AAAA")) == (False, 0, 1)
    assert header(ask_tcp(dns.port, "NAME.test")) == (False, 0, 2)
    assert dns.count("name.test") == 3
    assert dns.count("name.test", "AAAA") == 1
    assert dns.count("name.test", "tcp") == 1


def test_questions_at_a_time(dns):
    dns.set("name.test", a=["192.0.2.1"])
    for _ in range(2):
        ask(dns.port, "name.test")
    assert dns.most("name.test", "A") == 1 and dns.most("name.test", "AAAA") == 0
    dns.set("name.test", drop=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for _ in range(3):
            udp.sendto(query("name.test", "A"), ("127.0.0.1", dns.port))
    ask(dns.port, "other.test")  # those before it have been read
    assert dns.most("name.test", "A") == 3


def test_codes(dns):
    dns.set("fails.test", rcode="servfail")
    dns.set("empty.test")
    assert header(ask(dns.port, "fails.test")) == (False, 2, 0)
    assert header(ask(dns.port, "empty.test")) == (False, 0, 0)
    assert header(ask(dns.port, "unknown.test")) == (False, 3, 0)
    dns.remove("empty.test")
    assert header(ask(dns.port, "empty.test")) == (False, 3, 0)


def test_alias(dns):
    dns.set("alias.test", cname="target.test", a=["192.0.2.1"])
    message = ask(dns.port, "alias.test")
    assert header(message) == (False, 0, 2)
    assert message.count(encode_name("target.test")) == 2


def test_drop_and_delay(dns):
    dns.set("silent.test", drop=True)
    dns.set("half.test", a=["192.0.2.1"], drop="AAAA")
    dns.set("slow.test", a=["192.0.2.1"], delay=0.05)
    with pytest.raises(TimeoutError):
        ask(dns.port, "silent.test", timeout=0.1)
    with pytest.raises(TimeoutError):
        ask(dns.port, "half.test", "AAAA", timeout=0.1)
    assert header(ask(dns.port, "half.test")) == (False, 0, 1)
    begun = time.monotonic()
    assert header(ask(dns.port, "slow.test")) == (False, 0, 1)
    assert time.monotonic() - begun >= 0.05


def test_large_answers_come_over_tcp(dns):
    dns.set("huge.test", huge=4000)
    dns.set("small.test", a=["192.0.2.1"], truncate=True)
    assert header(ask(dns.port, "huge.test")) == (True, 0, 0)
    assert header(ask_tcp(dns.port, "huge.test")) == (False, 0, 4000)
    assert header(ask(dns.port, "small.test")) == (True, 0, 0)
    assert header(ask_tcp(dns.port, "small.test")) == (False, 0, 1)


def test_nonsense(dns):
    dns.set("garbage.test", garbage=True)
    dns.set("broken.test", broken=True)
    dns.set("right.test", a=["192.0.2.1"], wrong_name="wrong.test")
    assert ask(dns.port, "garbage.test").startswith(b"not a DNS message")
    assert header(ask(dns.port, "broken.test")) == (False, 0, 3)
    assert encode_name("wrong.test") in ask(dns.port, "right.test")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"nonsense", ("127.0.0.1", dns.port))
    assert header(ask(dns.port, "unknown.test")) == (False, 3, 0)


def test_answers_that_change(dns):
    dns.set("moves.test", a=["192.0.2.1"], times=2, then={"a": ["192.0.2.9"]})
    last = [ask(dns.port, "moves.test")[-1] for _ in range(4)]
    assert last == [1, 1, 9, 9]


def test_command_line(tmp_path):
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"name.test": {"a": ["192.0.2.1"]}}))
    with subprocess.Popen([sys.executable, PROGRAM, "--rules", str(rules)], stdout=subprocess.PIPE, text=True) as server:
        port = int(server.stdout.readline().rpartition(":")[2])
        assert header(ask(port, "name.test")) == (False, 0, 1)
        server.send_signal(signal.SIGUSR1)
        assert json.loads(server.stdout.readline()) == {"name.test": {"A": 1}}
        server.terminate()
        assert json.loads(server.stdout.readline()) == {"name.test": {"A": 1}}
    assert server.returncode == 0
