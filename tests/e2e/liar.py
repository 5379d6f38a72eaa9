"""A key server that lies: it stands between an edge and a real key server and changes answers.

Signatures are real unless a lie says otherwise, so each test changes exactly one thing.
"""
import socket
import ssl
import struct
import threading


class Liar:
    """Listens with a key server's identity and asks `upstream` with an edge's.

    `lie(frame)` gets each answer (header and body) and returns the byte strings to send instead;
    returning None closes the channel. Ping answers go through `lie` too: see is_answer().
    """

    def __init__(self, pair, upstream_port, lie=lambda frame: [frame]):
        self.pair, self.upstream_port, self.lie = pair, upstream_port, lie
        self.told = 0  # answers that went through
        self.closing = False
        self.open = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(pair.folder / "keys1/channel.crt", pair.folder / "keys1/channel.key")
        self.server.load_verify_locations(pair.folder / "keys1/ca.crt")
        self.server.verify_mode = ssl.CERT_REQUIRED
        self.server.set_alpn_protocols(["farkey/1"])
        self.client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.client.check_hostname = False
        self.client.load_cert_chain(pair.folder / "edge1/channel.crt", pair.folder / "edge1/channel.key")
        self.client.load_verify_locations(pair.folder / "edge1/ca.crt")
        self.client.set_alpn_protocols(["farkey/1"])
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while not self.closing:
            try:
                raw, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(raw,), daemon=True).start()

    def serve(self, raw):
        try:
            edge = self.server.wrap_socket(raw, server_side=True)
            real = self.client.wrap_socket(socket.create_connection(("127.0.0.1", self.upstream_port)))
        except OSError:
            raw.close()
            return
        self.open += [edge, real]
        threading.Thread(target=self.pump, args=(edge, real), daemon=True).start()
        try:
            self.answer(edge, real)
        except OSError:
            pass
        finally:
            edge.close()
            real.close()

    @staticmethod
    def pump(edge, real):
        try:
            while data := edge.recv(65536):
                real.sendall(data)
        except (OSError, ValueError):
            pass
        finally:
            real.close()

    def answer(self, edge, real):
        buffered = b""
        while data := real.recv(65536):
            buffered += data
            while len(buffered) >= 8:
                size = 8 + struct.unpack(">H", buffered[2:4])[0]
                if len(buffered) < size:
                    break
                frame, buffered = buffered[:size], buffered[size:]
                said = self.lie(frame)
                if said is None:
                    return
                for part in said:
                    edge.sendall(part)
                self.told += 1

    def stop(self):
        self.closing = True
        self.listener.close()
        for sock in self.open:
            sock.close()


def is_answer(frame):
    """Whether a frame is the answer of a key operation with a signature in it (not INFO, not a pong)."""
    return b"\x11\x00\x01\xf0" in frame[8:] and len(frame) < 700


def with_id(frame, ident):
    return frame[:4] + struct.pack(">I", ident & 0xFFFFFFFF) + frame[8:]


def frame_id(frame):
    return struct.unpack(">I", frame[4:8])[0]
