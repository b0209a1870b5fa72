"""postern-sim with clients that are AWS's own: its SDK for JavaScript, and boto3. That they understand each other is the test of both
the API's form and the signatures. Neither is a package of Debian's: `scripts/sdks`
installs them, and without them these tests are skipped.
"""
import base64
import json
import os
import subprocess

import pytest

from aws import NO_AWS
from postern import REPOSITORY
from sdks import BOTO, NODE, SDK, needs_boto, needs_javascript
from sim import ACCOUNT, APP, ATTESTED, OWNED, PCR0, ROLE, Recipient, Sim, allow, policy

SDKS = [pytest.param("javascript", marks=needs_javascript), pytest.param("boto3", marks=needs_boto)]


def b(data):
    return {"bytes": base64.b64encode(data).decode()}


class Client:
    """An SDK in a process of its own."""

    def __init__(self, which, sim, who, attempts=1):
        endpoint = f"https://localhost:{sim.kms_port}"
        command = ([NODE, REPOSITORY / "tests/lib/sdk_kms.mjs", SDK, endpoint] if which == "javascript" else
                   [BOTO, REPOSITORY / "tests/lib/sdk_boto.py", sim.ca, endpoint])
        environment = {name: value for name, value in (os.environ | NO_AWS).items() if value} | sim.environment(who)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment | {"NODE_EXTRA_CA_CERTS": str(sim.ca), "SDK_ATTEMPTS": str(attempts), "AWS_EC2_METADATA_DISABLED": "true"})

    def result(self, command, **input):
        self.process.stdin.write(json.dumps({"command": command, "input": input}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def call(self, command, **input):
        result = self.result(command, **input)
        assert "error" not in result, result
        assert len(result["requestId"]) == 36
        return result["answer"]

    def refused(self, command, **input):
        return self.result(command, **input)["error"]

    def close(self):
        self.process.stdin.close()
        assert self.process.wait() == 0
        self.process.stdout.close()


@pytest.fixture(scope="module")
def sim():
    keys = [{"id": "data", "alias": "alias/data", "policy": ATTESTED}, {"id": "open", "policy": policy(allow("*"))},
            {"id": "agree", "spec": "ECC_NIST_P256", "policy": policy(allow("*"))},
            {"id": "denied", "policy": policy(allow("*"), allow(ROLE, "kms:Decrypt", None, "Deny"))}]
    with Sim(keys=keys, nsm=[{"pcrs": {"0": PCR0}}, {"pcrs": {"0": "cd" * 48}}]) as one:
        yield one


@pytest.fixture(scope="module", params=SDKS)
def sdk(request, sim):
    """sdk(who) is a client of that SDK's."""
    started = {}

    def get(who=OWNED, **options):
        key = (who["access_key_id"], *options.items())
        if key not in started:
            started[key] = Client(request.param, sim, who, **options)
        return started[key]
    yield get
    for one in started.values():
        one.close()


def unb(value):
    return base64.b64decode(value["bytes"])


def test_encrypt_and_decrypt(sdk, sim):
    owner = sdk()
    answer = owner.call("Encrypt", KeyId="alias/data", Plaintext=b(b"secret"), EncryptionContext={"tenant": "a b", "ü": "€"})
    assert answer["KeyId"] == sim.key("data") and answer["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"
    opened = owner.call("Decrypt", CiphertextBlob=answer["CiphertextBlob"], EncryptionContext={"ü": "€", "tenant": "a b"})
    assert unb(opened["Plaintext"]) == b"secret" and opened["KeyId"] == sim.key("data")
    assert owner.refused("Decrypt", CiphertextBlob=answer["CiphertextBlob"]) == "InvalidCiphertextException"


def test_for_an_enclave(sdk, sim, tmp_path):
    recipient, blob = Recipient(tmp_path), b(sim.encrypt(b"for the enclave"))
    enclave = sdk(APP)
    with sim.nsm(0) as right, sim.nsm(1) as other:
        fields = []
        for nsm in (right, other):
            field = recipient.field(nsm)
            fields.append({**field, "AttestationDocument": {"bytes": field["AttestationDocument"]}})
    answer = enclave.call("Decrypt", CiphertextBlob=blob, Recipient=fields[0])
    assert not answer.get("Plaintext")
    assert recipient.open({"CiphertextForRecipient": answer["CiphertextForRecipient"]["bytes"]}) == b"for the enclave"
    assert enclave.refused("Decrypt", CiphertextBlob=blob) == "AccessDeniedException"
    assert enclave.refused("Decrypt", CiphertextBlob=blob, Recipient=fields[1]) == "AccessDeniedException"
    key = enclave.call("GenerateDataKey", KeyId="data", KeySpec="AES_256", Recipient=fields[0])
    secret = recipient.open({"CiphertextForRecipient": key["CiphertextForRecipient"]["bytes"]})
    assert len(secret) == 32 and unb(sdk().call("Decrypt", CiphertextBlob=key["CiphertextBlob"])["Plaintext"]) == secret


def test_data_keys_pairs_and_random_bytes(sdk):
    owner = sdk()
    key = owner.call("GenerateDataKey", KeyId="open", KeySpec="AES_128")
    assert len(unb(key["Plaintext"])) == 16
    assert unb(owner.call("Decrypt", CiphertextBlob=key["CiphertextBlob"])["Plaintext"]) == unb(key["Plaintext"])
    assert "Plaintext" not in owner.call("GenerateDataKeyWithoutPlaintext", KeyId="open", NumberOfBytes=64)
    pair = owner.call("GenerateDataKeyPair", KeyId="open", KeyPairSpec="ECC_NIST_P384")
    assert unb(owner.call("Decrypt", CiphertextBlob=pair["PrivateKeyCiphertextBlob"])["Plaintext"]) == unb(pair["PrivateKeyPlaintext"])
    assert "PrivateKeyPlaintext" not in owner.call("GenerateDataKeyPairWithoutPlaintext", KeyId="open", KeyPairSpec="RSA_2048")
    assert len(unb(owner.call("GenerateRandom", NumberOfBytes=1024)["Plaintext"])) == 1024


def test_a_shared_secret(sdk):
    owner = sdk()
    other = owner.call("GenerateDataKeyPair", KeyId="open", KeyPairSpec="ECC_NIST_P256")
    secret = owner.call("DeriveSharedSecret", KeyId="agree", KeyAgreementAlgorithm="ECDH", PublicKey=other["PublicKey"])
    assert len(unb(secret["SharedSecret"])) == 32 and secret["KeyAgreementAlgorithm"] == "ECDH"
    assert owner.call("GetPublicKey", KeyId="agree")["KeyUsage"] == "KEY_AGREEMENT"


def test_keys_and_their_policies(sdk):
    owner = sdk()
    made = owner.call("CreateKey", Description="of an SDK's", Policy=json.dumps(policy(allow("*"))))["KeyMetadata"]
    key = made["KeyId"]
    described = owner.call("DescribeKey", KeyId=key)["KeyMetadata"]
    assert described["Arn"] == made["Arn"] and described["CreationDate"][:2] == "20" and described["AWSAccountId"] == ACCOUNT
    assert key in [each["KeyId"] for each in owner.call("ListKeys")["Keys"]]
    owner.call("PutKeyPolicy", KeyId=key, PolicyName="default", Policy=json.dumps(ATTESTED))
    assert json.loads(owner.call("GetKeyPolicy", KeyId=key, PolicyName="default")["Policy"]) == ATTESTED
    blob = owner.call("Encrypt", KeyId=key, Plaintext=b(b"x"))["CiphertextBlob"]
    owner.call("DisableKey", KeyId=key)
    assert owner.refused("Decrypt", CiphertextBlob=blob) == "DisabledException"
    owner.call("EnableKey", KeyId=key)
    assert owner.call("ScheduleKeyDeletion", KeyId=key)["KeyState"] == "PendingDeletion"
    assert owner.refused("Decrypt", CiphertextBlob=blob) == "KMSInvalidStateException"


def test_errors_have_their_names(sdk, sim):
    owner, enclave = sdk(), sdk(APP)
    assert owner.refused("Decrypt", CiphertextBlob=b(b"nonsense")) == "InvalidCiphertextException"
    assert owner.refused("DescribeKey", KeyId="none") == "NotFoundException"
    assert owner.refused("Decrypt", CiphertextBlob=b(sim.encrypt(b"x")), KeyId="open") == "IncorrectKeyException"
    assert owner.refused("GenerateDataKey", KeyId="open") == "ValidationException"
    assert owner.refused("Encrypt", KeyId="agree", Plaintext=b(b"x")) == "InvalidKeyUsageException"
    denied = enclave.result("Decrypt", CiphertextBlob=b(sim.encrypt(b"x", "denied")))
    assert denied["error"] == "AccessDeniedException" and "explicit deny" in denied["message"] and denied["status"] == 400


@pytest.mark.parametrize("who, error", [({**OWNED, "secret_access_key": "another"}, "InvalidSignatureException"),
                                        ({**OWNED, "access_key_id": "AKIANOBODY"}, "UnrecognizedClientException"),
                                        ({**APP, "session_token": "another"}, "UnrecognizedClientException")])
@pytest.mark.parametrize("which", SDKS)
def test_who_is_not_known(sim, which, who, error):
    client = Client(which, sim, who)
    try:
        assert client.refused("GenerateRandom", NumberOfBytes=1) == error
    finally:
        client.close()


def test_what_an_sdk_tries_again(sdk, sim):
    patient = sdk(attempts=3)
    sim.fault("throttle", "GenerateRandom", count=2)
    assert patient.result("GenerateRandom", NumberOfBytes=1)["attempts"] == 3
    sim.fault("internal", "GenerateRandom")
    assert patient.result("GenerateRandom", NumberOfBytes=1)["attempts"] == 2
    sim.fault("throttle", "GenerateRandom")
    assert sdk().refused("GenerateRandom", NumberOfBytes=1) == "ThrottlingException"
