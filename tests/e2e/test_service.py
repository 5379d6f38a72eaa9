"""What a service manager gives the daemons and hears of them: limits, watchdog, a file system that it guards."""
import pathlib
import re
import socket

import pytest

from edgelib import Edge, Origin, http, site
from harness import FARKEY, PATIENCE, Daemon, wait_until
from pair import Pair


def open_files(pid):
    """The soft and the hard limit of a process."""
    text = pathlib.Path(f"/proc/{pid}/limits").read_text()
    return tuple(map(int, re.search(r"^Max open files +(\d+) +(\d+)", text, re.M).groups()))


# --- descriptors ---

WARNING = "limits allow more connections than a process may open files for"


@pytest.fixture
def pair(folder, authority, site_authority):
    def make(**options):
        return Pair(folder, authority, site_authority, 1, **options)
    return make


def start(daemons, pair, role, *before, env=None):
    conf = pair.folder / {"keyd": "keys1", "edge": "edge1"}[role] / f"{role}.conf"
    daemon = Daemon(*before, FARKEY, role, "-c", conf, log=pair.folder / f"{role}.log", env=env)
    daemons.append(daemon)
    daemon.wait_log({"keyd": "front serves", "edge": "edge is ready"}[role])
    return daemon


@pytest.mark.parametrize("role,child", [("keyd", "keyd-front"), ("edge", "edge-worker")])
@pytest.mark.parametrize("hard,options,need", [
    (4096, "connections = 1500", None), (4096, "connections = 65000", {"keyd": 65512, "edge": 130512})])
def test_soft_limit_is_raised(daemons, pair, role, child, hard, options, need):
    made = pair(keyd_options=f"fronts = 1 signers = 1 limits {{ {options} }}",
                edge_options=f"workers = 1 limits {{ {options} }}")
    daemon = start(daemons, made, role, "prlimit", f"--nofile=256:{hard}")
    assert open_files(daemon.pid) == (hard, hard)
    assert [open_files(pid) for pid in daemon.children(child)] == [(hard, hard)]
    assert (WARNING in daemon.log()) == (need is not None)
    if need:
        assert f"needed={need[role]} limit={hard}" in daemon.log()


def test_clients_beyond_the_soft_limit(daemons, folder, site_authority):
    """More connections at once than the soft limit that the edge was started with has descriptors for."""
    certificate = site_authority.issue(folder / "site", "example.com", "DNS:example.com")
    origin = Origin(http(b"hello"))
    edge = Edge(daemons, folder, [site("example.com", [certificate[1]], [certificate[0]], [origin.address])],
                before=["prlimit", "--nofile=128:4096"])
    clients = [socket.create_connection(("127.0.0.1", edge.port), PATIENCE) for _ in range(300)]
    wait_until(lambda: edge.counter("connections") == 300, "all clients are accepted")
    for client in clients:
        client.close()
    origin.close()
