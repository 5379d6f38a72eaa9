"""Pairs whose key server opens the channel."""
import re
import subprocess

import harness
import pair as pairs


class Dialled(pairs.Pair):
    """A key server without a listener, and an edge on which it dials in.

    `second`: another key server, keys2, with the same keys. `dial_options`, `accept_options`: of
    the dial and keyserver blocks. `split`: the edge has a share of each key. `signed`: it signs its requests.
    """

    def make_identities(self):
        super().make_identities()
        if self.options.get("signed"):
            private, public = self.folder / "edge1/request.key", self.folder / "keys1/request.pub"
            harness.make_key("ed25519", private)
            harness.run("openssl", "pkey", "-in", private, "-pubout", "-out", public)

    def make_sites(self):
        super().make_sites()
        for name in self.keys if self.options.get("split") else []:
            harness.run(harness.FARKEY, "key", "split", name, "--shares", "2-of-2", "--remove-original",
                        "--dir", self.folder / "keys1/keys", "--out", self.folder / "edge1")

    def write_edge(self):
        self.accept_ports = {"keys1": harness.free_port()}
        if self.options.get("second"):
            self.accept_ports["keys2"] = harness.free_port()
        self.servers = self.accept_ports
        super().write_edge()
        conf = self.folder / "edge1" / "edge.conf"
        text = conf.read_text()
        for name, port in self.accept_ports.items():
            text = text.replace(f'address = "127.0.0.1:{port}" identity = "farkey:keyserver:keys1"',
                                f'accept = "127.0.0.1:{port}" {self.options.get("accept_options", "")}')
        conf.write_text(text)
        self.write_dials()

    def write_dials(self):
        conf = self.folder / "keys1" / "keyd.conf"
        listen = re.compile(r'listen "127.0.0.1:\d+" \{[^}]*\}')
        text = conf.read_text()
        assert listen.search(text)
        conf.write_text(listen.sub(self.dial("keys1"), text))
        if "keys2" not in self.accept_ports:
            return
        second = self.folder / "keys2"
        subprocess.run(["cp", "-r", self.folder / "keys1", second], check=True)
        harness.channel_identity(self.authority, second, "keyserver", "keys2")
        (second / "keyd.conf").write_text(listen.sub(self.dial("keys2"), text))

    def dial(self, name):
        return f'dial "127.0.0.1:{self.accept_ports[name]}" {{ {self.options.get("dial_options", "")} }}'

    def start_keyd(self, daemons, name="keys1"):
        daemon = harness.Daemon(harness.FARKEY, "keyd", "-c", self.folder / name / "keyd.conf",
                                log=self.folder / f"{name}.log")
        daemons.append(daemon)
        if name == "keys1":
            self.keyd = daemon
        harness.wait_until(lambda: self.keyd_status(name) is not None, "the key server serves")
        return daemon

    def keyd_status(self, name="keys1"):
        try:
            return harness.control(self.folder / name / "run/keyd.sock")
        except OSError:
            return None

    def works(self):
        status, body, _ = self.get(check=False)
        return status == 0 and "hello from the origin" in body


def channels(pair, name="keys1"):
    """Channels that the key server has, since it was started last, with edges that proved who they are."""
    log = (pair.folder / f"{name}.log").read_text().rpartition("configuration in service generation=1 ")[2]
    return log.count("channel open") - log.count("channel closed")
