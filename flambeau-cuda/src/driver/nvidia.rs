//! NVIDIA's driver.

use super::api::{self, Cuda, Handle, Status};
use super::{
    Address, Call, Driver, Fault, GraphHandle, Links, Mark, Open, Pattern, cublas, cudnn, library,
    nccl, nvrtc,
};
use crate::error::{Error, Result, fail};
use crate::nccl::UniqueId;
use crate::{Launch, Unit};
use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::{CStr, CString, c_int};
use std::ptr::{null, null_mut};
use std::sync::{Mutex, OnceLock};

thread_local! {
    /// The context that is current on this thread.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

impl Cuda {
    fn check(&self, status: Status, what: &str) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        Err(Error::new(format!(
            "{what} failed: {}",
            self.describe(status)
        )))
    }

    fn describe(&self, status: Status) -> String {
        let (mut name, mut text) = (null(), null());
        // SAFETY: both functions write a pointer to a static text, or leave null.
        unsafe {
            (self.cuGetErrorName)(status, &mut name);
            (self.cuGetErrorString)(status, &mut text);
        }
        let words = |p| {
            // SAFETY: the driver's texts are static and end in a zero.
            (!std::ptr::eq(p, null())).then(|| unsafe { CStr::from_ptr(p) }.to_string_lossy())
        };
        match (words(name), words(text)) {
            (Some(name), Some(text)) => format!("{name}: {text}"),
            _ => format!("error {status}"),
        }
    }
}

/// The driver, loaded and started once.
fn cuda() -> Result<&'static Cuda> {
    static CUDA: OnceLock<Result<Cuda>> = OnceLock::new();
    let loaded = CUDA.get_or_init(|| {
        let remedy = "it comes with NVIDIA's driver, which this machine seems not to have";
        let names = if cfg!(windows) {
            &["nvcuda.dll"][..]
        } else {
            &["libcuda.so.1", "libcuda.so"]
        };
        let cuda = Cuda::of(library::open(names, remedy)?)?;
        // SAFETY: the first call that the driver wants.
        cuda.check(unsafe { (cuda.cuInit)(0) }, "starting the CUDA driver")?;
        Ok(cuda)
    });
    loaded.as_ref().map_err(Error::clone)
}

/// The version of CUDA that the driver offers, as in (13, 0).
///
/// # Errors
/// Where there is no driver.
pub fn version() -> Result<(i32, i32)> {
    let cuda = cuda()?;
    let mut version = 0;
    // SAFETY: writes one integer.
    let status = unsafe { (cuda.cuDriverGetVersion)(&mut version) };
    cuda.check(status, "asking the driver's version")?;
    Ok((version / 1000, version % 1000 / 10))
}

fn count() -> Result<usize> {
    let cuda = cuda()?;
    let mut count = 0;
    // SAFETY: writes one integer.
    let status = unsafe { (cuda.cuDeviceGetCount)(&mut count) };
    cuda.check(status, "counting devices")?;
    if count == 0 {
        fail!("the CUDA driver finds no device; nvidia-smi and CUDA_VISIBLE_DEVICES may tell why");
    }
    Ok(count as usize)
}

/// What opens each device that there is.
pub(crate) fn devices() -> Result<Vec<Open>> {
    nvrtc::compiler()?;
    let open = |i| -> Open { Box::new(move || Ok(Box::new(Nvidia::open(i)?))) };
    Ok((0..count()?).map(open).collect())
}

/// How many events are kept for use again.
const KEPT_EVENTS: usize = 64;

/// One device.
struct Nvidia {
    cuda: &'static Cuda,
    context: Handle,
    stream: Handle,
    name: String,
    capability: (u32, u32),
    multiprocessors: u32,
    threads_of_each: u32,
    mailbox: Address,
    units: Mutex<HashMap<Unit, Loaded>>,
    /// Events to be used again.
    events: Mutex<Vec<Mark>>,
}

/// A unit's module and its kernels by name, as the driver's handles.
struct Loaded {
    module: usize,
    functions: Vec<(&'static str, usize)>,
}

// SAFETY: the driver's functions may be called from any thread; each call makes its context current
// first, and handles stay valid as long as the process.
unsafe impl Send for Nvidia {}
// SAFETY: as above.
unsafe impl Sync for Nvidia {}

/// Makes a context, which was retained for the life of the process, current on this thread.
fn enter(cuda: &Cuda, context: usize) -> Result<()> {
    if CURRENT.get() != context {
        // SAFETY: the caller's promise about the context.
        let status = unsafe { (cuda.cuCtxSetCurrent)(context as Handle) };
        cuda.check(status, "using the device")?;
        CURRENT.set(context);
    }
    Ok(())
}

impl Nvidia {
    fn open(index: usize) -> Result<Nvidia> {
        let cuda = cuda()?;
        let (mut device, mut context, mut stream) = (0, null_mut(), null_mut());
        let mut mailbox = null_mut();
        let mut name = [0; 256];
        let mut attributes = [0; 4];
        // SAFETY: each function writes to the place that it is given, of the type it wants.
        unsafe {
            cuda.check(
                (cuda.cuDeviceGet)(&mut device, index as c_int),
                "finding the device",
            )?;
            cuda.check(
                (cuda.cuDeviceGetName)(name.as_mut_ptr(), 255, device),
                "asking its name",
            )?;
            let asked = [
                api::CAPABILITY_MAJOR,
                api::CAPABILITY_MINOR,
                api::MULTIPROCESSOR_COUNT,
                api::MAX_THREADS_PER_MULTIPROCESSOR,
            ];
            for (value, attribute) in attributes.iter_mut().zip(asked) {
                cuda.check(
                    (cuda.cuDeviceGetAttribute)(value, attribute, device),
                    "asking its properties",
                )?;
            }
            let retained = (cuda.cuDevicePrimaryCtxRetain)(&mut context, device);
            cuda.check(retained, "opening the device")?;
            cuda.check((cuda.cuCtxSetCurrent)(context), "using the device")?;
            CURRENT.set(context as usize);
            let made = (cuda.cuStreamCreate)(&mut stream, api::STREAM_NON_BLOCKING);
            cuda.check(made, "making a stream")?;
            let bytes = super::MAILBOX;
            let made = (cuda.cuMemHostAlloc)(&mut mailbox, bytes, api::PORTABLE_AND_MAPPED);
            cuda.check(made, "allocating memory that the device shares")?;
            std::ptr::write_bytes(mailbox.cast::<u8>(), 0, bytes);
        }
        // SAFETY: the driver ended the name with a zero within the array.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) }
            .to_string_lossy()
            .into_owned();
        let [major, minor, multiprocessors, threads_of_each] = attributes.map(|v| v as u32);
        Ok(Nvidia {
            cuda,
            context,
            stream,
            name,
            capability: (major, minor),
            multiprocessors,
            threads_of_each,
            mailbox: mailbox as Address,
            units: Mutex::default(),
            events: Mutex::default(),
        })
    }

    /// The driver's table, with this device's context current.
    fn enter(&self) -> Result<&'static Cuda> {
        enter(self.cuda, self.context as usize)?;
        Ok(self.cuda)
    }

    fn events(&self) -> std::sync::MutexGuard<'_, Vec<Mark>> {
        self.events.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The function that a launch starts: its unit is compiled and loaded at first use.
    fn function(&self, cuda: &Cuda, launch: &Launch) -> Result<Handle> {
        let (unit, entry) = (&launch.unit, launch.entry);
        let mut units = self.units.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(loaded) = units.get(unit)
            && let Some(&(_, function)) = loaded.functions.iter().find(|(name, _)| *name == entry)
        {
            return Ok(function as Handle);
        }
        if !units.contains_key(unit) {
            let image = nvrtc::cubin(unit, self.capability)?;
            let mut module = null_mut();
            // SAFETY: the image is a whole CUBIN; the driver copies what it needs.
            let status = unsafe { (cuda.cuModuleLoadData)(&mut module, image.as_ptr().cast()) };
            cuda.check(status, &format!("loading the kernels of {}", unit.file()))?;
            units.insert(
                unit.clone(),
                Loaded {
                    module: module as usize,
                    functions: Vec::new(),
                },
            );
        }
        let Some(loaded) = units.get_mut(unit) else {
            fail!("the kernels of {} were not kept", unit.file());
        };
        let name = CString::new(entry).map_err(|_| Error::new("a kernel's name holds a zero"))?;
        let mut function = null_mut();
        // SAFETY: writes one handle, which lives as long as the module: as the process.
        let status = unsafe {
            (cuda.cuModuleGetFunction)(&mut function, loaded.module as Handle, name.as_ptr())
        };
        cuda.check(
            status,
            &format!("finding the kernel {entry} in {}", unit.file()),
        )?;
        loaded.functions.push((entry, function as usize));
        Ok(function)
    }
}

impl Driver for Nvidia {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn capability(&self) -> (u32, u32) {
        self.capability
    }

    fn multiprocessors(&self) -> u32 {
        self.multiprocessors
    }

    fn threads_of_each(&self) -> u32 {
        self.threads_of_each
    }

    fn memory(&self) -> Result<(u64, u64)> {
        let cuda = self.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two numbers.
        let status = unsafe { (cuda.cuMemGetInfo_v2)(&mut free, &mut total) };
        cuda.check(status, "asking for free memory")?;
        Ok((free as u64, total as u64))
    }

    fn allocate(&self, bytes: usize) -> std::result::Result<Address, Fault> {
        let cuda = self.enter().map_err(|e| Fault::Other(e.to_string()))?;
        let mut address = 0;
        // SAFETY: writes one address.
        match unsafe { (cuda.cuMemAlloc_v2)(&mut address, bytes) } {
            0 => Ok(address),
            api::OUT_OF_MEMORY => Err(Fault::OutOfMemory),
            status => Err(Fault::Other(cuda.describe(status))),
        }
    }

    unsafe fn release(&self, address: Address) {
        if let Ok(cuda) = self.enter() {
            // SAFETY: the caller's; a failure leaves the memory to the end of the process.
            unsafe { (cuda.cuMemFree_v2)(address) };
        }
    }

    unsafe fn upload(&self, to: Address, from: &[u8]) -> Result<()> {
        let cuda = self.enter()?;
        // SAFETY: the caller's for `to`; pageable memory is staged before the call returns.
        let status = unsafe {
            (cuda.cuMemcpyHtoDAsync_v2)(to, from.as_ptr().cast(), from.len(), self.stream)
        };
        cuda.check(status, "copying to the device")
    }

    unsafe fn download(&self, to: &mut [u8], from: Address) -> Result<()> {
        let cuda = self.enter()?;
        // SAFETY: the caller's for `from`; the slice is borrowed until the stream has been waited for.
        let status = unsafe {
            (cuda.cuMemcpyDtoHAsync_v2)(to.as_mut_ptr().cast(), from, to.len(), self.stream)
        };
        cuda.check(status, "copying from the device")?;
        self.synchronize()
    }

    unsafe fn copy(&self, to: Address, from: Address, bytes: usize) -> Result<()> {
        let cuda = self.enter()?;
        // SAFETY: the caller's.
        let status = unsafe { (cuda.cuMemcpyDtoDAsync_v2)(to, from, bytes, self.stream) };
        cuda.check(status, "copying on the device")
    }

    unsafe fn fill(&self, to: Address, pattern: Pattern, count: usize) -> Result<()> {
        let cuda = self.enter()?;
        // SAFETY: the caller's.
        let status = unsafe {
            match pattern {
                Pattern::One(v) => (cuda.cuMemsetD8Async)(to, v, count, self.stream),
                Pattern::Two(v) => (cuda.cuMemsetD16Async)(to, v, count, self.stream),
                Pattern::Four(v) => (cuda.cuMemsetD32Async)(to, v, count, self.stream),
            }
        };
        cuda.check(status, "filling memory")
    }

    unsafe fn launch(&self, launch: &mut Launch) -> Result<()> {
        let cuda = self.enter()?;
        let function = self.function(cuda, launch)?;
        let ([gx, gy, gz], [bx, by, bz]) = (launch.grid, launch.block);
        let mut args = launch.args.pointers();
        // SAFETY: the caller's; arguments are copied before the call returns.
        let status = unsafe {
            let args = args.as_mut_ptr();
            (cuda.cuLaunchKernel)(
                function,
                gx,
                gy,
                gz,
                bx,
                by,
                bz,
                launch.shared,
                self.stream,
                args,
                null_mut(),
            )
        };
        cuda.check(status, &format!("launching {}", launch.entry))
    }

    fn mailbox(&self) -> Address {
        self.mailbox
    }

    fn synchronize(&self) -> Result<()> {
        let cuda = self.enter()?;
        // SAFETY: the stream lives as long as the process.
        let status = unsafe { (cuda.cuStreamSynchronize)(self.stream) };
        cuda.check(status, "work on the device")
    }

    fn stream(&self) -> Result<Handle> {
        self.enter()?;
        Ok(self.stream)
    }

    fn enqueue(&self, call: Call) -> Result<bool> {
        call()
    }

    fn cublas(&self) -> Result<&'static cublas::CublasLt> {
        cublas::library()
    }

    fn cudnn(&self) -> Result<&'static cudnn::Cudnn> {
        cudnn::library()
    }

    fn pin(&self, bytes: usize) -> std::result::Result<*mut u8, Fault> {
        let cuda = self.enter().map_err(|e| Fault::Other(e.to_string()))?;
        let mut address = null_mut();
        // SAFETY: writes one address.
        match unsafe { (cuda.cuMemHostAlloc)(&mut address, bytes, api::PORTABLE_AND_MAPPED) } {
            0 => Ok(address.cast()),
            api::OUT_OF_MEMORY => Err(Fault::OutOfMemory),
            status => Err(Fault::Other(cuda.describe(status))),
        }
    }

    unsafe fn unpin(&self, address: *mut u8) {
        if let Ok(cuda) = self.enter() {
            // SAFETY: the caller's; a failure leaves the memory to the end of the process.
            unsafe { (cuda.cuMemFreeHost)(address.cast()) };
        }
    }

    unsafe fn start_upload(&self, to: Address, from: *const u8, bytes: usize) -> Result<()> {
        let cuda = self.enter()?;
        // SAFETY: the caller's.
        let status = unsafe { (cuda.cuMemcpyHtoDAsync_v2)(to, from.cast(), bytes, self.stream) };
        cuda.check(status, "copying to the device")
    }

    unsafe fn start_download(&self, to: *mut u8, from: Address, bytes: usize) -> Result<()> {
        let cuda = self.enter()?;
        // SAFETY: the caller's.
        let status = unsafe { (cuda.cuMemcpyDtoHAsync_v2)(to.cast(), from, bytes, self.stream) };
        cuda.check(status, "copying from the device")
    }

    fn mark(&self) -> Result<Mark> {
        let cuda = self.enter()?;
        let mut event = self.events().pop().map_or(null_mut(), |e| e as Handle);
        // SAFETY: writes one handle; the event is recorded on this device's stream alone.
        unsafe {
            if event.is_null() {
                let made = (cuda.cuEventCreate)(&mut event, api::EVENT_DISABLE_TIMING);
                cuda.check(made, "making an event")?;
            }
            cuda.check(
                (cuda.cuEventRecord)(event, self.stream),
                "marking the stream",
            )?;
        }
        Ok(event as Mark)
    }

    fn reached(&self, mark: Mark) -> Result<bool> {
        let cuda = self.enter()?;
        // SAFETY: an event of `mark`.
        match unsafe { (cuda.cuEventQuery)(mark as Handle) } {
            api::NOT_READY => Ok(false),
            status => cuda.check(status, "work on the device").map(|()| true),
        }
    }

    fn wait(&self, mark: Mark) -> Result<()> {
        let cuda = self.enter()?;
        // SAFETY: an event of `mark`.
        let status = unsafe { (cuda.cuEventSynchronize)(mark as Handle) };
        cuda.check(status, "work on the device")
    }

    fn unmark(&self, mark: Mark) {
        let mut events = self.events();
        if events.len() < KEPT_EVENTS {
            events.push(mark);
        } else if let Ok(cuda) = self.enter() {
            // SAFETY: an event of `mark`, which is not used any more.
            unsafe { (cuda.cuEventDestroy_v2)(mark as Handle) };
        }
    }

    fn begin_capture(&self) -> Result<()> {
        let cuda = self.enter()?;
        // SAFETY: the stream lives as long as the process.
        let status = unsafe { (cuda.cuStreamBeginCapture_v2)(self.stream, api::CAPTURE_RELAXED) };
        cuda.check(status, "beginning a graph")
    }

    fn end_capture(&self) -> Result<GraphHandle> {
        let cuda = self.enter()?;
        let (mut graph, mut executable) = (null_mut(), null_mut());
        // SAFETY: each function writes one handle; the graph is not needed once it was instantiated.
        unsafe {
            let ended = (cuda.cuStreamEndCapture)(self.stream, &mut graph);
            cuda.check(ended, "ending a graph")?;
            let made = (cuda.cuGraphInstantiateWithFlags)(&mut executable, graph, 0);
            (cuda.cuGraphDestroy)(graph);
            cuda.check(made, "making a graph ready")?;
        }
        Ok(executable as GraphHandle)
    }

    unsafe fn replay(&self, graph: GraphHandle) -> Result<()> {
        let cuda = self.enter()?;
        // SAFETY: the caller's; the handle is one of `end_capture`.
        let status = unsafe { (cuda.cuGraphLaunch)(graph as Handle, self.stream) };
        cuda.check(status, "replaying a graph")
    }

    fn unique_id(&self) -> Result<UniqueId> {
        self.enter()?;
        nccl::unique_id()
    }

    fn join(&self, id: UniqueId, rank: usize, ranks: usize) -> Result<Box<dyn Links>> {
        let cuda = self.enter()?;
        let (context, stream) = (self.context as usize, self.stream as usize);
        let wait = move || {
            enter(cuda, context)?;
            // SAFETY: the stream lives as long as the process.
            let status = unsafe { (cuda.cuStreamSynchronize)(stream as Handle) };
            cuda.check(status, "work on the device")
        };
        let joined = nccl::Joined::new(
            (id, rank, ranks),
            self.stream,
            Box::new(move || enter(cuda, context)),
            Box::new(wait),
        )?;
        Ok(Box::new(joined))
    }

    unsafe fn drop_graph(&self, graph: GraphHandle) {
        if let Ok(cuda) = self.enter() {
            // SAFETY: the caller's; a failure leaves it to the end of the process.
            unsafe { (cuda.cuGraphExecDestroy)(graph as Handle) };
        }
    }
}
