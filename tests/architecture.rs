//! The drawing of the house is the house: each room's manifest names only the rooms it may use.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};

/// Every room, in the order data flows, and the earlier rooms it uses. A room may use only rooms
/// above it, so there is no cycle to find. `ARCHITECTURE.md` explains the words.
const ROOMS: &[(&str, &[&str])] = &[
    ("clip", &[]),
    ("model", &["clip"]),
    ("plugins", &["clip"]),
    ("topic", &["clip"]),
    ("index", &["clip"]),
    ("pipeline", &["clip", "model", "plugins", "topic"]),
    ("indexer", &["clip", "topic", "index"]),
    ("search", &["clip", "model", "index"]),
    ("synth", &[]),
    (
        "app",
        &["clip", "model", "plugins", "topic", "index", "pipeline", "indexer", "search", "synth"],
    ),
];

/// Crates that only the rooms beside them may know.
const FOREIGN: &[(&str, &[&str])] = &[
    ("candle-core", &["model", "app"]),
    ("qdrant-edge", &["index"]),
    ("redb", &["index"]),
    ("gst", &["plugins", "pipeline", "synth", "app"]),
    ("tokio", &["topic", "index", "pipeline", "indexer", "app"]),
    ("clap", &["app"]),
];

type Dependencies = BTreeMap<String, BTreeSet<String>>;

fn manifests() -> Dependencies {
    let root = footage_tests::root();
    let workspace: toml::Table =
        fs_err::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let rooms = members.iter().filter_map(toml::Value::as_str).filter(|room| *room != "tests");
    rooms
        .map(|room| {
            let path = root.join(room).join("Cargo.toml");
            let manifest: toml::Table = fs_err::read_to_string(path).unwrap().parse().unwrap();
            let uses = manifest["dependencies"].as_table().unwrap().keys().cloned().collect();
            (room.to_owned(), uses)
        })
        .collect()
}

#[test]
fn every_arrow_points_back_to_an_earlier_room() {
    for (at, (room, uses)) in ROOMS.iter().enumerate() {
        for used in *uses {
            assert!(ROOMS[..at].iter().any(|(name, _)| name == used), "{room} may not use {used}");
        }
    }
}

#[test]
fn the_house_is_built_as_drawn() {
    let drawn: Dependencies = ROOMS
        .iter()
        .map(|(room, uses)| {
            ((*room).to_owned(), uses.iter().map(|used| format!("footage-{used}")).collect())
        })
        .collect();
    let built: Dependencies = manifests()
        .into_iter()
        .map(|(room, uses)| {
            (room, uses.into_iter().filter(|used| used.starts_with("footage-")).collect())
        })
        .collect();
    assert_eq!(built, drawn);
}

#[test]
fn foreign_engines_are_known_only_where_they_belong() {
    for (room, uses) in manifests() {
        for (engine, allowed) in FOREIGN {
            assert!(
                !uses.contains(*engine) || allowed.contains(&room.as_str()),
                "{room} may not know {engine}"
            );
        }
    }
}

#[test]
fn the_drawing_in_the_architecture_page_names_every_room() {
    let page = fs_err::read_to_string(footage_tests::root().join("ARCHITECTURE.md")).unwrap();
    for (room, uses) in ROOMS {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{room}` |")))
            .unwrap_or_else(|| panic!("ARCHITECTURE.md has no row for `{room}`"));
        let column = row.split('|').nth(3).unwrap();
        for used in *uses {
            assert!(column.contains(used) || column.contains("all"), "{room}: {used} is missing");
        }
    }
}
