//! The process is killed while it watches; what it left is whole, and goes on.

use std::time::Duration;

use rand::Rng as _;
use rand::SeedableRng as _;

use footage_tests::rtsp::RtspServer;

use crate::installation::Installation;

#[test]
fn killed_at_random_moments_every_second_stays_in_one_state_and_every_clip_is_there_once() {
    let seed = std::env::var("FOOTAGE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("FOOTAGE_SEED={seed}");
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let names = ["a", "b", "c", "d"];
    let mounts = names.map(|name| format!("{name}=test:ball"));
    let mounts: Vec<&str> = mounts.iter().map(String::as_str).collect();
    let camera = RtspServer::start(&mounts);
    let mut house = Installation::new().set("FOOTAGE__RECORD__ENABLED", "true");
    for name in names {
        house.ok(&["source", "add", name, &camera.url(name)]);
    }
    for _ in 0..3 {
        house.watch();
        std::thread::sleep(Duration::from_millis(random.random_range(3_000..9_000)));
        house.kill();
    }
    house.watch();
    for name in names {
        house.until_more_clips(name);
    }
    house.stop();
    for name in names {
        let timeline = house.timeline(name);
        assert!(timeline.iter().any(|stretch| stretch.state == "indexed"), "{timeline:?}");
        assert!(house.lost(name).contains(&"stopped".to_owned()), "{timeline:?}");
    }
    // What the ledger claims is what the index holds: ids are unique there, so each clip once.
    let claimed: u64 = names.iter().map(|name| house.clips(name)).sum();
    let checked = house.ok(&["doctor"]);
    let held = checked.lines().find(|line| line.contains("clips, by model")).unwrap();
    assert!(held.contains(&format!(" {claimed} clips")), "{claimed} claimed, {held}");
}
