"""The record engine against SSL_write and SSL_read, and against bare EVP, in one process: bench/recordspeed.c."""
import json
import subprocess

import measure
import servers

AT_LEAST = {1400: 2.0, 256: 2.5}


def wanted(suite, size):
    return AT_LEAST.get(size, 1.1 if "CHACHA" in suite else 1.15)


def run(folder, quick):
    del folder, quick
    done = subprocess.run(["taskset", "-c", str(measure.SERVER_CORE), servers.BUILD / "bench/recordspeed"],
                          capture_output=True, text=True, check=True)
    rows = []
    for figures in map(json.loads, done.stdout.splitlines()):
        suite, size = figures["suite"], figures["size"]
        rows.append({"what": f"records of {size} B, {suite}: SSL / engine", "value": figures["faster"],
                     "target": f">={wanted(suite, size)}",
                     "detail": f"engine {figures['engine_us']} us, SSL {figures['ssl_us']} us, sealed and opened"})
        if size == 16384:
            rows.append({"what": f"records of {size} B, {suite}: sealing / bare EVP", "value": figures["of_evp"],
                         "target": ">=0.9", "detail": ""})
    return rows
