"""Commands of operators: lists, origins set down and up, ticket keys renewed; by `farkey control`."""
import json
import os
import re
import signal
import threading

import pytest

import edgelib
import fleet as fleets
import pair as pairs
from edgelib import Edge, Origin
from harness import FARKEY, control, curl, run, wait_until
from web import Recorder, start_nginx


@pytest.fixture(scope="module")
def pki(site_authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("control")
    site_authority.issue(folder / "p256", "example.com", "DNS:example.com", "p256", days=20)
    site_authority.issue(folder / "rsa2048", "example.com", "DNS:example.com", "rsa2048", days=10)
    return folder


def blocks(pki, *origins, kinds=("p256",), **options):
    options = {"alpn": '{"h2", "http/1.1"}', "protocol": "http"} | options
    return [edgelib.site("example.com", [pki / f"{kind}.crt" for kind in kinds], [pki / f"{kind}.key" for kind in kinds],
                         origins, **options)]


def told(conf, *words, check=True):
    """The answer to `farkey control`, as an object; its exit status says whether it is an error."""
    done = run(FARKEY, "control", "-c", conf, "--json", *words, check=False)
    answer = json.loads(done.stdout)
    assert done.returncode == (1 if "error" in answer else 0), done
    assert not check or "error" not in answer, answer
    return answer


def fetch(edge, ca, *options, check=True):
    return curl(f"https://example.com:{edge.port}/", *options, ca=ca, resolve=f"example.com:{edge.port}:127.0.0.1", check=check)


def origin_rows(edge):
    return {row["name"]: row for row in told(edge.conf, "origins")["origins"]}


def counts(*recorders):
    return [len(recorder.heads) for recorder in recorders]


# --- lists ---

def test_lists_are_of_all_workers(daemons, folder, pki, ca):
    recorders = [Recorder(), Recorder()]
    edge = Edge(daemons, folder, blocks(pki, *(r.address for r in recorders), kinds=["p256", "rsa2048"]), workers=2)
    for _ in range(12):
        assert fetch(edge, ca)[1] == "hello"
    [site] = told(edge.conf, "sites")["sites"]
    end = min(run("date", "-u", "-d", run("openssl", "x509", "-noout", "-enddate", "-in", pki / f"{kind}.crt")
                  .stdout.strip().split("=")[1], "+%s").stdout for kind in ("p256", "rsa2048"))
    assert site == {"name": "example.com", "mode": "local", "expose": "none", "certificate": True,
                    "not_after": int(end), "connections": 12, "active": site["active"]}
    wait_until(lambda: told(edge.conf, "sites")["sites"][0]["active"] == 0, "the clients have gone")
    origins = told(edge.conf, "origins")["origins"]
    assert [row["name"] for row in origins] == [r.address for r in recorders]
    assert all(row["site"] == "example.com" and row["up"] is True and row["set_down"] is False for row in origins)
    assert [row["attempts"] for row in origins] == [r.origin.count for r in recorders]
    assert told(edge.conf, "keyservers") == {"keyservers": []}
    [sessions] = told(edge.conf, "sessions")["sessions"]
    assert sessions == {"name": "example.com", "sessions": "host", "tickets": "edge", "ticket_keys": 1, "active": 0,
                        "handshakes": 12, "resumed": 0}
    text = run(FARKEY, "control", "-c", edge.conf, "origins").stdout
    assert text.startswith(f"origins:\n  -\n    site: example.com\n    name: {recorders[0].address}\n    up: true\n")


def test_lists_of_key_servers(daemons, folder, authority, site_authority):
    origin = Origin(edgelib.http(b"hello"))
    pair = pairs.Pair(folder, authority, site_authority, origin.port, edge_options="workers = 2",
                      edge_policy="quota = 1000").start(daemons)
    edge_conf, keyd_conf = folder / "edge1/edge.conf", folder / "keys1/keyd.conf"
    before = told(keyd_conf, "edges")["edges"][0]["operations"]
    for _ in range(8):
        assert pair.get()[1] == "hello"
    [server] = told(edge_conf, "keyservers")["keyservers"]
    assert server["name"] == "keys1" and server["up"] is True and server["requests"] >= 8 and server["average_us"] > 0
    assert server["connects"] == 2  # one a worker
    [row] = told(keyd_conf, "edges")["edges"]
    assert row["name"] == "edge1" and row["identity"] == "farkey:edge:edge1" and row["channels"] == 2
    assert row["operations"] == before + 8 == row["operations_today"]
    now = int(run("date", "+%s").stdout)
    assert now - 60 < row["last_operation"] <= now
    [key] = told(keyd_conf, "keys")["keys"]
    assert (key["name"], key["type"], key["bits"]) == ("example.com", "ec", 256)
    assert re.fullmatch("[0-9a-f]{40}", key["ski"])
    pair.edge.stop()
    wait_until(lambda: told(keyd_conf, "edges")["edges"][0]["channels"] == 0, "its channels are gone")
    origin.close()


@pytest.mark.parametrize("words,error", [
    (["bogus"], "no such command; there are status, reload, upgrade, drain, purge, sites, origins, keyservers, sessions, "
                "origin-down, origin-up and rotate"),
    (["sites", "x"], "sites takes no argument"),
    (["rotate", "example.com"], "rotate takes no argument"),
    (["origin-down"], "write origin-down SITE/ORIGIN"),
    (["origin-up"], "write origin-up SITE/ORIGIN"),
    (["origin-down", "example.com"], 'no site "example.com"; write SITE/ORIGIN, as origins has them'),
    (["origin-down", "example.org/127.0.0.1:1"], 'no site "example.org"; write SITE/ORIGIN, as origins has them'),
    (["origin-down", "example.com/127.0.0.1:2"], 'site "example.com" has no origin "127.0.0.1:2"'),
    (["origin-up", "example.com/"], 'site "example.com" has no origin ""'),
])
def test_what_is_not_understood_changes_nothing(daemons, folder, pki, words, error):
    edge = Edge(daemons, folder, blocks(pki, "127.0.0.1:1"))
    assert told(edge.conf, *words, check=False) == {"error": error}
    assert origin_rows(edge)["127.0.0.1:1"]["set_down"] is False


@pytest.mark.parametrize("words", [["bogus"], ["keys", "x"], ["origin-down", "a/b"]])
def test_what_a_key_server_does_not_understand(daemons, folder, authority, site_authority, words):
    pairs.Pair(folder, authority, site_authority, 1).start_keyd(daemons)
    assert told(folder / "keys1/keyd.conf", *words, check=False) == {
        "error": "no such command; there are status, reload, drain, keys, edges and rotate, without arguments"}


# --- origins set down ---

class Asker:
    """A client of HTTP/1.1 whose requests come by one connection."""

    def __init__(self, edge, ca):
        self.sock = edgelib.connect(edge.port, ca)

    def ask(self):
        self.sock.sendall(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
        answer = b""
        while not answer.endswith(b"hello"):
            answer += (more := self.sock.recv(65536))
            assert more



@pytest.mark.parametrize("version,keep", [("--http1.1", "4s"), ("--http2", "4s"), ("--http1.1", "0")])
def test_set_down_and_up(daemons, folder, pki, ca, version, keep):
    """Also for a client that came before, whose last request went there, and who has that connection alone."""
    first, second = Recorder(), Recorder()
    edge = Edge(daemons, folder, blocks(pki, first.address, second.address, origin_keep=keep), workers=2)
    for _ in range(8):
        assert fetch(edge, ca, version)[1] == "hello"
    assert min(counts(first, second)) > 0
    before = counts(first)
    while counts(first) == before:
        client = Asker(edge, ca)
        client.ask()
    assert told(edge.conf, "origin-down", f"example.com/{first.address}") == {"ok": True}
    edge.daemon.wait_log(f"an operator sets an origin down.*example.com/{first.address}")
    row = origin_rows(edge)[first.address]
    assert row["set_down"] is True and row["kept"] == 0
    before = counts(first, second)
    for _ in range(4):
        client.ask()
    for _ in range(8):
        assert fetch(edge, ca, version)[1] == "hello"
    assert counts(first, second) == [before[0], before[1] + 12]
    assert told(edge.conf, "origin-down", f"example.com/{first.address}") == {"ok": True}
    assert told(edge.conf, "origin-up", f"example.com/{first.address}") == {"ok": True}
    assert origin_rows(edge)[first.address]["set_down"] is False
    for _ in range(8):
        assert fetch(edge, ca, version)[1] == "hello"
    assert counts(first)[0] > before[0]


def test_requests_under_way_finish(daemons, folder, pki, ca):
    go, came = threading.Event(), threading.Event()
    closed = threading.Event()

    def slow(sock):
        edgelib.read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        came.set()
        assert go.wait(20)
        sock.sendall(b"world")
        if sock.recv(1) == b"":
            closed.set()
    origin, other = Origin(slow), Recorder()
    edge = Edge(daemons, folder, blocks(pki, origin.address, other.address))
    results = []
    client = threading.Thread(target=lambda: results.append(fetch(edge, ca)[1]))
    client.start()
    assert came.wait(20)
    assert told(edge.conf, "origin-down", f"example.com/{origin.address}") == {"ok": True}
    assert origin_rows(edge)[origin.address]["connections"] == 1
    for _ in range(3):
        assert fetch(edge, ca)[1] == "hello"
    go.set()
    client.join(20)
    assert results == ["helloworld"]
    assert closed.wait(20)  # it is not kept
    assert origin_rows(edge)[origin.address]["connections"] == 0 and origin.count == 1
    origin.close()


def test_no_request_fails_for_it(daemons, folder, pki):
    """Set down and up, time and again, under load of both kinds of connections."""
    recorders = [Recorder(), Recorder(), Recorder()]
    edge = Edge(daemons, folder, blocks(pki, *(r.address for r in recorders)), workers=2)
    load = []

    def drive():
        load.append(run("h2load", "-n", "20000", "-c", "8", "-m", "8", f"--connect-to=127.0.0.1:{edge.port}",
                        f"https://example.com:{edge.port}/", timeout=120).stdout)
    client = threading.Thread(target=drive)
    client.start()
    wait_until(lambda: sum(counts(*recorders)) > 100, "requests go on")
    rounds = 0
    while client.is_alive() and rounds < 40:
        down = recorders[rounds % 3]
        name = f"example.com/{down.address}"
        assert told(edge.conf, "origin-down", name) == {"ok": True}
        wait_until(lambda down=down: origin_rows(edge)[down.address]["connections"] == 0, "those in use have ended")
        seen, others = len(down.heads), sum(counts(*recorders))
        wait_until(lambda others=others: sum(counts(*recorders)) > others + 50 or not client.is_alive(), "requests go on")
        assert len(down.heads) == seen
        assert told(edge.conf, "origin-up", name) == {"ok": True}
        rounds += 1
    client.join(120)
    assert "20000 succeeded, 0 failed, 0 errored, 0 timeout" in load[0], load[0]
    assert rounds > 2
    assert not re.search("no origin could be reached", edge.daemon.log())


def test_it_outlives_reloads_and_workers(daemons, folder, pki, ca):
    first, second, third = Recorder(), Recorder(), Recorder()
    edge = Edge(daemons, folder, blocks(pki, first.address, second.address), workers=2)
    name = f"example.com/{first.address}"

    def is_down():
        for _ in range(6):
            assert fetch(edge, ca)[1] == "hello"
        return (first.origin.count == 0 and origin_rows(edge)[first.address]["set_down"]
                and all(origin["set_down"] for worker in edge.status()["workers"]
                        for origin in worker["sites"][0]["origins"] if origin["name"] == first.address))
    assert told(edge.conf, "origin-down", name) == {"ok": True}
    assert is_down()
    edge.reload(blocks(pki, first.address, second.address, third.address))
    assert is_down()
    for pid in edge.daemon.children("edge-worker"):
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: edge.status()["ready"] and pid not in edge.daemon.children("edge-worker"),
                   "a new worker")
    assert is_down()
    # What the configuration has no more is forgotten, by the master and by the workers.
    edge.reload(blocks(pki, second.address))
    edge.daemon.wait_log(f"an origin that was set down is gone.*{name}")
    assert told(edge.conf, "origin-up", name, check=False)["error"] == f'site "example.com" has no origin "{first.address}"'
    edge.reload(blocks(pki, first.address, second.address))
    assert origin_rows(edge)[first.address]["set_down"] is False
    wait_until(lambda: fetch(edge, ca)[1] == "hello" and first.heads, "it is used again")


@pytest.mark.parametrize("protocol", ["http", "tcp"])
def test_without_any_origin(daemons, folder, pki, ca, protocol):
    recorder = Recorder()
    edge = Edge(daemons, folder, blocks(pki, recorder.address, protocol=protocol, alpn='{"http/1.1"}'))
    assert told(edge.conf, "origin-down", f"example.com/{recorder.address}") == {
        "ok": True, "note": "all origins of the site are set down"}
    status, body, _ = fetch(edge, ca, check=False)
    assert (status, body) == (0, "503 Service Unavailable\n") if protocol == "http" else status != 0
    assert recorder.origin.count == 0
    assert told(edge.conf, "origin-up", f"example.com/{recorder.address}") == {"ok": True}
    assert fetch(edge, ca)[1] == "hello"


def test_origins_that_are_down_are_not_checked(daemons, folder, pki):
    recorder = Recorder()
    edge = Edge(daemons, folder, blocks(pki, recorder.address, origin_check="100ms"))
    wait_until(lambda: recorder.origin.count > 2, "it is checked")
    assert told(edge.conf, "origin-down", f"example.com/{recorder.address}")["ok"]
    attempts = origin_rows(edge)[recorder.address]["attempts"]
    wait_until(lambda: recorder.origin.count == attempts, "those that were made have come")
    edge.reload(blocks(pki, recorder.address, origin_check="110ms"))
    assert origin_rows(edge)[recorder.address]["attempts"] == 0 and recorder.origin.count == attempts
    assert told(edge.conf, "origin-up", f"example.com/{recorder.address}") == {"ok": True}
    wait_until(lambda: recorder.origin.count > attempts, "it is checked again")


def test_an_origin_at_a_unix_socket(daemons, folder, pki, ca):
    """Its name has "/"; so does this site's."""
    recorder = Recorder()
    title = "shop/eu"
    site = edgelib.site(title, [pki / "p256.crt"], [pki / "p256.key"], [f"unix:{folder}/origin.sock", recorder.address],
                        protocol="http", names='{"example.com"}')
    edge = Edge(daemons, folder, [site])
    assert told(edge.conf, "origin-down", f"{title}/unix:{folder}/origin.sock") == {"ok": True}
    assert fetch(edge, ca)[1] == "hello"
    rows = told(edge.conf, "origins")["origins"]
    assert [(row["site"], row["set_down"], row["failures"]) for row in rows] == [(title, True, 0), (title, False, 0)]


# --- workers that are late, and many who ask ---

def test_a_worker_that_is_late(daemons, folder, pki):
    recorder = Recorder()
    edge = Edge(daemons, folder, blocks(pki, recorder.address, "127.0.0.1:1"), workers=2)
    late = edge.daemon.children("edge-worker")[0]
    os.kill(late, signal.SIGSTOP)
    try:
        assert told(edge.conf, "origin-down", f"example.com/{recorder.address}") == {
            "ok": True, "note": "a worker is late; it has yet to do it"}
        answer = told(edge.conf, "origins")
        assert answer["left_out"] == 1 and answer["origins"][0]["set_down"] is True
    finally:
        os.kill(late, signal.SIGCONT)
    wait_until(lambda: all(worker.get("sites", [{}])[0].get("origins", [{}])[0].get("set_down")
                           for worker in edge.status()["workers"]), "it has done it")
    assert told(edge.conf, "origin-up", f"example.com/{recorder.address}") == {"ok": True}


def test_orders_while_others_ask(daemons, folder, pki):
    recorder = Recorder()
    edge = Edge(daemons, folder, blocks(pki, recorder.address, "127.0.0.1:1"), workers=2)
    sock = folder / "run" / "edge.sock"
    over = threading.Event()
    wrong = []

    def ask():
        while not over.is_set():
            if "sites" not in control(sock, "status")["workers"][0] or "origins" not in control(sock, "origins"):
                wrong.append("an answer without its part")
    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    for i in range(50):
        word = ("origin-down", "origin-up")[i % 2]
        assert control(sock, word, argument=f"example.com/{recorder.address}") == {"ok": True}
        assert control(sock, "origins")["origins"][0]["set_down"] is (i % 2 == 0)
        assert control(sock, "purge") == {"ok": True}
    over.set()
    for asker in askers:
        asker.join(20)
    assert not wrong


# --- ticket keys ---

def ticket_name(port, ca, *options):
    """The first 16 bytes of a ticket of TLS 1.2: which key has sealed it."""
    return re.search(r"TLS session ticket:\n +0000 - ((?:[0-9a-f]{2}[ -]){16})", edgelib.s_client(port, "-tls1_2", *options, ca=ca))[1]


def test_new_ticket_keys_at_an_edge(daemons, folder, pki, ca):
    origin = Origin(edgelib.http(b"hello"))
    edge = Edge(daemons, folder, blocks(pki, origin.address, protocol="tcp"), workers=2)
    session = folder / "session"
    before = ticket_name(edge.port, ca, "-sess_out", session)
    assert ticket_name(edge.port, ca) == before
    assert told(edge.conf, "rotate") == {"ok": True}
    edge.daemon.wait_log("an operator has a new ticket key made")
    assert told(edge.conf, "sessions")["sessions"][0]["ticket_keys"] == 2
    after = {ticket_name(edge.port, ca) for _ in range(6)}
    assert len(after) == 1 and before not in after
    assert "Reused, " in edgelib.s_client(edge.port, "-tls1_2", "-sess_in", session, ca=ca)
    origin.close()


@pytest.mark.parametrize("secret", [None, "ticket_secret"])
def test_new_ticket_keys_of_handshakers(daemons, folder, authority, site_authority, secret):
    origin = Origin(edgelib.http(b"hello"))
    (folder / "keys1").mkdir(exist_ok=True)
    options = "fronts = 1 signers = 1 handshakers = 2"
    if secret:
        (folder / "keys1/ticket.secret").write_text(32 * "7a" + "\n")
        (folder / "keys1/ticket.secret").chmod(0o600)
        options += ' ticket_secret = "ticket.secret"'
    pair = pairs.Pair(folder, authority, site_authority, origin.port, edge_allow="handshake", policy="allow = {handshake}\n",
                      site_options="mode = handshake", fetch_certificates=True, keyd_options=options).start(daemons)
    ca = site_authority.certificate
    session = folder / "session"
    before = ticket_name(pair.port, ca, "-sess_out", session)
    answer = told(folder / "keys1/keyd.conf", "rotate")
    assert answer == {"ok": True} | ({"note": "ticket keys of mode handshake come from ticket_secret"} if secret else {})
    if secret:
        assert ticket_name(pair.port, ca) == before
    else:
        wait_until(lambda: ticket_name(pair.port, ca) != before, "new tickets have the new key")
    assert "Reused, " in pair.s_client("-tls1_2", "-sess_in", session)
    origin.close()


def test_new_ticket_keys_of_a_fleet(daemons, folder, authority, site_authority):
    origin = Origin(edgelib.http(b"hello from the origin"))
    fleet = fleets.Fleet(folder, authority, site_authority, origin.port).start(daemons)
    fleet.wait_for_keys()
    session = fleet.session(fleet.port)
    [before] = fleet.ticket_keys()
    assert told(folder / "keys1/keyd.conf", "rotate") == {"ok": True}
    for name in "edge1", "edge2":  # a new configuration asks at once, an old one in its time
        assert told(folder / name / "edge.conf", "reload")["ok"]
    wait_until(lambda: fleet.ticket_keys() == [before + 1] == fleet.edges[0].ticket_keys(), "both have one more")
    assert all(fleet.resumes(port, session) for port in fleet.ports())
    origin.close()


def test_http_takes_no_commands(daemons, folder, pki, ca):
    """The operator's HTTP listener shows; who wants a change needs the control socket."""
    socket_path = folder / "admin.sock"
    address = start_nginx(daemons, folder)
    edge = Edge(daemons, folder, blocks(pki, address), options=f'admin {{ listen = "unix:{socket_path}" }}')
    for path in ["/origins", "/rotate", "/origin-down", f"/status?origin-down=example.com/{address}"]:
        for method in ["GET", "POST"]:
            done = run("curl", "-s", "-o", folder / "out", "-w", "%{http_code}", "-X", method, "--unix-socket", socket_path,
                       f"http://x{path}")
            assert done.stdout == ("405" if method == "POST" else "200" if path.startswith("/status") else "404")
    assert origin_rows(edge)[address]["set_down"] is False
