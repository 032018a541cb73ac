#!/usr/bin/env python3
"""How soon live clips are found, and what watching costs, through the real binaries.

    cargo build --release --workspace --bins
    benches/live.py --cameras 8 --seconds 60

Serves so many moving cameras on loopback, watches them with recording on and nothing gated, sampled
once a second, and reads the metrics and /proc. Prints one line of JSON.
"""

import argparse
import json
import os
import re
import subprocess
import tempfile
import time
import urllib.request

arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
arguments.add_argument("--binaries", default=os.environ.get("CARGO_TARGET_DIR", "target") + "/release")
arguments.add_argument("--cameras", type=int, default=8)
arguments.add_argument("--seconds", type=int, default=60)
arguments.add_argument("--content", default="test:ball,fps=15,gop=30")
arguments.add_argument("--gate", action="store_true", help="gate and decode elastically, as shipped")
arguments.add_argument("--port", type=int, default=9391)
options = arguments.parse_args()


def processor_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def status(pid, name):
    return int(re.search(rf"{name}:\s+(\d+)", open(f"/proc/{pid}/status").read())[1])


def metrics():
    with urllib.request.urlopen(f"http://127.0.0.1:{options.port}/metrics", timeout=5) as answer:
        return answer.read().decode()


def quantile(buckets, share):
    """The upper bound of the bucket in which this share of all lies."""
    total = buckets[-1][1]
    return next(bound for bound, count in buckets if count >= share * total)


names = [f"camera-{number}" for number in range(options.cameras)]
server = subprocess.Popen(
    [f"{options.binaries}/footage-rtsp-server", *[f"{name}={options.content}" for name in names]],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
)
port = json.loads(server.stdout.readline())["ready"]["port"]
with tempfile.TemporaryDirectory() as data:
    environment = {
        **os.environ,
        "FOOTAGE__DATA__DIR": data,
        "FOOTAGE__METRICS__LISTEN": f"127.0.0.1:{options.port}",
        "FOOTAGE__WINDOW__RATE": "1",
        "FOOTAGE__RECORD__ENABLED": "true",
        "FOOTAGE__RECORD__MIN_FREE_MIB": "64",
    }
    if not options.gate:
        environment |= {"FOOTAGE__LIVE__GATE": "false", "FOOTAGE__LIVE__DECODE": "all"}
    for name in names:
        environment[f"FOOTAGE__SOURCES__{name.upper()}__URI"] = f"rtsp://127.0.0.1:{port}/{name}"
    watch = subprocess.Popen([f"{options.binaries}/footage", "watch"], env=environment, stderr=subprocess.DEVNULL)
    try:
        # The first clips of all cameras come together.
        time.sleep(15)
        begun, used = time.time(), processor_seconds(watch.pid)
        time.sleep(options.seconds)
        used, elapsed = processor_seconds(watch.pid) - used, time.time() - begun
        told = metrics()
        buckets = [
            (bound, int(count))
            for bound, count in re.findall(r'clip_searchable_seconds_bucket\{le="([^"]+)"\} (\d+)', told)
        ]
        lost = re.findall(r'source_clips_total\{[^}]*reason="overload"\} (\d+)', told)
        print(json.dumps({
            "cameras": options.cameras,
            "content": options.content,
            "gated": options.gate,
            "live": len(re.findall(r'source_state\{[^}]*state="live"\} 1', told)),
            "clips": buckets[-1][1] if buckets else 0,
            "searchable_median_s_at_most": quantile(buckets, 0.5) if buckets else None,
            "searchable_p99_s_at_most": quantile(buckets, 0.99) if buckets else None,
            "overload_clips": sum(map(int, lost)),
            "cores": round(used / elapsed, 3),
            "resident_mib": status(watch.pid, "VmRSS") // 1024,
        }))
    finally:
        watch.terminate()
        watch.wait()
        server.stdin.close()
        server.wait()
