"""An edge with sites, origins and clients for the end-to-end tests of the edge."""
import contextlib
import fcntl
import hashlib
import pathlib
import select
import socket
import ssl
import struct
import subprocess
import termios
import threading

from harness import FARKEY, PATIENCE, Daemon, control, free_port, run, wait_until


class Origin:
    """A TCP server in threads: `serve(socket)` is called for each connection."""

    def __init__(self, serve, port=0):
        self.serve = serve
        self.listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.count = 0
        self.closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.count += 1
            threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock):
        with contextlib.suppress(OSError), sock:
            sock.settimeout(PATIENCE)
            self.serve(sock)

    def close(self):
        self.closed = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def read_head(sock):
    head = b""
    while b"\r\n\r\n" not in head:
        data = sock.recv(65536)
        if not data:
            return head
        head += data
    return head


def http(body):
    """An origin that answers every request with `body` and closes."""
    def serve(sock):
        if read_head(sock):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
                         % (len(body), body))
    return serve


def echo(sock):
    """Give back what comes, and the end after it."""
    while data := sock.recv(65536):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def after_end(sock):
    """Read to the client's end, then answer with length and digest: needs half-close."""
    digest, size = hashlib.sha256(), 0
    while data := sock.recv(65536):
        digest.update(data)
        size += len(data)
    sock.sendall(f"{size} {digest.hexdigest()}".encode())


def block(start, size):
    """Bytes `start` to `start + size` of an endless stream without a short period."""
    first, last = start // 32, (start + size + 31) // 32
    data = b"".join(hashlib.sha256(struct.pack(">Q", i)).digest() for i in range(first, last))
    return data[start - first * 32:][:size]


def unacknowledged(sock):
    """Bytes in a socket's send queue that the other side's kernel does not have yet (SIOCOUTQ)."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0]


def answer_and_leave(body):
    """An origin that answers the first bytes with `body` and closes at once, whatever comes then."""
    def serve(sock):
        sock.recv(1)
        sock.sendall(body)
        sock.shutdown(socket.SHUT_WR)
        # Closing over unread bytes resets: the answer must be in the edge's kernel before.
        wait_until(lambda: unacknowledged(sock) == 0, "the edge has the answer")
    return serve


class Edge:
    """A running edge with a configuration made of text blocks; `before`: a command that executes it."""

    def __init__(self, daemons, folder, blocks, workers=1, options="", listen_options="", before=(),
                 program=FARKEY, env=None):
        self.folder = pathlib.Path(folder)
        self.port = free_port()
        self.conf = self.folder / "edge.conf"
        self.workers = workers
        self.options = options
        self.listen_options = listen_options
        self.write(blocks)
        self.daemon = Daemon(*before, program, "edge", "-c", self.conf, log=self.folder / "edge.log", env=env)
        daemons.append(self.daemon)
        self.daemon.wait_log("edge is ready")

    def write(self, blocks):
        self.conf.write_text(f'workers = {self.workers}\naccess_log = on\n{self.options}\n'
                             f'listen "127.0.0.1:{self.port}" {{ {self.listen_options} }}\n' + "\n".join(blocks))

    def reload(self, blocks):
        """Load other blocks; the new generation serves when this returns."""
        self.write(blocks)
        answer = control(self.folder / "run" / "edge.sock", "reload")
        assert answer.get("ok"), answer
        wait_until(lambda: self.status()["ready"], "all workers serve the new configuration")

    def status(self):
        return control(self.folder / "run" / "edge.sock")

    def counter(self, name):
        return self.status()["counters"].get(name, 0)


def site(name, certificates, keys, origins, **options):
    """A site block of mode local."""
    def quoted(values):
        return "{" + ", ".join(f'"{value}"' for value in values) + "}"
    lines = [f'site "{name}" {{', "mode = local", f"certificate = {quoted(certificates)}",
             f"key = {quoted(keys)}", f"origin = {quoted(origins)}"]
    lines += [f"{key} = {value}" for key, value in options.items()]
    return "\n".join(lines) + "\n}"


def s_client(port, *options, name="example.com", request="GET / HTTP/1.0\r\n\r\n", ca=None):
    """openssl s_client's output for one request."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-ign_eof", *options]
    command += ["-servername", name] if name else ["-noservername"]
    if ca:
        command += ["-CAfile", ca, "-verify_return_error", "-verify_hostname", name]
    done = run(*command, input=request, check=False)
    return done.stdout + done.stderr


def context(ca, **options):
    made = ssl.create_default_context(cafile=str(ca))
    for key, value in options.items():
        setattr(made, key, value)
    return made


def connect(port, ca, name="example.com", ctx=None, session=None):
    """A TLS connection by Python's ssl module."""
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
    return (ctx or context(ca)).wrap_socket(sock, server_hostname=name, session=session)


class HalfCloser:
    """A TLS client that can end its own direction and go on reading, which ssl.SSLSocket cannot."""

    def __init__(self, port, ca, name="example.com"):
        self.sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context(ca).wrap_bio(self.incoming, self.outgoing, server_hostname=name)
        self._do(self.tls.do_handshake)

    def _flush(self):
        if self.outgoing.pending:
            self.sock.sendall(self.outgoing.read())

    def _do(self, function, *args):
        while True:
            try:
                result = function(*args)
                self._flush()
                return result
            except ssl.SSLWantReadError:
                self._flush()
                data = self.sock.recv(65536)
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()

    def send(self, data):
        self._do(self.tls.write, data)

    def end(self):
        """close_notify; returns when the other side has ended, too, with what it sent."""
        received = b""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self._flush()
        with contextlib.suppress(ssl.SSLZeroReturnError):
            while data := self._do(self.tls.read, 65536):
                received += data
        return received


def exchange(port, ca, data, name="example.com"):
    """Send `data` and read as many bytes, both at once, in one thread: SSL objects are not made for two."""
    received, sent = bytearray(), 0
    with connect(port, ca, name) as tls:
        tls.setblocking(False)
        while len(received) < len(data):
            want_write = False
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                while more := tls.recv(65536):
                    received += more
                break  # the other side has ended
            try:
                if sent < len(data):
                    sent += tls.send(data[sent:sent + 65536])
                    continue
            except ssl.SSLWantWriteError:
                want_write = True
            except ssl.SSLWantReadError:
                pass
            if len(received) == len(data):
                break
            poll = select.poll()  # select() knows no descriptors above 1023
            poll.register(tls, select.POLLIN | (select.POLLOUT if want_write else 0))
            assert poll.poll(PATIENCE * 1000), f"nothing moves: {sent} sent, {len(received)} received"
    return bytes(received)


def push_then_read(port, ca, size, name="example.com"):
    """Send `size` bytes and only then read, as one that uploads and is answered early.

    Returns what came before close_notify; an end without it, or a reset, is an exception.
    """
    strict = context(ca)
    strict.options &= ~(1 << 7)  # SSL_OP_IGNORE_UNEXPECTED_EOF, which Python turns on
    received = bytearray()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)  # most of the answer waits at the edge
    sock.settimeout(PATIENCE)
    sock.connect(("127.0.0.1", port))
    with strict.wrap_socket(sock, server_hostname=name, suppress_ragged_eofs=False) as tls:
        for _ in range(size // 65536):
            tls.sendall(bytes(65536))
        while data := tls.recv(65536):
            received += data
    return bytes(received)


def update_keys(port, ca):
    """openssl's client with an echo; it renews its keys and asks for new ones (K, at the beginning of a line)."""
    client = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_3", "-CAfile", ca,
                               "-servername", "example.com"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def say(line, answer):
        client.stdin.write(line + "\n")
        client.stdin.flush()
        seen = []
        while answer not in (text := client.stdout.readline()):
            seen.append(text)
            assert text and "error" not in text, "".join(seen)
    try:
        for i in range(3):
            say(f"line {i}", f"line {i}")
            say("K", "KEYUPDATE")
        say("last", "last")
    finally:
        client.kill()
        client.wait(PATIENCE)


def resident(pid):
    """Resident memory of a process in bytes."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")
