"""The two ends of a connection, each in its own namespace: netpeer.py serve PORT | talk HOST PORT CA VERSION UP DOWN.

The server speaks no TLS: a line "UP DOWN" comes, then UP bytes, of which it says the SHA-256 and who sent them, then
it sends DOWN bytes and their SHA-256. The client says by its status whether all of it is right.
"""
import hashlib
import socket
import ssl
import sys
import threading

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


def serve(port):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512)
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
        with socket.create_connection((host, port), timeout=60) as raw, \
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


if __name__ == "__main__":
    mode, *rest = sys.argv[1:]
    if mode == "serve":
        serve(int(rest[0]))
    elif mode == "hold":
        hold(rest[0], int(rest[1]), rest[2])
    else:
        talk(rest[0], int(rest[1]), rest[2], rest[3], int(rest[4]), int(rest[5]))
