"""Who protects the records after the handshake: the edge's record engine, or OpenSSL. Clients see no difference."""
import re
import ssl

import pytest

import edgelib
from edgelib import Edge, Origin, connect, http, s_client, site
from harness import PATIENCE, run, wait_until

SUITES = {"TLS_AES_128_GCM_SHA256": "tls1_3", "TLS_AES_256_GCM_SHA384": "tls1_3",
          "TLS_CHACHA20_POLY1305_SHA256": "tls1_3", "ECDHE-ECDSA-AES128-GCM-SHA256": "tls1_2",
          "ECDHE-ECDSA-AES256-GCM-SHA384": "tls1_2", "ECDHE-ECDSA-CHACHA20-POLY1305": "tls1_2"}
BOTH = pytest.mark.parametrize("records", ["engine", "openssl"])


@pytest.fixture(scope="module")
def pki(site_authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sites")
    site_authority.issue(folder / "site", "example.com", "DNS:example.com")
    return folder


@pytest.fixture
def edge_of(daemons, folder, pki):
    """Start an edge with one site, whose records are of this kind, before an origin that does `serve`."""
    def start(records, serve, blocks=(), **options):
        block = site("example.com", [pki / "site.crt"], [pki / "site.key"], [Origin(serve).address],
                     records=records, **options)
        return Edge(daemons, folder, [block, *blocks])
    return start


def only(suite):
    return ["-ciphersuites" if suite.startswith("TLS_") else "-cipher", suite]


def only_version(ca, version):
    number = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    return edgelib.context(ca, minimum_version=number, maximum_version=number)


@BOTH
@pytest.mark.parametrize("suite", SUITES)
def test_each_suite_full_and_resumed(edge_of, folder, ca, records, suite):
    edge = edge_of(records, http(b"hello from the origin"))
    session = folder / "session.pem"
    full = s_client(edge.port, f"-{SUITES[suite]}", *only(suite), "-sess_out", session, ca=ca)
    resumed = s_client(edge.port, f"-{SUITES[suite]}", *only(suite), "-sess_in", session, ca=ca)
    for output, how in (full, "New"), (resumed, "Reused"):
        assert re.search(rf"{how}, TLSv1\.[23], Cipher is {suite}", output), output
        assert "hello from the origin" in output
    assert edge.counter("handed_over_total") == (2 if records == "engine" else 0)


@BOTH
@pytest.mark.parametrize("count", [1, 2, 8])
def test_any_number_of_tickets(edge_of, ca, records, count):
    """They are the server's first records: whoever writes the next has to count them."""
    edge = edge_of(records, http(b"hello from the origin"), [f"tickets {{ count = {count} }}"])
    for _ in range(2):
        output = s_client(edge.port, "-tls1_3", ca=ca)
        assert "hello from the origin" in output
        assert output.count("Post-Handshake New Session Ticket arrived") == count


@BOTH
def test_sessions_by_id(edge_of, folder, ca, records):
    """The cache keeps a session although its SSL object ends with the handshake."""
    edge = edge_of(records, http(b"hello from the origin"), ["tickets { enabled = off }"])
    session = folder / "session.pem"
    s_client(edge.port, "-tls1_2", "-sess_out", session, ca=ca)
    for _ in range(3):
        assert "Reused, TLS" in s_client(edge.port, "-tls1_2", "-sess_in", session, ca=ca)


@BOTH
def test_key_updates(edge_of, ca, records):
    """openssl's client renews its keys and asks for new ones of the edge (K, at the beginning of a line)."""
    edge = edge_of(records, edgelib.echo)
    edgelib.update_keys(edge.port, ca)


@BOTH
def test_gnutls(edge_of, ca, records):
    edge = edge_of(records, http(b"hello from the origin"))
    for priority in "NORMAL:-VERS-ALL:+VERS-TLS1.3", "NORMAL:-VERS-ALL:+VERS-TLS1.2":
        done = run("gnutls-cli", "--x509cafile", ca, "--sni-hostname", "example.com", "--verify-hostname",
                   "example.com", "--priority", priority, "-p", edge.port, "127.0.0.1",
                   input="GET / HTTP/1.0\r\n\r\n", check=False)
        assert "hello from the origin" in done.stdout, done.stdout + done.stderr


def test_a_resting_session_goes_on(edge_of, ca):
    """Without traffic the cipher contexts are given back; with the next byte they are there again."""
    edge = edge_of("engine", edgelib.echo)
    held = [connect(edge.port, ca, ctx=only_version(ca, version)) for version in ("1.2", "1.3", "1.3")]
    for round_ in range(2):
        for tls in held:
            tls.sendall(b"ping %d" % round_)
            assert tls.recv(100) == b"ping %d" % round_
        wait_until(lambda: edge.counter("awake") == 0, "all sessions rest")
    assert edge.counter("handed_over_total") == 3
    for tls in held:
        tls.close()
