"""postern-sim, what stands for AWS: KMS over TLS, software NSMs, and a metadata service that hands out the credentials of a role."""
import json
import os
import re
import subprocess

from postern import FINDING, PATIENCE, PROGRAMS, wait_until

REGION = "us-east-1"
KEYS = "-3333-4444-5555-666677778888"  # what their IDs end in


def principals(policy):
    """The ARNs that a policy names."""
    return set(re.findall(r"arn:aws:iam::\d+:role/[\w-]+", json.dumps(policy)))


class Simulator:
    """policies: {account: key policy}, a key for each. nsm: {name: {"0": hex, ...}}, an NSM for each enclave. Everybody who is named in a
    policy has credentials."""

    def __init__(self, folder, policies, nsm, instance_role):
        folder.mkdir(mode=0o700)
        self.folder = folder
        roles = sorted({instance_role}.union(*(principals(policy) for policy in policies.values())))
        self._credentials = {role: {"access_key_id": f"AKIA{index:016}", "secret_access_key": os.urandom(20).hex(),
                                    "session_token": os.urandom(40).hex()} for index, role in enumerate(roles)}
        self.keys = {account: f"arn:aws:kms:{REGION}:{account}:key/{account[:8]}{KEYS}" for account in policies}
        self.nsm = {name: f"unix://{folder}/nsm-{index}" for index, name in enumerate(nsm)}
        config = {
            "directory": str(folder),
            "kms": {"listen": "tcp://127.0.0.1:0", "region": REGION, "account": next(iter(policies)), "host": f"kms.{REGION}.amazonaws.com",
                    "credentials": [{**keys, "principal": role} for role, keys in self._credentials.items()],
                    "keys": [{"id": self.keys[account], "policy": policy} for account, policy in policies.items()]},
            "nsm": [{"listen": self.nsm[name], "pcrs": pcrs} for name, pcrs in nsm.items()],
            "metadata": {"listen": "tcp://127.0.0.1:0", "role": instance_role},
        }
        (folder / "config.json").write_text(json.dumps(config, indent=1))
        self.log_file = folder / "log"
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen([PROGRAMS / "postern-sim", "--config", folder / "config.json"], stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=log)
        assert self.process.stdout.readline() == b"ready\n", self.log()
        addresses = json.loads((folder / "addresses.json").read_text())
        self.kms, self.metadata = addresses["kms"], addresses["metadata"]
        self.ca, self.root = folder / "tls-ca.pem", folder / "attestation-root.pem"

    def credentials(self, role):
        keys = self._credentials[role]
        return {"AWS_ACCESS_KEY_ID": keys["access_key_id"], "AWS_SECRET_ACCESS_KEY": keys["secret_access_key"],
                "AWS_SESSION_TOKEN": keys["session_token"]}

    def log(self):
        return self.log_file.read_text(errors="replace")

    def close(self):
        """Returns what was wrong."""
        problems = []
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            problems.append(f"postern-sim did not end:\n{self.log()}")
        self.process.stdout.close()
        if FINDING.search(self.log()):
            problems.append(f"a sanitizer found something in postern-sim:\n{self.log()}")
        return problems
