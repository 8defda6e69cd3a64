//! How every strategy looks, in one place: colour (Okabe–Ito), marker and dash, and the heading of its family's panel.
//!
//! Colours repeat between families, never within one; marker and dash tell series apart without colour.

use analysis::Verdict;
use records::Family;

use super::canvas::{Ink, Marker};

/// Heading of a family's panel.
pub(super) fn title(family: Family) -> &'static str {
    match family {
        Family::Baseline => "Baseline",
        Family::Control => "Controls",
        Family::Pruning => "Pruning by importance",
        Family::Merging => "Merging",
        Family::StateAware => "State-aware rules",
        Family::Released => "Released code",
    }
}

/// Heading where panels are narrow.
pub(super) fn short_title(family: Family) -> &'static str {
    match family {
        Family::Pruning => "Pruning",
        Family::StateAware => "State-aware",
        Family::Released => "Released",
        other => title(other),
    }
}

/// Look of one series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) ink: Ink,
    pub(super) marker: Marker,
    pub(super) dash: &'static [f64],
}

const SOLID: &[f64] = &[];
const DASHED: &[f64] = &[4.0, 2.0];
const DOTTED: &[f64] = &[1.2, 1.6];
const DASH_DOT: &[f64] = &[5.0, 1.5, 1.2, 1.5];
const LONG: &[f64] = &[7.0, 2.0];

const ORANGE: Ink = Ink(230, 159, 0, 1.0);
const SKY: Ink = Ink(86, 180, 233, 1.0);
const GREEN: Ink = Ink(0, 158, 115, 1.0);
const BLUE: Ink = Ink(0, 114, 178, 1.0);
const VERMILLION: Ink = Ink(213, 94, 0, 1.0);
const PURPLE: Ink = Ink(204, 121, 167, 1.0);
// Okabe and Ito's yellow is too light for a thin line on white; this is the same hue, darker.
const YELLOW: Ink = Ink(186, 168, 0, 1.0);
const DARK: Ink = Ink(40, 40, 40, 1.0);
const MID: Ink = Ink(105, 105, 105, 1.0);
const LIGHT: Ink = Ink(150, 150, 150, 1.0);

/// Looks given in turn to series without one of their own: importance metrics, option values, unknown strategies.
const CYCLE: [Style; 8] = [
    Style { ink: BLUE, marker: Marker::Circle, dash: SOLID },
    Style { ink: VERMILLION, marker: Marker::Square, dash: DASHED },
    Style { ink: GREEN, marker: Marker::Up, dash: DASH_DOT },
    Style { ink: PURPLE, marker: Marker::Diamond, dash: DOTTED },
    Style { ink: ORANGE, marker: Marker::Down, dash: LONG },
    Style { ink: SKY, marker: Marker::Plus, dash: SOLID },
    Style { ink: YELLOW, marker: Marker::Cross, dash: DASHED },
    Style { ink: DARK, marker: Marker::Ring, dash: DASH_DOT },
];

/// Fixed looks. Strategies that share one belong to different families.
const LOOKS: [(&str, Style); 22] = [
    ("dense", Style { ink: DARK, marker: Marker::Circle, dash: SOLID }),
    ("random", Style { ink: LIGHT, marker: Marker::Circle, dash: SOLID }),
    ("uniform", Style { ink: MID, marker: Marker::Square, dash: DASHED }),
    ("drop_prefix", Style { ink: LIGHT, marker: Marker::Up, dash: DOTTED }),
    ("drop_suffix", Style { ink: MID, marker: Marker::Down, dash: DASH_DOT }),
    ("inverted_top_k", Style { ink: DARK, marker: Marker::Cross, dash: LONG }),
    ("split_branches", Style { ink: MID, marker: Marker::Plus, dash: DOTTED }),
    ("ltmp", Style { ink: YELLOW, marker: Marker::Cross, dash: DASHED }),
    ("tome", Style { ink: BLUE, marker: Marker::Square, dash: DASHED }),
    ("pumer", Style { ink: SKY, marker: Marker::Down, dash: DASH_DOT }),
    ("utrc", Style { ink: VERMILLION, marker: Marker::Circle, dash: SOLID }),
    ("local_merge", Style { ink: GREEN, marker: Marker::Up, dash: LONG }),
    ("block_causal", Style { ink: PURPLE, marker: Marker::Diamond, dash: DOTTED }),
    ("chunk_merge", Style { ink: YELLOW, marker: Marker::Plus, dash: SOLID }),
    ("state_merge", Style { ink: GREEN, marker: Marker::Circle, dash: SOLID }),
    ("hold_state", Style { ink: BLUE, marker: Marker::Square, dash: DASHED }),
    ("mtr", Style { ink: PURPLE, marker: Marker::Diamond, dash: DOTTED }),
    ("write_read", Style { ink: VERMILLION, marker: Marker::Cross, dash: LONG }),
    ("decimate", Style { ink: ORANGE, marker: Marker::Up, dash: DASH_DOT }),
    ("utrc_released", Style { ink: VERMILLION, marker: Marker::Circle, dash: SOLID }),
    ("evit_released", Style { ink: BLUE, marker: Marker::Square, dash: DASHED }),
    ("pumer_released", Style { ink: SKY, marker: Marker::Down, dash: DASH_DOT }),
];

/// Fixed look of a strategy, where it has one.
pub(super) fn style(strategy: &str) -> Option<Style> {
    LOOKS.iter().find(|(name, _)| *name == strategy).map(|(_, style)| *style)
}

/// Names of the strategies that have a fixed look.
pub(super) fn named() -> impl Iterator<Item = &'static str> {
    LOOKS.iter().map(|(name, _)| *name)
}

/// The look of another setting of the same strategy: same hue, lighter, with its own marker and dash.
pub(super) fn variant(own: Style, index: usize) -> Style {
    const OTHERS: [(Marker, &[f64]); 4] =
        [(Marker::Ring, DOTTED), (Marker::Plus, LONG), (Marker::Cross, DASH_DOT), (Marker::Diamond, DASHED)];
    if index == 0 {
        return own;
    }
    let (marker, dash) = OTHERS[(index - 1) % OTHERS.len()];
    let ink = own.ink.mix(Ink(255, 255, 255, 1.0), (0.15 * index as f64).min(0.5));
    Style { ink, marker, dash }
}

/// Position in the cycle that belongs to an importance metric, so that a metric looks the same in every report.
pub(super) fn importance_rank(importance: &str) -> Option<usize> {
    ["clip", "l1", "dt_mean", "l2", "write_norm", "hidden_attention", "sum", "oracle"]
        .iter()
        .position(|&known| known == importance)
}

/// Look number `index` of the cycle.
pub(super) fn cycle(index: usize) -> Style {
    CYCLE[index % CYCLE.len()]
}

/// Colours of the protocols, where they are shown side by side.
pub(super) fn protocol(name: &str, index: usize) -> Style {
    match name {
        "context" => Style { ink: BLUE, marker: Marker::Circle, dash: SOLID },
        "upstream" => Style { ink: VERMILLION, marker: Marker::Diamond, dash: DASHED },
        "aligned" => Style { ink: GREEN, marker: Marker::Square, dash: DOTTED },
        "causal" => Style { ink: PURPLE, marker: Marker::Up, dash: DASH_DOT },
        _ => cycle(index),
    }
}

/// Look of a verdict.
pub(super) fn verdict(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Supported => Style { ink: BLUE, marker: Marker::Circle, dash: SOLID },
        Verdict::Refuted => Style { ink: VERMILLION, marker: Marker::Diamond, dash: SOLID },
        Verdict::Undecided => Style { ink: LIGHT, marker: Marker::Ring, dash: SOLID },
    }
}

/// Diverging colour of a share in -1..=1: reds below zero, blues above, near white at zero.
pub(super) fn diverging(share: f64) -> Ink {
    const NEGATIVE: [Ink; 5] = [
        Ink(247, 247, 247, 1.0),
        Ink(253, 219, 199, 1.0),
        Ink(244, 165, 130, 1.0),
        Ink(214, 96, 77, 1.0),
        Ink(165, 15, 35, 1.0),
    ];
    const POSITIVE: [Ink; 5] = [
        Ink(247, 247, 247, 1.0),
        Ink(209, 229, 240, 1.0),
        Ink(146, 197, 222, 1.0),
        Ink(67, 147, 195, 1.0),
        Ink(25, 85, 150, 1.0),
    ];
    let ramp = if share < 0.0 { NEGATIVE } else { POSITIVE };
    let position = share.abs().min(1.0) * 4.0;
    let below = (position.floor() as usize).min(3);
    ramp[below].mix(ramp[below + 1], position - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_of_one_family_look_different() {
        let families: [&[&str]; 4] = [
            &["random", "uniform", "drop_prefix", "drop_suffix", "inverted_top_k", "split_branches"],
            &["tome", "pumer", "utrc", "local_merge", "block_causal", "chunk_merge"],
            &["state_merge", "hold_state", "mtr", "decimate", "write_read"],
            &["utrc_released", "evit_released", "pumer_released"],
        ];
        for names in families {
            for (i, a) in names.iter().enumerate() {
                for b in &names[i + 1..] {
                    let (x, y) = (style(a).expect("a style"), style(b).expect("a style"));
                    assert!(x.marker != y.marker, "{a} and {b}");
                }
            }
        }
    }

    #[test]
    fn zero_is_neutral_and_the_ends_are_saturated() {
        assert_eq!(diverging(0.0), Ink(247, 247, 247, 1.0));
        assert_eq!(diverging(-1.0), Ink(165, 15, 35, 1.0));
        assert_eq!(diverging(7.0), diverging(1.0));
    }
}
