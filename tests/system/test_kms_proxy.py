"""postern kms-proxy: KMS for unmodified SDKs, against postern-sim. The callers are Python's http.client and, where they are at hand, AWS's
own SDKs (`scripts/sdks` installs them).
"""
import base64
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import stat
import subprocess
import threading

import pytest

from client import POSTERN
from postern import FINDING, PATIENCE, cached, connect, listen, read_all, wait_until
from sdks import BOTO, NODE, SDK, needs_boto, needs_javascript
from sim import ATTESTED, PCR0, ROLE, Sim, allow, policy

pytestmark = pytest.mark.skipif(cached("POSTERN_KMS") == "OFF", reason="built without KMS")

SECRET = b"the owner's secret, in the clear"

# What the enclave may do without an attestation, too: to see that the rest passes.
OPEN = policy(*ATTESTED["Statement"], allow(ROLE, ["kms:Encrypt", "kms:DescribeKey", "kms:EnableKey", "kms:GenerateDataKeyWithoutPlaintext"]))


class Proxy:
    """`postern kms-proxy` of an enclave whose parent is the simulator, or whatever `raw` leads to."""

    def __init__(self, sim, *arguments, raw=None, nsm=0, at="tcp://127.0.0.1:0", way=None):
        way = way or ["--raw", raw or sim.kms_address]
        self.process = subprocess.Popen(
            [POSTERN, "kms-proxy", "--listen", at, *way, "--ca-file", sim.ca, "--insecure-nsm", sim.nsm_addresses[nsm],
             "--timeout", "5m", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **sim.environment()})
        self.said = []
        self.reader = threading.Thread(target=lambda: self.said.extend(self.process.stderr), daemon=True)
        self.reader.start()
        line = wait_until(lambda: next((line for line in list(self.said) if "serving KMS at" in line), None) or self.ended(),
                          what="the proxy")
        self.at = re.search(r"serving KMS at (?:http://)?(\S+)", line)[1]
        self.host, _, port = self.at.rpartition(":")
        self.port = int(port) if port.isdigit() else None

    def ended(self):
        assert self.process.poll() is None, self.log()

    def log(self):
        return "".join(self.said)

    def client(self):
        return http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)

    def socket(self):
        return connect(f"tcp://{self.at}")

    def call(self, operation, request, client=None, separators=None, **headers):
        """(status, what was answered): as an SDK asks, signed with keys that nobody knows."""
        own = client or self.client()
        try:
            own.request("POST", "/", json.dumps(request, separators=separators), {
                "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"TrentService.{operation}", "X-Amz-Date": "20260101T000000Z",
                "Authorization": "AWS4-HMAC-SHA256 Credential=none/20260101/us-east-1/kms/aws4_request, SignedHeaders=host, "
                                 f"Signature={'0' * 64}", **headers})
            answer = own.getresponse()
            body = answer.read()
            return answer.status, json.loads(body) if body else None
        finally:
            if client is None:
                own.close()

    def decrypt(self, ciphertext, client=None):
        return self.call("Decrypt", {"CiphertextBlob": base64.b64encode(ciphertext).decode()}, client)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def finish(self):
        if self.process.poll() is None:
            self.end()
        self.reader.join(PATIENCE)
        self.process.stderr.close()
        assert all(line.startswith("postern: INSECURE: ") for line in self.said), self.log()
        assert not FINDING.search(self.log()) and "LeakSanitizer" not in self.log(), self.log()
        assert SECRET.decode() not in self.log() and base64.b64encode(SECRET).decode() not in self.log()


@pytest.fixture(scope="module")
def sim():
    keys = [{"id": "data", "alias": "alias/data", "policy": OPEN}]
    with Sim(keys=keys, nsm=[{"pcrs": {"0": PCR0}}, {"pcrs": {"0": "cd" * 48}}]) as one:
        yield one


@pytest.fixture
def proxy(sim):
    """proxy(...) starts one; see Proxy."""
    with contextlib.ExitStack() as stack:
        def start(*arguments, **options):
            one = Proxy(sim, *arguments, **options)
            stack.callback(one.finish)
            return one
        yield start
        with contextlib.suppress(Exception):
            sim.control("DELETE", "/faults")


def refused(*arguments):
    """The exit status and what was said of a command line."""
    run = subprocess.run([POSTERN, "kms-proxy", *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False,
                         env={**os.environ, "AWS_REGION": "us-east-1"})
    return run.returncode, run.stderr


class Held:
    """A way to KMS that holds whoever comes until it is let go."""

    def __init__(self, to):
        self.to = to
        self.server, self.address = listen("tcp://127.0.0.1:0")
        self.came, self.go = threading.Event(), threading.Event()
        self.sockets, self.threads = [self.server], []
        self.begin(self.serve)

    def begin(self, function, *arguments):
        self.threads.append(threading.Thread(target=function, args=arguments))
        self.threads[-1].start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.server.accept()
                self.sockets.append(near)
                self.came.set()
                self.go.wait(PATIENCE)
                far = connect(self.to)
                self.sockets.append(far)
                self.begin(self.carry, near, far)
                self.begin(self.carry, far, near)

    def carry(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.go.set()
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.threads[0].join()
        for one in self.sockets[1:]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self.threads[1:]:
            thread.join()
        for one in self.sockets:
            one.close()


# ---- Calls ----

HALF_MEBIBYTE = 512 * 1024


@pytest.mark.parametrize("size, status, error, words", [
    # What KMS itself says of a plaintext that is too long, and of one whose length is none of base64 ...
    (HALF_MEBIBYTE - 1, 400, "ValidationException", "Plaintext"),
    (HALF_MEBIBYTE, 400, "SerializationException", "Plaintext is not base64"),
    # ... does not get to it any more ...
    (HALF_MEBIBYTE + 1, 400, "ValidationException", "Encrypt: the request is larger than 524288 bytes"),
    (2 * HALF_MEBIBYTE, 400, "ValidationException", "Encrypt: the request is larger than 524288 bytes"),
    # ... and is not read to its end.
    (2 * HALF_MEBIBYTE + 1, 413, "body_too_large", "body"),
])
def test_large_requests(proxy, size, status, error, words):
    frame = len(json.dumps({"KeyId": "data", "Plaintext": ""}, separators=(",", ":")))
    one = proxy()
    told, answer = one.call("Encrypt", {"KeyId": "data", "Plaintext": "A" * (size - frame)}, separators=(",", ":"))
    assert (told, answer["__type"].rpartition("#")[2]) == (status, error), answer
    assert words in answer["message"]


def test_decrypt_on_a_kept_connection(sim, proxy):
    one, ciphertext = proxy(), sim.encrypt(SECRET)
    client = one.client()
    client.connect()
    kept = client.sock
    for _ in range(3):
        status, answer = one.decrypt(ciphertext, client)
        assert (status, base64.b64decode(answer["Plaintext"])) == (200, SECRET)
        assert answer["KeyId"] == sim.key("data") and answer["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"
        assert "CiphertextForRecipient" not in answer
        assert client.sock is kept
    client.close()
    assert one.end() == 0


def test_what_else_takes_a_recipient(sim, proxy):
    one = proxy()
    status, key = one.call("GenerateDataKey", {"KeyId": "alias/data", "KeySpec": "AES_256"})
    assert status == 200 and len(base64.b64decode(key["Plaintext"])) == 32 and "CiphertextForRecipient" not in key
    assert one.decrypt(base64.b64decode(key["CiphertextBlob"]))[1]["Plaintext"] == key["Plaintext"]
    status, random = one.call("GenerateRandom", {"NumberOfBytes": 24})
    assert status == 200 and len(base64.b64decode(random["Plaintext"])) == 24 and "CiphertextForRecipient" not in random
    status, pair = one.call("GenerateDataKeyPair", {"KeyId": "alias/data", "KeyPairSpec": "ECC_NIST_P256"})
    assert status == 200 and "CiphertextForRecipient" not in pair
    assert one.decrypt(base64.b64decode(pair["PrivateKeyCiphertextBlob"]))[1]["Plaintext"] == pair["PrivateKeyPlaintext"]


def test_others_pass_signed_anew(sim, proxy):
    one = proxy()
    status, sealed = one.call("Encrypt", {"KeyId": "alias/data", "Plaintext": base64.b64encode(SECRET).decode(),
                                          "EncryptionContext": {"for": "app"}})
    assert status == 200
    status, opened = one.call("Decrypt", {"CiphertextBlob": sealed["CiphertextBlob"], "EncryptionContext": {"for": "app"}})
    assert status == 200 and base64.b64decode(opened["Plaintext"]) == SECRET
    status, told = one.call("DescribeKey", {"KeyId": "alias/data"})
    assert status == 200 and told["KeyMetadata"]["Arn"] == sim.key("data")


def test_errors_come_as_they_are(sim, proxy):
    ciphertext = sim.encrypt(SECRET)
    status, answer = proxy(nsm=1).decrypt(ciphertext)
    assert status == 400 and answer["__type"].endswith("AccessDeniedException")
    one = proxy()
    status, answer = one.call("Decrypt", {"CiphertextBlob": base64.b64encode(b"nothing").decode()})
    assert status == 400 and answer["__type"].endswith("InvalidCiphertextException")
    status, answer = one.call("DescribeKey", {"KeyId": "alias/missing"})
    assert status == 400 and answer["__type"].endswith("NotFoundException")
    sim.fault("error", "Decrypt", name="DependencyTimeoutException", status=503)  # tried again here, not by the SDK
    assert one.decrypt(ciphertext)[0] == 200


@pytest.mark.parametrize("fault", ["leak-beside", "leak-instead", "wrong-cms", "wrong-recipient", "cms-sha1", "garbage", "huge"])
def test_hostile_answers_are_refused(sim, proxy, fault):
    one, ciphertext = proxy(), sim.encrypt(SECRET)
    sim.fault(fault, "Decrypt", count=1000)
    status, answer = one.decrypt(ciphertext)
    assert status == 502 and answer["__type"] in ("PosternAnswerRefused", "PosternBadAnswer"), answer
    assert base64.b64encode(SECRET).decode() not in json.dumps(answer) and SECRET.decode() not in json.dumps(answer)
    sim.control("DELETE", "/faults")
    assert one.decrypt(ciphertext)[0] == 200


def test_by_a_route_of_the_daemon(sim, proxy, parent):
    daemon = parent({"kms": sim.kms_address})
    one = proxy(way=["--connect", daemon.address])
    status, answer = one.decrypt(sim.encrypt(SECRET))
    assert (status, base64.b64decode(answer["Plaintext"])) == (200, SECRET)
    assert one.end() == 0


def test_a_key_for_each_call(sim, proxy):
    one, ciphertext = proxy("--key-per-call"), sim.encrypt(SECRET)
    for _ in range(2):
        assert one.decrypt(ciphertext)[0] == 200


# ---- Who may call, and how much ----

@pytest.mark.parametrize("at", ["tcp://0.0.0.0:8080", "tcp://[::]:8080", "tcp://192.0.2.1:8080", "vsock://any:8080", "hybrid:///tmp/x:8080"])
def test_it_listens_to_nobody_else(at):
    status, said = refused("--listen", at, "--raw", "unix:///nowhere")
    assert status == 2 and "--any-caller" in said


def test_mistakes():
    for arguments in (["--listen", "tcp://localhost:8080"], ["--listen", "nowhere"], ["--connections", "0"], ["--idle-timeout", "1"], ["x"],
                      ["--drain-timeout", "2h"], ["--request-timeout", "0s"]):
        assert refused(*arguments)[0] == 2, arguments


def test_a_port_that_is_taken(proxy, sim):
    status, said = refused("--listen", f"tcp://{proxy().at}", "--raw", sim.kms_address, "--ca-file", str(sim.ca),
                           "--insecure-nsm", sim.nsm_addresses[0])
    assert status == 1 and "Address already in use; another program has it, or another kms-proxy" in said and "doctor" not in said, said


def test_without_an_nsm(sim):
    if pathlib.Path("/dev/nsm").exists():
        pytest.skip("there is an NSM")
    status, said = refused("--listen", "tcp://127.0.0.1:0", "--raw", sim.kms_address, "--ca-file", str(sim.ca))
    assert status == 1 and "serving" not in said and "Nitro" in said, said


def test_any_caller(sim, proxy):
    one = proxy("--any-caller", at="tcp://0.0.0.0:0")
    one.host = "127.0.0.1"
    assert one.decrypt(sim.encrypt(SECRET))[0] == 200


def test_a_unix_socket(sim, proxy, folder):
    path = folder / "kms.sock"
    one, ciphertext = proxy(at=f"unix://{path}"), sim.encrypt(SECRET)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    body = json.dumps({"CiphertextBlob": base64.b64encode(ciphertext).decode()}).encode()
    with connect(f"unix://{path}") as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: kms\r\nConnection: close\r\nX-Amz-Target: TrentService.Decrypt\r\n"
                       b"Content-Type: application/x-amz-json-1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        assert base64.b64encode(SECRET) in read_all(client)
    assert one.end() == 0
    assert not path.exists()


def test_a_recipient_of_the_callers_own_is_refused(sim, proxy):
    status, answer = proxy().call("Decrypt", {"CiphertextBlob": "AAAA", "Recipient": {}})
    assert (status, answer["__type"]) == (400, "ValidationException")


@pytest.mark.parametrize("head, status, word", [
    (b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400, b"both_lengths"),
    (b"Content-Length: 1048577\r\n\r\n", 413, b"body_too_large"),
    (b"X-A: %s\r\n\r\n" % (b"a" * 40000), 431, b"head_too_large"),
    (b"X-Amz-Target: TrentService.Encrypt\r\nX-Amz-Target: TrentService.Decrypt\r\n\r\n", 400, b"UnknownOperationException"),
])
def test_ambiguous_and_large_requests_are_refused(proxy, head, status, word):
    with proxy().socket() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-amz-json-1.1\r\n" + head)
        client.shutdown(socket.SHUT_WR)
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 %d " % status) and word in answer, answer


def test_the_idle_give_way_to_newcomers(sim, proxy):
    one, ciphertext = proxy("--connections", "4"), sim.encrypt(SECRET)
    silent = [one.socket() for _ in range(12)]
    assert one.decrypt(ciphertext)[0] == 200
    # Eight of the silent had to go for the others, and one for the caller.
    def ended():
        return sum(not is_open(each) for each in silent) >= 8
    wait_until(ended, what="the end of the silent")
    for each in silent:
        each.close()


def is_open(connection):
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


def test_time(proxy):
    one = proxy("--idle-timeout", "1s", "--request-timeout", "1s")
    with one.socket() as silent, one.socket() as slow:
        slow.sendall(b"POST / HT")
        assert read_all(silent) == b""
        assert read_all(slow).startswith(b"HTTP/1.1 408 ")


# ---- The end ----

def test_sigterm_lets_requests_finish(sim, proxy):
    ciphertext, result = sim.encrypt(SECRET), []
    with Held(sim.kms_address) as way:
        one = proxy(raw=way.address)
        caller = threading.Thread(target=lambda: result.append(one.decrypt(ciphertext)))
        with one.socket() as idle:
            caller.start()
            assert way.came.wait(PATIENCE)
            one.process.send_signal(signal.SIGTERM)
            assert read_all(idle) == b""  # heard
        way.go.set()
        caller.join(PATIENCE)
        assert result[0][0] == 200 and base64.b64decode(result[0][1]["Plaintext"]) == SECRET
        assert one.process.wait(PATIENCE) == 0


def test_a_second_sigterm_does_not_wait(sim, proxy):
    with Held(sim.kms_address) as way:
        one = proxy(raw=way.address)
        with one.socket() as idle, one.socket() as busy:
            busy.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nX-Amz-Target: TrentService.GenerateRandom\r\n\r\n")
            assert way.came.wait(PATIENCE)
            one.process.send_signal(signal.SIGTERM)
            assert read_all(idle) == b""
            one.process.send_signal(signal.SIGTERM)
            assert one.process.wait(PATIENCE) == 1
        one.reader.join(PATIENCE)
        assert re.search(r"[12] connections? not over in time, and cut", one.log())


# ---- SDKs, as they are ----

def sdk_environment(one):
    """Nothing of it but the endpoint has to do with the enclave."""
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "AWS_ENDPOINT_URL_KMS": f"http://{one.at}", "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_EC2_METADATA_DISABLED": "true"}


PYTHON = """
import boto3, sys, threading
kms = boto3.client("kms")
secret = sys.argv[1].encode()
sealed = kms.encrypt(KeyId="alias/data", Plaintext=secret, EncryptionContext={"a": "b"})["CiphertextBlob"]
answer = kms.decrypt(CiphertextBlob=sealed, EncryptionContext={"a": "b"})
assert answer["Plaintext"] == secret and "CiphertextForRecipient" not in answer, answer
key = kms.generate_data_key(KeyId="alias/data", KeySpec="AES_256")
assert len(key["Plaintext"]) == 32 and kms.decrypt(CiphertextBlob=key["CiphertextBlob"])["Plaintext"] == key["Plaintext"]
pair = kms.generate_data_key_pair(KeyId="alias/data", KeyPairSpec="ECC_NIST_P256")
assert kms.decrypt(CiphertextBlob=pair["PrivateKeyCiphertextBlob"])["Plaintext"] == pair["PrivateKeyPlaintext"]
assert len(kms.generate_random(NumberOfBytes=16)["Plaintext"]) == 16
assert kms.describe_key(KeyId="alias/data")["KeyMetadata"]["CreationDate"].year >= 2020
try:
    kms.decrypt(CiphertextBlob=sealed)
    sys.exit("decrypted without its context")
except kms.exceptions.InvalidCiphertextException as error:
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400
try:
    kms.decrypt(CiphertextBlob=sealed, Recipient={"AttestationDocument": b"x", "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256"})
    sys.exit("a Recipient was taken")
except kms.exceptions.ClientError as error:
    assert error.response["Error"]["Code"] == "ValidationException"
wrong = []
def many():
    for _ in range(10):
        if kms.decrypt(CiphertextBlob=sealed, EncryptionContext={"a": "b"})["Plaintext"] != secret:
            wrong.append(1)
threads = [threading.Thread(target=many) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not wrong
print("done")
"""


@needs_boto
def test_boto3(sim, proxy):
    run = subprocess.run([BOTO, "-c", PYTHON, SECRET.decode()], capture_output=True, text=True, timeout=4 * PATIENCE, check=False,
                         env=sdk_environment(proxy()))
    assert (run.returncode, run.stdout) == (0, "done\n"), run.stderr


JAVASCRIPT = """
const { createRequire } = require("node:module");
const sdk = createRequire(process.argv[2] + "/")("@aws-sdk/client-kms");
const assert = require("node:assert");
(async () => {
  const kms = new sdk.KMSClient({});
  const secret = Buffer.from(process.argv[3]);
  const sealed = (await kms.send(new sdk.EncryptCommand({KeyId: "alias/data", Plaintext: secret}))).CiphertextBlob;
  const answer = await kms.send(new sdk.DecryptCommand({CiphertextBlob: sealed}));
  assert(Buffer.from(answer.Plaintext).equals(secret) && answer.CiphertextForRecipient === undefined);
  const key = await kms.send(new sdk.GenerateDataKeyCommand({KeyId: "alias/data", KeySpec: "AES_256"}));
  assert.equal(key.Plaintext.length, 32);
  const pair = await kms.send(new sdk.GenerateDataKeyPairCommand({KeyId: "alias/data", KeyPairSpec: "ECC_NIST_P256"}));
  assert(pair.PrivateKeyPlaintext.length > 0);
  assert.equal((await kms.send(new sdk.GenerateRandomCommand({NumberOfBytes: 16}))).Plaintext.length, 16);
  await assert.rejects(kms.send(new sdk.DecryptCommand({CiphertextBlob: Buffer.from("nothing")})),
    (error) => error instanceof sdk.InvalidCiphertextException && error.$metadata.httpStatusCode === 400);
  await Promise.all(Array.from({length: 20}, async () => {
    assert(Buffer.from((await kms.send(new sdk.DecryptCommand({CiphertextBlob: sealed}))).Plaintext).equals(secret));
  }));
  console.log("done");
  kms.destroy();
})().catch((error) => { console.error(error); process.exit(1); });
"""


@needs_javascript
def test_the_sdk_for_javascript(sim, proxy, folder):
    script = folder / "script.js"
    script.write_text(JAVASCRIPT)
    run = subprocess.run([NODE, script, SDK, SECRET.decode()], capture_output=True, text=True, timeout=4 * PATIENCE, check=False,
                         env=sdk_environment(proxy()))
    assert (run.returncode, run.stdout) == (0, "done\n"), run.stderr
