"""Origins that are spoken to by TLS, and believed by their certificates only."""
import contextlib
import hashlib
import os
import re
import ssl

import pytest

import edgelib
import harness
from edgelib import Edge, Origin, read_head
from harness import Daemon, curl, free_port, wait_until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def pki(site_authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("origintls")
    site_authority.issue(folder / "p256", "example.com", "DNS:example.com", "p256")
    inner = harness.Authority(folder / "inner", "Origin CA")
    inner.issue(folder / "named", "origin", "DNS:origin.example")
    inner.issue(folder / "local", "origin", "DNS:localhost")
    inner.issue(folder / "numbered", "origin", "IP:127.0.0.1")
    inner.issue(folder / "expired", "origin", "DNS:origin.example", days=-1)
    harness.make_key("p256", folder / "itself.key")
    harness.run("openssl", "req", "-x509", "-new", "-key", folder / "itself.key", "-subj", "/CN=origin",
                "-addext", "subjectAltName=DNS:origin.example", "-out", folder / "itself.crt")
    (folder / "none").write_text("nothing\n")
    return folder


@pytest.fixture(params=["--http1.1", "--http2"])
def version(request):
    return request.param


class Secure:
    """An origin that serves by TLS what `answer` does with a connection, and remembers who was asked for."""

    def __init__(self, pki, who="named", answer=None):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pki / f"{who}.crt", pki / f"{who}.key")
        self.context.sni_callback = lambda sock, name, context: self.names.append(name)
        self.names, self.failures = [], []
        self.answer = answer or self.answer_all
        self.origin = Origin(self.serve)
        self.address = self.origin.address

    def serve(self, sock):
        try:
            secure = self.context.wrap_socket(sock, server_side=True)
        except (ssl.SSLError, ConnectionError) as failure:
            self.failures.append(str(failure))
            return
        with contextlib.suppress(ssl.SSLError, ConnectionError), secure:
            self.answer(secure)

    @staticmethod
    def answer_all(sock):
        while read_head(sock):
            sock.sendall(OK)


class Nginx:
    """A stock nginx that speaks TLS, and logs what it has heard of it."""

    def __init__(self, daemons, folder, pki, protocol):
        self.port, self.log = free_port(), folder / "requests.log"
        self.address, self.unix = f"127.0.0.1:{self.port}", f"unix:{folder}/origin.sock"
        (folder / "nginx.conf").write_text(f"""
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; user root;
events {{ }}
http {{
  log_format line '$ssl_server_name $ssl_protocol $ssl_session_reused $connection_requests'; access_log {self.log} line;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/t1; fastcgi_temp_path {folder}/t2;
  uwsgi_temp_path {folder}/t3; scgi_temp_path {folder}/t4;
  server {{
    listen {self.address} ssl; listen {self.unix} ssl; ssl_protocols {protocol}; ssl_session_cache shared:sessions:1m;
    ssl_certificate {pki}/named.crt; ssl_certificate_key {pki}/named.key;
    location / {{ return 200 "ok"; }}
  }}
}}
""")
        daemons.append(Daemon("nginx", "-c", folder / "nginx.conf", "-e", folder / "nginx.log", log=folder / "nginx.out"))
        wait_until(lambda: harness.port_open(self.port), "nginx listens")

    def lines(self, count):
        wait_until(lambda: self.log.exists() and self.log.read_text().count("\n") >= count, "nginx has logged")
        return self.log.read_text().splitlines()


def block(pki, *origins, ca="inner/ca.crt", **options):
    options = {"alpn": '{"h2", "http/1.1"}', "protocol": "http", "origin_ca": f'"{pki / ca}"'} | options
    options = {name: value for name, value in options.items() if value is not None}
    return edgelib.site("example.com", [pki / "p256.crt"], [pki / "p256.key"], origins, **options)


def start(daemons, folder, pki, *origins, more="", **options):
    return Edge(daemons, folder, [block(pki, *origins, **options)], options=more)


def fetch(edge, ca, version, *options, path="/", check=True):
    return curl(f"https://example.com:{edge.port}{path}", version, *options, ca=ca,
                resolve=f"example.com:{edge.port}:127.0.0.1", check=check)


def test_by_name(daemons, folder, pki, ca, version):
    origin = Secure(pki)
    edge = start(daemons, folder, pki, origin.address, origin_name='"origin.example"')
    for _ in range(3):
        assert fetch(edge, ca, version)[1] == "ok"
    assert origin.names == ["origin.example"]  # one handshake, for three clients
    origin.origin.close()


def test_by_host(daemons, folder, pki, ca, version):
    origin = Secure(pki, "local")
    edge = start(daemons, folder, pki, f"localhost:{origin.origin.port}")
    assert fetch(edge, ca, version)[1] == "ok"
    assert origin.names == ["localhost"]
    origin.origin.close()


def test_by_address(daemons, folder, pki, ca, version):
    origin = Secure(pki, "numbered")
    edge = start(daemons, folder, pki, origin.address)
    assert fetch(edge, ca, version)[1] == "ok"
    assert origin.names == [None]
    origin.origin.close()


@pytest.mark.parametrize("protocol", ["TLSv1.2", "TLSv1.3"])
def test_nginx(daemons, folder, pki, ca, version, protocol):
    nginx = Nginx(daemons, folder, pki, protocol)
    edge = start(daemons, folder, pki, nginx.address, origin_name='"origin.example"')
    for _ in range(3):
        assert fetch(edge, ca, version)[1] == "ok"
    assert nginx.lines(3) == [f"origin.example {protocol} . {n}" for n in (1, 2, 3)]  # kept
    edge.reload([block(pki, nginx.address, origin_name='"origin.example"', origin_keep=0)])
    for _ in range(3):
        assert fetch(edge, ca, version)[1] == "ok"
    assert nginx.lines(6)[3:] == [f"origin.example {protocol} {reused} 1" for reused in ".rr"]  # resumed
    assert edge.counter('origin_handshakes_total{session="new"}') == 2
    assert edge.counter('origin_handshakes_total{session="resumed"}') == 2
    edge.reload([block(pki, nginx.address, origin_name='"origin.example"', origin_keep=0, ca="p256.crt")])
    assert fetch(edge, ca, version)[1] == "502 Bad Gateway\n"  # neither is of use to who believes others


def test_unix_sockets(daemons, folder, pki, ca, version):
    nginx = Nginx(daemons, folder, pki, "TLSv1.3")
    edge = start(daemons, folder, pki, nginx.unix, origin_name='"origin.example"')
    assert fetch(edge, ca, version)[1] == "ok"
    assert nginx.lines(1) == ["origin.example TLSv1.3 . 1"]


def test_upgrades(daemons, folder, pki, ca):
    def answer(sock):
        read_head(sock)
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        while data := sock.recv(65536):
            sock.sendall(data)

    origin = Secure(pki, answer=answer)
    edge = start(daemons, folder, pki, origin.address, origin_name='"origin.example"')
    with edgelib.connect(edge.port, ca) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert b" 101 " in read_head(client)
        for word in b"one", b"another":
            client.sendall(word)
            assert client.recv(100) == word
    origin.origin.close()


@pytest.mark.parametrize("who,options,why", [
    ("named", {"origin_name": '"other.example"'}, "hostname mismatch"),
    ("named", {"origin_name": None}, "IP address mismatch"),
    ("named", {"ca": "p256.crt"}, "unable to get local issuer certificate"),
    ("expired", {}, "certificate has expired"),
    ("itself", {}, "self-signed certificate"),
])
@pytest.mark.parametrize("tls", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_who_is_not_believed_is_not_asked(daemons, folder, pki, ca, version, who, options, why, tls):
    asked = []
    origin = Secure(pki, who, answer=lambda sock: asked.append(sock.recv(1)))
    origin.context.maximum_version = origin.context.minimum_version = tls
    edge = start(daemons, folder, pki, origin.address, **{"origin_name": '"origin.example"'} | options)
    assert fetch(edge, ca, version)[1] == "502 Bad Gateway\n"
    edge.daemon.wait_log(f'no TLS with an origin.*site="?example.com.*why="{why}"')
    wait_until(lambda: origin.failures or asked, "the origin has seen the end")
    assert asked in ([], [b""])
    assert edge.counter("origin_failures_total") == 1
    origin.origin.close()


def test_who_is_not_believed_is_left_out(daemons, folder, pki, ca, version):
    expired, good = Secure(pki, "expired"), Secure(pki)
    edge = start(daemons, folder, pki, expired.address, good.address, origin_name='"origin.example"',
                 origin_fail_max=1, origin_keep=0)
    for _ in range(4):
        assert fetch(edge, ca, version)[1] == "ok"  # the other serves
    edge.daemon.wait_log(f'origin is left out.*origin="?{expired.address}')
    assert len(good.names) == 4 and len(expired.names) == 1
    assert edge.counter("origin_failures_total") == 0
    expired.origin.close()
    good.origin.close()


def test_checks_shake_hands(daemons, folder, pki, ca):
    origin = Secure(pki, "expired")
    edge = start(daemons, folder, pki, origin.address, origin_name='"origin.example"', origin_check='"50ms"')
    edge.daemon.wait_log("origin is left out")
    origin.context.load_cert_chain(pki / "named.crt", pki / "named.key")
    edge.daemon.wait_log("origin is back")
    assert fetch(edge, ca, "--http1.1")[1] == "ok"
    origin.origin.close()


def test_the_cache_asks_by_tls(daemons, folder, pki, ca, version):
    asked = []

    def answer(sock):
        while read_head(sock):
            asked.append(1)
            body = b"%d" % len(asked)
            sock.sendall(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=1, stale-while-revalidate=600\r\n"
                         b"Content-Length: %d\r\n\r\n" % len(body) + body)

    origin = Secure(pki, answer=answer)
    edge = start(daemons, folder, pki, origin.address, origin_name='"origin.example"', cache="on",
                 more="cache { size = 8m object = 1m }")
    assert fetch(edge, ca, version)[1] == "1"
    wait_until(lambda: fetch(edge, ca, version)[1] != "1", "it was stale, and renewed behind the client's back")
    assert edge.counter('cache_requests_total{result="stale"}') >= 1
    assert origin.failures == []
    origin.origin.close()




def test_origins_that_speak_no_tls(daemons, folder, pki, ca, version):
    silent = Origin(lambda sock: sock.recv(65536) and sock.recv(65536))
    edge = start(daemons, folder, pki, silent.address, origin_timeout="300ms")
    assert fetch(edge, ca, version)[1] == "504 Gateway Timeout\n"
    plain = Origin(lambda sock: sock.sendall(OK))
    edge.reload([block(pki, plain.address)])
    assert fetch(edge, ca, version)[1] == "502 Bad Gateway\n"
    edge.daemon.wait_log('no TLS with an origin.*why="wrong version number"')
    silent.close()
    plain.close()


@pytest.mark.parametrize("orderly", [True, False])
def test_an_end_without_close_notify_is_a_cut(daemons, folder, pki, ca, version, orderly):
    def answer(sock):
        read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nall?")
        if orderly:
            with contextlib.suppress(OSError):
                sock.unwrap()
        else:
            sock.detach_and_end()

    class Cut(ssl.SSLSocket):
        def detach_and_end(self):
            os.close(self.detach())

    origin = Secure(pki, answer=answer)
    origin.context.sslsocket_class = Cut
    edge = start(daemons, folder, pki, origin.address, origin_name='"origin.example"')
    status, body, _ = fetch(edge, ca, version, check=False)
    assert body == "all?" and (status == 0) == orderly
    if not orderly:
        edge.daemon.wait_log('fault="TRUNCATED"')
    origin.origin.close()


def test_bodies(daemons, folder, pki, ca, version):
    content = edgelib.block(0, 3_000_000)

    def answer(sock):
        head, _, rest = read_head(sock).partition(b"\r\n\r\n")
        while len(rest) < len(content):
            rest += sock.recv(65536)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(rest) + rest)
        sock.recv(1)

    (folder / "up").write_bytes(content)
    origin = Secure(pki, answer=answer)
    edge = start(daemons, folder, pki, origin.address, origin_name='"origin.example"')
    fetch(edge, ca, version, "--upload-file", folder / "up", "--output", folder / "down", path="/x")
    assert hashlib.sha256((folder / "down").read_bytes()).digest() == hashlib.sha256(content).digest()
    origin.origin.close()


@pytest.mark.parametrize("options,complaint", [
    ({"origin_ca": None, "origin_name": '"a"'}, "origin_name is for origins with TLS; add origin_ca"),
    ({"protocol": "tcp"}, "TLS to origins is for protocol = http; remove origin_ca"),
    ({"origin_ca": '"none.pem"'}, "none.pem: not found"),
    ({"ca": "p256.key"}, "p256.key: has a private key in it; give certificates only"),
    ({"ca": "none"}, "none: no certificates; give CAs in PEM"),
    ({"origin_name": '""'}, "origin_name"),
    ({"origin_name": '".example"'}, 'origin_name ".example" is no name'),
    ({"origin": "unix:/run/app"}, "has no name for its certificate; add origin_name"),
])
def test_configurations(folder, pki, options, complaint):
    options = dict(options)
    text = block(pki, options.pop("origin", "127.0.0.1:1"), **options)
    (folder / "edge.conf").write_text(f'listen "127.0.0.1:0" {{ }}\n{text}\n')
    done = harness.run(harness.FARKEY, "check", "-c", folder / "edge.conf", check=False)
    assert done.returncode == 1 and re.search(complaint, done.stdout + done.stderr), done
