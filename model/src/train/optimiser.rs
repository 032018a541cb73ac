//! `AdamW` whose state can be stored, so that training resumes exactly where it stopped.

use std::collections::{BTreeMap, HashMap};

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, Device, Result, Storage, Tensor};

use super::simd;
use super::weights::Weights;

/// How weights follow their gradients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Decay of the gradients' running mean.
    pub beta1: f32,
    /// Decay of the gradients' running square.
    pub beta2: f32,
    /// Keeps steps finite where gradients vanish.
    pub eps: f32,
    /// Share of itself a matrix loses per step and unit of learning rate.
    pub decay: f32,
    /// Gradients longer than this, all taken together, are shortened to it.
    pub clip: f32,
    /// The text tower's share of the learning rate.
    pub text: f32,
    /// Gates learn by their raw values, and not by what they are inside their sigmoids.
    pub raw_gates: bool,
    /// Also vectors and embeddings decay.
    pub decay_all: bool,
}

impl Default for AdamW {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.98,
            eps: 1e-8,
            decay: 0.05,
            clip: 1.0,
            text: 1.0,
            raw_gates: false,
            decay_all: false,
        }
    }
}

/// Moments of one parameter.
#[derive(Debug, Clone, PartialEq)]
struct Moments {
    mean: Vec<f32>,
    square: Vec<f32>,
    steps: u32,
}

/// `AdamW` and what it remembers of each parameter.
#[derive(Debug, Default)]
pub struct Optimiser {
    settings: AdamW,
    /// Shares of the learning rate by what names contain; the first that fits.
    shares: &'static [(&'static str, f32)],
    moments: BTreeMap<String, Moments>,
}

/// Gates are multiplied by 10^4 and 10^2 inside their sigmoids. Their gradients and their steps are
/// divided by as much, or the first step would close them for good and their gradient would drown
/// all others in the clipping.
fn gate_share(name: &str) -> f32 {
    match name {
        "backbone.balance1" => 1e-4,
        "backbone.balance2" => 1e-2,
        _ => 1.0,
    }
}

impl Optimiser {
    /// An optimiser that has seen nothing yet.
    pub fn new(settings: AdamW) -> Self {
        Self::with_shares(settings, &[])
    }

    /// The same, where parameters learn at shares of the rate: the first whose text a name contains.
    pub fn with_shares(settings: AdamW, shares: &'static [(&'static str, f32)]) -> Self {
        Self { settings, shares, moments: BTreeMap::new() }
    }

    /// What a parameter's learning rate is multiplied with, its gate's share aside.
    fn share(&self, name: &str) -> f32 {
        let text = if name.starts_with("text_backbone.") { self.settings.text } else { 1.0 };
        let own = self.shares.iter().find(|(part, _)| name.contains(part));
        text * own.map_or(1.0, |(_, share)| *share)
    }

    fn gate_share(&self, name: &str) -> f32 {
        if self.settings.raw_gates { 1.0 } else { gate_share(name) }
    }

    /// One step at this learning rate. Returns the length of the gradient before clipping.
    pub fn step(&mut self, weights: &Weights, grads: &GradStore, rate: f32) -> Result<f32> {
        let mut found = Vec::new();
        let mut square = 0.0_f64;
        for (name, var) in weights.open() {
            let Some(grad) = grads.get(var) else { continue };
            let mut grad = grad.flatten_all()?.to_vec1::<f32>()?;
            let gate = self.gate_share(name);
            for g in &mut grad {
                *g *= gate;
            }
            square += f64::from(simd::dot(&grad, &grad));
            found.push((name, var, grad));
        }
        let length = square.sqrt() as f32;
        if !length.is_finite() {
            candle_core::bail!("the gradient is not finite: lower the learning rate")
        }
        let gain = if length > self.settings.clip { self.settings.clip / length } else { 1.0 };
        for (name, var, grad) in found {
            let s = self.settings;
            let share = self.share(name) * self.gate_share(name);
            let moments = self.moments.entry(name.to_owned()).or_insert_with(|| Moments {
                mean: vec![0.0; grad.len()],
                square: vec![0.0; grad.len()],
                steps: 0,
            });
            moments.steps += 1;
            let decays = s.decay_all || (var.rank() >= 2 && !name.ends_with("embedding.weight"));
            let step = simd::AdamStep {
                rate: rate * share,
                decay: if decays { s.decay } else { 0.0 },
                beta1: s.beta1,
                beta2: s.beta2,
                correction: (
                    1.0 - s.beta1.powi(moments.steps.cast_signed()),
                    1.0 - s.beta2.powi(moments.steps.cast_signed()),
                ),
                eps: s.eps,
                gain,
            };
            let (storage, _) = var.storage_and_layout();
            let Storage::Cpu(CpuStorage::F32(values)) = &*storage else {
                candle_core::bail!("parameter '{name}' is not in f32 on the CPU")
            };
            let mut values = values.clone();
            drop(storage);
            simd::adamw(&mut values, &mut moments.mean, &mut moments.square, &grad, step);
            var.set(&Tensor::from_vec(values, var.shape(), &Device::Cpu)?)?;
        }
        Ok(length)
    }

    /// Its memory as tensors, for a checkpoint.
    pub fn state(&self) -> Result<HashMap<String, Tensor>> {
        let mut state = HashMap::new();
        for (name, m) in &self.moments {
            let row = |values: &[f32]| Tensor::from_slice(values, values.len(), &Device::Cpu);
            state.insert(format!("mean.{name}"), row(&m.mean)?);
            state.insert(format!("square.{name}"), row(&m.square)?);
            state.insert(format!("steps.{name}"), Tensor::new(&[m.steps], &Device::Cpu)?);
        }
        Ok(state)
    }

    /// Takes up the memory that [`Self::state`] gave.
    pub fn restore(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        self.moments.clear();
        for (key, mean) in state {
            let Some(name) = key.strip_prefix("mean.") else { continue };
            let part = |what: &str| match state.get(&format!("{what}.{name}")) {
                Some(tensor) => Ok(tensor),
                None => candle_core::bail!("the optimiser's state lacks '{what}.{name}'"),
            };
            let moments = Moments {
                mean: mean.to_vec1()?,
                square: part("square")?.to_vec1()?,
                steps: part("steps")?.to_vec1::<u32>()?[0],
            };
            self.moments.insert(name.to_owned(), moments);
        }
        Ok(())
    }
}

/// A learning rate that warms up linearly and then falls along a cosine to a twentieth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The highest rate.
    pub peak: f32,
    /// Steps until it is reached.
    pub warmup: usize,
    /// Steps in all.
    pub steps: usize,
}

impl Schedule {
    /// The rate at a step, counted from 0.
    pub fn rate(&self, step: usize) -> f32 {
        if step < self.warmup {
            return self.peak * (step + 1) as f32 / self.warmup as f32;
        }
        let along = (step - self.warmup) as f32 / (self.steps - self.warmup).max(1) as f32;
        let wave = 0.5 * (1.0 + (std::f32::consts::PI * along.min(1.0)).cos());
        self.peak * (0.05 + 0.95 * wave)
    }
}
