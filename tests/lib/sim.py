"""postern-sim, started by tests: software NSMs, a KMS, and what tells them what is to go wrong."""
import base64
import datetime
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import urllib.parse

from postern import FINDING, PATIENCE, built, connect

REGION, ACCOUNT, HOST = "us-east-1", "111122223333", "kms.us-east-1.amazonaws.com"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/app"
OWNER = f"arn:aws:iam::{ACCOUNT}:role/owner"

# The session that the enclave has from its parent, and who owns the data.
APP = {"access_key_id": "ASIASIMAPP0000000001", "secret_access_key": "the/app's+secret", "session_token": "the-app's-token==",
       "principal": f"arn:aws:sts::{ACCOUNT}:assumed-role/app/i-0123456789abcdef0"}
OWNED = {"access_key_id": "AKIASIMOWNER00000001", "secret_access_key": "the/owner's+secret", "principal": OWNER}

PCR0 = "ab" * 48


def allow(principal=ROLE, action="kms:*", condition=None, effect="Allow"):
    """A statement of a key policy."""
    return {"Effect": effect, "Principal": {"AWS": principal} if principal != "*" else "*", "Action": action, "Resource": "*",
            **({"Condition": condition} if condition else {})}


def policy(*statements):
    return {"Version": "2012-10-17", "Statement": list(statements)}


# The owner does what it likes; the enclave of PCR0 decrypts, and nobody else.
ATTESTED = policy(allow(OWNER), allow(ROLE, ["kms:Decrypt", "kms:GenerateDataKey*", "kms:DeriveSharedSecret"], {
    "StringEqualsIgnoreCase": {"kms:RecipientAttestation:PCR0": PCR0}}))


class KmsError(Exception):
    """What KMS said instead."""

    def __init__(self, status, body):
        self.status, self.body = status, body
        self.type, self.message = body.get("__type"), body.get("message")
        super().__init__(f"{status} {self.type}: {self.message}")


class Sim:
    """A running postern-sim.

    .kms_address, .control_address, .metadata_address and .nsm_address are addresses of the project's form; .ca is the file of the CA
    that the KMS's certificate is of, .root that of the attestation root, .fingerprint its SHA-256; .key("data") is the ARN of a key.
    """

    def __init__(self, keys=None, nsm=None, credentials=None, folder=None, kms=None, tcp=False, metadata_key=None, **config):
        self.own_folder = folder is None
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="sim-"))
        self.folder.chmod(0o755)
        self.process, self.config_file, self.state = None, self.folder / "sim.json", self.folder / "state"
        nsm = nsm if nsm is not None else [{"pcrs": {"0": PCR0}}]
        self.config = {
            "directory": str(self.state), "control": {"listen": "tcp://127.0.0.1:0"},
            "metadata": {"listen": "tcp://127.0.0.1:0", **({"access_key_id": metadata_key} if metadata_key else {})},
            "kms": {"listen": "tcp://127.0.0.1:0", "region": REGION, "account": ACCOUNT, "host": HOST,
                    "credentials": credentials or [APP, OWNED],
                    "keys": keys if keys is not None else [{"id": "data", "alias": "alias/data", "policy": ATTESTED}], **(kms or {})},
            "nsm": [{"listen": "tcp://127.0.0.1:0" if tcp else f"unix://{self.folder}/nsm{number}.sock", **one}
                    for number, one in enumerate(nsm)], **config}

    def start(self):
        self.config_file.write_text(json.dumps(self.config))
        self.errors = open(self.folder / "errors", "a+")
        self.process = subprocess.Popen([built("bin/postern-sim"), "--config", self.config_file], stdout=subprocess.PIPE, stderr=self.errors)
        line = self.process.stdout.readline()
        assert line == b"ready\n", f"{line!r} {(self.folder / 'errors').read_text()}"
        addresses = json.loads((self.state / "addresses.json").read_text())
        self.kms_address, self.control_address = addresses.get("kms"), addresses.get("control")
        self.metadata_address, self.nsm_addresses = addresses.get("metadata"), addresses["nsm"]
        self.nsm_address = self.nsm_addresses[0] if self.nsm_addresses else None
        self.ca, self.root = self.state / "tls-ca.pem", self.state / "attestation-root.pem"
        self.fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.root.read_text())).hexdigest()
        return self

    def stop(self):
        """Ends it, and fails if it does not end well."""
        if self.process is None:
            return
        process, self.process = self.process, None
        process.terminate()
        status = process.wait(PATIENCE)
        process.stdout.close()
        self.errors.close()
        said = (self.folder / "errors").read_text()
        assert status == 0 and not FINDING.search(said) and "LeakSanitizer" not in said, f"{status} {said}"

    def finish(self):
        try:
            self.stop()
        finally:
            if self.own_folder:
                shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.finish()

    # ---- What the clients under test are told ----

    def key(self, name):
        return f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{name}"

    def environment(self, who=APP):
        """For the library and the programs: credentials and region."""
        return {"AWS_ACCESS_KEY_ID": who["access_key_id"], "AWS_SECRET_ACCESS_KEY": who["secret_access_key"],
                "AWS_REGION": REGION, **({"AWS_SESSION_TOKEN": who["session_token"]} if "session_token" in who else {})}

    @property
    def kms_port(self):
        return int(self.kms_address.rpartition(":")[2])

    # ---- Control ----

    def control(self, method, path, body=None):
        host, _, port = self.control_address.removeprefix("tcp://").rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        assert answer.status == 200, data
        return json.loads(data) if data else None

    def fault(self, fault, operation="*", **more):
        """The next call of `operation` goes wrong so, or the next `count` of them."""
        self.control("POST", "/faults", {"fault": fault, "operation": operation, **more})

    def calls(self):
        return self.control("GET", "/calls")

    def set_clock(self, offset_s):
        self.control("PUT", "/clock", {"offset_ms": int(offset_s * 1000)})

    # ---- A client of its KMS that is not ours to ship: HTTP by Python, Signature Version 4 by hand ----

    def tls(self):
        context = ssl.create_default_context(cafile=str(self.ca))
        raw = connect(self.kms_address)
        return context.wrap_socket(raw, server_hostname=HOST)

    def call(self, operation, body, who=OWNED, connection=None, headers=None, at=None, **changed):
        """What KMS answers, as a dictionary; KmsError if it is an error."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        own = connection is None
        connection = connection or Kept(self)
        try:
            status, answer, _ = connection.exchange("POST", "/", {
                "content-type": "application/x-amz-json-1.1", "x-amz-target": f"TrentService.{operation}", **(headers or {})}, data, who,
                at=at, **changed)
        finally:
            if own:
                connection.close()
        parsed = json.loads(answer)
        if status != 200:
            raise KmsError(status, parsed)
        return parsed

    def encrypt(self, plain, key="data", context=None, who=OWNED):
        """The ciphertext of a secret that the owner has brought in."""
        answer = self.call("Encrypt", {"KeyId": self.key(key), "Plaintext": base64.b64encode(plain).decode(),
                                       **({"EncryptionContext": context} if context else {})}, who)
        return base64.b64decode(answer["CiphertextBlob"])

    def nsm(self, number=0):
        return Nsm(self.nsm_addresses[number])


class Kept:
    """One connection to the KMS, for any number of calls."""

    def __init__(self, sim):
        self.socket = sim.tls()
        self.file = self.socket.makefile("rb")

    def close(self):
        self.file.close()
        self.socket.close()

    def exchange(self, method, path, headers, body, who, at=None, **changed):
        signed = sign(method, path, {"host": HOST, **headers}, body, who, at, **changed)
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in signed.items()), f"content-length: {len(body)}"]
        self.socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return self.read()

    def read(self):
        line = self.file.readline()
        if not line:
            raise ConnectionError("no answer")
        status = int(line.split()[1])
        headers = {}
        while (line := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = self.file.read(int(headers.get("content-length", 0)))
        if len(body) != int(headers.get("content-length", 0)):
            raise ConnectionError("half an answer")
        return status, body, headers


def sign(method, path, headers, body, who, at=None, service="kms", region=REGION, secret=None, tamper=None):
    """The headers with those that sign them ("Create a signed AWS API request", IAM User Guide)."""
    at = at or datetime.datetime.now(datetime.timezone.utc)
    date, day = at.strftime("%Y%m%dT%H%M%SZ"), at.strftime("%Y%m%d")
    headers = {**headers, "x-amz-date": date}
    if "session_token" in who:
        headers["x-amz-security-token"] = who["session_token"]
    names = sorted(name.lower() for name in headers)
    canonical = "\n".join([method, urllib.parse.quote(path), "", *(f"{name}:{headers[name]}" for name in names), "", ";".join(names),
                           hashlib.sha256(body).hexdigest()])
    scope = f"{day}/{region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + (secret or who["secret_access_key"])).encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={who['access_key_id']}/{scope}, SignedHeaders={';'.join(names)}, "
                                f"Signature={signature}")
    return tamper(headers) if tamper else headers


# ---- The NSM, asked by hand ----

def cbor(value):
    """As much of CBOR as requests need."""
    def head(major, number):
        if number < 24:
            return bytes([major << 5 | number])
        size = next(size for size in (1, 2, 4, 8) if number < 256 ** size)
        return bytes([major << 5 | 24 + (1, 2, 4, 8).index(size)]) + number.to_bytes(size, "big")
    if value is None:
        return b"\xf6"
    if isinstance(value, int):
        return head(0, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, dict):
        return head(5, len(value)) + b"".join(cbor(name) + cbor(each) for name, each in value.items())
    raise TypeError(value)


def uncbor(data):
    """One item, and nothing behind it."""
    def item(at):
        major, number = data[at] >> 5, data[at] & 31
        at += 1
        if major == 7:
            return {20: False, 21: True, 22: None}[number], at
        if number == 31:
            count = None
        elif number < 24:
            count = number
        else:
            size = (1, 2, 4, 8)[number - 24]
            count, at = int.from_bytes(data[at:at + size], "big"), at + size
        if major in (0, 1):
            return (count if major == 0 else -1 - count), at
        if major in (2, 3):
            piece = data[at:at + count]
            assert len(piece) == count
            return (piece if major == 2 else piece.decode()), at + count
        if major == 6:
            return item(at)
        result = [] if major == 4 else {}
        while count is None and data[at] != 0xff or count:
            first, at = item(at)
            if major == 4:
                result.append(first)
            else:
                result[first], at = item(at)
            count = count and count - 1
        return result, at + (count is None)
    value, end = item(0)
    assert end == len(data)
    return value


class Nsm:
    """One conversation with a software NSM."""

    def __init__(self, address):
        self.socket = connect(address)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def raw(self, request):
        self.socket.sendall(struct.pack(">I", len(request)) + request)
        return self.read(struct.unpack(">I", self.read(4))[0])

    def read(self, size):
        data = b""
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            if not piece:
                raise ConnectionError("the NSM has closed")
            data += piece
        return data

    def ask(self, request):
        return uncbor(self.raw(cbor(request)))

    def attest(self, public_key=None, user_data=None, nonce=None):
        answer = self.ask({"Attestation": {"user_data": user_data, "nonce": nonce, "public_key": public_key}})
        return answer["Attestation"]["document"]


def parse_document(document):
    """The payload of an attestation document; nothing is verified."""
    return uncbor(uncbor(document)[2])


class Recipient:
    """An RSA key by OpenSSL's command, what binds a document to it, and what opens the answer."""

    def __init__(self, folder):
        self.file = pathlib.Path(folder) / "recipient.key"
        run = lambda *arguments: subprocess.run(["openssl", *arguments], check=True, capture_output=True).stdout
        run("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(self.file))
        self.public = run("pkey", "-in", str(self.file), "-pubout", "-outform", "DER")

    def field(self, nsm, **given):
        """The Recipient of a request."""
        document = nsm.attest(public_key=self.public, **given)
        return {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": base64.b64encode(document).decode()}

    def open(self, answer):
        envelope = base64.b64decode(answer["CiphertextForRecipient"])
        return subprocess.run(["openssl", "cms", "-decrypt", "-inform", "DER", "-inkey", str(self.file), "-debug_decrypt", "-binary"],
                              input=envelope, check=True, capture_output=True).stdout
