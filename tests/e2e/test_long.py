"""The long matrices and soaks of make test-full."""
import json
import pathlib
import subprocess

import pytest

import harness
import pair as pairs

pytestmark = pytest.mark.long

TLSLOAD = pathlib.Path(harness.FARKEY).parent / "bench/tlsload"
# Sanitized daemons do a tenth of the work in the same time.
SCALE = 1 if harness.SANITIZED else 10


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    nginx = pairs.Nginx(tmp_path_factory.mktemp("origin"))
    yield nginx
    nginx.stop()


def load(port, total, *options):
    done = subprocess.run([TLSLOAD, "-n", str(total), "-c", "16", *options, f"127.0.0.1:{port}"],
                          capture_output=True, text=True, timeout=300, check=False)
    return json.loads(done.stdout)


RSA_SUITES = ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"]
ECDSA_SUITES = [name.replace("RSA", "ECDSA") for name in RSA_SUITES]
TLS13_SUITES = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]


@pytest.mark.parametrize("kind", ["rsa2048", "rsa3072", "p256", "p384", "p521", "ed25519"])
def test_every_suite_with_every_key_and_group(folder, authority, site_authority, origin, daemons, kind):
    pair = pairs.Pair(folder, authority, site_authority, origin.port, keys={"example.com": [kind]}).start(daemons)
    for group in ("X25519", "P-256", "P-384"):
        for suite in TLS13_SUITES:
            text = pair.s_client("-tls1_3", "-ciphersuites", suite, "-groups", group)
            assert f"New, TLSv1.3, Cipher is {suite}" in text, text
        for suite in RSA_SUITES if kind.startswith("rsa") else ECDSA_SUITES:
            text = pair.s_client("-tls1_2", "-cipher", suite, "-groups",
                                 ":".join(dict.fromkeys([group, "P-256", "P-384", "P-521"])))
            assert f"Cipher is {suite}" in text, text


def test_reloads_of_both_daemons_under_load_lose_nothing(folder, authority, site_authority, origin, daemons):
    pair = pairs.Pair(folder, authority, site_authority, origin.port).start(daemons)
    client = subprocess.Popen([TLSLOAD, "-n", str(1500 * SCALE), "-c", "16", f"127.0.0.1:{pair.port}"],
                              stdout=subprocess.PIPE, text=True)
    reloads = 0
    while client.poll() is None:
        reloads += 1
        generation = pair.status("edge")["generation"]
        pair.edge.signal(1)
        pair.keyd.signal(1)
        harness.wait_until(lambda: pair.status("edge")["generation"] > generation or client.poll() is not None,
                           "the edge's next generation")
    figures = json.loads(client.stdout.read())
    assert figures["failed"] == 0 and figures["finished"] == 1500 * SCALE, figures
    assert reloads >= 3, reloads
    assert len(pair.keyd.children("signer")) <= 3, "signers pile up"


def resident_kib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


@pytest.mark.unsanitized
def test_memory_does_not_grow_with_handshakes(folder, authority, site_authority, origin, daemons):
    pair = pairs.Pair(folder, authority, site_authority, origin.port).start(daemons)
    watched = [*pair.edge.children(), *pair.keyd.children()]
    # The first round fills caches, pools and the allocator.
    assert load(pair.port, 5000)["failed"] == 0
    before = {pid: resident_kib(pid) for pid in watched}
    for _ in range(3):
        assert load(pair.port, 5000)["failed"] == 0
    assert [*pair.edge.children(), *pair.keyd.children()] == watched, "a process was replaced"
    growth = {pid: resident_kib(pid) - before[pid] for pid in watched}
    # 15,000 handshakes: a leak of 100 bytes in each would be 1,500 KiB.
    assert max(growth.values()) < 1500, growth


@pytest.mark.unsanitized
def test_thousands_of_idle_connections_do_not_disturb(folder, authority, site_authority, origin, daemons):
    pair = pairs.Pair(folder, authority, site_authority, origin.port,
                      edge_options="workers = 1 limits { connections_per_address = 0 }").start(daemons)
    idle = subprocess.Popen([TLSLOAD, "-k", "-n", "3000", "-c", "16", f"127.0.0.1:{pair.port}"],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert json.loads(idle.stdout.readline())["finished"] == 3000
        assert load(pair.port, 2000)["failed"] == 0
    finally:
        idle.stdin.close()
        assert idle.wait(60) == 0
    harness.wait_until(lambda: pair.status("edge")["counters"]["connections"] <= 1, "all connections ended")
