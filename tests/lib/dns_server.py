#!/usr/bin/python3
"""A scripted DNS server for tests: one behaviour a name, over UDP and TCP at one port of 127.0.0.1.

In a test:

    with DnsServer() as dns:
        dns.set("kms.test", a=["127.0.0.1"], ttl=0)
        dns.set("slow.test", a=["127.0.0.1"], delay=0.2)
        dns.set("gone.test", rcode="servfail")
        ... run the program with `dns.servers` ("127.0.0.1:PORT") ...
        assert dns.count("kms.test") == 2          # A and AAAA
        assert dns.most("kms.test", "A") == 1      # never two of them unanswered at a time

By hand, with the rules in JSON (a file, or - for standard input):

    dns_server.py --port 5353 --rules rules.json
    {"kms.test": {"a": ["127.0.0.1"]}, "silent.test": {"drop": true}}

It prints `listening on 127.0.0.1:PORT`. SIGUSR1 prints the counts as a line of JSON, and so does its end.
A name without a rule does not exist.
"""

import argparse
import contextlib
import dataclasses
import ipaddress
import json
import signal
import socket
import socketserver
import struct
import sys
import threading

TYPES = {1: "A", 28: "AAAA"}
TYPE_CNAME = 5
RCODES = {"noerror": 0, "formerr": 1, "servfail": 2, "nxdomain": 3, "notimp": 4, "refused": 5}
UDP_MAX = 512


@dataclasses.dataclass
class Rule:
    """How questions for a name are answered."""

    a: list = dataclasses.field(default_factory=list)  # IPv4 addresses
    aaaa: list = dataclasses.field(default_factory=list)  # IPv6 addresses
    ttl: int = 60
    rcode: str = "noerror"
    cname: str = ""  # an alias; the addresses are those of the target
    cname_ttl: int = 60
    then: dict = None  # another rule, which takes over after `times` questions
    times: int = 0
    delay: float = 0.0  # seconds before the answer
    drop: object = False  # True, or "A" or "AAAA": no answer to these questions
    truncate: bool = False  # over UDP, tell the client to come back over TCP
    garbage: bool = False  # bytes that are no DNS message
    broken: bool = False  # a right header and question, then nonsense
    wrong_name: str = ""  # the owner of the addresses instead of the name asked for
    huge: int = 0  # that many addresses of the family asked for, from 127.1.0.0 and fd00:: upwards

    def addresses(self, kind):
        if self.huge:
            first = ipaddress.ip_address("127.1.0.0" if kind == "A" else "fd00::")
            return [first + n for n in range(self.huge)]
        listed = self.a if kind == "A" else self.aaaa if kind == "AAAA" else []
        return [ipaddress.ip_address(text) for text in listed]


def encode_name(name):
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def decode_question(message):
    """The name, the type, and the bytes of the question. ValueError if it is none."""
    labels, at = [], 12
    try:
        while message[at]:
            length = message[at]
            labels.append(message[at + 1 : at + 1 + length].decode("latin-1"))
            at += 1 + length
        (number,) = struct.unpack_from(">H", message, at + 1)
    except (IndexError, struct.error) as error:
        raise ValueError("not a DNS question") from error
    return ".".join(labels).lower(), TYPES.get(number, str(number)), message[12 : at + 5]


def record(owner, kind, ttl, data):
    return owner + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data


class DnsServer:
    """Threads that serve until stop(); also a context manager."""

    def __init__(self, rules=None, port=0):
        self._lock = threading.Lock()
        self._rules = {}
        self._counts = {}
        self._open = {}  # (name, kind): how many questions were not answered yet, and the most there ever were
        self._stopping = threading.Event()
        self._threads = []
        self._udp, self._tcp = self._bind(port)
        self.port = self._udp.getsockname()[1]
        self.servers = f"127.0.0.1:{self.port}"
        for name, rule in (rules or {}).items():
            self.set(name, **rule)

    @staticmethod
    def _bind(port):
        for _ in range(100):
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp.bind(("127.0.0.1", port))
            try:
                return udp, _TcpServer(udp.getsockname())
            except OSError:  # the port that UDP was given is taken for TCP
                udp.close()
                if port:
                    raise
        raise OSError("no port is free for UDP and TCP alike")

    # ---- rules and counts

    def set(self, name, **rule):
        """Replaces the rule for the name; it holds from the next question on."""
        with self._lock:
            self._rules[name.lower().rstrip(".")] = Rule(**rule)

    def remove(self, name):
        """The name does not exist any more."""
        with self._lock:
            self._rules.pop(name.lower().rstrip("."), None)

    def count(self, name, kind=None):
        """How many questions came for the name: all, or those of kind "A", "AAAA", "tcp"."""
        with self._lock:
            counts = self._counts.get(name.lower().rstrip("."), {})
            return counts.get(kind, 0) if kind else sum(n for k, n in counts.items() if k != "tcp")

    def most(self, name, kind):
        """How many questions of the kind for the name had no answer at the same time, at most."""
        with self._lock:
            return self._open.get((name.lower().rstrip("."), kind), (0, 0))[1]

    def counts(self):
        with self._lock:
            return {name: dict(kinds) for name, kinds in self._counts.items()}

    # ---- life

    def start(self):
        self._tcp.answer = self._answer
        self._spawn(self._serve_udp)
        self._spawn(self._tcp.serve_forever, 0.05)
        return self

    def stop(self):
        """Answers no more; the port is free again."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._tcp.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for a connection
        self._tcp.shutdown()
        self._tcp.server_close()
        self._udp.sendto(b"", self._udp.getsockname())  # wakes the thread that reads
        for thread in self._threads:
            thread.join()
        self._udp.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def _spawn(self, target, *args):
        thread = threading.Thread(target=target, args=args, daemon=True)
        thread.start()
        self._threads.append(thread)

    # ---- answers

    def _take_rule(self, name, kind, tcp):
        with self._lock:
            counts = self._counts.setdefault(name, {})
            counts[kind] = counts.get(kind, 0) + 1
            if tcp:
                counts["tcp"] = counts.get("tcp", 0) + 1
            now, most = self._open.get((name, kind), (0, 0))
            self._open[name, kind] = now + 1, max(most, now + 1)
            rule = self._rules.get(name)
            if rule is None:
                return Rule(rcode="nxdomain")
            if rule.then is not None:
                rule.times -= 1
                if rule.times < 0:
                    rule = self._rules[name] = Rule(**rule.then)
            return rule

    def _records(self, rule, kind):
        records, owner = [], b"\xc0\x0c"  # the name in the question
        if rule.cname:
            records.append(record(owner, TYPE_CNAME, rule.cname_ttl, encode_name(rule.cname)))
            owner = encode_name(rule.cname)
        if rule.wrong_name:
            owner = encode_name(rule.wrong_name)
        number = 1 if kind == "A" else 28
        records += [record(owner, number, rule.ttl, ip.packed) for ip in rule.addresses(kind)]
        return records

    def _message(self, rule, query, question, kind, tcp):
        if rule.garbage:
            return b"not a DNS message, whatever it may look like"
        records = self._records(rule, kind) if rule.rcode == "noerror" else []
        body = b"".join(records)
        if rule.broken:
            records, body = [b""] * 3, b"\xc0\xff\xc0\xff\xc0"
        cut = not tcp and (rule.truncate or 12 + len(question) + len(body) > UDP_MAX)
        flags = 0x8080 | (query[2] & 1) << 8 | (0x0200 if cut else 0) | RCODES[rule.rcode]
        if cut:
            records, body = [], b""
        return query[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0) + question + body

    def _answer(self, query, tcp, send):
        """Answers by calling `send`, now or later, or not at all."""
        try:
            name, kind, question = decode_question(query)
        except ValueError:
            return
        rule = self._take_rule(name, kind, tcp)
        if rule.drop is True or rule.drop == kind:
            return  # and is never answered
        message = self._message(rule, query, question, kind, tcp)
        if rule.delay:
            self._spawn(self._send_late, name, kind, send, message, rule.delay)
        else:
            self._close(name, kind)
            send(message)

    def _close(self, name, kind):
        """Before the answer goes out: the next question may come as soon as it does."""
        with self._lock:
            now, most = self._open[name, kind]
            self._open[name, kind] = now - 1, most

    def _send_late(self, name, kind, send, message, delay):
        if self._stopping.wait(delay):
            return
        self._close(name, kind)
        try:
            send(message)
        except OSError:
            pass  # who asked is gone

    def _serve_udp(self):
        while not self._stopping.is_set():
            query, peer = self._udp.recvfrom(65535)
            if query:
                self._answer(query, False, lambda message, to=peer: self._udp.sendto(message, to))


class _TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    answer = None

    def __init__(self, address):
        super().__init__(address, _TcpHandler)


class _TcpHandler(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            size = self.rfile.read(2)
            if len(size) < 2:
                return
            query = self.rfile.read(struct.unpack(">H", size)[0])
            self.server.answer(query, True, self._send)

    def _send(self, message):
        message = message[:65535]
        self.request.sendall(struct.pack(">H", len(message)) + message)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--rules", type=argparse.FileType("r"), help="JSON: {NAME: {RULE}}")
    options = parser.parse_args()
    rules = json.load(options.rules) if options.rules else {}
    # Waited for, not handled: a handler runs in the main thread, and the kernel may give the signal to another, which wakes nobody.
    signals = {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)

    with DnsServer(rules, options.port) as dns:
        print(f"listening on {dns.servers}", flush=True)
        while signal.sigwait(signals) == signal.SIGUSR1:
            print(json.dumps(dns.counts(), sort_keys=True), flush=True)
        print(json.dumps(dns.counts(), sort_keys=True), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
