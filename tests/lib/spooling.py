"""A daemon with a route that spools, for tests of what happens to its records."""
import json

from postern import Daemon, free_port, wait_until
from store import send

# Quick, so that nobody waits; no test counts on how quick.
RETRY = {"attempts": 1000, "max_age": "1d", "min_pause": "20ms", "max_pause": "100ms"}


class Spooling(Daemon):
    """posternd with a listener for an enclave to the route `results`, which spools."""

    def __init__(self, store):
        super().__init__()
        self.store = store
        self.at = f"tcp://127.0.0.1:{free_port()}"
        self.spool_path = self.folder / "spool"
        self.configure()

    def configure(self, spool=None, routes=None, **route):
        self.route = {"type": "forward", "to": self.store.url, "delivery": "spool", "retry": RETRY, "in_flight": 8,
                      "allow_private": True, "response_timeout": "10m", "connect_timeout": "10m", "head_timeout": "10m",
                      "idle_timeout": "10m", **route}
        self.write_config({
            "enclaves": {"payroll": {"cid": 16}},
            "spool": {"path": str(self.spool_path), **(spool or {})},
            "listeners": {"in": {"listen": self.at, "protocol": "raw", "route": "results", "allow": ["payroll"],
                                 "peer": "payroll"},
                          "session": {"listen": self.socket_path("door"), "protocol": "framed", "peer": "payroll",
                                      "allow": {"payroll": ["results"]}}},
            "routes": {"results": self.route, **(routes or {})}})
        return self

    def configuration(self):
        return json.loads(self.config_file.read_text())

    def add_enclave(self, name, cid):
        """From the next start or reload on, another that may use the route; the address for what it sends."""
        configuration = self.configuration()
        listen = f"tcp://127.0.0.1:{free_port()}"
        configuration["enclaves"][name] = {"cid": cid}
        configuration["listeners"][name] = {"listen": listen, "protocol": "raw", "route": "results", "allow": [name], "peer": name}
        self.write_config(configuration)
        return listen

    def send(self, body=b"result", **options):
        return send(self.at, body, **options)

    def keep(self, body=b"result", **options):
        """Sends one that must be kept; its id and key."""
        status, _, answer = self.send(body, **options)
        assert status == 202, (status, answer, self.log())
        return answer["id"], answer["key"]

    def stats(self):
        return json.loads(self.ctl("spool", "stats", "--json").stdout)

    def records(self, *arguments):
        return json.loads(self.ctl("spool", "list", "--json", *arguments).stdout)["records"]

    def wait_empty(self):
        """Until nothing is to be delivered any more; what gauges, list and statistics say is the same."""
        wait_until(lambda: not self.records(), what="an empty spool")
        wait_until(lambda: not any(self.stats()["records"].values()), what="figures of an empty spool")
        metrics = self.metrics()
        assert not any(value for name, value in metrics.items() if name.startswith("postern_spool_records")), metrics
