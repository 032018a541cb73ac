//! CLIP's text tower on plain slices.

use footage_clip::Embedding;
use rayon::iter::{
    IndexedParallelIterator, IntoParallelIterator, IntoParallelRefIterator, ParallelIterator,
};

use super::attention::Sight;
use super::block::{CpuBlock, Norm, Room, floats_of, raw};
use super::matmul::{Finish, Packed};
use super::parallel::Pool;
use super::precision::Arithmetic;
use super::simd;
use crate::ModelError;
use crate::clip_text::{TextTower, end_of_text};
use crate::config::TextConfig;
use crate::encoder::TextEncoder;
use crate::layers::Block;
use crate::tokenizer::Tokenizer;

/// The text tower behind a tokenizer.
#[derive(Debug)]
pub struct CpuTextEncoder {
    tower: CpuTextTower,
    tokenizer: Tokenizer,
}

impl CpuTextEncoder {
    /// Packs the tower's weights, which must lie on the CPU in `f32`.
    pub fn new(tower: &TextTower, tokenizer: Tokenizer) -> Result<Self, ModelError> {
        Self::of(tower.clone(), tokenizer)
    }

    /// As [`Self::new`], with each block of the tower dropped once it is packed.
    pub(crate) fn of(tower: TextTower, tokenizer: Tokenizer) -> Result<Self, ModelError> {
        Ok(Self { tower: CpuTextTower::new(tower)?, tokenizer })
    }
}

impl TextEncoder for CpuTextEncoder {
    fn embed_texts(&self, texts: &[&str]) -> Result<Vec<Embedding>, ModelError> {
        let embed = |text: &&str| {
            let ids = self.tokenizer.encode(text)?;
            Ok(Embedding::normalise(self.tower.embed_ids(&ids)?)?)
        };
        texts.par_iter().with_max_len(1).map(embed).collect()
    }

    fn fits(&self, text: &str) -> Result<bool, ModelError> {
        self.tokenizer.fits(text)
    }
}

/// The text tower, from ids on.
#[derive(Debug)]
pub(crate) struct CpuTextTower {
    config: TextConfig,
    /// `[vocab, width]`.
    token_embedding: Vec<f32>,
    /// `[context, width]`.
    position_embedding: Vec<f32>,
    blocks: Vec<CpuBlock>,
    norm: Norm,
    projection: Packed,
    room: Pool<Room>,
}

impl CpuTextTower {
    pub(crate) fn new(tower: TextTower) -> Result<Self, ModelError> {
        if !tower.family.is_clip() {
            return Err(super::not_here(tower.family));
        }
        let arithmetic = Arithmetic::vectors();
        let [projection] = Packed::all([raw(&tower.text_projection)?], arithmetic)?;
        let block = |layer: Block| CpuBlock::new(&layer, arithmetic);
        Ok(Self {
            config: tower.config,
            token_embedding: floats_of(&tower.token_embedding)?,
            position_embedding: floats_of(&tower.position_embedding)?,
            blocks: tower.layers.into_par_iter().map(block).collect::<Result<_, _>>()?,
            norm: Norm::new(&tower.final_layer_norm)?,
            projection,
            room: Pool::new(Room::new),
        })
    }

    /// The embedding of a text's ids, `[P]`, not normalised; an id beyond the table is refused.
    pub(crate) fn embed_ids(&self, ids: &[u32]) -> Result<Vec<f32>, ModelError> {
        let width = self.config.width;
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.config.vocab) {
            return Err(ModelError::Tokenizer(format!("id {id} is not in the model's table")));
        }
        if ids.is_empty() || ids.len() > self.config.context {
            let (got, most) = (ids.len(), self.config.context);
            return Err(ModelError::Tokenizer(format!(
                "{got} ids do not fit the model: 1 to {most}"
            )));
        }
        let mut xs = Vec::with_capacity(ids.len() * width);
        for id in ids {
            xs.extend_from_slice(&self.token_embedding[*id as usize * width..][..width]);
        }
        let positions = &self.position_embedding[..xs.len()];
        simd::add_scaled(&mut xs, positions, 1.0);
        let mut room = self.room.take()?;
        for block in &self.blocks {
            block.forward(&mut xs, ids.len(), Sight::Causal, &mut room)?;
        }
        let last = end_of_text(ids, self.config.eot);
        let mut normed = vec![0.0; width];
        self.norm.apply(&xs[last * width..][..width], &mut normed);
        let mut embedding = vec![0.0; self.projection.outputs()];
        let dim = embedding.len();
        let out = (embedding.as_mut_slice(), dim);
        self.projection.apply(1, |_| &normed, Finish::Store, out, &mut room.scratch)?;
        self.room.give_back(room);
        Ok(embedding)
    }
}
