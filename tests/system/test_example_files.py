"""The files of the examples, as far as a machine without AWS can tell: every one is parsed by what will read it, and what is made from others
is made again. That they do what they are for is in test_examples.py."""
import fnmatch
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

import eif
from postern import PATIENCE, PROGRAMS, REPOSITORY, cached
from scenario import EXAMPLES, PARENT_ROLE, Dockerfile, Scenario
from test_client import instrumentation
from test_kms_library import InstalledKms

needs_compiler = pytest.mark.skipif("POSTERN_IN_VM" in os.environ, reason="the virtual machine has no compiler")

NAMES = sorted(Scenario.KINDS)
ENVIRONMENT = {**os.environ, "PATH": f"{PROGRAMS}:/usr/bin:/bin"}


def run(*command, **options):
    return subprocess.run([str(part) for part in command], text=True, capture_output=True, timeout=PATIENCE, env=ENVIRONMENT, check=False, **options)


# ---- The parent ----

@pytest.mark.parametrize("name", NAMES)
def test_the_daemon_takes_the_configuration(name):
    done = run(PROGRAMS / "posternd", "--check", "--config", EXAMPLES / name / "parent/postern.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_the_daemon_has_the_secrets_that_its_configuration_names(name):
    asked = set(re.findall(r"\$\{credential:([\w-]+)\}", (EXAMPLES / name / "parent/postern.yaml").read_text()))
    drop_ins = "".join(path.read_text() for path in (EXAMPLES / name / "parent").glob("*.conf"))
    assert set(re.findall(r"(?m)^LoadCredential=([\w-]+):/etc/postern/\1$", drop_ins)) == asked


@pytest.mark.parametrize("name", NAMES)
def test_systemd_understands_the_units(name, tmp_path):
    """As in test_units.py, with nitro-cli's and our own programs left out, which are not installed here; a drop-in beside its unit."""
    parent = EXAMPLES / name / "parent"
    services = [REPOSITORY / "systemd/postern.service", *parent.glob("*.service")]
    for file in services:
        text = re.sub(r"(?m)^(Exec\w+)=.*$", r"\1=/bin/true", file.read_text())
        (tmp_path / file.name).write_text(re.sub(r"(?m)^Documentation=.*$", "", text))
    for file in parent.glob("*.conf"):
        (tmp_path / "postern.service.d").mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / "postern.service.d")
    for file in services:
        done = run("systemd-analyze", "verify", "--man=no", tmp_path / file.name)
        said = [line for line in done.stderr.splitlines() if str(tmp_path) in line or file.name in line]
        assert not said, "\n".join(said)


@pytest.mark.parametrize("name", NAMES)
def test_the_enclave_is_started_with_the_cid_that_the_daemon_knows(name):
    cid, = set(re.findall(r"\{cid: (\d+)", (EXAMPLES / name / "parent/postern.yaml").read_text()))
    service, = (EXAMPLES / name / "parent").glob("*.service")
    command, = re.findall(r"(?m)^ExecStart=/usr/bin/nitro-cli run-enclave (.*)$", service.read_text())
    options = dict(re.findall(r"--([\w-]+) (\S+)", command))
    assert options["enclave-cid"] == cid
    assert set(options) == {"enclave-name", "enclave-cid", "cpu-count", "memory", "eif-path"}


# ---- The enclave ----

INSTRUCTIONS = {"ARG", "FROM", "RUN", "COPY", "WORKDIR", "ENTRYPOINT", "CMD"}
MADE = {"signer": {"examples/signer/enclave/requester.pem"}}  # by a command of the README


@pytest.mark.parametrize("name", NAMES)
def test_the_dockerfile(name, tmp_path):
    """Each instruction is one, what is copied is there, and shell commands are well-formed. It is built from the top of the sources, where
    .dockerignore may take nothing away that is copied."""
    image = Dockerfile(EXAMPLES / name / "enclave/Dockerfile")
    assert {word for word, _ in image.lines} <= INSTRUCTIONS
    stages = {match[1] for word, rest in image.lines if word == "FROM" and (match := re.search(r" AS (\w+)$", rest))}
    for word, rest in image.lines:
        if word == "COPY":
            stage = re.match(r"--from=(\w+) ", rest)
            assert stage is None or stage[1] in stages
            for source in [] if stage else rest.split()[:-1]:
                assert (REPOSITORY / source).exists() or source in MADE.get(name, ()), source
        elif word == "RUN":
            done = run("bash", "-n", "-c", rest)
            assert done.returncode == 0, done.stderr
        elif word in ("ENTRYPOINT", "CMD"):
            assert all(isinstance(part, str) for part in json.loads(rest))


@pytest.mark.parametrize("name", NAMES)
def test_no_secret_of_the_reader_goes_to_docker(name):
    """The READMEs' commands are run from the top of the sources, which is what an image is built from."""
    readme = (EXAMPLES / name / "README.md").read_text()
    left = re.findall(r"(?<=-out )\S+\.key|[\w-]+-token(?= /| [\w-]+-token)|[\w.-]+\.eif\b|[\w.-]+\.sealed(?=$| s3:)", readme, re.MULTILINE)
    ignored = [line for line in (REPOSITORY / ".dockerignore").read_text().split() if "*" in line]
    assert left and all(any(fnmatch.fnmatch(file, pattern) for pattern in ignored) for file in left), left


@pytest.mark.parametrize("name", NAMES)
def test_the_image_has_what_its_command_names(name):
    image = Dockerfile(EXAMPLES / name / "enclave/Dockerfile")
    for part in image.command:
        if part.startswith("/"):
            assert part in image.copies, part
    assert image.command[:2] == ["/usr/bin/postern", "run"]
    for target, (built, source) in image.copies.items():
        if target.startswith("/app/") and not built and not source.endswith(".pem"):
            assert os.access(REPOSITORY / source, os.X_OK), source


# What the base image has anyway, and whose library is in which of Debian's packages.
IN_THE_BASE = {"libc", "libz", "ld-linux-x86-64"}
PACKAGES = {"libcbor": "libcbor0.8", "libjansson": "libjansson4", "libssl": "libssl3", "libcrypto": "libssl3"}


def needed(program):
    return {name.partition(".so")[0] for name in re.findall(r"NEEDED\s+(\S+)", run("objdump", "-p", program).stdout)}


@needs_compiler
@pytest.mark.skipif(bool(cached("POSTERN_SANITIZE")), reason="a sanitizer's library is in no image")
@pytest.mark.parametrize("name", NAMES)
def test_the_image_has_the_libraries_of_its_programs(name):
    image = (EXAMPLES / name / "enclave/Dockerfile").read_text()
    if "FROM scratch" in image:  # into which go those that are found
        assert {f" {target} " in re.search(r"ldd(.*)\|", image)[1] for target in ("/stage/usr/bin/postern", "/app/signer")} == {True}
        return
    for library in needed(PROGRAMS / "postern") - IN_THE_BASE:
        assert f" {PACKAGES[library]} " in image, library


@needs_compiler
def test_the_signer_is_built_as_its_image_does(tmp_path):
    """By the Dockerfile's own command, against what is installed."""
    installed = InstalledKms(tmp_path / "prefix")
    image = Dockerfile(EXAMPLES / "signer/enclave/Dockerfile")
    command, = [rest for word, rest in image.lines if word == "RUN" and "cc " in rest]
    command = command.replace(" /app", f" {tmp_path}/app").replace(
        "cc ", f"{cached('CMAKE_C_COMPILER')} -I{installed.prefix}/include -L{installed.libraries} {' '.join(instrumentation())} ", 1)
    done = run("bash", "-euo", "pipefail", "-c", command, cwd=REPOSITORY)
    assert done.returncode == 0 and "warning" not in done.stderr, done.stderr
    done = run(tmp_path / "app/signer")
    assert done.returncode == 2 and "usage: " in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_the_settings_of_the_init_are_taken(name):
    """With a program that is not there: the settings are judged before it is looked for."""
    done = run(PROGRAMS / "postern", "--connect", "unix:///nowhere", "run", "--config", EXAMPLES / name / "enclave/run.conf",
               "--set", "clock_wait=0s", "--set", "log_flush=0s", "--", "/nowhere/at/all")
    assert done.returncode == 127, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_the_enclave_uses_only_routes_that_it_may(name):
    config = (EXAMPLES / name / "parent/postern.yaml").read_text()
    allowed = set(re.search(r"allow: \{\w+: \[([^]]*)\]", config)[1].split(", "))
    conf = (EXAMPLES / name / "enclave/run.conf").read_text()
    assert set(re.findall(r"(?m)^(?:log|time) += (\w+)$", conf)) <= allowed
    assert {"kms", "imds"} <= allowed  # the library's defaults


# ---- The keys ----

POLICIES = {
    "pii-aggregate": [("owner", "", "Decrypt")],
    "multi-party": [("owners", "red-", "Decrypt"), ("owners", "blue-", "Decrypt")],
    "signer": [("owner", "", "Decrypt,GenerateDataKeyPair")],
}
EACH = [pytest.param(name, *which, id=f"{name}{which[1] and '-' + which[1][:-1]}") for name in NAMES for which in POLICIES[name]]


@pytest.mark.parametrize("name, folder, prefix, actions", EACH)
def test_the_key_policy_is_what_the_readme_makes(name, folder, prefix, actions):
    files = EXAMPLES / name / folder
    done = run(EXAMPLES / "key-policy", files / f"{prefix}administration.json", "--measurements", files / "measurements.json",
               "--role-arn", PARENT_ROLE, "--action", actions)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads((files / f"{prefix}key-policy.json").read_text())


@pytest.mark.parametrize("name, folder, prefix, actions", EACH)
def test_the_key_policy_lets_only_the_enclave_decrypt(name, folder, prefix, actions):
    files = EXAMPLES / name / folder
    measured = ["--measurements", files / "measurements.json", "--role-arn", PARENT_ROLE]
    done = run(PROGRAMS / "posternctl", "policy", "explain", files / f"{prefix}key-policy.json", *measured, "--principal", PARENT_ROLE)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(run(PROGRAMS / "posternctl", "policy", "explain", files / f"{prefix}key-policy.json", *measured, "--json").stdout)
    for one in told["principals"]:
        decrypt = {caller: operations["Decrypt"] for caller, operations in one["callers"].items()}
        attested = "allowed" if one["principal"] == PARENT_ROLE else "refused"
        assert decrypt == {"unattested": "refused", "attested": attested, "other_image": "refused", "debug": "refused"}, one["principal"]


def test_a_key_policy_of_measurements_that_are_none(tmp_path):
    (tmp_path / "m.json").write_text('{"Measurements": {"PCR0": "' + "0" * 96 + '"}}')
    files = EXAMPLES / "pii-aggregate/owner"
    done = run(EXAMPLES / "key-policy", files / "administration.json", "--measurements", tmp_path / "m.json", "--role-arn", PARENT_ROLE)
    assert done.returncode == 1 and not done.stdout and "zero" in done.stderr


# ---- The READMEs ----

def blocks(name):
    return re.findall(r"(?ms)^```sh\n(.*?)^```$", (EXAMPLES / name / "README.md").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_of_the_readme_are_well_formed(name):
    assert blocks(name)
    for block in blocks(name):
        done = run("bash", "-n", "-c", block)
        assert done.returncode == 0, f"{block}{done.stderr}"


# What a machine without AWS lacks, and what must not be done to this one. Each tells what it was asked; nitro-cli writes a small image.
STAND_INS = {
    "aws": 'case "$*" in *create-key*) echo arn:aws:kms:us-east-1:111122223333:key/11112222-3333-4444-5555-666677778888;; esac',
    "docker": ":",
    "nitro-cli": f'case "$1" in build-enclave) exec /usr/bin/python3 "{REPOSITORY}/tests/lib/eif.py" "${{@: -1}}";; esac',
    "sudo": ":",
    "postern": ":",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_of_the_readme_run(name, tmp_path):
    """All of them in their order, in a copy of the sources: ours for real where they need nobody else, others by stand-ins."""
    programs, sources = tmp_path / "bin", tmp_path / "sources"
    programs.mkdir()
    shutil.copytree(EXAMPLES, sources / "examples")
    for program, script in STAND_INS.items():
        (programs / program).write_text(f'#!/bin/bash\necho "{program} $*" >>"$TOLD"\n{script}\n')
        (programs / program).chmod(0o755)
    text = "\n".join(blocks(name)).replace("--config /etc/postern/postern.yaml", f"--config examples/{name}/parent/postern.yaml")
    text = re.sub(r"(?m)^(examples/signer/client/\S+) 127.0.0.1.*$", r"\1 --help", text)  # there is no signer
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], cwd=sources, text=True, capture_output=True, timeout=PATIENCE, check=False,
                          stdin=subprocess.DEVNULL, env={**ENVIRONMENT, "PATH": f"{programs}:{ENVIRONMENT['PATH']}",
                                                         "TOLD": str(tmp_path / "told"), "HOME": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    told = (tmp_path / "told").read_text()
    for file in re.findall(r"\bexamples/[\w./-]+", told + text):
        assert (sources / file).exists(), file
    assert "nitro-cli build-enclave" in told and "aws kms put-key-policy" in told
    # From the image to its measurements, and from those to the policies that name them.
    measured = eif.measurements()
    assert json.loads((sources / "measurements.json").read_text()) == measured
    policies = list(sources.glob("*key-policy.json"))
    assert len(policies) == len(POLICIES[name])
    assert all(f'"kms:RecipientAttestation:PCR0": "{measured["Measurements"]["PCR0"]}"' in policy.read_text() for policy in policies)
    installed = set(re.findall(r"sudo install .*?(examples/\S+)", told))
    assert {f"examples/{name}/parent/{path.name}" for path in (EXAMPLES / name / "parent").iterdir()} <= installed


@pytest.mark.parametrize("file", sorted(EXAMPLES.rglob("README.md")), ids=lambda path: path.parent.name)
def test_the_links_of_the_readme_lead_somewhere(file):
    for link in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", file.read_text()):
        assert "://" in link or (file.parent / link).exists(), link


@pytest.mark.parametrize("name", NAMES)
def test_the_same_names_everywhere(name):
    """A reader puts its own in by replacing one text: the region, the key and the role are the same in all files."""
    for path in (EXAMPLES / name).rglob("*"):
        if path.is_file() and path.suffix in (".md", ".json", ".yaml", ".conf", ".service", ""):
            text = path.read_text()
            assert set(re.findall(r"\b[a-z]{2}-[a-z]+-\d\b", text)) <= {"us-east-1"}, path
            keys = set(re.findall(r"arn:aws:kms:[\w-]+:(\d+):key/([\w-]+)", text))
            assert all(key == f"{account[:8]}-3333-4444-5555-666677778888" for account, key in keys), path


def test_no_example_is_forgotten():
    assert {path.parent.name for path in EXAMPLES.glob("*/README.md")} == set(NAMES)
    assert pathlib.Path(EXAMPLES / "README.md").exists()
