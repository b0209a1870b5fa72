"""Enclave image files of a few bytes, as nitro-cli's would be of a whole system, and what nitro-cli says of them: for tests of what reads images.

    eif.py FILE      writes an image, and prints its measurements as `nitro-cli build-enclave` does
"""
import hashlib
import json
import pathlib
import struct
import sys
import zlib

KERNEL, CMDLINE, RAMDISK = 1, 2, 3
SECTIONS_MAX = 32
HEADER_SIZE = 548

IMAGE = ((KERNEL, b"kernel"), (CMDLINE, b"reboot=k panic=30"), (RAMDISK, b"init and nsm.ko"), (RAMDISK, b"the app"))


def image(sections=IMAGE):
    """Format version 3: the header with its sum, and each section behind a header of its own."""
    body = [struct.pack(">HHQ", kind, 0, len(data)) + data for kind, data in sections]
    offsets = [HEADER_SIZE + sum(map(len, body[:index])) for index in range(len(body))]
    sizes = [len(data) for _, data in sections]
    rest = [0] * (SECTIONS_MAX - len(body))
    head = b".eif" + struct.pack(">HHQQHH", 3, 0, 0, 0, 0, len(body)) + struct.pack(f">{2 * SECTIONS_MAX}QI", *offsets, *rest, *sizes, *rest, 0)
    return head + struct.pack(">I", zlib.crc32(head + b"".join(body))) + b"".join(body)


def measurements(sections=IMAGE):
    """What nitro-cli prints."""
    def pcr(*pieces):
        return hashlib.sha384(bytes(48) + hashlib.sha384(b"".join(pieces)).digest()).hexdigest()
    boot = [data for kind, data in sections if kind != RAMDISK]
    first, *others = [data for kind, data in sections if kind == RAMDISK]
    return {"Measurements": {"HashAlgorithm": "Sha384 { ... }", "PCR0": pcr(*boot, first, *others), "PCR1": pcr(*boot, first), "PCR2": pcr(*others)}}


if __name__ == "__main__":
    pathlib.Path(sys.argv[1]).write_bytes(image())
    print(json.dumps(measurements(), indent=2))
