"""What `benches/gpu` measured, as a table for docs/benchmarks.md: `gpu_table.py OURS.json THEIRS.jsonl`."""

import json
import sys


def peak_of(peaks, dtype):
    tflops = next((peak["matrix_tflops"] for peak in peaks if peak["precision"] == dtype), None)
    return f", {dtype} matrix peak measured {tflops:.0f} TFLOP/s" if tflops else ""


def main():
    with open(sys.argv[1]) as file:
        ours = json.load(file)
    with open(sys.argv[2]) as file:
        theirs = {}
        for line in filter(str.strip, file):
            run = json.loads(line)
            theirs[run["how"], run["dtype"], run["batch"]] = run
    dtypes = list(dict.fromkeys(run["precision"] for run in ours["measured"]))
    peaks = "".join(peak_of(ours["peaks"], dtype) for dtype in dtypes)
    name = next((run["device_name"] for run in theirs.values()), ours["device"])
    torch = next((f", PyTorch {run['torch']}" for run in theirs.values()), ", no PyTorch")
    print(f"{ours['model']}, clips of {ours['frames_per_clip']} frames, on {name}{peaks}{torch}.")
    print()
    print("| dtype | clips at once | clips/s | of matrix peak | half shared, clips/s | median ms |"
          " PyTorch eager, clips/s | compiled, clips/s | ours / compiled | ours half shared / compiled |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for run in ours["measured"]:
        rivals = [theirs.get((how, run["precision"], run["batch"])) for how in ("eager", "compiled")]
        speeds = [rival and rival["clips_per_s"] for rival in rivals]
        peak = run["of_matrix_peak"]
        cells = [
            run["precision"],
            str(run["batch"]),
            f"{run['clips_per_s']:.1f}",
            "" if peak is None else f"{100 * peak:.1f} %",
            f"{run['clips_per_s_half_shared']:.1f}",
            f"{run['median_ms']:.1f}",
            *("" if speed is None else f"{speed:.1f}" for speed in speeds),
            f"{run['clips_per_s'] / speeds[1]:.2f}" if speeds[1] else "",
            f"{run['clips_per_s_half_shared'] / speeds[1]:.2f}" if speeds[1] else "",
        ]
        print("| " + " | ".join(cells) + " |")
    fastest = max(ours["measured"], key=lambda run: run["clips_per_s_half_shared"])
    # A camera at 8 frames in 10 s with half of them shared: a clip every 5 s. Without decoding.
    cameras = 5 * fastest["clips_per_s_half_shared"]
    print()
    print(f"At 8 frames in 10 s, a clip every 5 s, the embeddings of {cameras:.0f} cameras; decoding not included.")


if __name__ == "__main__":
    main()
