"""The examples' parties on one machine, each example as its own files have it: the enclave by its Dockerfile's command, the parent by
its postern.yaml, the keys by their policies. Only addresses and names of hosts are put in, and software stands for AWS: postern-sim for
KMS, the NSM and the metadata service, a server in memory for S3 and the stores.

    with Scenario("pii-aggregate") as world:
        world.seal("people.csv", ...)
        assert world.enclave().wait() == 0
        world.stores["results.example.com"].requests

Everything that the parent has, or that is on the wire, is recorded: `world.parent_saw()`. Used by the system tests, by those in the virtual
machine, by those of the built images, and by scripts/demo, so nothing of pytest is here.
"""
import base64
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
from postern import FINDING, PATIENCE, PROGRAMS, REPOSITORY, Daemon, built, free_port, wait_until
from recorder import Recorder
from room import Room
from sim import ACCOUNT, HOST, REGION, KmsError, Sim

EXAMPLES = REPOSITORY / "examples"
PARENT_ROLE = "arn:aws:iam::111122223333:role/enclave-parent"
KEYS = "-3333-4444-5555-666677778888"  # what the IDs of keys end in


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


def session_of(role, number):
    """The credentials of one who has taken on the role, as an instance has them."""
    account, name = re.fullmatch(r"arn:aws:iam::(\d+):role/(.+)", role).groups()
    return {"access_key_id": f"ASIAEXAMPLES{number:08}", "secret_access_key": os.urandom(20).hex(), "session_token": os.urandom(40).hex(),
            "principal": f"arn:aws:sts::{account}:assumed-role/{name}/session"}


def sealed_data_key(sealed):
    """The data key of a sealed file, as KMS encrypted it (docs/sealed.md)."""
    at = 44
    at += 2 + int.from_bytes(sealed[at:at + 2], "big")
    return sealed[at + 2:at + 2 + int.from_bytes(sealed[at:at + 2], "big")]


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
                if target == "/":
                    continue  # what programs need, as their Dockerfile found it
                self.copies[target + pathlib.PurePath(source).name if target.endswith("/") else target] = (rest.startswith("--from="), source)
        self.command = [part for word, rest in self.lines[last:] if word in ("ENTRYPOINT", "CMD") for part in json.loads(rest)]


class Enclave:
    """The enclave's side: what the image would start, with options at the end that are for tests alone."""

    def __init__(self, world, options=(), pcrs="measured", environment=None):
        self.daemon, name = world.daemon, world.folder / f"enclave-{len(world.enclaves)}"
        self.out_file, self.err_file = name.with_suffix(".out"), name.with_suffix(".err")
        sets = [f"--set={key}={value}" for key, value in {"log_flush": "1m", "clock_wait": "0s"}.items()]
        command = list(world.command)
        command[command.index("--"):command.index("--")] = sets
        if world.name != "signer":  # which takes its time
            command += ["--timeout", "10m"]
        if pcrs is not None:
            command += ["--insecure-nsm", world.nsm[pcrs]]
        command = [*map(str, command), *options]
        own = dict(world.environment)
        self.in_room = world.room is not None
        if self.in_room:
            del own["SSL_CERT_FILE"]  # what it trusts lies where its image has it
        with open(self.out_file, "wb") as out, open(self.err_file, "wb") as err:
            self.process = subprocess.Popen(
                world.room.command(command) if self.in_room else command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
                env={**own, "POSTERN_ADDRESS": world.door, **(environment or {})})

    def wait(self):
        """The exit code, once the daemon's log has all that the enclave said: the end of its session comes after it."""
        code = self.process.wait(PATIENCE)
        wait_until(lambda: len(self.daemon.events(event="session began")) == len(self.daemon.events(event="session ended")),
                   what="the end of the enclave's sessions")
        return code

    def out(self):
        return self.out_file.read_text(errors="replace")

    def err(self):
        return self.err_file.read_text(errors="replace")

    def terminate(self):
        first = Room.first(self.process) if self.in_room else self.process.pid
        if self.process.poll() is None and first is not None:
            os.kill(first, signal.SIGTERM)

    def stop(self):
        self.terminate()
        return self.wait()

    def finish(self):
        problems = []
        if self.process.poll() is None:
            self.terminate()
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
    """transport: what stands for the vsock between enclave and parent: unix, tcp, hybrid, or in the virtual machine vsock.

    room: nothing, and the enclave's side is a process among others, with the sources' own files; True, and it has a room.Room, with what its
    Dockerfile copies at its own place; or the folder of the root that was built by that, with the private key (requester) that goes with it.
    """

    # Of each example: the enclave's name, keys with the files of their policies, and whose credentials there are.
    KINDS = {
        "pii-aggregate": {"enclave": "pii", "measurements": "owner/measurements.json",
                          "keys": {"111122223333": "owner/key-policy.json"}},
        "multi-party": {"enclave": "multi", "measurements": "owners/measurements.json",
                        "keys": {"222222222222": "owners/red-key-policy.json", "333333333333": "owners/blue-key-policy.json"}},
        "signer": {"enclave": "signer", "measurements": "owner/measurements.json",
                   "keys": {"111122223333": "owner/key-policy.json"}},
    }

    def __init__(self, example, transport="unix", policies=None, room=None, requester=None):
        self.name, self.files, self.kind = example, EXAMPLES / example, self.KINDS[example]
        self.transport = transport
        self.policies = policies or {}  # by account, instead of the example's
        self.room, self.requester = room, requester
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
        self.policies = {**keys, **self.policies}
        roles = sorted({PARENT_ROLE}.union(*(re.findall(r"arn:aws:iam::\d+:role/[\w-]+", json.dumps(policy)) for policy in self.policies.values())))
        self.callers = {role: session_of(role, number) for number, role in enumerate(roles)}
        images = {
            "measured": pcrs,
            "another image": {**pcrs, "0": hashlib.sha384(b"another").hexdigest()},
            "another role": {**pcrs, "3": pcr_of(PARENT_ROLE + "-of-somebody-else")},
            "debug": {**pcrs, "0": "0" * 96, "1": "0" * 96, "2": "0" * 96},
        }
        self.sim = Sim(
            folder=self.folder, nsm=[{"pcrs": one} for one in images.values()], credentials=list(self.callers.values()),
            keys=[{"id": account[:8] + KEYS, "policy": policy} for account, policy in self.policies.items()],
            metadata_key=self.callers[PARENT_ROLE]["access_key_id"]).start()
        self.nsm = dict(zip(images, self.sim.nsm_addresses))
        self.environment = {
            "PATH": f"{PROGRAMS}:/usr/bin:/bin", "SSL_CERT_FILE": str(self.sim.ca), "HOME": str(self.folder),
            **{name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS") or name == "LD_LIBRARY_PATH"}}
        self._record("kms", self.sim.kms_address)
        self._record("imds", self.sim.metadata_address)
        self._start_parent()
        image = Dockerfile(self.files / "enclave/Dockerfile")
        places = {target: self._place(target, source, made) for target, (made, source) in image.copies.items()}
        self.room = self.room and self._furnish(places, image.command[image.command.index("--") + 1])
        self.command = [self._part(part, {} if self.room else places) for part in image.command]
        self.command[1:1] = ["--connect", self.door]

    def _furnish(self, places, app):
        """A room with what the image has, and with what stands for the NSM and the system's CAs; and unless there is vsock, with the way out and in."""
        if self.room is True:
            python = {"/usr/bin/python3": "/usr/bin/python3"} if places[app].suffix == ".py" else {}
            room = Room(self.folder / "root", {**places, **python}, borrow=[path for path in ("/usr/lib", "/usr/lib64") if os.path.isdir(path)])
        else:
            room = Room(self.room)
        for address in self.sim.nsm_addresses:
            room.put(address.removeprefix("unix://"))
        room.put(self.sim.ca, "/etc/ssl/certs/ca-certificates.crt")
        if self.transport != "vsock":
            room.put(self.door.removeprefix("unix://"))
        for at in self.listening.values():
            room.put(pathlib.Path(at.removeprefix("unix://")).parent)
        return room

    def _record(self, name, address, at="tcp://127.0.0.1:0"):
        self.recorders[name] = Recorder(address, at)
        return self.recorders[name].address

    def _place(self, target, source, made):
        """Where a file of the image is here."""
        if target == "/app/requester.pem":
            return self._make_requester()
        if not made:
            return REPOSITORY / source
        return PROGRAMS / "postern" if target == "/usr/bin/postern" else built(f"bin/example_{pathlib.PurePath(target).name}")

    def _part(self, part, places):
        """Of the image's command."""
        if part in places:
            return places[part]
        return re.sub(r"(arn:aws:kms:[\w-]+):\d+:key/", rf"\1:{ACCOUNT}:key/", self.listening.get(part, part))

    def _make_requester(self):
        """Whose requests the signer takes, as its README has it."""
        if self.requester:
            return None  # whose it is, is in the image already
        self.requester, public = self.folder / "requester.key", self.folder / "requester.pem"
        subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", self.requester], check=True, capture_output=True)
        subprocess.run(["openssl", "pkey", "-in", self.requester, "-pubout", "-out", public], check=True, capture_output=True)
        return public

    # ---- The parent ----

    def _start_parent(self):
        """The daemon by the example's own file; what it opens is in its own folder."""
        self.daemon = one = Daemon(text="")
        config = (self.files / "parent/postern.yaml").read_text()
        if self.transport == "vsock":
            config = re.sub(r"cid: \d+", "cid: local", config)
        changes = {**self._upstreams(config), **self._doors(config)}
        self.tokens = {name: f"token-of-{name}-{os.urandom(6).hex()}" for name in re.findall(r"\$\{credential:([\w-]+)\}", config)}
        secrets = one.folder / "credentials"
        secrets.mkdir()
        for name, token in self.tokens.items():
            (secrets / name).write_text(token + "\n")
        one.environment = {"CREDENTIALS_DIRECTORY": str(secrets), "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
                           "AWS_SECRET_ACCESS_KEY": "of-the-instance", "AWS_EC2_METADATA_DISABLED": "true"}
        one.config_file.write_text(put(config, changes) + (
            f"log: {{level: debug, format: json}}\nadmin: {{listen: \"unix://{one.admin}\"}}\nmetrics: {{listen: none}}\n"
            f"spool: {{path: {one.folder}/spool}}\n"))
        one.start()
        at = {"tcp": "tcp://127.0.0.1:0", "vsock": "vsock://any:7001"}.get(self.transport, f"unix://{self.folder}/recorded")
        self.door = self._record("door", self.dial, at).replace("vsock://any", "vsock://local")

    def _upstreams(self, config):
        """For each host of a forward route a server; and in front of everything that the parent connects to a recorder."""
        changes = {"tcp://" + HOST + ":443": self.recorders["kms"].address, "tcp://169.254.169.254:80": self.recorders["imds"].address}
        for host in re.findall(r"to: https://([^/\s]+)", config):
            self.stores[host] = Shelf()
            changes[f"https://{host}"] = self._record(host, self.stores[host].address).replace("tcp:", "http:")
        return changes

    def _doors(self, config):
        """The listeners, and what leads to the enclave."""
        folder, port = self.daemon.folder, free_port()
        door, self.dial = {
            "unix": (f"unix://{folder}/door", f"unix://{folder}/door"),
            "tcp": (f"tcp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port}"),
            "hybrid": (f"hybrid://{folder}/door:7000", f"unix://{folder}/door_7000"),
            "vsock": ("vsock://any:7000", "vsock://local:7000"),
        }[self.transport]
        changes, self.listening = {}, {}
        if self.transport != "vsock":
            changes["listen: vsock://any:7000"] = f"peer: {self.kind['enclave']}\n    listen: {door}"
        if "tcp://0.0.0.0:9443" in config:
            self.ingress = changes["tcp://0.0.0.0:9443"] = f"tcp://127.0.0.1:{free_port()}"
            if self.transport != "vsock":
                (self.folder / "signing").mkdir()
                at = f"tcp://127.0.0.1:{free_port()}" if self.transport == "tcp" else f"unix://{self.folder}/signing/door"
                changes["vsock://signer:9443"] = self.listening["vsock://any:9443"] = at
        return changes

    def parent_saw(self):
        """All bytes on any wire of the parent's, what its daemon logged, and what it kept on its disk, by name."""
        kept = b"".join(path.read_bytes() for path in sorted(self.daemon.folder.glob("spool/*")) if path.is_file())
        return {**{name: one.seen() for name, one in self.recorders.items()}, "log": self.daemon.log().encode(), "spool": kept}

    def enclave_log(self, name="stdout"):
        return [event["line"] for event in self.daemon.events(event="enclave log", name=name)]

    # ---- What the parties do ----

    def postern(self, *arguments, role=None, account="111122223333", **options):
        """A command of `postern`, with the credentials of a role, by the way of its own to KMS."""
        keys = self.sim.environment(self.callers[role or f"arn:aws:iam::{account}:role/data-owner"])
        return subprocess.run([PROGRAMS / "postern", *map(str, arguments)], env={**self.environment, **keys}, capture_output=True,
                              timeout=PATIENCE, check=False, **options)

    def seal(self, source, account="111122223333", context=None, key=None):
        """By the data owner, outside of the enclave. Returns the sealed bytes."""
        target = self.folder / f"sealed-{os.urandom(4).hex()}"
        pairs = [part for name, value in (context or {}).items() for part in ("--context", f"{name}={value}")]
        run = self.postern("seal", "--no-attestation", "--timeout", "10m", *self.way(), "--key", key or self.key(account), *pairs, source, target, account=account)
        assert run.returncode == 0, run.stderr.decode()
        return target.read_bytes()

    def way(self):
        """To KMS, not through the daemon."""
        return ["--raw", self.sim.kms_address]

    def key(self, account="111122223333"):
        return self.sim.key(account[:8] + KEYS)

    def decrypt_unattested(self, sealed, context, role):
        """What KMS answers to somebody who has the sealed file, the role's credentials, and no attestation: the error's name, or None."""
        request = {"CiphertextBlob": base64.b64encode(sealed_data_key(sealed)).decode(), "EncryptionContext": context}
        try:
            self.sim.call("Decrypt", request, self.callers[role])
        except KmsError as error:
            return error.type
        return None

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
            if self.daemon.process is not None and self.daemon.process.poll() is None and self.daemon.stop() != 0:
                problems.append(f"the daemon ended with {self.daemon.process.returncode}:\n{self.daemon.log()}")
            problems += self.daemon.finish()
        for one in (*self.recorders.values(), *self.stores.values()):
            one.close()
        if self.sim is not None:
            try:
                self.sim.finish()
            except AssertionError as problem:
                problems.append(f"postern-sim: {problem}")
        shutil.rmtree(self.folder, ignore_errors=True)
        return problems
