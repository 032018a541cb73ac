//! Vectors to measure on: clusters of chance, and real ones of CLIP's text tower with noise.

use std::path::{Path, PathBuf};

use footage_clip::Embedding;
use footage_index::contract::direction;

/// Vectors around some centres. The n-th is the same in every run.
pub(crate) struct Vectors {
    centres: Vec<Embedding>,
    /// Length of the noise that is added to a centre of length 1.
    noise: f32,
    seed: u64,
}

impl Vectors {
    /// One centre for about a hundred clips, as a scene has about so many.
    pub(crate) fn clustered(dim: usize, clips: usize, seed: u64) -> Self {
        let centres = (0..clips.div_ceil(100).max(1) as u64)
            .map(|centre| direction(dim, seed * 1_000_003 + centre))
            .collect();
        Self { centres, noise: 0.6, seed }
    }

    /// Around the class names that CLIP's text tower embedded, where they are at hand.
    pub(crate) fn real(seed: u64) -> Option<Self> {
        let shared = std::env::var_os("FOOTAGE_SHARED").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
            PathBuf::from,
        );
        let folder = shared.join("footage/embeddings/detic_clip_vitb32_text");
        let mut files: Vec<PathBuf> = fs_err::read_dir(folder)
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "npy"))
            .collect();
        files.sort_unstable();
        let centres: Vec<_> = files.iter().flat_map(|file| read_npy(file)).collect();
        (!centres.is_empty()).then_some(Self { centres, noise: 0.5, seed })
    }

    pub(crate) fn dim(&self) -> usize {
        self.centres[0].dim()
    }

    /// The embedding of clip `at`.
    pub(crate) fn embedding(&self, at: usize) -> Embedding {
        self.near(at, at as u64)
    }

    /// A query: near a centre, but no clip.
    pub(crate) fn query(&self, at: usize) -> Embedding {
        self.near(at * 7919, (1 << 40) + at as u64)
    }

    fn near(&self, centre: usize, salt: u64) -> Embedding {
        let centre = &self.centres[centre % self.centres.len()];
        let noise = direction(self.dim(), self.seed * 77_777_777 + 13 * salt + 5);
        let values = centre.as_slice().iter().zip(noise.as_slice());
        let values = values.map(|(value, noise)| value + self.noise * noise).collect();
        Embedding::normalise(values).unwrap()
    }
}

/// The rows of a two-dimensional array of 16-bit floats, as `numpy.save` writes it (format 1.0).
fn read_npy(file: &Path) -> Vec<Embedding> {
    let bytes = fs_err::read(file).unwrap();
    let header_bytes = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let (header, data) = bytes[10..].split_at(header_bytes);
    let header = String::from_utf8_lossy(header);
    let is_ours = bytes.starts_with(b"\x93NUMPY\x01")
        && header.contains("'descr': '<f2'")
        && header.contains("'fortran_order': False");
    assert!(is_ours, "{}: not an array of half floats in C order: {header}", file.display());
    let shape = header.split("'shape': (").nth(1).unwrap();
    let dim: usize = shape.split([',', ')']).nth(1).unwrap().trim().parse().unwrap();
    let values = data.chunks_exact(2).map(|pair| half::f16::from_le_bytes([pair[0], pair[1]]));
    let values: Vec<f32> = values.map(half::f16::to_f32).collect();
    values.chunks_exact(dim).map(|row| Embedding::normalise(row.to_vec()).unwrap()).collect()
}
