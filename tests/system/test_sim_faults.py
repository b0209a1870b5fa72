"""postern-sim's KMS over the wire: as HTTP, and where it is asked to go wrong."""
import base64
import contextlib
import subprocess
import time

import pytest

from postern import connect
from sim import APP, OWNED, Kept
from sim_bench import nothing_left, recipient, refused, sim


# ---- HTTP ----

def test_many_calls_on_one_connection(sim):
    with contextlib.closing(Kept(sim)) as kept:
        ids = set()
        for _ in range(10):
            status, _, headers = kept.exchange("POST", "/", {"x-amz-target": "TrentService.GenerateRandom"}, b'{"NumberOfBytes": 1}', OWNED)
            assert status == 200 and headers["content-type"] == "application/x-amz-json-1.1"
            ids.add(headers["x-amzn-requestid"])
        assert len(ids) == 10


def test_other_paths_and_methods(sim):
    with contextlib.closing(Kept(sim)) as kept:
        assert kept.exchange("POST", "/other", {"x-amz-target": "TrentService.GenerateRandom"}, b"{}", OWNED)[0] == 400
        assert kept.exchange("PUT", "/", {"x-amz-target": "TrentService.GenerateRandom"}, b"{}", OWNED)[0] == 400
        assert kept.exchange("POST", "/", {}, b"{}", OWNED)[0] == 400


@pytest.mark.parametrize("request_, status", [
    (b"nonsense\r\n\r\n", b"400"), (b"GET / HTTP/1.1\r\n\r\n", b"400"), (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n", b"413"),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
    (b"POST / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 40000 + b"\r\n\r\n", b"431")])
def test_requests_that_are_none(sim, request_, status):
    with sim.tls() as tls:
        tls.sendall(request_)
        assert tls.recv(12) == b"HTTP/1.1 " + status


def test_a_client_that_waits_to_be_let(sim):
    with sim.tls() as tls:
        tls.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert tls.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        tls.sendall(b"{}")
        assert tls.recv(12) == b"HTTP/1.1 400"


def test_no_tls_at_all(sim):
    with connect(sim.kms_address) as raw:
        raw.sendall(b"POST / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP" not in raw.recv(1000)
    sim.call("GenerateRandom", {"NumberOfBytes": 1})


def test_more_connections_than_it_has_places_for(sim):
    idle = [connect(sim.kms_address) for _ in range(140)]
    for one in idle:
        one.close()
    sim.call("GenerateRandom", {"NumberOfBytes": 1})


# ---- What goes wrong when asked to ----

@pytest.mark.parametrize("fault, status, type_", [("throttle", 400, "ThrottlingException"), ("internal", 500, "KMSInternalException")])
def test_errors_that_were_asked_for(sim, fault, status, type_):
    sim.fault(fault, "GenerateRandom", count=2)
    sim.call("ListKeys", {})
    for _ in range(2):
        error = refused(sim, "GenerateRandom", {"NumberOfBytes": 1})
        assert (error.status, error.type) == (status, type_)
    sim.call("GenerateRandom", {"NumberOfBytes": 1})


def test_an_exception_by_name(sim):
    sim.fault("error", "Decrypt", name="DependencyTimeoutException", status=503)
    error = refused(sim, "Decrypt", {})
    assert (error.status, error.type) == (503, "DependencyTimeoutException")


@pytest.mark.parametrize("fault, has", [
    ("leak-beside", {"Plaintext", "CiphertextForRecipient"}), ("leak-instead", {"Plaintext"}),
    ("plaintext-null", {"Plaintext", "CiphertextForRecipient"}), ("plaintext-empty", {"Plaintext", "CiphertextForRecipient"}),
    ("wrong-cms", {"CiphertextForRecipient"}), ("wrong-recipient", {"CiphertextForRecipient"}), ("cms-sha1", {"CiphertextForRecipient"})])
def test_spoiled_answers(sim, recipient, fault, has):
    sim.fault(fault, "GenerateRandom")
    with sim.nsm() as nsm:
        answer = sim.call("GenerateRandom", {"NumberOfBytes": 16, "Recipient": recipient.field(nsm)})
    assert set(answer) == has
    if fault.startswith("plaintext-"):
        assert not answer["Plaintext"] and len(recipient.open(answer)) == 16
    elif fault.startswith("leak-"):
        assert len(base64.b64decode(answer["Plaintext"])) == 16
    else:
        with pytest.raises(subprocess.CalledProcessError):
            recipient.open(answer)


@pytest.mark.parametrize("fault", ["garbage", "huge"])
def test_answers_that_are_no_json(sim, fault):
    sim.fault(fault)
    with pytest.raises(ValueError):
        sim.call("GenerateRandom", {"NumberOfBytes": 1})


@pytest.mark.parametrize("fault", ["close", "half"])
def test_connections_that_are_cut(sim, fault):
    sim.fault(fault)
    with pytest.raises(OSError):
        sim.call("GenerateRandom", {"NumberOfBytes": 1})
    sim.call("GenerateRandom", {"NumberOfBytes": 1})


def test_slow_answers(sim):
    sim.fault("slow", "GenerateRandom", delay_ms=300)
    sim.fault("slow", "GetRandom", delay_ms=300)
    begin = time.monotonic()
    sim.call("GenerateRandom", {"NumberOfBytes": 1})
    with sim.nsm() as nsm:
        assert "GetRandom" in nsm.ask("GetRandom")
    assert time.monotonic() - begin >= 0.6


@pytest.mark.parametrize("body", [{}, {"fault": "none"}, {"fault": "slow", "count": 0}, {"fault": "slow", "delay_ms": 10 ** 9},
                                  {"fault": "error"}, {"fault": "slow", "more": 1}, [], {"fault": "slow", "status": 1000}])
def test_faults_that_are_none(sim, body):
    with pytest.raises(AssertionError):
        sim.control("POST", "/faults", body)


def test_what_was_called(sim):
    sim.control("DELETE", "/calls")
    sim.call("GenerateRandom", {"NumberOfBytes": 1}, APP)
    refused(sim, "Encrypt", {"KeyId": "data", "Plaintext": "AAAA"}, APP)
    assert sim.calls() == [
        {"operation": "GenerateRandom", "principal": APP["principal"], "attested": False},
        {"operation": "Encrypt", "principal": APP["principal"], "key": sim.key("data"), "attested": False, "type": "AccessDeniedException"}]
    for method, path in (("GET", "/"), ("POST", "/calls"), ("PUT", "/clock")):
        with pytest.raises(AssertionError):
            sim.control(method, path)
