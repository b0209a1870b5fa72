"""The examples from end to end, each as its own files have it (tests/lib/scenario.py), and failing as they must."""
import base64
import contextlib
import csv
import io
import json
import os
import subprocess

import pytest

from postern import PATIENCE, cached, connect, read_all, wait_until
from recorder import find
from scenario import EXAMPLES, PARENT_ROLE, Scenario, measured

PEOPLE = EXAMPLES / "pii-aggregate/owner/people.csv"
TRANSPORTS = ["vsock"] if "POSTERN_IN_VM" in os.environ else ["unix", "tcp", "hybrid"]


@pytest.fixture
def world():
    """world("pii-aggregate", ...) starts everything around the enclave."""
    with contextlib.ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(Scenario(*arguments, **{"transport": TRANSPORTS[0], **options}))


def rows(file):
    return list(csv.DictReader(io.StringIO(file if isinstance(file, str) else file.read_text())))


def personal(people):
    """What is nobody's but the enclave's: whoever finds one of these has read of the data."""
    return {row[name] for row in people for name in ("name", "email", "birth_date")}


# ---- pii-aggregate ----

INBOX, STORE = "example-inbox.s3.us-east-1.amazonaws.com", "results.example.com"
CONTEXT = {"dataset": "people"}


def put_sealed(one, file=PEOPLE, **options):
    one.stores[INBOX].things["/people.sealed"] = one.seal(file, **{"context": CONTEXT, **options})


@pytest.fixture
def pii(world):
    """With the sealed file at its place."""
    one = world("pii-aggregate")
    put_sealed(one)
    return one


def expected_of(people):
    groups = {}
    for row in people:
        groups.setdefault(row["department"], []).append(row)
    return {name: {"persons": len(group), "mean_salary": round(sum(int(row["salary"]) for row in group) / len(group), 2),
                   "mean_sick_days": round(sum(int(row["sick_days"]) for row in group) / len(group), 2)}
            for name, group in groups.items() if len(group) >= 5}


def refused(one, enclave, *said):
    """It failed, nothing left, and these words were told."""
    assert enclave.wait() == 1
    told = one.enclave_log("stderr") + enclave.err().splitlines()
    assert all(any(words in line for line in told) for words in said), told
    assert not one.stores[STORE].requests
    assert not find(personal(rows(PEOPLE)), *one.parent_saw().values())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_aggregates_leave_and_nothing_else(world, transport):
    one = world("pii-aggregate", transport=transport)
    put_sealed(one)
    enclave = one.enclave()
    assert enclave.wait() == 0, enclave.err() + one.daemon.log()
    request, = one.delivered(STORE)
    people = rows(PEOPLE)
    told = json.loads(request.body)
    assert told == {"persons_at_least": 5, "groups": expected_of(people)} and len(told["groups"]) == 4
    assert request.values("authorization") == [f"Bearer {one.tokens['results-token']}"] and request.values("x-enclave") == ["pii"]
    assert "aggregate: sent 4 of 6 groups" in wait_until(lambda: one.enclave_log(), what="a line of the app's")

    saw = one.parent_saw()
    for name in ("door", "kms", "imds", INBOX, STORE, "log"):
        assert len(saw[name]) > 100, name
    assert not find(personal(people), *saw.values())
    # That the search finds what is there: the aggregates passed the parent, its own token did not go to the enclave.
    assert find(["mean_salary"], saw["door"]) and find(["mean_salary"], saw[STORE]) and not find(["mean_salary"], saw["kms"])
    assert find([one.tokens["results-token"]], saw[STORE]) and not find([one.tokens["results-token"]], saw["door"], saw["log"])


def test_another_image_is_refused(pii):
    refused(pii, pii.enclave(pcrs="another image"), "AccessDeniedException")


def test_an_enclave_of_another_role_is_refused(pii):
    refused(pii, pii.enclave(pcrs="another role"), "AccessDeniedException")


def test_a_debug_enclave_is_refused(pii):
    refused(pii, pii.enclave(pcrs="debug"), "AccessDeniedException")


def test_without_an_nsm_there_is_nothing(pii):
    refused(pii, pii.enclave(pcrs=None), "cannot get an attestation document")


def decrypt(one, role):
    """What somebody gets who calls KMS with the file's data key, and without an attestation: by AWS's own API."""
    sealed = one.stores[INBOX].things["/people.sealed"]
    return one.decrypt_unattested(sealed, CONTEXT, role)


@pytest.mark.parametrize("role", [PARENT_ROLE, "arn:aws:iam::111122223333:role/data-owner"], ids=["parent", "owner"])
def test_without_an_attestation_nobody_decrypts(pii, role):
    """The parent has the role's credentials and the sealed file; the owner could seal."""
    assert decrypt(pii, role) == "AccessDeniedException"


def test_a_file_that_was_cut_off_is_not_summed_up(pii):
    """Behind a whole chunk, where a line ends too: of what came before nothing is wrong."""
    header = "name,email,birth_date,department,salary,sick_days,"
    lines = [header, *(f"P,{number}@people.example,2000-01-01,Sales,5000,{number % 20}," for number in range(4096))]
    file = pii.folder / "many.csv"
    file.write_text("".join(line.ljust(63, "-") + "\n" for line in lines))
    put_sealed(pii, file)
    sealed = pii.stores[INBOX].things["/people.sealed"]
    chunks = len(sealed) - 64 - 5 * 16 - 4 * 65536  # where they begin: the last one has a line
    pii.stores[INBOX].things["/people.sealed"] = sealed[:chunks + 2 * (65536 + 16)]
    refused(pii, pii.enclave(), "could not be opened, whole: nothing is sent")


def test_a_byte_that_was_changed(pii):
    sealed = bytearray(pii.stores[INBOX].things["/people.sealed"])
    sealed[-100] ^= 1
    pii.stores[INBOX].things["/people.sealed"] = bytes(sealed)
    refused(pii, pii.enclave(), "could not be opened, whole: nothing is sent")


def test_another_file_of_the_owner_is_not_taken(pii):
    put_sealed(pii, context={"dataset": "somebody else"})
    refused(pii, pii.enclave(), "could not be opened, whole: nothing is sent")


def test_a_file_under_another_key_is_not_taken(world):
    """One that anybody may have made who has a key which this enclave may use."""
    policy = json.loads((EXAMPLES / "pii-aggregate/owner/key-policy.json").read_text())
    one = world("pii-aggregate", policies={"999999999999": policy})
    put_sealed(one, key=one.key("999999999999"))
    refused(one, one.enclave(), "could not be opened, whole: nothing is sent")


@pytest.mark.parametrize("name, value", [("salary", "Adele earns 9000"), ("email", ""), ("sick_days", None)])
def test_no_message_quotes_the_data(pii, name, value):
    people = rows(PEOPLE)
    people[50][name] = value
    file = pii.folder / "wrong.csv"
    with open(file, "w") as out:
        writer = csv.DictWriter(out, [column for column in people[0] if value is not None or column != name], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(people)
    put_sealed(pii, file)
    refused(pii, pii.enclave(), "line 52" if value is not None else "line 2")
    assert not find(["Adele earns"], *pii.parent_saw().values())


def test_what_is_no_text_is_not_quoted(pii):
    file = pii.folder / "binary"
    file.write_bytes(PEOPLE.read_bytes() + b"\xff\xfe Adele earns 9000\n")
    put_sealed(pii, file)
    refused(pii, pii.enclave(), "failed with UnicodeDecodeError")
    assert not find(["Adele earns"], *pii.parent_saw().values())


def test_a_person_counts_once(pii):
    lines = PEOPLE.read_text().splitlines()
    file = pii.folder / "twice.csv"
    file.write_text("\n".join([*lines, lines[1].title()]) + "\n")
    put_sealed(pii, file)
    refused(pii, pii.enclave(), "a person who was there before")


def test_the_store_may_be_away(pii):
    """The parent keeps the result, and has nothing else to keep."""
    pii.stores[STORE].status = 503
    enclave = pii.enclave()
    assert enclave.wait() == 0, enclave.err()
    pii.delivered(STORE)
    assert not find(personal(rows(PEOPLE)), *pii.parent_saw().values())
    pii.stores[STORE].status = None
    wait_until(lambda: json.loads(pii.daemon.ctl("spool", "list", "--json").stdout)["records"] == [], what="the delivery")


# ---- multi-party ----

RED, BLUE = "red.example.com", "blue.example.com"
OWNERS = {"red": "222222222222", "blue": "333333333333"}


def customers(owner):
    return EXAMPLES / f"multi-party/owners/{owner}-customers.csv"


def put_lists(one, **contexts):
    for owner, account in OWNERS.items():
        context = contexts.get(owner, {"owner": owner, "purpose": "intersection"})
        one.stores[f"example-{owner}.s3.us-east-1.amazonaws.com"].things["/customers.sealed"] = one.seal(customers(owner), account, context)


def in_common():
    lists = {owner: {row["email"].lower(): row["reference"] for row in rows(customers(owner))} for owner in OWNERS}
    common = lists["red"].keys() & lists["blue"].keys()
    return {owner: sorted(lists[owner][email] for email in common) for owner in OWNERS}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_intersection_leaves_and_the_lists_never(world, transport):
    one = world("multi-party", transport=transport)
    put_lists(one)
    enclave = one.enclave()
    assert enclave.wait() == 0, enclave.err() + one.daemon.log()
    expected = in_common()
    assert 10 < len(expected["red"]) < 20
    for owner, host in (("red", RED), ("blue", BLUE)):
        request, = one.delivered(host)
        assert json.loads(request.body) == {"in_common": expected[owner]}
        assert request.values("authorization") == [f"Bearer {one.tokens[f'{owner}-token']}"]
    saw = one.parent_saw()
    addresses = {spelling for owner in OWNERS for row in rows(customers(owner)) for spelling in (row["email"], row["email"].lower())}
    others = {row["reference"] for owner in OWNERS for row in rows(customers(owner))} - set(expected["red"]) - set(expected["blue"])
    assert not find(addresses | others, *saw.values())
    assert not find(expected["blue"], saw[RED]) and not find(expected["red"], saw[BLUE])


@pytest.mark.parametrize("owner", OWNERS)
def test_one_owner_alone_can_refuse(world, owner):
    """The statement for the enclave is taken out of one policy."""
    policy = json.loads((EXAMPLES / f"multi-party/owners/{owner}-key-policy.json").read_text())
    policy["Statement"] = [statement for statement in policy["Statement"] if statement["Sid"] != "AttestedEnclave"]
    one = world("multi-party", policies={OWNERS[owner]: policy})
    put_lists(one)
    enclave = one.enclave()
    assert enclave.wait() == 1 and "AccessDeniedException" in "".join(one.enclave_log("stderr"))
    assert not one.stores[RED].requests and not one.stores[BLUE].requests


def test_a_list_that_was_sealed_for_something_else(world):
    one = world("multi-party")
    put_lists(one, blue={"owner": "blue", "purpose": "newsletter"})
    enclave = one.enclave()
    assert enclave.wait() == 1 and not one.stores[RED].requests and not one.stores[BLUE].requests


def test_one_owners_list_is_not_taken_for_the_others(world):
    """The parent puts red's list, which it cannot read, in both places."""
    one = world("multi-party")
    put_lists(one)
    red, blue = (one.stores[f"example-{owner}.s3.us-east-1.amazonaws.com"].things for owner in OWNERS)
    blue["/customers.sealed"] = red["/customers.sealed"]
    enclave = one.enclave()
    assert enclave.wait() == 1 and not one.stores[RED].requests and not one.stores[BLUE].requests


def test_another_image_joins_nothing(world):
    one = world("multi-party")
    put_lists(one)
    enclave = one.enclave(pcrs="another image")
    assert enclave.wait() == 1 and not one.stores[RED].requests and not one.stores[BLUE].requests


# ---- signer ----

KEYS = "example-keys.s3.us-east-1.amazonaws.com"


class Signing:
    """The example with a requester, and whoever asks."""

    def __init__(self, one):
        self.world = one

    @staticmethod
    def openssl(*arguments):
        return subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True).stdout

    def start(self, **options):
        enclave = self.world.enclave(**options)
        ready = len(self.lines("signer: ready"))
        wait_until(lambda: len(self.lines("signer: ready")) > ready or enclave.process.poll() is not None, what="the signer")
        return enclave

    def lines(self, begin):
        return [line for line in self.world.enclave_log() if line.startswith(begin)]

    def ask(self, line):
        with connect(self.world.ingress) as client:
            client.sendall(line.encode() + b"\n")
            return read_all(client).decode().strip()

    def sign(self, file, requester=None, public=None):
        host, port = self.world.ingress.removeprefix("tcp://").split(":")
        return subprocess.run([EXAMPLES / "signer/client/sign", host, port, requester or self.world.requester, public, file], capture_output=True,
                              timeout=PATIENCE, check=False)


@pytest.fixture
def signing(world):
    return lambda **options: Signing(world("signer", **options))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_key_signs_and_survives_a_restart(signing, transport, tmp_path):
    one = signing(transport=transport)
    enclave = one.start()
    assert one.lines("signer: the key was") == ["signer: the key was made"], enclave.err() + one.world.daemon.log()
    public = tmp_path / "public"
    public.write_text(one.ask("key").removeprefix("ok "))
    file = tmp_path / "contract"
    file.write_text("to be signed")
    done = one.sign(file, public=public)
    assert done.returncode == 0, done.stderr
    (tmp_path / "sig").write_bytes(done.stdout)
    (tmp_path / "public.der").write_bytes(base64.b64decode(public.read_text()))
    assert one.openssl("dgst", "-sha256", "-verify", tmp_path / "public.der", "-keyform", "DER", "-signature", tmp_path / "sig", file) == b"Verified OK\n"

    enclave.stop()
    one.start()
    assert one.lines("signer: the key was")[1:] == ["signer: the key was opened"]
    assert one.ask("key") == f"ok {public.read_text()}" and one.sign(file, public=public).returncode == 0


def fetch_key(one, pcr0):
    host, port = one.world.ingress.removeprefix("tcp://").split(":")
    return subprocess.run([EXAMPLES / "signer/client/fetch-key", host, port, pcr0, "--root", one.world.sim.root], capture_output=True,
                          timeout=PATIENCE, check=False, env=one.world.environment)


def test_a_client_knows_whose_key_it_is(signing):
    """By a document that names the key and the image; another image's word, or another key's document, will not do."""
    one = signing()
    one.start()
    pcr0 = measured(EXAMPLES / "signer/owner/measurements.json")["0"]
    done = fetch_key(one, pcr0)
    assert done.returncode == 0 and done.stdout.decode().strip() == one.ask("key").removeprefix("ok "), done.stderr
    done = fetch_key(one, "ab" * 48)
    assert done.returncode == 1 and not done.stdout and b"is not vouched for" in done.stderr


def test_another_keys_document_is_not_taken(signing, peer):
    """The parent answers with a key of its own, and with the document that is there."""
    one = signing()
    one.start()
    document = one.ask("attest")
    key = one.openssl("pkey", "-in", one.world.requester, "-pubout", "-outform", "DER")

    def lie(connection):
        asked = connection.makefile().readline()
        connection.sendall((f"ok {base64.b64encode(key).decode()}" if asked == "key\n" else document).encode() + b"\n")
    one.world.ingress = peer(lie).address
    done = fetch_key(one, measured(EXAMPLES / "signer/owner/measurements.json")["0"])
    assert done.returncode == 1 and not done.stdout and b"is not vouched for" in done.stderr


def test_others_requests_are_not_signed(signing, tmp_path):
    """The parent carries them, and could make its own."""
    one = signing()
    one.start()
    stranger, public, file = tmp_path / "stranger.key", tmp_path / "public", tmp_path / "contract"
    one.openssl("genpkey", "-algorithm", "ed25519", "-out", stranger)
    public.write_text(one.ask("key").removeprefix("ok "))
    file.write_text("a cheque for the parent")
    done = one.sign(file, requester=stranger, public=public)
    assert done.returncode == 1 and b"the requester did not sign this" in done.stderr
    for line in ("", "sign", "sign x y", "sign " + "0" * 64, "sign " + "0" * 64 + " AAAA", "sign " + "G" * 64 + " AAAA", "steal", "key now"):
        assert one.ask(line).startswith("error "), line


def test_a_client_takes_no_other_key_for_the_signers(signing, tmp_path):
    """The parent took the sealed key away: a new one was made, which nobody knows."""
    one = signing()
    enclave = one.start()
    public, file = tmp_path / "public", tmp_path / "contract"
    public.write_text(one.ask("key").removeprefix("ok "))
    file.write_text("to be signed")
    enclave.stop()
    one.world.stores[KEYS].things.clear()
    one.start()
    assert one.ask("key") != f"ok {public.read_text()}"
    done = one.sign(file, public=public)
    assert done.returncode == 1 and b"the signature is not the signer's" in done.stderr and not done.stdout


@pytest.mark.parametrize("pcrs", ["another image", "debug"])
def test_the_kept_key_opens_for_this_image_alone(signing, pcrs):
    one = signing()
    one.start().stop()
    kept = dict(one.world.stores[KEYS].things)
    enclave = one.start(pcrs=pcrs)
    assert enclave.wait() == 1 and "AccessDeniedException" in "".join(one.world.enclave_log("stderr"))
    assert one.world.stores[KEYS].things == kept


def test_another_image_makes_no_key(signing):
    one = signing()
    assert one.start(pcrs="another image").wait() == 1
    assert not one.world.stores[KEYS].things


@pytest.mark.parametrize("status", [403, 500, 503])
def test_a_store_that_fails_is_not_one_without_a_key(signing, status):
    one = signing()
    one.start().stop()
    kept = dict(one.world.stores[KEYS].things)
    one.world.stores[KEYS].status = status
    assert one.start().wait() == 1
    assert one.world.stores[KEYS].things == kept and len(one.lines("signer: the key was")) == 1
    assert [call["operation"] for call in one.world.sim.calls()] == ["GenerateDataKeyPair"]


def test_what_was_kept_and_changed(signing):
    one = signing()
    one.start().stop()
    kept = bytearray(one.world.stores[KEYS].things["/signer.key"])
    kept[len(kept) // 2] ^= 1
    one.world.stores[KEYS].things["/signer.key"] = bytes(kept)
    assert one.start().wait() == 1


def test_slow_callers_hold_nobody_up_for_ever(signing):
    """As many as there are threads, who never end their line."""
    one = signing()
    one.start()
    with contextlib.ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(connect(one.world.ingress)).sendall(b"sig")
        assert one.ask("key").startswith("ok ")


