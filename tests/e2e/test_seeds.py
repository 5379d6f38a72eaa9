"""The seed's numbers that the pair answers for and that no other file tries, on real daemons.

K1, K9 by SNI and K16 with one key server are in test_pair.py too, the faults of K11 and K12 in
test_faults.py, what a key server does with each name of a key in test_keyd.py.
"""
import hashlib
import os
import socket
import ssl
import threading

import pytest

import edgelib
import harness
import keyproto
import liar
import pair as pairs


@pytest.fixture
def build(folder, authority, site_authority):
    """A pair with options, not started."""
    origin = edgelib.Origin(edgelib.http(b"hello from the origin"))
    yield lambda **options: pairs.Pair(folder, authority, site_authority, options.pop("origin", origin).port,
                                       **options)
    origin.close()


def works(pair, name="example.com"):
    status, body, _ = pair.get(name, check=False)
    return status == 0 and "hello from the origin" in body


def change(path, old, new):
    """Change a configuration file."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def edge_conf(pair):
    return pair.folder / "edge1" / "edge.conf"


def leaf(port, name=None, address="127.0.0.1"):
    """The certificate that a client which reached `address` is shown, as DER."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((address, port), harness.PATIENCE) as raw, \
            context.wrap_socket(raw, server_hostname=name) as tls:
        return tls.getpeercert(binary_form=True)


def certificate(pair, name):
    return ssl.PEM_cert_to_DER_cert((pair.folder / "edge1" / f"{name}.crt").read_text())


def channel(pair):
    own = pair.folder / "edge1"
    return keyproto.Channel(("127.0.0.1", pair.keyd_port), own / "channel.crt", own / "channel.key",
                            own / "ca.crt", identity="farkey:keyserver:keys1", timeout=harness.PATIENCE)




# --- K2, K9: which key signs ---

def test_ephemeral_parameters_are_signed(build, daemons):
    """K2: with (EC)DHE only the signature is made at the key server, TLS 1.2 and 1.3."""
    pair = build(keys={"example.com": ["rsa2048"]}, site_options="dhe = on").start(daemons)
    for options in (["-tls1_3"], ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"],
                    ["-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"]):
        assert "hello from the origin" in pair.s_client(*options)


def test_key_by_server_name_and_by_address(build, daemons):
    """K9: the key chosen by SNI, and for clients that send none by the address that they reached."""
    pair = build(keys={"a.example": ["p256"], "b.example": ["rsa2048"]})
    change(edge_conf(pair), f'listen "127.0.0.1:{pair.port}" {{}}',
           f'listen "0.0.0.0:{pair.port}" '
           '{ addresses = {"127.0.0.2=a.example", "127.0.0.3=b.example"} }')
    pair.start(daemons)
    for name, address in (("a.example", "127.0.0.2"), ("b.example", "127.0.0.3")):
        assert leaf(pair.port, name) == certificate(pair, name)
        assert leaf(pair.port, address=address) == certificate(pair, name)
    # The name goes before the address.
    assert leaf(pair.port, "a.example", "127.0.0.3") == certificate(pair, "a.example")


def test_key_by_fingerprint_and_by_modulus(build, daemons):
    """K9: the key chosen by its certificate's fingerprint, and by the digest of its modulus."""
    pair = build(keys={"a.example": ["rsa2048"], "b.example": ["rsa2048"]})
    pair.start_keyd(daemons)
    digest = hashlib.sha256(b"transcript").digest()
    with channel(pair) as asked:
        for name in ("a.example", "b.example"):
            shown = certificate(pair, name)
            for names in ({"cert_hash": hashlib.sha256(shown).digest()},
                          {"digest": keyproto.digest_of(keyproto.spki_of(shown))}):
                signature = asked.sign13(0x0804, digest, **names)
                (pair.folder / "signature").write_bytes(signature)
                (pair.folder / "message").write_bytes(keyproto.sign13_message(keyproto.SERVER, digest))
                harness.run("openssl", "pkeyutl", "-verify", "-certin", "-inkey",
                            pair.folder / "edge1" / f"{name}.crt", "-rawin", "-digest", "sha256",
                            "-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:digest",
                            "-sigfile", pair.folder / "signature", "-in", pair.folder / "message")


# --- K10: who may ask ---

def test_channel_is_mutual_tls(build, authority, daemons, tmp_path_factory):
    """K10a: an edge whose certificate another CA signed gets nothing; with its own it does."""
    pair = build()
    pair.start_keyd(daemons)
    stranger = harness.Authority(tmp_path_factory.mktemp("stranger"), "Stranger")
    own = pair.folder / "edge1"
    kept = {name: (own / name).read_bytes() for name in ("channel.key", "channel.crt", "ca.crt")}
    harness.channel_identity(stranger, own, "edge", "edge1")
    (own / "ca.crt").write_bytes(kept["ca.crt"])  # it trusts the key server, which must not trust it
    pair.start_edge(daemons, ready=False)
    pair.keyd.wait_log(r"certificate|alert|refused")
    assert not works(pair)
    for name, data in kept.items():
        (own / name).write_bytes(data)
    assert harness.control(own / "run/edge.sock", "reload")["ok"]
    harness.wait_until(lambda: works(pair), "the right certificate is let in")


@pytest.mark.parametrize("rule", ['deny = {"127.0.0.0/8"}', 'allow = {"192.0.2.0/24"}'])
def test_address_lists(build, daemons, rule):
    """K10b: addresses that the key server denies, or does not allow, have no channel."""
    pair = build(listen_options=rule)
    pair.start_keyd(daemons)
    pair.start_edge(daemons, ready=False)
    assert not works(pair)
    change(pair.folder / "keys1" / "keyd.conf", rule, 'allow = {"127.0.0.1"}')
    assert harness.control(pair.folder / "keys1/run/keyd.sock", "reload")["ok"]
    harness.wait_until(lambda: works(pair), "the address is let in")


@pytest.mark.skipif(os.geteuid() != 0, reason="SO_BINDTODEVICE may need root")
def test_channel_bound_to_a_device(build, daemons):
    """K10d: the channel only through an interface (a VPN's) and from an address, at both sides."""
    pair = build(listen_options='device = "lo"', server_options='device = "lo" bind = "127.0.0.5"')
    change(pair.folder / "keys1" / "keyd.conf", 'device = "lo"', 'device = "lo" allow = {"127.0.0.5"}')
    pair.start(daemons)
    assert works(pair)
    with pytest.raises((keyproto.Closed, ssl.SSLError, OSError)):
        channel(pair).ping()  # from 127.0.0.1


# --- K11, K12, K16: channels ---

class Counter(liar.Liar):
    """Passes everything on and counts channels and signatures."""

    def __init__(self, pair, port):
        self.signed, self.channels, self.lock = 0, 0, threading.Lock()
        super().__init__(pair, port, self.count)

    def serve(self, raw):
        self.channels += 1
        super().serve(raw)

    def count(self, frame):
        with self.lock:
            self.signed += liar.is_answer(frame)
        return [frame]


def channel_state(pair):
    """The only worker's figures of its only key server."""
    def find(value):
        if isinstance(value, dict):
            return value["keyservers"] if "keyservers" in value else find(list(value.values()))
        found = [find(item) for item in value] if isinstance(value, list) else []
        return next((item for item in found if item), None)
    return find(pair.status("edge"))[0]


def test_channel_on_demand(build, daemons):
    """K11: with persistent = off a handshake opens the channel, which closes when it is idle."""
    pair = build(server_options="persistent = off idle = 1s").start(daemons)
    opened = channel_state(pair)["connects"]
    harness.wait_until(lambda: not channel_state(pair)["up"], "the idle channel closes")
    assert works(pair)
    assert channel_state(pair)["connects"] == opened + 1


def test_channel_is_kept(build, daemons):
    """K11: by default one channel serves all handshakes."""
    pair = build(server_options="idle = 1s").start(daemons)
    for _ in range(5):
        assert works(pair)
    state = channel_state(pair)
    assert state["up"] and state["connects"] == 1


@pytest.mark.parametrize("strategy", ["round_robin", "least_outstanding", "fastest", "nearest"])
def test_strategies(build, daemons, strategy):
    """K12: several key servers; each strategy asks those that it should."""
    pair = build(site_options=f"strategy = {strategy}", edge_options='workers = 1 zone = "here"')
    pair.start_keyd(daemons)
    near, far = Counter(pair, pair.keyd_port), Counter(pair, pair.keyd_port)
    pair.servers = {"near": near.port, "far": far.port}
    pair.write_edge()
    for name, port in pair.servers.items():
        change(edge_conf(pair), f'keyserver "{name}" {{ address = "127.0.0.1:{port}"',
               f'keyserver "{name}" {{ zone = "{"here" if name == "near" else "there"}" '
               f'address = "127.0.0.1:{port}"')
    pair.start_edge(daemons)
    harness.wait_until(lambda: near.told and far.told, "both channels work")
    before = near.signed, far.signed
    for _ in range(12):
        assert works(pair)
    got = near.signed - before[0], far.signed - before[1]
    assert sum(got) == 12
    if strategy == "nearest":
        assert got == (12, 0)
    elif strategy == "round_robin":
        assert got == (6, 6)
    # What least_outstanding and fastest do depends on how long these two take: see test_keyclient.
    near.stop()
    harness.wait_until(lambda: works(pair), "the other one serves, whatever the strategy")
    far.stop()


def test_owners_with_their_own_key_servers(build, daemons):
    """K12 and K16: many names; each owner's keys are asked of that owner's key server only."""
    pair = build(keys={"a.example": ["p256"], "b.example": ["p256"]})
    pair.start_keyd(daemons)
    owners = {"a.example": Counter(pair, pair.keyd_port), "b.example": Counter(pair, pair.keyd_port)}
    pair.servers = {name: owner.port for name, owner in owners.items()}
    pair.write_edge()
    for name in owners:
        change(edge_conf(pair), f'site "{name}" {{ keyservers = {{"a.example", "b.example"}}',
               f'site "{name}" {{ keyservers = {{"{name}"}}')
    pair.start_edge(daemons)
    harness.wait_until(lambda: all(works(pair, name) for name in owners), "both sites work")
    for name, owner in owners.items():
        before = {each: made.signed for each, made in owners.items()}
        for _ in range(3):
            assert works(pair, name)
        assert owner.signed == before[name] + 3
        assert sum(made.signed for made in owners.values()) == sum(before.values()) + 3
    for owner in owners.values():
        owner.stop()


# --- K19: any protocol ---

def test_server_that_speaks_first(build, site_authority, daemons):
    """K19: a protocol whose server begins (SMTP's way) passes over TLS."""
    def smtp(sock):
        sock.sendall(b"220 mail.example ESMTP\r\n")
        assert sock.recv(100) == b"EHLO client\r\n"
        sock.sendall(b"250 mail.example\r\n")
    origin = edgelib.Origin(smtp)
    pair = build(origin=origin)
    pair.start_keyd(daemons)
    pair.start_edge(daemons, ready=False)

    def greeting():
        try:
            with edgelib.connect(pair.port, site_authority.certificate) as tls:
                first = tls.recv(100)
                tls.sendall(b"EHLO client\r\n")
                return first, tls.recv(100)
        except (ssl.SSLError, OSError):
            return None
    assert harness.wait_until(greeting, "the server's greeting") == (b"220 mail.example ESMTP\r\n",
                                                                     b"250 mail.example\r\n")
    origin.close()


def test_binary_both_ways(build, site_authority, daemons):
    """K19: any bytes, both ways at once."""
    origin = edgelib.Origin(edgelib.echo)
    pair = build(origin=origin)
    pair.start_keyd(daemons)
    pair.start_edge(daemons, ready=False)
    harness.wait_until(lambda: leaf_or_none(pair.port), "the first handshake")
    data = edgelib.block(0, 1 << 20)
    assert edgelib.exchange(pair.port, site_authority.certificate, data) == data
    origin.close()


def leaf_or_none(port):
    try:
        return leaf(port, "example.com")
    except (ssl.SSLError, OSError):
        return None
