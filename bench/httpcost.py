"""Edge CPU of requests with protocol = http, beside nginx and HAProxy as they proxy the same: HTTP/1.1 and HTTP/2 on kept
connections, from our cache, with a client's certificate told to the origin, and with a new connection for each."""
import os
import pathlib
import re
import subprocess
import tempfile

import handshake
import measure
import servers

CLIENTS = 32
BODY = 1024


def spawn(name, port, command, folder, core, below=True):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    measure.wait_until(lambda: servers.listening(port), name)
    pids = measure.tree(process.pid)[1:] if below else measure.tree(process.pid)
    measure.pin(pids, core)
    return servers.Server(name, port, process, pids, folder)


def make_folder(name):
    folder = tempfile.mkdtemp(prefix=f"bench-{name}-")
    os.chmod(folder, 0o755)
    return folder


def start_origin():
    """nginx with a file of 1 KiB, which may be stored under one name and not under another."""
    folder, port = make_folder("http-origin"), servers.free_port()
    pathlib.Path(folder, "file").write_bytes(bytes(BODY))
    config = pathlib.Path(folder, "nginx.conf")
    config.write_text(f"""worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 8000; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    server {{
        listen 127.0.0.1:{port};
        root {folder};
        location = /cached {{ add_header Cache-Control "max-age=3600"; try_files /file =404; }}
        location / {{ add_header Cache-Control "no-store"; try_files /file =404; }}
    }}
}}
""")
    return spawn("origin", port, ["nginx", "-c", config, "-p", folder], folder, measure.OTHER_CORE, below=False)


def start_farkey(origin_port, key, *options):
    """The demonstration's pair, whose site then also takes HTTP/2 and stores answers."""
    server = servers.start_farkey(origin_port, key, options=("--http", *options))
    conf = next(pathlib.Path(server.facts["dir"]).glob("**/edge.conf"))
    text = conf.read_text().replace("    protocol = http\n", "    protocol = http\n    alpn = {\"h2\", \"http/1.1\"}\n    cache = on\n")
    conf.write_text(text + "cache { }\n")
    subprocess.run([servers.BUILD / "farkey", "control", "-c", conf, "reload"], check=True, capture_output=True)
    return server


def start_nginx(origin_port, certificate):
    folder, port = make_folder("nginx"), servers.free_port()
    config = pathlib.Path(folder, "nginx.conf")
    config.write_text(f"""worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 8000; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    upstream out {{ server 127.0.0.1:{origin_port}; keepalive 256; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port} ssl http2 backlog=4096;
        ssl_certificate {certificate};
        ssl_certificate_key {certificate};
        ssl_protocols TLSv1.2 TLSv1.3;
        location / {{
            proxy_pass http://out;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto https;
        }}
    }}
}}
""")
    return spawn("nginx", port, ["nginx", "-c", config, "-p", folder], folder, measure.SERVER_CORE)


def start_haproxy(origin_port, certificate):
    folder, port = make_folder("haproxy"), servers.free_port()
    config = pathlib.Path(folder, "haproxy.cfg")
    config.write_text(f"""global
    nbthread 1
    maxconn 8000
    tune.ssl.default-dh-param 2048
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 60s
frontend in
    bind 127.0.0.1:{port} ssl crt {certificate} alpn h2,http/1.1 ssl-min-ver TLSv1.2 backlog 4096
    option forwardfor
    default_backend out
backend out
    http-reuse always
    http-request set-header X-Forwarded-Proto https
    server one 127.0.0.1:{origin_port}
""")
    return spawn("haproxy", port, ["haproxy", "-db", "-f", config], folder, measure.SERVER_CORE, below=False)


def kept_us(server, total, path, *options):
    """CPU microseconds of the measured processes for one request on connections that are kept."""
    before = measure.cpu_seconds(server.pids)
    done = subprocess.run(["taskset", "-c", str(measure.OTHER_CORE), "h2load", "-t", "1", "-c", str(CLIENTS), "-n", str(total),
                           *options, f"https://127.0.0.1:{server.port}{path}"], capture_output=True, text=True, check=True)
    after = measure.cpu_seconds(server.pids)
    good = int(re.search(r"^status codes: (\d+) 2xx", done.stdout, re.M)[1])
    if good != total:
        raise RuntimeError(f"{server.name}: {good} of {total} requests: {done.stdout}")
    return (after - before) * 1e6 / total


def alternate(running, rounds, one):
    """Medians, and medians of the ratios to the first, round by round."""
    costs = {server.name: [] for server in running}
    for server in running:
        one(server)  # warm-up
    for _ in range(rounds):
        for server in running:
            costs[server.name].append(one(server))
    first = costs[running[0].name]
    ratios = {name: measure.median([ours / theirs for ours, theirs in zip(first, values)])
              for name, values in costs.items() if values is not first}
    return {name: measure.median(values) for name, values in costs.items()}, ratios


def rows(what, medians, ratios, target):
    return [{"what": f"{what}: edge CPU / {rival}", "value": ratio,
             "detail": f"farkey {medians['farkey']:.1f} us, {rival} {medians[rival]:.1f} us",
             **({"target": target} if rival == "nginx" else {})} for rival, ratio in ratios.items()]


def requests(running, quick):
    total, rounds = (4000, 3) if quick else (10000, 11)
    result = []
    for what, path, target, options in (("keep-alive GET 1 KiB, HTTP/1.1", "/plain", "<=1.0", ["--h1"]),
                                        ("keep-alive GET 1 KiB, HTTP/2", "/plain", "<=1.0", ["-m", "8"]),
                                        ("GET 1 KiB from the cache, HTTP/1.1", "/cached", "<=0.6", ["--h1"]),
                                        ("GET 1 KiB from the cache, HTTP/2", "/cached", "<=0.6", ["-m", "8"])):
        medians, ratios = alternate(running, rounds, lambda server: kept_us(server, total, path, *options))
        result += rows(what, medians, ratios, target)
    return result


def handshakes(origin, folder, quick):
    total, rounds = handshake.size(quick)
    result = []
    for key, target in (("rsa2048", "<=0.55"), ("p256", "<=1.1")):
        certificate = servers.make_certificate(folder, key)
        running = [start_farkey(origin.port, key), start_nginx(origin.port, certificate), start_haproxy(origin.port, certificate)]
        try:
            medians, ratios = alternate(running, rounds, lambda server: handshake.cost_us(server, total))
        finally:
            for server in running:
                server.stop()
        result += rows(f"full handshake, request, close, {key}", medians, ratios, target)
    return result


def certified_us(server, total):
    """CPU microseconds for one request of a client with a certificate, on one connection."""
    client = server.facts["client"]
    before = measure.cpu_seconds(server.pids)
    subprocess.run(["taskset", "-c", str(measure.OTHER_CORE), "curl", "--silent", "--fail", "--insecure", "--http1.1", "--cert",
                    client["certificate"], "--key", client["key"], "--resolve", f"example.com:{server.port}:127.0.0.1",
                    "--output", "/dev/null", f"https://example.com:{server.port}/plain?[1-{total}]"], check=True)
    return (measure.cpu_seconds(server.pids) - before) * 1e6 / total


def relay(origin, quick):
    """The same clients with the same certificate, told to the origin or not."""
    total, rounds = (1000, 3) if quick else (3000, 15)
    told = start_farkey(origin.port, "p256", "--relay", "rfc9440")
    untold = start_farkey(origin.port, "p256", "--client-certificate", "optional")
    conf = next(pathlib.Path(untold.facts["dir"]).glob("**/edge.conf"))
    conf.write_text(conf.read_text().replace('ca = "client-ca.crt"\n', 'ca = "client-ca.crt"\n        relay "none" { }\n'))
    subprocess.run([servers.BUILD / "farkey", "control", "-c", conf, "reload"], check=True, capture_output=True)
    untold.name = "without"
    try:
        medians, ratios = alternate([told, untold], rounds, lambda server: certified_us(server, total))
    finally:
        told.stop()
        untold.stop()
    return [{"what": "with a client's certificate, by RFC 9440: edge CPU / not told", "value": ratios["without"],
             "target": "<=1.05", "detail": f"{medians['farkey']:.1f} us, {medians['without']:.1f} us"}]


def run(folder, quick):
    certificate = servers.make_certificate(folder, "p256")
    origin = start_origin()
    running = [start_farkey(origin.port, "p256"), start_nginx(origin.port, certificate), start_haproxy(origin.port, certificate)]
    try:
        result = requests(running, quick)
    finally:
        for server in running:
            server.stop()
    try:
        return result + relay(origin, quick) + handshakes(origin, folder, quick)
    finally:
        origin.stop()
