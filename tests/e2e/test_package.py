"""The Debian package, and what stands beside the program on a host: sandbox of the units, rotation of logs."""
import os
import pathlib
import re
import subprocess
import sys

import pytest

from edgelib import Origin, http
from harness import FARKEY, TOP, Daemon, control, curl, run, wait_until
from test_service import ROLES, UNITS, initialised

# --- the units' sandbox ---


def exposure(folder, unit):
    """What `systemd-analyze security` says of an instance of a unit: 0 is best, 10 is worst."""
    text = (TOP / "packaging" / unit).read_text().replace("@PREFIX@", "/usr")
    instance = folder / unit.replace("@", "@one")
    instance.write_text(text)
    done = run("systemd-analyze", "security", "--offline=true", "--no-pager", instance, check=False)
    assert "Unknown" not in done.stderr, "an option that systemd does not know"
    return float(re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)[1])


@pytest.mark.parametrize("role", ROLES)
def test_exposure_is_what_the_document_says(folder, role):
    """The figures of docs/operating.md are those of the units, and no unit gets beyond 3.0."""
    told = re.search(rf"^\| `farkey-{role}@` \| ([\d.]+) \|", (TOP / "docs/operating.md").read_text(), re.M)
    assert told, "docs/operating.md has no figure"
    assert exposure(folder, f"farkey-{role}@.service") == float(told[1]) <= 3.0


def test_exposure_without_the_filter_of_system_calls_is_worse(folder):
    """The figure is one of this unit's options: it rises when one of them is taken out."""
    unit = (TOP / "packaging/farkey-edge@.service").read_text()
    poorer = folder / "farkey-edge@poorer.service"
    poorer.write_text(re.sub(r"^SystemCall.*\n", "", unit, flags=re.M).replace("@PREFIX@", "/usr"))
    done = run("systemd-analyze", "security", "--offline=true", "--no-pager", poorer, check=False)
    assert float(re.search(r"level for \S+: ([\d.]+)", done.stdout)[1]) > exposure(folder, "farkey-edge@.service") + 1


def calls_allowed(unit):
    """The system calls that a unit's SystemCallFilter has, its groups taken apart as systemd takes them."""
    words = re.search(r"^SystemCallFilter=(.*)$", (TOP / "packaging" / unit).read_text(), re.M)[1].split()
    # Always in a service's filter: what systemd itself calls before it executes the program.
    todo, calls = [*words, "@default"], set()
    while todo:
        word = todo.pop()
        if not word.startswith("@"):
            calls.add(word)
            continue
        text = run("systemd-analyze", "syscall-filter", "--no-pager", word).stdout
        todo += [line.strip() for line in text.splitlines()[1:] if line.startswith("    ") and "#" not in line]
    return calls


CONFINED = """
import os, seccomp, sys
confined = seccomp.SyscallFilter(seccomp.ERRNO(1))
for call in sys.argv[1].split(","):
    try:
        confined.add_rule(seccomp.ALLOW, call)
    except (RuntimeError, ValueError):
        pass  # another architecture's
confined.load()
os.execv(sys.argv[2], sys.argv[2:])
"""


def confined_demo(calls):
    return subprocess.run([sys.executable, "-c", CONFINED, ",".join(sorted(calls)), FARKEY, "demo"], check=False,
                          capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


@pytest.mark.unsanitized  # the filter has no ptrace for the leak checker
@pytest.mark.parametrize("unit", ["farkey-edge@.service", "farkey-keyd@.service"])
def test_the_filter_of_system_calls_lets_the_daemons_work(unit):
    """An edge, a key server and all their children under the filter that systemd would make."""
    done = confined_demo(calls_allowed(unit))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hello" in done.stdout.lower()
    assert not re.search(r"Z (error|warn)", done.stderr), done.stderr


def test_a_filter_that_forbids_too_much_is_noticed():
    """The same without one call: the test above can fail."""
    assert confined_demo(calls_allowed(UNITS[0]) - {"socketpair"}).returncode != 0


# --- rotation of logs ---

@pytest.mark.skipif(os.geteuid() != 0, reason="logrotate reads root's configuration only")
def test_rotation_keeps_the_audit_chain(daemons, folder, site_authority):
    origin = Origin(http(b"hello"))
    port = initialised(folder, site_authority, origin)
    for role, name, told in [("keyd", "keys1", "front serves"), ("edge", "edge1", "edge is ready")]:
        daemons.append(Daemon(FARKEY, role, "-c", folder / name / f"{role}.conf", log=folder / f"{role}.log"))
        daemons[-1].wait_log(told)
    log = folder / "keys1/log/audit.log"

    def fetch_logged(path):
        before = path.read_text().count("\n") if path.exists() else 0
        wait_until(lambda: curl(f"https://example.com:{port}/", ca=site_authority.certificate,
                                resolve=f"example.com:{port}:127.0.0.1", check=False)[1] == "hello", "an answer")
        wait_until(lambda: path.exists() and path.read_text().count("\n") > before, f"a line in {path.name}")

    wait_until(lambda: control(folder / "edge1/run/edge.sock")["ready"], "the edge is ready")
    fetch_logged(log)
    conf = folder / "logrotate.conf"
    conf.write_text((TOP / "packaging/farkey.logrotate").read_text().replace("/etc/farkey", str(folder)))
    conf.chmod(0o644)
    generation = control(folder / "keys1/run/keyd.sock")["generation"]
    path = {**os.environ, "PATH": f"{pathlib.Path(FARKEY).parent}:/usr/sbin:/usr/bin:/bin"}
    run("logrotate", "--force", "--state", folder / "state", conf, env=path)
    assert control(folder / "keys1/run/keyd.sock")["generation"] > generation
    fetch_logged(log)
    rotated = log.with_name("audit.log.1")
    assert rotated.exists()
    wait_until(lambda: log.with_name("audit.log.head").exists(), "the log's head")
    assert "good:" in run(FARKEY, "audit", "verify", "--key", folder / "keys1/audit.key", rotated, log).stdout
    for daemon in reversed(daemons):
        assert daemon.stop() == 0
    # A daemon that is not there any more leaves a socket that nobody listens at, or none: said, and not fatal for
    # the logs, which have been renamed by then.
    rotated.rename(folder / "oldest")
    run("logrotate", "--force", "--state", folder / "state", conf, env=path, check=False)
    assert rotated.exists()
    origin.close()


# --- the package ---

@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The package, made from the tree as `make deb` makes it."""
    out = tmp_path_factory.mktemp("deb")
    run(TOP / "packaging/deb", out, timeout=1200)
    return next(out.glob("farkey_*.deb"))


def files_of(package):
    listing = run("dpkg-deb", "--contents", package).stdout
    return {line.split()[5].removeprefix("./") for line in listing.splitlines() if not line.split()[5].endswith("/")}


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_package_has_all_and_lintian_finds_no_error(package):
    files = files_of(package)
    commands = re.findall(r"^  ([a-z]+) +\S", run(FARKEY, "help").stdout, re.M)
    wanted = {"usr/bin/farkey", "etc/logrotate.d/farkey", "usr/lib/sysusers.d/farkey.conf", "usr/share/doc/farkey/copyright",
              "usr/lib/tmpfiles.d/farkey.conf", "usr/share/man/man1/farkey.1.gz"}
    wanted |= {f"usr/lib/systemd/system/{unit}" for unit in UNITS}
    wanted |= {f"usr/share/man/man1/farkey-{command}.1.gz" for command in commands}
    wanted |= {f"usr/share/man/man5/farkey-{role}.conf.5.gz" for role in ROLES}
    assert wanted <= files
    # The program and what describes it; no test, no load generator.
    assert {path for path in files if path.startswith("usr/bin/")} == {"usr/bin/farkey"}
    depends = run("dpkg-deb", "--field", package, "Depends").stdout
    assert "libssl3" in depends and "systemd" in depends
    done = run("lintian", "--fail-on", "error", "--tag-display-limit", "0", package, check=False, timeout=300)
    assert done.returncode == 0, done.stdout
    assert not re.search(r"^[EW]:", done.stdout, re.M), done.stdout


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.skipif(os.geteuid() != 0, reason="dpkg installs as root only")
def test_package_installs_and_runs(package, folder):
    """Into a root of its own, its scripts run from outside of that; then its own program makes the demonstration."""
    root = folder / "root"
    for path in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"]:
        (root / path).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    dpkg = ["dpkg", f"--root={root}", "--force-script-chrootless"]
    run(*dpkg, "--force-depends", "--install", package, timeout=120)
    assert "install ok installed" in run(*dpkg, "--status", "farkey").stdout
    accounts = (root / "etc/passwd").read_text()
    for account in ["farkey", "farkey-signer", "farkey-token"]:
        assert re.search(rf"^{account}:", accounts, re.M), "an account is missing"
    for path in ["etc/farkey", "run/farkey", "var/log/farkey"]:
        assert (root / path).is_dir()
    version = run("dpkg-deb", "--field", package, "Version").stdout.strip()
    assert run(root / "usr/bin/farkey", "--version").stdout == f"farkey {version}\n"
    done = run(root / "usr/bin/farkey", "demo", timeout=120)
    assert "hello" in done.stdout.lower()
    run(*dpkg, "--purge", "farkey", timeout=120)
    assert not (root / "usr/bin/farkey").exists() and not (root / "etc/logrotate.d/farkey").exists()


# --- the container ---

def test_container_is_made_of_what_is_there():
    """The image's build copies the tree, makes the package and installs that: by names that exist."""
    text = (TOP / "packaging/Containerfile").read_text()
    assert re.search(r"^RUN make deb$", text, re.M)
    assert re.search(r"^deb:$", (TOP / "Makefile").read_text(), re.M)
    folder, pattern = re.search(r"--from=build /src/(\S+)/(\S+) ", text).groups()
    assert f"packaging/deb {folder}\n" in (TOP / "Makefile").read_text()
    assert pathlib.PurePath("farkey_1.2.3_amd64.deb").match(pattern)
    assert not pathlib.PurePath("farkey-dbgsym_1.2.3_amd64.deb").match(pattern)
    assert 'ENTRYPOINT ["/usr/bin/farkey"]' in text
