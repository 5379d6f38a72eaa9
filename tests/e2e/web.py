"""Origins that speak HTTP/1.1, for the end-to-end tests of the edge with protocol = http."""
import hashlib
import re
import socket

import edgelib
from edgelib import Origin, read_head
from harness import Daemon, free_port, wait_until


class Recorder:
    """An origin that keeps its connections open, answers each request, and remembers their heads. `pace` is called with
    the number of each before its answer."""

    def __init__(self, answer=b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", pace=lambda number: None):
        self.heads = []
        self.answer = answer
        self.pace = pace
        self.origin = Origin(self.serve)
        self.address = self.origin.address

    def serve(self, sock):
        while head := read_head(sock):
            head, _, rest = head.partition(b"\r\n\r\n")
            self.heads.append(head.decode())
            length = int((re.search(rb"(?i)content-length: (\d+)", head) or [0, 0])[1])
            while len(rest) < length:
                rest += sock.recv(65536)
            self.pace(len(self.heads))
            sock.sendall(self.answer)


def digest_body(sock):
    """An origin that answers a request with the digest of its body, of a length or in chunks."""
    head, _, rest = read_head(sock).partition(b"\r\n\r\n")
    stream = socket.SocketIO(sock, "r")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    seen = hashlib.sha256()

    def take(size):
        nonlocal rest
        while len(rest) < size:
            rest += stream.read(65536)
        piece, rest = rest[:size], rest[size:]
        return piece

    def line():
        text = b""
        while not text.endswith(b"\r\n"):
            text += take(1)
        return text
    if length:
        left = int(length[1])
        while left > 0:
            left -= len(piece := take(min(left, 65536)))
            seen.update(piece)
    else:
        while size := int(line(), 16):
            seen.update(take(size))
            assert take(2) == b"\r\n"
        assert line() == b"\r\n"
    answer = seen.hexdigest().encode()
    sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))


def start_nginx(daemons, folder):
    """nginx with a small and a large file; its address."""
    root = folder / "root"
    root.mkdir()
    (root / "index.html").write_text("from nginx\n")
    (root / "large").write_bytes(edgelib.block(0, 20_000_000))
    port = free_port()
    conf = folder / "nginx.conf"
    conf.write_text(f"""
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log; user root;
events {{ }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/t1; fastcgi_temp_path {folder}/t2;
  uwsgi_temp_path {folder}/t3; scgi_temp_path {folder}/t4; client_max_body_size 100m; gzip on; gzip_min_length 1;
  server {{
    listen 127.0.0.1:{port}; root {root};
    location /up/ {{ return 200 "$request_length\\n"; }}
    location /sink/ {{ proxy_pass http://127.0.0.1:{port}/up/; }}
  }}
}}
""")
    daemon = Daemon("nginx", "-c", conf, "-e", folder / "nginx.log", log=folder / "nginx.out")
    daemons.append(daemon)

    def listens():
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0
    wait_until(listens, "nginx listens")
    return f"127.0.0.1:{port}"


class Strict:
    """An origin that reads requests to the byte: heads, and bodies by their framing; what is no request is `bad`."""

    def __init__(self):
        self.requests = []  # (head, body), in order
        self.bad = []
        self.origin = Origin(self.serve)
        self.address = self.origin.address

    def serve(self, sock):
        stream = sock.makefile("rb")
        while line := stream.readline():
            head = [line]
            while head[-1] not in (b"\r\n", b""):
                head.append(stream.readline())
            if head[-1] == b"":
                self.bad.append(b"".join(head))
                return
            text = b"".join(head).decode("latin-1")
            if not re.fullmatch(r"[A-Z-]+ \S+ HTTP/1\.1\r\n([!-9;-~]+: [^\r\n\0]*\r\n)+\r\n", text):
                self.bad.append(text)
                return
            self.requests.append((text, body := self.body(stream, text)))
            if body is None:
                return
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def body(self, stream, head):
        lengths, chunked = re.findall(r"(?im)^content-length: (.*)\r$", head), re.findall(r"(?im)^transfer-encoding: (.*)\r$", head)
        if len(lengths) + len(chunked) > 1 or chunked not in ([], ["chunked"]):
            self.bad.append(head)
            return None
        if lengths:
            return stream.read(int(lengths[0]))
        if not chunked:
            return b""
        whole = b""
        while size := int(stream.readline(), 16):
            whole += stream.read(size)
            if stream.readline() != b"\r\n":
                self.bad.append(head)
                return None
        while stream.readline() not in (b"\r\n", b""):
            pass
        return whole
