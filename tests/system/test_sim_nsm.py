"""postern-sim's software NSMs: what they answer, the documents that they make, and what they make of hostile bytes."""
import hashlib
import struct
import subprocess

import pytest

from postern import PROGRAMS, connect
from sim import PCR0, cbor, parse_document, uncbor
from sim_bench import nothing_left, sim


def test_what_an_nsm_says_of_itself(sim):
    with sim.nsm() as nsm:
        described = nsm.ask("DescribeNSM")["DescribeNSM"]
    assert described["max_pcrs"] == 32 and described["locked_pcrs"] == list(range(16)) and described["digest"] == "SHA384"
    assert described["module_id"].startswith("i-0123456789abcdef0-enc")


def test_random_bytes_differ(sim):
    with sim.nsm() as nsm:
        first, second = (nsm.ask("GetRandom")["GetRandom"]["random"] for _ in range(2))
    assert len(first) == len(second) == 256 and first != second


def test_pcrs_are_extended_and_locked(sim):
    with sim.nsm(1) as nsm:
        assert nsm.ask({"DescribePCR": {"index": 0}}) == {"DescribePCR": {"lock": True, "data": b"\xcd" * 48}}
        assert nsm.ask({"DescribePCR": {"index": 16}}) == {"DescribePCR": {"lock": False, "data": bytes(48)}}
        value = hashlib.sha384(bytes(48) + b"more").digest()
        assert nsm.ask({"ExtendPCR": {"index": 16, "data": b"more"}}) == {"ExtendPCR": {"data": value}}
        assert 16 not in parse_document(nsm.attest())["pcrs"], "it may still change"
        assert nsm.ask({"LockPCR": {"index": 16}}) == "LockPCR"
        assert parse_document(nsm.attest())["pcrs"][16] == value
        assert nsm.ask({"LockPCR": {"index": 16}}) == {"Error": "ReadOnlyIndex"}
        assert nsm.ask({"ExtendPCR": {"index": 16, "data": b"more"}}) == {"Error": "ReadOnlyIndex"}
        assert nsm.ask({"LockPCRs": {"range": 20}}) == "LockPCRs"
        assert nsm.ask("DescribeNSM")["DescribeNSM"]["locked_pcrs"] == list(range(20))
    with sim.nsm(0) as nsm:
        assert nsm.ask({"DescribePCR": {"index": 16}})["DescribePCR"]["data"] == bytes(48), "another enclave's"


@pytest.mark.parametrize("request_, error", [
    ({"DescribePCR": {"index": 32}}, "InvalidIndex"), ({"DescribePCR": {"index": 70000}}, "InvalidArgument"),
    ({"DescribePCR": {}}, "InvalidArgument"), ({"ExtendPCR": {"index": 3, "data": b"x"}}, "ReadOnlyIndex"),
    ({"ExtendPCR": {"index": 17, "data": b""}}, "InvalidArgument"), ({"ExtendPCR": {"index": 17, "data": b"x" * 513}}, "InputTooLarge"),
    ({"ExtendPCR": {"index": 17}}, "InvalidArgument"), ({"ExtendPCR": {"index": 40, "data": b"x"}}, "InvalidIndex"),
    ({"LockPCR": {"index": 0}}, "ReadOnlyIndex"), ({"LockPCRs": {"range": 33}}, "InvalidIndex"), ({"LockPCRs": {}}, "InvalidArgument"),
    ({"Attestation": {"nonce": b"x" * 1025}}, "InputTooLarge"), ({"Attestation": {"nonce": 1}}, "InvalidArgument"),
    ({"Attestation": {"public_key": b""}}, "InvalidArgument"), ("Attestation", "InvalidOperation"), ({"GetRandom": {}}, "InvalidOperation"),
    ("Nonsense", "InvalidOperation"), ({"GetRandom": {}, "DescribeNSM": {}}, "InvalidOperation"), (7, "InvalidOperation")])
def test_errors_of_an_nsm(sim, request_, error):
    with sim.nsm() as nsm:
        assert nsm.ask(request_) == {"Error": error}


def test_a_document_is_shaped_as_a_genuine_one(sim):
    with sim.nsm() as nsm:
        document = nsm.attest(user_data=b"u" * 1024, nonce=b"n")
    assert document.startswith(bytes.fromhex("8444a1013822a059")), "untagged, ES384, nothing in the clear"
    protected, clear, payload, signature = uncbor(document)
    assert (protected, clear, len(signature), payload[0]) == (bytes.fromhex("a1013822"), {}, 96, 0xa9)
    fields = uncbor(payload)
    assert list(fields) == ["module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle", "public_key", "user_data", "nonce"]
    assert fields["public_key"] is None and fields["user_data"] == b"u" * 1024 and fields["nonce"] == b"n"
    assert list(fields["pcrs"]) == list(range(16)) and fields["pcrs"][0] == bytes.fromhex(PCR0)
    assert len(fields["cabundle"]) == 4 and all(len(one) <= 1024 for one in [*fields["cabundle"], fields["certificate"]])


@pytest.mark.parametrize("number, begins", [(0, "84"), (1, "84"), (3, "d284")])
def test_documents_verify_in_every_shape(sim, tmp_path, number, begins):
    if not (PROGRAMS / "posternctl").exists():
        pytest.skip("posternctl is not built")
    with sim.nsm(number) as nsm:
        document = nsm.attest(nonce=b"1")
    assert document.hex().startswith(begins)
    (tmp_path / "document").write_bytes(document)
    done = subprocess.run([PROGRAMS / "posternctl", "attest", "verify", "--root", sim.root, tmp_path / "document"], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([PROGRAMS / "posternctl", "attest", "verify", tmp_path / "document"], text=True, capture_output=True)
    assert done.returncode == 1 and "another root" in done.stderr


@pytest.mark.parametrize("size", [0, 4097, 0xffffffff])
def test_a_request_that_no_driver_takes_ends_the_conversation(sim, size):
    with connect(sim.nsm_address) as raw:
        raw.sendall(struct.pack(">I", size))
        assert raw.recv(1) == b""
    with sim.nsm() as nsm:
        assert "GetRandom" in nsm.ask("GetRandom")


@pytest.mark.parametrize("request_", [b"\xff", b"\x9f", b"\xbf\x61", b"\xa1\x69GetRandom", b"\x5b" + b"\xff" * 8, b"\x81" * 4096,
                                      cbor("GetRandom") + b"\0"])
def test_requests_that_are_no_cbor(sim, request_):
    with sim.nsm() as nsm:
        assert uncbor(nsm.raw(request_)) == {"Error": "InvalidOperation"}


def test_several_conversations_at_once(sim):
    conversations = [sim.nsm() for _ in range(20)]
    for nsm in conversations:
        assert len(nsm.ask("GetRandom")["GetRandom"]["random"]) == 256
    for nsm in conversations:
        nsm.socket.close()


def test_faults_of_an_nsm(sim):
    with sim.nsm() as nsm:
        sim.fault("error", "Attestation", name="InternalError")
        assert nsm.ask({"Attestation": {}}) == {"Error": "InternalError"}
        sim.fault("garbage", "nsm")
        with pytest.raises(Exception):
            nsm.ask("GetRandom")
        sim.fault("close", "GetRandom")
        with pytest.raises(ConnectionError):
            nsm.ask("GetRandom")
