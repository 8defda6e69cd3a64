use candle_core::{DType, Tensor};

use super::{OP, TokenScore};
use crate::cuda::{Arg, Gpu, Grid, Image, image, is_wide, suffix};
use crate::error::KernelError;

static KERNELS: Image = image!("log_probs");

pub(super) fn log_probs(logits: &Tensor, targets: &[u32]) -> Result<Vec<TokenScore>, KernelError> {
    let gpu = Gpu::of(logits, OP)?;
    let (rows, vocabulary) = logits.dims2()?;
    let targets = gpu.upload(targets)?;
    let log_prob = gpu.empty(rows, DType::F32)?;
    let greedy = gpu.empty(rows, DType::U32)?;
    let args = [
        gpu.contiguous(logits, OP, "logits")?,
        gpu.address(&targets),
        gpu.tensor(&log_prob)?,
        gpu.tensor(&greedy)?,
        Arg::int(vocabulary),
    ];
    let wide = is_wide(&[vocabulary], &args[..1]);
    let name = format!("log_probs_{}{}", if wide { "" } else { "any_" }, suffix(logits.dtype(), OP)?);
    // The number of threads decides in which order a row is summed: it follows from the vocabulary alone.
    let threads = (vocabulary / 16).next_multiple_of(32).clamp(32, 256);
    gpu.launch(&KERNELS, &name, Grid { blocks: (rows, 1, 1), threads: (threads, 1), shared: 0 }, &args)?;
    let scores = log_prob.to_vec1::<f32>()?.into_iter().zip(greedy.to_vec1::<u32>()?);
    Ok(scores.map(|(log_prob, greedy)| TokenScore { log_prob, greedy }).collect())
}
