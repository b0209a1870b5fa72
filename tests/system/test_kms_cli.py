"""postern kms and kmstool_enclave_cli against the simulated KMS: what comes out, where it goes, and what is refused."""
import base64
import json
import pathlib
import subprocess

import pytest

from kms_cli import KMSTOOL, POSTERN, mode, plain_environment, run, straight, told
from postern import PATIENCE, wait_until
from sim import APP, HOST, PCR0, Sim, allow, policy

SECRET = b"nobody else reads this \x00\xff\n"
OPEN = policy(allow("*"))
KEYS = [{"id": "data", "alias": "alias/data", "policy": OPEN},
        {"id": "attested", "policy": policy(allow(action="kms:*", condition={
            "StringEqualsIgnoreCase": {"kms:RecipientAttestation:PCR0": PCR0}}), allow("*", "kms:Encrypt"))},
        {"id": "agreement", "spec": "ECC_NIST_P256", "usage": "KEY_AGREEMENT", "policy": OPEN}]


@pytest.fixture(scope="module")
def sim():
    with Sim(keys=KEYS, nsm=[{"pcrs": {"0": PCR0}}, {"pcrs": {"0": "cd" * 48}}]) as one:
        yield one


def kms(sim, *arguments, nsm=0, **options):
    return run(POSTERN, "kms", *arguments, *straight(sim, nsm), sim=sim, **options)


def spki(folder, curve="P-256"):
    """A key pair of the other side's: its file, and its public half in DER."""
    key = folder / "other.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-out", key], check=True,
                   capture_output=True)
    return key, subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"], check=True, capture_output=True).stdout


# ---- Decrypt ----

def test_decrypt(sim, folder):
    blob = sim.encrypt(SECRET, "attested")
    file = folder / "blob"
    file.write_bytes(blob)
    text = base64.b64encode(blob).decode()
    done = kms(sim, "decrypt", f"@{file}")
    assert "INSECURE: the attestation document comes from a software NSM" in told(done, 0) and done.stdout == SECRET
    assert kms(sim, "decrypt", text).stdout == SECRET
    assert kms(sim, "decrypt", "-", input=blob).stdout == SECRET
    assert kms(sim, "decrypt", "-", "--input-format", "base64", input=text.encode() + b"\n").stdout == SECRET
    assert kms(sim, "decrypt", text, "--format", "base64").stdout == base64.b64encode(SECRET) + b"\n"
    assert json.loads(kms(sim, "decrypt", text, "--format", "json").stdout) == {"Plaintext": base64.b64encode(SECRET).decode()}


def test_decrypt_to_a_file(sim, folder):
    text = base64.b64encode(sim.encrypt(SECRET, "attested")).decode()
    out = folder / "secret"
    done = kms(sim, "decrypt", text, "--output", out)
    assert (done.returncode, done.stdout, out.read_bytes(), mode(out)) == (0, b"", SECRET, 0o600)
    done = kms(sim, "decrypt", "AAAA", "--output", out)  # what is there stays
    assert (done.returncode, out.read_bytes()) == (1, SECRET)
    assert [path.name for path in folder.iterdir()] == ["secret"]


def test_decrypt_with_a_context(sim):
    text = base64.b64encode(sim.encrypt(SECRET, "data", {"tenant": "payroll", "x": "a=b"})).decode()
    assert kms(sim, "decrypt", text, "--context", "x=a=b", "--context", "tenant=payroll").stdout == SECRET
    assert "InvalidCiphertextException" in told(kms(sim, "decrypt", text, "--context", "tenant=payroll"), 1)
    assert told(kms(sim, "decrypt", text), 1)


def test_decrypt_under_the_wrong_key(sim):
    text = base64.b64encode(sim.encrypt(SECRET, "data")).decode()
    assert kms(sim, "decrypt", text, "--key-id", "alias/data").stdout == SECRET
    assert "IncorrectKeyException" in told(kms(sim, "decrypt", text, "--key-id", sim.key("attested")), 1)


def test_another_image_is_denied(sim):
    text = base64.b64encode(sim.encrypt(SECRET, "attested")).decode()
    done = kms(sim, "decrypt", text, nsm=1)
    assert "AccessDeniedException" in told(done, 1) and done.stdout == b""


def test_no_nsm(sim):
    text = base64.b64encode(sim.encrypt(SECRET, "data")).decode()
    if not pathlib.Path("/dev/nsm").exists():
        done = kms(sim, "decrypt", text, nsm=None)
        assert "/dev/nsm" in told(done, 1) and done.stdout == b""


def test_plaintext_is_refused(sim):
    text = base64.b64encode(sim.encrypt(SECRET, "data")).decode()
    for fault in ("leak-beside", "leak-instead"):
        sim.fault(fault, "Decrypt")
        done = kms(sim, "decrypt", text)
        assert told(done, 1) and done.stdout == b"" and SECRET not in done.stderr


def test_insecure_nsm_by_the_environment(sim):
    text = base64.b64encode(sim.encrypt(SECRET, "data")).decode()
    command = [POSTERN, "kms", "decrypt", text, *straight(sim, None)]
    named = {"POSTERN_INSECURE_NSM": sim.nsm_address}
    assert run(*command, "--insecure-nsm", "env", sim=sim, environment=named).stdout == SECRET
    if not pathlib.Path("/dev/nsm").exists():
        assert told(run(*command, sim=sim, environment=named), 1)  # it is not looked at unasked


# ---- The way ----

def test_by_a_route(sim, parent):
    daemon = parent({"kms": {"type": "relay", "to": sim.kms_address, "sni": [HOST], "allow_private": True},
                     "imds": {"type": "relay", "to": sim.metadata_address, "allow_private": True}})
    text = base64.b64encode(sim.encrypt(SECRET, "data")).decode()
    command = [POSTERN, "--connect", daemon.address, "kms", "decrypt", text, "--ca-file", sim.ca, "--insecure-nsm", sim.nsm_address,
               "--timeout", "10m"]
    assert run(*command, sim=sim).stdout == SECRET
    # With the instance's role.
    by_role = run(*command, "--credentials", "metadata", environment={"AWS_REGION": "us-east-1"})
    assert (by_role.returncode, by_role.stdout) == (0, SECRET), by_role.stderr
    assert told(run(*command, "--route", "nowhere", sim=sim), 1)


def test_who_is_not_kms(sim, folder):
    other = folder / "other.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other", "-keyout", "/dev/null", "-out", other],
                   check=True, capture_output=True)
    text = base64.b64encode(sim.encrypt(SECRET, "data")).decode()
    command = [POSTERN, "kms", "decrypt", text, *straight(sim)]
    assert told(run(*command, "--ca-file", other, sim=sim), 1)
    assert told(run(*command, "--host", "kms.eu-west-1.amazonaws.com", sim=sim), 1)
    assert told(run(*command, "--region", "eu-west-1", sim=sim), 1)


@pytest.mark.parametrize("region, words", [(None, "the region is not known: set `region` (--region), or AWS_REGION in the environment"),
                                           ("US East", 'the region "US East" is none: `region` (--region), or AWS_REGION in the environment')])
def test_where_a_region_is_from(region, words):
    done = run(POSTERN, "kms", "decrypt", "AAAA", environment={"AWS_REGION": region} if region else None)
    assert words in told(done, 2)


def test_wrong_credentials(sim):
    text = base64.b64encode(sim.encrypt(SECRET, "data")).decode()
    done = kms(sim, "decrypt", text, who={**APP, "secret_access_key": "another"})
    assert told(done, 1) and b"another" not in done.stderr
    done = run(POSTERN, "kms", "decrypt", text, *straight(sim), "--credentials", "environment", environment={"AWS_REGION": "us-east-1"})
    assert told(done, 1)


# ---- The other operations ----

def test_generate_data_key(sim, folder):
    answer = json.loads(kms(sim, "generate-data-key", "--key-id", "alias/data", "--context", "a=b").stdout)
    assert sorted(answer) == ["CiphertextBlob", "KeyId", "Plaintext"] and answer["KeyId"] == sim.key("data")
    plain = base64.b64decode(answer["Plaintext"])
    assert len(plain) == 32
    assert kms(sim, "decrypt", answer["CiphertextBlob"], "--context", "a=b").stdout == plain
    blob, out = folder / "blob", folder / "key"
    done = kms(sim, "generate-data-key", "--key-id", sim.key("data"), "--key-spec", "AES_128", "--format", "raw", "--output", out,
               "--ciphertext-output", blob)
    assert (done.returncode, done.stdout, mode(out)) == (0, b"", 0o600), done.stderr
    assert len(out.read_bytes()) == 16 and kms(sim, "decrypt", f"@{blob}").stdout == out.read_bytes()
    done = kms(sim, "generate-data-key", "--key-id", "alias/data", "--bytes", "77", "--format", "raw", "--ciphertext-output", blob)
    assert len(done.stdout) == 77


def test_generate_data_key_pair(sim, folder):
    answer = json.loads(kms(sim, "generate-data-key-pair", "--key-id", "alias/data", "--key-pair-spec", "ECC_NIST_P256").stdout)
    assert sorted(answer) == ["KeyId", "PrivateKeyCiphertextBlob", "PrivateKeyPlaintext", "PublicKey"]
    private, public, blob = folder / "private", folder / "public", folder / "blob"
    done = kms(sim, "generate-data-key-pair", "--key-id", "alias/data", "--key-pair-spec", "ECC_NIST_P256", "--format", "raw", "--output",
               private, "--ciphertext-output", blob, "--public-output", public)
    assert (done.returncode, mode(private)) == (0, 0o600), done.stderr
    derived = subprocess.run(["openssl", "pkey", "-inform", "DER", "-in", private, "-pubout", "-outform", "DER"], check=True,
                             capture_output=True).stdout
    assert derived == public.read_bytes()
    assert kms(sim, "decrypt", f"@{blob}").stdout == private.read_bytes()


def test_generate_random(sim):
    one, other = (kms(sim, "generate-random", "--bytes", "100").stdout for _ in range(2))
    assert len(one) == len(other) == 100 and one != other


def test_derive_shared_secret(sim, folder):
    key, public = spki(folder)
    file, theirs = folder / "public.der", folder / "theirs.der"
    file.write_bytes(public)
    theirs.write_bytes(base64.b64decode(sim.call("GetPublicKey", {"KeyId": sim.key("agreement")})["PublicKey"]))
    ours = subprocess.run(["openssl", "pkeyutl", "-derive", "-inkey", key, "-peerkey", theirs, "-peerform", "DER"], check=True,
                          capture_output=True).stdout
    done = kms(sim, "derive-shared-secret", "--key-id", sim.key("agreement"), "--public-key", f"@{file}")
    assert done.stdout == ours, done.stderr
    encoded = base64.b64encode(public).decode()
    assert kms(sim, "derive-shared-secret", "--key-id", sim.key("agreement"), "--public-key", encoded).stdout == ours


# ---- AWS's tool ----

def kmstool(sim, *arguments, environment=None, nsm=0, **options):
    return run(KMSTOOL, *arguments, *straight(sim, nsm), environment=environment, **options)


def credentials(who=APP):
    return ("--aws-access-key-id", who["access_key_id"], "--aws-secret-access-key", who["secret_access_key"], "--aws-session-token",
            who["session_token"])


def test_kmstool(sim):
    text = base64.b64encode(sim.encrypt(SECRET, "attested")).decode()
    done = kmstool(sim, "decrypt", "--region", "us-east-1", *credentials(), "--ciphertext", text)
    assert told(done, 0) and done.stdout == b"PLAINTEXT: " + base64.b64encode(SECRET) + b"\n"
    done = kmstool(sim, "decrypt", "-r", "us-east-1", "-k", APP["access_key_id"], "-s", APP["secret_access_key"], "-t", APP["session_token"],
                   "-c", text, "-K", sim.key("attested"), "-a", "SYMMETRIC_DEFAULT")
    assert done.stdout == b"PLAINTEXT: " + base64.b64encode(SECRET) + b"\n"
    done = kmstool(sim, "genkey", *credentials(), "--key-id", sim.key("data"), "--key-spec", "AES-256")
    lines = done.stdout.decode().splitlines()
    assert [line.split(": ")[0] for line in lines] == ["CIPHERTEXT", "PLAINTEXT"]
    # As its documentation has callers take the answer apart.
    cipher, plain = (line.split(":")[1].strip() for line in lines)
    done = kmstool(sim, "decrypt", *credentials(), "--ciphertext", cipher)
    assert done.stdout.decode().split(":")[1].strip() == plain and len(base64.b64decode(plain)) == 32
    done = kmstool(sim, "genrandom", *credentials(), "--length", "64")
    assert len(base64.b64decode(done.stdout.decode().split(":")[1])) == 64


def test_kmstool_without_credentials_on_the_command_line(sim):
    done = kmstool(sim, "genrandom", "--length", "8", environment=sim.environment())
    assert told(done, 0) and done.stdout.startswith(b"PLAINTEXT: ")


def test_kmstool_fails(sim):
    text = base64.b64encode(sim.encrypt(SECRET, "attested")).decode()
    done = kmstool(sim, "decrypt", *credentials(), "--ciphertext", text, nsm=1)
    assert told(done, 255).endswith("\nINSECURE: Could not decrypt ciphertext\n") and done.stdout == b""
    assert "AccessDeniedException" in done.stderr.decode()
    assert told(kmstool(sim, "decrypt", *credentials()), 1) == "INSECURE: --ciphertext must be set\n"


def test_kmstool_hides_its_command_line(sim):
    """What every process can read while the call goes on."""
    sim.fault("slow", "GenerateRandom", delay_ms=2000)
    with subprocess.Popen([KMSTOOL, "genrandom", *credentials(), "--length", "8", *map(str, straight(sim))], env=plain_environment(),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        shown = pathlib.Path(f"/proc/{process.pid}/cmdline")

        def wiped():
            text = shown.read_bytes()
            return b"genrandom" in text and not any(APP[name].encode() in text for name in (
                "access_key_id", "secret_access_key", "session_token"))
        wait_until(wiped, what="the command line without secrets")
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and out.startswith(b"PLAINTEXT: "), err
