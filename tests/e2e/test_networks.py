"""Channels bound to an interface or an address (K10d), in network namespaces.

    namespace edge                          namespace keys
      lan  10.77.1.1/24  ---------------  lan  10.77.1.2/24
      vpn  10.77.2.1/24  ---------------  vpn  10.77.2.2/24
      lo   10.77.9.1/32                   lo   10.77.9.2/32

Each side's address of lo is reached through lan; through vpn only by who is bound to it. So the address that a peer
has shows which way its connection took, if it was not told which address to have (bind).
"""
import contextlib
import itertools
import os
import re
import subprocess

import pytest

import harness
import pair as pairs
from dialled import channels

PORT = 2407
HOSTS = {"edge": 1, "keys": 2}
LINKS = {"lan": 1, "vpn": 2}


def may_make_networks():
    return os.geteuid() == 0 and subprocess.run(["unshare", "--net", "true"], check=False,
                                                capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not may_make_networks(), reason="needs root and network namespaces")


class Networks:
    """The two namespaces; their names are this process's alone."""

    def __init__(self):
        self.names = {host: f"fk-{host}-{os.getpid()}" for host in HOSTS}

    def build(self):
        for name in self.names.values():
            harness.run("ip", "netns", "add", name)
        for link, network in LINKS.items():
            # Made inside, under the name that it is to have: nothing of this host is touched.
            self.run("edge", "ip", "link", "add", "name", link, "type", "veth", "peer", "name", link, "netns",
                     self.names["keys"])
            for host, number in HOSTS.items():
                self.run(host, "ip", "addr", "add", f"10.77.{network}.{number}/24", "dev", link)
                self.run(host, "ip", "link", "set", link, "up")
        for host, number in HOSTS.items():
            self.run(host, "ip", "link", "set", "lo", "up")
            self.run(host, "ip", "addr", "add", f"10.77.9.{number}/32", "dev", "lo")
            for link, network in LINKS.items():
                self.run(host, "ip", "route", "add", f"10.77.9.{3 - number}/32", "via", f"10.77.{network}.{3 - number}",
                         "dev", link, "metric", network)

    def remove(self):
        for name in self.names.values():
            with contextlib.suppress(AssertionError):
                harness.run("ip", "netns", "del", name)

    def words(self, host):
        return ["ip", "netns", "exec", self.names[host]]

    def run(self, host, *command, check=True):
        return harness.run(*self.words(host), *command, check=check)


@pytest.fixture(scope="module")
def networks():
    made = Networks()
    try:
        made.build()
        yield made
    finally:
        made.remove()


@pytest.fixture
def start(networks, folder, authority, site_authority, daemons):
    """A pair with these lines on who opens the channel; the edge in its namespace, the key server in its own."""
    def start_pair(keyd_lines, edge_lines):
        pair = pairs.Pair(folder, authority, site_authority, 1)
        keyd, edge = folder / "keys1/keyd.conf", folder / "edge1/edge.conf"
        keyd.write_text(re.sub(r'listen "[^"]*" \{[^}]*\}', keyd_lines, keyd.read_text()))
        edge.write_text(re.sub(r'address = "[^"]*" identity = "[^"]*"', edge_lines, edge.read_text()))
        for host, verb, conf in ("keys", "keyd", keyd), ("edge", "edge", edge):
            daemon = harness.Daemon(*networks.words(host), harness.FARKEY, verb, "-c", conf,
                                    log=folder / f"{conf.parent.name}.log")
            daemons.append(daemon)
            setattr(pair, verb, daemon)
        return pair
    return start_pair


def handshake(networks, pair):
    """A client at the edge: whether the site's key was used."""
    done = networks.run("edge", "openssl", "s_client", "-connect", f"127.0.0.1:{pair.port}", "-servername",
                        "example.com", "-CAfile", pair.site_authority.certificate, "-verify_return_error", "-brief",
                        check=False)
    return "Verification: OK" in done.stderr


def way_of(daemon):
    """Which way the peer of the channel came, by its address: the network's name, or the address."""
    address = daemon.wait_log(r'channel open .*peer="([\d.]+):\d+"')[1]
    return next((link for link, network in LINKS.items() if address.startswith(f"10.77.{network}.")), address)


# --- the edge connects ---

@pytest.mark.parametrize("options, way", [("", "lan"), ('device = "vpn"', "vpn"), ('device = "lan"', "lan"),
                                          ('bind = "10.77.2.1"', "vpn"), ('bind = "10.77.9.1"', "10.77.9.1"),
                                          ('bind = "10.77.2.1" device = "vpn"', "vpn")])
def test_an_edge_connects_by_its_device_or_address(networks, start, options, way):
    pair = start(f'listen "10.77.9.2:{PORT}" {{}}', f'address = "10.77.9.2:{PORT}" {options}')
    assert way_of(pair.keyd) == way
    harness.wait_until(lambda: handshake(networks, pair), "a handshake")


@pytest.mark.parametrize("options, why", [('device = "vpn2"', "No such device"),
                                          ('bind = "10.77.3.1"', "Cannot assign requested address"),
                                          ('bind = "10.77.1.1" device = "lo"', "connect|unreachable|Invalid")])
def test_an_edge_without_that_device_or_address_has_no_channel(networks, start, options, why):
    pair = start(f'listen "10.77.9.2:{PORT}" {{}}', f'address = "10.77.9.2:{PORT}" {options}')
    pair.edge.wait_log(f"key server cannot be reached .*({why})")
    assert not handshake(networks, pair)
    assert channels(pair) == 0


@pytest.mark.parametrize("listens, comes", itertools.product(LINKS, LINKS))
def test_a_key_server_listens_on_a_device(networks, start, listens, comes):
    pair = start(f'listen "*:{PORT}" {{ device = "{listens}" }}', f'address = "10.77.9.2:{PORT}" device = "{comes}"')
    if listens == comes:
        assert way_of(pair.keyd) == comes
        harness.wait_until(lambda: handshake(networks, pair), "a handshake")
    else:
        pair.edge.wait_log("key server cannot be reached .*refused")
        assert not handshake(networks, pair)


def test_two_listeners_one_a_device(networks, start):
    """With rules of their own: the network decides."""
    pair = start(f'listen "10.77.1.2:{PORT}" {{ device = "lan" deny = {{"0.0.0.0/0"}} }}\n'
                 f'listen "10.77.2.2:{PORT}" {{ device = "vpn" }}', f'address = "10.77.1.2:{PORT}"')
    pair.keyd.wait_log("connection refused .*10.77.1.1")
    assert not handshake(networks, pair)
    conf = pair.folder / "edge1/edge.conf"
    conf.write_text(conf.read_text().replace(f"10.77.1.2:{PORT}", f"10.77.2.2:{PORT}"))
    assert harness.control(pair.folder / "edge1/run/edge.sock", "reload")["ok"]
    assert way_of(pair.keyd) == "vpn"
    harness.wait_until(lambda: handshake(networks, pair), "a handshake")


# --- the key server dials ---

def dialled_from(networks, pair):
    """The address that the key server's connection has, as the edge's host sees it."""
    pair.edge.wait_log("key server is up")
    lines = networks.run("edge", "ss", "-Htn", "state", "established", "sport", f"= :{PORT + 1}").stdout.splitlines()
    addresses = {line.split()[-1].rsplit(":", 1)[0].strip("[]").replace("::ffff:", "") for line in lines}
    assert len(addresses) == 1, lines
    address = addresses.pop()
    return next((link for link, network in LINKS.items() if address.startswith(f"10.77.{network}.")), address)


@pytest.mark.parametrize("options, way", [("", "lan"), ('device = "vpn"', "vpn"), ('device = "lan"', "lan"),
                                          ('bind = "10.77.2.2"', "vpn"), ('bind = "10.77.9.2"', "10.77.9.2"),
                                          ('bind = "10.77.2.2" device = "vpn"', "vpn")])
def test_a_key_server_dials_by_its_device_or_address(networks, start, options, way):
    pair = start(f'dial "10.77.9.1:{PORT + 1}" {{ {options} }}', f'accept = "10.77.9.1:{PORT + 1}"')
    assert dialled_from(networks, pair) == way
    harness.wait_until(lambda: handshake(networks, pair), "a handshake")


@pytest.mark.parametrize("options", ['device = "vpn2"', 'bind = "10.77.3.1"'])
def test_a_key_server_without_that_device_or_address_has_no_channel(networks, start, options):
    pair = start(f'dial "10.77.9.1:{PORT + 1}" {{ {options} }}', f'accept = "10.77.9.1:{PORT + 1}"')
    pair.keyd.wait_log("edge cannot be dialled")
    pair.edge.wait_log("key server has not dialled in")
    assert not handshake(networks, pair)


@pytest.mark.parametrize("accepts, comes", itertools.product(LINKS, LINKS))
def test_an_edge_accepts_on_a_device(networks, start, accepts, comes):
    pair = start(f'dial "10.77.9.1:{PORT + 1}" {{ device = "{comes}" }}',
                 f'accept = "*:{PORT + 1}" device = "{accepts}"')
    if accepts == comes:
        assert dialled_from(networks, pair) == comes
        harness.wait_until(lambda: handshake(networks, pair), "a handshake")
    else:
        pair.keyd.wait_log("edge cannot be dialled")
        pair.edge.wait_log("key server has not dialled in")
        assert not handshake(networks, pair)


def test_a_vpn_that_comes_later(networks, start):
    """The interface is down when the key server starts, and goes down again while there is a channel."""
    try:
        networks.run("keys", "ip", "link", "set", "vpn", "down")
        pair = start(f'dial "10.77.2.1:{PORT + 1}" {{ device = "vpn" }}', f'accept = "10.77.2.1:{PORT + 1}"')
        pair.keyd.wait_log("edge cannot be dialled")
        networks.run("keys", "ip", "link", "set", "vpn", "up")
        harness.wait_until(lambda: handshake(networks, pair), "a handshake over the network that has come")
        networks.run("keys", "ip", "link", "set", "vpn", "down")
        pair.edge.wait_log("key server is lost")
        since = len(pair.edge.log())
        networks.run("keys", "ip", "link", "set", "vpn", "up")
        pair.edge.wait_log("key server is up", since=since)
        harness.wait_until(lambda: handshake(networks, pair), "a handshake over the network that is back")
    finally:
        networks.run("keys", "ip", "link", "set", "vpn", "up")
        networks.run("keys", "ip", "route", "replace", "10.77.9.1/32", "via", "10.77.2.1", "dev", "vpn", "metric", "2")


@pytest.mark.parametrize("keyd_lines, edge_lines, who", [
    (f'listen "*:{PORT}" {{ device = "vpn2" }}', f'address = "10.77.9.2:{PORT}"', "keyd"),
    (f'dial "10.77.9.1:{PORT + 1}" {{}}', f'accept = "*:{PORT + 1}" device = "vpn2"', "edge")])
def test_who_waits_needs_his_device(start, keyd_lines, edge_lines, who):
    daemon = getattr(start(keyd_lines, edge_lines), who)
    assert daemon.process.wait(harness.PATIENCE) != 0
    assert "No such device" in daemon.log()
