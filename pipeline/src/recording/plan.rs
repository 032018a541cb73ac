//! Which pictures go into which fragment. No files here, and no `GStreamer`.

use footage_clip::NANOS_PER_SECOND;

/// A compressed picture, at its place in the camera's media time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Timed<P> {
    /// Media time at which it is shown.
    pub(super) time_ns: u64,
    /// How long before it is to be decoded, where the stream tells.
    pub(super) lead_ns: Option<u64>,
    /// How long it is shown, where the stream tells; else 0.
    pub(super) duration_ns: u64,
    /// Media time less the stream's: another one means another run.
    pub(super) offset_ns: i128,
    /// It can be decoded alone.
    pub(super) is_keyframe: bool,
    /// The picture.
    pub(super) payload: P,
}

impl<P> Timed<P> {
    pub(super) fn end_ns(&self) -> u64 {
        self.time_ns.saturating_add(self.duration_ns)
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step<P> {
    /// Close the fragment, if one is open, and begin another.
    Begin { begins_ns: u64 },
    /// Write into the open fragment.
    Append(Timed<P>),
    /// Close the fragment.
    End,
}

/// Within a run the two clocks tick alike; what differs by less is rounding.
const SAME_RUN_NS: u128 = 1_000_000;

/// Pictures between two keyframes refer to each other. If time leaps further ahead between them, or
/// back by more than pictures are out of order, no player would make sense of the file.
const MAX_LEAP_NS: u64 = 600 * NANOS_PER_SECOND;
const MAX_DISORDER_NS: u64 = NANOS_PER_SECOND;

/// Cuts a stream of compressed pictures into fragments.
///
/// Each begins with a keyframe, and with its earliest picture. Where pictures that follow a keyframe
/// are shown before it (an open group of pictures), they go, with a copy of it, into the fragment
/// before: only there is all that they refer to. To see that, the keyframe at which a fragment is to
/// end is held back until the next picture comes.
#[derive(Clone, Debug)]
pub(super) struct Plan<P> {
    fragment_ns: u64,
    open: Option<Open>,
    held: Option<Held<P>>,
    /// The begin of the newest fragment: the next one begins later.
    newest_ns: Option<u64>,
    left_out: u64,
}

#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "the unit belongs to each name")]
struct Open {
    begins_ns: u64,
    last_ns: u64,
    offset_ns: i128,
}

#[derive(Clone, Debug)]
struct Held<P> {
    keyframe: Timed<P>,
    /// The fragment before has a copy.
    is_copied: bool,
}

impl Open {
    fn leaps_to(&self, time_ns: u64) -> bool {
        time_ns > self.last_ns.saturating_add(MAX_LEAP_NS)
            || time_ns.saturating_add(MAX_DISORDER_NS) < self.last_ns
    }
}

impl<P: Clone> Plan<P> {
    /// Cuts at the first keyframe after `fragment_ns`. There are fragments already, of which the
    /// newest begins at `newest_ns`.
    pub(super) fn new(fragment_ns: u64, newest_ns: Option<u64>) -> Self {
        Self { fragment_ns, open: None, held: None, newest_ns, left_out: 0 }
    }

    /// Takes the next picture, in the order of the stream, and returns what to do now.
    pub(super) fn take(&mut self, next: Timed<P>) -> Vec<Step<P>> {
        let mut steps = Vec::new();
        if let Some(mut held) = self.held.take() {
            if !next.is_keyframe && next.time_ns < held.keyframe.time_ns {
                if !held.is_copied {
                    steps.push(Step::Append(held.keyframe.clone()));
                    held.is_copied = true;
                }
                steps.push(Step::Append(next));
                self.held = Some(held);
                return steps;
            }
            self.begin(held.keyframe, &mut steps);
        }
        if next.is_keyframe {
            self.take_keyframe(next, &mut steps);
        } else {
            self.take_other(next, &mut steps);
        }
        steps
    }

    fn take_keyframe(&mut self, next: Timed<P>, steps: &mut Vec<Step<P>>) {
        match self.open {
            Some(open) if !open.leaps_to(next.time_ns) => {
                let is_same_run = open.offset_ns.abs_diff(next.offset_ns) < SAME_RUN_NS;
                if !is_same_run {
                    self.begin(next, steps);
                } else if next.time_ns.saturating_sub(open.begins_ns) >= self.fragment_ns {
                    self.held = Some(Held { keyframe: next, is_copied: false });
                } else {
                    self.append(next, steps);
                }
            }
            _ => self.begin(next, steps),
        }
    }

    fn take_other(&mut self, next: Timed<P>, steps: &mut Vec<Step<P>>) {
        match self.open {
            Some(open) if open.leaps_to(next.time_ns) => {
                self.left_out += 1;
                steps.extend(self.end());
            }
            // Shown before the keyframe that it follows, which is the first here: it refers to
            // pictures that are not.
            Some(open) if next.time_ns < open.begins_ns => self.left_out += 1,
            Some(_) => self.append(next, steps),
            None => self.left_out += 1,
        }
    }

    fn begin(&mut self, keyframe: Timed<P>, steps: &mut Vec<Step<P>>) {
        let begins_ns = keyframe.time_ns;
        if self.newest_ns.is_some_and(|newest_ns| begins_ns <= newest_ns) {
            self.left_out += 1;
            steps.extend(self.end());
            return;
        }
        self.newest_ns = Some(begins_ns);
        self.open = Some(Open { begins_ns, last_ns: begins_ns, offset_ns: keyframe.offset_ns });
        steps.push(Step::Begin { begins_ns });
        steps.push(Step::Append(keyframe));
    }

    fn append(&mut self, next: Timed<P>, steps: &mut Vec<Step<P>>) {
        if let Some(open) = &mut self.open {
            open.last_ns = next.time_ns;
            steps.push(Step::Append(next));
        }
    }

    fn end(&mut self) -> Option<Step<P>> {
        self.open.take().map(|_| Step::End)
    }

    /// The stream ends here, or goes on as another: what is held back is let go.
    pub(super) fn finish(&mut self) -> Vec<Step<P>> {
        let mut steps = Vec::new();
        if let Some(held) = self.held.take() {
            self.begin(held.keyframe, &mut steps);
        }
        steps.extend(self.end());
        steps
    }

    /// `pictures` were lost on the way: what follows cannot be decoded until the next keyframe, which
    /// begins a fragment.
    pub(super) fn lose(&mut self, pictures: u64) {
        self.left_out += pictures + u64::from(self.held.take().is_some());
        self.open = None;
    }

    /// Counts the pictures that went into no fragment, since it was last asked.
    pub(super) fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;
    const FRAGMENT: u64 = 1000 * MS;

    fn picture(at_ms: u64, is_keyframe: bool) -> Timed<u64> {
        Timed {
            time_ns: at_ms * MS,
            lead_ns: None,
            duration_ns: 40 * MS,
            offset_ns: 0,
            is_keyframe,
            payload: at_ms,
        }
    }

    /// Fragments as lists of their pictures' times in ms.
    fn cut(pictures: impl IntoIterator<Item = Timed<u64>>) -> (Vec<Vec<u64>>, u64) {
        let mut plan = Plan::new(FRAGMENT, None);
        let mut steps: Vec<_> = pictures.into_iter().flat_map(|next| plan.take(next)).collect();
        steps.extend(plan.finish());
        let mut fragments = Vec::new();
        let mut is_open = false;
        for step in steps {
            match step {
                Step::Begin { begins_ns } => {
                    fragments.push(Vec::new());
                    is_open = true;
                    assert!(begins_ns > 0);
                }
                Step::Append(picture) => {
                    assert!(is_open);
                    fragments.last_mut().unwrap().push(picture.payload);
                }
                Step::End => is_open = false,
            }
        }
        (fragments, plan.take_left_out())
    }

    /// A keyframe every `distance` of 25 pictures a second.
    fn stream(pictures: u64, distance: u64) -> impl Iterator<Item = Timed<u64>> {
        (0..pictures).map(move |at| picture(40 + at * 40, at.is_multiple_of(distance)))
    }

    #[test]
    fn a_fragment_begins_at_the_first_keyframe_after_its_time() {
        let (fragments, left_out) = cut(stream(100, 10));
        let begins: Vec<_> = fragments.iter().map(|fragment| fragment[0]).collect();
        // Keyframes every 400 ms: the first that is a second later comes after 1200.
        assert_eq!(begins, [40, 1240, 2440, 3640]);
        let all: Vec<_> = fragments.concat();
        assert_eq!(all, stream(100, 10).map(|picture| picture.payload).collect::<Vec<_>>());
        assert_eq!(left_out, 0);
    }

    #[test]
    fn what_precedes_the_first_keyframe_is_left_out() {
        let pictures = [picture(40, false), picture(80, false), picture(120, true)];
        assert_eq!(cut(pictures), (vec![vec![120]], 2));
    }

    #[test]
    fn pictures_shown_before_the_keyframe_they_follow_stay_with_what_they_refer_to() {
        let pictures = [
            picture(40, true),
            picture(80, false),
            picture(1160, true),
            picture(1080, false),
            picture(1120, false),
            picture(1200, false),
        ];
        assert_eq!(cut(pictures), (vec![vec![40, 80, 1160, 1080, 1120], vec![1160, 1200]], 0));
        let first = [picture(1160, true), picture(1080, false), picture(1200, false)];
        assert_eq!(cut(first), (vec![vec![1160, 1200]], 1));
    }

    #[test]
    fn another_run_goes_on_in_the_same_fragment_until_its_first_keyframe() {
        let moved =
            |at_ms, is_keyframe| Timed { offset_ns: 7_000_000_000, ..picture(at_ms, is_keyframe) };
        let pictures = [picture(40, true), picture(80, false), moved(300, false), moved(340, true)];
        assert_eq!(cut(pictures), (vec![vec![40, 80, 300], vec![340]], 0));
    }

    #[test]
    fn a_leap_between_keyframes_ends_the_fragment() {
        let hours = 7_200_000;
        let pictures = [
            picture(40, true),
            picture(hours, false),
            picture(hours + 40, false),
            picture(hours + 80, true),
        ];
        assert_eq!(cut(pictures), (vec![vec![40], vec![hours + 80]], 2));
    }

    #[test]
    fn no_fragment_begins_before_one_that_is_there() {
        let mut plan = Plan::new(FRAGMENT, Some(100 * MS));
        assert_eq!(plan.take(picture(100, true)), []);
        assert_eq!(plan.take(picture(140, false)), []);
        assert_eq!(plan.take(picture(180, true)).len(), 2);
        assert_eq!(plan.take_left_out(), 2);
    }

    #[test]
    fn after_a_loss_the_next_keyframe_begins_a_fragment() {
        let mut plan = Plan::new(FRAGMENT, None);
        plan.take(picture(40, true));
        plan.lose(1);
        assert_eq!(plan.take(picture(80, false)), []);
        let steps = plan.take(picture(120, true));
        assert_eq!(steps[0], Step::Begin { begins_ns: 120 * MS });
        assert_eq!(plan.take_left_out(), 2);
    }

    proptest! {
        #[test]
        fn whatever_comes_fragments_begin_with_a_keyframe_in_order_of_time(
            pictures in proptest::collection::vec(
                (1u64..5000, any::<bool>(), 0u64..3), 0..80,
            ),
            losses in proptest::collection::vec(any::<bool>(), 80),
        ) {
            let mut plan = Plan::new(FRAGMENT, None);
            let (mut newest, mut open) = (None, false);
            let (mut kept, mut copies) = (0, 0);
            let mut just_begun = false;
            let count = pictures.len() as u64;
            let mut check = |steps: Vec<Step<u64>>| {
                for step in steps {
                    match step {
                        Step::Begin { begins_ns } => {
                            assert!(newest.is_none_or(|newest| begins_ns > newest));
                            (newest, open, just_begun) = (Some(begins_ns), true, true);
                        }
                        Step::Append(picture) => {
                            assert!(open);
                            if just_begun {
                                assert!(picture.is_keyframe && Some(picture.time_ns) == newest);
                            }
                            just_begun = false;
                            kept += 1;
                            copies += u64::from(picture.is_keyframe);
                        }
                        Step::End => open = false,
                    }
                }
                open
            };
            for ((at_ms, is_keyframe, run), lost) in pictures.into_iter().zip(losses) {
                let next = Timed { offset_ns: i128::from(run) << 40, ..picture(at_ms, is_keyframe) };
                let is_open = check(plan.take(next));
                prop_assert!(is_open || plan.open.is_none());
                if lost {
                    plan.lose(0);
                }
            }
            check(plan.finish());
            // Each picture is in a fragment or counted; a keyframe may be in two.
            let accounted = kept + plan.take_left_out();
            prop_assert!((count..=count + copies).contains(&accounted));
        }
    }
}
