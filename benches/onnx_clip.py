"""Exports the rival of `benches/pytorch_clip.py` to ONNX, and times it in ONNX Runtime on the CPU.

The whole network is exported, branch included, for one clip of 8 frames; only the attention is
written out, since the exporter of PyTorch 2.2 knows no fused one. Two steps, which may run in two
environments:

    python3 benches/onnx_clip.py export FILE.onnx [b32|l14]      (needs torch and onnx)
    python3 benches/onnx_clip.py time FILE.onnx [THREADS] [SECONDS]      (needs onnxruntime)

Prints clips per second and CPU seconds a clip.
"""

import sys
import time


def export(path, name):
    import torch
    import torch.nn.functional as F

    from pytorch_clip import SIZES, Model

    def attention(q, k, v):
        return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v

    F.scaled_dot_product_attention = attention
    torch.manual_seed(0)
    model = Model(*SIZES[name]).eval()
    clip = torch.randn(1, 8, 3, 224, 224)
    with torch.inference_mode():
        torch.onnx.export(model, clip, path, input_names=["clip"], output_names=["embedding"], opset_version=17)
    print(f"{name} is in {path}")


def measure(path, threads, seconds):
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    clip = {"clip": numpy.random.default_rng(0).standard_normal((1, 8, 3, 224, 224), numpy.float32)}
    session.run(None, clip)
    start, cpu, walls = time.perf_counter(), time.process_time(), []
    while time.perf_counter() - start < seconds or len(walls) < 3:
        begin = time.perf_counter()
        session.run(None, clip)
        walls.append(time.perf_counter() - begin)
    cpu = (time.process_time() - cpu) / len(walls)
    speed = 1 / sorted(walls)[len(walls) // 2]
    print(f"ONNX Runtime {onnxruntime.__version__} {path}, {threads} threads")
    print(f"one clip: {speed:.3f} clips/s, {cpu:.4f} CPU seconds a clip ({len(walls)} runs)")


def main():
    verb, path, *rest = sys.argv[1:]
    if verb == "export":
        export(path, rest[0] if rest else "b32")
    else:
        measure(path, int(rest[0]) if rest else 2, float(rest[1]) if len(rest) > 1 else 10.0)


if __name__ == "__main__":
    main()
