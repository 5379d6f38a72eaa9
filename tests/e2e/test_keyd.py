"""The key server as an edge sees it: operations, rights, faults, reloads; the client is keyproto.py."""
import contextlib
import hashlib
import os
import re
import shutil
import signal
import socket
import ssl
import struct

import pytest

import keyproto
from harness import (FARKEY, PATIENCE, Daemon, channel_identity, control, free_port, limited_memory, make_key, port_open, run,
                     wait_until)
from keyproto import Channel, Closed, Refused

RSA_PSS_SHA256, ECDSA_SHA256, ED25519 = 0x0804, 0x0403, 0x0807
FORMAT, VERSION, BAD_OPCODE, UNEXPECTED, KEY_NOT_FOUND = 0x07, 0x04, 0x05, 0x06, 0x02
DENIED, RATE = 0x40, 0x41
HASH = hashlib.sha256(b"transcript").digest()
SECP256R1 = 23


class Keyserver:
    """A key server in a folder of its own, and the identities of its edges."""

    def __init__(self, folder, authority, site_authority, **options):
        self.folder, self.authority, self.sites = folder, authority, site_authority
        self.port = free_port()
        self.daemon = None
        self.options = {"fronts": 1, "signers": 1, "extra": "", "listen": "", "limits": "", "edges": ""}
        self.options.update(options)
        channel_identity(authority, folder, "keyserver", "hq")
        (folder / "keys").mkdir()
        (folder / "audit.key").write_text(os.urandom(32).hex() + "\n")
        (folder / "audit.key").chmod(0o600)
        self.add_key("example.com", "rsa2048", allow="sign, decrypt, digest, dialect1_decrypt")
        self.add_key("ec.example", "p256")
        self.add_key("ed.example", "ed25519")
        self.add_key("other.example", "p256")
        for name in ["edge1", "edge2", "stranger"]:
            channel_identity(authority, folder / name, "edge", name)
        self.write()

    def write(self):
        (self.folder / "keyd.conf").write_text(f"""
fronts = {self.options["fronts"]}
signers = {self.options["signers"]}
log_level = debug
listen "127.0.0.1:{self.port}" {{ {self.options["listen"]} }}
channel {{ certificate = "channel.crt" key = "channel.key" ca = "ca.crt" }}
keys "keys" {{ }}
edge "edge1" {{ keys = {{"example.com", "ec.example", "ed.example"}}
               allow = {{sign, decrypt, digest, dialect1_decrypt}} {self.options["extra"]} }}
edge "edge2" {{ keys = {{"*"}} rate = 10/s burst = 5 }}
{self.options["edges"]}
audit {{ file = "audit.log" key = "audit.key" }}
limits {{ {self.options["limits"]} }}
""")

    def add_key(self, name, kind, allow=None, sans=None):
        make_key(kind, self.folder / "keys" / f"{name}.key")
        self.sites.certify(self.folder / "keys" / f"{name}.key", self.folder / "keys" / f"{name}.crt", name,
                           sans or f"DNS:{name}")
        if allow is not None:
            (self.folder / "keys" / f"{name}.policy").write_text(f"allow = {{{allow}}}\n")

    def start_unready(self, daemons, *options):
        self.daemon = Daemon(FARKEY, "keyd", "-c", self.folder / "keyd.conf", *options, log=self.folder / "keyd.log")
        daemons.append(self.daemon)
        self.daemon.wait_log("front serves")

    def start(self, daemons):
        self.start_unready(daemons)
        wait_until(self.serves, "the key server serves")
        return self

    def serves(self):
        with contextlib.suppress(OSError, Closed, Refused, ValueError):
            return self.status()["ready"]
        return False

    def edge(self, name="edge1", **options):
        own = self.folder / name
        return Channel(("127.0.0.1", self.port), own / "channel.crt", own / "channel.key", self.folder / "ca.crt",
                       identity="farkey:keyserver:hq", timeout=PATIENCE, **options)

    def dialect1(self, name="edge1", **options):
        return self.edge(name, alpn=None, **options)

    def status(self):
        return control(self.folder / "run/keyd.sock")

    def spki(self, name):
        return keyproto.spki_of(self.certificate(name))

    def certificate(self, name):
        return ssl.PEM_cert_to_DER_cert((self.folder / "keys" / f"{name}.crt").read_text())

    def ski(self, name):
        return keyproto.ski_of(self.spki(name))

    def verify(self, name, message, signature, *options):
        """Whether openssl accepts a signature of the key in service under `name`."""
        work = self.folder
        (work / "signature").write_bytes(signature)
        (work / "message").write_bytes(message)
        (work / "public.pem").write_text(
            run("openssl", "pkey", "-in", work / "keys" / f"{name}.key", "-pubout").stdout)
        run("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", work / "public.pem", "-sigfile", work / "signature",
            "-rawin", "-in", work / "message", *options)

    def children(self, role):
        return self.daemon.children(role)


@pytest.fixture
def keyserver(folder, authority, site_authority, daemons):
    return Keyserver(folder, authority, site_authority).start(daemons)


@pytest.fixture
def build(folder, authority, site_authority, daemons):
    """A key server with options."""
    return lambda **options: Keyserver(folder, authority, site_authority, **options).start(daemons)


def refusal(call, *args, **items):
    with pytest.raises(Refused) as refused:
        call(*args, **items)
    return refused.value.code


PSS = ["-digest", "sha256", "-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:32"]


# --- operations ---

@pytest.mark.parametrize("name,scheme,options", [
    ("example.com", RSA_PSS_SHA256, PSS), ("ec.example", ECDSA_SHA256, ["-digest", "sha256"]),
    ("ed.example", ED25519, [])])
def test_sign13_verifies(keyserver, name, scheme, options):
    with keyserver.edge() as channel:
        signature = channel.sign13(scheme, HASH, ski=keyserver.ski(name))
    keyserver.verify(name, keyproto.sign13_message(keyproto.SERVER, HASH), signature, *options)


def test_sign12_verifies(keyserver):
    client, server = os.urandom(32), os.urandom(32)
    point = keyproto.key_bits(keyserver.spki("other.example"))  # a point of the curve
    params = keyproto.ecdh_params(SECP256R1, point)
    with keyserver.edge() as channel:
        signature = channel.sign12(RSA_PSS_SHA256, keyproto.ECDHE, client, server, params,
                                   ski=keyserver.ski("example.com"))
    keyserver.verify("example.com", client + server + params, signature, *PSS)


def test_decrypt_gives_the_premaster(keyserver):
    premaster = b"\x03\x03" + os.urandom(46)
    (keyserver.folder / "premaster").write_bytes(premaster)
    run("openssl", "pkeyutl", "-encrypt", "-certin", "-inkey", keyserver.folder / "keys/example.com.crt",
        "-in", keyserver.folder / "premaster", "-out", keyserver.folder / "ciphertext")
    with keyserver.edge() as channel:
        ciphertext = (keyserver.folder / "ciphertext").read_bytes()
        assert channel.decrypt(ciphertext, ski=keyserver.ski("example.com")) == premaster
        bad = bytes([ciphertext[0] ^ 1]) + ciphertext[1:]
        first = channel.decrypt(bad, ski=keyserver.ski("example.com"))
        assert len(first) == 48 and first != premaster
        assert first == channel.decrypt(bad, ski=keyserver.ski("example.com"))


@pytest.mark.parametrize("by", ["ski", "sni", "cert_hash", "digest"])
def test_key_is_found_by(keyserver, by):
    certificate = keyserver.certificate("ec.example")
    names = {"ski": keyserver.ski("ec.example"), "sni": "EC.example",
             "cert_hash": hashlib.sha256(certificate).digest(),
             "digest": keyproto.digest_of(keyserver.spki("ec.example"))}
    with keyserver.edge() as channel:
        signature = channel.sign13(ECDSA_SHA256, HASH, **{by: names[by]})
    keyserver.verify("ec.example", keyproto.sign13_message(keyproto.SERVER, HASH), signature, "-digest", "sha256")


def test_info_lists_the_edges_own_keys(keyserver):
    with keyserver.edge() as channel:
        keys, generation = channel.keys()
        assert generation == channel.generation()
        assert sorted(key["name"] for key in keys) == ["ec.example", "ed.example", "example.com"]
        chain = next(key["chain"] for key in keys if key["name"] == "ec.example")
        assert chain == [keyserver.certificate("ec.example")]
    with keyserver.edge("edge2") as channel:
        assert len(channel.keys()[0]) == 4


def test_answers_to_many_at_once(keyserver):
    with keyserver.edge() as channel:
        ids = [channel.send(keyproto.SIGN13, keyproto.sign13(ECDSA_SHA256, keyproto.SERVER, HASH),
                            ski=keyserver.ski("ec.example")) for _ in range(300)]
        for ident in ids:
            assert channel.receive(ident).result()


# --- rights ---

def test_denied(keyserver):
    with keyserver.edge() as channel:
        assert refusal(channel.sign13, ECDSA_SHA256, HASH, ski=keyserver.ski("other.example")) == DENIED
        assert refusal(channel.sign13, ECDSA_SHA256, HASH, role=keyproto.CLIENT,
                       ski=keyserver.ski("ec.example")) == DENIED
        assert refusal(channel.sign13, ECDSA_SHA256, HASH, ski=bytes(20)) == KEY_NOT_FOUND
        assert refusal(channel.sign13, ECDSA_SHA256, HASH, sni="nobody.example") == KEY_NOT_FOUND
        channel.sign13(ECDSA_SHA256, HASH, ski=keyserver.ski("ec.example"))
    with keyserver.edge("edge2") as channel:  # which may only sign
        assert refusal(channel.decrypt, bytes(256), ski=keyserver.ski("example.com")) == DENIED
    assert "why=\"key\"" in keyserver.daemon.log() or "why=key" in keyserver.daemon.log()


def test_rate(keyserver):
    with keyserver.edge("edge2") as channel:
        codes = []
        for _ in range(20):
            try:
                channel.sign13(ECDSA_SHA256, HASH, ski=keyserver.ski("ec.example"))
                codes.append(0)
            except Refused as refused:
                codes.append(refused.code)
        assert codes[:5] == [0] * 5 and RATE in codes and set(codes) == {0, RATE}
    with keyserver.edge() as channel:  # which has no bound
        channel.sign13(ECDSA_SHA256, HASH, ski=keyserver.ski("ec.example"))


def test_quota(keyserver):
    """So many operations a day, over all fronts and channels, whatever the rate allows."""
    keyserver.options["extra"] = "quota = 3"
    keyserver.write()
    assert control(keyserver.folder / "run/keyd.sock", "reload")["ok"] is True

    def sign():
        with keyserver.edge() as channel:
            channel.sign13(ECDSA_SHA256, HASH, ski=keyserver.ski("ec.example"))

    for _ in range(3):
        sign()
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            sign()
        assert refused.value.code == RATE
    with keyserver.edge("edge2") as channel:  # which has no bound
        channel.sign13(ECDSA_SHA256, HASH, ski=keyserver.ski("ec.example"))
    keyserver.options["extra"] = "quota = 4"
    keyserver.write()
    assert control(keyserver.folder / "run/keyd.sock", "reload")["ok"] is True
    sign()  # those made before count
    with pytest.raises(Refused):
        sign()


def closed_before_service(connect):
    try:
        with connect() as channel:
            channel.ping()
    except (Closed, OSError):
        return True
    return False


def test_strangers_are_turned_away(keyserver, folder):
    assert closed_before_service(lambda: keyserver.edge("stranger"))
    # Another key server's certificate is of the same CA.
    channel_identity(keyserver.authority, folder / "other", "keyserver", "other")
    assert closed_before_service(lambda: keyserver.edge("other"))
    # No certificate at all.
    assert closed_before_service(
        lambda: Channel(("127.0.0.1", keyserver.port), None, None, folder / "ca.crt", timeout=PATIENCE))
    # Dialect 1 is off on this listener.
    assert closed_before_service(keyserver.dialect1)
    with keyserver.edge() as channel:
        channel.ping()


def test_addresses(build):
    keyserver = build(extra='deny_addresses = {"127.0.0.0/8"}')
    assert closed_before_service(keyserver.edge)
    with keyserver.edge("edge2") as channel:
        channel.ping()


def test_listener_denies_before_tls(build):
    keyserver = build(listen='deny = {"127.0.0.1"}')
    with socket.create_connection(("127.0.0.1", keyserver.port), timeout=PATIENCE) as sock:
        with contextlib.suppress(ConnectionError):
            assert sock.recv(1) == b""


# --- bad input ---

def test_bad_requests_keep_the_channel(keyserver):
    with keyserver.edge() as channel:
        assert refusal(channel.call, 0x77, b"") == BAD_OPCODE
        assert refusal(channel.call, keyproto.RSA_SHA256, bytes(32)) == BAD_OPCODE  # dialect 1's
        assert refusal(channel.call, keyproto.RESPONSE, b"") == UNEXPECTED
        assert refusal(channel.call, keyproto.SIGN13, b"short", ski=keyserver.ski("ec.example")) == FORMAT
        channel.send_raw(keyproto.raw_frame(900, b"\x11\x00\x05x"))
        assert refusal(channel.receive(900).result) == FORMAT
        channel.send_raw(keyproto.frame(901, keyproto.PING, b"", version=0x0200))
        assert refusal(channel.receive(901).result) == VERSION
        channel.ping()


def test_half_frame_then_rest(keyserver):
    ident, data = 77, keyproto.frame(77, keyproto.SIGN13, keyproto.sign13(ECDSA_SHA256, keyproto.SERVER, HASH),
                                     ski=keyserver.ski("ec.example"))
    with keyserver.edge() as channel:
        for byte in data:
            channel.send_raw(bytes([byte]))
        assert channel.receive(ident).result()


def test_half_frame_times_out(build):
    keyserver = build(limits="frame_timeout = 200ms")
    with keyserver.edge() as slow, keyserver.edge() as other:
        slow.send_raw(struct.pack(">HHI", 0x0100, 100, 1) + b"\x11")
        assert slow.wait_closed() == []
        other.ping()
    keyserver.daemon.wait_log("incomplete frame")


def test_idle_and_handshake_time_out(build):
    keyserver = build(limits="idle_timeout = 300ms handshake_timeout = 300ms")
    with socket.create_connection(("127.0.0.1", keyserver.port), timeout=PATIENCE) as sock:
        assert sock.recv(1) == b""
    with keyserver.edge() as channel:
        assert channel.wait_closed() == []


def test_flood_of_one_edge_leaves_others_served(build):
    keyserver = build(limits="channel_outstanding = 64 output = 64k write_timeout = 500ms")
    one = keyproto.frame(1, keyproto.SIGN13, keyproto.sign13(ECDSA_SHA256, keyproto.SERVER, HASH),
                         ski=keyserver.ski("ec.example"))
    with keyserver.edge() as flood, keyserver.edge("edge2") as other:
        flood.socket.settimeout(PATIENCE)
        with pytest.raises(OSError):  # it never reads: its channel is closed
            while True:
                flood.send_raw(one * 100)
        keyserver.daemon.wait_log("answers not read")
        other.sign13(ECDSA_SHA256, HASH, ski=keyserver.ski("other.example"))
        other.ping()


def test_garbage_instead_of_tls(keyserver):
    for data in [b"GET / HTTP/1.0\r\n\r\n", os.urandom(512), b"\x16\x03\x01\xff\xff" + bytes(600)]:
        with socket.create_connection(("127.0.0.1", keyserver.port), timeout=PATIENCE) as sock:
            with contextlib.suppress(ConnectionError):
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(4096):
                    pass
    with keyserver.edge() as channel:
        channel.ping()


def test_channels_are_bounded(build):
    keyserver = build(extra="connections = 2")
    with keyserver.edge() as one, keyserver.edge() as two:
        one.ping()
        two.ping()
        assert closed_before_service(keyserver.edge)
        assert {edge["name"]: edge["channels"] for edge in keyserver.status()["edges"]}["edge1"] == 2
    wait_until(lambda: not closed_before_service(keyserver.edge), "a place is free again")


# --- dialect 1 ---

def test_dialect1(build):
    keyserver = build(listen="dialect1 = on")
    digest = hashlib.sha256(b"message").digest()
    with keyserver.dialect1() as channel:
        assert channel.ping(b"") == b""
        assert channel.ping(b"hello") == b"hello"
        signature = channel.call(keyproto.RSA_SHA256, digest, ski=keyserver.ski("example.com"))
        keyserver.verify("example.com", b"message", signature, "-digest", "sha256")
        signature = channel.call(keyproto.PSS_SHA256, digest,
                                 digest=keyproto.digest_of(keyserver.spki("example.com")))
        keyserver.verify("example.com", b"message", signature, *PSS)
        # Not permitted by the key's policy: dialect 1 has no code for that.
        assert refusal(channel.call, keyproto.ECDSA_SHA256, digest, ski=keyserver.ski("ec.example")) < 0x40
        assert refusal(channel.call, keyproto.RSA_RAW, bytes(256), ski=keyserver.ski("example.com")) == BAD_OPCODE
        assert refusal(channel.call, keyproto.SIGN13, b"", ski=keyserver.ski("example.com")) == BAD_OPCODE
        assert refusal(channel.call, keyproto.RSA_SHA256, bytes(31), ski=keyserver.ski("example.com")) == FORMAT
        answer = channel.receive(channel.send(keyproto.PING, b""))
        assert answer.size == 1024
    with keyserver.edge() as channel:
        assert refusal(channel.call, keyproto.RSA_SHA256, digest, ski=keyserver.ski("example.com")) == BAD_OPCODE


# --- reload ---

def generation(keyserver):
    return keyserver.status()["generation"]


def test_new_key_is_served_without_a_signal(keyserver):
    before = generation(keyserver)
    with keyserver.edge("edge2") as channel:
        seen = channel.generation()
        keyserver.add_key("new.example", "p256")
        wait_until(lambda: generation(keyserver) > before, "the new key is in service")
        wait_until(lambda: channel.generation() != seen, "the edge is told of another generation")
        signature = channel.sign13(ECDSA_SHA256, HASH, sni="new.example")
    keyserver.verify("new.example", keyproto.sign13_message(keyproto.SERVER, HASH), signature, "-digest", "sha256")


def test_replaced_key_is_served_on_for_a_while(build):
    keyserver = build(limits="retire = 5s")
    old = keyserver.ski("ec.example")
    before = generation(keyserver)
    with keyserver.edge() as channel:
        keyserver.add_key("ec.example", "p256")
        wait_until(lambda: generation(keyserver) > before, "the new pair is in service")
        new = keyserver.ski("ec.example")
        assert new != old
        channel.sign13(ECDSA_SHA256, HASH, ski=new)
        channel.sign13(ECDSA_SHA256, HASH, ski=old)
        assert sorted(key["name"] for key in channel.keys()[0]) == ["ec.example", "ed.example", "example.com"]

        def is_gone():
            try:
                channel.sign13(ECDSA_SHA256, HASH, ski=old)
            except Refused as refused:
                return refused.code == KEY_NOT_FOUND
            return False

        wait_until(is_gone, "the old key is gone")
        channel.sign13(ECDSA_SHA256, HASH, ski=new)


def test_half_of_a_pair_is_no_trouble_that_stays(keyserver):
    """A new key whose certificate comes later than any burst of changes lasts."""
    before, keys = generation(keyserver), keyserver.folder / "keys"
    since = len(keyserver.daemon.log())
    make_key("p256", keyserver.folder / "new.key")
    keyserver.sites.certify(keyserver.folder / "new.key", keyserver.folder / "new.crt", "ec.example", "DNS:ec.example")
    with keyserver.edge() as channel:
        (keyserver.folder / "new.key").rename(keys / "ec.example.key")
        keyserver.daemon.wait_log("reload refused; the old configuration stays", since=since)
        assert generation(keyserver) == before
        channel.sign13(ECDSA_SHA256, HASH, sni="ec.example")
        (keyserver.folder / "new.crt").rename(keys / "ec.example.crt")
        wait_until(lambda: generation(keyserver) > before, "the new pair is in service")
        channel.sign13(ECDSA_SHA256, HASH, ski=keyserver.ski("ec.example"))
    assert not keyserver.status().get("last_error")


@pytest.mark.parametrize("spoil,reason", [
    (lambda k: (k.folder / "keys/bad.key").write_text("no key"), r"bad\.key"),
    (lambda k: (k.folder / "keys/ec.example.crt").write_bytes((k.folder / "keys/other.example.crt").read_bytes()),
     r"ec\.example\.crt"),
    (lambda k: (k.folder / "keys/ec.example.policy").write_text("allow = {everything}\n"), r"ec\.example\.policy"),
    (lambda k: shutil.copy(k.folder / "keys/ec.example.key", k.folder / "keys/copy.key"),
     r"copy\.key|ec\.example\.key"),
    (lambda k: (k.folder / "keyd.conf").write_text("nonsense = 1\n"), r"keyd\.conf:1"),
    (lambda k: (k.folder / "channel.crt").unlink(), r"channel\.crt"),
    (lambda k: (k.folder / "keys/ec.example.key").chmod(0o644), r"keys/ec\.example\.key.*chmod 600 it"),
    (lambda k: (k.folder / "channel.key").chmod(0o604), r"channel\.key.*chmod 600 it"),
    (lambda k: (k.folder / "audit.key").chmod(0o620), r"audit\.key.*chmod 600 it"),
    (lambda k: (k.folder / "keys").chmod(0o777), r"keys.*chmod o-w it"),
])
def test_bad_reload_keeps_the_old_set(keyserver, spoil, reason):
    before = generation(keyserver)
    with keyserver.edge() as channel:
        spoil(keyserver)
        answer = control(keyserver.folder / "run/keyd.sock", "reload")
        assert "error" in answer
        keyserver.daemon.wait_log(reason)
        assert generation(keyserver) == before
        channel.sign13(ECDSA_SHA256, HASH, sni="ec.example")
    with keyserver.edge() as channel:
        channel.ping()


def test_warning_of_a_key_that_is_not_there(keyserver):
    warned = r'edge may use a key that is not there edge="edge3" key="nobody\.example"'
    assert "edge may use a key" not in keyserver.daemon.log()
    with open(keyserver.folder / "keyd.conf", "a") as conf:
        conf.write('edge "edge3" { keys = {"EC.example", "nobody.example", "*.nowhere.example", "*"} }\n')
    assert control(keyserver.folder / "run/keyd.sock", "reload").get("ok") is True
    assert re.findall("edge may use a key.*", keyserver.daemon.log()) == [
        re.search(warned, keyserver.daemon.log())[0]]
    # A key that comes later ends it.
    before = generation(keyserver)
    keyserver.add_key("nobody.example", "p256")
    wait_until(lambda: generation(keyserver) > before, "the new key is in service")
    assert len(re.findall(warned, keyserver.daemon.log())) == 1


def test_front_that_refuses_keeps_the_old_set(keyserver):
    before = generation(keyserver)
    conf = keyserver.folder / "keyd.conf"
    good = conf.read_text()
    with keyserver.edge() as channel:
        channel.sign13(ECDSA_SHA256, HASH, sni="ec.example")
        conf.write_text(good.replace('edge "edge1"', 'edge "edge9"'))
        with limited_memory(keyserver.children("keyd-front")[0]):
            answer = control(keyserver.folder / "run/keyd.sock", "reload")
        assert answer.get("error", "").startswith("a front refused it: front: "), answer
        assert keyserver.status()["generation"] == before and keyserver.status()["ready"]
        channel.sign13(ECDSA_SHA256, HASH, sni="ec.example")
    front = keyserver.children("keyd-front")[0]
    os.kill(front, signal.SIGKILL)
    wait_until(lambda: keyserver.children("keyd-front") not in ([], [front]) and keyserver.status()["ready"],
               "another front")
    with keyserver.edge() as channel:
        channel.sign13(ECDSA_SHA256, HASH, sni="ec.example")
    conf.write_text(good)
    answer = control(keyserver.folder / "run/keyd.sock", "reload")
    assert answer.get("ok") is True and keyserver.status()["ready"]  # when the answer comes
    with keyserver.edge() as channel:
        channel.sign13(ECDSA_SHA256, HASH, sni="ec.example")


@pytest.mark.parametrize("name", ["keys/ec.example.key", "channel.key", "audit.key"])
def test_secret_open_to_others_is_refused_at_the_start(keyserver, name):
    keyserver.daemon.stop()
    (keyserver.folder / name).chmod(0o644)
    for command in ("check", keyserver.folder / "keyd.conf"), ("keyd", "-c", keyserver.folder / "keyd.conf"):
        done = run(FARKEY, *command, check=False)
        assert done.returncode == 1
        assert re.search(rf"{re.escape(name)}.*chmod 600 it", done.stderr)


def test_reload_takes_rights_away(keyserver):
    with keyserver.edge() as channel, keyserver.edge("edge2") as other:
        channel.ping()
        text = (keyserver.folder / "keyd.conf").read_text()
        (keyserver.folder / "keyd.conf").write_text(text.replace('edge "edge1"', 'edge "edge9"'))
        keyserver.daemon.signal(signal.SIGHUP)
        assert channel.wait_closed() == []
        other.ping()
    assert closed_before_service(keyserver.edge)


def test_reloads_every_moment_lose_no_request(keyserver):
    with keyserver.edge() as channel:
        for _ in range(10):
            keyserver.daemon.signal(signal.SIGHUP)
            for _ in range(30):
                channel.sign13(ECDSA_SHA256, HASH, sni="ec.example")
        assert control(keyserver.folder / "run/keyd.sock", "reload").get("ok") is True
    wait_until(lambda: len(keyserver.children("signer")) == 1, "old signers have ended")


def test_revoked_edge_is_cut_off(tmp_path, daemons):
    """farkey's own authority: revoke, copy the list; the key server takes it up by itself."""
    def farkey(*words):
        return run(FARKEY, *words)

    farkey("init", "--dir", tmp_path, "edge1", "hq")
    farkey("ca", "issue", "--ca", tmp_path / "ca", "--out", tmp_path / "edge2", "edge", "edge2")
    hq, port = tmp_path / "hq", free_port()
    make_key("p256", hq / "keys/example.com.key")
    (hq / "keyd.conf").write_text(f"""
fronts = 1 signers = 1 control = "run/keyd.sock"
listen "127.0.0.1:{port}" {{ }}
channel {{ certificate = "channel.crt" key = "channel.key" ca = "ca.crt" crl = "ca.crl" }}
keys "keys" {{ }}
edge "edge1" {{ keys = {{"*"}} }}
edge "edge2" {{ keys = {{"*"}} }}
""")
    for path in [tmp_path, hq]:
        path.chmod(0o755)
    daemon = Daemon(FARKEY, "keyd", "-c", hq / "keyd.conf", log=tmp_path / "keyd.log")
    daemons.append(daemon)
    daemon.wait_log("front serves")

    def edge(name):
        return Channel(("127.0.0.1", port), tmp_path / name / "channel.crt", tmp_path / name / "channel.key",
                       hq / "ca.crt", identity="farkey:keyserver:hq", timeout=PATIENCE)

    with edge("edge1") as revoked, edge("edge2") as other:
        revoked.ping()
        other.ping()
        farkey("ca", "revoke", "--ca", tmp_path / "ca", "edge1")
        farkey("ca", "crl", "--ca", tmp_path / "ca", "--out", hq)
        assert revoked.wait_closed() == []
        other.ping()
    assert closed_before_service(lambda: edge("edge1"))
    with edge("edge2") as other:
        other.ping()
    assert "revoked" in daemon.log()


def test_chmod_of_a_key_is_seen(keyserver):
    """A key file open to others is refused, and taken again when it is not, by the watch alone."""
    path, before = keyserver.folder / "keys/ec.example.key", generation(keyserver)
    path.chmod(0o644)
    keyserver.daemon.wait_log(r"keys/ec\.example\.key.*chmod 600 it")
    assert generation(keyserver) == before
    path.chmod(0o600)
    wait_until(lambda: generation(keyserver) > before, "the mended key is taken")


# --- death of processes ---

def test_front_killed(keyserver):
    (front,) = keyserver.children("keyd-front")
    with keyserver.edge() as channel:
        channel.ping()
        os.kill(front, signal.SIGKILL)
        channel.wait_closed()
    wait_until(lambda: keyserver.children("keyd-front") not in ([], [front]), "a new front")
    wait_until(lambda: not closed_before_service(keyserver.edge), "the new front serves")
    with keyserver.edge() as channel:
        channel.sign13(ECDSA_SHA256, HASH, sni="ec.example")
    edges = {edge["name"]: edge["channels"] for edge in keyserver.status()["edges"]}
    assert edges["edge1"] <= 1  # those of the dead front are not counted any more


def signs(channel):
    try:
        return bool(channel.sign13(ECDSA_SHA256, HASH, sni="ec.example"))
    except Refused:
        return False


@pytest.mark.parametrize("signers", [1, 2])
def test_signer_killed(build, signers):
    keyserver = build(signers=signers)
    victim = keyserver.children("signer")[0]
    with keyserver.edge() as channel:
        assert signs(channel)
        os.kill(victim, signal.SIGKILL)
        if signers > 1:
            assert all(signs(channel) for _ in range(20))
        wait_until(lambda: signs(channel), "signing again")
        wait_until(lambda: len(keyserver.children("signer")) == signers and victim not in keyserver.children("signer"),
                   "a new signer")
        assert all(signs(channel) for _ in range(20))


def test_stopped_signer_delays_no_longer_than_the_deadline(build):
    keyserver = build(limits="deadline = 300ms")
    (signer,) = keyserver.children("signer")
    with keyserver.edge() as channel:
        os.kill(signer, signal.SIGSTOP)
        try:
            assert not signs(channel)
            channel.ping()
        finally:
            os.kill(signer, signal.SIGCONT)
        wait_until(lambda: signs(channel), "signing again")


def test_stopped_signer_costs_no_request(build):
    """Its requests go to the other one while there is time; the next ones go there at once."""
    keyserver = build(signers=2, limits="deadline = 2s")
    victim = keyserver.children("signer")[0]
    with keyserver.edge() as channel:
        assert all(signs(channel) for _ in range(4))
        os.kill(victim, signal.SIGSTOP)
        try:
            assert all(signs(channel) for _ in range(20))
        finally:
            os.kill(victim, signal.SIGCONT)
        assert all(signs(channel) for _ in range(20))


def test_audit_killed_and_every_operation_is_in_the_log(keyserver):
    (audit,) = keyserver.children("keyd-audit")
    signed = 0
    with keyserver.edge() as channel:
        for i in range(50):
            signed += signs(channel)
            if i == 25:
                os.kill(audit, signal.SIGKILL)
                wait_until(lambda: keyserver.children("keyd-audit") not in ([], [audit]), "a new audit process")
                wait_until(lambda: signs(channel), "signing again")
                signed += 1
    assert signed == 51
    assert keyserver.daemon.stop() == 0
    lines = [line for line in (keyserver.folder / "audit.log").read_text().splitlines()
             if "op=sign-1.3" in line and "result=OK" in line]
    assert len(lines) >= signed
    assert "edge=edge1" in lines[0] and "key=ec.example" in lines[0]


def test_cut_tail_is_found_by_the_head_beside_the_log(keyserver):
    with keyserver.edge() as channel:
        assert all(signs(channel) for _ in range(5))
    assert keyserver.daemon.stop() == 0
    log, head = keyserver.folder / "audit.log", keyserver.folder / "audit.log.head"
    verify = [FARKEY, "audit", "verify", "--key", keyserver.folder / "audit.key"]
    assert f"none cut from the tail, by {head}" in run(*verify, log).stdout
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:-2]))
    done = run(*verify, log, check=False)
    assert done.returncode == 1 and "the tail was cut" in done.stderr
    # The head of the last log counts; without one, that is said.
    kept = head.rename(keyserver.folder / "kept")
    assert "would not be noticed" in run(*verify, log).stdout
    assert "the tail was cut" in run(*verify, "--head", kept, log, check=False).stderr
    # Of two logs the last one's.
    whole = keyserver.folder / "whole"
    whole.mkdir()
    (whole / "audit.log.1").write_text("".join(lines[:2]))
    (whole / "audit.log").write_text("".join(lines[2:]))
    kept.rename(whole / "audit.log.1.head")
    assert "would not be noticed" in run(*verify, whole / "audit.log.1", whole / "audit.log", check=False).stdout


def test_no_operation_without_an_audit_process(keyserver):
    (audit,) = keyserver.children("keyd-audit")
    with keyserver.edge() as channel:
        assert signs(channel)
        keyserver.daemon.signal(signal.SIGSTOP)  # the master cannot start another one
        try:
            os.kill(audit, signal.SIGKILL)
            wait_until(lambda: not signs(channel), "operations are refused")
            assert not any(signs(channel) for _ in range(20))
            channel.ping()
        finally:
            keyserver.daemon.signal(signal.SIGCONT)
        wait_until(lambda: signs(channel), "signing again")


@pytest.mark.parametrize("policy,status", [("refuse", 1), ("continue", None)])
def test_start_without_a_log(folder, authority, site_authority, daemons, policy, status):
    keyserver = Keyserver(folder, authority, site_authority)
    (folder / "audit.log").mkdir()
    text = (folder / "keyd.conf").read_text()
    (folder / "keyd.conf").write_text(text.replace('"audit.key"', f'"audit.key" on_failure = {policy}'))
    if status is None:
        keyserver.start_unready(daemons)
        keyserver.daemon.wait_log("audit log cannot be opened.*Is a directory")
        with keyserver.edge() as channel:
            assert signs(channel)
        (folder / "audit.log").rmdir()
        keyserver.daemon.wait_log("audit log could be opened at last")
        wait_until(keyserver.serves, "there is an audit process now")
        assert not keyserver.status()["audit"]["failing"]
    else:
        done = run(FARKEY, "keyd", "-c", folder / "keyd.conf", check=False)
        assert done.returncode == status
        assert "audit.log: Is a directory" in done.stderr


@pytest.mark.parametrize("policy", ["refuse", "continue"])
def test_log_that_cannot_be_written_is_not_ready(folder, authority, site_authority, daemons, policy):
    port = free_port()
    keyserver = Keyserver(folder, authority, site_authority, edges=f'admin {{ listen = "127.0.0.1:{port}" }}')
    text = (folder / "keyd.conf").read_text()
    (folder / "keyd.conf").write_text(text.replace('"audit.log" key = "audit.key"',
                                                   f'"/dev/full" key = "audit.key" on_failure = {policy}'))
    keyserver.start_unready(daemons)
    keyserver.daemon.wait_log("audit log cannot be written")
    wait_until(lambda: keyserver.status()["audit"]["failing"], "status says so")
    wait_until(lambda: all(process["state"] == "serving" for process in keyserver.status()["processes"]), "all serve")
    ready = policy == "continue"
    assert keyserver.status()["ready"] == ready
    code = run("curl", "--silent", "--output", folder / "ready", "--write-out", "%{http_code}",
               f"http://127.0.0.1:{port}/readyz").stdout
    assert code == ("200" if ready else "503")
    with keyserver.edge() as channel:
        assert signs(channel) == ready
        wait_until(lambda: keyserver.status()["audit"]["pending"] > 0, "its line waits")
    text = run(FARKEY, "status", "-c", folder / "keyd.conf").stdout
    assert f"on_failure: {policy}\n  failing: true\n" in text


def log_lines(path):
    return [line for line in path.read_text().splitlines() if "op=sign-1.3" in line and "result=OK" in line]


def verifies(keyserver, *names):
    done = run(FARKEY, "audit", "verify", "--key", keyserver.folder / "audit.key",
               *[keyserver.folder / name for name in names], check=False)
    return done.returncode == 0


@pytest.mark.parametrize("how", ["moved", "deleted", "replaced"])
def test_log_that_others_take_away(keyserver, how):
    """Nobody has told the key server: it looks, warns, and goes on in a file that is there."""
    log, old = keyserver.folder / "audit.log", keyserver.folder / "audit.old"
    with keyserver.edge() as channel:
        assert signs(channel)
        wait_until(lambda: len(log_lines(log)) == 1, "its line is in the log")
        if how == "moved":
            log.rename(old)
        elif how == "deleted":
            log.unlink()
        else:  # as sed -i does; the last newline is lost, as with some editors
            old.write_bytes(log.read_bytes()[:-1])
            old.rename(log)
        keyserver.daemon.wait_log("audit log was moved or deleted; going on in a new file")
        wait_until(lambda: log.exists() and "continue=" in log.read_text(), "the chain goes on")
        assert signs(channel)
        wait_until(lambda: len(log_lines(log)) == (2 if how == "replaced" else 1), "its line is in the log, too")
    assert keyserver.daemon.stop() == 0
    assert verifies(keyserver, *(["audit.old"] if how == "moved" else []), "audit.log")
    assert len(re.findall("audit log was moved", keyserver.daemon.log())) == 1


# --- the end ---

def test_log_that_cannot_be_written_does_not_hold_up_the_end(folder, authority, site_authority, daemons):
    keyserver = Keyserver(folder, authority, site_authority, limits=f"drain = {10 * PATIENCE}s")
    text = (folder / "keyd.conf").read_text()
    (folder / "keyd.conf").write_text(text.replace('"audit.log"', '"/dev/full"'))
    keyserver.start_unready(daemons)
    keyserver.daemon.wait_log("audit log cannot be written")
    with keyserver.edge() as channel:
        assert not signs(channel)
        wait_until(lambda: keyserver.status()["audit"]["pending"] > 0, "its line waits")
    keyserver.daemon.signal(signal.SIGTERM)
    keyserver.daemon.process.wait(PATIENCE)
    assert "lines are lost" in keyserver.daemon.log()


def refuses_connections(port):
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except OSError as error:
        return isinstance(error, ConnectionRefusedError)  # not one that was waiting and is reset
    return False


def test_draining_refuses_newcomers(build):
    """At once, while an operation is under way: an edge should ask another server, not wait for this one."""
    port = free_port()
    keyserver = build(limits=f"drain = {PATIENCE}s deadline = {10 * PATIENCE}s",
                      edges=f'admin {{ listen = "127.0.0.1:{port}" }}')
    (signer,) = keyserver.children("signer")
    with keyserver.edge() as channel:
        assert signs(channel)
        os.kill(signer, signal.SIGSTOP)
        try:
            ident = channel.send(keyproto.SIGN13, keyproto.sign13(ECDSA_SHA256, keyproto.SERVER, HASH),
                                 ski=keyserver.ski("ec.example"))
            wait_until(lambda: scrape(keyserver, port)['farkey_keyd_requests_total{op="sign-1.3"}'] == 2, "it is there")
            keyserver.daemon.signal(signal.SIGTERM)
            wait_until(lambda: refuses_connections(keyserver.port), "newcomers are refused")
            assert keyserver.children("keyd-front")
        finally:
            os.kill(signer, signal.SIGCONT)
        assert channel.receive(ident).result()
    assert keyserver.daemon.process.wait(PATIENCE) == 0


def test_drain_answers_what_is_under_way(keyserver):
    with keyserver.edge() as channel:
        ids = [channel.send(keyproto.SIGN13, keyproto.sign13(RSA_PSS_SHA256, keyproto.SERVER, HASH),
                            ski=keyserver.ski("example.com")) for _ in range(100)]
        channel.receive(ids[0]).result()
        keyserver.daemon.signal(signal.SIGTERM)
        answers = {answer.ident: answer for answer in channel.wait_closed()}
        answers.update(channel.waiting)
        assert set(answers) == set(ids[1:])
        codes = {0 if answer.opcode == keyproto.RESPONSE else answer.payload[0] for answer in answers.values()}
        assert codes <= {0, 0x42}
    assert keyserver.daemon.process.wait(PATIENCE) == 0
    assert not port_open(keyserver.port)
    assert not (keyserver.folder / "run/keyd.sock").exists()


@pytest.mark.parametrize("text,reason", [
    ("", "listen"), ("fronts = 0\n", "fronts"),
    ('listen "127.0.0.1:x" { }\n', "not an address"),
])
def test_bad_configuration_does_not_start(folder, text, reason):
    (folder / "keyd.conf").write_text(text)
    done = run(FARKEY, "keyd", "-c", folder / "keyd.conf", check=False)
    assert done.returncode == 1
    assert reason in done.stderr


def test_verbose_reaches_fronts(folder, authority, site_authority, daemons):
    keyserver = Keyserver(folder, authority, site_authority)
    text = (folder / "keyd.conf").read_text()
    (folder / "keyd.conf").write_text(text.replace("log_level = debug", "log_level = error"))
    keyserver.start_unready(daemons, "-v")
    with keyserver.edge() as channel:
        channel.ping()
    keyserver.daemon.wait_log(r"info keyd-front-0.*channel open")


def test_port_in_use_does_not_start(keyserver):
    (keyserver.folder / "second.conf").write_text(
        (keyserver.folder / "keyd.conf").read_text() + 'control = "run/second.sock"\n')
    done = run(FARKEY, "keyd", "-c", keyserver.folder / "second.conf", check=False)
    assert done.returncode == 1
    assert "Address already in use" in done.stderr


def test_status(keyserver):
    status = keyserver.status()
    assert status["role"] == "keyd" and status["pid"] == keyserver.daemon.pid and status["ready"]
    keys = {key["name"]: key for key in status["keys"]}
    assert sorted(keys) == ["ec.example", "ed.example", "example.com", "other.example"]
    assert keys["ec.example"]["type"] == "ec" and keys["ec.example"]["permissions"] == ["sign"]
    assert keys["ec.example"]["not_after"] > 1700000000
    assert {process["role"] for process in status["processes"]} == {"signer", "keyd-front", "keyd-audit", "admin"}
    assert all(process["state"] == "serving" for process in status["processes"])
    assert "error" in control(keyserver.folder / "run/keyd.sock", "dance")


def scrape(keyserver, port):
    text = run("curl", "--silent", "--show-error", "--fail", f"http://127.0.0.1:{port}/metrics").stdout
    return {name: float(value) for name, value in
            (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))}


def test_metrics(build):
    port = free_port()
    keyserver = build(edges=f'admin {{ listen = "127.0.0.1:{port}" }}')
    with keyserver.edge() as channel:
        for _ in range(3):
            channel.sign13(ECDSA_SHA256, HASH, sni="ec.example")
        assert refusal(channel.sign13, ECDSA_SHA256, HASH, sni="other.example") == DENIED
        metrics = scrape(keyserver, port)
        assert metrics['farkey_keyd_requests_total{op="sign-1.3"}'] == 4
        assert metrics['farkey_keyd_results_total{result="ok"}'] >= 3
        assert metrics['farkey_keyd_results_total{result="denied"}'] == 1
        assert metrics["farkey_keyd_channels"] == 1
        assert metrics["farkey_keyd_request_seconds_count"] == 3
        wait_until(lambda: scrape(keyserver, port)["farkey_audit_lines_total"] >= 4, "the lines are in the log")
        assert metrics['farkey_signer_operations_total{op="sign-1.3"}'] == 3
        assert metrics["farkey_signer_keys"] == 4
        assert run("curl", "--silent", "--fail", f"http://127.0.0.1:{port}/readyz").returncode == 0
