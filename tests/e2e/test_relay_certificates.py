"""The client's certificate relayed to origins: each format, and clients that try to say it themselves."""
import base64
import datetime
import hashlib
import pathlib
import re
import socket
import tempfile

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

import edgelib
import h2raw
import harness
from edgelib import Edge, Origin, connect, read_head


@pytest.fixture(scope="module")
def pki(site_authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("relay")
    site_authority.issue(folder / "p256", "example.com", "DNS:example.com", "p256")
    staff = harness.Authority(folder / "staff", "Staff CA")
    staff.issue(folder / "alice", "alice", "DNS:alice.example")
    return folder


@pytest.fixture(params=["--http1.1", "--http2"])
def version(request):
    """What clients speak: each of these rules holds for both."""
    return request.param


@pytest.fixture
def heads():
    """An origin that answers everything, and the heads of what it was asked."""
    seen = []

    def serve(sock):
        while head := read_head(sock):
            seen.append(head.decode("latin-1"))
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    origin = Origin(serve)
    yield origin.address, seen
    origin.close()


def start(daemons, folder, pki, origin, relays="", require="optional", more=""):
    block = f'client_certificate {{ require = {require} ca = "{pki}/staff/ca.crt" {more} {relays} }}'
    site = edgelib.site("example.com", [pki / "p256.crt"], [pki / "p256.key"], [origin], protocol="http",
                        alpn='{"h2", "http/1.1"}')
    return Edge(daemons, folder, [site.removesuffix("}") + block + "\n}"])


def fetch(edge, ca, *options, path="/", who=None, pki=None):
    shown = ("--cert", pki / f"{who}.crt", "--key", pki / f"{who}.key") if who else ()
    return harness.curl(f"https://example.com:{edge.port}{path}", *shown, *options, ca=ca,
                        resolve=f"example.com:{edge.port}:127.0.0.1", check=False)


def values(head, name):
    return re.findall(rf"(?im)^{re.escape(name)}: (.*?)\r?$", head)


def der(pki, who="alice"):
    return x509.load_pem_x509_certificate((pki / f"{who}.crt").read_bytes()).public_bytes(Encoding.DER)


def test_rfc9440_is_the_default(daemons, folder, pki, ca, heads, version):
    """C2, C6: an application finds the certificate that was proved, by the field's own syntax."""
    origin, seen = heads
    edge = start(daemons, folder, pki, origin)
    assert fetch(edge, ca, version, who="alice", pki=pki)[1] == "ok"
    (value,) = values(seen[0], "Client-Cert")
    assert value.startswith(":") and value.endswith(":")
    assert base64.b64decode(value[1:-1], validate=True) == der(pki)


def test_the_cookie_of_the_seed(daemons, folder, pki, ca, heads, version):
    """C3, C4, C5: at the end of the Cookie that is there, or in one that is made; separators are spaces."""
    origin, seen = heads
    edge = start(daemons, folder, pki, origin, 'relay "cookie" { name = "%CERT" encoding = pem-spaces }')
    fetch(edge, ca, version, "-H", "Cookie: a=1; %CERT=forged; b=2", who="alice", pki=pki)
    fetch(edge, ca, version, who="alice", pki=pki)
    (extended,), (made,) = values(seen[0], "Cookie"), values(seen[1], "Cookie")
    assert extended.startswith("a=1; b=2; %CERT=-----BEGIN CERTIFICATE----- ")
    assert made == extended[len("a=1; b=2; "):]
    text = made[len("%CERT="):]
    assert not re.search(r"[\r\n;,]", text) and "forged" not in extended
    body = text.removeprefix("-----BEGIN CERTIFICATE----- ").removesuffix(" -----END CERTIFICATE-----")
    assert base64.b64decode(body.replace(" ", ""), validate=True) == der(pki)


def test_several_formats_at_once(daemons, folder, pki, ca, heads, version):
    origin, seen = heads
    relays = ['"rfc9440" {}', '"cookie" {}', '"xfcc" {}', '"nginx" {}', '"haproxy" { name = "X-HA-" }', '"traefik" {}',
              '"alb" {}']
    edge = start(daemons, folder, pki, origin, " ".join(f"relay {relay}" for relay in relays))
    assert fetch(edge, ca, version, who="alice", pki=pki)[1] == "ok"
    head = seen[0]
    (cookie,) = values(head, "Cookie")
    padded = cookie.removeprefix("CERT=")
    assert base64.urlsafe_b64decode(padded + "=" * (-len(padded) % 4)) == der(pki)
    for name in "Client-Cert", "X-Forwarded-Client-Cert", "X-Forwarded-Tls-Client-Cert", "X-Amzn-Mtls-Clientcert-Leaf":
        assert len(values(head, name)) == 1, (name, head)
    assert values(head, "X-SSL-Client-Verify") == ["SUCCESS"]


FORGED = ["Client-Cert", "client-cert", "CLIENT-CERT", "Client_Cert", "client.cert", "Client-Cert-Chain",
          "X-Forwarded-Client-Cert", "X-SSL-Client-Cert", "X_SSL_CLIENT_CERT", "X-SSL-Client-Verify"]


@pytest.mark.parametrize("who", [None, "alice"])
def test_nobody_says_it_himself(daemons, folder, pki, ca, heads, version, who):
    """Rules 1, 2 and 3: any letter case, repeated, empty, by an alias, named by Connection, with or without
    a certificate."""
    origin, seen = heads
    edge = start(daemons, folder, pki, origin)
    sent = [part for name in FORGED for part in ("-H", f"{name}: forged", "-H", f"{name};")]
    answer = fetch(edge, ca, version, *sent, "-H", "Connection: Client-Cert", who=who, pki=pki)
    assert answer[1] == "ok", answer
    assert "forged" not in seen[0]
    assert len(re.findall(r"(?im)^client[-_.]cert:", seen[0])) == (1 if who else 0)


def test_trailers_bring_nothing_either(daemons, folder, pki, ca, heads):
    origin, seen = heads
    edge = start(daemons, folder, pki, origin)
    with connect(edge.port, ca) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: example.com\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n"
                     b"0\r\nClient-Cert: :Zm9yZ2Vk:\r\n\r\n")
        assert b"200 OK" in sock.recv(65536)
    with h2raw.Client(edge.port, ca) as client:
        ask = [(":method", "POST"), (":scheme", "https"), (":authority", "example.com"), (":path", "/"), ("te", "trailers")]
        assert client.answer(client.ask(ask, b"", trailers=[("client-cert", ":Zm9yZ2Vk:"), ("client_cert", ":Zm9yZ2Vk:")]))[0] == 200
    assert len(seen) == 2 and "Zm9yZ2Vk" not in "".join(seen)


def test_a_resumed_session_says_the_same(daemons, folder, pki, ca, heads):
    """Rule 4."""
    origin, seen = heads
    edge = start(daemons, folder, pki, origin)
    session = folder / "session"
    common = ["openssl", "s_client", "-connect", f"127.0.0.1:{edge.port}", "-servername", "example.com", "-CAfile", ca,
              "-cert", pki / "alice.crt", "-key", pki / "alice.key", "-tls1_2", "-ign_eof"]
    ask = "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"
    harness.run(*common, "-sess_out", session, input=ask)
    again = harness.run(*common, "-sess_in", session, input=ask).stdout
    assert "Reused, TLSv1.2" in again
    assert values(seen[0], "Client-Cert") == values(seen[1], "Client-Cert") != []
    ctx = edgelib.context(ca)
    ctx.load_cert_chain(pki / "alice.crt", pki / "alice.key")
    session = None
    for _ in range(2):
        with h2raw.Client(edge.port, ca, ctx, session) as client:
            assert client.answer(client.ask(h2raw.GET))[0] == 200
            assert client.sock.session_reused == (session is not None)
            session = client.sock.session
    assert [values(head, "Client-Cert") for head in seen[2:]] == 2 * [values(seen[0], "Client-Cert")]


def test_crumbs_of_cookies(daemons, folder, pki, ca, heads):
    """HTTP/2 may send a Cookie in pieces (RFC 9113 section 8.2.3): none of them brings the certificate's name, and the
    edge's own stands at the end of the one that is made of them."""
    origin, seen = heads
    edge = start(daemons, folder, pki, origin, 'relay "cookie" {}')
    crumbs = [("cookie", text) for text in ("a=1", "CERT=forged", "b=2; CERT=forged", "CERT=forged; c=3", " ".join(["d=4;", "CERT=x"]))]
    with h2raw.Client(edge.port, ca) as client:
        assert client.answer(client.ask([*h2raw.GET, *crumbs]))[0] == 200
    ctx = edgelib.context(ca)
    ctx.load_cert_chain(pki / "alice.crt", pki / "alice.key")
    with h2raw.Client(edge.port, ca, ctx) as client:
        assert client.answer(client.ask([*h2raw.GET, *crumbs]))[0] == 200
    assert values(seen[0], "Cookie") == ["a=1; b=2; c=3; d=4"]
    (cookie,) = values(seen[1], "Cookie")
    assert re.fullmatch(r"a=1; b=2; c=3; d=4; CERT=[\w-]+", cookie)


def test_pseudo_headers_bring_nothing(daemons, folder, pki, ca, heads):
    """What HTTP/2 can say of a request beside its fields ends up in none of those of the certificate."""
    origin, seen = heads
    edge = start(daemons, folder, pki, origin)
    forged = [[(":method", "GET"), (":scheme", "https"), (":authority", "example.com"), (":path", "/"), (":client-cert", "forged")],
              [(":method", "GET"), (":scheme", "https"), (":authority", "example.com\r\nclient-cert: forged"), (":path", "/")],
              [(":method", "GET"), (":scheme", "https"), (":authority", "example.com"), (":path", "/\r\nclient-cert: forged")],
              [*h2raw.GET, ("x", "a\r\nclient-cert: forged")], [*h2raw.GET, ("client-cert\r\nx", "forged")]]
    with h2raw.Client(edge.port, ca) as client:
        assert [client.answer(client.ask(fields)) for fields in forged] == len(forged) * ["PROTOCOL_ERROR"]
        assert client.answer(client.ask([*h2raw.GET, ("client-cert", "forged"), ("client_cert", ""), ("client.cert", "forged")]))[0] == 200
    assert len(seen) == 1 and "forged" not in seen[0] and not re.search("(?i)client.cert", seen[0])


@pytest.fixture
def plain(daemons, folder, pki, heads):
    """An edge with a listener for clients without TLS, and a way to ask there."""
    origin, _ = heads
    edge = start(daemons, folder, pki, origin, 'relay "rfc9440" {} relay "cookie" {} relay "xfcc" {}',
                 more='paths = {"/staff"}')
    port = harness.free_port()
    edge.options = f'listen "127.0.0.1:{port}" {{ plain = "example.com" }}'
    edge.reload([edge.conf.read_text().split("\n", 4)[4]])

    def ask(message, count=1):
        with socket.create_connection(("127.0.0.1", port), harness.PATIENCE) as sock:
            sock.sendall(message)
            answers = b""
            while answers.count(b"HTTP/1.1 ") < count or not answers.endswith((b"ok", b"\n")):
                answers += (more := sock.recv(65536))
                if not more:
                    break
        return answers

    return ask


def test_plain_listeners_strip_too(plain, heads):
    """Rule 5: without TLS nobody shows a certificate, and nobody says one."""
    _, seen = heads
    forged = "".join(f"{name}: forged\r\n{name}:\r\n{name.swapcase()}: forged\r\n" for name in FORGED)
    forged += "Cookie: a=1; CERT=forged; b=2\r\nCookie: CERT=forged\r\nConnection: Client-Cert, close\r\n"
    assert b" 200 OK" in plain(f"GET / HTTP/1.1\r\nHost: example.com\r\n{forged}\r\n".encode())
    (head,) = seen
    assert "forged" not in head and not re.search("(?i)(client|ssl).*cert", head)
    assert values(head, "Cookie") == ["a=1; b=2"] and values(head, "X-Forwarded-Proto") == ["http"]


def test_plain_listeners_strip_trailers(plain, heads):
    _, seen = heads
    assert b" 200 OK" in plain(b"POST / HTTP/1.1\r\nHost: example.com\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n"
                               b"0\r\nClient-Cert: :Zm9yZ2Vk:\r\n\r\nGET / HTTP/1.1\r\nHost: example.com\r\n\r\n", 2)
    assert len(seen) == 2 and "Zm9yZ2Vk" not in "".join(seen)


@pytest.mark.parametrize("path", ["/staff", "/staff/a", "/%73taff", "/x/../staff", "//staff"])
def test_plain_listeners_open_no_path(plain, heads, path):
    assert b" 403 Forbidden" in plain(f"GET {path} HTTP/1.1\r\nHost: example.com\r\nClient-Cert: :Zm9yZ2Vk:\r\n\r\n".encode())
    assert not heads[1]


def test_plain_listener_behind_a_proxy(daemons, folder, pki, heads):
    """What comes in one piece with the PROXY header is not lost, and the address in it is told."""
    origin, seen = heads
    edge = start(daemons, folder, pki, origin)
    port = harness.free_port()
    edge.options = f'listen "127.0.0.1:{port}" {{ plain = "example.com" proxy_protocol = on }}'
    edge.reload([edge.conf.read_text().split("\n", 4)[4]])
    with socket.create_connection(("127.0.0.1", port), harness.PATIENCE) as sock:
        sock.sendall(b"PROXY TCP4 192.0.2.7 198.51.100.1 4321 80\r\nGET /a HTTP/1.1\r\nHost: example.com\r\n\r\n"
                     b"GET /b HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        answers = b""
        while more := sock.recv(65536):
            answers += more
    assert answers.count(b" 200 OK") == 2
    assert [values(head, "X-Forwarded-For") for head in seen] == 2 * [["192.0.2.7"]]
    with socket.create_connection(("127.0.0.1", port), harness.PATIENCE) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
        assert sock.recv(100) == b""


def test_plain_listeners_do_not_speak_tls(plain, heads):
    answer = plain(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
    assert b" 400 Bad Request" in answer and not heads[1]


@pytest.mark.parametrize("path,status", [("/", "200"), ("/open", "200"), ("/staff", "403"), ("/staff/a", "403"),
                                         ("/%73taff", "403"), ("/x/../staff", "403"), ("//staff", "403"),
                                         ("/staffroom", "200")])
def test_paths_that_need_a_certificate(daemons, folder, pki, ca, heads, version, path, status):
    origin, _ = heads
    edge = start(daemons, folder, pki, origin, more='paths = {"/staff"}')
    options = ("--path-as-is", "-o", "/dev/null", "-w", "%{http_code}")
    assert fetch(edge, ca, version, *options, path=path)[1] == status
    assert fetch(edge, ca, version, *options, path=path, who="alice", pki=pki)[1] == "200"


def test_too_large_is_refused(daemons, folder, pki, ca, heads, version):
    """Rule 6: nothing is dropped silently."""
    origin, seen = heads
    edge = start(daemons, folder, pki, origin, 'relay "cookie" {} relay "nginx" {} relay "rfc9440" {}', more="relay_max = 1k")
    assert fetch(edge, ca, version, "-o", "/dev/null", "-w", "%{http_code}", who="alice", pki=pki)[1] == "431"
    assert not seen
    assert fetch(edge, ca, version)[1] == "ok"


@pytest.fixture
def shared_folder():
    """One that daemons which have given root up reach, too."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        yield folder


def test_on_the_origins_own_host(daemons, folder, shared_folder, pki, ca, version):
    """C7: edge and application on one host, a UNIX socket between them."""
    (shared_folder / "nginx.conf").write_text(f"""
daemon off; pid {shared_folder}/nginx.pid; error_log {shared_folder}/nginx.log; user root;
events {{ }}
http {{
    access_log off;
    server {{
        listen unix:{shared_folder}/app.sock;
        location / {{ default_type text/plain; return 200 "$http_client_cert"; }}
    }}
}}
""")
    daemons.append(harness.Daemon("nginx", "-c", shared_folder / "nginx.conf", "-e", shared_folder / "nginx.log",
                                  log=folder / "nginx.out"))
    harness.wait_until((shared_folder / "app.sock").exists, "nginx listens")
    edge = start(daemons, folder, pki, f"unix:{shared_folder}/app.sock")
    status, text, errors = fetch(edge, ca, version, who="alice", pki=pki)
    assert (status, text) == (0, f":{base64.b64encode(der(pki)).decode()}:"), errors
    assert fetch(edge, ca, version, "-H", "Client-Cert: :Zm9yZ2Vk:", pki=pki)[1] == ""


def test_a_public_key_can_be_meant(daemons, folder, pki, ca, heads, version):
    origin, seen = heads
    certificate = x509.load_pem_x509_certificate((pki / "alice.crt").read_bytes())
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    edge = start(daemons, folder, pki, origin, more=f'allow = {{"cn:bob", "spki:{hashlib.sha256(spki).hexdigest()}"}}')
    assert fetch(edge, ca, version, who="alice", pki=pki)[1] == "ok" and len(seen) == 1
    edge.reload([edge.conf.read_text().split("\n", 4)[4].replace(hashlib.sha256(spki).hexdigest(), 64 * "0")])
    fetch(edge, ca, version, who="alice", pki=pki)
    assert len(seen) == 1
    edge.daemon.wait_log("no rule of `allow` fits the certificate")


def empty_list(authority):
    certificate = x509.load_pem_x509_certificate((authority / "ca.crt").read_bytes())
    key = load_pem_private_key((authority / "ca.key").read_bytes(), None)
    now = datetime.datetime.utcnow()
    made = x509.CertificateRevocationListBuilder(certificate.subject, now - datetime.timedelta(hours=1),
                                                 now + datetime.timedelta(days=1))
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_lists_make_other_rules(daemons, folder, site_authority, pki, ca, heads, version):
    """421: a client that was judged without the revocation list of a site does not reach it by another's handshake."""
    origin, seen = heads
    site_authority.issue(folder / "both", "a.example.com", "DNS:a.example.com,DNS:b.example.com", "p256")
    crl = folder / "staff.crl"
    crl.write_bytes(empty_list(pki / "staff"))

    def site(name, lists):
        text = edgelib.site(name, [folder / "both.crt"], [folder / "both.key"], [origin], protocol="http",
                            alpn='{"h2", "http/1.1"}')
        return text.removesuffix("}") + f'client_certificate {{ require = optional ca = "{pki}/staff/ca.crt" {lists} }}\n}}'

    def ask(edge, host):
        return harness.curl(f"https://a.example.com:{edge.port}/", "-H", f"Host: {host}", "-o", "/dev/null", "-w", "%{http_code}",
                            version, ca=ca, resolve=f"a.example.com:{edge.port}:127.0.0.1", check=False)[1]

    edge = Edge(daemons, folder, [site("a.example.com", ""), site("b.example.com", f'crl = "{crl}"')])
    assert (ask(edge, "a.example.com"), ask(edge, "b.example.com")) == ("200", "421")
    edge.reload([site("a.example.com", f'crl = "{crl}"'), site("b.example.com", f'crl = "{crl}"')])
    assert (ask(edge, "a.example.com"), ask(edge, "b.example.com")) == ("200", "200")
    assert len(seen) == 3


def test_rules_say_who_is_meant(daemons, folder, pki, ca, heads, version):
    origin, seen = heads
    edge = start(daemons, folder, pki, origin, more='allow = {"cn:bob"}')
    fetch(edge, ca, version, who="alice", pki=pki)
    assert not seen
    edge.daemon.wait_log("no rule of `allow` fits the certificate")
