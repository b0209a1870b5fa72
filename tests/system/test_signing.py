"""Signed routes to moto's server, which plays AWS's services and checks signatures with AWS's own code (botocore): right ones are accepted,
and do what they ask for; wrong ones are refused.

It is no package of Debian's: `scripts/sdks moto` installs it. Without it these tests are skipped.
"""
import base64
import contextlib
import hashlib
import http.client
import json
import os
import re
import subprocess
import urllib.parse

import pytest

from aws import NO_AWS
from postern import PATIENCE, free_port, wait_until
from sdks import MOTO, needs_moto

PATIENT = {"connect_timeout": "10m", "response_timeout": "10m", "idle_timeout": "10m", "head_timeout": "10m"}
REGION = "eu-west-1"

pytestmark = needs_moto


class Moto:
    """moto's server. Once it has a user with keys, it takes nothing that is not signed with them."""

    def __init__(self, folder, authority=None):
        self.port = free_port()
        self.folder = folder
        files = authority.certify("localhost") if authority else None
        tls = ["-c", str(files[0]), "-k", str(files[1])] if files else []
        self.context = authority.client_context() if authority else None
        self.url = f"{'https://localhost' if authority else 'http://127.0.0.1'}:{self.port}"
        with open(folder / "moto.log", "wb") as log:
            self.process = subprocess.Popen(
                [MOTO, "-p", str(self.port), *tls], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "3", "HOME": str(folder)})
        try:
            wait_until(self.is_up, what="moto's start")
            self.identity, self.secret = self.make_keys()
        except BaseException:
            self.close()
            raise

    def connection(self):
        if self.context is not None:
            return http.client.HTTPSConnection("localhost", self.port, timeout=PATIENCE, context=self.context)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def is_up(self):
        assert self.process.poll() is None, (self.folder / "moto.log").read_text()
        with contextlib.suppress(OSError), contextlib.closing(self.connection()) as connection:
            connection.connect()
            return True

    def iam(self, **parameters):
        """An action of IAM's, which says for which service it is, and is not signed."""
        with contextlib.closing(self.connection()) as connection:
            scope = "Credential=any/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=any"
            connection.request("POST", "/", urllib.parse.urlencode({"Version": "2010-05-08", "UserName": "enclave", **parameters}),
                               {"content-type": "application/x-www-form-urlencoded", "authorization": f"AWS4-HMAC-SHA256 {scope}"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def make_keys(self):
        everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        assert self.iam(Action="CreateUser")[0] == 200
        assert self.iam(Action="PutUserPolicy", PolicyName="all", PolicyDocument=json.dumps(everything))[0] == 200
        status, text = self.iam(Action="CreateAccessKey")
        assert status == 200
        assert self.iam(Action="ListAccessKeys")[0] == 403  # from now on it checks
        return [re.search(f"<{name}>(.*?)</{name}>", text)[1] for name in ("AccessKeyId", "SecretAccessKey")]

    def close(self):
        self.process.terminate()
        self.process.wait(PATIENCE)


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    one = Moto(tmp_path_factory.mktemp("moto"))
    yield one
    one.close()


@pytest.fixture(scope="module")
def secure_moto(tmp_path_factory, authority):
    one = Moto(tmp_path_factory.mktemp("secure-moto"), authority)
    yield one
    one.close()


@pytest.fixture
def signed(relay, authority):
    """signed(moto, service, ...): a daemon whose route `out` leads to moto, signed for the service."""
    def start(moto, service, secret=None, route=None, **sign):
        daemon = relay(moto.url, begin=False, environment={
            **NO_AWS, "AWS_ACCESS_KEY_ID": moto.identity, "AWS_SECRET_ACCESS_KEY": secret or moto.secret})
        tls = {"tls": {"ca": str(authority.file)}} if moto.context else {}
        daemon.config["routes"] = {"out": {
            "type": "forward", "to": moto.url, "allow_private": True, **PATIENT, **tls, **(route or {}),
            "sign": {"aws": {"service": service, "region": REGION, "credentials": "env", **sign}}}}
        daemon.write_config(daemon.config)
        return daemon.start()
    return start


def ask(daemon, method, path, body=None, **headers):
    host, _, port = daemon.at.removeprefix("tcp://").rpartition(":")
    with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=PATIENCE)) as connection:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read()


def accepted(answer):
    status, body = answer
    assert 200 <= status < 300, (status, body[:500])
    return body


def call(daemon, target, parameters, version="1.1"):
    """A service that speaks JSON."""
    return json.loads(accepted(ask(daemon, "POST", "/", json.dumps(parameters), x_amz_target=target,
                                   content_type=f"application/x-amz-json-{version}")) or b"{}")


def query(daemon, **parameters):
    """A service whose requests are forms."""
    return accepted(ask(daemon, "POST", "/", urllib.parse.urlencode(parameters),
                        content_type="application/x-www-form-urlencoded; charset=utf-8")).decode()


# ---- S3 ----

KEYS = ["plain", "deep/er/key", "with%20blank", "%C3%BC%E2%82%AC", "a+b", "x'(y)!~*", "a@b:c=d&e$f,g;h"]


@pytest.mark.parametrize("key", KEYS)
def test_objects(signed, moto, key):
    daemon = signed(moto, "s3")
    bucket = "objects"
    accepted(ask(daemon, "PUT", f"/{bucket}", f"<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint>"
                                              "</CreateBucketConfiguration>")) if key == KEYS[0] else None
    for body in (b"result \x00\xff" * 5000, b""):
        accepted(ask(daemon, "PUT", f"/{bucket}/{key}", body, content_type="application/octet-stream", x_amz_meta_from=" the  enclave "))
        assert accepted(ask(daemon, "GET", f"/{bucket}/{key}")) == body
    assert ask(daemon, "HEAD", f"/{bucket}/{key}")[0] == 200
    listing = accepted(ask(daemon, "GET", f"/{bucket}?list-type=2&prefix={urllib.parse.quote(urllib.parse.unquote(key), safe='')}&max-keys=2"))
    assert b"<KeyCount>1</KeyCount>" in listing
    assert accepted(ask(daemon, "GET", f"/{bucket}?location")).count(REGION.encode()) == 1
    accepted(ask(daemon, "DELETE", f"/{bucket}/{key}"))
    assert ask(daemon, "GET", f"/{bucket}/{key}")[0] == 404


def test_objects_over_tls_are_not_hashed(signed, secure_moto):
    """UNSIGNED-PAYLOAD: the body streams, however large it is."""
    daemon = signed(secure_moto, "s3")
    accepted(ask(daemon, "PUT", "/large", f"<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint>"
                                          "</CreateBucketConfiguration>"))
    body = os.urandom(3_000_000)
    accepted(ask(daemon, "PUT", "/large/object", body))
    assert hashlib.sha256(accepted(ask(daemon, "GET", "/large/object"))).digest() == hashlib.sha256(body).digest()


# ---- Others ----


def test_sqs(signed, moto):
    daemon = signed(moto, "sqs")
    queue = call(daemon, "AmazonSQS.CreateQueue", {"QueueName": "results"}, "1.0")["QueueUrl"]
    call(daemon, "AmazonSQS.SendMessage", {"QueueUrl": queue, "MessageBody": "häßlich & <so>"}, "1.0")
    assert call(daemon, "AmazonSQS.ReceiveMessage", {"QueueUrl": queue}, "1.0")["Messages"][0]["Body"] == "häßlich & <so>"


def test_sns(signed, moto):
    daemon = signed(moto, "sns")
    topic = re.search("<TopicArn>(.*?)</TopicArn>", query(daemon, Action="CreateTopic", Version="2010-03-31", Name="results"))[1]
    assert "MessageId" in query(daemon, Action="Publish", Version="2010-03-31", TopicArn=topic, Message="a b&c=ü")


def test_kinesis(signed, moto):
    daemon = signed(moto, "kinesis")
    call(daemon, "Kinesis_20131202.CreateStream", {"StreamName": "results", "ShardCount": 1})
    put = call(daemon, "Kinesis_20131202.PutRecord",
               {"StreamName": "results", "Data": base64.b64encode(b"\x00result").decode(), "PartitionKey": "enclave"})
    assert put["ShardId"]


def test_dynamodb(signed, moto):
    daemon = signed(moto, "dynamodb")
    call(daemon, "DynamoDB_20120810.CreateTable", {
        "TableName": "results", "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}], "BillingMode": "PAY_PER_REQUEST"}, "1.0")
    call(daemon, "DynamoDB_20120810.PutItem", {"TableName": "results", "Item": {"id": {"S": "ü"}, "is": {"N": "1"}}}, "1.0")
    got = call(daemon, "DynamoDB_20120810.GetItem", {"TableName": "results", "Key": {"id": {"S": "ü"}}}, "1.0")
    assert got["Item"]["is"] == {"N": "1"}


def test_lambda(signed, moto):
    """Names in paths, encoded twice in the signature as for every service but S3. (moto refuses each GET, boto3's own too.)"""
    daemon = signed(moto, "lambda")
    name = urllib.parse.quote(f"arn:aws:lambda:{REGION}:123456789012:function:none", safe="")
    status, body = ask(daemon, "POST", f"/2015-03-31/functions/{name}/invocations", b'{"result": 1}')
    assert status == 404 and b"Function not found" in body, (status, body)


# ---- Wrong ones ----


@pytest.mark.parametrize("service, path", [("s3", "/objects/key"), ("sqs", "/"), ("sns", "/"), ("kinesis", "/"), ("dynamodb", "/"),
                                           ("lambda", "/2015-03-31/functions/none/invocations")])
def test_a_wrong_secret_is_refused(signed, moto, service, path):
    """What the others accept counts for nothing if this did not fail."""
    daemon = signed(moto, service, secret="wrong" + moto.secret[5:])
    targets = {"sqs": "AmazonSQS.ListQueues", "kinesis": "Kinesis_20131202.ListStreams", "dynamodb": "DynamoDB_20120810.ListTables"}
    body = "Action=ListTopics&Version=2010-03-31" if service == "sns" else "{}"
    kind = {"sns": "application/x-www-form-urlencoded", "kinesis": "application/x-amz-json-1.1"}.get(service, "application/x-amz-json-1.0")
    status, body = ask(daemon, "PUT" if service == "s3" else "POST", path, body, content_type=kind,
                       **({"x_amz_target": targets[service]} if service in targets else {}))
    assert status == 403 and b"SignatureDoesNotMatch" in body, (status, body)


def test_unknown_keys_are_refused(signed, moto):
    daemon = signed(moto, "s3")
    daemon.stop()
    daemon.environment["AWS_ACCESS_KEY_ID"] = "AKIAPOSTERNNOBODY000"
    daemon.start()
    status, body = ask(daemon, "GET", "/objects")
    assert status == 403 and b"InvalidAccessKeyId" in body, (status, body)
