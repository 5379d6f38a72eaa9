"""Sessions of mode `keys`, which a key server seals and opens (K5b, K6): of several key servers, of several edges, with other
keys, at other sites; what ends them."""
import re
import shutil

import pytest

import edgelib
import fleet as fleets
import harness
import pair as pairs
from test_agree_edge import ECDHE, add_server, make, origin, reload_edge, suite
from test_resume import revoke_block, revoke_key_of_edge, revoke_permission

__all__ = ["make", "origin"]  # fixtures

SERVERS = ("keys1", "keys2")


def audit(pair, server):
    return (pair.folder / server / "audit.log").read_text()


def done(pair, server, operation):
    """How often a key server has done it."""
    return len(re.findall(rf"op={operation} .*result=OK", audit(pair, server)))


def reload_keyd(pair):
    answer = harness.control(pair.folder / "keys1/run/keyd.sock", "reload")
    assert answer.get("ok"), answer


def is_up(pair, server):
    return all(found["up"] for worker in pair.status("edge")["workers"] for found in worker["keyservers"]
               if found["name"] == server)


def new_session(pair, path, options, serve):
    """Make one by serve(), which writes it to `path`; the key server that has sealed it."""
    before = {server: done(pair, server, "keys-keep") for server in SERVERS}
    output = serve(*suite(ECDHE), *options, "-sess_out", path)
    assert "New, TLSv1.2" in output and "hello from the origin" in output, output
    server, = harness.wait_until(lambda: [one for one in SERVERS if done(pair, one, "keys-keep") > before[one]],
                                 "the log has whose it is")
    return server


def sessions_of_both(pair, options, serve):
    """A session of each key server, which take turns; as files by key server."""
    sessions = {}
    for number in range(8):
        path = pair.folder / f"session{number}.pem"
        sessions.setdefault(new_session(pair, path, options, serve), path)
        if len(sessions) == len(SERVERS):
            return sessions
    raise AssertionError(f"one key server only: {sessions}")


def two_servers(pair, daemons):
    """A second key server for a running pair."""
    add_server(pair, daemons, "keys2")
    answer = harness.control(pair.folder / "edge1/run/edge.sock", "reload")
    assert answer.get("ok"), answer
    harness.wait_until(lambda: all(is_up(pair, server) for server in SERVERS), "both are up")


@pytest.mark.parametrize("options,signed", [([], False), (["-no_ticket"], False), ([], True)])
def test_who_has_sealed_it_is_asked(make, folder, daemons, options, signed):
    """The strategy has no say in it; and without that key server there is a new session, of the other one."""
    signing = {"keyd_options": "fronts = 1 signers = 2 signed_requests = on", **pairs.request_key(folder)} if signed else {}
    pair = make("keys", site_options="strategy = round_robin", **signing)
    two_servers(pair, daemons)
    sessions = sessions_of_both(pair, options, pair.s_client)

    def comes_back(server):
        output = pair.s_client(*suite(ECDHE), *options, "-sess_in", sessions[server])
        assert "hello from the origin" in output, output
        return "Reused, TLSv1.2" in output
    for _ in range(3):
        assert all(comes_back(server) for server in SERVERS)
    for server in SERVERS:
        harness.wait_until(lambda server=server: done(pair, server, "resume") == 3, f"{server} has opened its own")
        assert audit(pair, server).count("op=resume") == 3
    pair.keyd.stop()
    harness.wait_until(lambda: not is_up(pair, "keys1"), "it is missed")
    assert comes_back("keys2") and not comes_back("keys1")
    pair.start_keyd(daemons)
    harness.wait_until(lambda: is_up(pair, "keys1"), "it is back")
    assert comes_back("keys2") and not comes_back("keys1")  # what it had sealed with is on no disk


@pytest.mark.parametrize("options", [[], ["-no_ticket"]])
def test_site_with_two_keys(make, folder, options):
    """A session is of the key that it was made with, whichever the site has besides."""
    pair = make("keys", kinds=("rsa2048", "p256"))
    ciphers = ECDHE, "ECDHE-ECDSA-AES128-GCM-SHA256"
    for cipher in ciphers:
        session = folder / f"{cipher}.pem"
        assert "New, TLSv1.2" in pair.s_client(*suite(cipher), *options, "-sess_out", session)
    for cipher in ciphers * 2:
        output = pair.s_client(*suite(cipher), *options, "-sess_in", folder / f"{cipher}.pem")
        assert "Reused, TLSv1.2" in output and "hello from the origin" in output, output


def replace_key(pair):
    """Another key and certificate for the site, at both ends; the edge shows the new one when this returns."""
    _, certificate = pair.site_authority.issue(pair.folder / "keys1/keys/example.com", "example.com", "DNS:example.com",
                                               "rsa2048")
    shutil.copy(certificate, pair.folder / "edge1")
    reload_keyd(pair)
    answer = harness.control(pair.folder / "edge1/run/edge.sock", "reload")
    assert answer.get("ok"), answer
    # The key server's new list of keys comes by itself.
    harness.wait_until(lambda: "New, TLSv1.2" in pair.s_client(*suite(ECDHE), check=False), "the new key serves")


def test_key_that_is_replaced(make, folder):
    """As long as the key before is served on, so are its sessions."""
    pair = make("keys")
    session = folder / "session.pem"
    pair.s_client(*suite(ECDHE), "-sess_out", session)
    replace_key(pair)
    for _ in range(2):
        output = pair.s_client(*suite(ECDHE), "-sess_in", session)
        assert "Reused, TLSv1.2" in output and "hello from the origin" in output, output


def test_ticket_of_another_key(make, folder):
    """Then what was sealed with it is nothing under the next one, though it is the same site's."""
    pair = make("keys", keyd_options="fronts = 1 signers = 1 limits { retire = 1s }")
    session = folder / "session.pem"
    pair.s_client(*suite(ECDHE), "-sess_out", session)
    assert "Reused, TLSv1.2" in pair.s_client(*suite(ECDHE), "-sess_in", session)
    replace_key(pair)

    def resumes():
        return "Reused, TLSv1.2" in pair.s_client(*suite(ECDHE), "-sess_in", session)
    harness.wait_until(lambda: not resumes(), "the key before is gone")
    output = pair.s_client(*suite(ECDHE), "-sess_in", session, "-sess_out", session)
    assert "New, TLSv1.2" in output and "hello from the origin" in output, output
    assert resumes()


@pytest.mark.parametrize("options", [[], ["-no_ticket"]])
def test_session_of_another_policy(make, folder, options, site_authority):
    """A site that begins to ask its clients for certificates has no sessions from before (CVE-2025-23419)."""
    pair = make("keys")
    session = folder / "session.pem"
    shutil.copy(site_authority.certificate, pair.folder / "edge1/staff-ca.pem")
    pair.s_client(*suite(ECDHE), *options, "-sess_out", session)
    assert "Reused, TLSv1.2" in pair.s_client(*suite(ECDHE), *options, "-sess_in", session)
    reload_edge(pair, "mode = keys", 'client_certificate { require = optional ca = "staff-ca.pem" } mode = keys')
    output = pair.s_client(*suite(ECDHE), *options, "-sess_in", session)
    assert "New, TLSv1.2" in output and "hello from the origin" in output, output


# --- of all edges ---

RIGHTS = "keys, tickets"


@pytest.fixture
def make_fleet(folder, authority, site_authority, origin):
    """Two edges whose sites are in mode keys; not started."""
    def make_edges(tickets="shared", **options):
        more = options.pop("site_options", "")
        fleet = fleets.Fleet(folder, authority, site_authority, origin.port, tickets=tickets,
                             site_options=f"mode = keys {more}", policy=f"allow = {{{RIGHTS}}}\n", **options)
        for name in fleet.edges_allowed:
            fleet.edges_allowed[name] = f'keys = {{"*"}} allow = {{{RIGHTS}}}'
        fleet.write_keyd()
        return fleet
    return make_edges


def serves(fleet, port, session=None):
    """What a client sees there, who need not be served."""
    return edgelib.s_client(port, "-tls1_2", *(["-sess_in", session] if session else []), ca=fleet.site_authority.certificate)


def copy_conf(fleet):
    """edge2's configuration is edge1's, on its own port."""
    text = (fleet.folder / "edge1/edge.conf").read_text()
    for edge in fleet.edges:
        (edge.folder / "edge.conf").write_text(text.replace(f"127.0.0.1:{fleet.port}", f"127.0.0.1:{edge.port}"))


@pytest.mark.parametrize("tickets", ["shared", "keyserver"])
def test_two_edges_and_two_key_servers(make_fleet, daemons, tickets):
    """Each edge resumes what the other has made, of either key server, and asks the one that has sealed it."""
    fleet = make_fleet(tickets, site_options="strategy = round_robin", keys={"example.com": ["rsa2048"]})
    add_server(fleet, daemons, "keys2")
    copy_conf(fleet)
    fleet.start(daemons)
    harness.wait_until(lambda: all(is_up(fleet, server) for server in SERVERS), "both are up")
    if tickets == "keyserver":  # keys are asked for when the first clients come
        assert all("hello from the origin" in serves(fleet, port) for port in fleet.ports())
    fleet.wait_for_keys()
    sessions = sessions_of_both(fleet, [], fleet.s_client)
    for port in fleet.ports():
        for server in SERVERS:
            assert fleet.resumes(port, sessions[server], "tls1_2"), (port, server)
    for server in SERVERS:
        harness.wait_until(lambda server=server: done(fleet, server, "resume") == 2, f"{server} has opened its own")


def test_no_site_opens_anothers(make_fleet, daemons, site_authority):
    """Both with the same private key."""
    fleet = make_fleet()
    store = fleet.folder / "keys1/keys"
    _, certificate = site_authority.issue(store / "example.com", "example.com", "DNS:example.com,DNS:b.example.com")
    shutil.copy(certificate, fleet.folder / "edge1")
    text = (fleet.folder / "edge1/edge.conf").read_text()
    block = text[text.index('site "example.com"'):]
    (fleet.folder / "edge1/edge.conf").write_text(text + block.replace('site "example.com"', 'site "b.example.com"'))
    shutil.copy(certificate, fleet.folder / "edge2")
    copy_conf(fleet)
    fleet.start(daemons)
    fleet.wait_for_keys()
    session = fleet.session(fleet.port, "tls1_2")
    for port in fleet.ports():
        assert not fleet.resumes(port, session, "tls1_2", "b.example.com")
        assert fleet.resumes(port, session, "tls1_2")


@pytest.mark.parametrize("revoke", [revoke_block, revoke_permission, revoke_key_of_edge])
def test_an_edge_that_is_revoked(make_fleet, daemons, revoke):
    """It resumes nothing, from that moment; and what it could have had resumed is nobody's any more."""
    fleet = make_fleet().start(daemons)
    fleet.wait_for_keys()
    first, second = fleet.ports()
    session = fleet.session(first, "tls1_2")
    assert fleet.resumes(second, session, "tls1_2")
    revoke(fleet)
    fleet.reload_keyd()
    assert "hello from the origin" not in serves(fleet, second, session)
    assert not fleet.resumes(first, session, "tls1_2")
    harness.wait_until(lambda: fleet.resumes(first, fleet.session(first, "tls1_2", path="again"), "tls1_2"),
                       "edge1 goes on with new sessions")


@pytest.mark.parametrize("tickets", ["shared", "keyserver"])
def test_a_key_without_the_permission(make_fleet, daemons, tickets):
    """`tickets` is taken from the key's policy: nothing is resumed from that moment, and clients are served when edges have heard."""
    fleet = make_fleet(tickets).start(daemons)
    assert all("hello from the origin" in serves(fleet, port) for port in fleet.ports())
    fleet.wait_for_keys()
    session = fleet.session(fleet.port, "tls1_2")
    assert fleet.resumes(fleet.ports()[1], session, "tls1_2")
    policy = fleet.folder / "keys1/keys/example.com.policy"
    policy.write_text("allow = {keys}\n")
    fleet.reload_keyd()
    for port in fleet.ports():
        assert "Reused" not in serves(fleet, port, session)
        harness.wait_until(lambda port=port: "hello from the origin" in serves(fleet, port, session), "clients are served")
        assert not fleet.resumes(port, session, "tls1_2")
    policy.write_text(f"allow = {{{RIGHTS}}}\n")
    fleet.reload_keyd()
    harness.wait_until(lambda: fleet.resumes(fleet.port, fleet.session(fleet.port, "tls1_2", path="again"), "tls1_2"),
                       "new sessions are resumed")


def test_a_site_that_is_taken_away(make_fleet, daemons):
    fleet = make_fleet().start(daemons)
    fleet.wait_for_keys()
    session = fleet.session(fleet.port, "tls1_2")
    reload_edge(fleet, 'site "example.com" {', 'site "another" { names = {"example.com"}')
    assert not fleet.resumes(fleet.port, session, "tls1_2")
