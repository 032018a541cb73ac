//! The text tower of CLIP and its relatives.
//!
//! Ported from the formulas of Hugging Face's `CLIPTextModelWithProjection` (transformers 4.35) and
//! `SiglipTextModel` (4.46), and of `OpenCLIP`'s `TextTransformer` (2.30). Where attention is causal,
//! padding needs no mask, because it stands after the pooled token; where it is not, texts are padded
//! to the whole context, as in training, and the padding is seen.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Init, VarBuilder};

use crate::config::{Architecture, EndOfText, TextConfig};
use crate::family::Family;
use crate::layers::{Block, BlockConfig, LayerNorm, Linear};
use crate::ops::Ops;

/// The text tower and its projection into the shared space.
#[derive(Clone, Debug)]
pub struct TextTower {
    pub(crate) config: TextConfig,
    pub(crate) family: Family,
    pub(crate) token_embedding: Tensor,
    pub(crate) position_embedding: Tensor,
    pub(crate) layers: Vec<Block>,
    pub(crate) final_layer_norm: LayerNorm,
    pub(crate) text_projection: Linear,
}

impl TextTower {
    /// Takes the parameters below `vb` (`text_backbone` in a checkpoint of the reference).
    pub fn new(architecture: &Architecture, ops: Ops, vb: &VarBuilder) -> Result<Self> {
        let &Architecture { text: config, family, projection, .. } = architecture;
        let TextConfig { vocab, width, heads, layers, mlp, context, .. } = config;
        let style = family.text_blocks();
        let block = BlockConfig { width, heads, mlp, depth: layers, style };
        let small = (width as f64).powf(-0.5);
        let model = vb.pp("text_model");
        let embeddings = model.pp("embeddings");
        let blocks = model.pp("encoder").pp("layers");
        let normal = |stdev| Init::Randn { mean: 0.0, stdev };
        Ok(Self {
            token_embedding: embeddings.pp("token_embedding").get_with_hints(
                (vocab, width),
                "weight",
                normal(0.02),
            )?,
            position_embedding: embeddings.pp("position_embedding").get_with_hints(
                (context, width),
                "weight",
                normal(0.01),
            )?,
            layers: (0..layers)
                .map(|layer| Block::new(block, ops, &blocks.pp(layer)))
                .collect::<Result<_>>()?,
            final_layer_norm: LayerNorm::with_eps(
                width,
                style.eps,
                ops,
                &model.pp("final_layer_norm"),
            )?,
            text_projection: if family == Family::Siglip {
                Linear::normal(width, projection, small, &vb.pp("text_projection"))?
            } else {
                Linear::without_bias(width, projection, small, &vb.pp("text_projection"))?
            },
            config,
            family,
        })
    }

    /// Sizes of the tower.
    pub fn config(&self) -> &TextConfig {
        &self.config
    }

    /// The output of every token: `ids [B, S]`, `S` at most the context, zero padded, of `u32` or
    /// `i64` `-> [B, S, width]`.
    pub fn hidden(&self, ids: &Tensor) -> Result<Tensor> {
        let (b, s) = ids.dims2()?;
        let (context, width) = (self.config.context, self.config.width);
        if s > context {
            candle_core::bail!(
                "{s} tokens a text are more than the {context} positions of the model"
            );
        }
        let tokens = self.token_embedding.index_select(&ids.flatten_all()?, 0)?;
        let positions = self.position_embedding.narrow(0, 0, s)?;
        let mut xs = tokens.reshape((b, s, width))?.broadcast_add(&positions)?;
        let mask = self.config.causal.then(|| causal_mask(s, xs.dtype(), xs.device()));
        let mask = mask.transpose()?;
        for block in &self.layers {
            xs = block.forward(&xs, mask.as_ref())?;
        }
        self.final_layer_norm.forward(&xs)
    }

    /// The embedding of each text, not normalised: `B S width -> B P`.
    pub fn pool(&self, hidden: &Tensor, ids: &Tensor) -> Result<Tensor> {
        let (b, s, width) = hidden.dims3()?;
        let ids = ids.to_dtype(DType::U32)?.to_vec2::<u32>()?;
        let rows: Vec<u32> = ids
            .iter()
            .enumerate()
            .map(|(row, ids)| (row * s + end_of_text(ids, self.config.eot)) as u32)
            .collect();
        let rows = Tensor::from_vec(rows, b, hidden.device())?;
        let pooled = hidden.reshape((b * s, width))?.index_select(&rows, 0)?;
        self.text_projection.forward(&pooled)
    }

    /// `ids [B, S] -> [B, P]`, not normalised.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        self.pool(&self.hidden(ids)?, ids)
    }
}

/// Position of the token that stands for the text.
pub(crate) fn end_of_text(ids: &[u32], rule: EndOfText) -> usize {
    match rule {
        // The first of equal ids, as PyTorch's argmax.
        EndOfText::Argmax => {
            let largest = ids.iter().max();
            ids.iter().position(|id| Some(id) == largest).unwrap_or(0)
        }
        EndOfText::Last => ids.iter().rposition(|id| *id != 0).unwrap_or(0),
        EndOfText::Padded => ids.len().saturating_sub(1),
    }
}

/// `[S, S]`: 0 where a token may look, minus infinity where it lies ahead.
fn causal_mask(s: usize, dtype: DType, device: &Device) -> Result<Tensor> {
    let mask: Vec<f32> = (0..s)
        .flat_map(|row| (0..s).map(move |col| if col > row { f32::NEG_INFINITY } else { 0.0 }))
        .collect();
    Tensor::from_vec(mask, (s, s), device)?.to_dtype(dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pooled_token_is_the_largest_or_the_last_before_padding() {
        let ids = [9, 3, 12, 5, 12, 0, 0];
        assert_eq!(end_of_text(&ids, EndOfText::Argmax), 2);
        assert_eq!(end_of_text(&ids, EndOfText::Last), 4);
        assert_eq!(end_of_text(&[0, 0], EndOfText::Last), 0);
        assert_eq!(end_of_text(&ids, EndOfText::Padded), 6);
    }

    #[test]
    fn a_token_sees_itself_and_what_came_before() -> Result<()> {
        let mask = causal_mask(3, DType::F32, &Device::Cpu)?.to_vec2::<f32>()?;
        let seen: Vec<Vec<bool>> =
            mask.iter().map(|row| row.iter().map(|value| *value == 0.0).collect()).collect();
        assert_eq!(seen, [[true, false, false], [true, true, false], [true, true, true]]);
        Ok(())
    }
}
