"""A bad configuration is refused with all its mistakes at once, each told once, in the order of the file.

The same by farkey check, at a daemon's start and at its reload: each mistake alone, and all of them.
"""
import os
import re
import shutil

import pytest

from edgelib import site
from harness import FARKEY, Daemon, channel_identity, control, free_port, make_key, run, wait_until

LONG = "u" * 65


class Mistake:
    """`line` stands in place of the line `at` of a good file; `said` is told of it, at the line `told_at` if given."""

    def __init__(self, at, line, said, told_at=None):
        self.at, self.line, self.said, self.told_at = at, line, said, told_at or at

    def __repr__(self):
        return self.line


EDGE = [
    Mistake("workers = 1", "workers = many", 'workers: "many" is not a whole number'),
    Mistake("user = nobody", f"user = {LONG}", "user: name of a user too long"),
    Mistake("zone = here", "whatever = here", 'unknown option "whatever"'),
    Mistake('listen "127.0.0.1:1" {', 'listen "nowhere" {', 'listen "nowhere": not an address'),
    Mistake('addresses = {"10.0.0.1=a.example"}', 'addresses = {"10.0.0.1=x.example"}', 'there is no site "x.example"'),
    Mistake('certificate = "channel/channel.crt"', 'certificate = "none.crt"', "none.crt: not found"),
    Mistake('key = "channel/channel.key"', 'key = "junk"', "junk: malformed"),
    Mistake('ca = "channel/ca.crt"', 'ca = "junk"', "junk: malformed"),
    Mistake('address = "127.0.0.1:2407"', 'address = "x"', 'address: not "host:port"'),
    Mistake("lifetime = 2h", "lifetime = 20h", "tickets: lifetime exceeds", "tickets {"),
    Mistake('certificate = {"a.crt"}', 'certificate = {"none.crt"}', 'site "a.example": certificate'),
    Mistake('key = {"a.key"}', 'key = {"junk"}', 'site "a.example": key'),
    Mistake('names = {"b.example"}', 'names = {"A.example"}', 'the name "a.example" is also', 'site "b.example" {'),
    Mistake('key = {"b.key", "rsa.key"}', 'key = {"b.key", "a.key"}', "a.key belongs to none of the certificates"),
    Mistake('origin = {"127.0.0.1:2"}', "origin = {}", "origin: the list is empty; write a list"),
    Mistake('groups = {"X25519"}', 'groups = {"brainpoolP256r1"}', 'groups: "brainpoolP256r1" is not a group'),
    Mistake('keyservers = {"keys1"}', 'keyservers = {"keys9"}', 'there is no keyserver "keys9"'),
    Mistake("session_lifetime = 1h", "session_lifetime = 10h", "session_lifetime exceeds three quarters of key_life"),
    Mistake('origin = {"127.0.0.1:9"}', 'origin = {"nowhere"}', 'origin "nowhere" is not an address'),
    Mistake('listen = "127.0.0.1:0"', 'listen = "9464"', "listen: not an address"),
]

KEYD = [
    Mistake("fronts = 1", "fronts = 0", "fronts: "),
    Mistake("user = nobody", f"user = {LONG}", "user: name of a user too long"),
    Mistake('listen "127.0.0.1:1" {', 'listen "localhost" {', 'listen "localhost": not an address'),
    Mistake('certificate = "channel.crt"', 'certificate = "none.crt"', "none.crt: not found"),
    Mistake('key = "channel.key"', 'key = "junk"', "junk: malformed"),
    Mistake('ca = "ca.crt"', 'ca = "junk"', "junk: malformed"),
    Mistake('crl = "ca.crl"', 'crl = "none.crl"', "none.crl: not found"),
    Mistake('keys "keys" {', 'keys "junk-keys" {', "bad.key: not a private key"),
    Mistake('passphrase_file = "passphrase"', 'passphrase_file = "none"', "none: No such file",
            'keys "sealed" {'),
    Mistake("allow = {sign}", "alow = {sign}", 'unknown option "alow"'),
    Mistake('keys = {"a.example"}', "keys = {}", "keys: the list is empty; write a list"),
    Mistake('identity = "farkey:edge:other"', 'identity = "farkey:edge:edge1"', 'is that of edge "edge1" too',
            'edge "edge2" {'),
    Mistake("rate = 5/s", "rate = 0/s", 'rate: "0/s" is out of range'),
    Mistake("quota = 500", "quota = 0", 'quota: "0" is out of range'),
    Mistake("connections = 9", "connections = 0", 'connections: "0" is out of range'),
    Mistake('key = "audit.key"', 'key = "junk"', "not a secret of 32 bytes"),
    Mistake('listen = "127.0.0.1:0"', 'listen = "9465"', "listen: not an address"),
    Mistake("retire = 10m", "retire = 10", 'retire: "10" is not a time'),
]

if os.geteuid() == 0:  # who else does not change users
    for table in EDGE, KEYD:
        table.insert(2, Mistake("signer_user = nobody", "signer_user = no-such-user",
                                'signer_user: this host has no user "no-such-user"'))


def junk(path):
    path.write_text("junk")
    path.chmod(0o600)


@pytest.fixture(scope="session")
def pki(site_authority, authority, tmp_path_factory):
    """Files of both daemons' good configurations; made once, copied by each test."""
    folder = tmp_path_factory.mktemp("check")
    for stem, kind in [("a", "p256"), ("b", "p256"), ("rsa", "rsa2048")]:
        site_authority.issue(folder / stem, f"{stem}.example", f"DNS:{stem}.example", kind)
    channel_identity(authority, folder / "channel", "edge", "edge1")
    channel_identity(authority, folder, "keyserver", "hq")
    database = folder / "index"
    database.write_text("")
    config = folder / "crl.conf"
    config.write_text(f"[ca]\ndefault_ca=x\n[x]\ndatabase={database}\ndefault_md=sha256\ndefault_crl_days=30\n")
    run("openssl", "ca", "-gencrl", "-config", config, "-cert", authority.certificate, "-keyfile", authority.key,
        "-out", folder / "ca.crl")
    for name in "keys", "junk-keys", "sealed":
        (folder / name).mkdir()
    make_key("p256", folder / "keys" / "a.example.key")
    junk(folder / "junk-keys" / "bad.key")
    (folder / "passphrase").write_text("secret\n")
    (folder / "passphrase").chmod(0o600)
    run("openssl", "genpkey", "-algorithm", "ed25519", "-aes128", "-pass", f"file:{folder}/passphrase",
        "-out", folder / "sealed" / "sealed.example.key")
    (folder / "sealed" / "sealed.example.key").chmod(0o600)
    (folder / "audit.key").write_text(os.urandom(32).hex() + "\n")
    (folder / "audit.key").chmod(0o600)
    junk(folder / "junk")
    return folder


USERS = ["user = nobody", "signer_user = nobody"]


def edge_lines():
    return [
        "workers = 1", *USERS, "zone = here",
        'listen "127.0.0.1:1" {', 'addresses = {"10.0.0.1=a.example"}', "}",
        "channel {", 'certificate = "channel/channel.crt"', 'key = "channel/channel.key"', 'ca = "channel/ca.crt"', "}",
        'keyserver "keys1" {', 'address = "127.0.0.1:2407"', "}",
        "tickets {", "lifetime = 2h", "}",
        *site("a.example", ["a.crt"], ["a.key"], ["127.0.0.1:1"]).splitlines(),
        *site("b.example", ["b.crt", "rsa.crt"], ["b.key", "rsa.key"], ["127.0.0.1:2"], names='{"b.example"}',
              groups='{"X25519"}').splitlines(),
        'site "c.example" {', 'certificate = {"rsa.crt"}', 'keyservers = {"keys1"}',
        "session_lifetime = 1h", 'origin = {"127.0.0.1:9"}', "}",
        "admin {", 'listen = "127.0.0.1:0"', "}",
    ]


def keyd_lines():
    return [
        "fronts = 1", "signers = 1", *USERS,
        'listen "127.0.0.1:1" {', "}",
        "channel {", 'certificate = "channel.crt"', 'key = "channel.key"', 'ca = "ca.crt"', 'crl = "ca.crl"', "}",
        'keys "keys" {', "}",
        'keys "sealed" {', 'passphrase_file = "passphrase"', "}",
        'edge "edge1" {', "allow = {sign}", 'keys = {"a.example"}', "}",
        'edge "edge2" {', 'identity = "farkey:edge:other"', 'keys = {"*"}', "rate = 5/s", "quota = 500", "connections = 9", "}",
        "audit {", 'file = "audit.log"', 'key = "audit.key"', "}",
        "admin {", 'listen = "127.0.0.1:0"', "}",
        "limits {", "retire = 10m", "}",
    ]


@pytest.fixture
def write(folder, pki):
    """Write a role's configuration with mistakes; its path, and what must be said as (line, text)."""
    shutil.copytree(pki, folder, dirs_exist_ok=True)

    def make(role, mistakes=()):
        good = {"edge": edge_lines, "keyd": keyd_lines}[role]()
        lines = list(good)
        for mistake in mistakes:
            assert good.count(mistake.at) == 1 and good.count(mistake.told_at) == 1, mistake.at
            lines[good.index(mistake.at)] = mistake.line
        path = folder / f"{role}.conf"
        path.write_text("\n".join(lines).replace('"127.0.0.1:1" {', f'"127.0.0.1:{free_port()}" {{') + "\n")
        told = [(good.index(mistake.told_at) + 1, mistake.said) for mistake in mistakes]
        return path, sorted(told, key=lambda row: row[0])
    return make


def assert_told(path, errors, told):
    rows = [re.fullmatch(rf"{re.escape(str(path))}:(\d+): (.*)", error) for error in errors]
    assert all(rows), errors
    assert [int(row[1]) for row in rows] == [line for line, _ in told], errors
    for row, (_, said) in zip(rows, told):
        assert said in row[2]


def check(path, *words):
    done = run(FARKEY, "check", *words, "-c", path, check=False)
    assert done.returncode == (1 if done.stderr else 0)
    return done.stderr.splitlines()


ROLES = [("edge", EDGE), ("keyd", KEYD)]


@pytest.mark.parametrize("role,mistake", [(role, mistake) for role, table in ROLES for mistake in table], ids=str)
def test_each_mistake_is_refused(write, role, mistake):
    path, told = write(role, [mistake])
    assert_told(path, check(path), told)


@pytest.mark.parametrize("role,table", ROLES, ids=["edge", "keyd"])
def test_all_mistakes_are_told_at_once(write, role, table):
    assert check(write(role)[0]) == []
    path, told = write(role, table)
    assert_told(path, check(path), told)
    assert check(path, "--role", role) == check(path)


def logged(daemon, since=0):
    """The errors of a configuration in a daemon's log."""
    found = re.findall(r'(?:configuration error=|configuration refused what=)"((?:[^"\\]|\\.)*)"',
                       daemon.log()[since:])
    return [re.sub(r"\\x(..)", lambda code: chr(int(code[1], 16)), text) for text in found]


@pytest.mark.parametrize("role,table", ROLES, ids=["edge", "keyd"])
def test_start_tells_all_mistakes(daemons, folder, write, role, table):
    path, told = write(role, table)
    daemon = Daemon(FARKEY, role, "-c", path, log=folder / "log")
    daemons.append(daemon)
    wait_until(lambda: not daemon.alive(), "the daemon ends")
    assert daemon.process.wait() == 1
    assert_told(path, logged(daemon), told)


@pytest.mark.parametrize("role,table,serves", [
    ("edge", EDGE, "edge is ready"), ("keyd", KEYD, "front serves")], ids=["edge", "keyd"])
def test_reload_tells_all_mistakes(daemons, folder, write, role, table, serves):
    path, _ = write(role)
    daemon = Daemon(FARKEY, role, "-c", path, log=folder / "log")
    daemons.append(daemon)
    daemon.wait_log(serves)
    before = control(folder / "run" / f"{role}.sock")["generation"]
    path, told = write(role, table)
    since = len(daemon.log())
    answer = control(folder / "run" / f"{role}.sock", "reload")
    errors = logged(daemon, since)
    assert answer["error"] == errors[0]
    assert_told(path, errors, told)
    assert control(folder / "run" / f"{role}.sock")["generation"] == before
