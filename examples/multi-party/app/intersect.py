#!/usr/bin/python3
"""Which customers two owners have in common, found in an enclave: the intersection leaves, the lists never.

    intersect.py red=KMS-KEY blue=KMS-KEY [OPTION OF postern open]...

Each owner's list is a CSV with the columns `reference` and `email`, sealed under a key of the owner's own. The lists are joined by hashes
of the addresses with a key that is made for this run and dies with it. Each owner then gets its own references to the common
customers, and nothing that is the other's: neither addresses nor references, nor how many the other has.

What a program in an enclave writes is shown to the parent. So no message holds a value of the data, and no exception's text is
printed: it may quote one.
"""
import csv
import hashlib
import io
import json
import secrets
import subprocess
import sys

# Measured with the image: nobody outside can have the lists joined in another way.
OWNERS = ("red", "blue")
CUSTOMERS_AT_LEAST = 10  # in each list: fewer would be a question about persons
CUSTOMERS_AT_MOST = 5_000_000


class Refused(Exception):
    """Its text may be shown to everybody."""


def read(owner, lines, key):
    """{hash of the address: the owner's reference}"""
    found = {}
    rows = csv.DictReader(lines)
    for row in rows:
        reference, address = row.get("reference"), row.get("email")
        if not reference or not address:
            raise Refused(f"{owner}, line {rows.line_num}: reference or email is missing")
        name = hashlib.blake2b(address.strip().lower().encode(), key=key, digest_size=32).digest()
        if name in found:
            raise Refused(f"{owner}, line {rows.line_num}: an address that was there before")
        if len(found) == CUSTOMERS_AT_MOST:
            raise Refused(f"{owner}: more than {CUSTOMERS_AT_MOST} customers")
        found[name] = reference
    return found


def load(owner, key, kms_key, options):
    """The list is opened only as what was sealed under this owner's key, as this owner's, for this purpose."""
    context = ["--key", kms_key, "--context", f"owner={owner}", "--context", "purpose=intersection"]
    with subprocess.Popen(["postern", "send", f"inbox-{owner}", "/customers.sealed"], stdout=subprocess.PIPE) as fetching, \
            subprocess.Popen(["postern", "open", *context, *options], stdin=fetching.stdout, stdout=subprocess.PIPE) as opening:
        fetching.stdout.close()  # `open` is the reader, and its end is to be seen by `send`
        found = read(owner, io.TextIOWrapper(opening.stdout, encoding="utf-8", newline=""), key)
    if fetching.returncode != 0 or opening.returncode != 0:
        raise Refused(f"{owner}: the sealed list did not come, or could not be opened, whole: nothing is sent")
    if len(found) < CUSTOMERS_AT_LEAST:
        raise Refused(f"{owner}: fewer than {CUSTOMERS_AT_LEAST} customers")
    return found


def send(owner, references):
    body = json.dumps({"in_common": sorted(references)})  # in an order that tells nothing of the lists'
    sending = subprocess.run(["postern", "send", f"results-{owner}", "/in-common", "-H", "content-type: application/json", "--data", "-"],
                             input=body.encode(), stdout=subprocess.DEVNULL, check=False)
    if sending.returncode != 0:
        raise Refused(f"{owner}: the result could not be sent")


def main():
    try:
        key = secrets.token_bytes(32)
        keys = dict(argument.split("=", 1) for argument in sys.argv[1:1 + len(OWNERS)])
        lists = {owner: load(owner, key, keys[owner], sys.argv[1 + len(OWNERS):]) for owner in OWNERS}
        common = set.intersection(*(set(one) for one in lists.values()))
        for owner in OWNERS:
            send(owner, [lists[owner][name] for name in common])
    except Refused as reason:
        print(f"intersect: {reason}", file=sys.stderr)
        return 1
    except Exception as problem:  # pylint: disable=broad-except  # whatever it is, its text stays here
        print(f"intersect: failed with {type(problem).__name__}", file=sys.stderr)
        return 1
    print("intersect: sent")
    return 0


if __name__ == "__main__":
    sys.exit(main())
