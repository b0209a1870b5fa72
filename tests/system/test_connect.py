"""The enclave's HTTPS_PROXY: what a `connect` route lets through, to whom, and what is told to those it turns away."""
import contextlib
import http.client
import json
import os
import select
import shutil
import socket
import ssl
import subprocess
import sys
import threading

import pytest

from dns_server import DnsServer
from framed import CODES
from hello import client_hello, context, hello_with
from http_peers import Answer
from postern import PATIENCE, PATIENT, abort, blackhole, echo_until_cut, free_port, http_ok, read_all, receive, reply_after_end

NAME = "api.test"
TUNNEL = b"HTTP/1.1 200 Connection established\r\n\r\n"


@pytest.fixture
def dns():
    with DnsServer() as server:
        server.set(NAME, a=["127.0.0.1"])
        yield server


def proxy_route(hosts, **route):
    return {"type": "connect", "hosts": list(hosts), "allow_private": True, **PATIENT, **route}


@pytest.fixture
def proxy(relay, dns):
    """proxy("api.test:443", ...) starts a daemon with a proxy that leads to these hosts, which may be on loopback."""
    def start(*hosts, route=None, **config):
        return relay(None, routes={"out": proxy_route(hosts, **(route or {}))},
                     dns={"servers": [dns.servers], "timeout": "5m"}, **config)
    return start


@pytest.fixture
def service(peer, authority):
    """A TLS server for NAME."""
    return lambda handler=echo_until_cut, name=NAME: peer(handler, tls=authority.server_context(name))


def ask(port, host=NAME, more=b""):
    return b"CONNECT %s:%d HTTP/1.1\r\nHost: %s:%d\r\n%s\r\n" % (host.encode(), port, host.encode(), port, more)


def read_head(connection):
    head = b""
    while not head.endswith(b"\r\n\r\n") and (byte := connection.recv(1)):
        head += byte
    return head


def read_answer(connection):
    """(status, problem) of an answer that is not 200; then the connection ends."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    assert answer.getheader("Content-Type") == "application/problem+json" and answer.getheader("Connection") == "close"
    problem = json.loads(answer.read())
    assert connection.recv(1) == b""
    return answer.status, problem


def talk_tls(connection, made, name):
    with made.wrap_socket(connection, server_hostname=name) as secure:
        secure.sendall(b"hello")
        return receive(secure, 5)


def how_it_ended(daemon):
    """Which side is the last to close, and whether something is still on its way to it that it resets then, is theirs to settle."""
    ended = daemon.wait_event(event="stream ended", route="out")
    assert ended["reason"] in ("finished", "client_reset", "upstream_reset") and ended["sni"] == NAME
    return ended


def url_of(daemon):
    return daemon.at.replace("tcp://", "http://")


# ---- Clients of others ----

@pytest.mark.parametrize("option", [["--proxytunnel"], ["--proxytunnel", "--proxy1.0"], ["--proxy-user", "payroll:secret"]],
                         ids=["1.1", "1.0", "credentials"])
def test_curl(proxy, service, authority, option):
    server = service(http_ok)
    daemon = proxy(f"{NAME}:{server.port}")
    where = ["--proxy1.0" if "--proxy1.0" in option else "-x", url_of(daemon)]
    rest = [word for word in option if word != "--proxy1.0"]
    run = subprocess.run(["curl", "-sS", "--cacert", authority.file, *where, *rest, "--max-time", f"{PATIENCE:.0f}",
                          f"https://{NAME}:{server.port}/"], text=True, capture_output=True)
    assert (run.returncode, run.stdout) == (0, "hello\n"), run.stderr
    ended = how_it_ended(daemon)
    assert ended["destination"] == f"tcp://{NAME}:{server.port}" and ended["address"] == f"127.0.0.1:{server.port}"
    assert "secret" not in daemon.log()


def test_curl_does_not_take_another_server_for_the_one_it_wanted(proxy, service, authority):
    server = service(http_ok, name="other.test")
    daemon = proxy(f"{NAME}:{server.port}")
    run = subprocess.run(["curl", "-sS", "--cacert", authority.file, "-x", url_of(daemon), f"https://{NAME}:{server.port}/"],
                         text=True, capture_output=True)
    assert run.returncode == 60, run.stderr
    server.problems.clear()  # the handshake, which the client broke off


def run_with_proxy(daemon, authority, *command):
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.run(command, text=True, capture_output=True, timeout=PATIENCE,
                          env={**environment, "HTTPS_PROXY": url_of(daemon), "SSL_CERT_FILE": str(authority.file)})


def test_python_by_its_environment(proxy, service, authority):
    server = service(http_ok)
    daemon = proxy(f"{NAME}:{server.port}")
    run = run_with_proxy(daemon, authority, sys.executable, "-c", "import sys, urllib.request as r\n"
                         "print(r.urlopen(sys.argv[1]).read().decode())", f"https://{NAME}:{server.port}/")
    assert run.returncode == 0 and run.stdout == "hello\n\n", run.stderr


def test_python_is_told_why_not(proxy, service, authority):
    daemon = proxy("other.test:443")
    run = run_with_proxy(daemon, authority, sys.executable, "-c", "import sys, urllib.request as r\n"
                         "r.urlopen(sys.argv[1])", f"https://{NAME}/")
    assert run.returncode == 1 and "403" in run.stderr
    daemon.wait_ended("denied_host")


def test_pythons_http_client(proxy, service, authority):
    server = service(http_ok)
    daemon = proxy(f"{NAME}:{server.port}")
    host, _, port = daemon.at.removeprefix("tcp://").rpartition(":")
    connection = http.client.HTTPSConnection(host, int(port), context=context(authority))
    connection.set_tunnel(NAME, server.port, headers={"Proxy-Authorization": "Basic c2VjcmV0"})
    with contextlib.closing(connection):
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"hello\n"


NODE = """
const http = require("http"), https = require("https"), tls = require("tls");
const [host, port, name, at] = process.argv.slice(1);
const ask = http.request({host, port, method: "CONNECT", path: `${name}:${at}`});
ask.on("connect", (answer, socket) => {
  if (answer.statusCode !== 200) { console.error(answer.statusCode); process.exit(1); }
  const agent = new https.Agent();
  agent.createConnection = () => tls.connect({socket, servername: name});
  https.get({host: name, port: at, path: "/", agent}, (got) => { got.pipe(process.stdout); });
});
ask.on("error", (problem) => { console.error(problem); process.exit(1); });
ask.end();
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_node(proxy, service, authority):
    """Whose Host header names the proxy."""
    server = service(http_ok)
    daemon = proxy(f"{NAME}:{server.port}")
    host, _, port = daemon.at.removeprefix("tcp://").rpartition(":")
    run = subprocess.run(["node", "-e", NODE, host, port, NAME, str(server.port)], text=True, capture_output=True, timeout=PATIENCE,
                         env={**os.environ, "NODE_EXTRA_CA_CERTS": str(authority.file)})
    assert (run.returncode, run.stdout) == (0, "hello\n"), run.stderr


# ---- The tunnel ----

@pytest.mark.parametrize("listen", ["tcp", "unix", "hybrid"])
def test_bytes_pass_untouched_and_ends_one_by_one(proxy, service, authority, listen):
    server = service(reply_after_end_of_tls)
    daemon = proxy(f"{NAME}:{server.port}", listen=listen)
    with daemon.connect() as client:
        client.sendall(ask(server.port))
        assert read_head(client) == TUNNEL
        assert talk_tls(client, context(authority), NAME) == b"hello"
    how_it_ended(daemon)


def reply_after_end_of_tls(connection):
    connection.sendall(receive(connection, 5))
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        connection.unwrap()


def test_a_hello_that_comes_with_the_request_belongs_to_the_tunnel(proxy, peer):
    hello = client_hello(NAME)
    seen = []
    server = peer(lambda connection: seen.append(receive(connection, len(hello) + 4)))
    daemon = proxy(f"{NAME}:{server.port}")
    with daemon.connect() as client:
        client.sendall(ask(server.port) + hello + b"more")
        assert read_head(client) == TUNNEL
        assert client.recv(1) == b""
    assert seen == [hello + b"more"]
    daemon.wait_ended("finished")


def test_everything_in_single_bytes(proxy, peer):
    hello = client_hello(NAME)
    seen = []
    server = peer(lambda connection: seen.append(receive(connection, len(hello))))
    daemon = proxy(f"{NAME}:{server.port}")
    with daemon.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in ask(server.port):
            client.sendall(bytes([byte]))
        assert read_head(client) == TUNNEL
        for byte in hello:
            client.sendall(bytes([byte]))
        assert client.recv(1) == b""
    assert seen == [hello]


def test_half_closing(proxy, peer):
    """The tunnel is a relay's from the hello on."""
    hello = client_hello(NAME)
    server = peer(reply_after_end)
    daemon = proxy(f"{NAME}:{server.port}")
    with daemon.connect() as client:
        client.sendall(ask(server.port))
        assert read_head(client) == TUNNEL
        client.sendall(hello + bytes(100000))
        client.shutdown(socket.SHUT_WR)
        assert receive(client, 1000) == b"got %d bytes" % (len(hello) + 100000)
    ended, = daemon.wait_ended("finished")
    assert ended["bytes_in"] == len(hello) + 100000


def test_nothing_of_the_server_comes_before_the_hello(proxy, peer):
    greeting, spoke = b"220 mail.test ESMTP\r\n", threading.Event()

    def speaks_first(connection):
        connection.sendall(greeting)
        spoke.set()
        read_until_cut(connection)
    server = peer(speaks_first)
    daemon = proxy(f"{NAME}:{server.port}")
    with daemon.connect() as client:
        client.sendall(ask(server.port))
        assert read_head(client) == TUNNEL and spoke.wait(PATIENCE)
        assert not select.select([client], [], [], 0.2)[0]
        client.sendall(client_hello(NAME))
        assert receive(client, len(greeting)) == greeting
    daemon.wait_event(event="stream ended")


def test_a_server_that_leaves_before_the_hello(proxy, peer):
    """It does not come as far as being told whom the tunnel is for."""
    told = threading.Event()
    server = peer(lambda connection: abort(connection) if told.wait(PATIENCE) else None)
    daemon = proxy(f"{NAME}:{server.port}")
    with daemon.connect() as client:
        client.sendall(ask(server.port))
        assert read_head(client) == TUNNEL
        told.set()
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1000) == b""
    daemon.wait_ended("upstream_reset")


def test_an_idle_tunnel(proxy, peer):
    daemon = proxy(f"{NAME}:{peer(read_until_cut).port}", route={"idle_timeout": "200ms"})
    port = int(daemon.config["routes"]["out"]["hosts"][0].rpartition(":")[2])
    with daemon.connect() as client, contextlib.suppress(ConnectionResetError):
        client.sendall(ask(port) + client_hello(NAME))
        read_all(client)
    daemon.wait_ended("idle_timeout")


def read_until_cut(connection):
    with contextlib.suppress(ConnectionError):
        read_all(connection)


# ---- What has to stand in the tunnel ----

HELLOS = {
    "another name": (client_hello("evil.test"), "denied_sni", 112),
    "another name that is allowed": (client_hello("other.test"), "denied_sni", 112),
    "the name as a prefix": (client_hello(f"{NAME}.evil.test"), "denied_sni", 112),
    "no name": (client_hello(None), "no_sni", 112),
    "no honest hello": (hello_with([(14, b"\0\0\0")]), "bad_hello", 50),
    "HTTP": (b"GET / HTTP/1.1\r\n\r\n", "not_tls", None),
    "one byte of something else": (b"S", "not_tls", None),
}


@pytest.mark.parametrize("at_once", [False, True], ids=["after", "at once"])
@pytest.mark.parametrize("what", HELLOS)
def test_only_tls_for_the_host_that_was_asked_for(proxy, peer, what, at_once):
    data, reason, alert = HELLOS[what]
    got = []
    server = peer(lambda connection: got.append(reads(connection)))
    daemon = proxy(f"{NAME}:{server.port}", f"other.test:{server.port}")
    with daemon.connect() as client:
        client.sendall(ask(server.port) + (data if at_once else b""))
        if not at_once or alert is not None:
            assert read_head(client) == TUNNEL
        if not at_once:
            client.sendall(data)
        if alert is not None:
            assert receive(client, 7) == bytes([21, 3, 3, 0, 2, 2, alert])
        with contextlib.suppress(ConnectionResetError):
            client.recv(1000)
    daemon.wait_ended(reason)
    daemon.wait_quiet()
    assert b"".join(got) == b""  # and the server has not seen a byte


def reads(connection):
    try:
        return connection.recv(100)
    except ConnectionResetError:
        return b""


def test_an_address_that_was_written_needs_no_name(proxy, peer):
    server = peer(echo_until_cut)
    daemon = proxy(f"127.0.0.1:{server.port}", route={"allow_private": False})
    hello = client_hello(None)
    with daemon.connect() as client:
        client.sendall(ask(server.port, "127.0.0.1") + hello)
        assert read_head(client) == TUNNEL and receive(client, len(hello)) == hello
    with daemon.connect() as client:  # but may not have another's
        client.sendall(ask(server.port, "127.0.0.1") + client_hello(NAME))
        assert read_head(client) == TUNNEL and receive(client, 7) == bytes([21, 3, 3, 0, 2, 2, 112])
    daemon.wait_ended("denied_sni")


# ---- Who is turned away ----

@pytest.mark.parametrize("host,port", [("evil.test", 443), (NAME, 80), (f"{NAME}.evil.test", 443), (f"x{NAME}", 443), ("wild.test", 443),
                                       ("a.wild.test", 444), ("127.0.0.1", 443), ("[::1]", 443), ("2130706433", 443)])
def test_hosts_and_ports_that_are_not_allowed(proxy, host, port):
    daemon = proxy(f"{NAME}:443", "*.wild.test:443")
    with daemon.connect() as client:
        client.sendall(ask(port, host))
        status, problem = read_answer(client)
    assert status == 403 and problem["code"] == "denied_host", problem
    ended, = daemon.wait_ended("denied_host")
    assert ended["detail"] == f"asked for {host}:{port}" and ended["level"] == "warn"


def test_a_name_may_not_lead_inside(proxy, dns, peer):
    """Rebinding: what the name server says is no permission."""
    server = peer(echo_until_cut)
    daemon = proxy(f"{NAME}:{server.port}", route={"allow_private": False})
    with daemon.connect() as client:
        client.sendall(ask(server.port))
        status, problem = read_answer(client)
    assert status == 403 and problem["code"] == "denied_address" and "127.0.0.1" not in json.dumps(problem)
    ended, = daemon.wait_ended("denied_address")
    assert "not public" in ended["detail"] and server.served == 0


def test_a_destination_that_refuses(proxy):
    port = free_port()
    daemon = proxy(f"{NAME}:{port}")
    with daemon.connect() as client:
        client.sendall(ask(port) + client_hello(NAME))
        status, problem = read_answer(client)
    assert status == 502 and problem["code"] == "upstream_refused"
    assert "127.0.0.1" not in json.dumps(problem)
    ended, = daemon.wait_ended("connect_refused")
    assert "127.0.0.1" in ended["detail"] and ended["destination"] == f"tcp://{NAME}:{port}"


def test_a_destination_that_does_not_answer(proxy):
    with blackhole() as port:
        daemon = proxy(f"{NAME}:{port}", route={"connect_timeout": "200ms"})
        with daemon.connect() as client:
            client.sendall(ask(port))
            status, problem = read_answer(client)
        assert status == 504 and problem["code"] == "upstream_timeout"
        daemon.wait_ended("connect_timeout")


@pytest.mark.parametrize("rule,reason", [({"rcode": "nxdomain"}, "dns_not_found"), ({"rcode": "servfail"}, "dns_failed")])
def test_a_resolver_that_fails(proxy, dns, rule, reason):
    dns.set(NAME, **rule)
    daemon = proxy(f"{NAME}:443")
    with daemon.connect() as client:
        client.sendall(ask(443))
        status, problem = read_answer(client)
    assert status == 502 and problem["code"] == "upstream_dns"
    daemon.wait_ended(reason)


# ---- Requests that are none ----

REQUESTS = {
    "a body": (ask(443, more=b"Content-Length: 4\r\n") + b"evil", 400, "unexpected_body"),
    "a chunked body": (ask(443, more=b"Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n", 400, "unexpected_body"),
    "no port": (b"CONNECT api.test HTTP/1.1\r\nHost: api.test\r\n\r\n", 400, "bad_target"),
    "a path": (b"CONNECT /api.test:443 HTTP/1.1\r\nHost: api.test\r\n\r\n", 400, "bad_target"),
    "a user": (b"CONNECT me@api.test:443 HTTP/1.1\r\nHost: api.test\r\n\r\n", 400, "bad_target"),
    "no Host": (b"CONNECT api.test:443 HTTP/1.1\r\n\r\n", 400, "bad_host"),
    "two Hosts": (ask(443, more=b"Host: evil.test\r\n"), 400, "bad_host"),
    "a bare LF": (b"CONNECT api.test:443 HTTP/1.1\nHost: api.test\n\n", 400, "bare_lf"),
    "a head without end": ((ask(443)[:-2] + b"X: ").ljust(32769, b"x"), 431, "head_too_large"),
}


@pytest.mark.parametrize("what", REQUESTS)
def test_requests_that_are_refused(proxy, what):
    data, expected, word = REQUESTS[what]
    daemon = proxy(f"{NAME}:443")
    with daemon.connect() as client:
        client.sendall(data)
        status, problem = read_answer(client)
    assert expected in (None, status) and word in (None, problem["code"]), problem
    ended, = daemon.wait_ended("bad_request")
    assert ended["detail"] == problem["code"]


def until_heard(daemon, data):
    """The answer to these bytes, and how many connections had to be made since the time of those before was up with nothing heard."""
    for silent in range(20):
        with daemon.connect() as client:
            with contextlib.suppress(ConnectionError):
                client.sendall(data)
                if piece := client.recv(65536):
                    return Answer(client, rest=piece), silent
    raise AssertionError("nothing was ever heard in time")


def test_a_client_that_does_not_finish_its_head(proxy):
    daemon = proxy(f"{NAME}:443", route={"hello_timeout": "500ms", "first_byte_timeout": "10m"})
    answer, silent = until_heard(daemon, b"CONNECT api.te")
    assert answer.status == 408 and json.loads(answer.body)["code"] == "head_timeout"
    daemon.wait_ended("hello_timeout", silent + 1)


def test_a_client_that_says_nothing(proxy):
    daemon = proxy(f"{NAME}:443", route={"hello_timeout": "200ms"})
    with daemon.connect() as client, contextlib.suppress(ConnectionResetError):
        assert client.recv(1000) == b""
    daemon.wait_ended("hello_timeout")


def test_a_client_that_leaves(proxy):
    daemon = proxy(f"{NAME}:443")
    with daemon.connect():
        pass
    daemon.wait_ended("finished")
    with daemon.connect() as client:
        client.sendall(b"CONNECT api.te")
        client.shutdown(socket.SHUT_WR)
        assert read_answer(client)[1]["code"] == "request_cut_off"
    daemon.wait_ended("bad_request")


def test_others_are_not_let_in(framed):
    """The proxy is a route like any other: by enclave."""
    daemon = framed(None, allow=["time"], routes={"out": proxy_route([f"{NAME}:443"]), "time": {"type": "time"}})
    with daemon.session() as session:
        stream = session.open("out")
        assert not stream.wait_answer() and stream.refused[1] == CODES["denied_route"]


# ---- Sessions ----

@pytest.fixture
def sessions(framed, dns):
    def start(*hosts, route=None, **config):
        return framed(None, routes={"out": proxy_route(hosts, **(route or {}))}, dns={"servers": [dns.servers], "timeout": "5m"},
                      **config)
    return start


def test_a_tunnel_in_a_session(sessions, peer):
    hello = client_hello(NAME)
    server = peer(echo_until_cut)
    daemon = sessions(f"{NAME}:{server.port}")
    with daemon.session() as session:
        stream = session.open("out")
        assert stream.wait_answer()  # at once, before anything is asked for
        stream.send(ask(server.port))
        assert stream.receive(len(TUNNEL)) == TUNNEL
        stream.send(hello)
        assert stream.receive(len(hello)) == hello
        stream.finish(b"end")
        assert stream.receive_all() == b"end"
    daemon.wait_ended("finished")


def test_a_tunnel_in_a_session_all_at_once(sessions, peer):
    hello = client_hello(NAME)
    server = peer(echo_until_cut)
    daemon = sessions(f"{NAME}:{server.port}")
    with daemon.session() as session:
        stream = session.open("out", data=ask(server.port) + hello)
        assert stream.wait_answer() and stream.receive(len(TUNNEL + hello)) == TUNNEL + hello
        stream.finish()
        assert stream.receive_all() == b""
    daemon.wait_ended("finished")


def test_refusals_in_a_session(sessions, peer):
    server = peer(echo_until_cut)
    daemon = sessions(f"{NAME}:{server.port}")
    with daemon.session() as session:
        stream = session.open("out", data=ask(443, "evil.test"))
        assert stream.wait_answer()
        answer = stream.receive_all()
        assert answer.startswith(b"HTTP/1.1 403 ") and b'"denied_host"' in answer
        daemon.wait_ended("denied_host")
        for hello, reason in ((client_hello("evil.test"), "denied_sni"), (client_hello(None), "no_sni"), (b"GET /", "not_tls")):
            stream = session.open("out")
            stream.send(ask(server.port))
            assert stream.receive(len(TUNNEL)) == TUNNEL
            stream.send(hello)
            assert stream.receive(1) == b"" and stream.reset == CODES[reason]
            daemon.wait_ended(reason)


def test_through_postern_listen(parent, listening, peer, dns, authority, folder):
    """What an enclave has: a local socket, and HTTPS_PROXY."""
    server = peer(http_ok, tls=authority.server_context(NAME))
    daemon = parent({"web": proxy_route([f"{NAME}:{server.port}"])}, dns={"servers": [dns.servers], "timeout": "5m"})
    port = free_port()
    listening(daemon, f"tcp://127.0.0.1:{port}=web")
    run = subprocess.run(["curl", "-sS", "--cacert", authority.file, f"https://{NAME}:{server.port}/"], text=True, capture_output=True,
                         env={**os.environ, "HTTPS_PROXY": f"http://127.0.0.1:{port}"})
    assert (run.returncode, run.stdout) == (0, "hello\n"), run.stderr
