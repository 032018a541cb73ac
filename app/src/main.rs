//! Search video footage by typing a sentence.

mod bundled;
mod captions;
mod cli;
mod cluster;
mod compose;
mod datasets;
mod earlier;
mod footage;
mod instance;
mod logging;
mod migration;
mod outcome;
mod requests;
mod settings;
mod shelved;
mod stretches;
mod terminal;
mod verbs;
mod watching;
mod when;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::Cli;
use crate::compose::House;
use crate::outcome::Outcome;
use crate::settings::{Restate, Settings};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::start(cli.global.verbose);
    logging::keep_caught_panics();
    outcome::reported(run(cli))
}

fn run(cli: Cli) -> anyhow::Result<Outcome> {
    let restate = Restate { of_verb: cli.verb.flags(), global: cli.global };
    let layers = restate.layers()?;
    let settings = Settings::read(&layers)?;
    cli.verb.run(&House { settings, layers, restate })
}
