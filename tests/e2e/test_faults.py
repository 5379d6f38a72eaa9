"""What happens when something dies, stalls or lies: who saw which error, what went on, how it came back.

Seeds: K11 (channel lost and made anew), K12 (several key servers).
"""
import contextlib
import itertools
import os
import re
import selectors
import signal
import socket
import ssl
import struct
import threading

import pytest

import harness
import liar
import pair as pairs


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    nginx = pairs.Nginx(tmp_path_factory.mktemp("origin"))
    yield nginx
    nginx.stop()


@pytest.fixture
def pair(folder, authority, site_authority, origin):
    return pairs.Pair(folder, authority, site_authority, origin.port,
                      site_options="deadline = 1500ms",
                      server_options="ping_interval = 200ms ping_timeout = 500ms connect_timeout = 500ms")


def signal_tree(daemon, number):
    """All processes of a daemon, its master first."""
    children = daemon.children()
    daemon.signal(number)
    for pid in children:
        os.kill(pid, number)


def refused_by_alert(pair):
    """A full handshake is refused with internal_error, as an alert and not by a reset or a stall."""
    status, _, text = pair.get(check=False)
    assert status == 35, text
    assert re.search(r"alert internal error", text), text
    return text


def works(pair):
    status, body, _ = pair.get(check=False)
    return status == 0 and "hello from the origin" in body


def ticket(pair, folder):
    """A TLS 1.3 session kept in a file, for resuming it later."""
    path = folder / "session.pem"
    pair.s_client("-tls1_3", "-sess_out", path)
    assert path.exists()
    return path


def test_key_server_killed_in_mid_operation(pair, daemons):
    pair.start(daemons)
    signers = pair.keyd.children("signer")
    for pid in signers:
        os.kill(pid, signal.SIGSTOP)  # the operation is under way and will not end
    seen = {}
    client = threading.Thread(target=lambda: seen.update(text=refused_by_alert(pair)))
    client.start()
    before = len(pair.edge.log())
    harness.wait_until(lambda: pair.status("keyd") is not None, "the admin process answers")
    signal_tree(pair.keyd, signal.SIGKILL)
    client.join(harness.PATIENCE)
    assert "text" in seen, pair.edge.log()
    pair.edge.wait_log(r"keys1", since=before)
    pair.keyd.process.wait()
    pair.start_keyd(daemons)
    harness.wait_until(lambda: works(pair), "handshakes after the key server is back")


def test_key_server_stopped(pair, daemons, folder):
    pair.start(daemons)
    session = ticket(pair, folder)
    signal_tree(pair.keyd, signal.SIGSTOP)
    try:
        refused_by_alert(pair)
        # Resumption needs no key server.
        assert "Reused" in pair.s_client("-tls1_3", "-sess_in", session)
    finally:
        signal_tree(pair.keyd, signal.SIGCONT)
    harness.wait_until(lambda: works(pair), "handshakes after the key server goes on")


def test_all_key_servers_gone_and_back(pair, daemons, folder):
    pair.start(daemons)
    session = ticket(pair, folder)
    assert pair.keyd.stop() == 0
    refused_by_alert(pair)
    refused_by_alert(pair)
    assert "Reused" in pair.s_client("-tls1_3", "-sess_in", session)
    pair.start_keyd(daemons)
    harness.wait_until(lambda: works(pair), "handshakes after the key server is back")


def test_client_leaves_while_the_key_server_is_stopped(pair, daemons):
    pair.start(daemons)
    signal_tree(pair.keyd, signal.SIGSTOP)
    try:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="example.com")
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        with socket.create_connection(("127.0.0.1", pair.port), harness.PATIENCE) as sock:
            sock.sendall(outgoing.read())
        # Noticed before the deadline of the key operation, which would have been the reason else.
        pair.edge.wait_log('why="client left during the handshake"')
        harness.wait_until(lambda: pair.status("edge")["counters"]["connections"] == 0, "the connection is gone")
    finally:
        signal_tree(pair.keyd, signal.SIGCONT)


def send_junk(port, over):
    """What is not TLS, connection after connection, until `over` is set."""
    while not over.is_set():
        with socket.create_connection(("127.0.0.1", port), harness.PATIENCE) as sock:
            sock.sendall(b"junk" * 16)
            sock.recv(100)


def test_junk_does_not_hide_key_failures(pair, daemons):
    pair.start(daemons)
    assert pair.keyd.stop() == 0
    over = threading.Event()
    flood = threading.Thread(target=send_junk, args=(pair.port, over))
    flood.start()
    try:
        pair.edge.wait_log('why="not TLS".*repeated=[1-9]')  # this kind is over its bound
        refused_by_alert(pair)
        pair.edge.wait_log('connection refused.*why="private key operation failed"')
    finally:
        over.set()
        flood.join()


@pytest.fixture
def lying(pair, daemons):
    """The pair with a liar as its only key server; tests set liar.lie."""
    pair.start_keyd(daemons)
    middle = liar.Liar(pair, pair.keyd_port)
    pair.servers = {"keys1": middle.port}
    pair.write_edge()
    pair.start_edge(daemons)
    yield pair, middle
    middle.stop()


def test_wrong_signature_is_noticed_at_the_edge(lying):
    pair, middle = lying
    middle.lie = lambda frame: [frame[:-1] + bytes([frame[-1] ^ 1])] if liar.is_answer(frame) else [frame]
    before = len(pair.edge.log())
    refused_by_alert(pair)
    pair.edge.wait_log(r"(?i)signature|VERIFY", since=before)
    middle.lie = lambda frame: [frame]
    harness.wait_until(lambda: works(pair), "true signatures are accepted again")


def test_wrong_signature_fails_over_within_the_deadline(lying, daemons):
    pair, middle = lying
    middle.lie = lambda frame: [frame[:-1] + bytes([frame[-1] ^ 1])] if liar.is_answer(frame) else [frame]
    pair.servers = {"liar": middle.port, "keys1": pair.keyd_port}
    pair.write_edge()
    assert pair.edge.stop() == 0
    pair.start_edge(daemons)
    for _ in range(6):
        assert works(pair)


@pytest.mark.parametrize("shift", [1, 0x80000000])
def test_wrong_id(lying, shift):
    pair, middle = lying
    middle.lie = lambda frame: ([liar.with_id(frame, liar.frame_id(frame) + shift)]
                                if liar.is_answer(frame) else [frame])
    refused_by_alert(pair)
    middle.lie = lambda frame: [frame]
    harness.wait_until(lambda: works(pair), "right ids are accepted again")


def test_silent_key_server(lying):
    """It is well but for the answers: the site's deadline ends the wait, not the handshake's own time."""
    pair, middle = lying
    middle.lie = lambda frame: [] if liar.is_answer(frame) else [frame]
    refused_by_alert(pair)
    pair.edge.wait_log('connection refused.*why="private key operation failed" err="TIMEOUT"')
    middle.lie = lambda frame: [frame]
    harness.wait_until(lambda: works(pair), "answers are accepted again")


def test_repeated_id(lying):
    pair, middle = lying
    middle.lie = lambda frame: [frame, frame, frame]
    for _ in range(5):
        assert works(pair)


def test_late_answer_is_not_given_to_somebody_else(lying):
    """Answers that come after their deadline, together with the next one, are dropped."""
    pair, middle = lying
    held = []

    def hold(frame):
        if liar.is_answer(frame):
            held.append(frame)
            return []
        return [frame]
    middle.lie = hold
    refused_by_alert(pair)
    assert held
    middle.lie = lambda frame: [*held, frame]
    for _ in range(3):
        assert works(pair)


@pytest.mark.parametrize("what", ["garbage", "half", "version", "huge", "error"])
def test_broken_answers(lying, what):
    pair, middle = lying
    broken = {
        "garbage": lambda frame: [os.urandom(700)],
        "half": lambda frame: [frame[:len(frame) // 2]],
        "version": lambda frame: [b"\x02\x00" + frame[2:]],
        "huge": lambda frame: [frame[:2] + b"\xff\xff" + frame[4:]],
        "error": lambda frame: [struct.pack(">HHI", 0x0100, 8, liar.frame_id(frame)) + b"\x11\0\x01\xff\x12\0\x01\x08"],
    }[what]
    middle.lie = lambda frame: broken(frame) if liar.is_answer(frame) else [frame]
    refused_by_alert(pair)
    middle.lie = lambda frame: [frame]
    harness.wait_until(lambda: works(pair), "the channel is good again")


def test_channel_closed_in_mid_answer(lying):
    pair, middle = lying
    once = []

    def close(frame):
        if liar.is_answer(frame) and not once:
            once.append(True)
            return None
        return [frame]
    middle.lie = close
    pair.get(check=False)
    assert once
    harness.wait_until(lambda: works(pair), "a new channel is made")


def test_flood_of_answers_nobody_asked_for(lying):
    pair, middle = lying
    middle.lie = lambda frame: [liar.with_id(frame, 0x5A5A0000 + i) for i in range(2000)] + [frame]
    for _ in range(3):
        assert works(pair)


def test_slow_key_server(pair, daemons):
    """Slow, but within the deadline: the client waits and is served."""
    pair.options["server_options"] = "ping_timeout = 5s"
    pair.start_keyd(daemons)
    gate = threading.Event()

    def slowly(frame):
        if liar.is_answer(frame):
            gate.wait(0.4)
        return [frame]
    middle = liar.Liar(pair, pair.keyd_port, slowly)
    try:
        pair.servers = {"keys1": middle.port}
        pair.write_edge()
        pair.start_edge(daemons)
        for _ in range(3):
            assert works(pair)
    finally:
        middle.stop()


def test_hedging_leaves_a_slow_key_server_alone(pair, daemons):
    """Two are asked when one is late; long before it would be given up, and while it is still held to be well."""
    pair.start_keyd(daemons)
    stuck, asked_in_vain = threading.Event(), threading.Event()

    def hold(frame):
        if liar.is_answer(frame) and stuck.is_set():
            asked_in_vain.set()
            return []
        return [frame]
    middle = liar.Liar(pair, pair.keyd_port, hold)
    try:
        pair.servers = {"slow": middle.port, "keys1": pair.keyd_port}
        pair.options["site_options"] = "deadline = 60s strategy = round_robin hedge = on"
        pair.options["server_options"] = "ping_interval = 60s"
        pair.write_edge()
        pair.start_edge(daemons)

        def server(name):
            (worker,) = pair.status("edge")["workers"]
            return next(server for server in worker["keyservers"] if server["name"] == name)
        harness.wait_until(lambda: works(pair) and min(server(name)["requests"] for name in pair.servers) >= 40,
                           "both are known", 3 * harness.PATIENCE)
        before = server("keys1")["hedges"]
        stuck.set()
        harness.wait_until(lambda: works(pair) and asked_in_vain.is_set(), "one has gone to the slow one")
        harness.wait_until(lambda: server("keys1")["hedges"] > before, "and to the other")
        assert server("slow")["up"] and server("slow")["timeouts"] == 0
    finally:
        middle.stop()


@pytest.mark.parametrize("role", ["signer", "keyd-front", "keyd-audit"])
def test_key_server_process_killed(pair, daemons, role):
    """Nobody notices: what needs the dead process waits for the next, which is there at once."""
    pair.start(daemons)
    harness.wait_until(lambda: pair.status("keyd")["ready"], "all processes serve")
    over, results = threading.Event(), []

    def visit():
        while not over.is_set():
            results.append(pair.get(check=False)[::2])
    clients = [threading.Thread(target=visit) for _ in range(2)]
    for client in clients:
        client.start()
    try:
        for _ in range(2):
            (victim,) = pair.keyd.children(role)
            before = len(results)
            harness.wait_until(lambda: len(results) >= before + 4, "requests before")
            os.kill(victim, signal.SIGKILL)
            harness.wait_until(lambda: pair.keyd.children(role) not in ([], [victim]), f"a new {role}")
            harness.wait_until(lambda: pair.status("keyd")["ready"], f"the new {role} serves")
            before = len(results)
            harness.wait_until(lambda: len(results) >= before + 4, "requests afterwards")
    finally:
        over.set()
        for client in clients:
            client.join()
    failed = [text for status, text in results if status != 0]
    assert not failed, (len(failed), len(results), failed[0][-1500:], pair.keyd.log()[-3000:], pair.edge.log()[-2000:])


def test_edge_worker_killed(pair, daemons):
    pair.start(daemons)
    victim = pair.edge.children("edge-worker")[0]
    os.kill(victim, signal.SIGKILL)
    harness.wait_until(lambda: pair.edge.children("edge-worker") not in ([], [victim]), "a new worker")
    harness.wait_until(lambda: works(pair), "handshakes go on")


def test_fewer_descriptors_than_clients(pair, daemons):
    """Out of descriptors the edge refuses or queues, and serves again when some are free."""
    import socket
    pair.start_keyd(daemons)
    pair.start_edge(daemons, before=["prlimit", "--nofile=128:128"])
    idle = [socket.create_connection(("127.0.0.1", pair.port)) for _ in range(300)]
    for sock in idle:
        sock.close()
    harness.wait_until(lambda: works(pair), "service after descriptors ran out")
    assert pair.edge.alive()


def take_places(port, addresses, held, over):
    """
    Connections that say nothing or little, from each address in turn: `held` of them at a time, a new one for each
    that the server closes, until `over` is set.
    """
    first_bytes = [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x16\x03\x01\x40\x00" + bytes(2000)]
    turns = itertools.count()
    with selectors.DefaultSelector() as places:
        while not over.is_set():
            while len(places.get_map()) < held:
                turn = next(turns)
                sock = socket.create_connection(("127.0.0.1", port), 1, (addresses[turn % len(addresses)], 0))
                with contextlib.suppress(OSError):  # closed already: noticed below
                    sock.sendall(first_bytes[turn % len(first_bytes)])
                places.register(sock, selectors.EVENT_READ)
            for key, _ in places.select(0.05):
                places.unregister(key.fileobj)
                key.fileobj.close()
        for key in list(places.get_map().values()):
            key.fileobj.close()


@pytest.mark.parametrize("addresses", [["127.0.0.2"], [f"127.0.{i // 200}.{2 + i % 200}" for i in range(400)]],
                         ids=["one", "many"])
def test_strangers_do_not_keep_edges_out(pair, daemons, addresses):
    """An edge whose channels are not open yet gets in while others fill the places of a front."""
    pair.options["keyd_options"] = "fronts = 1 signers = 1 limits { connections = 400 address_handshakes = 64 }"
    pair.write_keyd()
    pair.start_keyd(daemons)
    over = threading.Event()
    flood = threading.Thread(target=take_places, args=(pair.keyd_port, addresses, 300, over))
    flood.start()
    try:
        pair.keyd.wait_log("handshake gives way to a newer one")
        pair.start_edge(daemons)
        harness.wait_until(lambda: works(pair), "handshakes in the flood")
        assert flood.is_alive()
    finally:
        over.set()
        flood.join()
    assert pair.keyd.alive() and works(pair)


def test_disk_full_stops_operations_by_default(folder, authority, site_authority, origin, daemons):
    """The audit log cannot be written: no operation without its line."""
    pair = pairs.Pair(folder, authority, site_authority, origin.port, audit_file="/dev/full",
                      site_options="deadline = 1500ms")
    pair.start_keyd(daemons)
    pair.start_edge(daemons, ready=False)
    refused_by_alert(pair)
    harness.wait_until(lambda: re.search(r"(?i)audit", pair.keyd.log()), "the key server says why")


def test_audit_log_that_cannot_be_opened_is_no_start(pair, daemons):
    (pair.folder / "keys1" / "audit.log").mkdir()
    keyd = harness.Daemon(harness.FARKEY, "keyd", "-c", pair.folder / "keys1/keyd.conf", log=pair.folder / "keyd.log")
    daemons.append(keyd)
    assert keyd.process.wait(harness.PATIENCE) != 0
    assert "audit" in keyd.log()
