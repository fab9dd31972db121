//! What the runtime asks of a device: memory, copies, kernels, the libraries that compute on it. Two
//! things answer: NVIDIA's driver, and plain memory with the emulator in tests.

mod api;
pub(crate) mod cublas;
pub(crate) mod cudnn;
#[cfg(test)]
mod headers;
pub(crate) mod library;
mod nvidia;
pub(crate) mod nvrtc;

pub use cublas::version as cublas_version;
pub use cudnn::version as cudnn_version;
pub(crate) use nvidia::devices;
pub use nvidia::version as driver_version;
pub use nvrtc::version as compiler_version;

use crate::Launch;
use crate::error::Result;
use cublas::CublasLt;
use cudnn::Cudnn;
use std::ffi::c_void;

/// An address in a device's memory.
pub(crate) type Address = u64;

/// The size of `Fault` in `common.cuh`.
pub(crate) const MAILBOX: usize = 24;

/// A failed call.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The device has no memory left.
    OutOfMemory,
    /// Anything else, in the driver's words.
    Other(String),
}

/// One device with the stream that all its work goes through, in order.
///
/// # Safety of the methods
/// Addresses come from `allocate` of the same driver, were not given back, and with the length lie
/// within what was allocated.
pub(crate) trait Driver: Send + Sync {
    /// The device's name.
    fn name(&self) -> String;
    /// Compute capability, as in (9, 0).
    fn capability(&self) -> (u32, u32);
    /// How many multiprocessors it has.
    fn multiprocessors(&self) -> u32;
    /// How many threads each of them holds.
    fn threads_of_each(&self) -> u32;
    /// Bytes free and in all.
    fn memory(&self) -> Result<(u64, u64)>;
    /// Memory whose contents are arbitrary.
    fn allocate(&self, bytes: usize) -> std::result::Result<Address, Fault>;
    /// Gives memory back, once what uses it has run.
    unsafe fn release(&self, address: Address);
    /// From the host; the slice may be reused at once.
    unsafe fn upload(&self, to: Address, from: &[u8]) -> Result<()>;
    /// To the host, after all that was put on the stream before.
    unsafe fn download(&self, to: &mut [u8], from: Address) -> Result<()>;
    /// Between two places that do not overlap.
    unsafe fn copy(&self, to: Address, from: Address, bytes: usize) -> Result<()>;
    /// `count` times a pattern of 1, 2 or 4 bytes.
    unsafe fn fill(&self, to: Address, pattern: Pattern, count: usize) -> Result<()>;
    /// Puts a kernel on the stream; its unit is compiled and loaded at first use.
    ///
    /// The arguments are those that the kernel takes, and the addresses among them lead to memory
    /// as large as it makes use of, given back only through `release`.
    unsafe fn launch(&self, launch: &mut Launch) -> Result<()>;
    /// Memory of [`MAILBOX`] bytes that both the host and kernels read and write, zeros at first:
    /// where kernels say what they found wrong.
    fn mailbox(&self) -> Address;
    /// Waits for all work; reports what failed since.
    fn synchronize(&self) -> Result<()>;
    /// The stream, for a library that is called on this thread: the device is made current for it.
    fn stream(&self) -> Result<*mut c_void>;
    /// cuBLASLt.
    fn cublas(&self) -> Result<&'static CublasLt>;
    /// cuDNN.
    fn cudnn(&self) -> Result<&'static Cudnn>;
}

/// Opens a device.
pub(crate) type Open = Box<dyn Fn() -> Result<Box<dyn Driver>> + Send + Sync>;

/// Bytes to fill memory with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pattern {
    One(u8),
    Two(u16),
    Four(u32),
}
