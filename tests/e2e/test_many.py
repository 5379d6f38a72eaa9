"""A thousand sites and a thousand keys: they start, and one key more disturbs nobody."""
import concurrent.futures
import os
import re
import subprocess
import time

import pytest

import harness
import pair as pairs
from edgelib import Origin, http

pytestmark = pytest.mark.long

# Sanitized daemons do a tenth of the work in the same time.
COUNT = 100 if harness.SANITIZED else 1000
NAMES = [f"s{i}.example" for i in range(COUNT)]
# "edge is ready" and all sites served: far above what it takes, far below what trying each certificate for
# each site would.
PATIENCE = 60


class Many(pairs.Pair):
    """Key and certificate of each name are made by one process."""

    def make_sites(self):
        store = self.folder / "keys1" / "keys"
        store.mkdir()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda name: self.issue(store / name, name), self.keys))
        for name in self.keys:
            (self.folder / "edge1" / f"{name}.crt").write_bytes((store / f"{name}.crt").read_bytes())

    def issue(self, stem, name):
        config = stem.with_name(stem.name + ".cnf")
        config.write_text(f"[req]\ndistinguished_name=n\nx509_extensions=x\n[n]\n[x]\nsubjectAltName=DNS:{name}\n"
                          "basicConstraints=CA:FALSE\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
        authority = self.site_authority
        subprocess.run(["openssl", "req", "-x509", "-config", config, "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-CA", authority.certificate, "-CAkey", authority.key,
                        "-subj", f"/CN={name}", "-days", "30", "-keyout", f"{stem}.key", "-out", f"{stem}.crt"],
                       check=True, capture_output=True)
        config.unlink()
        stem.with_name(stem.name + ".key").chmod(0o600)

    def serial(self, name):
        text = self.s_client(name=name)
        return re.search(r"-----BEGIN CERTIFICATE-----.*?-----END", text, re.S)[0]


@pytest.fixture
def origin():
    made = Origin(http(b"hello from the origin\n"))
    yield made
    made.close()


def make(folder, authority, site_authority, origin, **options):
    return Many(folder, authority, site_authority, origin.port, keys=dict.fromkeys(NAMES, ["p256"]),
                server_options="ping_interval = 200ms", edge_options="workers = 1", **options)


def all_certified(pair):
    """A worker that does not answer in time has no sites in the status."""
    sites = [site for worker in pair.status("edge")["workers"] for site in worker.get("sites", [])]
    return len(sites) == COUNT and all(site["certificate"] for site in sites)


def start(pair, daemons):
    """Both daemons; the edge ready, and every site with its certificate."""
    begin = time.monotonic()
    pair.start_keyd(daemons)
    keyd = time.monotonic()
    pair.start_edge(daemons, ready=False)
    pair.edge.wait_log("edge is ready", PATIENCE)
    harness.wait_until(lambda: all_certified(pair), "all sites have certificates", PATIENCE)
    print(f"key server {keyd - begin:.2f} s, edge {time.monotonic() - keyd:.2f} s")
    assert "hung" not in pair.edge.log() and "hung" not in pair.keyd.log()


def test_certificates_from_the_key_server(folder, authority, site_authority, origin, daemons):
    pair = make(folder, authority, site_authority, origin, fetch_certificates=True)
    start(pair, daemons)
    for name in (NAMES[0], NAMES[COUNT // 2], NAMES[-1]):
        assert "hello from the origin" in pair.get(name)[1]

    # One key is replaced; meanwhile another site is asked again and again.
    renewed, other = NAMES[COUNT // 2], NAMES[-1]
    first, slowest = pair.serial(renewed), 0
    fresh = pair.folder / "fresh"
    fresh.mkdir()
    pair.issue(fresh / renewed, renewed)
    for suffix in ("crt", "key"):
        os.replace(fresh / f"{renewed}.{suffix}", pair.folder / "keys1" / "keys" / f"{renewed}.{suffix}")
    end = time.monotonic() + PATIENCE
    while pair.serial(renewed) == first:
        for _ in range(10):
            begin = time.monotonic()
            assert "hello from the origin" in pair.get(other)[1]
            slowest = max(slowest, time.monotonic() - begin)
        assert time.monotonic() < end, "the new certificate is not served"
    print(f"slowest request meanwhile: {slowest:.3f} s")
    assert "hung" not in pair.edge.log()


def test_certificates_from_files(folder, authority, site_authority, origin, daemons):
    pair = make(folder, authority, site_authority, origin)
    start(pair, daemons)
    for name in (NAMES[0], NAMES[COUNT // 2], NAMES[-1]):
        assert "hello from the origin" in pair.get(name)[1]

    # While the next generation is built the present one serves.
    generation, asked, slowest = pair.status("edge")["generation"], 0, 0
    pair.edge.signal(1)
    while pair.status("edge")["generation"] == generation:
        begin = time.monotonic()
        assert "hello from the origin" in pair.get(NAMES[-1])[1]
        slowest, asked = max(slowest, time.monotonic() - begin), asked + 1
    print(f"slowest of {asked} requests meanwhile: {slowest:.3f} s")
    assert "hung" not in pair.edge.log()
