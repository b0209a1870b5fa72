"""What cannot be written to standard output is told by every program, and is no success."""
import subprocess

import pytest

from postern import PATIENCE, PROGRAMS

CONFIG = """version: 1
listeners:
  in: {listen: "tcp://127.0.0.1:1", route: out, allow: any}
routes:
  out: {type: relay, to: "tcp://127.0.0.1:2"}
"""
COMMANDS = ["posternd --version", "posternd --help", "posternd --check --config CONFIG", "posternctl --version", "posternctl --help", "posternctl top --help",
            "posternctl explain", "posternctl --json explain", "posternctl explain --enclave a --route b --config CONFIG --json", "postern --version",
            "postern --help", "postern ping --help", "postern-sim --version", "postern-sim --help"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk(tmp_path, command):
    program, *arguments = command.split()
    if not (PROGRAMS / program).exists():
        pytest.skip(f"{program} is not built")
    (tmp_path / "config").write_text(CONFIG)
    arguments = [str(tmp_path / "config") if word == "CONFIG" else word for word in arguments]
    with open("/dev/full", "wb") as full:
        done = subprocess.run([PROGRAMS / program, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and done.stderr == f"{program}: cannot write the output: No space left on device\n", done.stderr


def test_top_tells_why(relay):
    """It writes again and again, and what is told is why the first of that failed."""
    address = f"unix://{relay('tcp://127.0.0.1:1').admin}"
    with open("/dev/full", "wb") as full:
        done = subprocess.run([PROGRAMS / "posternctl", "--socket", address, "top", "--interval", "10ms"], stdout=full, stderr=subprocess.PIPE,
                              text=True, timeout=PATIENCE)
    assert done.returncode == 1 and done.stderr == "posternctl: cannot write the output: No space left on device\n", done.stderr
