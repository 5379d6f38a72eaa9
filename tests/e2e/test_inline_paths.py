"""Where the inline box may stand, as docs/inline.md says, and paths with a smaller link behind a router on either side of
it: fact 6, I1 (what routers say reaches the one who sent it).

    far 10.8.0.2 f0 --- r0 router c0 --- mc  box  ms --- s0 server      (or the other way round)
"""
import os
import subprocess
import sys

import harness
import netlib
import pytest

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"), pytest.mark.unsanitized]
FAR, MTU = ("10.8.0.2", "fd08::2"), 1300


class Far:
    """One of the wire's ends becomes a router; behind it, over a link with a small MTU, is another host."""

    def __init__(self, wire, side):
        self.router = getattr(wire, side)
        self.other, gateway = (wire.server, netlib.CLIENT) if side == "client" else (wire.client, netlib.SERVER)
        self.name = f"{self.router}f"
        netlib.ip("netns", "add", self.name)
        netlib.ip("-n", self.name, "link", "set", "lo", "up")
        netlib.ip("link", "add", "f0", "netns", self.name, "type", "veth", "peer", "name", "r0", "netns", self.router)
        wire.run(self.router, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        netlib.ip("-n", self.router, "link", "set", "r0", "mtu", MTU, "up")
        netlib.ip("-n", self.name, "link", "set", "f0", "up")
        for number, bits in ((0, 24), (1, 64)):
            near = FAR[number].removesuffix("2") + "1"
            more = [] if number == 0 else ["nodad"]
            netlib.ip("-n", self.router, "address", "add", f"{near}/{bits}", "dev", "r0", *more)
            netlib.ip("-n", self.name, "address", "add", f"{FAR[number]}/{bits}", "dev", "f0", *more)
            # It keeps to the small MTU and says that it does not: its MSS tells the other end nothing of the link.
            mss = 1460 - 20 * number
            netlib.ip("-n", self.name, "route", "add", "default", "via", near, "mtu", "lock", MTU, "advmss", mss)
            netlib.ip("-n", self.other, "route", "add", f"{FAR[number]}/{(32, 128)[number]}", "via", gateway[number])

    def known_mtu(self, host):
        """What the other end's kernel has learned of the path to the far one."""
        words = harness.run("ip", "-n", self.other, "route", "get", host).stdout.split()
        return int(words[words.index("mtu") + 1]) if "mtu" in words else None

    def end(self):
        subprocess.run(["ip", "netns", "delete", self.name], check=False, capture_output=True)


@pytest.fixture
def wire(tmp_path):
    made = netlib.Wire(tmp_path)
    yield made
    made.end()


@pytest.fixture
def far(wire, request):
    made = Far(wire, request.param)
    yield made
    made.end()


@pytest.mark.parametrize("far", ["client"], indirect=True)
def test_smaller_link_to_the_client(wire, far, tmp_path):
    box = netlib.Box(wire, harness.Authority(tmp_path / "ca"))
    wire.serve()
    for number, (version, host) in enumerate(zip(("TLSv1_2", "TLSv1_3"), netlib.SERVER)):
        wire.run(far.name, sys.executable, netlib.PEER, "talk", host, 8443, box.ca, version, 300_000, 300_000)
        # Less what records add; IPv6 has no smaller ones than 1280.
        assert far.known_mtu(FAR[number]) == max(MTU - 29, (0, 1280)[number])
    assert box.count("too_big") >= 2
    assert box.count("timeouts") == box.count("bad_records") == 0


@pytest.mark.parametrize("far", ["server"], indirect=True)
def test_smaller_link_to_the_server(wire, far, tmp_path):
    box = netlib.Box(wire, harness.Authority(tmp_path / "ca"))
    wire.start(far.name, sys.executable, netlib.PEER, "serve", 8443, log="server.log").wait_log("listening")
    for version, host in zip(("TLSv1_2", "TLSv1_3"), FAR):
        wire.talk(box.ca, version, host, up=300_000, down=300_000)
        assert far.known_mtu(host) == MTU
    assert box.count("too_big") >= 2
    assert box.count("timeouts") == box.count("bad_records") == 0


def pair_of_its_own(wire, outer):
    """Of which the one end is the host's or a bridge's, and the other the box's."""
    netlib.ip("-n", wire.middle, "link", "add", outer, "type", "veth", "peer", "name", "box-client")
    netlib.ip("-n", wire.middle, "link", "set", "box-client", "addrgenmode", "none", "up")


def test_at_a_bridge_I1(wire, tmp_path):
    pair_of_its_own(wire, "box-bridge")
    netlib.ip("-n", wire.middle, "link", "add", "br0", "type", "bridge")
    for words in ("mc master br0", "box-bridge master br0 up", "br0 up"):
        netlib.ip("-n", wire.middle, "link", "set", *words.split())
    box = netlib.Box(wire, harness.Authority(tmp_path / "ca"), client="box-client")
    wire.serve()
    for host in netlib.SERVER:
        wire.talk(box.ca, host=host, up=100_000, down=100_000)
    assert box.count("bad_sum") == box.count("bad_records") == 0


def test_on_a_router_I1(wire, tmp_path):
    pair_of_its_own(wire, "lan0")
    wire.run(wire.middle, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    for namespace, words in ((wire.middle, "address add 10.9.0.254/24 dev mc"),
                             (wire.middle, "address add 10.7.0.1/24 dev lan0"), (wire.middle, "link set lan0 up"),
                             (wire.server, "address add 10.7.0.2/24 dev s0"),
                             (wire.server, "address del 10.9.0.2/24 dev s0"),
                             (wire.server, "route add default via 10.7.0.1"),
                             (wire.client, "route add 10.7.0.0/24 via 10.9.0.254")):
        netlib.ip("-n", namespace, *words.split())
    box = netlib.Box(wire, harness.Authority(tmp_path / "ca"), client="box-client")
    wire.serve()
    wire.talk(box.ca, host="10.7.0.2", up=100_000, down=100_000)
    assert box.count("bad_sum") == box.count("bad_records") == 0
