"""Mode `handshake` with `expose = master` (K7a, K8a): the key exchange is the key server's, the rest of TLS 1.2 the edge's."""
import contextlib
import os
import re
import socket
import ssl
import threading

import pytest

import edgelib
import harness
import pair as pairs

# Suite, and what the site must offer besides.
SUITES = {
    "ECDHE-ECDSA-AES128-GCM-SHA256": "",
    "ECDHE-RSA-AES256-GCM-SHA384": "",
    "ECDHE-RSA-CHACHA20-POLY1305": "",
    "DHE-RSA-AES128-GCM-SHA256": "dhe = on",
    "AES128-GCM-SHA256": "rsa_key_exchange = on",
    "AES256-GCM-SHA384": "rsa_key_exchange = on",
}


@pytest.fixture(scope="module")
def origin():
    made = edgelib.Origin(edgelib.http(b"hello from the origin"))
    yield made
    made.close()


@pytest.fixture
def make(folder, authority, site_authority, origin, daemons):
    """A running pair; `serve`: an origin of the test's own."""
    def start(serve=None, **options):
        port = edgelib.Origin(serve).port if serve else origin.port
        options.setdefault("edge_allow", "handshake, expose")
        options.setdefault("policy", "allow = {handshake, expose}\n")
        options["site_options"] = "mode = handshake expose = master " + options.get("site_options", "")
        pair = pairs.Pair(folder, authority, site_authority, port, fetch_certificates=True, **options)
        pair.start_keyd(daemons)
        pair.start_edge(daemons, ready=False)
        pair.edge.wait_log("key server is up")
        return pair
    return start


def counter(pair, name):
    return pair.status("edge")["counters"].get(name, 0)


def assert_served(output, how, suite=""):
    assert re.search(rf"{how}, TLSv1\.[23], Cipher is {suite}", output), output
    assert "hello from the origin" in output


@pytest.mark.parametrize("options", [[], ["-no_ticket"]])
@pytest.mark.parametrize("suite", SUITES)
def test_full_then_resumed_without_the_key_server(make, folder, suite, options):
    """By ticket and by id: what the edge has learnt is enough for all that follows."""
    pair = make(keys={"example.com": ["rsa2048", "p256"]}, site_options=SUITES[suite])
    session = folder / "session.pem"
    assert_served(pair.s_client("-tls1_2", "-cipher", suite, *options, "-sess_out", session), "New", suite)
    assert counter(pair, "handshake_rounds_total") == 2
    audit = pair.folder / "keys1/audit.log"
    harness.wait_until(lambda: re.findall(r"op=(handshake-\S+)", audit.read_text()) ==
                       ["handshake-open-expose", "handshake-data"], "the audit log of both requests")
    pair.keyd.stop()
    for _ in range(2):
        assert_served(pair.s_client("-tls1_2", "-cipher", suite, *options, "-sess_in", session), "Reused", suite)
    assert counter(pair, "handshake_rounds_total") == 2
    pair.edge.wait_log(f'version="TLSv1.2" cipher="{suite}" resumed="yes"')


def test_without_extended_master_secret(make, folder):
    """Old clients have none: their sessions are resumed as such, and not as others."""
    pair = make()
    conf = folder / "openssl.cnf"
    conf.write_text("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n"
                    "Options = -ExtendedMasterSecret\n")
    session = folder / "session.pem"
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{pair.port}", "-servername", "example.com", "-CAfile",
               pair.site_authority.certificate, "-tls1_2", "-ign_eof"]
    old = {**os.environ, "OPENSSL_CONF": str(conf)}
    request = "GET / HTTP/1.0\r\n\r\n"
    output = harness.run(*command, "-sess_out", session, input=request, env=old).stdout
    assert_served(output, "New")
    assert "Extended master secret: no" in output
    assert_served(harness.run(*command, "-sess_in", session, input=request, env=old).stdout, "Reused")


@pytest.mark.parametrize("client", ["curl", "gnutls"])
def test_other_clients(make, client):
    pair = make()
    if client == "curl":
        assert pair.get("example.com", "--tls-max", "1.2")[1] == "hello from the origin"
        return
    done = harness.run("gnutls-cli", "--x509cafile", pair.site_authority.certificate, "--priority",
                       "NORMAL:-VERS-ALL:+VERS-TLS1.2", "--sni-hostname", "example.com", "--verify-hostname",
                       "example.com", "--resume", "--waitresumption", "-p", pair.port, "127.0.0.1",
                       input="GET / HTTP/1.0\r\n\r\n")
    assert "This is a resumed session" in done.stdout and "hello from the origin" in done.stdout


def test_tls13_is_as_without(make, folder):
    """Sessions of TLS 1.3 are the key server's to resume."""
    pair = make()
    session = folder / "session.pem"
    assert_served(pair.s_client("-sess_out", session), "New")
    before = counter(pair, "handshake_rounds_total")
    assert_served(pair.s_client("-sess_in", session), "Reused")
    assert counter(pair, "handshake_rounds_total") == before + 2


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
def test_alpn_full_and_resumed(make, folder, alpn):
    pair = make(site_options='alpn = {"h2", "http/1.1"}')
    session = folder / "session.pem"
    for option, how in ("-sess_out", "New"), ("-sess_in", "Reused"):
        output = pair.s_client("-tls1_2", "-alpn", alpn, option, session)
        assert_served(output, how)
        assert f"ALPN protocol: {alpn}" in output


def test_a_session_that_is_not_known(make, folder, daemons):
    """Of another edge, or another life of this one: the key server makes a handshake of the same ClientHello."""
    pair = make()
    session = folder / "session.pem"
    pair.s_client("-tls1_2", "-sess_out", session)
    pair.edge.stop()
    pair.start_edge(daemons, ready=False)
    pair.edge.wait_log("key server is up")
    assert_served(pair.s_client("-tls1_2", "-sess_in", session), "New")


def test_a_session_of_one_site_is_nothing_to_another(make, folder):
    pair = make(keys={"example.com": ["p256"], "shop.example": ["p256"]})
    session = folder / "session.pem"
    pair.s_client("-tls1_2", "-sess_out", session)
    output = pair.s_client("-tls1_2", "-sess_in", session, name="shop.example")
    assert_served(output, "New")
    assert_served(pair.s_client("-tls1_2", "-sess_in", session), "Reused")


@pytest.mark.parametrize("options", ["enabled = off cache = 0", "enabled = off"])
def test_no_resumption_where_the_edge_wants_none(make, folder, options):
    """Without a cache, either, the client is given nothing to come back with."""
    pair = make(edge_options=f"workers = 1 tickets {{ {options} }}")
    session = folder / "session.pem"
    assert_served(pair.s_client("-tls1_2", "-sess_out", session), "New")
    assert session.exists() == ("cache = 0" not in options)
    if session.exists():
        assert_served(pair.s_client("-tls1_2", "-sess_in", session), "Reused")


@pytest.mark.parametrize("edge_allow,policy", [("handshake", "allow = {handshake, expose}\n"),
                                               ("handshake, expose", "allow = {handshake}\n")])
def test_a_permission_of_its_own(make, edge_allow, policy):
    pair = make(edge_allow=edge_allow, policy=policy)
    output = pair.s_client("-tls1_2", check=False)
    assert "alert internal error" in output, output
    pair.edge.wait_log('why="key server did not shake hands" err="DENIED"')


@pytest.mark.unsanitized
def test_what_the_edge_holds(make, folder, site_authority):
    """The master secret, and of the private key nothing."""
    if os.geteuid() != 0:
        pytest.skip("reading another process's memory needs root")
    pair = make(edgelib.echo, keys={"example.com": ["rsa2048"]})
    private = pairs.private_numbers(pair.folder / "keys1/keys/example.com.key")
    context = edgelib.context(site_authority.certificate, maximum_version=ssl.TLSVersion.TLSv1_2)
    context.keylog_filename = str(folder / "keys.log")
    with edgelib.connect(pair.port, None, ctx=context) as tls:
        tls.sendall(b"hello")
        assert tls.recv(5) == b"hello"
        assert "CLIENT_RANDOM" in (folder / "keys.log").read_text()
        for pid in [pair.edge.pid, *pair.edge.children()]:
            assert not pairs.holds_any(pid, private)
    site, = [site for worker in pair.status("edge")["workers"] for site in worker["sites"]]
    assert (site["mode"], site["expose"]) == ("handshake", "master")


# --- clients that end it wrongly ---

def finish(pair, spoil):
    """A handshake of TLS 1.2 whose last flight of the client is spoilt; what comes back."""
    context = ssl.create_default_context(cafile=str(pair.site_authority.certificate))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="example.com")
    with socket.create_connection(("127.0.0.1", pair.port), harness.PATIENCE) as sock:
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        sock.sendall(outgoing.read())
        while not outgoing.pending:
            incoming.write(sock.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
        sock.sendall(spoil(outgoing.read()))
        received = b""
        with contextlib.suppress(ConnectionError):
            while data := sock.recv(65536):
                received += data
        return received


CCS = b"\x14\3\3\0\1\1"


@pytest.mark.parametrize("spoil,alert", [
    (lambda flight: flight[:-1] + bytes([flight[-1] ^ 1]), 20),                          # bad_record_mac
    (lambda flight: flight.replace(CCS, b"\x14\3\3\0\1\2"), 10),                        # unexpected_message
    (lambda flight: flight.replace(CCS, CCS + b"\x17\3\3\0\x28" + bytes(40)), 10),
    (lambda flight: flight[flight.index(CCS):], 80)], ids=["mac", "ccs", "data", "no key exchange"])
def test_a_finished_that_is_none(make, spoil, alert):
    pair = make()
    assert finish(pair, spoil) == bytes([21, 3, 3, 0, 2, 2, alert])
    pair.edge.wait_log("connection refused")
    assert_served(pair.s_client("-tls1_2"), "New")


def test_somebody_in_between(make, folder):
    """What he changes in the ClientHello shows when the client's Finished is verified, here."""
    pair = make(keys={"example.com": ["rsa2048"]})
    front = socket.create_server(("127.0.0.1", 0))

    def carry():
        client, _ = front.accept()
        with client, socket.create_connection(("127.0.0.1", pair.port), harness.PATIENCE) as edge:
            hello = client.recv(65536)
            at = hello.index(b"\x00\x35", 44 + hello[43])  # behind random and id: AES256-SHA, which is not chosen
            edge.sendall(hello[:at] + b"\x00\x84" + hello[at + 2:])
            for _ in range(2):
                client.sendall(edge.recv(65536))
                edge.sendall(client.recv(65536))
            with contextlib.suppress(ConnectionError):
                while data := edge.recv(65536):
                    client.sendall(data)
    thread = threading.Thread(target=carry)
    thread.start()
    conf = folder / "openssl.cnf"
    conf.write_text("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\n"
                    "Options = -ExtendedMasterSecret\n")  # else the keys would differ, too
    output = harness.run("openssl", "s_client", "-connect", f"127.0.0.1:{front.getsockname()[1]}", "-servername",
                         "example.com", "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256:AES256-SHA", input="",
                         env={**os.environ, "OPENSSL_CONF": str(conf)}, check=False)
    thread.join(harness.PATIENCE)
    front.close()
    assert "alert decrypt error" in output.stdout + output.stderr, output
    pair.edge.wait_log('connection refused.*why="the client ends the handshake wrongly"')


# --- configuration ---

@pytest.mark.parametrize("options,complaint", [
    ("mode = sign", "expose is for mode = keys or handshake"),
    ('mode = handshake tls = {"1.3"}', "expose = master is TLS 1.2")])
def test_where_it_cannot_be(folder, authority, site_authority, origin, options, complaint):
    pair = pairs.Pair(folder, authority, site_authority, origin.port, fetch_certificates=True,
                      site_options=f"{options} expose = master")
    done = harness.run(harness.FARKEY, "check", pair.folder / "edge1/edge.conf", check=False)
    assert done.returncode == 1 and complaint in done.stderr, done.stderr
