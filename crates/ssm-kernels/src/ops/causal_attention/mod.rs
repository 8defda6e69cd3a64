mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Device, Tensor};

use crate::error::{KernelError, expect_shape, unsupported};
use crate::host::F32View;
use crate::segments::Segments;

const OP: &str = "causal_attention";

/// Keys and values of the tokens before a segment: what a KV cache holds of one layer.
#[derive(Clone, Debug)]
pub struct KeysValues {
    /// `[tokens, kv_heads * head_dim]`, turned by their positions.
    pub keys: Tensor,
    /// `[tokens, kv_heads * head_dim]`
    pub values: Tensor,
}

/// Arguments of [`causal_attention`].
#[derive(Clone, Copy)]
pub struct AttentionInput<'a> {
    /// `[tokens, heads * head_dim]`
    pub queries: &'a Tensor,
    /// `[tokens, kv_heads * head_dim]`
    pub keys: &'a Tensor,
    /// `[tokens, kv_heads * head_dim]`
    pub values: &'a Tensor,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values, each read by `heads / kv_heads` neighbouring heads of the queries
    /// (<https://arxiv.org/abs/2305.13245>); as many as `heads` where every head has its own.
    pub kv_heads: usize,
    /// Which rows belong to which sequence.
    pub segments: &'a Segments,
    /// What stands before each segment, one entry per segment; only those of root segments are read. Nothing where absent.
    pub initial: Option<&'a [KeysValues]>,
}

/// Softmax attention with a causal mask: `softmax(q K^T / sqrt(head_dim)) V`, head by head.
///
/// A row sees the initial keys of its tree's root, all rows of the segments that its own one descends from, and the rows of
/// its own segment up to itself. Its bits depend on these alone, not on what else stands in the stream or behind it.
///
/// # Shapes
/// - result: `[tokens, heads * head_dim]`, of the dtype of the queries
///
/// # Errors
/// Shapes, dtypes or devices that do not fit.
pub fn causal_attention(input: &AttentionInput<'_>) -> Result<Tensor, KernelError> {
    match input.queries.device() {
        Device::Cpu => on_cpu(input),
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => cuda::causal_attention(input),
        other => Err(unsupported(OP, other, input.queries.dtype())),
    }
}

fn on_cpu(input: &AttentionInput<'_>) -> Result<Tensor, KernelError> {
    let Shape { rows, width, kv_width } = check(input)?;
    let view = |tensor, name| F32View::new(tensor, OP, name);
    let (queries, keys, values) =
        (view(input.queries, "queries")?, view(input.keys, "keys")?, view(input.values, "values")?);
    let mut initial = Vec::new();
    for cache in input.initial.unwrap_or_default() {
        initial.push((view(&cache.keys, "initial keys")?, view(&cache.values, "initial values")?));
    }
    let attention = cpu::Attention {
        queries: &queries,
        keys: &keys,
        values: &values,
        width,
        kv_width,
        head_dim: width / input.heads,
        segments: input.segments,
        initial: initial.iter().map(|(keys, values)| (&**keys, &**values)).collect(),
    };
    Ok(Tensor::from_vec(attention.run(), (rows, width), input.queries.device())?)
}

/// Sizes of a call whose shapes fit.
struct Shape {
    rows: usize,
    /// Channels of the queries.
    width: usize,
    /// Channels of the keys, and of the values.
    kv_width: usize,
}

fn check(input: &AttentionInput<'_>) -> Result<Shape, KernelError> {
    let (rows, width) = input.queries.dims2()?;
    expect_shape(OP, "queries", &[rows, width], &[input.segments.n_tokens(), width])?;
    if input.heads == 0 || !width.is_multiple_of(input.heads) {
        expect_shape(OP, "queries", &[rows, width], &[rows, width.next_multiple_of(input.heads.max(1)).max(1)])?;
    }
    if input.kv_heads == 0 || !input.heads.is_multiple_of(input.kv_heads) {
        return Err(KernelError::Shape {
            op: OP,
            tensor: "keys",
            expected: format!("a number of heads that divides {}", input.heads),
            got: vec![input.kv_heads],
        });
    }
    let kv_width = width / input.heads * input.kv_heads;
    expect_shape(OP, "keys", input.keys.dims(), &[rows, kv_width])?;
    expect_shape(OP, "values", input.values.dims(), &[rows, kv_width])?;
    if let Some(caches) = input.initial {
        expect_shape(OP, "initial", &[caches.len()], &[input.segments.len()])?;
        for cache in caches {
            let length = cache.keys.dims().first().copied().unwrap_or(0);
            expect_shape(OP, "initial keys", cache.keys.dims(), &[length, kv_width])?;
            expect_shape(OP, "initial values", cache.values.dims(), &[length, kv_width])?;
        }
    }
    Ok(Shape { rows, width, kv_width })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Values, bits};
    use super::*;

    struct Case {
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
    }

    impl Case {
        fn new(values: &mut Values, rows: usize, width: usize) -> Self {
            let mut tensor = || values.tensor(&[rows, width], -2.0, 2.0);
            Self { queries: tensor(), keys: tensor(), values: tensor() }
        }

        fn input<'a>(
            &'a self,
            heads: usize,
            segments: &'a Segments,
            initial: Option<&'a [KeysValues]>,
        ) -> AttentionInput<'a> {
            let Self { queries, keys, values } = self;
            AttentionInput { queries, keys, values, heads, kv_heads: heads, segments, initial }
        }

        fn rows(&self, start: usize, length: usize) -> Self {
            let part = |x: &Tensor| x.narrow(0, start, length).unwrap().contiguous().unwrap();
            Self { queries: part(&self.queries), keys: part(&self.keys), values: part(&self.values) }
        }
    }

    #[test]
    fn a_segment_alone_has_the_bits_of_the_same_segment_packed() {
        let mut values = Values(22);
        let segments = Segments::independent(&[5, 70, 2]);
        let case = Case::new(&mut values, 77, 64);
        let packed = causal_attention(&case.input(2, &segments, None)).unwrap();
        let alone = case.rows(5, 70);
        let alone = causal_attention(&alone.input(2, &Segments::independent(&[70]), None)).unwrap();
        assert_eq!(bits(&packed.narrow(0, 5, 70).unwrap()), bits(&alone));
    }

    #[test]
    fn rows_behind_a_row_leave_its_bits_alone() {
        let mut values = Values(23);
        let case = Case::new(&mut values, 70, 64);
        let whole = causal_attention(&case.input(2, &Segments::independent(&[70]), None)).unwrap();
        for length in [1, 2, 3, 4, 5, 15, 16, 17, 63, 69] {
            let cut = case.rows(0, length);
            let cut = causal_attention(&cut.input(2, &Segments::independent(&[length]), None)).unwrap();
            assert_eq!(bits(&whole.narrow(0, 0, length).unwrap()), bits(&cut), "{length}");
        }
    }

    #[test]
    fn children_have_the_bits_of_a_stored_cache() {
        let mut values = Values(24);
        let case = Case::new(&mut values, 30 + 6 + 6, 64);
        let tree = Segments::new(&[30, 6, 6], &[None, Some(0), Some(1)]).unwrap();
        let forked = causal_attention(&case.input(2, &tree, None)).unwrap();
        let before = case.rows(0, 36);
        let cache = [KeysValues { keys: before.keys, values: before.values }];
        let stored = case.rows(36, 6);
        let stored = causal_attention(&stored.input(2, &Segments::independent(&[6]), Some(&cache))).unwrap();
        assert_eq!(bits(&forked.narrow(0, 36, 6).unwrap()), bits(&stored));
    }

    #[test]
    fn large_scores_let_no_masked_key_through() {
        let segments = Segments::independent(&[20]);
        let mut case = Case::new(&mut Values(25), 20, 16);
        case.queries = (case.queries * 1e3).unwrap();
        case.keys = (case.keys * -1e3).unwrap();
        let input = case.input(1, &segments, None);
        let got = causal_attention(&input).unwrap();
        let first = got.narrow(0, 0, 1).unwrap();
        assert_eq!(bits(&first), bits(&case.values.narrow(0, 0, 1).unwrap()), "the first row sees itself alone");
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let case = Case::new(&mut Values(26), 4, 6);
        let segments = Segments::independent(&[4]);
        let refusal = |input: AttentionInput<'_>| causal_attention(&input).unwrap_err().to_string();
        assert_eq!(
            refusal(case.input(4, &segments, None)),
            "causal_attention: queries has shape [4, 6], expected [4, 8]"
        );
        assert_eq!(
            refusal(case.input(2, &Segments::independent(&[3]), None)),
            "causal_attention: queries has shape [4, 6], expected [3, 6]"
        );
        assert_eq!(
            refusal(case.input(2, &segments, Some(&[]))),
            "causal_attention: initial has shape [0], expected [1]"
        );
    }
}
