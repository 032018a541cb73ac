"""Makes siglip_tiny/ and mobileclip_tiny/: small random models in the layouts of the hub, and what their own
programs compute with them; and the text tower of eva_tiny/. Run from this folder:

    pip install 'numpy<2' torch==2.2.2 torchvision==0.17.2 transformers==4.46.3 open_clip_torch==2.30.0 \
        timm==1.0.12 safetensors pillow==10.4.0 sentencepiece protobuf
    python relatives.py

The first two folders are each a model as `footage --model` takes it, and beside it `expected.safetensors`: `frame_i`, 8-bit
pictures of several shapes `[H, W, 3]`, the `pixel_values` that the reference's own preprocessing makes of them,
`image_embeds` (not normalised), and `text_embeds` of the sentences in `texts.json` with their `token_ids`.
"""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

SHAPES = [(40, 53), (32, 32), (97, 61), (150, 200), (30, 75)]
TEXTS = [
    "a red car turns left",
    "A Red  Car, turns (left)!",
    "two dogs",
    "",
    "a car a car a car a car a car a car a car a car a car",
]
WORDS = ["a", "red", "car", "turns", "left", "two", "dogs", "right", "blue", "zebra"]


def pictures(seed):
    """Smooth pictures with noise: what a resampling filter is told apart by."""
    random = np.random.default_rng(seed)
    for height, width in SHAPES:
        y, x = np.mgrid[0:height, 0:width]
        waves = [128 + 90 * np.sin(x / random.uniform(2, 9) + y / random.uniform(2, 9) + c) for c in range(3)]
        noise = random.normal(0, 12, (height, width, 3))
        yield np.clip(np.stack(waves, 2) + noise, 0, 255).astype(np.uint8)


def randomise(model, seed):
    """Values that nothing is neutral to: norms, scales and running means too."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in list(model.named_parameters()) + list(model.named_buffers()):
            if not tensor.dtype.is_floating_point or name.endswith("attn_mask"):
                continue
            noise = torch.randn(tensor.shape, generator=random)
            if name.endswith("running_var"):
                tensor.copy_(1 + 0.3 * noise.abs())
            elif "gamma" in name:
                tensor.copy_(0.5 + 0.1 * noise)
            elif tensor.dim() <= 1 and name.endswith("weight"):
                tensor.copy_(1 + 0.2 * noise)
            elif tensor.dim() <= 1:
                tensor.copy_(0.1 * noise)
            else:
                fan_in = tensor[0].numel()
                tensor.copy_(noise * (0.9 / fan_in**0.5 if fan_in > 1 else 0.3))


def settle(model, pixels):
    """Lets batch norms see what there is to normalise: otherwise all pictures end alike."""
    norms = [part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train().encode_image(pixels)
    model.eval()


def write(folder, tensors):
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, str(folder / "expected.safetensors"))
    (folder / "texts.json").write_text(json.dumps(TEXTS, indent=1) + "\n")


def words(ids, end, post):
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single=post, special_tokens=end)
    return tokenizer


def siglip():
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipTokenizer

    folder = Path("siglip_tiny")
    vocabulary = {"<pad>": 0, "</s>": 1, "<unk>": 2, **{word: 3 + at for at, word in enumerate(WORDS)}}
    tower = {"hidden_size": 32, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = SiglipConfig(
        text_config={**tower, "vocab_size": len(vocabulary), "max_position_embeddings": 16},
        # 4 patches of 8 pixels and a rest of 3.
        vision_config={**tower, "image_size": 35, "patch_size": 8, "num_hidden_layers": 3},
    )
    model = SiglipModel(config).eval()
    randomise(model, 1)
    model.save_pretrained(folder, safe_serialization=True)
    processor = SiglipImageProcessor(size={"height": 35, "width": 35})
    processor.save_pretrained(folder)
    # As the published tokenizer.json: what SigLIP does to a text before is not in it.
    tokenizer = words(vocabulary, [("</s>", 1)], "$A </s>")
    tokenizer.save(str(folder / "tokenizer.json"))

    frames = list(pictures(1))
    pixels = processor([Image.fromarray(frame) for frame in frames], return_tensors="pt")["pixel_values"]
    ids = []
    for text in TEXTS:
        canonical = SiglipTokenizer.canonicalize_text(Rules, text.lower())
        row = tokenizer.encode(canonical).ids
        row = row if len(row) <= 16 else row[:15] + [1]
        ids.append(row + [1] * (16 - len(row)))
    ids = torch.tensor(ids)
    with torch.no_grad():
        images = model.get_image_features(pixels)
        texts = model.get_text_features(ids)
    write(
        folder,
        {f"frame_{i}": torch.from_numpy(frame) for i, frame in enumerate(frames)}
        | {"pixel_values": pixels, "token_ids": ids, "image_embeds": images, "text_embeds": texts},
    )


class Rules:
    """What `canonicalize_text` needs of a tokenizer."""

    @staticmethod
    def remove_punctuation(text):
        from transformers import SiglipTokenizer

        return SiglipTokenizer.remove_punctuation(None, text)


def mobileclip():
    from open_clip.model import CustomTextCLIP
    from open_clip.transform import PreprocessCfg, image_transform_v2

    folder = Path("mobileclip_tiny")
    vocabulary = {"<unk>": 0, **{word: 1 + at for at, word in enumerate(WORDS)}}
    start, end = len(vocabulary), len(vocabulary) + 1
    vocabulary |= {"<start>": start, "<end>": end}
    sizes = {"layers": [1, 2, 1, 1], "embed_dims": [8, 16, 32, 64]}
    cfg = {
        "embed_dim": 48,
        "vision_cfg": {
            "timm_model_name": "fastvit_mci1",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": None,
            "timm_drop": 0.0,
            "timm_drop_path": 0.0,
            "image_size": 96,
        },
        "text_cfg": {
            "context_length": 16,
            "vocab_size": len(vocabulary),
            "width": 32,
            "heads": 4,
            "layers": 2,
            "no_causal_mask": True,
        },
    }
    preprocess = {"mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "bilinear", "resize_mode": "shortest"}
    # open_clip names a model of timm; this is that one with other sizes.
    import timm

    timm_create = timm.create_model
    timm.create_model = lambda name, **kwargs: timm_create(name, **{**kwargs, **sizes})
    model = CustomTextCLIP(**cfg).eval()
    timm.create_model = timm_create
    randomise(model, 2)
    transform = image_transform_v2(PreprocessCfg(size=96, mode="RGB", **preprocess), is_train=False)
    frames = list(pictures(2))
    pixels = torch.stack([transform(Image.fromarray(frame)) for frame in frames])
    settle(model, pixels)
    save_file(model.state_dict(), str(folder / "open_clip_model.safetensors"))
    cfg["vision_cfg"]["timm_model_kwargs"] = sizes
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": cfg, "preprocess_cfg": preprocess}, indent=1) + "\n"
    )
    post = "<start> $A <end>"
    tokenizer = words(vocabulary, [("<start>", start), ("<end>", end)], post)
    tokenizer.save(str(folder / "tokenizer.json"))

    ids = []
    for text in TEXTS:
        row = tokenizer.encode(text).ids
        row = row if len(row) <= 16 else row[:15] + [end]
        ids.append(row + [0] * (16 - len(row)))
    ids = torch.tensor(ids)
    with torch.no_grad():
        images = model.encode_image(pixels)
        texts = model.encode_text(ids)
    write(
        folder,
        {f"frame_{i}": torch.from_numpy(frame) for i, frame in enumerate(frames)}
        | {"pixel_values": pixels, "token_ids": ids, "image_embeds": images, "text_embeds": texts},
    )


def eva_text():
    """EVA-CLIP's text tower is OpenCLIP's. The image side of eva_tiny/ was made with BT-Adapter's own code."""
    from open_clip.transformer import TextTransformer

    folder = Path("eva_tiny")
    model = TextTransformer(context_length=16, vocab_size=24, width=32, heads=4, layers=2, output_dim=32).eval()
    randomise(model, 3)
    tensors = {f"text.{name}": tensor for name, tensor in model.state_dict().items() if name != "attn_mask"}
    save_file(tensors, str(folder / "text.safetensors"))
    ids = torch.tensor([[1, 5, 9, 23] + [0] * 12, [1] + [7] * 14 + [23], [1, 23] + [0] * 14])
    with torch.no_grad():
        embeds = model(ids)
    save_file({"token_ids": ids, "text.embed": embeds}, str(folder / "text_expected.safetensors"))


siglip()
mobileclip()
eva_text()
