//! `footage dead-letter`: what a cluster could not use.

use std::io::{Write as _, stdout};

use anyhow::Result;
use clap::Subcommand;
use footage_topic::{DeadLetter, replay};

use crate::compose::House;
use crate::outcome::Outcome;
use crate::terminal::{counted, escaped};

/// See what a cluster could not use, and put it back
///
/// Records that cannot be read, are of another model, or are refused by the index are put into a
/// topic of their own, whole, with the reason.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the letters that wait, oldest first
    List {
        /// Also those that were replayed
        #[arg(long)]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Put the letters that wait back into the topic they came from
    ///
    /// What is still of no use comes back as a new letter.
    Replay,
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(args: &Args, house: &House) -> Result<Outcome> {
    let cluster = &house.settings.cluster;
    let (kafka, topic) = (cluster.kafka()?, cluster.dead_letters().name);
    let mut out = stdout().lock();
    match &args.verb {
        Verb::List { all, json } => {
            let letters = DeadLetter::list(&kafka, &topic, *all).await?;
            if *json {
                let letters: Vec<_> = letters.iter().map(as_json).collect();
                let listed = serde_json::json!({ "dead_letters": letters });
                writeln!(out, "{}", serde_json::to_string_pretty(&listed)?)?;
                return Ok(Outcome::Done);
            }
            for DeadLetter { message, error, origin } in &letters {
                let key = String::from_utf8_lossy(&message.key);
                let bytes = message.payload.len();
                writeln!(
                    out,
                    "{}  {}  {bytes} bytes: {}",
                    escaped(origin),
                    escaped(&key),
                    escaped(error)
                )?;
            }
            if letters.is_empty() {
                writeln!(out, "no dead letters wait")?;
            }
        }
        Verb::Replay => {
            let replayed = replay(&kafka, &topic).await?;
            writeln!(out, "replayed {}", counted(replayed as u64, "dead letter"))?;
        }
    }
    Ok(Outcome::Done)
}

fn as_json(letter: &DeadLetter) -> serde_json::Value {
    serde_json::json!({
        "origin": letter.origin,
        "error": letter.error,
        "key": String::from_utf8_lossy(&letter.message.key),
        "partition": letter.message.partition,
        "offset": letter.message.offset,
        "bytes": letter.message.payload.len(),
        "value": String::from_utf8_lossy(&letter.message.payload),
    })
}
