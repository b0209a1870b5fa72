"""The examples with their enclaves as guests have them: over real AF_VSOCK, by the addresses that stand in their own files, in a root that has
what the image has and no more, without a network interface, and with `postern run` as process 1 (tests/lib/room.py). The tests are those of
tests/system/test_examples.py in which something crosses the vsock that matters, and those of what must not cross it."""
import contextlib
import json
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

from postern import wait_until  # noqa: E402
from scenario import Scenario  # noqa: E402
from test_examples import (  # noqa: E402, F401
    pii, signing, test_aggregates_leave_and_nothing_else, test_another_image_is_refused, test_others_requests_are_not_signed,
    test_the_intersection_leaves_and_the_lists_never, test_the_key_signs_and_survives_a_restart,
    test_without_an_attestation_nobody_decrypts, test_without_an_nsm_there_is_nothing)

PROBE = r"""
import errno, json, os, socket, sys
told = {"init": os.getppid(), "root": sorted(os.listdir("/")), "programs": sorted(os.listdir("/usr/bin")), "interfaces": [name for _, name in socket.if_nameindex()]}
told["mounted"] = os.path.exists("/dev/null") and os.path.exists("/proc/self")
with socket.socket() as one:
    told["tcp"] = errno.errorcode[one.connect_ex(("127.0.0.1", int(sys.argv[1])))]
try:
    open("/usr/lib/mine", "w")
except OSError as error:
    told["write"] = errno.errorcode[error.errno]
print(json.dumps(told), flush=True)
"""


@pytest.fixture
def world():
    with contextlib.ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(Scenario(*arguments, **{"transport": "vsock", "room": True, **options}))


def test_the_enclave_has_nothing_but_vsock(world):
    """What is told here came by vsock too: its log."""
    one = world("pii-aggregate")
    port = one.sim.kms_address.rpartition(":")[2]  # which listens on the machine's loopback interface
    one.command[one.command.index("--") + 1:] = ["/usr/bin/python3", "-c", PROBE, port]
    assert one.enclave().wait() == 0
    told = json.loads(wait_until(lambda: one.enclave_log(), what="what the enclave found")[0])
    assert told["init"] == 1 and told["mounted"] and told["interfaces"] == ["lo"]
    assert told["tcp"] == "ECONNREFUSED" and told["write"] == "EROFS"
    assert told["programs"] == ["postern", "python3"]
    assert set(told["root"]) <= {"app", "dev", "etc", "lib", "lib64", "proc", "run", "sys", "tmp", "usr"}
