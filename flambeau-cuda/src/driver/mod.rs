//! What the runtime asks of a device: memory, copies, kernels, the libraries that compute on it. Two
//! things answer: NVIDIA's driver, and plain memory with the emulator in tests.

mod api;
pub(crate) mod cublas;
pub(crate) mod cudnn;
#[cfg(test)]
mod headers;
pub(crate) mod library;
mod nccl;
mod nvidia;
pub(crate) mod nvrtc;

pub use cublas::version as cublas_version;
pub use cudnn::version as cudnn_version;
pub use nccl::version as nccl_version;
pub(crate) use nvidia::devices;
pub use nvidia::version as driver_version;
pub use nvrtc::version as compiler_version;

use crate::error::Result;
use crate::nccl::{ReduceOp, UniqueId};
use crate::{Launch, Type};
use cublas::CublasLt;
use cudnn::Cudnn;
use std::ffi::c_void;

/// An address in a device's memory.
pub(crate) type Address = u64;

/// A driver's name for a place in the stream, and for a captured graph.
pub(crate) type Mark = u64;
pub(crate) type GraphHandle = u64;

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
    /// Has a library put work on the stream: now, or, on an emulated device that captures, when the
    /// graph is replayed. False where the library refuses.
    fn enqueue(&self, call: Call) -> Result<bool>;
    /// cuBLASLt.
    fn cublas(&self) -> Result<&'static CublasLt>;
    /// cuDNN.
    fn cudnn(&self) -> Result<&'static Cudnn>;
    /// Memory of the host that the device reads and writes by itself, whose pages stay where they are.
    fn pin(&self, bytes: usize) -> std::result::Result<*mut u8, Fault>;
    /// Gives such memory back, once what uses it has run.
    unsafe fn unpin(&self, address: *mut u8);
    /// Starts a copy from memory of [`pin`](Driver::pin), which must not change until it has run.
    unsafe fn start_upload(&self, to: Address, from: *const u8, bytes: usize) -> Result<()>;
    /// Starts a copy to memory of [`pin`](Driver::pin), which nobody may look at until it has run.
    unsafe fn start_download(&self, to: *mut u8, from: Address, bytes: usize) -> Result<()>;
    /// A mark behind all that was put on the stream so far.
    fn mark(&self) -> Result<Mark>;
    /// Whether the stream has come to a mark.
    fn reached(&self, mark: Mark) -> Result<bool>;
    /// Waits for it.
    fn wait(&self, mark: Mark) -> Result<()>;
    /// Gives a mark up.
    fn unmark(&self, mark: Mark);
    /// From now on what is put on the stream is kept for a graph and does not run.
    fn begin_capture(&self) -> Result<()>;
    /// Ends that.
    fn end_capture(&self) -> Result<GraphHandle>;
    /// Puts all that a graph holds on the stream. The addresses it was captured with have to hold still.
    unsafe fn replay(&self, graph: GraphHandle) -> Result<()>;
    /// A new name for a communicator.
    fn unique_id(&self) -> Result<UniqueId>;
    /// Joins the communicator of that name as a rank of so many; returns once all have.
    fn join(&self, id: UniqueId, rank: usize, ranks: usize) -> Result<Box<dyn Links>>;
    /// Gives a graph up, once it has run.
    unsafe fn drop_graph(&self, graph: GraphHandle);
}

/// A collective: addresses on this rank's device, counts of elements of this rank's part.
#[derive(Clone, Debug)]
pub(crate) enum Transfer {
    AllReduce {
        at: Address,
        count: usize,
        ty: Type,
        op: ReduceOp,
    },
    Reduce {
        at: Address,
        count: usize,
        ty: Type,
        op: ReduceOp,
        root: i32,
    },
    Broadcast {
        at: Address,
        count: usize,
        ty: Type,
        root: i32,
    },
    AllGather {
        from: Address,
        to: Address,
        count: usize,
        ty: Type,
    },
    ReduceScatter {
        from: Address,
        to: Address,
        count: usize,
        ty: Type,
        op: ReduceOp,
    },
    Send {
        from: Address,
        count: usize,
        ty: Type,
        peer: i32,
    },
    Receive {
        to: Address,
        count: usize,
        ty: Type,
        peer: i32,
    },
}

/// A rank's end of a communicator.
pub(crate) trait Links: Send + Sync {
    /// Puts collectives on the device's stream, together.
    ///
    /// # Safety
    /// The addresses lead to as many elements as they say (of all ranks where all are gathered or
    /// scattered), given back only through `release`; what is written is nobody else's.
    unsafe fn start(&self, transfers: &[Transfer]) -> Result<()>;
    /// What failed since.
    fn check(&self) -> Result<()>;
}

/// A library's work; false where it refuses.
pub(crate) type Call = Box<dyn Fn() -> Result<bool> + Send + Sync>;

/// Opens a device.
pub(crate) type Open = Box<dyn Fn() -> Result<Box<dyn Driver>> + Send + Sync>;

/// Bytes to fill memory with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pattern {
    One(u8),
    Two(u16),
    Four(u32),
}
