//! The towers and the branch as training computes them: the arithmetic of inference, made of
//! operations with a backward pass.

use candle_core::{D, Device, Result, Tensor};
use rand_chacha::ChaCha8Rng;

use super::ops;
use super::weights::Weights;
use crate::config::{Architecture, BranchConfig, BranchMode, VisionConfig};
use crate::layers::LAYER_NORM_EPS;

/// Where the text tower's names begin.
const TEXT: &str = "text_backbone.text_model";

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
    /// Tokens of the patches after the last layer [clips, N, T, D].
    pub patches: Tensor,
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
    /// Both towers with fresh weights; those of the branch come with [`Self::add_branch`].
    pub fn new(architecture: Architecture, rng: &mut ChaCha8Rng) -> Result<Self> {
        let mut w = Weights::default();
        let (vision, text) = (architecture.vision, architecture.text);
        let (d, p) = (vision.width, architecture.projection);
        let patch = [d, 3, vision.patch, vision.patch];
        w.normal("backbone.class_embedding", &[d], 0.5, rng)?;
        let spread = (vision.patch_values() as f32).sqrt().recip();
        w.normal("backbone.patch_embedding.weight", &patch, spread, rng)?;
        w.set("backbone.position_embedding.weight", &positions(vision)?)?;
        norm(&mut w, "backbone.pre_layrnorm", d)?;
        let tower = (vision.width, vision.mlp, vision.layers);
        for i in 0..vision.layers {
            block(&mut w, &format!("backbone.layers.{i}"), tower, rng)?;
        }
        norm(&mut w, "backbone.post_layernorm", d)?;
        let spread = (d as f32).sqrt().recip();
        w.normal("backbone.visual_projection.weight", &[p, d], spread, rng)?;

        let d = text.width;
        w.normal(format!("{TEXT}.embeddings.token_embedding.weight"), &[text.vocab, d], 0.3, rng)?;
        let table = format!("{TEXT}.embeddings.position_embedding.weight");
        w.normal(table, &[text.context, d], 0.1, rng)?;
        let tower = (text.width, text.mlp, text.layers);
        for i in 0..text.layers {
            block(&mut w, &format!("{TEXT}.encoder.layers.{i}"), tower, rng)?;
        }
        norm(&mut w, &format!("{TEXT}.final_layer_norm"), d)?;
        let spread = (d as f32).sqrt().recip();
        w.normal("text_backbone.text_projection.weight", &[p, d], spread, rng)?;
        Ok(Self { architecture, weights: w })
    }

    /// Adds the branch: spatial layers copied from the CLIP layers they follow, temporal layers
    /// that at first pass their input through, gates half open.
    pub fn add_branch(&mut self, rng: &mut ChaCha8Rng) -> Result<()> {
        let BranchConfig { layers: k, max_frames, .. } = self.branch()?;
        let d = self.architecture.vision.width;
        let w = &mut self.weights;
        for i in 0..k {
            let from = format!("backbone.layers.{}.", self.architecture.vision.layers - k + i);
            let copies: Vec<(String, Tensor)> = w
                .iter()
                .filter_map(|(name, var)| {
                    let rest = name.strip_prefix(&from)?;
                    let to = format!("backbone.btadapter_S_layers.{i}.{rest}");
                    Some((to, var.as_detached_tensor()))
                })
                .collect();
            for (name, value) in copies {
                w.set(name, &value)?;
            }
            let to = format!("backbone.btadapter_T_layers.{i}");
            norm(w, &format!("{to}.layer_norm1"), d)?;
            attention(w, &format!("{to}.self_attn"), d, 1.0, rng)?;
            w.fill(format!("{to}.temporal_fc.weight"), &[d, d], 0.0)?;
            w.fill(format!("{to}.temporal_fc.bias"), &[d], 0.0)?;
        }
        w.set("backbone.btadapter_time_embed.weight", &times(max_frames, d)?)?;
        w.fill("backbone.btadapter_cls_token", &[1, 1, d], 0.0)?;
        w.fill("backbone.balance1", &[d], 0.0)?;
        w.fill("backbone.balance2", &[d], 0.0)
    }

    fn branch(&self) -> Result<BranchConfig> {
        match self.architecture.branch {
            Some(branch) if branch.mode == BranchMode::Gated => Ok(branch),
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
        let (b, t, n) = (bt / frames, frames, n1 - 1);
        let BranchConfig { out_norm, middle_norm, .. } = self.branch()?;
        let gate = self.gate("backbone.balance2", middle_norm)?;
        let mut state: Option<(Tensor, Tensor)> = None;
        for (i, layer) in layers.iter().enumerate() {
            let x = layer.reshape((b, t, n1, d))?;
            let class = x.narrow(2, 0, 1)?.squeeze(2)?.mean(1)?;
            let patches = x.narrow(2, 1, n)?.transpose(1, 2)?.contiguous()?;
            let (class, patches) = match state {
                None => self.enter(&class, &patches)?,
                Some((z_class, z_patches)) => {
                    (mixed(&z_class, &class, &gate)?, mixed(&z_patches, &patches, &gate)?)
                }
            };
            state = Some(self.branch_layer(i, &class, &patches)?);
        }
        let Some((class, patches)) = state else { candle_core::bail!("no layers to branch from") };
        let gate = self.gate("backbone.balance1", out_norm)?;
        let last = layers[layers.len() - 1].reshape((b, t, n1, d))?.narrow(2, 0, 1)?.squeeze(2)?;
        let class = class.unsqueeze(1)?.broadcast_as((b, t, d))?.contiguous()?;
        let videos = self.project(&mixed(&class, &last.contiguous()?, &gate)?)?.mean(1)?;
        Ok(Watched { videos, patches })
    }

    fn gate(&self, name: &str, factor: f64) -> Result<Tensor> {
        candle_nn::ops::sigmoid(&(self.weights.get(name)? * factor)?)
    }

    /// What the branch's first layer sees: class [clips, D] and patches [clips, N, T, D].
    fn enter(&self, class: &Tensor, patches: &Tensor) -> Result<(Tensor, Tensor)> {
        let (_, n, t, d) = patches.dims4()?;
        let position = self.weights.get("backbone.position_embedding.weight")?;
        let time = self.weights.get("backbone.btadapter_time_embed.weight")?.narrow(0, 0, t)?;
        let own = self.weights.get("backbone.btadapter_cls_token")?.reshape((1, d))?;
        let own = (own + position.narrow(0, 0, 1)?)?;
        let table = position.narrow(0, 1, n)?.unsqueeze(1)?.broadcast_add(&time.unsqueeze(0)?)?;
        Ok(((class.broadcast_add(&own)? * 0.5)?, patches.broadcast_add(&table)?))
    }

    fn branch_layer(&self, i: usize, class: &Tensor, patches: &Tensor) -> Result<(Tensor, Tensor)> {
        let (b, n, t, d) = patches.dims4()?;
        let heads = self.architecture.vision.heads;
        // In time: every patch for itself, over the frames.
        let name = format!("backbone.btadapter_T_layers.{i}");
        let p = patches.reshape((b * n, t, d))?;
        let inner = self.norm(&format!("{name}.layer_norm1"), &p)?;
        let inner = self.attention(&format!("{name}.self_attn"), &inner, heads, false)?;
        let p = (&p + self.linear(&format!("{name}.temporal_fc"), &inner)?)?;
        // In space: every frame for itself, the one class token in each of them.
        let name = format!("backbone.btadapter_S_layers.{i}");
        let p = p.reshape((b, n, t, d))?.transpose(1, 2)?.contiguous()?;
        let copies = class.reshape((b, 1, 1, d))?.broadcast_as((b, t, 1, d))?;
        let x = Tensor::cat(&[&copies, &p], 2)?.reshape((b * t, 1 + n, d))?;
        let inner = self.norm(&format!("{name}.layer_norm1"), &x)?;
        let a = self.attention(&format!("{name}.self_attn"), &inner, heads, false)?;
        let a = a.reshape((b, t, 1 + n, d))?;
        let class = (class + a.narrow(2, 0, 1)?.squeeze(2)?.mean(1)?)?;
        let p = (p + a.narrow(2, 1, n)?.contiguous()?)?;
        let p = p.transpose(1, 2)?.contiguous()?.reshape((b, n * t, d))?;
        let z = Tensor::cat(&[&class.unsqueeze(1)?, &p], 1)?;
        let z = (&z + self.mlp(&name, &z)?)?;
        let class = z.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?;
        Ok((class, z.narrow(1, 1, n * t)?.contiguous()?.reshape((b, n, t, d))?))
    }
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

/// Sines and cosines of a patch's row and column, as learned positions start out; the class
/// token's row is zero.
fn positions(vision: VisionConfig) -> Result<Tensor> {
    let (side, d) = (vision.grid(), vision.width);
    let mut table = vec![0.0_f32; d];
    for row in 0..side {
        for column in 0..side {
            for k in 0..d {
                let place = if k % 2 == 0 { row } else { column } as f32 / side as f32;
                let frequency = 0.5 * 16.0_f32.powf((k / 4) as f32 / (d / 4) as f32);
                let angle = std::f32::consts::TAU * frequency * place;
                table.push(0.4 * if k % 4 < 2 { angle.sin() } else { angle.cos() });
            }
        }
    }
    Tensor::from_vec(table, (side * side + 1, d), &Device::Cpu)
}

/// Slow sines and cosines of a frame's number, as the branch's learned times start out: over a clip
/// the slowest are ramps, from which "later" is a short way.
fn times(frames: usize, d: usize) -> Result<Tensor> {
    let at = |frame: usize, k: usize| {
        let wave = 4.0 * 16.0_f32.powf((k / 2) as f32 / (d / 2) as f32);
        let angle = std::f32::consts::TAU * frame as f32 / wave;
        0.7 * if k % 2 == 0 { angle.sin() } else { angle.cos() }
    };
    let table: Vec<f32> = (0..frames).flat_map(|t| (0..d).map(move |k| at(t, k))).collect();
    Tensor::from_vec(table, (frames, d), &Device::Cpu)
}

fn norm(w: &mut Weights, name: &str, d: usize) -> Result<()> {
    w.fill(format!("{name}.weight"), &[d], 1.0)?;
    w.fill(format!("{name}.bias"), &[d], 0.0)
}

fn attention(
    w: &mut Weights,
    name: &str,
    d: usize,
    out_share: f32,
    rng: &mut ChaCha8Rng,
) -> Result<()> {
    let spread = (d as f32).sqrt().recip();
    for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
        let spread = if part == "out_proj" { spread * out_share } else { spread };
        w.normal(format!("{name}.{part}.weight"), &[d, d], spread, rng)?;
        w.fill(format!("{name}.{part}.bias"), &[d], 0.0)?;
    }
    Ok(())
}

/// A transformer block; what it adds to its input starts small in deep towers.
fn block(
    w: &mut Weights,
    name: &str,
    (d, m, layers): (usize, usize, usize),
    rng: &mut ChaCha8Rng,
) -> Result<()> {
    let share = (2.0 * layers as f32).sqrt().recip();
    norm(w, &format!("{name}.layer_norm1"), d)?;
    norm(w, &format!("{name}.layer_norm2"), d)?;
    attention(w, &format!("{name}.self_attn"), d, share, rng)?;
    let spread = (d as f32).sqrt().recip();
    w.normal(format!("{name}.mlp.fc1.weight"), &[m, d], spread, rng)?;
    w.fill(format!("{name}.mlp.fc1.bias"), &[m], 0.0)?;
    let spread = (m as f32).sqrt().recip() * share;
    w.normal(format!("{name}.mlp.fc2.weight"), &[d, m], spread, rng)?;
    w.fill(format!("{name}.mlp.fc2.bias"), &[d], 0.0)
}
