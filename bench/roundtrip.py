"""What the distance to the key server costs: handshakes with a delaying relay in between."""
import measure
import servers

RTT_MS = 20


def run(folder, quick):
    del folder
    pairs, total, singles = (3, 1024, 3) if quick else (5, 4096, 15)
    origin = servers.start_origin()
    near = servers.start_farkey(origin.port, "rsa2048")
    far = servers.start_farkey(origin.port, "rsa2048", rtt=f"{RTT_MS}ms")
    try:
        for server in (near, far):
            servers.load(server.port, 256, 256)
        ratios, single_near, single_far = [], [], []
        for _ in range(pairs):
            rate_near = servers.load(near.port, total, 256)["rate"]
            rate_far = servers.load(far.port, total, 256)["rate"]
            ratios.append(rate_far / rate_near)
        for _ in range(singles):
            single_near.append(servers.load(near.port, 40, 1)["median_us"])
            single_far.append(servers.load(far.port, 40, 1)["median_us"])
    finally:
        for server in (near, far, origin):
            server.stop()
    extra = measure.median([there - here for there, here in zip(single_far, single_near)]) / 1000
    return [
        {"what": f"rate at 256 at once, key server {RTT_MS} ms away / near", "value": measure.median(ratios),
         "target": ">=0.95", "detail": "pairs " + " ".join(f"{ratio:.3f}" for ratio in ratios)},
        {"what": f"one at a time: added median (ms), key server {RTT_MS} ms away", "value": extra,
         "target": f"<={RTT_MS + 1}", "detail": f"near {measure.median(single_near)} us, "
                                                f"far {measure.median(single_far)} us"},
    ]
