"""farkey edge with keys in its own signer, judged by curl, openssl, gnutls-cli and Python's ssl."""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import struct
import threading

import pytest

import edgelib
from edgelib import Edge, HalfCloser, Origin, block, connect, context, http, resident, s_client, site
from harness import FARKEY, PATIENCE, curl, free_port, run, wait_until


@pytest.fixture(scope="module")
def pki(site_authority, tmp_path_factory):
    """Certificates of example.com and shop.example for all types of key."""
    folder = tmp_path_factory.mktemp("sites")
    for kind in ["rsa2048", "p256", "ed25519"]:
        site_authority.issue(folder / kind, "example.com", "DNS:example.com,DNS:*.example.com", kind)
    site_authority.issue(folder / "shop", "shop.example", "DNS:shop.example,DNS:*.shop.example")
    site_authority.issue(folder / "other", "other.example", "DNS:other.example")
    return folder


@pytest.fixture
def origin():
    made = Origin(http(b"hello from the origin"))
    yield made
    made.close()


def main_site(pki, *origins, kinds=("p256",), name="example.com", **options):
    return site(name, [pki / f"{kind}.crt" for kind in kinds], [pki / f"{kind}.key" for kind in kinds],
                origins, **options)


def fetch(edge, ca, name="example.com", *options):
    return curl(f"https://{name}:{edge.port}/", *options, ca=ca, resolve=f"{name}:{edge.port}:127.0.0.1")


# --- handshakes ---

@pytest.mark.parametrize("version,flag", [("TLSv1.2", ["--tls-max", "1.2"]), ("TLSv1.3", ["--tlsv1.3"])])
def test_curl(daemons, folder, pki, ca, origin, version, flag):
    edge = Edge(daemons, folder, [main_site(pki, origin.address)])
    _, body, talk = fetch(edge, ca, "example.com", *flag)
    assert body == "hello from the origin"
    assert f"SSL connection using {version}" in talk
    edge.daemon.wait_log(f'sni="example.com".*version="{version}".*resumed="no".*end="closed"')


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
@pytest.mark.parametrize("algorithms,kind", [
    ("ECDSA+SHA256", "PKEY: id-ecPublicKey"), ("RSA-PSS+SHA256", "PKEY: rsaEncryption"),
    ("ed25519", "PKEY: ED25519")])
def test_certificate_by_the_clients_algorithms(daemons, folder, pki, ca, origin, version, algorithms, kind):
    edge = Edge(daemons, folder, [main_site(pki, origin.address, kinds=["rsa2048", "p256", "ed25519"])])
    output = s_client(edge.port, f"-{version}", "-sigalgs", algorithms, ca=ca)
    assert f"a:{kind}" in output
    assert "hello from the origin" in output


def test_gnutls(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [main_site(pki, origin.address)])
    done = run("gnutls-cli", "--x509cafile", ca, "--sni-hostname", "example.com", "--verify-hostname", "example.com",
               "-p", edge.port, "127.0.0.1", input="GET / HTTP/1.0\r\n\r\n")
    assert "hello from the origin" in done.stdout


def test_old_suites_only_where_asked_for(daemons, folder, pki, ca, origin):
    blocks = [main_site(pki, origin.address, kinds=["rsa2048"]),
              main_site(pki, origin.address, kinds=["rsa2048"], name="old.example.com",
                        rsa_key_exchange="on", dhe="on")]
    edge = Edge(daemons, folder, blocks)
    for suite in ["AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256"]:
        refused = s_client(edge.port, "-tls1_2", "-cipher", suite)
        assert "alert handshake failure" in refused
        served = s_client(edge.port, "-tls1_2", "-cipher", suite, name="old.example.com", ca=ca)
        assert f"Cipher is {suite}" in served and "hello from the origin" in served
    for suite in ["AES128-SHA", "ECDHE-RSA-AES128-SHA"]:  # never: not AEAD
        assert "alert handshake failure" in s_client(edge.port, "-tls1_2", "-cipher", suite, name="old.example.com")


def test_versions_of_a_site(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [main_site(pki, origin.address, tls='{"1.3"}'),
                                  main_site(pki, origin.address, name="old.example.com", tls='{"1.2"}')])
    assert "alert protocol version" in s_client(edge.port, "-tls1_2")
    assert "New, TLSv1.2" in s_client(edge.port, name="old.example.com", ca=ca)
    assert "New, TLSv1.3" in s_client(edge.port, ca=ca)


def test_alpn(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [main_site(pki, origin.address, alpn='{"http/1.1"}'),
                                  main_site(pki, origin.address, name="none.example.com")])
    assert "ALPN protocol: http/1.1" in s_client(edge.port, "-alpn", "h2,http/1.1", ca=ca)
    assert "alert no application protocol" in s_client(edge.port, "-alpn", "h2")
    assert "No ALPN negotiated" in s_client(edge.port, "-alpn", "h2", name="none.example.com", ca=ca)


# --- which site ---

def names_of(output):
    return re.search(r"subject=CN = (\S+)", output).group(1)


def test_exact_wildcard_default(daemons, folder, pki, origin):
    edge = Edge(daemons, folder, [
        main_site(pki, origin.address, default="on"),
        site("shop", [pki / "shop.crt"], [pki / "shop.key"], [origin.address], names='{"*.shop.example"}'),
        site("other.example", [pki / "other.crt"], [pki / "other.key"], [origin.address],
             names='{"special.shop.example"}')])
    expected = {"example.com": "example.com", "EXAMPLE.com": "example.com", "a.shop.example": "shop.example",
                "special.shop.example": "other.example", "a.b.shop.example": "example.com",
                "shop.example": "example.com", "unknown.example": "example.com", None: "example.com"}
    for asked, served in expected.items():
        assert names_of(s_client(edge.port, name=asked)) == served, asked


def test_unknown_name_without_default(daemons, folder, pki, origin):
    edge = Edge(daemons, folder, [main_site(pki, origin.address)])
    assert "unrecognized name" in s_client(edge.port, name="unknown.example")
    assert "unrecognized name" in s_client(edge.port, name=None)
    edge.daemon.wait_log('connection refused.*sni="unknown.example" why="unknown server name"')
    edge.daemon.wait_log('connection refused.*why="no server name"')


def test_strict_sni(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [main_site(pki, origin.address, default="on")], listen_options="strict_sni = on")
    assert "unrecognized name" in s_client(edge.port, name="unknown.example")
    assert "unrecognized name" in s_client(edge.port, name=None)
    assert fetch(edge, ca)[1] == "hello from the origin"


def test_no_sni_by_address(daemons, folder, pki, origin):
    edge = Edge(daemons, folder, [
        main_site(pki, origin.address, default="on"),
        site("shop", [pki / "shop.crt"], [pki / "shop.key"], [origin.address], names='{"shop.example"}')],
        listen_options='addresses = {"127.0.0.1=shop"}')
    assert names_of(s_client(edge.port, name=None)) == "shop.example"
    assert names_of(s_client(edge.port)) == "example.com"


# --- what is not TLS ---

@pytest.mark.parametrize("sent,why", [
    (b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", "HTTP without TLS"),
    (b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", "not a ClientHello"),
    (b"\xca" + b"\xff" * 64, "")], ids=["http", "handshake", "garbage"])
def test_not_a_hello(daemons, folder, pki, ca, origin, sent, why):
    edge = Edge(daemons, folder, [main_site(pki, origin.address)])
    with socket.create_connection(("127.0.0.1", edge.port), PATIENCE) as sock:
        sock.sendall(sent)
        answer = sock.recv(100)
        assert answer[:1] == b"\x15" and answer[5] == 2  # a fatal alert
        assert sock.recv(100) == b""
    edge.daemon.wait_log(f'connection refused.*why="{why}')
    assert fetch(edge, ca)[1] == "hello from the origin"


def test_slow_hello_times_out(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [main_site(pki, origin.address), "limits { handshake_timeout = 500ms }"])
    with socket.create_connection(("127.0.0.1", edge.port), PATIENCE) as sock:
        sock.sendall(b"\x16\x03\x01")
        assert sock.recv(1) == b""
    edge.daemon.wait_log('why="no ClientHello in time"')


def test_limits(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [main_site(pki, Origin(edgelib.echo).address),
                                  "limits { connections_per_address = 3 }"])
    held = [connect(edge.port, ca) for _ in range(3)]
    with pytest.raises(OSError):
        connect(edge.port, ca)
    edge.daemon.wait_log("too many connections of this address")
    with socket.create_connection(("127.0.0.1", edge.port), PATIENCE) as sock:
        assert sock.recv(100) == bytes([21, 3, 3, 0, 2, 2, 80])  # internal_error
        assert sock.recv(100) == b""
    held.pop().close()
    wait_until(lambda: edge.status()["counters"]["connections"] == 2, "a connection has ended")
    held.append(connect(edge.port, ca))


def test_handshake_rate(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [main_site(pki, origin.address), "limits { handshakes = 1/s }"])
    outcomes = [s_client(edge.port) for _ in range(8)]
    refused = [text for text in outcomes if "alert internal error" in text]
    assert 1 <= len(refused) < 8
    edge.daemon.wait_log("too many handshakes")


# --- PROXY ---

def test_proxy_in(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [main_site(pki, origin.address)], listen_options="proxy_protocol = on")
    for header in [b"PROXY TCP4 192.0.2.7 198.51.100.1 4321 443\r\n",
                   b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x21, 0x11, 0, 12, 192, 0, 2, 7, 198, 51, 100, 1])
                   + struct.pack(">HH", 4321, 443)]:
        sock = socket.create_connection(("127.0.0.1", edge.port), PATIENCE)
        sock.sendall(header)
        with context(ca).wrap_socket(sock, server_hostname="example.com") as tls:
            tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert tls.recv(1000)
    edge.daemon.wait_log('client="192.0.2.7:4321"(?s:.)*client="192.0.2.7:4321"')
    with socket.create_connection(("127.0.0.1", edge.port), PATIENCE) as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32))
        assert sock.recv(100) == b""
    edge.daemon.wait_log('why="no PROXY header"')


def proxy_origin(heads):
    """An origin that keeps what the connection began with."""
    def serve(sock):
        heads.append(read_exactly(sock))
        sock.sendall(b"done")
    return serve


def read_exactly(sock):
    data = b""
    while b"ping" not in data:
        more = sock.recv(4096)
        assert more
        data += more
    return data


@pytest.mark.parametrize("connect_when", ["at_once", "first_bytes"])
def test_proxy_out(daemons, folder, pki, ca, connect_when):
    heads = []
    target = Origin(proxy_origin(heads))
    for version in ["v1", "v2"]:
        (folder / version).mkdir()
        edge = Edge(daemons, folder / version, [main_site(pki, target.address, origin_proxy=version,
                                                          origin_connect=connect_when)])
        with connect(edge.port, ca) as tls:
            port = tls.getsockname()[1]
            tls.sendall(b"ping")
            assert tls.recv(100) == b"done"
    assert heads[0] == f"PROXY TCP4 127.0.0.1 127.0.0.1 {port_of(heads[0])} {heads[0].split()[5].decode()}\r\n".encode() \
        + b"ping"
    v2 = heads[1]
    assert v2[:13] == b"\r\n\r\n\0\r\nQUIT\n\x21" and v2[13] == 0x11
    assert v2[16:24] == bytes([127, 0, 0, 1] * 2)
    assert struct.unpack(">HH", v2[24:28]) == (port, edge.port)
    assert b"example.com" in v2 and b"TLSv1.3" in v2 and v2.endswith(b"ping")
    assert len(v2) == 16 + struct.unpack(">H", v2[14:16])[0] + 4


def port_of(head):
    return head.split()[4].decode()


def test_client_hello_byte_by_byte(daemons, folder, pki, ca, origin):
    """A client whose segments carry one byte each is served; its hello is parsed when it is whole."""
    edge = Edge(daemons, folder, [main_site(pki, origin.address)])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(ca).wrap_bio(incoming, outgoing, server_hostname="example.com")
    with socket.create_connection(("127.0.0.1", edge.port), PATIENCE) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    sock.sendall(bytes([byte]))
                incoming.write(sock.recv(65536))
        for byte in outgoing.read():
            sock.sendall(bytes([byte]))
    assert tls.version() == "TLSv1.3"
    edge.daemon.wait_log('sni="example.com".*version="TLSv1.3"')


# --- resumption ---

def test_tickets_across_workers(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [main_site(pki, origin.address)], workers=2)
    for version in ["tls1_2", "tls1_3"]:
        session = folder / version
        s_client(edge.port, f"-{version}", "-sess_out", session, ca=ca)
        outputs = [s_client(edge.port, f"-{version}", "-sess_in", session, ca=ca) for _ in range(12)]
        assert all("Reused, TLS" in output for output in outputs)
    served = {line for line in re.findall(r"edge-worker-(\d)\[\d+\]: connection .*resumed=\"yes\"",
                                          edge.daemon.log())}
    assert served == {"0", "1"}
    assert not re.search(r'resumed="yes" key_us=[1-9]', edge.daemon.log())


def test_ticket_does_not_cross_sites(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [main_site(pki, origin.address),
                                  main_site(pki, origin.address, name="b.example.com")])
    for version in ["tls1_2", "tls1_3"]:
        session = folder / version
        s_client(edge.port, f"-{version}", "-sess_out", session, ca=ca)
        other = s_client(edge.port, f"-{version}", "-sess_in", session, name="b.example.com")
        assert "Reused" not in other and "hello from the origin" in other


def test_session_ids_without_tickets(daemons, folder, pki, ca, origin):
    """Any worker resumes what another has made, after the death of that one, too; no other site does."""
    edge = Edge(daemons, folder, [main_site(pki, origin.address),
                                  main_site(pki, origin.address, name="b.example.com")], workers=2)
    session = folder / "session"

    def resumes(name="example.com"):
        return "Reused" in s_client(edge.port, "-tls1_2", "-no_ticket", "-sess_in", session, name=name,
                                    ca=ca if name == "example.com" else None)
    s_client(edge.port, "-tls1_2", "-no_ticket", "-sess_out", session, ca=ca)
    assert all(resumes() for _ in range(12))
    assert not resumes("b.example.com")
    served = set(re.findall(r"edge-worker-(\d)\[\d+\]: connection .*resumed=\"yes\"", edge.daemon.log()))
    assert served == {"0", "1"}
    before = len(edge.daemon.log())
    for pid in edge.daemon.children("edge-worker"):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: edge.status()["ready"] and len(edge.daemon.children("edge-worker")) == 2,
               "the workers are back")
    wait_until(resumes, "the cache outlives the workers")
    assert len(edge.daemon.log()) > before


def test_ticket_keys_end(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [main_site(pki, origin.address),
                                  "tickets { key_life = 80s lifetime = 60s }"])
    session = folder / "session"
    s_client(edge.port, "-sess_out", session, ca=ca)
    assert "Reused" in s_client(edge.port, "-sess_in", session, ca=ca)
    edge.reload([main_site(pki, origin.address), "tickets { enabled = off }"])
    assert "Reused" not in s_client(edge.port, "-sess_in", session, ca=ca)


# --- the relay ---

def test_half_close(daemons, folder, pki, ca):
    edge = Edge(daemons, folder, [main_site(pki, Origin(edgelib.after_end).address)])
    client = HalfCloser(edge.port, ca)
    data = block(0, 300000)
    client.send(data)
    assert client.end().decode().split()[0] == "300000"
    edge.daemon.wait_log('up=300000 .*end="closed"')


def test_origin_speaks_first(daemons, folder, pki, ca):
    target = Origin(lambda sock: (sock.sendall(b"220 welcome\r\n"), sock.recv(10)))
    edge = Edge(daemons, folder, [main_site(pki, target.address)])
    with connect(edge.port, ca) as tls:
        assert tls.recv(100) == b"220 welcome\r\n"


def test_first_bytes(daemons, folder, pki, ca):
    target = Origin(edgelib.echo)
    edge = Edge(daemons, folder, [main_site(pki, target.address, origin_connect="first_bytes")])
    with connect(edge.port, ca) as silent:
        wait_until(lambda: edge.status()["counters"]["connections"] == 1, "the connection is there")
        assert target.count == 0
        silent.sendall(b"now")
        assert silent.recv(10) == b"now"
        assert target.count == 1
    client = HalfCloser(edge.port, ca)
    assert client.end() == b""
    assert target.count == 1


@pytest.mark.parametrize("records", ["engine", "openssl"])
@pytest.mark.parametrize("size", [1, 16384, 16385, 20_000_000])
def test_big_transfers_both_ways(daemons, folder, pki, ca, size, records):
    edge = Edge(daemons, folder, [main_site(pki, Origin(edgelib.echo).address, records=records)])
    pattern = block(0, 65536)
    data = (pattern * (size // len(pattern) + 1))[:size]
    received = edgelib.exchange(edge.port, ca, data)
    assert len(received) == size, edge.daemon.log()[-2000:]
    assert received == data


@pytest.mark.unsanitized
def test_slow_readers_have_bounded_memory(daemons, folder, pki, ca):
    stop = threading.Event()

    def pour(sock):
        with contextlib.suppress(OSError):
            while not stop.is_set():
                sock.sendall(bytes(65536))
    edge = Edge(daemons, folder, [main_site(pki, Origin(pour).address), "limits { buffer = 64k }"])
    worker = edge.daemon.children("edge-worker")[0]
    with connect(edge.port, ca):
        before = resident(worker)
    clients = [connect(edge.port, ca) for _ in range(50)]

    def still():
        count = edge.counter('relayed_bytes_total{direction="down"}')
        first = resident(worker)
        return len(clients) == 50 and count >= 0 and resident(worker) == first
    wait_until(still, "the worker's memory has settled")
    assert resident(worker) - before < 50 * 220 * 1024
    stop.set()
    for client in clients:
        client.close()


def test_origin_reset_is_seen(daemons, folder, pki, ca):
    def reset(sock):
        sock.recv(100)
        sock.sendall(b"half an ans")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    edge = Edge(daemons, folder, [main_site(pki, Origin(reset).address)])
    sock = socket.create_connection(("127.0.0.1", edge.port), PATIENCE)
    strict = context(ca)
    strict.options &= ~(1 << 7)  # SSL_OP_IGNORE_UNEXPECTED_EOF, which Python turns on
    with strict.wrap_socket(sock, server_hostname="example.com", suppress_ragged_eofs=False) as tls:
        tls.sendall(b"question")
        with pytest.raises((ssl.SSLError, ConnectionResetError)):  # not an end in order
            while tls.recv(100):
                pass
    edge.daemon.wait_log('end="connection broken"')


@pytest.mark.parametrize("size", [1, 200_000])
def test_answer_outlives_an_origin_that_does_not_read(daemons, folder, pki, ca, size):
    """Closing over what the client still sends would reset the connection and take the answer along."""
    body = block(0, size)
    edge = Edge(daemons, folder, [main_site(pki, Origin(edgelib.answer_and_leave(body)).address)])
    # More than all sockets on the way hold: the edge reads on when there is no origin any more.
    assert edgelib.push_then_read(edge.port, ca, 64 * 1024 * 1024) == body
    edge.daemon.wait_log(f'down={size} .*end="closed"')
    assert "connection refused" not in edge.daemon.log()


def test_sending_for_ever_is_not_listened_to_for_ever(daemons, folder, pki, ca):
    """What is sent after the answer is read for a bounded time only."""
    edge = Edge(daemons, folder, [main_site(pki, Origin(edgelib.answer_and_leave(b"no")).address)])
    with connect(edge.port, ca) as tls, pytest.raises((ssl.SSLEOFError, ConnectionError)):
        while True:
            tls.sendall(bytes(16384))
    edge.daemon.wait_log('down=2 .*end="closed"')


def test_idle_timeout(daemons, folder, pki, ca):
    edge = Edge(daemons, folder, [main_site(pki, Origin(edgelib.echo).address),
                                  "limits { idle_timeout = 400ms }"])
    with connect(edge.port, ca) as tls:
        tls.sendall(b"x")
        assert tls.recv(1) == b"x"
        with contextlib.suppress(OSError):
            assert tls.recv(1) == b""
    edge.daemon.wait_log('end="idle"')


# --- origins ---

def test_failover_and_back(daemons, folder, pki, ca, origin):
    port = free_port()
    edge = Edge(daemons, folder, [main_site(pki, f"127.0.0.1:{port}", origin.address, origin_fail_max=2,
                                            origin_fail_for="1h", origin_check="100ms")])
    for _ in range(6):
        assert fetch(edge, ca)[1] == "hello from the origin"
    edge.daemon.wait_log(f'origin is left out.*origin="127.0.0.1:{port}"')
    second = Origin(http(b"the other one"), port)
    edge.daemon.wait_log(f'origin is back.*origin="127.0.0.1:{port}"')
    assert {fetch(edge, ca)[1] for _ in range(4)} == {"hello from the origin", "the other one"}
    second.close()


@pytest.mark.parametrize("records", ["openssl", "engine"])
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_no_origin(daemons, folder, pki, ca, origin, records, version):
    edge = Edge(daemons, folder, [main_site(pki, f"127.0.0.1:{free_port()}", records=records),
                                  main_site(pki, origin.address, name="b.example.com")])
    text = s_client(edge.port, version, ca=ca)
    assert "Verify return code: 0 (ok)" in text
    # OpenSSL cannot be asked for an alert of ours; its end is in order all the same.
    assert ("alert internal error" in text) == (records == "engine"), text
    assert "unexpected eof" not in text
    status, _, _ = curl(f"https://example.com:{edge.port}/", ca=ca, check=False,
                        resolve=f"example.com:{edge.port}:127.0.0.1")
    assert status != 0
    edge.daemon.wait_log("no origin could be reached")
    assert fetch(edge, ca, "b.example.com")[1] == "hello from the origin"


def test_least_connections(daemons, folder, pki, ca):
    origins = [Origin(edgelib.echo), Origin(edgelib.echo)]
    edge = Edge(daemons, folder, [main_site(pki, *[o.address for o in origins], origin_balance="least_connections")])
    held = [connect(edge.port, ca) for _ in range(6)]
    wait_until(lambda: sum(o.count for o in origins) == 6, "six connections")
    assert [o.count for o in origins] == [3, 3]
    for tls in held:
        tls.close()


# --- life ---

def test_reload_good_and_bad(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [main_site(pki, Origin(edgelib.echo).address)], workers=2)
    held = [connect(edge.port, ca) for _ in range(8)]
    edge.write(["nonsense"])
    edge.daemon.signal(signal.SIGHUP)
    edge.daemon.wait_log("reload refused; the old configuration stays")
    refused = edgelib.control(edge.folder / "run" / "edge.sock", "reload")["error"]
    assert refused.startswith(f"{edge.conf}:5: ") and '"nonsense"' in refused
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = "127.0.0.1:%d" % other.getsockname()[1]
        edge.write([main_site(pki, origin.address), f'listen "{taken}" {{ }}'])
        refused = edgelib.control(edge.folder / "run" / "edge.sock", "reload")
        assert refused == {"error": f"cannot listen on {taken}: Address already in use"}
    refused = edgelib.control(edge.folder / "run" / "edge.sock", "bogus")
    assert refused["error"].startswith("no such command; there are status, reload, upgrade, drain, purge, sites")
    with connect(edge.port, ca) as tls:
        tls.sendall(b"old")
        assert tls.recv(10) == b"old"
    edge.reload([main_site(pki, origin.address, kinds=["rsa2048"])])
    assert fetch(edge, ca)[1] == "hello from the origin"
    assert "Peer signature type: RSA-PSS" in s_client(edge.port, ca=ca)
    for tls in held:  # none was dropped, and their origin is the old one
        tls.sendall(b"still here")
        assert tls.recv(20) == b"still here"
        tls.close()


@pytest.mark.parametrize("taken", ["listen", "admin", "control"])
def test_address_in_use_does_not_start(daemons, folder, pki, ca, origin, taken):
    """Each of its own kind: the second edge says which, ends with 1, and leaves the first alone."""
    edge = Edge(daemons, folder, [main_site(pki, origin.address)])
    text = edge.conf.read_text()
    with socket.create_server(("127.0.0.1", 0)) as admin:
        addresses = {"listen": f"127.0.0.1:{free_port()}", "admin": f"127.0.0.1:{free_port()}",
                     "control": str(edge.folder / "run" / "second.sock")}
        held = {"listen": f"127.0.0.1:{edge.port}", "admin": "127.0.0.1:%d" % admin.getsockname()[1],
                "control": str(edge.folder / "run" / "edge.sock")}
        addresses[taken] = held[taken]
        text = re.sub(r'listen "[^"]*"', f'listen "{addresses["listen"]}"', text, count=1)
        text += f'\ncontrol = "{addresses["control"]}"\nadmin {{ listen = "{addresses["admin"]}" }}\n'
        second = edge.folder / "second.conf"
        second.write_text(text)
        done = run(FARKEY, "edge", "-c", second, check=False)
    assert done.returncode == 1, done.stderr
    assert re.search(rf'cannot listen address="?(unix:)?{re.escape(held[taken])}"?.*in use', done.stderr), done.stderr
    assert fetch(edge, ca)[1] == "hello from the origin"


def test_reload_under_load_drops_nothing(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [main_site(pki, origin.address)], workers=2)
    stop, failures, done = threading.Event(), [], []

    def client():
        ctx = context(ca)
        while not stop.is_set():
            try:
                with connect(edge.port, ca, ctx=ctx) as tls:
                    tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    data = b""
                    while more := tls.recv(1000):
                        data += more
                    assert data.endswith(b"hello from the origin"), data
                    done.append(1)
            except (OSError, AssertionError) as error:
                failures.append(error)
    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    for i in range(6):
        edge.reload([main_site(pki, origin.address, kinds=[["rsa2048"], ["p256"]][i % 2])])
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures and len(done) > 6


def test_listeners_come_and_go(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [main_site(pki, origin.address)])
    second = free_port()
    edge.reload([main_site(pki, origin.address), f'listen "127.0.0.1:{second}" {{ }}'])
    assert "hello" in s_client(second, ca=ca)
    edge.reload([main_site(pki, origin.address)])
    wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", second)) != 0, "the second listener is closed")
    assert fetch(edge, ca)[1] == "hello from the origin"


def test_worker_killed(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [main_site(pki, origin.address)])
    before = edge.daemon.children("edge-worker")
    os.kill(before[0], signal.SIGKILL)
    # Clients wait in the socket that the master kept.
    assert fetch(edge, ca)[1] == "hello from the origin"
    assert edge.daemon.children("edge-worker") != before
    edge.daemon.wait_log('child ended.*role="edge-worker"')


def test_signer_killed(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [main_site(pki, origin.address)])
    before = edge.daemon.children("signer")
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: edge.daemon.children("signer") not in ([], before), "another signer")
    wait_until(lambda: fetch_ok(edge, ca), "handshakes again")


def fetch_ok(edge, ca):
    return curl(f"https://example.com:{edge.port}/", ca=ca, check=False,
                resolve=f"example.com:{edge.port}:127.0.0.1")[1] == "hello from the origin"


def test_drain(daemons, folder, pki, ca):
    edge = Edge(daemons, folder, [main_site(pki, Origin(edgelib.echo).address)])
    tls = connect(edge.port, ca)
    edge.daemon.signal(signal.SIGTERM)
    edge.daemon.wait_log("stopping")
    wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", edge.port)) != 0, "no new connections")
    tls.sendall(b"still here")
    assert tls.recv(20) == b"still here"
    tls.close()
    assert edge.daemon.process.wait(PATIENCE) == 0


def private_parts(key):
    """What would betray a private key in memory: its file's base64 and its private number."""
    text = run("openssl", "pkey", "-in", key, "-noout", "-text").stdout
    number = re.search(r"(?:priv|privateExponent):\s*((?:[0-9a-f]{2}:?\s*)+)", text).group(1)
    raw = bytes.fromhex(re.sub(r"[:\s]", "", number)).lstrip(b"\0")
    prime = re.search(r"prime1:\s*((?:[0-9a-f]{2}:?\s*)+)", text)
    found = [raw[:24], raw[:24][::-1], raw[-24:][::-1], key.read_bytes().split(b"\n")[1][:40]]
    if prime:
        raw = bytes.fromhex(re.sub(r"[:\s]", "", prime.group(1))).lstrip(b"\0")
        found += [raw[:24], raw[-24:][::-1]]
    return found


def memory_of(pid):
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            words = line.split()
            start, end = (int(x, 16) for x in words[0].split("-"))
            if words[1].startswith("r") and words[-1] not in ("[vvar]", "[vsyscall]"):
                with contextlib.suppress(OSError, ValueError):
                    mem.seek(start)
                    yield mem.read(end - start)


@pytest.mark.unsanitized
@pytest.mark.skipif(os.geteuid() != 0, reason="reading another process's memory needs root")
def test_no_private_key_in_master_and_workers(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [main_site(pki, origin.address, kinds=["rsa2048", "p256"])])
    fetch(edge, ca)
    secrets = [part for kind in ["rsa2048", "p256"] for part in private_parts(pki / f"{kind}.key")]
    signer = edge.daemon.children("signer")[0]
    assert any(part in chunk for chunk in memory_of(signer) for part in secrets)  # the search works
    for pid in [edge.daemon.pid, *edge.daemon.children("edge-worker")]:
        for chunk in memory_of(pid):
            for part in secrets:
                assert part not in chunk, f"a private key in process {pid}"


def test_secret_open_to_others_is_refused(folder, pki, ca, origin):
    key = pathlib.Path(shutil.copy(pki / "p256.key", folder / "open.key"))
    channel = pathlib.Path(shutil.copy(pki / "p256.key", folder / "channel.key"))
    shutil.copy(pki / "p256.crt", folder / "channel.crt")
    shutil.copy(pki / "p256.crt", folder / "ca.crt")
    conf = folder / "edge.conf"
    conf.write_text(f'listen "127.0.0.1:{free_port()}" {{ }}\n'
                    'channel { certificate = "channel.crt" key = "channel.key" ca = "ca.crt" }\n'
                    + site("example.com", [pki / "p256.crt"], [key], [origin.address]))
    key.chmod(0o604)
    channel.chmod(0o644)
    for command in ("check", conf), ("edge", "-c", conf):
        done = run(os.environ.get("FARKEY", edgelib.FARKEY), *command, check=False)
        assert done.returncode == 1
        assert re.search(r"open\.key.*chmod 600 it", done.stderr), done.stderr
        assert re.search(r"channel\.key.*chmod 600 it", done.stderr), done.stderr


def test_combined_file_is_refused(daemons, folder, pki, origin):
    combined = folder / "both.pem"
    combined.write_bytes((pki / "p256.crt").read_bytes() + (pki / "p256.key").read_bytes())
    (folder / "edge.conf").write_text(f'listen "127.0.0.1:{free_port()}" {{ }}\n'
                                      + site("example.com", [combined], [combined], [origin.address]))
    done = run(os.environ.get("FARKEY", edgelib.FARKEY), "edge", "-c", folder / "edge.conf", check=False)
    assert done.returncode == 1 and "holds a private key" in done.stderr
