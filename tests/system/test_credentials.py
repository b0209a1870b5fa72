"""Routes that sign: where their credentials come from, how they are renewed, and what enclaves are told when there are none.

The service behind the route checks every signature, by tests/lib/aws.py.
"""
import contextlib
import http.client
import json
import os
import re
import threading

import pytest

from aws import NO_AWS, Container, Keys, Metadata, Signed
from postern import PATIENCE, free_port, wait_until

PATIENT = {"connect_timeout": "10m", "response_timeout": "10m", "idle_timeout": "10m", "head_timeout": "10m"}


def ask(daemon, path="/", method="POST", body=b"payload", headers=None):
    """One request on a connection of its own: the answer, with its body."""
    host, _, port = daemon.at.removeprefix("tcp://").rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        answer.content = answer.read()
        return answer


def key_used(daemon):
    """The id of the keys that a request was signed with, or None if it was refused for lack of some."""
    answer = ask(daemon)
    if answer.status == 503:
        assert json.loads(answer.content)["code"] == "credentials_unavailable"
        assert int(answer.getheader("retry-after")) >= 1
        return None
    assert answer.status == 200, answer.content
    return answer.content.decode()


def wait_key(daemon, condition):
    """Asks until the keys that are used meet the condition."""
    return wait_until(lambda: (key := key_used(daemon)) is not None and condition(key) and key, what="other keys")


@pytest.fixture
def signing(relay):
    """signing(environment, keys, **sign): a daemon whose route signs for a service that knows the keys. No secret may ever be in its log."""
    with contextlib.ExitStack() as stack:
        used = []

        def start(environment, keys, service="sqs", **sign):
            upstream = stack.enter_context(Signed(keys))
            daemon = relay(upstream.url, begin=False, environment={**NO_AWS, **environment})
            daemon.config["routes"] = {"out": {"type": "forward", "to": upstream.url, **PATIENT,
                                               "sign": {"aws": {"service": service, "region": "us-east-1", **sign}}}}
            daemon.write_config({**daemon.config, "workers": 1})
            daemon.start()
            daemon.upstream = upstream
            used.append((daemon, keys))
            return daemon

        yield start
        for daemon, keys in used:
            for one in keys().values():
                assert one.secret not in daemon.log() and (not one.token or one.token not in daemon.log())


def environment_of(keys):
    return {"AWS_ACCESS_KEY_ID": keys.id, "AWS_SECRET_ACCESS_KEY": keys.secret, "AWS_SESSION_TOKEN": keys.token}


# ---- The metadata service ----


@pytest.fixture
def metadata():
    with Metadata() as service:
        yield service


def instance(service):
    return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": service.url}


@pytest.mark.parametrize("credentials", ["auto", "instance"])
def test_the_role_of_the_instance(signing, metadata, credentials):
    daemon = signing(instance(metadata), metadata.secrets, credentials=credentials)
    first = key_used(daemon)
    assert [keys.id for keys in metadata.given] == [first]
    assert key_used(daemon) == first
    assert len(metadata.given) == len(metadata.tokens) == 1
    daemon.wait_event(event="credentials are there", credentials="instance")


def test_many_who_wait_are_one_question(signing, metadata):
    daemon = signing(instance(metadata), metadata.secrets)
    keys = []
    threads = [threading.Thread(target=lambda: keys.append(key_used(daemon))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert keys == [metadata.given[0].id] * 20
    assert len(metadata.given) == 1


def test_keys_are_renewed_before_they_expire(signing, metadata):
    """Requests go on all the time: each is signed with keys that are good, and none waits for the first to expire."""
    metadata.life = 6
    daemon = signing(instance(metadata), metadata.secrets)
    first = wait_key(daemon, lambda key: True)
    wait_key(daemon, lambda key: key != first)
    assert len(metadata.tokens) == 1


@pytest.mark.parametrize("status", [403, 400])
def test_keys_that_are_refused_are_asked_for_anew(signing, metadata, status):
    """The instance was given another role, hours before the keys of the first one expire."""
    revoked = set()
    daemon = signing(instance(metadata), lambda: {name: keys for name, keys in metadata.secrets().items() if name not in revoked})
    first = key_used(daemon)
    revoked.add(first)
    metadata.role = "another-role"
    daemon.upstream.json = status == 400
    assert ask(daemon).status == status
    assert daemon.wait_event(event="request forwarded", status=status).get("aws_error") == ("InvalidClientTokenId" if status == 400 else None)
    wait_until(lambda: ask(daemon).status == 200, what="keys of the other role")
    assert key_used(daemon) == metadata.given[1].id
    assert len(metadata.given) == 2


def test_a_metadata_service_that_forgot_its_tokens(signing, metadata):
    metadata.life = 6
    daemon = signing(instance(metadata), metadata.secrets)
    first = wait_key(daemon, lambda key: True)
    metadata.forget()
    wait_key(daemon, lambda key: key != first)
    assert metadata.unknown >= 1 and len(metadata.tokens) >= 1


def test_a_metadata_service_that_comes_late(signing, metadata):
    metadata.close()
    daemon = signing(instance(metadata), metadata.secrets)
    assert key_used(daemon) is None
    line = daemon.wait_event(event="credentials unavailable")
    assert "127.0.0.1" in line["detail"] and "refused" in line["detail"]
    refused = daemon.wait_event(event="request refused", reason="credentials_unavailable")
    assert "metadata" in refused["detail"]
    metadata.open()
    wait_key(daemon, lambda key: True)
    daemon.wait_event(event="credentials are there")
    # One line for each change, however many requests were refused.
    assert len(daemon.events(event="credentials unavailable")) == 1


def test_old_keys_serve_while_nobody_answers(signing, metadata):
    metadata.life = 8
    daemon = signing(instance(metadata), metadata.secrets)
    first = wait_key(daemon, lambda key: True)
    metadata.close()
    used = set()
    wait_until(lambda: used.add(key_used(daemon)) or daemon.events(event="credentials not renewed"), what="a renewal that fails")
    wait_until(lambda: key_used(daemon) is None, what="the end of the old keys")
    assert used - {None} == {first}
    daemon.wait_event(event="credentials unavailable")
    metadata.life = 3600
    metadata.open()
    wait_key(daemon, lambda key: key != first)


def test_a_hop_too_many_is_explained(signing, metadata):
    metadata.too_far = True
    daemon = signing(instance(metadata), metadata.secrets)
    assert key_used(daemon) is None
    assert "--http-put-response-hop-limit" in daemon.wait_event(event="credentials unavailable")["detail"]


def test_an_instance_without_a_role(signing, metadata):
    metadata.role = None
    daemon = signing(instance(metadata), metadata.secrets)
    assert key_used(daemon) is None
    assert "attach an instance profile" in daemon.wait_event(event="credentials unavailable")["detail"]


def test_a_metadata_service_that_is_not_to_be_asked(signing, metadata):
    daemon = signing({**instance(metadata), "AWS_EC2_METADATA_DISABLED": "true"}, metadata.secrets)
    assert key_used(daemon) is None
    assert "AWS_EC2_METADATA_DISABLED" in daemon.wait_event(event="credentials unavailable")["detail"]
    assert not metadata.tokens


def test_another_identity_is_not_taken_for_the_one_that_is_meant(signing, metadata):
    """A service account's role on EKS would come first, and is not followed: the node's is not what to sign with."""
    daemon = signing({**instance(metadata), "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token"}, metadata.secrets)
    assert key_used(daemon) is None
    assert "AWS_WEB_IDENTITY_TOKEN_FILE" in daemon.wait_event(event="credentials unavailable")["detail"]
    assert not metadata.tokens


# ---- Containers ----


def test_a_container(signing):
    with Container("Bearer once") as service:
        daemon = signing({"AWS_CONTAINER_CREDENTIALS_FULL_URI": service.url + service.path,
                          "AWS_CONTAINER_AUTHORIZATION_TOKEN": "Bearer once"}, service.secrets, credentials="container")
        assert key_used(daemon) == service.given[0].id
        assert service.refused == 0


def test_a_pod_identity_whose_token_is_replaced(signing, folder):
    """As EKS does it: a file, with another token in it now and then."""
    with Container("first", life=6) as service:
        token = folder / "token"
        token.write_text("first")
        daemon = signing({"AWS_CONTAINER_CREDENTIALS_FULL_URI": service.url + service.path,
                          "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token)}, service.secrets)
        first = wait_key(daemon, lambda key: True)
        service.authorization = "second"
        (folder / "new").write_text("second\n")
        os.rename(folder / "new", token)
        wait_key(daemon, lambda key: key != first)
        assert service.refused == 0


# ---- The environment, and files ----


def test_the_environment(signing):
    keys = Keys()
    daemon = signing(environment_of(keys), lambda: {keys.id: keys}, credentials="env")
    assert key_used(daemon) == keys.id


def write_keys(file, keys, profile="default"):
    new = file.with_suffix(".new")
    new.write_text(f"# ours\n[{profile}]\naws_access_key_id = {keys.id}\naws_secret_access_key = {keys.secret}\n"
                   f"aws_session_token = {keys.token}\n")
    os.rename(new, file)


def test_a_file_that_is_replaced(signing, folder):
    one, two = Keys(), Keys()
    file = folder / "credentials"
    write_keys(file, one, "store")
    daemon = signing({}, lambda: {one.id: one, two.id: two}, credentials="file", file=str(file), profile="store")
    assert key_used(daemon) == one.id
    write_keys(file, two, "store")
    assert key_used(daemon) == two.id
    file.unlink()
    assert key_used(daemon) is None
    assert str(file) in daemon.wait_event(event="credentials unavailable")["detail"]
    write_keys(file, one, "store")
    assert key_used(daemon) == one.id


def test_the_first_place_that_is_set_up(signing, metadata, folder):
    keys, file = Keys(), folder / ".aws" / "credentials"
    file.parent.mkdir()
    write_keys(file, keys)
    daemon = signing({**instance(metadata), "HOME": str(folder)}, lambda: {keys.id: keys, **metadata.secrets()})
    assert key_used(daemon) == keys.id
    assert not metadata.tokens
    file.unlink()
    wait_key(daemon, lambda key: key != keys.id)
    assert metadata.given


@pytest.mark.parametrize("variable,value,why", [
    ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/keys", "No such file or directory"), ("AWS_PROFILE", "other", "there is no profile [other]"),
])
def test_what_the_environment_names_and_is_not_there(signing, metadata, folder, variable, value, why):
    """The instance has a role, which is not the one that was meant."""
    (folder / ".aws").mkdir()
    write_keys(folder / ".aws" / "credentials", Keys())
    daemon = signing({**instance(metadata), "HOME": str(folder), variable: value}, metadata.secrets)
    assert key_used(daemon) is None
    told = daemon.wait_event(event="credentials unavailable")["detail"]
    assert f"no other credentials stand in for those of {variable}: " in told and why in told
    assert not metadata.tokens


# ---- What is signed ----


@pytest.fixture
def signed(signing):
    """signed(service): a daemon that signs with keys out of the environment."""
    keys = Keys()
    return lambda service="sqs", **sign: signing(environment_of(keys), lambda: {keys.id: keys}, service=service, **sign)


@pytest.mark.parametrize("service", ["s3", "sqs"])
@pytest.mark.parametrize("method, path, body", [
    ("PUT", "/bucket/key", b"x" * 300000), ("PUT", "/bucket/empty", b""), ("GET", "/bucket/key", None), ("HEAD", "/bucket/key", None),
    ("DELETE", "/bucket/key?versionId=a%2Bb", None), ("POST", "/?Action=SendMessage&b=2&a=1&a=0&empty", b"Body=1"),
    ("PUT", "/bucket/a%20b/%C3%BC!'()*~$&+,;=:@-_.x", b"1"), ("GET", "/?list-type=2&prefix=a%2Fb%20c&x=%7E~", None),
], ids=["body", "empty", "get", "head", "delete", "query", "characters", "encoded query"])
def test_every_request_is_signed_as_it_is_sent(signed, service, method, path, body):
    daemon = signed(service)
    answer = ask(daemon, path, method, body, {"content-type": "text/plain", "x-amz-meta-a": "  two   blanks ", "user-agent": "x"})
    assert answer.status == 200, answer.content
    seen_method, _, _, seen_body = daemon.upstream.seen[0]
    assert (seen_method, seen_body) == (method, body or b"")


def test_a_chunked_body_gets_a_length(signed):
    """It is gathered to be hashed, and S3 takes no other."""
    daemon = signed("s3")
    answer = ask(daemon, "/bucket/key", "PUT", iter([b"one", b"two" * 1000]))
    assert answer.status == 200, answer.content
    headers = {name.lower(): value for name, value in daemon.upstream.seen[0][2]}
    assert headers["content-length"] == "3003" and "transfer-encoding" not in headers


def test_a_body_over_the_bound_is_refused(signed):
    daemon = signed(max_body="1KiB")
    for body in (b"x" * 1025, iter([b"x" * 1000, b"y" * 25])):
        answer = ask(daemon, body=body)
        assert answer.status == 413, answer.content
    assert ask(daemon, body=b"x" * 1024).status == 200
    assert len(daemon.upstream.seen) == 1


def test_a_body_that_can_never_be_signed_is_not_kept(signed):
    """202 says that it will be delivered."""
    daemon = signed(max_body="1KiB")
    daemon.config["routes"]["out"]["delivery"] = "spool"
    daemon.write_config({**daemon.config, "spool": {"path": str(daemon.folder / "spool")}})
    daemon.ctl("reload")
    for body in (b"x" * 1025, iter([b"x" * 1000, b"y" * 25])):
        answer = ask(daemon, body=body)
        assert answer.status == 413, answer.content
        assert json.loads(answer.content)["code"] == "body_too_large"
    line = daemon.wait_event(event="request refused", reason="body_too_large")
    assert "`sign.aws.max_body`" in line["detail"]
    assert ask(daemon, body=b"x" * 1024).status == 202
    daemon.wait_event(event="record delivered")
    assert [len(body) for _, _, _, body in daemon.upstream.seen] == [1024]


@contextlib.contextmanager
def half_sent(daemon, at, size, sent):
    """A request whose body of `size` bytes is there but for its end; the rest is sent by what is yielded, which returns the status."""
    host, _, port = at.removeprefix("tcp://").rpartition(":")
    before = daemon.metrics()["postern_body_memory_bytes"]
    connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.putrequest("POST", "/")
        connection.putheader("content-length", str(size))
        connection.endheaders(b"x" * sent)
        wait_until(lambda: daemon.metrics()["postern_body_memory_bytes"] >= before + sent, what="the body held")

        def finish():
            connection.send(b"x" * (size - sent))
            return connection.getresponse().status

        yield finish


def test_bodies_share_the_memory_that_there_is_for_them(signed):
    """Of 32 MiB, one enclave that has 12 MiB gets no other such body; another still does, and small ones need none."""
    daemon = signed(max_body="12MiB")
    other = f"tcp://127.0.0.1:{free_port()}"
    config = {**daemon.config, "limits": {"body_memory": "32MiB"}, "enclaves": {"greedy": {"cid": 16}, "other": {"cid": 17}}}
    config["listeners"]["in"] |= {"peer": "greedy", "allow": ["greedy"]}
    config["listeners"]["second"] = {"listen": other, "route": "out", "peer": "other", "allow": ["other"]}
    daemon.write_config(config)
    daemon.ctl("reload")
    assert daemon.metrics()["postern_body_memory_limit_bytes"] == 32 << 20
    with half_sent(daemon, daemon.at, 12 << 20, 9 << 20) as finish:
        answer = ask(daemon, body=b"x" * (9 << 20))
        assert answer.status == 503 and json.loads(answer.content)["code"] == "body_memory" and answer.getheader("retry-after") == "1"
        assert ask(daemon, body=b"x" * 16000).status == 200
        with half_sent(daemon, other, 7 << 20, 5 << 20) as finish_other:
            assert finish_other() == 200
        assert finish() == 200
    wait_until(lambda: daemon.metrics()["postern_body_memory_bytes"] == 0, what="the memory given back")
    assert ask(daemon, body=b"x" * (9 << 20)).status == 200


def test_the_enclave_says_nothing_of_the_signature(signed):
    daemon = signed("s3")
    forged = {"Authorization": "AWS4-HMAC-SHA256 Credential=x", "X-Amz-Date": "20200101T000000Z", "X-Amz-Security-Token": "mine",
              "X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD"}
    assert ask(daemon, headers=forged).status == 200
    names = [name.lower() for name, _ in daemon.upstream.seen[0][2]]
    assert all(names.count(name.lower()) == 1 for name in forged)
    answer = ask(daemon, headers={"X_Amz_Security_Token": "mine"})
    assert answer.status == 400 and json.loads(answer.content)["code"] == "confusable_header"
    assert len(daemon.upstream.seen) == 1


def test_an_authorization_of_the_route_gives_way_to_the_signature(signed):
    """Its secret is not read, either: there is no such credential."""
    daemon = signed("s3")
    daemon.config["routes"]["out"]["headers"] = {"set": {"Authorization": "Bearer ${credential:token}", "x-enclave": "${enclave}"}}
    daemon.write_config(daemon.config)
    daemon.ctl("reload")
    assert re.search(r"postern\.yaml:\d+:\d+: .*authorization is never sent", daemon.wait_event(event="said in vain")["detail"])
    assert ask(daemon, headers={"Authorization": "mine"}).status == 200
    headers = {name.lower(): value for name, value in daemon.upstream.seen[0][2]}
    names = [name.lower() for name, _ in daemon.upstream.seen[0][2]]
    assert names.count("authorization") == 1 and headers["authorization"].startswith("AWS4-HMAC-SHA256 ")


def test_a_clock_that_is_off_is_told(signed):
    daemon = signed()
    daemon.upstream.date_offset = 3600
    answer = ask(daemon)
    assert (answer.status, answer.content) == (403, b"RequestTimeTooSkewed")
    assert "behind the upstream's" in daemon.wait_event(event="clock is off", route="out")["detail"]
