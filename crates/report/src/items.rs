//! Items under two arms, for a terminal: text with its removed tokens struck out, and what both sides made of it.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use analysis::items::{ItemPair, ItemPairs, ItemSide};

use crate::text::{fixed, terminal};

/// How marks are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// Removed tokens as `[-token-]`, necessary ones as `*token*`.
    Plain,
    /// Removed tokens struck out in colour, necessary ones bold and underlined, as a terminal shows them.
    Ansi,
}

/// What `sweep items` prints; at most `most` items of each pair of cells.
#[must_use]
pub fn items(all: &[ItemPairs], most: usize, marks: Marks) -> String {
    let mut out = String::new();
    // A string takes every text.
    let _ = all.iter().try_for_each(|pairs| write(&mut out, pairs, most, marks));
    if all.iter().any(|pairs| !pairs.pairs.is_empty()) {
        let _ = writeln!(out, "{}", marks.legend());
    }
    out
}

fn write(out: &mut String, pairs: &ItemPairs, most: usize, marks: Marks) -> fmt::Result {
    let ItemPairs { model, protocol, task, setting, labels, achieved, items, lost_and_gained, pairs } = pairs;
    let [lost, gained] = lost_and_gained;
    let head = format!("{}, {protocol}, {}, {setting}", terminal(model), terminal(task));
    writeln!(out, "{}", marks.bold(&head))?;
    writeln!(out, "A  {} (achieved {:.1} %)", terminal(&labels[0]), achieved[0] * 100.0)?;
    writeln!(out, "B  {} (achieved {:.1} %)", terminal(&labels[1]), achieved[1] * 100.0)?;
    writeln!(out, "of {items} items B loses {lost} and gains {gained}\n")?;
    for pair in pairs.iter().take(most) {
        item(out, pair, marks)?;
    }
    if pairs.len() > most {
        writeln!(out, "and {} more: --most shows more of them\n", pairs.len() - most)?;
    }
    Ok(())
}

fn item(out: &mut String, pair: &ItemPair, marks: Marks) -> fmt::Result {
    let ItemPair { text, sides } = pair;
    let verdicts = sides.each_ref().map(|side| match side.record.correct {
        Some(true) => "right",
        Some(false) => "wrong",
        None => "scored",
    });
    let id = marks.bold(&terminal(&text.item_id));
    writeln!(out, "{id}  A {}, B {}", verdicts[0], verdicts[1])?;
    let reduces = |side: &ItemSide| side.fates.as_ref().is_none_or(|fates| !fates.is_empty());
    for (name, side) in ["A", "B"].into_iter().zip(sides) {
        // A text without a removed token is shown once.
        if name == "A" && !reduces(side) {
            continue;
        }
        writeln!(out, "  {name}: {}", struck(&text.tokens, text.context_tokens, &text.necessary, side, marks))?;
        match &side.fates {
            None => writeln!(
                out,
                "     (its plan is not recorded: `record_plans: lost` or `all` in the experiment, run into another folder, records it)"
            )?,
            Some(fates) => {
                let sites: BTreeSet<usize> = fates.values().map(|fate| fate.site).collect();
                let counts = sites.iter().map(|site| {
                    let of = fates.values().filter(|fate| fate.site == *site);
                    let merged = of.clone().filter(|fate| fate.into.is_some()).count();
                    let dropped = of.count() - merged;
                    match (dropped, merged) {
                        (dropped, 0) => format!("layer {site} drops {dropped}"),
                        (0, merged) => format!("layer {site} merges {merged}"),
                        (dropped, merged) => format!("layer {site} drops {dropped} and merges {merged}"),
                    }
                });
                let counts: Vec<String> = counts.collect();
                if !counts.is_empty() {
                    writeln!(out, "     {}", counts.join("; "))?;
                }
            }
        }
    }
    scores(out, pair, marks)?;
    writeln!(out)
}

/// The choices, or the target, with their log-likelihoods under both arms.
fn scores(out: &mut String, pair: &ItemPair, marks: Marks) -> fmt::Result {
    let ItemPair { text, sides: [a, b] } = pair;
    let names: Vec<String> = if text.choices.is_empty() {
        match &text.target {
            Some(target) => vec![target.clone()],
            None => (0..b.record.loglikelihoods.len()).map(|window| format!("window {}", window + 1)).collect(),
        }
    } else {
        text.choices.clone()
    };
    let names: Vec<String> = names.iter().map(|name| on_one_line(name.trim())).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).clamp(6, 60);
    writeln!(out, "    {:width$}  {:>10}  {:>10}", "", "log-lik. A", "log-lik. B")?;
    for (index, name) in names.iter().enumerate() {
        let of = |side: &ItemSide| {
            let value = side.record.loglikelihoods.get(index).copied().unwrap_or(f64::NAN);
            let chosen = if text.choices.is_empty() {
                side.record.correct == Some(true)
            } else {
                side.record.predicted == Some(index as u32)
            };
            format!("{:>10}{}", fixed(value, 3), if chosen { "<" } else { " " })
        };
        let is_right = !text.choices.is_empty() && text.gold == Some(index as u32);
        let short: String = crate::text::shortened(name, width);
        let padded = format!("{short:width$}");
        let padded = if is_right { marks.bold(&padded) } else { padded };
        let star = if is_right { '*' } else { ' ' };
        let line = format!("  {star} {padded}  {} {}", of(a), of(b));
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn on_one_line(text: &str) -> String {
    terminal(&text.replace('\n', "\u{21B5}"))
}

/// The tokens of the sequence with marks. Into which token one was merged, its position says.
fn struck(tokens: &[String], context: usize, necessary: &[u32], side: &ItemSide, marks: Marks) -> String {
    let fates = side.fates.clone().unwrap_or_default();
    let targets: BTreeSet<u32> = fates.values().filter_map(|fate| fate.into).collect();
    // A longer sequence is that of another choice, with the padding of its batch.
    let shown = if side.tokens == tokens.len() { side.tokens } else { context };
    let mut out = String::new();
    for (position, token) in tokens[..shown].iter().enumerate() {
        let position = position as u32;
        let body = token.trim_start();
        out += &on_one_line(&token[..token.len() - body.len()]);
        let mut word = on_one_line(body);
        if necessary.contains(&position) {
            word = marks.necessary(&word);
        }
        word = match fates.get(&position) {
            Some(fate) => marks.removed(&word, fate.into),
            None => word,
        };
        out += &word;
        if targets.contains(&position) {
            out += &marks.place(position);
        }
    }
    out
}

impl Marks {
    fn wrapped(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Ansi => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }

    fn bold(self, text: &str) -> String {
        self.wrapped("1", text)
    }

    fn necessary(self, word: &str) -> String {
        match self {
            Self::Plain => format!("*{word}*"),
            Self::Ansi => format!("\u{1b}[1;4m{word}\u{1b}[22;24m"),
        }
    }

    fn removed(self, word: &str, into: Option<u32>) -> String {
        let arrow = into.map_or_else(String::new, |into| format!("\u{2192}{into}"));
        match self {
            Self::Plain => format!("[-{word}{arrow}-]"),
            Self::Ansi => {
                let colour = if into.is_some() { "9;32" } else { "9;31" };
                self.wrapped(colour, word) + &if arrow.is_empty() { arrow } else { self.wrapped("2", &arrow) }
            }
        }
    }

    /// What the marks mean.
    fn legend(self) -> String {
        let (removed, merged) = (self.removed("word", None), self.removed("word", Some(7)));
        let (place, necessary) = (self.place(7), self.necessary("word"));
        format!(
            "{removed} removed; {merged} merged into the token before {place}; {necessary} needed for the answer; * the right choice; < chosen"
        )
    }

    /// The position of a token that others were merged into.
    fn place(self, position: u32) -> String {
        let place = format!("{{{position}}}");
        if self == Self::Ansi { self.wrapped("2", &place) } else { place }
    }
}
