"""What of other people's the tests use where it is: AWS's SDK for JavaScript, boto3, and moto's server. `scripts/sdks` installs them into
build/; none is a package of Debian's, and without it the tests that want it are skipped."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from postern import REPOSITORY

NODE = shutil.which("node")
SDK = pathlib.Path(os.environ.get("POSTERN_SDK", REPOSITORY / "build/sdk"))
BOTO = pathlib.Path(os.environ.get("POSTERN_BOTO", REPOSITORY / "build/boto/bin/python"))


MOTO_AT_LEAST = (5, 2, 5)  # those before it sum up an escaped path as what it means, and so refuse right signatures


def find_moto():
    """The one that is named, the one of scripts/sdks, or the one on PATH, if the Python beside it says that it is new enough."""
    named = os.environ.get("POSTERN_MOTO")
    own = pathlib.Path(named or REPOSITORY / "build/moto/bin/moto_server")
    other = shutil.which("moto_server")
    if named or own.exists() or not other:
        return own
    python = pathlib.Path(other).with_name("python3")
    said = subprocess.run([python, "-c", "import importlib.metadata as m; print(m.version('moto'))"], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, check=False).stdout if python.exists() else ""
    return pathlib.Path(other) if tuple(map(int, re.findall(r"\d+", said))) >= MOTO_AT_LEAST else own


MOTO = find_moto()

needs_javascript = pytest.mark.skipif(not NODE or not (SDK / "node_modules/@aws-sdk/client-kms").exists(),
                                      reason="there is no Node" if not NODE else f"there is no AWS SDK for JavaScript at {SDK}: run scripts/sdks javascript")
needs_boto = pytest.mark.skipif(not BOTO.exists(), reason=f"there is no Python with boto3 at {BOTO}: run scripts/sdks boto3")
needs_moto = pytest.mark.skipif(not MOTO.exists(), reason=f"there is no moto_server at {MOTO}, nor a new one on PATH: run scripts/sdks moto")
