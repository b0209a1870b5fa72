"""The demonstration of the whole scenario: that it runs to its end, and says what it must. It checks itself; scripts/demo as a whole is run on a
fresh machine."""
import os
import re
import subprocess

from postern import BUILD, PATIENCE, REPOSITORY


def test_the_scenario():
    done = subprocess.run([REPOSITORY / "scripts/demo-scenario"], text=True, capture_output=True, timeout=3 * PATIENCE, check=False,
                          env={**os.environ, "POSTERN_BUILD": str(BUILD)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\n +0 of the 297 names, addresses and dates of birth are in there", done.stdout)
    assert "\n  KMS          GenerateDataKey by data-owner, without an attestation: done\n" in done.stdout
    assert len(re.findall(r"AccessDeniedException\n", done.stdout)) == 5
    assert len(done.stdout.splitlines()) < 60
