"""Key policies through the wire: who gets a plaintext out of postern-sim, under which statements, for callers with an attestation and
without, of the right image, of another, and in debug mode."""
import base64
import contextlib
import json

import pytest

from sim import ACCOUNT, APP, OWNED, OWNER, PCR0, ROLE, Kept, KmsError, Recipient, Sim, allow, policy

OTHER = "cd" * 48
ZEROS = "00" * 48
PCR = "kms:RecipientAttestation:PCR"
FOREIGN = {"access_key_id": "AKIAFOREIGN", "secret_access_key": "foreign", "principal": "arn:aws:iam::444455556666:role/app"}
BARE = {"access_key_id": "AKIABARE", "secret_access_key": "bare", "principal": f"arn:aws:iam::{ACCOUNT}:user/bare", "account_allows": []}
USER = {"access_key_id": "AKIAUSER", "secret_access_key": "user", "principal": f"arn:aws:iam::{ACCOUNT}:user/user",
        "account_allows": ["kms:Dec*"]}
ADMIN = allow(OWNER)
ROOT = allow(f"arn:aws:iam::{ACCOUNT}:root")

# The callers of a table's columns: the enclave, another image, a debug enclave, and nobody's.
CALLERS = {"right": 0, "other": 1, "debug": 2, "unattested": None}


def decrypt(condition, effect="Allow"):
    return allow(ROLE, "kms:Decrypt", condition, effect)


def deny(condition):
    return [decrypt(None), decrypt(condition, "Deny")]


# What a policy says beside what its owner may, and which callers it lets in.
TABLE = {
    "no condition": ([decrypt(None)], "right other debug unattested"),
    "nothing": ([], ""),
    "another role": ([allow(f"arn:aws:iam::{ACCOUNT}:role/another", "kms:Decrypt")], ""),
    "another action": ([allow(ROLE, "kms:Encrypt")], ""),
    "pcr0": ([decrypt({"StringEquals": {PCR + "0": PCR0}})], "right"),
    "image": ([decrypt({"StringEquals": {"kms:RecipientAttestation:ImageSha384": PCR0}})], "right"),
    "a name in another case": ([decrypt({"StringEquals": {"KMS:recipientattestation:imagesha384": PCR0}})], "right"),
    "upper case": ([decrypt({"StringEquals": {PCR + "0": PCR0.upper()}})], ""),
    "upper case, ignored": ([decrypt({"StringEqualsIgnoreCase": {PCR + "0": PCR0.upper()}})], "right"),
    "several values": ([decrypt({"StringEquals": {PCR + "0": ["ee" * 48, OTHER, PCR0]}})], "right other"),
    "two statements": ([decrypt({"StringEquals": {PCR + "0": PCR0}}), decrypt({"StringEquals": {PCR + "0": OTHER}})], "right other"),
    "two keys": ([decrypt({"StringEquals": {PCR + "0": PCR0, PCR + "1": "11" * 48}})], "right"),
    "two keys, one wrong": ([decrypt({"StringEquals": {PCR + "0": PCR0, PCR + "1": "12" * 48}})], ""),
    "two operators": ([decrypt({"StringEquals": {PCR + "0": PCR0}, "StringLike": {PCR + "1": "11*"}})], "right"),
    "two operators, one wrong": ([decrypt({"StringEquals": {PCR + "0": PCR0}, "StringLike": {PCR + "1": "12*"}})], ""),
    "like": ([decrypt({"StringLike": {PCR + "0": "ab*"}})], "right"),
    "like anything": ([decrypt({"StringLike": {PCR + "0": "*"}})], "right other debug"),
    "zeros": ([decrypt({"StringEquals": {PCR + "0": ZEROS}})], "debug"),
    "a pcr that is not in the document": ([decrypt({"StringEquals": {PCR + "20": ZEROS}})], ""),
    "not equal": ([decrypt({"StringNotEquals": {PCR + "0": OTHER}})], "right debug unattested"),
    "not equal, ignoring case": ([decrypt({"StringNotEqualsIgnoreCase": {PCR + "0": OTHER.upper()}})], "right debug unattested"),
    "not like": ([decrypt({"StringNotLike": {PCR + "0": "cd*"}})], "right debug unattested"),
    "none of several": ([decrypt({"StringNotEquals": {PCR + "0": [OTHER, ZEROS]}})], "right unattested"),
    "if it exists": ([decrypt({"StringEqualsIfExists": {PCR + "0": PCR0}})], "right unattested"),
    "not, if it exists": ([decrypt({"StringNotEqualsIfExists": {PCR + "0": OTHER}})], "right debug unattested"),
    "like, if it exists": ([decrypt({"StringLikeIfExists": {PCR + "0": "ab*"}})], "right unattested"),
    "it exists": ([decrypt({"Null": {PCR + "0": "false"}})], "right other debug"),
    "it does not exist": ([decrypt({"Null": {PCR + "0": "true"}})], "unattested"),
    "it exists and is no other": ([decrypt({"Null": {PCR + "0": "false"}, "StringNotEquals": {PCR + "0": OTHER}})], "right debug"),
    "for all values": ([decrypt({"ForAllValues:StringEquals": {PCR + "0": PCR0}})], "right unattested"),
    "for any value": ([decrypt({"ForAnyValue:StringEquals": {PCR + "0": PCR0}})], "right"),
    "deny all": (deny(None), ""),
    "deny another": (deny({"StringNotEqualsIgnoreCase": {PCR + "0": PCR0}}), "right"),
    "deny another, if it exists": (deny({"StringNotEqualsIgnoreCaseIfExists": {PCR + "0": PCR0}}), "right"),
    "deny one": (deny({"StringEquals": {PCR + "0": OTHER}}), "right debug unattested"),
    "deny one, if it exists": (deny({"StringEqualsIfExists": {PCR + "0": OTHER}}), "right debug"),
    "deny debug": (deny({"StringEquals": {PCR + "0": ZEROS}}), "right other unattested"),
    "deny the unattested": (deny({"Null": {PCR + "0": "true"}}), "right other debug"),
    "deny, in whatever order": ([decrypt({"Null": {PCR + "0": "true"}}, "Deny"), decrypt(None)], "right other debug"),
    "deny something else": ([decrypt(None), allow(ROLE, "kms:Encrypt", None, "Deny")], "right other debug unattested"),
    "a key that is absent": ([decrypt({"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}})], ""),
    "a key that is absent, negated": ([decrypt({"StringNotEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}})],
                                      "right other debug unattested"),
    "who calls": ([allow("*", "kms:Decrypt", {"StringEquals": {"aws:PrincipalArn": ROLE, PCR + "0": PCR0}})], "right"),
    "who calls, another": ([allow("*", "kms:Decrypt", {"StringEquals": {"aws:PrincipalArn": OWNER}})], ""),
    "the account": ([allow("*", "kms:Decrypt", {"StringEquals": {"kms:CallerAccount": ACCOUNT, PCR + "0": PCR0}})], "right"),
    "over tls": ([decrypt({"Bool": {"aws:SecureTransport": "true"}})], "right other debug unattested"),
    "not over tls": (deny({"Bool": {"aws:SecureTransport": "false"}}), "right other debug unattested"),
    "an operator that is not understood": ([decrypt({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}})], ""),
    "a deny that is not understood": (deny({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}), ""),
    "by the account alone": ([ROOT], "right other debug unattested"),
    "the session by its own name": ([allow(APP["principal"], "kms:Decrypt", {"StringEquals": {PCR + "0": PCR0}})], "right"),
    "another session": ([allow(APP["principal"] + "x", "kms:Decrypt")], ""),
    "a not-action": ([{"Effect": "Allow", "Principal": {"AWS": ROLE}, "NotAction": "kms:Encrypt", "Resource": "*"}],
                     "right other debug unattested"),
    "this key": ([{**decrypt(None), "Resource": f"arn:aws:kms:us-east-1:{ACCOUNT}:key/data"}], "right other debug unattested"),
    "another key": ([{**decrypt(None), "Resource": f"arn:aws:kms:us-east-1:{ACCOUNT}:key/other"}], ""),
}


@pytest.fixture(scope="module")
def sim():
    nsm = [{"pcrs": {"0": pcr0, "1": "11" * 48}, "debug": debug} for pcr0, debug in ((PCR0, False), (OTHER, False), (PCR0, True))]
    with Sim(nsm=nsm, keys=[{"id": "data", "policy": policy(ADMIN)}], credentials=[APP, OWNED, FOREIGN, BARE, USER]) as one:
        yield one


@pytest.fixture(scope="module")
def fields(sim, tmp_path_factory):
    """A Recipient for each caller."""
    recipient = Recipient(tmp_path_factory.mktemp("recipient"))
    result = {}
    for name, number in CALLERS.items():
        if number is not None:
            with sim.nsm(number) as nsm:
                result[name] = {"Recipient": recipient.field(nsm)}
        else:
            result[name] = {}
    return result


def put(sim, *statements):
    sim.call("PutKeyPolicy", {"KeyId": "data", "Policy": json.dumps(policy(ADMIN, *statements))})


def may(sim, body, who=APP, operation="Decrypt", connection=None):
    try:
        sim.call(operation, body, who, connection)
        return True
    except KmsError as error:
        assert (error.status, error.type) == (400, "AccessDeniedException"), error
        return False


@pytest.mark.parametrize("name", TABLE)
def test_a_policy(sim, fields, name):
    statements, allowed = TABLE[name]
    put(sim, *statements)
    blob = {"CiphertextBlob": base64.b64encode(sim.encrypt(b"x")).decode()}
    with contextlib.closing(Kept(sim)) as kept:
        let_in = [caller for caller in CALLERS if may(sim, {**blob, **fields[caller]}, connection=kept)]
    assert " ".join(let_in) == allowed


def test_the_encryption_context_in_a_policy(sim):
    put(sim, decrypt({"StringEquals": {"kms:EncryptionContext:tenant": "a"}}))
    for context, allowed in (({"tenant": "a"}, True), ({"tenant": "b"}, False), ({}, False), ({"tenant": "a", "more": "x"}, True),
                             ({"Tenant": "a"}, True)):
        blob = base64.b64encode(sim.encrypt(b"x", context=context)).decode()
        assert may(sim, {"CiphertextBlob": blob, "EncryptionContext": context}) == allowed, context
    put(sim, decrypt({"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["a", "b"]}}))
    for context, allowed in (({"a": "1"}, True), ({"a": "1", "b": "2"}, True), ({"a": "1", "c": "2"}, False), ({}, True)):
        blob = base64.b64encode(sim.encrypt(b"x", context=context)).decode()
        assert may(sim, {"CiphertextBlob": blob, "EncryptionContext": context}) == allowed, context
    assert not may(sim, {"KeyId": "data", "Plaintext": "AAAA", "EncryptionContext": {"n" * 300: "x"}}, OWNED, "Encrypt")


def test_what_the_account_leaves_to_its_own_policies(sim):
    put(sim, ROOT)
    blob = {"CiphertextBlob": base64.b64encode(sim.encrypt(b"x")).decode()}
    assert may(sim, blob) and may(sim, blob, USER) and not may(sim, blob, BARE) and not may(sim, blob, FOREIGN)
    assert not may(sim, {"KeyId": "data", "Plaintext": "AAAA"}, USER, "Encrypt")
    assert not may(sim, {"NumberOfBytes": 1}, USER, "GenerateRandom"), "of no key, so up to the account alone"
    put(sim, allow(BARE["principal"], "kms:Decrypt"), allow(FOREIGN["principal"], "kms:Decrypt"))
    assert may(sim, blob, BARE), "named by the key's policy"
    assert may(sim, blob, FOREIGN), "named there, and allowed by its own account"


def test_names_that_are_no_arns_are_of_the_callers_account(sim):
    """As AWS has it: another account's key goes by its ARN, or by the ARN of its alias."""
    put(sim, allow(ROLE, "kms:Encrypt"), allow(FOREIGN["principal"], ["kms:Encrypt", "kms:Decrypt"]))
    sim.call("CreateAlias", {"AliasName": "alias/ours", "TargetKeyId": "data"})
    arn = sim.key("data")
    for name in (arn, arn.replace("key/data", "alias/ours")):
        assert may(sim, {"KeyId": name, "Plaintext": "AAAA"}, FOREIGN, "Encrypt")
    for name in ("data", "alias/ours"):
        assert may(sim, {"KeyId": name, "Plaintext": "AAAA"}, APP, "Encrypt")
        with pytest.raises(KmsError, match="NotFoundException"):
            sim.call("Encrypt", {"KeyId": name, "Plaintext": "AAAA"}, FOREIGN)
    assert may(sim, {"CiphertextBlob": base64.b64encode(sim.encrypt(b"x")).decode()}, FOREIGN), "the ciphertext tells"


def test_a_data_key_pairs_spec_and_an_alias_in_a_policy(sim):
    put(sim, allow(ROLE, "kms:GenerateDataKeyPair", {"StringEquals": {"kms:DataKeyPairSpec": "ECC_NIST_P256"}}),
        allow(ROLE, "kms:Encrypt", {"StringEquals": {"kms:RequestAlias": "alias/known"}}))
    pair = lambda spec: may(sim, {"KeyId": "data", "KeyPairSpec": spec}, operation="GenerateDataKeyPair")
    assert pair("ECC_NIST_P256") and not pair("ECC_NIST_P384")
    sim.call("CreateAlias", {"AliasName": "alias/known", "TargetKeyId": "data"})
    assert may(sim, {"KeyId": "alias/known", "Plaintext": "AAAA"}, operation="Encrypt")
    assert not may(sim, {"KeyId": "data", "Plaintext": "AAAA"}, operation="Encrypt")


def test_who_may_change_a_policy(sim):
    put(sim, allow(ROLE, "kms:Decrypt"))
    assert not may(sim, {"KeyId": "data", "Policy": json.dumps(policy(allow(ROLE)))}, operation="PutKeyPolicy")
    assert not may(sim, {"KeyId": "data"}, operation="GetKeyPolicy")
