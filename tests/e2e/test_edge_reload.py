"""Reload of the edge: in service at all workers, or refused with the reason and without effect."""
import os
import pathlib
import re
import signal
import threading

import pytest

from edgelib import Edge, Origin, http, site
from harness import FARKEY, Daemon, channel_identity, control, curl, free_port, limited_memory, run, wait_until


@pytest.fixture(scope="module")
def pki(site_authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sites")
    for stem in "old", "new":
        site_authority.issue(folder / stem, "example.com", "DNS:example.com")
    return folder


@pytest.fixture
def origin():
    made = Origin(http(b"hello from the origin"))
    yield made
    made.close()


def main_site(pki, origin, stem="old", **options):
    return site("example.com", [pki / f"{stem}.crt"], [pki / f"{stem}.key"], [origin.address], **options)


def served(edge, ca):
    return curl(f"https://example.com:{edge.port}/", ca=ca, resolve=f"example.com:{edge.port}:127.0.0.1")[1]


def reload_answer(edge):
    return control(edge.folder / "run" / "edge.sock", "reload")


def kill_workers(edge):
    """All at once: what comes up next serves what the master has committed."""
    before = edge.daemon.children("edge-worker")
    for pid in before:
        os.kill(pid, signal.SIGKILL)

    def serve():
        now = edge.daemon.children("edge-worker")
        return len(now) == len(before) and not set(before) & set(now) and edge.status()["ready"]
    wait_until(serve, "workers serve again")


def channel_blocks(authority, folder):
    channel_identity(authority, folder / "channel", "edge", "edge1")
    return ('channel { certificate = "channel/channel.crt" key = "channel/channel.key" ca = "channel/ca.crt" }\n'
            'keyserver "keys1" {\n'
            f'    address = "127.0.0.1:{free_port()}"\n'
            '}\n')


# One line each that replaces the line `at`, and what is said about it.
SPOILED = [
    ("    address", '    address = "x"', 'address: not "host:port"'),
    ("    address", '    address = "127.0.0.1:0"', 'address: not "host:port"'),
    ("    address", '    address = "unix:/run/x"', 'address: not "host:port"'),
    ("    address", '    address = "a b:2407"', 'address: not "host:port"'),
    ("    address", '    address = "10.0.0.300:2407"', 'address: not "host:port"'),
    ("    address", '    address = "127.0.0.1:2407" bind = "foo"', "bind: not an address"),
    ("    address", '    address = "127.0.0.1:2407" bind = "unix:/run/x"', "bind: not an address"),
    ("    address", '    address = "127.0.0.1:2407" device = "no such device, ever"',
     "device: not the name of a network interface"),
    ("mode = local", 'mode = local groups = {"foo"}', 'groups: "foo" is not a group'),
    ("mode = local", 'mode = local groups = {"X25519", "P-256", "foo"}', 'groups: "foo" is not a group'),
    ("mode = local", 'mode = local groups = {"P-256", "P-384", "secp256r1"}', "groups: OpenSSL refuses the list"),
    ("listen", 'listen "127.0.0.1:1" { device = "a/b" }', "device: not the name of a network interface"),
]


@pytest.mark.parametrize("at,line,said", SPOILED)
def test_each_bad_option_is_refused_everywhere(daemons, folder, authority, pki, ca, origin, at, line, said):
    blocks = channel_blocks(authority, folder) + main_site(pki, origin)
    edge = Edge(daemons, folder, [blocks], workers=2)
    generation = edge.status()["generation"]
    text = re.sub(rf"^{at}.*$", lambda _: line, edge.conf.read_text(), flags=re.M)
    edge.conf.write_text(text)
    number = text.splitlines().index(line) + 1

    done = run(FARKEY, "check", "-c", edge.conf, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"{edge.conf}:{number}: ") and said in done.stderr
    answer = reload_answer(edge)
    assert answer == {"error": done.stderr.strip()}
    assert edge.status()["generation"] == generation
    assert served(edge, ca) == "hello from the origin"
    kill_workers(edge)
    assert served(edge, ca) == "hello from the origin"


@pytest.mark.parametrize("stem", ["old", "new"], ids=["same-keys", "new-keys"])
def test_one_worker_that_refuses_is_enough(daemons, folder, pki, ca, origin, stem):
    edge = Edge(daemons, folder, [main_site(pki, origin)], workers=2)
    other = Origin(http(b"another origin"))
    edge.write([main_site(pki, other, stem)])
    with limited_memory(edge.daemon.children("edge-worker")[1]):
        answer = reload_answer(edge)
    assert answer.get("error", "").startswith("a worker refused it: "), answer
    edge.daemon.wait_log("reload refused; the old configuration stays")
    status = edge.status()
    assert status["ready"] and status["generation"] == 1
    assert [worker["generation"] for worker in status["workers"]] == [1, 1]
    for _ in range(8):
        assert served(edge, ca) == "hello from the origin"
    # Signers for the refused keys are gone, those in service are not.
    wait_until(lambda: len(edge.daemon.children("signer")) == 2, "two signers")
    kill_workers(edge)
    assert served(edge, ca) == "hello from the origin"
    answer = reload_answer(edge)
    assert answer.get("ok") is True, answer
    assert edge.status()["ready"]  # when the answer comes
    assert served(edge, ca) == "another origin"
    kill_workers(edge)
    assert served(edge, ca) == "another origin"
    other.close()


def test_what_needs_a_restart_is_said(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [main_site(pki, origin)], workers=2)
    edge.workers = 1
    edge.write([main_site(pki, origin)])
    answer = reload_answer(edge)
    assert answer["ok"] is True and answer["note"] == "a change of workers needs a restart"
    assert len(edge.daemon.children("edge-worker")) == 2
    edge.workers = 2
    edge.write([main_site(pki, origin)])
    assert "note" not in reload_answer(edge)


def test_a_worker_that_dies_with_it_is_a_refusal(daemons, folder, pki, ca, origin):
    edge = Edge(daemons, folder, [main_site(pki, origin)], workers=2, options="log_level = debug")
    victim = edge.daemon.children("edge-worker")[0]
    os.kill(victim, signal.SIGSTOP)  # it does not answer, as if it were busy building
    answers = []
    asker = threading.Thread(target=lambda: answers.append(reload_answer(edge)))
    asker.start()
    # The other one has built it and waits for this one.
    other = edge.daemon.children("edge-worker")[1]
    edge.daemon.wait_log(rf"edge-worker-\d\[{other}\]: configuration built generation=2")
    os.kill(victim, signal.SIGKILL)
    asker.join()
    assert answers == [{"error": "a worker ended with the new configuration"}]
    wait_until(lambda: edge.status()["ready"], "both workers serve")
    assert edge.status()["generation"] == 1
    assert served(edge, ca) == "hello from the origin"
    assert reload_answer(edge).get("ok") is True


@pytest.mark.unsanitized  # a sanitizer's own memory is most of the address space
def test_a_start_that_workers_refuse_ends(daemons, folder, pki, origin, site_authority):
    """More than a worker may have of memory, and less than the master needs: it has no site's SSL_CTX."""
    sites = [site(f"s{i}.example", [pki / "old.crt"], [pki / "old.key"], [origin.address]) for i in range(300)]
    edge = Edge(daemons, folder, sites)

    def peak(pid):
        text = (pathlib.Path("/proc") / str(pid) / "status").read_text()
        return int(re.search(r"VmPeak:\s+(\d+)", text)[1]) * 1024
    master, worker = peak(edge.daemon.pid), peak(edge.daemon.children("edge-worker")[0])
    assert worker > master + (1 << 20), (worker, master)
    edge.daemon.stop()
    limit = (master + worker) // 2
    again = Daemon("prlimit", f"--as={limit}", FARKEY, "edge", "-c", edge.conf, log=folder / "again.log")
    daemons.append(again)
    assert again.process.wait(20) == 1
    # Where it ran out is chance: within a site, which is then named, or between two.
    assert re.search(r'edge cannot start.*why="(site .*s\d+\.example.*: |out of memory")', again.log()), again.log()[-3000:]
