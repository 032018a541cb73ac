"""A model's folder with values out of nothing, of the sizes of a real one: to measure how fast it is.

    python3 benches/made_up_model.py FOLDER [b32|l14]

Writes `model.json` and `model.safetensors` (bf16; 0.4 and 1.0 GB) in the reference's layout, the branch
included. Needs nothing but Python. What such a model finds means nothing.
"""

import json
import os
import random
import struct
import sys

SIZES = {
    "b32": dict(patch=32, width=768, heads=12, layers=12, mlp=3072, projection=512, text=(512, 8, 2048)),
    "l14": dict(patch=14, width=1024, heads=16, layers=24, mlp=4096, projection=768, text=(768, 12, 3072)),
}
IMAGE, VOCAB, CONTEXT, TEXT_LAYERS, BRANCH_LAYERS, MAX_FRAMES = 224, 49408, 77, 12, 4, 64


def linear(name, to, of):
    return {f"{name}.weight": [to, of], f"{name}.bias": [to]}


def norm(name, width):
    return {f"{name}.weight": [width], f"{name}.bias": [width]}


def attention(name, width):
    return {k: v for part in "qkv" for k, v in linear(f"{name}.{part}_proj", width, width).items()} | linear(
        f"{name}.out_proj", width, width
    )


def block(name, width, mlp):
    return (
        norm(f"{name}.layer_norm1", width)
        | attention(f"{name}.self_attn", width)
        | norm(f"{name}.layer_norm2", width)
        | linear(f"{name}.mlp.fc1", mlp, width)
        | linear(f"{name}.mlp.fc2", width, mlp)
    )


def shapes(patch, width, heads, layers, mlp, projection, text):
    words, _, words_mlp = text
    all = {
        "backbone.class_embedding": [width],
        "backbone.patch_embedding.weight": [width, 3, patch, patch],
        "backbone.position_embedding.weight": [1 + (IMAGE // patch) ** 2, width],
        "backbone.visual_projection.weight": [projection, width],
        "backbone.btadapter_cls_token": [1, 1, width],
        "backbone.btadapter_time_embed.weight": [MAX_FRAMES, width],
        "backbone.balance1": [width],
        "backbone.balance2": [width],
        "text_backbone.text_projection.weight": [projection, words],
        "text_backbone.text_model.embeddings.token_embedding.weight": [VOCAB, words],
        "text_backbone.text_model.embeddings.position_embedding.weight": [CONTEXT, words],
    }
    all |= norm("backbone.pre_layrnorm", width) | norm("backbone.post_layernorm", width)
    all |= norm("text_backbone.text_model.final_layer_norm", words)
    for layer in range(layers):
        all |= block(f"backbone.layers.{layer}", width, mlp)
    for layer in range(BRANCH_LAYERS):
        all |= block(f"backbone.btadapter_S_layers.{layer}", width, mlp)
        temporal = f"backbone.btadapter_T_layers.{layer}"
        all |= norm(f"{temporal}.layer_norm1", width) | attention(f"{temporal}.self_attn", width)
        all |= linear(f"{temporal}.temporal_fc", width, width)
    for layer in range(TEXT_LAYERS):
        all |= block(f"text_backbone.text_model.encoder.layers.{layer}", words, words_mlp)
    return all


def bf16(value):
    return struct.pack("<f", value)[2:]


def main():
    folder, name = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "l14"
    sizes = SIZES[name]
    os.makedirs(folder, exist_ok=True)
    tensors = shapes(**sizes)
    # One stretch of noise, laid over everything from other places; a prime, so that no two rows begin alike.
    random.seed(0)
    noise = b"".join(bf16(random.gauss(0.0, 0.02)) for _ in range(262_147))
    header, at = {}, 0
    for tensor, shape in tensors.items():
        count = 1
        for side in shape:
            count *= side
        header[tensor] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + 2 * count]}
        at += 2 * count
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        for entry in header.values():
            left = entry["data_offsets"][1] - entry["data_offsets"][0]
            while left > 0:
                file.write(noise[:left])
                left -= len(noise)
    words, heads, words_mlp = sizes["text"]
    config = {
        "name": f"made-up-{name}",
        "architecture": {
            "vision": {"image": IMAGE} | {k: sizes[k] for k in ("patch", "width", "heads", "layers", "mlp")},
            "text": {"vocab": VOCAB, "width": words, "heads": heads, "layers": TEXT_LAYERS, "mlp": words_mlp,
                     "context": CONTEXT},
            "projection": sizes["projection"],
            "branch": {"layers": BRANCH_LAYERS, "mode": "gated", "max_frames": MAX_FRAMES},
        },
        "preprocess": {"mean": [122.771, 116.746, 104.093], "std": [68.5, 66.632, 70.323]},
        "window": {"length": 8, "stride": 4, "rate": "2/1"},
    }
    with open(os.path.join(folder, "model.json"), "w") as file:
        json.dump(config, file, indent=2)


if __name__ == "__main__":
    main()
