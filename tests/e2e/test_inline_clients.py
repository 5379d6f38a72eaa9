"""Clients of the inline box that people use, and what they may do: Chromium, openssl s_client, one that waits for the
server to speak, one whose session's time is over (I10), one that speaks no longer but listens. I2, I8, I10.
"""
import os
import subprocess
import sys
import time

import harness
import netlib
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


def test_chromium_loads_a_page_I2_I8(wire, authority, tmp_path):
    box = netlib.Box(wire, authority)
    nginx = netlib.start_nginx(wire)
    store = tmp_path / "home" / ".pki" / "nssdb"
    store.mkdir(parents=True)
    harness.run("certutil", "-N", "-d", f"sql:{store}", "--empty-password")
    harness.run("certutil", "-A", "-d", f"sql:{store}", "-n", "site", "-t", "C,,", "-i", authority.certificate)
    page = wire.run(wire.client, "env", f"HOME={tmp_path / 'home'}", "/usr/bin/chromium", "--headless", "--no-sandbox",
                    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
                    f"--user-data-dir={tmp_path / 'profile'}", f"--host-resolver-rules=MAP example.com {netlib.SERVER[0]}",
                    "--dump-dom", "https://example.com:8443/", timeout=60).stdout
    assert "hello through the box" in page
    assert f"{netlib.CLIENT[0]} " in (nginx / "access.log").read_text()
    assert box.count("bad_records") == box.count("handshake_failed") == 0


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
def test_s_client_I2_I8(wire, authority, version):
    box = netlib.Box(wire, authority)
    netlib.start_nginx(wire)
    said = wire.run(wire.client, "openssl", "s_client", f"-{version}", "-connect", f"{netlib.SERVER[0]}:8443",
                    "-servername", "example.com", "-CAfile", box.ca, "-verify_return_error", "-ign_eof",
                    input="GET / HTTP/1.0\r\nHost: example.com\r\n\r\n").stdout
    assert "Verify return code: 0 (ok)" in said and "hello through the box" in said
    assert box.count("bad_records") == box.count("truncated") == 0


def test_server_speaks_first(wire, authority):
    """And the client ends its direction before the server has answered."""
    box = netlib.Box(wire, authority)
    wire.start(wire.server, sys.executable, netlib.PEER, "greet", 8443, log="greet.log").wait_log("listening")
    for host in netlib.SERVER:
        assert wire.run(wire.client, sys.executable, netlib.PEER, "hear", host, 8443, box.ca).stdout == "heard\n"
    assert box.count("bad_records") == box.count("truncated") == box.count("resets") == 0


def test_a_session_ends_I10(wire, authority):
    box = netlib.Box(wire, authority, site_options='mode = local certificate = {"site.crt"} key = {"site.key"} '
                     "session_lifetime = 2s", keys=("site",))
    wire.serve()
    begin = time.monotonic()
    with subprocess.Popen(["ip", "netns", "exec", wire.client, sys.executable, str(netlib.PEER), "later",
                           netlib.SERVER[0], "8443", str(box.ca)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as client:
        assert client.stdout.readline() == "waits\n"

        def again():
            client.stdin.write("\n")
            client.stdin.flush()
            return client.stdout.readline()
        first = again()
        assert first == "resumed\n" or time.monotonic() - begin > 1  # whole seconds
        harness.wait_until(lambda: again() == "full\n", "the session has ended")
        client.stdin.close()
