"""What the tests of postern-sim share: one that a module's tests have together, and whose faults end with each of them."""
import base64

import pytest

from sim import APP, ATTESTED, OWNED, PCR0, ROLE, KmsError, Recipient, Sim, allow, policy


def b64(data):
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def sim():
    keys = [{"id": "data", "alias": "alias/data", "policy": ATTESTED},
            {"id": "open", "policy": policy(allow("*"))},
            {"id": "rsa", "spec": "RSA_2048", "policy": policy(allow("*"))},
            {"id": "agree", "spec": "ECC_NIST_P384", "policy": policy(allow("*"))}]
    nsm = [{"pcrs": {"0": PCR0}, "role_arn": ROLE}, {"pcrs": {"0": "cd" * 48}, "shape": "indefinite"}, {"pcrs": {"0": PCR0}, "debug": True},
           {"pcrs": {"0": PCR0}, "shape": "tagged", "instance_id": "i-other"}]
    with Sim(keys=keys, nsm=nsm, credentials=[APP, OWNED, {**OWNED, "access_key_id": "AKIAEXPIRED", "session_token": "t", "expires": 1}]) as one:
        yield one


@pytest.fixture(scope="module")
def recipient(tmp_path_factory):
    return Recipient(tmp_path_factory.mktemp("recipient"))


@pytest.fixture(autouse=True)
def nothing_left(request):
    yield
    if "sim" in request.fixturenames:
        one = request.getfixturevalue("sim")
        one.control("DELETE", "/faults")
        one.set_clock(0)


def refused(sim, operation, body, who=OWNED, **options):
    with pytest.raises(KmsError) as caught:
        sim.call(operation, body, who, **options)
    return caught.value
