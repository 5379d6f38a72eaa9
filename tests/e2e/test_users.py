"""Whom children become when a daemon is started as root: on hosts with the packaged accounts, and without.

The host's account file is replaced for the daemon alone, in a mount namespace of its own.
"""
import os
import pathlib
import re
import subprocess

import pytest

from edgelib import site
from harness import FARKEY, TOP, Daemon, channel_identity, free_port, run, wait_until

NOBODY, USER, SIGNER, TOKEN = 65534, 64901, 64902, 64903
PACKAGED = {"farkey": USER, "farkey-signer": SIGNER, "farkey-token": TOKEN}
IN_NAMESPACE = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/passwd && exec "$@"']


def may_replace():
    return os.geteuid() == 0 and subprocess.run([*IN_NAMESPACE, "/etc/passwd", "true"], check=False,
                                                capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not may_replace(), reason="needs root and a mount namespace")


@pytest.fixture
def host(folder):
    """A command's words on a host that has `accounts` beside root and nobody."""
    def words(accounts, *command):
        accounts = {"root": 0, "nobody": NOBODY, **accounts}
        (folder / "passwd").write_text("".join(f"{name}:x:{uid}:{uid}::/:/bin/false\n"
                                               for name, uid in accounts.items()))
        return [*IN_NAMESPACE, folder / "passwd", *command]
    return words


@pytest.fixture
def keyd(folder, authority, site_authority):
    """A key server's configuration, with `options`."""
    channel_identity(authority, folder, "keyserver", "hq")
    (folder / "keys").mkdir()
    site_authority.issue(folder / "keys" / "example.com", "example.com", "DNS:example.com")
    (folder / "audit.key").write_text(os.urandom(32).hex() + "\n")
    (folder / "audit.key").chmod(0o600)

    def write(options=""):
        path = folder / "keyd.conf"
        path.write_text(f'{options}\nfronts = 1\nsigners = 1\nlisten "127.0.0.1:{free_port()}" {{ }}\n'
                        'channel { certificate = "channel.crt" key = "channel.key" ca = "ca.crt" }\n'
                        'keys "keys" { }\naudit { file = "audit.log" key = "audit.key" }\n')
        return path
    return write


@pytest.fixture
def edge(folder, site_authority):
    """An edge's configuration, with one key in a signer of its own."""
    certificate = site_authority.issue(folder / "site", "example.com", "DNS:example.com")
    path = folder / "edge.conf"
    path.write_text(f'workers = 1\nlisten "127.0.0.1:{free_port()}" {{ }}\n' +
                    site("example.com", [certificate[1]], [certificate[0]], ["127.0.0.1:1"]))
    return path


def wait_uid(daemon, role, uid):
    """Until all four uids of each child of a role are this one."""
    def become():
        found = set()
        for pid in daemon.children(role):
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
            found |= set(map(int, re.search(r"^Uid:(.*)$", status, re.M).group(1).split()))
        return found == {uid}
    wait_until(become, f"{role} is uid {uid}")


WARNING = "signers share a uid with fronts"


@pytest.mark.parametrize("accounts,options,user,signer", [
    (PACKAGED, "", USER, SIGNER),
    ({}, "", NOBODY, NOBODY),
    ({"farkey": USER}, "", USER, NOBODY),
    (PACKAGED, "user = nobody", NOBODY, SIGNER),
    (PACKAGED, "signer_user = farkey", USER, USER),
])
def test_key_server(daemons, folder, host, keyd, accounts, options, user, signer):
    daemon = Daemon(*host(accounts, FARKEY, "keyd", "-c", keyd(options)), log=folder / "log")
    daemons.append(daemon)
    daemon.wait_log("front serves")
    wait_uid(daemon, "signer", signer)
    for role in ["keyd-front", "keyd-audit", "admin"]:
        wait_uid(daemon, role, user)
    assert daemon.log().count(WARNING) == (user == signer)


@pytest.mark.parametrize("accounts,user,signer", [(PACKAGED, USER, SIGNER), ({}, NOBODY, NOBODY)])
def test_edge(daemons, folder, host, edge, accounts, user, signer):
    daemon = Daemon(*host(accounts, FARKEY, "edge", "-c", edge), log=folder / "log")
    daemons.append(daemon)
    daemon.wait_log("edge is ready")
    wait_uid(daemon, "signer", signer)
    for role in ["edge-worker", "admin"]:
        wait_uid(daemon, role, user)


@pytest.mark.parametrize("accounts,user,signer", [
    (PACKAGED, "farkey", "farkey-signer"), ({}, "nobody", "nobody")])
def test_check_prints_whom(host, keyd, edge, accounts, user, signer):
    for path in [keyd(), edge]:
        printed = run(*host(accounts, FARKEY, "check", "--print", "-c", path)).stdout
        assert f'user = "{user}"  # default\n' in printed
        assert f'signer_user = "{signer}"  # default\n' in printed


def test_packaged_accounts():
    accounts = re.findall(r"^u (\S+)", (TOP / "packaging" / "farkey.sysusers").read_text(), re.M)
    assert set(accounts) == set(PACKAGED)
