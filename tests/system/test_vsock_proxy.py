"""The vsock-proxy command line on the real binary: exit codes, messages, and bytes. Every start listens on a unix or TCP
socket (--listen): AF_VSOCK is for the tests in tests/vm."""
import contextlib
import http.server
import os
import re
import signal
import subprocess
import threading
from socket import SHUT_WR

import pytest

from postern import PATIENCE, PROGRAMS, REPOSITORY, Daemon, connect, echo, free_port, read_all, reply_after_end

PROXY = PROGRAMS / "vsock-proxy"
NOWHERE = ("--listen", "unix:///nonexistent/socket")


def run(*arguments, program=PROXY, **environ):
    """A start that is expected to end by itself."""
    return subprocess.run([program, *map(str, arguments)], text=True, capture_output=True, timeout=PATIENCE,
                          env={**os.environ, **environ})


@pytest.fixture
def allowlist(tmp_path):
    def write(*entries, text=None):
        path = tmp_path / "allowlist.yaml"
        lines = "".join(f"- {{address: {address}, port: {port}}}\n" for address, port in entries)
        path.write_text(text if text is not None else "allowlist:\n" + lines)
        return path
    return write


class Proxy(Daemon):
    """A vsock-proxy that listens on a unix socket in its folder."""

    def __init__(self, arguments, before=(), **options):
        super().__init__(**options)
        self.address = self.socket_path("proxy.sock")
        self.arguments = [*before, "--listen", self.address, "8000", *map(str, arguments)]

    def connect(self):
        return connect(self.address)

    def exchange(self, data=b"hello"):
        with self.connect() as client:
            client.sendall(data)
            client.shutdown(SHUT_WR)
            return read_all(client)


@pytest.fixture
def proxy():
    """proxy(remote_addr, remote_port, ...) starts one and returns it once it listens."""
    started = []

    def start(*arguments, program="vsock-proxy", before=(), **environ):
        one = Proxy(arguments, before, program=program, environment=environ)
        started.append(one)
        return one.start()

    yield start
    problems = [problem for one in started for problem in one.finish()]
    assert not problems, "\n".join(problems)


@pytest.fixture
def echo_proxy(peer, allowlist, proxy):
    """The same, to a server on loopback that sends everything back."""
    def start(*arguments, **options):
        port = peer(echo).port
        return proxy("127.0.0.1", port, "--config", allowlist(("127.0.0.1", port)), *arguments, **options)
    return start


# ---- The command line ----

def test_help_and_version():
    for option in ("-h", "--help"):
        result = run(option)
        assert result.returncode == 0 and result.stderr == ""
        assert "Usage: vsock-proxy [OPTIONS] <local_port> <remote_addr> <remote_port>\n" in result.stdout
    for option in ("-V", "--version"):
        result = run(option)
        assert result.returncode == 0 and re.fullmatch(r"vsock-proxy \S+ \d+\.\d+\.\d+\n", result.stdout)


@pytest.mark.parametrize("arguments, message", [
    ([], "error: the following required arguments were not provided:\n  <local_port>\n  <remote_addr>\n  <remote_port>\n"),
    (["8000", "localhost"], "error: the following required arguments were not provided:\n  <remote_port>\n"),
    (["8000", "localhost", "443", "more"], "error: unexpected argument 'more' found\n"),
    (["--bogus"], "error: unexpected argument '--bogus' found\n"),
    (["-4", "-6", "8000", "localhost", "443"], "error: the argument '--ipv6' cannot be used with '--ipv4'\n"),
    (["8000", "localhost", "443", "--config"],
     "error: a value is required for '--config <config_file>' but none was supplied\n"),
])
def test_a_wrong_command_line_exits_2(arguments, message):
    result = run(*arguments)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith(message) and result.stderr.endswith("For more information, try '--help'.\n")


@pytest.mark.parametrize("arguments, message", [
    (["x", "localhost", "443"], "Local port is not valid"),
    (["8000", "localhost", "65979"], "Remote port is not valid"),
    (["8000", "localhost", "443", "-w", "many"], "Number of workers is not valid"),
    (["8000", "localhost", "443", "-w", "0"], "Number of workers must not be 0"),
    (["8000", "localhost", "443", "--config", "/nonexistent"],
     "Error at checking the allowlist: Could not open the file: /nonexistent: No such file or directory; "
     "name the allowlist that you have, or write one there: see vsock-proxy(8)"),
    (["8000", "localhost", "443", "--config", "/"], "Error at checking the allowlist: Could not read the file"),
])
def test_what_prevents_a_start_exits_1(arguments, message):
    result = run(*NOWHERE, *arguments, RUST_LOG="error")
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith(f'Error: "{message}') and result.stderr.endswith('"\n')
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("text, message", [
    ("", "No allowlist field: "),
    ("whitelist: []\n", "No allowlist field: "),
    ("allowlist: [\n", "Bad yaml format: "),
    ("allowlist: [{port: 443}]\n", "No address field: "),
    ("allowlist: [{address: localhost, port: 65979}]\n", "No port field or invalid type: "),
    ("allowlist: [{address: localhost, port: '443'}]\n", "No port field or invalid type: "),
    ("allowlist: []\n", "The given address and port are not allowed: "),
    ("allowlist: [{address: localhost, port: 80}]\n", "The given address and port are not allowed: "),
    ("allowlist: [{address: 192.0.2.1, port: 443}]\n", "The given address and port are not allowed: "),
])
def test_an_allowlist_refuses(allowlist, text, message):
    path = allowlist(text=text)
    result = run(*NOWHERE, "8000", "localhost", "443", "--config", path, RUST_LOG="error")
    assert result.returncode == 1
    assert result.stderr.startswith(f'Error: "Error at checking the allowlist: {message}{path}')


def test_a_cid_is_no_server(allowlist):
    path = allowlist(("16", 443))
    result = run(*NOWHERE, "8000", "16", "443", "--config", path, RUST_LOG="error")
    assert result.returncode == 1
    assert "Could not parse domain name: 16 looks like a CID" in result.stderr


def test_no_address_of_that_family(allowlist):
    result = run(*NOWHERE, "8000", "127.0.0.1", "443", "-6", "--config",
                 allowlist(("127.0.0.1", 443)), RUST_LOG="error")
    assert result.returncode == 1
    assert "Error at checking the allowlist: No accepted IP was found." in result.stderr


def test_a_port_that_is_taken(allowlist, peer):
    taken = peer(echo)
    result = run("--listen", taken.address, "8000", "127.0.0.1", "443", "--config", allowlist(("127.0.0.1", 443)),
                 RUST_LOG="error")
    assert result.returncode == 1
    assert result.stderr.startswith(f'Error: "Could not listen for connections: Could not bind to {taken.address}: '
                                    "Address already in use")
    assert "`ss -lntp` shows it" in result.stderr and "doctor" not in result.stderr


# ---- Bytes ----

@pytest.mark.parametrize("options", [{}, {"program": "posternd", "before": ["vsock-proxy"]}], ids=["link", "argument"])
def test_carries_bytes(echo_proxy, options):
    running = echo_proxy(**options)
    assert running.exchange() == b"hello"
    data = os.urandom(1 << 20)
    with running.connect() as client:
        sender = threading.Thread(target=lambda: (client.sendall(data), client.shutdown(SHUT_WR)))
        sender.start()
        received = read_all(client)
        sender.join()
    assert received == data
    assert running.stop() == 0
    assert not (running.folder / "proxy.sock").exists()


def test_a_name_is_looked_up(allowlist, peer, proxy):
    port = peer(echo).port
    running = proxy("-4", "localhost", port, "--config", allowlist(("localhost", port)))
    assert running.exchange() == b"hello"


def test_a_name_allowed_by_its_address_is_told(allowlist, peer, proxy):
    port = peer(echo).port
    running = proxy("-4", "localhost", port, "--config", allowlist(("127.0.0.1", port)))
    assert running.exchange() == b"hello"
    assert "Matched with host IP" in running.log()


def test_half_close_keeps_the_reply(allowlist, peer, proxy):
    port = peer(reply_after_end).port
    running = proxy("127.0.0.1", port, "--config", allowlist(("127.0.0.1", port)))
    assert running.exchange(b"question") == b"got 8 bytes"


def test_more_connections_than_workers(echo_proxy):
    running = echo_proxy("-w", "1")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(running.connect()) for _ in range(50)]
        for number, client in enumerate(clients):
            client.sendall(b"%d" % number)
        for number, client in enumerate(clients):
            assert client.recv(16) == b"%d" % number


def test_a_server_that_is_down_ends_one_connection_and_no_more(allowlist, peer, proxy):
    server = peer(echo, address=f"tcp://127.0.0.1:{free_port()}")  # one that the kernel gives to nobody when it is free again
    running = proxy("127.0.0.1", server.port, "--config", allowlist(("127.0.0.1", server.port)))
    with running.connect() as open_before:
        open_before.sendall(b"1")
        assert open_before.recv(1) == b"1"
        assert not server.close()
        with running.connect() as refused, contextlib.suppress(ConnectionResetError):
            assert refused.recv(1) == b""
        open_before.sendall(b"2")
        assert open_before.recv(1) == b"2"
    running.wait_event(reason="connect_refused")


def test_open_connections_may_finish(echo_proxy):
    running = echo_proxy()
    with running.connect() as client:
        client.sendall(b"1")
        assert client.recv(1) == b"1"
        running.process.send_signal(signal.SIGTERM)
        running.wait_event(event="draining")
        client.sendall(b"2")
        assert client.recv(1) == b"2"
    assert running.wait() == 0


# ---- What is logged ----

def test_tells_that_it_listens(echo_proxy):
    running = echo_proxy()
    line = running.wait_event(event="Proxy is now in listening state")
    assert line["listener"] == running.address and line["level"] == "info"


def test_rust_log_silences(echo_proxy):
    running = echo_proxy(RUST_LOG="error")
    running.exchange()
    assert running.stop() == 0
    assert running.log() == ""


# ---- The unit's script ----

class Metadata(http.server.BaseHTTPRequestHandler):
    """An instance metadata service."""
    token = "secret"
    region = "eu-central-1"

    def answer(self, code, text):
        self.send_response(code)
        self.end_headers()
        self.wfile.write(text.encode())

    def do_PUT(self):
        if self.token is None or self.path != "/latest/api/token":
            return self.answer(404, "not found")
        assert int(self.headers["X-aws-ec2-metadata-token-ttl-seconds"]) > 0
        return self.answer(200, self.token)

    def do_GET(self):
        if self.path != "/latest/meta-data/placement/region" or self.region is None:
            return self.answer(404, "not found")
        if self.headers.get("X-aws-ec2-metadata-token") != self.token:
            return self.answer(401, "unauthorized")
        return self.answer(200, self.region)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def start_for_kms(tmp_path):
    """Runs systemd/vsock-proxy-kms with a program that prints its arguments in the place of vsock-proxy."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho \"$@\"\n")
    program.chmod(0o755)

    def start(token="secret", region="eu-central-1", **environ):
        handler = type("Handler", (Metadata,), {"token": token, "region": region})
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as service:
            threading.Thread(target=service.serve_forever, args=(0.01,), daemon=True).start()
            result = subprocess.run(
                [REPOSITORY / "systemd" / "vsock-proxy-kms"], text=True, capture_output=True, timeout=PATIENCE,
                env={**os.environ, "VSOCK_PROXY_PROGRAM": str(program), "http_proxy": "http://127.0.0.1:9",
                     "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{service.server_port}/", **environ})
            service.shutdown()
        return result
    return start


def test_the_region_is_asked_for(start_for_kms):
    result = start_for_kms()
    assert result.returncode == 0, result.stderr
    assert result.stdout == "8000 kms.eu-central-1.amazonaws.com 443 --config /etc/nitro_enclaves/vsock-proxy.yaml\n"
    assert start_for_kms(token=None).stdout.startswith("8000 kms.eu-central-1.amazonaws.com 443 ")


def test_the_region_is_given(start_for_kms):
    result = start_for_kms(region=None, AWS_REGION="us-gov-west-1", VSOCK_PROXY_PORT="8001", VSOCK_PROXY_CONFIG="/list")
    assert result.stdout == "8001 kms.us-gov-west-1.amazonaws.com 443 --config /list\n"


@pytest.mark.parametrize("region", [None, "", "evil.example/", "a b", "<html>", "x\ny"])
def test_nothing_else_is_taken_for_a_region(start_for_kms, region):
    result = start_for_kms(region=region)
    assert result.returncode == 1 and result.stdout == ""
    assert "does not tell the region" in result.stderr


# ---- The converter ----

def convert(*arguments):
    return run("convert-allowlist", *arguments, program=PROGRAMS / "posternctl")


def test_a_converted_list_passes_the_check(allowlist, tmp_path):
    for path in (REPOSITORY / "conf" / "vsock-proxy.yaml",
                 allowlist(("kms.us-east-1.amazonaws.com", 443), ("db.example.com", 5432), ("10.0.0.1", 443), ("'::1'", 80))):
        result = convert(path, "--listen-port", 9000)
        assert result.returncode == 0, result.stderr
        assert "vsock://parent:9000" in result.stdout
        (tmp_path / "postern.yaml").write_text(result.stdout)
        check = run("--check", "--config", tmp_path / "postern.yaml", program=PROGRAMS / "posternd")
        assert check.returncode == 0, check.stderr


def test_what_cannot_be_converted_is_told(allowlist):
    result = convert(allowlist(("'*.example.com'", 443), ("a.example", 70000)))
    assert result.returncode == 1 and result.stdout == ""
    assert "allowlist.yaml:2:3: " in result.stderr and "allowlist.yaml:3:3: " in result.stderr
    assert convert("/nonexistent").returncode == 1
    assert convert().returncode == 2
