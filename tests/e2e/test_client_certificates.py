"""Certificates of clients: asked for, judged, logged, told to the origin; alike whoever shakes hands."""
import itertools
import re
import shutil
import socket
import ssl
import struct

import pytest

import edgelib
import harness
import pair as pairs

MODES = ["sign", "handshake"]
VERSIONS = ["tls1_2", "tls1_3"]
EXPOSED = "handshake expose = master"
WAYS = [*itertools.product(MODES, VERSIONS), (EXPOSED, "tls1_2")]


@pytest.fixture(scope="module")
def origin():
    made = edgelib.Origin(edgelib.http(b"hello from the origin"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def clients(tmp_path_factory):
    """A CA of clients, with certificates of it: good, over, revoked, of a server only, by way of another CA."""
    folder = tmp_path_factory.mktemp("clients")
    ca = harness.Authority(folder / "ca", "Staff CA")
    (folder / "ca/index").write_text("")
    (folder / "ca/number").write_text("01\n")
    (folder / "ca/conf").write_text(
        f"[ca]\ndefault_ca=d\n[d]\ndatabase={folder}/ca/index\ncrlnumber={folder}/ca/number\ndefault_md=sha256\n"
        f"certificate={ca.certificate}\nprivate_key={ca.key}\ndefault_crl_days=30\npolicy=p\n[p]\n")
    for name in "alice", "mallory", "expired":
        ca.issue(folder / name, name, f"DNS:{name}.example", days=-1 if name == "expired" else 30)
    issue(folder, ca, "server", "extendedKeyUsage=serverAuth\n")
    issue(folder, ca, "large", f"nsComment={'x' * 18000}\n")
    issue(folder, ca, "too-large", f"nsComment={'x' * 21000}\n")
    issue(folder, ca, "middle", "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n")
    middle = harness.Authority(folder / "unused", "unused")
    middle.certificate, middle.key = folder / "middle.crt", folder / "middle.key"
    middle.issue(folder / "bob", "bob", "DNS:bob.example")
    other = harness.Authority(folder / "other", "Other CA")
    other.issue(folder / "stranger", "stranger", "DNS:stranger.example")
    openssl_ca = ["openssl", "ca", "-config", folder / "ca/conf"]
    harness.run(*openssl_ca, "-gencrl", "-out", folder / "empty.crl")
    harness.run(*openssl_ca, "-revoke", folder / "mallory.crt")
    harness.run(*openssl_ca, "-gencrl", "-out", folder / "staff.crl")
    return folder


def issue(folder, ca, name, extensions):
    """A certificate with extensions of its own."""
    key, request = folder / f"{name}.key", folder / f"{name}.ext"
    harness.make_key("p256", key)
    request.write_text(extensions + "subjectKeyIdentifier=hash\n")
    asked = harness.run("openssl", "req", "-new", "-key", key, "-subj", f"/CN={name}").stdout
    harness.run("openssl", "x509", "-req", "-CA", ca.certificate, "-CAkey", ca.key, "-days", "30", "-extfile", request,
                "-out", folder / f"{name}.crt", input=asked)


@pytest.fixture
def make(folder, authority, site_authority, origin, clients, daemons):
    """A pair in a mode, whose site asks its clients; `serve`: an origin of the test's own."""
    def start(mode, require="required", crl="staff.crl", options="", serve=None, keys=None):
        port = edgelib.Origin(serve).port if serve else origin.port
        lists = f'crl = "{clients / crl}"' if crl else ""
        site = (f'mode = {mode} {options} client_certificate {{ require = {require} ca = "{clients}/ca/ca.crt" {lists} }}')
        allowed = "handshake, expose" if mode == EXPOSED else mode
        pair = pairs.Pair(folder, authority, site_authority, port, keys=keys, site_options=site, edge_allow=allowed,
                          fetch_certificates=mode.startswith("handshake"), policy=f"allow = {{{allowed}}}\n")
        pair.start_keyd(daemons)
        pair.start_edge(daemons, ready=False)
        pair.edge.wait_log("key server is up")
        return pair
    return start


def show(clients, name, *more):
    return ["-cert", str(clients / f"{name}.crt"), "-key", str(clients / f"{name}.key"), *more]


def served(output):
    return "hello from the origin" in output


EVERY = [*WAYS, *itertools.product(["keys"], VERSIONS), ("agree", "tls1_2"), ("master", "tls1_2")]


@pytest.mark.parametrize("mode,version", EVERY)
def test_a_good_certificate(make, clients, mode, version):
    pair = make(mode)
    output = pair.s_client(f"-{version}", *show(clients, "alice"))
    assert served(output) and "CN = Staff CA" in output, output  # the CAs that it was told of
    sha256 = harness.run("openssl", "x509", "-in", clients / "alice.crt", "-noout", "-fingerprint", "-sha256").stdout
    sha256 = sha256.split("=")[1].strip().replace(":", "").lower()
    pair.edge.wait_log(f'resumed="no" certificate="CN=alice" certificate_sha256="{sha256}"')
    assert served(pair.get("example.com", "--cert", clients / "alice.crt", "--key", clients / "alice.key")[1])


@pytest.mark.parametrize("mode,version", WAYS)
@pytest.mark.parametrize("name,alert,why", [
    ("stranger", "unknown ca", "unable to get local issuer certificate"),
    ("expired", "certificate expired", "certificate has expired"),
    ("mallory", "certificate revoked", "certificate revoked"),
    ("server", "unsupported certificate", "unsuitable certificate purpose|unsupported certificate purpose")])
def test_certificates_that_are_no_good(make, clients, mode, version, name, alert, why):
    """Each mode says the same to the client; with `sign` within the handshake, with `handshake` right behind it."""
    pair = make(mode)
    output = pair.s_client(f"-{version}", *show(clients, name), check=False)
    assert not served(output)
    assert f"alert {alert}" in output, output
    pair.edge.wait_log(f'connection refused.*why="({why})"')
    assert served(pair.s_client(f"-{version}", *show(clients, "alice")))


@pytest.mark.parametrize("mode,version", [*WAYS, *itertools.product(["keys"], VERSIONS)])
@pytest.mark.parametrize("require", ["required", "optional"])
def test_no_certificate(make, mode, version, require):
    pair = make(mode, require)
    output = pair.s_client(f"-{version}", check=False)
    assert served(output) == (require == "optional")
    if require == "required":
        assert "alert certificate required" in output or "alert handshake failure" in output, output
        pair.edge.wait_log('connection refused.*why="peer did not return a certificate"')


@pytest.mark.parametrize("mode,version", WAYS)
def test_optional_but_bad(make, clients, mode, version):
    """One that is shown has to be good, also where none would do."""
    pair = make(mode, "optional")
    assert not served(pair.s_client(f"-{version}", *show(clients, "stranger"), check=False))
    assert served(pair.s_client(f"-{version}", *show(clients, "alice")))


@pytest.mark.parametrize("mode", MODES)
def test_a_ca_in_between(make, clients, mode):
    """It comes with the client's certificate; without it there is no chain."""
    pair = make(mode, crl=None)
    assert served(pair.s_client("-tls1_3", *show(clients, "bob", "-cert_chain", str(clients / "middle.crt"))))
    assert not served(pair.s_client("-tls1_3", *show(clients, "bob"), check=False))


@pytest.mark.parametrize("mode,version", WAYS)
def test_large_certificates(make, clients, mode, version):
    """What is allowed fits everywhere on its way, in one flight; more is refused before it is looked at."""
    pair = make(mode)
    assert served(pair.s_client(f"-{version}", *show(clients, "large")))
    output = pair.s_client(f"-{version}", *show(clients, "too-large"), check=False)
    assert not served(output) and "alert illegal parameter" in output, output
    pair.edge.wait_log('connection refused.*why="(excessive message size|certificate list too long)"')


@pytest.mark.parametrize("mode", [*MODES, EXPOSED])
def test_somebody_elses_certificate(make, clients, mode):
    """Without its key it is of no use: whoever shakes hands sees to that."""
    pair = make(mode)
    context = ssl.create_default_context(cafile=str(pair.site_authority.certificate))
    # OpenSSL's client would not take a key that does not fit, so one record of the flight is changed on its way.
    context.load_cert_chain(clients / "alice.crt", clients / "alice.key")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    tls = context.wrap_bio(incoming, outgoing, server_hostname="example.com")
    with socket.create_connection(("127.0.0.1", pair.port), harness.PATIENCE) as sock:
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        sock.sendall(outgoing.read())
        while not outgoing.pending:
            incoming.write(sock.recv(65536))
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                continue
        flight = bytearray(outgoing.read())
        at, spoiled = 0, False
        while at < len(flight):  # CertificateVerify: handshake type 15
            length = struct.unpack(">H", flight[at + 3:at + 5])[0]
            if flight[at] == 22 and flight[at + 5] == 15:
                flight[at + 5 + length - 1] ^= 1
                spoiled = True
            at += 5 + length
        assert spoiled
        sock.sendall(flight)
        received = b""
        while data := sock.recv(65536):
            received += data
    assert received[:1] == b"\x15" and len(received) == 7, received  # an alert in the clear
    pair.edge.wait_log("connection refused")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_origin_is_told(make, clients, mode, version):
    heads = []

    def serve(sock):
        heads.append(sock.recv(65536))
        sock.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello from the origin")
    pair = make(mode, "optional", options="origin_proxy = v2", serve=serve)
    assert served(pair.s_client(f"-{version}", *show(clients, "alice")))
    assert served(pair.s_client(f"-{version}"))
    with_certificate, without = heads[-2:]
    for head, client, verify in (with_certificate, 7, 0), (without, 1, 1):
        # Behind the header's 16 bytes and two IPv4 addresses with ports: TLVs, among them PP2_TYPE_SSL.
        found = re.search(rb"\x20..(.)(....)\x21", head[28:], re.S)
        assert (found[1][0], struct.unpack(">I", found[2])[0]) == (client, verify), head
    assert b"\x22\x00\x05alice" in with_certificate and b"\x22\x00" not in without[16:]


# --- resumption ---

@pytest.mark.parametrize("mode,version", [*itertools.product(["sign"], VERSIONS), (EXPOSED, "tls1_2")])
def test_resumed_sessions_show_the_same(make, clients, folder, mode, version):
    """Where the edge resumes, it does as long as the session's certificate is good, which is looked at each time."""
    crl = folder / "current.crl"
    shutil.copy(clients / "empty.crl", crl)
    pair = make(mode, crl=crl)
    sessions = {name: folder / f"{name}.pem" for name in ("alice", "mallory")}
    for name, session in sessions.items():
        assert served(pair.s_client(f"-{version}", *show(clients, name), "-sess_out", session))
        output = pair.s_client(f"-{version}", "-sess_in", session)  # shows none itself
        assert "Reused, " in output and served(output)
        pair.edge.wait_log(f'resumed="yes" certificate="CN={name}"')
    shutil.copy(clients / "staff.crl", crl)
    assert harness.control(pair.folder / "edge1/run/edge.sock", "reload").get("ok")
    harness.wait_until(lambda: not served(pair.s_client(f"-{version}", *show(clients, "mallory"), check=False)),
                       "the list is in force")
    output = pair.s_client(f"-{version}", "-sess_in", sessions["mallory"], check=False)
    assert "Reused, " not in output and not served(output)
    assert "Reused, " in pair.s_client(f"-{version}", "-sess_in", sessions["alice"])


def test_exposed_sessions_need_no_key_server(make, clients, folder):
    """By ticket; by id there are none, as the cache has no room for certificates. TLS 1.3 has none that are exposed."""
    pair = make(EXPOSED)
    session, by_id = folder / "session.pem", folder / "id.pem"
    assert served(pair.s_client("-tls1_2", *show(clients, "alice"), "-sess_out", session))
    assert served(pair.s_client("-tls1_2", "-no_ticket", *show(clients, "alice"), "-sess_out", by_id))
    output = pair.s_client("-tls1_3", *show(clients, "alice"), "-msg")
    assert served(output) and "NewSessionTicket" not in output
    if by_id.exists():
        assert "New, " in pair.s_client("-tls1_2", "-no_ticket", *show(clients, "alice"), "-sess_in", by_id)
    pair.keyd.stop()
    for _ in range(2):
        output = pair.s_client("-tls1_2", "-sess_in", session)
        assert "Reused, " in output and served(output)
    pair.edge.wait_log('resumed="yes" certificate="CN=alice"')


@pytest.mark.parametrize("version", VERSIONS)
def test_no_resumption_where_the_key_server_shakes_hands(make, clients, folder, version):
    """It knows no CA of clients, and sessions keep no chains."""
    pair = make("handshake")
    session = folder / "session.pem"
    pair.s_client(f"-{version}", *show(clients, "alice"), "-sess_out", session)
    if session.exists():
        assert "New, " in pair.s_client(f"-{version}", *show(clients, "alice"), "-sess_in", session)
        assert not served(pair.s_client(f"-{version}", "-sess_in", session, check=False))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("version", VERSIONS)
def test_no_session_crosses_a_policy(make, clients, folder, mode, version):
    """One of a site that asks for nothing is none where a certificate is required; nor when a site begins to ask."""
    pair = make(mode, keys={"example.com": ["p256"], "open.example": ["p256"]})
    conf = pair.folder / "edge1/edge.conf"
    asking = conf.read_text()
    head, tail = asking.split('site "open.example"')
    conf.write_text(head + 'site "open.example"' + re.sub(r"client_certificate {[^}]*}", "", tail))
    control = pair.folder / "edge1/run/edge.sock"
    assert harness.control(control, "reload").get("ok")
    session = folder / "session.pem"
    harness.wait_until(lambda: served(pair.s_client(f"-{version}", name="open.example", check=False)), "it is open")
    pair.s_client(f"-{version}", "-sess_out", session, name="open.example")
    assert "Reused, " in pair.s_client(f"-{version}", "-sess_in", session, name="open.example")
    assert not served(pair.s_client(f"-{version}", "-sess_in", session, check=False))
    conf.write_text(asking)
    assert harness.control(control, "reload").get("ok")
    harness.wait_until(lambda: not served(pair.s_client(f"-{version}", name="open.example", check=False)), "it asks")
    output = pair.s_client(f"-{version}", "-sess_in", session, name="open.example", check=False)
    assert "Reused, " not in output and not served(output)


# --- configuration ---

def test_files_that_are_none(make, clients, folder):
    pair = make("sign")
    conf = pair.folder / "edge1/edge.conf"
    text = conf.read_text()

    def complaint(old, new):
        conf.write_text(text.replace(old, new))
        done = harness.run(harness.FARKEY, "check", conf, check=False)
        assert done.returncode == 1, done.stdout
        return done.stderr
    nothing = folder / "nothing"
    nothing.write_text("nothing\n")
    missing = folder / "missing"
    for file in clients / "ca/ca.crt", clients / "staff.crl":
        assert f'site "example.com": client_certificate: {nothing}: malformed' in complaint(str(file), str(nothing))
        assert f"client_certificate: {missing}: not found" in complaint(str(file), str(missing))
    assert "ca" in complaint(f'ca = "{clients}/ca/ca.crt"', "")
