//! The models that are known to work, and what is known of them.

use serde::Serialize;

/// A model that is published.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Published {
    /// What it is called here: the folder it gets, and what `model.dir` may name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Licence of the weights, as their page states it.
    pub licence: &'static str,
    /// Values, in millions.
    pub parameters_m: f32,
    /// Frames are scaled to a square of so many pixels.
    pub image: u32,
    /// Values of an embedding.
    pub dim: u32,
    /// What others measured: text to video on MSR-VTT's 1k-A test without training on it, R@1 in
    /// percent, as the BT-Adapter paper reports it (table 5); none where it does not.
    pub msrvtt_r1: Option<f32>,
    /// Its files.
    pub files: &'static [PublishedFile],
    /// `model.json`, where what the files say of themselves is not enough.
    #[serde(skip)]
    pub config: Option<&'static str>,
    /// Whether it can be used by itself.
    pub is_whole: bool,
}

/// A file of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PublishedFile {
    /// Its repository.
    pub repo: &'static str,
    /// Branch, tag or commit.
    pub revision: &'static str,
    /// Its path in the repository, and its name in the model's folder.
    pub path: &'static str,
    /// Bytes, where they are known to us; the hub says them otherwise.
    pub size: Option<u64>,
    /// SHA-256, where it is known to us; the hub says it otherwise.
    pub sha256: Option<&'static str>,
}

const fn clip(repo: &'static str, path: &'static str) -> PublishedFile {
    PublishedFile { repo, revision: "main", path, size: None, sha256: None }
}

/// The files of a CLIP in the hub's layout; the tokenizer is built in.
const fn clip_files(repo: &'static str, weights: &'static str) -> [PublishedFile; 3] {
    [clip(repo, "config.json"), clip(repo, "preprocessor_config.json"), clip(repo, weights)]
}

const B32: [PublishedFile; 3] = clip_files("openai/clip-vit-base-patch32", "pytorch_model.bin");
const B16: [PublishedFile; 3] = clip_files("openai/clip-vit-base-patch16", "pytorch_model.bin");
const L14: [PublishedFile; 3] = clip_files("openai/clip-vit-large-patch14", "model.safetensors");
const L14_336: [PublishedFile; 3] =
    clip_files("openai/clip-vit-large-patch14-336", "pytorch_model.bin");

/// The files of a `SigLIP` in the hub's layout.
const fn siglip_files(repo: &'static str) -> [PublishedFile; 4] {
    [
        clip(repo, "config.json"),
        clip(repo, "preprocessor_config.json"),
        clip(repo, "tokenizer.json"),
        clip(repo, "model.safetensors"),
    ]
}

/// The files of a `MobileCLIP` in `OpenCLIP`'s layout; the tokenizer is built in.
const fn mobile_clip_files(repo: &'static str) -> [PublishedFile; 2] {
    [clip(repo, "open_clip_config.json"), clip(repo, "open_clip_model.safetensors")]
}

const SIGLIP_B16: [PublishedFile; 4] = siglip_files("google/siglip-base-patch16-224");
const SIGLIP_SO400M: [PublishedFile; 4] = siglip_files("google/siglip-so400m-patch14-384");
const MOBILE_CLIP_S1: [PublishedFile; 2] = mobile_clip_files("apple/MobileCLIP-S1-OpenCLIP");
const MOBILE_CLIP_S2: [PublishedFile; 2] = mobile_clip_files("apple/MobileCLIP-S2-OpenCLIP");

const fn authors(path: &'static str, size: u64, sha256: &'static str) -> PublishedFile {
    PublishedFile {
        repo: "farewellthree/BTAdapter-Weight",
        revision: "main",
        path,
        size: Some(size),
        sha256: Some(sha256),
    }
}

const PRETRAINED: [PublishedFile; 1] = [authors(
    "pretrain_btadapter_weight.pth",
    2_000_725_111,
    "254cf9cb7328f89c973647374c5445d098bb481d51d94b7fb8fb9a25bced77d7",
)];
const TUNED: [PublishedFile; 2] = [
    authors(
        "sft_btadapter_weight.bin",
        214_451_963,
        "e544bc6d72f61a8c9537924771378aed84b5604ec40afe29255c93b1ffb48c19",
    ),
    authors(
        "sft_mm_projector.bin",
        16_777_216,
        "c598105aa725ba0f2229b682744809e9cddae3af8b6291054c8e48f373c92dec",
    ),
];

const PRETRAINED_CONFIG: &str = r#"{
  "name": "bt-adapter-l14",
  "description": "CLIP ViT-L/14 with the BT-Adapter branch of the paper's authors, pre-trained on WebVid",
  "licence": "Apache-2.0",
  "architecture": {
    "vision": {"image": 224, "patch": 14, "width": 1024, "heads": 16, "layers": 24, "mlp": 4096},
    "text": {"vocab": 49408, "width": 768, "heads": 12, "layers": 12, "mlp": 3072, "context": 77},
    "projection": 768,
    "branch": {"layers": 4, "mode": "gated", "max_frames": 64}
  },
  "preprocess": {"mean": [122.771, 116.746, 104.093], "std": [68.500, 66.632, 70.323]},
  "weights": ["pretrain_btadapter_weight.pth"],
  "window": {"length": 8, "stride": 4, "rate": "2/1"}
}
"#;

const MODELS: [Published; 10] = [
    Published {
        name: "clip-b32",
        about: "OpenAI's CLIP ViT-B/32, frames averaged: the fastest",
        licence: "MIT (OpenAI's repository; the hub's page names none)",
        parameters_m: 151.3,
        image: 224,
        dim: 512,
        msrvtt_r1: None,
        files: &B32,
        config: None,
        is_whole: true,
    },
    Published {
        name: "clip-b16",
        about: "OpenAI's CLIP ViT-B/16, frames averaged",
        licence: "MIT (OpenAI's repository; the hub's page names none)",
        parameters_m: 149.6,
        image: 224,
        dim: 512,
        msrvtt_r1: None,
        files: &B16,
        config: None,
        is_whole: true,
    },
    Published {
        name: "clip-l14",
        about: "OpenAI's CLIP ViT-L/14, frames averaged",
        licence: "MIT (OpenAI's repository; the hub's page names none)",
        parameters_m: 427.6,
        image: 224,
        dim: 768,
        msrvtt_r1: Some(35.4),
        files: &L14,
        config: None,
        is_whole: true,
    },
    Published {
        name: "clip-l14-336",
        about: "OpenAI's CLIP ViT-L/14 at 336 pixels, frames averaged: sees more detail, costs 2.25 times as much",
        licence: "MIT (OpenAI's repository; the hub's page names none)",
        parameters_m: 427.9,
        image: 336,
        dim: 768,
        msrvtt_r1: None,
        files: &L14_336,
        config: None,
        is_whole: true,
    },
    Published {
        name: "bt-adapter-l14",
        about: "CLIP ViT-L/14 with the BT-Adapter branch of the paper's authors: sees motion",
        licence: "Apache-2.0",
        parameters_m: 499.1,
        image: 224,
        dim: 768,
        msrvtt_r1: Some(40.9),
        files: &PRETRAINED,
        config: Some(PRETRAINED_CONFIG),
        is_whole: true,
    },
    Published {
        name: "siglip-b16",
        about: "Google's SigLIP B/16, frames averaged; a frame is squashed to the square",
        licence: "Apache-2.0",
        parameters_m: 203.2,
        image: 224,
        dim: 768,
        msrvtt_r1: None,
        files: &SIGLIP_B16,
        config: None,
        is_whole: true,
    },
    Published {
        name: "siglip-so400m",
        about: "Google's SigLIP So400m/14 at 384 pixels, frames averaged: sees detail, costs the most",
        licence: "Apache-2.0",
        parameters_m: 878.0,
        image: 384,
        dim: 1152,
        msrvtt_r1: None,
        files: &SIGLIP_SO400M,
        config: None,
        is_whole: true,
    },
    Published {
        name: "mobileclip-s1",
        about: "Apple's MobileCLIP-S1, frames averaged: a small convolutional tower",
        licence: "apple-amlr (Apple's, for research)",
        parameters_m: 85.0,
        image: 256,
        dim: 512,
        msrvtt_r1: None,
        files: &MOBILE_CLIP_S1,
        config: None,
        is_whole: true,
    },
    Published {
        name: "mobileclip-s2",
        about: "Apple's MobileCLIP-S2, frames averaged: somewhat larger",
        licence: "apple-amlr (Apple's, for research)",
        parameters_m: 99.2,
        image: 256,
        dim: 512,
        msrvtt_r1: None,
        files: &MOBILE_CLIP_S2,
        config: None,
        is_whole: true,
    },
    Published {
        name: "bt-adapter-l14-tuned",
        about: "the authors' branch tuned for conversation, and its projector: parts, not a model",
        licence: "Apache-2.0",
        parameters_m: 57.8,
        image: 224,
        dim: 768,
        msrvtt_r1: None,
        files: &TUNED,
        config: None,
        is_whole: false,
    },
];

/// All that is published.
pub fn published() -> &'static [Published] {
    &MODELS
}

/// The model of that name.
pub fn find(name: &str) -> Option<&'static Published> {
    MODELS.iter().find(|model| model.name == name)
}
