"""The second implementation against the document's own test vectors."""
import re
import struct

import pytest

import framed
from framed import Breach, decode, encode


def vectors():
    found = re.findall(r"^```vector ([\w-]+)\n(.*?)^```", framed.DOCUMENT.read_text(), re.M | re.S)
    return {name: bytes.fromhex(re.sub(r"#.*", "", text)) for name, text in found}


def test_every_control_frame_is_read_and_written_back():
    whole = {name: data for name, data in vectors().items() if len(data) >= 8}
    assert {"hello-client", "open", "refused"} <= set(whole)
    seen = 0
    for name, data in whole.items():
        kind, flags, length, stream = struct.unpack(">BBHI", data[:8])
        if kind in (framed.HELLO, framed.GOAWAY, framed.OPEN, framed.OPENED, framed.REFUSED) and len(data) == 8 + length:
            assert framed.frame(kind, stream, encode(decode(data[8:])), flags) == data, name
            seen += 1
    assert seen >= 6


def test_an_open_is_written_as_the_document_has_it():
    assert framed.frame(framed.OPEN, 1, framed.open_payload("kms")) == vectors()["open"]
    meta = {"pid": "17", "name": "app", "cookie": b"\0\xff"}
    assert framed.frame(framed.OPEN, 2, framed.open_payload("log", meta, timeout=5000)) == vectors()["open-meta-short"]
    assert framed.frame(framed.OPEN, 5, framed.open_payload("results", kind=1)) == vectors()["open-http"]


@pytest.mark.parametrize("rule,payload", [
    ("C-1", b""), ("C-1", b"\xa1\x01"), ("C-1", b"\xa0\x00"), ("C-1", b"\x00"), ("C-2", b"\xa1\x18\x01\x00"),
    ("C-3", b"\xa2\x02\x00\x01\x00"), ("C-3", b"\xa2\x01\x00\x01\x00"), ("C-4", b"\xa1\x01\x20"), ("C-4", b"\xa1\x01\xf6"),
    ("C-4", b"\xbf\xff"), ("C-5", b"\xa1\x01\x98\x21" + b"\x00" * 33), ("C-5", b"\xa1\x01\x81\x81\x81\x00"), ("C-6", b"\xa1\x01\x61\x0a"),
])
def test_what_is_not_deterministic_is_not_read(rule, payload):
    with pytest.raises(Breach, match=rule):
        decode(payload)


def test_the_codes_are_those_of_the_document():
    assert framed.CODES["NO_ERROR"] == 0 and framed.CODES["LOST"] == 0x24
    assert framed.CODES["finished"] == 0x100 and framed.CODES["denied_route"] == 0x104 and framed.CODES["internal"] == 0x11c
