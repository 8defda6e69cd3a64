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
}
