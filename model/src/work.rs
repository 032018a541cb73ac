//! How much there is to multiply, and how fast a device can: what a speed is a fraction of.

use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};

use crate::ModelError;
use crate::config::{Architecture, VisionConfig};

impl Architecture {
    /// Floating-point operations of the products of matrices, or of the convolutions, for one frame: the
    /// image tower. A multiplication and an addition count as two.
    pub fn operations_of_frame(&self) -> f64 {
        if let Some(stages) = self.vision.stages {
            return 2.0 * convolutions(self.vision, stages);
        }
        let VisionConfig { width, layers, mlp, .. } = self.vision;
        let (patches, width, mlp) = (self.vision.patches() as f64, width as f64, mlp as f64);
        let tokens = patches + if self.family.has_states() { 1.0 } else { 0.0 };
        let block = attention(tokens, tokens, width) + 2.0 * width * mlp * tokens;
        2.0 * (patches * self.vision.patch_values() as f64 * width + layers as f64 * block)
    }

    /// The same for what is computed once for a clip of `frames`: the branch and the projection.
    pub fn operations_of_clip(&self, frames: usize) -> f64 {
        let frames = frames as f64;
        let (width, mlp) = (self.vision.width as f64, self.vision.mlp as f64);
        let projection = frames * width * self.projection as f64;
        let layers = self.branch.as_ref().map_or(0, |branch| branch.layers) as f64;
        let patches = self.vision.patches() as f64;
        let temporal =
            attention(patches * frames, frames, width) + patches * frames * width * width;
        let spatial = attention((patches + 1.0) * frames, patches + 1.0, width)
            + 2.0 * width * mlp * (patches * frames + 1.0);
        2.0 * (projection + layers * (temporal + spatial))
    }
}

/// Multiplications of `MobileCLIP`'s image tower for one frame.
fn convolutions(vision: VisionConfig, stages: [usize; 4]) -> f64 {
    let last = (vision.width / 2) as f64;
    let (first, hidden) = (last / 8.0, vision.mlp as f64 / last);
    let area = |reduced: f64| (vision.image as f64 / reduced).powi(2);
    let mut all = area(2.0) * 27.0 * first + area(4.0) * (9.0 * first + first * first);
    for (at, depth) in stages.into_iter().enumerate() {
        let (positions, width) = (area((4 << at) as f64), first * (1 << at) as f64);
        let mixer = match at {
            3 => attention(positions, positions, width),
            _ => 9.0 * positions * width,
        };
        let mlp = positions * width * (49.0 + 2.0 * hidden * width);
        let halve = if at == 0 { 0.0 } else { positions * width * (49.0 + width) };
        all += halve + depth as f64 * (mixer + mlp);
    }
    all + area(32.0) * 9.0 * vision.width as f64
}

/// Multiplications of an attention in which each of `tokens` looks at `seen`, its four projections
/// included.
fn attention(tokens: f64, seen: f64, width: f64) -> f64 {
    4.0 * tokens * width * width + 2.0 * tokens * seen * width
}

/// The most floating-point operations a second that a device reaches in a product of large square
/// matrices of `dtype`, by measuring for about `seconds`.
pub fn matrix_peak(device: &Device, dtype: DType, seconds: f64) -> Result<f64, ModelError> {
    let side = if device.is_cpu() { 768 } else { 8192 };
    // Zeros are multiplied faster by some devices, which draw less power for them.
    let noise = || Tensor::rand(-1f32, 1f32, (side, side), device)?.to_dtype(dtype);
    let (a, b) = (noise()?, noise()?);
    let in_a_row = if device.is_cpu() { 1 } else { 10 };
    let run = || -> candle_core::Result<Duration> {
        let began = Instant::now();
        for _ in 0..in_a_row {
            a.matmul(&b)?;
        }
        device.synchronize()?;
        Ok(began.elapsed())
    };
    run()?;
    let began = Instant::now();
    let mut best = run()?;
    while began.elapsed().as_secs_f64() < seconds {
        best = best.min(run()?);
    }
    let operations = 2.0 * (side as f64).powi(3) * f64::from(in_a_row);
    Ok(operations / best.as_secs_f64().max(1e-9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_mobileclip_costs_what_pytorch_counts() {
        let architecture: Architecture = serde_json::from_value(serde_json::json!({
            "family": "mobile-clip",
            "vision": {"image": 256, "patch": 32, "width": 1024, "heads": 16, "layers": 40,
                "mlp": 1536, "stages": [4, 12, 20, 4]},
            "text": {"vocab": 8, "width": 8, "heads": 1, "layers": 1, "mlp": 8, "context": 8},
            "projection": 512,
            "branch": null
        }))
        .unwrap();
        // `FlopCounterMode` on timm's fastvit_mci1, its branches made one; norms and the mean are not counted.
        let macs = architecture.operations_of_frame() / 2.0;
        assert!((macs / 4.658_266e9 - 1.0).abs() < 2e-3, "{macs:e}");
    }

    fn l14() -> Architecture {
        serde_json::from_value(serde_json::json!({
            "vision": {"image": 224, "patch": 14, "width": 1024, "heads": 16, "layers": 24, "mlp": 4096},
            "text": {"vocab": 8, "width": 8, "heads": 1, "layers": 1, "mlp": 8, "context": 8},
            "projection": 768,
            "branch": {"layers": 4}
        }))
        .unwrap()
    }

    #[test]
    fn vit_l14_takes_what_is_published_of_it() {
        // 81 billion multiplications a picture (Radford et al. 2021 and ViT's own tables).
        let operations = l14().operations_of_frame() / 2.0;
        assert!((79e9..83e9).contains(&operations), "{operations:e}");
    }

    #[test]
    fn the_branch_of_a_clip_takes_what_its_layers_say() {
        let plain = Architecture { branch: None, ..l14() };
        assert!((plain.operations_of_clip(8) - 2.0 * 8.0 * 1024.0 * 768.0).abs() < 1.0);
        // A layer has the 12 D^2 of a block and the 5 D^2 of time, for each of 2048 patches.
        let least = 2.0 * 4.0 * 17.0 * 1024.0 * 1024.0 * 2048.0;
        let all = l14().operations_of_clip(8);
        assert!(all > least && all < 1.1 * least, "{all:e} {least:e}");
    }

    #[test]
    fn a_device_s_peak_is_a_speed() {
        let peak = matrix_peak(&Device::Cpu, DType::F32, 0.0).unwrap();
        assert!(peak > 1e6 && peak.is_finite(), "{peak:e}");
    }
}
