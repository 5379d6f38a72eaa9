"""Key servers that dial in (design: the channel opened by the key server), on real daemons."""
import os
import re
import signal
import socket
import subprocess
import threading

import pytest

import edgelib
import harness
import pair as pairs


@pytest.fixture
def build(folder, authority, site_authority):
    """A pair whose key server dials, not started; its `accept_port` is where."""
    origin = edgelib.Origin(edgelib.http(b"hello from the origin"))
    yield lambda **options: Dialled(folder, authority, site_authority, origin.port, **options)
    origin.close()


class Dialled(pairs.Pair):
    """A key server without a listener, and an edge on which it dials in.

    `second`: another key server, keys2, with the same keys. `dial_options`, `accept_options`: of
    the dial and keyserver blocks.
    """

    def write_edge(self):
        self.accept_ports = {"keys1": harness.free_port()}
        if self.options.get("second"):
            self.accept_ports["keys2"] = harness.free_port()
        self.servers = self.accept_ports
        super().write_edge()
        conf = self.folder / "edge1" / "edge.conf"
        text = conf.read_text()
        for name, port in self.accept_ports.items():
            text = text.replace(f'address = "127.0.0.1:{port}" identity = "farkey:keyserver:keys1"',
                                f'accept = "127.0.0.1:{port}" {self.options.get("accept_options", "")}')
        conf.write_text(text)
        self.write_dials()

    def write_dials(self):
        conf = self.folder / "keys1" / "keyd.conf"
        listen = re.compile(r'listen "127.0.0.1:\d+" \{[^}]*\}')
        text = conf.read_text()
        assert listen.search(text)
        conf.write_text(listen.sub(self.dial("keys1"), text))
        if "keys2" not in self.accept_ports:
            return
        second = self.folder / "keys2"
        subprocess.run(["cp", "-r", self.folder / "keys1", second], check=True)
        harness.channel_identity(self.authority, second, "keyserver", "keys2")
        (second / "keyd.conf").write_text(listen.sub(self.dial("keys2"), text))

    def dial(self, name):
        return f'dial "127.0.0.1:{self.accept_ports[name]}" {{ {self.options.get("dial_options", "")} }}'

    def start_keyd(self, daemons, name="keys1"):
        daemon = harness.Daemon(harness.FARKEY, "keyd", "-c", self.folder / name / "keyd.conf",
                                log=self.folder / f"{name}.log")
        daemons.append(daemon)
        if name == "keys1":
            self.keyd = daemon
        harness.wait_until(lambda: self.keyd_status(name) is not None, "the key server serves")
        return daemon

    def keyd_status(self, name="keys1"):
        try:
            return harness.control(self.folder / name / "run/keyd.sock")
        except OSError:
            return None

    def works(self):
        status, body, _ = self.get(check=False)
        return status == 0 and "hello from the origin" in body


def channels(pair, name="keys1"):
    """Channels that the key server has with edges that proved who they are."""
    log = (pair.folder / f"{name}.log").read_text()
    return log.count("channel open") - log.count("channel closed")


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
