"""Mode `handshake` (K7 with RSA, K8 with (EC)DHE key exchange): the key server shakes hands, judged by curl, openssl,
gnutls-cli and Python's ssl; the edge gets the session and fetches what is asked for (K17)."""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl

import pytest

import edgelib
import harness
import keyproto
import liar
import pair as pairs

RSA_AND_EC = ["rsa2048", "p256"]

# Suite: which option of openssl s_client asks for it, and what the site must offer besides.
SUITES = {
    "TLS_AES_128_GCM_SHA256": ("tls1_3", ""),
    "TLS_AES_256_GCM_SHA384": ("tls1_3", ""),
    "TLS_CHACHA20_POLY1305_SHA256": ("tls1_3", ""),
    "ECDHE-ECDSA-AES128-GCM-SHA256": ("tls1_2", ""),
    "ECDHE-RSA-AES256-GCM-SHA384": ("tls1_2", ""),
    "ECDHE-RSA-CHACHA20-POLY1305": ("tls1_2", ""),
    "DHE-RSA-AES128-GCM-SHA256": ("tls1_2", "dhe = on"),
    "AES128-GCM-SHA256": ("tls1_2", "rsa_key_exchange = on"),
    "AES256-GCM-SHA384": ("tls1_2", "rsa_key_exchange = on"),
}


@pytest.fixture(scope="module")
def origin():
    made = edgelib.Origin(edgelib.http(b"hello from the origin"))
    yield made
    made.close()


@pytest.fixture
def configure(folder, authority, site_authority, origin):
    """A pair, not started, whose edge has no certificate and may do nothing but have handshakes made."""
    def make(serve=None, **options):
        port = edgelib.Origin(serve).port if serve else origin.port
        options.setdefault("edge_allow", "handshake")
        options.setdefault("policy", "allow = {handshake}\n")
        options["site_options"] = "mode = handshake " + options.get("site_options", "")
        return pairs.Pair(folder, authority, site_authority, port, fetch_certificates=True, **options)
    return make


@pytest.fixture
def make(configure, daemons):
    """The same, started; with an origin of its own, `serve`, that speaks no HTTP."""
    def start(serve=None, **options):
        pair = configure(serve, **options)
        pair.start_keyd(daemons)
        pair.start_edge(daemons, ready=serve is None)
        if serve is not None:
            pair.edge.wait_log("key server is up")
        return pair
    return start


def counter(pair, name):
    return pair.status("edge")["counters"].get(name, 0)


def only(suite):
    return ["-ciphersuites" if suite.startswith("TLS_") else "-cipher", suite]


def works(pair):
    return pair.get(check=False)[0] == 0


# --- handshakes ---

@pytest.mark.parametrize("version,flag", [("TLSv1.2", ["--tls-max", "1.2"]), ("TLSv1.3", ["--tlsv1.3"])])
def test_curl(make, version, flag):
    pair = make()
    _, body, talk = pair.get("example.com", *flag)
    assert body == "hello from the origin"
    assert f"SSL connection using {version}" in talk
    pair.edge.wait_log(f'sni="example.com".*version="{version}".*resumed="no".*end="closed"')
    site, = [site for worker in pair.status("edge")["workers"] for site in worker["sites"]]
    assert site["mode"] == "handshake" and site["certificate"]


@pytest.mark.parametrize("suite", SUITES)
def test_each_suite_full_and_resumed(make, folder, suite):
    version, options = SUITES[suite]
    pair = make(keys={"example.com": RSA_AND_EC}, site_options=options)
    session = folder / "session.pem"
    full = pair.s_client(f"-{version}", *only(suite), "-sess_out", session)
    resumed = pair.s_client(f"-{version}", *only(suite), "-sess_in", session)
    for output, how in (full, "New"), (resumed, "Reused"):
        assert re.search(rf"{how}, TLSv1\.[23], Cipher is {suite}", output), output
        assert "hello from the origin" in output
    pair.edge.wait_log(f'cipher="{suite}" resumed="yes"')


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
@pytest.mark.parametrize("algorithms,kind", [
    ("ECDSA+SHA256", "PKEY: id-ecPublicKey"), ("RSA-PSS+SHA256", "PKEY: rsaEncryption"),
    ("ed25519", "PKEY: ED25519")])
def test_certificate_by_the_clients_algorithms(make, version, algorithms, kind):
    pair = make(keys={"example.com": [*RSA_AND_EC, "ed25519"]})
    output = pair.s_client(f"-{version}", "-sigalgs", algorithms)
    assert f"a:{kind}" in output and "hello from the origin" in output


@pytest.mark.parametrize("priority", ["NORMAL:-VERS-ALL:+VERS-TLS1.2", "NORMAL:-VERS-ALL:+VERS-TLS1.3"])
def test_gnutls_full_and_resumed(make, priority):
    pair = make()
    done = harness.run("gnutls-cli", "--x509cafile", pair.site_authority.certificate, "--priority", priority,
                       "--sni-hostname", "example.com", "--verify-hostname", "example.com", "--resume",
                       "--waitresumption", "-p", pair.port, "127.0.0.1", input="GET / HTTP/1.0\r\n\r\n")
    assert "This is a resumed session" in done.stdout, done.stdout + done.stderr
    assert "hello from the origin" in done.stdout


@pytest.mark.parametrize("group", ["P-256", "P-384"])
def test_hello_retry_request(make, group):
    """The client's first key share is of no use: the server asks for another (RFC 8446 section 4.1.4)."""
    pair = make(site_options=f'groups = {{"{group}", "X25519"}} tls = {{"1.3"}}')
    before = counter(pair, "handshake_rounds_total")
    output = pair.s_client("-groups", f"P-521:{group}", "-msg")
    assert "hello from the origin" in output
    assert output.count("Handshake [length") > 0 and len(re.findall(r"<<< TLS 1.3, Handshake .*ServerHello", output)) == 2
    assert counter(pair, "handshake_rounds_total") - before == 3


def test_alpn(make):
    pair = make(site_options='alpn = {"http/1.1", "http/1.0"}')
    assert "ALPN protocol: http/1.0" in pair.s_client("-alpn", "http/1.0")
    assert "ALPN protocol: http/1.1" in pair.s_client("-alpn", "http/1.0,http/1.1")
    output = pair.s_client("-alpn", "spdy/1", check=False)
    assert "no application protocol" in output
    pair.edge.wait_log('connection refused.*why="no application protocol"')


def test_what_the_origin_is_told(make):
    """The PROXY header's TLS facts are those of the key server's handshake."""
    heads = []

    def serve(sock):
        heads.append(sock.recv(65536))
        sock.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
    pair = make(serve, site_options='origin_proxy = v2 alpn = {"http/1.1"}')
    pair.s_client("-tls1_3", "-alpn", "http/1.1")
    head = next(head for head in reversed(heads) if head.startswith(b"\r\n\r\n\0\r\nQUIT\n"))
    for fact in b"http/1.1", b"example.com", b"TLSv1.3", b"TLS_AES_":
        assert fact in head, (fact, head)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_bytes_both_ways(make, site_authority, version):
    """Megabytes, in records that were sealed by keys of the key server."""
    pair = make(edgelib.echo)
    context = edgelib.context(site_authority.certificate, minimum_version=version, maximum_version=version)
    data = edgelib.block(0, 3 << 20)
    with edgelib.connect(pair.port, None, ctx=context) as tls:
        tls.settimeout(harness.PATIENCE)
        received = b""
        for at in range(0, len(data), 1 << 16):
            tls.sendall(data[at:at + (1 << 16)])
            while len(received) < at + (1 << 16) and len(received) < len(data):
                received += tls.recv(1 << 16)
    assert received == data


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_data_in_the_flight_of_finished(make, site_authority, version):
    """What the client sends behind its Finished, in one piece with it, reaches the origin (also cut in between)."""
    pair = make(edgelib.echo)
    for cut in 0, 1, 7, 60:
        context = edgelib.context(site_authority.certificate, minimum_version=version, maximum_version=version)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="example.com")
        with socket.create_connection(("127.0.0.1", pair.port), harness.PATIENCE) as sock:
            flights = 0
            while True:
                with contextlib.suppress(ssl.SSLWantReadError):
                    tls.do_handshake()
                    break
                sock.sendall(outgoing.read())
                flights += 1
                incoming.write(sock.recv(65536))
            if version == ssl.TLSVersion.TLSv1_3:
                tls.write(b"early bird")  # before the Finished has left
            flight = outgoing.read()
            if version == ssl.TLSVersion.TLSv1_2:
                tls.write(b"early bird")
                flight += outgoing.read()
            for part in (flight[:-cut], flight[-cut:]) if cut else (flight,):
                sock.sendall(part)
            received = b""
            while len(received) < 10:
                incoming.write(sock.recv(65536))
                with contextlib.suppress(ssl.SSLWantReadError):
                    received += tls.read(100)
            assert received == b"early bird"


def test_key_updates(make, site_authority):
    """Traffic secrets came along, so both sides can renew their keys (RFC 8446 section 4.6.3)."""
    edgelib.update_keys(make(edgelib.echo).port, site_authority.certificate)


# --- round trips ---

@pytest.mark.parametrize("version,resumed", [("tls1_3", False), ("tls1_2", False), ("tls1_3", True), ("tls1_2", True)])
def test_two_round_trips(make, folder, version, resumed):
    pair = make()
    session = folder / "session.pem"
    pair.s_client(f"-{version}", "-sess_out", session)
    before = {name: counter(pair, name) for name in ("handshake_rounds_total", "handshakes_passed_total")}
    output = pair.s_client(f"-{version}", *(["-sess_in", session] if resumed else []))
    assert ("Reused, " in output) == resumed, output
    after = {name: counter(pair, name) - count for name, count in before.items()}
    assert after == {"handshake_rounds_total": 2, "handshakes_passed_total": 1}

    def asked():
        lines = (pair.folder / "keys1/audit.log").read_text().splitlines()
        return [re.search(r"op=handshake-(\w+)", line)[1] for line in lines if "op=handshake-" in line]
    # Before these two there may be some that came to nothing, while the channel was not there yet.
    harness.wait_until(lambda: asked()[-4:] == ["open", "data"] * 2, "the audit log of both handshakes")


# --- resumption ---

def test_sessions_by_id(make, folder):
    """TLS 1.2 without tickets: the key server's handshakers share a cache."""
    pair = make(keyd_options="fronts = 1 signers = 1 handshakers = 3")
    session = folder / "session.pem"
    pair.s_client("-tls1_2", "-no_ticket", "-sess_out", session)
    for _ in range(6):
        assert "Reused, " in pair.s_client("-tls1_2", "-no_ticket", "-sess_in", session)


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
def test_tickets_of_all_handshakers(make, folder, version):
    pair = make(keyd_options="fronts = 1 signers = 1 handshakers = 3")
    session = folder / "session.pem"
    pair.s_client(f"-{version}", "-sess_out", session)
    for _ in range(6):
        assert "Reused, " in pair.s_client(f"-{version}", "-sess_in", session)


def test_a_session_of_one_site_is_nothing_to_another(make, folder):
    pair = make(keys={"example.com": ["p256"], "shop.example": ["p256"]})
    for version in "tls1_2", "tls1_3":
        session = folder / f"{version}.pem"
        pair.s_client(f"-{version}", "-sess_out", session)
        assert "Reused, " in pair.s_client(f"-{version}", "-sess_in", session)
        output = pair.s_client(f"-{version}", "-sess_in", session, name="shop.example")
        assert "New, " in output and "hello from the origin" in output


@pytest.mark.parametrize("options,version", [("enabled = off cache = 0", "tls1_2"), ("enabled = off", "tls1_3")])
def test_no_resumption_where_the_edge_wants_none(make, folder, options, version):
    pair = make(edge_options=f"workers = 1 tickets {{ {options} }}")
    session = folder / "session.pem"
    pair.s_client(f"-{version}", "-sess_out", session)
    assert "New, " in pair.s_client(f"-{version}", *(["-sess_in", session] if session.exists() else []))


def test_a_revoked_key_resumes_nothing(make, folder):
    """A session outlives neither its key nor the key's permission."""
    pair = make()
    session = folder / "session.pem"
    pair.s_client("-tls1_3", "-sess_out", session)
    assert "Reused, " in pair.s_client("-tls1_3", "-sess_in", session)
    (pair.folder / "keys1/keys/example.com.policy").write_text("allow = {sign}\n")
    harness.wait_until(lambda: not works(pair), "the permission is gone")
    assert "Reused" not in pair.s_client("-tls1_3", "-sess_in", session, check=False)
    (pair.folder / "keys1/keys/example.com.policy").write_text("allow = {handshake}\n")
    harness.wait_until(lambda: works(pair), "the permission is back")
    assert "Reused, " in pair.s_client("-tls1_3", "-sess_in", session)


@pytest.fixture
def two_key_servers(configure, daemons):
    """A pair whose edge knows two key servers with the same keys: the pair, and how the second is started."""
    def start(**options):
        pair = configure(**options)
        secret = pair.folder / "keys1/ticket.key"
        secret.write_text(os.urandom(32).hex() + "\n")
        secret.chmod(0o600)
        other = harness.free_port()
        shutil.copytree(pair.folder / "keys1", pair.folder / "keys2", ignore=shutil.ignore_patterns("run"))
        (pair.folder / "keys2/run").mkdir()
        conf = pair.folder / "keys2/keyd.conf"
        conf.write_text(conf.read_text().replace(f":{pair.keyd_port}", f":{other}"))
        pair.servers["keys2"] = other
        pair.write_edge()
        pair.start(daemons)

        def start_second():
            daemon = harness.Daemon(harness.FARKEY, "keyd", "-c", conf, log=pair.folder / "keyd2.log")
            daemons.append(daemon)
            harness.wait_until(lambda: pair.serving(daemon, other), "the second key server listens")
            return daemon
        return pair, start_second
    return start


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
@pytest.mark.parametrize("shared", [True, False])
def test_tickets_of_another_key_server(two_key_servers, folder, version, shared):
    """With one ticket secret a session goes on when its key server is gone; without, the client gets a new one."""
    options = "fronts = 1 signers = 1 handshakers = 1" + (' ticket_secret = "ticket.key"' if shared else "")
    pair, start_second = two_key_servers(keyd_options=options)
    session = folder / "session.pem"
    pair.s_client(f"-{version}", "-sess_out", session)
    assert "Reused, " in pair.s_client(f"-{version}", "-sess_in", session)
    start_second()
    pair.keyd.stop()
    harness.wait_until(lambda: works(pair), "the second key server serves")
    output = pair.s_client(f"-{version}", "-sess_in", session)
    assert ("Reused, " in output) == shared and "hello from the origin" in output


def test_another_ticket_secret(make, folder):
    """A reload takes a new secret up: sessions of the old one are made anew, and so are those of a secret that is gone."""
    pair = make()
    conf, secret = pair.folder / "keys1/keyd.conf", pair.folder / "keys1/ticket.key"
    text = conf.read_text()
    session = folder / "session.pem"

    def resumes():
        return "Reused, " in pair.s_client("-tls1_3", "-sess_in", session)

    def reload():
        since = len(pair.keyd.log())
        assert harness.control(pair.folder / "keys1/run/keyd.sock", "reload").get("ok")
        pair.keyd.wait_log("handshaker serves", since=since)
    for content in "00" * 32, "11" * 32:
        secret.write_text(content + "\n")
        secret.chmod(0o600)
        conf.write_text(text + 'ticket_secret = "ticket.key"\n')
        pair.s_client("-tls1_3", "-sess_out", session)
        assert resumes()
        reload()
        assert not resumes()
        pair.s_client("-tls1_3", "-sess_out", session)
        reload()
        assert resumes()
    conf.write_text(text)
    reload()
    assert not resumes()


def test_no_ticket_secret(configure):
    """A file that is none, is not there, or is everybody's to read: told before anything runs."""
    pair = configure(keyd_options='ticket_secret = "ticket.key"')
    secret = pair.folder / "keys1/ticket.key"

    def complaint():
        done = harness.run(harness.FARKEY, "check", pair.folder / "keys1/keyd.conf", check=False)
        assert done.returncode == 1
        return done.stderr
    assert "ticket.key: No such file or directory" in complaint()
    secret.write_text("00" * 31 + "\n")
    secret.chmod(0o600)
    assert "ticket.key: not a secret of 32 bytes; make one with openssl rand -hex 32" in complaint()
    secret.write_text("00" * 32 + "\n")
    secret.chmod(0o644)
    assert "ticket.key: " in complaint()


# --- who holds what ---

def session_secrets(output):
    """The secrets of an openssl s_client -keylogfile, by label."""
    return {line.split()[0]: bytes.fromhex(line.split()[2]) for line in output.splitlines() if not line.startswith("#")}


@pytest.mark.unsanitized
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_only_this_sessions_traffic_keys_at_the_edge(make, folder, site_authority, version):
    """While a connection is open, memory of the edge has its traffic secrets and nothing from which they come."""
    if os.geteuid() != 0:
        pytest.skip("reading another process's memory needs root")
    pair = make(edgelib.echo, keys={"example.com": ["rsa2048"]})
    number = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
    context = edgelib.context(site_authority.certificate, minimum_version=number, maximum_version=number)
    context.keylog_filename = str(folder / "keys.log")
    private = pairs.private_numbers(pair.folder / "keys1/keys/example.com.key")
    with edgelib.connect(pair.port, None, ctx=context) as tls:
        tls.sendall(b"hello")
        assert tls.recv(5) == b"hello"
        secrets = session_secrets((folder / "keys.log").read_text())
        edge = [pair.edge.pid, *pair.edge.children()]
        held = {label for label, secret in secrets.items() if any(pairs.holds_any(pid, [secret]) for pid in edge)}
        assert held == ({"CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"} if version == "1.3" else set())
        assert len(secrets) >= (5 if version == "1.3" else 1)
        for pid in edge:
            assert not pairs.holds_any(pid, private)
        for role in "keyd-front", "keyd-handshaker", "keyd-audit", "admin":
            for pid in pair.keyd.children(role):
                assert not pairs.holds_any(pid, private), role
        assert any(pairs.holds_any(pid, private) for pid in pair.keyd.children("signer")), "the scan finds nothing"


@pytest.mark.unsanitized
def test_the_handshaker_can_reach_nobody(make):
    pair = make()
    pid, = pair.keyd.children("keyd-handshaker")
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
    inodes = {os.readlink(entry)[8:-1] for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir()
              if os.readlink(entry).startswith("socket:[")}
    for table in "tcp", "tcp6", "udp", "udp6":
        rows = pathlib.Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        assert not inodes & {row.split()[9] for row in rows}


def test_no_certificate_at_the_edge(configure):
    pair = configure()
    conf = pair.folder / "edge1/edge.conf"
    done = harness.run(harness.FARKEY, "check", conf, check=False)
    assert done.returncode == 0, done.stderr
    text = conf.read_text()
    conf.write_text(text.replace("mode = handshake", 'mode = handshake certificate = {"example.com.crt"}'))
    assert "the key server shows its own certificates" in harness.run(harness.FARKEY, "check", conf, check=False).stderr
    conf.write_text(text.replace("mode = handshake", "mode = handshake records = openssl"))
    assert "needs records = engine" in harness.run(harness.FARKEY, "check", conf, check=False).stderr


def test_not_where_edges_have_to_sign(configure):
    """What a handshaker asks signers for has no edge's signature."""
    pair = configure(keyd_options="signed_requests = on")
    done = harness.run(harness.FARKEY, "check", pair.folder / "keys1/keyd.conf", check=False)
    assert done.returncode == 1
    assert "allow has handshake, but signed_requests = on" in done.stderr


# --- refusals ---

def test_no_common_version(make):
    pair = make(site_options='tls = {"1.3"}')
    output = pair.s_client("-tls1_2", check=False)
    assert "alert protocol version" in output
    pair.edge.wait_log('connection refused.*why="unsupported protocol"')


def test_a_client_that_distrusts_us(make, folder):
    """The client's alert ends it, at the edge and at the key server."""
    pair = make()
    other = harness.Authority(folder / "other-ca", "Other CA")
    for version in "tls1_2", "tls1_3":
        harness.run("openssl", "s_client", "-connect", f"127.0.0.1:{pair.port}", f"-{version}", "-servername",
                    "example.com", "-CAfile", other.certificate, "-verify_return_error", input="", check=False)
    harness.wait_until(lambda: len(re.findall('why="[^"]*alert unknown ca"', pair.edge.log())) == 2, "both alerts")


@pytest.mark.parametrize("edge_allow,policy", [("sign", "allow = {handshake}\n"), ("handshake", "allow = {sign}\n")])
def test_a_permission_of_its_own(configure, daemons, edge_allow, policy):
    """Neither the edge's nor the key's permission to sign is one to shake hands."""
    pair = configure(edge_allow=edge_allow, policy=policy, keyd_options="fronts = 1 signers = 1 handshakers = 1")
    pair.start_keyd(daemons)
    pair.start_edge(daemons, ready=False)
    output = pair.s_client(check=False)
    assert "alert internal error" in output, output
    pair.edge.wait_log('why="key server did not shake hands" err="DENIED"')


def test_junk_behind_the_hello(make):
    """What is no record, and a record that is too long, end the handshake here."""
    pair = make()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="example.com")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    for junk in b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x03\xff\xff":
        with socket.create_connection(("127.0.0.1", pair.port), harness.PATIENCE) as sock:
            sock.sendall(hello)
            assert sock.recv(5)[:1] == b"\x16"
            sock.sendall(junk)
            while sock.recv(65536):
                pass
    harness.wait_until(lambda: pair.edge.log().count('why="what the client sends is no handshake"') == 2, "two refused")


def test_a_flight_in_too_many_pieces(make):
    """A client that sends what it has to say in records of four bytes, each by itself, is not carried on and on."""
    pair = make(site_options='groups = {"P-384"} tls = {"1.3"}')
    log = pair.folder / "keys1/audit.log"
    sock, _, _, outgoing = half_open(pair)  # HelloRetryRequest has come
    flight = outgoing.read()
    hello = flight[flight.index(b"\x16\x03\x03"):]
    pieces = [b"\x16\x03\x03\0\4" + hello[at:at + 4] for at in range(5, len(hello) - 4, 4)]
    ended = re.compile('connection (refused|lost).*why="handshake in too many pieces" err="LIMIT"')
    for sent, piece in enumerate(pieces):
        before = log.read_text().count("handshake-data")
        sock.sendall(piece)
        harness.wait_until(lambda before=before: log.read_text().count("handshake-data") > before
                           or ended.search(pair.edge.log()), "it is asked about, or refused")
        if ended.search(pair.edge.log()):
            break
    assert sent < 20
    end_of(sock)
    sock.close()
    assert works(pair)


# --- faults ---

def half_open(pair, version=ssl.TLSVersion.TLSv1_3):
    """A client whose first round trip is done: socket, TLS object, incoming, outgoing."""
    context = ssl.create_default_context(cafile=str(pair.site_authority.certificate))
    context.minimum_version = context.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="example.com")
    sock = socket.create_connection(("127.0.0.1", pair.port), harness.PATIENCE)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    sock.sendall(outgoing.read())
    while True:
        incoming.write(sock.recv(65536))
        try:
            tls.do_handshake()
            return sock, tls, incoming, outgoing
        except ssl.SSLWantReadError:
            if outgoing.pending:
                return sock, tls, incoming, outgoing


def end_of(sock):
    """What comes until the connection ends."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while data := sock.recv(65536):
            received += data
    return received


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("part", ["handshaker", "key server"])
def test_death_between_the_round_trips(make, daemons, part, version):
    """The client whose handshake is lost is told, if it can be; the next one is served."""
    pair = make(site_options="deadline = 1s")
    sock, _, _, outgoing = half_open(pair, version)
    if part == "handshaker":
        pid, = pair.keyd.children("keyd-handshaker")
        os.kill(pid, signal.SIGKILL)
        harness.wait_until(lambda: pid not in pair.keyd.children("keyd-handshaker"), "it is gone")
    else:
        pair.keyd.process.kill()
        pair.keyd.process.wait()
        pair.start_keyd(daemons)
    sock.sendall(outgoing.read())
    ended = end_of(sock)
    sock.close()
    assert ended == (b"\x15\x03\x03\0\2\2\x50" if version == ssl.TLSVersion.TLSv1_2 else b"")
    pair.edge.wait_log('why="key server did not shake hands"')
    harness.wait_until(lambda: works(pair), "the next client is served")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_finished_that_was_changed(make, version):
    """The handshaker refuses it, by an alert that only TLS 1.2 has in the clear; there is no session."""
    pair = make()
    sock, _, _, outgoing = half_open(pair, version)
    flight = outgoing.read()
    sock.sendall(flight[:-1] + bytes([flight[-1] ^ 1]))
    ended = end_of(sock)
    sock.close()
    assert ended[:3] == (b"\x15\x03\x03" if version == ssl.TLSVersion.TLSv1_2 else b"\x17\x03\x03"), ended
    assert version != ssl.TLSVersion.TLSv1_2 or ended == b"\x15\x03\x03\0\2\2\x14"  # bad_record_mac
    pair.edge.wait_log("connection refused")
    assert works(pair)


def test_handshakes_wait_for_the_next_handshaker(make):
    """Its death is not seen by clients that come right after."""
    pair = make()
    for _ in range(3):
        pid, = pair.keyd.children("keyd-handshaker")
        os.kill(pid, signal.SIGKILL)
        harness.wait_until(lambda gone=pid: gone not in pair.keyd.children("keyd-handshaker"), "it is gone")
        assert works(pair)
        harness.wait_until(lambda: pair.keyd.children("keyd-handshaker"), "its successor")


def test_a_handshake_across_a_reload(make, site_authority):
    """Half a handshake goes on when the key server has changed over to other keys."""
    pair = make()
    sock, tls, incoming, outgoing = half_open(pair)
    pair.site_authority.issue(pair.folder / "keys1/keys/new.example", "new.example", "DNS:new.example")
    since = len(pair.keyd.log())
    assert harness.control(pair.folder / "keys1/run/keyd.sock", "reload").get("ok")
    pair.keyd.wait_log("handshaker serves", since=since)
    tls.write(b"GET / HTTP/1.0\r\n\r\n")
    sock.sendall(outgoing.read())
    received = b""
    while b"hello from the origin" not in received:
        incoming.write(sock.recv(65536))
        with contextlib.suppress(ssl.SSLWantReadError):
            received += tls.read(1000)
    sock.close()
    for _ in range(20):
        assert harness.control(pair.folder / "keys1/run/keyd.sock", "reload").get("ok")
        pair.get()


def test_signers_that_do_not_answer(make):
    """The edge's deadline ends the handshake, not the client's patience."""
    pair = make(site_options="deadline = 500ms")
    signers = pair.keyd.children("signer")
    for pid in signers:
        os.kill(pid, signal.SIGSTOP)
    try:
        output = pair.s_client("-tls1_3", check=False)
        assert "alert internal error" in output, output
        pair.edge.wait_log('why="key server did not shake hands" err="TIMEOUT"')
    finally:
        for pid in signers:
            os.kill(pid, signal.SIGCONT)
    harness.wait_until(lambda: works(pair), "it goes on")


def test_a_client_that_stays_away(make):
    """Its handshake is closed at the key server, and over at the edge in time."""
    pair = make(edge_options="workers = 1 limits { handshake_timeout = 500ms }")
    sock, *_ = half_open(pair)
    end_of(sock)
    sock.close()
    pair.edge.wait_log('why="client too slow"')
    log = pair.folder / "keys1/audit.log"
    harness.wait_until(lambda: "handshake-close" in log.read_text(), "the key server is told")


def test_several_key_servers(configure, daemons):
    """Both round trips go to one of them, whichever it is."""
    pair = configure(keyd_options="fronts = 2 signers = 1 handshakers = 2")
    pair.servers = {f"keys{i}": pair.keyd_port for i in range(1, 4)}  # three channels: each its own queue
    pair.write_edge()
    pair.start(daemons)
    for _ in range(12):
        assert "hello from the origin" in pair.get()[1]


@pytest.fixture
def lying(configure, daemons):
    """A pair with a liar as its only key server; tests set liar.lie."""
    pair = configure(site_options="deadline = 1s")
    pair.start_keyd(daemons)
    middle = liar.Liar(pair, pair.keyd_port)
    pair.servers = {"keys1": middle.port}
    pair.write_edge()
    pair.start_edge(daemons)
    yield pair, middle
    middle.stop()


def is_done(frame):
    """Whether it is an answer with a session in it."""
    at = frame.find(b"\x11\x00\x01\xf0\x12")
    return at > 0 and frame[at + 7:at + 8] == bytes([keyproto.DONE])


def test_answers_of_another_handshake(lying):
    """The last answer names another handshake than the one that is waited for: nobody's session begins."""
    pair, middle = lying
    kept = []

    def swap(frame):
        if not is_done(frame):
            return [frame]
        kept.append(frame)
        at = frame.find(b"\x11\x00\x01\xf0\x12") + 8
        return [frame[:at] + bytes(16) + frame[at + 16:]]
    middle.lie = swap
    assert pair.get(check=False)[0] != 0
    assert kept
    pair.edge.wait_log('why="key server did not shake hands" err="FORMAT"')
    middle.lie = lambda frame: [frame]
    assert works(pair)


def test_sessions_that_are_none(lying):
    """
    Bytes of the session's part of the answer changed by turns. Whatever is needed for a first record ends
    the connection; a traffic secret is not, before its keys are renewed.
    """
    pair, middle = lying
    at = 0
    # Before the client's chain, which is empty, from the end: the server's direction, the client's, flags and suite.
    secrets = {*range(0, 32), *range(72, 104)}

    def spoil(frame):
        if not is_done(frame):
            return [frame]
        place = len(frame) - 3 - at
        return [frame[:place] + bytes([frame[place] ^ 0x81]) + frame[place + 1:]]
    middle.lie = spoil
    for at in [0, 31, 32, 33, 34, 40, 46, 47, 55, 63, 64, 71, 72, 103, 104, 105, 106, 112, 118, 119, 127, 135, 136,
               143, 144, 145, 146]:
        answer = pair.get("example.com", "--tlsv1.3", check=False)[1]
        assert ("hello from the origin" in answer) == (at in secrets), at
    middle.lie = lambda frame: [frame]
    assert works(pair)
    assert pair.edge.log().count("edge-worker") and "died" not in pair.edge.log()


# --- the protocol, spoken to by hand ---

def client_hello(name="example.com"):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def channel(pair, name="edge1"):
    folder = pair.folder / name
    return keyproto.Channel(("127.0.0.1", pair.keyd_port), folder / "channel.crt", folder / "channel.key",
                            folder / "ca.crt")


@pytest.fixture
def two_edges(configure, daemons, authority):
    """A key server with two edges that may have handshakes made; the edges are played by hand."""
    pair = configure()
    harness.channel_identity(authority, pair.folder / "edge2", "edge", "edge2")
    conf = pair.folder / "keys1/keyd.conf"
    conf.write_text(conf.read_text() + 'edge "edge2" { keys = {"*"} allow = {handshake} }\n')
    pair.start_keyd(daemons)
    return pair


def test_a_handshake_is_its_edges_alone(two_edges):
    with channel(two_edges) as mine, channel(two_edges, "edge2") as other:
        opened = keyproto.Handshake(mine.call(keyproto.HS_OPEN, keyproto.hs_open("example.com", client_hello())))
        assert opened.state == keyproto.ANY and opened.records[:1] == b"\x16"
        record = b"\x17\x03\x03\x00\x01\x00"
        with pytest.raises(keyproto.Refused, match="expired handle"):
            other.call(keyproto.HS_DATA, keyproto.hs_data(opened.id, record))
        other.call(keyproto.HS_CLOSE, opened.id)  # says nothing, and does nothing
        with pytest.raises(keyproto.Refused, match="expired handle"):
            mine.call(keyproto.HS_DATA, keyproto.hs_data(bytes(16), record))
        failed = keyproto.Handshake(mine.call(keyproto.HS_DATA, keyproto.hs_data(opened.id, record)))
        assert failed.state == keyproto.FAILED and failed.alert == 20  # bad_record_mac
        with pytest.raises(keyproto.Refused, match="expired handle"):
            mine.call(keyproto.HS_DATA, keyproto.hs_data(opened.id, record))


def test_closed_is_gone(two_edges):
    with channel(two_edges) as mine:
        opened = keyproto.Handshake(mine.call(keyproto.HS_OPEN, keyproto.hs_open("example.com", client_hello())))
        assert mine.call(keyproto.HS_CLOSE, opened.id) == b""
        with pytest.raises(keyproto.Refused, match="expired handle"):
            mine.call(keyproto.HS_DATA, keyproto.hs_data(opened.id, b"\x17\x03\x03\x00\x01\x00"))


def test_malformed_and_unknown(two_edges):
    good = keyproto.hs_open("example.com", client_hello())
    with channel(two_edges) as mine:
        for bad in good[:-1], good + b"\0", b"\x00" + good[1:], b"\x04" + good[1:], good[:1] + b"\x20" + good[2:], b"":
            with pytest.raises(keyproto.Refused, match="format"):
                mine.call(keyproto.HS_OPEN, bad)
        with pytest.raises(keyproto.Refused, match="not authorised"):  # to be told the master secret
            mine.call(keyproto.HS_OPEN, keyproto.hs_open("example.com", client_hello(), options=0x11))
        with pytest.raises(keyproto.Refused, match="key not found"):
            mine.call(keyproto.HS_OPEN, keyproto.hs_open("nobody.example", client_hello()))
        with pytest.raises(keyproto.Refused, match="format"):  # TLS 1.2 without a key exchange
            mine.call(keyproto.HS_OPEN, keyproto.hs_open("example.com", client_hello(), options=0))
        with pytest.raises(keyproto.Refused, match="format"):  # no group that is served
            mine.call(keyproto.HS_OPEN, keyproto.hs_open("example.com", client_hello(), groups=b"\x12\x34"))
        failed = keyproto.Handshake(mine.call(keyproto.HS_OPEN, keyproto.hs_open("example.com", b"junk" * 16)))
        assert failed.state == keyproto.FAILED
        opened = keyproto.Handshake(mine.call(keyproto.HS_OPEN, keyproto.hs_open("example.com", client_hello())))
        assert opened.state == keyproto.ANY


def test_a_key_server_that_has_just_started_shakes_hands(make, daemons):
    """Edges are let in only when there are handshakers to wait for: no handshake fails for the lack of one."""
    pair = make()
    for _ in range(8):
        assert pair.keyd.stop() == 0
        since = len(pair.edge.log())
        pair.start_keyd(daemons)
        pair.edge.wait_log("key server is up", since=since)
        assert works(pair)
    assert "no handshaker" not in pair.keyd.log()
