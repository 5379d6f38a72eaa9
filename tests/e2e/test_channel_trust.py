"""What ends an open channel: revocation, the end of a certificate; and that nobody has to reload anything for it."""
import datetime
import os
import pathlib
import re
import signal
import time

import pytest

from edgelib import Origin
from harness import FARKEY, PATIENCE, run, wait_until
from pair import Pair

REVOKED = 'why="certificate revoked"'


def farkey(*words):
    return run(FARKEY, *words)


class Trusting(Pair):
    """A pair under farkey's own authority; both sides have its revocation list."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, channel_options='crl = "ca.crl"', edge_channel_options='crl = "ca.crl"', **options)

    def make_identities(self):
        super().make_identities()
        farkey("init", "--dir", self.folder / "made", "edge1", "keys1")
        self.ca = self.folder / "made/ca"
        for part in "edge1", "keys1":
            for name in "channel.crt", "channel.key", "ca.crt", "ca.crl":
                os.replace(self.folder / "made" / part / name, self.folder / part / name)

    def revoke(self, name, told):
        """And the new list reaches one side."""
        farkey("ca", "revoke", "--ca", self.ca, name)
        farkey("ca", "crl", "--ca", self.ca, "--out", self.folder / told)

    def renew(self, name):
        farkey("ca", "renew", "--ca", self.ca, "--out", self.folder / name, name)


def answer_or_echo(sock):
    """One answer to HTTP; anything else comes back, for as long as the client likes."""
    while data := sock.recv(65536):
        if data.startswith(b"GET"):
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            return
        sock.sendall(data)


@pytest.fixture
def origin():
    made = Origin(answer_or_echo)
    yield made
    made.close()


@pytest.fixture
def pair(folder, daemons, authority, site_authority, origin):
    return Trusting(folder, authority, site_authority, origin.port).start(daemons)


def shakes_hands(pair):
    return pair.get(check=False)[0] == 0


class Talker:
    """A client that came before it all, and must not notice."""

    def __init__(self, pair):
        self.sock = pair.connect().sock

    def talk(self):
        self.sock.sendall(b"still here")
        assert self.sock.recv(100) == b"still here"


def pids(pair):
    return pair.edge.children("edge-worker") + pair.keyd.children("keyd-front")


def test_revoked_edge(pair):
    talker, before = Talker(pair), pids(pair)
    assert shakes_hands(pair)
    pair.revoke("edge1", told="keys1")
    pair.keyd.wait_log("channel closed: no longer allowed.*" + REVOKED)
    pair.edge.wait_log("key server is lost")
    assert not shakes_hands(pair)
    talker.talk()
    pair.renew("edge1")  # the edge takes up its new identity by itself
    wait_until(lambda: shakes_hands(pair), "the renewed edge is served")
    talker.talk()
    assert pids(pair) == before


def rename_edge(pair, old, new):
    path = pair.folder / "keys1/keyd.conf"
    path.write_text(path.read_text().replace(f'edge "{old}"', f'edge "{new}"'))
    pair.keyd.signal(signal.SIGHUP)


@pytest.mark.parametrize("how", ["revoked", "renamed"])
def test_refused_edge_asks_ever_less(pair, how):
    """An edge learns that it is refused when its handshake is done already: that must not count as success."""
    def attempts():
        return len(re.findall("channel handshake failed|channel refused", pair.keyd.log()))
    start = time.monotonic()
    if how == "revoked":
        pair.revoke("edge1", told="keys1")
    else:
        rename_edge(pair, "edge1", "edge2")
    pair.edge.wait_log("key server is lost")
    wait_until(lambda: attempts() >= 6, "it came a few times")
    assert time.monotonic() - start >= 0.7  # half of 50 ms, 100 ms, ... at least
    pair.edge.wait_log("key server is lost")
    assert len(re.findall("key server", pair.edge.log())) == 2, pair.edge.log()  # up, lost
    assert not any(server["up"] for worker in pair.status("edge")["workers"] for server in worker["keyservers"])
    if how == "revoked":
        pair.renew("edge1")
    else:
        rename_edge(pair, "edge2", "edge1")
    wait_until(lambda: shakes_hands(pair), "it is served again")
    assert len(re.findall("key server is up", pair.edge.log())) == 2, pair.edge.log()


def test_revoked_key_server(pair):
    talker, before = Talker(pair), pids(pair)
    assert shakes_hands(pair)
    pair.revoke("keys1", told="edge1")
    pair.edge.wait_log('key server is lost .*detail="certificate revoked"')
    assert not shakes_hands(pair)
    talker.talk()
    pair.renew("keys1")
    wait_until(lambda: shakes_hands(pair), "the renewed key server is taken")
    talker.talk()
    assert pids(pair) == before


def test_list_that_revokes_others_disturbs_nobody(pair):
    def connects():
        return [server["connects"] for worker in pair.status("edge")["workers"] for server in worker["keyservers"]]
    before, generation = connects(), pair.status("edge")["generation"]
    farkey("ca", "issue", "--ca", pair.ca, "--out", pair.folder / "other", "edge", "edge9")
    pair.revoke("edge9", told="edge1")
    wait_until(lambda: pair.status("edge")["generation"] > generation and pair.status("edge")["ready"], "it is taken up")
    assert shakes_hands(pair)
    assert connects() == before


def test_bad_list_is_refused(pair):
    """The old one stays in service, and a good one is taken up without more ado."""
    path, before = pair.folder / "edge1/ca.crl", pair.status("edge")["generation"]
    path.write_text("nonsense")
    pair.edge.wait_log("reload refused; the old configuration stays.*edge1/ca.crl: malformed")
    path.unlink()
    pair.edge.wait_log("reload refused; the old configuration stays.*edge1/ca.crl: not found")
    assert pair.status("edge")["generation"] == before
    assert shakes_hands(pair)
    pair.revoke("keys1", told="edge1")
    pair.edge.wait_log('key server is lost .*detail="certificate revoked"')


def shorten(authority, folder, seconds):
    """The certificate of a channel anew, to end in so many seconds: of the usual commands only this one can."""
    scratch = pathlib.Path(folder) / "short"
    scratch.mkdir()
    (scratch / "index").write_text("")
    old = folder / "channel.crt"
    san = re.search(r"URI:\S+", run("openssl", "x509", "-in", old, "-noout", "-ext", "subjectAltName").stdout)[0]
    (scratch / "conf").write_text(f"""
[ca]
default_ca = short
[short]
database = {scratch}/index
new_certs_dir = {scratch}
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = ext
[any]
commonName = supplied
[ext]
subjectAltName = {san}
basicConstraints = CA:FALSE
""")
    run("openssl", "req", "-new", "-key", folder / "channel.key", "-subj", "/CN=short", "-out", scratch / "csr")
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    run("openssl", "ca", "-batch", "-notext", "-config", scratch / "conf", "-cert", authority.certificate,
        "-keyfile", authority.key, "-enddate", end.strftime("%Y%m%d%H%M%SZ"), "-in", scratch / "csr", "-out", old)
    return end.timestamp()


@pytest.mark.parametrize("ending", ["edge1", "keys1"])
def test_certificate_ends(folder, daemons, authority, site_authority, origin, ending):
    pair = Pair(folder, authority, site_authority, origin.port)
    end = shorten(authority, pair.folder / ending, 8)
    pair.start(daemons)
    talker = Talker(pair)
    assert time.time() < end
    closer = pair.keyd if ending == "edge1" else pair.edge
    message = ("channel closed: no longer allowed" if ending == "edge1" else "key server is lost")
    closer.wait_log(message + '.*"certificate has expired"', timeout=PATIENCE)
    assert time.time() > end - 1
    assert not shakes_hands(pair)
    talker.talk()
