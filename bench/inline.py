"""The inline box in the middle of three network namespaces, beside what else could stand there: a bridge between the
same two programs, without TLS and with TLS from end to end, and HAProxy, which ends the connection and keeps the
client's address by TPROXY. Client, server, and what is between them share all cores, but for handshakes. Needs root."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import measure
import servers

sys.path.insert(0, str(servers.TOP / "tests/e2e"))
os.environ.setdefault("FARKEY", str(servers.BUILD / "farkey"))

import harness
import netlib

WIRELOAD, ORIGIN, TLSLOAD = (servers.BUILD / "bench" / name for name in ("wireload", "origin", "tlsload"))
PORT, OTHER_PORT = 8443, 8444
ROUTED = "10.7.0.2"
# Of 1000 frames: lost, reordered, repeated; delay in ms; seed.
LOSSY = (10, 0, 0, 2, 5)


class Place:
    """What is measured: three namespaces with something in the middle, and how to go through it."""

    def __init__(self, name, wire, host=netlib.SERVER[0], port=PORT, tls=True, pids=(), box=None):
        self.name, self.wire, self.host, self.port, self.tls, self.pids = name, wire, host, port, tls, list(pids)
        self.box = box

    def load(self, what, count):
        """What a client of wireload saw."""
        options = ["-t"] if self.tls else []
        done = self.wire.run(self.wire.client, WIRELOAD, what, count, *options, self.host, self.port, timeout=300)
        return json.loads(done.stdout)

    def handshakes(self, total, *options):
        done = self.wire.run(self.wire.client, "taskset", "-c", measure.OTHER_CORE, TLSLOAD, "-n", total, *options,
                             f"{self.host}:{OTHER_PORT}", timeout=300)
        return json.loads(done.stdout)


class Places:
    """All places of a measurement, and their end. Each has the same programs at its server's."""

    def __init__(self, folder, impairment=None):
        self.folder, self.impairment = pathlib.Path(tempfile.mkdtemp(dir=folder)), impairment
        self.folder.chmod(0o755)
        self.authority = harness.Authority(self.folder / "ca")
        self.authority.issue(self.folder / "site", "example.com", "DNS:example.com")
        self.pem = self.folder / "site.pem"
        self.pem.write_text((self.folder / "site.key").read_text() + (self.folder / "site.crt").read_text())
        self.wires = []

    def wire(self, name):
        folder = self.folder / name
        folder.mkdir()
        folder.chmod(0o755)
        wire = netlib.Wire(folder, impairment=self.impairment)
        self.wires.append(wire)
        self.control(wire, "cubic")
        return wire

    @staticmethod
    def control(wire, name):
        for namespace in (wire.client, wire.middle, wire.server):
            wire.run(namespace, "sysctl", "-qw", f"net.ipv4.tcp_congestion_control={name}", "net.core.somaxconn=4096",
                     "net.ipv4.tcp_max_syn_backlog=4096")

    def serve(self, wire, port=PORT, tls=False):
        options = ["-t", self.pem] if tls else []
        wire.start(wire.server, WIRELOAD, "serve", *options, port, log=f"serve{port}.log").wait_log("listening")

    def origin(self, wire):
        """Plain answers to short requests."""
        origin = wire.start(wire.server, ORIGIN, OTHER_PORT, log="origin.log")
        origin.wait_log(str(OTHER_PORT))
        measure.pin([origin.pid], measure.OTHER_CORE)

    def bridge(self):
        """The kernel's own forwarding: two places, without TLS and with it from end to end."""
        wire = self.wire("bridge")
        netlib.ip("-n", wire.middle, "link", "add", "br0", "type", "bridge")
        for words in ("mc master br0", "ms master br0", "br0 up"):
            netlib.ip("-n", wire.middle, "link", "set", *words.split())
        self.serve(wire)
        self.serve(wire, OTHER_PORT, tls=True)
        return [Place("forwarding", wire, tls=False), Place("TLS end to end", wire, port=OTHER_PORT)]

    def farkey(self, *options):
        wire = self.wire("box")
        self.serve(wire)
        self.origin(wire)
        box = netlib.Box(wire, self.authority, *options, workers=1)
        pids = [worker["pid"] for worker in box.control()["workers"]] + box.daemon.children("signer")
        return Place("farkey", wire, pids=pids, box=box)

    def haproxy(self):
        """It takes connections to the server's address, and goes on to the server from the client's."""
        wire = self.wire("haproxy")
        for namespace, words in ((wire.middle, "address add 10.9.0.254/24 dev mc"),
                                 (wire.middle, "address add 10.7.0.1/24 dev ms"),
                                 (wire.middle, "rule add fwmark 1 lookup 100"),
                                 (wire.middle, "route add local 0.0.0.0/0 dev lo table 100"),
                                 (wire.server, "address del 10.9.0.2/24 dev s0"),
                                 (wire.server, f"address add {ROUTED}/24 dev s0"),
                                 (wire.server, "route add default via 10.7.0.1"),
                                 (wire.client, "route add 10.7.0.0/24 via 10.9.0.254")):
            netlib.ip("-n", namespace, *words.split())
        wire.run(wire.middle, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.ip_local_port_range=1024 65000",
                 *(f"net.ipv4.conf.{device}.rp_filter=0" for device in ("all", "mc", "ms")))
        for rule in ("-p tcp -m socket --transparent -j MARK --set-mark 1",
                     f"-i mc -p tcp --dport {PORT} -j TPROXY --on-port {PORT} --tproxy-mark 1",
                     f"-i mc -p tcp --dport {OTHER_PORT} -j TPROXY --on-port {OTHER_PORT} --tproxy-mark 1"):
            wire.run(wire.middle, "iptables", "-t", "mangle", "-A", "PREROUTING", *rule.split())
        self.serve(wire)
        self.origin(wire)
        config = wire.folder / "haproxy.cfg"
        config.write_text(HAPROXY + "".join(HAPROXY_PORT.format(port=port, pem=self.pem, host=ROUTED)
                                            for port in (PORT, OTHER_PORT)))
        daemon = wire.start(wire.middle, "haproxy", "-db", "-f", config, log="haproxy.log")
        harness.wait_until(lambda: f":{OTHER_PORT}" in wire.run(wire.middle, "ss", "-ltnH").stdout, "haproxy listens")
        return Place("HAProxy", wire, host=ROUTED, pids=measure.tree(daemon.pid))

    def offloads(self, state):
        for wire in self.wires:
            wire.offloads(state)

    def end(self):
        for wire in self.wires:
            wire.end()


HAPROXY = """global
    nbthread 1
    maxconn 8000
    ssl-default-bind-options ssl-min-ver TLSv1.2
    tune.ssl.default-dh-param 2048
defaults
    mode tcp
    option nolinger
    timeout connect 5s
    timeout client 300s
    timeout server 300s
"""
HAPROXY_PORT = """frontend in{port}
    bind 0.0.0.0:{port} transparent ssl crt {pem} backlog 4096
    default_backend out{port}
backend out{port}
    source 0.0.0.0 usesrc clientip
    server one {host}:{port}
"""


def in_turn(places, rounds, one):
    """What one(place) gives, round by round: {name: values}."""
    values = {place.name: [] for place in places}
    for _ in range(rounds):
        for place in places:
            values[place.name].append(one(place))
    return values


def ratio(values, name, other):
    return measure.median([ours / theirs for ours, theirs in zip(values[name], values[other])])


def size_for(place, what, seconds, first):
    """Bytes that take so long, by the rate of the first ones."""
    place.load(what, first)
    return max(first, int(place.load(what, first)["rate"] * seconds))


def told(values, unit, scale):
    return ", ".join(f"{name} {measure.median(some) * scale:.2f} {unit}" for name, some in values.items())


def bulk(places, label, seconds, rounds):
    targets = {"forwarding": ">=0.25", "TLS end to end": ">=0.5", "HAProxy": ">=1.0"}
    rows = []
    for what in ("up", "down"):
        sizes = {place.name: size_for(place, what, seconds, 50_000_000) for place in places}
        rates = in_turn(places, rounds, lambda place: place.load(what, sizes[place.name])["rate"])
        detail = told(rates, "Gbit/s", 8e-9)
        for other, target in targets.items():
            rows.append({"what": f"one connection {what}, {label}: box / {other}",
                         "value": ratio(rates, "farkey", other), "target": target, "detail": detail})
            detail = ""
    return rows


def latency(places, questions, rounds):
    for place in places:
        place.load("ask", questions)
    medians = in_turn(places, rounds, lambda place: place.load("ask", questions)["median_us"])
    rows, detail = [], told(medians, "us", 1)
    for other, target in (("forwarding", {"target": "<=50"}), ("TLS end to end", {}), ("HAProxy", {})):
        more = measure.median([ours - theirs for ours, theirs in zip(medians["farkey"], medians[other])])
        rows.append({"what": f"question and answer of 64 bytes: box adds to {other} (us)", "value": more,
                     "detail": detail, **target})
        detail = ""
    return rows


def handshakes(places, total, rounds):
    """What is in the middle has a core for itself, and everything else the other."""
    for place in places:
        measure.pin(place.pids, measure.SERVER_CORE)
        place.handshakes(total // 4, "-c", 32)
    rates, costs = {place.name: [] for place in places}, {place.name: [] for place in places}
    for _ in range(rounds):
        for place in places:
            before = measure.cpu_seconds(place.pids)
            figures = place.handshakes(total, "-c", 32)
            if figures["failed"]:
                raise RuntimeError(f"{place.name}: {figures['failed']} handshakes failed")
            rates[place.name].append(figures["rate"])
            costs[place.name].append((measure.cpu_seconds(place.pids) - before) / total * 1e6)
    return [
        {"what": "full handshakes, request, close, P-256: box's rate / HAProxy's",
         "value": ratio(rates, "farkey", "HAProxy"), "target": ">=0.9", "detail": told(rates, "a second", 1)},
        {"what": "full handshake, request, close, P-256: CPU, box / HAProxy",
         "value": ratio(costs, "farkey", "HAProxy"), "detail": told(costs, "us", 1)},
    ]


def idle_kib(place, count):
    """Memory of a connection at which nothing comes: after the second in which the box waits for more."""
    def resident():
        return measure.resident_kib(place.pids)
    before = resident()
    client = subprocess.Popen(["ip", "netns", "exec", place.wire.client, TLSLOAD, "-k", "-n", str(count), "-c", "32",
                               f"{place.host}:{OTHER_PORT}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    client.stdout.readline()
    last = [resident(), 0]

    def settled():
        now = resident()
        last[:] = [now, last[1] + 1 if now == last[0] else 0]
        return last[1] >= 150  # three seconds of the wait's intervals
    measure.wait_until(settled, "memory of idle connections settles", 60)
    client.stdin.close()
    client.wait()
    return (last[0] - before) / count


def memory(places, count):
    sizes = {place.name: idle_kib(place, count) for place in places}
    return [{"what": "idle TLS 1.3 connection through the box, resident KiB", "value": sizes["farkey"], "target": "<=8",
             "detail": f"{count} at once, HAProxy {sizes['HAProxy']:.1f}"}]


def lossy(folder, quick):
    seconds, rounds = (1, 2) if quick else (4, 7)
    places, rows = Places(folder, LOSSY), []
    try:
        middle = [places.bridge()[0], places.farkey()]
        for control, target in (("cubic", ">=0.7"), ("bbr", ">=0.5")):
            for wire in places.wires:
                places.control(wire, control)
            for what in ("up", "down"):
                sizes = {place.name: size_for(place, what, seconds, 2_000_000) for place in middle}
                rates = in_turn(middle, rounds, lambda place: place.load(what, sizes[place.name])["rate"])
                rows.append({"what": f"one connection {what}, 1 % of packets lost, {control}: box / forwarding",
                             "value": ratio(rates, "farkey", "forwarding"), "target": target,
                             "detail": told(rates, "Mbit/s", 8e-6)})
    finally:
        places.end()
    return rows


def on_a_good_wire(folder, quick):
    seconds, rounds = (0.3, 3) if quick else (1, 11)
    places, rows = Places(folder), []
    try:
        middle = [*places.bridge(), places.haproxy(), places.farkey()]
        for state in ("on", "off"):
            places.offloads(state)
            rows += bulk(middle, f"offloads {state}", seconds, rounds)
        places.offloads("on")
        rows += latency(middle, 2000 if quick else 5000, rounds)
        rows += memory(middle[2:], 500 if quick else 2000)
        rows += handshakes(middle[2:], 500 if quick else 1000, 3 if quick else 15)
    finally:
        places.end()
    return rows


ALLOWED = pathlib.Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")


def run(folder, quick):
    if os.geteuid() != 0:
        raise RuntimeError("network namespaces need root")
    kept, allowed = os.sched_getaffinity(0), ALLOWED.read_text()
    os.sched_setaffinity(0, range(os.cpu_count()))
    # A namespace may use only what is allowed to everybody.
    ALLOWED.write_text(ALLOWED.with_name("tcp_available_congestion_control").read_text())
    try:
        return on_a_good_wire(folder, quick) + lossy(folder, quick)
    except AssertionError as error:  # of the tests' harness
        raise RuntimeError(str(error)) from error
    finally:
        ALLOWED.write_text(allowed)
        os.sched_setaffinity(0, kept)
