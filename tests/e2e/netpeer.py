"""The two ends of a connection, each in its own namespace: netpeer.py serve PORT | talk HOST PORT CA VERSION UP DOWN |
hold, halves, stall, twice, later HOST PORT CA, many HOST PORT CA N: these wait for lines | hear HOST PORT CA |
echo, greet PORT.

The server speaks no TLS: a line "UP DOWN" comes, then UP bytes, of which it says the SHA-256 and who sent them, then
it sends DOWN bytes and their SHA-256. The client says by its status whether all of it is right.
"""
import fcntl
import hashlib
import os
import selectors
import socket
import ssl
import struct
import sys
import termios
import threading
import types

PIECE = 1 << 16


def pattern(length, seed):
    """`length` bytes, in pieces: no two near each other are the same."""
    block = hashlib.shake_256(seed.encode()).digest(PIECE + 251)
    at = 0
    while length > 0:
        piece = block[at:at + min(PIECE, length)]
        at = (at + 13) % 251
        length -= len(piece)
        yield piece


def drain(stream, length):
    digest = hashlib.sha256()
    while length > 0:
        piece = stream.read(min(PIECE, length))
        if not piece:
            raise EOFError(f"{length} bytes are missing")
        digest.update(piece)
        length -= len(piece)
    return digest.hexdigest()


def serve_one(sock, peer):
    with sock, sock.makefile("rb") as stream:
        try:
            while line := stream.readline():
                up, down = map(int, line.split())
                sock.sendall(f"{drain(stream, up)} {peer[0]} {peer[1]}\n".encode())
                digest = hashlib.sha256()
                for piece in pattern(down, "down"):
                    digest.update(piece)
                    sock.sendall(piece)
                sock.sendall(f"{digest.hexdigest()}\n".encode())
        except OSError as error:
            print("server:", error, flush=True)


def control(sock):
    """The congestion control that the environment names, if any."""
    if name := os.environ.get("NETPEER_CONTROL"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
    return sock


def serve(port):
    listener = control(socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512))
    print("listening", flush=True)
    while True:
        threading.Thread(target=serve_one, args=listener.accept(), daemon=True).start()


def exchange(sock, up, down):
    sent = hashlib.sha256()
    with sock.makefile("rb") as stream:
        sock.sendall(f"{up} {down}\n".encode())
        for piece in pattern(up, "up"):
            sent.update(piece)
            sock.sendall(piece)
        digest, host, port = stream.readline().decode().split()
        assert digest == sent.hexdigest(), "what went up came otherwise"
        assert [host.removeprefix("::ffff:"), int(port)] == list(sock.getsockname()[:2]), "not the client's address"
        assert drain(stream, down) == stream.readline().decode().strip(), "what came down is something else"


def talk(host, port, ca, version, up, down):
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    session = None
    for _ in range(2):
        with control(socket.create_connection((host, port), timeout=60)) as raw, \
                context.wrap_socket(raw, server_hostname="example.com", session=session) as sock:
            exchange(sock, up, down)
            session = sock.session
            print("resumed" if sock.session_reused else "full", flush=True)
            sock.unwrap()  # close_notify without a FIN; the other end's is waited for


def hold(host, port, ca):
    """A connection whose exchanges go on as lines come in; it says how each went."""
    context = ssl.create_default_context(cafile=ca)
    with socket.create_connection((host, port), timeout=20) as raw, \
            context.wrap_socket(raw, server_hostname="example.com", suppress_ragged_eofs=False) as sock:
        print("connected", flush=True)
        for _ in sys.stdin:
            try:
                exchange(sock, 1000, 1000)
                print("exchanged", flush=True)
            except OSError as error:
                print(type(error).__name__, flush=True)


def dial(host, port, ca, session=None):
    """A connection over TLS 1.2, whose sessions are resumed under the secret of the first."""
    context = session.context if session else ssl.create_default_context(cafile=ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context.wrap_socket(socket.create_connection((host, port), timeout=20), server_hostname="example.com",
                               session=session and session.session)


def wait_for_line():
    print("waits", flush=True)
    sys.stdin.readline()


def done():
    print("done", flush=True)
    sys.stdin.readline()  # until it ends


def halves(host, port, ca, key, certificate):
    """Half of a record, and the other half later."""
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(certificate, key)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="example.com")
    with socket.create_connection((host, port), timeout=20) as raw:
        pump(raw, incoming, outgoing, tls.do_handshake)
        tls.write(b"9 1\nnine byte")
        record = outgoing.read()
        raw.sendall(record[:20])
        while unacknowledged(raw):
            pass
        wait_for_line()
        raw.sendall(record[20:])
        done()


def unacknowledged(raw):
    """Bytes that the other end has not acknowledged."""
    return struct.unpack("i", fcntl.ioctl(raw, termios.TIOCOUTQ, bytes(4)))[0]


def stall(host, port, ca):
    """Much is asked for, and not read until later."""
    with dial(host, port, ca) as sock:
        sock.sendall(b"0 8000000\n")
        wait_for_line()
        with sock.makefile("rb") as stream:
            stream.readline()
            drain(stream, 8000000)
        done()


def twice(host, port, ca):
    """Two connections at once, the second of the first one's session."""
    with dial(host, port, ca) as first:
        exchange(first, 10, 10)
        with dial(host, port, ca, first) as second:
            assert second.session_reused
            exchange(second, 10, 10)
            wait_for_line()
            done()


def later(host, port, ca):
    """A session, which a line asks to resume; it says whether it was."""
    with dial(host, port, ca) as first:
        exchange(first, 10, 10)
        kept = types.SimpleNamespace(context=first.context, session=first.session)
    wait_for_line()
    while True:
        with dial(host, port, ca, kept) as sock:
            exchange(sock, 10, 10)
            print("resumed" if sock.session_reused else "full", flush=True)
        if not sys.stdin.readline():
            break


GREETING = b"220 at your service\r\n"


def greet(port):
    """A server that speaks first, and then gives back what comes until there is no more."""
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    print("listening", flush=True)
    while True:
        client = listener.accept()[0]
        with client:
            client.sendall(GREETING)
            said = b""
            while piece := client.recv(4096):
                said += piece
            client.sendall(said)  # to one who only listens now


def hear(host, port, ca):
    """A client that is silent until the server has spoken, and says that it is done before the answer comes."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = context.maximum_version = version
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="example.com")
        with socket.create_connection((host, port), timeout=20) as raw:
            pump(raw, incoming, outgoing, tls.do_handshake)
            assert pump(raw, incoming, outgoing, lambda: tls.read(100)) == GREETING
            tls.write(b"QUIT")
            try:
                tls.unwrap()  # close_notify, and a FIN: the other direction goes on
            except ssl.SSLWantReadError:
                raw.sendall(outgoing.read())
            raw.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := raw.recv(65536):
                answer += piece
            # After close_notify of its own OpenSSL reads no more: what came is a record, and a close_notify.
            assert answer[:1] == b"\x17" and len(answer) > 4 + 2 * 5
    print("heard", flush=True)


def pump(raw, incoming, outgoing, step):
    """What step() returns when enough has come for it."""
    while True:
        try:
            value = step()
            raw.sendall(outgoing.read())
            return value
        except ssl.SSLWantReadError:
            raw.sendall(outgoing.read())
            incoming.write(raw.recv(65536))


def echo(port):
    """Everybody gets back what he says; one thread for all."""
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=16384)
    listener.setblocking(False)
    ready = selectors.DefaultSelector()
    ready.register(listener, selectors.EVENT_READ)
    print("listening", flush=True)
    while True:
        for key, _ in ready.select():
            if key.fileobj is listener:
                client = listener.accept()[0]
                client.setblocking(False)
                ready.register(client, selectors.EVENT_READ)
                continue
            try:
                said = key.fileobj.recv(4096)
                key.fileobj.send(said)  # little: it fits
            except OSError:
                said = b""
            if not said:
                ready.unregister(key.fileobj)
                key.fileobj.close()


def many(host, port, ca, count):
    """So many connections at once, all of which say something before and after a line comes."""
    context = ssl.create_default_context(cafile=ca)
    socks = []
    for number in range(int(count)):
        raw = socket.create_connection((host, port), timeout=20)
        socks.append(context.wrap_socket(raw, server_hostname="example.com"))
        ask(socks[-1], number)
    wait_for_line()
    for number, sock in enumerate(socks):
        ask(sock, number + 7)
    done()


def ask(sock, number):
    words = f"{number} is my number".encode()
    sock.sendall(words)
    got = b""
    while len(got) < len(words):
        piece = sock.recv(4096)
        if not piece:
            raise EOFError
        got += piece
    assert got == words


if __name__ == "__main__":
    mode, *rest = sys.argv[1:]
    if mode in ("serve", "echo", "greet"):
        globals()[mode](int(rest[0]))
    elif mode in ("hold", "halves", "stall", "twice", "later", "many", "hear"):
        globals()[mode](rest[0], int(rest[1]), *rest[2:])
    else:
        talk(rest[0], int(rest[1]), rest[2], rest[3], int(rest[4]), int(rest[5]))
