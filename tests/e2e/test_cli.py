"""farkey(1) without daemons: init, check, ca and key, judged by the openssl command."""
import json
import os
import re
import socket
import stat
import threading

import pytest

from harness import FARKEY, TOP, make_key, run


def farkey(*words, **options):
    return run(FARKEY, *words, **options)


def refused(*words, status=1, **options):
    done = farkey(*words, check=False, **options)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stderr


def verify(folder, certificate, *options):
    """openssl's opinion of a certificate under the CA in `folder`, revocation list included."""
    return run("openssl", "verify", "-x509_strict", "-CAfile", folder / "ca.crt", "-CRLfile", folder / "ca.crl",
               "-crl_check", *options, certificate, check=False)


def text_of(certificate):
    return run("openssl", "x509", "-noout", "-text", "-in", certificate).stdout


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def pair(tmp_path):
    farkey("init", "--dir", tmp_path, "edge1", "hq")
    return tmp_path


def test_init_makes_identities_that_verify(pair):
    for name, uri in [("edge1", "farkey:edge:edge1"), ("hq", "farkey:keyserver:hq")]:
        for purpose in ["sslclient", "sslserver"]:
            assert verify(pair / name, pair / name / "channel.crt", "-purpose", purpose).returncode == 0
        text = text_of(pair / name / "channel.crt")
        assert re.search(r"Subject Alternative Name:\s*\n\s*URI:" + uri + r"\s*\n", text)
        assert "id-ecPublicKey" in text and "CA:FALSE" in text
    for secret in ["ca/ca.key", "edge1/channel.key", "hq/channel.key", "hq/audit.key"]:
        assert mode_of(pair / secret) == 0o600
    assert re.fullmatch(r"[0-9a-f]{64}\n", (pair / "hq/audit.key").read_text())


def test_init_overwrites_nothing(pair):
    before = (pair / "hq/audit.key").read_text()
    assert f"{pair}/ca is there already; nothing was changed" in refused("init", "--dir", pair, "edge1", "hq")
    (pair / "ca").rename(pair / "old-ca")
    assert f"{pair}/hq is there already; nothing was changed" in refused("init", "--dir", pair, "edge2", "hq")
    assert (pair / "hq/audit.key").read_text() == before
    assert not (pair / "edge2").exists()


@pytest.mark.parametrize("names", [("a", "a"), ("ca", "b"), ("a/b", "c"), ("..", "c"), ("", "c")])
def test_init_refuses_names(tmp_path, names):
    refused("init", "--dir", tmp_path, *names)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["192.0.2.1:2408", "[2001:db8::1]:2408"])
def test_init_for_a_key_server_that_dials(tmp_path, address):
    farkey("init", "--dir", tmp_path, "--dial", address, "edge1", "hq")
    edge, keyd = tmp_path / "edge1/edge.conf", tmp_path / "hq/keyd.conf"
    assert f'accept = "{address}"' in edge.read_text() and "address =" not in edge.read_text()
    assert f'dial "{address}" {{' in keyd.read_text() and "\nlisten " not in keyd.read_text()
    for conf in edge, keyd:
        farkey("check", "-c", conf)


@pytest.mark.parametrize("address", ["", "192.0.2.1", "*:2408", "edge.example.com:2408", "192.0.2.1:0", "unix:/run/x",
                                     "[2001:db8::1%" + 300 * "x" + "]:2408"])
def test_init_refuses_addresses_that_cannot_be_dialled(tmp_path, address):
    assert "--dial" in refused("init", "--dir", tmp_path, "--dial", address, "edge1", "hq", status=2)
    assert list(tmp_path.iterdir()) == []


def test_samples_pass_check(pair):
    assert "farkey edge" in farkey("check", "-c", pair / "edge1/edge.conf").stdout
    assert "farkey keyd" in farkey("check", pair / "hq/keyd.conf").stdout


def documented_examples():
    """Every configuration that the documents show."""
    return [block for page in sorted((TOP / "docs").glob("*.md"))
            for block in re.findall(r"```\n(.*?)```", page.read_text(), re.S)
            if re.search(r"^(listen|site|keyserver|edge|keys) .*{", block, re.M)]


@pytest.mark.parametrize("source", ["edge1/edge.conf", "hq/keyd.conf", *range(len(documented_examples()))])
def test_printed_configuration_is_a_fixed_point(pair, tmp_path_factory, source):
    """With every path absolute and every default written, it means the same in another folder."""
    conf = pair / source if isinstance(source, str) else pair / "edge1/example.conf"
    if not isinstance(source, str):
        conf.write_text(documented_examples()[source])
    printed = farkey("check", "--print", conf.name, cwd=conf.parent).stdout
    copy = tmp_path_factory.mktemp("elsewhere") / "printed.conf"
    copy.write_text(printed)
    again = farkey("check", "--print", "-c", copy).stdout
    assert again == printed.replace("  # default", "")


def test_printed_configuration_has_absent_blocks(pair):
    printed = farkey("check", "--print", pair / "edge1/edge.conf").stdout
    assert "\ntickets {\n    enabled = on  # default\n" in printed
    assert "\nlimits {\n    connections = 16384  # default\n" in printed
    printed = farkey("check", "--print", pair / "hq/keyd.conf").stdout
    assert "\nlimits {\n    connections = 4096  # default\n" in printed
    assert f'\nkeys "{pair}/hq/keys" {{\n' in printed


def test_printed_configuration_turns_nothing_on(pair):
    """A log of operations, or a listener for operators, is there only when it is written."""
    conf = pair / "hq/keyd.conf"
    conf.write_text(re.sub(r"^(audit|admin) {.*?^}\n", "", conf.read_text(), flags=re.S | re.M))
    printed = farkey("check", "--print", conf).stdout
    assert "audit {" not in printed and "admin {" not in printed


def test_check_tells_every_error_with_its_line(pair):
    conf = pair / "hq/keyd.conf"
    conf.write_text("signers = many\nchanel { }\n" + conf.read_text())
    errors = refused("check", "-c", conf)
    assert f"{conf}:1:" in errors and f"{conf}:2:" in errors
    assert "channel" in errors


@pytest.mark.parametrize("path, why", [("/dev/null", "not a regular file"), ("/", "Is a directory")])
def test_check_tells_of_what_is_no_file(path, why):
    assert refused("check", path) == f'{path}: cannot read "{path}": {why}; write the name of a file that can be read\n'


def test_check_by_role(pair):
    refused("check", "--role", "edge", "-c", pair / "hq/keyd.conf")
    refused("check", "-c", pair / "missing.conf")
    refused("check", status=2)


def test_issue_from_a_request(pair):
    host = pair / "host"
    host.mkdir()
    farkey("ca", "request", "edge", "edge2", "--out", host)
    assert mode_of(host / "channel.key") == 0o600
    farkey("ca", "issue", "--ca", pair / "ca", "--csr", host / "channel.csr", "--out", host, "edge", "edge2")
    assert verify(host, host / "channel.crt").returncode == 0
    public = run("openssl", "pkey", "-in", host / "channel.key", "-pubout").stdout
    assert run("openssl", "x509", "-in", host / "channel.crt", "-noout", "-pubkey").stdout == public


def test_request_does_not_choose_its_role(pair):
    """A request that names a key server gets the role that the command line says."""
    host = pair / "host"
    host.mkdir()
    farkey("ca", "request", "keyserver", "evil", "--out", host)
    farkey("ca", "issue", "--ca", pair / "ca", "--csr", host / "channel.csr", "--out", host, "edge", "edge2")
    text = text_of(host / "channel.crt")
    assert "URI:farkey:edge:edge2" in text and "evil" not in text and "keyserver" not in text


def test_request_with_a_wrong_signature_is_refused(pair):
    host = pair / "host"
    host.mkdir()
    farkey("ca", "request", "edge", "edge2", "--out", host)
    der = bytearray(run("openssl", "req", "-in", host / "channel.csr", "-outform", "DER", "-out", host / "r.der")
                    and (host / "r.der").read_bytes())
    der[der.index(b"edge2")] ^= 1
    (host / "r.der").write_bytes(der)
    run("openssl", "req", "-inform", "DER", "-in", host / "r.der", "-out", host / "bad.csr")
    assert "verification failed" in refused("ca", "issue", "--ca", pair / "ca", "--csr", host / "bad.csr", "--out",
                                            host, "edge", "edge2")
    assert not (host / "channel.crt").exists()


def test_renew_and_revoke(pair):
    old = (pair / "edge1/channel.crt").read_text()
    farkey("ca", "renew", "--ca", pair / "ca", "--out", pair / "edge1", "edge1")
    assert (pair / "edge1/channel.crt").read_text() != old
    (pair / "old.crt").write_text(old)
    assert verify(pair / "ca", pair / "old.crt").returncode == 0
    listed = json.loads(farkey("ca", "list", "--json", "--ca", pair / "ca").stdout)
    serials = [row["serial"] for row in listed if row["name"] == "farkey:edge:edge1"]
    assert len(serials) == 2

    farkey("ca", "revoke", "--ca", pair / "ca", serials[0])
    assert "revoked" in verify(pair / "ca", pair / "old.crt").stderr
    assert verify(pair / "ca", pair / "edge1/channel.crt").returncode == 0

    farkey("ca", "revoke", "--ca", pair / "ca", "edge1")
    assert "revoked" in verify(pair / "ca", pair / "edge1/channel.crt").stderr
    assert verify(pair / "ca", pair / "hq/channel.crt").returncode == 0
    states = {row["serial"]: row["state"] for row in json.loads(farkey("ca", "list", "--json", "--ca",
                                                                       pair / "ca").stdout)}
    assert [states[serial] for serial in serials] == ["revoked", "revoked"]


def test_crl_is_written_anew(pair):
    def number():
        text = run("openssl", "crl", "-in", pair / "ca/ca.crl", "-noout", "-crlnumber").stdout
        return int(text.split("=")[1], 16)

    before = number()
    farkey("ca", "crl", "--ca", pair / "ca", "--days", "7", "--out", pair / "edge1")
    assert number() > before
    assert (pair / "edge1/ca.crl").read_text() == (pair / "ca/ca.crl").read_text()


def test_unknown_names_are_refused(pair):
    assert "not found" in refused("ca", "revoke", "--ca", pair / "ca", "edge9")
    assert "not found" in refused("ca", "renew", "--ca", pair / "ca", "edge9")
    refused("ca", "issue", "--ca", pair / "ca", "server", "x", status=2)
    refused("ca", "issue", "--ca", pair / "ca", "site", "example.com", status=2)
    refused("ca", "issue", "--ca", pair / "nothing", "edge", "x")


@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384", "p521", "ed25519"])
def test_life_of_a_key(pair, kind):
    keys = pair / "hq/keys"
    web = pair / "web"
    farkey("ca", "init", "--ca", web, "--name", "Web CA")
    assert f"{web} has an authority already" in refused("ca", "init", "--ca", web)
    farkey("key", "generate", "--dir", keys, "--type", kind, "example.com")
    assert mode_of(keys / "example.com.key") == 0o600
    run("openssl", "pkey", "-in", keys / "example.com.key", "-noout", "-check")

    def certify(name):
        farkey("key", "csr", "--dir", keys, "--dns", "example.com", "--dns", "*.example.com", "--out", pair / "csr",
               "example.com")
        run("openssl", "req", "-in", pair / "csr", "-noout", "-verify")
        farkey("ca", "issue", "--ca", web, "--csr", pair / "csr", "--out", pair / name, "--dns", "example.com", "--dns",
               "*.example.com", "site", "example.com")
        return pair / name / "example.com.crt"

    first = certify("first")
    assert verify(web, first, "-verify_hostname", "a.example.com").returncode == 0
    farkey("key", "install", "--dir", keys, "example.com", first)
    assert (keys / "example.com.crt").read_text() == first.read_text()
    assert kind in farkey("key", "list", "--dir", keys).stdout

    # A renewal with a new key: it waits, then key and certificate switch.
    old = (keys / "example.com.key").read_text()
    farkey("key", "generate", "--dir", keys, "--type", kind, "example.com")
    assert (keys / "example.com.key").read_text() == old
    assert "do not match" in refused("key", "install", "--dir", keys, "example.com", first)
    second = certify("second")
    farkey("key", "install", "--dir", keys, "example.com", second)
    assert (keys / "example.com.key").read_text() != old
    assert (keys / "example.com.key.old").read_text() == old
    assert not (keys / "example.com.key.new").exists()
    assert "MISMATCH" not in farkey("key", "list", "--dir", keys).stdout


def contents(folder):
    return {path.name: path.read_bytes() if path.is_file() else None for path in folder.iterdir()}


@pytest.fixture
def renewal(pair):
    """A key in service and one that waits; the new one's certificate."""
    keys, web = pair / "hq/keys", pair / "web"
    farkey("ca", "init", "--ca", web)

    def certify():
        farkey("key", "generate", "--dir", keys, "example.com")
        farkey("key", "csr", "--dir", keys, "--out", pair / "csr", "example.com")
        farkey("ca", "issue", "--ca", web, "--csr", pair / "csr", "--out", pair / "new", "--dns", "example.com", "site",
               "example.com")
        return pair / "new/example.com.crt"
    farkey("key", "install", "--dir", keys, "example.com", certify())
    return keys, certify()


def test_install_that_fails_late_is_taken_back(renewal):
    """The certificate's name cannot be taken: the key was in its new place already."""
    keys, certificate = renewal
    (keys / "example.com.crt").unlink()
    (keys / "example.com.crt").mkdir()
    (keys / "example.com.key.old").write_text("older")
    before = contents(keys)
    assert "Is a directory" in refused("key", "install", "--dir", keys, "example.com", certificate)
    assert contents(keys) == before
    (keys / "example.com.crt").rmdir()
    farkey("key", "install", "--dir", keys, "example.com", certificate)
    assert contents(keys) == {"example.com.key": before["example.com.key.new"],
                              "example.com.key.old": before["example.com.key"],
                              "example.com.crt": certificate.read_bytes()}


ON_FULL_DISK = """
mount -t tmpfs -o size=256k,mode=700 none "$0" && cp -a "$1"/. "$0" || exit 99
head -c 1M /dev/zero >"$0/fill" 2>/dev/null
"$2" key install --dir "$0" example.com "$3"
status=$?
rm "$0/fill"
mkdir "$4" && cp -a "$0"/. "$4"
"$2" key install --dir "$0" example.com "$3" || exit 98
"$2" key list --dir "$0"
exit $status
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk")
def test_install_on_a_full_disk_changes_nothing(renewal, tmp_path):
    keys, certificate = renewal
    with open(certificate, "a") as chain:
        chain.write("# a long chain\n" * 600)
    (tmp_path / "disk").mkdir()
    done = run("unshare", "--mount", "sh", "-c", ON_FULL_DISK, tmp_path / "disk", keys, FARKEY, certificate,
               tmp_path / "after", check=False)
    assert (done.returncode, "No space left" in done.stderr) == (1, True), done.stdout + done.stderr
    assert contents(tmp_path / "after") == contents(keys)
    assert "MISMATCH" not in done.stdout and "p256" in done.stdout


SPELLINGS = {
    "der": ["pkcs8", "-topk8", "-nocrypt", "-outform", "DER"],
    "encrypted": ["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:open sesame"],
    "encrypted-der": ["pkcs8", "-topk8", "-outform", "DER", "-passout", "pass:open sesame"],
    "traditional": ["ec", "-aes-128-cbc", "-passout", "pass:open sesame"],
}


def secret_file(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("by_conf", [False, True])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_keys_that_are_served_can_be_certified(pair, spelling, by_conf):
    keys, web, key = pair / "hq/keys", pair / "web", pair / "hq/keys/example.com.key"
    farkey("ca", "init", "--ca", web)
    make_key("p256", pair / "plain")
    run("openssl", *SPELLINGS[spelling], "-in", pair / "plain", "-out", key)
    key.chmod(0o600)
    secret = secret_file(pair / "hq/passphrase", "open sesame\nand nothing of this\n")
    option = [] if by_conf else ["--passphrase-file", secret]
    if by_conf:
        conf = pair / "hq/keyd.conf"
        conf.write_text(conf.read_text().replace('keys "keys" { }', 'keys "keys" { passphrase_file = "passphrase" }'))
    farkey("key", "csr", "--dir", keys, *option, "--out", pair / "csr", "example.com")
    run("openssl", "req", "-in", pair / "csr", "-noout", "-verify")
    farkey("ca", "issue", "--ca", web, "--csr", pair / "csr", "--out", pair / "new", "--dns", "example.com", "site",
           "example.com")
    farkey("key", "install", "--dir", keys, *option, "example.com", pair / "new/example.com.crt")
    listed = farkey("key", "list", "--dir", keys, *option).stdout
    assert "p256" in listed and "MISMATCH" not in listed and "encrypted" not in listed
    if not by_conf:
        return
    done = farkey("check", "-c", conf, check=False)
    assert done.returncode == 0, done.stderr


def test_encrypted_key_without_its_passphrase(pair):
    keys = pair / "hq/keys"
    make_key("p256", pair / "plain")
    run("openssl", *SPELLINGS["encrypted"], "-in", pair / "plain", "-out", keys / "example.com.key")
    command = ["key", "csr", "--dir", keys, "example.com"]
    assert "name its passphrase with --passphrase-file" in refused(*command)
    wrong = secret_file(pair / "wrong", "close\n")
    assert "wrong or missing passphrase" in refused(*command, "--passphrase-file", wrong)
    wrong.chmod(0o644)
    assert f"cannot read the passphrase from {wrong}" in refused(*command, "--passphrase-file", wrong)
    assert "encrypted" in farkey("key", "list", "--dir", keys).stdout


def test_install_finds_the_key_server_by_its_configuration(pair):
    """Where no key server runs, that is said after looking for the socket that keyd.conf names."""
    keys, conf = pair / "hq/keys", pair / "hq/keyd.conf"
    farkey("ca", "init", "--ca", pair / "web")
    farkey("key", "generate", "--dir", keys, "example.com")
    farkey("key", "csr", "--dir", keys, "--out", pair / "csr", "example.com")
    farkey("ca", "issue", "--ca", pair / "web", "--csr", pair / "csr", "--out", pair / "new", "--dns", "example.com",
           "site", "example.com")
    install = ["key", "install", "--dir", keys, "example.com", pair / "new/example.com.crt"]
    assert "no key server runs here" in farkey(*install).stdout
    conf.write_text(conf.read_text().replace('"run/keyd.sock"', f'"{pair}/elsewhere.sock"'))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(pair / "elsewhere.sock"))
        server.listen()

        def answer():
            with server.accept()[0] as asked:
                asked.recv(4096)
                asked.sendall(b'{"error": "not now"}\n')
        answering = threading.Thread(target=answer)
        answering.start()
        assert "not now" in refused(*install)
        answering.join()


def test_key_list_warns(pair):
    keys = pair / "hq/keys"
    farkey("key", "generate", "--dir", keys, "example.com")
    (keys / "example.com.key").chmod(0o644)
    (keys / "broken.key").write_text("x")
    listed = farkey("key", "list", "--dir", keys).stdout
    assert "READABLE BY OTHERS" in listed and "no certificate" in listed and "unreadable" in listed


def test_key_names_are_no_paths(pair):
    for name in ["../x", "a/b", ".hidden", ""]:
        refused("key", "generate", "--dir", pair, name, status=2)


def test_usage(tmp_path):
    assert "farkey" in farkey("--version").stdout
    assert re.search(r"^  manual +print", farkey("--help").stdout, re.M)
    for words in [("help",), ("ca", "help"), ("key", "--help"), ("init", "--help"), ("ca", "issue", "--help"),
                  ("check", "--help"), ("status", "--help"), ("manual", "--help")]:
        assert "usage: farkey" in farkey(*words).stdout
    for daemon in "keyd", "edge":
        text = farkey(daemon, "--help").stdout
        assert text.startswith(f"usage: farkey {daemon} ") and "-c, --conf FILE" in text and "-v, " in text
        for words in [("--bogus",), ("-c",), (), ("-c", "x", "extra")]:
            said = refused(daemon, *words, status=2)
            assert said.startswith(f"farkey {daemon}: "), said
        assert refused(daemon, "--bogus", status=2).count("\n") == 1
    for words in [(), ("nonsense",), ("ca",), ("ca", "nonsense"), ("init", "--nonsense"), ("init", "a"),
                  ("key", "generate", "--type", "dsa", "x"), ("ca", "issue", "--days", "0", "edge", "x")]:
        refused(*words, status=2)


def test_status_without_a_daemon(pair):
    assert "No such file" in refused("status", "-c", pair / "edge1/edge.conf")
    refused("status", status=1)


def test_manuals_are_well_formed(tmp_path):
    for role in ["keyd", "edge"]:
        page = tmp_path / f"farkey-{role}.conf.5"
        page.write_text(farkey("manual", role).stdout)
        for option in ["control", "log_level", "listen"]:
            assert re.search(rf"^\.(It Ic|Ss) {option}", page.read_text(), re.M)
