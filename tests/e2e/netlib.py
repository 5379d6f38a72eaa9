"""Three network namespaces in a row, a box in the middle:

    client c0 10.9.0.1, fd09::1 --- mc  box  ms --- s0 10.9.0.2, fd09::2 server

Addresses are only at the ends. Needs root. With an impairment, another namespace is between client and box.
"""
import os
import pathlib
import subprocess
import sys

import harness

CLIENT, SERVER = ("10.9.0.1", "fd09::1"), ("10.9.0.2", "fd09::2")
PEER = pathlib.Path(__file__).with_name("netpeer.py")
_numbers = iter(range(1000000))

NGINX = """daemon off; master_process off; pid {0}/pid; error_log {0}/error.log;
events {{ }}
http {{
    log_format who "$remote_addr $remote_port $request";
    access_log {0}/access.log who;
    client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u;
    scgi_temp_path {0}/s;
    server {{ listen [::]:8443 ipv6only=off; root {0}/www; }}
}}
"""


def ip(*words):
    harness.run("ip", *map(str, words))


class Wire:
    """The namespaces, and what runs in them."""

    def __init__(self, folder, mtu=1500, impairment=None):
        self.folder = pathlib.Path(folder)
        stem = f"fk{os.getpid()}-{next(_numbers)}"
        self.client, self.middle, self.server = (f"{stem}{end}" for end in "cms")
        self.processes = []
        self.rough = f"{stem}r" if impairment else None
        for namespace in filter(None, (self.client, self.rough, self.middle, self.server)):
            ip("netns", "add", namespace)
            ip("-n", namespace, "link", "set", "lo", "up")
        for namespace in filter(None, (self.rough, self.middle)):
            self.run(namespace, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1",
                     "net.ipv6.conf.default.disable_ipv6=1")
        for end, namespace, inner, v4, v6 in (("c0", self.client, "mc", CLIENT[0], CLIENT[1]),
                                              ("s0", self.server, "ms", SERVER[0], SERVER[1])):
            between = self.rough if self.rough and end == "c0" else self.middle
            ip("link", "add", end, "netns", namespace, "mtu", mtu, "type", "veth", "peer", "name", inner, "mtu", mtu,
               "netns", between)
            ip("-n", namespace, "address", "add", f"{v4}/24", "dev", end)
            ip("-n", namespace, "address", "add", f"{v6}/64", "dev", end, "nodad")
            ip("-n", namespace, "link", "set", end, "up")
            ip("-n", between, "link", "set", inner, "up")
        if impairment:
            self.impair(impairment, mtu)

    def impair(self, impairment, mtu):
        """The client's wire ends in the rough namespace, from where frames go on to the box, or do not."""
        ip("link", "add", "mc", "netns", self.middle, "mtu", mtu, "type", "veth", "peer", "name", "rm", "mtu", mtu,
           "netns", self.rough)
        ip("-n", self.middle, "link", "set", "mc", "up")
        ip("-n", self.rough, "link", "set", "rm", "up")
        self.offloads("off")
        self.start(self.rough, sys.executable, PEER.with_name("impair.py"), "mc", "rm", *impairment,
                   log="impair.log").wait_log("forwarding")

    def run(self, namespace, *command, **options):
        return harness.run("ip", "netns", "exec", namespace, *command, **options)

    def start(self, namespace, *command, log, **options):
        daemon = harness.Daemon("ip", "netns", "exec", namespace, *command, log=self.folder / log, **options)
        self.processes.append(daemon)
        return daemon

    def offloads(self, state):
        """Of all four interfaces: "on" or "off"."""
        devices = [(self.client, "c0"), (self.middle, "mc"), (self.middle, "ms"), (self.server, "s0")]
        for namespace, device in devices + ([(self.rough, "mc"), (self.rough, "rm")] if self.rough else []):
            self.run(namespace, "ethtool", "-K", device, *(word for feature in ("tso", "gso", "gro", "tx", "rx")
                                                           for word in (feature, state)))

    def serve(self, port=8443):
        peer = self.start(self.server, sys.executable, PEER, "serve", port, log="server.log")
        peer.wait_log("listening")
        return peer

    def talk(self, ca, version="TLSv1_3", host=SERVER[0], port=8443, up=1000, down=1000, **options):
        return self.run(self.client, sys.executable, PEER, "talk", host, port, ca, version, up, down, **options)

    def end(self):
        for process in reversed(self.processes):
            process.end()
        for namespace in filter(None, (self.client, self.rough, self.middle, self.server)):
            subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)


class Box:
    """`farkey inline` in the middle, with a site "example.com" whose key it has (mode local) or not."""

    def __init__(self, wire, authority, wire_options="", site_options=None, more="", workers=2, keys=(),
                 client="mc", server="ms"):
        self.wire, self.folder, self.ca = wire, wire.folder, authority.certificate
        (self.folder / "run").mkdir(exist_ok=True)
        if site_options is None:
            keys, site_options = ("site",), 'mode = local certificate = {"site.crt"} key = {"site.key"}'
        for name in keys:
            authority.issue(self.folder / name, "example.com", "DNS:example.com")
        self.conf = self.folder / "inline.conf"
        self.conf.write_text(f"""workers = {workers}
control = "run/inline.sock"
wire {{ client = "{client}" server = "{server}" ports = {{"8443", "8444"}} {wire_options} }}
site "example.com" {{ {site_options} }}
{more}
""")
        self.daemon = None
        self.start()

    def start(self):
        self.daemon = self.wire.start(self.wire.middle, harness.FARKEY, "inline", "-c", self.conf, log="inline.log")
        since = len(self.daemon.log())
        self.daemon.wait_log("inline box is ready", since=since if self.daemon.log()[:since].count("is ready") else 0)

    def control(self, command="status"):
        return harness.control(self.folder / "run" / "inline.sock", command)

    def count(self, event):
        """A named event's number so far."""
        return self.control()["counters"][f'events_total{{event="{event}"}}']


def start_nginx(wire):
    """nginx on plain HTTP in place of the server, with one page; its folder."""
    folder = wire.folder / "nginx"
    (folder / "www").mkdir(parents=True)
    (folder / "www" / "index.html").write_text("hello through the box\n")
    (folder / "nginx.conf").write_text(NGINX.format(folder))
    for path in (wire.folder, folder, folder / "www"):
        path.chmod(0o755)
    wire.start(wire.server, "nginx", "-c", folder / "nginx.conf", "-p", folder, log="nginx.log")
    harness.wait_until(lambda: "8443" in wire.run(wire.server, "ss", "-ltnH").stdout, "nginx listens")
    return folder
