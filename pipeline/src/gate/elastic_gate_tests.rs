use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;
const FRAME: u64 = 40 * MS;

fn limits() -> Limits {
    Limits { max_gop_ns: 4000 * MS, max_bytes: 1 << 20, look_ns: 400 * MS, stand_ns: 3000 * MS }
}

/// Picture `at` of 25 a second.
fn picture(at: usize, is_keyframe: bool) -> Coded<usize> {
    let time_ns = Some(at as u64 * FRAME);
    Coded { is_keyframe, time_ns, bytes: 1000, parameters: None, picture: at }
}

/// Does what the gate says, as a decoder would, and fails where one would.
struct Player {
    gate: ElasticGate<usize>,
    keyframes: Vec<bool>,
    times: Vec<u64>,
    /// What keyframes show; everything else is not looked at one by one.
    sights: Vec<Sight>,
    /// The picture that the decoder could decode the next one from.
    decoded: Option<usize>,
    held: Option<usize>,
    shown: Vec<usize>,
    looked: Vec<usize>,
    stood: Vec<u64>,
}

impl Player {
    fn new(limits: Limits) -> Self {
        Self {
            gate: ElasticGate::new(limits),
            keyframes: Vec::new(),
            times: Vec::new(),
            sights: Vec::new(),
            decoded: None,
            held: None,
            shown: Vec::new(),
            looked: Vec::new(),
            stood: Vec::new(),
        }
    }

    fn take(&mut self, next: Coded<usize>, sight: Sight) {
        assert_eq!(next.picture, self.keyframes.len(), "pictures are numbered");
        self.keyframes.push(next.is_keyframe);
        self.times.push(next.time_ns.unwrap_or(0));
        self.sights.push(sight);
        let steps = self.gate.take(next);
        self.run(steps);
        assert_eq!(self.held, None, "a picture that is looked at is shown or hidden at once");
    }

    fn run(&mut self, steps: Vec<Step<usize>>) {
        for step in steps {
            match step {
                Step::Decode(at) => {
                    let can = self.keyframes[at] || self.decoded == at.checked_sub(1);
                    assert!(can, "{at} cannot be decoded after {:?}", self.decoded);
                    self.decoded = Some(at);
                    self.show(at);
                }
                Step::Again(at) => {
                    assert!(self.keyframes[at] && self.shown.last() == Some(&at));
                    self.decoded = Some(at);
                }
                Step::Look(at) => {
                    assert!(self.keyframes[at]);
                    // Decoded alone: the decoder was emptied.
                    self.decoded = None;
                    self.held = Some(at);
                    self.looked.push(at);
                    let answer = self.gate.seen(self.sights[at]);
                    self.run(answer);
                }
                Step::Stand(time_ns) => {
                    let last = self.times[*self.shown.last().unwrap()];
                    let last = self.stood.last().copied().unwrap_or(0).max(last);
                    assert!(time_ns > last && time_ns < self.times[self.held.unwrap()]);
                    self.stood.push(time_ns);
                }
                Step::Show => {
                    let at = self.held.take().unwrap();
                    self.show(at);
                }
                Step::Hide => assert!(self.held.take().is_some()),
            }
        }
    }

    fn show(&mut self, at: usize) {
        assert!(self.shown.last().is_none_or(|last| *last < at), "{at} after {:?}", self.shown);
        self.shown.push(at);
    }

    /// Takes `count` pictures of a scene that is still or not, a keyframe every `gop`.
    fn film(&mut self, count: usize, gop: usize, sight: Sight) {
        for _ in 0..count {
            let at = self.keyframes.len();
            self.take(picture(at, at.is_multiple_of(gop)), sight);
            self.gate.set_calm(sight == Sight::Still);
        }
    }

    fn is_shown(&self, at: usize) -> bool {
        self.shown.binary_search(&at).is_ok()
    }
}

#[test]
fn only_keyframes_of_a_still_scene_are_decoded() {
    let mut player = Player::new(limits());
    player.film(1000, 50, Sight::Still);
    assert!(player.gate.is_asleep());
    let late: Vec<_> = player.shown.iter().filter(|at| **at > 500).copied().collect();
    assert_eq!(late, [550, 600, 650, 700, 750, 800, 850, 900, 950]);
    assert_eq!(player.gate.left_out() as usize + player.shown.len() + 49, 1000, "49 are kept");
}

#[test]
fn a_keyframe_that_shows_a_change_brings_back_what_lies_before_it() {
    let mut player = Player::new(limits());
    player.film(1010, 50, Sight::Still);
    player.film(100, 50, Sight::Changed);
    assert!(!player.gate.is_asleep());
    assert!((1000..1110).all(|at| player.is_shown(at)), "{:?}", player.shown);
    assert!(!player.is_shown(999));
}

#[test]
fn a_jump_in_size_brings_back_what_was_kept_at_once() {
    let mut player = Player::new(limits());
    player.film(1010, 50, Sight::Still);
    for at in 1010..1030 {
        player.take(Coded { bytes: 5000, ..picture(at, false) }, Sight::Still);
    }
    assert!(!player.gate.is_asleep());
    assert!((1000..1030).all(|at| player.is_shown(at)), "{:?}", player.shown);
}

#[test]
fn a_camera_with_rare_keyframes_or_none_is_decoded_whole() {
    let mut rare = Player::new(limits());
    rare.film(1000, 101, Sight::Still);
    assert_eq!(rare.shown.len(), 1000);
    // Dense at first, then none any more.
    let mut ceasing = Player::new(limits());
    ceasing.film(1001, 50, Sight::Still);
    assert!(ceasing.gate.is_asleep());
    ceasing.film(200, 10_000, Sight::Still);
    assert!((1000..1201).all(|at| ceasing.is_shown(at)), "{:?}", ceasing.shown);
}

#[test]
fn a_camera_with_open_groups_of_pictures_is_decoded_whole() {
    let mut gate = ElasticGate::new(limits());
    let mut decoded = 0;
    for at in 0..200 {
        gate.set_calm(true);
        let mut next = picture(at, at % 25 == 0);
        // Shown before the keyframe that it comes after.
        if at % 25 == 1 && at > 25 {
            next.time_ns = next.time_ns.map(|time_ns| time_ns - FRAME - FRAME / 2);
        }
        for step in gate.take(next) {
            assert!(matches!(step, Step::Decode(_)), "{step:?}");
            decoded += 1;
        }
    }
    assert_eq!(decoded, 200);
}

#[test]
fn what_is_kept_aside_is_bounded() {
    let mut player = Player::new(Limits { max_bytes: 20_000, ..limits() });
    player.film(1000, 50, Sight::Still);
    assert_eq!(player.shown.len(), 1000 - player.gate.left_out() as usize);
    assert!((950..1000).all(|at| player.is_shown(at)), "49 pictures of a kilobyte do not fit");
}

#[test]
fn the_last_picture_stands_where_keyframes_are_far_apart() {
    let mut player = Player::new(Limits { stand_ns: 1000 * MS, ..limits() });
    player.film(1000, 75, Sight::Still);
    let mut times: Vec<_> = player.shown.iter().map(|at| player.times[*at]).collect();
    times.extend(&player.stood);
    times.sort_unstable();
    assert!(!player.stood.is_empty());
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= 1000 * MS), "{times:?}");
    let mut near = Player::new(limits());
    near.film(1000, 75, Sight::Still);
    assert!(near.stood.is_empty(), "none where keyframes are near enough");
}

#[test]
fn keyframes_close_to_each_other_are_not_all_looked_at() {
    let mut player = Player::new(limits());
    player.film(1000, 1, Sight::Still);
    let late = player.shown.iter().filter(|at| **at >= 500).count();
    assert_eq!(late, 50, "every tenth, 400 ms apart");
}

#[test]
fn new_parameters_wake_before_they_reach_the_decoder() {
    let mut player = Player::new(limits());
    for at in 0..1000 {
        let parameters = (at % 50 == 0).then_some(u64::from(at >= 950));
        player.take(Coded { parameters, ..picture(at, at % 50 == 0) }, Sight::Still);
        player.gate.set_calm(true);
    }
    assert!((900..1000).all(|at| player.is_shown(at)), "{:?}", player.shown);
    assert!(player.looked.contains(&900) && !player.looked.contains(&950));
}

#[test]
fn keyframes_that_cannot_stand_alone_are_tried_ever_more_rarely() {
    let mut player = Player::new(limits());
    for at in 0..20_000 {
        player.take(picture(at, at % 50 == 0), Sight::Changed);
        player.gate.set_calm(true);
    }
    assert_eq!(player.shown.len(), 20_000);
    assert!((2..=9).contains(&player.looked.len()), "{:?}", player.looked);
}

#[test]
fn a_flush_forgets_what_was_kept() {
    let mut player = Player::new(limits());
    player.film(1010, 50, Sight::Still);
    player.gate.flush();
    assert!(!player.gate.is_asleep());
    assert_eq!(player.gate.break_off(), []);
}

#[derive(Clone, Debug)]
struct Next {
    is_keyframe: bool,
    /// Since the picture before it; none where it tells no time.
    gap_ns: Option<u64>,
    bytes: usize,
    sight: Sight,
    is_calm: bool,
    parameters: Option<u64>,
    breaks_off: bool,
}

fn next() -> impl Strategy<Value = Next> {
    let sight = prop_oneof![6 => Just(Sight::Still), 1 => Just(Sight::Changed)];
    (
        prop::bool::weighted(0.08),
        prop_oneof![900 => Just(Some(FRAME)), 15 => (0..5000 * MS).prop_map(Some), 1 => Just(None)],
        prop_oneof![60 => 900_usize..1000, 1 => 0_usize..40_000],
        sight,
        prop::bool::weighted(0.95),
        prop_oneof![40 => Just(None), 1 => (0_u64..2).prop_map(Some)],
        prop::bool::weighted(0.002),
    )
        .prop_map(|(is_keyframe, gap_ns, bytes, sight, is_calm, parameters, breaks_off)| {
            Next { is_keyframe, gap_ns, bytes, sight, is_calm, parameters, breaks_off }
        })
}

proptest! {
    /// The player fails where a picture is decoded without those it refers to, out of order, or shown
    /// twice. Besides, a picture may only be left out between two keyframes that were shown, the
    /// later of which showed a still scene.
    #[test]
    fn what_comes_out_is_decodable_in_order_once_and_nothing_that_matters_is_missing(
        stream in prop::collection::vec(next(), 1..900), max_bytes in 5000_usize..100_000,
    ) {
        let limits = Limits { max_bytes, ..limits() };
        let (mut player, mut time_ns) = (Player::new(limits), 0);
        for (at, next) in stream.iter().enumerate() {
            time_ns += next.gap_ns.unwrap_or(FRAME);
            let coded = Coded {
                is_keyframe: at == 0 || next.is_keyframe,
                time_ns: next.gap_ns.map(|_| time_ns),
                bytes: next.bytes,
                parameters: next.parameters,
                picture: at,
            };
            player.take(coded, next.sight);
            player.gate.set_calm(next.is_calm);
            if let State::Asleep(chain) = &player.gate.state {
                let bytes: usize = chain.pictures.iter().map(|kept| kept.bytes).sum();
                prop_assert_eq!(bytes, chain.bytes);
                prop_assert!(chain.pictures.len() == 1 || bytes <= max_bytes);
            }
            if next.breaks_off {
                let steps = player.gate.break_off();
                player.run(steps);
                prop_assert_eq!(player.shown.last(), Some(&at));
            }
        }
        let steps = player.gate.break_off();
        player.run(steps);
        prop_assert_eq!(player.shown.last(), Some(&(stream.len() - 1)));
        for pair in player.shown.windows(2).filter(|pair| pair[1] > pair[0] + 1) {
            let is_still = player.keyframes[pair[0]]
                && player.looked.contains(&pair[1])
                && player.sights[pair[1]] == Sight::Still;
            prop_assert!(is_still, "{pair:?} of {:?}", player.shown);
        }
        let shown = player.shown.len() as u64;
        prop_assert_eq!(shown + player.gate.left_out(), stream.len() as u64);
    }
}
