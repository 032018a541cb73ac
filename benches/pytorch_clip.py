"""The rival of `cargo bench -p footage-model --bench video`: the same architecture in PyTorch.

CLIP's image tower with BT-Adapter's branch, random weights, clips of 8 frames, f32 or bf16, eager or
compiled (which needs a C++ compiler), on the processor or a CUDA device, no gradients. Written from the formulas, with the usual building blocks: fused linear layers with bias,
`scaled_dot_product_attention`, `layer_norm`. Prints clips per second and CPU seconds a clip.

    python3 benches/pytorch_clip.py [b32|l14] [THREADS] [SECONDS] [f32|bf16] [eager|compiled] [cpu|cuda:0] \
        [CLIPS AT ONCE] [--json]
"""

import json
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        m, s, d = x.shape
        q, k, v = self.qkv(x).view(m, s, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(m, s, d))


class Mlp(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x))


class Block(nn.Module):
    def __init__(self, width, heads, hidden):
        super().__init__()
        self.ln1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.ln2, self.mlp = nn.LayerNorm(width), Mlp(width, hidden)

    def forward(self, x):
        x = x + self.attention(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class Temporal(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.fc = nn.Linear(width, width)

    def forward(self, patches, t):  # [B, N*T, D], time fastest
        b, nt, d = patches.shape
        x = patches.view(b * nt // t, t, d)
        return patches + self.fc(self.attention(self.ln(x))).view(b, nt, d)


class Spatial(Block):
    def forward(self, cls, patches, t):  # [B, 1, D], [B, N*T, D]
        b, nt, d = patches.shape
        n = nt // t
        x = patches.view(b, n, t, d).transpose(1, 2).reshape(b * t, n, d)
        x = torch.cat([cls.expand(b, t, d).reshape(b * t, 1, d), x], 1)
        x = self.attention(self.ln1(x))
        cls = cls + x[:, :1].view(b, t, d).mean(1, keepdim=True)
        patches = patches + x[:, 1:].view(b, t, n, d).transpose(1, 2).reshape(b, nt, d)
        z = torch.cat([cls, patches], 1)
        z = z + self.mlp(self.ln2(z))
        return z[:, :1], z[:, 1:]


class Model(nn.Module):
    def __init__(self, image, patch, width, heads, layers, hidden, projection, branch):
        super().__init__()
        n = (image // patch) ** 2
        self.patch = nn.Conv2d(3, width, patch, patch, bias=False)
        self.cls, self.pos = nn.Parameter(torch.randn(width) * 0.02), nn.Parameter(torch.randn(1 + n, width) * 0.02)
        self.pre, self.post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(layers))
        self.projection = nn.Linear(width, projection, bias=False)
        self.temporal = nn.ModuleList(Temporal(width, heads) for _ in range(branch))
        self.spatial = nn.ModuleList(Spatial(width, heads, hidden) for _ in range(branch))
        self.time = nn.Parameter(torch.randn(64, width))
        self.branch_cls = nn.Parameter(torch.zeros(width))
        self.gate_out, self.gate = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))

    def forward(self, clip):  # [B, T, 3, image, image]
        b, t = clip.shape[:2]
        x = self.patch(clip.flatten(0, 1)).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(b * t, 1, -1), x], 1) + self.pos
        x = self.pre(x)
        n, d = x.shape[1] - 1, x.shape[2]
        first = len(self.blocks) - len(self.temporal)
        gate = torch.sigmoid(100 * self.gate)
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number < first:
                continue
            seen = x.view(b, t, 1 + n, d)
            seen_cls = seen[:, :, 0].mean(1, keepdim=True)
            seen_patches = seen[:, :, 1:].transpose(1, 2).reshape(b, n * t, d)
            if number == first:
                cls = (seen_cls + self.branch_cls + self.pos[0]) / 2
                patches = seen_patches + (self.pos[1:, None] + self.time[None, :t]).view(1, n * t, d)
            else:
                cls = (1 - gate) * cls + gate * seen_cls
                patches = (1 - gate) * patches + gate * seen_patches
            patches = self.temporal[number - first](patches, t)
            cls, patches = self.spatial[number - first](cls, patches, t)
        gate = torch.sigmoid(10000 * self.gate_out)
        mixed = (1 - gate) * cls + gate * x.view(b, t, 1 + n, d)[:, :, 0]
        return self.projection(self.post(mixed)).mean(1)


SIZES = {
    "b32": (224, 32, 768, 12, 12, 3072, 512, 4),
    "l14": (224, 14, 1024, 16, 24, 4096, 768, 4),
}


def main():
    args = [arg for arg in sys.argv[1:] if arg != "--json"]
    given = dict(enumerate(args))
    name, threads, seconds = given.get(0, "b32"), int(given.get(1, 2)), float(given.get(2, 10.0))
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[given.get(3, "f32")]
    how, device, batch = given.get(4, "eager"), torch.device(given.get(5, "cpu")), int(given.get(6, 1))
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = Model(*SIZES[name]).eval().to(device, dtype)
    if how == "compiled":
        model = torch.compile(model)
    clips = torch.randn(batch, 8, 3, 224, 224).to(device, dtype)

    def run():
        # As ours: until the embeddings are with the host.
        model(clips).float().cpu()

    with torch.inference_mode():
        for _ in range(1 if device.type == "cpu" else 5):
            run()
        start, cpu, walls = time.perf_counter(), time.process_time(), []
        while time.perf_counter() - start < seconds or len(walls) < 3:
            begin = time.perf_counter()
            run()
            walls.append(time.perf_counter() - begin)
        cpu = (time.process_time() - cpu) / len(walls) / batch
    speed = batch / sorted(walls)[len(walls) // 2]
    on_gpu = device.type == "cuda"
    if "--json" in sys.argv:
        device_name = torch.cuda.get_device_name(device) if on_gpu else "cpu"
        dtype = given.get(3, "f32")
        print(json.dumps(dict(torch=torch.__version__, model=name, dtype=dtype, how=how, batch=batch,
                              device_name=device_name, clips_per_s=speed)))
        return
    print(f"PyTorch {torch.__version__} {name}, {dtype}, {how}, {device}, {threads} threads, {batch} at once")
    print(f"one clip: {speed:.3f} clips/s, {cpu:.4f} CPU seconds a clip ({len(walls)} runs)")


if __name__ == "__main__":
    main()
