"""postern-sim's KMS: what its operations do, whose documents and signatures it takes."""
import base64
import contextlib
import datetime
import hashlib
import json
import subprocess

import pytest

from sim import ACCOUNT, APP, ATTESTED, OWNED, REGION, Kept, allow, policy
from sim_bench import b64, nothing_left, recipient, refused, sim


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
