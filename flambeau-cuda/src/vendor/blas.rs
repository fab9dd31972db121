//! Matrix products by cuBLASLt.

use super::settings;
use super::{Factor, Handle, Made, PLANS, Refusal, Status, possible};
use crate::driver::cublas::{self as c, CublasLt};
use crate::error::{Error, Result};
use crate::{Device, Ptr, Type};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::{Mutex, PoisonError};

/// A product of column-major matrices, as the library thinks of them: `D = alpha * op(A) op(B) +
/// beta * D`, plus a bias for each row of `D`. A row-major matrix is its own transpose here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Gemm {
    /// The type of all elements.
    pub(crate) ty: Type,
    /// Rows and columns of `D`, and terms of each sum; none is 0.
    pub(crate) sizes: [usize; 3],
    /// How many products, with `D`s so many elements apart.
    pub(crate) batch: (usize, usize),
    /// The left operand.
    pub(crate) a: Operand,
    /// The right operand.
    pub(crate) b: Operand,
    /// Whether there is a bias.
    pub(crate) bias: bool,
    /// What the addresses of `A`, `B`, `D` and the bias are multiples of.
    pub(crate) alignments: [u32; 4],
}

/// An operand: column-major, or row-major where it is taken transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Operand {
    /// Whether it is taken transposed.
    pub(crate) transposed: bool,
    /// Elements from a column in memory to the next.
    pub(crate) leading: usize,
    /// Elements from a matrix to the next; 0 for one that all products share.
    pub(crate) step: usize,
}

/// What a decision depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    gemm: Gemm,
    tf32: bool,
}

/// A decision: descriptors, and the algorithm that goes with them.
struct Plan {
    desc: Made,
    layouts: [Made; 3],
    algorithm: c::Algorithm,
    workspace: usize,
}

/// The library on one device.
pub(crate) struct Blas {
    library: &'static CublasLt,
    handle: Handle,
    workspace: u64,
    /// `None` for what the library has no way to do.
    plans: Mutex<HashMap<Key, Option<Plan>>>,
}

// SAFETY: the handle may be used from any thread, by one at a time: the lock on the plans is held.
unsafe impl Send for Blas {}
// SAFETY: as above.
unsafe impl Sync for Blas {}

impl Blas {
    /// Starts the library on the device that is current, of that compute capability.
    ///
    /// # Errors
    /// What the library says.
    pub(crate) fn open(library: &'static CublasLt, (major, _): (u32, u32)) -> Result<Blas> {
        let mut handle = null_mut();
        // SAFETY: writes one handle, which is kept for the life of the process.
        let status = unsafe { (library.cublasLtCreate)(&mut handle) };
        if status != 0 {
            return Err(Error::new(format!(
                "starting cuBLASLt failed: {}",
                library.describe(status)
            )));
        }
        Ok(Blas {
            library,
            handle,
            // What NVIDIA's documentation recommends: 32 MiB from Hopper on, 4 MiB before.
            workspace: if major >= 9 { 32 << 20 } else { 4 << 20 },
            plans: Mutex::default(),
        })
    }

    /// Puts a product on the device's stream. False, with nothing done, where the library has no way
    /// to compute it.
    ///
    /// # Errors
    /// Where the library or the device fails.
    ///
    /// # Safety
    /// The addresses lead to memory of the device as large as the product says; that of `D` is borrowed
    /// exclusively. The bias, with as many elements as `D` has rows, is read only where the product has
    /// one.
    pub(crate) unsafe fn run(
        &self,
        device: &'static Device,
        gemm: &Gemm,
        [a, b, bias, d]: [Ptr; 4],
        [alpha, beta]: [f64; 2],
    ) -> Result<bool> {
        let stream = device.stream()?;
        let key = Key {
            gemm: *gemm,
            tf32: gemm.ty == Type::F32 && settings::matmul_precision() != 0,
        };
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if plans.len() >= PLANS && !plans.contains_key(&key) {
            plans.clear();
        }
        let plan = match plans.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(possible(self.plan(&key, bias))?),
        };
        let Some(plan) = plan else {
            return Ok(false);
        };
        // Where there is no memory for it our own kernel needs none.
        let Ok(workspace) = device.allocate(plan.workspace) else {
            return Ok(false);
        };
        let [a_layout, b_layout, d_layout] = plan.layouts.each_ref().map(|l| l.handle as usize);
        let (l, handle, desc) = (
            self.library,
            self.handle as usize,
            plan.desc.handle as usize,
        );
        let (algorithm, bytes, at) = (plan.algorithm, plan.workspace, workspace.address());
        let (ty, has_bias, stream) = (gemm.ty, gemm.bias, stream as usize);
        let call = move || {
            let (alpha, beta) = (Factor::new(ty, alpha), Factor::new(ty, beta));
            let attribute = c::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
            let bias = std::ptr::from_ref(&bias).cast();
            // SAFETY: descriptors and factors are those of the product; memory is as the caller says,
            // and the workspace is used by nothing that runs before this is done.
            possible(unsafe {
                let set = match has_bias {
                    true => (l.cublasLtMatmulDescSetAttribute)(
                        desc as Handle,
                        attribute,
                        bias,
                        size_of::<Ptr>(),
                    ),
                    false => 0,
                };
                check(l, set).and_then(|()| {
                    let status = (l.cublasLtMatmul)(
                        handle as Handle,
                        desc as Handle,
                        alpha.pointer(),
                        a as *const c_void,
                        a_layout as Handle,
                        b as *const c_void,
                        b_layout as Handle,
                        beta.pointer(),
                        d as *const c_void,
                        d_layout as Handle,
                        d as *mut c_void,
                        d_layout as Handle,
                        &algorithm,
                        at as *mut c_void,
                        bytes,
                        stream as Handle,
                    );
                    check(l, status)
                })
            })
            .map(|done| done.is_some())
        };
        device.hold(&[a, b, bias, d])?;
        let done = device.driver().enqueue(Box::new(call))?;
        if !done {
            plans.insert(key, None);
        }
        Ok(done)
    }

    /// What the library has no way to compute, of what it was asked.
    pub(crate) fn refused(&self) -> Vec<String> {
        let plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = plans.iter().filter(|(_, plan)| plan.is_none());
        refused
            .map(|(key, _)| format!("cuBLASLt: {:?}", key.gemm))
            .collect()
    }

    /// Asks for the best algorithm.
    fn plan(&self, key: &Key, bias: Ptr) -> std::result::Result<Plan, Refusal> {
        let (l, gemm) = (self.library, &key.gemm);
        let (element, scale, compute) = match gemm.ty {
            Type::F16 => (c::CUDA_R_16F, c::CUDA_R_32F, c::CUBLAS_COMPUTE_32F),
            Type::BF16 => (c::CUDA_R_16BF, c::CUDA_R_32F, c::CUBLAS_COMPUTE_32F),
            Type::F32 if key.tf32 => (
                c::CUDA_R_32F,
                c::CUDA_R_32F,
                c::CUBLAS_COMPUTE_32F_FAST_TF32,
            ),
            Type::F32 => (c::CUDA_R_32F, c::CUDA_R_32F, c::CUBLAS_COMPUTE_32F),
            Type::F64 => (c::CUDA_R_64F, c::CUDA_R_64F, c::CUBLAS_COMPUTE_64F),
            _ => return Err(Refusal::Unsupported),
        };
        let mut desc = Made::new(l.cublasLtMatmulDescDestroy);
        // SAFETY: writes one handle.
        self.check(unsafe { (l.cublasLtMatmulDescCreate)(&mut desc.handle, compute, scale) })?;
        let set = l.cublasLtMatmulDescSetAttribute;
        for (at, operand) in [
            (c::CUBLASLT_MATMUL_DESC_TRANSA, gemm.a),
            (c::CUBLASLT_MATMUL_DESC_TRANSB, gemm.b),
        ] {
            if operand.transposed {
                self.set(set, &desc, at, c::CUBLAS_OP_T)?;
            }
        }
        if gemm.bias {
            let epilogue = c::CUBLASLT_EPILOGUE_BIAS;
            self.set(set, &desc, c::CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue)?;
            // Its alignment counts.
            self.set(set, &desc, c::CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias)?;
        }
        let [m, n, k] = gemm.sizes;
        let whole = Operand {
            transposed: false,
            leading: m,
            step: gemm.batch.1,
        };
        let layout = |sizes, operand| self.layout(element, sizes, operand, gemm.batch.0);
        let layouts = [
            layout([m, k], gemm.a)?,
            layout([k, n], gemm.b)?,
            layout([m, n], whole)?,
        ];
        let mut preference = Made::new(l.cublasLtMatmulPreferenceDestroy);
        // SAFETY: writes one handle.
        self.check(unsafe { (l.cublasLtMatmulPreferenceCreate)(&mut preference.handle) })?;
        let prefer = l.cublasLtMatmulPreferenceSetAttribute;
        let most = c::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
        self.set(prefer, &preference, most, self.workspace)?;
        // Parts of sums are not rounded to half types on the way.
        let reductions = match gemm.ty {
            Type::F16 | Type::BF16 => c::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE,
            _ => c::CUBLASLT_REDUCTION_SCHEME_INPLACE | c::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE,
        };
        let mask = c::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK;
        self.set(prefer, &preference, mask, reductions)?;
        let [a, b, d, _] = gemm.alignments;
        for (at, alignment) in [
            (c::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, a),
            (c::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, b),
            (c::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, d),
            (c::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, d),
        ] {
            self.set(prefer, &preference, at, alignment)?;
        }
        let mut results = [c::Heuristic::default(); 4];
        let mut found = 0;
        let [a, b, d] = layouts.each_ref().map(|l| l.handle);
        // SAFETY: descriptors of the library; it writes as many results as there is room for.
        let status = unsafe {
            (l.cublasLtMatmulAlgoGetHeuristic)(
                self.handle,
                desc.handle,
                a,
                b,
                d,
                d,
                preference.handle,
                results.len() as c_int,
                results.as_mut_ptr(),
                &mut found,
            )
        };
        self.check(status)?;
        let mut found = results.iter().take(found as usize);
        let best = found.find(|r| r.status == 0);
        let best = best.ok_or(Refusal::Unsupported)?;
        Ok(Plan {
            desc,
            layouts,
            algorithm: best.algorithm,
            workspace: best.workspace,
        })
    }

    /// Describes the memory of an operand of so many rows and columns, as it is taken.
    pub(super) fn layout(
        &self,
        element: c_int,
        [rows, columns]: [usize; 2],
        operand: Operand,
        batch: usize,
    ) -> std::result::Result<Made, Refusal> {
        let l = self.library;
        let [rows, columns] = match operand.transposed {
            true => [columns, rows],
            false => [rows, columns],
        };
        let mut layout = Made::new(l.cublasLtMatrixLayoutDestroy);
        let (rows, columns, leading) = (rows as u64, columns as u64, operand.leading as i64);
        // SAFETY: writes one handle.
        let status = unsafe {
            (l.cublasLtMatrixLayoutCreate)(&mut layout.handle, element, rows, columns, leading)
        };
        self.check(status)?;
        if batch > 1 {
            let count = i32::try_from(batch).map_err(|_| Refusal::Unsupported)?;
            let set = l.cublasLtMatrixLayoutSetAttribute;
            let step = operand.step as i64;
            self.set(set, &layout, c::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, count)?;
            let at = c::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET;
            self.set(set, &layout, at, step)?;
        }
        Ok(layout)
    }

    /// Sets an attribute, of the size of `T`.
    fn set<T: Copy>(
        &self,
        set: unsafe extern "C" fn(Handle, c_int, *const c_void, usize) -> Status,
        of: &Made,
        attribute: c_int,
        value: T,
    ) -> std::result::Result<(), Refusal> {
        let value = std::ptr::from_ref(&value).cast();
        // SAFETY: the value is read before the call returns; the library refuses another size.
        self.check(unsafe { set(of.handle, attribute, value, size_of::<T>()) })
    }

    /// For what needs no device.
    #[cfg(test)]
    pub(super) fn unstarted(library: &'static CublasLt) -> Blas {
        Blas {
            library,
            handle: null_mut(),
            workspace: 0,
            plans: Mutex::default(),
        }
    }

    /// How many decisions there are, and how many of them for the library.
    #[cfg(test)]
    pub(super) fn plans(&self) -> [usize; 2] {
        let plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        [plans.len(), plans.values().flatten().count()]
    }

    fn check(&self, status: Status) -> std::result::Result<(), Refusal> {
        check(self.library, status)
    }
}

fn check(library: &CublasLt, status: Status) -> std::result::Result<(), Refusal> {
    match status {
        0 => Ok(()),
        c::CUBLAS_STATUS_INVALID_VALUE
        | c::CUBLAS_STATUS_ARCH_MISMATCH
        | c::CUBLAS_STATUS_NOT_SUPPORTED => Err(Refusal::Unsupported),
        _ => Err(Refusal::Failed(Error::new(library.describe(status)))),
    }
}
