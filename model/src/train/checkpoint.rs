//! A training's whole state in one file, so that it goes on as if it had never stopped.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::error::TrainError;
use super::optimiser::Optimiser;
use super::weights::Weights;

/// Weights, optimiser and the number of steps done; everything random follows from the step.
pub fn save(
    path: &Path,
    weights: &Weights,
    optimiser: &Optimiser,
    step: usize,
) -> Result<(), TrainError> {
    let mut all = HashMap::new();
    for (name, tensor) in weights.tensors(DType::F32)? {
        all.insert(format!("weights.{name}"), tensor);
    }
    for (name, tensor) in optimiser.state()? {
        all.insert(format!("optimiser.{name}"), tensor);
    }
    all.insert("step".to_owned(), Tensor::new(&[step as u32], &Device::Cpu)?);
    let partial = path.with_extension("partial");
    candle_core::safetensors::save(&all, &partial)?;
    Ok(fs_err::rename(&partial, path)?)
}

/// Takes up what [`save`] stored; returns the number of steps done.
pub fn load(
    path: &Path,
    weights: &mut Weights,
    optimiser: &mut Optimiser,
) -> Result<usize, TrainError> {
    let all = candle_core::safetensors::load(path, &Device::Cpu)?;
    let mut memory = HashMap::new();
    for (key, tensor) in &all {
        if let Some(name) = key.strip_prefix("weights.") {
            weights.set(name, tensor)?;
        } else if let Some(name) = key.strip_prefix("optimiser.") {
            memory.insert(name.to_owned(), tensor.clone());
        }
    }
    optimiser.restore(&memory)?;
    let Some(step) = all.get("step") else {
        let why = "it holds no step count; was it written by this program?".to_owned();
        return Err(TrainError::Checkpoint { path: path.to_owned(), why });
    };
    Ok(step.to_vec1::<u32>()?[0] as usize)
}

/// Refuses a checkpoint that is not one of `weights`: of another model, another branch, or damaged.
/// Nothing is changed; [`load`] may follow.
///
/// # Errors
/// Names the first tensor that differs.
pub fn check(path: &Path, weights: &Weights) -> Result<(), TrainError> {
    let refused = |why: String| TrainError::Checkpoint { path: path.to_owned(), why };
    let all = candle_core::safetensors::load(path, &Device::Cpu)
        .map_err(|error| refused(format!("it cannot be read: {error}")))?;
    let own: HashMap<&str, &[usize]> =
        weights.iter().map(|(name, var)| (name, var.dims())).collect();
    for (name, needed) in &own {
        let found = all.get(&format!("weights.{name}"));
        match found.map(Tensor::dims) {
            Some(dims) if dims == *needed => {}
            Some(dims) => {
                let why = format!("`{name}` is {dims:?} there and {needed:?} in this training");
                return Err(refused(why));
            }
            None => return Err(refused(format!("`{name}` {needed:?} is missing"))),
        }
    }
    let known = |name: &str| own.contains_key(name);
    match all.keys().filter_map(|key| key.strip_prefix("weights.")).find(|name| !known(name)) {
        Some(name) => Err(refused(format!("`{name}` is none of this training's parameters"))),
        None => Ok(()),
    }
}
