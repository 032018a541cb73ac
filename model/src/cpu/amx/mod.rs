//! Matrix products on AMX, the matrix unit of Intel's servers since Sapphire Rapids.
//!
//! AMX multiplies `bf16` and sums in `f32`, sixteen times as fast as AVX-512 multiplies `f32`. A
//! number in `f32` is the exact sum of three in `bf16` ([`split`]), so that a product in `f32` is
//! the sum of nine products in `bf16`; the smallest three lie below the last bit and are left out.
//! Six passes over the faster unit are still 2.7 times as fast as one over the slower, and err no
//! more. This is what BLAS libraries call `bf16x6`; one pass, with operands rounded, is plain `bf16`.
//!
//! The compiler knows the instructions but offers no stable functions for them, so [`Product::form`]
//! is written in assembly. Linux keeps the tiles of a thread only after the process has asked for it.

mod attention;
mod layer;
mod split;

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::marker::PhantomData;
use std::sync::OnceLock;

pub(super) use self::attention::attend;
pub(super) use self::layer::{Layer, linear, pack, packed_len};
use super::floats::Floats;
use crate::ModelError;

/// Rows of a tile of sums, and its columns.
const SIDE: usize = 16;

/// Inputs that one instruction sums over.
const DEPTH: usize = 32;

/// Columns of sums that [`Product::form`] forms at once.
const COLUMNS: usize = 2 * SIDE;

/// Sixteen rows of 64 bytes, in a buffer of floats: 32 values in `bf16` a row for the left operand;
/// 16 pairs of them a row for the right.
type Tile = [f32; 256];

/// How many numbers in `bf16` stand for one in `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parts {
    /// The nearest.
    One,
    /// Three, whose sum it is.
    Three,
}

impl Parts {
    const fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Three => 3,
        }
    }
}

/// Proof that the processor has AMX for `bf16`, and that the system lets this process use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Amx(());

impl Amx {
    /// Looks, and asks the system, once.
    pub(super) fn detect() -> Option<Self> {
        static FOUND: OnceLock<Option<Amx>> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let has_vectors = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            (has_vectors && has_instructions() && is_permitted()).then_some(Amx(()))
        })
    }
}

/// Whether the processor says that it has `AMX-TILE` and `AMX-BF16`.
#[allow(unused_unsafe, reason = "newer compilers have made these functions safe")]
#[expect(unsafe_code, reason = "older compilers have not")]
fn has_instructions() -> bool {
    // SAFETY: every 64-bit processor has `cpuid`.
    let (highest, features) = unsafe { (__cpuid(0).eax, __cpuid_count(7, 0).edx) };
    highest >= 7 && features & (1 << 22) != 0 && features & (1 << 24) != 0
}

/// Asks Linux to keep tiles for the threads of this process; fails where it, or what runs it, does
/// not know them.
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    #[expect(unsafe_code, reason = "a system call that the standard library does not offer")]
    // SAFETY: this call takes two numbers and touches no memory of ours.
    let refused =
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) };
    if refused != 0 {
        tracing::debug!("the processor has AMX and the system does not permit it");
    }
    refused == 0
}

/// This thread's tiles, set up; given back when dropped, so that the system need not save them.
#[derive(Debug)]
struct Tiles(PhantomData<*const ()>);

impl Tiles {
    /// Sets them up until the result is dropped.
    fn set_up(_: Amx) -> Self {
        /// Palette 1: eight tiles of 1 KiB.
        #[repr(C, align(64))]
        struct Config {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            bytes_a_row: [u16; 16],
            rows: [u8; 16],
        }
        static CONFIG: Config = {
            let mut config = Config {
                palette: 1,
                start_row: 0,
                reserved: [0; 14],
                bytes_a_row: [0; 16],
                rows: [0; 16],
            };
            let mut tile = 0;
            while tile < 8 {
                config.bytes_a_row[tile] = 64;
                config.rows[tile] = SIDE as u8;
                tile += 1;
            }
            config
        };
        #[expect(unsafe_code, reason = "no stable function loads a configuration of tiles")]
        // SAFETY: an `Amx` proves that the instruction is there and permitted; it reads 64 bytes, and
        // the processor accepts this configuration (palette 1 has eight tiles of 16 rows of 64).
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, readonly, preserves_flags));
        }
        Self(PhantomData)
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "no stable function releases tiles")]
        // SAFETY: there are tiles, since they were set up; nothing but `Product::form` uses them.
        unsafe {
            asm!("tilerelease", options(nomem, nostack, preserves_flags));
        }
    }
}

/// A product of 16 or 32 rows by 32 columns.
struct Product<'a> {
    parts: Parts,
    /// Left operand: one or two blocks of 16 rows, for each step its parts.
    blocks: &'a [&'a [Tile]],
    /// Right operand: for each step, for each part, two tiles side by side.
    weights: &'a [Tile],
    /// A row every `stride` floats.
    sums: &'a mut [f32],
    stride: usize,
    /// What will be needed next; moved on behind what was fetched of it.
    ahead: *const f32,
}

/// Four instructions: two blocks of rows by two of columns.
macro_rules! four {
    () => {
        "tdpbf16ps tmm0, tmm4, tmm6
         tdpbf16ps tmm1, tmm4, tmm7
         tdpbf16ps tmm2, tmm5, tmm6
         tdpbf16ps tmm3, tmm5, tmm7\n"
    };
}

/// Two: one block of rows by two of columns.
macro_rules! two {
    () => {
        "tdpbf16ps tmm0, tmm4, tmm6
         tdpbf16ps tmm1, tmm4, tmm7\n"
    };
}

/// Loads part `$at / 1024` of both blocks of rows.
macro_rules! both {
    ($at:literal) => {
        concat!(
            "tileloadd tmm4, [{a} + {line}*1 + ",
            $at,
            "]\n",
            "tileloadd tmm5, [{a2} + {line}*1 + ",
            $at,
            "]\n"
        )
    };
}

/// Loads part `$at / 1024` of the only block of rows.
macro_rules! single {
    ($at:literal) => {
        concat!("tileloadd tmm4, [{a} + {line}*1 + ", $at, "]\n")
    };
}

/// Loads two tiles of weights side by side.
macro_rules! pair {
    ($at:literal, $beside:literal) => {
        concat!(
            "tileloadd tmm6, [{b} + {line}*1 + ",
            $at,
            "]\n",
            "tileloadd tmm7, [{b} + {line}*1 + ",
            $beside,
            "]\n"
        )
    };
}

/// Asks for the next line of what comes next: weights do not fit the caches.
macro_rules! fetch {
    () => {
        "prefetcht1 [{ahead}]
         add {ahead}, {line}\n"
    };
}

/// The six products of three parts each, the smallest first, with as few loads as go.
macro_rules! six {
    ($rows:ident, $multiply:ident) => {
        concat!(
            $rows!("0"),
            pair!("4096", "5120"),
            $multiply!(),
            fetch!(),
            fetch!(), // first by third
            pair!("2048", "3072"),
            $multiply!(),
            fetch!(),
            fetch!(), // first by second
            $rows!("1024"),
            $multiply!(),
            fetch!(),
            fetch!(), // second by second
            pair!("0", "1024"),
            $multiply!(),
            fetch!(),
            fetch!(), // second by first
            $rows!("2048"),
            $multiply!(),
            fetch!(),
            fetch!(), // third by first
            $rows!("0"),
            $multiply!(), // first by first
        )
    };
}

/// One product of one part each.
macro_rules! one {
    ($rows:ident, $multiply:ident) => {
        concat!(
            $rows!("0"),
            pair!("0", "1024"),
            $multiply!(),
            fetch!(),
            fetch!(),
            fetch!(),
            fetch!(),
            fetch!(),
        )
    };
}

/// The loop over the steps, with sums in tiles 0 to 3, or 0 and 1.
macro_rules! steps {
    ($product:expr, $blocks:literal, $parts:literal, $body:expr, $store:literal) => {{
        let product: &mut Product<'_> = $product;
        let sums = product.sums.as_mut_ptr();
        asm!(
            "tilezero tmm0
             tilezero tmm1
             tilezero tmm2
             tilezero tmm3",
            "2:",
            $body,
            concat!("add {a}, ", $parts, "*1024"),
            concat!("add {a2}, ", $parts, "*1024"),
            concat!("add {b}, ", $parts, "*2048"),
            "dec {steps}",
            "jnz 2b",
            "/* sums to {c}, those of a second block to {c2} */",
            $store,
            a = inout(reg) product.blocks[0].as_ptr() => _,
            a2 = inout(reg) product.blocks[$blocks - 1].as_ptr() => _,
            b = inout(reg) product.weights.as_ptr() => _,
            steps = inout(reg) product.weights.len() / (2 * $parts) => _,
            ahead = inout(reg) product.ahead,
            line = in(reg) 64usize,
            c = in(reg) sums,
            c2 = in(reg) sums.wrapping_add(($blocks - 1) * SIDE * product.stride),
            stride = in(reg) product.stride * size_of::<f32>(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }};
}

/// Two blocks of rows.
macro_rules! tall {
    ($product:expr, $parts:literal, $body:expr) => {
        steps!(
            $product,
            2,
            $parts,
            $body,
            "tilestored [{c} + {stride}*1], tmm0
             tilestored [{c} + {stride}*1 + 64], tmm1
             tilestored [{c2} + {stride}*1], tmm2
             tilestored [{c2} + {stride}*1 + 64], tmm3"
        )
    };
}

/// One block of rows.
macro_rules! flat {
    ($product:expr, $parts:literal, $body:expr) => {
        steps!(
            $product,
            1,
            $parts,
            $body,
            "tilestored [{c} + {stride}*1], tmm0
             tilestored [{c} + {stride}*1 + 64], tmm1"
        )
    };
}

impl Product<'_> {
    /// Writes the sums, on this thread's tiles.
    ///
    /// Each sum is formed in the order of the steps, by itself: a row's result does not depend on
    /// the rows beside it, nor on whether it stands in the first or the second block.
    ///
    /// # Panics
    /// When the operands do not fit each other or the sums.
    #[inline]
    fn form(&mut self, _: &Tiles) {
        let parts = self.parts.count();
        let steps = self.weights.len() / (2 * parts);
        assert!(matches!(self.blocks.len(), 1 | 2), "one or two blocks of rows");
        assert!(steps > 0 && self.weights.len() == steps * 2 * parts, "whole steps of weights");
        assert!(
            self.blocks.iter().all(|block| block.len() == steps * parts),
            "rows as deep as the weights"
        );
        let last_row = self.blocks.len() * SIDE - 1;
        assert!(
            self.stride >= COLUMNS && self.sums.len() >= last_row * self.stride + COLUMNS,
            "room for the sums"
        );
        #[expect(unsafe_code, reason = "no stable function multiplies tiles")]
        // SAFETY: this thread's tiles are set up (`Tiles` cannot be sent to another), the asserts say
        // that every address lies in its slice (any address may be fetched ahead), and all tiles
        // that are written are declared.
        unsafe {
            match (self.parts, self.blocks.len()) {
                (Parts::Three, 2) => tall!(self, 3, six!(both, four)),
                (Parts::Three, _) => flat!(self, 3, six!(single, two)),
                (Parts::One, 2) => tall!(self, 1, one!(both, four)),
                (Parts::One, _) => flat!(self, 1, one!(single, two)),
            }
        }
    }
}

/// A buffer's first tiles.
fn tiles_of(floats: &mut Floats, count: usize) -> Result<&mut [Tile], ModelError> {
    Ok(floats.room(count * size_of::<Tile>() / size_of::<f32>())?.as_chunks_mut().0)
}
