//! The functions that exist in several forms: some can be differentiated, some are fast.

use candle_core::{D, Result, Tensor};

/// The factor inside quick-GELU's sigmoid.
pub(crate) const QUICK_GELU: f64 = 1.702;

/// What stands between the two layers of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(1.702 x)`: `OpenAI`'s CLIP was trained with it, not with GELU.
    QuickGelu,
    /// GELU by the error function.
    Gelu,
    /// GELU by its approximation with a hyperbolic tangent.
    GeluTanh,
}

/// Which form of layer normalisation, softmax and quick-GELU a model is built from.
///
/// `candle_nn`'s fused kernels have no backward pass, so training needs others. All compute the same
/// numbers, and there is one definition of every block above them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ops {
    /// Elementary operations, each with a backward pass.
    Composed,
    /// One kernel each, forward only.
    Fused,
    /// One kernel each with a backward pass, and one for the whole of self-attention, on the CPU in
    /// `f32`; elsewhere as [`Self::Composed`].
    Learning,
    /// As [`Self::Fused`], with weights that hold what can be multiplied into them beforehand: see
    /// [`VideoTower::folded`](crate::bt_adapter::VideoTower::folded).
    Folded,
}

impl Ops {
    /// Normalises the last axis of `xs [.., D]`, then scales by `weight [D]` and shifts by
    /// `bias [D]`.
    pub fn layer_norm(
        self,
        xs: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        eps: f32,
    ) -> Result<Tensor> {
        match self {
            Self::Fused | Self::Folded => {
                candle_nn::ops::layer_norm(&xs.contiguous()?, weight, bias, eps)
            }
            Self::Learning if xs.device().is_cpu() => {
                // What is frozen needs no gradient of its own.
                let learns = weight.is_variable();
                crate::train::layer_norm(&xs.contiguous()?, weight, bias, eps, learns)
            }
            Self::Composed | Self::Learning => {
                let centred = xs.broadcast_sub(&xs.mean_keepdim(D::Minus1)?)?;
                let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
                centred
                    .broadcast_div(&(variance + f64::from(eps))?.sqrt()?)?
                    .broadcast_mul(weight)?
                    .broadcast_add(bias)
            }
        }
    }

    /// Softmax over the last axis.
    pub fn softmax(self, xs: &Tensor) -> Result<Tensor> {
        match self {
            Self::Fused | Self::Folded => candle_nn::ops::softmax_last_dim(&xs.contiguous()?),
            Self::Composed | Self::Learning => {
                // The maximum only keeps the exponentials in range; the result does not depend on it.
                let max = xs.detach().max_keepdim(D::Minus1)?;
                let exp = xs.broadcast_sub(&max)?.exp()?;
                exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
            }
        }
    }

    /// `x * sigmoid(1.702 x)`: `OpenAI`'s CLIP was trained with it, not with GELU. Folded, `xs` are
    /// `1.702 x` and so is what is returned: one kernel in place of three.
    pub fn quick_gelu(self, xs: &Tensor) -> Result<Tensor> {
        match self {
            Self::Folded => xs.silu(),
            Self::Learning if xs.device().is_cpu() => crate::train::quick_gelu(&xs.contiguous()?),
            // Its backward pass exists in both forms.
            Self::Fused | Self::Composed | Self::Learning => {
                xs * candle_nn::ops::sigmoid(&(xs * QUICK_GELU)?)?
            }
        }
    }

    /// What stands between the two layers of an MLP; only quick-GELU is folded.
    pub(crate) fn activation(self, activation: Activation, xs: &Tensor) -> Result<Tensor> {
        match activation {
            Activation::QuickGelu => self.quick_gelu(xs),
            Activation::Gelu => xs.gelu_erf(),
            Activation::GeluTanh => xs.gelu(),
        }
    }

    /// Queries times `1/sqrt(width of a head)`; folded, their weights hold it.
    pub(crate) fn scaled_query(self, query: Tensor, scale: f64) -> Result<Tensor> {
        match self {
            Self::Folded => Ok(query),
            Self::Fused | Self::Composed | Self::Learning => query * scale,
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    fn sample() -> Result<Tensor> {
        let values: Vec<f32> = (0..24u16).map(|i| f32::from(i * 37 % 23) / 5.0 - 2.0).collect();
        Tensor::from_vec(values, (2, 3, 4), &Device::Cpu)
    }

    fn largest_difference(a: &Tensor, b: &Tensor) -> Result<f32> {
        (a - b)?.abs()?.flatten_all()?.max(0)?.to_scalar()
    }

    #[test]
    fn all_forms_agree() -> Result<()> {
        let xs = sample()?;
        let weight = Tensor::new(&[0.5f32, 1.0, -2.0, 3.0], &Device::Cpu)?;
        let bias = Tensor::new(&[0.1f32, 0.2, 0.3, 0.4], &Device::Cpu)?;
        let norm = |ops: Ops| ops.layer_norm(&xs, &weight, &bias, 1e-5);
        assert!(largest_difference(&norm(Ops::Composed)?, &norm(Ops::Fused)?)? < 1e-6);
        assert!(largest_difference(&norm(Ops::Composed)?, &norm(Ops::Learning)?)? < 1e-6);
        let gelu = |ops: Ops| ops.quick_gelu(&xs);
        assert!(largest_difference(&gelu(Ops::Composed)?, &gelu(Ops::Learning)?)? < 1e-6);
        let softmax = |ops: Ops| ops.softmax(&xs);
        assert!(largest_difference(&softmax(Ops::Composed)?, &softmax(Ops::Fused)?)? < 1e-6);
        Ok(())
    }

    type Form<'a> = &'a dyn Fn(&Tensor) -> Result<Tensor>;

    #[test]
    fn forms_for_training_have_the_gradient_of_their_difference_quotient() -> Result<()> {
        let at = sample()?;
        let (ones, zeros) =
            (Tensor::ones(4, at.dtype(), at.device())?, Tensor::zeros(4, at.dtype(), at.device())?);
        let pick = sample()?.sqr()?;
        let forms: [Form<'_>; 5] = [
            &|xs| Ops::Learning.layer_norm(xs, &ones, &zeros, 1e-5),
            &|xs| Ops::Learning.quick_gelu(xs),
            &|xs| Ops::Composed.layer_norm(xs, &ones, &zeros, 1e-5),
            &|xs| Ops::Composed.softmax(xs),
            &|xs| Ops::Composed.quick_gelu(xs),
        ];
        for form in forms {
            let loss = |xs: &Tensor| (form(xs)? * &pick)?.sum_all();
            let var = Var::from_tensor(&at)?;
            let grads = loss(var.as_tensor())?.backward()?;
            let grad = grads.get(&var).expect("a gradient").flatten_all()?.to_vec1::<f32>()?;
            for (i, grad) in grad.iter().enumerate().step_by(5) {
                let mut step = vec![0f32; 24];
                step[i] = 5e-3;
                let step = Tensor::from_vec(step, (2, 3, 4), &Device::Cpu)?;
                let rise = (loss(&(&at + &step)?)? - loss(&(&at - &step)?)?)?.to_scalar::<f32>()?;
                assert!((rise / 1e-2 - grad).abs() < 2e-2, "{i}: {} {grad}", rise / 1e-2);
            }
        }
        Ok(())
    }
}
