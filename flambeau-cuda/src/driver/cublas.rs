//! cuBLASLt as cublasLt.h declares it: what is used of it, and where it is found.

use super::library::{self, constants, library};
use crate::error::{Error, Result};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

type Status = c_int;
type Handle = *mut c_void;

library! {
    /// cuBLASLt.
    CublasLt {
        fn cublasLtGetVersion() -> usize;
        fn cublasLtGetStatusString(status: Status) -> *const c_char;
        fn cublasLtCreate(handle: *mut Handle) -> Status;
        fn cublasLtMatmulDescCreate(desc: *mut Handle, compute: c_int, scale: c_int) -> Status;
        fn cublasLtMatmulDescDestroy(desc: Handle) -> Status;
        fn cublasLtMatmulDescSetAttribute(
            desc: Handle, attribute: c_int, value: *const c_void, bytes: usize,
        ) -> Status;
        fn cublasLtMatrixLayoutCreate(
            layout: *mut Handle, ty: c_int, rows: u64, columns: u64, leading: i64,
        ) -> Status;
        fn cublasLtMatrixLayoutDestroy(layout: Handle) -> Status;
        fn cublasLtMatrixLayoutSetAttribute(
            layout: Handle, attribute: c_int, value: *const c_void, bytes: usize,
        ) -> Status;
        fn cublasLtMatmulPreferenceCreate(preference: *mut Handle) -> Status;
        fn cublasLtMatmulPreferenceDestroy(preference: Handle) -> Status;
        fn cublasLtMatmulPreferenceSetAttribute(
            preference: Handle, attribute: c_int, value: *const c_void, bytes: usize,
        ) -> Status;
        fn cublasLtMatmulAlgoGetHeuristic(
            handle: Handle,
            desc: Handle,
            a: Handle, b: Handle, c: Handle, d: Handle,
            preference: Handle,
            asked: c_int,
            results: *mut Heuristic,
            found: *mut c_int,
        ) -> Status;
        fn cublasLtMatmul(
            handle: Handle,
            desc: Handle,
            alpha: *const c_void,
            a: *const c_void, a_layout: Handle,
            b: *const c_void, b_layout: Handle,
            beta: *const c_void,
            c: *const c_void, c_layout: Handle,
            d: *mut c_void, d_layout: Handle,
            algorithm: *const Algorithm,
            workspace: *mut c_void,
            bytes: usize,
            stream: Handle,
        ) -> Status;
    }
}

constants! {
    CUBLAS_STATUS_INVALID_VALUE: Status = 7;
    CUBLAS_STATUS_ARCH_MISMATCH: Status = 8;
    CUBLAS_STATUS_NOT_SUPPORTED: Status = 15;
    CUBLAS_OP_T: i32 = 1;
    CUBLAS_COMPUTE_32F: c_int = 68;
    CUBLAS_COMPUTE_32F_FAST_TF32: c_int = 77;
    CUBLAS_COMPUTE_64F: c_int = 70;
    CUDA_R_32F: c_int = 0;
    CUDA_R_64F: c_int = 1;
    CUDA_R_16F: c_int = 2;
    CUDA_R_16BF: c_int = 14;
    /// An `i32`; so below.
    CUBLASLT_MATMUL_DESC_TRANSA: c_int = 3;
    CUBLASLT_MATMUL_DESC_TRANSB: c_int = 4;
    /// A `u32`.
    CUBLASLT_MATMUL_DESC_EPILOGUE: c_int = 7;
    /// A pointer.
    CUBLASLT_MATMUL_DESC_BIAS_POINTER: c_int = 8;
    CUBLASLT_EPILOGUE_BIAS: u32 = 4;
    /// An `i32`.
    CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: c_int = 5;
    /// An `i64`, in elements.
    CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: c_int = 6;
    /// A `u64`.
    CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: c_int = 1;
    /// A `u32`; so below.
    CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: c_int = 3;
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: c_int = 5;
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: c_int = 6;
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: c_int = 7;
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: c_int = 8;
    CUBLASLT_REDUCTION_SCHEME_INPLACE: u32 = 1;
    CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE: u32 = 2;
}

/// `cublasLtMatmulAlgo_t`: what only the library reads.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Algorithm {
    data: [u64; 8],
}

/// `cublasLtMatmulHeuristicResult_t`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Heuristic {
    pub(crate) algorithm: Algorithm,
    pub(crate) workspace: usize,
    pub(crate) status: Status,
    waves: f32,
    reserved: [c_int; 4],
}

impl CublasLt {
    /// What a status means.
    pub(crate) fn describe(&self, status: Status) -> String {
        // SAFETY: the library's texts are static and end in a zero.
        let text = unsafe { CStr::from_ptr((self.cublasLtGetStatusString)(status)) };
        format!("cuBLASLt: {} (status {status})", text.to_string_lossy())
    }
}

/// The library, loaded once.
///
/// # Errors
/// Where it is missing: what to install.
pub(crate) fn library() -> Result<&'static CublasLt> {
    static LIBRARY: OnceLock<Result<CublasLt>> = OnceLock::new();
    let loaded = LIBRARY.get_or_init(|| {
        // A library of a newer CUDA than the driver's does not start.
        let newest = super::driver_version().map_or(i32::MAX, |(major, _)| major);
        let names: Vec<String> = [13, 12]
            .into_iter()
            .filter(|&major| major <= newest.max(12))
            .map(|major| match cfg!(windows) {
                true => format!("cublasLt64_{major}.dll"),
                false => format!("libcublasLt.so.{major}"),
            })
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let remedy = match newest {
            ..13 => "pip install nvidia-cublas-cu12, or a CUDA toolkit, brings it",
            _ => "pip install nvidia-cublas, or a CUDA toolkit, brings it",
        };
        let remedy = format!("{remedy}; without it products go through flambeau's own kernels");
        CublasLt::of(library::open(&names, &remedy)?)
    });
    loaded.as_ref().map_err(Error::clone)
}

/// cuBLASLt's version, as in (13, 4, 1).
///
/// # Errors
/// Where it is missing: what to install.
pub fn version() -> Result<(usize, usize, usize)> {
    // SAFETY: takes nothing, and needs no device.
    let version = unsafe { (library()?.cublasLtGetVersion)() };
    Ok((version / 10_000, version / 100 % 100, version % 100))
}
