"""The status page in headless Chromium, on a wide screen and on a phone's."""
import json
import os
import re
import urllib.request

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import edgelib
import harness
import pair as pairs
from edgelib import Edge
from harness import FARKEY, control, curl, free_port, run, wait_until
from web import Recorder

TOKEN = "0123456789abcdefghijklmnop"
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
           "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"]
SECTIONS = {"edge": ["latencies", "keyservers", "origins", "certificates", "refused", "malformed", "limits", "cache", "workers"],
            "keyd": ["latencies", "keys-list", "edges", "by-operation", "results", "audit", "processes"]}


@pytest.fixture
def browser(folder):
    """Chromium that notes violations of a page's policy, whatever it loads."""
    options = Options()
    options.binary_location = "/usr/bin/chromium"
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for option in [*OPTIONS, f"--user-data-dir={folder / 'profile'}"]:
        options.add_argument(option)
    service = Service("/usr/bin/chromedriver", env={"HOME": str(folder), "PATH": "/usr/bin:/bin"})
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_page_load_timeout(harness.PATIENCE)
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source":
        "window.violations = []; document.addEventListener('securitypolicyviolation', e => window.violations.push(e.blockedURI));"})
    yield driver
    driver.quit()


def resize(driver, width, height=900):
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                           {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})


def text(driver, selector):
    return driver.execute_script("const e = document.querySelector(arguments[0]); return e === null ? null : e.textContent", selector)


def figure(driver, name):
    return text(driver, f"#{name} .value")


def rows(driver, section):
    """A section's rows as objects by column; the first column also as "name"."""
    return driver.execute_script("""return [...document.querySelectorAll('#' + arguments[0] + ' tbody tr')].map(tr => {
        const row = Object.fromEntries([...tr.cells].map(td => [td.dataset.label, td.textContent]));
        return {...row, name: tr.cells[0].textContent};
    })""", section)


def complaints(driver, but=()):
    """What the browser has logged since the last question, and violations of the policy."""
    found = [entry["message"] for entry in driver.get_log("browser")
             if entry["level"] in ("SEVERE", "WARNING") and not any(re.search(pattern, entry["message"]) for pattern in but)]
    return found + driver.execute_script("return window.violations")


def fits(driver, width):
    """Whether the page can be read at this width without scrolling to the side; else who sticks out."""
    resize(driver, width)
    return driver.execute_script("""
        const wide = [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + .5);
        return [innerWidth, document.documentElement.scrollWidth <= innerWidth, wide.map(e => e.tagName + ' ' + e.textContent.slice(0, 60))]
    """) == [width, True, []]


@pytest.fixture
def installation(folder, authority, site_authority, daemons):
    """A key server and an edge with two sites, a cache, and clients' certificates; both with admin listeners."""
    recorder = Recorder(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nCache-Control: max-age=60\r\n\r\nhello")
    ports = {role: free_port() for role in ("edge", "keyd")}
    admin = {role: f'admin {{ listen = "127.0.0.1:{port}" }}' for role, port in ports.items()}
    client = f'client_certificate {{ ca = "{site_authority.certificate}" require = optional paths = {{"/private"}} }}'
    pair = pairs.Pair(folder, authority, site_authority, recorder.origin.port,
                      keys={"example.com": ["p256"], "a-shop-with-a-long-name.example.org": ["rsa2048"]},
                      edge_options=f"workers = 2 {admin['edge']} cache {{ size = 8m }}",
                      site_options=f"protocol = http cache = on {client}",
                      keyd_options=f"fronts = 1 signers = 1 {admin['keyd']}").start(daemons)
    pair.urls = {role: f"http://127.0.0.1:{port}/" for role, port in ports.items()}
    pair.recorder = recorder
    yield pair
    recorder.origin.close()


def head(url):
    with urllib.request.urlopen(url, timeout=harness.PATIENCE) as answer:
        return answer.headers, answer.read().decode()


def test_the_edges_page(installation, browser):
    pair = installation
    resize(browser, 1280)
    browser.get(pair.urls["edge"])
    wait_until(lambda: text(browser, "#state") == "ready", "the page tells how the edge is")
    wait_until(lambda: rows(browser, "certificates"), "and what it has")
    assert [section for section in SECTIONS["edge"] if text(browser, f"#{section} h2") is None] == []
    assert browser.title == "farkey edge"
    before = int(figure(browser, "totals"))
    for path in ["/one", "/one", "/one", "/private", "/two"]:
        pair.get(path=path)
    wait_until(lambda: int(figure(browser, "totals")) == before + 5, "five requests more")
    wait_until(lambda: float(figure(browser, "requests")) > 0 and float(figure(browser, "handshakes")) > 0, "rates")
    wait_until(lambda: "hit" in [row["name"] for row in rows(browser, "cache")], "hits")
    assert re.search(r"[1-9].* %", figure(browser, "hits"))
    assert [(row["name"], row["in all"]) for row in rows(browser, "refused")] == [("missing", "1")]
    latencies = {row["name"]: row for row in rows(browser, "latencies")}
    for name in "handshake", "waiting for private keys":
        assert re.fullmatch(r"[\d.]+ (µs|ms|s)", latencies[name]["p99"]), latencies
    [server] = rows(browser, "keyservers")
    assert (server["name"], server["state"]) == ("keys1", "up") and re.fullmatch(r"[\d.]+ (µs|ms)", server["round trip"])
    sites = {row["name"]: row for row in rows(browser, "certificates")}
    assert sorted(sites) == sorted(pair.keys)
    end = run("openssl", "x509", "-noout", "-enddate", "-in", pair.folder / "edge1/example.com.crt").stdout.split("=")[1].strip()
    day = run("date", "-u", "-d", end, "+%F").stdout.strip()
    assert sites["example.com"]["until"] == day and sites["example.com"]["days left"] in ("29", "30")
    assert {(row["name"], row["state"]) for row in rows(browser, "origins")} == {(pair.recorder.address, "up")}
    name = f"example.com/{pair.recorder.address}"
    assert control(pair.folder / "edge1/run/edge.sock", "origin-down", argument=name)["ok"]
    wait_until(lambda: ("example.com", "set down") in [(row["site"], row["state"]) for row in rows(browser, "origins")],
               "the page shows what an operator has done")
    assert complaints(browser) == []


def test_the_key_servers_page(installation, browser):
    pair = installation
    resize(browser, 1280)
    browser.get(pair.urls["keyd"])
    wait_until(lambda: text(browser, "#state") == "ready", "the page tells how the key server is")
    assert [section for section in SECTIONS["keyd"] if text(browser, f"#{section} h2") is None] == []
    assert browser.title == "farkey keyd"
    before = int(figure(browser, "totals"))
    for _ in range(4):
        pair.get()
    wait_until(lambda: int(figure(browser, "totals")) == before + 4, "four operations more")
    wait_until(lambda: float(figure(browser, "operations")) > 0, "a rate")
    keys = {row["name"]: row for row in rows(browser, "keys-list")}
    assert {name: row["type"] for name, row in keys.items()} == {"example.com": "ec 256", "a-shop-with-a-long-name.example.org": "rsa 2048"}
    assert all(row["days left"] in ("29", "30") and row["where"] == "signers" for row in keys.values())
    [edge] = rows(browser, "edges")
    assert edge["name"] == "edge1" and edge["channels"] == "2"
    [audit] = rows(browser, "audit")
    assert audit["state"] == "written" and audit["lost"] == "0" and int(audit["lines"]) >= before + 4
    assert figure(browser, "audit-state") == "written"
    assert complaints(browser) == []


@pytest.mark.parametrize("role", ["edge", "keyd"])
def test_on_a_phone_and_in_the_dark(installation, browser, role):
    pair = installation
    pair.get()
    resize(browser, 360)
    browser.get(pair.urls[role])
    wait_until(lambda: text(browser, "#state") == "ready", "the page is there")
    backgrounds = set()
    for scheme in "light", "dark":
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        for width in 360, 1280:
            assert fits(browser, width), (scheme, width)
        backgrounds.add(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 2
    assert complaints(browser) == []


def test_the_token(daemons, folder, site_authority, browser):
    site_authority.issue(folder / "p256", "example.com", "DNS:example.com", "p256")
    (folder / "admin.token").write_text(TOKEN + "\n")
    (folder / "admin.token").chmod(0o600)
    port = free_port()
    edge = Edge(daemons, folder, [edgelib.site("example.com", [folder / "p256.crt"], [folder / "p256.key"], ["127.0.0.1:1"])],
                options=f'admin {{ listen = "127.0.0.1:{port}" token = "{folder}/admin.token" }}')
    url = f"http://127.0.0.1:{port}/"
    status = curl(f"{url}status", "-o", folder / "out", "-w", "%{http_code}", ca=site_authority.certificate)[1]
    assert status == "401"
    resize(browser, 360)
    browser.get(url)
    wait_until(lambda: text(browser, "#why") == "The daemon asks for its token.", "it asks")
    field = browser.find_element(By.ID, "token")
    assert field.is_displayed() and fits(browser, 360)
    assert "edge" not in browser.title and text(browser, "#figures") == ""
    for wrong, why in [("not the token", "That is no token."), (TOKEN[:-1] + "q", "The daemon does not know this token.")]:
        field.send_keys(wrong, Keys.ENTER)
        wait_until(lambda why=why: text(browser, "#why") == why, why)
        assert browser.execute_script("return sessionStorage.length") == 0
    field.send_keys(TOKEN, Keys.ENTER)
    wait_until(lambda: text(browser, "#state") == "ready", "it shows what it was told")
    assert not field.is_displayed() and field.get_property("value") == ""
    assert browser.execute_script("return [Object.values(sessionStorage), localStorage.length, document.cookie, location.href]") == [
        [TOKEN], 0, "", url]
    browser.refresh()
    wait_until(lambda: text(browser, "#state") == "ready", "the tab remembers it")
    assert complaints(browser, but=[r"/(status|metrics) - Failed to load resource.* 401"]) == []
    browser.switch_to.new_window("tab")
    browser.get(url)
    wait_until(lambda: text(browser, "#why") == "The daemon asks for its token.", "another one does not")
    assert TOKEN not in edge.daemon.log()


def test_names_are_text(daemons, folder, site_authority, browser):
    """A configuration may call a site what it likes: that is shown, not run."""
    site_authority.issue(folder / "p256", "example.com", "DNS:example.com", "p256")
    title = "<img src=x onerror=document.title='run'><script>document.title='run'</script>"
    port = free_port()
    Edge(daemons, folder, [edgelib.site(title, [folder / "p256.crt"], [folder / "p256.key"], ["127.0.0.1:1"], names='{"example.com"}')],
         options=f'admin {{ listen = "127.0.0.1:{port}" }}')
    browser.get(f"http://127.0.0.1:{port}/")
    wait_until(lambda: rows(browser, "certificates"), "the site is there")
    assert rows(browser, "certificates")[0]["name"] == title == rows(browser, "origins")[0]["site"]
    assert browser.title == "farkey edge" and not browser.find_elements(By.CSS_SELECTOR, "main img, main script")
    assert complaints(browser) == []


def test_the_daemon_goes_and_comes_back(daemons, folder, site_authority, browser):
    site_authority.issue(folder / "p256", "example.com", "DNS:example.com", "p256")
    port = free_port()
    edge = Edge(daemons, folder, [edgelib.site("example.com", [folder / "p256.crt"], [folder / "p256.key"], ["127.0.0.1:1"])],
                options=f'admin {{ listen = "127.0.0.1:{port}" }}')
    browser.get(f"http://127.0.0.1:{port}/")
    wait_until(lambda: text(browser, "#state") == "ready", "the page is there")
    assert edge.daemon.stop() == 0
    wait_until(lambda: "No answer from the daemon" in text(browser, "#why"), "the page says that nobody answers")
    assert rows(browser, "certificates")[0]["name"] == "example.com" and "stale" in browser.execute_script("return document.body.className")
    daemons.append(again := harness.Daemon(FARKEY, "edge", "-c", edge.conf, log=folder / "again.log"))
    again.wait_log("edge is ready")
    wait_until(lambda: text(browser, "#why") == "" and browser.execute_script("return document.body.className") == "", "it goes on")


@pytest.mark.parametrize("role", ["edge", "keyd"])
def test_the_page_is_whole(installation, role):
    """One document without another source, and a policy that allows none; the same for GET and HEAD."""
    fields, page = head(installation.urls[role])
    assert fields["Content-Type"] == "text/html; charset=utf-8"
    assert (fields["X-Content-Type-Options"], fields["Referrer-Policy"], fields["Cache-Control"]) == ("nosniff", "no-referrer", "no-store")
    directives = dict(directive.split(" ", 1) for directive in fields["Content-Security-Policy"].split("; "))
    assert set(directives) == {"default-src", "script-src", "style-src", "connect-src", "img-src", "base-uri", "form-action",
                               "frame-ancestors"}
    assert directives["default-src"] == directives["base-uri"] == directives["frame-ancestors"] == directives["form-action"] == "'none'"
    for kind in "script", "style":
        assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", directives[f"{kind}-src"])
    assert "unsafe" not in fields["Content-Security-Policy"]
    assert not re.search(r"https?:(?!//www\.w3\.org/2000/svg)|\bsrc=", page) and page.count("<script") == 1
    headers = run("curl", "-s", "-I", installation.urls[role]).stdout
    assert f"\nContent-Length: {len(page)}\n" in headers and headers.endswith("\n\n")


def test_screenshot(installation, browser, folder):
    """The edge's page with something to show; FARKEY_SCREENSHOT=docs/status-page.png makes that of the documents."""
    for i in range(40):
        installation.get(path=f"/{i % 4}")
    installation.get(path="/private")
    resize(browser, 1100, 1150)
    browser.get(installation.urls["edge"])
    for _ in range(6):
        before = text(browser, "#totals")
        run("h2load", "-n", "400", "-c", "4", f"--connect-to=127.0.0.1:{installation.port}", f"https://example.com:{installation.port}/a")
        wait_until(lambda before=before: text(browser, "#totals") != before, "the next look")
    path = os.environ.get("FARKEY_SCREENSHOT", str(folder / "page.png"))
    assert browser.get_screenshot_as_file(path)
    with open(path, "rb") as image:
        assert image.read(8) == b"\x89PNG\r\n\x1a\n"
    assert 10_000 < os.path.getsize(path) < 200_000
    assert json.loads(head(installation.urls["edge"] + "status")[1])["ready"]
