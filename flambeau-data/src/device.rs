//! Moving a whole batch.

use flambeau_core::{Device, Result, Tensor};

/// Batches that move to a device as a whole: `let (inputs, labels) = batch?.to(device)?`.
///
/// What is no tensor stays as it is. Batches are borrowed, as tensors are by [`Tensor::to`]; one that is
/// there already shares its memory with the result.
///
/// ```
/// use flambeau_core::{DType, Device, Tensor};
/// use flambeau_data::ToDevice;
/// let batch = (Tensor::ones([2])?, vec!["a".to_string(), "b".to_string()]);
/// let (x, names) = batch.to(Device::Cpu)?;
/// assert_eq!((x.numel(), names.len()), (2, 2));
/// // A tensor's own `to` is not hidden.
/// assert_eq!(x.to(DType::F64)?.dtype(), DType::F64);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
pub trait ToDevice: Sized {
    /// With every tensor on `device`.
    ///
    /// # Errors
    /// Where the device is not available.
    fn to(&self, device: Device) -> Result<Self>;

    /// With every tensor in pinned memory ([`Tensor::pin_memory`]), of which
    /// [`to`](ToDevice::to) copies without waiting.
    ///
    /// # Errors
    /// Where there is no CUDA device, or memory does not suffice.
    fn pin_memory(&self) -> Result<Self>;
}

impl ToDevice for Tensor {
    #[track_caller]
    fn to(&self, device: Device) -> Result<Self> {
        self.to_device(device)
    }

    #[track_caller]
    fn pin_memory(&self) -> Result<Self> {
        Tensor::pin_memory(self)
    }
}

impl<T: ToDevice> ToDevice for Vec<T> {
    #[track_caller]
    fn to(&self, device: Device) -> Result<Self> {
        self.iter().map(|t| t.to(device)).collect()
    }

    #[track_caller]
    fn pin_memory(&self) -> Result<Self> {
        self.iter().map(ToDevice::pin_memory).collect()
    }
}

impl<T: ToDevice> ToDevice for Option<T> {
    #[track_caller]
    fn to(&self, device: Device) -> Result<Self> {
        self.as_ref().map(|t| t.to(device)).transpose()
    }

    #[track_caller]
    fn pin_memory(&self) -> Result<Self> {
        self.as_ref().map(ToDevice::pin_memory).transpose()
    }
}

macro_rules! unmoved {
    ($($t:ty),*) => {$(
        impl ToDevice for $t {
            fn to(&self, _: Device) -> Result<Self> { Ok(self.clone()) }
            fn pin_memory(&self) -> Result<Self> { Ok(self.clone()) }
        }
    )*};
}
unmoved!(f32, f64, i64, i32, u8, usize, bool, String);

macro_rules! tuples {
    ($(($($T:ident $i:tt),+))*) => {$(
        impl<$($T: ToDevice),+> ToDevice for ($($T,)+) {
            #[track_caller]
            fn to(&self, device: Device) -> Result<Self> { Ok(($(self.$i.to(device)?,)+)) }
            #[track_caller]
            fn pin_memory(&self) -> Result<Self> { Ok(($(self.$i.pin_memory()?,)+)) }
        }
    )*};
}
tuples! { (A 0) (A 0, B 1) (A 0, B 1, C 2) (A 0, B 1, C 2, D 3) (A 0, B 1, C 2, D 3, E 4) }
