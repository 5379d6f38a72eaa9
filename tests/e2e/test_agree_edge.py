"""Modes `agree` (K3), `master` (K4) and `keys` (K5): what the edge asks, what it learns, what happens when things go wrong."""
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import threading

import pytest

import edgelib
import harness
import keyproto
import liar
import pair as pairs

MODES = ("agree", "master", "keys")
EXPOSE = "expose = master"
ECDHE, DHE, RSA = "ECDHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-GCM-SHA384", "AES128-GCM-SHA256"


@pytest.fixture(scope="module")
def origin():
    made = edgelib.Origin(edgelib.http(b"hello from the origin"))
    yield made
    made.close()


@pytest.fixture
def make(folder, authority, site_authority, origin, daemons):
    """A running pair in that mode, whose edge may do nothing else."""
    def start(mode, kinds=("rsa2048",), allow=None, port=None, **options):
        also = {"sign": ", decrypt", "agree": ", decrypt", "keys": ", expose" if EXPOSE in options.get("site_options", "") else ""}
        allowed = allow or mode + also.get(mode, "")
        options["site_options"] = f"mode = {mode} dhe = on rsa_key_exchange = on {options.get('site_options', '')}"
        pair = pairs.Pair(folder, authority, site_authority, port or origin.port, keys={"example.com": list(kinds)},
                          policy=f"allow = {{{allowed}}}\n", edge_allow=allowed, **options)
        pair.start_keyd(daemons)
        pair.start_edge(daemons, ready=False)
        pair.edge.wait_log("key server is up")
        return pair
    return start


def requests(pair):
    """What the edge has asked its key servers so far, but for pings and listings."""
    return sum(server["requests"] for worker in pair.status("edge")["workers"] for server in worker["keyservers"])


def suite(cipher):
    return ["-tls1_2", "-cipher", cipher]


# --- handshakes and their round trips ---

@pytest.mark.parametrize("mode,option,cipher,trips", [
    ("sign", "", ECDHE, 1), ("sign", "", DHE, 1), ("sign", "", RSA, 1), ("decrypt", "", RSA, 1),
    ("agree", "", ECDHE, 2), ("agree", "", DHE, 2), ("agree", "", RSA, 1),
    ("agree", "agree_private = on", ECDHE, 1), ("agree", "agree_private = on", DHE, 1),
    ("master", "", ECDHE, 2), ("master", "", DHE, 2), ("master", "", RSA, 1),
    ("keys", "", ECDHE, 3), ("keys", "", DHE, 3), ("keys", "", RSA, 2),
    ("keys", EXPOSE, ECDHE, 2), ("keys", EXPOSE, DHE, 2), ("keys", EXPOSE, RSA, 1)])
def test_round_trips(make, mode, option, cipher, trips):
    """K1, K2; K3 and K3a (agree), K3b and K4 (master), K3c and K5b (keys), K5a (exposed)."""
    pair = make(mode, site_options=option)
    before = requests(pair)
    output = pair.s_client(*suite(cipher))
    assert re.search(rf"New, TLSv1\.2, Cipher is {cipher}", output), output
    assert "hello from the origin" in output
    assert requests(pair) - before == trips
    site, = [site for worker in pair.status("edge")["workers"] for site in worker["sites"]]
    assert site["mode"] == mode and site["certificate"]
    assert site["expose"] == ("master" if option == EXPOSE else "none")


def test_metrics_name_the_mode(make):
    """Of each site, and of the configuration that is in service."""
    port = harness.free_port()
    pair = make("keys", allow="keys, master", edge_options=f'workers = 1 admin {{ listen = "127.0.0.1:{port}" }}')

    def told():
        text = harness.run("curl", "-sS", "--noproxy", "*", f"http://127.0.0.1:{port}/metrics").stdout
        return re.findall(r'^farkey_edge_site_info\{site="example\.com",mode="(\w+)",expose="(\w+)"\} 1$', text, re.M)
    assert told() == [("keys", "none")]
    reload_edge(pair, "mode = keys", "mode = master")
    assert told() == [("master", "none")]


def test_one_round_trip_of_tls13(make):
    pair = make("sign")
    before = requests(pair)
    output = pair.s_client("-tls1_3")
    assert "New, TLSv1.3" in output and "hello from the origin" in output, output
    assert requests(pair) - before == 1


@pytest.mark.parametrize("cipher,trips", [(ECDHE, 3), (DHE, 3), (RSA, 2)])
def test_no_more_round_trips_without_extended_master_secret(make, folder, cipher, trips):
    pair = make("keys")
    (folder / "plain.cnf").write_text("openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = plain\n"
                                      "[plain]\nOptions = -ExtendedMasterSecret\n")
    before = requests(pair)
    output = harness.run("openssl", "s_client", "-connect", f"127.0.0.1:{pair.port}", "-servername", "example.com",
                         "-ign_eof", *suite(cipher), input="GET / HTTP/1.0\r\n\r\n",
                         env={**os.environ, "OPENSSL_CONF": str(folder / "plain.cnf")}).stdout
    assert "Extended master secret: no" in output and "hello from the origin" in output, output
    assert requests(pair) - before == trips


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("group,kind", [("X25519", "ed25519"), ("P-256", "p256"), ("P-384", "rsa2048")])
def test_groups_and_keys(make, mode, group, kind):
    pair = make(mode, kinds=[kind])
    output = pair.s_client("-tls1_2", "-groups", group)
    assert re.search(rf"Server Temp Key: (ECDH, )?{re.escape({'P-256': 'prime256v1', 'P-384': 'secp384r1'}.get(group, group))}",
                     output), output
    assert "hello from the origin" in output


@pytest.mark.parametrize("mode", MODES)
def test_site_with_two_keys(make, mode):
    """All steps of a handshake are with the key that the client's suite, or its algorithms, have chosen."""
    pair = make(mode, kinds=("rsa2048", "p256"))
    for options, kind in (suite(ECDHE), "rsaEncryption"), (suite("ECDHE-ECDSA-AES128-GCM-SHA256"), "id-ecPublicKey"):
        output = pair.s_client(*options)
        assert f"a:PKEY: {kind}" in output and "hello from the origin" in output, output
    for algorithms, kind in ("RSA-PSS+SHA256", "rsaEncryption"), ("ECDSA+SHA256", "id-ecPublicKey"):
        output = pair.s_client("-tls1_3" if mode == "keys" else "-tls1_2", "-sigalgs", algorithms)
        assert f"a:PKEY: {kind}" in output and "hello from the origin" in output, output


@pytest.mark.parametrize("mode", ["agree", "master"])
def test_tls13_is_not_offered(make, mode):
    pair = make(mode)
    assert "alert protocol version" in pair.s_client("-tls1_3", check=False)
    assert "SSL connection using TLSv1.2" in pair.get()[2]


def test_group_that_is_not_made(make, folder):
    pair = make("agree")
    output = pair.s_client("-tls1_2", "-groups", "P-521", "-cipher", "ECDHE", check=False)
    assert "handshake failure" in output
    conf = pair.folder / "edge1/edge.conf"
    conf.write_text(conf.read_text().replace("mode = agree", 'mode = agree groups = {"P-521"}'))
    done = harness.run(harness.FARKEY, "check", conf, check=False)
    assert done.returncode == 1 and 'group "P-521" is not made by key servers' in done.stderr


@pytest.mark.parametrize("mode,option,trips", [("agree", "", 0), ("master", "", 0), ("keys", "", 3), ("keys", EXPOSE, 0)])
@pytest.mark.parametrize("options", [[], ["-no_ticket"]])
def test_resumption(make, folder, mode, option, trips, options):
    """With the master secret at the edge as ever, and nothing is asked; else by the key server."""
    pair = make(mode, site_options=option)
    session = folder / "session.pem"
    pair.s_client(*suite(ECDHE), *options, "-sess_out", session)
    before = requests(pair)
    output = pair.s_client(*suite(ECDHE), *options, "-sess_in", session)
    assert "Reused, TLSv1.2" in output and "hello from the origin" in output, output
    assert requests(pair) - before == trips


def reload_edge(pair, *change):
    conf = pair.folder / "edge1/edge.conf"
    conf.write_text(conf.read_text().replace(*change))
    answer = harness.control(pair.folder / "edge1/run/edge.sock", "reload")
    assert answer.get("ok"), answer


@pytest.mark.parametrize("options", [[], ["-no_ticket"]])
def test_sealed_sessions_are_for_sites_of_this_kind(make, folder, options):
    """To another mode the token that stands for a master secret would be one: it is a full handshake there."""
    pair = make("keys", allow="keys, expose, master")
    session = folder / "session.pem"
    pair.s_client(*suite(ECDHE), *options, "-sess_out", session)
    for changed in (f"mode = keys {EXPOSE}", "mode = master"):
        reload_edge(pair, "mode = keys", changed)
        output = pair.s_client(*suite(ECDHE), *options, "-sess_in", session)
        assert "New, TLSv1.2" in output and "hello from the origin" in output, output
        reload_edge(pair, changed, "mode = keys")
    assert "Reused, TLSv1.2" in pair.s_client(*suite(ECDHE), *options, "-sess_in", session)


def test_what_ends_sealed_sessions(make, folder, daemons):
    """The key server's restart, and its policy at once; the client gets a full handshake, or an alert."""
    pair = make("keys", allow="keys, agree")
    session = folder / "session.pem"
    pair.s_client(*suite(ECDHE), "-sess_out", session)
    policy = pair.folder / "keys1/keys/example.com.policy"
    policy.write_text("allow = {agree}\n")
    harness.control(pair.folder / "keys1/run/keyd.sock", "reload")
    assert "alert internal error" in pair.s_client(*suite(ECDHE), "-sess_in", session, check=False)
    policy.write_text("allow = {keys}\n")
    harness.control(pair.folder / "keys1/run/keyd.sock", "reload")
    assert "Reused, TLSv1.2" in pair.s_client(*suite(ECDHE), "-sess_in", session)
    before = len(pair.edge.log())
    pair.keyd.stop()
    pair.start_keyd(daemons)
    pair.edge.wait_log("key server is up", since=before)
    output = pair.s_client(*suite(ECDHE), "-sess_in", session)
    assert "New, TLSv1.2" in output and "hello from the origin" in output, output
    assert (pair.folder / "keys1/audit.log").read_text().count("op=resume") >= 2


@pytest.mark.parametrize("mode,option", [*((mode, "") for mode in MODES), ("keys", EXPOSE)])
@pytest.mark.parametrize("records", ["engine", "openssl"])
def test_much_data_by_either_record_layer(make, mode, option, records, folder):
    large = os.urandom(1 << 20)
    served = edgelib.Origin(edgelib.http(large))
    with contextlib.closing(served):
        pair = make(mode, port=served.port, site_options=f"records = {records} {option}")
        for cipher in (ECDHE, "ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-RSA-AES256-GCM-SHA384"):
            got = folder / "got"
            pair.get("example.com", "--ciphers", cipher, "-o", got)
            assert got.read_bytes() == large


# --- key servers ---

def add_server(pair, daemons, name):
    """Another key server with the same keys."""
    folder, port = pair.folder / name, harness.free_port()
    shutil.copytree(pair.folder / "keys1", folder, ignore=shutil.ignore_patterns("run", "audit.log*"))
    (folder / "run").mkdir()
    conf = folder / "keyd.conf"
    conf.write_text(conf.read_text().replace(f":{pair.keyd_port}", f":{port}"))
    daemons.append(harness.Daemon(harness.FARKEY, "keyd", "-c", conf, log=pair.folder / f"{name}.log"))
    pair.servers[name] = port
    pair.write_edge()


@pytest.mark.parametrize("mode", MODES)
def test_one_handshake_is_one_key_servers(make, daemons, mode):
    """Of two that take turns each gets whole handshakes; the handles of one are nothing to the other."""
    pair = make(mode, site_options="strategy = round_robin")
    add_server(pair, daemons, "keys2")
    pair.edge.signal(signal.SIGHUP)

    def servers():
        (worker,) = pair.status("edge")["workers"]
        return {server["name"]: server for server in worker["keyservers"]}
    harness.wait_until(lambda: len(servers()) == 2 and all(server["up"] for server in servers().values()), "both are up")
    for cipher in (ECDHE, DHE, RSA) * 3:
        assert "hello from the origin" in pair.s_client(*suite(cipher))
    assert all(server["requests"] > 0 for server in servers().values()), servers()
    assert "operation failed" not in pair.edge.log()


@pytest.mark.parametrize("mode,option", [("agree", ""), ("agree", "agree_private = on"), ("master", ""), ("keys", ""),
                                         ("keys", EXPOSE)])
def test_signed_and_sealed(make, folder, mode, option):
    """The edge signs its requests; the secrets come sealed to it, past the front."""
    pair = make(mode, site_options=option, keyd_options="fronts = 1 signers = 2 signed_requests = on",
                **pairs.request_key(folder))
    for cipher in (ECDHE, DHE, RSA) * 2:
        assert "hello from the origin" in pair.s_client(*suite(cipher))
    assert "operation failed" not in pair.edge.log()


# --- permissions ---

@pytest.mark.parametrize("mode,allowed", [("agree", "master"), ("master", "keys"), ("keys", "agree"),
                                          ("agree", "sign")])
def test_not_permitted(make, mode, allowed):
    pair = make(mode, allow=allowed)
    assert "alert internal error" in pair.s_client(*suite(ECDHE), check=False)
    pair.edge.wait_log("private key operation failed.*DENIED")


def test_exposure_is_permitted_of_its_own(make):
    pair = make("keys", allow="keys", site_options=EXPOSE, fetch_certificates=True)
    assert "alert internal error" in pair.s_client(*suite(ECDHE), check=False)
    pair.edge.wait_log("private key operation failed.*DENIED")
    assert "the key server does not permit the site's mode with its key" in pair.edge.log()


def test_not_permitted_is_said_when_certificates_come(make):
    pair = make("keys", allow="master", fetch_certificates=True)
    pair.edge.wait_log("the key server does not permit the site's mode with its key.*example.com")


# --- what the edge learns ---

def captured(output):
    """The ciphertext of a ClientKeyExchange that openssl s_client -msg has printed."""
    text = re.search(r">>> TLS 1\.2, Handshake \[length [0-9a-f]+\], ClientKeyExchange\n((?:    [0-9a-f ]+\n)+)", output)[1]
    return bytes.fromhex(re.sub(r"\s", "", text))[6:]


def decrypt(key, ciphertext):
    return subprocess.run(["openssl", "pkeyutl", "-decrypt", "-inkey", str(key)], input=ciphertext,
                          capture_output=True, check=True).stdout


class Held:
    """A client that stays connected, and the secrets of its session."""

    def __init__(self, pair, folder, cipher, *options):
        log = folder / "keylog"
        self.client = subprocess.Popen(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{pair.port}", "-servername", "example.com", "-msg",
             "-keylogfile", str(log), *suite(cipher), *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.output = ""
        while "Extended master secret" not in self.output:
            line = self.client.stdout.readline()
            assert line, self.output
            self.output += line
        self.master = bytes.fromhex(log.read_text().split()[-1])

    def close(self):
        self.client.kill()
        self.client.communicate()


@pytest.mark.unsanitized
@pytest.mark.skipif(os.geteuid() != 0, reason="reading another process's memory needs root")
@pytest.mark.parametrize("mode,option,cipher", [
    ("sign", "", ECDHE), ("sign", "", RSA), ("decrypt", "", RSA), ("agree", "", ECDHE), ("agree", "", RSA),
    ("master", "", ECDHE), ("master", "", DHE), ("master", "", RSA), ("keys", "", ECDHE), ("keys", "", DHE),
    ("keys", "", RSA), ("keys", EXPOSE, ECDHE), ("keys", EXPOSE, DHE), ("keys", EXPOSE, RSA)])
def test_what_is_in_the_edges_memory(make, folder, mode, option, cipher):
    """While a session is open and OpenSSL keeps what it has: no private key, and the secrets of the mode."""
    pair = make(mode, site_options=f"records = openssl {option}")
    held = Held(pair, folder, cipher)
    with contextlib.closing(held):
        worker, = pair.edge.children("edge-worker")
        key = pair.folder / "keys1/keys/example.com.key"
        for pid in (pair.edge.pid, *pair.edge.children()):
            assert not pairs.holds_any(pid, pairs.private_numbers(key))
        # The search finds the master secret where it may be: so it would find it in mode keys.
        assert pairs.holds_any(worker, [held.master]) == (mode != "keys" or option == EXPOSE)
        if cipher == RSA:
            premaster = decrypt(key, captured(held.output))
            may_have = mode in ("sign", "decrypt", "agree")
            assert len(premaster) == 48 and (may_have or not pairs.holds_any(worker, [premaster]))


@pytest.mark.unsanitized
@pytest.mark.skipif(os.geteuid() != 0, reason="reading another process's memory needs root")
@pytest.mark.parametrize("mode", ["master", "keys"])
def test_what_is_in_the_edges_memory_when_resumed(make, folder, mode):
    """What a resumed session of mode keys is made from was opened at the key server, and has stayed there."""
    pair = make(mode, site_options="records = openssl")
    session = folder / "session.pem"
    pair.s_client(*suite(ECDHE), "-sess_out", session)
    with contextlib.closing(Held(pair, folder, ECDHE, "-sess_in", str(session))) as held:
        assert "Reused, TLSv1.2" in held.output
        worker, = pair.edge.children("edge-worker")
        assert pairs.holds_any(worker, [held.master]) == (mode != "keys")


@pytest.mark.unsanitized
@pytest.mark.skipif(os.geteuid() != 0, reason="reading another process's memory needs root")
@pytest.mark.parametrize("option,cipher", [("", ECDHE), ("", DHE), ("agree_private = on", ECDHE),
                                           ("agree_private = on", DHE)])
def test_what_opens_a_recorded_session_is_forgotten(make, folder, option, cipher):
    """Mode agree: the premaster secret or the private value came here; while the session lasts it is here no more."""
    pair = make("agree", site_options=f"records = openssl {option}")
    answers = []

    def listen(frame):
        answers.append(frame)
        return [frame]
    between = liar.Liar(pair, pair.keyd_port, listen)
    pair.servers = {"keys1": between.port}
    pair.write_edge()
    pair.edge.signal(signal.SIGHUP)
    harness.wait_until(lambda: between.told > 0 and pair.get(check=False)[0] == 0, "the edge asks through the listener")
    answers.clear()
    with contextlib.closing(Held(pair, folder, cipher)) as held:
        # The last thing in the last answer: big-endian, as numbers of OpenSSL are not.
        answer = [keyproto.Answer(0x0100, 0, frame[8:]) for frame in answers if frame[8:12] == b"\x11\x00\x01\xf0"][-1]
        secret = answer.items["payload"][-28:]
        worker, = pair.edge.children("edge-worker")
        assert pairs.holds_any(worker, [held.master])
        assert not pairs.holds_any(worker, [secret, secret[::-1]])
    between.stop()


# --- faults ---

@pytest.mark.parametrize("mode,answers,seen", [
    ("agree", 1, "alert internal error"), ("master", 1, "alert internal error"), ("keys", 1, "alert internal error"),
    ("keys", 2, "data between ccs and finished")])  # as OpenSSL's client calls an alert in Finished's place
def test_key_server_is_lost_between_round_trips(make, mode, answers, seen):
    """The handle is at that key server: the handshake ends by an alert, the next one is made anew."""
    pair = make(mode)
    state = {"count": None}

    def lie(frame):
        if state["count"] is None or not liar.is_answer(frame):
            return [frame]
        state["count"] += 1
        return None if state["count"] == answers + 1 else [frame]
    between = liar.Liar(pair, pair.keyd_port, lie)
    pair.servers = {"keys1": between.port}
    pair.write_edge()
    pair.edge.signal(signal.SIGHUP)
    harness.wait_until(lambda: between.told > 0 and pair.get(check=False)[0] == 0, "the edge asks through the liar")
    state["count"] = 0
    output = pair.s_client(*suite(ECDHE), check=False)
    assert seen in output, output
    pair.edge.wait_log("private key operation failed")
    state["count"] = None
    harness.wait_until(lambda: pair.get(check=False)[0] == 0, "the next handshake")
    between.stop()


@pytest.mark.parametrize("mode,step", [(mode, step) for mode in MODES for step in (0, 1, 2) if step < 2 or mode == "keys"])
def test_answers_of_another_handshake(make, mode, step):
    """The key server's own, but of the handshake before: no session comes of it, the next handshake is served."""
    pair = make(mode)
    state = {"count": None, "kept": {}, "swap": False}

    def lie(frame):
        if state["count"] is None or not liar.is_answer(frame):
            return [frame]
        at, state["count"] = state["count"], state["count"] + 1
        kept = state["kept"].setdefault(at, frame)
        return [kept[:4] + frame[4:8] + kept[8:]] if state["swap"] and at == step else [frame]
    between = liar.Liar(pair, pair.keyd_port, lie)
    pair.servers = {"keys1": between.port}
    pair.write_edge()
    pair.edge.signal(signal.SIGHUP)
    harness.wait_until(lambda: between.told > 0 and pair.get(check=False)[0] == 0, "the edge asks through the liar")
    for swap in (False, True):
        state["count"], state["swap"] = 0, swap
        output = pair.s_client(*suite(ECDHE), check=False)
        assert ("hello from the origin" in output) != swap, output
        assert swap or state["count"] == (3 if mode == "keys" else 2)
    assert state["count"] > step
    assert re.search("alert|bad signature|bad record mac|data between ccs|digest check failed", output), output
    state["count"] = None
    harness.wait_until(lambda: pair.get(check=False)[0] == 0, "the next handshake")
    between.stop()


class Tamperer:
    """Between a client and an edge: takes the extended master secret's extension out of the ClientHello."""

    def __init__(self, port):
        self.port = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.own_port = self.listener.getsockname()[1]
        self.changed = False
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        client, _ = self.listener.accept()
        edge = socket.create_connection(("127.0.0.1", self.port))
        hello = client.recv(65536)
        self.changed = b"\x00\x17\x00\x00" in hello
        edge.sendall(hello.replace(b"\x00\x17\x00\x00", b"\x7a\x7b\x00\x00", 1))
        threading.Thread(target=self.pump, args=(edge, client), daemon=True).start()
        self.pump(client, edge)

    @staticmethod
    def pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("mode", MODES)
def test_clients_finished_that_is_wrong(make, mode):
    """Both ends derive the same keys, but have seen other messages: the client's Finished tells."""
    pair = make(mode)
    tamperer = Tamperer(pair.port)
    done = harness.run("openssl", "s_client", "-connect", f"127.0.0.1:{tamperer.own_port}", "-servername", "example.com",
                       *suite(ECDHE), input="", check=False)
    assert tamperer.changed
    assert "alert decrypt error" in done.stdout + done.stderr, done.stdout + done.stderr
    pair.edge.wait_log("digest check failed")
    assert "hello from the origin" in pair.s_client(*suite(ECDHE))


@pytest.mark.parametrize("mode", MODES)
def test_clients_that_leave_in_the_middle(make, mode):
    """A handshake that is waiting for the key server is given up, and others go on."""
    pair = make(mode)
    for _ in range(20):
        client = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{pair.port}", "-servername",
                                   "example.com", *suite(ECDHE)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        client.stdout.read(1)  # connected
        client.kill()
        client.communicate()
    assert "hello from the origin" in pair.s_client(*suite(ECDHE))
