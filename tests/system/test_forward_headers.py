"""What a forward route does to headers: the enclave cannot override, smuggle or duplicate one that the route sets; secrets out of files
that are rotated, missing, or not what they should be."""
import os

import pytest

from http_peers import Answer, Store, chunked, request
from postern import wait_until
from test_forward import forward, wait_outcomes  # noqa: F401  (a fixture)

SET = {"set": {"x-enclave": "${enclave}", "authorization": "Bearer secret", "x-id": "${request_id}", "x-cid": "${cid}"},
       "add": {"via": "1.1 postern"}, "remove": ["x-internal"]}


@pytest.fixture
def store():
    with Store() as one:
        yield one


def send(daemon, *headers, **options):
    with daemon.connect() as client:
        client.sendall(request("POST", headers=headers, body=b"x", **options))
        return Answer(client)


def start(forward, store, headers, **options):  # noqa: F811
    return forward(store.url, listen="unix", route={"headers": headers}, listener={"allow": ["payroll"], "peer": "payroll"},
                   enclaves={"payroll": {"cid": 16}}, **options)


def test_set_add_and_remove(forward, store):  # noqa: F811
    daemon = start(forward, store, SET)
    answer = send(daemon, "X-Internal: 1", "Via: 1.0 fred", "X-Own: kept", "Cookie: a=b")
    seen, = store.seen
    assert answer.status == 200 and seen.values("x-internal") == [] and seen.values("x-own") == ["kept"]
    assert seen.values("via") == ["1.0 fred", "1.1 postern"] and seen.values("cookie") == ["a=b"]
    assert (seen.values("x-enclave"), seen.values("x-cid"), seen.values("authorization")) == (["payroll"], ["16"], ["Bearer secret"])
    assert seen.values("x-id") == [answer.headers["x-request-id"]]
    assert "secret" not in daemon.log() and "a=b" not in daemon.log()


@pytest.mark.parametrize("headers", [["X-Enclave: fraud"], ["x-enclave: fraud", "X-ENCLAVE: fraud"], ["Authorization: Bearer mine"],
                                     ["Host: elsewhere.example"]])
def test_the_enclave_cannot_override(forward, store, headers):  # noqa: F811
    daemon = start(forward, store, SET)
    name = headers[0].partition(":")[0]
    answer = send(daemon, *headers) if name != "Host" else send(daemon, host="elsewhere.example")
    if answer.status == 200:
        seen, = store.seen
        assert (seen.values("x-enclave"), seen.values("authorization")) == (["payroll"], ["Bearer secret"])
        assert seen.values("host") == [f"127.0.0.1:{store.port}"]
    else:
        assert answer.code == "doubled_header" and not store.seen


@pytest.mark.parametrize("headers,word", [
    (["X_Enclave: fraud"], "confusable_header"), (["X.Enclave: fraud"], "confusable_header"), (["x-enclave : fraud"], "bad_header_name"),
    (["X-Own: 1\n X-Enclave: fraud"], "bare_lf"), (["X-Own: 1\rX-Enclave: fraud"], "bare_cr"), (["X-Own: a", " b"], "folded_header"),
    (["Connection: x-enclave"], "bad_connection"), (["Connection: close, authorization"], "bad_connection"),
    (["Trailer: x-enclave"], "bad_trailer")])
def test_nor_smuggle(forward, store, headers, word):  # noqa: F811
    daemon = start(forward, store, SET)
    answer = send(daemon, *headers)
    assert (answer.status, answer.code) == (400, word) and not store.seen
    wait_outcomes(daemon, {word: 1})


def test_nor_send_it_as_a_trailer(forward, store):  # noqa: F811
    daemon = start(forward, store, SET)
    with daemon.connect() as client:
        client.sendall(request("POST", headers=["Transfer-Encoding: chunked"]) + chunked(b"x", trailers=b"X-Enclave: fraud\r\n"))
        assert Answer(client).code == "bad_trailer"
    assert not store.seen


def write(path, content):
    """As those do who rotate secrets: a new file takes the old one's place."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    os.chmod(new, 0o644)
    os.replace(new, path)


@pytest.mark.parametrize("kind", ["file", "credential"])
def test_secrets_out_of_files(forward, store, folder, kind):  # noqa: F811
    token = folder / "token"
    write(token, b"first\n")
    value = f"Bearer ${{file:{token}}}" if kind == "file" else "Bearer ${credential:token}"
    daemon = start(forward, store, {"set": {"authorization": value}}, environment={"CREDENTIALS_DIRECTORY": str(folder)})

    def seen():
        return store.seen[-1].values("authorization")

    assert send(daemon).status == 200 and seen() == ["Bearer first"]
    write(token, b"second")  # mid-flight: on a connection that is open, the next request has it
    with daemon.connect() as client:
        client.sendall(request())
        assert Answer(client).status == 200 and seen() == ["Bearer second"]
        write(token, b"third\n")
        client.sendall(request())
        assert Answer(client).status == 200 and seen() == ["Bearer third"]
    count = len(store.seen)
    for bad in b"two\nlines", b"", b"\n", b"nul\0", b"x" * 20000, None:
        if bad is None:
            token.unlink()
        else:
            write(token, bad)
        answer = send(daemon)
        assert (answer.status, answer.code) == (500, "header_unavailable"), bad
        assert str(folder).encode() not in answer.body
    assert len(store.seen) == count  # nothing goes without it
    wait_until(lambda: len(daemon.events(event="request refused")) == 6)
    assert str(token) in daemon.events(event="request refused")[-1]["detail"] or kind == "credential"
    write(token, b"back")
    assert send(daemon).status == 200 and seen() == ["Bearer back"]
    for secret in "first", "second", "third", "back":
        assert f"Bearer {secret}" not in daemon.log()


@pytest.mark.parametrize("name, restricted", [
    ("X-HTTP-Method-Override", "methods"), ("x-http-method", "methods"), ("X-Method-Override", "methods"),
    ("X-Original-URL", "paths"), ("X-Rewrite-Url", "paths"), ("X-Original-URI", "query")])
def test_another_method_or_path_in_a_header(forward, store, name, restricted):  # noqa: F811
    """Servers that go by it would do what the route does not allow."""
    rules = {"methods": ["POST"], "paths": ["/results"], "query": "none"}

    def ask(route, header):
        daemon = forward(store.url, listen="unix", route=route)
        with daemon.connect() as client:
            client.sendall(request("POST", "/results", [f"{header}: DELETE"], b"{}"))
            answer = Answer(client, "POST")
            return answer.status if answer.status == 200 else (answer.status, answer.code)

    restriction = {restricted: rules.pop(restricted)}
    assert ask(restriction, name) == (403, "denied_override")
    assert ask(rules if restricted == "methods" else {"methods": ["POST"]}, name) == 200
    assert ask(restriction | {"headers": {"remove": [name]}}, name) == 200
    assert store.seen[0].values(name.lower()) == ["DELETE"] and not store.seen[1].values(name.lower())
    assert ask(restriction, name.replace("-", "_")) == (400, "confusable_header")


def test_the_environment(forward, store):  # noqa: F811
    daemon = start(forward, store, {"set": {"x-zone": "${env:POSTERN_TEST_ZONE}", "x-none": "$${not a variable}"}},
                   environment={"POSTERN_TEST_ZONE": "eu-west"})
    assert send(daemon).status == 200
    assert store.seen[0].values("x-zone") == ["eu-west"] and store.seen[0].values("x-none") == ["${not a variable}"]


def test_policy(forward, store):  # noqa: F811
    daemon = forward(store.url, listen="unix", route={"methods": ["POST"], "paths": ["/results"], "query": ["run"],
                                                       "content_types": ["application/json"], "max_body": "10B"})
    json = "Content-Type: application/json"

    def ask(method="POST", path="/results", headers=(json,), body=b"{}"):
        with daemon.connect() as client:
            client.sendall(request(method, path, headers, body))
            answer = Answer(client, method)
            return answer, None if answer.status == 200 else answer.code

    assert ask()[1] is None and ask(path="/results/7?run=1")[1] is None
    answer, word = ask("PUT")
    assert (answer.status, word, answer.headers["allow"]) == (405, "denied_method", "POST")
    assert ask(path="/other")[1] == "denied_path" and ask(path="/resultsx")[1] == "denied_path"
    assert ask(path="/results/../other")[1] == "ambiguous_path" and ask(path="/results/%2e%2e/other")[1] == "ambiguous_path"
    assert ask(path="/results?user=1")[1] == "denied_query"
    assert ask(headers=["Content-Type: text/html"])[1] == "denied_content_type" and ask(headers=[])[1] == "denied_content_type"
    assert ask(headers=["Content-Type: text/html"], body=b"")[1] == "denied_content_type"
    assert ask(body=b"x" * 11)[1] == "body_too_large"
    assert len(store.seen) == 2
