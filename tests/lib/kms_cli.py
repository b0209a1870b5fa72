"""The programs that call KMS, against postern-sim."""
import os
import pathlib
import subprocess

from postern import FINDING, PATIENCE, PROGRAMS

POSTERN, KMSTOOL = PROGRAMS / "postern", PROGRAMS / "kmstool_enclave_cli"
PATIENT = ("--timeout", "10m")


def plain_environment(**more):
    """Without what the machine may have of AWS's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "POSTERN_"))}
    return {**kept, "HOME": "/nonexistent", **more}


def run(*command, sim=None, who=None, environment=None, **options):
    """Runs one to its end, with what it is to find in its environment."""
    whole = plain_environment(**(sim.environment(*(who and [who] or [])) if sim else {}), **(environment or {}))
    options = {"capture_output": True, "stdin": None if "input" in options else subprocess.DEVNULL, **options}
    if options["stdin"] is None:
        del options["stdin"]
    done = subprocess.run([str(word) for word in command], timeout=PATIENCE, check=False, env=whole, **options)
    said = (done.stderr or b"").decode(errors="replace")
    if "--insecure-nsm" in command and done.returncode != 2:
        assert all(line.startswith(("postern: INSECURE: ", "INSECURE: ")) for line in said.splitlines()), said
    assert not FINDING.search(said) and "LeakSanitizer" not in said, said
    return done


def straight(sim, nsm=0):
    """The options that lead to the simulator without a daemon."""
    return ("--raw", sim.kms_address, "--ca-file", sim.ca, *PATIENT,
            *(("--insecure-nsm", sim.nsm_addresses[nsm]) if nsm is not None else ()))


def told(done, code):
    text = done.stderr.decode(errors="replace")
    assert done.returncode == code, (done.returncode, text)
    return text


def mode(path):
    return pathlib.Path(path).stat().st_mode & 0o777
