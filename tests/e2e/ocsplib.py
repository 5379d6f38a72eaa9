"""OCSP responses of a test CA, made by openssl's own responder, and what clients get of them."""
import pathlib
import re
import subprocess

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from datetime import datetime, timedelta

from harness import PATIENCE, run

SENT = 'ocsp_responses_total{result="sent"}'
EXPIRED = 'ocsp_responses_total{result="expired"}'


def chain(certificate, authority):
    """A copy of a certificate with its issuer behind it: FILE.chain."""
    made = certificate.with_suffix(".chain")
    made.write_bytes(certificate.read_bytes() + authority.certificate.read_bytes())
    return made


def respond(authority, certificate, out, *options, state="V", signer=None):
    """What openssl's responder says about a certificate whose state in its index is `state`; None: it is not there."""
    serial = run("openssl", "x509", "-in", certificate, "-noout", "-serial").stdout.strip().split("=")[1]
    index = pathlib.Path(f"{out}.index")
    revoked = "250101000000Z" if state == "R" else ""
    index.write_text(f"{state}\t491231235959Z\t{revoked}\t{serial}\tunknown\t/CN=x\n" if state else "")
    key, cert = (signer[0], signer[1]) if signer else (authority.key, authority.certificate)
    when = options or ("-ndays", "3")
    run("openssl", "ocsp", "-index", index, "-rsigner", cert, "-rkey", key, "-CA", authority.certificate,
        "-issuer", authority.certificate, "-cert", certificate, *when, "-respout", f"{out}.new", "-noverify")
    pathlib.Path(f"{out}.new").rename(out)
    index.unlink()
    return pathlib.Path(out)


def old(authority, certificate, out):
    """A response of the day before yesterday that ended yesterday: openssl's responder knows only now."""
    issuer = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    key = serialization.load_pem_private_key(authority.key.read_bytes(), None)
    now = datetime.utcnow()
    made = ocsp.OCSPResponseBuilder().add_response(
        x509.load_pem_x509_certificate(certificate.read_bytes()), issuer, hashes.SHA1(), ocsp.OCSPCertStatus.GOOD,
        now - timedelta(days=2), now - timedelta(days=1), None, None,
    ).responder_id(ocsp.OCSPResponderEncoding.HASH, issuer).sign(key, hashes.SHA256())
    pathlib.Path(out).write_bytes(made.public_bytes(serialization.Encoding.DER))
    return pathlib.Path(out)


def produced(path):
    """When a response was made, as openssl writes it."""
    text = run("openssl", "ocsp", "-respin", path, "-resp_text", "-noverify").stdout
    return re.search(r"Produced At: (.*)", text)[1]


def ends(path):
    """When it is over, as a status says it."""
    text = run("openssl", "ocsp", "-respin", path, "-resp_text", "-noverify").stdout
    return status_time(re.search(r"Next Update: (.*)", text)[1])


def status_time(text):
    """A time of openssl's as farkey writes it."""
    return datetime.strptime(text.strip(), "%b %d %H:%M:%S %Y GMT").strftime("%Y-%m-%dT%H:%M:%S.000000Z")


def asked(port, ca, *options, name="example.com"):
    """What openssl's client prints of a handshake in which it asks for the response."""
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", name, "-CAfile", ca,
                           "-verify_return_error", "-status", *options], input="", capture_output=True, text=True,
                          timeout=PATIENCE, check=False)
    assert "Verify return code: 0 (ok)" in done.stdout or "Verification: OK" in done.stdout, done.stdout + done.stderr
    return done.stdout


def stapled(port, ca, *options, name="example.com"):
    """When the response that a client gets was made; None: it gets none."""
    text = asked(port, ca, *options, name=name)
    if "OCSP response: no response sent" in text:
        return None
    assert "OCSP Response Status: successful" in text and "Cert Status: good" in text, text
    return re.search(r"Produced At: (.*)", text)[1]
