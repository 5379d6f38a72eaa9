"""The inline box behind devices and queues that the kernel sends only some packets to: two TAP devices beside a bridge
(by = tap), and queues on a router (by = queue). I1 (one connection, addresses and ports unchanged), I3 (all else
passes untouched, and here past the box).
"""
import os
import sys

import harness
import netlib
import pytest

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"), pytest.mark.unsanitized]
ROUTED = ("10.7.0.2", "fd07::2")


@pytest.fixture
def wire(tmp_path):
    made = netlib.Wire(tmp_path)
    yield made
    made.end()


@pytest.fixture
def authority(tmp_path):
    return harness.Authority(tmp_path / "ca")


def in_the_middle(wire, lines):
    for line in lines.strip().splitlines():
        wire.run(wire.middle, *line.split())


def beside_a_bridge(wire):
    """As docs/inline.md says: a bridge for what cannot be TCP, the box for the rest."""
    in_the_middle(wire, """
ip link add br0 type bridge
ip link set mc master br0
ip link set ms master br0
ip link set br0 up
""")
    for port, tap in (("mc", "tapc"), ("ms", "taps")):
        in_the_middle(wire, f"""
ip tuntap add {tap} mode tap multi_queue vnet_hdr
ip link set {tap} addrgenmode none up
tc qdisc add dev {port} clsact
tc filter add dev {port} ingress prio 1 protocol arp u32 match u32 0 0 flowid 1:1
tc filter add dev {port} ingress prio 2 protocol ip u32 match ip protocol 17 0xff flowid 1:1
tc filter add dev {port} ingress prio 3 protocol ipv6 u32 match ip6 protocol 17 0xff flowid 1:1
tc filter add dev {port} ingress prio 4 protocol all u32 match u32 0 0 action mirred egress redirect dev {tap}
tc qdisc add dev {tap} clsact
tc filter add dev {tap} ingress prio 1 protocol all u32 match u32 0 0 action mirred egress redirect dev {port}
""")


def on_a_router(wire, workers):
    """As docs/inline.md says: packets of the ports to queues, and what comes of them out of a TUN device."""
    last = workers - 1
    for number, (program, icmp) in enumerate((("iptables", "-p icmp --icmp-type fragmentation-needed"),
                                              ("ip6tables", "-p ipv6-icmp --icmpv6-type packet-too-big"))):
        net = (("10.9.0.254/24", "10.7.0.1/24"), ("fd09::fe/64", "fd07::1/64"))[number]
        more = "nodad" if number else ""
        in_the_middle(wire, f"""
ip address add {net[0]} dev mc {more}
ip address add {net[1]} dev ms {more}
{program} -t raw -A PREROUTING -i mc -p tcp -m multiport --dports 8443,8444 -j NFQUEUE --queue-balance 0:{last}
{program} -t raw -A PREROUTING -i ms -p tcp -m multiport --sports 8443,8444 -j NFQUEUE --queue-balance {workers}:{workers + last}
{program} -t raw -A PREROUTING -i mc {icmp} -j NFQUEUE --queue-balance 0:{last}
{program} -t raw -A PREROUTING -i ms {icmp} -j NFQUEUE --queue-balance {workers}:{workers + last}
""")
        bits = (24, 64)[number]
        for namespace, words in ((wire.server, f"address del {netlib.SERVER[number]}/{bits} dev s0"),
                                 (wire.server, f"address add {ROUTED[number]}/{bits} dev s0 {more}"),
                                 (wire.server, f"route add default via {net[1].split('/')[0]}"),
                                 (wire.client, f"route add {('10.7.0.0/24', 'fd07::/64')[number]} via {net[0].split('/')[0]}")):
            netlib.ip("-n", namespace, *words.split())


@pytest.fixture
def router(wire):
    wire.run(wire.middle, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.mc.disable_ipv6=0",
             "net.ipv6.conf.ms.disable_ipv6=0", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    in_the_middle(wire, """
ip tuntap add farkey0 mode tun multi_queue vnet_hdr
sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.farkey0.rp_filter=0
sysctl -qw net.ipv6.conf.farkey0.disable_ipv6=0
ip link set farkey0 addrgenmode none up
""")
    on_a_router(wire, 2)
    return wire


def passes(wire, host, port, kind="SOCK_STREAM"):
    """Whether bytes come back from an echo."""
    code = ("import socket\n"
            f"s = socket.socket(type=socket.{kind})\n"
            "s.settimeout(2)\n"
            "try:\n"
            f"    s.connect(('{host}', {port})); s.send(b'hello'); print(s.recv(100).decode())\n"
            "except OSError as e: print(type(e).__name__)\n")
    return wire.run(wire.client, sys.executable, "-c", code).stdout.strip()


ECHO_UDP = ("import socket\n"
            "s = socket.socket(type=socket.SOCK_DGRAM)\n"
            "s.bind(('', 9001))\n"
            "print('listening', flush=True)\n"
            "while True: s.sendto(*s.recvfrom(100))\n")


def start_echoes(wire):
    wire.start(wire.server, sys.executable, netlib.PEER, "echo", 9000, log="echo.log").wait_log("listening")
    wire.start(wire.server, sys.executable, "-c", ECHO_UDP, log="udp.log").wait_log("listening")


def talk_both_ways(wire, box, hosts):
    for version in ("TLSv1_2", "TLSv1_3"):
        for host in hosts:
            for _ in range(2):  # several flows
                wire.talk(box.ca, version, host, up=2_000_000, down=2_000_000)
    for event in ("bad_records", "bad_sum", "unknown", "truncated", "resets", "malformed"):
        assert box.count(event) == 0, event


@pytest.mark.parametrize("offloads", ["on", "off"])
def test_beside_a_bridge_I1_I3(wire, authority, offloads):
    beside_a_bridge(wire)
    wire.offloads(offloads)
    box = netlib.Box(wire, authority, "by = tap", client="tapc", server="taps")
    wire.serve()
    start_echoes(wire)
    talk_both_ways(wire, box, netlib.SERVER)
    assert passes(wire, netlib.SERVER[0], 8443) == "ConnectionResetError"
    assert passes(wire, netlib.SERVER[0], 9000) == "hello"
    assert passes(wire, netlib.SERVER[0], 9001, "SOCK_DGRAM") == "hello"
    box.daemon.end()
    # Without a box nothing passes that could be TCP, and all that the bridge has alone.
    for port in (8443, 9000):
        assert passes(wire, netlib.SERVER[0], port) == "TimeoutError"
    assert passes(wire, netlib.SERVER[0], 9001, "SOCK_DGRAM") == "hello"


@pytest.mark.parametrize("offloads", ["on", "off"])
def test_queues_of_a_router_I1_I3(router, authority, offloads):
    wire = router
    wire.offloads(offloads)
    box = netlib.Box(wire, authority, 'by = queue device = "farkey0"')
    wire.serve()
    start_echoes(wire)
    talk_both_ways(wire, box, ROUTED)
    assert passes(wire, ROUTED[0], 8443) == "ConnectionResetError"
    # Other ports: the router's alone.
    before = box.count("passed")
    assert passes(wire, ROUTED[0], 9000) == "hello"
    assert box.count("passed") == before
    # Nothing waits for a verdict.
    harness.wait_until(lambda: waiting(wire) == [0, 0, 0, 0], "all packets have their verdict")
    box.daemon.end()
    assert passes(wire, ROUTED[0], 8443) == "TimeoutError"
    assert passes(wire, ROUTED[0], 9000) == "hello"


def waiting(wire):
    """Of each queue, the packets in it."""
    lines = wire.run(wire.middle, "cat", "/proc/net/netfilter/nfnetlink_queue").stdout.splitlines()
    return [int(line.split()[2]) for line in lines]


def test_who_judges_is_killed(router, authority):
    """The process that tells the kernel what passes is started again, and connections go on."""
    wire = router
    box = netlib.Box(wire, authority, 'by = queue device = "farkey0"')
    wire.serve()
    wire.talk(box.ca, host=ROUTED[0])
    old, = box.daemon.children("inline-verdicts")
    wire.run(wire.middle, "kill", "-KILL", old)
    harness.wait_until(lambda: box.daemon.children("inline-verdicts") not in ([], [old]), "another one judges")
    wire.talk(box.ca, host=ROUTED[0], up=1_000_000, down=1_000_000)
    harness.wait_until(lambda: waiting(wire) == [0, 0, 0, 0], "all packets have their verdict")


def test_one_capability_of_one_process(router, authority):
    """CAP_NET_ADMIN is the judge's alone, and all that it has."""
    box = netlib.Box(router, authority, 'by = queue device = "farkey0"')
    found = {}
    for role in ("inline-worker", "inline-verdicts", "signer", "admin"):
        for pid in box.daemon.children(role):
            with open(f"/proc/{pid}/status", encoding="ascii") as status:
                found.setdefault(role, set()).update(line.split()[1] for line in status if line.startswith(("CapEff", "CapPrm")))
    nothing, net_admin = f"{0:016x}", f"{1 << 12:016x}"
    assert found == {"inline-worker": {nothing}, "inline-verdicts": {net_admin}, "signer": {nothing}, "admin": {nothing}}


@pytest.mark.parametrize("options, what", [
    ("by = tap", "cannot open a TAP device"),
    ('by = queue device = "nobody"', "cannot open the queues"),
])
def test_devices_that_are_not_there(wire, authority, options, what):
    with pytest.raises(AssertionError, match=what):
        netlib.Box(wire, authority, options)


def test_a_queue_has_one_owner(router, authority, tmp_path):
    netlib.Box(router, authority, 'by = queue device = "farkey0"')
    (tmp_path / "other").mkdir()
    other = netlib.Wire.__new__(netlib.Wire)
    other.__dict__.update(router.__dict__, folder=tmp_path / "other")
    with pytest.raises(AssertionError, match="cannot open the queues"):
        netlib.Box(other, authority, 'by = queue device = "farkey0" queue = 3')
