//! The towers and the branch as training computes them: the arithmetic of inference, made of
//! operations with a backward pass.

use candle_core::{D, Device, Result, Tensor};

use super::ops::{self, BranchLayer};
use super::weights::Weights;
use crate::config::{Architecture, BranchConfig, BranchMode, VisionConfig};
use crate::layers::LAYER_NORM_EPS;
use crate::system::System;

/// Where the text tower's names begin.
pub(super) const TEXT: &str = "text_backbone.text_model";

/// What the vision tower makes of pictures.
#[derive(Debug)]
pub struct Seen {
    /// The outputs of the last K layers, each [pictures, 1 + N, D]; the last is the final one.
    pub layers: Vec<Tensor>,
}

/// What the branch makes of clips.
#[derive(Debug)]
pub struct Watched {
    /// Video embeddings [clips, P], not of unit length.
    pub videos: Tensor,
    /// Tokens after each layer but the last, of whose patches nothing is made, each
    /// [clips, T, 1 + N, D]; the class token is in every frame.
    pub tokens: Vec<Tensor>,
}

/// A model in training.
#[derive(Debug)]
pub struct Network {
    /// Its sizes. It has a branch, though its weights may come later.
    pub architecture: Architecture,
    /// Its parameters.
    pub weights: Weights,
}

impl Network {
    pub(super) fn branch(&self) -> Result<BranchConfig> {
        match self.architecture.branch {
            Some(branch)
                if branch.system == System::BtAdapter && branch.mode == BranchMode::Gated =>
            {
                Ok(branch)
            }
            _ => candle_core::bail!("training wants an architecture with a gated branch"),
        }
    }

    fn norm(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let trains = self.weights.is_open(&weight);
        ops::layer_norm(
            x,
            &self.weights.get(&weight)?,
            &self.weights.get(&bias)?,
            LAYER_NORM_EPS,
            trains,
        )
    }

    fn linear(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let trains = self.weights.is_open(&weight);
        ops::linear(x, &self.weights.get(&weight)?, &self.weights.get(&bias)?, trains)
    }

    /// Self-attention of x [sequences, tokens, width], its output projection included.
    fn attention(&self, name: &str, x: &Tensor, heads: usize, is_causal: bool) -> Result<Tensor> {
        let part = |what: &str| -> Result<Tensor> {
            let parts =
                ["q", "k", "v"].map(|p| self.weights.get(&format!("{name}.{p}_proj.{what}")));
            let [q, k, v] = parts;
            Tensor::cat(&[q?, k?, v?], 0)
        };
        let trains = self.weights.is_open(&format!("{name}.q_proj.weight"));
        let qkv = ops::linear(x, &part("weight")?, &part("bias")?, trains)?;
        self.linear(&format!("{name}.out_proj"), &ops::attention(&qkv, heads, is_causal)?)
    }

    fn mlp(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let inner = self.norm(&format!("{name}.layer_norm2"), x)?;
        let inner = ops::quick_gelu(&self.linear(&format!("{name}.mlp.fc1"), &inner)?)?;
        self.linear(&format!("{name}.mlp.fc2"), &inner)
    }

    fn block(&self, name: &str, x: &Tensor, heads: usize, is_causal: bool) -> Result<Tensor> {
        let inner = self.norm(&format!("{name}.layer_norm1"), x)?;
        let x = (x + self.attention(&format!("{name}.self_attn"), &inner, heads, is_causal)?)?;
        &x + self.mlp(name, &x)?
    }

    /// Pictures as rows of patches [pictures, N, 3 x side x side] through the vision tower.
    pub fn see(&self, pictures: &Tensor) -> Result<Seen> {
        let (b, n, len) = pictures.dims3()?;
        let d = self.architecture.vision.width;
        let kernel = self.weights.get("backbone.patch_embedding.weight")?.reshape((d, len))?;
        let patches = pictures.reshape((b * n, len))?.matmul(&kernel.t()?)?.reshape((b, n, d))?;
        let class = self.weights.get("backbone.class_embedding")?;
        let class = class.reshape((1, 1, d))?.broadcast_as((b, 1, d))?;
        let position = self.weights.get("backbone.position_embedding.weight")?;
        let x = Tensor::cat(&[&class, &patches], 1)?.broadcast_add(&position)?;
        let mut x = self.norm("backbone.pre_layrnorm", &x)?;
        let vision = self.architecture.vision;
        let first = vision.layers - self.branch()?.layers;
        let mut layers = Vec::new();
        for i in 0..vision.layers {
            x = self.block(&format!("backbone.layers.{i}"), &x, vision.heads, false)?;
            if i >= first {
                layers.push(x.clone());
            }
        }
        Ok(Seen { layers })
    }

    /// Tokens [.., D] into the joint space [.., P]: final layer norm, then projection.
    pub fn project(&self, tokens: &Tensor) -> Result<Tensor> {
        let d = self.architecture.vision.width;
        let tokens = self.norm("backbone.post_layernorm", &tokens.contiguous()?)?;
        let mut dims = tokens.dims().to_vec();
        dims.pop();
        dims.push(self.architecture.projection);
        let projection = self.weights.get("backbone.visual_projection.weight")?;
        tokens.reshape(((), d))?.matmul(&projection.t()?)?.reshape(dims)
    }

    /// Texts as equally long rows of tokens (u32 [texts, length]), with the place of each one's
    /// end token, to embeddings [texts, P].
    pub fn read(&self, tokens: &[u32], length: usize, ends: &[u32]) -> Result<Tensor> {
        let text = self.architecture.text;
        let (b, d) = (ends.len(), text.width);
        let tokens = Tensor::from_slice(tokens, b * length, &Device::Cpu)?;
        let table = self.weights.get(&format!("{TEXT}.embeddings.token_embedding.weight"))?;
        let position = self.weights.get(&format!("{TEXT}.embeddings.position_embedding.weight"))?;
        let x = ops::rows(&table, &tokens)?.reshape((b, length, d))?;
        let mut x = x.broadcast_add(&position.narrow(0, 0, length)?)?;
        for i in 0..text.layers {
            let name = format!("{TEXT}.encoder.layers.{i}");
            x = self.block(&name, &x, text.heads, true)?;
        }
        let last: Vec<u32> =
            ends.iter().enumerate().map(|(i, end)| (i * length) as u32 + end).collect();
        let last = Tensor::from_vec(last, b, &Device::Cpu)?;
        let x = ops::rows(&x.reshape((b * length, d))?, &last)?;
        let x = self.norm(&format!("{TEXT}.final_layer_norm"), &x)?;
        x.matmul(&self.weights.get("text_backbone.text_projection.weight")?.t()?)
    }

    /// The branch over clips: the outputs of the last K layers, each [clips x T, 1 + N, D].
    pub fn watch(&self, layers: &[Tensor], frames: usize) -> Result<Watched> {
        let (bt, n1, d) = layers[0].dims3()?;
        let (b, t) = (bt / frames, frames);
        let BranchConfig { out_norm, middle_norm, .. } = self.branch()?;
        let gate = self.gate("backbone.balance2", middle_norm)?;
        let VisionConfig { heads, mlp, .. } = self.architecture.vision;
        let mut after: Vec<Tensor> = Vec::with_capacity(layers.len());
        for (i, layer) in layers.iter().enumerate() {
            let u = with_mean_class(&layer.reshape((b, t, n1, d))?)?;
            let z = match after.last() {
                None => self.enter(&u)?,
                Some(z) => z.clone(),
            };
            let (is_gated, is_last) = (i > 0, i + 1 == layers.len());
            let sizes = BranchLayer { frames, tokens: n1, width: d, heads, mlp, is_gated, is_last };
            after.push(ops::branch_layer(sizes, &z, &u, &self.branch_params(i, &gate)?)?);
        }
        let gate = self.gate("backbone.balance1", out_norm)?;
        let class = |tokens: &Tensor| -> Result<Tensor> {
            tokens.reshape((b, t, n1, d))?.narrow(2, 0, 1)?.squeeze(2)?.contiguous()
        };
        let (Some(last), Some(clip)) = (after.last(), layers.last()) else {
            candle_core::bail!("no layers to branch from")
        };
        let videos = self.project(&mixed(&class(last)?, &class(clip)?, &gate)?)?.mean(1)?;
        after.pop();
        Ok(Watched { videos, tokens: after })
    }

    /// The tokens that a language model reads of clips, [clips, N + 1, D], the class token last: the
    /// mean over time of CLIP's and the branch's. `layers` are the outputs of CLIP's layers L-K to
    /// L-2, each [clips x T, 1 + N, D].
    pub(super) fn conversation_tokens(&self, layers: &[Tensor], frames: usize) -> Result<Tensor> {
        let BranchConfig { middle_norm, .. } = self.branch()?;
        let gate = self.gate("backbone.balance2", middle_norm)?;
        let VisionConfig { heads, mlp, .. } = self.architecture.vision;
        let mut now: Option<(Tensor, Tensor)> = None;
        for (i, layer) in layers.iter().enumerate() {
            let (bt, tokens, width) = layer.dims3()?;
            let u = with_mean_class(&layer.reshape((bt / frames, frames, tokens, width))?)?;
            let z = match now {
                None => self.enter(&u)?,
                Some((_, z)) => z,
            };
            let sizes =
                BranchLayer { frames, tokens, width, heads, mlp, is_gated: i > 0, is_last: false };
            let z = ops::branch_layer(sizes, &z, &u, &self.branch_params(i, &gate)?)?;
            now = Some((u, z));
        }
        let Some((u, z)) = now else { candle_core::bail!("no layers to branch from") };
        class_last(&((u.mean(1)? + z.mean(1)?)? * 0.5)?)
    }

    fn gate(&self, name: &str, factor: f64) -> Result<Tensor> {
        candle_nn::ops::sigmoid(&(self.weights.get(name)? * factor)?)
    }

    /// What the branch's first layer sees, from CLIP's tokens with the mean class token in every
    /// frame, both [clips, T, 1 + N, D].
    fn enter(&self, u: &Tensor) -> Result<Tensor> {
        let (_, t, n1, d) = u.dims4()?;
        let n = n1 - 1;
        let position = self.weights.get("backbone.position_embedding.weight")?;
        let time = self.weights.get("backbone.btadapter_time_embed.weight")?.narrow(0, 0, t)?;
        let own = self.weights.get("backbone.btadapter_cls_token")?.reshape((1, d))?;
        let own = ((own + position.narrow(0, 0, 1)?)? * 0.5)?;
        let own = own.reshape((1, 1, d))?.broadcast_as((t, 1, d))?.contiguous()?;
        let position = position.narrow(0, 1, n)?.unsqueeze(0)?;
        let table = Tensor::cat(&[&own, &position.broadcast_add(&time.unsqueeze(1)?)?], 1)?;
        // Half of the class, all of the patches.
        let share = (0..n1).map(|token| if token == 0 { 0.5_f32 } else { 1.0 });
        let share = Tensor::from_iter(share, &Device::Cpu)?.reshape((n1, 1))?;
        u.broadcast_mul(&share)?.broadcast_add(&table)
    }

    /// The parameters of the branch's layer `i`, as [`ops::branch_layer`] wants them.
    fn branch_params(&self, i: usize, gate: &Tensor) -> Result<Tensor> {
        let (time, space) = (
            format!("backbone.btadapter_T_layers.{i}"),
            format!("backbone.btadapter_S_layers.{i}"),
        );
        let mut parts = vec![gate.clone()];
        let mut add = |name: &str, maps: &[&str]| -> Result<()> {
            for what in ["weight", "bias"] {
                for map in maps {
                    let part = self.weights.get(&format!("{name}.{map}.{what}"))?;
                    parts.push(part.flatten_all()?);
                }
            }
            Ok(())
        };
        let qkv = ["q_proj", "k_proj", "v_proj"];
        add(&time, &["layer_norm1"])?;
        add(&format!("{time}.self_attn"), &qkv)?;
        add(&time, &["self_attn.out_proj"])?;
        add(&time, &["temporal_fc"])?;
        add(&space, &["layer_norm1"])?;
        add(&format!("{space}.self_attn"), &qkv)?;
        add(&space, &["self_attn.out_proj"])?;
        add(&space, &["layer_norm2"])?;
        add(&space, &["mlp.fc1"])?;
        add(&space, &["mlp.fc2"])?;
        Tensor::cat(&parts, 0)
    }
}

/// Tokens [clips, T, 1 + N, D] with each clip's mean class token in place of every frame's own.
fn with_mean_class(tokens: &Tensor) -> Result<Tensor> {
    let (b, t, n1, d) = tokens.dims4()?;
    let class = tokens.narrow(2, 0, 1)?.mean_keepdim(1)?.broadcast_as((b, t, 1, d))?;
    Tensor::cat(&[&class.contiguous()?, &tokens.narrow(2, 1, n1 - 1)?], 2)
}

/// CLIP's own tokens averaged over time, in place of [`Network::conversation_tokens`].
pub(super) fn mean_tokens(layer: &Tensor, frames: usize) -> Result<Tensor> {
    let (bt, tokens, width) = layer.dims3()?;
    class_last(&layer.reshape((bt / frames, frames, tokens, width))?.mean(1)?)
}

/// Tokens [clips, 1 + N, D] with the class token behind the patches.
fn class_last(tokens: &Tensor) -> Result<Tensor> {
    let n1 = tokens.dim(1)?;
    Tensor::cat(&[&tokens.narrow(1, 1, n1 - 1)?, &tokens.narrow(1, 0, 1)?], 1)
}

/// `(1 - gate) z + gate u` over the last dimension.
fn mixed(z: &Tensor, u: &Tensor, gate: &Tensor) -> Result<Tensor> {
    z + (u - z)?.broadcast_mul(gate)?
}

/// Rows of unit length.
pub(super) fn unit(x: &Tensor) -> Result<Tensor> {
    let length = x.sqr()?.sum_keepdim(D::Minus1)?.affine(1.0, 1e-12)?.sqrt()?;
    x.broadcast_div(&length)
}
