"""Sessions of TLS 1.2 clients without tickets, in a Redis that edges share."""
import re
import shutil
import signal
import subprocess
import time

import pytest

import fleet as fleets
import harness
import pair as pairs

BY_ID = {"version": "tls1_2", "options": ("-no_ticket",)}


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    nginx = pairs.Nginx(tmp_path_factory.mktemp("origin"))
    yield nginx
    nginx.stop()


def metric(fleet, name):
    """A metric of edge1, by its name in `farkey status` or at /metrics."""
    text = harness.run("curl", "-sS", "--fail", f"http://127.0.0.1:{fleet.admin_port}/metrics").stdout
    return int(re.search(rf"^farkey_edge_{re.escape(name)} (\d+)$", text, re.M)[1])


@pytest.fixture
def make_fleet(folder, authority, site_authority, origin):
    def make(address, more="", **options):
        admin = harness.free_port()
        options.setdefault("site_options", "sessions = redis")
        fleet = fleets.Fleet(folder, authority, site_authority, origin.port, **options, edge_options=f"""workers = 1
tickets {{ enabled = off }}
redis {{ address = "{address}" {more} }}""")
        path = folder / "edge1/edge.conf"
        path.write_text(path.read_text() + f'admin {{ listen = "127.0.0.1:{admin}" }}\n')
        fleet.admin_port = admin
        return fleet
    return make


@pytest.fixture
def redis(folder, daemons):
    return fleets.Redis(folder).start(daemons)


@pytest.fixture
def fleet(make_fleet, redis, daemons):
    made = make_fleet(f"127.0.0.1:{redis.port}").start(daemons)
    ready(made)
    return made


def ready(fleet):
    fleet.wait_for_keys()
    harness.wait_until(fleet.reach_the_store, "the store is up")


def kept(fleet, redis, count=1):
    """A session, once it has arrived there: edges do not wait for that."""
    before = len(redis.keys())
    session = fleet.session(fleet.port, **BY_ID)
    harness.wait_until(lambda: len(redis.keys()) >= before + count, "the session is in Redis")
    return session


def test_edges_share_sessions(fleet, redis):
    session = kept(fleet, redis)
    for port in fleet.ports():
        assert fleet.resumes(port, session, **BY_ID)
    assert metric(fleet, 'session_store_puts_total{result="kept"}') == 1
    assert "session store" not in fleet.edge.log()
    name, = redis.keys()
    assert re.fullmatch("farkey:[0-9a-f]{64}", name)
    text = harness.run("openssl", "sess_id", "-in", session, "-noout", "-text").stdout
    master = bytes.fromhex(re.search(r"Master-Key: ([0-9A-F]+)", text)[1])
    identity = bytes.fromhex(re.search(r"Session-ID: ([0-9A-F]+)", text)[1])
    assert name.endswith(identity.hex())
    value = subprocess.run(["redis-cli", "-p", str(redis.port), "--raw", "get", name], capture_output=True,
                                   check=True).stdout
    assert len(value) > 100 and value[0] == 1
    for part in (master[:16], identity, b"example.com"):
        assert part not in value
    life = int(redis.cli("pttl", name))
    assert 7000_000 < life <= 7200_000  # tickets { lifetime }


def test_sessions_outlive_a_restart_of_the_edge(fleet, redis, daemons):
    session = kept(fleet, redis)
    fleet.edge.stop()
    fleet.start_edge(daemons, ready=False)
    ready(fleet)
    assert fleet.resumes(fleet.port, session, **BY_ID)


def test_what_was_changed_there_is_not_resumed(fleet, redis):
    session = kept(fleet, redis)
    name, = redis.keys()
    other = fleet.ports()[1]
    for value in ("", "x", "y" * 1000, "z" * 5000):
        redis.cli("set", name, value)
        harness.wait_until(fleet.reach_the_store, "the store is up")
        assert not fleet.resumes(other, session, **BY_ID)
    redis.cli("del", name)
    redis.cli("rpush", name, "a list")
    harness.wait_until(fleet.reach_the_store, "the store is up")
    assert not fleet.resumes(other, session, **BY_ID)


def test_no_site_resumes_anothers(make_fleet, redis, daemons, site_authority):
    """Both with the same private key, so with the same ticket keys; CVE-2025-23419."""
    fleet = make_fleet(f"127.0.0.1:{redis.port}")
    store = fleet.folder / "keys1/keys"
    _, certificate = site_authority.issue(store / "example.com", "example.com", "DNS:example.com,DNS:b.example.com")
    for edge in ("edge1", "edge2"):
        shutil.copy(certificate, fleet.folder / edge)
        conf = fleet.folder / edge / "edge.conf"
        text = conf.read_text()
        block = re.search(r'site "example.com" \{.*?\n\}|site "example.com" \{.*? \}\n', text, re.S)[0]
        conf.write_text(text + block.replace('site "example.com"', 'site "b.example.com"') + "\n")
    fleet.start(daemons)
    ready(fleet)
    session = kept(fleet, redis)
    for port in fleet.ports():
        assert not fleet.resumes(port, session, name="b.example.com", **BY_ID)
        assert fleet.resumes(port, session, **BY_ID)


# --- revoking ---

def test_a_revoked_edge_ends_what_it_could_read(fleet, redis):
    session = kept(fleet, redis)
    del fleet.edges_allowed["edge2"]
    fleet.reload_keyd()
    harness.wait_until(lambda: not fleet.resumes(fleet.port, session, **BY_ID), "edge1 has other keys")
    harness.wait_until(lambda: all(fleet.ticket_keys()), "edge1 has keys")
    again = kept(fleet, redis)
    assert fleet.resumes(fleet.port, again, **BY_ID)


def test_a_key_without_the_permission_ends_its_sessions(fleet, redis):
    session = kept(fleet, redis)
    (fleet.folder / "keys1/keys/example.com.policy").write_text("allow = {sign, decrypt}\n")
    fleet.reload_keyd()
    for port in fleet.ports():
        harness.wait_until(lambda port=port: not fleet.resumes(port, session, **BY_ID), "no edge resumes it")


def test_a_site_that_is_taken_away_ends_its_sessions(fleet, redis):
    session = kept(fleet, redis)
    conf = fleet.folder / "edge1/edge.conf"
    conf.write_text(conf.read_text().replace('site "example.com" {', 'site "another" { names = {"example.com"}'))
    answer = harness.control(fleet.folder / "edge1/run/edge.sock", "reload")
    assert answer.get("ok"), answer
    harness.wait_until(lambda: all(fleet.ticket_keys("another")), "the new site has ticket keys")
    assert not fleet.resumes(fleet.port, session, **BY_ID)
    assert fleet.resumes(fleet.ports()[1], session, **BY_ID)


# --- when Redis is not there ---

def test_without_redis_clients_are_served(make_fleet, folder, daemons):
    redis = fleets.Redis(folder)
    fleet = make_fleet(f"127.0.0.1:{redis.port}").start(daemons)
    fleet.wait_for_keys()
    fleet.edge.wait_log("session store is out of reach", since=0)
    session = fleet.session(fleet.port, **BY_ID)
    assert fleet.resumes(fleet.port, session, **BY_ID)  # of this host
    assert not fleet.resumes(fleet.ports()[1], session, **BY_ID)
    assert metric(fleet, 'session_store_puts_total{result="dropped"}') >= 1
    redis.start(daemons)
    ready(fleet)
    fleet.edge.wait_log("session store is fine", since=0)
    assert fleet.edge.log().count("session store is out of reach") == 1
    session = kept(fleet, redis)
    assert fleet.resumes(fleet.ports()[1], session, **BY_ID)


def test_redis_that_restarts(fleet, redis, daemons):
    session = kept(fleet, redis)
    redis.daemon.stop()
    fleet.edge.wait_log("session store is out of reach", since=0)
    assert not fleet.resumes(fleet.ports()[1], session, **BY_ID)
    redis.start(daemons)
    ready(fleet)
    assert fleet.resumes(fleet.ports()[1], kept(fleet, redis), **BY_ID)


def test_redis_that_hangs_costs_a_bounded_wait(make_fleet, redis, daemons):
    """The first client waits for `timeout`, those after it not at all; the log says it once."""
    fleet = make_fleet(f"127.0.0.1:{redis.port}", "timeout = 500ms").start(daemons)
    ready(fleet)
    session = kept(fleet, redis)
    other = fleet.ports()[1]
    assert fleet.resumes(other, session, **BY_ID)
    redis.daemon.process.send_signal(signal.SIGSTOP)
    try:
        begin = time.monotonic()
        assert not fleet.resumes(other, session, **BY_ID)
        waited = time.monotonic() - begin
        assert waited >= 0.5
        for _ in range(3):
            assert not fleet.resumes(other, session, **BY_ID)
        fleet.edges[0].daemon.wait_log("session store is out of reach", since=0)
        text = fleet.edges[0].log()
        assert text.count("session store is slow") == 1 and text.count("session store is out of reach") == 1
    finally:
        redis.daemon.process.send_signal(signal.SIGCONT)
    ready(fleet)
    harness.wait_until(lambda: fleet.resumes(other, session, **BY_ID), "it is asked again")


def test_a_reload_changes_the_store(fleet, redis, folder, daemons):
    session = kept(fleet, redis)
    (folder / "second").mkdir()
    second = fleets.Redis(folder / "second").start(daemons)
    for edge in ("edge1", "edge2"):
        conf = fleet.folder / edge / "edge.conf"
        conf.write_text(conf.read_text().replace(f":{redis.port}", f":{second.port}"))
        answer = harness.control(fleet.folder / edge / "run/edge.sock", "reload")
        assert answer.get("ok"), answer
    ready(fleet)
    assert not fleet.resumes(fleet.ports()[1], session, **BY_ID)
    session = kept(fleet, second)
    assert fleet.resumes(fleet.ports()[1], session, **BY_ID)
    harness.wait_until(lambda: redis.cli("client", "list").count("\n") == 0, "nobody is connected to the first one")


# --- ways to reach it ---

def test_user_password_database_socket(make_fleet, folder, daemons):
    redis = fleets.Redis(folder, "--unixsocket", folder / "redis.sock", "--unixsocketperm", "777",
                         "--user", *"farkey on >a-password ~sessions:* +get +set +ping +select".split())
    redis.start(daemons)
    (folder / "password").write_text("a-password\n")
    (folder / "password").chmod(0o600)
    fleet = make_fleet(f"unix:{folder}/redis.sock",
                       f'user = "farkey" password_file = "{folder}/password" database = 5 prefix = "sessions:"')
    fleet.start(daemons)
    ready(fleet)
    session = fleet.session(fleet.port, **BY_ID)
    harness.wait_until(lambda: redis.cli("-n", "5", "keys", "sessions:*"), "the session is in Redis")
    assert fleet.resumes(fleet.ports()[1], session, **BY_ID)


def test_a_wrong_password_is_told_once(make_fleet, folder, daemons):
    redis = fleets.Redis(folder, "--requirepass", "right").start(daemons)
    (folder / "password").write_text("wrong")
    (folder / "password").chmod(0o600)
    fleet = make_fleet(f"localhost:{redis.port}", f'password_file = "{folder}/password"').start(daemons)
    fleet.edge.wait_log("session store refuses commands", since=0)
    assert "WRONGPASS" in fleet.edge.log() and "wrong" not in fleet.edge.log().replace("WRONGPASS", "")
    fleet.wait_for_keys()
    assert not fleet.resumes(fleet.ports()[1], fleet.session(fleet.port, **BY_ID), **BY_ID)


@pytest.mark.parametrize("more,site,why", [
    ('password_file = "missing"', "sessions = redis", "missing"),
    ('password_file = "open"', "sessions = redis", "open to other users"),
    ('password_file = "lines"', "sessions = redis", "in one line"),
    ('user = "u"', "sessions = redis", "user without password_file"),
    ('address = "nowhere"', "sessions = redis", "not an address"),
    ('timeout = 0', "sessions = redis", "timeout"),
])
def test_mistakes(folder, authority, site_authority, origin, more, site, why):
    fleet = fleets.Fleet(folder, authority, site_authority, origin.port, site_options=site,
                         edge_options=f"redis {{ {more} }}")
    (folder / "edge1/open").write_text("word")
    (folder / "edge1/open").chmod(0o644)
    (folder / "edge1/lines").write_text("word\nword\n")
    (folder / "edge1/lines").chmod(0o600)
    done = harness.run(harness.FARKEY, "check", "-c", fleet.folder / "edge1/edge.conf", check=False)
    assert done.returncode != 0 and why in done.stdout + done.stderr


@pytest.mark.parametrize("tickets,block,why", [("shared", "", "sessions = redis without a redis block"),
                                               ("edge", "redis { }", "write tickets = shared")])
def test_sites_that_cannot(folder, authority, site_authority, origin, tickets, block, why):
    fleet = fleets.Fleet(folder, authority, site_authority, origin.port, tickets=tickets,
                         site_options="sessions = redis", edge_options=block)
    done = harness.run(harness.FARKEY, "check", "-c", fleet.folder / "edge1/edge.conf", check=False)
    assert done.returncode != 0 and why in done.stdout + done.stderr
