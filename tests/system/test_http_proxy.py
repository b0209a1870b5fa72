"""The enclave's http_proxy: requests in absolute form to a `connect` route, to whom they go and what goes with them. Tunnels: test_connect.py."""
import os
import signal
import subprocess
import sys

import pytest

from hello import client_hello
from http_peers import Answer, Answering, Store, chunked
from postern import PATIENCE, blackhole, free_port, listen
from test_connect import NAME, dns, proxy, proxy_route, sessions, until_heard, url_of  # noqa: F401  (fixtures)
from test_forward import Channel, outcomes

OTHER = "other.test"


@pytest.fixture
def store():
    with Store() as server:
        yield server


@pytest.fixture(params=["tcp", "unix", "framed"])
def client_of(request, proxy, sessions):  # noqa: F811
    """client_of("api.test:80", ...) is (daemon, connect): a proxy to these hosts, and how an enclave connects to it."""
    def start(*hosts, **options):
        if request.param == "framed":
            daemon = sessions(*hosts, **options)
            return daemon, lambda: Channel(daemon)
        daemon = proxy(*hosts, listen=request.param, **options)
        return daemon, daemon.connect
    return start


def get(port, path="/", host=NAME, method="GET", headers=(), body=b"", scheme="http"):
    authority = f"{host}:{port}" if port else host
    fields = "".join(f"{field}\r\n" for field in (f"Host: {authority}", *headers))
    return f"{method} {scheme}://{authority}{path} HTTP/1.1\r\n{fields}\r\n".encode() + body


def curl(daemon, *arguments):
    run = subprocess.run(["curl", "-sS", "-x", url_of(daemon), "--max-time", f"{PATIENCE:.0f}", *arguments], text=True, capture_output=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def python(daemon, script, *arguments):
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.run([sys.executable, "-c", "import sys, urllib.request as r\n" + script, *arguments], text=True, capture_output=True,
                          timeout=PATIENCE, env={**environment, "http_proxy": url_of(daemon)})


def refused(daemon, reason, status, count=1):
    line = daemon.wait_event(event="request refused", reason=reason)
    assert line["level"] == "warn" and line["status"] == status and outcomes(daemon) == {reason: count}
    daemon.wait_ended("finished", count)
    return line


# ---- Clients of others ----

def test_curl_with_several_requests_on_one_connection(proxy, store):  # noqa: F811
    daemon = proxy(f"{NAME}:{store.port}")
    url = f"http://{NAME}:{store.port}"
    said = curl(daemon, "--proxy-user", "payroll:secret", "-w", "%{num_connects} %{http_code}\n", f"{url}/a?run=7", f"{url}/b", f"{url}/c")
    assert said == "stored\n1 200\nstored\n0 200\nstored\n0 200\n"
    assert [(seen.method, seen.path) for seen in store.seen] == [("GET", "/a?run=7"), ("GET", "/b"), ("GET", "/c")]
    for seen in store.seen:
        assert seen.values("host") == [f"{NAME}:{store.port}"]
        assert not [field for field, _ in seen.headers if field.lower().startswith("proxy-")]
    ended, = daemon.wait_ended("finished")
    assert ended["requests"] == 3 and ended["bytes_out"] > 0 and "secret" not in daemon.log() and "run=7" not in daemon.log()
    lines = daemon.events(event="request forwarded")
    assert [(line["host"], line["path"], line["status"], line["route"]) for line in lines] == \
        [(f"{NAME}:{store.port}", path, 200, "out") for path in ("/a", "/b", "/c")]
    assert {line["address"] for line in lines} == {f"127.0.0.1:{store.port}"} and outcomes(daemon) == {"2xx": 3}


def test_curl_sends_bodies(proxy, store, tmp_path):  # noqa: F811
    daemon = proxy(f"{NAME}:{store.port}")
    body = tmp_path / "body"
    body.write_bytes(bytes(range(256)) * 8192)
    url = f"http://{NAME}:{store.port}/up"
    assert curl(daemon, "--data-binary", f"@{body}", url) == "stored\n"
    assert curl(daemon, "-H", "Transfer-Encoding: chunked", "-T", str(body), url) == "stored\n"
    assert [(seen.method, seen.body == body.read_bytes()) for seen in store.seen] == [("POST", True), ("PUT", True)]


def test_python_by_its_environment(proxy, store):  # noqa: F811
    daemon = proxy(f"{NAME}:{store.port}")
    run = python(daemon, "for path in ('/a', '/b'):\n  print(r.urlopen(sys.argv[1] + path).read())", f"http://{NAME}:{store.port}")
    assert (run.returncode, run.stdout) == (0, "b'stored\\n'\n" * 2), run.stderr
    assert [seen.path for seen in store.seen] == ["/a", "/b"]


def test_python_is_told_why_not(proxy, store):  # noqa: F811
    daemon = proxy(f"{OTHER}:{store.port}")
    run = python(daemon, "r.urlopen(sys.argv[1])", f"http://{NAME}:{store.port}/")
    assert run.returncode == 1 and "403" in run.stderr and not store.seen
    refused(daemon, "denied_host", 403)


def test_through_postern_listen(parent, listening, dns, store):  # noqa: F811
    """What an enclave has: a local socket, and http_proxy."""
    daemon = parent({"web": proxy_route([f"{NAME}:{store.port}"])}, dns={"servers": [dns.servers], "timeout": "5m"})
    port = free_port()
    listening(daemon, f"tcp://127.0.0.1:{port}=web")
    run = subprocess.run(["curl", "-sS", f"http://{NAME}:{store.port}/a", f"http://{NAME}:{store.port}/b"], text=True, capture_output=True,
                         env={**os.environ, "http_proxy": f"http://127.0.0.1:{port}"})
    assert (run.returncode, run.stdout) == (0, "stored\nstored\n"), run.stderr


# ---- What goes, and where ----

def test_one_connection_to_many_hosts(client_of, dns, store):  # noqa: F811
    """Each request leads where it says."""
    dns.set(OTHER, a=["127.0.0.1"])
    with Store(lambda seen: (200, {}, b"the other")) as other:
        daemon, connect = client_of(f"{NAME}:{store.port}", f"*.test:{other.port}")
        with connect() as client:
            for port, host, body in ((store.port, NAME, b"stored\n"), (other.port, OTHER, b"the other"), (store.port, NAME, b"stored\n")):
                client.sendall(get(port, host=host))
                answer = Answer(client)
                assert (answer.status, answer.body, answer.keeps_open) == (200, body, True)
        assert [len(server.seen) for server in (store, other)] == [2, 1]
    assert daemon.wait_ended("finished")[0]["requests"] == 3


def test_requests_that_come_at_once(client_of, store):
    daemon, connect = client_of(f"{NAME}:{store.port}")
    data = get(store.port, "/1") + get(store.port, "/2", method="POST", headers=["Content-Length: 4"], body=b"body") + get(store.port, "/3")
    with connect() as client:
        client.sendall(data)
        rest = b""
        for _ in range(3):
            answer = Answer(client, rest=rest)
            assert answer.body == b"stored\n"
            rest = answer.rest
    assert [(seen.path, seen.body) for seen in store.seen] == [("/1", b""), ("/2", b"body"), ("/3", b"")]
    daemon.wait_ended("finished")


def test_everything_in_single_bytes(client_of, store):
    daemon, connect = client_of(f"{NAME}:{store.port}")
    with connect() as client:
        for byte in get(store.port, "/up", method="POST", headers=["Content-Length: 4"], body=b"body"):
            client.sendall(bytes([byte]))
        assert Answer(client).body == b"stored\n"
    assert store.seen[0].body == b"body"
    daemon.wait_ended("finished")


def test_large_bodies_both_ways(client_of):
    body = os.urandom(1 << 20) * 4
    with Store(lambda seen: (200, {}, seen.body)) as store:
        daemon, connect = client_of(f"{NAME}:{store.port}")
        with connect() as client:
            client.sendall(get(store.port, method="POST", headers=[f"Content-Length: {len(body)}"], body=body))
            assert Answer(client).body == body
            client.sendall(get(store.port, method="PUT", headers=["Transfer-Encoding: chunked"], body=chunked(body[:99999], body[99999:100000])))
            assert Answer(client).body == body[:100000]
    daemon.wait_ended("finished")
    line, _ = daemon.events(event="request forwarded")
    assert line["body_in"] == line["body_out"] == len(body)


def test_what_is_of_one_connection_does_not_cross(proxy, store):  # noqa: F811
    daemon = proxy(f"{NAME}:{store.port}")
    own = ["Connection: keep-alive, x-named", "X-Named: 1", "Keep-Alive: 5", "TE: trailers", "Proxy-Connection: keep-alive",
           "Proxy-Authorization: Basic c2VjcmV0", "Proxy-Own: 1", "X-Kept: 1"]
    with daemon.connect() as client:
        client.sendall(get(store.port, host=NAME.upper(), headers=own))
        assert Answer(client).status == 200
    seen, = store.seen
    assert {field.lower() for field, _ in seen.headers} == {"host", "x-kept"} and seen.values("host") == [f"{NAME.upper()}:{store.port}"]


def test_an_address_that_was_written(proxy, store):  # noqa: F811
    daemon = proxy(f"127.0.0.1:{store.port}", route={"allow_private": False})
    with daemon.connect() as client:
        client.sendall(get(store.port, host="127.0.0.1"))
        assert Answer(client).status == 200


# ---- Who is turned away ----

@pytest.mark.parametrize("host,port", [("evil.test", 80), (NAME, None), (NAME, 81), (f"{NAME}.evil.test", 8080), (f"x{NAME}", 8080), ("wild.test", 8080),
                                       ("a.wild.test", None), ("127.0.0.1", 8080), ("[::1]", 8080), ("2130706433", 8080)])
def test_hosts_and_ports_that_are_not_allowed(proxy, host, port):  # noqa: F811
    daemon = proxy(f"{NAME}:8080", "*.wild.test:8080")
    with daemon.connect() as client:
        client.sendall(get(port, host=host))
        answer = Answer(client)
    asked = f"{host}:{port}" if port else host
    assert (answer.status, answer.code) == (403, "denied_host")
    line = refused(daemon, "denied_host", 403)
    assert line["host"] == asked and line["detail"] == f"asked for {asked}"


def test_a_host_that_is_not_allowed_after_one_that_is(client_of, store):
    daemon, connect = client_of(f"{NAME}:{store.port}")
    with connect() as client:
        client.sendall(get(store.port) + get(store.port, host=OTHER) + get(store.port, "/never"))
        first = Answer(client)
        second = Answer(client, rest=first.rest)
    assert (first.status, second.status, second.code) == (200, 403, "denied_host") and not second.keeps_open
    daemon.wait_ended("finished")
    assert len(store.seen) == 1


def test_a_name_may_not_lead_inside(proxy, store):  # noqa: F811
    """Rebinding: what the name server says is no permission."""
    daemon = proxy(f"{NAME}:{store.port}", route={"allow_private": False})
    with daemon.connect() as client:
        client.sendall(get(store.port))
        answer = Answer(client)
    assert (answer.status, answer.code) == (403, "denied_address") and b"127.0.0.1" not in answer.body
    assert "not public" in refused(daemon, "denied_address", 403)["detail"] and not store.connections


def test_a_host_that_refuses(client_of):
    port = free_port()
    daemon, connect = client_of(f"{NAME}:{port}")
    with connect() as client:
        client.sendall(get(port))
        answer = Answer(client)
    assert (answer.status, answer.code) == (502, "upstream_refused") and b"127.0.0.1" not in answer.body
    assert "127.0.0.1" in refused(daemon, "upstream_refused", 502)["detail"]


def test_a_host_that_does_not_answer(proxy):  # noqa: F811
    with blackhole() as port:
        daemon = proxy(f"{NAME}:{port}", route={"connect_timeout": "200ms"})
        with daemon.connect() as client:
            client.sendall(get(port))
            assert Answer(client).status == 504
        refused(daemon, "upstream_timeout", 504)


def test_a_host_that_takes_the_request_and_does_not_answer(proxy):  # noqa: F811
    silent, _ = listen("tcp://127.0.0.1:0")
    with silent:
        port = silent.getsockname()[1]
        daemon = proxy(f"{NAME}:{port}", route={"first_byte_timeout": "200ms"})
        with daemon.connect() as client:
            client.sendall(get(port))
            assert Answer(client).status == 504
        refused(daemon, "response_timeout", 504)


@pytest.mark.parametrize("rule", ["nxdomain", "servfail"])
def test_a_resolver_that_fails(proxy, dns, rule):  # noqa: F811
    dns.set(NAME, rcode=rule)
    daemon = proxy(f"{NAME}:8080")
    with daemon.connect() as client:
        client.sendall(get(8080))
        assert Answer(client).status == 502
    refused(daemon, "upstream_dns", 502)


def test_an_answer_that_breaks(proxy):  # noqa: F811
    """Nobody takes it for a whole one."""
    def script(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    upstream = Answering(script)
    daemon = proxy(f"{NAME}:{upstream.port}")
    with daemon.connect() as client:
        client.sendall(get(upstream.port))
        with pytest.raises(ConnectionResetError):
            Answer(client)
    upstream.close()
    daemon.wait_ended("upstream_reset")
    assert daemon.wait_event(event="request refused", reason="response_cut_off")["cut"]


# ---- Requests that are none for a proxy ----

REQUESTS = {
    "https": (get(443, scheme="https"), 400, "bad_target_form"),
    "another scheme": (get(443, scheme="ftp"), 400, "bad_target_form"),
    "origin form": (b"GET / HTTP/1.1\r\nHost: api.test\r\n\r\n", 400, "bad_target_form"),
    "asterisk form": (b"OPTIONS * HTTP/1.1\r\nHost: api.test\r\n\r\n", 400, "bad_target_form"),
    "a user": (get(443, host=f"me@{NAME}"), 400, None),
    "another Host": (b"GET http://api.test:443/ HTTP/1.1\r\nHost: evil.test\r\n\r\n", 400, "bad_host"),
    "two Hosts": (get(443, headers=["Host: api.test:443"]), 400, "bad_host"),
    "both lengths": (get(443, method="POST", headers=["Content-Length: 4", "Transfer-Encoding: chunked"], body=b"0\r\n\r\n"), 400, "both_lengths"),
    "a path with dots": (get(443, "/a/../b"), 400, "ambiguous_path"),
    "another protocol": (get(443, headers=["Connection: upgrade", "Upgrade: websocket"]), 501, "upgrade"),
    "TRACE": (get(443, method="TRACE"), 501, "unknown_method"),
    "a method in lower case": (b"connect api.test:443 HTTP/1.1\r\nHost: api.test\r\n\r\n", None, None),
    "a bare LF": (b"GET http://api.test:443/ HTTP/1.1\nHost: api.test:443\n\n", 400, "bare_lf"),
    "TLS": (client_hello(NAME), 400, None),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", None, None),
    "a head without end": (get(443, headers=["X: "])[:-4].ljust(32769, b"x"), 431, "head_too_large"),
}


@pytest.mark.parametrize("what", REQUESTS)
def test_requests_that_are_refused(proxy, what):  # noqa: F811
    data, status, word = REQUESTS[what]
    daemon = proxy(f"{NAME}:443")
    with daemon.connect() as client:
        client.sendall(data)
        answer = Answer(client)
    assert status in (None, answer.status) and word in (None, answer.code) and not answer.keeps_open, answer.body
    refused(daemon, answer.code, answer.status)


def test_a_tunnel_has_a_connection_of_its_own(proxy, store):  # noqa: F811
    daemon = proxy(f"{NAME}:{store.port}")
    with daemon.connect() as client:
        client.sendall(get(store.port))
        assert Answer(client).status == 200
        client.sendall(f"CONNECT {NAME}:{store.port} HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
        answer = Answer(client)
    assert (answer.status, answer.code, answer.keeps_open) == (501, "unknown_method", False)
    daemon.wait_ended("finished")


# ---- Time, and the end ----

def test_a_client_that_does_not_finish_its_head(proxy):  # noqa: F811
    daemon = proxy(f"{NAME}:443", route={"hello_timeout": "500ms"})
    answer, silent = until_heard(daemon, b"GET http://api.te")
    assert (answer.status, answer.code) == (408, "head_timeout")
    if silent:
        daemon.wait_ended("hello_timeout", silent)
    refused(daemon, "head_timeout", 408)


def test_a_client_that_sends_no_next_request(proxy, store):  # noqa: F811
    daemon = proxy(f"{NAME}:{store.port}", route={"idle_timeout": "1s"})
    with daemon.connect() as client:
        client.sendall(get(store.port))
        assert Answer(client).status == 200 and client.recv(1) == b""
    daemon.wait_ended("idle_timeout")


def test_a_client_that_leaves(client_of, store):
    daemon, connect = client_of(f"{NAME}:{store.port}")
    with connect() as client:
        client.sendall(b"GET http://api.te")
        client.shutdown(1)
        assert Answer(client).code == "request_cut_off"
    refused(daemon, "request_cut_off", 400)


def test_a_drain_does_not_wait_for_a_next_request(proxy, store):  # noqa: F811
    daemon = proxy(f"{NAME}:{store.port}")
    with daemon.connect() as client:
        client.sendall(get(store.port))
        assert Answer(client).status == 200
        daemon.process.send_signal(signal.SIGTERM)
        assert client.recv(1) == b""
    assert daemon.wait() == 0
    assert [line["reason"] for line in daemon.events(event="stream ended")] == ["draining"]
