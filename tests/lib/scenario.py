"""The examples' parties on one machine, each example as its own files have it: the enclave by its Dockerfile's command, the parent by
its postern.yaml, the keys by their policies. Only addresses and names of hosts are put in, and software stands for AWS: postern-sim for
KMS, the NSM and the metadata service, a server in memory for S3 and the stores.

    with Scenario("pii-aggregate") as world:
        world.seal("people.csv", ...)
        assert world.enclave().wait() == 0
        world.stores["results.example.com"].requests

Everything that the parent has, or that is on the wire, is recorded: `world.parent_saw()`. Used by the system tests, by those in the virtual
machine, and by scripts/demo, so nothing of pytest is here.
"""
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile

from http_peers import Store
from postern import FINDING, PATIENCE, PROGRAMS, REPOSITORY, Daemon, free_port, wait_until
from recorder import Recorder
from simulator import Simulator

EXAMPLES = REPOSITORY / "examples"
PARENT_ROLE = "arn:aws:iam::111122223333:role/enclave-parent"
REGION = "us-east-1"
KMS_HOST = f"kms.{REGION}.amazonaws.com"


def put(text, changes):
    """The text with each of the first put in the place of the second. All of them are to be there."""
    for old, new in changes.items():
        assert old in text, f"{old} is not in:\n{text}"
        text = text.replace(old, new)
    return text


def pcr_of(text):
    """What a PCR is after the one measurement of a role, or of an instance."""
    return hashlib.sha384(bytes(48) + text.encode()).hexdigest()


def measured(file):
    """The PCRs of an enclave of these measurements, whose parent has the role."""
    found = json.loads(file.read_text())["Measurements"]
    return {number: found[f"PCR{number}"] for number in "012"} | {"3": pcr_of(PARENT_ROLE)}


class Shelf:
    """A server that keeps what is put, tells it again, and takes what is posted; of one host, or of any number of them."""

    def __init__(self):
        self.things, self.requests, self.status = {}, [], None
        self.server = Store(self._reply)
        self.address = f"tcp://127.0.0.1:{self.server.port}"

    def _reply(self, seen):
        self.requests.append(seen)
        if self.status is not None:
            return self.status, {}, b""
        if seen.method == "GET":
            thing = self.things.get(seen.path)
            return (404, {}, b"") if thing is None else (200, {}, thing)
        if seen.method == "PUT":
            if seen.path in self.things and seen.values("if-none-match") == ["*"]:
                return 412, {}, b""
            self.things[seen.path] = seen.body
        return 201, {}, b""

    def close(self):
        self.server.close()


class Dockerfile:
    """As much of one as is needed to run what it would: its last stage's copies and command."""

    def __init__(self, file):
        text = re.sub(r"(?m)^\s*#.*\n", "", file.read_text()).replace("\\\n", " ")
        self.lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
        last = max(index for index, (word, _) in enumerate(self.lines) if word == "FROM")
        self.copies = {}
        for word, rest in self.lines[last:]:
            if word == "COPY":
                source, target = rest.split()[-2:]
                self.copies[target + pathlib.PurePath(source).name if target.endswith("/") else target] = (rest.startswith("--from="), source)
        self.command = [part for word, rest in self.lines[last:] if word in ("ENTRYPOINT", "CMD") for part in json.loads(rest)]


class Enclave:
    """The enclave's side: what the image would start, with options at the end that are for tests alone."""

    def __init__(self, world, options=(), pcrs="measured", environment=None):
        name = world.folder / f"enclave-{len(world.enclaves)}"
        self.out_file, self.err_file = name.with_suffix(".out"), name.with_suffix(".err")
        sets = [f"--set={key}={value}" for key, value in {"log_flush": "1m", "clock_wait": "0s"}.items()]
        command = list(world.command)
        command[command.index("--"):command.index("--")] = sets
        if pcrs is not None:
            command += ["--insecure-nsm", world.sim.nsm[pcrs]]
        with open(self.out_file, "wb") as out, open(self.err_file, "wb") as err:
            self.process = subprocess.Popen(
                [*map(str, command), *options], stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
                env={**world.environment, "POSTERN_ADDRESS": world.door, **(environment or {})})

    def wait(self):
        return self.process.wait(PATIENCE)

    def out(self):
        return self.out_file.read_text(errors="replace")

    def err(self):
        return self.err_file.read_text(errors="replace")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def finish(self):
        problems = []
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
                problems.append(f"the enclave did not end:\n{self.err()}")
        if FINDING.search(self.err()):
            problems.append(f"a sanitizer found something:\n{self.err()}")
        return problems


class Scenario:
    """transport: what stands for the vsock between enclave and parent: unix, tcp, hybrid, or in the virtual machine vsock."""

    # Of each example: the enclave's name, keys with the files of their policies, and whose credentials there are.
    KINDS = {
        "pii-aggregate": {"enclave": "pii", "measurements": "owner/measurements.json",
                          "keys": {"111122223333": "owner/key-policy.json"}},
        "multi-party": {"enclave": "multi", "measurements": "owners/measurements.json",
                        "keys": {"222222222222": "owners/red-key-policy.json", "333333333333": "owners/blue-key-policy.json"}},
        "signer": {"enclave": "signer", "measurements": "owner/measurements.json",
                   "keys": {"111122223333": "owner/key-policy.json"}},
    }

    def __init__(self, example, transport="unix", policies=None):
        self.name, self.files, self.kind = example, EXAMPLES / example, self.KINDS[example]
        self.transport = transport
        self.policies = policies or {}  # by account, instead of the example's
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-"))
        self.folder.chmod(0o755)
        self.stores, self.recorders, self.enclaves = {}, {}, []
        self.daemon = self.sim = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    # ---- AWS, and the stores ----

    def _start(self):
        pcrs = measured(self.files / self.kind["measurements"])
        keys = {account: json.loads((self.files / file).read_text()) for account, file in self.kind["keys"].items()}
        self.sim = Simulator(self.folder / "sim", {**keys, **self.policies}, nsm={
            "measured": pcrs,
            "another image": {**pcrs, "0": hashlib.sha384(b"another").hexdigest()},
            "another role": {**pcrs, "3": pcr_of(PARENT_ROLE + "-of-somebody-else")},
            "debug": {**pcrs, "0": "0" * 96, "1": "0" * 96, "2": "0" * 96},
        }, instance_role=PARENT_ROLE)
        self.environment = {
            "PATH": f"{PROGRAMS}:/usr/bin:/bin", "SSL_CERT_FILE": str(self.sim.ca), "HOME": str(self.folder),
            **{name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS") or name == "LD_LIBRARY_PATH"}}
        self._record("kms", self.sim.kms)
        self._record("imds", self.sim.metadata)
        self._start_parent()
        image = Dockerfile(self.files / "enclave/Dockerfile")
        paths = {target: source for target, (built, source) in image.copies.items() if not built}
        self.command = [self._place(part, paths) for part in image.command]
        self.command[1:1] = ["--connect", self.door]

    def _record(self, name, address, at="tcp://127.0.0.1:0"):
        self.recorders[name] = Recorder(address, at)
        return self.recorders[name].address

    def _place(self, part, paths):
        """Where a file of the image is here."""
        if part in paths:
            here = self.folder / "image" / pathlib.PurePath(part).name
            return here if here.exists() else REPOSITORY / paths[part]
        if part == "/usr/bin/postern":
            return PROGRAMS / "postern"
        if part.startswith("/app/"):
            return next(path for path in (PROGRAMS.parent / "examples" / part[5:], REPOSITORY / "build/examples" / part[5:]) if path.exists())
        return self.listening.get(part, part)

    # ---- The parent ----

    def _start_parent(self):
        config = (self.files / "parent/postern.yaml").read_text()
        hosts = sorted(set(re.findall(r"to: https://([^/\s]+)", config)))
        changes = {}
        for host in hosts:
            self.stores[host] = Shelf()
            changes[f"https://{host}"] = self._record(host, self.stores[host].address).replace("tcp:", "http:")
        changes["tcp://" + KMS_HOST + ":443"] = self.recorders["kms"].address
        changes["tcp://169.254.169.254:80"] = self.recorders["imds"].address
        enclave = self.kind["enclave"]
        door, dial = {
            "unix": lambda: (f"unix://{self.folder}/door", f"unix://{self.folder}/door"),
            "tcp": lambda: (address := f"tcp://127.0.0.1:{free_port()}", address),
            "hybrid": lambda: (f"hybrid://{self.folder}/door:7000", f"unix://{self.folder}/door_7000"),
            "vsock": lambda: ("vsock://any:7000", "vsock://local:7000"),
        }[self.transport]()
        self.listening = {}
        if self.transport == "vsock":
            config = re.sub(r"cid: \d+", "cid: local", config)
        else:
            changes["listen: vsock://any:7000"] = f"peer: {enclave}\n    listen: {door}"
        if "tcp://0.0.0.0:9443" in config:
            self.ingress = f"tcp://127.0.0.1:{free_port()}"
            changes["tcp://0.0.0.0:9443"] = self.ingress
            if self.transport != "vsock":
                at = f"unix://{self.folder}/signing" if self.transport != "tcp" else f"tcp://127.0.0.1:{free_port()}"
                changes["vsock://signer:9443"] = at
                self.listening["vsock://any:9443"] = at
        secrets = self.folder / "credentials"
        secrets.mkdir(mode=0o700)
        self.tokens = {name: f"token-of-{name}-{os.urandom(6).hex()}" for name in re.findall(r"\$\{credential:([\w-]+)\}", config)}
        for name, token in self.tokens.items():
            (secrets / name).write_text(token + "\n")
        self.daemon = Daemon(text=put(config, changes), environment={
            "CREDENTIALS_DIRECTORY": str(secrets), "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "of-the-instance", "AWS_EC2_METADATA_DISABLED": "true"})
        with open(self.daemon.config_file, "a") as file:
            file.write(f"log: {{level: debug, format: json}}\nadmin: {{listen: \"unix://{self.daemon.admin}\"}}\n"
                       f"metrics: {{listen: none}}\nspool: {{path: {self.daemon.folder}/spool}}\n")
        self.daemon.start()
        at = {"tcp": "tcp://127.0.0.1:0", "vsock": "vsock://any:7001"}.get(self.transport, f"unix://{self.folder}/recorded")
        self.door = self._record("door", dial, at).replace("vsock://any", "vsock://local")

    def parent_saw(self):
        """All bytes on any wire of the parent's, what its daemon logged, and what it kept on its disk, by name."""
        kept = b"".join(path.read_bytes() for path in sorted(self.daemon.folder.glob("spool/*")) if path.is_file())
        return {**{name: one.seen() for name, one in self.recorders.items()}, "log": self.daemon.log().encode(), "spool": kept}

    def enclave_log(self, name="stdout"):
        return [event["line"] for event in self.daemon.events(event="enclave log", name=name)]

    # ---- What the parties do ----

    def postern(self, *arguments, role=None, account="111122223333", **options):
        """A command of `postern`, with the credentials of a role, by the way of its own to KMS."""
        keys = self.sim.credentials(role or f"arn:aws:iam::{account}:role/data-owner")
        return subprocess.run(["postern", *map(str, arguments)], env={**self.environment, "AWS_REGION": REGION, **keys}, capture_output=True,
                              timeout=PATIENCE, check=False, **options)

    def seal(self, source, account="111122223333", context=None, key=None):
        """By the data owner, outside of the enclave. Returns the sealed bytes."""
        target = self.folder / f"sealed-{os.urandom(4).hex()}"
        pairs = [part for name, value in (context or {}).items() for part in ("--context", f"{name}={value}")]
        run = self.postern("seal", "--no-attestation", *self.way(), "--key", key or self.key(account), *pairs, source, target, account=account)
        assert run.returncode == 0, run.stderr.decode()
        return target.read_bytes()

    def way(self):
        """To KMS, not through the daemon."""
        return ["--raw", self.sim.kms]

    def key(self, account="111122223333"):
        return self.sim.keys[account]

    def enclave(self, *options, **settings):
        self.enclaves.append(Enclave(self, options, **settings))
        return self.enclaves[-1]

    def delivered(self, host, count=1):
        """The requests at a store, once there are so many."""
        return wait_until(lambda: len(self.stores[host].requests) >= count and list(self.stores[host].requests), what=f"{count} requests at {host}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        problems = self.close()
        assert not problems, "\n".join(problems)

    def close(self):
        problems = [problem for one in self.enclaves for problem in one.finish()]
        if self.daemon is not None:
            problems += self.daemon.finish()
        for one in (*self.recorders.values(), *self.stores.values()):
            one.close()
        if self.sim is not None:
            problems += self.sim.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        return problems
