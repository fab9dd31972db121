//! Devices, and memory on them.

use crate::Launch;
use crate::capture::{Capturing, words};
use crate::driver::{self, Address, Driver, Open, Pattern};
use crate::error::{Error, Result, fail};
use crate::host::HostPool;
use crate::pool::{Pool, Stats};
use crate::scope;
use crate::vendor::{Blas, Dnn, settings};
use std::ffi::c_void;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

/// A device that work can be given to. There is one value for each, for the life of the process.
pub struct Device {
    index: usize,
    driver: Box<dyn Driver>,
    pool: Mutex<Pool>,
    host: Mutex<HostPool>,
    /// Whether `capture` holds something: read at every launch.
    capturing: AtomicBool,
    capture: Mutex<Option<Capturing>>,
    /// Taken to begin a capture.
    pub(crate) exclusive: Mutex<()>,
    /// Whether each launch is waited for, so that what fails is reported where it was started.
    waits: bool,
    blas: OnceLock<Result<Blas>>,
    dnn: OnceLock<Result<Dnn>>,
    layout_copies: AtomicU64,
    /// What kernels say by number.
    messages: Mutex<Vec<&'static str>>,
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cuda:{}", self.index)
    }
}

/// A device that is there, opened at first use.
struct Slot {
    open: Open,
    device: OnceLock<Result<Device>>,
}

fn slots() -> &'static Result<Vec<Slot>> {
    let make = |open: Open| Slot {
        open,
        device: OnceLock::new(),
    };
    #[cfg(feature = "emulate")]
    if crate::emulate::installed() {
        static EMULATED: OnceLock<Result<Vec<Slot>>> = OnceLock::new();
        return EMULATED.get_or_init(|| {
            Ok(vec![make(Box::new(|| {
                Ok(Box::<crate::emulate::Plain>::default())
            }))])
        });
    }
    static FOUND: OnceLock<Result<Vec<Slot>>> = OnceLock::new();
    FOUND.get_or_init(|| Ok(driver::devices()?.into_iter().map(make).collect()))
}

/// How many devices there are; 0 where a library is missing ([`available`] says which).
pub fn count() -> usize {
    slots().as_ref().map_or(0, Vec::len)
}

/// Whether there is a device, and what it needs.
///
/// # Errors
/// Says what is missing.
pub fn available() -> Result<()> {
    slots().as_ref().map(|_| ()).map_err(Error::clone)
}

/// Device number `index`.
///
/// # Errors
/// Where there is none, or it cannot be opened.
pub fn device(index: usize) -> Result<&'static Device> {
    let slots = slots().as_ref().map_err(Error::clone)?;
    let Some(slot) = slots.get(index) else {
        fail!(
            "there is no cuda:{index}; this machine has {} CUDA device{}",
            slots.len(),
            if slots.len() == 1 { "" } else { "s" }
        );
    };
    let device = slot.device.get_or_init(|| {
        Ok(Device {
            index,
            driver: (slot.open)()?,
            pool: Mutex::default(),
            host: Mutex::default(),
            capturing: AtomicBool::new(false),
            capture: Mutex::default(),
            exclusive: Mutex::default(),
            waits: std::env::var("FLAMBEAU_CUDA_SYNC").is_ok_and(|v| v == "1"),
            blas: OnceLock::new(),
            dnn: OnceLock::new(),
            layout_copies: AtomicU64::new(0),
            messages: Mutex::default(),
        })
    });
    device.as_ref().map_err(Error::clone)
}

impl Device {
    /// Its number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.driver.name()
    }

    /// Its compute capability, as in (9, 0).
    pub fn capability(&self) -> (u32, u32) {
        self.driver.capability()
    }

    /// How many multiprocessors it has.
    pub fn multiprocessors(&self) -> u32 {
        self.driver.multiprocessors()
    }

    /// How many threads each of them holds.
    pub fn threads_of_each(&self) -> u32 {
        self.driver.threads_of_each()
    }

    /// Bytes of its memory that are free, and in all.
    ///
    /// # Errors
    /// Where the driver does not answer.
    pub fn memory(&self) -> Result<(u64, u64)> {
        self.driver.memory()
    }

    /// What its allocator holds.
    pub fn stats(&self) -> Stats {
        self.pool().stats()
    }

    /// How often elements were copied to lie in another order, or without gaps.
    pub fn layout_copies(&self) -> u64 {
        self.layout_copies.load(Ordering::Relaxed)
    }

    pub(crate) fn note_layout_copy(&self) {
        self.layout_copies.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts peaks anew.
    pub fn reset_peak(&self) {
        self.pool().reset_peak();
    }

    /// Gives what is kept for reuse back to the driver, pinned memory too. Does nothing while a
    /// graph is captured.
    pub fn empty_cache(&self) {
        if !self.is_capturing() {
            self.pool().empty(&*self.driver);
            self.host().empty(self);
        }
    }

    /// Says that a batch of `samples` was brought here, and so that the step before is over: what
    /// the message of a device without memory reckons with.
    pub fn note_batch(&self, samples: usize) {
        self.pool().note_batch(samples);
    }

    /// Waits for all work.
    ///
    /// # Errors
    /// What failed since it was last waited for.
    pub fn synchronize(&self) -> Result<()> {
        self.check_host("waiting")?;
        self.driver.synchronize()?;
        self.complaint()
    }

    pub(crate) fn driver(&self) -> &dyn Driver {
        &*self.driver
    }

    /// Whether work is captured into a graph instead of being run.
    pub fn is_capturing(&self) -> bool {
        self.capturing.load(Ordering::Acquire)
    }

    pub(crate) fn set_capturing(&self, capturing: bool) {
        self.capturing.store(capturing, Ordering::Release);
    }

    pub(crate) fn capture_state(&self) -> MutexGuard<'_, Option<Capturing>> {
        self.capture.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub(crate) fn host(&self) -> MutexGuard<'_, HostPool> {
        self.host.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Where kernels say what they found wrong.
    pub(crate) fn mailbox(&self) -> Address {
        self.driver.mailbox()
    }

    fn messages(&self) -> MutexGuard<'_, Vec<&'static str>> {
        self.messages.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The number by which a kernel says `message` to the host.
    pub(crate) fn message(&self, message: &'static str) -> i64 {
        let mut messages = self.messages();
        let known = messages.iter().position(|m| *m == message);
        known.unwrap_or_else(|| {
            messages.push(message);
            messages.len() - 1
        }) as i64
    }

    /// What a kernel that has run found wrong.
    fn complaint(&self) -> Result<()> {
        let words = self.driver.mailbox() as *const AtomicU64;
        // SAFETY: the driver's memory of three aligned words, which kernels write whole.
        let [code, value, bound] = [0, 1, 2].map(|i| unsafe { &*words.add(i) });
        let code = code.swap(0, Ordering::AcqRel) as u32;
        let value = value.load(Ordering::Acquire);
        match code {
            0 => Ok(()),
            2 => fail!(
                "{}; FLAMBEAU_CUDA_SYNC=1 reports it where it is found",
                self.messages()
                    .get(value as usize)
                    .unwrap_or(&"a check failed")
            ),
            _ => fail!(
                "an index of {} is out of range: there are {}; FLAMBEAU_CUDA_SYNC=1 reports it where it is used",
                value as i64,
                bound.load(Ordering::Acquire)
            ),
        }
    }

    /// Memory whose contents are arbitrary.
    ///
    /// # Errors
    /// Where there is not enough: says what was asked and what is held.
    pub fn allocate(&'static self, bytes: usize) -> Result<Buffer> {
        self.captured(|_| ())?;
        let address = match bytes {
            0 => 0,
            _ => (self.pool()).take(&*self.driver, bytes, scope::current())?,
        };
        Ok(Buffer {
            device: self,
            address,
            bytes,
        })
    }

    /// Puts a kernel on the device's stream.
    ///
    /// # Safety
    /// The arguments are those that the kernel takes, and the addresses among them lead to buffers
    /// of this device that are as large as it makes use of. What it writes is borrowed exclusively.
    pub(crate) unsafe fn launch(&self, mut launch: Launch) -> Result<()> {
        self.hold(words(&launch))?;
        // SAFETY: the caller's; a buffer that is dropped is reused only by what runs later.
        unsafe { self.driver.launch(&mut launch)? };
        self.started()
    }

    /// To be called after work was put on the stream: waits for it where that is asked for.
    pub(crate) fn started(&self) -> Result<()> {
        if self.waits && !self.is_capturing() {
            self.synchronize()?;
        }
        Ok(())
    }

    /// The stream, for a library that is called on this thread: the device is made current for it.
    pub(crate) fn stream(&self) -> Result<*mut c_void> {
        self.driver.stream()
    }

    fn start_blas(&self) -> &Result<Blas> {
        self.blas.get_or_init(|| {
            self.driver.stream()?;
            Blas::open(self.driver.cublas()?, self.capability())
        })
    }

    fn start_dnn(&self) -> &Result<Dnn> {
        self.dnn
            .get_or_init(|| Dnn::open(self.driver.cudnn()?, self.driver.stream()?))
    }

    /// cuBLASLt, where it is wanted and there.
    pub(crate) fn blas(&self) -> Option<&Blas> {
        settings::CUBLAS
            .get()
            .then(|| self.start_blas().as_ref().ok())?
    }

    /// cuDNN, where it is wanted and there.
    pub(crate) fn dnn(&self) -> Option<&Dnn> {
        settings::CUDNN
            .get()
            .then(|| self.start_dnn().as_ref().ok())?
    }

    /// What cuBLASLt and cuDNN were asked and refused, so that our own kernels compute it: a line each,
    /// for people to read.
    pub fn refused(&self) -> Vec<String> {
        let blas = self
            .blas
            .get()
            .and_then(|b| Some(b.as_ref().ok()?.refused()));
        let dnn = self
            .dnn
            .get()
            .and_then(|d| Some(d.as_ref().ok()?.refused()));
        blas.into_iter().chain(dnn).flatten().collect()
    }

    /// Whether cuBLASLt and cuDNN start on this device.
    ///
    /// # Errors
    /// Each with what is missing.
    pub fn libraries(&self) -> [Result<()>; 2] {
        [
            self.start_blas().as_ref().map(drop).map_err(Error::clone),
            self.start_dnn().as_ref().map(drop).map_err(Error::clone),
        ]
    }

    pub(crate) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// A buffer in a device's memory; dropped, it goes back to the device's allocator.
#[derive(Debug)]
pub struct Buffer {
    device: &'static Device,
    address: Address,
    bytes: usize,
}

impl Buffer {
    /// Where it is.
    pub fn device(&self) -> &'static Device {
        self.device
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Its address on the device.
    pub(crate) fn address(&self) -> Address {
        self.address
    }

    /// Writes bytes of the host from `offset` on.
    ///
    /// # Errors
    /// Where they do not fit, or the device fails.
    pub fn upload(&mut self, offset: usize, from: &[u8]) -> Result<()> {
        self.check(offset, from.len())?;
        if from.is_empty() {
            return Ok(());
        }
        self.device.check_host("copying from the host")?;
        // SAFETY: within the buffer; where the driver does not stage the bytes, they are borrowed
        // until the copy was waited for.
        unsafe {
            self.device
                .driver
                .upload(self.address + offset as u64, from)?;
        }
        match self.device.pins(from) {
            true => self.device.driver.synchronize(),
            false => Ok(()),
        }
    }

    /// Reads bytes from `offset` on, once what was started before has run.
    ///
    /// # Errors
    /// Where there are not as many, or the device fails.
    pub fn download(&self, offset: usize, to: &mut [u8]) -> Result<()> {
        self.check(offset, to.len())?;
        if to.is_empty() {
            return Ok(());
        }
        self.device.check_host("copying to the host")?;
        // SAFETY: within the buffer.
        unsafe {
            (self.device.driver).download(to, self.address + offset as u64)?;
        }
        self.device.complaint()
    }

    /// Copies `bytes` of another buffer.
    ///
    /// # Errors
    /// Where they do not fit, the buffers are on two devices, or the device fails.
    pub fn copy(&mut self, offset: usize, from: &Buffer, start: usize, bytes: usize) -> Result<()> {
        self.check(offset, bytes)?;
        from.check(start, bytes)?;
        if !std::ptr::eq(self.device, from.device) {
            fail!(
                "{:?} and {:?} do not share memory",
                self.device,
                from.device
            );
        }
        if bytes == 0 {
            return Ok(());
        }
        let (to, from) = (self.address + offset as u64, from.address + start as u64);
        self.device.hold(&[to, from])?;
        // SAFETY: within both buffers, which are two.
        unsafe { self.device.driver.copy(to, from, bytes) }
    }

    /// Fills `count` elements from byte `offset` on, each with the bytes of `pattern`: 1, 2 or 4,
    /// or 8 whose halves are equal. False, with nothing done, for others.
    ///
    /// # Errors
    /// Where they do not fit, or the device fails.
    pub fn fill(&mut self, offset: usize, pattern: &[u8], count: usize) -> Result<bool> {
        self.check(offset, pattern.len() * count)?;
        let (pattern, count) = match *pattern {
            _ if count == 0 => return Ok(true),
            [a] => (Pattern::One(a), count),
            [a, b] => (Pattern::Two(u16::from_ne_bytes([a, b])), count),
            [a, b, c, d] => (Pattern::Four(u32::from_ne_bytes([a, b, c, d])), count),
            [a, b, c, d, ref rest @ ..] if *rest == [a, b, c, d] => {
                (Pattern::Four(u32::from_ne_bytes([a, b, c, d])), 2 * count)
            }
            _ => return Ok(false),
        };
        self.device.hold(&[self.address])?;
        // SAFETY: within the buffer; elements are aligned in it.
        unsafe {
            self.device
                .driver
                .fill(self.address + offset as u64, pattern, count)?
        };
        Ok(true)
    }

    /// Exchanges the contents of two buffers of one size: by their addresses, unless a graph knows
    /// one of these.
    ///
    /// # Errors
    /// Where sizes or devices differ, or the device fails.
    pub fn swap(&mut self, other: &mut Buffer) -> Result<()> {
        if self.bytes != other.bytes || !std::ptr::eq(self.device, other.device) {
            fail!(
                "{} bytes on {:?} cannot be exchanged with {} on {:?}",
                self.bytes,
                self.device,
                other.bytes,
                other.device
            );
        }
        let fixed = |b: &Buffer| b.device.pool().is_fixed(b.address);
        if self.device.is_capturing() || fixed(self) || fixed(other) {
            let bytes = self.bytes;
            let mut kept = self.device.allocate(bytes)?;
            kept.copy(0, self, 0, bytes)?;
            self.copy(0, other, 0, bytes)?;
            return other.copy(0, &kept, 0, bytes);
        }
        std::mem::swap(self, other);
        Ok(())
    }

    pub(crate) fn check(&self, offset: usize, bytes: usize) -> Result<()> {
        match offset.checked_add(bytes) {
            Some(end) if end <= self.bytes => Ok(()),
            _ => fail!(
                "bytes {offset} to {offset} + {bytes} of a buffer of {}",
                self.bytes
            ),
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.address != 0 {
            self.device.pool().give(self.address);
        }
    }
}
