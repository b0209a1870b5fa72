"""The examples, with their enclaves' sides in the images that tests/docker/run has built of their Dockerfiles: in that root, without a network
interface, as process 1 (tests/lib/room.py). What crosses to the parent are unix sockets here. The tests are those of tests/system/test_examples.py
which need all that an image has to have."""
import contextlib
import json
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

from scenario import EXAMPLES, Dockerfile, Scenario  # noqa: E402
from test_examples import (  # noqa: E402, F401
    pii, signing, test_a_client_knows_whose_key_it_is, test_aggregates_leave_and_nothing_else, test_others_requests_are_not_signed,
    test_the_intersection_leaves_and_the_lists_never, test_the_key_signs_and_survives_a_restart, test_without_an_nsm_there_is_nothing)

if "POSTERN_IMAGES" not in os.environ:
    pytest.skip("tests/docker/run makes the images, and starts this", allow_module_level=True)
IMAGES, REQUESTER = pathlib.Path(os.environ["POSTERN_IMAGES"]), pathlib.Path(os.environ["POSTERN_REQUESTER"])


@pytest.fixture
def world():
    with contextlib.ExitStack() as stack:
        yield lambda name, **options: stack.enter_context(
            Scenario(name, **{**options, "transport": "unix", "room": (IMAGES / name).resolve(), "requester": REQUESTER if name == "signer" else None}))



@pytest.mark.parametrize("name", sorted(Scenario.KINDS))
def test_the_image_starts_what_its_dockerfile_says(name):
    config = json.loads((IMAGES / f"{name}.json").read_text())["OCIv1"]["config"]
    assert config["Entrypoint"] + config["Cmd"] == Dockerfile(EXAMPLES / name / "enclave/Dockerfile").command


@pytest.mark.parametrize("name", sorted(Scenario.KINDS))
def test_the_image_holds_nothing_that_others_may_change(name):
    """What was compiled, and what was downloaded, was left out; and nobody but root may write to what is there."""
    image = IMAGES / name
    assert not any(found for folder in ("src", "stage", "build") for found in image.glob(f"{folder}/*"))
    assert not list(image.glob("var/cache/apt/archives/*.deb"))
    for folder in ("app", "etc/postern", "usr/bin", "usr/lib"):
        for path in (image / folder).rglob("*"):
            assert path.is_symlink() or not path.stat().st_mode & 0o022, path
            assert path.lstat().st_uid == 0, path
