//! Where a tensor lives.

use crate::{Error, Result};
use std::cell::Cell;
use std::fmt;
use std::str::FromStr;

/// A place that holds tensors and computes on them.
///
/// ```
/// use flambeau_core::Device;
/// assert_eq!("cuda:1".parse::<Device>()?, Device::Cuda(1));
/// assert_eq!(Device::Cpu.to_string(), "cpu");
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// The processor and its memory.
    #[default]
    Cpu,
    /// The CUDA device of that index.
    Cuda(usize),
}

impl Device {
    /// `Cuda(index)` where this build and machine offer it, else `Cpu`: the tutorial's
    /// `torch.device("cuda:0" if torch.cuda.is_available() else "cpu")`.
    ///
    /// ```
    /// use flambeau_core::Device;
    /// let device = Device::cuda_if_available(0);
    /// assert!(device.check().is_ok());
    /// ```
    pub fn cuda_if_available(index: usize) -> Device {
        match Device::Cuda(index).check() {
            Ok(()) => Device::Cuda(index),
            Err(_) => Device::Cpu,
        }
    }

    /// Whether tensors can be made there.
    ///
    /// ```
    /// use flambeau_core::Device;
    /// assert!(Device::Cpu.check().is_ok());
    /// ```
    ///
    /// # Errors
    /// Says what is missing.
    #[track_caller]
    pub fn check(self) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            Device::Cuda(index) => match flambeau_cuda::device(index) {
                Ok(_) => Ok(()),
                Err(e) => Err(Error::new(
                    "device",
                    format!(
                        "{self} is not available: {e}. Use Device::Cpu, or see `flambeau doctor`"
                    ),
                )),
            },
        }
    }
}

thread_local! {
    static DEFAULT: Cell<Device> = const { Cell::new(Device::Cpu) };
}

/// Where this thread's creation functions make tensors when they are not told
/// ([`set_default_device`]); the CPU at first.
pub fn default_device() -> Device {
    DEFAULT.get()
}

/// Makes creation functions of this thread (`zeros`, `arange`, `rand` and the like, and so the
/// parameters of layers) use `device` where they are not told another (`torch.set_default_device`).
/// What is made from the program's own numbers (`Tensor::new`, `from_slice`) stays on the CPU.
///
/// ```
/// use flambeau_core::{Device, Tensor, default_device, set_default_device};
/// set_default_device(Device::Cpu)?;
/// assert_eq!(Tensor::zeros([2])?.device(), default_device());
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Where the device is not available.
#[track_caller]
pub fn set_default_device(device: Device) -> Result<()> {
    device.check()?;
    DEFAULT.set(device);
    Ok(())
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(i) => write!(f, "cuda:{i}"),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    /// `cpu`, `cuda` or `cuda:N`.
    fn from_str(s: &str) -> Result<Device> {
        let index = match s {
            "cpu" => return Ok(Device::Cpu),
            "cuda" => Some(0),
            _ => s.strip_prefix("cuda:").and_then(|i| i.parse().ok()),
        };
        index.map(Device::Cuda).ok_or_else(|| {
            Error::new(
                "device",
                format!("{s:?} is not a device; expected cpu, cuda or cuda:N"),
            )
        })
    }
}
