//! A device in plain memory, for tests: kernels run on the CPU, one after another.

use super::libraries;
use crate::driver::cublas::CublasLt;
use crate::driver::cudnn::Cudnn;
use crate::driver::{Address, Driver, Fault, Pattern, nvrtc};
use crate::error::{Error, Result};
use crate::{Launch, Unit};
use std::alloc::{Layout, alloc, dealloc};
use std::collections::{HashMap, HashSet};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};

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

/// The device.
#[derive(Default)]
pub(crate) struct Plain {
    mailbox: Box<[std::sync::atomic::AtomicU64; crate::driver::MAILBOX / 8]>,
    held: Mutex<HashMap<Address, usize>>,
}

impl Plain {
    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<Address, usize>> {
        self.held.lock().unwrap_or_else(|e| e.into_inner())
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
        // SAFETY: the caller's; host and device memory do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to as *mut u8, from.len()) };
        Ok(())
    }

    unsafe fn download(&self, to: &mut [u8], from: Address) -> Result<()> {
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    unsafe fn copy(&self, to: Address, from: Address, bytes: usize) -> Result<()> {
        // SAFETY: the caller's.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }

    unsafe fn fill(&self, to: Address, pattern: Pattern, count: usize) -> Result<()> {
        // SAFETY: the caller's; the driver wants addresses that are multiples of the pattern's size.
        unsafe {
            match pattern {
                Pattern::One(v) => std::slice::from_raw_parts_mut(to as *mut u8, count).fill(v),
                Pattern::Two(v) => std::slice::from_raw_parts_mut(to as *mut u16, count).fill(v),
                Pattern::Four(v) => std::slice::from_raw_parts_mut(to as *mut u32, count).fill(v),
            }
        }
        Ok(())
    }

    unsafe fn launch(&self, launch: &mut Launch) -> Result<()> {
        compiles(&launch.unit)?;
        // SAFETY: the caller's.
        unsafe { super::run(launch) }.map_err(|e| Error::new(e.to_string()))
    }

    fn mailbox(&self) -> Address {
        self.mailbox.as_ptr() as Address
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    fn stream(&self) -> Result<*mut c_void> {
        Ok(STREAM as *mut c_void)
    }

    fn cublas(&self) -> Result<&'static CublasLt> {
        libraries::cublas()
    }

    fn cudnn(&self) -> Result<&'static Cudnn> {
        libraries::cudnn()
    }
}
