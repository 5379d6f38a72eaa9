"""The inline box between two namespaces, with kernels, curl, nginx, and tcpdump that know nothing of it.

I1, I2, I3, I8 are the numbers of what the box promises: one connection from end to end, a handshake in the server's
name, all else untouched, the server's bytes encrypted towards the client.
"""
import os
import re
import signal
import subprocess
import sys

import harness
import netlib
import pair
import pytest

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"), pytest.mark.unsanitized]

@pytest.fixture
def wire(tmp_path):
    made = netlib.Wire(tmp_path)
    yield made
    made.end()


@pytest.fixture
def authority(tmp_path):
    return harness.Authority(tmp_path / "ca")


def connections(capture):
    """Addresses and ports of the first SYN, and of its answer, in what tcpdump wrote."""
    found = re.findall(r"IP6? (\S+) > (\S+): Flags \[(S|S\.)\]", capture)
    return sorted(set(found))


def capture(wire, namespace, device):
    dump = wire.start(namespace, "tcpdump", "-l", "-n", "-i", device, "tcp port 8443", log=f"{device}.dump")
    dump.wait_log("listening on")
    return dump


def test_curl_to_nginx_is_one_connection_I1_I2(wire, authority):
    box = netlib.Box(wire, authority)
    nginx = netlib.start_nginx(wire)
    dumps = [capture(wire, wire.client, "c0"), capture(wire, wire.server, "s0")]
    for version in ("1.2", "1.3"):
        for host in (netlib.SERVER[0], f"[{netlib.SERVER[1]}]"):
            done = wire.run(wire.client, "curl", "-sS", "--max-time", "10", f"--tlsv{version}", "--tls-max", version,
                            "--cacert", box.ca, "--connect-to", f"::{host}:8443", "-w", "%{local_ip} %{local_port}",
                            "https://example.com:8443/")
            page, mine = done.stdout.split("\n")
            assert page == "hello through the box"
            log = (nginx / "access.log").read_text().splitlines()[-1]
            assert log.removeprefix("::ffff:") == f"{mine} GET / HTTP/1.1"
    # Each SYN and its answer, as either end saw it on its own wire.
    seen = [harness.wait_until(lambda dump=dump: (lambda c: len(c) == 8 and c)(connections(dump.log())),
                               "8 SYNs seen") for dump in dumps]
    assert seen[0] == seen[1]


@pytest.mark.parametrize("offloads", ["on", "off"])
def test_bytes_both_ways_I8(wire, authority, offloads):
    wire.offloads(offloads)
    box = netlib.Box(wire, authority)
    wire.serve()
    for version in ("TLSv1_2", "TLSv1_3"):
        for host in netlib.SERVER:
            said = wire.talk(box.ca, version, host, up=3_000_000, down=3_000_000).stdout.split()
            # Python's session of TLS 1.3 has its ticket by the first exchange's end.
            assert said == ["full", "resumed"]
    assert box.count("bad_records") == box.count("bad_sum") == box.count("truncated") == 0


@pytest.mark.parametrize("mode", ["buffered", "streaming", "hybrid", "mac_decides"])
def test_modes_I4_I5_I6(wire, authority, mode):
    wire.offloads("off")  # packets of one segment: records do not come whole
    box = netlib.Box(wire, authority, f"mode = {mode}")
    wire.serve()
    for version in ("TLSv1_2", "TLSv1_3"):
        wire.talk(box.ca, version, up=2_000_000, down=2_000_000)
    assert (box.count("records_early") > 0) == (mode != "buffered")
    assert box.count("bad_records") == box.count("truncated") == 0


@pytest.mark.long
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_many_bytes_both_ways(wire, authority, version):
    box = netlib.Box(wire, authority)
    wire.serve()
    wire.talk(box.ca, version, up=200_000_000, down=200_000_000, timeout=300)
    assert box.count("bad_records") == 0


def plain(wire, port, timeout=10):
    """What a client without TLS gets: the server's answer, or the error."""
    code = ("import socket, sys\n"
            f"s = socket.create_connection(('{netlib.SERVER[0]}', {port}), 5)\n"
            "s.sendall(b'5 5\\nhello')\n"
            "try: print(s.recv(1000).split()[1].decode())\n"
            "except OSError as e: print(type(e).__name__)\n")
    return wire.run(wire.client, sys.executable, "-c", code, timeout=timeout).stdout.strip()


def test_what_is_not_tls_I3(wire, authority):
    box = netlib.Box(wire, authority)
    wire.serve()
    wire.start(wire.server, sys.executable, netlib.PEER, "serve", 9000, log="other.log").wait_log("listening")
    # Another port, and no TCP at all: untouched. Of a port that is protected: reset.
    assert plain(wire, 9000) == f"::ffff:{netlib.CLIENT[0]}"
    for host in netlib.SERVER:
        wire.run(wire.client, "ping", "-c", "1", "-W", "5", host)
    assert plain(wire, 8443) == "ConnectionResetError"
    assert box.count("not_tls") == 1


def test_what_is_not_tls_may_pass(wire, authority):
    netlib.Box(wire, authority, "non_tls = pass")
    wire.serve()
    assert plain(wire, 8443) == f"::ffff:{netlib.CLIENT[0]}"


def holder(wire, box):
    process = subprocess.Popen(["ip", "netns", "exec", wire.client, sys.executable, str(netlib.PEER), "hold",
                                netlib.SERVER[0], "8443", str(box.ca)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "connected\n"
    return process


def again(process):
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_reload_and_drain(wire, authority):
    box = netlib.Box(wire, authority)
    wire.serve()
    with holder(wire, box) as client:
        assert again(client) == "exchanged"
        assert box.control("reload")["ok"]
        assert again(client) == "exchanged"
        wire.talk(box.ca)
        box.daemon.signal(signal.SIGTERM)
        box.daemon.wait_log("stopping")
        assert again(client) == "exchanged"
        client.stdin.close()
    assert box.daemon.process.wait(harness.PATIENCE) == 0


def test_killed_and_started_again(wire, authority):
    box = netlib.Box(wire, authority)
    wire.serve()
    with holder(wire, box) as client:
        assert again(client) == "exchanged"
        box.daemon.end()
        box.start()
        # Nobody has its keys any more: neither end gets a byte that is not its own.
        assert again(client) in ("ConnectionResetError", "BrokenPipeError", "SSLEOFError")
        client.stdin.close()
    assert box.count("unknown") >= 1
    wire.talk(box.ca)


def test_key_at_the_key_server_I2(wire, authority, tmp_path):
    keys = pair.Pair(tmp_path / "pair", harness.Authority(tmp_path / "channel"), authority, 1)
    keyd = wire.start(wire.middle, harness.FARKEY, "keyd", "-c", keys.folder / "keys1" / "keyd.conf", log="keyd.log")
    keyd.wait_log("configuration in service")
    edge = keys.folder / "edge1"
    box = netlib.Box(wire, authority, site_options=f'keyservers = {{"keys1"}} certificate = {{"{edge}/example.com.crt"}}',
                     more=f'''keyserver "keys1" {{ address = "127.0.0.1:{keys.keyd_port}" }}
channel {{ certificate = "{edge}/channel.crt" key = "{edge}/channel.key" ca = "{edge}/ca.crt" }}''')
    wire.serve()
    for version in ("TLSv1_2", "TLSv1_3"):
        assert wire.talk(box.ca, version).stdout.split() == ["full", "resumed"]
    keyd.end()
    done = wire.talk(box.ca, check=False)
    assert done.returncode != 0 and "internal error" in done.stderr
    assert box.control()["counters"]['handshakes_total{result="key"}'] >= 1
