"""Edge CPU a byte of a large download in tcp mode: the record engine, and OpenSSL's records, beside the rivals."""
import os
import pathlib
import subprocess
import tempfile

import measure
import servers

SIZE = 100_000_000


def start_origin():
    """nginx with one large file."""
    folder = tempfile.mkdtemp(prefix="bench-file-")
    os.chmod(folder, 0o755)
    port = servers.free_port()
    with open(pathlib.Path(folder, "file"), "wb") as file:
        file.write(os.urandom(1 << 20) * (SIZE >> 20))
        file.write(bytes(SIZE - file.tell()))
    config = pathlib.Path(folder, "nginx.conf")
    config.write_text(f"""worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 1000; }}
http {{
    access_log off;
    sendfile on;
    server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
""")
    process = subprocess.Popen(["nginx", "-c", config, "-p", folder], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    measure.wait_until(lambda: servers.listening(port), "nginx as origin")
    pids = measure.tree(process.pid)
    measure.pin(pids, measure.OTHER_CORE)
    return servers.Server("file origin", port, process, pids, folder)


def cost_ns(server, count, suite):
    """CPU nanoseconds of the measured processes for one byte."""
    url = f"https://example.com:{server.port}/file"
    before = measure.cpu_seconds(server.pids)
    done = subprocess.run(["taskset", "-c", str(measure.OTHER_CORE), "curl", "--silent", "--insecure", "--tlsv1.3",
                           "--tls13-ciphers", suite, "--http1.1", "--resolve", f"example.com:{server.port}:127.0.0.1",
                           "--write-out", "%{size_download}\n", *["--output", "/dev/null", url] * count],
                          capture_output=True, text=True, check=True)
    after = measure.cpu_seconds(server.pids)
    got = sum(int(line) for line in done.stdout.split())
    if got != count * SIZE:
        raise RuntimeError(f"{server.name}: {got} bytes of {count * SIZE}")
    return (after - before) * 1e9 / got


def compare(running, count, rounds, suite):
    costs = {server.name: [] for server in running}
    for server in running:
        cost_ns(server, 1, suite)  # warm-up
    for _ in range(rounds):
        for server in running:
            costs[server.name].append(cost_ns(server, count, suite))
    ratios = {name: measure.median([ours / theirs for ours, theirs in zip(costs["farkey"], values)])
              for name, values in costs.items() if name != "farkey"}
    return {name: measure.median(values) for name, values in costs.items()}, ratios


def run(folder, quick):
    count, rounds = (2, 3) if quick else (5, 7)
    certificate = servers.make_certificate(folder, "p256")
    origin = start_origin()
    running = [servers.start_farkey(origin.port, "p256")]
    running += [start(origin.port, certificate) for start in servers.RIVALS.values()]
    result = []
    try:
        for suite, label in (("TLS_AES_128_GCM_SHA256", "AES-128-GCM"), ("TLS_CHACHA20_POLY1305_SHA256", "ChaCha20")):
            medians, ratios = compare(running, count, rounds, suite)
            for rival, ratio in ratios.items():
                row = {"what": f"100 MB download, {label}: edge CPU a byte / {rival}", "value": ratio,
                       "detail": f"farkey {medians['farkey']:.3f} ns, {rival} {medians[rival]:.3f} ns"}
                if rival == "nginx":
                    row["target"] = "<=0.75"
                result.append(row)
    finally:
        for server in [*running, origin]:
            server.stop()
    return result
