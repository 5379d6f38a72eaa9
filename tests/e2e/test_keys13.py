"""Mode `keys` in TLS 1.3: what the key server derives and signs, by a client of the test's own; whole handshakes of clients with
an edge; what the edge learns; what happens when things go wrong."""
import contextlib
import hashlib
import hmac
import os
import re
import signal
import socket
import struct
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric import x25519

import edgelib
import harness
import keyproto
import liar
import pair as pairs
from keyproto import SECP256R1, SECP384R1, X25519, vec8, vec16
from test_agree import (CLIENT_RANDOM, DENIED, ECDSA_SHA256, ED25519, EXPIRED_HANDLE, FORMAT, RSA_PSS_SHA256, SERVER_RANDOM,
                        Client, build, counted, handles, server)
from test_agree_edge import make, origin, requests
from test_keyd import PSS, refusal

__all__ = ["build", "counted", "make", "origin", "server"]  # fixtures

HASHES = {0x1301: "sha256", 0x1302: "sha384", 0x1303: "sha256"}


# --- the key schedule of RFC 8446 section 7.1, by Python ---

class Schedule:
    """Of a suite, from what both shares agree on."""

    def __init__(self, suite, shared):
        self.digest, self.size = HASHES[suite], hashlib.new(HASHES[suite]).digest_size
        early = self.extract(bytes(self.size), bytes(self.size))
        self.shared, self.handshake = shared, self.extract(self.derive(early, "derived", b""), shared)
        self.master = self.extract(self.derive(self.handshake, "derived", b""), bytes(self.size))

    def extract(self, salt, secret):
        return hmac.digest(salt, secret, self.digest)

    def hash(self, data):
        return hashlib.new(self.digest, data).digest()

    def expand(self, secret, label, context):
        info = struct.pack(">H", self.size) + vec8(b"tls13 " + label.encode()) + vec8(context)
        return hmac.digest(secret, info + b"\1", self.digest)

    def derive(self, secret, label, messages):
        return self.expand(secret, label, self.hash(messages))

    def traffic(self, kind, messages):
        """Of "hs" or "ap": the client's secret and the server's."""
        secret = self.handshake if kind == "hs" else self.master
        return tuple(self.derive(secret, f"{end} {kind} traffic", messages) for end in "cs")

    def finished(self, server_secret, messages):
        return message(20, hmac.digest(self.expand(server_secret, "finished", b""), self.hash(messages), self.digest))


def message(kind, body):
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def extension(kind, data):
    return struct.pack(">H", kind) + vec16(data)


def client_hello(suite, group, share, name=b"example.com"):
    extensions = [extension(0, vec16(b"\0" + vec16(name))), extension(10, vec16(struct.pack(">H", group))),
                  extension(13, vec16(struct.pack(">4H", RSA_PSS_SHA256, ECDSA_SHA256, ED25519, 0x0805))),
                  extension(43, vec8(b"\3\4")), extension(51, vec16(struct.pack(">H", group) + vec16(share)))]
    return message(1, b"\3\3" + CLIENT_RANDOM + vec8(b"") + vec16(struct.pack(">H", suite)) + b"\1\0" +
                   vec16(b"".join(extensions)))


def server_hello(suite, group, share, random=SERVER_RANDOM):
    extensions = extension(43, b"\3\4") + extension(51, struct.pack(">H", group) + vec16(share))
    return message(2, b"\3\3" + random + vec8(b"") + struct.pack(">H", suite) + b"\0" + vec16(extensions))


# --- the key server ---

class Handshake:
    """HELLO13 and what comes of it."""

    def __init__(self, channel, server, name="ec.example", suite=0x1301, group=X25519):
        self.channel, self.server, self.name = channel, server, name
        client = Client(group)
        hello = client_hello(suite, group, client.share)
        reader = keyproto.Reader(channel.call(keyproto.HELLO13,
                                              keyproto.hello13(group, suite, SERVER_RANDOM, client.share, hello),
                                              ski=server.ski(name)))
        self.handle, self.share, self.secrets = reader.take(16), reader.vec(2), (reader.vec(1), reader.vec(1))
        reader.end()
        self.schedule = Schedule(suite, client.agree(self))
        self.hellos = hello + server_hello(suite, group, self.share)
        self.transcript = self.hellos + message(8, vec16(b"")) + message(11, bytes(4))

    def sign(self, scheme=ECDSA_SHA256, transcript=None, channel=None, handle=None):
        answer = (channel or self.channel).call(
            keyproto.FLIGHT13, keyproto.flight13(handle or self.handle, scheme, transcript or self.transcript),
            ski=self.server.ski(self.name))
        reader = keyproto.Reader(answer)
        signature, secrets = reader.vec(2), (reader.vec(1), reader.vec(1))
        reader.end()
        return signature, secrets


@pytest.mark.parametrize("name,scheme,suite,group,options", [
    ("ec.example", ECDSA_SHA256, 0x1301, X25519, ["-digest", "sha256"]), ("example.com", RSA_PSS_SHA256, 0x1302, SECP384R1, PSS),
    ("ed.example", ED25519, 0x1303, SECP256R1, [])])
def test_key_server_derives_and_signs(server, name, scheme, suite, group, options):
    """Everything but the private keys is computed again."""
    with server.edge("edge6") as channel:
        begun = Handshake(channel, server, name, suite, group)
        schedule = begun.schedule
        handshake = schedule.traffic("hs", begun.hellos)
        assert begun.secrets == handshake
        signature, secrets = begun.sign(scheme)
    content = keyproto.sign13_message(keyproto.SERVER, schedule.hash(begun.transcript))
    server.verify(name, content, signature, *options)
    transcript = begun.transcript + message(15, struct.pack(">H", scheme) + vec16(signature))
    transcript += schedule.finished(handshake[1], transcript)
    assert secrets == schedule.traffic("ap", transcript)
    audit = server.folder / "audit.log"
    harness.wait_until(lambda: "op=flight13" in audit.read_text(), "both lines are in the log")
    for operation in ("hello13", "flight13"):
        assert re.search(rf"edge=edge6 key={name} op={operation} .*hash={CLIENT_RANDOM.hex()} result=OK", audit.read_text())


def test_handle_is_used_once_by_its_edge(server):
    with server.edge("edge6") as channel, server.edge("edge7") as other, server.edge("edge6") as again:
        begun = Handshake(channel, server)
        assert refusal(begun.sign, channel=other) == EXPIRED_HANDLE
        assert refusal(begun.sign, handle=bytes(16)) == EXPIRED_HANDLE
        begun.sign(channel=again)
        assert refusal(begun.sign) == EXPIRED_HANDLE


def test_what_nobody_comes_back_for_is_forgotten(counted, daemons):
    """FLIGHT13 has some seconds; what is left of a handshake then is wiped, and a late one is told so."""
    server = counted.start(daemons)
    with server.edge("edge6") as channel:
        begun = [Handshake(channel, server) for _ in range(4)]
        harness.wait_until(lambda: handles(server) == 4, "handles are counted")
        assert begun[0].sign()[0]
        harness.wait_until(lambda: handles(server) == 3, "one is used")
        harness.wait_until(lambda: handles(server) == 0, "the others' time is over", timeout=60)
        for late in begun:
            assert refusal(late.sign) == EXPIRED_HANDLE
        assert Handshake(channel, server).sign()[0]


def test_a_reload_loses_no_handshake(build):
    """What the signers of the keys before have begun is ended there."""
    server = build(signers=2)
    begun = []
    with server.edge("edge6") as channel:
        for _ in range(3):
            begun += [Handshake(channel, server) for _ in range(4)]
            assert harness.control(server.folder / "run/keyd.sock", "reload").get("ok") is True
        for handshake in begun:
            assert handshake.sign()[0]


def test_another_handshake_is_not_signed(server):
    """Nor one whose ServerHello has another share, and the handle is gone; what is no transcript does not use it up."""
    with server.edge("edge6") as channel:
        begun, other = Handshake(channel, server), Handshake(channel, server)
        foreign = begun.transcript.replace(begun.share, Client(X25519).share)
        for first, transcript in ((begun, foreign), (other, begun.transcript)):
            assert refusal(first.sign, transcript=transcript + b"\0") == FORMAT
            assert refusal(first.sign, transcript=transcript) == FORMAT
            assert refusal(first.sign) == EXPIRED_HANDLE
        assert Handshake(channel, server).sign()[0]


def test_who_may(server):
    for edge in ("edge3", "edge4", "edge5", "edge8"):
        with server.edge(edge) as channel:
            assert refusal(Handshake, channel, server) == DENIED
            assert refusal(channel.call, keyproto.FLIGHT13, keyproto.flight13(bytes(16), ECDSA_SHA256, message(1, bytes(35)) +
                           message(2, b"") + message(8, b"") + message(11, b"")), ski=server.ski("ec.example")) == DENIED


# --- with an edge ---

def tls13(suite="TLS_AES_128_GCM_SHA256", *options):
    return ["-tls1_3", "-ciphersuites", suite, *options]


@pytest.mark.parametrize("suite,group,kind", [
    ("TLS_AES_128_GCM_SHA256", "X25519", "ed25519"), ("TLS_AES_256_GCM_SHA384", "P-256", "rsa2048"),
    ("TLS_CHACHA20_POLY1305_SHA256", "P-384", "p256"), ("TLS_AES_256_GCM_SHA384", "P-521:P-384", "p256")])
def test_takes_two_round_trips(make, suite, group, kind):
    """The last one after a HelloRetryRequest, which asks nothing of the key server."""
    pair = make("keys", kinds=[kind])
    before = requests(pair)
    output = pair.s_client(*tls13(suite, "-groups", group, "-msg"))
    assert re.search(rf"New, TLSv1\.3, Cipher is {suite}", output), output
    assert "hello from the origin" in output
    assert output.count("ServerHello") == (2 if group.startswith("P-521") else 1)
    assert requests(pair) - before == 2
    log = (pair.folder / "keys1/audit.log").read_text()
    assert "op=hello13" in log and "op=flight13" in log


@pytest.mark.parametrize("records", ["engine", "openssl"])
def test_new_keys(make, site_authority, records):
    """KeyUpdate both ways, from the traffic secrets that the key server has told."""
    echoing = edgelib.Origin(edgelib.echo)
    with contextlib.closing(echoing):
        pair = make("keys", port=echoing.port, site_options=f"records = {records}")
        edgelib.update_keys(pair.port, site_authority.certificate)


def test_is_not_resumed(make, folder):
    """Nobody has the resumption secret: no ticket is sent."""
    pair = make("keys")
    output = pair.s_client(*tls13("TLS_AES_128_GCM_SHA256", "-msg", "-sess_out", folder / "session.pem"))
    assert "hello from the origin" in output and "NewSessionTicket" not in output


def test_signed_and_sealed(make, folder):
    pair = make("keys", keyd_options="fronts = 1 signers = 2 signed_requests = on", **pairs.request_key(folder))
    for _ in range(4):
        assert "hello from the origin" in pair.s_client(*tls13())
    assert "operation failed" not in pair.edge.log()


def test_not_permitted(make):
    """To sign is not what the mode is."""
    pair = make("keys", allow="sign")
    assert "alert internal error" in pair.s_client(*tls13(), check=False)
    pair.edge.wait_log("private key operation failed.*DENIED")


def test_key_server_is_lost_between_round_trips(make):
    pair = make("keys")
    state = {"count": None}

    def lie(frame):
        if state["count"] is None or not liar.is_answer(frame):
            return [frame]
        state["count"] += 1
        return None if state["count"] == 2 else [frame]
    between = liar.Liar(pair, pair.keyd_port, lie)
    pair.servers = {"keys1": between.port}
    pair.write_edge()
    pair.edge.signal(signal.SIGHUP)
    harness.wait_until(lambda: between.told > 0 and pair.get(check=False)[0] == 0, "the edge asks through the liar")
    state["count"] = 0
    assert "alert internal error" in pair.s_client(*tls13(), check=False)
    pair.edge.wait_log("private key operation failed")
    state["count"] = None
    harness.wait_until(lambda: pair.get(check=False)[0] == 0, "the next handshake")
    between.stop()


def test_another_handshakes_answer(make):
    """The key server's own, but of the handshake before: nobody goes on with it."""
    pair = make("keys")
    state = {"kept": None, "swap": False}

    def lie(frame):
        if not liar.is_answer(frame) or len(frame) < 8 + 3 + 4 + 3 + 16:
            return [frame]
        answer = keyproto.Answer(struct.unpack(">H", frame[:2])[0], struct.unpack(">I", frame[4:8])[0], frame[8:])
        if len(answer.payload or b"") != 16 + 2 + 32 + 2 * (1 + 32):  # not HELLO13's
            return [frame]
        kept, state["kept"] = state["kept"], frame
        return [kept[:4] + frame[4:8] + kept[8:]] if state["swap"] else [frame]
    between = liar.Liar(pair, pair.keyd_port, lie)
    pair.servers = {"keys1": between.port}
    pair.write_edge()
    pair.edge.signal(signal.SIGHUP)
    options = tls13("TLS_AES_128_GCM_SHA256", "-groups", "X25519")
    harness.wait_until(lambda: "hello from the origin" in pair.s_client(*options, check=False) and between.told > 0
                       and state["kept"], "the edge asks through the liar")
    state["swap"] = True
    output = pair.s_client(*options, check=False)
    assert "hello from the origin" not in output and re.search("alert (internal error|bad record mac)|bad record mac", output), output
    state["swap"] = False
    assert "hello from the origin" in pair.s_client(*options)
    between.stop()


class Spoiler:
    """Between a client and an edge: changes one byte of what the client says after its ClientHello and ChangeCipherSpec."""

    def __init__(self, port):
        self.port = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.own_port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        client, _ = self.listener.accept()
        edge = socket.create_connection(("127.0.0.1", self.port))
        edge.sendall(client.recv(65536))
        threading.Thread(target=self.pump, args=(edge, client, lambda data: data), daemon=True).start()
        self.pump(client, edge, lambda data: data[:12] + bytes(byte ^ 1 for byte in data[12:13]) + data[13:])

    @staticmethod
    def pump(source, sink, change):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(change(data))
            sink.shutdown(socket.SHUT_WR)


def test_clients_finished_that_was_changed(make):
    pair = make("keys")
    spoiler = Spoiler(pair.port)
    done = harness.run("openssl", "s_client", "-connect", f"127.0.0.1:{spoiler.own_port}", "-servername", "example.com",
                       "-ign_eof", *tls13(), input="GET / HTTP/1.0\r\n\r\n", check=False)
    assert "hello from the origin" not in done.stdout and "alert bad record mac" in done.stdout + done.stderr
    pair.edge.wait_log("decryption failed or bad record mac")
    assert "hello from the origin" in pair.s_client(*tls13())


def test_chain_that_is_too_long(make):
    """It is said when certificates are read, before a client finds out."""
    pair = make("keys")
    chain = pair.folder / "edge1/example.com.crt"
    chain.write_text(chain.read_text() * 8)
    pair.edge.signal(signal.SIGHUP)
    pair.edge.wait_log(r'site .x22example.com.x22: .*mode = keys takes 4608 bytes of certificates with TLS 1.3, this chain has')
    assert "hello from the origin" in pair.s_client(*tls13())


class HalfClient:
    """Says a ClientHello, and knows all secrets when the ServerHello is here; it does not go on."""

    def __init__(self, port, suite=0x1301):
        key = Client(X25519)
        hello = client_hello(suite, X25519, key.share)
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=harness.PATIENCE)
        self.socket.sendall(b"\x16\3\1" + vec16(hello))
        head = self.take(5)
        assert head[0] == 22, head
        answer = self.take(int.from_bytes(head[3:], "big"))
        self.peer = answer[-32:]  # key_share is the last extension
        assert answer == server_hello(suite, X25519, self.peer, answer[6:38])
        self.schedule = Schedule(suite, key.key.exchange(x25519.X25519PublicKey.from_public_bytes(self.peer)))
        self.secrets = self.schedule.traffic("hs", hello + answer)
        self.take(5)  # something of the encrypted flight: the edge has done all that it does now

    def take(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            assert more
            data += more
        return data


@pytest.mark.unsanitized
@pytest.mark.skipif(os.geteuid() != 0, reason="reading another process's memory needs root")
def test_what_is_in_the_edges_memory(make):
    """In the middle of a handshake: the traffic secrets, by which the search is known to find; what they are made from is not."""
    pair = make("keys", site_options="records = openssl")
    client = HalfClient(pair.port)
    worker, = pair.edge.children("edge-worker")
    assert all(pairs.holds_any(worker, [secret]) for secret in client.secrets)
    schedule = client.schedule
    assert not pairs.holds_any(worker, [schedule.shared, schedule.handshake, schedule.master])
    assert not pairs.holds_any(worker, pairs.private_numbers(pair.folder / "keys1/keys/example.com.key"))
    client.socket.close()
