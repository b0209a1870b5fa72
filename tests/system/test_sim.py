"""postern-sim from outside: what its NSM and its KMS answer, and what they make of hostile bytes. With SDKs: test_sim_sdk.py."""
import base64
import contextlib
import datetime
import hashlib
import http.client
import json
import struct
import subprocess
import threading
import time

import pytest

import eif
from postern import PATIENCE, PROGRAMS, connect
from sim import (ACCOUNT, APP, ATTESTED, OWNED, OWNER, PCR0, REGION, ROLE, Kept, KmsError, Recipient, Sim, allow, cbor, parse_document,
                 policy, uncbor)


def b64(data):
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def sim():
    keys = [{"id": "data", "alias": "alias/data", "policy": ATTESTED},
            {"id": "open", "policy": policy(allow("*"))},
            {"id": "rsa", "spec": "RSA_2048", "policy": policy(allow("*"))},
            {"id": "agree", "spec": "ECC_NIST_P384", "policy": policy(allow("*"))}]
    nsm = [{"pcrs": {"0": PCR0}, "role_arn": ROLE}, {"pcrs": {"0": "cd" * 48}, "shape": "indefinite"}, {"pcrs": {"0": PCR0}, "debug": True},
           {"pcrs": {"0": PCR0}, "shape": "tagged", "instance_id": "i-other"}]
    with Sim(keys=keys, nsm=nsm, credentials=[APP, OWNED, {**OWNED, "access_key_id": "AKIAEXPIRED", "session_token": "t", "expires": 1}]) as one:
        yield one


@pytest.fixture(scope="module")
def recipient(tmp_path_factory):
    return Recipient(tmp_path_factory.mktemp("recipient"))


@pytest.fixture(autouse=True)
def nothing_left(request):
    yield
    if "sim" in request.fixturenames:
        one = request.getfixturevalue("sim")
        one.control("DELETE", "/faults")
        one.set_clock(0)


def refused(sim, operation, body, who=OWNED, **options):
    with pytest.raises(KmsError) as caught:
        sim.call(operation, body, who, **options)
    return caught.value


# ---- The NSM ----

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


# ---- Calls ----

def test_what_is_encrypted_is_decrypted(sim):
    blob = sim.encrypt(b"secret", "open", {"b": "2", "a": "1"})
    answer = sim.call("Decrypt", {"CiphertextBlob": b64(blob), "EncryptionContext": {"a": "1", "b": "2"}})
    assert answer == {"KeyId": sim.key("open"), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT", "Plaintext": b64(b"secret")}
    for context in ({}, {"a": "1"}, {"a": "1", "b": "3"}, {"a": "1", "b": "2", "c": ""}, {"a1": "", "b": "2"}):
        assert refused(sim, "Decrypt", {"CiphertextBlob": b64(blob), "EncryptionContext": context}).type == "InvalidCiphertextException"


def test_a_changed_ciphertext(sim):
    blob = bytearray(sim.encrypt(b"secret", "open"))
    with contextlib.closing(Kept(sim)) as kept:
        for at in range(len(blob)):
            blob[at] ^= 1
            assert refused(sim, "Decrypt", {"CiphertextBlob": b64(blob)}, connection=kept).type in (
                "InvalidCiphertextException", "AccessDeniedException")
            blob[at] ^= 1
        for size in range(1, len(blob)):
            assert refused(sim, "Decrypt", {"CiphertextBlob": b64(blob[:size])}, connection=kept).type == "InvalidCiphertextException"


def test_keys_are_named_in_four_ways(sim):
    blob = sim.encrypt(b"x")
    for name in ("data", sim.key("data"), "alias/data", f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/data"):
        assert sim.call("Decrypt", {"CiphertextBlob": b64(blob), "KeyId": name})["KeyId"] == sim.key("data")
    assert refused(sim, "Decrypt", {"CiphertextBlob": b64(blob), "KeyId": "open"}).type == "IncorrectKeyException"
    for name in ("none", "alias/none", "arn:aws:kms:eu-west-1:111122223333:key/data"):
        assert refused(sim, "Decrypt", {"CiphertextBlob": b64(blob), "KeyId": name}).type == "NotFoundException"


def test_an_enclave_is_answered_alone(sim, recipient):
    blob = sim.encrypt(b"for the enclave")
    request = {"CiphertextBlob": b64(blob)}
    assert refused(sim, "Decrypt", request, APP).type == "AccessDeniedException"
    with sim.nsm() as nsm:
        answer = sim.call("Decrypt", {**request, "Recipient": recipient.field(nsm)}, APP)
    assert "Plaintext" not in answer and recipient.open(answer) == b"for the enclave"
    for number in (1, 2):
        with sim.nsm(number) as nsm:
            assert refused(sim, "Decrypt", {**request, "Recipient": recipient.field(nsm)}, APP).type == "AccessDeniedException"


@pytest.mark.parametrize("operation, body, name", [
    ("GenerateDataKey", {"KeyId": "open", "KeySpec": "AES_256"}, "Plaintext"),
    ("GenerateDataKey", {"KeyId": "open", "NumberOfBytes": 1000}, "Plaintext"),
    ("GenerateRandom", {"NumberOfBytes": 1024}, "Plaintext"),
    ("GenerateDataKeyPair", {"KeyId": "open", "KeyPairSpec": "RSA_2048"}, "PrivateKeyPlaintext"),
    ("GenerateDataKeyPair", {"KeyId": "open", "KeyPairSpec": "ECC_NIST_P256"}, "PrivateKeyPlaintext")])
@pytest.mark.parametrize("shape", ["cms-scattered", "cms-primitive", "cms-pieces"])
def test_operations_that_take_a_recipient(sim, recipient, operation, body, name, shape):
    clear = sim.call(operation, body)
    with sim.nsm() as nsm:
        sim.fault(shape, operation)
        sealed = sim.call(operation, {**body, "Recipient": recipient.field(nsm)})
    assert name not in sealed and set(sealed) == set(clear) - {name} | {"CiphertextForRecipient"}
    secret = recipient.open(sealed)
    if name == "Plaintext":
        assert len(secret) == len(base64.b64decode(clear["Plaintext"]))
    else:
        public = subprocess.run(["openssl", "pkey", "-inform", "DER", "-pubout", "-outform", "DER"], input=secret, check=True,
                                capture_output=True).stdout
        assert public == base64.b64decode(sealed["PublicKey"])
    for blob in ("CiphertextBlob", "PrivateKeyCiphertextBlob"):
        if blob in sealed:
            assert base64.b64decode(sim.call("Decrypt", {"CiphertextBlob": sealed[blob]})["Plaintext"]) == secret


def test_a_shared_secret(sim, recipient, tmp_path):
    run = lambda *arguments: subprocess.run(["openssl", *arguments], check=True, capture_output=True).stdout
    run("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", tmp_path / "own")
    own = run("pkey", "-in", tmp_path / "own", "-pubout", "-outform", "DER")
    other = base64.b64decode(sim.call("GetPublicKey", {"KeyId": "agree"})["PublicKey"])
    (tmp_path / "other").write_bytes(run("version") and other)
    run("pkey", "-pubin", "-inform", "DER", "-in", tmp_path / "other", "-out", tmp_path / "other.pem")
    expected = run("pkeyutl", "-derive", "-inkey", tmp_path / "own", "-peerkey", tmp_path / "other.pem")
    body = {"KeyId": "agree", "KeyAgreementAlgorithm": "ECDH", "PublicKey": b64(own)}
    assert base64.b64decode(sim.call("DeriveSharedSecret", body)["SharedSecret"]) == expected
    with sim.nsm() as nsm:
        sealed = sim.call("DeriveSharedSecret", {**body, "Recipient": recipient.field(nsm)})
    assert "SharedSecret" not in sealed and recipient.open(sealed) == expected
    assert refused(sim, "DeriveSharedSecret", {**body, "PublicKey": b64(recipient.public)}).type == "ValidationException"
    assert refused(sim, "DeriveSharedSecret", {**body, "KeyId": "open"}).type == "InvalidKeyUsageException"


@pytest.mark.parametrize("algorithm", ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"])
def test_rsa(sim, algorithm):
    named = {"KeyId": "rsa", "EncryptionAlgorithm": algorithm}
    blob = sim.call("Encrypt", {**named, "Plaintext": b64(b"secret")})["CiphertextBlob"]
    assert sim.call("Decrypt", {**named, "CiphertextBlob": blob})["Plaintext"] == b64(b"secret")
    assert refused(sim, "Decrypt", {**named, "CiphertextBlob": b64(b"x" * 256)}).type == "InvalidCiphertextException"
    assert refused(sim, "Decrypt", {**named, "KeyId": "open", "CiphertextBlob": blob}).type == "InvalidKeyUsageException"
    assert refused(sim, "Decrypt", {"EncryptionAlgorithm": algorithm, "CiphertextBlob": blob}).type == "ValidationException"
    assert refused(sim, "Encrypt", {**named, "Plaintext": b64(b"x" * 500)}).type == "ValidationException"


def test_re_encryption(sim):
    blob = sim.encrypt(b"secret", "open", {"a": "1"})
    body = {"CiphertextBlob": b64(blob), "SourceEncryptionContext": {"a": "1"}, "DestinationKeyId": "data", "DestinationEncryptionContext": {"b": "2"}}
    answer = sim.call("ReEncrypt", body)
    assert (answer["SourceKeyId"], answer["KeyId"]) == (sim.key("open"), sim.key("data"))
    assert sim.call("Decrypt", {"CiphertextBlob": answer["CiphertextBlob"], "EncryptionContext": {"b": "2"}})["Plaintext"] == b64(b"secret")
    assert refused(sim, "ReEncrypt", body, APP).type == "AccessDeniedException", "kms:ReEncryptTo is not allowed it"


def test_a_key_of_ones_own(sim):
    made = sim.call("CreateKey", {"Description": "mine"})["KeyMetadata"]
    key = made["KeyId"]
    assert made["Enabled"] and made["KeyState"] == "Enabled" and made["EncryptionAlgorithms"] == ["SYMMETRIC_DEFAULT"]
    assert made["Arn"] == sim.key(key) and sim.call("DescribeKey", {"KeyId": key})["KeyMetadata"] == made
    assert {"KeyId": key, "KeyArn": sim.key(key)} in sim.call("ListKeys", {})["Keys"]
    blob = sim.encrypt(b"x", key)
    sim.call("CreateAlias", {"AliasName": f"alias/of-{key}", "TargetKeyId": key})
    assert sim.call("DescribeKey", {"KeyId": f"alias/of-{key}"})["KeyMetadata"]["KeyId"] == key
    assert refused(sim, "CreateAlias", {"AliasName": "alias/data", "TargetKeyId": key}).type == "AlreadyExistsException"
    sim.call("DisableKey", {"KeyId": key})
    assert refused(sim, "Decrypt", {"CiphertextBlob": b64(blob)}).type == "DisabledException"
    sim.call("EnableKey", {"KeyId": key})
    sim.call("Decrypt", {"CiphertextBlob": b64(blob)})
    assert sim.call("ScheduleKeyDeletion", {"KeyId": key, "PendingWindowInDays": 7})["KeyState"] == "PendingDeletion"
    assert refused(sim, "Decrypt", {"CiphertextBlob": b64(blob)}).type == "KMSInvalidStateException"
    sim.call("CancelKeyDeletion", {"KeyId": key})
    sim.call("EnableKey", {"KeyId": key})
    sim.call("PutKeyPolicy", {"KeyId": key, "Policy": json.dumps(ATTESTED)})
    assert json.loads(sim.call("GetKeyPolicy", {"KeyId": key})["Policy"]) == ATTESTED
    assert refused(sim, "PutKeyPolicy", {"KeyId": key, "Policy": "{}"}).type == "MalformedPolicyDocumentException"
    assert refused(sim, "Decrypt", {"CiphertextBlob": b64(blob)}, APP).type == "AccessDeniedException"


def test_kinds_of_keys(sim):
    assert refused(sim, "CreateKey", {"KeySpec": "ECC_NIST_P256"}).type == "ValidationException", "which do not encrypt"
    assert refused(sim, "CreateKey", {"KeySpec": "NONE"}).type == "ValidationException"
    made = sim.call("CreateKey", {"KeySpec": "ECC_NIST_P256", "KeyUsage": "KEY_AGREEMENT", "Policy": json.dumps(policy(allow("*")))})["KeyMetadata"]
    assert made["KeyAgreementAlgorithms"] == ["ECDH"]
    assert refused(sim, "GetPublicKey", {"KeyId": "open"}).type == "UnsupportedOperationException"


@pytest.mark.parametrize("operation, body, type_", [
    ("Decrypt", {"CiphertextBlob": "AAAA"}, "InvalidCiphertextException"), ("Decrypt", {}, "ValidationException"),
    ("Decrypt", {"CiphertextBlob": ""}, "ValidationException"), ("Decrypt", {"CiphertextBlob": b64(bytes(6145))}, "ValidationException"),
    ("Decrypt", {"CiphertextBlob": "AAA"}, "SerializationException"), ("Decrypt", {"CiphertextBlob": "AA A"}, "SerializationException"),
    ("Decrypt", {"CiphertextBlob": 7}, "SerializationException"), ("Decrypt", b"[]", "SerializationException"),
    ("Decrypt", b"{", "SerializationException"), ("Decrypt", b'{"CiphertextBlob": "AAAA", "CiphertextBlob": "AAAA"}', "SerializationException"),
    ("Decrypt", b"[" * 100000, "SerializationException"),
    ("Decrypt", {"CiphertextBlob": "AAAA", "EncryptionContext": {"a": 1}}, "SerializationException"),
    ("Decrypt", {"CiphertextBlob": "AAAA", "EncryptionContext": {str(i): "" for i in range(65)}}, "ValidationException"),
    ("Decrypt", {"CiphertextBlob": "AAAA", "EncryptionAlgorithm": "ROT13"}, "ValidationException"),
    ("Decrypt", {"CiphertextBlob": "AAAA", "EncryptionContext": []}, "ValidationException"),
    ("Encrypt", {"KeyId": "open", "Plaintext": b64(bytes(4097))}, "ValidationException"), ("Encrypt", {"KeyId": "open"}, "ValidationException"),
    ("Encrypt", {"Plaintext": "AAAA"}, "ValidationException"), ("Encrypt", {"KeyId": "agree", "Plaintext": "AAAA"}, "InvalidKeyUsageException"),
    ("GenerateDataKey", {"KeyId": "open"}, "ValidationException"),
    ("GenerateDataKey", {"KeyId": "open", "KeySpec": "AES_256", "NumberOfBytes": 32}, "ValidationException"),
    ("GenerateDataKey", {"KeyId": "open", "KeySpec": "AES_512"}, "ValidationException"),
    ("GenerateDataKey", {"KeyId": "open", "NumberOfBytes": 1025}, "ValidationException"),
    ("GenerateDataKey", {"KeyId": "rsa", "KeySpec": "AES_256"}, "InvalidKeyUsageException"),
    ("GenerateDataKeyPair", {"KeyId": "open"}, "ValidationException"),
    ("GenerateDataKeyPair", {"KeyId": "open", "KeyPairSpec": "SM2"}, "ValidationException"),
    ("GenerateRandom", {}, "ValidationException"), ("GenerateRandom", {"NumberOfBytes": 0}, "ValidationException"),
    ("GenerateRandom", {"NumberOfBytes": "8"}, "SerializationException"), ("Sing", {}, "UnknownOperationException"),
    ("DescribeKey", {}, "ValidationException"), ("DescribeKey", {"KeyId": "x" + "ü" * 2000}, "NotFoundException"), ("GetKeyPolicy", {"KeyId": "open", "PolicyName": "x"}, "NotFoundException"),
    ("ScheduleKeyDeletion", {"KeyId": "open", "PendingWindowInDays": 1}, "ValidationException"),
    ("CreateAlias", {"AliasName": "x", "TargetKeyId": "open"}, "ValidationException")])
def test_what_is_asked_for_wrongly(sim, operation, body, type_):
    error = refused(sim, operation, body)
    assert (error.status, error.type) == (400, type_)


def test_a_ciphertext_of_a_key_that_is_gone(sim):
    blob = sim.encrypt(b"x", "open").replace(b"open", b"gone")
    error = refused(sim, "Decrypt", {"CiphertextBlob": b64(blob)})
    assert error.type == "AccessDeniedException" and "does not exist" in error.message


# ---- Documents ----

@pytest.mark.parametrize("change, says", [
    (lambda field: {**field, "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_1"}, "KeyEncryptionAlgorithm"),
    (lambda field: {**field, "AttestationDocument": ""}, "1 to"),
    (lambda field: {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256"}, "AttestationDocument"),
    (lambda field: [], "AttestationDocument"),
    (lambda field: {**field, "AttestationDocument": b64(base64.b64decode(field["AttestationDocument"]) + b"\0")}, "not valid"),
    (lambda field: {**field, "AttestationDocument": b64(base64.b64decode(field["AttestationDocument"])[:-1] + b"\x55")}, "not valid")])
def test_documents_that_are_none(sim, recipient, change, says):
    with sim.nsm() as nsm:
        field = recipient.field(nsm)
    sim.call("GenerateRandom", {"NumberOfBytes": 1, "Recipient": field})  # that it was right does not help the one that was changed
    error = refused(sim, "GenerateRandom", {"NumberOfBytes": 1, "Recipient": change(field)})
    assert error.type == "ValidationException" and says in error.message


def test_documents_of_another_root_or_without_a_key(sim, recipient):
    body = {"NumberOfBytes": 1}
    with sim.nsm() as nsm:
        sim.fault("wrong-root", "Attestation")
        error = refused(sim, "GenerateRandom", {**body, "Recipient": recipient.field(nsm)})
        assert error.type == "ValidationException" and "another root" in error.message
        for key in (None, b"key", recipient.public[:-1]):
            document = b64(nsm.attest(public_key=key))
            field = {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": document}
            assert "RSA key" in refused(sim, "GenerateRandom", {**body, "Recipient": field}).message


def test_a_document_holds_for_five_minutes(sim, recipient):
    with sim.nsm() as nsm:
        field = recipient.field(nsm)
    soon, late = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=s) for s in (200, 400))
    sim.set_clock(200)
    sim.call("GenerateRandom", {"NumberOfBytes": 1, "Recipient": field}, at=soon)
    sim.set_clock(400)
    assert "too old" in refused(sim, "GenerateRandom", {"NumberOfBytes": 1, "Recipient": field}, at=late).message


# ---- Signatures ----

@pytest.mark.parametrize("options, type_", [
    ({"secret": "another"}, "InvalidSignatureException"), ({"region": "eu-west-1"}, "InvalidSignatureException"),
    ({"service": "s3"}, "InvalidSignatureException"), ({"who": {**OWNED, "access_key_id": "AKIANOBODY"}}, "UnrecognizedClientException"),
    ({"who": {**APP, "session_token": "another"}}, "UnrecognizedClientException"),
    ({"who": {name: APP[name] for name in ("access_key_id", "secret_access_key")}}, "UnrecognizedClientException"),
    ({"who": {**OWNED, "access_key_id": "AKIAEXPIRED", "session_token": "t"}}, "ExpiredTokenException"),
    ({"at": datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)}, "InvalidSignatureException"),
    ({"at": datetime.datetime(2100, 1, 1, tzinfo=datetime.timezone.utc)}, "InvalidSignatureException"),
    ({"tamper": lambda headers: {**headers, "x-amz-target": "TrentService.ListKeys"}}, "InvalidSignatureException"),
    ({"tamper": lambda headers: {**headers, "x-amz-date": "yesterday"}}, "IncompleteSignatureException"),
    ({"tamper": lambda headers: {**headers, "x-amz-more": "unsigned"}}, "InvalidSignatureException"),
    ({"tamper": lambda headers: {**headers, "x-amz-content-sha256": "0" * 64}}, "InvalidSignatureException"),
    ({"tamper": lambda headers: {**headers, "authorization": headers["authorization"][:-1]}}, "InvalidSignatureException"),
    ({"tamper": lambda headers: {**headers, "authorization": "Basic x"}}, "IncompleteSignatureException"),
    ({"tamper": lambda headers: {**headers, "authorization": "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=x, Signature=y"}},
     "IncompleteSignatureException"),
    ({"tamper": lambda headers: {name: value for name, value in headers.items() if name != "authorization"}},
     "MissingAuthenticationTokenException")])
def test_signatures(sim, options, type_):
    error = refused(sim, "GenerateRandom", {"NumberOfBytes": 1}, **options)
    assert (error.status, error.type) == (400, type_)


def test_a_signed_content_hash(sim):
    body = b'{"NumberOfBytes": 1}'
    sim.call("GenerateRandom", body, headers={"x-amz-content-sha256": hashlib.sha256(body).hexdigest()})
    assert refused(sim, "GenerateRandom", body, headers={"x-amz-content-sha256": "0" * 64}).type == "InvalidSignatureException"


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


# ---- The metadata service ----

def test_credentials_from_the_metadata_service(sim):
    host, _, port = sim.metadata_address.removeprefix("tcp://").rpartition(":")

    def ask(method, path, headers=None):
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, body
    roles = "/latest/meta-data/iam/security-credentials/"
    assert ask("GET", roles)[0] == 401 and ask("PUT", "/latest/api/token")[0] == 400
    status, token = ask("PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    assert status == 200
    with_token = {"X-aws-ec2-metadata-token": token}
    status, role = ask("GET", roles, with_token)
    status, body = ask("GET", roles + role, with_token)
    found = json.loads(body)
    assert (found["Code"], found["AccessKeyId"], found["Token"]) == ("Success", APP["access_key_id"], APP["session_token"])
    assert found["SecretAccessKey"] == APP["secret_access_key"] and found["Expiration"] > datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert ask("GET", "/latest/meta-data/placement/region", with_token) == (200, REGION)
    assert ask("GET", "/latest/other", with_token)[0] == 404


# ---- Its life ----

def test_keys_and_roots_outlive_it(tmp_path, folder):
    one = Sim(folder=folder)
    with one:
        blob, root, ca = one.encrypt(b"kept"), one.root.read_bytes(), one.ca.read_bytes()
        made = one.call("CreateKey", {"KeySpec": "RSA_2048", "Policy": json.dumps(policy(allow(OWNER)))})["KeyMetadata"]["KeyId"]
        public = one.call("GetPublicKey", {"KeyId": made})["PublicKey"]
    assert {name.name: oct(name.stat().st_mode & 0o777) for name in one.state.glob("*.key")} == {
        "attestation-root.key": "0o600", "tls-ca.key": "0o600"}
    with one:
        assert one.root.read_bytes() == root and one.ca.read_bytes() == ca
        assert one.call("Decrypt", {"CiphertextBlob": b64(blob)})["Plaintext"] == b64(b"kept")
        assert one.call("GetPublicKey", {"KeyId": made})["PublicKey"] == public


@pytest.mark.parametrize("spoil", ["keys.json", "attestation-root.key", "tls-ca.pem"])
def test_a_directory_that_was_spoiled(folder, spoil):
    one = Sim(folder=folder)
    with one:
        pass
    (one.state / spoil).write_text("{" if spoil == "keys.json" else "nonsense")
    assert run_with(one.config, folder)[0] == 1


def run_with(config, folder):
    (folder / "bad.json").write_text(config if isinstance(config, str) else json.dumps(config))
    done = subprocess.run([PROGRAMS / "postern-sim", "--config", folder / "bad.json"], text=True, capture_output=True, timeout=PATIENCE)
    return done.returncode, done.stderr


@pytest.mark.parametrize("config, says", [
    ("{", "line 1"), ({}, "directory"), ({"directory": "D", "more": 1}, "more"), ({"directory": "/proc/none"}, "/proc/none"),
    ({"directory": "D", "nsm": [{"listen": "nowhere"}]}, "nowhere"), ({"directory": "D", "nsm": {}}, "list"),
    ({"directory": "D", "nsm": [{"listen": "unix://D/s", "pcrs": {"0": "ab"}}]}, "pcrs"),
    ({"directory": "D", "nsm": [{"listen": "unix://D/s", "pcrs": []}]}, "pcrs"),
    ({"directory": "D", "nsm": [{"listen": "unix://D/s", "shape": "round"}]}, "shape"),
    ({"directory": "D", "nsm": [{"listen": "unix://D/s", "eif": "/none"}]}, "/none"),
    ({"directory": "D", "instance_id": "i" * 25}, "instance_id"),
    ({"directory": "D", "kms": {"listen": "unix://D/s", "account": "1"}}, "account"),
    ({"directory": "D", "kms": {"listen": "unix://D/s", "cms": "round"}}, "cms"),
    ({"directory": "D", "kms": {"listen": "unix://D/s", "keys": {}}}, "list"),
    ({"directory": "D", "kms": {"listen": "unix://D/s", "keys": [{"id": "a/b"}]}}, "slash"),
    ({"directory": "D", "kms": {"listen": "unix://D/s", "keys": [{"id": "a"}, {"id": "b", "policy": {}}]}}, "policy"),
    ({"directory": "D", "kms": {"listen": "unix://D/s", "keys": [{"id": "a", "policy_file": "/none"}]}}, "/none"),
    ({"directory": "D", "kms": {"listen": "unix://D/s", "keys": [{"id": "a", "spec": "ROT13"}]}}, "spec"),
    ({"directory": "D", "kms": {"listen": "unix://D/s", "credentials": [{"access_key_id": "a", "secret_access_key": "b", "principal": "me"}]}},
     "principal"),
    ({"directory": "D", "kms": {"listen": "unix://D/s", "credentials": [{"access_key_id": "a"}]}}, "credentials"),
    ({"directory": "D", "metadata": {"listen": "unix://D/s"}}, "no credentials")])
def test_configurations_that_are_none(folder, config, says):
    text = config if isinstance(config, str) else json.dumps(config).replace('"D', f'"{folder}').replace("//D/", f"//{folder}/")
    status, error = run_with(text, folder)
    assert status == 1 and says in error and error.startswith("postern-sim: ")


def test_the_command_line():
    run = lambda *arguments: subprocess.run([PROGRAMS / "postern-sim", *arguments], text=True, capture_output=True, timeout=PATIENCE)
    assert run().returncode == run("--config", "x", "more").returncode == run("--what").returncode == 2
    assert run("--help").stdout.startswith("usage: postern-sim") and run("--version").stdout.startswith("postern-sim ")
    assert run("--config", "/none").returncode == 1


def test_it_ends_with_connections_open(folder):
    one = Sim(folder=folder).start()
    open_ = [one.tls(), connect(one.kms_address), connect(one.nsm_address), connect(one.control_address)]
    one.call("GenerateRandom", {"NumberOfBytes": 1})
    one.finish()
    for each in open_:
        each.close()


def test_an_image_is_measured(folder):
    """As posternctl does it."""
    if not (PROGRAMS / "posternctl").exists():
        pytest.skip("posternctl is not built")
    (folder / "app.eif").write_bytes(eif.image())
    done = subprocess.run([PROGRAMS / "posternctl", "eif", "measure", "--json", folder / "app.eif"], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == eif.measurements()
    with Sim(folder=folder, nsm=[{"eif": str(folder / "app.eif")}]) as one, one.nsm() as nsm:
        pcrs = parse_document(nsm.attest())["pcrs"]
    assert {f"PCR{number}": pcrs[number].hex() for number in range(3)}.items() <= eif.measurements()["Measurements"].items()


def test_many_callers_at_once(sim, recipient):
    """Each gets what is its own, while keys come and policies change."""
    with sim.nsm() as nsm:
        field = recipient.field(nsm)
    blobs = {number: b64(sim.encrypt(b"%d" % number, "open")) for number in range(6)}
    failures = []

    def work(number):
        try:
            with contextlib.closing(Kept(sim)) as kept, sim.nsm() as own:
                for turn in range(8):
                    answer = sim.call("Decrypt", {"CiphertextBlob": blobs[number]}, APP, kept)
                    assert base64.b64decode(answer["Plaintext"]) == b"%d" % number
                    sim.call("GenerateDataKey", {"KeyId": "data", "KeySpec": "AES_256", "Recipient": field}, APP, kept)
                    sim.call("PutKeyPolicy", {"KeyId": "data", "Policy": json.dumps(ATTESTED)}, connection=kept)
                    if turn % 4 == 0:
                        sim.call("CreateKey", {}, connection=kept)
                    assert own.attest(nonce=b"%d" % number)
        except Exception as failure:
            failures.append(failure)
    threads = [threading.Thread(target=work, args=(number,)) for number in blobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
