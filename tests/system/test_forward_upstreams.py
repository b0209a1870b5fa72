"""The bad days of a forward route: upstreams that are down, slow, hostile, or not who they should be, each told by its word, and none
of them the end of what comes after."""
import pathlib
import socket
import ssl
import tempfile
import threading
import time

import pytest

from http_peers import Answer, Answering, Nginx, Server, Store, chunked, request
from postern import PATIENCE, Authority, abort, blackhole, free_port, sanitizers, wait_until
from test_forward import forward, wait_outcomes  # noqa: F401  (a fixture)


def ask(daemon, method="GET", **options):
    with daemon.connect() as client:
        client.sendall(request(method, **options))
        return Answer(client, method)


def refused(daemon, word, status, method="GET", **options):
    answer = ask(daemon, method, **options)
    assert (answer.status, answer.code, answer.keeps_open) == (status, word, False)
    line = daemon.wait_event(event="request refused", reason=word, request_id=answer.headers["x-request-id"])
    assert line["status"] == status
    return line, answer


# ---- Not there

def test_down_and_up_again(forward):  # noqa: F811
    port = free_port()
    daemon = forward(f"http://127.0.0.1:{port}", listen="unix")
    line, answer = refused(daemon, "upstream_refused", 502)
    assert str(port) not in answer.body.decode()  # the parent's network is the parent's own
    with Store(port=port):
        assert ask(daemon).status == 200
    refused(daemon, "upstream_refused", 502)


def test_nobody_answers(forward):  # noqa: F811
    with blackhole() as port:
        daemon = forward(f"http://127.0.0.1:{port}", listen="unix", route={"connect_timeout": "50ms"})
        refused(daemon, "upstream_timeout", 504)


def test_a_private_address(forward):  # noqa: F811
    daemon = forward("http://localhost:9", listen="unix", route={"allow_private": False})
    refused(daemon, "denied_address", 403)


def test_no_answer_in_time(forward):  # noqa: F811
    upstream = Answering(lambda connection, _: bool(connection.recv(1)))
    daemon = forward(upstream.url, listen="unix", route={"response_timeout": "50ms"})
    refused(daemon, "response_timeout", 504, "POST", body=b"x")
    wait_outcomes(daemon, {"response_timeout": 1})
    upstream.close()


def test_another_address(forward):  # noqa: F811
    """What was kept is not asked any more when the upstream has gone elsewhere; the route's name is looked up anew."""
    with Store(lambda seen: (200, {}, b"first")) as first:
        daemon = forward(first.url, listen="unix")
        assert ask(daemon).body == b"first"
        port = first.port
    with Store(lambda seen: (200, {}, b"second"), port=port):
        assert ask(daemon, "POST", body=b"x").body == b"second"  # the connection that was kept is known to be dead


# ---- Answers

GARBAGE = {
    "garbage": (b"\x16\x03\x01 what is this", "bad_response_head"),
    "no head": (b"", "upstream_reset"),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-", "response_cut_off"),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "bad_response_framing"),
    "both lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "bad_response_framing"),
    "another protocol": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "response_upgrade"),
    "interim without end": (b"HTTP/1.1 102 Processing\r\n\r\n" * 100, "too_many_interim"),
    "an endless head": (b"HTTP/1.1 200 OK\r\n" + b"X-Y: z\r\n" * 20000, "response_too_large"),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "bad_response_head"),
    "HTTP/2": (b"HTTP/2 200\r\n\r\n", "bad_response_head"),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage(forward, name):  # noqa: F811
    says, word = GARBAGE[name]

    def script(connection, _):
        connection.sendall(says)
        return False

    upstream = Answering(script)
    daemon = forward(upstream.url, listen="unix")
    with daemon.connect() as client:
        client.sendall(request("POST", body=b"x"))
        answer = Answer(client)
        assert answer.status == 502 and (answer.code == word or name == "no head"), answer.body
    wait_outcomes(daemon, {answer.code: 1})
    upstream.close()


BROKEN = {
    "a length": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf",
    "a long one": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 100000,
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    "bad chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nxyz",
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("how", ["closes", "resets"])
def test_an_answer_that_breaks_in_the_middle(forward, name, how):  # noqa: F811
    """It cannot be taken for a whole one: neither by its framing nor by how the connection ends."""
    heard = threading.Event()

    def script(connection, _):
        connection.sendall(BROKEN[name])
        assert heard.wait(PATIENCE)
        if how == "resets":
            abort(connection)
        return False

    upstream = Answering(script)
    daemon = forward(upstream.url)
    with daemon.connect() as client:
        client.sendall(request())
        if name in ("a long one", "chunks"):  # else the head may be held back for what follows, or all of it be cut off at once
            assert client.recv(1) == b"H"
        heard.set()
        with pytest.raises(ConnectionResetError):
            while client.recv(65536):
                pass
    line = daemon.wait_event(event="request refused")
    assert line["cut"] and line["status"] == 200
    daemon.wait_ended("upstream_reset")
    upstream.close()


def bodies_of_answers(forward, said, stays):  # noqa: F811
    """Of five requests on a connection, to an upstream that always says that much."""
    def script(connection, _):
        connection.sendall(said)
        return stays

    upstream = Answering(script)
    daemon = forward(upstream.url, listen="unix")
    bodies = []
    with daemon.connect() as client:
        for _ in range(5):
            client.sendall(request())
            bodies.append(Answer(client).body)
    upstream.close()
    return bodies


def test_a_second_answer_that_nobody_asked_for(forward):  # noqa: F811
    """It is nobody's: not the next request's either."""
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    assert bodies_of_answers(forward, said, stays=True) == 5 * [b"ok"]


def test_an_answer_without_a_length(forward):  # noqa: F811
    assert bodies_of_answers(forward, b"HTTP/1.1 200 OK\r\n\r\nto the end", stays=False) == 5 * [b"to the end"]


def test_a_dead_connection_that_was_kept(forward):  # noqa: F811
    """The upstream closed it as the request came: one that may be repeated is, another is not."""
    answered = []

    def script(connection, head):
        if answered and len(answered) % 2 == 1:
            answered.append("cut")
            abort(connection)
            return False
        answered.append(head.split(b" ")[0])
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return True

    upstream = Answering(script)
    daemon = forward(upstream.url, listen="unix", workers=1)
    assert ask(daemon).status == 200
    assert ask(daemon).status == 200  # on a second connection, after the first was cut
    assert daemon.metrics()["postern_upstream_retried_total"] == 1
    answer = ask(daemon, "POST", body=b"x")
    assert (answer.status, answer.code) == (502, "upstream_reset")
    upstream.close()


# ---- TLS

@pytest.fixture(scope="module")
def authority():
    """In a folder that the daemon may read whoever it is."""
    with tempfile.TemporaryDirectory(prefix="postern-") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        yield Authority(folder)


def secure(forward, store, authority, route=None, **tls):  # noqa: F811
    return forward(f"https://localhost:{store.port}", listen="unix",
                   route={"tls": {"ca": str(authority.file), **tls}, **(route or {})})


def test_a_verified_upstream(forward, authority):  # noqa: F811
    with Store(lambda seen: (200, {}, seen.body), tls=authority.server_context("localhost")) as store:
        daemon = secure(forward, store, authority)
        body = b"secret" * 100000
        with daemon.connect() as client:
            for _ in range(3):
                client.sendall(request("POST", body=body))
                assert Answer(client).body == body
        with daemon.connect() as client:
            client.sendall(request("POST", headers=["Transfer-Encoding: chunked"]) + chunked(b"x" * 70000, b"y"))
            assert Answer(client).body == b"x" * 70000 + b"y"
        assert store.seen[0].values("host") == [f"localhost:{store.port}"]


@pytest.mark.parametrize("certificate", ["other.example", "expired", "another authority"])
def test_one_who_is_not_who_it_should_be(forward, authority, tmp_path, certificate):  # noqa: F811
    """Nothing of the request is sent, and there is no way to have it sent."""
    if certificate == "expired":
        pem, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        authority._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out",
                           tmp_path / "csr", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
        authority._openssl("x509", "-req", "-in", tmp_path / "csr", "-CA", authority.file, "-CAkey", authority.folder / "authority.key",
                           "-CAcreateserial", "-out", pem, "-days", "-1", "-copy_extensions", "copy")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, key)
    else:
        whose = Authority(tmp_path) if certificate == "another authority" else authority
        context = whose.server_context("other.example" if certificate == "other.example" else "localhost")
    with Store(tls=context) as store:
        daemon = secure(forward, store, authority)
        line, _ = refused(daemon, "upstream_tls", 502, "POST", body=b"secret")
        assert line["detail"]
        assert not store.seen


def test_plain_http_where_tls_should_be(forward, authority):  # noqa: F811
    with Store() as store:
        daemon = secure(forward, store, authority)
        refused(daemon, "upstream_tls", 502)


def test_a_client_s_certificate(forward, authority):  # noqa: F811
    context = authority.server_context("localhost")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.file)
    certificate, key = authority.certify("parent.example")
    key.chmod(0o644)
    with Store(tls=context) as store:
        daemon = secure(forward, store, authority, cert=str(certificate), key=str(key))
        assert ask(daemon).status == 200
        without = secure(forward, store, authority)
        answer = ask(without)
        assert answer.status == 502 and len(store.seen) == 1


def test_no_files(forward, authority, folder):  # noqa: F811
    with Store(tls=authority.server_context("localhost")) as store:
        ca = folder / "ca.pem"
        daemon = forward(f"https://localhost:{store.port}", listen="unix", route={"tls": {"ca": str(ca)}})
        line, answer = refused(daemon, "tls_unavailable", 500)
        assert str(ca) in line["detail"] and str(ca).encode() not in answer.body
        ca.write_bytes(authority.file.read_bytes())
        ca.chmod(0o644)
        assert ask(daemon).status == 200  # without a reload


@pytest.fixture
def settled(authority):
    """The authority, when its file is so old that it is not read again each second."""
    wait_until(lambda: time.time() - authority.file.stat().st_ctime > 4, what="time to pass")
    return authority


class SServer(Server):
    """OpenSSL's own, which closes after each request, and tells of the handshake."""

    def __init__(self, certificate, key, version):
        self.port = free_port()
        super().__init__(["openssl", "s_server", "-www", "-accept", f"127.0.0.1:{self.port}", "-cert", str(certificate), "-key", str(key),
                          "-" + version.lower().replace("v", "").replace(".", "_")], {})


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_handshakes_with_openssl_are_resumed(forward, settled, version):  # noqa: F811
    with SServer(*settled.certify("localhost"), version) as store:
        daemon = secure(forward, store, settled)
        with daemon.connect() as client:
            for number in range(6):
                client.sendall(request())
                said = Answer(client).body
                assert (b"Reused, " if number else b"New, ") + version.encode() in said, said
        assert daemon.metrics()["postern_upstream_tls_resumed_total"] == 5


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_handshakes_with_nginx_are_resumed(forward, settled, version):  # noqa: F811
    """Each connection carries two requests, and waits in between."""
    certificate, key = settled.certify("localhost")
    port = free_port()
    with Nginx(extra=f"listen 127.0.0.1:{port} ssl; ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols {version}; "
                     "keepalive_requests 2; location = /results { return 200 $ssl_session_reused; }") as store:
        store.port = port
        daemon = secure(forward, store, settled)
        said = []
        with daemon.connect() as client:
            for _ in range(8):
                client.sendall(request("POST", body=b"x"))
                said.append(Answer(client).body)
        metrics = daemon.metrics()
        assert said == 2 * [b"."] + 6 * [b"r"]
        assert (metrics["postern_upstream_tls_resumed_total"], metrics["postern_upstream_connections_opened_total"]) == (3, 4), metrics


def test_handshakes_are_resumed_with_an_upstream_that_never_says_its_end(forward, settled):  # noqa: F811
    with Store(tls=settled.server_context("localhost")) as store:
        daemon = secure(forward, store, settled)
        with daemon.connect() as client:
            for number in range(1, 4):
                client.sendall(request())
                assert Answer(client).status == 200
                store.connections[-1].shutdown(socket.SHUT_RDWR)  # and no word of TLS's
                wait_until(lambda: daemon.metrics()["postern_upstream_connections_idle"] == 0, what="the end of the connection that waited")
                assert daemon.metrics()["postern_upstream_tls_resumed_total"] == number - 1


def test_bodies_in_constant_memory_over_tls(forward, authority):  # noqa: F811
    total = 48 << 20
    with Store(lambda seen: (200, {}, str(len(seen.body)).encode()), tls=authority.server_context("localhost")) as store:
        daemon = secure(forward, store, authority)
        assert ask(daemon).status == 200
        with daemon.connect() as client:
            client.sendall(request("POST", headers=[f"Content-Length: {total}"]))
            before = daemon.resident_bytes()
            for _ in range(total >> 20):
                client.sendall(b"x" * (1 << 20))
            after = daemon.resident_bytes()
            assert Answer(client).body == str(total).encode()
    if not sanitizers():  # which keep for a while what was freed
        assert after - before < 8 << 20
