//! `footagesample`: which frames pass.

use gst::prelude::*;
use proptest::prelude::*;

use crate::rig::{Held, LARGE, Rig, SMALL, frame, held_frame};

#[test]
fn thirty_frames_a_second_sampled_at_one_become_one() {
    let mut rig = Rig::new("footagesample rate=1/1");
    for number in 0..90 {
        rig.frame(f64::from(number) / 30.0);
    }
    assert_eq!(rig.seconds(), [0.0, 1.0, 2.0]);
    assert_eq!(rig.element.property::<u64>("frames-in"), 90);
    assert_eq!(rig.element.property::<u64>("frames-sampled"), 3);
}

#[test]
fn the_first_frame_of_a_slot_passes_wherever_in_it_it_lies() {
    let mut rig = Rig::new("footagesample rate=1/1");
    for second in [0.7, 0.9, 1.3, 1.4, 2.0] {
        rig.frame(second);
    }
    assert_eq!(rig.seconds(), [0.7, 1.3, 2.0]);
}

#[test]
fn a_stream_slower_than_the_grid_passes_whole() {
    let mut rig = Rig::new("footagesample rate=1/1");
    rig.frames([0, 3, 7]);
    assert_eq!(rig.seconds(), [0.0, 3.0, 7.0]);
}

#[test]
fn a_frame_passes_as_it_came() {
    let mut rig = Rig::new("footagesample rate=1/1");
    let first = frame(Some(0.0));
    rig.push(first.clone()).unwrap(); // a stream's first is marked as such
    let second = frame(Some(1.0));

    rig.push(second.clone()).unwrap();

    let passed = &rig.buffers()[1];
    assert_eq!(passed.as_ptr(), second.as_ptr());
    assert_eq!(rig.buffers()[0].peek_memory(0).as_ptr(), first.peek_memory(0).as_ptr());
}

#[test]
fn a_dropped_frame_is_released_at_once() {
    let held = Held::default();
    let mut rig = Rig::new("footagesample rate=1/1");
    rig.frame(0.0);
    for tenth in 1..10 {
        rig.push(held_frame(Some(f64::from(tenth) / 10.0), &held)).unwrap();
    }
    assert_eq!(std::sync::Arc::strong_count(&held), 1);
}

#[test]
fn a_discontinuity_at_a_dropped_frame_is_told_by_the_next_that_passes() {
    let mut rig = Rig::new("footagesample rate=1/1");
    rig.frames([0, 1]);
    let mut lost = frame(Some(1.5));
    lost.make_mut().set_flags(gst::BufferFlags::DISCONT);
    rig.push(lost).unwrap();
    rig.frames([2, 3]);

    let discont: Vec<_> = rig
        .buffers()
        .iter()
        .map(|frame| frame.flags().contains(gst::BufferFlags::DISCONT))
        .collect();

    assert_eq!(discont, [true, false, true, false]);
}

#[test]
fn after_a_flush_the_next_frame_passes_whatever_its_slot() {
    let mut rig = Rig::new("footagesample rate=1/1");
    rig.frame(0.0);
    rig.event(gst::event::FlushStart::new());
    rig.event(gst::event::FlushStop::new(true));
    rig.segment(0.0, None, Some(0.0));
    rig.frame(0.5);
    assert_eq!(rig.seconds(), [0.0, 0.5]);
}

#[test]
fn the_first_frame_of_other_caps_passes_whatever_its_slot() {
    let mut rig = Rig::new("footagesample rate=1/1");
    rig.frame(0.0);
    rig.harness.set_src_caps_str(SMALL);
    rig.frame(0.2);
    rig.harness.set_src_caps_str(LARGE);
    rig.frame(0.4);
    assert_eq!(rig.seconds(), [0.0, 0.4]);
}

#[test]
fn frames_without_timestamps_are_counted_and_stamped() {
    let mut rig = Rig::new("footagesample rate=1/1");
    for _ in 0..25 {
        rig.push(frame(None)).unwrap(); // each lasts 0.1 s
    }
    assert_eq!(rig.seconds(), [0.0, 1.0, 2.0]);
}

#[test]
fn a_restarted_sampler_begins_anew() {
    let mut rig = Rig::new("footagesample rate=1/1");
    rig.frames([0, 1]);
    rig.restart();
    rig.harness.set_src_caps_str(SMALL);
    assert_eq!(rig.element.property::<u64>("frames-in"), 0);
    rig.frame(1.5);
    assert_eq!(rig.seconds(), [0.0, 1.0, 1.5]);
}

/// What may happen in a stream: a frame some milliseconds later, or earlier, or other caps.
#[derive(Clone, Debug)]
enum Step {
    Later(u64),
    Back(u64),
    Caps(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => (1u64..1500).prop_map(Step::Later),
        2 => (2000u64..9000).prop_map(Step::Later),
        1 => (0u64..4000).prop_map(Step::Back),
        1 => any::<bool>().prop_map(Step::Caps),
    ];
    proptest::collection::vec(step, 0..60)
}

fn clips_of(line: &str, steps: &[Step]) -> Vec<String> {
    let mut rig = Rig::new(line);
    let mut millisecond = 0;
    for step in steps {
        match step {
            Step::Later(by) => millisecond += by,
            Step::Back(by) => millisecond = millisecond.saturating_sub(*by),
            Step::Caps(is_large) => {
                rig.harness.set_src_caps_str(if *is_large { LARGE } else { SMALL });
                continue;
            }
        }
        rig.frame(millisecond as f64 / 1000.0);
    }
    rig.eos();
    rig.story()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn sampling_before_cutting_changes_no_clip(
        steps in steps(), length in 1u32..6, rate in prop::sample::select(vec!["1/1", "5/2"]),
    ) {
        let stride = length.div_ceil(2);
        let clip = format!("footageclip length={length} stride={stride} rate={rate} max-gap=3000000000");
        let alone = clips_of(&clip, &steps);
        let sampled = clips_of(&format!("footagesample rate={rate} ! {clip}"), &steps);
        prop_assert_eq!(alone, sampled);
    }
}
