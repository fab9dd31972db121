//! Random numbers.

use super::{SliceMut, run};
use crate::error::Result;
use crate::kernels::{Philox, Random, Threads};

/// Fills the contiguous `out` from the generator of that seed and offset, as PyTorch's CUDA generator
/// does on this device, and tells by how much the offset grows: by nothing while a graph is captured,
/// whose replays say themselves where the generator stands.
///
/// # Errors
/// Where `out` is not contiguous.
pub fn random(kind: Random, seed: u64, offset: u64, out: &mut SliceMut<'_>) -> Result<u64> {
    let (device, ty, n) = (out.device(), out.place.ty, out.place.numel());
    let to = out.flat(ty, n)?;
    let threads = Threads {
        multiprocessors: device.multiprocessors(),
        of_each: device.threads_of_each(),
    };
    let generator = Philox {
        seed,
        offset,
        state: 0,
    };
    let drawn = device.draw(generator, |generator| {
        let Some((launch, grows)) = kind.launch(ty, n, generator, threads, to) else {
            return Ok(((), 0));
        };
        // SAFETY: the kernel writes `n` elements, all of the slice's; it is borrowed exclusively.
        unsafe { run(device, [launch])? };
        Ok(((), grows))
    });
    drawn.map(|((), grows)| grows)
}
