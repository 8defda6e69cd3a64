use std::fmt;
use std::str::FromStr;

/// Lengths of the sequences of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    name: String,
    lengths: Vec<usize>,
}

impl Shape {
    /// Length of every sequence.
    #[must_use]
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Tokens of all sequences.
    #[must_use]
    pub fn n_tokens(&self) -> usize {
        self.lengths.iter().sum()
    }
}

impl Default for Shape {
    /// One sequence of 512 tokens.
    fn default() -> Self {
        Self { name: "1x512".to_owned(), lengths: vec![512] }
    }
}

impl FromStr for Shape {
    type Err = String;

    /// `16x2048`: sequences and their length; `300x40-180`: lengths spread evenly over a range.
    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is not a shape; write 16x2048, or 300x40-180 for lengths from 40 to 180");
        let (count, length) = text.split_once('x').ok_or_else(refuse)?;
        let count: usize = count.parse().map_err(|_| refuse())?;
        let (low, high) = length.split_once('-').unwrap_or((length, length));
        let (low, high): (usize, usize) = (low.parse().map_err(|_| refuse())?, high.parse().map_err(|_| refuse())?);
        if count == 0 || low == 0 || high < low {
            return Err(refuse());
        }
        // A step that shares no factor with the range visits every length before it repeats one.
        let span = high - low + 1;
        let step = (span * 618 / 1000).max(1);
        let step = (step..step + span).find(|step| gcd(*step, span) == 1).unwrap_or(1);
        let lengths = (0..count).map(|index| low + index * step % span).collect();
        Ok(Self { name: text.to_owned(), lengths })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Prompts, and how many tokens follow each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generate {
    /// The prompts.
    pub prompts: Shape,
    /// Tokens generated after each, 1 at least: the first comes with the prompt, each of the others costs a step.
    pub tokens: usize,
}

impl FromStr for Generate {
    type Err = String;

    /// `16x2048+100`: 100 tokens after each of 16 prompts of 2048.
    fn from_str(text: &str) -> Result<Self, String> {
        let refuse =
            || format!("`{text}` is not a generation; write 16x2048+100 for 100 tokens after 16 prompts of 2048");
        let (prompts, tokens) = text.split_once('+').ok_or_else(refuse)?;
        match tokens.parse() {
            Ok(tokens) if tokens > 0 => Ok(Self { prompts: prompts.parse()?, tokens }),
            _ => Err(refuse()),
        }
    }
}

impl fmt::Display for Generate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.prompts, self.tokens)
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_counts_and_lengths() {
        assert_eq!("2x5".parse::<Shape>().unwrap().lengths(), [5, 5]);
        let mixed: Shape = "300x40-180".parse().unwrap();
        assert_eq!((mixed.lengths().len(), *mixed.lengths().iter().min().unwrap()), (300, 40));
        assert_eq!(*mixed.lengths().iter().max().unwrap(), 180);
        // Evenly spread: the mean is near the middle.
        assert!((107..=113).contains(&(mixed.n_tokens() / 300)), "{}", mixed.n_tokens());
        for wrong in ["5", "0x3", "3x0", "2x9-3", "ax3"] {
            assert!(wrong.parse::<Shape>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn generations_are_prompts_and_a_count() {
        let generate: Generate = "2x5+3".parse().unwrap();
        assert_eq!((generate.prompts.lengths(), generate.tokens), (&[5, 5][..], 3));
        assert_eq!(generate.to_string(), "2x5+3");
        for wrong in ["2x5", "2x5+0", "2x5+", "2x5+x", "5+3"] {
            assert!(wrong.parse::<Generate>().is_err(), "{wrong}");
        }
    }
}
