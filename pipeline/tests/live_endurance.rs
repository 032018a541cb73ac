//! Cameras that come and go, many times: nothing of them is left behind.
//!
//! `FOOTAGE_ROUNDS=1000` makes it the long run whose figures are in the documentation.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use footage_clip::SourceId;
use footage_pipeline::Patience;
use support::house::{House, Plan, camera, is_live, until};
use support::server::Server;
use tokio::sync::Mutex;
use tokio::time::sleep;

/// Before these, caches and pools grow.
const WARM: usize = 10;

fn rounds() -> usize {
    std::env::var("FOOTAGE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(30)
}

/// What the process holds is counted: one test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// What the process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    files: usize,
    threads: usize,
    kib: usize,
}

fn held() -> Held {
    let entries = |dir| fs_err::read_dir(dir).unwrap().count();
    let pages = fs_err::read_to_string("/proc/self/statm").unwrap();
    let resident: usize = pages.split(' ').nth(1).unwrap().parse().unwrap();
    Held { files: entries("/proc/self/fd"), threads: entries("/proc/self/task"), kib: resident * 4 }
}

/// The least that is held within two seconds: what is on its way out goes.
async fn settled() -> Held {
    let mut least = held();
    for _ in 0..20 {
        sleep(Duration::from_millis(100)).await;
        let now = held();
        least.files = least.files.min(now.files);
        least.threads = least.threads.min(now.threads);
        least.kib = least.kib.min(now.kib);
    }
    least
}

/// Growth of memory in KiB a round, by the median of the slopes between all pairs (Theil and Sen).
fn slope(rounds: &[Held]) -> f64 {
    let mut slopes = Vec::new();
    for (at, first) in rounds.iter().enumerate() {
        for (later, second) in rounds.iter().enumerate().skip(at + 1) {
            slopes.push((second.kib as f64 - first.kib as f64) / (later - at) as f64);
        }
    }
    slopes.sort_by(f64::total_cmp);
    slopes[slopes.len() / 2]
}

fn judge(what: &str, before: Held, after: Held, course: &[Held]) {
    let slope = slope(course);
    println!("{what}: before {before:?}, after {after:?}, {slope:.1} KiB a round");
    // Pools of threads breathe by a few; what is left behind once a round adds up to far more.
    let slack = course.len() / 5;
    assert!(after.files <= before.files + slack, "files: {before:?} {after:?}");
    assert!(after.threads <= before.threads + slack, "threads: {before:?} {after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_reset_leave_nothing_behind() {
    let _alone = ALONE.lock().await;
    let Some(mut server) = Server::start(&["door"]) else { return };
    let pause = Duration::from_millis(50);
    let plan = Plan::default();
    let patience = Patience { pause, ..plan.patience };
    let Some(house) = House::deaf(Plan { patience, ..plan }) else { return };
    house.forget();
    let door = camera("door", &format!("rtsp://127.0.0.1:{}/door", server.port));
    house.watch.set(door.clone());
    let (mut before, mut course) = (held(), Vec::new());
    for round in 0..WARM + rounds() {
        house.until(&door, is_live).await;
        let lost = house.status(&door).unwrap().counts.reconnects;
        let reconnects = || house.status(&door).unwrap().counts.reconnects;
        server.tell(r#"{"do":"reset"}"#);
        until("a reconnect", || reconnects() > lost, || format!("{:?}", house.status(&door))).await;
        if round == WARM {
            before = settled().await;
        }
        if round >= WARM {
            course.push(held());
            println!("round {round}: {:?}", held());
        }
    }
    judge("reconnects", before, settled().await, &course);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cameras_that_are_added_and_removed_leave_nothing_behind() {
    let _alone = ALONE.lock().await;
    let Some(server) = Server::start(&["door"]) else { return };
    let Some(house) = House::deaf(Plan::default()) else { return };
    house.forget();
    let (mut before, mut course) = (held(), Vec::new());
    for round in 0..WARM + rounds() {
        let mut door = camera("door", &format!("rtsp://127.0.0.1:{}/door", server.port));
        door.source_id = SourceId::try_new(format!("door-{round}")).unwrap();
        house.watch.set(door.clone());
        house.until(&door, is_live).await;
        house.watch.remove(&door.source_id).await;
        if round == WARM {
            before = settled().await;
        }
        if round >= WARM {
            course.push(held());
            println!("round {round}: {:?}", held());
        }
    }
    judge("adds and removes", before, settled().await, &course);
}
