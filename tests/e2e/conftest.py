"""Fixtures of the end-to-end tests; see harness.py."""
import pathlib
import re
import shutil
import tempfile

import pytest

import harness


def pytest_configure(config):
    config.addinivalue_line("markers", "long: the long matrices and faults, run by make test-full")
    config.addinivalue_line("markers", "unsanitized: says nothing under sanitizers (memory, sandbox)")
    # A place of its own: in the common one each new run on this host takes away what unprivileged processes may enter.
    if config.option.basetemp is None and not hasattr(config, "workerinput"):
        config.option.basetemp = tempfile.mkdtemp(prefix="farkey-tests-")
        config.add_cleanup(lambda: clean_up(config))


def clean_up(config):
    """After a failure it stays, to be looked at."""
    if getattr(config, "farkey_passed", False):
        shutil.rmtree(config.option.basetemp, ignore_errors=True)


def pytest_sessionfinish(session, exitstatus):
    session.config.farkey_passed = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A test that fails shows the ends of its daemons' logs, while they are there: what fails once may not come again."""
    report = (yield).get_result()
    if report.failed and report.when != "teardown":
        for daemon in getattr(item, "funcargs", {}).get("daemons", []):
            report.sections.append((f"log of {' '.join(daemon.command[:2])}: {daemon.log_path}", daemon.log()[-20000:]))


@pytest.fixture
def daemons():
    """A list to which a test adds what it starts; all of it is ended afterwards.

    A sanitizer's report in one's log fails the test.
    """
    started = []
    yield started
    for daemon in reversed(started):
        daemon.end()
    reports = [report for report in (harness.sanitizer_report(daemon.log()) for daemon in started) if report]
    assert not reports, "\n".join(reports)


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """One private CA for the channels of a test run."""
    return harness.Authority(tmp_path_factory.mktemp("channel-ca"), "Channel CA")


@pytest.fixture(scope="session")
def site_authority(tmp_path_factory):
    """One CA for the sites' certificates of a test run."""
    return harness.Authority(tmp_path_factory.mktemp("site-ca"), "Site CA")


@pytest.fixture
def ca(site_authority):
    """What clients trust the sites by."""
    return site_authority.certificate


@pytest.fixture
def folder(tmp_path):
    """A folder that unprivileged children of a root master can enter."""
    below = [path for path in tmp_path.parents if pathlib.Path(tempfile.gettempdir()) in path.parents]
    for path in [tmp_path, *below]:
        path.chmod(0o755)
    return tmp_path


@pytest.fixture
def upgrade(daemons):
    """The successor of an edge's master, started by the operator's command; it is the edge's daemon from then on."""
    def do(edge):
        done = harness.run(harness.FARKEY, "control", "-c", edge.conf, "--json", "upgrade", timeout=60)
        pid = int(re.search(r'"pid":(\d+)', done.stdout)[1])
        daemons.append(harness.Successor(edge.daemon, pid))
        edge.daemon = daemons[-1]
        return pid
    return do
