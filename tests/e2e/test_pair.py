"""The main job: clients through an edge without a private key (K1 K2 K9 K10a K16 K19)."""
import os
import pathlib
import re

import pytest

import harness
import pair as pairs


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    nginx = pairs.Nginx(tmp_path_factory.mktemp("origin"))
    yield nginx
    nginx.stop()


def make(folder, authority, site_authority, origin, daemons, **options):
    return pairs.Pair(folder, authority, site_authority, origin.port, **options).start(daemons)


@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384", "p521", "ed25519"])
def test_every_key_type_in_both_versions(folder, authority, site_authority, origin, daemons, kind):
    pair = make(folder, authority, site_authority, origin, daemons, keys={"example.com": [kind]})
    for version in ("-tls1_2", "-tls1_3"):
        text = pair.s_client(version)
        assert f"Protocol  : TLSv1.{version[-1]}" in text or f"New, TLSv1.{version[-1]}" in text, text
        assert "hello from the origin" in text


def test_gnutls_client(folder, authority, site_authority, origin, daemons):
    pair = make(folder, authority, site_authority, origin, daemons, keys={"example.com": ["rsa2048"]})
    for version in ("1.2", "1.3"):
        done = harness.run("gnutls-cli", "--port", pair.port, "--x509cafile", site_authority.certificate,
                           "--sni-hostname", "example.com", "--verify-hostname", "example.com",
                           "--priority", f"NORMAL:-VERS-ALL:+VERS-TLS{version}", "127.0.0.1",
                           input="GET / HTTP/1.0\r\n\r\n", check=False)
        assert "The certificate is trusted" in done.stdout, done.stdout + done.stderr
        assert "hello from the origin" in done.stdout


def test_rsa_key_exchange_by_decrypt(folder, authority, site_authority, origin, daemons):
    """K1: the premaster is decrypted at the key server; only where the site says so."""
    pair = make(folder, authority, site_authority, origin, daemons, keys={"example.com": ["rsa2048"]},
                policy="allow = {sign, decrypt}\n", site_options="mode = decrypt rsa_key_exchange = on")
    text = pair.s_client("-tls1_2", "-cipher", "AES128-GCM-SHA256")
    assert "AES128-GCM-SHA256" in text and "hello from the origin" in text


def test_rsa_key_exchange_is_off_by_default(folder, authority, site_authority, origin, daemons):
    pair = make(folder, authority, site_authority, origin, daemons, keys={"example.com": ["rsa2048"]})
    text = pair.s_client("-tls1_2", "-cipher", "AES128-GCM-SHA256", check=False)
    assert "alert handshake failure" in text, text


def test_dhe_only_where_enabled(folder, authority, site_authority, origin, daemons):
    pair = make(folder, authority, site_authority, origin, daemons, keys={"example.com": ["rsa2048"]},
                site_options="dhe = on")
    text = pair.s_client("-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256")
    assert "DHE-RSA-AES128-GCM-SHA256" in text


def test_two_owners_two_sites(folder, authority, site_authority, origin, daemons):
    """K16: many names, each with its own key; a name that is nobody's is refused."""
    pair = make(folder, authority, site_authority, origin, daemons,
                keys={"example.com": ["p256"], "shop.example": ["rsa2048"]})
    for name in ("example.com", "shop.example"):
        assert "hello from the origin" in pair.get(name)[1]


def test_certificate_from_the_key_server(folder, authority, site_authority, origin, daemons):
    """The edge has neither key nor certificate: both switch at the key server."""
    pair = make(folder, authority, site_authority, origin, daemons, fetch_certificates=True,
                server_options="ping_interval = 200ms")
    first = pair.s_client()
    store = pair.folder / "keys1/keys"
    fresh = pair.folder / "fresh"
    site_authority.issue(fresh / "example.com", "example.com", "DNS:example.com", "p256")
    # A renewal: certificate first, then key, in two steps; the store takes the pair when both match.
    os.replace(fresh / "example.com.crt", store / "example.com.crt")
    os.replace(fresh / "example.com.key", store / "example.com.key")
    pair.keyd.signal(1)

    def serial(text):
        return re.search(r"-----BEGIN CERTIFICATE-----.*?-----END", text, re.S)[0]
    harness.wait_until(lambda: serial(pair.s_client()) != serial(first), "the new certificate is served")
    assert "hello from the origin" in pair.get()[1]


def sockets_of(pid):
    """Inodes of a process's sockets."""
    found = set()
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        target = os.readlink(entry)
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found


def network_inodes():
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        rows = pathlib.Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        found |= {row.split()[9] for row in rows}
    return found


@pytest.mark.unsanitized
@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_no_private_key_at_the_edge(folder, authority, site_authority, origin, daemons, kind):
    """Scans the edge's memory and open files, and shows that the same scan finds the key in a signer."""
    if os.geteuid() != 0:
        pytest.skip("reading another process's memory needs root")
    pair = make(folder, authority, site_authority, origin, daemons, keys={"example.com": [kind]},
                edge_options="workers = 2")
    for _ in range(5):
        pair.get()
    needles = pairs.private_numbers(pair.folder / "keys1/keys/example.com.key")
    edge = [pair.edge.pid, *pair.edge.children()]
    assert len(edge) >= 4  # master, two workers, admin
    for pid in edge:
        assert not pairs.holds_any(pid, needles), f"key bytes in {pathlib.Path(f'/proc/{pid}/cmdline').read_text()}"
        for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            assert not os.readlink(entry).endswith((".key", ".pem")), os.readlink(entry)
    assert any(pairs.holds_any(pid, needles) for pid in pair.keyd.children("signer")), "the scan finds nothing"
    # Not in the rest of the key server either: the master has the keys read by a process that has ended.
    for role in ("keyd-front", "keyd-audit", "admin"):
        for pid in pair.keyd.children(role):
            assert not pairs.holds_any(pid, needles), f"key bytes in {role}"
    assert not pairs.holds_any(pair.keyd.pid, needles), "key bytes in the key server's master"


@pytest.mark.unsanitized
def test_signer_has_no_network_and_no_file(folder, authority, site_authority, origin, daemons):
    pair = make(folder, authority, site_authority, origin, daemons)
    network = network_inodes()
    signers = pair.keyd.children("signer")
    assert signers
    for pid in signers:
        assert not sockets_of(pid) & network
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        assert "Seccomp:\t2" in status and "NoNewPrivs:\t1" in status
        for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(entry)
            assert not target.startswith("/") or target in ("/dev/null", "/dev/pts/0") or target.endswith(".log") \
                or target.startswith("/memfd:"), target
    assert sockets_of(pair.keyd.children("keyd-front")[0]) & network
    for pid in (pair.keyd.pid, pair.edge.pid):
        assert "NoNewPrivs:\t1" in pathlib.Path(f"/proc/{pid}/status").read_text()
        assert re.search(r"Max core file size +0 +0 ", pathlib.Path(f"/proc/{pid}/limits").read_text())


@pytest.mark.unsanitized
def test_live_signer_cannot_open(folder, authority, site_authority, origin, daemons):
    """The running signer is made to call socket() and open(): both are refused."""
    inject = pathlib.Path(harness.FARKEY).parent / "tests/tools/inject"
    if os.geteuid() != 0 or not inject.exists():
        pytest.skip("making another process call needs root and x86-64")
    pair = make(folder, authority, site_authority, origin, daemons)
    pid = pair.keyd.children("signer")[0]
    assert harness.run(inject, pid, "socket").stdout.strip() in ("EACCES", "EPERM")
    assert harness.run(inject, pid, "open", "/etc/passwd").stdout.strip() in ("EACCES", "EPERM")
    # The same tool can, in a process that may.
    assert harness.run(inject, pair.keyd.pid, "open", "/etc/passwd").stdout.strip() == "succeeded"
    assert pair.keyd.children("signer") == [pid]
    assert "hello from the origin" in pair.get()[1]


def test_large_transfer(folder, authority, site_authority, origin, daemons):
    pair = make(folder, authority, site_authority, origin, daemons)
    target = folder / "large"
    pair.get("example.com", "-o", target, path="/large")
    assert target.read_bytes() == origin.large


def test_audit_log_tells_each_operation(folder, authority, site_authority, origin, daemons):
    pair = make(folder, authority, site_authority, origin, daemons)
    pair.get()
    assert pair.edge.stop() == 0
    assert pair.keyd.stop() == 0
    done = pair.audit_verify()
    assert done.returncode == 0, done.stdout + done.stderr
    text = (pair.folder / "keys1/audit.log").read_text()
    assert re.search(r"edge1.*example\.com.*sign-1\.3", text), text
    # One changed character anywhere is found.
    (pair.folder / "keys1/audit.log").write_text(text.replace("sign-1.3", "sign-1.2", 1))
    assert pair.audit_verify().returncode == 1
