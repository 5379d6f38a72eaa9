"""What a service manager gives the daemons and hears of them: limits, watchdog, a file system that it guards."""
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess

import pytest

from edgelib import Edge, Origin, http, site
from harness import FARKEY, PATIENCE, TOP, Daemon, control, curl, free_port, run, wait_until
from pair import Pair
from service import Manager


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


# --- what the service manager hears ---
@pytest.fixture
def manager(folder):
    made = Manager(folder / "notify")
    yield made
    made.socket.close()


@pytest.mark.parametrize("role", ["keyd", "edge"])
def test_watchdog(daemons, pair, manager, role):
    daemon = start(daemons, pair(), role, env=manager.environment(WATCHDOG_USEC="300000"))
    assert f"MAINPID={daemon.pid}" in manager.wait("READY=1")
    for _ in range(3):
        manager.wait("WATCHDOG=1")
    daemon.signal(signal.SIGSTOP)
    manager.hears_nothing(1)
    daemon.signal(signal.SIGCONT)
    manager.wait("WATCHDOG=1")
    assert daemon.stop() == 0
    manager.wait("STOPPING=1")


@pytest.mark.parametrize("role", ["keyd", "edge"])
def test_no_watchdog_unasked(daemons, pair, manager, role):
    daemon = start(daemons, pair(), role, env=manager.environment())
    manager.wait("READY=1")
    daemon.signal(signal.SIGHUP)
    manager.wait("READY=1")
    assert daemon.stop() == 0
    manager.wait("STOPPING=1")
    assert not [text for text in manager.heard if "WATCHDOG" in text]


# --- the units ---

ROLES = ["edge", "inline", "keyd"]
UNITS = [f"farkey-{role}@.service" for role in ROLES]
BESIDE = ["usr/lib/sysusers.d/farkey.conf", "usr/lib/tmpfiles.d/farkey.conf", "etc/logrotate.d/farkey"]


@pytest.fixture
def installed(folder):
    """Units as they are installed below `folder`."""
    run(TOP / "packaging/install", folder / "root", "/usr")
    return folder / "root/usr"


def unit_lines(path, key):
    return re.findall(rf"^{key}=(.*)$", path.read_text(), re.M)


def test_installed_files(installed):
    root = installed.parent
    assert sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()) == sorted(
        [*(f"usr/lib/systemd/system/{unit}" for unit in UNITS), *BESIDE])
    for role in ROLES:
        unit = installed / f"lib/systemd/system/farkey-{role}@.service"
        assert "@PREFIX@" not in unit.read_text()
        assert unit_lines(unit, "ExecStart") == [f"/usr/bin/farkey {role} -c /etc/farkey/%i/{role}.conf"]
        assert unit_lines(unit, "LimitNOFILE") == ["1048576"]
        assert int(unit_lines(unit, "WatchdogSec")[0]) > 0
        # An instance has what is its own, and nothing that another's end takes away.
        for key in ["RuntimeDirectory", "LogsDirectory"]:
            assert unit_lines(unit, key) == ["farkey/%i"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_the_units(folder, installed, unit):
    """As an instance, its program where it is built."""
    text = (installed / "lib/systemd/system" / unit).read_text()
    instance = folder / unit.replace("@", "@one")
    instance.write_text(text.replace("/usr/bin/farkey", FARKEY))
    done = run("systemd-analyze", "verify", "--man=no", instance, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def in_unit(folder, unit):
    """Words before a command that is to run as the unit has it: all is read-only but what the unit names.

    What is below /etc/farkey, /run and /var/log there is below `folder` here.
    """
    text = (TOP / "packaging" / unit).read_text()
    name = {"farkey-edge@.service": "edge1", "farkey-keyd@.service": "keys1"}[unit]
    own = [path.lstrip("-") for line in re.findall(r"^ReadWritePaths=(.*)$", text, re.M) for path in line.split()]
    writable = [path.replace("/etc/farkey", str(folder)).replace("%i", name) for path in own]
    for key, top in [("RuntimeDirectory", "run"), ("LogsDirectory", "var/log")]:
        for path in re.findall(rf"^{key}=(.*)$", text, re.M):
            writable.append(str(folder / top / path.replace("%i", name)))
            pathlib.Path(writable[-1]).mkdir(parents=True)
    script = ('mount --make-rprivate / && mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && '
              'mount -o remount,bind,ro / && for path in ' + " ".join(map(shlex.quote, writable)) + '; do '
              'mount --bind "$path" "$path" && mount -o remount,bind,rw "$path" || exit 1; done; exec "$@"')
    return ["unshare", "--mount", "sh", "-c", script, folder]


def may_mount():
    return os.geteuid() == 0 and subprocess.run(
        ["unshare", "--mount", "sh", "-c", "mount --make-rprivate / && mount -o remount,bind,ro /"], check=False,
        capture_output=True).returncode == 0


def initialised(folder, site_authority, origin):
    """What a new user's `farkey init` and `farkey key` make, on ports that are free. The edge's port."""
    run(FARKEY, "init", "--dir", folder, "edge1", "keys1")
    keys = folder / "keys1/keys"
    run(FARKEY, "key", "generate", "--dir", keys, "example.com")
    site_authority.certify(keys / "example.com.key", folder / "example.com.crt", "example.com", "DNS:example.com")
    run(FARKEY, "key", "install", "--dir", keys, "example.com", folder / "example.com.crt")
    ports = {port: str(free_port()) for port in ("8443", "2407", "9464", "9465")}
    ports["8080"] = str(origin.port)
    for conf in (folder / "edge1/edge.conf", folder / "keys1/keyd.conf"):
        text = conf.read_text()
        for old, new in ports.items():
            text = re.sub(rf":{old}\b", f":{new}", text)
        conf.write_text(text)
    return ports["8443"]


@pytest.mark.skipif(not may_mount(), reason="needs root and a mount namespace")
def test_what_init_writes_runs_under_the_units(daemons, folder, site_authority):
    origin = Origin(http(b"hello from the origin"))
    port = initialised(folder, site_authority, origin)
    for role, name, told, guards in [("keyd", "keys1", "front serves", ["new", "keys/new.key", "audit.key"]),
                                     ("edge", "edge1", "edge is ready", ["new", "edge.conf"])]:
        guarded = in_unit(folder, f"farkey-{role}@.service")
        for path in guards:
            assert "Read-only file system" in run(*guarded, "touch", folder / name / path, check=False).stderr
        daemon = Daemon(*guarded, FARKEY, role, "-c", folder / name / f"{role}.conf", log=folder / f"{role}.log")
        daemons.append(daemon)
        daemon.wait_log(told)
    wait_until(lambda: control(folder / "edge1/run/edge.sock")["ready"], "the edge is ready")

    def fetch():
        return curl(f"https://example.com:{port}/", ca=site_authority.certificate,
                    resolve=f"example.com:{port}:127.0.0.1", check=False)[1]
    wait_until(lambda: fetch() == "hello from the origin", "an answer through the edge")
    # The operator's commands run outside of the units, and reach the daemons.
    assert "reloaded" in run(FARKEY, "key", "install", "--dir", folder / "keys1/keys", "example.com",
                             folder / "example.com.crt").stdout
    verify = [FARKEY, "audit", "verify", "--key", folder / "keys1/audit.key", folder / "keys1/log/audit.log"]
    wait_until(lambda: (folder / "keys1/log/audit.log.head").exists(), "the log's head")
    assert "good:" in run(*verify).stdout
    for daemon in reversed(daemons):
        assert daemon.stop() == 0
        assert not re.search(r"Z error \w+\[|Read-only", daemon.log())
    origin.close()
