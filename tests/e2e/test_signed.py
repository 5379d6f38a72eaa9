"""K10c, K10f: requests that the edge signs, verified by the signer; secret results sealed past the front."""
import os
import re
import shutil
import signal

import pytest

import harness
import keyproto
import pair as pairs

RSA_KX = ("--tls-max", "1.2", "--ciphers", "AES128-GCM-SHA256")


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    nginx = pairs.Nginx(tmp_path_factory.mktemp("origin"))
    yield nginx
    nginx.stop()


@pytest.fixture
def build(folder, authority, site_authority, origin):
    """A pair whose edge has a request key, as its operator makes it; `enrolled`: and the key server knows it."""
    def build_pair(enrolled=True, signs=True, **options):
        made = pairs.request_key(folder)
        if enrolled:
            options.setdefault("keyd_options", "fronts = 1 signers = 2 signed_requests = on")
            options["edge_policy"] = made["edge_policy"]
        if signs:
            options["edge_channel_options"] = made["edge_channel_options"]
        return pairs.Pair(folder, authority, site_authority, origin.port, keys={"example.com": ["rsa2048"]},
                          policy="allow = {sign, decrypt}\n", site_options="rsa_key_exchange = on",
                          **options)
    return build_pair


def test_signed_and_sealed(build, daemons):
    pair = build().start(daemons)
    assert (pair.folder / "edge1/request.key").stat().st_mode & 0o777 == 0o600
    for options in (("--tlsv1.3",), ("--tls-max", "1.2"), RSA_KX):
        for _ in range(3):
            assert pair.get("example.com", *options)[1] == "hello from the origin\n"
    assert "bad result" not in pair.edge.log()
    assert pair.audit_verify().returncode == 0
    audit = (pair.folder / "keys1/audit.log").read_text()
    assert len(re.findall(r"decrypt", audit)) >= 3 and "sign-1.3" in audit
    # A new channel has counters of its own.
    pair.edge.stop()
    pair.start_edge(daemons)
    assert pair.get("example.com", *RSA_KX)[0] == 0


def test_a_request_that_waits_stays_signed(build, daemons):
    """While there is no audit process the front holds requests: as they came, and in their order."""
    pair = build().start(daemons)
    for _ in range(3):
        for pid in pair.keyd.children("keyd-audit"):
            os.kill(pid, signal.SIGKILL)
        for options in (("--tlsv1.3",), RSA_KX):
            assert pair.get("example.com", *options)[1] == "hello from the origin\n"
    assert "REPLAY" not in pair.keyd.log() and "operation failed" not in pair.keyd.log()


def test_who_does_not_sign_gets_nothing(build, daemons):
    """An edge that should sign and does not, and a stranger's client with the edge's channel key."""
    pair = build(signs=False)
    pair.start_keyd(daemons)
    pair.start_edge(daemons, ready=False)
    assert pair.get(check=False)[0] != 0
    pair.keyd.wait_log(r'operation refused .*why="it is not signed"')
    identity = pair.folder / "edge1"
    spki = keyproto.spki_of(site_certificate(pair))
    with keyproto.Channel(("127.0.0.1", pair.keyd_port), str(identity / "channel.crt"), str(identity / "channel.key"),
                          str(identity / "ca.crt"), identity="farkey:keyserver:keys1") as channel:
        with pytest.raises(keyproto.Refused) as caught:
            channel.call(0x41, keyproto.sign13(0x0804, keyproto.SERVER, bytes(32)), ski=keyproto.ski_of(spki))
        assert caught.value.code == 0x40


def site_certificate(pair):
    harness.run("openssl", "x509", "-in", pair.folder / "edge1/example.com.crt", "-outform", "DER", "-out",
                pair.folder / "site.der")
    return (pair.folder / "site.der").read_bytes()


def test_who_is_not_known_to_sign_is_told(build, daemons):
    """The edge signs, its block at the key server says nothing of it: both logs say what is wrong."""
    pair = build(enrolled=False)
    pair.start_keyd(daemons)
    pair.start_edge(daemons, ready=False)
    assert pair.get(check=False)[0] != 0
    pair.keyd.wait_log(r'operation refused .*why="it is signed, but the edge\'s block has no request_key"')
    pair.edge.wait_log("DENIED")


def test_another_key_is_refused(build, daemons):
    """The edge signs with a key that is not the one that the key server knows."""
    pair = build()
    for name in ("request.key", "request.pub"):
        (pair.folder / "edge1" / name).unlink()
    harness.run(harness.FARKEY, "ca", "request-key", "-o", pair.folder / "edge1")
    pair.start_keyd(daemons)
    pair.start_edge(daemons, ready=False)
    assert pair.get(check=False)[0] != 0
    pair.keyd.wait_log(r'operation failed .*edge="edge1".*DENIED')
    # The right key is taken up with a reload, without a restart.
    shutil.copy(pair.folder / "edge1/request.pub", pair.folder / "keys1/edge1.request.pub")
    pair.keyd.process.send_signal(signal.SIGHUP)
    harness.wait_until(lambda: pair.get(check=False)[0] == 0, "the new key is known")


def test_what_must_be_configured(build):
    """All that is missing is told, with its line."""
    pair = build(keyd_options="signed_requests = on", listen_options="dialect1 = on")
    conf = pair.folder / "keys1/keyd.conf"
    conf.write_text(conf.read_text().replace('request_key = "edge1.request.pub"', ""))
    done = harness.run(harness.FARKEY, "check", "-c", conf, check=False)
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert 'edge "edge1": no request_key' in output and "dialect 1 have no signature" in output, output
    pair.write_keyd()
    (pair.folder / "keys1/edge1.request.pub").write_text("nothing\n")
    conf.write_text(conf.read_text().replace("dialect1 = on", ""))
    done = harness.run(harness.FARKEY, "check", "-c", conf, check=False)
    assert done.returncode != 0 and "not a public Ed25519 key in PEM" in done.stdout + done.stderr
