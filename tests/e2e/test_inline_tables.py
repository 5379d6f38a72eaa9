"""The inline box's tables, live: I9 (sessions, connections, queue state; secrets only as present), I10 (a session's
end), I11 (the client's certificate is kept in the session table); in them is seen that held bytes are acknowledged, I7.
"""
import json
import os
import subprocess
import sys
import time

import harness
import netlib
import pytest

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"), pytest.mark.unsanitized]
TABLES = ["session", "connection", "queue"]


@pytest.fixture
def wire(tmp_path):
    made = netlib.Wire(tmp_path)
    yield made
    made.end()


@pytest.fixture
def authority(tmp_path):
    return harness.Authority(tmp_path / "ca")


def tables(box, *words):
    return harness.run(harness.FARKEY, "inline", "tables", *words, "-c", box.conf).stdout


def rows(box, table):
    return json.loads(tables(box, table, "--json"))[table]


def peer(wire, box, *words):
    """A client that has done what it is asked for, and waits for a line to go on."""
    process = subprocess.Popen(["ip", "netns", "exec", wire.client, sys.executable, str(netlib.PEER), *map(str, words)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "waits\n"
    return process


def go_on(process):
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline()


def test_tables_I7_I9_I10_I11(wire, authority, tmp_path):
    mine = authority.issue(tmp_path / "client", "client one", "DNS:client.example")
    box = netlib.Box(wire, authority, site_options='mode = local certificate = {"site.crt"} key = {"site.key"} '
                     f'client_certificate {{ ca = "{authority.certificate}" }}', keys=("site",))
    wire.serve()
    for table in TABLES:
        assert rows(box, table) == []
    with peer(wire, box, "halves", netlib.SERVER[0], 8443, box.ca, *mine) as client:
        session, = rows(box, "session")
        connection, = rows(box, "connection")
        queued, = [row for row in rows(box, "queue") if row["from"] == "client" and row["q_state"] == "hold"]
        # Table I.
        assert (session["site"], session["sni"]) == ("example.com", "example.com")
        assert session["version"] == "TLSv1.3" and session["mac"] == "AEAD" and "AES" in session["cipher"]
        assert (session["source"], session["destination"]) == (netlib.CLIENT[0], netlib.SERVER[0])
        assert session["master_secret"] == "absent" and session["connections"] == 1
        assert 0 < session["expires"] - time.time() <= 7200
        assert "client one" in session["client_certificate"]
        # Table II. The half of a record is acknowledged, its tag has not come.
        assert connection["session"] == session["session"] and connection["state"] == "RECORDS"
        assert (connection["source"], connection["destination_port"]) == (netlib.CLIENT[0], 8443)
        for secret in ["server_key", "client_key", "server_iv", "client_iv"]:
            assert connection[secret] == "present"
        assert connection["server_mac_key"] == connection["client_mac_key"] == "absent"  # an AEAD has none
        assert connection["ack"] == connection["sequence"] and connection["window"] > 0
        assert connection["mac_state"] == "waiting"
        # Table III.
        assert queued["source_port"] == connection["source_port"]
        assert queued["sequence"] + queued["bytes"] == connection["sequence"]
        assert go_on(client) == "done\n"
        harness.wait_until(lambda: rows(box, "connection")[0]["mac_state"] == "verified", "the record is whole")
        assert not [row for row in rows(box, "queue") if row["q_state"] == "hold"]
        client.stdin.close()


def test_bytes_that_are_ready_I9(wire, authority):
    box = netlib.Box(wire, authority)
    wire.serve()
    with peer(wire, box, "stall", netlib.SERVER[0], 8443, box.ca) as client:
        queued = harness.wait_until(lambda: [row for row in rows(box, "queue") if row["from"] == "server"],
                                    "bytes wait for the client")
        assert queued[0]["q_state"] == "ready" and queued[0]["bytes"] > 0
        assert go_on(client) == "done\n"
        client.stdin.close()


def test_text_and_several_workers(wire, authority):
    """A session's connections are one row, whichever workers have them."""
    box = netlib.Box(wire, authority)
    wire.serve()
    with peer(wire, box, "twice", netlib.SERVER[0], 8443, box.ca) as client:
        session, = rows(box, "session")
        assert session["connections"] == 2 and len(rows(box, "connection")) == 2
        text = tables(box)
        for title in ["Table I: sessions", "Table II: connections", "Table III: queue state"]:
            assert f"{title}\n" in text
        assert text.count(session["session"]) == 3
        everything = json.loads(tables(box, "--json"))
        assert sorted(everything) == sorted([*TABLES, "left_out"]) and everything["left_out"] == 0
        assert tables(box, "queue").startswith("Table III: queue state\nSOURCE")
        assert go_on(client) == "done\n"
        client.stdin.close()


def test_what_is_no_table(wire, authority):
    box = netlib.Box(wire, authority)
    done = harness.run(harness.FARKEY, "inline", "tables", "sessions", "-c", box.conf, check=False)
    assert done.returncode == 2 and 'there is no table "sessions"' in done.stderr
    assert "error" in box.control("tables-sessions")
    assert sorted(box.control("tables-queue")) == ["left_out", "queue"]
    done = harness.run(harness.FARKEY, "inline", "tables", "--control", wire.folder / "nobody", check=False)
    assert done.returncode == 1 and "cannot ask the box" in done.stderr
