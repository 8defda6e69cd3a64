//! The product by cuBLAS, with algorithms that give the same bits.
//!
//! The library's own choice of algorithm depends on the number of rows, and with it the order in which a row may be summed.
//! Here the reference of a weight is the algorithm that it proposes first for many rows without splitting the sum. Others that it
//! proposes are tried; of those that give the bits of the reference the fastest is taken, by class of row counts (`choice.rs`). So
//! a row has the same bits alone and in any batch, and which algorithm won the timing shows nowhere.

use std::ffi::c_void;
use std::mem::size_of_val;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use candle_core::cuda_backend::cudarc::cublas::sys::cublasOperation_t;
use candle_core::cuda_backend::cudarc::cublaslt::{result, sys};
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr};
use candle_core::cuda_backend::{DeviceId, WrapErr};
use candle_core::{DType, Tensor};

use super::choice::{Choices, fastest};
use super::trial::{cancelling, have_the_same_bits};
use crate::cuda::{Arg, Gpu, profile, rows_of};
use crate::error::KernelError;

/// Algorithms that are tried for a class of row counts, and timed runs of each.
const PROPOSALS: usize = 8;
const TRIALS: usize = 5;
/// Bytes that the library may use besides its arguments.
const WORKSPACE: usize = 32 << 20;

/// What the bits of a product may depend on, and so what has a reference of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Weight {
    n: usize,
    k: usize,
    dtype: DType,
    out: DType,
    /// Alignment of all addresses and strides in bytes, 16 at most: an algorithm may ask for it.
    alignment: u32,
}

/// What an algorithm is tuned for, by class of row counts: rows of `x` may be further apart than their length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shape {
    weight: Weight,
    row_stride: usize,
}

struct Context {
    handle: sys::cublasLtHandle_t,
    workspace: CudaSlice<u8>,
    choices: Choices<Weight, Shape, sys::cublasLtMatmulAlgo_t>,
}

// SAFETY: the library's handle may be used from any thread, one at a time; the mutex around the context sees to that.
unsafe impl Send for Context {}

static CONTEXTS: Mutex<Vec<(DeviceId, Context)>> = Mutex::new(Vec::new());

/// `x W^T` on the GPU; `out` is the dtype of the result.
pub(super) fn linear(x: &Tensor, weight: &Tensor, out: DType) -> Result<Tensor, KernelError> {
    const OP: &str = "linear";
    let gpu = Gpu::of(x, OP)?;
    let (rows, k, row_stride) = rows_of(x, OP, "x")?;
    let n = weight.dim(0)?;
    if weight.dims() != [n, k] || weight.dtype() != x.dtype() || !weight.is_contiguous() {
        return Err(KernelError::Storage {
            op: OP,
            tensor: "weight",
            expected: "a contiguous matrix of the columns and the dtype of x, on the GPU",
            got: format!("{:?} {:?} with x {:?} {:?}", weight.dtype(), weight.shape(), x.dtype(), x.shape()),
        });
    }
    let y = gpu.empty((rows, n), out)?;
    if rows == 0 || n == 0 {
        return Ok(y);
    }
    let addresses = [gpu.tensor(weight)?, gpu.tensor(x)?, gpu.tensor(&y)?].map(Arg::address);
    let bytes = |dtype: DType, count: usize| (count * dtype.size_in_bytes()) as u64;
    let alignment = addresses
        .into_iter()
        .chain([bytes(x.dtype(), k), bytes(x.dtype(), row_stride), bytes(out, n)])
        .fold(16, |alignment, value| alignment.min(1_u32 << value.trailing_zeros().min(4)));
    let shape = Shape { weight: Weight { n, k, dtype: x.dtype(), out, alignment }, row_stride };
    let mut contexts = CONTEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    let id = gpu.device().id();
    if !contexts.iter().any(|(device, _)| *device == id) {
        contexts.push((id, Context::new(&gpu)?));
    }
    let context = contexts.iter_mut().find(|(device, _)| *device == id).map(|(_, context)| context);
    let context = context.unwrap_or_else(|| unreachable!("pushed above"));
    // The library may count the elements of a matrix in 32 bits: all logits of a long batch are more than that.
    let rows_per_call = (i32::MAX as usize / n.max(row_stride)).max(1);
    let algorithm = context.algorithm(&gpu, shape, rows.min(rows_per_call))?;
    let [weight_at, x_at, y_at] = addresses;
    for first in (0..rows).step_by(rows_per_call) {
        let (x_at, y_at) = (x_at + bytes(x.dtype(), first * row_stride), y_at + bytes(out, first * n));
        let rows = rows_per_call.min(rows - first);
        context.product(&gpu, shape, rows, [weight_at, x_at, y_at], &algorithm)?;
    }
    Ok(y)
}

impl Context {
    fn new(gpu: &Gpu) -> Result<Self, KernelError> {
        Ok(Self {
            handle: result::create_handle().map_err(refused)?,
            workspace: gpu.scratch(WORKSPACE)?,
            choices: Choices::default(),
        })
    }

    /// The algorithm for this number of rows.
    fn algorithm(&mut self, gpu: &Gpu, shape: Shape, rows: usize) -> Result<sys::cublasLtMatmulAlgo_t, KernelError> {
        let mut choices = std::mem::take(&mut self.choices);
        let chosen = choices.of(
            shape.weight,
            shape,
            rows,
            |rows| {
                let packed = Shape { row_stride: shape.weight.k, ..shape };
                Ok(Call::new(packed, rows)?.proposals(self.handle, shape.weight.alignment, 1)?[0])
            },
            |reference, rows| self.fastest(gpu, shape, rows, reference),
        );
        self.choices = choices;
        chosen
    }

    /// The fastest proposal for `rows` rows that agrees with the reference to the bit.
    ///
    /// It is tried on numbers whose sums cancel: the second half of every row of `x` is the first one with its sign turned, and
    /// the weight repeats itself. What is left of a sum is its errors of rounding, which another order of summation changes in
    /// nearly every place; on sums that do not cancel, rounding to bfloat16 hides most of them.
    fn fastest(
        &self,
        gpu: &Gpu,
        shape: Shape,
        rows: usize,
        reference: sys::cublasLtMatmulAlgo_t,
    ) -> Result<sys::cublasLtMatmulAlgo_t, KernelError> {
        let Weight { n, k, dtype, out, alignment } = shape.weight;
        let trial = Shape { row_stride: k, ..shape };
        let x = cancelling(gpu.device(), (rows, k), dtype, -1.0, 0)?;
        let weight = cancelling(gpu.device(), (n, k), dtype, 1.0, 1)?;
        let (want, y) = (gpu.empty((rows, n), out)?, gpu.empty((rows, n), out)?);
        let run = |y: &Tensor, algorithm: &sys::cublasLtMatmulAlgo_t| {
            let addresses = [gpu.tensor(&weight)?, gpu.tensor(&x)?, gpu.tensor(y)?].map(Arg::address);
            self.product(gpu, trial, rows, addresses, algorithm)
        };
        let agrees = |algorithm: &sys::cublasLtMatmulAlgo_t| -> Result<bool, KernelError> {
            run(&y, algorithm)?;
            have_the_same_bits(&want, &y)
        };
        let seconds = |algorithm: &sys::cublasLtMatmulAlgo_t| -> Result<f64, KernelError> {
            run(&y, algorithm)?;
            gpu.stream().synchronize().w()?;
            let start = Instant::now();
            for _ in 0..TRIALS {
                run(&y, algorithm)?;
            }
            gpu.stream().synchronize().w()?;
            Ok(start.elapsed().as_secs_f64())
        };
        run(&want, &reference)?;
        let proposals = Call::new(shape, rows)?.proposals(self.handle, alignment, PROPOSALS)?;
        fastest(reference, proposals, agrees, seconds)
    }

    fn product(
        &self,
        gpu: &Gpu,
        shape: Shape,
        rows: usize,
        addresses: [u64; 3],
        algorithm: &sys::cublasLtMatmulAlgo_t,
    ) -> Result<(), KernelError> {
        let call = Call::new(shape, rows)?;
        let [weight, x, y] = addresses.map(|address| address as *mut c_void);
        let (one, zero) = (1.0_f32, 0.0_f32);
        let name = || format!("gemm {}x{}", shape.weight.k, shape.weight.n);
        // SAFETY: the layouts describe the three matrices, whose shapes the caller checked; all lie on this device, and the
        // stream orders this call after those that wrote them.
        let launch = || unsafe {
            result::matmul(
                self.handle,
                call.description,
                (&raw const one).cast(),
                (&raw const zero).cast(),
                weight,
                call.weight,
                x,
                call.x,
                y,
                call.y,
                y,
                call.y,
                std::ptr::from_ref(algorithm),
                self.workspace.device_ptr(gpu.stream()).0 as *mut c_void,
                WORKSPACE,
                gpu.stream().cu_stream().cast(),
            )
            .map_err(refused)
        };
        profile::around(gpu.stream(), name, launch)
    }
}

/// The library's descriptions of one product, freed on drop. It counts columns first: our rows are its columns.
struct Call {
    description: sys::cublasLtMatmulDesc_t,
    weight: sys::cublasLtMatrixLayout_t,
    x: sys::cublasLtMatrixLayout_t,
    y: sys::cublasLtMatrixLayout_t,
}

impl Call {
    fn new(shape: Shape, rows: usize) -> Result<Self, KernelError> {
        let Shape { weight: Weight { n, k, dtype, out, .. }, row_stride } = shape;
        let (input, output) = (data_type(dtype), data_type(out));
        let float32 = sys::cudaDataType_t::CUDA_R_32F;
        let stride = row_stride.max(k) as i64;
        let (n, k, rows) = (n as u64, k as u64, rows as u64);
        let call = Self {
            description: result::create_matmul_desc(sys::cublasComputeType_t::CUBLAS_COMPUTE_32F, float32)
                .map_err(refused)?,
            weight: result::create_matrix_layout(input, k, n, k as i64).map_err(refused)?,
            x: result::create_matrix_layout(input, k, rows, stride).map_err(refused)?,
            y: result::create_matrix_layout(output, n, rows, n as i64).map_err(refused)?,
        };
        let transposed = cublasOperation_t::CUBLAS_OP_T;
        // SAFETY: the attribute is of this type and the description was just made.
        unsafe {
            result::set_matmul_desc_attribute(
                call.description,
                sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA,
                (&raw const transposed).cast(),
                size_of_val(&transposed),
            )
        }
        .map_err(refused)?;
        Ok(call)
    }

    /// The algorithms that the library proposes for this product, its favourite first, never one that splits a sum over
    /// blocks. At least one.
    fn proposals(
        &self,
        handle: sys::cublasLtHandle_t,
        alignment: u32,
        count: usize,
    ) -> Result<Vec<sys::cublasLtMatmulAlgo_t>, KernelError> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Preference;
        let no_split: u32 = 0;
        let workspace = WORKSPACE;
        let preference = result::create_matmul_pref().map_err(refused)?;
        let alignments = [
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
        ];
        let set = |attribute, value: *const c_void, size| {
            // SAFETY: each attribute below is a number of the size given.
            unsafe { result::set_matmul_pref_attribute(preference, attribute, value, size) }.map_err(refused)
        };
        let set_all = || {
            for attribute in alignments {
                set(attribute, (&raw const alignment).cast(), size_of_val(&alignment))?;
            }
            set(
                Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                (&raw const no_split).cast(),
                size_of_val(&no_split),
            )?;
            set(
                Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                (&raw const workspace).cast(),
                size_of_val(&workspace),
            )
        };
        let mut results: Vec<sys::cublasLtMatmulHeuristicResult_t> = Vec::with_capacity(count);
        let mut found = 0;
        let asked = set_all().and_then(|()| {
            // SAFETY: all descriptions are alive, and `results` has room for `count` entries, of which the library writes
            // the first `found`.
            unsafe {
                let status = sys::cublasLtMatmulAlgoGetHeuristic(
                    handle,
                    self.description,
                    self.weight,
                    self.x,
                    self.y,
                    self.y,
                    preference,
                    count as i32,
                    results.as_mut_ptr(),
                    &raw mut found,
                );
                status.result().map_err(refused)?;
                results.set_len(found as usize);
            }
            Ok(())
        });
        // SAFETY: made above and used no more.
        let _ = unsafe { result::destroy_matmul_pref(preference) };
        asked?;
        let usable = results.into_iter().filter(|result| result.state.result().is_ok());
        let usable: Vec<_> = usable.map(|result| result.algo).collect();
        if usable.is_empty() {
            return Err(KernelError::Device("cuBLAS: no algorithm for this product".to_owned()));
        }
        Ok(usable)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // SAFETY: made in `new`, used by nobody else. A failure to free changes no result.
        unsafe {
            let _ = result::destroy_matmul_desc(self.description);
            for layout in [self.weight, self.x, self.y] {
                let _ = result::destroy_matrix_layout(layout);
            }
        }
    }
}

fn data_type(dtype: DType) -> sys::cudaDataType_t {
    match dtype {
        DType::BF16 => sys::cudaDataType_t::CUDA_R_16BF,
        _ => sys::cudaDataType_t::CUDA_R_32F,
    }
}

#[allow(clippy::needless_pass_by_value)] // Made for `map_err`.
fn refused(error: result::CublasError) -> KernelError {
    KernelError::Device(format!("cuBLAS: {error}"))
}
