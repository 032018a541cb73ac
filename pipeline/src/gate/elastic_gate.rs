//! Which compressed pictures of a camera are decoded, and when.
//!
//! Awake, all are. Once the scene is still, at the next keyframe, the gate falls asleep: only keyframes
//! are decoded, one by one, and looked at before they are shown. What lies between is kept aside. A
//! keyframe that shows a still scene makes what was kept before it superfluous. One that does not, or
//! a jump in the cost of what is kept, wakes the gate: what was kept is decoded from its keyframe on,
//! in order, before anything later is shown.

use super::bits::Bits;

/// A compressed picture on its way to the decoder, in the order of decoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Coded<P> {
    pub(super) is_keyframe: bool,
    /// When it is shown.
    pub(super) time_ns: Option<u64>,
    pub(super) bytes: usize,
    /// Of the parameter sets that it carries, if it does.
    pub(super) parameters: Option<u64>,
    pub(super) picture: P,
}

/// What to do next, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step<P> {
    /// Decode it; what comes out is shown.
    Decode(P),
    /// Decode this keyframe again, which was shown: what follows refers to it. It is not shown twice.
    Again(P),
    /// Decode this keyframe with nothing before and nothing after it, look at the picture, and tell
    /// [`ElasticGate::seen`] before it is shown.
    Look(P),
    /// Nothing changed since the picture shown last: at this time it still stands.
    Stand(u64),
    /// Show the picture that was looked at.
    Show,
    /// Do not show it: it will be decoded again, in its place.
    Hide,
}

/// What a picture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// What the scene looked like when it became still.
    Still,
    /// Something else; or nothing came out of the decoder.
    Changed,
}

/// Bounds of what is kept aside, and of how long a picture stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Keyframes that lie further apart are none to rely on.
    pub(super) max_gop_ns: u64,
    pub(super) max_bytes: usize,
    /// Keyframes that lie closer together are not all looked at.
    pub(super) look_ns: u64,
    /// No two pictures shown lie further apart while the gate sleeps, as far as those kept allow.
    pub(super) stand_ns: u64,
}

#[derive(Clone, Debug)]
enum State<P> {
    Awake,
    /// What was kept since the last keyframe that was shown, it included.
    Asleep(Chain<P>),
    /// The keyframe is being looked at; the chain is what was kept before, empty on falling asleep.
    Looking(Chain<P>, Coded<P>),
}

/// Decodable from its first picture on.
#[derive(Clone, Debug)]
struct Chain<P> {
    pictures: Vec<Coded<P>>,
    bytes: usize,
}

impl<P> Default for Chain<P> {
    fn default() -> Self {
        Self { pictures: Vec::new(), bytes: 0 }
    }
}

impl<P> Chain<P> {
    fn push(&mut self, next: Coded<P>) {
        self.bytes += next.bytes;
        self.pictures.push(next);
    }

    fn begun_ns(&self) -> Option<u64> {
        self.pictures.first().and_then(|keyframe| keyframe.time_ns)
    }

    /// Its first picture was shown already.
    fn released(self) -> impl Iterator<Item = Step<P>> {
        self.pictures.into_iter().enumerate().map(|(at, kept)| match at {
            0 => Step::Again(kept.picture),
            _ => Step::Decode(kept.picture),
        })
    }

    /// Times of pictures kept that are `stand_ns` apart at most, if there are some, up to `end_ns`.
    fn stands(&self, stand_ns: u64, end_ns: u64) -> Vec<u64> {
        let Some(mut shown_ns) = self.begun_ns() else { return Vec::new() };
        let mut times: Vec<u64> = self.pictures.iter().filter_map(|kept| kept.time_ns).collect();
        times.sort_unstable();
        let mut stands = Vec::new();
        for pair in times.iter().zip(times.iter().skip(1).chain([&end_ns])) {
            let (time_ns, next_ns) = (*pair.0, *pair.1);
            if next_ns.saturating_sub(shown_ns) > stand_ns
                && (shown_ns + 1..end_ns).contains(&time_ns)
            {
                stands.push(time_ns);
                shown_ns = time_ns;
            }
        }
        stands
    }
}

/// Decides what is decoded. Does nothing itself.
#[derive(Clone, Debug)]
pub(super) struct ElasticGate<P> {
    limits: Limits,
    state: State<P>,
    bits: Bits,
    /// Whether the pictures shown have been still for long enough.
    is_calm: bool,
    keyframe_ns: Option<u64>,
    /// Keyframes in a row that were near enough to the one before.
    near: u32,
    parameters: Option<u64>,
    /// Pictures came after a keyframe and are shown before it (an open group of pictures). They refer
    /// to pictures before the keyframe too, which are not there when everything from it on is decoded.
    has_leading: bool,
    /// Times in a row that the gate fell asleep and the first picture it looked at did not fit.
    false_starts: u32,
    /// Keyframes to let pass before the next try.
    pause: u32,
    left_out: u64,
}

/// After as many false starts in a row, pauses are as long as they get: a thousand keyframes.
const MOST_FALSE_STARTS: u32 = 10;

/// So many keyframes in a row must be near enough before the gate relies on them.
const NEAR_ENOUGH: u32 = 2;

impl<P: Clone> ElasticGate<P> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Awake,
            bits: Bits::default(),
            is_calm: false,
            keyframe_ns: None,
            near: 0,
            parameters: None,
            has_leading: false,
            false_starts: 0,
            pause: 0,
            left_out: 0,
        }
    }

    /// Takes the next picture. While one is looked at, none may come.
    pub(super) fn take(&mut self, next: Coded<P>) -> Vec<Step<P>> {
        if next.is_keyframe { self.take_keyframe(next) } else { self.take_delta(next) }
    }

    fn take_keyframe(&mut self, next: Coded<P>) -> Vec<Step<P>> {
        self.bits.restart();
        self.pause = self.pause.saturating_sub(1);
        self.measure(next.time_ns);
        let has_parameters = next.parameters.is_none() || next.parameters == self.parameters;
        self.parameters = next.parameters.or(self.parameters);
        match std::mem::replace(&mut self.state, State::Awake) {
            State::Awake if self.may_sleep() && has_parameters => self.look(Chain::default(), next),
            // What was kept must be decoded with the parameters it was coded with.
            State::Asleep(chain) if self.near == 0 || !has_parameters => {
                self.wake(chain, Some(next))
            }
            State::Asleep(chain) if self.is_close(&chain, &next) => self.keep(chain, next),
            State::Asleep(chain) => self.look(chain, next),
            State::Awake | State::Looking(..) => vec![Step::Decode(next.picture)],
        }
    }

    fn take_delta(&mut self, next: Coded<P>) -> Vec<Step<P>> {
        let is_jump = next.time_ns.is_some_and(|time_ns| self.bits.count(time_ns, next.bytes));
        let leads =
            next.time_ns.zip(self.keyframe_ns).is_some_and(|(now, keyframe)| now < keyframe);
        self.has_leading |= leads;
        match std::mem::replace(&mut self.state, State::Awake) {
            State::Asleep(chain) if is_jump || leads || next.time_ns.is_none() => {
                self.wake(chain, Some(next))
            }
            State::Asleep(chain) => self.keep(chain, next),
            State::Awake | State::Looking(..) => vec![Step::Decode(next.picture)],
        }
    }

    /// What the picture of [`Step::Look`] shows.
    pub(super) fn seen(&mut self, sight: Sight) -> Vec<Step<P>> {
        let (chain, keyframe) = match std::mem::replace(&mut self.state, State::Awake) {
            State::Looking(chain, keyframe) => (chain, keyframe),
            other => {
                self.state = other;
                return Vec::new();
            }
        };
        if sight == Sight::Changed {
            if chain.pictures.is_empty() {
                // Keyframes of this stream may not stand alone: not at once again.
                self.false_starts = (self.false_starts + 1).min(MOST_FALSE_STARTS);
                self.pause = 1 << self.false_starts;
            }
            return [Step::Hide].into_iter().chain(self.wake(chain, Some(keyframe))).collect();
        }
        self.bits.settle(true);
        self.false_starts = 0;
        self.left_out += chain.pictures.len().saturating_sub(1) as u64;
        let stands = keyframe
            .time_ns
            .map_or_else(Vec::new, |end_ns| chain.stands(self.limits.stand_ns, end_ns));
        let mut kept = Chain::default();
        kept.push(keyframe);
        self.state = State::Asleep(kept);
        stands.into_iter().map(Step::Stand).chain([Step::Show]).collect()
    }

    /// The pictures shown have been still for long enough, or have not.
    pub(super) fn set_calm(&mut self, is_calm: bool) {
        if matches!(self.state, State::Awake) {
            self.is_calm = is_calm;
            self.bits.settle(is_calm);
        }
    }

    /// The stream ends, breaks off or changes here: what was kept is decoded first.
    pub(super) fn break_off(&mut self) -> Vec<Step<P>> {
        self.bits.restart();
        self.near = 0;
        self.keyframe_ns = None;
        match std::mem::replace(&mut self.state, State::Awake) {
            State::Asleep(chain) => self.wake(chain, None),
            State::Looking(chain, keyframe) => {
                [Step::Hide].into_iter().chain(self.wake(chain, Some(keyframe))).collect()
            }
            State::Awake => Vec::new(),
        }
    }

    /// The stream was flushed: what was kept is of no use to anyone.
    pub(super) fn flush(&mut self) {
        *self = Self { left_out: self.left_out, ..Self::new(self.limits) };
    }

    pub(super) fn is_asleep(&self) -> bool {
        !matches!(self.state, State::Awake)
    }

    /// Pictures that were never decoded.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    fn may_sleep(&self) -> bool {
        let may_rely = !self.has_leading && self.pause == 0;
        self.is_calm && may_rely && self.near >= NEAR_ENOUGH && self.bits.is_learned()
    }

    fn measure(&mut self, time_ns: Option<u64>) {
        let distance = time_ns.zip(self.keyframe_ns).and_then(|(now, last)| now.checked_sub(last));
        let is_near =
            distance.is_some_and(|distance| (1..=self.limits.max_gop_ns).contains(&distance));
        self.near = if is_near { (self.near + 1).min(NEAR_ENOUGH) } else { 0 };
        self.keyframe_ns = time_ns;
    }

    fn is_close(&self, chain: &Chain<P>, keyframe: &Coded<P>) -> bool {
        let both = keyframe.time_ns.zip(chain.begun_ns());
        both.is_some_and(|(now, begun)| now.saturating_sub(begun) < self.limits.look_ns)
    }

    fn look(&mut self, chain: Chain<P>, keyframe: Coded<P>) -> Vec<Step<P>> {
        let picture = keyframe.picture.clone();
        self.state = State::Looking(chain, keyframe);
        vec![Step::Look(picture)]
    }

    fn keep(&mut self, mut chain: Chain<P>, next: Coded<P>) -> Vec<Step<P>> {
        let both = next.time_ns.zip(chain.begun_ns());
        let lasts = both.map_or(0, |(now, begun)| now.saturating_sub(begun));
        let is_full = chain.bytes + next.bytes > self.limits.max_bytes;
        if is_full || lasts > self.limits.max_gop_ns {
            // Not again before keyframes have proved near enough.
            self.near = 0;
            return self.wake(chain, Some(next));
        }
        chain.push(next);
        self.state = State::Asleep(chain);
        Vec::new()
    }

    fn wake(&mut self, chain: Chain<P>, next: Option<Coded<P>>) -> Vec<Step<P>> {
        self.state = State::Awake;
        self.is_calm = false;
        let next = next.map(|next| Step::Decode(next.picture));
        chain.released().chain(next).collect()
    }
}

#[cfg(test)]
#[path = "elastic_gate_tests.rs"]
mod tests;
