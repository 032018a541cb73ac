//! The losses so far, for a person to look at.

use std::fmt::Write as _;

const WIDTH: f32 = 640.0;
const HEIGHT: f32 = 120.0;
const LEFT: f32 = 70.0;
const GAP: f32 = 44.0;

/// An SVG picture with a panel for each loss, by its title: every step thin, its running mean thick.
pub(super) fn svg(panels: &[(&str, Vec<f32>)]) -> String {
    let (width, height) = (LEFT + WIDTH + 20.0, (HEIGHT + GAP) * panels.len() as f32 + 20.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" \
         fill=\"white\"/>\n"
    );
    for (number, (title, values)) in panels.iter().enumerate() {
        panel(&mut svg, title, values, 30.0 + number as f32 * (HEIGHT + GAP));
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, title: &str, values: &[f32], top: f32) {
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if values.is_empty() {
        return;
    }
    let range = (high - low).max(1e-9);
    let right = values.len().saturating_sub(1).max(1) as f32;
    let line = |values: &[f32]| {
        let points = values.iter().enumerate().map(|(step, value)| {
            let (x, y) = (step as f32 / right * WIDTH, (high - value) / range * HEIGHT);
            format!("{:.1},{:.1}", LEFT + x, top + y)
        });
        points.collect::<Vec<_>>().join(" ")
    };
    let written = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{:.0}\">{title}</text>\n<text x=\"4\" y=\"{:.0}\">{high:.3}</text>\n\
         <text x=\"4\" y=\"{:.0}\">{low:.3}</text>\n<text x=\"{:.0}\" y=\"{:.0}\" \
         text-anchor=\"end\">step {}</text>\n<rect x=\"{LEFT}\" y=\"{top}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" fill=\"none\" stroke=\"#ccc\"/>\n<polyline fill=\"none\" \
         stroke=\"#9ecae1\" points=\"{}\"/>\n<polyline fill=\"none\" stroke=\"#08519c\" \
         stroke-width=\"2\" points=\"{}\"/>",
        top - 6.0,
        top + 10.0,
        top + HEIGHT,
        LEFT + WIDTH,
        top + HEIGHT + 15.0,
        values.len(),
        line(values),
        line(&running_mean(values)),
    );
    debug_assert!(written.is_ok(), "writing into a string does not fail");
}

/// A mean that forgets: of about a twentieth of all steps.
fn running_mean(values: &[f32]) -> Vec<f32> {
    let share = 1.0 / (values.len() as f32 / 20.0).max(1.0);
    let mut mean = values.first().copied().unwrap_or_default();
    let next = |value: &f32| {
        mean += share * (value - mean);
        mean
    };
    values.iter().map(next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_falling_loss_is_drawn_from_the_upper_left_to_the_lower_right() {
        let svg = svg(&[("total", vec![3.0, 2.0, 1.0]), ("VTC", vec![0.0; 3])]);
        assert!(svg.contains("points=\"70.0,30.0 390.0,90.0 710.0,150.0\""), "{svg}");
        assert_eq!(svg.matches("<polyline").count(), 4);
    }
}
