use std::collections::BTreeSet;
use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

/// A folder with fragments of ten bytes that begin at these times.
fn folder(begins: impl IntoIterator<Item = u64>) -> (tempfile::TempDir, Fragments) {
    let dir = tempfile::tempdir().unwrap();
    for begins_ns in begins {
        fs::write(dir.path().join(format!("{begins_ns}.mp4")), [0; 10]).unwrap();
    }
    let fragments = Fragments::open(dir.path());
    (dir, fragments)
}

fn begins(fragments: &[Fragment]) -> Vec<u64> {
    fragments.iter().map(|each| each.begins_ns).collect()
}

#[test]
fn a_moment_lies_in_the_last_fragment_that_began_by_then() {
    let (_dir, fragments) = folder([9, 100, 20]);
    let at = |ns| fragments.at(ns).unwrap().map(|each| each.begins_ns);
    assert_eq!(
        [8, 9, 19, 20, 99, 100, u64::MAX].map(at),
        [None, Some(9), Some(9), Some(20), Some(20), Some(100), Some(100)]
    );
}

#[test]
fn a_span_lies_in_all_that_it_touches() {
    let (_dir, fragments) = folder([10, 20, 30]);
    let within = |from, to| begins(&fragments.within(Span::new(from, to)).unwrap());
    assert!(within(0, 10).is_empty());
    assert_eq!(within(0, 11), [10]);
    assert_eq!(within(15, 20), [10]);
    assert_eq!(within(20, 31), [20, 30]);
    assert_eq!(within(99, 100), [30]);
}

#[test]
fn what_is_no_fragment_is_neither_seen_nor_touched() {
    let (dir, fragments) = folder([10, 20]);
    let outside = tempfile::NamedTempFile::new().unwrap();
    symlink(outside.path(), dir.path().join("15.mp4")).unwrap();
    symlink(dir.path().join("gone"), dir.path().join("16.mp4")).unwrap();
    fs::create_dir(dir.path().join("17.mp4")).unwrap();
    for foreign in ["018.mp4", "18.mp4.part", "notes.txt", "18.MP4"] {
        fs::write(dir.path().join(foreign), "mine").unwrap();
    }
    fs::write(dir.path().join("19.mp4"), "").unwrap();
    assert_eq!(begins(&fragments.all().unwrap()), [10, 20]);
    assert_eq!(fragments.bytes().unwrap(), 20);
    assert_eq!(fragments.remove_before(u64::MAX).unwrap(), 20);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 8);
    assert!(outside.path().exists());
}

#[test]
fn a_folder_that_is_not_there_holds_nothing() {
    let fragments = Fragments::open("/nowhere/at/all");
    assert_eq!(fragments.all().unwrap(), []);
    assert_eq!(fragments.remove_before(5).unwrap(), 0);
    assert_eq!(fragments.oldest_ns().unwrap(), None);
}

#[test]
fn the_newest_goes_only_once_it_is_old_and_nobody_writes_it() {
    let (_dir, fragments) = folder([10]);
    assert_eq!(fragments.remove_before(1000).unwrap(), 0, "changed just now, by the wall clock");
    let path = fragments.all().unwrap()[0].path.clone();
    let writer = fs::OpenOptions::new().append(true).open(&path).unwrap();
    writer.file().lock().unwrap();
    assert_eq!(fragments.remove_before(u64::MAX).unwrap(), 0, "it is being written");
    drop(writer);
    assert_eq!(fragments.remove_before(u64::MAX).unwrap(), 10);
    assert_eq!(fragments.all().unwrap(), []);
}

#[test]
fn what_exceeds_a_size_is_what_is_oldest() {
    let (_dir, fragments) = folder([10, 20, 30, 40]);
    let excess = |bytes| fragments.excess_before_ns(bytes).unwrap();
    assert_eq!(excess(40), None);
    assert_eq!(excess(39), Some(20));
    assert_eq!(excess(20), Some(30));
    assert_eq!(excess(0), Some(40), "the newest stays");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn each_moment_is_found_where_its_neighbours_say(
        times in proptest::collection::btree_set(1u64..200, 0..12),
        from in 0u64..210,
        length in 1u64..60,
    ) {
        let (_dir, fragments) = folder(times.iter().copied());
        let at = |ns: u64| fragments.at(ns).unwrap().map(|each| each.begins_ns);
        prop_assert_eq!(at(from), times.range(..=from).next_back().copied());
        let within = begins(&fragments.within(Span::new(from, from + length)).unwrap());
        let by_moments: BTreeSet<_> = (from..from + length).filter_map(at).collect();
        prop_assert_eq!(within, by_moments.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn removal_takes_whole_fragments_that_ended_and_nothing_else(
        times in proptest::collection::btree_set(1u64..200, 1..12),
        before in 0u64..210,
    ) {
        let (_dir, fragments) = folder(times.iter().copied());
        let freed = fragments.remove_before(before).unwrap();
        let left = begins(&fragments.all().unwrap());
        prop_assert_eq!(freed, (times.len() - left.len()) as u64 * 10);
        // All that holds any of what is to stay, and no more.
        let holds = times.range(..=before).next_back().or(times.first()).copied().unwrap();
        prop_assert_eq!(left, times.range(holds..).copied().collect::<Vec<_>>());
    }
}
