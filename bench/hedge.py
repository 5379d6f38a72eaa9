"""Three key servers of which one is slow and one fails: the client's p99 beside that with three good ones."""
import json
import pathlib
import shutil
import subprocess
import sys

import measure
import servers

RATE = 300  # a second: far from any limit, so that waiting is for the bad servers only
SLOW_MS = 25  # each way
CUTS = 5  # a second


class KeyServers:
    """The demonstration's key server and two more with the same keys, each with a certificate of its own."""

    def __init__(self, pair):
        self.dir = pathlib.Path(pair.facts["dir"])
        first = next(self.dir.glob("**/keyd.conf")).parent
        self.edge = next(self.dir.glob("**/edge.conf")).parent
        self.name = pair.facts["name"]
        self.targets = [(first.name, pair.facts["keyd"]["address"])]
        self.processes = []
        ca = next(self.dir.glob("**/ca.key")).parent
        for number in 2, 3:
            self.start(first, ca, f"spare{number}")

    def start(self, first, ca, name):
        folder = self.dir / name
        shutil.copytree(first, folder, ignore=shutil.ignore_patterns("*.sock", "audit.log*", "channel.*"))
        subprocess.run([servers.BUILD / "farkey", "ca", "issue", "--ca", ca, "--out", folder, "keyserver", name],
                       check=True, capture_output=True)
        for kind in "crt", "key":
            if (folder / f"{name}.{kind}").exists():
                (folder / f"{name}.{kind}").rename(folder / f"channel.{kind}")
        address = f"127.0.0.1:{servers.free_port()}"
        conf = folder / "keyd.conf"
        conf.write_text(conf.read_text().replace(self.targets[0][1], address))
        self.processes.append(subprocess.Popen([servers.BUILD / "farkey", "keyd", "-c", conf],
                                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        measure.wait_until(lambda: servers.listening(int(address.rsplit(":", 1)[1])), name)
        measure.pin(measure.tree(self.processes[-1].pid), measure.SERVER_CORE)
        self.targets.append((name, address))

    def relay(self, target, delay_ms, cuts):
        process = subprocess.Popen([sys.executable, pathlib.Path(__file__).with_name("relay.py"), target,
                                    str(delay_ms), str(cuts)], stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        measure.pin([process.pid], measure.SERVER_CORE)
        return f"127.0.0.1:{int(process.stdout.readline())}"

    def behind_relays(self, second, third):
        """All three, the second and the third behind relays with these delays and cuts."""
        targets = self.targets[:1]
        for (name, address), (delay_ms, cuts) in zip(self.targets[1:], (second, third)):
            targets.append((name, self.relay(address, delay_ms, cuts)))
        return targets

    def p99(self, targets, seconds, *options):
        done = subprocess.run([servers.BUILD / "bench/keyload", "-d", str(seconds + 1), "-w", "1", "-r", str(RATE), *options,
                               self.edge, self.name, *[f"{name}={address}" for name, address in targets]],
                              capture_output=True, text=True, check=False)
        if not done.stdout:
            raise RuntimeError(f"keyload failed: {done.stderr}")
        figures = json.loads(done.stdout)
        if figures["failed"]:
            raise RuntimeError(f"keyload: {figures['failed']} operations failed: {done.stderr}")
        return figures["p99_us"]

    def stop(self):
        for process in self.processes:
            process.terminate()
            process.wait()


def run(folder, quick):
    del folder
    rounds, seconds = (3, 2) if quick else (7, 4)
    origin = servers.start_origin()
    pair = servers.start_farkey(origin.port, "p256")
    group = None
    try:
        measure.pin(measure.tree(pair.facts["keyd"]["pid"]), measure.SERVER_CORE)
        group = KeyServers(pair)
        # The good ones are as far away as the bad ones: what a relay itself costs is no fault.
        good = group.behind_relays((0, 0), (0, 0))
        bad = group.behind_relays((SLOW_MS, 0), (0, CUTS))
        healthy, hedged, plain = [], [], []
        for _ in range(rounds):
            healthy.append(group.p99(good, seconds, "-H"))
            hedged.append(group.p99(bad, seconds, "-H"))
            plain.append(group.p99(bad, seconds))
    finally:
        if group:
            group.stop()
        pair.stop()
        origin.stop()
    return [{"what": "hedging, 1 of 3 key servers slow and 1 failing: p99 / healthy p99",
             "value": measure.median([ours / base for ours, base in zip(hedged, healthy)]), "target": "<=1.5",
             "detail": f"healthy {measure.median(healthy):.0f} us, hedged {measure.median(hedged):.0f} us, "
                       f"without hedging {measure.median(plain):.0f} us"}]
