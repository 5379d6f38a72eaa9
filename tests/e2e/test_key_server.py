"""A key server seen by the independent client of both dialects (keyproto.py, docs/wire-key.md)."""
import hashlib
import os
import ssl
import subprocess

import pytest

import harness
import keyproto
from keyproto import CLIENT, ECDHE, SERVER

KINDS = {"rsa": "rsa2048", "p256": "p256", "ed": "ed25519"}
SCHEMES = {"rsa": 0x0804, "p256": 0x0403, "ed": 0x0807}
ALL = "sign, decrypt, client, digest, dialect1_decrypt"
HASH, LONG_HASH = bytes(range(32)), bytes(range(48))
GENERATOR = bytes.fromhex("046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
                          "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5")
SHA256 = ("-digest", "sha256")
PSS = (*SHA256, "-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:digest")
HOW = {"rsa": PSS, "p256": SHA256, "ed": ()}


class KeyServer:
    """One farkey keyd with an RSA, a P-256 and an Ed25519 key that may be used for everything."""

    def __init__(self, folder):
        self.folder = folder
        authority = harness.Authority(folder / "ca")
        self.ca = str(authority.certificate)
        home = folder / "keyd"
        harness.channel_identity(authority, home, "keyserver", "hq")
        for name in ("all", "little"):
            harness.channel_identity(authority, folder / name, "edge", name)
        harness.channel_identity(authority, folder / "stranger", "edge", "stranger")
        harness.channel_identity(authority, folder / "wrong", "keyserver", "all")
        self.spki = {}
        for name, kind in KINDS.items():
            key, _ = authority.issue(home / "keys" / f"{name}.example", name, f"DNS:{name}.example", kind)
            (home / "keys" / f"{name}.example.policy").write_text(f"allow = {{{ALL}}}\n")
            public = folder / f"{name}.pub"
            subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER", "-out", public],
                           check=True)
            self.spki[name] = public.read_bytes()
        self.port = harness.free_port()
        (home / "run").mkdir()
        (home / "keyd.conf").write_text(f"""
            fronts = 1
            signers = 1
            control = "run/keyd.sock"
            listen "127.0.0.1:{self.port}" {{ dialect1 = on }}
            channel {{ certificate = "channel.crt" key = "channel.key" ca = "ca.crt" }}
            keys "keys" {{ }}
            edge "all" {{ keys = {{"*"}} allow = {{{ALL}}} }}
            edge "little" {{ keys = {{"rsa.example"}} allow = {{sign}} }}
        """)
        self.daemon = harness.Daemon(harness.FARKEY, "keyd", "-c", home / "keyd.conf", log=folder / "keyd.log")
        self.daemon.wait_log("front serves generation=1")

    def channel(self, edge="all", **options):
        options.setdefault("identity", "farkey:keyserver:hq")
        return keyproto.Channel(("127.0.0.1", self.port), str(self.folder / edge / "channel.crt"),
                                str(self.folder / edge / "channel.key"), self.ca, **options)

    def ski(self, name):
        return keyproto.ski_of(self.spki[name])

    def verify(self, name, message, signature, how):
        (self.folder / "message").write_bytes(message)
        (self.folder / "signature").write_bytes(signature)
        harness.run("openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-rawin",
                    "-inkey", self.folder / f"{name}.pub", "-in", self.folder / "message",
                    "-sigfile", self.folder / "signature", *how)

    def encrypt(self, data, padding):
        (self.folder / "plain").write_bytes(data)
        out = self.folder / "cipher"
        harness.run("openssl", "pkeyutl", "-encrypt", "-pubin", "-keyform", "DER",
                    "-inkey", self.folder / "rsa.pub", "-in", self.folder / "plain", "-out", out,
                    "-pkeyopt", f"rsa_padding_mode:{padding}")
        return out.read_bytes()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keyd")
    for path in (folder, folder.parent, folder.parent.parent):
        path.chmod(0o755)
    server = KeyServer(folder)
    yield server
    status = server.daemon.stop()
    report = harness.sanitizer_report(server.daemon.log())
    assert report is None, report
    assert status == 0


@pytest.fixture
def channel(server):
    with server.channel() as channel:
        yield channel


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["tls12", "tls13"])
def dialect1(server, request):
    with server.channel(alpn=None, maximum=request.param) as channel:
        yield channel


def refused(code, function, *arguments, **options):
    with pytest.raises(keyproto.Refused) as caught:
        function(*arguments, **options)
    assert caught.value.code == code


def test_info_lists_what_this_edge_may_use(server, channel):
    keys, generation = channel.keys()
    assert generation == channel.generation()
    assert {key["name"]: (key["type"], key["permissions"]) for key in keys} == {
        "rsa.example": (1, 0x3F), "p256.example": (2, 0x3F), "ed.example": (3, 0x3F)}
    for key in keys:
        assert keyproto.ski_of(keyproto.spki_of(key["chain"][0])) == key["ski"]
    with server.channel("little") as little:
        assert [(key["name"], key["permissions"]) for key in little.keys()[0]] == [("rsa.example", 3)]


@pytest.mark.parametrize("role", [SERVER, CLIENT])
@pytest.mark.parametrize("digest", [HASH, LONG_HASH], ids=["sha256", "sha384"])
@pytest.mark.parametrize("name", KINDS)
def test_sign13(server, channel, name, digest, role):
    signature = channel.sign13(SCHEMES[name], digest, role, ski=server.ski(name))
    server.verify(name, keyproto.sign13_message(role, digest), signature, HOW[name])


def test_a_key_has_many_names(server, channel):
    leaf = next(key["chain"][0] for key in channel.keys()[0] if key["name"] == "rsa.example")
    for names in ({"sni": "rsa.example"}, {"cert_hash": hashlib.sha256(leaf).digest()},
                  {"digest": keyproto.digest_of(server.spki["rsa"])}):
        signature = channel.sign13(0x0804, HASH, **names)
        server.verify("rsa", keyproto.sign13_message(SERVER, HASH), signature, PSS)
    # An exact name that is unknown is not replaced by a vaguer one.
    refused(0x02, channel.sign13, 0x0804, HASH, ski=bytes(20), sni="rsa.example")
    refused(0x02, channel.sign13, 0x0804, HASH)


@pytest.mark.parametrize("name, scheme, how", [("rsa", 0x0401, SHA256), ("rsa", 0x0804, PSS),
                                               ("p256", 0x0403, SHA256), ("ed", 0x0807, ())])
def test_sign12(server, channel, name, scheme, how):
    for params in (keyproto.ecdh_params(29, b"\x09" + bytes(31)), keyproto.ecdh_params(23, GENERATOR)):
        signature = channel.sign12(scheme, ECDHE, b"c" * 32, b"s" * 32, params, ski=server.ski(name))
        server.verify(name, b"c" * 32 + b"s" * 32 + params, signature, how)


def test_what_does_not_fit_is_malformed(server, channel):
    rsa, p256 = server.ski("rsa"), server.ski("p256")
    off_curve = keyproto.ecdh_params(23, GENERATOR[:-1] + b"\x00")
    refused(0x07, channel.sign12, 0x0403, ECDHE, bytes(32), bytes(32), off_curve, ski=p256)
    refused(0x07, channel.sign13, 0x0403, HASH, ski=rsa)  # ECDSA with an RSA key
    refused(0x07, channel.sign13, 0x0401, HASH, ski=rsa)  # PKCS#1 in TLS 1.3
    refused(0x07, channel.sign13, 0x0503, HASH, ski=p256)  # another curve's scheme
    refused(0x07, channel.sign13, 0x0804, bytes(33), ski=rsa)
    refused(0x07, channel.call, keyproto.SIGN13, keyproto.sign13(0x0804, 3, HASH), ski=rsa)
    refused(0x07, channel.call, keyproto.SIGN13, ski=rsa)
    refused(0x07, channel.decrypt, bytes(255), ski=rsa)
    refused(0x02, channel.decrypt, bytes(256), ski=p256)


def bad_paddings():
    good = b"\x00\x02" + b"\x55" * 205 + b"\x00\x03\x03" + b"p" * 46
    assert len(good) == 256
    for name, at, value in (("first byte", 0, 1), ("block type", 1, 1), ("zero in the padding", 2, 0),
                            ("zero later", 100, 0), ("zero before the end", 206, 0), ("no separator", 207, 1)):
        block = bytearray(good)
        block[at] = value
        yield pytest.param(bytes(block), id=name)


def test_good_padding_gives_the_premaster(server, channel):
    premaster = b"\x03\x03" + os.urandom(46)
    ciphertext = server.encrypt(premaster, "pkcs1")
    assert channel.decrypt(ciphertext, ski=server.ski("rsa")) == premaster
    # The version is the client's, and changes nothing else.
    assert channel.decrypt(ciphertext, 0x0304, ski=server.ski("rsa")) == b"\x03\x04" + premaster[2:]


@pytest.mark.parametrize("block", list(bad_paddings()))
def test_bad_padding_gives_the_same_48_bytes_every_time(server, channel, block):
    ciphertext = server.encrypt(block, "none")
    first = channel.decrypt(ciphertext, ski=server.ski("rsa"))
    assert len(first) == 48 and first[:2] == b"\x03\x03" and first[2:] != b"p" * 46
    assert channel.decrypt(ciphertext, ski=server.ski("rsa")) == first
    assert channel.decrypt(ciphertext, 0x0304, ski=server.ski("rsa"))[2:] == first[2:]


def test_unknown_and_misplaced_opcodes(server, channel):
    refused(0x05, channel.call, 0x47, b"")
    refused(0x05, channel.call, keyproto.RSA_SHA256, HASH, ski=server.ski("rsa"))
    for opcode in (keyproto.RESPONSE, keyproto.PONG, keyproto.ERROR):
        refused(0x06, channel.call, opcode, b"\x01")
    refused(0x04, channel.call, keyproto.PING, b"", version=0x0200)
    channel.send_raw(keyproto.raw_frame(0xFFFF0001, b""))
    refused(0x07, channel.receive(0xFFFF0001).result)
    channel.ping()  # nothing of this closed it


def test_an_edge_may_do_only_what_is_written(server):
    with server.channel("little") as little:
        server.verify("rsa", keyproto.sign13_message(SERVER, HASH),
                      little.sign13(0x0804, HASH, ski=server.ski("rsa")), PSS)
        refused(0x40, little.sign13, 0x0804, HASH, CLIENT, ski=server.ski("rsa"))
        refused(0x40, little.decrypt, bytes(256), ski=server.ski("rsa"))
        refused(0x40, little.sign13, 0x0403, HASH, ski=server.ski("p256"))
    with server.channel("little", alpn=None) as little:
        refused(0x02, little.call, keyproto.RSA_SHA256, HASH, ski=server.ski("rsa"))


@pytest.mark.parametrize("edge, options", [
    ("stranger", {}), ("wrong", {}), ("all", {"maximum": ssl.TLSVersion.TLSv1_2})],
    ids=["unknown edge", "a key server as an edge", "farkey/1 over TLS 1.2"])
def test_wrong_peers_are_disconnected(server, edge, options):
    with pytest.raises((keyproto.Closed, ssl.SSLError, ConnectionError)):
        with server.channel(edge, **options) as channel:
            channel.ping()


def test_many_requests_at_once_and_in_pieces(server, channel):
    requests = [channel.request(keyproto.SIGN13, keyproto.sign13(0x0403, SERVER, HASH), ski=server.ski("p256"))
                for _ in range(200)]
    channel.send_raw(b"".join(data for _, data in requests))
    for ident, _ in reversed(requests):
        assert channel.receive(ident).result()[0] == 0x30
    ident, data = channel.request(keyproto.PING, b"")
    for i in range(len(data)):
        channel.send_raw(data[i:i + 1])
    assert len(channel.receive(ident).result()) == 8


def test_dialect1_pings(dialect1):
    assert dialect1.ping(b"abc") == b"abc"
    answer = dialect1.receive(dialect1.send(keyproto.PING))
    assert answer.size == 1024 and answer.result() == b""


@pytest.mark.parametrize("name, opcode, how", [
    ("rsa", keyproto.RSA_SHA256, SHA256), ("rsa", keyproto.PSS_SHA256, PSS), ("p256", keyproto.ECDSA_SHA256, SHA256)])
def test_dialect1_signs_digests(server, dialect1, name, opcode, how):
    digest = hashlib.sha256(b"message").digest()
    for names in ({"ski": server.ski(name)}, {"digest": keyproto.digest_of(server.spki[name])}):
        for padded in (True, False):
            signature = dialect1.call(opcode, digest, padded=padded, **names)
            server.verify(name, b"message", signature, how)
    refused(0x07, dialect1.call, opcode, digest[:31], ski=server.ski(name))
    refused(0x02, dialect1.call, opcode, digest, ski=server.ski("ed"))


def test_dialect1_signs_ed25519_messages(server, dialect1):
    signature = dialect1.call(keyproto.ED25519, b"message", ski=server.ski("ed"))
    server.verify("ed", b"message", signature, ())


def test_dialect1_decrypt_answers_a_block_made_anew(server, dialect1):
    premaster = b"\x03\x03" + os.urandom(46)
    good, bad = server.encrypt(premaster, "pkcs1"), server.encrypt(b"\x00\x01" + b"\x55" * 254, "none")
    for ciphertext in (good, bad):
        block = dialect1.call(keyproto.RSA_DECRYPT, ciphertext, ski=server.ski("rsa"))
        assert len(block) == 256 and block[:2] == b"\x00\x02" and block[207] == 0 and 0 not in block[2:207]
        assert (block[208:] == premaster) == (ciphertext == good)
        assert dialect1.call(keyproto.RSA_DECRYPT, ciphertext, ski=server.ski("rsa")) == block


def test_dialect1_refuses(server, dialect1):
    rsa = server.ski("rsa")
    refused(0x05, dialect1.call, keyproto.RSA_RAW, bytes(256), ski=rsa)
    refused(0x07, dialect1.call, keyproto.RSA_MD5SHA1, bytes(36), ski=rsa)
    for opcode in (0x21, 0x22, 0x23, 0x24, keyproto.SIGN13, keyproto.INFO):
        refused(0x05, dialect1.call, opcode, HASH, ski=rsa)
    refused(0x04, dialect1.call, keyproto.PING, b"", version=0x0200)
    refused(0x06, dialect1.call, keyproto.PONG, b"")
    assert dialect1.ping(b"still here") == b"still here"
