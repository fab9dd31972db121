//! Switches of the libraries that compute on devices
//! ([`torch.backends`](https://pytorch.org/docs/stable/backends.html)), with PyTorch's names and
//! defaults. They hold for the whole process, and for what is computed from then on.

/// How exact products of `f32` matrices are on a device
/// ([`torch.set_float32_matmul_precision`](https://pytorch.org/docs/stable/generated/torch.set_float32_matmul_precision.html)):
/// `"highest"`, the default, with all 24 bits of an `f32`; `"high"` and `"medium"` with the 11 of TF32,
/// which tensor cores multiply several times faster. On a CPU it changes nothing.
///
/// ```standalone_crate
/// use flambeau_core::{backends::cuda::matmul, float32_matmul_precision, set_float32_matmul_precision};
/// assert_eq!(float32_matmul_precision(), "highest");
/// set_float32_matmul_precision("high")?;
/// assert!(matmul::allow_tf32());
/// assert!(set_float32_matmul_precision("low").is_err());
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// For other words.
#[track_caller]
pub fn set_float32_matmul_precision(precision: &str) -> crate::Result<()> {
    let Some(number) = PRECISIONS.iter().position(|&p| p == precision) else {
        crate::bail!(
            "set_float32_matmul_precision",
            "there is no precision {precision:?}; expected one of {PRECISIONS:?}"
        );
    };
    flambeau_cuda::settings::set_matmul_precision(number as u8);
    Ok(())
}

/// What [`set_float32_matmul_precision`] was last given.
pub fn float32_matmul_precision() -> &'static str {
    let number = flambeau_cuda::settings::matmul_precision() as usize;
    PRECISIONS[number.min(PRECISIONS.len() - 1)]
}

const PRECISIONS: [&str; 3] = ["highest", "high", "medium"];

/// A pair of functions for a switch.
macro_rules! switch {
    ($switch:ident, $(#[$get_doc:meta])* $get:ident, $(#[$set_doc:meta])* $set:ident) => {
        $(#[$get_doc])*
        pub fn $get() -> bool {
            flambeau_cuda::settings::$switch.get()
        }

        $(#[$set_doc])*
        pub fn $set(on: bool) {
            flambeau_cuda::settings::$switch.set(on);
        }
    };
}

/// Products on CUDA devices (`torch.backends.cuda`).
pub mod cuda {
    /// Precision of products (`torch.backends.cuda.matmul`).
    pub mod matmul {
        /// Whether products of `f32` matrices may use TF32 (`torch.backends.cuda.matmul.allow_tf32`).
        /// Off by default.
        pub fn allow_tf32() -> bool {
            flambeau_cuda::settings::matmul_precision() != 0
        }

        /// Sets [`allow_tf32`]; the same as [`set_float32_matmul_precision`] with `"high"` or
        /// `"highest"`.
        ///
        /// [`set_float32_matmul_precision`]: crate::set_float32_matmul_precision
        ///
        /// ```standalone_crate
        /// use flambeau_core::{backends::cuda::matmul, float32_matmul_precision};
        /// assert!(!matmul::allow_tf32());
        /// matmul::set_allow_tf32(true);
        /// assert_eq!(float32_matmul_precision(), "high");
        /// ```
        pub fn set_allow_tf32(on: bool) {
            flambeau_cuda::settings::set_matmul_precision(u8::from(on));
        }
    }

    /// What computes products of floating-point matrices.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum BlasLibrary {
        /// cuBLASLt, where it is found; else as [`Own`](BlasLibrary::Own).
        CublasLt,
        /// flambeau's kernels.
        Own,
    }

    /// What computes products (`torch.backends.cuda.preferred_blas_library`). cuBLASLt by default.
    pub fn preferred_blas_library() -> BlasLibrary {
        match flambeau_cuda::settings::CUBLAS.get() {
            true => BlasLibrary::CublasLt,
            false => BlasLibrary::Own,
        }
    }

    /// Sets [`preferred_blas_library`].
    ///
    /// ```standalone_crate
    /// use flambeau_core::backends::cuda::{self, BlasLibrary};
    /// cuda::set_preferred_blas_library(BlasLibrary::Own);
    /// assert_eq!(cuda::preferred_blas_library(), BlasLibrary::Own);
    /// ```
    pub fn set_preferred_blas_library(library: BlasLibrary) {
        flambeau_cuda::settings::CUBLAS.set(library == BlasLibrary::CublasLt);
    }
}

/// Convolutions on CUDA devices (`torch.backends.cudnn`).
///
/// ```standalone_crate
/// use flambeau_core::backends::cudnn;
/// assert!(cudnn::enabled() && cudnn::allow_tf32());
/// assert!(!cudnn::benchmark() && !cudnn::deterministic());
/// cudnn::set_benchmark(true);
/// assert!(cudnn::benchmark());
/// ```
pub mod cudnn {
    switch! { CUDNN,
    /// Whether convolutions go to cuDNN where it is found (`torch.backends.cudnn.enabled`); else they
    /// go through flambeau's kernels. On by default.
    enabled,
    /// Sets [`enabled`].
    set_enabled }
    switch! { CUDNN_TF32,
    /// Whether convolutions of `f32` may use TF32, with 11 bits of each factor
    /// (`torch.backends.cudnn.allow_tf32`). On by default.
    allow_tf32,
    /// Sets [`allow_tf32`].
    set_allow_tf32 }
    switch! { CUDNN_BENCHMARK,
    /// Whether the algorithms for a shape are timed the first time it comes
    /// (`torch.backends.cudnn.benchmark`); else cuDNN's heuristic chooses. Off by default.
    benchmark,
    /// Sets [`benchmark`].
    set_benchmark }
    switch! { CUDNN_DETERMINISTIC,
    /// Whether only algorithms are taken that give the same bits each time
    /// (`torch.backends.cudnn.deterministic`). Off by default.
    deterministic,
    /// Sets [`deterministic`].
    set_deterministic }

    /// cuDNN's version as it counts, as in `92600` (`torch.backends.cudnn.version`); `None` where it is
    /// not found.
    pub fn version() -> Option<usize> {
        let (major, minor, patch) = flambeau_cuda::cudnn_version().ok()?;
        Some(major * 10_000 + minor * 100 + patch)
    }

    /// Whether cuDNN is found (`torch.backends.cudnn.is_available`).
    pub fn is_available() -> bool {
        version().is_some()
    }
}
