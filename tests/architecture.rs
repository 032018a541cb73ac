//! The drawing of the house is the house: each room's manifest names only the rooms it may use.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};

/// Every room, in the order data flows, and the earlier rooms it uses. A room may use only rooms
/// above it, so there is no cycle to find. `ARCHITECTURE.md` explains the words.
const ROOMS: &[(&str, &[&str])] = &[
    ("clip", &[]),
    ("model", &["clip"]),
    ("hub", &[]),
    ("plugins", &["clip"]),
    ("topic", &["clip"]),
    ("index", &["clip"]),
    ("pipeline", &["clip", "model", "plugins", "topic"]),
    ("indexer", &["clip", "topic", "index"]),
    ("search", &["clip", "model", "index"]),
    ("ask", &["clip", "model"]),
    ("synth", &[]),
    ("rtsp-server", &[]),
    ("qdrant-server", &[]),
    (
        "app",
        &[
            "clip", "model", "hub", "plugins", "topic", "index", "pipeline", "indexer", "search",
            "ask", "synth",
        ],
    ),
];

/// Rooms that a room's tests, examples and benchmarks use besides. Nothing that ships depends on
/// these, so they may point anywhere but at who uses the room itself.
const IN_TESTS: &[(&str, &[&str])] = &[("model", &["synth"]), ("pipeline", &["synth"])];

/// Crates that only the rooms beside them may know.
const FOREIGN: &[(&str, &[&str])] = &[
    ("candle-core", &["model", "app"]),
    ("qdrant-edge", &["index", "qdrant-server"]),
    ("qdrant-client", &["index", "qdrant-server"]),
    ("rdkafka", &["topic"]),
    ("redb", &["index"]),
    ("ureq", &["hub"]),
    ("gst", &["plugins", "pipeline", "synth", "rtsp-server", "app"]),
    ("tokio", &["topic", "index", "pipeline", "indexer", "ask", "qdrant-server", "app"]),
    ("clap", &["rtsp-server", "qdrant-server", "app"]),
];

type Dependencies = BTreeMap<String, BTreeSet<String>>;

/// What each room's manifest names in a table: `dependencies` or `dev-dependencies`.
fn manifests(table: &str) -> Dependencies {
    let root = footage_tests::root();
    let workspace: toml::Table =
        fs_err::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let rooms = members.iter().filter_map(toml::Value::as_str).filter(|room| *room != "tests");
    rooms
        .map(|room| {
            let path = root.join(room).join("Cargo.toml");
            let manifest: toml::Table = fs_err::read_to_string(path).unwrap().parse().unwrap();
            let uses = manifest.get(table).and_then(toml::Value::as_table);
            (room.to_owned(), uses.map(|uses| uses.keys().cloned().collect()).unwrap_or_default())
        })
        .collect()
}

/// The rooms that each room's manifest names in a table.
fn rooms(table: &str) -> Dependencies {
    let of_house = |(room, uses): (String, BTreeSet<String>)| {
        let uses = uses.iter().filter_map(|used| used.strip_prefix("footage-"));
        (room, uses.map(str::to_owned).collect())
    };
    manifests(table).into_iter().map(of_house).collect()
}

fn drawn(arrows: &[(&str, &[&str])]) -> Dependencies {
    let owned = |used: &&str| (*used).to_owned();
    arrows.iter().map(|(room, uses)| (owned(room), uses.iter().map(owned).collect())).collect()
}

/// The rooms that a room needs, directly or through others.
fn needs(room: &str) -> BTreeSet<&'static str> {
    let uses = ROOMS.iter().find(|(name, _)| *name == room).map_or(&[][..], |(_, uses)| uses);
    uses.iter().flat_map(|used| needs(used).into_iter().chain([*used])).collect()
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
    assert_eq!(rooms("dependencies"), drawn(ROOMS));
    assert_eq!(rooms("build-dependencies").values().flatten().next(), None);
}

#[test]
fn tests_reach_only_for_the_rooms_they_may() {
    let mut built = rooms("dev-dependencies");
    built.retain(|_, uses| !uses.is_empty());
    assert_eq!(built, drawn(IN_TESTS));
    for (room, uses) in IN_TESTS {
        for used in *uses {
            assert!(!needs(used).contains(room), "{used} needs {room}, whose tests use it");
        }
    }
}

#[test]
fn the_environment_is_read_in_the_app_and_where_the_architecture_page_says() {
    const EXCEPTION: &str = "synth/src/sprites.rs";
    let root = footage_tests::root();
    let below_app = ROOMS.iter().map(|(room, _)| *room).filter(|room| *room != "app");
    let mut files: Vec<_> = below_app.map(|room| root.join(room).join("src")).collect();
    let mut readers = BTreeSet::new();
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs_err::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = fs_err::read_to_string(&path).unwrap();
        if ["env::var", "env::args"].iter().any(|read| text.contains(read)) {
            readers.insert(path.strip_prefix(root).unwrap().display().to_string());
        }
    }
    assert_eq!(readers, BTreeSet::from([EXCEPTION.to_owned()]));
    let page = fs_err::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    assert!(page.contains("`FOOTAGE_EMOJI_FONT`"));
}

#[test]
fn foreign_engines_are_known_only_where_they_belong() {
    for (room, uses) in manifests("dependencies") {
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
