"""postern attest: documents and PCRs, of the simulator's software NSM, and of some that mean harm."""
import base64
import contextlib
import hashlib
import json
import os
import socket
import struct
import subprocess
import threading

import pytest

from client import POSTERN
from postern import PATIENCE, PROGRAMS
from sim import PCR0, Sim, cbor, uncbor

simulated = pytest.mark.skipif(not (PROGRAMS / "postern-sim").exists(), reason="needs postern-sim")
INSECURE = "postern: INSECURE: the attestation document comes from a software NSM at "


def attest(*words, nsm=None, environment=None, **more):
    words = [*words, *(["--insecure-nsm", nsm] if nsm else [])]
    clean = {name: value for name, value in os.environ.items() if name != "POSTERN_INSECURE_NSM"}
    return subprocess.run([POSTERN, "attest", *map(str, words)], capture_output=True, timeout=PATIENCE,
                          env={**clean, **(environment or {})}, **more)


def told(done):
    """What was said besides the warning, which comes first, and is repeated with every line."""
    lines = done.stderr.decode().splitlines()
    assert all(line.startswith("postern: INSECURE: ") for line in lines), lines
    return "\n".join(line.replace("INSECURE: ", "", 1) for line in lines[1:])


def payload(document):
    _, _, inner, signature = uncbor(document)
    assert len(signature) == 96
    return uncbor(inner)


@pytest.fixture(scope="module")
def sim():
    if not (PROGRAMS / "postern-sim").exists():
        pytest.skip("needs postern-sim")
    with Sim() as one:
        yield one


# ---- Documents ----

def test_a_document_that_a_verifier_takes(sim, tmp_path):
    (tmp_path / "key").write_bytes(b"\x30\x01\x02")
    done = attest("--nonce", "00fF10", "--user-data", "hello", "--public-key", tmp_path / "key", nsm=sim.nsm_address)
    assert done.returncode == 0 and done.stderr.decode() == INSECURE + sim.nsm_address + "\n"
    said = payload(base64.b64decode(done.stdout.strip(), validate=True))
    assert (said["nonce"], said["user_data"], said["public_key"]) == (b"\x00\xff\x10", b"hello", b"\x30\x01\x02")
    verified = subprocess.run([PROGRAMS / "posternctl", "attest", "verify", "-", "--root", sim.fingerprint, "--pcr", f"0={PCR0}",
                               "--nonce", "00ff10"], input=done.stdout, capture_output=True, timeout=PATIENCE)
    assert verified.returncode == 0, verified.stderr


def test_every_format_is_the_same_document(sim):
    plain = attest("--format", "cbor", nsm=sim.nsm_address)
    said = payload(plain.stdout)
    assert said["pcrs"][0].hex() == PCR0 and said["nonce"] is None and said["user_data"] is None and said["public_key"] is None
    done = attest("--format", "json", "--user-data", "a", nsm=sim.nsm_address)
    shown = json.loads(done.stdout)
    said = payload(base64.b64decode(shown["document"]))
    assert shown["module_id"] == said["module_id"] and shown["timestamp"] == said["timestamp"] and shown["insecure"] is True
    assert shown["pcrs"] == {str(index): value.hex() for index, value in said["pcrs"].items()}
    assert (shown["user_data"], shown["nonce"], shown["public_key"]) == ("61", None, None)


def test_what_it_is_to_hold_comes_from_files(sim, tmp_path):
    (tmp_path / "all").write_bytes(bytes(range(256)) * 4)
    done = attest("--format", "cbor", "--nonce", f"@{tmp_path}/all", "--user-data", "@-", nsm=sim.nsm_address, input=b"piped")
    said = payload(done.stdout)
    assert said["nonce"] == bytes(range(256)) * 4 and said["user_data"] == b"piped"
    (tmp_path / "all").write_bytes(bytes(1025))
    done = attest("--public-key", tmp_path / "all", nsm=sim.nsm_address)
    assert done.returncode == 1 and told(done) == "postern: a document's public_key has at most 1024 bytes, and here are 1025"


# ---- PCRs ----

def test_pcrs(sim, tmp_path):
    (tmp_path / "config").write_bytes(b"the configuration")
    expected = hashlib.sha384(bytes(48) + b"the configuration").hexdigest()
    done = attest("extend", "17", f"@{tmp_path}/config", nsm=sim.nsm_address)
    assert done.returncode == 0 and done.stdout.decode() == expected + "\n" and told(done) == ""
    assert attest("lock", "17", nsm=sim.nsm_address).returncode == 0
    done = attest("extend", "17", "more", nsm=sim.nsm_address)
    assert done.returncode == 1 and told(done) == "postern: the NSM refuses ExtendPCR: ReadOnlyIndex"
    lines = attest("describe", nsm=sim.nsm_address).stdout.decode().splitlines()
    assert f"pcr 17 locked {expected}" in lines and f"pcr 0 locked {PCR0}" in lines and f"pcr 31 open {'00' * 48}" in lines
    assert lines[0].startswith("module i-") and "digest SHA384" in lines
    assert attest("lock-range", "20", nsm=sim.nsm_address).returncode == 0
    shown = json.loads(attest("describe", "--format", "json", nsm=sim.nsm_address).stdout)
    assert [index for index in range(32) if shown["pcrs"][str(index)]["locked"]] == list(range(20))
    assert shown["pcrs"]["17"]["value"] == expected and shown["insecure"] is True
    # Locked PCRs are in documents, and what was extended is in them.
    assert payload(attest("--format", "cbor", nsm=sim.nsm_address).stdout)["pcrs"][17].hex() == expected


# ---- Asked for by name ----

def test_the_environment_alone_does_not_count(sim):
    """On a machine with an NSM of its own that would answer, and this test says nothing."""
    named = {"POSTERN_INSECURE_NSM": sim.nsm_address}
    if not os.path.exists("/dev/nsm"):
        done = attest(environment=named)
        assert done.returncode == 1 and done.stdout == b""
        assert done.stderr.decode() == "postern: there is no /dev/nsm: this is no Nitro Enclave, or its driver is not loaded\n"
    done = attest(nsm="env", environment=named)
    assert done.returncode == 0 and done.stderr.decode() == INSECURE + sim.nsm_address + "\n"


@pytest.mark.parametrize("words, problem", [
    (["--insecure-nsm", "env"], "--insecure-nsm env: $POSTERN_INSECURE_NSM is not set"),
    (["--nonce", "abc"], '--nonce "abc": hex or @FILE is expected'),
    (["--nonce", "xy"], '--nonce "xy": hex or @FILE is expected'),
    (["--format", "xml"], '--format "xml": cbor, base64 or json is expected'),
    (["explain"], 'attest "explain": describe, extend, lock or lock-range is expected, or nothing'),
    (["describe", "x"], 'attest describe takes no arguments, but got "x"'),
    (["extend"], "INDEX is missing"),
    (["extend", "32", "x"], 'INDEX "32": a number from 0 to 31 is expected'),
    (["extend", "16"], "attest extend takes INDEX and @FILE or TEXT"),
    (["lock", "16", "17"], "attest lock takes INDEX alone"),
    (["lock-range", "33"], 'COUNT "33": a number from 0 to 32 is expected'),
    (["lock-range", "3", "4"], "attest lock-range takes COUNT alone"),
])
def test_wrong_usage(words, problem):
    done = attest(*words)
    assert done.returncode == 2 and done.stderr.decode() == f"postern: {problem}\ntry `postern attest --help`\n"


def test_a_file_that_is_not_there():
    done = attest("--public-key", "/nowhere/key")
    assert done.returncode == 1 and done.stderr.decode() == "postern: --public-key: cannot read /nowhere/key: No such file or directory\n"


def test_wrong_addresses(tmp_path):
    assert "here a CID is a number" in told(attest(nsm="vsock://any:1"))
    assert attest(nsm="nowhere").returncode == 1
    done = attest(nsm=f"unix://{tmp_path}/none")
    assert done.returncode == 1
    assert told(done).startswith(f"postern: the INSECURE software NSM: cannot connect to unix://{tmp_path}/none: ")


# ---- Those that mean harm ----

@contextlib.contextmanager
def software(folder, answer):
    """A software NSM that reads one request, writes `answer`, and closes."""
    path = str(folder / "nsm")
    asked = []

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(PATIENCE)
                    length = struct.unpack(">I", connection.recv(4, socket.MSG_WAITALL))[0]
                    asked.append(connection.recv(length, socket.MSG_WAITALL))
                    connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"unix://{path}", asked
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def framed(answer):
    return struct.pack(">I", len(answer)) + answer


@pytest.mark.parametrize("answer, problem", [
    (b"", "gave no answer: Connection reset by peer"),
    (b"\0\0", "gave no answer: Connection reset by peer"),
    (b"\0\0\0\x40short", "gave no answer: Connection reset by peer"),
    (b"\xff\xff\xff\xff", "gave no answer: Message too long"),
    (struct.pack(">I", 12289) + bytes(12289), "gave no answer: Message too long"),
    (framed(b""), "the NSM's answer to Attestation is not what it should be"),
    (framed(bytes(12287)), "the NSM's answer to Attestation is not what it should be"),
    (framed(b"\x9f" * 12288), "the NSM's answer to Attestation is longer than 12288 bytes, and was cut by its driver"),
    (framed(b"\xbb" + b"\xff" * 8), "the NSM's answer to Attestation is not what it should be"),
    (framed(cbor({"Error": "\x1b]0;gotcha\x07"})), "the NSM's answer to Attestation is not what it should be"),
    (framed(cbor({"Error": "InternalError"})), "the NSM refuses Attestation: InternalError"),
    (framed(cbor({"Attestation": {"document": b""}})), "the NSM's answer to Attestation is not what it should be"),
    (framed(cbor({"Attestation": {"document": b"\x84"}})), "the NSM's document: "),
])
def test_hostile_answers(tmp_path, answer, problem):
    with software(tmp_path, answer) as (address, asked):
        done = attest("--format", "json", "--nonce", "01", nsm=address)
        assert done.returncode == 1 and done.stdout == b"" and problem in told(done) and len(told(done).splitlines()) == 1
    assert uncbor(asked[0]) == {"Attestation": {"user_data": None, "nonce": b"\x01", "public_key": None}}


def test_a_full_disk_is_told(tmp_path):
    with software(tmp_path, framed(cbor({"Attestation": {"document": b"\x80"}}))) as (address, _), open("/dev/full", "wb") as full:
        done = subprocess.run([POSTERN, "attest", "--insecure-nsm", address], stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE)
        assert done.returncode == 1 and b"cannot write the output" in done.stderr
