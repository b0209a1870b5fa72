"""TLS through a relay, untouched, and what is refused of it: other names, no name, no TLS, no honest hello."""
import contextlib
import os
import signal
import socket
import ssl
import struct
import subprocess
import time

import pytest

from hello import Client, client_hello, context, hello_with, server_name
from postern import PATIENCE, abort, echo, echo_until_cut, free_port, http_ok, receive, wait_until

NAME = "kms.test"


@pytest.fixture
def service(peer, authority):
    """A TLS server that sends everything back."""
    return lambda name=NAME, handler=echo_until_cut: peer(handler, tls=authority.server_context(name))


@pytest.fixture
def run_server(folder):
    """Runs a server of another project until the test's end, once something accepts at the port."""
    with contextlib.ExitStack() as stack:
        def start(port, *command):
            with open(folder / "server.log", "wb") as log:
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            wait_until(lambda: accepts(port), what=f"{command[0]} at its port")
        yield start


def accepts(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def curl(daemon, authority, name, *options):
    port = daemon.at.rpartition(":")[2]
    return subprocess.run(["curl", "-sS", "--cacert", authority.file, "--resolve", f"{name}:{port}:127.0.0.1",
                           "--max-time", f"{PATIENCE:.0f}", *options, f"https://{name}:{port}/"], text=True, capture_output=True)


@contextlib.contextmanager
def standing_still(process):
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def listed(*names):
    return {"sni": list(names or [NAME])}


@pytest.mark.parametrize("curve", ["X25519:P-256", "P-256", "P-521:P-256"])
@pytest.mark.parametrize("version", ["--tls-max=1.2", "--tlsv1.3"])
def test_curl_through_the_relay_to_openssl(relay, authority, run_server, curve, version):
    port = free_port()
    certificate, key = authority.certify(NAME)
    run_server(port, "openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", certificate, "-key", key, "-www")
    daemon = relay(f"tcp://127.0.0.1:{port}", route=listed())
    run = curl(daemon, authority, NAME, "--curves", curve, *version.split("="))
    assert run.returncode == 0 and "Ciphers supported" in run.stdout, run.stderr
    assert how_curl_ended(daemon)["bytes_out"] > 1000


def how_curl_ended(daemon):
    """Which side is the last to close, and whether something is still on its way to it that it resets then, is theirs to settle."""
    ended = daemon.wait_event(event="stream ended", sni=NAME)
    assert ended["reason"] in ("finished", "client_reset", "upstream_reset") and ended["bytes_in"] > 300
    return ended


def test_curl_through_the_relay_to_nginx(relay, authority, run_server, folder):
    port = free_port()
    certificate, key = authority.certify(NAME)
    size = 5_000_000
    (folder / "index.html").write_bytes(os.urandom(size))
    (folder / "nginx.conf").write_text(f"""
        daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
        events {{}}
        http {{
            access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
            uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
            server {{ listen 127.0.0.1:{port} ssl http2; root {folder};
                      ssl_certificate {certificate}; ssl_certificate_key {key}; }}
        }}""")
    os.chmod(folder, 0o755)
    run_server(port, "nginx", "-c", folder / "nginx.conf", "-e", folder / "error.log")
    daemon = relay(f"tcp://127.0.0.1:{port}", route=listed())
    run = curl(daemon, authority, NAME, "-o", folder / "copy", "-w", "%{http_version} %{ssl_verify_result}")
    assert (run.returncode, run.stdout) == (0, "2 0"), run.stderr
    assert (folder / "copy").read_bytes() == (folder / "index.html").read_bytes()
    assert how_curl_ended(daemon)["bytes_out"] > size


def test_curl_sees_that_its_name_is_refused(relay, authority, service):
    daemon = relay(service("other.test").address, route=listed())
    run = curl(daemon, authority, "other.test")
    assert run.returncode == 35 and "unrecognized name" in run.stderr, run.stderr
    ended, = daemon.wait_ended("denied_sni")
    assert ended["sni"] == "other.test" and ended["level"] == "warn"


def test_the_alert_arrives_though_the_client_sends_on(relay, service):
    """Closing with bytes unread would reset the connection, and take the alert along. So may what comes once it is closed: the
    daemon stands still until it has all, as a unix socket has when the call returns."""
    daemon = relay(service().address, listen="unix", route=listed())
    for _ in range(20):
        with daemon.connect() as client:
            with standing_still(daemon.process):
                client.sendall(client_hello("other.test") + bytes(60000))
            assert receive(client, 100) == bytes([21, 3, 3, 0, 2, 2, 112])
    daemon.wait_ended("denied_sni", count=20)


def broken(data, at, value):
    return data[:at] + bytes([value]) + data[at + 1:]


PLAIN = hello_with([server_name(NAME.encode())])
HOSTILE = {
    "another name": (client_hello("evil.test"), "denied_sni"),
    "a longer name": (client_hello(f"a.{NAME}"), "denied_sni"),
    "the name as a prefix": (client_hello(f"{NAME}.evil.test"), "denied_sni"),
    "what log and metrics might stumble over": (hello_with([server_name(b'x"}\\n{"a=b%s${jndi:ldap}')]), "denied_sni"),
    "no name": (client_hello(None), "no_sni"),
    "no extensions": (hello_with([]), "no_sni"),
    "HTTP": (b"GET / HTTP/1.1\r\nHost: kms.test\r\n\r\n", "not_tls"),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", "not_tls"),
    "one byte of something else": (b"\0", "not_tls"),
    "an empty name": (hello_with([server_name(b"")]), "bad_hello"),
    "a name with a newline": (hello_with([server_name(b"a\nb")]), "bad_hello"),
    "a name with a NUL": (hello_with([server_name(b"kms.test\0.evil.test")]), "bad_hello"),
    "two names": (hello_with([server_name(NAME.encode()), server_name(b"evil.test")]), "bad_hello"),
    "a wrong length inside": (broken(PLAIN, 43, 1), "bad_hello"),
    "an empty record": (b"\x16\x03\x01\0\0" + PLAIN, "bad_hello"),
    "an alert before the hello's end": (b"\x16\x03\x01\0\4\1\0\1\0" + b"\x15\x03\x01\0\2\2\0", "bad_hello"),
    "a hello over the bound": (b"\x16\x03\x01\x40\0\1\xff\xff\xff" + bytes(16380), "bad_hello"),
    "a hello in records of one byte, over the bound": (b"".join(b"\x16\x03\x01\0\1" + bytes([byte]) for byte in
                                                       b"\1\0\xff\xff" + bytes(20000)), "bad_hello"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hello_that_is_refused(relay, peer, what):
    data, reason = HOSTILE[what]
    server = peer(echo)
    daemon = relay(server.address, route=listed())
    series = len(daemon.metrics())
    with daemon.connect() as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(data)
        with contextlib.suppress(ConnectionResetError):
            answer = client.recv(100)
            assert answer == b"" or (reason != "not_tls" and answer[0] == 21)
    ended, = daemon.wait_ended(reason)
    assert ended["bytes_in"] == 0
    assert server.served == 0
    assert len(daemon.metrics()) == series
    assert all(line.startswith("{") and line.endswith("}") for line in daemon.log().splitlines())


@pytest.mark.parametrize("said", [b"", b"\x16", PLAIN[:-1]], ids=["nothing", "a byte", "all but a byte"])
def test_a_client_that_does_not_finish_its_hello(relay, peer, said):
    daemon = relay(peer(echo).address, route={**listed(), "hello_timeout": "300ms"})
    with daemon.connect() as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(said)
            assert client.recv(1) == b""
    ended, = daemon.wait_ended("hello_timeout")
    assert 300 <= ended["duration_ms"]


def test_a_hello_that_drips_past_its_time_is_cut(relay, peer):
    """Progress does not buy time: the bound is on the whole hello."""
    daemon = relay(peer(echo).address, route={**listed(), "hello_timeout": "500ms"})
    with daemon.connect() as client:
        with pytest.raises(ConnectionError):
            for byte in client_hello(NAME) * 100:
                client.sendall(bytes([byte]))
                time.sleep(0.01)
    daemon.wait_ended("hello_timeout")


def test_a_client_that_leaves_in_its_hello(relay, peer):
    daemon = relay(peer(echo).address, route=listed())
    with daemon.connect() as client:
        client.sendall(PLAIN[:50])
        abort(client)
    daemon.wait_ended("client_reset")
    with daemon.connect() as client:
        client.sendall(PLAIN[:50])
    daemon.wait_ended("bad_hello")
    with daemon.connect() as client:
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    daemon.wait_ended("finished")


def by_bytes(connection):
    def send(data):
        for byte in data:
            connection.sendall(bytes([byte]))
    return send


def by_records(size):
    """The first message, cut into records of that size."""
    def wrap(connection):
        first = [True]

        def send(data):
            if first.pop() if first else False:
                length, = struct.unpack(">H", data[3:5])
                assert len(data) == 5 + length
                payload = data[5:]
                data = b"".join(data[:3] + struct.pack(">H", len(payload[at:at + size])) + payload[at:at + size]
                                for at in range(0, length, size))
            connection.sendall(data)
        return send
    return wrap


@pytest.mark.parametrize("send", [by_bytes, by_records(1), by_records(100)], ids=["by bytes", "records of 1", "records of 100"])
def test_a_hello_in_any_pieces(relay, authority, service, send):
    daemon = relay(service().address, route=listed())
    with daemon.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = Client(client, context(authority), NAME, send(client)).handshake()
        assert tls.exchange(b"hello") == b"hello"
    daemon.wait_event(event="stream ended", sni=NAME)


@pytest.mark.parametrize("kib", [16, 40])
def test_a_large_hello(relay, authority, service, kib):
    """As large as post-quantum key shares and ECH make it, and larger: replayed untouched, or the handshake would fail."""
    made = context(authority)
    made.set_alpn_protocols([f"{number:0200}" for number in range(kib * 5)])
    assert len(client_hello(NAME, made)) > kib * 1000
    daemon = relay(service().address, route=listed())
    with daemon.connect() as client:
        assert Client(client, made, NAME).handshake().exchange(b"hello") == b"hello"
    daemon.wait_quiet()
    assert set(daemon.status()["routes"][0]["ended"]) <= {"finished", "client_reset"}


@pytest.mark.parametrize("name", [NAME.upper(), f"{NAME}.", "a.wild.test", "b.a.wild.test"])
def test_names_that_are_allowed(relay, peer, name):
    """Whatever the name, the hello arrives as it was."""
    received = []
    server = peer(lambda connection: received.append(receive(connection, 4096)))
    daemon = relay(server.address, route=listed(NAME, "*.wild.test"))
    data = hello_with([server_name(name.encode())])
    with daemon.connect() as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    daemon.wait_ended("finished")
    assert received == [data]


def test_a_wildcard_is_not_the_domain_itself(relay, peer):
    daemon = relay(peer(echo).address, route=listed("*.wild.test"))
    with daemon.connect() as client:
        client.sendall(client_hello("wild.test"))
        assert client.recv(1) == b"\x15"
    daemon.wait_ended("denied_sni")


def test_the_name_chooses_among_several(relay, authority, service):
    def says(word):
        return lambda connection: connection.sendall(word)
    one, two = service("pay.test", says(b"one")), service("x.fraud.test", says(b"two"))
    daemon = relay({"sni": {"pay.test": one.address, "*.fraud.test": two.address}})
    for name, word, to in (("pay.test", b"one", one), ("x.fraud.test", b"two", two)):
        with daemon.connect() as client, context(authority).wrap_socket(client, server_hostname=name) as tls:
            assert tls.recv(100) == word
        daemon.wait_event(event="stream ended", sni=name, destination=to.address)
    with daemon.connect() as client:
        client.sendall(client_hello("none.test"))
        assert client.recv(1) == b"\x15"
    daemon.wait_ended("denied_sni")


def test_what_is_not_checked_passes(relay, peer):
    """A route without `sni:` looks at nothing."""
    daemon = relay(peer(http_ok).address)
    with daemon.connect() as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert receive(client, 9) == b"HTTP/1.1 "


def test_a_tls_client_is_told_that_the_destination_is_down(relay):
    daemon = relay(f"tcp://127.0.0.1:{free_port()}", route=listed())
    with daemon.connect() as client:
        with pytest.raises(ssl.SSLError, match="INTERNAL_ERROR"):
            context().wrap_socket(client, server_hostname=NAME)
    daemon.wait_ended("connect_refused")
