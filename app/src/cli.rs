//! What can be typed.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::compose::House;
use crate::outcome::Outcome;
use crate::verbs::{
    ask, caption, config, coverage, dead_letter, doctor, embed, eval, index, model, run, search,
    source, synth, watch,
};

const EXAMPLES: &str = "\
Examples:
  footage index ~/Videos                      index every video in a folder
  footage search \"a red car turns left\"       find moments, with files and times
  footage search \"a dog\" --source garden.mp4 --from 1:00 --to 5:00
  footage source add gate rtsp://10.0.0.5/1   a camera; `footage watch` watches it
  footage source list                         what is indexed, and how much of it
  footage doctor                              what this machine lacks, and how to get it

Settings come from the defaults, then footage.toml, then FOOTAGE__SECTION__KEY variables, then
flags; `footage config` shows each with its origin. Logs go to stderr: -v, or FOOTAGE_LOG=debug.";

/// Search video footage by typing a sentence.
///
/// Footage cuts video files into short clips, turns each clip into a vector that lies near the words
/// that describe it, keeps the vectors in an index on this machine, and finds moments by sentence.
#[derive(Debug, Parser)]
#[command(name = "footage", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Flags that every verb takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Folder in which the index and everything else is kept [setting: data.dir]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Folder of the model to use instead of the bundled one [setting: model.dir]
    #[arg(long, global = true, value_name = "DIR")]
    pub model: Option<String>,
    /// Settings file to use instead of ./footage.toml
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// State one setting, such as search.limit=3; repeatable
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Say more on stderr; twice says most
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// A setting stated by a flag of a verb: its key, its value, the flag's name.
pub(crate) type Stated = (&'static str, String, &'static str);

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Index(index::Args),
    Watch(watch::Args),
    Search(search::Args),
    Ask(ask::Args),
    Caption(caption::Args),
    Source(source::Args),
    Coverage(coverage::Args),
    Embed(embed::Args),
    Eval(eval::Args),
    Model(model::Args),
    Synth(synth::Args),
    Run(run::Args),
    DeadLetter(dead_letter::Args),
    Doctor(doctor::Args),
    Config(config::Args),
}

impl Verb {
    /// The settings that the verb's own flags state.
    pub(crate) fn flags(&self) -> Vec<Stated> {
        match self {
            Self::Index(args) => args.flags(),
            Self::Search(args) => args.flags(),
            Self::Ask(args) => args.flags(),
            Self::Caption(args) => args.flags(),
            Self::Model(args) => args.flags(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn run(self, house: &House) -> anyhow::Result<Outcome> {
        match self {
            Self::Index(args) => index::run(&args, house),
            Self::Search(args) => search::run(&args, house),
            Self::Ask(args) => ask::run(&args, house),
            Self::Caption(args) => caption::run(&args, house),
            Self::Source(args) => source::run(args, house),
            Self::Watch(args) => watch::run(&args, house),
            Self::Coverage(args) => coverage::run(&args, house),
            Self::Embed(args) => embed::run(&args, house),
            Self::Eval(args) => eval::run(&args, house),
            Self::Model(args) => model::run(args, house),
            Self::Synth(args) => synth::run(&args),
            Self::Run(args) => run::run(&args, house),
            Self::DeadLetter(args) => dead_letter::run(&args, house),
            Self::Doctor(args) => doctor::run(&args, house),
            Self::Config(args) => config::run(&args, house),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
