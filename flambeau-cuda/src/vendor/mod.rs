//! NVIDIA's libraries on a device's stream: cuBLASLt for products, cuDNN for convolutions. Each has
//! one handle for a device, opened at first use, and keeps what it decided for each shape. What a
//! library is not there for, or has no way to do, our own kernels do.

mod blas;
mod dnn;
pub mod settings;
#[cfg(test)]
mod tests;

pub(crate) use blas::{Blas, Gemm, Operand};
pub(crate) use dnn::{Convolve, Dnn};

use crate::Type;
use crate::error::{Error, Result};
use std::ffi::{c_int, c_void};

type Handle = *mut c_void;
type Status = c_int;

/// Why a library did not do something.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It has no way to.
    Unsupported,
    /// It failed.
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(e: Error) -> Refusal {
        Refusal::Failed(e)
    }
}

/// What came of it: `None` where the library has no way to.
fn possible<T>(result: std::result::Result<T, Refusal>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Refusal::Unsupported) => Ok(None),
        Err(Refusal::Failed(e)) => Err(e),
    }
}

/// Something that a library made and has to take back.
pub(crate) struct Made {
    handle: Handle,
    destroy: unsafe extern "C" fn(Handle) -> Status,
}

impl Made {
    fn new(destroy: unsafe extern "C" fn(Handle) -> Status) -> Made {
        let handle = std::ptr::null_mut();
        Made { handle, destroy }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: the library made it, and it is not used any more.
            unsafe { (self.destroy)(self.handle) };
        }
    }
}

// SAFETY: descriptors are plain memory of the library; it does not ask for the same thread.
unsafe impl Send for Made {}

/// A factor as the libraries take it: `f32`, or `f64` for products in `f64`.
#[repr(C)]
union Factor {
    single: f32,
    double: f64,
}

impl Factor {
    fn new(ty: Type, value: f64) -> Factor {
        match ty {
            Type::F64 => Factor { double: value },
            _ => Factor {
                single: value as f32,
            },
        }
    }

    /// For the library, which reads it before its call returns.
    fn pointer(&self) -> *const c_void {
        std::ptr::from_ref(self).cast()
    }
}

/// As many plans as are kept; a program with so many shapes begins anew.
const PLANS: usize = 4096;
