"""Origins that speak HTTP/1.1, for the end-to-end tests of the edge with protocol = http."""
import hashlib
import re
import socket

import edgelib
from edgelib import Origin, read_head
from harness import Daemon, free_port, wait_until


class Recorder:
    """An origin that keeps its connections open, answers each request, and remembers their heads."""

    def __init__(self, answer=b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"):
        self.heads = []
        self.answer = answer
        self.origin = Origin(self.serve)
        self.address = self.origin.address

    def serve(self, sock):
        while head := read_head(sock):
            head, _, rest = head.partition(b"\r\n\r\n")
            self.heads.append(head.decode())
            length = int((re.search(rb"(?i)content-length: (\d+)", head) or [0, 0])[1])
            while len(rest) < length:
                rest += sock.recv(65536)
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
