"""Who gets a channel (K10, K10a with K10b and K10e): who opens it, from which address, with which certificates; all of it by a table.

The peer's address is 127.0.0.5 in each cell (bind). A cell names the list that it is looked for in, and the
certificates of both ends: there is a channel if the list has it or wants it not, and both are the right ones.
"""
import itertools

import pytest

import edgelib
import harness
import pair as pairs
from dialled import Dialled, channels

ADDRESS = "127.0.0.5"
# Lists: the options of a block, and whether the address may come. {} are the names of allow and deny.
LISTS = {
    "none": ("", True),
    "allowed": ('{0} = {{"127.0.0.4/30"}}', True),
    "not allowed": ('{0} = {{"127.0.0.1", "192.0.2.0/24", "2001:db8::/32"}}', False),
    "denied": ('{1} = {{"127.0.0.0/8"}}', False),
    "another denied": ('{1} = {{"127.0.0.1"}}', True),
    "allowed and denied": ('{0} = {{"127.0.0.5"}} {1} = {{"127.0.0.5/32"}}', False),
}
# Where a list stands, by who dials: in the block that listens, or in the edge's block of the key server.
PLACES = {("edge", "listener"): ("listen_options", "allow", "deny"),
          ("edge", "policy"): ("edge_policy", "addresses", "deny_addresses"),
          ("keyserver", "listener"): ("accept_options", "allow", "deny")}
# Of the edge, which is the TLS client in either case, and of the key server: role, name, whose authority.
EDGES = {"right": ("edge", "edge1", True), "of another role": ("keyserver", "edge1", True),
         "unknown": ("edge", "edge2", True), "of another authority": ("edge", "edge1", False)}
SERVERS = {"right": ("keyserver", "keys1", True), "of another role": ("edge", "keys1", True),
           "of another name": ("keyserver", "keys2", True), "of another authority": ("keyserver", "keys1", False)}
# What the end that refuses says: the key server of an edge, the edge of a key server.
SAID = {("edge", "of another role"): "channel refused", ("edge", "unknown"): "channel refused",
        ("edge", "of another authority"): "channel handshake failed",
        ("server", "of another role"): "its certificate is not a key server's",
        ("server", "of another name"): "its certificate has another name",
        ("server", "of another authority"): "unable to get local issuer certificate|self.signed certificate|"
                                            "certificate signature failure"}

ALL = [(who, place, list_, edge, server) for (who, place), list_, edge, server
       in itertools.product(PLACES, LISTS, EDGES, SERVERS) if "right" in (edge, server)]
# Every list with the right certificates; every certificate with a list that lets it in, and one with one that does not.
SHORT = [cell for cell in ALL if cell[3:] == ("right", "right") or (cell[1] == "listener" and cell[2] == "allowed") or
         cell[1:] == ("listener", "denied", "unknown", "right")]


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory):
    return harness.Authority(tmp_path_factory.mktemp("other-ca"), "Channel CA")  # the same name, another key


@pytest.fixture
def start(folder, authority, other_authority, site_authority, daemons):
    origin = edgelib.Origin(edgelib.http(b"hello from the origin"))

    def build(who, place, list_, edge, server):
        option, *names = PLACES[who, place]
        options = {option: LISTS[list_][0].format(*names)}
        if who == "edge":
            options["server_options"] = f'bind = "{ADDRESS}"'
        else:
            options["dial_options"] = f'bind = "{ADDRESS}"'
        pair = (pairs.Pair if who == "edge" else Dialled)(folder, authority, site_authority, origin.port, **options)
        for part, (role, name, ours) in (("edge1", EDGES[edge]), ("keys1", SERVERS[server])):
            trusted = (folder / part / "ca.crt").read_bytes()
            harness.channel_identity(authority if ours else other_authority, folder / part, role, name)
            (folder / part / "ca.crt").write_bytes(trusted)
        for part, conf in (("keys1", "keyd"), ("edge1", "edge")):
            daemon = harness.Daemon(harness.FARKEY, conf, "-c", folder / part / f"{conf}.conf",
                                    log=folder / f"{part}.log")
            daemons.append(daemon)
            setattr(pair, conf, daemon)
            if conf == "keyd":  # a key server that is not there yet is all that the edge would tell
                harness.wait_until(lambda: answers(pair), "the key server serves")
        harness.wait_until(lambda: pair.serving(pair.edge, pair.port), "the edge listens")
        return pair
    yield build
    origin.close()


def answers(pair):
    try:
        return pair.status("keyd") is not None
    except OSError:
        return False


def first_refusal(pair, who, place, list_, edge, server):
    """Whose, and what it says: before TLS, by the edge, by the key server, by its list of this edge's addresses."""
    if not LISTS[list_][1] and place == "listener":
        return (pair.keyd, "connection refused") if who == "edge" else (pair.edge, "address not permitted")
    if server != "right":
        return pair.edge, SAID["server", server]
    return pair.keyd, SAID["edge", edge] if edge != "right" else "channel refused"


def run(start, who, place, list_, edge, server):
    pair = start(who, place, list_, edge, server)
    if LISTS[list_][1] and edge == server == "right":
        pair.edge.wait_log("key server is up")
        if who == "edge":
            pair.keyd.wait_log(f'channel open .*peer="{ADDRESS}:')
        assert "hello from the origin" in pair.get()[1]
        assert channels(pair) == 1
        return
    refuser, said = first_refusal(pair, who, place, list_, edge, server)
    refuser.wait_log(said)
    assert pair.get(check=False)[0] != 0
    assert "key server is up" not in pair.edge.log()
    harness.wait_until(lambda: channels(pair) == 0, "no channel")


def name(cell):
    return "-".join(cell).replace(" ", "_")


@pytest.mark.parametrize("cell", SHORT, ids=name)
def test_spanning_cells(start, cell):
    run(start, *cell)


@pytest.mark.long
@pytest.mark.parametrize("cell", [cell for cell in ALL if cell not in SHORT], ids=name)
def test_every_other_cell(start, cell):
    run(start, *cell)
