"""Draws what a process holds while its one camera is reset again and again, and cameras come and go.

    python3 benches/endurance.py docs/images/endurance.svg

Runs the endurance tests of `pipeline` with a thousand resets and two hundred cameras, and writes a plot
of memory, threads and files by round. Needs cargo; takes about ten minutes.
"""

import os
import re
import subprocess
import sys

RUNS = [
    ("connections_that_are_reset_leave_nothing_behind", "resets of one camera", 1000),
    ("cameras_that_are_added_and_removed_leave_nothing_behind", "cameras added and removed", 200),
]
HELD = re.compile(r"files: (\d+), threads: (\d+), kib: (\d+)")
WIDTH, HEIGHT, MARGIN = 760, 190, 56


def course(test, rounds):
    """What is held after each round: files, threads, KiB."""
    words = ["cargo", "test", "--release", "--workspace", "--test", "live_endurance", "--"]
    run = subprocess.run(
        [*words, "--exact", "--nocapture", test],
        env={**os.environ, "FOOTAGE_ROUNDS": str(rounds)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    lines = [line for line in run.stdout.splitlines() if line.startswith("round ")]
    held = [tuple(map(int, HELD.search(line).groups())) for line in lines]
    if len(held) < rounds:
        sys.exit(f"{test} gave {len(held)} rounds of {rounds}: was the workspace built?")
    return held


def slope(values):
    """Median of the slopes between pairs of every tenth value (Theil and Sen)."""
    some = list(enumerate(values))[::10]
    slopes = sorted(
        (later - value) / (to - at)
        for index, (at, value) in enumerate(some)
        for to, later in some[index + 1 :]
    )
    return slopes[len(slopes) // 2]


def polyline(values, most, top, colour):
    width = (WIDTH - 2 * MARGIN) / (len(values) - 1)
    height = HEIGHT - MARGIN
    points = " ".join(
        f"{MARGIN + at * width:.1f},{top + height * (1 - value / most):.1f}"
        for at, value in enumerate(values)
    )
    return f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>'


def text(x, y, words, colour="#333"):
    return f'<text x="{x}" y="{y}" fill="{colour}">{words}</text>'


def panel(top, title, held):
    files, threads, kib = zip(*held)
    mib = [value / 1024 for value in kib]
    most, few = max(mib) * 1.2, max(max(files), max(threads)) * 2
    bottom = top + HEIGHT - MARGIN
    return [
        text(MARGIN, top - 10, f"{len(held)} {title}"),
        f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{bottom}" y2="{bottom}" stroke="#999"/>',
        polyline(mib, most, top, "#1f5fa8"),
        polyline(files, few, top, "#b03a2e"),
        polyline(threads, few, top, "#2e7d32"),
        text(MARGIN, bottom + 16, f"memory: {mib[0]:.0f} MiB at first, {mib[-1]:.0f} at last", "#1f5fa8"),
        text(MARGIN + 250, bottom + 16, f"files: {files[0]}, {files[-1]}", "#b03a2e"),
        text(MARGIN + 390, bottom + 16, f"threads: {threads[0]}, {threads[-1]}", "#2e7d32"),
    ]


def main():
    shapes = []
    for index, (test, title, rounds) in enumerate(RUNS):
        held = course(test, rounds)
        kib = [value for _, _, value in held]
        half = kib[len(kib) // 2 :]
        print(f"{title}: memory {slope(kib):.2f} KiB a round, second half {slope(half):.2f}")
        shapes += panel(30 + index * HEIGHT, title, held)
    height = 30 + len(RUNS) * HEIGHT
    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        *shapes,
        "</svg>",
    ]
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        out.write("\n".join(svg) + "\n")


if __name__ == "__main__":
    main()
