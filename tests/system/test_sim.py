"""postern-sim from outside: its life, its configuration, its metadata service. Its NSMs, its KMS and its faults: test_sim_*.py. With SDKs:
test_sim_sdk.py."""
import base64
import contextlib
import datetime
import http.client
import json
import subprocess
import threading

import pytest

import eif
from postern import PATIENCE, PROGRAMS, connect
from sim import APP, ATTESTED, OWNER, REGION, Kept, Sim, allow, parse_document, policy
from sim_bench import b64, nothing_left, recipient, sim


# ---- The metadata service ----

def test_credentials_from_the_metadata_service(sim):
    host, _, port = sim.metadata_address.removeprefix("tcp://").rpartition(":")

    def ask(method, path, headers=None):
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, body
    roles = "/latest/meta-data/iam/security-credentials/"
    assert ask("GET", roles)[0] == 401 and ask("PUT", "/latest/api/token")[0] == 400
    status, token = ask("PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    assert status == 200
    with_token = {"X-aws-ec2-metadata-token": token}
    status, role = ask("GET", roles, with_token)
    status, body = ask("GET", roles + role, with_token)
    found = json.loads(body)
    assert (found["Code"], found["AccessKeyId"], found["Token"]) == ("Success", APP["access_key_id"], APP["session_token"])
    assert found["SecretAccessKey"] == APP["secret_access_key"] and found["Expiration"] > datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert ask("GET", "/latest/meta-data/placement/region", with_token) == (200, REGION)
    assert ask("GET", "/latest/other", with_token)[0] == 404


# ---- Its life ----

def test_keys_and_roots_outlive_it(tmp_path, folder):
    one = Sim(folder=folder)
    with one:
        blob, root, ca = one.encrypt(b"kept"), one.root.read_bytes(), one.ca.read_bytes()
        made = one.call("CreateKey", {"KeySpec": "RSA_2048", "Policy": json.dumps(policy(allow(OWNER)))})["KeyMetadata"]["KeyId"]
        public = one.call("GetPublicKey", {"KeyId": made})["PublicKey"]
    assert {name.name: oct(name.stat().st_mode & 0o777) for name in one.state.glob("*.key")} == {
        "attestation-root.key": "0o600", "tls-ca.key": "0o600"}
    with one:
        assert one.root.read_bytes() == root and one.ca.read_bytes() == ca
        assert one.call("Decrypt", {"CiphertextBlob": b64(blob)})["Plaintext"] == b64(b"kept")
        assert one.call("GetPublicKey", {"KeyId": made})["PublicKey"] == public


@pytest.mark.parametrize("spoil", ["keys.json", "attestation-root.key", "tls-ca.pem"])
def test_a_directory_that_was_spoiled(folder, spoil):
    one = Sim(folder=folder)
    with one:
        pass
    (one.state / spoil).write_text("{" if spoil == "keys.json" else "nonsense")
    assert run_with(one.config, folder)[0] == 1


def run_with(config, folder):
    (folder / "bad.json").write_text(config if isinstance(config, str) else json.dumps(config))
    done = subprocess.run([PROGRAMS / "postern-sim", "--config", folder / "bad.json"], text=True, capture_output=True, timeout=PATIENCE)
    return done.returncode, done.stderr


@pytest.mark.parametrize("config, says", [
    ("{", "line 1"), ({}, "directory"), ({"directory": "D", "more": 1}, "more"), ({"directory": "/proc/none"}, "/proc/none"),
    ({"directory": "D", "nsm": [{"listen": "nowhere"}]}, "nowhere"), ({"directory": "D", "nsm": {}}, "list"),
    ({"directory": "D", "nsm": [{"listen": "unix://D/s", "pcrs": {"0": "ab"}}]}, "pcrs"),
    ({"directory": "D", "nsm": [{"listen": "unix://D/s", "pcrs": []}]}, "pcrs"),
    ({"directory": "D", "nsm": [{"listen": "unix://D/s", "shape": "round"}]}, "shape"),
    ({"directory": "D", "nsm": [{"listen": "unix://D/s", "eif": "/none"}]}, "/none"),
    ({"directory": "D", "instance_id": "i" * 25}, "instance_id"),
    ({"directory": "D", "kms": {"listen": "unix://D/s", "account": "1"}}, "account"),
    ({"directory": "D", "kms": {"listen": "unix://D/s", "cms": "round"}}, "cms"),
    ({"directory": "D", "kms": {"listen": "unix://D/s", "keys": {}}}, "list"),
    ({"directory": "D", "kms": {"listen": "unix://D/s", "keys": [{"id": "a/b"}]}}, "slash"),
    ({"directory": "D", "kms": {"listen": "unix://D/s", "keys": [{"id": "a"}, {"id": "b", "policy": {}}]}}, "policy"),
    ({"directory": "D", "kms": {"listen": "unix://D/s", "keys": [{"id": "a", "policy_file": "/none"}]}}, "/none"),
    ({"directory": "D", "kms": {"listen": "unix://D/s", "keys": [{"id": "a", "spec": "ROT13"}]}}, "spec"),
    ({"directory": "D", "kms": {"listen": "unix://D/s", "credentials": [{"access_key_id": "a", "secret_access_key": "b", "principal": "me"}]}},
     "principal"),
    ({"directory": "D", "kms": {"listen": "unix://D/s", "credentials": [{"access_key_id": "a"}]}}, "credentials"),
    ({"directory": "D", "metadata": {"listen": "unix://D/s"}}, "no credentials")])
def test_configurations_that_are_none(folder, config, says):
    text = config if isinstance(config, str) else json.dumps(config).replace('"D', f'"{folder}').replace("//D/", f"//{folder}/")
    status, error = run_with(text, folder)
    assert status == 1 and says in error and error.startswith("postern-sim: ")


def test_the_command_line():
    run = lambda *arguments: subprocess.run([PROGRAMS / "postern-sim", *arguments], text=True, capture_output=True, timeout=PATIENCE)
    assert run().returncode == run("--config", "x", "more").returncode == run("--what").returncode == 2
    assert run("--help").stdout.startswith("usage: postern-sim") and run("--version").stdout.startswith("postern-sim ")
    assert run("--config", "/none").returncode == 1


def test_it_ends_with_connections_open(folder):
    one = Sim(folder=folder).start()
    open_ = [one.tls(), connect(one.kms_address), connect(one.nsm_address), connect(one.control_address)]
    one.call("GenerateRandom", {"NumberOfBytes": 1})
    one.finish()
    for each in open_:
        each.close()


def test_an_image_is_measured(folder):
    """As posternctl does it."""
    if not (PROGRAMS / "posternctl").exists():
        pytest.skip("posternctl is not built")
    (folder / "app.eif").write_bytes(eif.image())
    done = subprocess.run([PROGRAMS / "posternctl", "eif", "measure", "--json", folder / "app.eif"], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == eif.measurements()
    with Sim(folder=folder, nsm=[{"eif": str(folder / "app.eif")}]) as one, one.nsm() as nsm:
        pcrs = parse_document(nsm.attest())["pcrs"]
    assert {f"PCR{number}": pcrs[number].hex() for number in range(3)}.items() <= eif.measurements()["Measurements"].items()


def test_many_callers_at_once(sim, recipient):
    """Each gets what is its own, while keys come and policies change."""
    with sim.nsm() as nsm:
        field = recipient.field(nsm)
    blobs = {number: b64(sim.encrypt(b"%d" % number, "open")) for number in range(6)}
    failures = []

    def work(number):
        try:
            with contextlib.closing(Kept(sim)) as kept, sim.nsm() as own:
                for turn in range(8):
                    answer = sim.call("Decrypt", {"CiphertextBlob": blobs[number]}, APP, kept)
                    assert base64.b64decode(answer["Plaintext"]) == b"%d" % number
                    sim.call("GenerateDataKey", {"KeyId": "data", "KeySpec": "AES_256", "Recipient": field}, APP, kept)
                    sim.call("PutKeyPolicy", {"KeyId": "data", "Policy": json.dumps(ATTESTED)}, connection=kept)
                    if turn % 4 == 0:
                        sim.call("CreateKey", {}, connection=kept)
                    assert own.attest(nonce=b"%d" % number)
        except Exception as failure:
            failures.append(failure)
    threads = [threading.Thread(target=work, args=(number,)) for number in blobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
