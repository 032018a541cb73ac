//! Weights and pixels out of nothing but their names: the portable generator with which the
//! full-size expected tensors were made, and random models of any shape for other tests.

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

/// `offset + amplitude * u`, with u in [-1, 1) from splitmix64 seeded by the name's FNV-1a hash.
pub(crate) fn values(name: &str, count: usize, offset: f64, amplitude: f64) -> Vec<f32> {
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (1..=count as u64)
        .map(|i| {
            let z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let u = ((z ^ (z >> 31)) >> 40) as f64 / f64::from(1 << 24) * 2.0 - 1.0;
            (offset + amplitude * u) as f32
        })
        .collect()
}

/// Offset and amplitude of a parameter, by its name; the first rule that fits.
fn rule(name: &str, shape: &[usize]) -> (f64, f64) {
    let (owner, parameter) = name.rsplit_once('.').unwrap_or(("", name));
    let module = owner.rsplit('.').next().unwrap_or("");
    let fan_in: usize = shape.iter().skip(1).product();
    if parameter == "balance1" {
        (0.0, 2e-4)
    } else if parameter == "balance2" {
        (0.0, 2e-2)
    } else if module.contains("norm") || ["pre_layrnorm", "post_layernorm"].contains(&module) {
        if parameter == "weight" { (1.0, 0.2) } else { (0.0, 0.1) }
    } else if parameter == "bias" {
        (0.0, 0.05)
    } else if ["class_embedding", "btadapter_cls_token"].contains(&parameter)
        || module.ends_with("time_embed")
        || (module.ends_with("_embedding") && module != "patch_embedding")
    {
        (0.0, 0.1)
    } else {
        let gain = if module == "patch_embedding" { 1.0 } else { 0.8 };
        (0.0, gain * (3.0 / fan_in as f64).sqrt())
    }
}

struct Generator;

impl SimpleBackend for Generator {
    fn get(&self, shape: Shape, name: &str, _: Init, _: DType, device: &Device) -> Result<Tensor> {
        let (offset, amplitude) = rule(name, shape.dims());
        Tensor::from_vec(values(name, shape.elem_count(), offset, amplitude), shape, device)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("{name} was asked for without its shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

/// Hands out generated parameters by path.
pub(crate) fn var_builder(device: &Device) -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(Generator), DType::F32, device.clone())
}
