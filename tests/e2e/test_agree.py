"""Modes `agree` (K3), `master` (K4) and `keys` (K5) at a key server: the client is keyproto.py, the TLS client's part is
Python's cryptography."""
import contextlib
import hashlib
import os
import re
import signal

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, x25519

import harness
import keyproto
import pair as pairs
from keyproto import FFDHE2048, FFDHE3072, FFDHE4096, HANDED, KEPT, SECP256R1, SECP384R1, X25519
from test_keyd import HASH, PSS, Keyserver, refusal, scrape

RSA_PSS_SHA256, RSA_PKCS1_SHA384, ECDSA_SHA256, ED25519 = 0x0804, 0x0501, 0x0403, 0x0807
FORMAT, KEY_NOT_FOUND, DENIED, REPLAY, EXPIRED_HANDLE = 0x07, 0x02, 0x40, 0x43, 0x44
CLIENT_RANDOM, SEED = bytes(range(32)), bytes(range(32, 64))
SERVER_RANDOM = keyproto.server_random(SEED)

EDGES = """
edge "edge3" { keys = {"*"} allow = agree }
edge "edge4" { keys = {"*"} allow = {sign, decrypt} }
edge "edge5" { keys = {"*"} allow = master }
edge "edge6" { keys = {"*"} allow = keys }
edge "edge7" { keys = {"*"} allow = {keys, expose} }
edge "edge8" { keys = {"*"} allow = {agree, master, expose} }
"""
NAMES = ("example.com", "ec.example", "ed.example")


@pytest.fixture
def build(folder, authority, site_authority, daemons):
    """A key server whose keys may be used for mode `agree`: by edge3 all of them, by edge4 none."""
    def build_server(start=True, **options):
        server = Keyserver(folder, authority, site_authority, edges=EDGES, **options)
        for name in ("edge3", "edge4", "edge5", "edge6", "edge7", "edge8"):
            harness.channel_identity(authority, folder / name, "edge", name)
        for name in NAMES:
            (folder / "keys" / f"{name}.policy").write_text("allow = {sign, agree, master, keys, expose}\n")
        return server.start(daemons) if start else server
    return build_server


@pytest.fixture
def server(build):
    return build(extra="", limits="")


class Client:
    """The TLS client's ephemeral key."""

    CURVES = {SECP256R1: ec.SECP256R1, SECP384R1: ec.SECP384R1}

    def __init__(self, group):
        self.group, self.secret_number = group, int.from_bytes(os.urandom(32), "big")
        if group in self.CURVES:
            self.key = ec.generate_private_key(self.CURVES[group]())
            self.share = self.key.public_key().public_bytes(serialization.Encoding.X962,
                                                            serialization.PublicFormat.UncompressedPoint)
        elif group == X25519:
            self.key = x25519.X25519PrivateKey.generate()
            self.share = self.key.public_key().public_bytes(serialization.Encoding.Raw,
                                                            serialization.PublicFormat.Raw)

    def agree(self, made):
        """Its premaster secret; with DHE its share is known only now."""
        if self.group in self.CURVES:
            peer = ec.EllipticCurvePublicKey.from_encoded_point(self.CURVES[self.group](), made.share)
            return self.key.exchange(ec.ECDH(), peer)
        if self.group == X25519:
            return self.key.exchange(x25519.X25519PublicKey.from_public_bytes(made.share))
        prime, size = int.from_bytes(made.prime, "big"), len(made.prime)
        self.share = pow(int.from_bytes(made.generator, "big"), self.secret_number, prime).to_bytes(size, "big")
        secret = pow(int.from_bytes(made.share, "big"), self.secret_number, prime)
        return secret.to_bytes((secret.bit_length() + 7) // 8, "big")


def begin(channel, server, name="ec.example", scheme=ECDSA_SHA256, group=X25519, form=KEPT):
    payload = keyproto.agree_init(scheme, group, CLIENT_RANDOM, SERVER_RANDOM, form)
    return keyproto.Made(channel.call(keyproto.AGREE_INIT, payload, ski=server.ski(name)))


def finish(channel, server, handle, share, name="ec.example"):
    return channel.call(keyproto.AGREE_FINISH, keyproto.agree_finish(handle, share), ski=server.ski(name))


SHA384 = ["-digest", "sha384"]


@pytest.mark.parametrize("name, scheme, group, options", [
    ("example.com", RSA_PSS_SHA256, X25519, PSS), ("example.com", RSA_PKCS1_SHA384, SECP256R1, SHA384),
    ("ec.example", ECDSA_SHA256, SECP384R1, ["-digest", "sha256"]), ("ed.example", ED25519, SECP256R1, []),
    ("example.com", RSA_PSS_SHA256, FFDHE2048, PSS), ("example.com", RSA_PSS_SHA256, FFDHE3072, PSS),
    ("example.com", RSA_PKCS1_SHA384, FFDHE4096, SHA384)])
def test_both_ends_agree(server, name, scheme, group, options):
    client = Client(group)
    with server.edge("edge3") as channel:
        made = begin(channel, server, name, scheme, group)
        server.verify(name, CLIENT_RANDOM + SERVER_RANDOM + made.params, made.signature, *options)
        assert made.private == b"" and any(made.handle)
        secret = client.agree(made)
        assert finish(channel, server, made.handle, client.share, name) == secret
    audit = server.folder / "audit.log"
    harness.wait_until(lambda: "op=agree-finish" in audit.read_text(), "both lines are in the log")
    assert re.search(rf"edge=edge3 key={name} op=agree-init .*hash={CLIENT_RANDOM.hex()} result=OK", audit.read_text())
    assert re.search(rf"edge=edge3 key={name} op=agree-finish .*result=OK", audit.read_text())


def test_the_prime_is_rfc7919s(server):
    """OpenSSL's own parameters of the group, by its command."""
    with server.edge("edge3") as channel:
        for group, name in ((FFDHE2048, "ffdhe2048"), (FFDHE3072, "ffdhe3072"), (FFDHE4096, "ffdhe4096")):
            made = begin(channel, server, "example.com", RSA_PSS_SHA256, group)
            text = harness.run("openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", f"group:{name}",
                               "-text").stdout
            assert name in text and made.generator == b"\2"
            parameters = serialization.load_pem_parameters(text[text.index("-----BEGIN"):].encode())
            assert int.from_bytes(made.prime, "big") == parameters.parameter_numbers().p


def test_a_private_value_is_handed_over(server):
    client = Client(X25519)
    with server.edge("edge3") as channel:
        made = begin(channel, server, form=HANDED)
        assert made.handle == bytes(16)
        key = x25519.X25519PrivateKey.from_private_bytes(made.private)
        assert key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw) == made.share
        peer = x25519.X25519PublicKey.from_public_bytes(client.share)
        assert key.exchange(peer) == client.agree(made)


def test_a_handle_is_used_once_by_its_edge(server):
    client = Client(X25519)
    with server.edge("edge3") as channel, server.edge("edge2") as other, server.edge("edge3") as again:
        made = begin(channel, server)
        for _ in range(2):
            assert refusal(finish, other, server, made.handle, client.share) == DENIED
        assert refusal(finish, channel, server, made.handle, client.share, "ed.example") == EXPIRED_HANDLE
        assert refusal(finish, channel, server, bytes(16), client.share) == EXPIRED_HANDLE
        assert finish(again, server, made.handle, client.share) == client.agree(made)  # on any channel of the edge
        assert refusal(finish, channel, server, made.handle, client.share) == EXPIRED_HANDLE
        made = begin(channel, server)
        assert refusal(finish, channel, server, made.handle, bytes(32)) == FORMAT  # no point; and it is used up
        assert refusal(finish, channel, server, made.handle, client.share) == EXPIRED_HANDLE


def test_another_edge_with_the_same_rights(build):
    """Rights over the key are not enough: it is the edge that asked."""
    server = build(extra="")
    (server.folder / "keyd.conf").write_text(
        (server.folder / "keyd.conf").read_text().replace("allow = {sign, decrypt} }", "allow = agree }"))
    assert harness.control(server.folder / "run/keyd.sock", "reload").get("ok") is True
    client = Client(X25519)
    with server.edge("edge3") as channel, server.edge("edge4") as other:
        made = begin(channel, server)
        theirs = begin(other, server)
        assert refusal(finish, other, server, made.handle, client.share) == EXPIRED_HANDLE
        assert refusal(finish, channel, server, theirs.handle, client.share) == EXPIRED_HANDLE
        assert finish(channel, server, made.handle, client.share) == client.agree(made)


def test_rights(server):
    with server.edge("edge4") as channel:
        assert refusal(begin, channel, server) == DENIED
        assert refusal(begin, channel, server, form=HANDED) == DENIED
        assert refusal(finish, channel, server, bytes(16), bytes(32)) == DENIED
    with server.edge("edge3") as channel:
        assert refusal(begin, channel, server, "other.example") == DENIED  # the key's policy
        assert refusal(begin, channel, server, "ec.example", ECDSA_SHA256, FFDHE2048) == FORMAT
        assert refusal(begin, channel, server, "ec.example", RSA_PSS_SHA256) == FORMAT
        assert refusal(begin, channel, server, "ec.example", group=0x19) == FORMAT


@pytest.mark.parametrize("edge, permission", [("edge3", 0x40), ("edge5", 0x80), ("edge6", 0x100), ("edge7", 0x1100)])
def test_info_tells(server, edge, permission):
    with server.edge(edge) as channel:
        page = keyproto.Page(channel.call(keyproto.INFO, keyproto.info()))
    assert page.capabilities >> (keyproto.AGREE_INIT - 0x40) & 0x5F == 0x5F
    assert {key["name"]: key["permissions"] for key in page.keys} == {name: permission for name in NAMES}


# --- master ---

DERIVATIONS = [(keyproto.PRF_SHA256, HASH, True), (keyproto.PRF_SHA384, hashlib.sha384(b"transcript").digest(), True),
               (keyproto.PRF_SHA256, CLIENT_RANDOM + SERVER_RANDOM, False),
               (keyproto.PRF_SHA384, CLIENT_RANDOM + SERVER_RANDOM, False)]


def master(channel, server, source, derived, name="ec.example"):
    payload = keyproto.master(source, keyproto.derivation(derived[0], derived[1], derived[2]))
    return channel.call(keyproto.MASTER, payload, ski=server.ski(name))


def encrypt(server, premaster):
    key = serialization.load_der_public_key(server.spki("example.com"))
    return key.encrypt(premaster, padding.PKCS1v15())


@pytest.mark.parametrize("derived", DERIVATIONS)
@pytest.mark.parametrize("name, scheme, group", [
    ("ec.example", ECDSA_SHA256, X25519), ("example.com", RSA_PSS_SHA256, SECP384R1),
    ("example.com", RSA_PSS_SHA256, FFDHE2048)])
def test_master_secret_of_an_agreement(server, name, scheme, group, derived):
    client = Client(group)
    with server.edge("edge5") as channel, server.edge("edge3") as other:
        made = begin(channel, server, name, scheme, group)
        premaster = client.agree(made)
        source = keyproto.agreed(made.handle, client.share)
        assert refusal(finish, channel, server, made.handle, client.share, name) == DENIED
        assert refusal(master, other, server, source, derived, name) == DENIED
        assert master(channel, server, source, derived, name) == keyproto.master_secret(
            derived[0], premaster, derived[1], derived[2])
        assert refusal(master, channel, server, source, derived, name) == EXPIRED_HANDLE
    audit = server.folder / "audit.log"
    line = rf"edge=edge5 key={name} op=master .*hash={(derived[1] if derived[2] else CLIENT_RANDOM).hex()} result=OK"
    harness.wait_until(lambda: re.search(line, audit.read_text()), "its line is in the log")


@pytest.mark.parametrize("derived", DERIVATIONS)
def test_master_secret_of_rsa(server, derived):
    """Also with bad padding: an answer like any other, the same each time."""
    premaster = b"\3\3" + os.urandom(46)
    with server.edge("edge5") as channel:
        source = keyproto.by_rsa(0x0303, encrypt(server, premaster), SEED)
        assert master(channel, server, source, derived, "example.com") == keyproto.master_secret(
            derived[0], premaster, derived[1], derived[2])
        answers = {master(channel, server, keyproto.by_rsa(0x0303, encrypt(server, bad), SEED), derived, "example.com")
                   for bad in (b"short", bytes(49))}
        assert len(answers) == 2
        bad = keyproto.by_rsa(0x0303, bytes(255) + b"\x05", SEED)
        assert len({master(channel, server, bad, derived, "example.com") for _ in range(3)}) == 1
        assert refusal(master, channel, server, source, derived, "ec.example") == KEY_NOT_FOUND
        assert refusal(master, channel, server, source, derived, "other.example") == KEY_NOT_FOUND
        assert refusal(begin, channel, server, form=HANDED) == DENIED
    with server.edge("edge4") as channel:  # DECRYPT is another permission
        assert refusal(master, channel, server, source, derived, "example.com") == DENIED


# --- keys ---

SUITES = [(0xC02B, keyproto.PRF_SHA256, 40), (0xC02C, keyproto.PRF_SHA384, 72), (0xCCA9, keyproto.PRF_SHA256, 88)]


def session_keys(channel, server, source, derived, suite, finished_hash=b"", name="ec.example"):
    payload = keyproto.keys(source, keyproto.derivation(*derived), suite, CLIENT_RANDOM, SERVER_RANDOM, finished_hash)
    return keyproto.Keys(channel.call(keyproto.KEYS, payload, ski=server.ski(name)))


def verify_data(channel, server, handle, end, transcript_hash, name="ec.example"):
    return channel.call(keyproto.FINISHED, keyproto.finished(handle, end, transcript_hash), ski=server.ski(name))


@pytest.mark.parametrize("suite, prf, size", SUITES)
@pytest.mark.parametrize("ems", [True, False])
def test_session_keys_and_finished(server, suite, prf, size, ems):
    """With the extended master secret the client's hash is known at once, without it comes later."""
    transcript = (hashlib.sha256 if prf == keyproto.PRF_SHA256 else hashlib.sha384)(b"transcript").digest()
    client, seed = Client(X25519), transcript if ems else CLIENT_RANDOM + SERVER_RANDOM
    with server.edge("edge6") as channel:
        made = begin(channel, server)
        secret = keyproto.master_secret(prf, client.agree(made), seed, ems)
        source = keyproto.agreed(made.handle, client.share)
        assert refusal(master, channel, server, source, (prf, seed, ems)) == DENIED
        answer = session_keys(channel, server, source, (prf, seed, ems), suite, transcript if ems else b"")
        block = keyproto.prf(prf, secret, b"key expansion", SERVER_RANDOM + CLIENT_RANDOM, size)
        assert answer.key_block == block
        client_end, server_end = keyproto.CLIENT_END, keyproto.SERVER_END
        if ems:
            theirs = answer.verify_data
        else:
            assert answer.verify_data == b""
            theirs = verify_data(channel, server, answer.handle, client_end, transcript)
        assert theirs == keyproto.verify_data(prf, secret, client_end, transcript)
        assert refusal(verify_data, channel, server, answer.handle, client_end, transcript) == EXPIRED_HANDLE
        ours = verify_data(channel, server, answer.handle, server_end, transcript)
        assert ours == keyproto.verify_data(prf, secret, server_end, transcript)
        assert refusal(verify_data, channel, server, answer.handle, server_end, transcript) == EXPIRED_HANDLE


def test_session_keys_of_rsa(server):
    premaster, derived = b"\3\3" + os.urandom(46), (keyproto.PRF_SHA256, HASH, True)
    with server.edge("edge6") as channel:
        source = keyproto.by_rsa(0x0303, encrypt(server, premaster), SEED)
        answer = session_keys(channel, server, source, derived, 0x009C, HASH, "example.com")
        secret = keyproto.master_secret(keyproto.PRF_SHA256, premaster, HASH, True)
        assert answer.key_block == keyproto.prf(keyproto.PRF_SHA256, secret, b"key expansion",
                                                SERVER_RANDOM + CLIENT_RANDOM, 40)
        assert answer.verify_data == keyproto.verify_data(keyproto.PRF_SHA256, secret, keyproto.CLIENT_END, HASH)


def exposed(channel, server, source, derived, suite, finished_hash=b"", name="ec.example"):
    payload = keyproto.keys(source, keyproto.derivation(*derived), suite, CLIENT_RANDOM, SERVER_RANDOM, finished_hash)
    return keyproto.Exposed(channel.call(keyproto.EXPOSE, payload, ski=server.ski(name)))


@pytest.mark.parametrize("suite, prf, size", SUITES)
def test_exposed_master_secret(server, suite, prf, size):
    """To who has both permissions, keys and expose; nothing is kept for Finished."""
    client, derived = Client(X25519), (prf, CLIENT_RANDOM + SERVER_RANDOM, False)
    with server.edge("edge7") as channel, server.edge("edge6") as without, server.edge("edge8") as only:
        for other in (without, only):
            made = begin(other, server)
            source = keyproto.agreed(made.handle, client.share)
            assert refusal(exposed, other, server, source, derived, suite) == DENIED
        made = begin(channel, server)
        secret = keyproto.master_secret(prf, client.agree(made), *derived[1:])
        source = keyproto.agreed(made.handle, client.share)
        assert refusal(exposed, channel, server, source, derived, 0x1301) == FORMAT
        answer = exposed(channel, server, source, derived, suite)
        assert answer.master == secret
        assert answer.key_block == keyproto.prf(prf, secret, b"key expansion", SERVER_RANDOM + CLIENT_RANDOM, size)
        assert refusal(exposed, channel, server, source, derived, suite) == EXPIRED_HANDLE
        assert refusal(verify_data, channel, server, made.handle, keyproto.SERVER_END, HASH) == EXPIRED_HANDLE
        assert refusal(master, channel, server, source, derived) == DENIED
    audit = server.folder / "audit.log"
    line = rf"edge=edge7 key=ec.example op=expose .*hash={CLIENT_RANDOM.hex()} result=OK"
    harness.wait_until(lambda: re.search(line, audit.read_text()), "its line is in the log")


def test_exposed_master_secret_of_rsa(server):
    premaster, derived = b"\3\3" + os.urandom(46), (keyproto.PRF_SHA256, HASH, True)
    with server.edge("edge7") as channel:
        source = keyproto.by_rsa(0x0303, encrypt(server, premaster), SEED)
        answer = exposed(channel, server, source, derived, 0x009C, name="example.com")
        assert answer.master == keyproto.master_secret(keyproto.PRF_SHA256, premaster, HASH, True)
        assert refusal(exposed, channel, server, source, derived, 0x009C, HASH, "example.com") == FORMAT


def test_what_was_recorded_of_rsa_is_of_no_use(server):
    """Randoms, hash and ciphertext are on the wire; what the server random was made of is not."""
    premaster, (hashed, randoms) = b"\3\3" + os.urandom(46), (DERIVATIONS[0], DERIVATIONS[2])
    ciphertext = encrypt(server, premaster)
    recorded, known = (keyproto.by_rsa(0x0303, ciphertext, seed) for seed in (SERVER_RANDOM, SEED))
    with server.edge("edge5") as to_master, server.edge("edge6") as to_keys, server.edge("edge7") as to_both:
        assert refusal(master, to_master, server, recorded, randoms, "example.com") == REPLAY
        assert len(master(to_master, server, known, randoms, "example.com")) == 48
        for derived in (hashed, randoms):
            assert refusal(session_keys, to_keys, server, recorded, derived, 0x009C, b"", "example.com") == REPLAY
            assert refusal(exposed, to_both, server, recorded, derived, 0x009C, b"", "example.com") == REPLAY
            assert session_keys(to_keys, server, known, derived, 0x009C, b"", "example.com").key_block


def test_a_stage_is_not_another(build):
    """Handles of ephemeral keys and of master secrets; another edge's; after a reload."""
    server = build(signers=2)
    client, derived = Client(X25519), (keyproto.PRF_SHA256, HASH, True)
    with server.edge("edge6") as channel, server.edge("edge3") as other:
        made = begin(channel, server)
        assert refusal(verify_data, channel, server, made.handle, keyproto.SERVER_END, HASH) == EXPIRED_HANDLE
        source = keyproto.agreed(made.handle, client.share)
        assert refusal(session_keys, channel, server, source, derived, 0xC013) == FORMAT  # no AEAD
        assert refusal(session_keys, channel, server, source, derived, 0x1301) == FORMAT  # TLS 1.3
        answer = session_keys(channel, server, source, derived, 0xC02B)
        again = keyproto.agreed(answer.handle, client.share)
        assert refusal(session_keys, channel, server, again, derived, 0xC02B) == EXPIRED_HANDLE
        assert refusal(finish, other, server, answer.handle, client.share) == EXPIRED_HANDLE
        assert refusal(verify_data, other, server, answer.handle, keyproto.SERVER_END, HASH) == DENIED
        assert harness.control(server.folder / "run/keyd.sock", "reload").get("ok") is True
        secret = keyproto.master_secret(keyproto.PRF_SHA256, client.agree(made), HASH, True)
        for end in (keyproto.CLIENT_END, keyproto.SERVER_END):
            assert verify_data(channel, server, answer.handle, end, HASH) == keyproto.verify_data(
                keyproto.PRF_SHA256, secret, end, HASH)


@pytest.mark.unsanitized
def test_no_front_has_the_master_secret(server):
    client, derived = Client(X25519), (keyproto.PRF_SHA256, HASH, True)
    (signer,), (front,) = server.children("signer"), server.children("keyd-front")
    with server.edge("edge6") as channel:
        made = begin(channel, server)
        premaster = client.agree(made)
        secret = keyproto.master_secret(keyproto.PRF_SHA256, premaster, HASH, True)
        answer = session_keys(channel, server, keyproto.agreed(made.handle, client.share), derived, 0xC02B)
        assert pairs.holds_any(signer, [secret]) and not pairs.holds_any(signer, [premaster])
        assert not pairs.holds_any(front, [secret, premaster])
        verify_data(channel, server, answer.handle, keyproto.SERVER_END, HASH)
        assert not pairs.holds_any(signer, [secret])


# --- handles ---

def handles(server):
    """How many handles all signers keep."""
    return scrape(server, server.metrics)["farkey_signer_handles"]


@pytest.fixture
def counted(build):
    """A key server that tells its metrics."""
    server = build(start=False, signers=2)
    server.metrics = harness.free_port()
    with open(server.folder / "keyd.conf", "a") as conf:
        conf.write(f'admin {{ listen = "127.0.0.1:{server.metrics}" }}\n')
    return server


def test_what_nobody_comes_back_for_is_forgotten(counted, daemons):
    server = counted.start(daemons)
    client = Client(X25519)
    with server.edge("edge3") as channel:
        made = [begin(channel, server) for _ in range(5)]
        harness.wait_until(lambda: handles(server) == 5, "handles are counted")
        finish(channel, server, made[0].handle, client.share)
        harness.wait_until(lambda: handles(server) == 4, "one is used")
        harness.wait_until(lambda: handles(server) == 0, "the others' time is over", timeout=60)
        for old in made:
            assert refusal(finish, channel, server, old.handle, client.share) == EXPIRED_HANDLE


def test_a_reload_loses_no_handshake(build):
    """Keys of a new generation are served by new signers; what the old ones keep is finished there."""
    server = build(signers=2)
    begun = []
    with server.edge("edge3") as channel:
        for _ in range(3):
            for _ in range(4):
                client = Client(X25519)
                begun.append((client, begin(channel, server)))
            assert harness.control(server.folder / "run/keyd.sock", "reload").get("ok") is True
        for client, made in begun:
            assert finish(channel, server, made.handle, client.share) == client.agree(made)
    # Then the old signers are not needed any more.
    harness.wait_until(lambda: len(server.children("signer")) == 2, "old signers have gone", timeout=60)


def test_what_a_dead_signer_kept_is_gone(build):
    server = build(signers=2)
    client = Client(X25519)
    with server.edge("edge3") as channel:
        made = [begin(channel, server) for _ in range(8)]
        for pid in server.children("signer"):
            os.kill(pid, signal.SIGKILL)
        for old in made:
            assert refusal(finish, channel, server, old.handle, client.share) == EXPIRED_HANDLE
        harness.wait_until(server.serves, "new signers serve")
        new = begin(channel, server)
        assert finish(channel, server, new.handle, client.share) == client.agree(new)


def test_many_handles_of_one_edge_are_bounded(counted, daemons):
    """The oldest make room, and another edge's are left alone."""
    server = counted
    text = (server.folder / "keyd.conf").read_text().replace("allow = {sign, decrypt} }", "allow = agree }")
    (server.folder / "keyd.conf").write_text(text.replace("signers = 2", "signers = 1"))
    server.start(daemons)
    client = Client(X25519)
    with server.edge("edge3") as channel, server.edge("edge4") as other:
        theirs = begin(other, server)
        payload = keyproto.agree_init(ECDSA_SHA256, X25519, CLIENT_RANDOM, SERVER_RANDOM)
        made = []
        for _ in range(17):
            idents = [channel.send(keyproto.AGREE_INIT, payload, ski=server.ski("ec.example")) for _ in range(256)]
            made += [keyproto.Made(channel.receive(ident).result()) for ident in idents]
        assert handles(server) == 4097
        assert refusal(finish, channel, server, made[0].handle, client.share) == EXPIRED_HANDLE
        assert finish(channel, server, made[-1].handle, client.share) == client.agree(made[-1])
        assert finish(other, server, theirs.handle, client.share) == client.agree(theirs)


def ephemeral_in(pid, share):
    """The private x25519 value of a public one, if a process has it: behind its group and length."""
    for chunk in pairs.process_memory(pid):
        at = chunk.find(b"\x1d\x00\x20")
        while at >= 0:
            with contextlib.suppress(ValueError):
                key = x25519.X25519PrivateKey.from_private_bytes(chunk[at + 3:at + 35])
                if key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw) == share:
                    return chunk[at + 3:at + 35]
            at = chunk.find(b"\x1d\x00\x20", at + 1)
    return None


@pytest.mark.unsanitized
def test_no_front_has_the_private_value(server):
    """It is in the signer until the client's share is there, then nowhere; in a front never."""
    client = Client(X25519)
    (signer,), (front,) = server.children("signer"), server.children("keyd-front")
    with server.edge("edge3") as channel:
        made = begin(channel, server)
        private = ephemeral_in(signer, made.share)
        assert private is not None
        assert not pairs.holds_any(front, [private])
        finish(channel, server, made.handle, client.share)
        assert not pairs.holds_any(front, [private])
        assert not pairs.holds_any(signer, [private])
