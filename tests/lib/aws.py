"""What AWS would be to the daemon: the instance metadata service, the endpoint of a container, and a service that checks signatures.

They are strict: what the real ones refuse is refused. Signature Version 4 is worked out here for a second time, from AWS's documents, so
that the daemon is not its own judge.
"""
import datetime
import email.utils
import hashlib
import hmac
import http.server
import itertools
import json
import threading
import time
import urllib.parse

from postern import PATIENCE, stop_listening

# What an environment may say of AWS already: nothing, in tests.
NO_AWS = {"HOME": "/nonexistent", **{f"AWS_{name}": "" for name in (
    "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "SHARED_CREDENTIALS_FILE", "PROFILE", "WEB_IDENTITY_TOKEN_FILE",
    "CONTAINER_CREDENTIALS_RELATIVE_URI", "CONTAINER_CREDENTIALS_FULL_URI", "CONTAINER_AUTHORIZATION_TOKEN",
    "CONTAINER_AUTHORIZATION_TOKEN_FILE", "EC2_METADATA_DISABLED", "EC2_METADATA_SERVICE_ENDPOINT",
    "EC2_METADATA_SERVICE_ENDPOINT_MODE")}}
ROLES = "/latest/meta-data/iam/security-credentials/"
_numbers = itertools.count(1)


class Keys:
    """A pair of keys and a token, as AWS makes them up, that live for so many seconds."""

    def __init__(self, life=3600):
        number = next(_numbers)
        self.id, self.secret, self.token = f"ASIAPOSTERN{number:04}", f"sesame/of+{number:04}", f"token-of-{number:04}=="
        self.expires = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=life)

    def json(self):
        return {"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z", "AccessKeyId": self.id,
                "SecretAccessKey": self.secret, "Token": self.token,
                "Expiration": self.expires.strftime("%Y-%m-%dT%H:%M:%SZ")}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE

    def log_message(self, *_):
        pass

    def date_time_string(self, timestamp=None):
        offset = getattr(self.server.owner, "date_offset", 0)
        return email.utils.formatdate(time.time() + offset if timestamp is None else timestamp, usegmt=True)

    def answer(self):
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("transfer-encoding"):
            self.send_error(501, "NotImplemented")  # as S3 does
            self.close_connection = True
            return
        answer = self.server.owner.answer(self)
        if answer is None:
            self.close_connection = True
            return
        status, body, *headers = answer
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass  # a client that left


class Service:
    """A server at a port that it keeps: close() and open() are its end, and its return."""

    def __init__(self):
        self.port = 0
        self.lock = threading.Lock()
        self.open()

    def open(self):
        self.server = _Server(("127.0.0.1", self.port), _Handler)
        self.server.owner = self
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self):
        if self.server is not None:
            stop_listening(self.server.socket)
            self.server.shutdown()
            self.thread.join()
            self.server.server_close()
            self.server = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Issuer(Service):
    """Hands out keys, new ones each time, and remembers them."""

    def __init__(self, life=3600):
        self.life = life
        self.given = []
        super().__init__()

    def give(self):
        self.given.append(Keys(self.life))
        return 200, json.dumps(self.given[-1].json()).encode()

    def secrets(self):
        return {keys.id: keys for keys in self.given}


class Metadata(Issuer):
    """The instance metadata service, version 2: without a token of its own it says 401 to everything."""

    def __init__(self, life=3600):
        self.tokens = []
        self.unknown = 0  # requests with a token that it does not know
        self.too_far = False  # the token's answer has one hop more to go than it may
        self.role = "the-role"
        self.closing = threading.Event()
        super().__init__(life)

    def forget(self):
        """As after a restart."""
        with self.lock:
            self.tokens.clear()

    def close(self):
        self.closing.set()
        super().close()

    def answer(self, request):
        if request.headers.get("x-forwarded-for"):
            return 403, b""
        with self.lock:
            if request.command == "PUT":
                return self.answer_put(request)
            if request.headers.get("x-aws-ec2-metadata-token") not in self.tokens:
                self.unknown += 1
                return 401, b""
            if request.path == ROLES:
                return (200, self.role.encode()) if self.role else (404, b"")
            return self.give() if self.role and request.path == ROLES + self.role else (404, b"")

    def answer_put(self, request):
        life = request.headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
        if request.path != "/latest/api/token" or not life.isdigit() or not 1 <= int(life) <= 21600:
            return 400, b""
        if self.too_far:
            self.lock.release()
            self.closing.wait(PATIENCE)
            self.lock.acquire()
            return None
        self.tokens.append(f"AQAE{next(_numbers)}token==")
        return 200, self.tokens[-1].encode(), ("x-aws-ec2-metadata-token-ttl-seconds", life)


class Container(Issuer):
    """The endpoint of ECS's agent, or EKS's: it wants its path, and the authorization it gave out."""

    path = "/v1/credentials"

    def __init__(self, authorization, life=3600):
        self.authorization = authorization
        self.refused = 0
        super().__init__(life)

    def answer(self, request):
        if request.path != self.path:
            return 404, b""
        if request.headers.get_all("authorization") != [self.authorization]:
            self.refused += 1
            return 401, b""
        with self.lock:
            return self.give()


# ---- A service that checks signatures ----


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _encode(text):
    return urllib.parse.quote(text, safe="-_.~")


def _canonical_path(path, service):
    if service == "s3":
        return "/".join(_encode(urllib.parse.unquote(part)) for part in path.split("/"))
    return "/".join(_encode(part) for part in path.split("/"))  # what came encoded is encoded again


def _canonical_query(query):
    pairs = [pair.partition("=")[::2] for pair in query.split("&") if pair]
    return "&".join(f"{name}={value}" for name, value in sorted(
        (_encode(urllib.parse.unquote(name)), _encode(urllib.parse.unquote(value))) for name, value in pairs))


class Refused(Exception):
    """Why, in AWS's words."""


def check_signature(method, target, headers, body, keys, region="us-east-1", unsigned=("user-agent",)):
    """Raises Refused unless the request is signed with keys[its access key id]. `headers` is a list of pairs. Returns the id."""
    values = {}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(" ".join(value.split()))
    if len(values.get("authorization", [])) != 1 or not values["authorization"][0].startswith("AWS4-HMAC-SHA256 "):
        raise Refused("MissingAuthenticationToken")
    parts = dict(part.split("=", 1) for part in values["authorization"][0].removeprefix("AWS4-HMAC-SHA256 ").split(", "))
    identity, day, scope_region, service, ending = parts["Credential"].split("/")
    date = values["x-amz-date"][0]
    if identity not in keys:
        raise Refused("InvalidClientTokenId")
    if (scope_region, ending) != (region, "aws4_request") or not date.startswith(day):
        raise Refused("IncompleteSignature")
    now = datetime.datetime.now(datetime.timezone.utc)
    if abs(now - datetime.datetime.strptime(date, "%Y%m%dT%H%M%S%z")) > datetime.timedelta(minutes=5):
        raise Refused("RequestTimeTooSkewed")
    signed = parts["SignedHeaders"].split(";")
    left_out = {name for name in values if name.startswith("x-amz-")} | {"host", "content-type"} & set(values)
    if left_out - set(signed) or any(name in signed for name in unsigned):
        raise Refused("SignedHeaders")
    payload = hashlib.sha256(body).hexdigest()
    if "x-amz-content-sha256" in values:
        if values["x-amz-content-sha256"][0] not in (payload, "UNSIGNED-PAYLOAD"):
            raise Refused("XAmzContentSHA256Mismatch")
        payload = values["x-amz-content-sha256"][0]
    elif service == "s3":
        raise Refused("MissingContentSHA256")
    path, _, query = target.partition("?")
    lines = [method, _canonical_path(path, service), _canonical_query(query),
             *(f"{name}:{','.join(values[name])}" for name in signed), "", parts["SignedHeaders"], payload]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    key = f"AWS4{keys[identity].secret}".encode()
    for step in (day, region, service, "aws4_request"):
        key = _hmac(key, step)
    text = f"AWS4-HMAC-SHA256\n{date}\n{day}/{region}/{service}/aws4_request\n{digest}"
    if not hmac.compare_digest(_hmac(key, text).hex(), parts["Signature"]):
        raise Refused("SignatureDoesNotMatch")
    if values.get("x-amz-security-token") != ([keys[identity].token] if keys[identity].token else None):
        raise Refused("InvalidToken")
    return identity


class Signed(Service):
    """Answers 200 with the id of the keys to a request that is signed with some of them, and 403 with AWS's word for what is wrong
    otherwise. `keys` is called for {id: keys}."""

    def __init__(self, keys):
        self.keys = keys
        self.seen = []
        self.date_offset = 0  # how many seconds its own clock is ahead of ours
        self.json = False  # it says 400 where others say 403, and why in JSON
        super().__init__()

    def answer(self, request):
        self.seen.append((request.command, request.path, request.headers.items(), request.body))
        try:
            if self.date_offset:
                raise Refused("RequestTimeTooSkewed")
            return 200, check_signature(*self.seen[-1], self.keys()).encode()
        except Refused as why:
            return (400, json.dumps({"__type": f"com.amazon.coral.service#{why}"}).encode()) if self.json else (403, str(why).encode())
