"""Edge CPU a handshake in tcp mode: ours with the key on the key server, rivals with the key local."""
import measure
import servers


def cost_us(server, total, *options):
    """CPU microseconds of the measured processes for one handshake (one request and reply with it)."""
    before = measure.cpu_seconds(server.pids)
    figures = servers.load(server.port, total, 32, *options)
    after = measure.cpu_seconds(server.pids)
    if figures["failed"]:
        raise RuntimeError(f"{server.name}: {figures['failed']} handshakes failed")
    if "-r" in options and figures["resumed"] < total:
        raise RuntimeError(f"{server.name}: only {figures['resumed']} of {total} were resumed")
    return (after - before) * 1e6 / figures["finished"]


def compare(folder, key, total, rounds, *options):
    """Median CPU of each server and the median of the ratios, round by round."""
    certificate = servers.make_certificate(folder, key)
    origin = servers.start_origin()
    running = [servers.start_farkey(origin.port, key)]
    running += [start(origin.port, certificate) for start in servers.RIVALS.values()]
    try:
        costs = {server.name: [] for server in running}
        for server in running:
            cost_us(server, total // 4, *options)  # warm-up
        for _ in range(rounds):
            for server in running:
                costs[server.name].append(cost_us(server, total, *options))
    finally:
        for server in [*running, origin]:
            server.stop()
    ratios = {name: measure.median([ours / theirs for ours, theirs in zip(costs["farkey"], values)])
              for name, values in costs.items() if name != "farkey"}
    return {name: measure.median(values) for name, values in costs.items()}, ratios


def rows(label, medians, ratios, target):
    result = []
    for rival, ratio in ratios.items():
        row = {"what": f"{label}: edge CPU / {rival}", "value": ratio,
               "detail": f"farkey {medians['farkey']:.0f} us, {rival} {medians[rival]:.0f} us"}
        if rival == "hitch":
            row["target"] = target
        result.append(row)
    return result


def size(quick):
    """Handshakes a round and rounds. Many short rounds: the speed of the machine changes within seconds."""
    return (1000, 3) if quick else (1000, 21)


def full(folder, quick):
    total, rounds = size(quick)
    result = []
    for key, target in (("rsa2048", "<=0.55"), ("p256", "<=1.0")):
        result += rows(f"full TLS 1.3 handshake, {key}", *compare(folder, key, total, rounds), target)
    return result


def resumed(folder, quick):
    total, rounds = size(quick)
    return rows("resumed TLS 1.3 handshake", *compare(folder, "rsa2048", total, rounds, "-r"), "<=0.95")
