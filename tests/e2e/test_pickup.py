"""Files that change are taken in without a reload: as certbot and Kubernetes replace them, by halves, and under load."""
import contextlib
import os
import re
import shutil
import ssl
import threading

import pytest

import harness
import netlib
import pair as pairs
from edgelib import Edge, Origin, connect, echo, http, site
from harness import PATIENCE, curl, ssl_der, wait_until
from ocsplib import chain, ends, produced, respond, stapled
from test_client_certificates import clients
from test_edge_reload import kill_workers
from test_origin_tls import OK, Secure
from test_origin_tls import pki as origin_pki

__all__ = ["clients", "origin_pki"]  # fixtures

GONE = "changed files are not taken; those in service stay"


@pytest.fixture
def origin():
    made = Origin(http(b"hello from the origin"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def pki(site_authority, tmp_path_factory):
    """Pairs of the same name."""
    folder = tmp_path_factory.mktemp("pickup")
    for stem in "old", "new", "third":
        _, certificate = site_authority.issue(folder / stem, "example.com", "DNS:example.com")
        chain(certificate, site_authority)
    return folder


def install(source, target):
    """As installers do it: beside, then renamed."""
    beside = target.with_name(target.name + ".beside")
    shutil.copy2(source, beside)
    beside.rename(target)


def install_pair(pki, stem, folder, name="site"):
    install(pki / f"{stem}.key", folder / f"{name}.key")
    install(pki / f"{stem}.crt", folder / f"{name}.crt")


def shown(port, ca, name="example.com"):
    """The certificate that a client sees, in DER."""
    with connect(port, ca, name) as tls:
        return tls.getpeercert(True)


def wait_shown(edge, ca, path):
    wait_until(lambda: shown(edge.port, ca) == ssl_der(path), f"{path} is shown")


def start(daemons, folder, pki, origin, workers=2, options="", **more):
    install_pair(pki, "old", folder)
    return Edge(daemons, folder, [site("example.com", ["site.crt"], ["site.key"], [origin.address], **more)], workers,
                options)


def test_a_pair_by_renames(daemons, folder, pki, ca, origin):
    edge = start(daemons, folder, pki, origin)
    assert shown(edge.port, ca) == ssl_der(pki / "old.crt")
    install_pair(pki, "new", folder)
    wait_shown(edge, ca, pki / "new.crt")
    edge.daemon.wait_log(f'reloading what="certificate" site="example.com" file="{folder}/site.crt"')
    kill_workers(edge)
    assert shown(edge.port, ca) == ssl_der(pki / "new.crt")


def test_the_same_key_keeps_its_signers(daemons, folder, pki, ca, origin, site_authority):
    edge = start(daemons, folder, pki, origin)
    signers = edge.daemon.children("signer")
    renewed = folder / "renewed.crt"
    site_authority.certify(pki / "old.key", renewed, "example.com", "DNS:example.com")
    install(renewed, folder / "site.crt")
    wait_shown(edge, ca, renewed)
    assert edge.daemon.children("signer") == signers


@pytest.mark.parametrize("first,second", [("key", "crt"), ("crt", "key")])
def test_one_half_first(daemons, folder, pki, ca, origin, first, second):
    """The old pair stays, for processes that start now, too; the other half completes it."""
    edge = start(daemons, folder, pki, origin)
    install(pki / f"new.{first}", folder / f"site.{first}")
    if first == "crt":
        edge.daemon.wait_log(f"{GONE} .*key .*/site.key belongs to none of the certificates")
    else:
        # A key by itself changes nothing; that it was looked at shows by the next change.
        (folder / "site.crt").touch()
    kill_workers(edge)
    assert shown(edge.port, ca) == ssl_der(pki / "old.crt")
    assert edge.status()["generation"] == 1
    install(pki / f"new.{second}", folder / f"site.{second}")
    wait_shown(edge, ca, pki / "new.crt")
    assert edge.status()["generation"] == 2


def test_files_of_no_use(daemons, folder, pki, ca, origin):
    """Each is refused with its reason, and the next change is tried."""
    edge = start(daemons, folder, pki, origin)
    path = folder / "site.crt"
    for text, said in ("junk", "malformed message"), ((pki / "new.key").read_text(), "holds a private key"):
        since = len(edge.daemon.log())
        (folder / "beside").write_text(text)
        (folder / "beside").rename(path)
        edge.daemon.wait_log(f"{GONE} .*{said}", since=since)
    since = len(edge.daemon.log())
    path.unlink()
    edge.daemon.wait_log('a file cannot be read; that in service stays site="example.com" file=".*/site.crt" '
                         'why="not found"', since=since)
    assert shown(edge.port, ca) == ssl_der(pki / "old.crt") and edge.status()["generation"] == 1
    install_pair(pki, "new", folder)
    wait_shown(edge, ca, pki / "new.crt")


def test_the_text_is_not_read(daemons, folder, pki, ca, origin):
    edge = start(daemons, folder, pki, origin)
    edge.conf.write_text("no configuration\n")
    install_pair(pki, "new", folder)
    wait_shown(edge, ca, pki / "new.crt")


def test_kubernetes(daemons, folder, pki, ca, origin):
    """A secret's volume: files are links through a link, which is replaced."""
    mount = folder / "tls"

    def publish(stem):
        version = mount / f"..{stem}"
        version.mkdir(parents=True)
        shutil.copy2(pki / f"{stem}.crt", version / "tls.crt")
        shutil.copy2(pki / f"{stem}.key", version / "tls.key")
        (mount / "..next").symlink_to(version.name)
        (mount / "..next").rename(mount / "..data")

    publish("old")
    for name in "tls.crt", "tls.key":
        (mount / name).symlink_to(f"..data/{name}")
    edge = Edge(daemons, folder, [site("example.com", [mount / "tls.crt"], [mount / "tls.key"], [origin.address])])
    for stem in "new", "third":
        publish(stem)
        wait_shown(edge, ca, pki / f"{stem}.crt")
    assert GONE not in edge.daemon.log()


def test_certbot(daemons, folder, pki, ca, origin):
    """Links in live/NAME to numbered files in archive/NAME, made anew one after the other."""
    live, archive = folder / "live/example.com", folder / "archive/example.com"
    live.mkdir(parents=True)
    archive.mkdir(parents=True)

    def renew(stem, number):
        for suffix, name in ("key", "privkey"), ("chain", "fullchain"):
            target = archive / f"{name}{number}.pem"
            shutil.copy2(pki / f"{stem}.{suffix}", target)
            link = live / f"{name}.pem"
            with contextlib.suppress(FileNotFoundError):
                link.unlink()
            link.symlink_to(f"../../archive/example.com/{target.name}")

    renew("old", 1)
    edge = Edge(daemons, folder, [site("example.com", [live / "fullchain.pem"], [live / "privkey.pem"], [origin.address])])
    for number, stem in enumerate(["new", "third"], 2):
        renew(stem, number)
        wait_shown(edge, ca, pki / f"{stem}.crt")


def test_sites_do_not_wait_for_each_other(daemons, folder, pki, ca, origin, site_authority):
    """What one site refuses stays with it; a key that is missing holds up sites with keys alone."""
    for name in "a", "b":
        install_pair(pki, "old", folder, name)
    install(pki / "old.chain", folder / "a.crt")
    respond(site_authority, pki / "old.crt", folder / "a.ocsp")
    names = {"a": '{"example.com"}', "b": '{"b.example"}'}
    blocks = [site(name, [f"{name}.crt"], [f"{name}.key"], [origin.address], names=listed,
                   **({"ocsp": '{"a.ocsp"}'} if name == "a" else {})) for name, listed in names.items()]
    edge = Edge(daemons, folder, blocks)
    before = stapled(edge.port, ca)

    (folder / "a.ocsp").write_text("junk\n")
    install_pair(pki, "new", folder, "b")
    edge.daemon.wait_log(f"{GONE} .*not an OCSP response")
    with pytest.raises(ssl.SSLCertVerificationError):  # "old" and "new" are of example.com
        shown(edge.port, ca, "b.example")
    unverified = ssl._create_unverified_context()

    def of_b():
        with connect(edge.port, ca, "b.example", unverified) as tls:
            return tls.getpeercert(True)
    wait_until(lambda: of_b() == ssl_der(pki / "new.crt"), "b has its new certificate")
    assert stapled(edge.port, ca) == before

    # b's key alone, and a's response: the latter needs no key.
    install(pki / "third.key", folder / "b.key")
    respond(site_authority, pki / "old.crt", folder / "a.ocsp", "-ndays", "6")
    wait_until(lambda: stapled(edge.port, ca) == produced(folder / "a.ocsp"), "a has its new response")
    # a's certificate does, as all keys are read at once.
    since = len(edge.daemon.log())
    install(pki / "third.chain", folder / "a.crt")
    install(pki / "third.key", folder / "a.key")
    edge.daemon.wait_log(f"{GONE} .*b.key belongs to none of the certificates", since=since)
    assert of_b() == ssl_der(pki / "new.crt") and shown(edge.port, ca) == ssl_der(pki / "old.crt")
    respond(site_authority, pki / "third.crt", folder / "a.ocsp")
    install(pki / "third.crt", folder / "b.crt")
    wait_until(lambda: of_b() == ssl_der(pki / "third.crt"), "b has its third certificate")
    wait_shown(edge, ca, pki / "third.crt")
    assert stapled(edge.port, ca) == produced(folder / "a.ocsp")


def test_ocsp(daemons, folder, pki, ca, origin, site_authority):
    response = respond(site_authority, pki / "old.crt", folder / "site.ocsp")
    install(pki / "old.chain", folder / "site.crt")
    install(pki / "old.key", folder / "site.key")
    edge = Edge(daemons, folder, [site("example.com", ["site.crt"], ["site.key"], [origin.address], ocsp='{"site.ocsp"}')])
    assert stapled(edge.port, ca) == produced(response)

    def until():
        return edge.status()["workers"][0]["sites"][0]["ocsp"][0]["until"]
    assert until() == ends(response)
    respond(site_authority, pki / "old.crt", response, "-ndays", "6")
    wait_until(lambda: until() == ends(response), "the new response is in service")
    edge.daemon.wait_log(f'reloading what="ocsp" site="example.com" file="{response}"')
    assert stapled(edge.port, ca) == produced(response)
    # One that says "revoked" is not taken; the last good word stays.
    last = produced(response)
    respond(site_authority, pki / "old.crt", response, state="R")
    edge.daemon.wait_log(f"{GONE} .*says that the certificate is revoked")
    assert stapled(edge.port, ca) == last
    # With another certificate comes another response, in whatever order.
    install(pki / "new.key", folder / "site.key")
    install(pki / "new.chain", folder / "site.crt")
    respond(site_authority, pki / "new.crt", response)
    wait_shown(edge, ca, pki / "new.crt")
    assert stapled(edge.port, ca) == produced(response)


def test_clients_ca_and_list(daemons, folder, pki, ca, origin, clients):
    install(clients / "ca/ca.crt", folder / "clients.crt")
    install(clients / "empty.crl", folder / "clients.crl")
    install_pair(pki, "old", folder)
    block = site("example.com", ["site.crt"], ["site.key"], [origin.address])
    block = block[:-1] + 'client_certificate { require = required ca = "clients.crt" crl = "clients.crl" }\n}'
    edge = Edge(daemons, folder, [block])

    def enters(name):
        return curl(f"https://example.com:{edge.port}/", "--cert", clients / f"{name}.crt", "--key", clients / f"{name}.key",
                    ca=ca, resolve=f"example.com:{edge.port}:127.0.0.1", check=False)[1] == "hello from the origin"
    assert enters("alice") and enters("mallory") and not enters("stranger")
    install(clients / "staff.crl", folder / "clients.crl")
    wait_until(lambda: not enters("mallory"), "the list is in service")
    assert enters("alice")
    edge.daemon.wait_log(f'reloading what="crl" site="example.com" file="{folder}/clients.crl"')
    (folder / "clients.crl").write_text("junk\n")
    edge.daemon.wait_log(f"{GONE} .*clients.crl: malformed message")
    assert enters("alice") and not enters("mallory")
    install(clients / "staff.crl", folder / "clients.crl")
    both = folder / "both.crt"
    both.write_bytes((clients / "ca/ca.crt").read_bytes() + (clients / "other/ca.crt").read_bytes())
    edge.reload([block.replace('crl = "clients.crl"', "")])
    assert enters("mallory") and not enters("stranger")
    install(both, folder / "clients.crt")
    wait_until(lambda: enters("stranger"), "the other CA is in service")
    edge.daemon.wait_log(f'reloading what="ca" site="example.com" file="{folder}/clients.crt"')


def test_origins_ca(daemons, folder, pki, ca, origin_pki):
    secure = Secure(origin_pki)
    shutil.copy2(ca, folder / "origins.crt")  # not the origin's
    install_pair(pki, "old", folder)
    edge = Edge(daemons, folder, [site("example.com", ["site.crt"], ["site.key"], [secure.address], protocol="http",
                                       origin_ca='"origins.crt"', origin_name='"origin.example"')])

    def answer():
        return curl(f"https://example.com:{edge.port}/", ca=ca, resolve=f"example.com:{edge.port}:127.0.0.1")[1]
    assert answer() != OK.decode()[-2:]
    install(origin_pki / "inner/ca.crt", folder / "origins.crt")
    wait_until(lambda: answer() == OK.decode()[-2:], "the origin is believed")
    edge.daemon.wait_log(f'reloading what="origin_ca" site="example.com" file="{folder}/origins.crt"')
    secure.origin.close()


def test_nothing_is_dropped(daemons, folder, pki, ca):
    """Connections that are open go on; new ones all succeed, each with one whole pair."""
    echoing = Origin(echo)
    edge = start(daemons, folder, pki, echoing)
    held = [connect(edge.port, ca) for _ in range(4)]
    wanted = {ssl_der(pki / f"{stem}.crt") for stem in ("old", "new", "third")}
    ended, failures, count = threading.Event(), [], [0]

    def knock():
        while not ended.is_set():
            try:
                with connect(edge.port, ca) as tls:
                    assert tls.getpeercert(True) in wanted
                    tls.sendall(b"ping")
                    assert tls.recv(4) == b"ping"
                count[0] += 1
            except (OSError, AssertionError) as error:
                failures.append(repr(error))
    threads = [threading.Thread(target=knock) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for stem in "new", "third", "old", "new":
            install_pair(pki, stem, folder)
            wait_shown(edge, ca, pki / f"{stem}.crt")
    finally:
        ended.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert not failures and count[0] > 0
    for tls in held:
        tls.sendall(b"still here")
        assert tls.recv(10) == b"still here"
        tls.close()
    echoing.close()


def test_a_certificate_whose_key_is_elsewhere(daemons, folder, authority, site_authority, origin, ca):
    pair = pairs.Pair(folder, authority, site_authority, origin.port).start(daemons)
    renewed = folder / "renewed.crt"
    site_authority.certify(folder / "keys1/keys/example.com.key", renewed, "example.com", "DNS:example.com")
    install(renewed, folder / "edge1/example.com.crt")
    wait_until(lambda: shown(pair.port, ca) == ssl_der(renewed), "the renewed certificate is shown")
    assert "hello from the origin" in pair.get()[1]


def test_a_channel_of_no_use_holds_up_no_site(daemons, folder, authority, site_authority, origin, ca):
    pair = pairs.Pair(folder, authority, site_authority, origin.port).start(daemons)
    (folder / "edge1/channel.crt").write_text("junk\n")
    pair.edge.wait_log("reload refused; the old configuration stays.*edge1/channel.crt: malformed")
    renewed = folder / "renewed.crt"
    site_authority.certify(folder / "keys1/keys/example.com.key", renewed, "example.com", "DNS:example.com")
    install(renewed, folder / "edge1/example.com.crt")
    wait_until(lambda: shown(pair.port, ca) == ssl_der(renewed), "the renewed certificate is shown")
    assert re.search(f"{GONE} .*edge1/channel.crt: malformed", pair.edge.log())
    assert "hello from the origin" in pair.get()[1]


def test_a_response_for_what_the_key_server_lists(daemons, folder, authority, site_authority, origin, ca):
    """Key and certificate are replaced at the key server, the response at the edge."""
    response, store = folder / "edge1/site.ocsp", folder / "keys1/keys"
    pair = pairs.Pair(folder, authority, site_authority, origin.port, fetch_certificates=True,
                      site_options='ocsp = {"site.ocsp"}')

    def whole(certificate):
        certificate.write_bytes(certificate.read_bytes() + ca.read_bytes())
    respond(site_authority, store / "example.com.crt", response)
    whole(store / "example.com.crt")
    pair.start(daemons)
    assert stapled(pair.port, ca) == produced(response)
    key, certificate = site_authority.issue(folder / "next", "example.com", "DNS:example.com")
    wanted = ssl_der(certificate)
    respond(site_authority, certificate, response)
    whole(certificate)
    pair.edge.wait_log('an OCSP response is not used site="example.com" file=".*/site.ocsp" why="is about none')
    install(key, store / "example.com.key")
    install(certificate, store / "example.com.crt")
    wait_until(lambda: stapled(pair.port, ca) == produced(response), "the new response is sent")
    assert shown(pair.port, ca) == wanted


@pytest.mark.unsanitized
@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
def test_the_inline_box(tmp_path):
    wire, authority = netlib.Wire(tmp_path), harness.Authority(tmp_path / "ca")
    try:
        box = netlib.Box(wire, authority)
        wire.serve()
        authority.issue(tmp_path / "new", "example.com", "DNS:example.com")

        def serial():
            text = wire.run(wire.client, "openssl", "s_client", "-connect", f"{netlib.SERVER[0]}:8443", "-servername",
                            "example.com", "-CAfile", box.ca, check=False).stdout
            return harness.run("openssl", "x509", "-noout", "-serial", input=text).stdout
        wanted = harness.run("openssl", "x509", "-noout", "-serial", "-in", tmp_path / "new.crt").stdout
        assert serial() != wanted
        install_pair(tmp_path, "new", tmp_path)
        wait_until(lambda: serial() == wanted, "the box shows the new certificate")
    finally:
        wire.end()
