"""A fleet: one key server with two edges that serve the same sites; and a relay, by which clients that resume with the
address they came from reach both.
"""
import contextlib
import itertools
import re
import shutil
import socket
import threading

import edgelib
import harness
import pair as pairs


class EdgeOf:
    """One more edge of a pair's key server, in a folder of its own: the pair's configuration on another port."""

    def __init__(self, pair, name):
        self.pair, self.name = pair, name
        self.folder = pair.folder / name
        self.port = harness.free_port()
        self.daemon = None
        harness.channel_identity(pair.authority, self.folder, "edge", name)
        (self.folder / "run").mkdir()
        for path in (pair.folder / "edge1").glob("*.crt"):
            if path.name not in ("channel.crt", "ca.crt"):
                shutil.copy(path, self.folder)
        text = (pair.folder / "edge1/edge.conf").read_text()
        (self.folder / "edge.conf").write_text(text.replace(f"127.0.0.1:{pair.port}", f"127.0.0.1:{self.port}"))

    def start(self, daemons):
        self.daemon = harness.Daemon(harness.FARKEY, "edge", "-c", self.folder / "edge.conf",
                                     log=self.folder / "edge.log")
        daemons.append(self.daemon)
        self.daemon.wait_log("edge is ready", since=0)

    def log(self):
        return self.daemon.log()

    def status(self):
        return harness.control(self.folder / "run/edge.sock")

    def ticket_keys(self, site="example.com"):
        return [entry["ticket_keys"] for worker in self.status()["workers"] for entry in worker["sites"]
                if entry["name"] == site]


class Fleet(pairs.Pair):
    """Two edges; `tickets`: the sites' option; `edges`: lines of keyd.conf by edge name."""

    def __init__(self, folder, authority, site_authority, origin_port, tickets="shared", **options):
        self.edges_allowed = {name: "keys = {\"*\"} allow = {sign, decrypt, tickets}" for name in ("edge1", "edge2")}
        self.limits = options.pop("limits", "")
        options.setdefault("policy", "allow = {sign, decrypt, tickets}\n")
        options["site_options"] = f"tickets = {tickets} " + options.get("site_options", "")
        options["server_options"] = "ping_interval = 100ms"
        super().__init__(folder, authority, site_authority, origin_port, **options)
        self.edges = [EdgeOf(self, "edge2")]

    def write_keyd(self):
        super().write_keyd()
        path = self.folder / "keys1/keyd.conf"
        text = re.sub(r'edge "edge1" .*\n', "", path.read_text())
        for name, rights in self.edges_allowed.items():
            text += f'edge "{name}" {{ {rights} }}\n'
        path.write_text(text + (f"limits {{ {self.limits} }}\n" if self.limits else ""))

    def start(self, daemons):
        self.start_keyd(daemons)
        self.start_edge(daemons, ready=False)
        self.edge.wait_log("edge is ready")
        for edge in self.edges:
            edge.start(daemons)
        return self

    def wait_for_keys(self):
        harness.wait_until(lambda: all(self.ticket_keys()), "edge1 has ticket keys")
        for edge in self.edges:
            harness.wait_until(lambda edge=edge: all(edge.ticket_keys()), f"{edge.name} has ticket keys")

    def ticket_keys(self, site="example.com"):
        return [entry["ticket_keys"] for worker in self.status("edge")["workers"] for entry in worker["sites"]
                if entry["name"] == site]

    def reload_keyd(self):
        self.write_keyd()
        answer = harness.control(self.folder / "keys1/run/keyd.sock", "reload")
        assert answer.get("ok"), answer

    def reach_the_store(self):
        """Whether all workers of all edges have a connection to Redis."""
        return all(worker["session_store"] for status in [self.status("edge")] + [edge.status() for edge in self.edges]
                   for worker in status["workers"])

    def ports(self):
        return [self.port] + [edge.port for edge in self.edges]

    def session(self, port, version="tls1_3", name="example.com", path="session", options=()):
        """Make a session at the edge of this port; the file that it is in (none if it cannot be resumed)."""
        file = self.folder / path
        file.unlink(missing_ok=True)
        text = edgelib.s_client(port, f"-{version}", "-sess_out", file, *options, name=name,
                                ca=self.site_authority.certificate)
        assert "hello from the origin" in text and "New, TLS" in text, text
        return file

    def resumes(self, port, file, version="tls1_3", name="example.com", options=()):
        """Whether that edge resumes a session; a client is served in any case."""
        if not file.exists():
            return False
        text = edgelib.s_client(port, f"-{version}", "-sess_in", file, *options, name=name,
                                ca=self.site_authority.certificate)
        assert "hello from the origin" in text, text
        return "Reused, TLS" in text


class Relay:
    """Gives its connections to ports, one after the other."""

    def __init__(self, ports):
        self.ports = itertools.cycle(ports)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                edge = socket.create_connection(("127.0.0.1", next(self.ports)), harness.PATIENCE)
                for one, other in ((client, edge), (edge, client)):
                    threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    @staticmethod
    def _pump(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class At:
    """A pair as the clients of test_modes see it, at a port of our choice."""

    s_client = pairs.Pair.s_client

    def __init__(self, fleet, port):
        self.folder, self.site_authority, self.port = fleet.folder, fleet.site_authority, port


class Redis:
    """Debian's redis-server with nothing on disk."""

    def __init__(self, folder, *options):
        self.folder, self.port, self.options = folder, harness.free_port(), options
        self.daemon = None

    def start(self, daemons):
        self.daemon = harness.Daemon("redis-server", "--port", self.port, "--bind", "127.0.0.1", "--save", "",
                                     "--appendonly", "no", "--dir", self.folder, *self.options,
                                     log=self.folder / "redis.log")
        daemons.append(self.daemon)
        self.daemon.wait_log("Ready to accept connections", since=0)
        return self

    def cli(self, *words):
        return harness.run("redis-cli", "-p", self.port, *words).stdout.strip()

    def keys(self):
        return [line for line in self.cli("keys", "*").splitlines() if line]
