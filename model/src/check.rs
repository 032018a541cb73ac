//! Compares a model with tensors that another program computed.
//!
//! Three safetensors files: weights under the reference's names, inputs, and expected tensors under
//! the names below. It is how our port is held to the authors' code, and how a user can hold it to
//! their own weights.
//!
//! | inputs | |
//! |---|---|
//! | `pixel_values` | normalised pixels `[B, T, 3, image, image]` |
//! | `pixel_values_tN` | the same for clips of N frames |
//! | `token_ids`, `token_ids_lenN` | zero-padded ids `[B, S]` |
//!
//! | expected | |
//! |---|---|
//! | `{gated,additive}.` + `embeddings`, `hidden_i`, `branch_{in,mid,out}_i`, `cls_mix`, `cls_ln`, `frame_embed`, `video_embed`, `video_embed_norm` | every intermediate, with gates and without |
//! | `{gated,additive}.tN.video_embed` | for `pixel_values_tN` |
//! | the same without the first word | the branch as the model has it |
//! | `clip.video_embed` | plain CLIP, frames averaged |
//! | `masked_{ref,tube}.` + as above | with the tokens of `mask.ref`, `mask.position_major` dropped |
//! | `text.`, `textN.` + `last_hidden`, `embed` | for `token_ids`, `token_ids_lenN` |
//!
//! Embeddings of videos are computed again as they are in daily use: on the CPU by its own path
//! ([`crate::cpu`]), with `(cpu)` after the name; and as another device does
//! ([`VideoTower::folded`]), with `(folded)` after the name in `f32`, and by the angle in `bf16`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use crate::ModelError;
use crate::bt_adapter::{BranchOptions, VideoTower};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::clip_text::TextTower;
use crate::config::{Architecture, BranchMode, Fit, PreprocessConfig, Resize};
use crate::cpu::{CpuTextTower, CpuVideoEncoder, Precision};
use crate::model::map_file;
use crate::ops::Ops;
use crate::preprocess::Preprocess;
use crate::weights::WeightsFile;

/// How far one of our tensors is from the expected one.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorDifference {
    /// Its name in the expected file, followed by ` (cpu)` where the CPU's own path computed it, and
    /// by ` (folded)` where that of other devices did.
    pub name: String,
    /// Its shape, the same on both sides.
    pub shape: Vec<usize>,
    /// The largest difference of two elements; infinite where one of them is not finite.
    pub max_abs_diff: f32,
}

/// How far an embedding in `bf16` turns from the expected one.
#[derive(Clone, Debug, PartialEq)]
pub struct Rounded {
    /// Its name in the expected file.
    pub name: String,
    /// The least cosine between ours and the expected of all rows.
    pub cosine: f32,
}

/// What was compared and what could not be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckReport {
    /// The tensors compared, by name.
    pub differences: Vec<TensorDifference>,
    /// Embeddings of videos in `bf16`, as a device other than the CPU computes them.
    pub rounded: Vec<Rounded>,
    /// Expected tensors that this program does not compute, or lacks the input for.
    pub not_compared: Vec<String>,
}

impl CheckReport {
    /// The largest difference of all, if anything was compared.
    pub fn largest(&self) -> Option<&TensorDifference> {
        self.differences.iter().max_by(|a, b| a.max_abs_diff.total_cmp(&b.max_abs_diff))
    }

    /// The embedding that `bf16` turns most, if there is any.
    pub fn most_rounded(&self) -> Option<&Rounded> {
        self.rounded.iter().min_by(|a, b| a.cosine.total_cmp(&b.cosine))
    }
}

/// Runs the model of `weights` on `input` on a device, and compares with `expected`.
///
/// The sizes are read off the weights unless `architecture` gives them; heads cannot be read off,
/// and are then taken to have 64 channels, as in every published CLIP.
pub fn check(
    weights: &Path,
    input: &Path,
    expected: &Path,
    architecture: Option<&Architecture>,
    ops: Ops,
    device: &Device,
) -> Result<CheckReport, ModelError> {
    let checkpoint = Checkpoint::from_files(&[WeightsFile::open(weights)?])?;
    let architecture = match architecture {
        Some(architecture) => architecture.clone(),
        None => crate::infer::architecture(&checkpoint)?,
    };
    architecture.check()?;
    let (input, expected) = (read_tensors(input, device)?, read_tensors(expected, &Device::Cpu)?);
    refuse_empty(&input)?;
    let mut computed = Computed {
        tensors: HashMap::new(),
        daily: Vec::new(),
        rounded: HashMap::new(),
        expected: &expected,
        device,
    };

    let vb = checkpoint.var_builder(device);
    let tower = VideoTower::new(&architecture, ops, &vb.pp("backbone"))?;
    let has_text = checkpoint.names().any(|name| name.starts_with("text_backbone."));
    let text = if has_text {
        let vb = vb.pp("text_backbone");
        Some(TextTower::new(&architecture, ops, &vb)?)
    } else {
        None
    };
    checkpoint.finish()?;

    computed.video(&tower, &input)?;
    if let Some(text) = text {
        computed.text(&text, &input)?;
    }
    computed.report()
}

struct Computed<'a> {
    /// On tensors.
    tensors: HashMap<String, Tensor>,
    /// As in daily use, in `f32`: with the path after the name.
    daily: Vec<(String, &'static str, Tensor)>,
    /// As in daily use of another device, in `bf16`.
    rounded: HashMap<String, Tensor>,
    expected: &'a BTreeMap<String, Tensor>,
    device: &'a Device,
}

impl Computed<'_> {
    fn is_expected(&self, prefix: &str) -> bool {
        self.expected.keys().any(|name| name.starts_with(prefix))
    }

    fn keep(&mut self, name: String, tensor: &Tensor) {
        if self.expected.contains_key(&name) {
            self.tensors.insert(name, tensor.clone());
        }
    }

    /// The embeddings of prepared pixels, as they are computed in daily use.
    fn keep_daily(
        &mut self,
        name: &str,
        tower: &VideoTower,
        pixels: &Tensor,
    ) -> Result<(), ModelError> {
        if !self.expected.contains_key(name) {
            return Ok(());
        }
        let folded = |dtype: DType| -> Result<Tensor, ModelError> {
            let (tower, pixels) = (tower.folded(dtype)?, pixels.to_dtype(dtype)?);
            Ok(tower.forward(&pixels, BranchOptions::default())?.video_embed)
        };
        self.daily.push((name.to_owned(), "folded", folded(DType::F32)?));
        self.rounded.insert(name.to_owned(), folded(DType::BF16)?);
        if self.device.is_cpu() && tower.vision.family.is_clip() {
            // The pixels are prepared already.
            let as_they_are = PreprocessConfig {
                fit: Fit::default(),
                short_side: None,
                resize: Resize::default(),
                mean: [0.0; 3],
                std: [1.0; 3],
            };
            let preprocess = Preprocess::new(as_they_are, tower.vision.config().image);
            let encoder = CpuVideoEncoder::new(tower, preprocess, Precision::F32)?;
            let rows = encoder.embed_pixels(pixels)?;
            self.daily.push((name.to_owned(), "cpu", Tensor::new(rows, &Device::Cpu)?));
        }
        Ok(())
    }

    fn video(
        &mut self,
        tower: &VideoTower,
        input: &BTreeMap<String, Tensor>,
    ) -> Result<(), ModelError> {
        if let Some(pixels) = input.get("pixel_values").filter(|_| self.is_expected("clip.")) {
            let plain = VideoTower { branch: None, unbranched: None, ..tower.clone() };
            let output = plain.forward(pixels, BranchOptions::default())?;
            self.keep("clip.video_embed".into(), &output.video_embed);
            self.keep_daily("clip.video_embed", &plain, pixels)?;
        }
        let Some(branch) = &tower.branch else { return Ok(()) };
        let is_gated = branch.config().mode == BranchMode::Gated;
        let modes = [
            ("", Some(branch.clone())),
            ("gated", is_gated.then(|| branch.clone())),
            ("additive", Some(branch.additive())),
            ("masked_ref", is_gated.then(|| branch.clone())),
            ("masked_tube", is_gated.then(|| branch.clone())),
        ];
        for (prefix, branch) in modes {
            let Some(branch) = branch.filter(|_| {
                self.is_expected(if prefix.is_empty() { "video_embed" } else { prefix })
            }) else {
                continue;
            };
            let tower = VideoTower { branch: Some(branch), ..tower.clone() };
            let kept = match prefix {
                "masked_ref" => self.kept_tokens("mask.ref")?,
                "masked_tube" => self.kept_tokens("mask.position_major")?,
                _ => None,
            };
            for (name, pixels) in input {
                let Some(rest) = name.strip_prefix("pixel_values") else { continue };
                match rest.strip_prefix("_t") {
                    None if rest.is_empty() => {
                        self.trace(prefix, &tower, pixels, kept.as_ref())?;
                        if kept.is_none() {
                            self.keep_daily(&named(prefix, "video_embed"), &tower, pixels)?;
                        }
                    }
                    Some(frames) if frames.parse::<usize>().is_ok() && kept.is_none() => {
                        let output = tower.forward(pixels, BranchOptions::default())?;
                        let name = named(prefix, &format!("t{frames}.video_embed"));
                        self.keep_daily(&name, &tower, pixels)?;
                        self.keep(name, &output.video_embed);
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Every intermediate of one forward pass.
    fn trace(
        &mut self,
        prefix: &str,
        tower: &VideoTower,
        pixels: &Tensor,
        kept: Option<&Tensor>,
    ) -> Result<(), ModelError> {
        let (b, t, c, h, w) = pixels.dims5()?;
        let VideoTower { vision, .. } = tower;
        let embeddings = vision.embed(&pixels.reshape((b * t, c, h, w))?)?;
        let states = vision.hidden_states_after(&embeddings, usize::MAX)?;
        let last = &states[states.len().saturating_sub(tower.states_needed())..];

        let mut seen = Vec::new();
        let mut probe = |name: &'static str, layer: usize, tokens: &Tensor| {
            seen.push((format!("{name}_{layer}"), tokens.clone()));
        };
        let options = BranchOptions { kept, drop_path: None, probe: Some(&mut probe) };
        let output = tower.embed(last, t, options)?;

        seen.push(("embeddings".into(), embeddings));
        seen.extend(
            states.iter().enumerate().map(|(i, state)| (format!("hidden_{i}"), state.clone())),
        );
        seen.push(("cls_ln".into(), vision.post_layernorm().forward(&output.cls_mix)?));
        let norm = output.video_embed.sqr()?.sum_keepdim(1)?.sqrt()?;
        seen.push(("video_embed_norm".into(), output.video_embed.broadcast_div(&norm)?));
        seen.push(("cls_mix".into(), output.cls_mix));
        seen.push(("frame_embed".into(), output.frame_embed));
        seen.push(("video_embed".into(), output.video_embed));
        for (name, tensor) in seen {
            self.keep(named(prefix, &name), &tensor);
        }
        Ok(())
    }

    /// Positions of the zeros of a mask `[B, N·T]` in which 1 means dropped.
    fn kept_tokens(&self, mask: &str) -> Result<Option<Tensor>, ModelError> {
        let Some(mask) = self.expected.get(mask) else { return Ok(None) };
        let rows = mask.to_dtype(DType::U32)?.to_vec2::<u32>()?;
        let kept: Vec<Vec<u32>> = rows
            .iter()
            .map(|row| {
                (0u32..).zip(row).filter(|(_, dropped)| **dropped == 0).map(|(at, _)| at).collect()
            })
            .collect();
        Ok(Some(Tensor::new(kept, self.device)?))
    }

    fn text(
        &mut self,
        tower: &TextTower,
        input: &BTreeMap<String, Tensor>,
    ) -> Result<(), ModelError> {
        let is_cpu = self.device.is_cpu() && tower.family.is_clip();
        let on_cpu = is_cpu.then(|| CpuTextTower::new(tower.clone())).transpose()?;
        for (name, ids) in input {
            let Some(rest) = name.strip_prefix("token_ids") else { continue };
            let prefix = match rest.strip_prefix("_len") {
                None if rest.is_empty() => "text".to_owned(),
                Some(length) => format!("text{length}"),
                None => continue,
            };
            let hidden = tower.hidden(ids)?;
            self.keep(format!("{prefix}.embed"), &tower.pool(&hidden, ids)?);
            self.keep(format!("{prefix}.last_hidden"), &hidden);
            let Some(on_cpu) = &on_cpu else { continue };
            let rows = ids.to_dtype(DType::U32)?.to_vec2::<u32>()?;
            let rows: Vec<Vec<f32>> =
                rows.iter().map(|ids| on_cpu.embed_ids(ids)).collect::<Result<_, _>>()?;
            let rows = Tensor::new(rows, &Device::Cpu)?;
            self.daily.push((format!("{prefix}.embed"), "cpu", rows));
        }
        Ok(())
    }

    fn report(&self) -> Result<CheckReport, ModelError> {
        let mut report = CheckReport::default();
        for (name, expected) in self.expected {
            match self.tensors.get(name) {
                Some(ours) => report.differences.push(difference(name, ours, expected)?),
                None => report.not_compared.push(name.clone()),
            }
            for (_, path, ours) in self.daily.iter().filter(|(theirs, ..)| theirs == name) {
                report.differences.push(difference(&format!("{name} ({path})"), ours, expected)?);
            }
            if let Some(ours) = self.rounded.get(name) {
                let cosine = least_cosine(ours, expected)?;
                report.rounded.push(Rounded { name: name.clone(), cosine });
            }
        }
        Ok(report)
    }
}

/// The name of a tensor computed in a mode.
fn named(mode: &str, name: &str) -> String {
    if mode.is_empty() { name.to_owned() } else { format!("{mode}.{name}") }
}

fn difference(
    name: &str,
    ours: &Tensor,
    expected: &Tensor,
) -> Result<TensorDifference, ModelError> {
    if ours.dims() != expected.dims() {
        let both = (expected.dims().to_vec(), ours.dims().to_vec());
        let misshapen = BTreeMap::from([(name.to_owned(), both)]);
        let mismatch = crate::checkpoint::Mismatch { misshapen, ..Default::default() };
        return Err(CheckpointError::Mismatch(mismatch).into());
    }
    let ours = ours.flatten_all()?.to_vec1::<f32>()?;
    let theirs = expected.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let max_abs_diff = ours
        .iter()
        .zip(&theirs)
        .map(|(a, b)| (a - b).abs())
        // `max` would overlook NaN.
        .fold(0.0, |max: f32, diff| if diff.is_nan() { f32::INFINITY } else { max.max(diff) });
    Ok(TensorDifference { name: name.to_owned(), shape: expected.dims().to_vec(), max_abs_diff })
}

/// The least cosine between the rows of two tensors of one shape.
fn least_cosine(ours: &Tensor, expected: &Tensor) -> Result<f32, ModelError> {
    let ours = ours.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
    let theirs = expected.to_dtype(DType::F64)?;
    let dot = |a: &Tensor, b: &Tensor| (a * b)?.sum(1);
    let lengths = (dot(&ours, &ours)? * dot(&theirs, &theirs)?)?.sqrt()?;
    let cosines = (dot(&ours, &theirs)? / lengths)?.to_vec1::<f64>()?;
    // `min` would overlook NaN.
    let least = |least: f64, cosine: f64| if cosine.is_nan() { -1.0 } else { least.min(cosine) };
    Ok(cosines.into_iter().fold(1.0, least) as f32)
}

/// There is nothing to compute from a tensor with a side of 0.
fn refuse_empty(input: &BTreeMap<String, Tensor>) -> Result<(), ModelError> {
    match input.iter().find(|(_, tensor)| tensor.elem_count() == 0) {
        Some((name, tensor)) => {
            let (name, shape) = (name.clone(), tensor.dims().to_vec());
            Err(CheckpointError::Empty { name, shape }.into())
        }
        None => Ok(()),
    }
}

fn read_tensors(path: &Path, device: &Device) -> Result<BTreeMap<String, Tensor>, ModelError> {
    let map = map_file(path)?;
    safetensors::SafeTensors::deserialize(&map)
        .map_err(|error| CheckpointError::Unreadable(format!("{}: {error}", path.display())))?;
    let tensors = candle_core::safetensors::load_buffer(&map, device)?;
    Ok(tensors.into_iter().collect())
}
