"""The inline box under conditions that take their time: bad wires, other kinds of TCP, many flows, processes that are
killed. I1, I4 (records are verified before they go on, whatever becomes of their packets), I7 (the box acknowledges).
"""
import os
import pathlib
import signal
import subprocess
import sys
import zlib

import harness
import netlib
import pytest

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"), pytest.mark.unsanitized,
              pytest.mark.long]
# Of 1000 frames: lost, reordered, repeated; delay in ms; seed.
BAD = (10, 50, 5, 2)
FLOWS = 10_000


@pytest.fixture
def authority(tmp_path):
    return harness.Authority(tmp_path / "ca")


@pytest.fixture
def make_wire(tmp_path):
    made = []

    def make(**options):
        made.append(netlib.Wire(tmp_path, **options))
        return made[-1]
    yield make
    for wire in made:
        wire.end()


def set_both(wire, *settings):
    for namespace in (wire.client, wire.server):
        wire.run(namespace, "sysctl", "-qw", *settings)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("control", ["cubic", "bbr"])
@pytest.mark.parametrize("sack,times", [(1, 1), (0, 1), (1, 0), (0, 0)])
def test_bad_wire_I4_I7(make_wire, authority, monkeypatch, control, sack, times, version):
    wire = make_wire(impairment=(*BAD, zlib.crc32(f"{control} {sack} {times} {version}".encode())))
    available = pathlib.Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
    if control not in available:
        pytest.skip(f"this kernel has no {control}")
    monkeypatch.setenv("NETPEER_CONTROL", control)
    set_both(wire, f"net.ipv4.tcp_sack={sack}", f"net.ipv4.tcp_timestamps={times}")
    box = netlib.Box(wire, authority)
    wire.serve()
    for host in netlib.SERVER:
        wire.talk(box.ca, version, host, up=1_000_000, down=1_000_000, timeout=120)
    assert box.count("out_of_order") > 0 and box.count("resent") > 0
    assert box.count("bad_records") == box.count("bad_sum") == box.count("truncated") == box.count("resets") == 0
    # Neither end saw the other go back on what it had said.
    for namespace in (wire.client, wire.server):
        assert "TCPSACKReneging" not in wire.run(namespace, "nstat", "-as").stdout


@pytest.mark.parametrize("offloads", ["on", "off"])
def test_large_frames(make_wire, authority, offloads):
    wire = make_wire(mtu=9000)
    wire.offloads(offloads)
    box = netlib.Box(wire, authority)
    wire.serve()
    for host in netlib.SERVER:
        wire.talk(box.ca, host=host, up=20_000_000, down=20_000_000, timeout=60)
    assert box.count("bad_records") == box.count("bad_sum") == box.count("resets") == 0


def resident(box):
    """Bytes that the workers have in memory, all together."""
    sizes = [pathlib.Path(f"/proc/{worker['pid']}/statm").read_text().split()[1] for worker in box.control()["workers"]]
    return sum(map(int, sizes)) * os.sysconf("SC_PAGE_SIZE")


def test_ten_thousand_flows(make_wire, authority):
    wire = make_wire()
    box = netlib.Box(wire, authority)
    wire.start(wire.server, sys.executable, netlib.PEER, "echo", 8443,
               log="echo.log").wait_log("listening")
    set_both(wire, "net.core.somaxconn=20000", "net.ipv4.tcp_max_syn_backlog=20000")
    command = [sys.executable, str(netlib.PEER), "many", netlib.SERVER[0], "8443",
               str(box.ca), str(FLOWS)]
    before = resident(box)
    with subprocess.Popen(["ip", "netns", "exec", wire.client, *command], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout.readline() == "waits\n"
        assert box.control()["counters"]["flows"] == FLOWS
        # Idle: with their keys, without their ciphers' contexts; what a worker has for itself is little of it.
        harness.wait_until(lambda: (resident(box) - before) / FLOWS <= 8192, "idle flows take no more than 8 KiB each")
        client.stdin.write("\n")
        client.stdin.flush()
        assert client.stdout.readline() == "done\n"
        assert box.count("flows_full") == box.count("bad_records") == box.count("resets") == 0
        client.stdin.close()


def test_workers_killed(make_wire, authority):
    """Whoever has no keys any more passes nothing; the next worker serves."""
    wire = make_wire()
    box = netlib.Box(wire, authority)
    wire.serve()
    client = subprocess.Popen(["ip", "netns", "exec", wire.client, sys.executable, str(netlib.PEER), "hold",
                               netlib.SERVER[0], "8443", str(box.ca)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True)
    with client:
        assert client.stdout.readline() == "connected\n"
        old = [worker["pid"] for worker in box.control()["workers"]]
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        harness.wait_until(lambda: box.control()["ready"] and not {worker["pid"] for worker in box.control()["workers"]}
                           & set(old), "new workers serve")
        client.stdin.write("\n")
        client.stdin.flush()
        assert client.stdout.readline().strip() in ("ConnectionResetError", "BrokenPipeError", "SSLEOFError")
        client.stdin.close()
    wire.talk(box.ca)
    assert box.count("unknown") >= 1
