"""Resident memory of an idle connection and of a handshake that waits for the key server."""
import os
import signal
import subprocess

import measure
import servers


def hold(port, count):
    """A client that keeps `count` connections open until its standard input ends."""
    process = subprocess.Popen([servers.BUILD / "bench/tlsload", "-k", "-n", str(count), "-c", "32",
                                f"127.0.0.1:{port}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    return process


def idle_kib(server, count):
    warm = hold(server.port, 64)
    warm.stdin.close()
    warm.wait()
    before = measure.resident_kib(server.pids)
    held = hold(server.port, count)
    after = measure.resident_kib(server.pids)
    held.stdin.close()
    held.wait()
    return (after - before) / count


def paused_kib(server, count):
    """The key server's processes are stopped: every handshake waits in the edge."""
    keyd = measure.tree(server.facts["keyd"]["pid"])
    before = measure.resident_kib(server.pids)
    for pid in keyd:
        os.kill(pid, signal.SIGSTOP)
    client = subprocess.Popen([servers.BUILD / "bench/tlsload", "-n", str(count), "-c", str(count),
                               f"127.0.0.1:{server.port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        last = [0]

        def settled():
            # CPU time stands still once every handshake waits.
            now = measure.cpu_seconds(server.pids)
            same, last[0] = now == last[0] and measure.resident_kib(server.pids) > before, now
            return same
        measure.wait_until(settled, "all handshakes paused")
        return (measure.resident_kib(server.pids) - before) / count
    finally:
        client.kill()
        client.wait()
        for pid in keyd:
            os.kill(pid, signal.SIGCONT)


def run(folder, quick):
    count = 500 if quick else 2000
    certificate = servers.make_certificate(folder, "p256")
    origin = servers.start_origin()
    # A process of its own: what an earlier measurement freed would hide what a pause takes.
    waiting = servers.start_farkey(origin.port, "p256")
    try:
        paused = paused_kib(waiting, 256)
    finally:
        waiting.stop()
    running = [servers.start_farkey(origin.port, "p256")]
    running += [start(origin.port, certificate) for start in servers.RIVALS.values()]
    try:
        idle = {server.name: idle_kib(server, count) for server in running}
    finally:
        for server in [*running, origin]:
            server.stop()
    detail = ", ".join(f"{name} {value:.1f}" for name, value in idle.items() if name != "farkey")
    return [
        {"what": "idle TLS 1.3 connection in tcp mode, resident KiB", "value": idle["farkey"], "detail": detail},
        {"what": "handshake waiting for the key server, resident KiB", "value": paused, "detail": "256 at once"},
    ]
