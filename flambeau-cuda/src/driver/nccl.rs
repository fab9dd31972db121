//! NCCL: collectives between NVIDIA's devices.

use super::api::Handle;
use super::library::{self, library};
use super::{Links, Transfer};
use crate::Type;
use crate::error::{Error, Result};
use crate::nccl::{ReduceOp, UniqueId};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;

type Status = c_int;
type Comm = *mut c_void;

pub(crate) const IN_PROGRESS: Status = 7;

/// `ncclUniqueId`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Id {
    pub(crate) internal: [u8; 128],
}

library! {
    /// NCCL.
    Nccl {
        fn ncclGetVersion(version: *mut c_int) -> Status;
        fn ncclGetErrorString(status: Status) -> *const c_char;
        fn ncclGetUniqueId(id: *mut Id) -> Status;
        fn ncclCommInitRank(comm: *mut Comm, ranks: c_int, id: Id, rank: c_int) -> Status;
        fn ncclCommDestroy(comm: Comm) -> Status;
        fn ncclCommGetAsyncError(comm: Comm, error: *mut Status) -> Status;
        fn ncclGroupStart() -> Status;
        fn ncclGroupEnd() -> Status;
        fn ncclAllReduce(
            from: *const c_void, to: *mut c_void, count: usize, ty: c_int, op: c_int, comm: Comm, stream: Handle,
        ) -> Status;
        fn ncclReduce(
            from: *const c_void, to: *mut c_void, count: usize, ty: c_int, op: c_int, root: c_int, comm: Comm, stream: Handle,
        ) -> Status;
        fn ncclBroadcast(
            from: *const c_void, to: *mut c_void, count: usize, ty: c_int, root: c_int, comm: Comm, stream: Handle,
        ) -> Status;
        fn ncclAllGather(
            from: *const c_void, to: *mut c_void, count: usize, ty: c_int, comm: Comm, stream: Handle,
        ) -> Status;
        fn ncclReduceScatter(
            from: *const c_void, to: *mut c_void, count: usize, ty: c_int, op: c_int, comm: Comm, stream: Handle,
        ) -> Status;
        fn ncclSend(from: *const c_void, count: usize, ty: c_int, peer: c_int, comm: Comm, stream: Handle) -> Status;
        fn ncclRecv(to: *mut c_void, count: usize, ty: c_int, peer: c_int, comm: Comm, stream: Handle) -> Status;
    }
}

impl Nccl {
    fn check(&self, status: Status, what: &str) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: NCCL's texts are static and end in a zero.
        let words = unsafe { CStr::from_ptr((self.ncclGetErrorString)(status)) }.to_string_lossy();
        let hint = "NCCL_DEBUG=WARN has it say more";
        Err(Error::new(format!("{what} failed: {words}; {hint}")))
    }
}

/// NCCL, loaded once.
fn nccl() -> Result<&'static Nccl> {
    static NCCL: OnceLock<Result<Nccl>> = OnceLock::new();
    let loaded = NCCL.get_or_init(|| {
        let remedy = "pip install nvidia-nccl-cu13, or the system's libnccl2, brings it; FLAMBEAU_CUDA_LIBRARIES names further directories";
        Nccl::of(library::open(&["libnccl.so.2", "libnccl.so"], remedy)?)
    });
    loaded.as_ref().map_err(Error::clone)
}

/// NCCL's version, as in (2, 28, 3).
///
/// # Errors
/// Where it is missing.
pub fn version() -> Result<(i32, i32, i32)> {
    let nccl = nccl()?;
    let mut version = 0;
    // SAFETY: writes one integer.
    let status = unsafe { (nccl.ncclGetVersion)(&mut version) };
    nccl.check(status, "asking NCCL's version")?;
    Ok((version / 10000, version / 100 % 100, version % 100))
}

pub(crate) fn unique_id() -> Result<UniqueId> {
    let nccl = nccl()?;
    let mut id = Id { internal: [0; 128] };
    // SAFETY: writes one id.
    let status = unsafe { (nccl.ncclGetUniqueId)(&mut id) };
    nccl.check(status, "making a communicator's id")?;
    Ok(UniqueId(id.internal))
}

/// A communicator, and what makes its device's context current and waits for its stream.
pub(crate) struct Joined {
    nccl: &'static Nccl,
    comm: Comm,
    stream: Handle,
    enter: Box<dyn Fn() -> Result<()> + Send + Sync>,
    wait: Box<dyn Fn() -> Result<()> + Send + Sync>,
}

// SAFETY: NCCL's communicators may be used from any thread, by one at a time: `start` groups its calls
// and is called in the order of the program, which collectives need anyway.
unsafe impl Send for Joined {}
// SAFETY: as above; groups are states of the calling thread.
unsafe impl Sync for Joined {}

impl Joined {
    /// Joins; the device's context is current.
    pub(crate) fn new(
        (id, rank, ranks): (UniqueId, usize, usize),
        stream: Handle,
        enter: Box<dyn Fn() -> Result<()> + Send + Sync>,
        wait: Box<dyn Fn() -> Result<()> + Send + Sync>,
    ) -> Result<Joined> {
        let nccl = nccl()?;
        let mut comm = null_mut();
        let id = Id { internal: id.0 };
        // SAFETY: writes one handle.
        let status =
            unsafe { (nccl.ncclCommInitRank)(&mut comm, ranks as c_int, id, rank as c_int) };
        nccl.check(status, "joining a communicator")?;
        Ok(Joined {
            nccl,
            comm,
            stream,
            enter,
            wait,
        })
    }

    /// # Safety
    /// As of [`Links::start`].
    unsafe fn put(&self, transfer: &Transfer) -> Status {
        let (n, comm, stream) = (self.nccl, self.comm, self.stream);
        let (at, mut count, ty) = match *transfer {
            Transfer::AllReduce { at, count, ty, .. }
            | Transfer::Reduce { at, count, ty, .. }
            | Transfer::Broadcast { at, count, ty, .. } => (at, count, ty),
            Transfer::AllGather { to, count, ty, .. }
            | Transfer::ReduceScatter { to, count, ty, .. }
            | Transfer::Receive { to, count, ty, .. } => (to, count, ty),
            Transfer::Send {
                from, count, ty, ..
            } => (from, count, ty),
        };
        let at = at as *mut c_void;
        let kind = kind(ty).unwrap_or_else(|| {
            count *= ty.size();
            UINT8
        });
        // SAFETY: the caller's; a type that NCCL lacks is moved as bytes.
        unsafe {
            match *transfer {
                Transfer::AllReduce { op, .. } => {
                    (n.ncclAllReduce)(at, at, count, kind, code(op), comm, stream)
                }
                Transfer::Reduce { op, root, .. } => {
                    (n.ncclReduce)(at, at, count, kind, code(op), root, comm, stream)
                }
                Transfer::Broadcast { root, .. } => {
                    (n.ncclBroadcast)(at, at, count, kind, root, comm, stream)
                }
                Transfer::AllGather { from, .. } => {
                    (n.ncclAllGather)(from as *const c_void, at, count, kind, comm, stream)
                }
                Transfer::ReduceScatter { from, op, .. } => {
                    let from = from as *const c_void;
                    (n.ncclReduceScatter)(from, at, count, kind, code(op), comm, stream)
                }
                Transfer::Send { peer, .. } => (n.ncclSend)(at, count, kind, peer, comm, stream),
                Transfer::Receive { peer, .. } => (n.ncclRecv)(at, count, kind, peer, comm, stream),
            }
        }
    }
}

impl Links for Joined {
    unsafe fn start(&self, transfers: &[Transfer]) -> Result<()> {
        (self.enter)()?;
        // SAFETY: changes a count of this thread; it is ended below, whatever happens between.
        let begun = unsafe { (self.nccl.ncclGroupStart)() };
        self.nccl.check(begun, "a collective")?;
        let mut status = 0;
        for transfer in transfers {
            if status == 0 {
                // SAFETY: the caller's.
                status = unsafe { self.put(transfer) };
            }
        }
        // SAFETY: begun above.
        let ended = unsafe { (self.nccl.ncclGroupEnd)() };
        self.nccl.check(status, "a collective")?;
        self.nccl.check(ended, "a collective")
    }

    fn check(&self) -> Result<()> {
        let mut status = 0;
        // SAFETY: writes one status.
        let asked = unsafe { (self.nccl.ncclCommGetAsyncError)(self.comm, &mut status) };
        self.nccl.check(asked, "asking for errors of collectives")?;
        match status {
            IN_PROGRESS => Ok(()),
            status => self.nccl.check(status, "a collective"),
        }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        // What was started has to end first; a failed device has nothing that runs.
        let _ = (self.wait)();
        // SAFETY: made by `new`, and not used any more.
        unsafe { (self.nccl.ncclCommDestroy)(self.comm) };
    }
}

const UINT8: c_int = 1;

/// `ncclDataType_t`; `None` where NCCL has none.
pub(crate) fn kind(ty: Type) -> Option<c_int> {
    Some(match ty {
        Type::I8 => 0,
        Type::U8 | Type::Bool => UINT8,
        Type::I32 => 2,
        Type::I64 => 4,
        Type::F16 => 6,
        Type::F32 => 7,
        Type::F64 => 8,
        Type::BF16 => 9,
        Type::I16 => return None,
    })
}

/// `ncclRedOp_t`.
pub(crate) fn code(op: ReduceOp) -> c_int {
    match op {
        ReduceOp::Sum => 0,
        ReduceOp::Product => 1,
        ReduceOp::Max => 2,
        ReduceOp::Min => 3,
        ReduceOp::Average => 4,
    }
}
