"""What each mode costs in one full handshake, at the edge and at the key server, and what distance does to it."""
import json
import subprocess

import measure
import servers

RTT_MS = 20
TLS12_RSA = ("-2", "-C", "AES128-GCM-SHA256")
TLS12 = ("-2", "-C", "ECDHE-RSA-AES128-GCM-SHA256")
# What the client of a mode's handshakes is told besides: versions and key exchanges that the mode is for; TLS 1.3 where
# that is nothing. A name is a mode, and behind a comma which handshakes of it.
MODES = {"local": (), "lend": (), "sign": (), "decrypt": TLS12_RSA, "handshake": (),
         "agree": TLS12, "master": TLS12, "keys, TLS 1.2": TLS12, "keys, TLS 1.3": ()}


def requests(server):
    """What the edge has asked key servers for: each is a round trip that a handshake has waited for."""
    done = subprocess.run([servers.BUILD / "farkey", "status", "--json", "-c", f"{server.facts['dir']}/edge1/edge.conf"],
                          capture_output=True, text=True, check=True)
    return sum(one["requests"] for worker in json.loads(done.stdout)["workers"] for one in worker["keyservers"])


class Costs:
    """CPU of both sides and requests between them, over one run of the load."""

    def __init__(self, server, options):
        self.server, self.options = server, options
        self.edge = measure.tree(server.facts["edge"]["pid"])
        self.keyd = measure.tree(server.facts["keyd"]["pid"])

    def run(self, total):
        before = [measure.cpu_seconds(self.edge), measure.cpu_seconds(self.keyd), requests(self.server)]
        figures = servers.load(self.server.port, total, 32, *self.options)
        after = [measure.cpu_seconds(self.edge), measure.cpu_seconds(self.keyd), requests(self.server)]
        if figures["failed"]:
            raise RuntimeError(f"{figures['failed']} handshakes failed")
        edge, keyd, asked = (end - start for start, end in zip(before, after))
        return edge * 1e6 / total, keyd * 1e6 / total, asked / total


def measure_mode(origin, name, rounds, total, at_once):
    """[(edge us, key server us, round trips)], [rate near], [rate far / rate near], the two by turns."""
    mode, options = name.partition(",")[0], MODES[name]
    near = servers.start_farkey(origin.port, "rsa2048", mode=mode)
    try:
        far = servers.start_farkey(origin.port, "rsa2048", mode=mode, rtt=f"{RTT_MS}ms")
        try:
            for server in (near, far):
                servers.load(server.port, at_once, at_once, *options)
            costs = [Costs(near, options).run(total) for _ in range(rounds)]
            rates, ratios = [], []
            for _ in range(rounds):
                rates.append(servers.load(near.port, total, at_once, *options)["rate"])
                ratios.append(servers.load(far.port, total, at_once, *options)["rate"] / rates[-1])
        finally:
            far.stop()
    finally:
        near.stop()
    return costs, rates, ratios


def run(folder, quick):
    del folder
    rounds, total, at_once = (3, 512, 128) if quick else (5, 3000, 256)
    origin = servers.start_origin()
    rows = []
    try:
        for name in MODES:
            try:
                costs, rates, ratios = measure_mode(origin, name, rounds, total, at_once)
            except RuntimeError as error:
                raise RuntimeError(f"mode {name}: {error}") from None
            edge, keyd, trips = (measure.median(column) for column in zip(*costs))
            label = f"mode {name}, RSA-2048, full handshake"
            rows += [
                {"what": f"{label}: CPU of the edge (us)", "value": edge, "detail": "worker, signers and the rest"},
                {"what": f"{label}: CPU of the key server (us)", "value": keyd},
                {"what": f"{label}: requests to the key server", "value": trips},
                {"what": f"{label}: rate at {at_once} at once (1/s)", "value": measure.median(rates),
                 "detail": f"{RTT_MS} ms away / near: {measure.median(ratios):.3f}"},
            ]
    finally:
        origin.stop()
    return rows
