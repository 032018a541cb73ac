//! Tables of means and spreads.

use crate::cell::{Cell, Figures};
use crate::{Size, Table};

/// A row: what is trained, and its figures, one for each seed.
pub(crate) struct Row {
    name: String,
    pub(crate) cell: Cell,
    pub(crate) figures: Vec<Figures>,
}

impl Row {
    pub(crate) fn new(name: &str, cell: Cell) -> Self {
        Self { name: name.to_owned(), cell, figures: Vec::new() }
    }
}

type Column = (&'static str, fn(&Figures) -> f64);

const RECALL_1: Column = ("R@1", |f| 100.0 * f.recall_1);
const RECALL_5: Column = ("R@5", |f| 100.0 * f.recall_5);
const DIRECTION: Column = ("direction", |f| 100.0 * f.direction);
const ORDER: Column = ("order", |f| 100.0 * f.order);
const NEGATION: Column = ("negation", |f| 100.0 * f.negation);
const SECONDS: Column = ("processor seconds", |f| f.seconds);

fn columns(table: Table) -> &'static [Column] {
    match table {
        Table::Structure | Table::Objectives => &[RECALL_1, RECALL_5, DIRECTION],
        Table::Systems | Table::Layers | Table::Masking => {
            &[RECALL_1, RECALL_5, DIRECTION, SECONDS]
        }
        Table::Probes => &[DIRECTION, ORDER, NEGATION],
    }
}

/// Mean and standard deviation over the seeds, and how many there are.
pub(crate) fn markdown(table: Table, rows: &[Row], size: &Size) -> String {
    let columns = columns(table);
    let line = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
    let names = columns.iter().map(|(name, _)| (*name).to_owned());
    let names = std::iter::once(String::new()).chain(names).chain(["seeds".to_owned()]);
    let rule = vec!["---".to_owned(); columns.len() + 2];
    let mut lines = vec![line(names.collect()), line(rule)];
    for row in rows {
        let spreads = columns.iter().map(|(_, column)| {
            let values: Vec<f64> = row.figures.iter().map(column).collect();
            spread(&values)
        });
        let seeds = row.figures.len().to_string();
        lines.push(line([row.name.clone()].into_iter().chain(spreads).chain([seeds]).collect()));
    }
    let Size { steps, batch, frames, clips, rate, gallery, twins } = size;
    lines.push(format!(
        "\n{steps} steps of {batch} out of {clips} clips of {frames} frames, peak rate {rate:e}; \
         {gallery} clips in the gallery, {twins} pairs of twins of each kind.\n"
    ));
    lines.join("\n")
}

fn spread(values: &[f64]) -> String {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    if values.len() < 2 {
        return format!("{mean:.1}");
    }
    let square = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    format!("{mean:.1} ± {:.1}", (square / (values.len() - 1) as f64).sqrt())
}
