"""postern seal and postern open against the simulated KMS: by the data's owner outside, and in an enclave."""
import concurrent.futures
import hashlib
import json
import os
import stat

import pytest

from kms_cli import POSTERN, mode, run, straight, told
from sim import ATTESTED, OWNED, OWNER, PCR0, ROLE, Sim, allow, policy

CHUNK = 65536
RESULTS = policy(allow(OWNER), allow(ROLE, "kms:GenerateDataKey", {"StringEqualsIgnoreCase": {"kms:RecipientAttestation:PCR0": PCR0}}))


@pytest.fixture(scope="module")
def sim():
    keys = [{"id": "data", "alias": "alias/data", "policy": ATTESTED}, {"id": "other", "policy": ATTESTED},
            {"id": "results", "alias": "alias/results", "policy": RESULTS}]
    with Sim(keys=keys, nsm=[{"pcrs": {"0": PCR0}}, {"pcrs": {"0": "cd" * 48}}]) as one:
        yield one


def owner_seals(sim, *arguments, **options):
    return run(POSTERN, "seal", "--no-attestation", *arguments, *straight(sim, None), sim=sim, who=OWNED, **options)


def enclave(sim, *arguments, nsm=0, **options):
    return run(POSTERN, *arguments, *straight(sim, nsm), sim=sim, **options)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 1000003])
def test_from_the_owner_to_the_enclave(sim, folder, size):
    plain = os.urandom(size)
    (folder / "in").write_bytes(plain)
    done = owner_seals(sim, "--key", "alias/data", "--context", "tenant=payroll", folder / "in", folder / "sealed")
    assert "without attestation" in told(done, 0)
    sealed = (folder / "sealed").read_bytes()
    assert size < 16 or plain[:16] not in sealed
    done = enclave(sim, "open", folder / "sealed", folder / "out")
    assert told(done, 0) and (folder / "out").read_bytes() == plain and mode(folder / "out") == 0o600
    # And by pipes.
    done = enclave(sim, "open", "--key", sim.key("data"), "--context", "tenant=payroll", input=sealed)
    assert (done.returncode, done.stdout) == (0, plain), done.stderr


def test_from_the_enclave_to_the_owner(sim, folder):
    done = enclave(sim, "seal", "--key", sim.key("results"), input=b"42 people\n")
    assert told(done, 0) and b"people" not in done.stdout
    (folder / "sealed").write_bytes(done.stdout)
    denied = enclave(sim, "open", folder / "sealed")  # the enclave may seal under that key, and no more
    assert "AccessDeniedException" in told(denied, 1) and denied.stdout == b""
    # The owner has no enclave: a data key is decrypted by any of KMS's clients.
    said = json.loads(run(POSTERN, "open", "--describe", folder / "sealed").stdout)
    assert said == {"KeyId": sim.key("results"), "EncryptionContext": {}}


def test_another_image_cannot_open(sim, folder):
    done = owner_seals(sim, "--key", "alias/data", input=b"personal")
    denied = enclave(sim, "open", "-", folder / "out", nsm=1, input=done.stdout)
    assert "AccessDeniedException" in told(denied, 1) and not list(folder.iterdir())
    unattested = enclave(sim, "seal", "--no-attestation", "--key", "alias/results", nsm=None, input=b"x")
    assert "AccessDeniedException" in told(unattested, 1)


def test_aliases_are_no_accounts(sim, folder):
    """The parent may give the enclave credentials of any account, and have an alias there."""
    sealed = owner_seals(sim, "--key", "alias/data", input=b"x").stdout
    for done in (enclave(sim, "seal", "--key", "alias/results", "-", folder / "out", input=b"x"),
                 enclave(sim, "open", "--key", "alias/data", "-", folder / "out", input=sealed)):
        assert "may be of any account" in told(done, 1) and not list(folder.iterdir())
    of_account = sim.key("data").replace("key/data", "alias/data")
    assert enclave(sim, "open", "--key", of_account, input=sealed).stdout == b"x"


def test_the_key_and_the_context_that_are_meant(sim):
    sealed = owner_seals(sim, "--key", "alias/data", "--context", "tenant=payroll", "--context", "job=7", input=b"x").stdout
    assert enclave(sim, "open", "--context", "job=7", input=sealed).stdout == b"x"
    assert "another job in its context" in told(enclave(sim, "open", "--context", "job=8", input=sealed), 1)
    assert "without x in its context" in told(enclave(sim, "open", "--context", "x=", input=sealed), 1)
    assert enclave(sim, "open", "--key", sim.key("data"), input=sealed).stdout == b"x"
    assert f"it was sealed under another key than {sim.key('other')}" in told(enclave(sim, "open", "--key", sim.key("other"), input=sealed), 1)


def changes(sealed):
    header = int.from_bytes(sealed[10:12], "big")
    first, second = header, header + CHUNK + 16
    for at in (0, 8, 11, 12, 44, header - 1, first, second - 1, second, len(sealed) - 1):
        yield f"byte {at}", sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1:]
    for size in (0, 11, header - 1, header, first + 16, second - 1, second, len(sealed) - 1):
        yield f"cut at {size}", sealed[:size]
    yield "appended", sealed + b"\0"
    yield "chunk again", sealed + sealed[second:]
    yield "chunks changed places", sealed[:first] + sealed[second:] + sealed[first:second]
    yield "chunk left out", sealed[:first] + sealed[second:]


def test_changed_files(sim, folder):
    """OUT does not appear, and standard output has no byte that was not sealed there."""
    plain = os.urandom(CHUNK + 1000)
    sealed = owner_seals(sim, "--key", "alias/data", input=plain).stdout

    def is_refused(number, what, changed):
        place = folder / str(number)
        place.mkdir()
        (place / "sealed").write_bytes(changed)
        done = enclave(sim, "open", place / "sealed", place / "out")
        assert done.returncode == 1 and done.stdout == b"", (what, done.stderr)
        assert [path.name for path in place.iterdir()] == ["sealed"], what
        done = enclave(sim, "open", place / "sealed")
        assert done.returncode == 1 and done.stdout in (b"", plain[:CHUNK]), (what, done.stderr)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for one in [pool.submit(is_refused, number, *change) for number, change in enumerate(changes(sealed))]:
            one.result()


def test_spliced_files(sim):
    """Of two files under keys of the same KMS key, with headers as long, chunks are not to be exchanged."""
    one, other = (owner_seals(sim, "--key", "alias/data", input=bytes([number]) * (CHUNK + 5)).stdout for number in (1, 2))
    header = int.from_bytes(one[10:12], "big")
    assert one[10:12] == other[10:12]
    for mixed in (one[:header] + other[header:], one[:-21] + other[-21:], other[:header] + one[header:]):
        done = enclave(sim, "open", input=mixed)
        assert done.returncode == 1 and done.stdout in (b"", one[:0], b"\1" * CHUNK)


def test_out_stays_as_it_was(sim, folder):
    (folder / "out").write_bytes(b"before")
    assert told(enclave(sim, "open", "-", folder / "out", input=b"no sealed file at all"), 1)
    assert (folder / "out").read_bytes() == b"before" and len(list(folder.iterdir())) == 1
    sealed = owner_seals(sim, "--key", "alias/data", input=b"after").stdout
    assert told(enclave(sim, "open", "-", folder / "out", input=sealed), 0)
    assert (folder / "out").read_bytes() == b"after" and len(list(folder.iterdir())) == 1


def test_sealed_files_are_nobodys_secret(sim, folder):
    (folder / "in").write_bytes(b"x")
    old = os.umask(0o022)
    try:
        told(owner_seals(sim, "--key", "alias/data", folder / "in", folder / "sealed"), 0)
    finally:
        os.umask(old)
    assert mode(folder / "sealed") == 0o644


def test_a_full_disk(sim):
    sealed = owner_seals(sim, "--key", "alias/data", input=b"x" * 1000).stdout
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)
    assert "No space left on device" in told(enclave(sim, "open", "-", "/dev/full", input=sealed), 1)
    assert "No space left on device" in told(owner_seals(sim, "--key", "alias/data", "-", "/dev/full", input=b"x"), 1)


def test_two_files_share_nothing(sim):
    one, other = (owner_seals(sim, "--key", "alias/data", input=b"the same").stdout for _ in range(2))
    assert hashlib.sha256(one[-24:]).digest() != hashlib.sha256(other[-24:]).digest() and one[12:44] != other[12:44]
