"""Key servers that dial in (K10e: the channel opened by either side), on real daemons."""
import contextlib
import os
import re
import signal
import socket
import subprocess
import threading

import pytest

import edgelib
import harness
from dialled import Dialled, channels
from test_lend import give_lend_key


@pytest.fixture
def build(folder, authority, site_authority):
    """A pair whose key server dials, not started; its `accept_port` is where."""
    origin = edgelib.Origin(edgelib.http(b"hello from the origin"))
    yield lambda **options: Dialled(folder, authority, site_authority, origin.port, **options)
    origin.close()


def test_one_key_server_serves_all_workers(build, daemons):
    pair = build(edge_options="workers = 3")
    pair.start(daemons)
    harness.wait_until(lambda: channels(pair) == 3, "a channel for each worker")
    for _ in range(12):
        assert pair.works()
    assert 'listen "' not in (pair.folder / "keys1" / "keyd.conf").read_text()


def test_a_worker_that_is_started_again_has_a_channel_at_once(build, daemons):
    pair = build(edge_options="workers = 2")
    pair.start(daemons)
    harness.wait_until(lambda: channels(pair) == 2, "a channel for each worker")
    os.kill(pair.edge.children("edge-worker")[0], signal.SIGKILL)
    harness.wait_until(lambda: pair.edge.log().count("key server is up") >= 3, "the new worker's channel")
    harness.wait_until(lambda: channels(pair) == 2, "one for each worker again")
    assert pair.works()


@pytest.mark.parametrize("first", ["edge", "keyd"])
def test_restarts(build, daemons, first):
    """Each side comes back alone, whichever was there first."""
    pair = build(edge_options="workers = 2")
    if first == "edge":
        pair.start_edge(daemons, ready=False)
        assert not pair.works()
        pair.start_keyd(daemons)
    else:
        pair.start_keyd(daemons)
        pair.start_edge(daemons)
    harness.wait_until(pair.works, "the first handshake")
    pair.keyd.stop()
    harness.wait_until(lambda: not pair.works(), "nobody is there")
    pair.start_keyd(daemons)
    harness.wait_until(pair.works, "the key server is back")
    pair.edge.stop()
    pair.start_edge(daemons)
    assert pair.works()


def test_two_key_servers(build, daemons):
    """Both dial in, each on its own port; one alone is enough."""
    pair = build(second=True, site_options="strategy = round_robin", edge_options="workers = 2")
    pair.start_keyd(daemons)
    second = pair.start_keyd(daemons, "keys2")
    pair.start_edge(daemons)
    for name in ("keys1", "keys2"):
        harness.wait_until(lambda name=name: channels(pair, name) == 2, f"channels of {name}")
    for _ in range(8):
        assert pair.works()
    second.stop()
    for _ in range(8):
        assert pair.works()
    pair.start_keyd(daemons, "keys2")
    pair.keyd.stop()
    harness.wait_until(pair.works, "the other one serves")


# --- all that goes over a channel goes over this one ---

RSA = {"example.com": ["rsa2048"]}
MODES = {
    "sign": {},
    "decrypt": {"keys": RSA, "policy": "allow = {sign, decrypt}\n", "site_options": "mode = decrypt rsa_key_exchange = on"},
    "handshake": {"fetch_certificates": True, "policy": "allow = {handshake}\n", "edge_allow": "handshake",
                  "site_options": "mode = handshake"},
    **{mode: {"policy": f"allow = {{{mode}}}\n", "edge_allow": mode, "site_options": f"mode = {mode}"}
       for mode in ("agree", "master", "keys")},
    "split": {"split": True, "site_options": 'share = {"example.com.share.2"}'},
    "signed": {"signed": True, "keyd_options": "fronts = 1 signers = 1 signed_requests = on",
               "edge_policy": 'request_key = "request.pub"', "edge_channel_options": 'request_key = "request.key"'},
    "signed split": {"signed": True, "split": True, "site_options": 'share = {"example.com.share.2"}',
                     "keyd_options": "fronts = 1 signers = 1 signed_requests = on", "keys": RSA,
                     "edge_policy": 'request_key = "request.pub"', "edge_channel_options": 'request_key = "request.key"'},
}
VERSIONS = {"decrypt": [["-tls1_2", "-cipher", "AES128-GCM-SHA256"]], "agree": [["-tls1_2"]], "master": [["-tls1_2"]]}
RESUMED = {**VERSIONS, "keys": [["-tls1_2"]]}


@pytest.mark.parametrize("mode", MODES)
def test_modes(build, daemons, mode):
    """Full handshakes, with two key servers that take turns, and resumed ones, with the one that is left."""
    pair = build(second=True, edge_options="workers = 1", **{
        **MODES[mode], "site_options": "strategy = round_robin " + MODES[mode].get("site_options", "")})
    pair.start_keyd(daemons)
    second = pair.start_keyd(daemons, "keys2")
    pair.start_edge(daemons, ready=False)
    for name in ("keys1", "keys2"):
        harness.wait_until(lambda name=name: channels(pair, name) == 1, f"a channel of {name}")
    harness.wait_until(lambda: pair.edge.log().count("key server is up") == 2, "both are up")
    for version in VERSIONS.get(mode, [["-tls1_2"], ["-tls1_3"]]):
        for _ in range(4):
            assert "hello from the origin" in pair.s_client(*version)
    for name in ("keys1", "keys2"):
        audit = (pair.folder / name / "audit.log").read_text()
        assert audit.count(" result=OK") >= 2, audit
    second.stop()
    pair.edge.wait_log('key server is lost server="keys2"')
    for version in RESUMED.get(mode, [["-tls1_2"], ["-tls1_3"]]):
        session = pair.folder / "session"
        pair.s_client(*version, "-sess_out", session)
        text = pair.s_client(*version, "-sess_in", session)
        assert "Reused, " in text and "hello from the origin" in text


@pytest.mark.parametrize("mode", ["handshake", "split"])
def test_modes_when_a_key_server_goes_and_comes(build, daemons, mode):
    """The other one serves meanwhile; the one that comes back serves alone."""
    pair = build(second=True, edge_options="workers = 2", **{
        **MODES[mode], "site_options": "strategy = round_robin " + MODES[mode]["site_options"]})
    pair.start_keyd(daemons)
    second = pair.start_keyd(daemons, "keys2")
    pair.start_edge(daemons)
    second.stop()
    for _ in range(4):
        assert pair.works()
    pair.start_keyd(daemons, "keys2")
    harness.wait_until(lambda: channels(pair, "keys2") == 2, "it is back")
    pair.keyd.stop()
    harness.wait_until(pair.works, "it serves alone")
    for _ in range(4):
        assert pair.works()


def test_reload_at_both_ends(build, daemons):
    """A reload without changes keeps the channels; the dial block's end ends them, its return too."""
    pair = build()
    pair.start(daemons)
    harness.wait_until(lambda: channels(pair) == 1, "a channel")
    keyd, conf = pair.folder / "keys1/run/keyd.sock", pair.folder / "keys1" / "keyd.conf"
    assert harness.control(keyd, "reload")["ok"]
    assert harness.control(pair.folder / "edge1/run/edge.sock", "reload")["ok"]
    assert pair.works()
    assert (pair.folder / "keys1.log").read_text().count("channel open") == 1
    text = conf.read_text()
    conf.write_text(text.replace(pair.dial("keys1"), f'listen "127.0.0.1:{pair.keyd_port}" {{}}'))
    assert harness.control(keyd, "reload")["ok"]
    harness.wait_until(lambda: channels(pair) == 0, "the channel has ended with its dial block")
    conf.write_text(text)
    assert harness.control(keyd, "reload")["ok"]
    harness.wait_until(pair.works, "dialled again")


def test_edge_reload_moves_the_port(build, daemons):
    pair = build()
    pair.start(daemons)
    old, new = pair.accept_ports["keys1"], harness.free_port()
    for path in (pair.folder / "edge1" / "edge.conf", pair.folder / "keys1" / "keyd.conf"):
        path.write_text(path.read_text().replace(f"127.0.0.1:{old}", f"127.0.0.1:{new}"))
    assert harness.control(pair.folder / "edge1/run/edge.sock", "reload")["ok"]
    assert harness.control(pair.folder / "keys1/run/keyd.sock", "reload")["ok"]
    harness.wait_until(pair.works, "a channel by the new port")
    harness.wait_until(lambda: not harness.port_open(old), "the old port is closed")


@pytest.mark.parametrize("role, name, why", [("edge", "keys1", "is not a key server's"),
                                             ("keyserver", "other", "has another name")])
def test_wrong_role_or_name(build, daemons, authority, role, name, why):
    """A certificate of the same CA, but not this key server's: no channel."""
    pair = build()
    pair.start_edge(daemons, ready=False)
    harness.channel_identity(authority, pair.folder / "keys1", role, name)
    pair.keyd = harness.Daemon(harness.FARKEY, "keyd", "-c", pair.folder / "keys1" / "keyd.conf",
                               log=pair.folder / "keys1.log")
    daemons.append(pair.keyd)
    harness.wait_until(lambda: why in pair.edge.log(), "the edge refuses it")
    assert not pair.works()


def test_edge_that_the_key_server_does_not_know(build, daemons, authority):
    pair = build()
    harness.channel_identity(authority, pair.folder / "edge1", "edge", "stranger")
    pair.start_edge(daemons, ready=False)
    pair.start_keyd(daemons)
    harness.wait_until(lambda: "channel refused" in (pair.folder / "keys1.log").read_text(), "it is refused")
    assert not pair.works()


@pytest.mark.parametrize("rule", ['deny = {"127.0.0.0/8"}', 'allow = {"192.0.2.0/24"}'])
def test_address_lists(build, daemons, rule):
    """With a good certificate from a wrong address: no channel; then from the right one."""
    pair = build(accept_options=rule, dial_options='bind = "127.0.0.5"')
    pair.start_keyd(daemons)
    pair.start_edge(daemons, ready=False)
    harness.wait_until(lambda: "address not permitted" in pair.edge.log(), "it is turned away")
    assert not pair.works()
    conf = pair.folder / "edge1" / "edge.conf"
    conf.write_text(conf.read_text().replace(rule, 'allow = {"127.0.0.5"} deny = {"127.0.0.1"}'))
    assert harness.control(pair.folder / "edge1/run/edge.sock", "reload")["ok"]
    harness.wait_until(pair.works, "the address is let in")


class Flood:
    """Strangers who connect to a port and say nothing, as many as there is room for."""

    def __init__(self, port):
        self.port, self.ended, self.made = port, False, 0
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(4)]
        for thread in self.threads:
            thread.start()

    def run(self):
        held = []
        while not self.ended:
            try:
                held.append(socket.create_connection(("127.0.0.1", self.port), 0.2))
                self.made += 1
            except OSError:
                pass
            while len(held) > 100:
                held.pop(0).close()
        for connection in held:
            connection.close()

    def end(self):
        self.ended = True
        for thread in self.threads:
            thread.join()


def test_flood_of_strangers(build, daemons):
    """They take no channel away, and do not keep the key server from its next one."""
    pair = build(edge_options="workers = 2", dial_options='bind = "127.0.0.5"')
    pair.start(daemons)
    harness.wait_until(lambda: channels(pair) == 2, "channels")
    flood = Flood(pair.accept_ports["keys1"])
    try:
        harness.wait_until(lambda: flood.made > 200, "the flood")
        for _ in range(5):
            assert pair.works()
        pair.keyd.stop()
        pair.start_keyd(daemons)
        harness.wait_until(lambda: channels(pair) >= 1, "the key server dialled in through the flood")
        harness.wait_until(pair.works, "handshakes work again")
    finally:
        flood.end()


def test_queue_full_of_strangers(build, daemons):
    """They came while nobody wanted a channel, and stay: the key server that comes back gets in all the same."""
    pair = build(edge_options="workers = 2", dial_options='bind = "127.0.0.5"')
    pair.start(daemons)
    harness.wait_until(lambda: channels(pair) == 2, "channels")
    with contextlib.ExitStack() as held:
        for _ in range(300):  # more than have a place there
            stranger = held.enter_context(socket.socket())
            stranger.setblocking(False)
            stranger.connect_ex(("127.0.0.1", pair.accept_ports["keys1"]))
        pair.edge.wait_log("too many wait while no channel is wanted")
        assert channels(pair) == 2 and pair.works()
        pair.keyd.signal(signal.SIGKILL)
        pair.keyd.process.wait()
        (pair.folder / "keys1.log").unlink()
        pair.start_keyd(daemons)
        harness.wait_until(lambda: channels(pair) == 2, "both workers have their channels again")
        assert pair.works()


class Revoking(Dialled):
    """Under farkey's own authority; both sides have its revocation list."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, channel_options='crl = "ca.crl"', edge_channel_options='crl = "ca.crl"', **options)

    def make_identities(self):
        super().make_identities()
        harness.run(harness.FARKEY, "init", "--dir", self.folder / "made", "edge1", "keys1")
        for part in "edge1", "keys1":
            for name in "channel.crt", "channel.key", "ca.crt", "ca.crl":
                os.replace(self.folder / "made" / part / name, self.folder / part / name)

    def revoke(self, name, told):
        authority = self.folder / "made/ca"
        harness.run(harness.FARKEY, "ca", "revoke", "--ca", authority, name)
        harness.run(harness.FARKEY, "ca", "crl", "--ca", authority, "--out", self.folder / told)


@pytest.mark.parametrize("revoked, told, why", [
    ("keys1", "edge1", 'key server is lost .*detail="certificate revoked"'),
    ("edge1", "keys1", 'channel closed: no longer allowed.*why="certificate revoked"')])
def test_revoked(folder, daemons, authority, site_authority, revoked, told, why):
    """The channel ends, whichever side learns that the other was revoked, and does not come back."""
    origin = edgelib.Origin(edgelib.http(b"hello from the origin"))
    pair = Revoking(folder, authority, site_authority, origin.port)
    pair.start(daemons)
    pair.revoke(revoked, told=told)
    (pair.edge if told == "edge1" else pair.keyd).wait_log(why)
    # It dials again, and its certificate is refused by then.
    again = "connection is not the key server's" if told == "edge1" else "edge cannot be dialled"
    (pair.edge if told == "edge1" else pair.keyd).wait_log(again)
    assert not pair.works()
    origin.close()


def test_keys_are_lent_over_it(build, folder, daemons):
    """Mode lend: the key comes over a channel that the key server has opened, and another when that one is gone."""
    give_lend_key(folder)
    pair = build(policy="allow = {sign, lend}\n", edge_allow="sign, lend", edge_policy='lend_key = "edge1.lend.pub"',
                 edge_options='workers = 1 lend_key = "lend.key" tickets { enabled = off }',
                 site_options="mode = lend lend_time = 0")
    keyd = pair.start_keyd(daemons)
    pair.start_edge(daemons)
    harness.wait_until(pair.works, "the key server has dialled in, and the key is lent")
    keyd.stop()
    harness.wait_until(lambda: not pair.works(), "nothing is lent when it is gone")
    pair.start_keyd(daemons)
    harness.wait_until(pair.works, "it dials and lends again")
    assert pair.status("edge")["counters"]['lendings_total{result="ok"}'] >= 2
    assert len(re.findall(r"op=lend .*result=OK", (folder / "keys1/audit.log").read_text())) >= 2
