//! How things move: the named motions and the paths that show them.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::view::ASPECT;

/// What a thing does during its time in an event.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Motion {
    /// Stays where it is.
    Still,
    /// From left to right.
    Right,
    /// From right to left.
    Left,
    /// From bottom to top.
    Up,
    /// From top to bottom.
    Down,
    /// Towards the camera: grows.
    Closer,
    /// Away from the camera: shrinks.
    Away,
    /// Around in a circle.
    Circle,
    /// Up and down on one spot.
    Bounce,
    /// Comes in over the left edge and stays.
    EnterLeft,
    /// Comes in over the right edge and stays.
    EnterRight,
    /// Stands, then goes out over the left edge.
    LeaveLeft,
    /// Stands, then goes out over the right edge.
    LeaveRight,
}

impl Motion {
    /// All motions.
    pub const ALL: [Self; 13] = [
        Self::Still,
        Self::Right,
        Self::Left,
        Self::Up,
        Self::Down,
        Self::Closer,
        Self::Away,
        Self::Circle,
        Self::Bounce,
        Self::EnterLeft,
        Self::EnterRight,
        Self::LeaveLeft,
        Self::LeaveRight,
    ];

    /// The name that truth files use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Still => "still",
            Self::Right => "right",
            Self::Left => "left",
            Self::Up => "up",
            Self::Down => "down",
            Self::Closer => "closer",
            Self::Away => "away",
            Self::Circle => "circle",
            Self::Bounce => "bounce",
            Self::EnterLeft => "enter-left",
            Self::EnterRight => "enter-right",
            Self::LeaveLeft => "leave-left",
            Self::LeaveRight => "leave-right",
        }
    }

    /// The same motion the other way round, where there is one.
    pub fn opposite(self) -> Option<Self> {
        match self {
            Self::Right => Some(Self::Left),
            Self::Left => Some(Self::Right),
            Self::Up => Some(Self::Down),
            Self::Down => Some(Self::Up),
            Self::Closer => Some(Self::Away),
            Self::Away => Some(Self::Closer),
            Self::EnterLeft => Some(Self::EnterRight),
            Self::EnterRight => Some(Self::EnterLeft),
            Self::LeaveLeft => Some(Self::LeaveRight),
            Self::LeaveRight => Some(Self::LeaveLeft),
            Self::Still | Self::Circle | Self::Bounce => None,
        }
    }

    /// Where it leads, as the answer to "which way?".
    pub fn direction(self) -> Option<&'static str> {
        match self {
            Self::Right | Self::EnterLeft | Self::LeaveRight => Some("right"),
            Self::Left | Self::EnterRight | Self::LeaveLeft => Some("left"),
            Self::Up => Some("up"),
            Self::Down => Some("down"),
            Self::Closer => Some("towards the camera"),
            Self::Away => Some("away from the camera"),
            Self::Still | Self::Circle | Self::Bounce => None,
        }
    }

    fn is_mirrored(self) -> bool {
        matches!(self, Self::Left | Self::EnterRight | Self::LeaveLeft)
    }
}

/// Where a thing is: its middle in the frame (x, y in [0, 1]) and its height.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pose {
    pub(crate) x: f32,
    pub(crate) y: f32,
    pub(crate) height: f32,
}

impl Pose {
    fn towards(self, other: Self, s: f32) -> Self {
        let between = |a: f32, b: f32| a + (b - a) * s;
        Self {
            x: between(self.x, other.x),
            y: between(self.y, other.y),
            height: between(self.height, other.height),
        }
    }
}

/// The part of the frame a thing's middle may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) x: (f32, f32),
    pub(crate) y: (f32, f32),
}

impl Room {
    /// The whole frame.
    pub(crate) const ALL: Self = Self { x: (0.0, 1.0), y: (0.0, 1.0) };
}

/// A way through the frame, over a time that runs from 0 to 1.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Path {
    /// Straight and even between two times; at rest before and after.
    Line { from: Pose, to: Pose, span: (f32, f32) },
    /// Around `middle`, `turns` times, the first point at `phase`.
    Circle { middle: Pose, radius: f32, turns: f32, phase: f32 },
    /// `hops` leaps of the given `rise` from `ground`.
    Bounce { ground: Pose, rise: f32, hops: f32 },
}

impl Path {
    /// A path that shows `motion` with a thing of this height and aspect (width over height),
    /// within `room`.
    pub(crate) fn sample(
        motion: Motion,
        height: f32,
        aspect: f32,
        room: Room,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let mut within = |(low, high): (f32, f32), size: f32| {
            // Keeps the thing inside its room, and its middle in what a square crop sees.
            let (low, high) = (low + size / 2.0 + 0.02, high - size / 2.0 - 0.02);
            let (low, high) = if low < high {
                (low, high)
            } else {
                (f32::midpoint(low, high), f32::midpoint(low, high))
            };
            low + (high - low) * rng.random::<f32>()
        };
        let width = height * aspect / ASPECT;
        let x = within((room.x.0.max(0.1), room.x.1.min(0.9)), width);
        let y = within(room.y, height);
        let here = Pose { x, y, height };
        let (u, v): (f32, f32) = (rng.random(), rng.random());
        let crosses = rng.random::<f32>() < 0.5;
        match motion {
            Motion::Still => Self::Line { from: here, to: here, span: (0.0, 1.0) },
            Motion::Right | Motion::Left => {
                let (from, to) = if crosses {
                    (-width / 2.0, 1.0 + width / 2.0)
                } else {
                    (0.2 + 0.08 * u, 0.8 - 0.08 * v)
                };
                Self::line(motion, Pose { x: from, ..here }, Pose { x: to, ..here }, (0.0, 1.0))
            }
            Motion::Up | Motion::Down => {
                let (from, to) = if crosses && room.y == Room::ALL.y {
                    (1.0 + height / 2.0, -height / 2.0)
                } else {
                    (room.y.1 - 0.12 - 0.1 * u, room.y.0 + 0.12 + 0.1 * v)
                };
                let (from, to) = if motion == Motion::Up { (from, to) } else { (to, from) };
                Self::Line {
                    from: Pose { y: from, ..here },
                    to: Pose { y: to, ..here },
                    span: (0.0, 1.0),
                }
            }
            Motion::Closer | Motion::Away => {
                // Shrinking ends, growing begins, where a thing is just big enough to be made out.
                let (far, near) = (0.28 + 0.03 * u, 0.55 + 0.05 * v);
                let near = near.min((0.85 * ASPECT / aspect).max(far + 0.12));
                let middle = |value: f32| 0.5 + 0.3 * (value - 0.5);
                let pose = Pose { x: middle(x), y: middle(y), height: far };
                let (from, to) = (pose, Pose { height: near, ..pose });
                let (from, to) = if motion == Motion::Closer { (from, to) } else { (to, from) };
                Self::Line { from, to, span: (0.0, 1.0) }
            }
            Motion::Circle => Self::Circle {
                middle: Pose { x: 0.42 + 0.16 * u, y: 0.45 + 0.1 * v, height },
                radius: 0.2 + 0.04 * v,
                turns: if crosses { 1.6 } else { -1.6 },
                phase: u,
            },
            Motion::Bounce => Self::Bounce {
                ground: Pose { y: (room.y.1 - height / 2.0 - 0.04).max(0.5), ..here },
                rise: 0.25 + 0.08 * u,
                hops: 3.0,
            },
            Motion::EnterLeft | Motion::EnterRight => {
                let (outside, inside) = (-width / 2.0, 0.45 + 0.15 * u);
                let span = (0.05, 0.65 + 0.1 * v);
                Self::line(motion, Pose { x: outside, ..here }, Pose { x: inside, ..here }, span)
            }
            Motion::LeaveLeft | Motion::LeaveRight => {
                let (inside, outside) = (0.4 + 0.15 * u, 1.0 + width / 2.0);
                let span = (0.25 + 0.1 * v, 0.95);
                Self::line(motion, Pose { x: inside, ..here }, Pose { x: outside, ..here }, span)
            }
        }
    }

    /// A line that `motion` turns round where it leads to the left.
    fn line(motion: Motion, from: Pose, to: Pose, span: (f32, f32)) -> Self {
        let line = Self::Line { from, to, span };
        if motion.is_mirrored() { line.mirrored() } else { line }
    }

    /// Left and right exchanged.
    pub(crate) fn mirrored(self) -> Self {
        let flip = |pose: Pose| Pose { x: 1.0 - pose.x, ..pose };
        match self {
            Self::Line { from, to, span } => Self::Line { from: flip(from), to: flip(to), span },
            Self::Circle { middle, radius, turns, phase } => {
                Self::Circle { middle: flip(middle), radius, turns: -turns, phase: 0.5 - phase }
            }
            Self::Bounce { ground, rise, hops } => {
                Self::Bounce { ground: flip(ground), rise, hops }
            }
        }
    }

    /// Begin and end exchanged.
    pub(crate) fn reversed(self) -> Self {
        match self {
            Self::Line { from, to, span } => {
                Self::Line { from: to, to: from, span: (1.0 - span.1, 1.0 - span.0) }
            }
            other => other,
        }
    }

    /// The same way for a picture of another aspect: heights times `growth` as far as 0.28 to 0.6
    /// allow, and what begins or ends just outside the frame still does.
    pub(crate) fn refitted(self, growth: f32, was: f32, is: f32) -> Self {
        let refit = |pose: Pose| {
            let height = (pose.height * growth).clamp(0.28, 0.6);
            let half = |height: f32, aspect: f32| height * aspect / ASPECT / 2.0;
            let wider = half(height, is) - half(pose.height, was);
            let x = match pose.x {
                x if x < 0.0 => x - wider,
                x if x > 1.0 => x + wider,
                x => x,
            };
            let y = match pose.y {
                y if y < 0.0 => -height / 2.0,
                y if y > 1.0 => 1.0 + height / 2.0,
                y => y,
            };
            Pose { x, y, height }
        };
        match self {
            Self::Line { from, to, span } => Self::Line { from: refit(from), to: refit(to), span },
            Self::Circle { middle, radius, turns, phase } => {
                Self::Circle { middle: refit(middle), radius, turns, phase }
            }
            Self::Bounce { ground, rise, hops } => {
                Self::Bounce { ground: refit(ground), rise, hops }
            }
        }
    }

    /// The same way for a thing that is `height` high at first, of this aspect: what begins or ends
    /// just outside the frame still does.
    pub(crate) fn resized(self, height: f32, aspect: f32) -> Self {
        let factor = height / self.pose(0.0).height;
        let resize = |pose: Pose| {
            let height = pose.height * factor;
            let half = height * aspect / ASPECT / 2.0;
            let x = match pose.x {
                x if x < 0.0 => -half,
                x if x > 1.0 => 1.0 + half,
                x => x,
            };
            let y = match pose.y {
                y if y < 0.0 => -height / 2.0,
                y if y > 1.0 => 1.0 + height / 2.0,
                y => y,
            };
            Pose { x, y, height }
        };
        match self {
            Self::Line { from, to, span } => {
                Self::Line { from: resize(from), to: resize(to), span }
            }
            Self::Circle { middle, radius, turns, phase } => {
                Self::Circle { middle: resize(middle), radius, turns, phase }
            }
            Self::Bounce { ground, rise, hops } => {
                Self::Bounce { ground: resize(ground), rise, hops }
            }
        }
    }

    /// The pose at time `s` in [0, 1].
    pub(crate) fn pose(&self, s: f32) -> Pose {
        match *self {
            Self::Line { from, to, span } => {
                from.towards(to, ((s - span.0) / (span.1 - span.0)).clamp(0.0, 1.0))
            }
            Self::Circle { middle, radius, turns, phase } => {
                let (sin, cos) = (std::f32::consts::TAU * (phase + turns * s)).sin_cos();
                Pose { x: middle.x + radius / ASPECT * cos, y: middle.y + radius * sin, ..middle }
            }
            Self::Bounce { ground, rise, hops } => {
                let leap = (std::f32::consts::PI * hops * s).sin().abs();
                Pose { y: ground.y - rise * leap, ..ground }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;

    proptest! {
        #[test]
        fn a_path_leads_where_its_motion_says(seed: u64, which in 0..Motion::ALL.len(), aspect in 0.4_f32..2.2, height in 0.28_f32..0.6) {
            let motion = Motion::ALL[which];
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let path = Path::sample(motion, height, aspect, Room::ALL, &mut rng);
            let (a, b) = (path.pose(0.0), path.pose(1.0));
            match motion.direction() {
                Some("right") => prop_assert!(b.x - a.x > 0.3),
                Some("left") => prop_assert!(a.x - b.x > 0.3),
                Some("up") => prop_assert!(a.y - b.y > 0.3),
                Some("down") => prop_assert!(b.y - a.y > 0.3),
                Some("towards the camera") => prop_assert!(b.height / a.height > 1.35),
                Some(_) => prop_assert!(a.height / b.height > 1.35),
                None if motion == Motion::Circle => {
                    let heights: Vec<f32> = (0..40).map(|k| path.pose(k as f32 / 40.0).y).collect();
                    let spread = heights.iter().copied().fold(f32::MIN, f32::max) - heights.iter().copied().fold(f32::MAX, f32::min);
                    prop_assert!(spread > 0.35);
                }
                None => prop_assert!((b.x - a.x).abs() < 1e-5),
            }
        }

        #[test]
        fn turning_a_path_round_twice_changes_nothing(seed: u64, which in 0..Motion::ALL.len(), s in 0.0_f32..1.0) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let path = Path::sample(Motion::ALL[which], 0.4, 1.0, Room::ALL, &mut rng);
            for twice in [path.mirrored().mirrored(), path.reversed().reversed()] {
                let (a, b) = (path.pose(s), twice.pose(s));
                prop_assert!((a.x - b.x).abs() < 1e-4 && (a.y - b.y).abs() < 1e-4 && (a.height - b.height).abs() < 1e-4);
            }
        }
    }
}
