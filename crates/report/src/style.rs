//! How every strategy looks, in one place: colour (Okabe–Ito), marker and dash, and the heading of its family's panel.
//!
//! The dash is that of the family, the marker that of the rule; the released code of a rule has its colour and its marker, hollow. No two
//! rules share marker and dash, so colour is not needed to tell them apart.

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
const SHORT: &[f64] = &[2.2, 1.2];

const ORANGE: Ink = Ink(230, 159, 0, 1.0);
const SKY: Ink = Ink(86, 180, 233, 1.0);
const GREEN: Ink = Ink(0, 158, 115, 1.0);
const BLUE: Ink = Ink(0, 114, 178, 1.0);
const VERMILLION: Ink = Ink(213, 94, 0, 1.0);
const PURPLE: Ink = Ink(204, 121, 167, 1.0);
// Okabe and Ito's yellow is too light for a thin line on white; this is the same hue, darker.
const YELLOW: Ink = Ink(186, 168, 0, 1.0);
const BLACK: Ink = Ink(20, 20, 20, 1.0);
const GREY: Ink = Ink(105, 105, 105, 1.0);

/// Looks given in turn to series without one of their own: models, option values, unknown strategies.
const CYCLE: [Style; 8] = [
    Style { ink: BLUE, marker: Marker::Circle, dash: SOLID },
    Style { ink: VERMILLION, marker: Marker::Square, dash: DASHED },
    Style { ink: GREEN, marker: Marker::Up, dash: DASH_DOT },
    Style { ink: PURPLE, marker: Marker::Diamond, dash: DOTTED },
    Style { ink: ORANGE, marker: Marker::Down, dash: LONG },
    Style { ink: SKY, marker: Marker::Plus, dash: SOLID },
    Style { ink: YELLOW, marker: Marker::Cross, dash: DASHED },
    Style { ink: BLACK, marker: Marker::Ring, dash: DASH_DOT },
];

/// The dash of a family.
const CONTROL: &[f64] = SHORT;
const PRUNING: &[f64] = SOLID;
const MERGING: &[f64] = DASHED;
const STATE_AWARE: &[f64] = DASH_DOT;
const RELEASED: &[f64] = LONG;

/// Fixed looks.
const LOOKS: [(&str, Style); 28] = [
    ("dense", Style { ink: BLACK, marker: Marker::Circle, dash: SOLID }),
    ("random", Style { ink: GREY, marker: Marker::Circle, dash: CONTROL }),
    ("random_runs", Style { ink: YELLOW, marker: Marker::Diamond, dash: CONTROL }),
    ("block_causal_random", Style { ink: PURPLE, marker: Marker::OpenDiamond, dash: CONTROL }),
    ("uniform", Style { ink: ORANGE, marker: Marker::Square, dash: CONTROL }),
    ("drop_prefix", Style { ink: SKY, marker: Marker::Up, dash: CONTROL }),
    ("drop_suffix", Style { ink: PURPLE, marker: Marker::Down, dash: CONTROL }),
    ("inverted_top_k", Style { ink: BLACK, marker: Marker::Cross, dash: CONTROL }),
    ("split_branches", Style { ink: GREEN, marker: Marker::Plus, dash: CONTROL }),
    ("recent", Style { ink: BLUE, marker: Marker::OpenDiamond, dash: PRUNING }),
    ("top_p", Style { ink: GREEN, marker: Marker::OpenSquare, dash: PRUNING }),
    ("ltmp_thresholds", Style { ink: ORANGE, marker: Marker::OpenDown, dash: PRUNING }),
    ("ltmp", Style { ink: YELLOW, marker: Marker::OpenUp, dash: PRUNING }),
    ("tome", Style { ink: BLUE, marker: Marker::Square, dash: MERGING }),
    ("pumer", Style { ink: SKY, marker: Marker::Down, dash: MERGING }),
    ("utrc_steps", Style { ink: VERMILLION, marker: Marker::OpenSquare, dash: MERGING }),
    ("utrc", Style { ink: VERMILLION, marker: Marker::Circle, dash: MERGING }),
    ("local_merge", Style { ink: GREEN, marker: Marker::Up, dash: MERGING }),
    ("block_causal", Style { ink: PURPLE, marker: Marker::Diamond, dash: MERGING }),
    ("chunk_merge", Style { ink: ORANGE, marker: Marker::Plus, dash: MERGING }),
    ("state_merge", Style { ink: GREEN, marker: Marker::Circle, dash: STATE_AWARE }),
    ("hold_state", Style { ink: BLUE, marker: Marker::Square, dash: STATE_AWARE }),
    ("mtr", Style { ink: PURPLE, marker: Marker::Diamond, dash: STATE_AWARE }),
    ("write_read", Style { ink: ORANGE, marker: Marker::Cross, dash: STATE_AWARE }),
    ("decimate", Style { ink: SKY, marker: Marker::Up, dash: STATE_AWARE }),
    ("utrc_released", Style { ink: VERMILLION, marker: Marker::Ring, dash: RELEASED }),
    ("evit_released", Style { ink: PURPLE, marker: Marker::OpenDiamond, dash: RELEASED }),
    ("pumer_released", Style { ink: SKY, marker: Marker::OpenDown, dash: RELEASED }),
];

/// Fixed look of a strategy, where it has one.
pub(super) fn style(strategy: &str) -> Option<Style> {
    LOOKS.iter().find(|(name, _)| *name == strategy).map(|(_, style)| *style)
}

/// The line of the baseline, from which all differ.
pub(super) const REFERENCE: Style = Style { ink: BLACK, marker: Marker::Nothing, dash: &[3.0, 1.5] };

/// Names of the strategies that have a fixed look.
pub(super) fn named() -> impl Iterator<Item = &'static str> {
    LOOKS.iter().map(|(name, _)| *name)
}

/// The look of another setting of the same strategy: same hue and dash, lighter, with a marker of its own.
pub(super) fn variant(own: Style, index: usize) -> Style {
    const OTHERS: [Marker; 4] = [Marker::OpenSquare, Marker::Plus, Marker::Cross, Marker::Diamond];
    if index == 0 {
        return own;
    }
    let marker = OTHERS[(index - 1) % OTHERS.len()];
    let ink = own.ink.mix(Ink(255, 255, 255, 1.0), (0.15 * index as f64).min(0.5));
    Style { ink, marker, ..own }
}

/// Look number `index` of the importance metrics, which have the dash of pruning in common.
pub(super) fn importance(index: usize) -> Style {
    Style { dash: PRUNING, ..cycle(index) }
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

/// Look number `index` of other models without a rule: that of the baseline, with a ring first, which no rule has in black.
pub(super) fn rival(index: usize) -> Style {
    Style { ink: REFERENCE.ink, ..cycle(CYCLE.len() - 1 + index) }
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

/// Colour of a change: 1 for better, -1 for worse, anything else where that is open.
pub(super) fn change(direction: i8) -> Ink {
    match direction {
        1 => BLUE,
        -1 => VERMILLION,
        _ => GREY,
    }
}

/// Look of a verdict.
pub(super) fn verdict(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Supported => Style { ink: BLUE, marker: Marker::Circle, dash: SOLID },
        Verdict::Smaller => Style { ink: ORANGE, marker: Marker::Square, dash: SOLID },
        Verdict::Opposite => Style { ink: VERMILLION, marker: Marker::Diamond, dash: SOLID },
        Verdict::Undecided => Style { ink: GREY, marker: Marker::Ring, dash: SOLID },
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
        let families: [&[&str]; 5] = [
            &[
                "random",
                "random_runs",
                "block_causal_random",
                "uniform",
                "drop_prefix",
                "drop_suffix",
                "inverted_top_k",
                "split_branches",
            ],
            &["recent", "top_p", "ltmp", "ltmp_thresholds"],
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
    fn no_two_rules_share_marker_and_dash() {
        for (i, (a, x)) in LOOKS.iter().enumerate().skip(1) {
            for (b, y) in &LOOKS[i + 1..] {
                assert!(x.marker != y.marker || x.dash != y.dash, "{a} and {b}");
            }
            for (metric, y) in (0..8).map(|rank| (rank, importance(rank))) {
                assert!(x.marker != y.marker || x.dash != y.dash, "{a} and metric {metric}");
            }
        }
        // Related rules are told apart by their markers alone.
        for (a, b) in [("tome", "evit_released"), ("utrc", "utrc_released"), ("pumer", "pumer_released")] {
            let (x, y) = (style(a).expect("a style"), style(b).expect("a style"));
            assert!(x.marker != y.marker && x.dash != y.dash, "{a} and {b}");
        }
    }

    #[test]
    fn controls_are_no_greys() {
        let grey = |ink: Ink| ink.0 == ink.1 && ink.1 == ink.2 && ink.0 > 60;
        let controls = LOOKS.iter().filter(|(_, style)| style.dash == CONTROL);
        let greys: Vec<&str> = controls.filter(|(_, style)| grey(style.ink)).map(|(name, _)| *name).collect();
        assert_eq!(greys, ["random"], "the reference of every panel alone");
    }

    #[test]
    fn zero_is_neutral_and_the_ends_are_saturated() {
        assert_eq!(diverging(0.0), Ink(247, 247, 247, 1.0));
        assert_eq!(diverging(-1.0), Ink(165, 15, 35, 1.0));
        assert_eq!(diverging(7.0), diverging(1.0));
    }
}
