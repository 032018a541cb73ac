//! CLIP and BT-Adapter on candle: pixels and words to embeddings in one space.
//!
//! A [`Model`] is a folder: `model.json` ([`config`]), `model.safetensors` ([`checkpoint`]) and, where
//! it has its own, `tokenizer.json`. It offers a [`VideoEncoder`] and a [`TextEncoder`].
//!
//! ```no_run
//! # use footage_model::{Device, Model, RgbFrame};
//! # fn frames() -> Vec<RgbFrame> { Vec::new() }
//! let model = Model::open("models/mini".as_ref(), &Device::Cpu)?;
//! let features = model.video().frame_features(&frames())?; // once for each frame
//! let clips = [features[0..8].to_vec(), features[2..10].to_vec()]; // which share six frames
//! let embeddings = model.video().embed_clips(&clips)?;
//! let words = model.text().embed_texts(&["a red car turns left"])?;
//! println!("{}", words[0].cosine(&embeddings[0]));
//! # Ok::<(), footage_model::ModelError>(())
//! ```
//!
//! There is one definition of the forward pass, on candle's tensors ([`clip_vision`], [`clip_text`],
//! [`bt_adapter`], [`unbranched`], [`pooled`]), which can be differentiated unless built with [`Ops::Fused`]. On the CPU, [`cpu`]
//! computes the same several times as fast.

pub mod bt_adapter;
pub mod check;
pub mod checkpoint;
pub mod clip_text;
pub mod clip_vision;
pub mod config;
pub mod conversation;
pub mod cpu;
mod device;
mod encoder;
mod error;
mod family;
mod infer;
pub mod layers;
mod layout;
mod model;
mod ops;
pub mod pooled;
pub mod preprocess;
mod resize;
mod system;
mod tensor_encoder;
mod tiles;
pub mod tokenizer;
pub mod unbranched;
pub mod weights;
mod work;

pub use candle_core::Device;
pub use footage_clip::{Embedding, Fingerprint, RgbFrame, WindowSpec as WindowDefaults};

pub use crate::check::{CheckReport, Rounded, TensorDifference, check};
pub use crate::checkpoint::{Coverage, FileReport};
pub use crate::config::{Calibration, ModelConfig};
pub use crate::cpu::Precision;
pub use crate::device::{DeviceChoice, HAS_CUDA, device_name};
pub use crate::encoder::{FrameFeatures, TextEncoder, VideoEncoder};
pub use crate::error::ModelError;
pub use crate::family::Family;
pub use crate::layout::reference_preprocess;
pub use crate::model::{
    CONFIG_FILE, Inspection, Model, ModelOptions, TOKENIZER_FILE, WEIGHTS_FILE,
};
pub use crate::ops::{Activation, Ops};
pub use crate::system::System;
pub use crate::tensor_encoder::{Batches, TensorTextEncoder, TensorVideoEncoder};
pub use crate::work::matrix_peak;

pub mod train;
