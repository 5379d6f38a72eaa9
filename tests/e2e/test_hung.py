"""A process that hangs (here: stopped) is noticed, shown to operators, ended, and replaced."""
import os
import signal
import urllib.error
import urllib.request

import pytest

import harness
import pair as pairs

# Seconds from the stop until service is whole: the bound of super.c, and a start.
BOUND = 12 + harness.PATIENCE


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    nginx = pairs.Nginx(tmp_path_factory.mktemp("origin"))
    yield nginx
    nginx.stop()


@pytest.fixture
def pair(folder, authority, site_authority, origin, daemons):
    ports = {part: harness.free_port() for part in ("keyd", "edge")}
    pair = pairs.Pair(folder, authority, site_authority, origin.port, site_options="deadline = 1500ms",
                      server_options="ping_interval = 200ms ping_timeout = 500ms connect_timeout = 500ms",
                      keyd_options=f'fronts = 1 signers = 1 admin {{ listen = "127.0.0.1:{ports["keyd"]}" }}',
                      edge_options=f'workers = 1 admin {{ listen = "127.0.0.1:{ports["edge"]}" }}')
    pair.admin_ports = ports
    return pair.start(daemons)


def readyz(pair, part):
    """Its status; None when nobody answers: the master waits for a worker's part of it for a second."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{pair.admin_ports[part]}/readyz", timeout=3) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


@pytest.mark.parametrize("part, role", [("keyd", "keyd-front"), ("keyd", "signer"), ("keyd", "keyd-audit"),
                                        ("keyd", "admin"), ("edge", "edge-worker"), ("edge", "admin")])
def test_stopped_process_is_replaced(pair, part, role):
    daemon = getattr(pair, part)
    harness.wait_until(lambda: readyz(pair, part) == 200, "ready at first")
    # Every process has been through its loop after loading: no more is forgiven it.
    harness.wait_until(lambda: pair.get(check=False)[0] == 0, "handshakes at first")
    before = len(daemon.log())
    (victim,) = daemon.children(role)
    os.kill(victim, signal.SIGSTOP)
    # The operator's own process answers nothing while it is stopped.
    shown = None if role == "admin" else 503
    harness.wait_until(lambda: readyz(pair, part) == shown, f"/readyz gives {shown}", BOUND)
    assert victim in daemon.children(role)  # the word comes before the end
    daemon.wait_log(rf'child hangs, killed role="?{role}"? index=0 child={victim} seconds=[0-9]+', BOUND, since=before)
    harness.wait_until(lambda: readyz(pair, part) == 200, "ready again", BOUND)
    assert victim not in daemon.children(role)
    harness.wait_until(lambda: pair.get(check=False)[0] == 0, "handshakes")
    assert daemon.log()[before:].count("child hangs") == 1
