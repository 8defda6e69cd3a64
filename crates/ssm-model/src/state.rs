//! What a layer carries from token to token, as values: take them, clone them, hand them to children, continue.

use candle_core::Tensor;
use ssm_kernels::Segments;
use ssm_kernels::ops::KeysValues;

use crate::error::ModelError;

/// What one layer carries from token to token, for every segment of a packed call.
#[derive(Clone, Debug)]
pub enum LayerState {
    /// Of a Mamba or Mamba-2.
    Recurrent(RecurrentState),
    /// Of an attention layer.
    Attention(KeyValueCache),
    /// Of a layer with a scan and attention side by side.
    Both(RecurrentState, KeyValueCache),
    /// Of a layer that carries nothing: an MLP alone.
    Stateless,
}

/// State of a recurrent layer: the same size after any number of tokens. Float32, as upstream keeps it.
#[derive(Clone, Debug)]
pub struct RecurrentState {
    /// The last inputs of the convolution, oldest first: `[segments, conv_channels, d_conv]`.
    pub conv: Tensor,
    /// State of the scan: `[segments, d_inner, d_state]` (Mamba) or `[segments, nheads, headdim, d_state]` (Mamba-2).
    pub ssm: Tensor,
}

/// Keys and values of all tokens of a segment and of those before it: they grow with every token that was not removed.
#[derive(Clone, Debug)]
pub struct KeyValueCache {
    /// One entry per segment, `[tokens, kv_heads * head_dim]` each: keys are already turned by the positions of their rows.
    pub segments: Vec<KeysValues>,
    /// Position of the token that follows each segment.
    pub next_positions: Vec<u32>,
    /// The last inputs of the convolution over queries, keys and values, oldest first, where the layer has one:
    /// `[segments, channels, d_conv]`, float32.
    pub conv: Option<Tensor>,
}

impl LayerState {
    /// The states of some segments, in the order given; a segment may be taken several times.
    ///
    /// # Errors
    /// A segment that is not there.
    pub fn select(&self, segments: &[u32]) -> Result<Self, ModelError> {
        Ok(match self {
            Self::Recurrent(state) => Self::Recurrent(state.select(segments)?),
            Self::Attention(cache) => Self::Attention(cache.select(segments)?),
            Self::Both(state, cache) => Self::Both(state.select(segments)?, cache.select(segments)?),
            Self::Stateless => Self::Stateless,
        })
    }

    /// The state of a layer with two mixers side by side, from the states of both.
    pub(crate) fn beside(self, other: Self) -> Self {
        match (self, other) {
            (Self::Recurrent(state), Self::Attention(cache)) => Self::Both(state, cache),
            (state, _) => state,
        }
    }

    /// What it is, for messages.
    fn name(&self) -> &'static str {
        match self {
            Self::Recurrent(_) => "recurrent",
            Self::Attention(_) => "a KV cache",
            Self::Both(..) => "recurrent, with a KV cache",
            Self::Stateless => "that of a layer which carries nothing",
        }
    }

    /// The state of a scan.
    ///
    /// # Errors
    /// [`ModelError::State`] where it is one of a layer without a scan.
    pub fn recurrent(&self) -> Result<&RecurrentState, ModelError> {
        match self {
            Self::Recurrent(state) | Self::Both(state, _) => Ok(state),
            Self::Attention(_) | Self::Stateless => Err(ModelError::State { expected: "recurrent", got: self.name() }),
        }
    }

    /// The KV cache of attention.
    ///
    /// # Errors
    /// [`ModelError::State`] where it is one of a layer without attention.
    pub fn cache(&self) -> Result<&KeyValueCache, ModelError> {
        match self {
            Self::Attention(cache) | Self::Both(_, cache) => Ok(cache),
            Self::Recurrent(_) | Self::Stateless => Err(ModelError::State { expected: "a KV cache", got: self.name() }),
        }
    }
}

impl RecurrentState {
    fn select(&self, segments: &[u32]) -> Result<Self, ModelError> {
        let index = Tensor::new(segments, self.conv.device())?;
        Ok(Self { conv: self.conv.index_select(&index, 0)?, ssm: self.ssm.index_select(&index, 0)? })
    }
}

impl KeyValueCache {
    fn select(&self, segments: &[u32]) -> Result<Self, ModelError> {
        let n_segments = self.segments.len();
        if let Some(&segment) = segments.iter().find(|&&segment| segment as usize >= n_segments) {
            return Err(ModelError::Segment { segment: segment as usize, n_segments });
        }
        let at = |segment: &u32| *segment as usize;
        Ok(Self {
            segments: segments.iter().map(|segment| self.segments[at(segment)].clone()).collect(),
            next_positions: segments.iter().map(|segment| self.next_positions[at(segment)]).collect(),
            conv: match &self.conv {
                Some(conv) => Some(conv.index_select(&Tensor::new(segments, conv.device())?, 0)?),
                None => None,
            },
        })
    }

    /// The caches after a packed call whose rows have these keys, values and positions; `initial` is what stood before the
    /// root segments. A segment's cache begins with that of its parent.
    pub(crate) fn after(
        keys: &Tensor,
        values: &Tensor,
        positions: &[u32],
        segments: &Segments,
        initial: Option<&Self>,
    ) -> Result<Self, ModelError> {
        let mut after = Self { segments: Vec::with_capacity(segments.len()), next_positions: Vec::new(), conv: None };
        for segment in 0..segments.len() {
            let rows = segments.rows(segment);
            let own = KeysValues {
                keys: keys.narrow(0, rows.start, rows.len())?,
                values: values.narrow(0, rows.start, rows.len())?,
            };
            let (before, first) = match segments.parent(segment) {
                Some(parent) => (Some(&after.segments[parent]), after.next_positions[parent]),
                None => initial.map_or((None, 0), |cache| {
                    (cache.segments.get(segment), cache.next_positions.get(segment).copied().unwrap_or(0))
                }),
            };
            let both = |before: &Tensor, own: &Tensor| Tensor::cat(&[before, own], 0);
            let whole = match before {
                Some(before) => {
                    KeysValues { keys: both(&before.keys, &own.keys)?, values: both(&before.values, &own.values)? }
                }
                // A copy: the cache must not keep the whole stream alive.
                None => KeysValues { keys: own.keys.force_contiguous()?, values: own.values.force_contiguous()? },
            };
            after.segments.push(whole);
            after.next_positions.push(positions[rows].last().map_or(first, |position| position + 1));
        }
        Ok(after)
    }
}

/// The states of all layers, first layer first.
#[derive(Clone, Debug)]
pub struct ModelState(pub Vec<LayerState>);

impl ModelState {
    /// The states of some segments in every layer; see [`LayerState::select`].
    ///
    /// # Errors
    /// A segment that is not there.
    pub fn select(&self, segments: &[u32]) -> Result<Self, ModelError> {
        self.0.iter().map(|layer| layer.select(segments)).collect::<Result<_, _>>().map(Self)
    }
}
