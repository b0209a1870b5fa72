"""The examples with their enclaves as guests have them: over real AF_VSOCK, by the addresses that stand in their own files. The tests are
those of tests/system/test_examples.py; here are the ones in which something crosses the vsock that matters."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

from test_examples import (  # noqa: E402, F401
    pii, signing, test_aggregates_leave_and_nothing_else, test_another_image_is_refused, test_others_requests_are_not_signed,
    test_the_intersection_leaves_and_the_lists_never, test_the_key_signs_and_survives_a_restart, world)
