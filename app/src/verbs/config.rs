//! `footage config`: the settings in force, each with its origin.

use std::io::{Write as _, stdout};

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::compose::House;
use crate::outcome::Outcome;
use crate::settings::{DEFAULTS, Setting};
use crate::terminal::escaped;

/// Show the settings in force, each with where it comes from
///
/// Nothing secret is shown: passwords inside addresses are masked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print as JSON
    #[arg(long, conflicts_with = "defaults")]
    json: bool,
    /// Print every setting with its default and its explanation: a footage.toml to begin with
    #[arg(long)]
    defaults: bool,
}

pub(crate) fn run(args: &Args, house: &House) -> Result<Outcome> {
    let mut out = stdout().lock();
    if args.defaults {
        out.write_all(DEFAULTS.as_bytes())?;
    } else if args.json {
        let settings: Map<String, Value> =
            house.layers.iter().map(|(key, setting)| (key.to_owned(), as_json(setting))).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&settings)?)?;
    } else {
        let shown: Vec<(String, String)> = house
            .layers
            .iter()
            .map(|(key, setting)| {
                let stated = format!("{key} = {}", masked(&setting.value.to_string()));
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

fn as_json(setting: &Setting) -> Value {
    let value = match &setting.value {
        toml::Value::String(text) => Value::String(masked(text)),
        value => serde_json::to_value(value).unwrap_or(Value::Null),
    };
    json!({ "value": value, "origin": setting.origin.to_string() })
}

/// `scheme://user:password@host` without the user and the password.
fn masked(text: &str) -> String {
    let Some((before, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    match authority.rsplit_once('@') {
        Some((credentials, _)) => format!("{before}://***{}", &rest[credentials.len()..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_an_address_are_masked() {
        assert_eq!(masked("rtsp://me:p@ss@cam/live?x=1"), "rtsp://***@cam/live?x=1");
        assert_eq!(masked("https://host/a@b"), "https://host/a@b");
        assert_eq!(masked("/plain/path"), "/plain/path");
    }
}
