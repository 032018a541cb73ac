//! The paper in miniature: its ablations on the synthetic world, with the bundled model's CLIP, frozen.
//!
//! One command for each table, of which `docs/paper.md` has the results:
//!
//! ```sh
//! cargo run --release -p footage-model --example paper -- structure --run-dir /tmp/paper
//! ```
//!
//! A cell of a table is a training with one seed. Its figures are kept in a file, so a run that was
//! interrupted goes on with the next cell, and tables share the cells they have in common.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod cell;
mod material;
mod tables;

use std::path::PathBuf;

use footage_model::System;

use crate::cell::{Cell, Objectives};
use crate::tables::Row;

/// Trains the cells of tables, as far as they are not kept yet, and prints them.
#[derive(Debug, clap::Parser)]
struct Args {
    /// Which of the paper's ablations; several are printed one after the other
    #[arg(required = true)]
    tables: Vec<Table>,
    #[command(flatten)]
    size: Size,
    /// Folder for the figures of each cell
    #[arg(long, value_name = "DIR")]
    run_dir: PathBuf,
    /// Trainings of each row, with seeds from 0
    #[arg(long, value_name = "N", default_value_t = 3)]
    seeds: u64,
    /// The model whose CLIP is taken
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/mini"))]
    model: PathBuf,
}

/// How much is learned from, and measured with: the same for all cells.
#[derive(Clone, Debug, clap::Args, serde::Serialize, serde::Deserialize, PartialEq)]
struct Size {
    /// Steps of each training
    #[arg(long, value_name = "N", default_value_t = 150)]
    steps: usize,
    /// Clips of a step
    #[arg(long, value_name = "N", default_value_t = 24)]
    batch: usize,
    /// Frames of a clip, which are four seconds
    #[arg(long, value_name = "N", default_value_t = 4)]
    frames: usize,
    /// Clips to learn from
    #[arg(long, value_name = "N", default_value_t = 1000)]
    clips: usize,
    /// Highest learning rate: of temporal layers and gates; the rest has a tenth
    #[arg(long, value_name = "X", default_value_t = 2e-3)]
    rate: f32,
    /// Held-back clips among which captions are to find their own
    #[arg(long, value_name = "N", default_value_t = 300)]
    gallery: usize,
    /// Held-back clips of each kind that stand beside their time-reversed twins
    #[arg(long, value_name = "N", default_value_t = 100)]
    twins: usize,
}

/// What is varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Table {
    /// Table 6: from CLIP to BT-Adapter step by step, with VTC alone
    Structure,
    /// All systems of Tables 1 and 6, with VTC alone
    Systems,
    /// Table 7: what BT-Adapter learns from
    Objectives,
    /// Figure 3: BT-Adapter's layers
    Layers,
    /// Figure 4: the share of patches that the branch does not see
    Masking,
    /// Not in the paper: each clip beside its time-reversed twin
    Probes,
}

/// Layers of all systems but where they are varied, as the bundled model's own branch has.
const LAYERS: usize = 3;

impl Table {
    fn rows(self) -> Vec<Row> {
        let system = |system: System, name: &str| {
            let layers = if system.learns() { LAYERS } else { 0 };
            let masked = if system.has_branch() { 0.7 } else { 0.0 };
            Row::new(name, Cell { system, layers, objectives: Objectives::VTC, masked, seed: 0 })
        };
        let adapter = |name: String, layers, objectives, masked| {
            let system = System::BtAdapter;
            Row::new(&name, Cell { system, layers, objectives, masked, seed: 0 })
        };
        let pooled = || system(System::MeanPooled, "CLIP, frames averaged (baseline)");
        let frozen =
            || system(System::SeparateStFrozen, "+ separate space-time, last 3 blocks, frozen");
        let branch = || system(System::Branch, "+ branch, without interaction");
        let adapter_vtc = || system(System::BtAdapter, "+ interaction: BT-Adapter");
        let systems = || {
            vec![
                pooled(),
                system(System::StPooling, "spatial-temporal pooling"),
                system(System::JointSt, "joint space-time, last 3 blocks, not frozen"),
                system(System::SeparateSt, "separate space-time, last 3 blocks, not frozen"),
                frozen(),
                branch(),
                adapter_vtc(),
            ]
        };
        let full = |name: &str| adapter(name.to_owned(), LAYERS, Objectives::ALL, 0.7);
        match self {
            Self::Structure => vec![pooled(), frozen(), branch(), adapter_vtc()],
            Self::Systems => systems(),
            Self::Objectives => {
                let only =
                    |name: &str, objectives| adapter(name.to_owned(), LAYERS, objectives, 0.7);
                vec![
                    only("VTC", Objectives::VTC),
                    only("VTC + MBTA", Objectives { mbca: false, ..Objectives::ALL }),
                    only("VTC + MBCA", Objectives { mbta: false, ..Objectives::ALL }),
                    full("VTC + MBTA + MBCA"),
                ]
            }
            Self::Layers => {
                let layers = |k: usize| adapter(format!("K = {k}"), k, Objectives::ALL, 0.7);
                [pooled()].into_iter().chain((1..=5).map(layers)).collect()
            }
            Self::Masking => {
                let masked = |percent: u32| {
                    let share = f64::from(percent) / 100.0;
                    adapter(format!("{percent} %"), LAYERS, Objectives::ALL, share)
                };
                [0, 30, 50, 70, 90].map(masked).into()
            }
            Self::Probes => {
                let full = full("BT-Adapter, VTC + MBTA + MBCA");
                vec![pooled(), frozen(), branch(), adapter_vtc(), full]
            }
        }
    }
}

fn main() -> anyhow::Result<()> {
    let args = <Args as clap::Parser>::parse();
    fs_err::create_dir_all(&args.run_dir)?;
    let study = cell::Study::new(&args.model, args.size.clone(), args.run_dir.clone())?;
    for table in args.tables {
        print(table, &study, args.seeds, &args.size)?;
    }
    Ok(())
}

/// Computes what is not kept of a table, and prints it.
fn print(table: Table, study: &cell::Study, seeds: u64, size: &Size) -> anyhow::Result<()> {
    let mut rows = table.rows();
    // All rows with one seed before the next, so that a run that is cut short compares all rows.
    for seed in 0..seeds {
        for row in &mut rows {
            // What does not learn is the same for all seeds.
            if seed == 0 || row.cell.system.learns() {
                row.figures.push(study.figures(&row.cell.with_seed(seed))?);
            }
        }
    }
    println!("{}", tables::markdown(table, &rows, size));
    Ok(())
}
