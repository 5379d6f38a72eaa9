"""A browser that people use: headless Chromium through the edge, its key at the key server."""
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

import edgelib
import harness
import pair as pairs

OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
           "--disable-background-networking", "--disable-component-update", "--disable-sync",
           "--disable-dev-shm-usage", "--host-resolver-rules=MAP example.com 127.0.0.1"]


@pytest.fixture
def browser(folder, site_authority):
    """Chromium with a home of its own, in which only the test's CA is added to the trusted ones."""
    store = folder / "home" / ".pki" / "nssdb"
    store.mkdir(parents=True)
    harness.run("certutil", "-N", "-d", f"sql:{store}", "--empty-password")
    harness.run("certutil", "-A", "-d", f"sql:{store}", "-n", "site", "-t", "C,,", "-i", site_authority.certificate)
    options = Options()
    options.binary_location = "/usr/bin/chromium"
    for option in [*OPTIONS, f"--user-data-dir={folder / 'profile'}"]:
        options.add_argument(option)
    service = Service("/usr/bin/chromedriver", env={"HOME": str(folder / "home"), "PATH": "/usr/bin:/bin"})
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_page_load_timeout(harness.PATIENCE)
    yield driver
    driver.quit()


@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_chromium_loads_a_page(folder, authority, site_authority, daemons, browser, kind):
    """The page arrives, and the browser holds the connection for secure."""
    origin = edgelib.Origin(edgelib.http(b"hello from the origin"))
    pair = pairs.Pair(folder, authority, site_authority, origin.port, keys={"example.com": [kind]}).start(daemons)
    browser.get(f"https://example.com:{pair.port}/")
    assert browser.find_element("tag name", "body").text == "hello from the origin"
    assert browser.execute_script("return window.isSecureContext && location.protocol") == "https:"
    pair.edge.wait_log('sni="example.com".*version="TLSv1.3"')
    origin.close()
