"""Readings of a connection's bytes as HTTP/1.1 requests. The strict one has what RFC 9110 and 9112 let a client send to a server that is
no proxy, and nothing that they say it must not or should not; the lenient ones do what servers are known to do. They share no code with
what they judge.
"""

import dataclasses
import re

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
FIELD = re.compile(rb"(" + TOKEN + rb"):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[ \t\x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*\Z")
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([!-~]+) HTTP/1\.([01])\Z")
PCHAR = rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})"
HOST = rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)"
ORIGIN = re.compile(rb"(?:/" + PCHAR + rb"*)+(?:\?(?:" + PCHAR + rb"|[/?])*)?\Z")
ABSOLUTE = re.compile(rb"(?i:https?)://(" + HOST + rb"(?::[0-9]*)?)(?:/(?:" + PCHAR + rb"|/)*)?"
                      rb"(?:\?(?:" + PCHAR + rb"|[/?])*)?\Z")
HOST_VALUE = re.compile(HOST + rb"(?::[0-9]*)?\Z")
CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})((?:;" + TOKEN + rb"(?:=(?:" + TOKEN +
                   rb'|"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"))?)*)\Z')
# RFC 9110 (6.5.1): what frames, routes, modifies, authenticates, or says how the content is to be processed.
NO_TRAILERS = {b"content-length", b"transfer-encoding", b"host", b"content-type", b"content-encoding", b"content-range", b"trailer", b"te",
               b"vary", b"cache-control", b"max-forwards", b"authorization", b"cookie", b"set-cookie", b"expect", b"connection"}


class Bad(Exception):
    """It is not what the grammar has."""


class Incomplete(Exception):
    """More bytes would be needed."""


@dataclasses.dataclass
class Request:
    method: bytes
    target: bytes
    version: int
    fields: list
    body: bytes
    trailers: list

    def values(self, name):
        return [value for field, value in self.fields if field.lower() == name]


@dataclasses.dataclass
class Reading:
    requests: list
    end: str  # "over", "incomplete", or "bad": what came after them


# ---- The strict reading

def take_line(data, at):
    """The line at `at` without its CR LF, and where the next one is."""
    end = data.find(b"\n", at)
    if end < 0:
        # A line that is wrong already is so without its end.
        if re.search(rb"\r[^\n]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", data[at:]):
            raise Bad("control")
        raise Incomplete
    if end == at or data[end - 1:end] != b"\r" or b"\r" in data[at:end - 1]:
        raise Bad("line end")
    return data[at:end - 1], end + 1


def take_fields(data, at):
    fields = []
    while True:
        line, at = take_line(data, at)
        if not line:
            return fields, at
        match = FIELD.match(line)
        if not match:
            raise Bad("field")
        fields.append((match[1], match[2]))


def target_fits(method, target):
    """CONNECT is for proxies."""
    return method != b"CONNECT" and (ORIGIN.match(target) or ABSOLUTE.match(target) or (target == b"*" and method == b"OPTIONS"))


def framing(request):
    """None, a length, or "chunked"."""
    lengths, codings = request.values(b"content-length"), request.values(b"transfer-encoding")
    if codings:
        names = [name.strip(b" \t").lower() for value in codings for name in value.split(b",")]
        if lengths or request.version == 0 or names[-1] != b"chunked" or names.count(b"chunked") != 1:
            raise Bad("coding")
        if any(name not in (b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress") for name in names[:-1]):
            raise Bad("coding that nobody knows")
        return "chunked"
    if len(lengths) > 1 or (lengths and not re.match(rb"[0-9]{1,19}\Z", lengths[0])):
        raise Bad("length")
    return int(lengths[0]) if lengths else None


def check_host(request):
    hosts = request.values(b"host")
    if len(hosts) > 1 or (request.version == 1 and not hosts) or any(not HOST_VALUE.match(host) for host in hosts):
        raise Bad("host")
    absolute = ABSOLUTE.match(request.target)
    if absolute and hosts and absolute[1].lower() != hosts[0].lower():
        raise Bad("another host")


def take_chunks(data, at):
    body = b""
    while True:
        line, at = take_line(data, at)
        match = CHUNK.match(line)
        if not match:
            raise Bad("chunk")
        size = int(match[1], 16)
        if size == 0:
            trailers, at = take_fields(data, at)
            if any(name.lower() in NO_TRAILERS for name, _ in trailers):
                raise Bad("trailer")
            return body, trailers, at
        body += data[at:at + size]
        at += size
        if len(data) < at:
            raise Incomplete
        if not b"\r\n".startswith(data[at:at + 2]):
            raise Bad("chunk end")
        if len(data) < at + 2:
            raise Incomplete
        at += 2


def take_request(data, at):
    if data[at:at + 2] == b"\r\n":
        at += 2
    line, at = take_line(data, at)
    match = REQUEST_LINE.match(line)
    if not match or not target_fits(match[1], match[2]):
        raise Bad("request line")
    fields, at = take_fields(data, at)
    request = Request(match[1], match[2], int(match[3]), fields, b"", [])
    check_host(request)
    length = framing(request)
    if length and request.method in (b"GET", b"HEAD", b"TRACE"):
        raise Bad("a body that has no meaning")
    if length == "chunked":
        request.body, request.trailers, at = take_chunks(data, at)
    elif length:
        if len(data) < at + length:
            raise Incomplete
        request.body = data[at:at + length]
        at += length
    return request, at


def is_last(request):
    options = [option.strip().lower() for value in request.values(b"connection") for option in value.split(b",")]
    return request.version == 0 or b"close" in options


def read_strictly(data):
    requests, at = [], 0
    try:
        while at < len(data):
            request, at = take_request(data, at)
            requests.append(request)
            if is_last(request):
                break
    except Bad:
        return Reading(requests, "bad")
    except Incomplete:
        return Reading(requests, "incomplete")
    return Reading(requests, "over")


# ---- Lenient readings

@dataclasses.dataclass
class Leniency:
    name: str
    line_end: bytes = rb"\r\n"            # where lines end
    blanks: bytes = b" \t"                # what is stripped from values
    fold: object = staticmethod(bytes.lower)  # of names
    prefer_length: bool = False           # over a coding
    last_wins: bool = False               # of headers that stand twice
    chunked_anywhere: bool = False        # in the coding's text
    ignores_body_of: tuple = ()           # methods
    number: object = staticmethod(lambda text: int(text))


def underscores(name):
    return name.lower().replace(b"_", b"-")


def punctuation(name):
    return re.sub(rb"[^a-z0-9]+", b"-", name.lower()).strip(b"-")


LENIENT = (
    Leniency("lines end with LF", line_end=rb"\r?\n"),
    Leniency("lines end with CR", line_end=rb"\r\n?|\n"),
    Leniency("lines end as str.splitlines() has it", line_end=rb"\r\n?|[\n\x0b\x0c\x1c\x1d\x1e\x85]"),
    Leniency("values are stripped of all blanks", blanks=b" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\x00"),
    Leniency("underscores are hyphens", fold=underscores),
    Leniency("punctuation is all the same", fold=punctuation),
    Leniency("Content-Length goes first", prefer_length=True),
    Leniency("the last of two counts", last_wins=True, prefer_length=True),
    Leniency("chunked anywhere", chunked_anywhere=True, line_end=rb"\r?\n"),
    Leniency("bodies of GET are not read", ignores_body_of=(b"GET", b"HEAD", b"OPTIONS")),
)


def lenient_line(data, at, how):
    match = re.compile(how.line_end).search(data, at)
    if not match:
        raise Incomplete
    return data[at:match.start()], match.end()


def lenient_fields(data, at, how):
    fields = {}
    while True:
        line, at = lenient_line(data, at, how)
        if not line.strip(how.blanks):
            return fields, at
        name, _, value = line.partition(b":")
        name, value = how.fold(name.strip(how.blanks)), value.strip(how.blanks)
        if name not in fields or how.last_wins:
            fields[name] = value


def lenient_body(data, at, fields, how):
    coding, length = fields.get(b"transfer-encoding", b"").lower(), fields.get(b"content-length")
    chunked = b"chunked" in coding if how.chunked_anywhere else coding == b"chunked"
    if not chunked or (how.prefer_length and length is not None):
        size = int(length) if length is not None else 0
        if len(data) < at + size:
            raise Incomplete
        return data[at:at + size], at + size
    body = b""
    while True:
        line, at = lenient_line(data, at, how)
        size = int(line.partition(b";")[0].strip(how.blanks), 16)
        if size == 0:
            return body, lenient_fields(data, at, how)[1]
        body += data[at:at + size]
        _, at = lenient_line(data, at + size, how)


def read_leniently(data, how):
    """[(method, target, body)] and how it ended, as in Reading."""
    requests, at = [], 0
    try:
        while at < len(data):
            line, at = lenient_line(data, at, how)
            if not line:
                continue
            parts = line.split()
            fields, at = lenient_fields(data, at, how)
            body = b""
            if parts[0] not in how.ignores_body_of:
                body, at = lenient_body(data, at, fields, how)
            requests.append((parts[0], parts[1], body))
    except Incomplete:
        return requests, "incomplete"
    except (ValueError, IndexError):
        return requests, "bad"
    return requests, "over"
