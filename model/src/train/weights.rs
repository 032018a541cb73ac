//! The parameters of a model in training, by the names its checkpoint will have.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Result, Tensor, Var};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Named parameters, each open (it learns) or closed.
#[derive(Debug, Default)]
pub struct Weights {
    vars: BTreeMap<String, Var>,
    closed: Vec<String>,
}

impl Weights {
    /// Adds a parameter, or gives one a new value.
    pub fn set(&mut self, name: impl Into<String>, value: &Tensor) -> Result<()> {
        let name = name.into();
        let value = value.to_dtype(DType::F32)?;
        if let Some(var) = self.vars.get(&name) {
            return var.set(&value);
        }
        self.vars.insert(name, Var::from_tensor(&value)?);
        Ok(())
    }

    /// Takes a parameter out.
    pub(crate) fn remove(&mut self, name: &str) {
        self.vars.remove(name);
    }

    /// Says which parameters are closed: those whose names begin with one of `prefixes`.
    pub fn close(&mut self, prefixes: &[&str]) {
        self.closed = prefixes.iter().map(ToString::to_string).collect();
    }

    /// Whether the parameter learns.
    pub fn is_open(&self, name: &str) -> bool {
        !self.closed.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }

    /// The parameter for use in a forward pass; a closed one gathers no gradient.
    pub fn get(&self, name: &str) -> Result<Tensor> {
        match self.vars.get(name) {
            Some(var) if self.is_open(name) => Ok(var.as_tensor().clone()),
            Some(var) => Ok(var.as_detached_tensor()),
            None => candle_core::bail!("there is no parameter '{name}'"),
        }
    }

    /// All parameters in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.vars.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// Those that learn.
    pub fn open(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.iter().filter(|(name, _)| self.is_open(name))
    }

    /// The parameters that learn, and no others: the same ones, and not copies.
    #[must_use]
    pub fn only_open(&self) -> Self {
        let vars = self.open().map(|(name, var)| (name.to_owned(), var.clone())).collect();
        Self { vars, closed: Vec::new() }
    }

    /// How many numbers they hold.
    pub fn count(&self) -> usize {
        self.vars.values().map(|var| var.elem_count()).sum()
    }

    /// Copies of the tensors, as a checkpoint stores them.
    pub fn tensors(&self, dtype: DType) -> Result<HashMap<String, Tensor>> {
        self.iter().map(|(name, var)| Ok((name.to_owned(), var.to_dtype(dtype)?))).collect()
    }

    /// A parameter drawn from a normal distribution.
    pub(super) fn normal(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        deviation: f32,
        rng: &mut ChaCha8Rng,
    ) -> Result<()> {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| deviation * normal(rng)).collect();
        self.set(name, &Tensor::from_vec(values, shape, &Device::Cpu)?)
    }

    /// A parameter that is the same everywhere.
    pub(super) fn fill(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        value: f32,
    ) -> Result<()> {
        self.set(name, &Tensor::full(value, shape, &Device::Cpu)?)
    }
}

/// One normal deviate (Box and Muller).
pub(super) fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let u: f32 = 1.0 - rng.random::<f32>();
    let v: f32 = rng.random();
    (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}
