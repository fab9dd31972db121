//! To other element types and devices.

use super::Tensor;
use crate::ops::view::{PinMemory, ToDevice, ToDtype};
use crate::{DType, Device, MemoryFormat, Result, bail, dispatch};

/// Where [`Tensor::to`] leads: what is `None` stays.
///
/// ```
/// use flambeau_core::{DType, Device, Tensor, To};
/// let x = Tensor::zeros([2])?;
/// assert_eq!(x.to(DType::F64)?.dtype(), DType::F64);
/// assert_eq!(x.to((Device::Cpu, DType::F16))?.dtype(), DType::F16);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct To {
    /// The element type.
    pub dtype: Option<DType>,
    /// The device.
    pub device: Option<Device>,
    /// The [memory format](Tensor::to_memory_format).
    pub memory_format: Option<MemoryFormat>,
}

impl From<DType> for To {
    fn from(dtype: DType) -> To {
        let dtype = Some(dtype);
        To {
            dtype,
            ..To::default()
        }
    }
}
impl From<Device> for To {
    fn from(device: Device) -> To {
        let device = Some(device);
        To {
            device,
            ..To::default()
        }
    }
}
impl From<MemoryFormat> for To {
    fn from(format: MemoryFormat) -> To {
        let memory_format = Some(format);
        To {
            memory_format,
            ..To::default()
        }
    }
}
impl From<(Device, MemoryFormat)> for To {
    fn from((device, format): (Device, MemoryFormat)) -> To {
        To {
            device: Some(device),
            ..format.into()
        }
    }
}
impl From<(DType, Device)> for To {
    fn from((dtype, device): (DType, Device)) -> To {
        To {
            dtype: Some(dtype),
            ..device.into()
        }
    }
}
impl From<(Device, DType)> for To {
    fn from((device, dtype): (Device, DType)) -> To {
        (dtype, device).into()
    }
}
impl From<&Tensor> for To {
    fn from(like: &Tensor) -> To {
        (like.dtype(), like.device()).into()
    }
}

impl Tensor {
    /// Converted to a type, moved to a device, or brought to a memory format; the same tensor where
    /// nothing changes (`Tensor.to`).
    ///
    /// ```
    /// use flambeau_core::{DType, Device, Tensor};
    /// let x = Tensor::ones([2])?;
    /// assert_eq!(x.to(DType::F64)?.dtype(), DType::F64);
    /// assert!(x.to((DType::F32, Device::Cpu))?.is(&x));
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the device is not available, or the format is for another number of dimensions.
    #[track_caller]
    pub fn to(&self, to: impl Into<To>) -> Result<Tensor> {
        let To {
            dtype,
            device,
            memory_format,
        } = to.into();
        let moved = self.to_device(device.unwrap_or(self.device()))?;
        let moved = moved.to_dtype(dtype.unwrap_or(self.dtype()))?;
        moved.to_memory_format(memory_format.unwrap_or(MemoryFormat::Preserve))
    }

    /// On the CPU; the same tensor where it already is.
    ///
    /// # Errors
    /// None on this device.
    #[track_caller]
    pub fn cpu(&self) -> Result<Tensor> {
        self.to_device(Device::Cpu)
    }

    /// On the first CUDA device.
    ///
    /// # Errors
    /// Where there is none.
    #[track_caller]
    pub fn cuda(&self) -> Result<Tensor> {
        self.to_device(Device::Cuda(0))
    }

    /// Converted to `dtype`; the same tensor where it already is
    /// ([`torch.Tensor.to`](https://pytorch.org/docs/stable/generated/torch.Tensor.to.html)).
    ///
    /// ```
    /// use flambeau_core::{DType, Tensor};
    /// assert_eq!(
    ///     Tensor::new([-1.7f32, 300.0])?.to_dtype(DType::I64)?.to_vec::<i64>()?,
    ///     [-1, 300]
    /// );
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where memory does not suffice.
    #[track_caller]
    pub fn to_dtype(&self, dtype: DType) -> Result<Tensor> {
        if dtype == self.dtype() {
            Ok(self.clone())
        } else {
            dispatch::call(ToDtype(dtype), &[self])
        }
    }

    /// On `device`; the same tensor where it already is
    /// ([`torch.Tensor.to`](https://pytorch.org/docs/stable/generated/torch.Tensor.to.html)).
    ///
    /// ```
    /// use flambeau_core::{Device, Tensor};
    /// assert!(Tensor::zeros([2])?.to_device(Device::Cpu)?.device() == Device::Cpu);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the device is not available.
    #[track_caller]
    pub fn to_device(&self, device: Device) -> Result<Tensor> {
        self.moved(device, false)
    }

    /// [`to_device`](Tensor::to_device) without waiting for the copy
    /// ([`torch.Tensor.to`](https://pytorch.org/docs/stable/generated/torch.Tensor.to.html) with
    /// `non_blocking=True`).
    ///
    /// To a device only memory that is [pinned](Tensor::pin_memory) is copied without waiting, which
    /// `to_device` does too: whoever changes the tensor meanwhile waits for the copy. From a device
    /// the result is a pinned tensor, and whoever looks at its elements first waits for them.
    ///
    /// ```
    /// use flambeau_core::{Device, Tensor};
    /// let x = Tensor::ones([2])?.to_non_blocking(Device::cuda_if_available(0))?;
    /// assert_eq!(x.to_non_blocking(Device::Cpu)?.to_vec::<f32>()?, [1.0, 1.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the device is not available.
    #[track_caller]
    pub fn to_non_blocking(&self, device: Device) -> Result<Tensor> {
        self.moved(device, true)
    }

    #[track_caller]
    fn moved(&self, to: Device, non_blocking: bool) -> Result<Tensor> {
        let from = self.device();
        if to == from {
            return Ok(self.clone());
        }
        to.check()?;
        let op = ToDevice {
            from,
            to,
            non_blocking,
        };
        dispatch::call(op, &[self])
    }

    /// A copy in pinned memory, from which copies to a device need not be waited for; the same
    /// tensor where it is pinned
    /// ([`torch.Tensor.pin_memory`](https://pytorch.org/docs/stable/generated/torch.Tensor.pin_memory.html)).
    ///
    /// The memory is of a caching allocator, and given out again once the copies that read it have
    /// run.
    ///
    /// ```
    /// use flambeau_core::{Tensor, cuda};
    /// let x = Tensor::ones([2])?;
    /// assert!(!x.is_pinned());
    /// assert_eq!(x.pin_memory().is_ok_and(|p| p.is_pinned()), cuda::is_available());
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where there is no CUDA device, the tensor is on one, or memory does not suffice.
    #[track_caller]
    pub fn pin_memory(&self) -> Result<Tensor> {
        if self.is_pinned() {
            return Ok(self.clone());
        }
        if self.on_cuda() {
            bail!(
                "pin_memory",
                "the tensor is on {}; only memory of the CPU can be pinned",
                self.device()
            );
        }
        dispatch::call(PinMemory, &[self])
    }

    /// Whether the elements lie in pinned memory
    /// ([`torch.Tensor.is_pinned`](https://pytorch.org/docs/stable/generated/torch.Tensor.is_pinned.html)).
    ///
    /// ```
    /// assert!(!flambeau_core::Tensor::ones([2])?.is_pinned());
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn is_pinned(&self) -> bool {
        self.read().pinned().is_some()
    }

    /// Whether the elements lie on a CUDA device
    /// ([`torch.Tensor.is_cuda`](https://pytorch.org/docs/stable/generated/torch.Tensor.is_cuda.html)).
    ///
    /// ```
    /// assert!(!flambeau_core::Tensor::ones([2])?.is_cuda());
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    #[inline]
    pub fn is_cuda(&self) -> bool {
        self.on_cuda()
    }
}

macro_rules! conversions {
    ($($(#[$doc:meta])* $name:ident $dtype:ident;)*) => {
        impl Tensor {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $name(&self) -> Result<Tensor> {
                    self.to_dtype(DType::$dtype)
                }
            )*
        }
    };
}
conversions! {
    /// Converted to `f32`.
    float F32;
    /// Converted to `f64`.
    double F64;
    /// Converted to `f16`.
    half F16;
    /// Converted to `bf16`.
    bfloat16 BF16;
    /// Converted to `i64`; floats are truncated.
    long I64;
    /// Converted to `i32`; floats are truncated.
    int I32;
    /// Converted to `i16`; floats are truncated.
    short I16;
    /// Converted to `u8`; floats are truncated.
    byte U8;
    /// Whether each element differs from zero.
    bool Bool;
}
