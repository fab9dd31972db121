//! The generators of CUDA devices: Philox, drawn from as PyTorch's are.

use super::{failed, make};
use crate::tensor::Tensor;
use crate::{DType, Device, Result};
use flambeau_cuda::kernels::Random;
use flambeau_cuda::tensor;
use parking_lot::Mutex;

/// What PyTorch's generators start from.
const SEED: u64 = 67_280_421_310_721;

/// The seed of all devices, and each one's offset.
static GENERATORS: Mutex<(u64, Vec<u64>)> = Mutex::new((SEED, Vec::new()));

/// Seeds the generators of all devices.
pub(crate) fn seed(seed: u64) {
    *GENERATORS.lock() = (seed, Vec::new());
}

/// Where a device's generator stands, seed and offset, which then advances by `grows`.
pub(crate) fn advance(index: usize, grows: u64) -> (u64, u64) {
    let mut generators = GENERATORS.lock();
    let (seed, offsets) = &mut *generators;
    if offsets.len() <= index {
        offsets.resize(index + 1, 0);
    }
    let offset = offsets[index];
    offsets[index] += grows;
    (*seed, offset)
}

/// A new tensor of random numbers on a device.
#[track_caller]
pub(crate) fn random(
    op: &'static str,
    kind: Random,
    shape: &[usize],
    dtype: DType,
    device: Device,
) -> Result<Tensor> {
    let index = match device {
        Device::Cuda(index) => index,
        Device::Cpu => 0,
    };
    let mut generators = GENERATORS.lock();
    let (seed, offsets) = &mut *generators;
    if offsets.len() <= index {
        offsets.resize(index + 1, 0);
    }
    let offset = &mut offsets[index];
    let mut grows = Ok(0);
    let new = make(op, shape, dtype, device, |out| {
        grows = tensor::random(kind, *seed, *offset, out);
        Ok(())
    })?;
    *offset += grows.map_err(|e| failed(op, e))?;
    Ok(new)
}
