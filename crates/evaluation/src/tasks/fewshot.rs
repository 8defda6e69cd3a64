//! Solved examples before a question, drawn as lm-evaluation-harness draws them.

use rand_mt::Mt;

use super::TaskError;
use super::document::Document;
use super::prompting::Prompting;

/// Between examples, and between the last one and the question.
const DELIMITER: &str = "\n\n";

/// Which solved examples stand before a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draw {
    /// A random sample of all.
    Sample,
    /// A random sample of one more than is shown, which changes the draws that follow. The harness draws so where the task has no test
    /// split, to have enough if it drew the question itself.
    SampleWithSpare,
    /// The first ones under the heading of the question.
    First,
}

/// The documents with their headings and `prompting.fewshot` examples before the context of each request. One draw is made per
/// document, in file order, from one stream, so that the examples of a document depend on its place in the file, not on split and limit.
///
/// # Errors
/// Fewer examples than are to be drawn.
pub(super) fn with_examples(
    mut documents: Vec<Document>,
    examples: &[Document],
    task: &'static str,
    draw: Draw,
    prompting: &Prompting,
) -> Result<Vec<Document>, TaskError> {
    let n = prompting.fewshot;
    let mut random = PythonRandom::new(prompting.fewshot_seed);
    for document in &mut documents {
        let shown = if n == 0 { Vec::new() } else { pick(draw, n, &mut random, document, examples, task)? };
        let mut prefix = document.heading.clone();
        for example in shown {
            prefix += &example.solved();
            prefix += DELIMITER;
        }
        for request in &mut document.requests {
            request.context.insert_str(0, &prefix);
        }
    }
    Ok(documents)
}

/// The examples of one document, in the order in which they are shown.
fn pick<'e>(
    draw: Draw,
    n: usize,
    random: &mut PythonRandom,
    document: &Document,
    examples: &'e [Document],
    task: &'static str,
) -> Result<Vec<&'e Document>, TaskError> {
    if draw == Draw::First {
        let first: Vec<&Document> =
            examples.iter().filter(|example| example.heading == document.heading).take(n).collect();
        if first.len() < n {
            let heading = document.heading.trim_end().to_owned();
            return Err(TaskError::FewUnderHeading { task, wanted: n, there: first.len(), heading });
        }
        return Ok(first);
    }
    let drawn = n + usize::from(draw == Draw::SampleWithSpare);
    if examples.len() < drawn {
        return Err(TaskError::FewExamples { task, wanted: drawn, there: examples.len() });
    }
    Ok(random.sample(examples.len(), drawn).into_iter().take(n).map(|index| &examples[index]).collect())
}

/// `random.Random(seed)` of Python 3.11 and later, as far as `sample` needs it.
struct PythonRandom(Mt);

impl PythonRandom {
    fn new(seed: u64) -> Self {
        let words = [seed as u32, (seed >> 32) as u32];
        // As many words as the seed has; none stands for 0.
        let words = if words[1] == 0 { &words[..1] } else { &words[..] };
        Self(Mt::new_with_key(words.iter().copied()))
    }

    /// `_randbelow(n)`: as many high bits as `n` has, again until they are below it.
    fn below(&mut self, n: usize) -> usize {
        let bits = usize::BITS - n.leading_zeros();
        loop {
            let number = (self.0.next_u32() >> (32 - bits)) as usize;
            if number < n {
                return number;
            }
        }
    }

    /// `sample(range(n), k)`.
    fn sample(&mut self, n: usize, k: usize) -> Vec<usize> {
        // Python keeps a list where it is smaller than a set of the drawn numbers would be.
        let mut set_size = 21;
        if k > 5 {
            set_size += 4_usize.pow((3.0 * k as f64).log(4.0).ceil() as u32);
        }
        let mut chosen = Vec::with_capacity(k);
        if n <= set_size {
            let mut pool: Vec<usize> = (0..n).collect();
            for drawn in 0..k {
                let at = self.below(n - drawn);
                chosen.push(pool[at]);
                pool[at] = pool[n - drawn - 1];
            }
        } else {
            while chosen.len() < k {
                let at = self.below(n);
                if !chosen.contains(&at) {
                    chosen.push(at);
                }
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of `random.Random(seed)`, `sample(range(n), k)` twice.
    #[test]
    fn samples_are_pythons() {
        let twice = |seed, n, k| {
            let mut random = PythonRandom::new(seed);
            [random.sample(n, k), random.sample(n, k)]
        };
        assert_eq!(
            twice(1234, 20000, 5),
            [[14441, 3828, 245, 2970, 19078], [1144, 2750, 3225, 11620, 7759]].map(|numbers| numbers.to_vec())
        );
        assert_eq!(twice(1234, 10, 5), [[7, 1, 0, 9, 4], [0, 1, 8, 6, 2]].map(|numbers| numbers.to_vec()));
        assert_eq!(
            twice(0, 100, 6),
            [[49, 97, 53, 5, 33, 65], [62, 51, 38, 61, 45, 74]].map(|numbers| numbers.to_vec())
        );
        assert_eq!(
            twice(1_099_511_627_783, 3000, 26),
            [
                [
                    2513, 2619, 2336, 2890, 1949, 1027, 2521, 519, 2116, 1537, 2135, 2948, 1487, 1610, 1814, 1840,
                    1525, 923, 1821, 2434, 736, 562, 2174, 2995, 2342, 667
                ],
                [
                    128, 1035, 310, 1505, 547, 533, 2943, 2364, 2404, 126, 2316, 617, 214, 1427, 1197, 2480, 1956, 117,
                    1564, 2368, 1437, 1069, 1946, 1409, 2997, 2769
                ]
            ]
            .map(|numbers| numbers.to_vec())
        );
    }
}
