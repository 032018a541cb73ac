//! Disks that are full, slow, or tidied while a camera records.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use footage_pipeline::{Fragments, Recorder, RecordingError, RecordingSettings, RecordingSpec};

use crate::camera::{self, Camera, DecodingTimes, axis, shown_in, spec, time_of, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);

/// A file system of its own, unmounted at the end.
struct Mounted(tempfile::TempDir);

impl Mounted {
    /// Says so and gives none where mounting is not permitted.
    fn new(words: &[&str]) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(words).arg(dir.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(dir));
        }
        eprintln!("skipped: `mount {}` is not permitted here", words.join(" "));
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status().unwrap();
        assert!(unmounted.success());
    }
}

/// Every fragment shows its own stretch, at its own time, without a hole.
fn assert_each_shows_its_own(dir: &Path) -> u64 {
    let mut pictures = 0;
    for fragment in Fragments::open(dir).all().unwrap() {
        let shown = shown_in(&fragment.path, fragment.begins_ns);
        for (at, (time_ns, number)) in (0..).zip(&shown) {
            assert!(time_ns.abs_diff(time_of(*number)) <= 1000, "{number} at {time_ns}");
            assert_eq!(*number, shown[0].1 + at);
        }
        pictures += shown.len() as u64;
    }
    pictures
}

#[test]
fn a_full_disk_holds_up_nothing_and_recording_goes_on_once_there_is_room() {
    let Some(disk) = Mounted::new(&["-t", "tmpfs", "-o", "size=160k", "tmpfs"]) else { return };
    let dir = disk.path().join("camera");
    let camera = Camera::start(camera::H264, DecodingTimes::Untold);
    let recorder = Recorder::attach(&camera.pad, spec(&dir), axis()).unwrap();
    let mut number = 0;
    let mut show_until = |what: &str, is_reached: &dyn Fn() -> bool| {
        wait_until(what, || {
            for _ in 0..25 {
                camera.show(number);
                number += 1;
            }
            is_reached()
        });
        number
    };
    show_until("the disk is full", &|| matches!(recorder.failure(), Some(RecordingError::Full(_))));
    let full_at = show_until("time passes", &|| camera.passed() > 3000);
    let kept = Fragments::open(&dir).all().unwrap();
    assert!(kept.len() > 1);
    // Half of it goes, as retention would have it.
    let freed = Fragments::open(&dir).remove_before(kept[kept.len() / 2].begins_ns).unwrap();
    assert!(freed > 0);
    show_until("it is kept again", &|| {
        recorder.failure().is_none() && recorder.used().pictures > 0
    });
    camera.end();
    assert_eq!(camera.passed(), number, "every picture passed");
    assert!(recorder.used().left_out > 0);
    assert!(recorder.finish(PATIENCE));
    assert!(assert_each_shows_its_own(&dir) > 0);
    let newest_ns = Fragments::open(&dir).newest_ns().unwrap().unwrap();
    assert!(newest_ns >= time_of(full_at) - 4_000_000_000, "something of later is there");
}

#[test]
fn a_disk_that_stands_still_holds_up_nothing() {
    let home = tempfile::tempdir().unwrap();
    let image = home.path().join("image");
    fs_err::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    let made = Command::new("mkfs.ext4").arg("-q").arg(&image).status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no mkfs.ext4 here");
        return;
    }
    let Some(disk) = Mounted::new(&["-o", "loop", image.to_str().unwrap()]) else { return };
    let dir = disk.path().join("camera");
    let freeze = |how: &str| Command::new("fsfreeze").arg(how).arg(disk.path()).status().unwrap();
    let camera = Camera::start(camera::H264, DecodingTimes::Untold);
    let settings = RecordingSettings { queue_bytes: 10_000, ..camera::settings() };
    let recorder =
        Recorder::attach(&camera.pad, RecordingSpec { dir: dir.clone(), settings }, axis());
    let recorder = recorder.unwrap();
    let mut number = 0;
    let mut show = |pictures: u64| {
        for _ in 0..pictures {
            camera.show(number);
            number += 1;
        }
    };
    wait_until("something is kept", || {
        show(5);
        recorder.used().pictures > 60
    });
    assert!(freeze("-f").success());
    wait_until("it is told", || {
        show(25);
        matches!(recorder.failure(), Some(RecordingError::Slow(_)))
    });
    let passed = camera.passed();
    wait_until("everything else goes on", || {
        show(25);
        camera.passed() > passed + 500
    });
    assert!(freeze("-u").success());
    wait_until("it is kept again", || {
        show(5);
        recorder.failure().is_none()
    });
    wait_until("and again", || {
        show(5);
        recorder.used().fragments > 2
    });
    camera.end();
    assert!(recorder.finish(PATIENCE));
    assert!(assert_each_shows_its_own(&dir) > 60);
}

#[test]
fn a_queue_that_is_full_costs_whole_groups_of_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(camera::H264, DecodingTimes::Untold);
    let settings = RecordingSettings { queue_bytes: 1, ..camera::settings() };
    let spec = RecordingSpec { dir: dir.path().to_owned(), settings };
    let recorder = Recorder::attach(&camera.pad, spec, axis()).unwrap();
    (0..2000).for_each(|number| camera.show(number));
    camera.end();
    assert_eq!(camera.passed(), 2000);
    let used = {
        wait_until("all is written", || {
            let used = recorder.used();
            used.pictures + used.left_out == 2000
        });
        recorder.used()
    };
    assert!(recorder.finish(PATIENCE));
    assert!(used.left_out > 0, "a camera a hundred times too fast");
    assert_eq!(assert_each_shows_its_own(dir.path()), used.pictures);
}

#[test]
fn footage_is_removed_by_age_and_by_size_while_recording_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(camera::H264, DecodingTimes::Untold);
    let recorder = Recorder::attach(&camera.pad, spec(dir.path()), axis()).unwrap();
    let fragments = Fragments::open(dir.path());
    for second in 0..40 {
        (second * 25..(second + 1) * 25).for_each(|number| camera.show(number));
        wait_until("it is on disk", || {
            fragments.newest_ns().unwrap() >= Some(time_of(second / 3 * 50))
        });
        let before_ns = time_of((second * 25).saturating_sub(250));
        fragments.remove_before(before_ns).unwrap();
        // A day ahead, everything is old but what is being written.
        if second == 20 {
            fragments.remove_before(time_of(0) + 86_400_000_000_000).unwrap();
            assert_eq!(fragments.all().unwrap().len(), 1);
        }
    }
    camera.end();
    assert_eq!((recorder.failure(), recorder.used().left_out), (None, 0));
    assert!(recorder.finish(PATIENCE));
    let last_ns = fragments.newest_ns().unwrap().unwrap();
    assert_eq!(last_ns, time_of(950));
    let oldest_ns = fragments.oldest_ns().unwrap().unwrap();
    assert!(time_of(600) < oldest_ns && oldest_ns <= time_of(725), "{oldest_ns}");
    assert_eq!(
        assert_each_shows_its_own(dir.path()),
        (time_of(1000) - oldest_ns) / camera::PICTURE_NS
    );

    let before = fragments.all().unwrap();
    let max_bytes = before.iter().rev().take(3).map(|each| each.bytes).sum();
    let before_ns = fragments.excess_before_ns(max_bytes).unwrap().unwrap();
    let freed = fragments.remove_before(before_ns).unwrap();
    assert_eq!(fragments.all().unwrap(), before[before.len() - 3..]);
    assert_eq!(fragments.bytes().unwrap(), max_bytes);
    assert_eq!(freed, before[..before.len() - 3].iter().map(|each| each.bytes).sum::<u64>());
    assert_eq!(fragments.excess_before_ns(max_bytes).unwrap(), None);
}
