//! `footage config`: the settings in force, each with its origin.

use std::io::{Write as _, stdout};

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::compose::House;
use crate::outcome::Outcome;
use crate::settings::{DEFAULTS, Setting};
use crate::terminal::{escaped, masked};

/// Show the settings in force, each with where it comes from
///
/// Nothing secret is shown: keys, and passwords inside addresses, are masked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print as JSON
    #[arg(long, conflicts_with = "defaults")]
    json: bool,
    /// Print every setting with its default and its explanation: a footage.toml to begin with
    #[arg(long)]
    defaults: bool,
}

/// Settings that let somebody in as a whole.
const SECRETS: [&str; 4] = ["ask.key", "caption.key", "hub.token", "judge.key"];

pub(crate) fn run(args: &Args, house: &House) -> Result<Outcome> {
    let mut out = stdout().lock();
    if args.defaults {
        out.write_all(DEFAULTS.as_bytes())?;
    } else if args.json {
        let settings: Map<String, Value> = house
            .layers
            .iter()
            .map(|(key, setting)| (key.to_owned(), as_json(key, setting)))
            .collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&settings)?)?;
    } else {
        let shown: Vec<(String, String)> = house
            .layers
            .iter()
            .map(|(key, setting)| {
                let stated = format!("{key} = {}", safe(key, &setting.value.to_string()));
                (escaped(&stated), escaped(&setting.origin.to_string()))
            })
            .collect();
        let width = shown.iter().map(|(stated, _)| stated.chars().count()).max().unwrap_or(0);
        for (stated, origin) in shown {
            writeln!(out, "{stated:width$}  # {origin}")?;
        }
    }
    out.flush()?;
    Ok(Outcome::Done)
}

/// A setting's value without what lets somebody in.
fn safe(key: &str, value: &str) -> String {
    let is_empty = matches!(value, "" | "\"\"");
    if SECRETS.contains(&key) && !is_empty { "***".to_owned() } else { masked(value) }
}

fn as_json(key: &str, setting: &Setting) -> Value {
    let value = match &setting.value {
        toml::Value::String(text) => Value::String(safe(key, text)),
        value => serde_json::to_value(value).unwrap_or(Value::Null),
    };
    json!({ "value": value, "origin": setting.origin.to_string() })
}
