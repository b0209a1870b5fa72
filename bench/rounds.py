"""What the benchmarks share: the load tool, what a relay has spent, interleaved rounds, medians and ratios."""

import contextlib
import json
import os
import pathlib
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import peers
import report

HERE = pathlib.Path(__file__).resolve().parent
TICK = os.sysconf("SC_CLK_TCK")
CONGESTION = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control")
RUN_SECONDS = 120 if "POSTERN_IN_VM" in os.environ else 30  # the most one run of the load tool may take; each is far shorter


class Failed(Exception):
    """A run that gave no figure."""


def load_tool():
    """Built here if need be; in the test VM it was put beside the sources."""
    built = (peers.BUILD / "bench" / "bench_load", HERE.parent / "build" / "bench" / "bench_load")
    if not os.environ.get("POSTERN_BUILD"):
        if not (peers.BUILD / "CMakeCache.txt").exists():
            subprocess.run(["cmake", "-S", HERE.parent, "-B", peers.BUILD, "-G", "Ninja"], check=True,
                           stdout=subprocess.DEVNULL)
        subprocess.run(["cmake", "--build", peers.BUILD, "--target", "bench_load"], check=True,
                       stdout=subprocess.DEVNULL)
    for program in built:
        if program.exists():
            return program
    sys.exit(f"no load tool: cmake --build {peers.BUILD} --target bench_load")


def run_tool(*command):
    """One run of a load tool; what it printed."""
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"{command[1]}: no end after {RUN_SECONDS} s") from late
    if done.returncode != 0:
        raise Failed(f"{command[1]}: {done.stderr.strip() or done.stdout.strip()}")
    return json.loads(done.stdout)


def run_load(mode, peer, *options):
    """One run of our own tool against the peer."""
    return run_tool(load_tool.program, mode, "--connect", peer.address, "--listen", peer.target, *options)


def cpu_seconds(peer):
    """User and system time of the relay's processes, and of those of its children that are gone."""
    ticks = 0
    for pid in peer.pids():
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICK


def private_bytes(peer):
    total = 0
    for pid in peer.pids():
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
                total += sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Private_"))
        except OSError:
            continue
    return total


def hold_idle(peer, count, command):
    """What each of `count` connections that carried data costs the peer while it is idle, of memory that is its own, in KiB.
    The tool says when they are there, and holds them until its input ends."""
    time.sleep(0.5)
    before = private_bytes(peer)
    with subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tool:
        ready = tool.stdout.readline()
        time.sleep(1)  # a relay that lets go of buffers on a timer has the time to
        held = private_bytes(peer)
        tool.stdin.close()
    if not ready:
        raise Failed("idle: the connections did not open")
    return (held - before) / count / 1024


def one_round(running, tests, rounds, failures, number):
    """Each test on each peer, one after another; the order turns, so that nobody is always first. A test is a name, and a
    function that measures a peer; `idle` comes once, on a fresh process, since memory does not vary with the machine's
    other work."""
    turned = running[number % len(running):] + running[:number % len(running)]
    for test, measure_one in tests.items():
        if test == "idle" and number > 0:
            continue
        for peer in turned:
            try:
                if test == "idle":
                    peer.stop()
                    peer.start()
                figures = measure_one(peer)
            except (Failed, peers.Absent) as failed:
                print(f"  {peer.name}: {failed}", file=sys.stderr)
                failures.append(f"{peer.name}: {failed}")
                continue
            rounds[peer.name].setdefault(number, {}).update(figures)


def start_peers(kinds, directory, over):
    """Those that can be had, running; and why the others cannot."""
    running, skipped = [], {}
    for kind in kinds:
        try:
            peer = kind(directory, over)
            peer.start()
            running.append(peer)
        except peers.Absent as absent:
            skipped[kind.name] = str(absent)
    return running, skipped


def measure(kinds, tests, count, over):
    with tempfile.TemporaryDirectory(prefix="postern-bench-") as directory:
        os.chmod(directory, 0o755)
        running, skipped = start_peers(kinds, directory, over)
        rounds, failures = {peer.name: {} for peer in running}, []
        try:
            for number in range(count if running else 0):
                print(f"round {number + 1} of {count}", file=sys.stderr)
                one_round(running, tests, rounds, failures, number)
            versions = {peer.name: peer.version() for peer in running}
        finally:
            for peer in running:
                peer.stop()
    return rounds, versions, skipped, failures


def medians(rounds):
    """For each peer the median of each figure over the rounds."""
    ret = {}
    for name, by_round in rounds.items():
        figures = {figure for values in by_round.values() for figure in values}
        ret[name] = {figure: statistics.median(values[figure] for values in by_round.values() if figure in values)
                     for figure in figures}
    return ret


def ratios(rounds, own_name):
    """For each peer the median over the rounds of the figure of `own_name` divided by the peer's in that round."""
    own = rounds.get(own_name, {})
    ret = {}
    for name, by_round in rounds.items():
        found = {}
        for number, values in by_round.items():
            for figure, value in values.items():
                if name != own_name and value > 0 and figure in own.get(number, {}):
                    found.setdefault(figure, []).append(own[number][figure] / value)
        ret[name] = {figure: statistics.median(values) for figure, values in found.items()}
    return ret


def choices(allowed):
    def parse(text):
        chosen = text.split(",")
        for choice in chosen:
            if choice not in allowed:
                raise argparse.ArgumentTypeError(f"'{choice}' is not one of {', '.join(allowed)}")
        return chosen
    return parse


def move_to_own_network():
    """Goes on in a network namespace of its own, with the congestion control that Linux has by default: a machine that is set to
    BBR paces each connection even on the loopback, and that pace would be what is measured. Only root can."""
    if os.environ.get("POSTERN_BENCH_NETWORK") or os.geteuid() != 0:
        return
    os.environ["POSTERN_BENCH_NETWORK"] = "own"
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0:
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])


def set_up_own_network():
    if os.environ.get("POSTERN_BENCH_NETWORK") != "own":
        return
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for control in ("cubic", "reno"):  # a namespace is not always given the first
        with contextlib.suppress(OSError):
            CONGESTION.write_text(control, encoding="ascii")
            return


def raise_descriptors():
    """The relays inherit it: 2,000 streams are 4,000 sockets, and with splice their pipes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    return {"kernel": platform.release(), "processor": model, "processors": os.cpu_count(),
            "congestion": CONGESTION.read_text(encoding="ascii").strip(),
            "load_average": os.getloadavg()[0]}


def run(kinds, tests, count, own_name, figures, over, results):
    """The whole of it: measures, shows, writes to `results`.json and .png. Returns the exit code."""
    set_up_own_network()
    raise_descriptors()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of `finally`, which ends the relays
    load_tool.program = load_tool()
    started = time.monotonic()
    about = machine()
    rounds, versions, skipped, failures = measure(kinds, tests, count, over)
    result = {
        "over": over, "own": own_name, "machine": about, "versions": versions, "skipped": skipped,
        "seconds": round(time.monotonic() - started, 1), "medians": medians(rounds),
        "ratios": ratios(rounds, own_name), "failures": failures, "rounds": rounds}
    report.show(result, figures)
    report.write(result, figures, results.parent, results.name)
    return 0 if rounds and not failures else 1
