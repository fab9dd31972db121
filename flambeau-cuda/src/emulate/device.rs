//! A device in plain memory, for tests: kernels run on the CPU, one after another.
//!
//! Copies from and to pinned memory run as late as they may: with the next other work, or when
//! somebody waits. So what changes or reads such memory too early is seen to be wrong.

use super::libraries;
use super::nccl::{self, Rank};
use crate::driver::cublas::CublasLt;
use crate::driver::cudnn::Cudnn;
use crate::driver::{Address, Call, Driver, Fault, GraphHandle, Links, Mark, Pattern, nvrtc};
use crate::error::{Error, Result};
use crate::nccl::UniqueId;
use crate::{Launch, Unit};
use std::alloc::{Layout, alloc, dealloc};
use std::collections::{HashMap, HashSet};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Makes the emulated device `cuda:0` of this process, whatever the machine has. The environment
/// does the same with `FLAMBEAU_CUDA_EMULATE=1`.
///
/// # Errors
/// Where there is no C++ compiler.
pub fn install() -> Result<()> {
    if super::compiler().is_none() {
        return Err(Error::new(
            "the emulated device needs a C++ compiler; none answers to $CXX or c++",
        ));
    }
    INSTALLED.store(true, Ordering::Release);
    Ok(())
}

/// Whether the emulated device is `cuda:0`.
pub(crate) fn installed() -> bool {
    static ASKED: LazyLock<bool> =
        LazyLock::new(|| std::env::var("FLAMBEAU_CUDA_EMULATE").is_ok_and(|v| v == "1"));
    INSTALLED.load(Ordering::Acquire) || *ASKED
}

/// With `FLAMBEAU_CUDA_NVRTC=1`, that NVRTC takes every unit that is launched; the kernels' own tests
/// do so for more than one capability.
fn compiles(unit: &Unit) -> Result<()> {
    static ASKED: LazyLock<bool> =
        LazyLock::new(|| std::env::var("FLAMBEAU_CUDA_NVRTC").is_ok_and(|v| v == "1"));
    static SEEN: LazyLock<Mutex<HashSet<Unit>>> = LazyLock::new(Mutex::default);
    let seen = || SEEN.lock().unwrap_or_else(|e| e.into_inner());
    if *ASKED && seen().insert(unit.clone()) {
        nvrtc::compiler()?.compile(unit, (8, 0))?;
    }
    Ok(())
}

/// How much memory the device has.
const TOTAL: u64 = 4 << 30;
/// What the stand-in libraries want to see as the device's stream.
const STREAM: usize = 0x57ae;
/// cuMemAlloc's alignment.
const ALIGN: usize = 256;

/// Work that waits in the stream or in a graph.
#[derive(Clone)]
enum Work {
    Copy(Address, Address, usize),
    Fill(Address, Pattern, usize),
    Launch(Box<Launch>),
    Library(Arc<Call>),
}

impl Work {
    /// # Safety
    /// What the addresses lead to is there, and nobody else looks at it or changes it.
    unsafe fn run(&mut self) -> Result<()> {
        match self {
            // SAFETY: the caller's.
            Work::Copy(to, from, bytes) => unsafe {
                std::ptr::copy_nonoverlapping(*from as *const u8, *to as *mut u8, *bytes);
            },
            // SAFETY: the caller's; the driver wants addresses that are multiples of the pattern's
            // size.
            Work::Fill(to, pattern, count) => unsafe {
                use std::slice::from_raw_parts_mut as slice;
                match *pattern {
                    Pattern::One(v) => slice(*to as *mut u8, *count).fill(v),
                    Pattern::Two(v) => slice(*to as *mut u16, *count).fill(v),
                    Pattern::Four(v) => slice(*to as *mut u32, *count).fill(v),
                }
            },
            Work::Library(call) => {
                if !call()? {
                    return Err(Error::new("a library refuses what it took before"));
                }
            }
            Work::Launch(launch) => {
                compiles(&launch.unit)?;
                // SAFETY: the caller's.
                unsafe { super::run(launch) }.map_err(|e| Error::new(e.to_string()))?;
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Stream {
    /// What has not run yet.
    waiting: Vec<Work>,
    /// How much was ever put into `waiting`, and so the number of the last mark.
    put: Mark,
    /// What is captured.
    captured: Option<Vec<Work>>,
    graphs: HashMap<GraphHandle, Arc<Vec<Work>>>,
    next_graph: GraphHandle,
}

impl Stream {
    /// Runs what waits.
    fn drain(&mut self) -> Result<()> {
        for mut work in std::mem::take(&mut self.waiting) {
            // SAFETY: the promises of whoever put it there.
            unsafe { work.run()? };
        }
        Ok(())
    }
}

/// The device.
#[derive(Default)]
pub(crate) struct Plain {
    mailbox: Box<[std::sync::atomic::AtomicU64; crate::driver::MAILBOX / 8]>,
    held: Mutex<HashMap<Address, usize>>,
    stream: Arc<Mutex<Stream>>,
}

/// Runs all that waits; refused while a graph is captured, as the driver does.
fn settle(stream: &Mutex<Stream>, what: &str) -> Result<()> {
    let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
    if stream.captured.is_some() {
        return Err(Error::new(format!("{what} while a graph is captured")));
    }
    stream.drain()
}

impl Plain {
    fn held(&self) -> MutexGuard<'_, HashMap<Address, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs work after all that waits, or captures it.
    ///
    /// # Safety
    /// As of `Work::run`; of what is captured, when it is replayed.
    unsafe fn now(&self, mut work: Work) -> Result<()> {
        {
            let mut stream = self.queue();
            if let Some(captured) = &mut stream.captured {
                captured.push(work);
                return Ok(());
            }
            stream.drain()?;
        }
        // SAFETY: the caller's.
        unsafe { work.run() }
    }

    fn settle(&self, what: &str) -> Result<()> {
        settle(&self.stream, what)
    }

    /// A copy that may run late.
    fn later(&self, work: Work) -> Result<()> {
        let mut stream = self.queue();
        if stream.captured.is_some() {
            return Err(Error::new("a copy of the host while a graph is captured"));
        }
        stream.put += 1;
        stream.waiting.push(work);
        Ok(())
    }
}

impl Driver for Plain {
    fn name(&self) -> String {
        "emulated".into()
    }

    fn capability(&self) -> (u32, u32) {
        (9, 0)
    }

    fn multiprocessors(&self) -> u32 {
        4
    }

    fn threads_of_each(&self) -> u32 {
        2048
    }

    fn memory(&self) -> Result<(u64, u64)> {
        let used: usize = self.held().values().sum();
        Ok((TOTAL - used as u64, TOTAL))
    }

    fn allocate(&self, bytes: usize) -> std::result::Result<Address, Fault> {
        let mut held = self.held();
        let used: usize = held.values().sum();
        let layout = Layout::from_size_align(bytes.max(1), ALIGN);
        let Some(layout) = layout.ok().filter(|_| (used + bytes) as u64 <= TOTAL) else {
            return Err(Fault::OutOfMemory);
        };
        // SAFETY: the layout is not empty.
        let address = unsafe { alloc(layout) } as Address;
        if address == 0 {
            return Err(Fault::OutOfMemory);
        }
        held.insert(address, bytes);
        Ok(address)
    }

    unsafe fn release(&self, address: Address) {
        if let Some(bytes) = self.held().remove(&address)
            && let Ok(layout) = Layout::from_size_align(bytes.max(1), ALIGN)
        {
            // SAFETY: it was allocated with this layout, and is not held any more.
            unsafe { dealloc(address as *mut u8, layout) };
        }
    }

    unsafe fn upload(&self, to: Address, from: &[u8]) -> Result<()> {
        self.settle("a copy of the host")?;
        // SAFETY: the caller's; host and device memory do not overlap.
        unsafe { Work::Copy(to, from.as_ptr() as Address, from.len()).run() }
    }

    unsafe fn download(&self, to: &mut [u8], from: Address) -> Result<()> {
        self.settle("a copy to the host")?;
        // SAFETY: as above.
        unsafe { Work::Copy(to.as_mut_ptr() as Address, from, to.len()).run() }
    }

    unsafe fn copy(&self, to: Address, from: Address, bytes: usize) -> Result<()> {
        // SAFETY: the caller's.
        unsafe { self.now(Work::Copy(to, from, bytes)) }
    }

    unsafe fn fill(&self, to: Address, pattern: Pattern, count: usize) -> Result<()> {
        // SAFETY: the caller's.
        unsafe { self.now(Work::Fill(to, pattern, count)) }
    }

    unsafe fn launch(&self, launch: &mut Launch) -> Result<()> {
        // SAFETY: the caller's.
        unsafe { self.now(Work::Launch(Box::new(launch.clone()))) }
    }

    fn mailbox(&self) -> Address {
        self.mailbox.as_ptr() as Address
    }

    fn synchronize(&self) -> Result<()> {
        self.settle("waiting")
    }

    fn pin(&self, bytes: usize) -> std::result::Result<*mut u8, Fault> {
        self.allocate(bytes).map(|address| address as *mut u8)
    }

    unsafe fn unpin(&self, address: *mut u8) {
        // SAFETY: the caller's.
        unsafe { self.release(address as Address) };
    }

    unsafe fn start_upload(&self, to: Address, from: *const u8, bytes: usize) -> Result<()> {
        self.later(Work::Copy(to, from as Address, bytes))
    }

    unsafe fn start_download(&self, to: *mut u8, from: Address, bytes: usize) -> Result<()> {
        self.later(Work::Copy(to as Address, from, bytes))
    }

    fn mark(&self) -> Result<Mark> {
        Ok(self.queue().put)
    }

    fn reached(&self, mark: Mark) -> Result<bool> {
        let stream = self.queue();
        Ok(stream.waiting.is_empty() || stream.put - stream.waiting.len() as u64 >= mark)
    }

    fn wait(&self, mark: Mark) -> Result<()> {
        match self.reached(mark)? {
            true => Ok(()),
            false => self.queue().drain(),
        }
    }

    fn unmark(&self, _: Mark) {}

    fn begin_capture(&self) -> Result<()> {
        let mut stream = self.queue();
        // What came before is before.
        stream.drain()?;
        stream.captured = Some(Vec::new());
        Ok(())
    }

    fn stream(&self) -> Result<*mut c_void> {
        Ok(STREAM as *mut c_void)
    }

    fn enqueue(&self, call: Call) -> Result<bool> {
        let mut stream = self.queue();
        if let Some(captured) = &mut stream.captured {
            captured.push(Work::Library(Arc::new(call)));
            return Ok(true);
        }
        stream.drain()?;
        drop(stream);
        call()
    }

    fn cublas(&self) -> Result<&'static CublasLt> {
        libraries::cublas()
    }

    fn cudnn(&self) -> Result<&'static Cudnn> {
        libraries::cudnn()
    }

    fn end_capture(&self) -> Result<GraphHandle> {
        let mut stream = self.queue();
        let works = stream.captured.take();
        let works = works.ok_or(Error::new("no graph is captured"))?;
        stream.next_graph += 1;
        let handle = stream.next_graph;
        stream.graphs.insert(handle, Arc::new(works));
        Ok(handle)
    }

    unsafe fn replay(&self, graph: GraphHandle) -> Result<()> {
        let works = self.queue().graphs.get(&graph).cloned();
        for work in works.ok_or(Error::new("there is no such graph"))?.iter() {
            // SAFETY: the caller's.
            unsafe { self.now(work.clone())? };
        }
        Ok(())
    }

    fn unique_id(&self) -> Result<UniqueId> {
        Ok(nccl::unique_id())
    }

    fn join(&self, id: UniqueId, rank: usize, ranks: usize) -> Result<Box<dyn Links>> {
        let stream = self.stream.clone();
        let settle = Box::new(move || settle(&stream, "a collective"));
        Ok(Box::new(Rank::join(id, (rank, ranks), settle)?))
    }

    unsafe fn drop_graph(&self, graph: GraphHandle) {
        self.queue().graphs.remove(&graph);
    }
}
