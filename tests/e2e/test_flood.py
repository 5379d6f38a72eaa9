"""Peers that send what is no data: TLS messages that are cheap to make and dear to take. They are cut off soon, and
nobody else notices: no connection is lost, no process hangs."""
import pathlib
import re
import subprocess

import pytest

import edgelib
import harness
import pair as pairs
from edgelib import Edge, Origin, connect, site

FLOOD = pathlib.Path(harness.FARKEY).parent / "tests/tools/flood"
# Messages of a flood: without a bound they keep a process busy for a second.
COUNT = 60000
# To make them takes the attacker less than an edge waits for a key server's first answer.
QUICK_COUNT = 1000
WHY = "too many TLS messages without data"


def flood(*words, identity=None, count=COUNT):
    """The attacker; `identity`: the stem of a channel's certificate and key."""
    files = [f"{identity}.crt", f"{identity}.key"] if identity else []
    return subprocess.Popen([str(word) for word in (FLOOD, *words, count, *files)], stdout=subprocess.PIPE, text=True)


def cut_off(line):
    """Whether a flood has ended by the other side, with a part of it at most in its hands: the rest is in sockets."""
    return re.fullmatch(r"cut off after \d+ of \d+ bytes\n", line)


@pytest.mark.parametrize("records", ["engine", "openssl"])
@pytest.mark.parametrize("kind", ["updates", "mixed", "hellos"])
def test_client(daemons, folder, site_authority, records, kind):
    site_authority.issue(folder / "site", "example.com", "DNS:example.com")
    ca = site_authority.certificate
    edge = Edge(daemons, folder, [site("example.com", [folder / "site.crt"], [folder / "site.key"],
                                       [Origin(edgelib.echo).address], records=records)])
    workers = edge.daemon.children("edge-worker")
    attackers = []
    with connect(edge.port, ca) as other:
        try:
            attackers += [flood("client", edge.port, kind) for _ in range(4)]
            while any(attacker.poll() is None for attacker in attackers):
                other.sendall(b"ping")
                assert other.recv(100) == b"ping"
            assert all(cut_off(attacker.stdout.read()) for attacker in attackers)
        finally:
            for attacker in attackers:
                attacker.kill()
                attacker.communicate()
        other.sendall(b"still here")
        assert other.recv(100) == b"still here"
    log = edge.daemon.log()
    assert len(re.findall(f'connection cut off .*why="{WHY}"', log)) == 4, log[-3000:]
    assert edge.daemon.children("edge-worker") == workers and "child hangs" not in log
    assert edge.counter("limited_total{limit=\"messages\"}") == 4, edge.status()["counters"]


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    nginx = pairs.Nginx(tmp_path_factory.mktemp("origin"))
    yield nginx
    nginx.stop()


@pytest.fixture
def pair(folder, authority, site_authority, origin):
    return pairs.Pair(folder, authority, site_authority, origin.port, site_options="deadline = 1500ms")


def test_edge_floods_a_front(pair, daemons):
    """A captured edge: that channel ends, others go on."""
    pair.start(daemons)
    fronts, before = pair.keyd.children("keyd-front"), len(pair.edge.log())
    attacker = flood("client", pair.keyd_port, "updates", identity=pair.folder / "edge1/channel")
    try:
        while attacker.poll() is None:
            pair.get()
        assert cut_off(attacker.stdout.read())
    finally:
        attacker.kill()
        attacker.communicate()
    pair.keyd.wait_log(rf'channel closed .*edge1.*{WHY}')
    pair.get()
    assert pair.keyd.children("keyd-front") == fronts and "child hangs" not in pair.keyd.log()
    assert "lost" not in pair.edge.log()[before:]


def test_key_server_floods_a_worker(pair, daemons):
    """A captured key server, one of two: the edge's clients are served by means of the other."""
    port = harness.free_port()
    pair.servers = {"keys0": port, **pair.servers}
    pair.write_edge()
    attacker = flood("server", port, "updates", identity=pair.folder / "keys1/channel", count=QUICK_COUNT)
    try:
        pair.start(daemons)
        workers = pair.edge.children("edge-worker")
        pair.edge.wait_log(WHY)
        for _ in range(3):
            assert cut_off(attacker.stdout.readline())
            pair.get()
        assert pair.edge.children("edge-worker") == workers and "child hangs" not in pair.edge.log()
    finally:
        attacker.kill()
        attacker.communicate()
