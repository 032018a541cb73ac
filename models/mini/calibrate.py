"""Fits the calibration of a model of the synthetic world, and says what it is worth.

Renders videos, indexes them, asks for them by their truth's captions and by captions of other videos
whose things are in none of these, and fits (by logistic regression) how likely the best moment is
right, given its score. Prints scale and offset for `model.json`, and what thresholds do on videos of
other seeds.

    python3 models/mini/calibrate.py FOOTAGE_BINARY MODEL_FOLDER WORK_FOLDER
"""

import json
import math
import random
import subprocess
import sys
from pathlib import Path

FITTED_ON, MEASURED_ON = [201, 202, 203, 204], [301, 302]
BINARY, MODEL, WORK = sys.argv[1], sys.argv[2], Path(sys.argv[3])


def footage(*words):
    command = [BINARY, "--model", MODEL, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True).stdout


def collection(seed):
    """The data directory of four indexed videos, and their events as (video, event)."""
    videos, data = WORK / f"videos-{seed}", WORK / f"data-{seed}"
    if not videos.is_dir():
        footage("synth", "--out", videos, "--seed", seed, "--videos", 4, "--seconds", 60)
    footage("--data-dir", data, "index", videos)
    truths = [(path.stem, json.loads(path.read_text())) for path in sorted(videos.glob("*.json"))]
    return data, [(name, e) for name, truth in truths for e in truth["events"] if e["objects"]]


def things(events):
    return {thing["name"] for _, event in events for thing in event["objects"]}


def captions(event):
    """The richest and the barest."""
    return [event["captions"][0], event["captions"][-1]]


def best(data, sentence):
    said = footage("--data-dir", data, "search", sentence, "--json", "--all", "--limit", 1)
    moments = json.loads(said)["moments"]
    return moments[0] if moments else None


def is_right(moment, sentence, events):
    return any(
        sentence in event["captions"]
        and moment["source"].startswith(video)
        and moment["from_s"] < event["to"]
        and moment["to_s"] > event["from"]
        for video, event in events
    )


def asked(seeds):
    """(score, is right, has an answer) of the best moment for each query."""
    collections = {seed: collection(seed) for seed in seeds}
    results = []
    for seed, (data, events) in collections.items():
        here = [sentence for _, event in events for sentence in captions(event)]
        elsewhere = [
            sentence
            for other, (_, others) in collections.items()
            if other != seed
            for video, event in others
            if not things(events) & things([(video, event)])
            for sentence in captions(event)
        ]
        absent = random.Random(seed).sample(elsewhere, min(len(here), len(elsewhere)))
        for sentence, has_answer in [(s, True) for s in here] + [(s, False) for s in absent]:
            moment = best(data, sentence)
            if moment:
                right = has_answer and is_right(moment, sentence, events)
                results.append((moment["score"], right, has_answer))
    return results


def fit(results):
    """Logistic regression by Newton's method on centred scores."""
    mean = sum(score for score, *_ in results) / len(results)
    scale, offset = 0.0, 0.0
    for _ in range(50):
        g0 = g1 = h00 = h01 = h11 = 0.0
        for score, right, _ in results:
            x = score - mean
            p = 1 / (1 + math.exp(-(scale * x + offset)))
            error, weight = right - p, p * (1 - p)
            g0, g1 = g0 + error * x, g1 + error
            h00, h01, h11 = h00 + weight * x * x, h01 + weight * x, h11 + weight
        determinant = h00 * h11 - h01 * h01
        scale += (h11 * g0 - h01 * g1) / determinant
        offset += (h00 * g1 - h01 * g0) / determinant
    return scale, offset - scale * mean


def tell(results, scale, offset):
    right = sum(r for _, r, _ in results)
    absent = [score for score, _, has_answer in results if not has_answer]
    print(f"{right} of {len(results) - len(absent)} queries with an answer have it first")
    for threshold in (0.3, 0.5, 0.7):
        least = (math.log(threshold / (1 - threshold)) - offset) / scale
        shown = [r for score, r, _ in results if score >= least]
        refused = sum(score < least for score in absent) / len(absent)
        print(
            f"at {threshold}: {sum(shown) / len(shown):.0%} of what is shown is right, "
            f"{sum(shown) / right:.0%} of what is right is shown, "
            f"{refused:.0%} of queries without an answer show nothing"
        )


WORK.mkdir(parents=True, exist_ok=True)
scale, offset = fit(asked(FITTED_ON))
print(f"scale {scale:.3f}, offset {offset:.3f}")
tell(asked(MEASURED_ON), scale, offset)
