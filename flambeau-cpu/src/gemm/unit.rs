//! Units that multiply whole tiles: what loops are written over, and the CPU's own.

#[cfg(target_arch = "x86_64")]
pub(crate) use super::amx::{Amx as Cpu, available};

/// Eight tiles of 16 rows of 64 bytes, configured for one thread as long as this lives.
pub(crate) trait TileUnit {
    /// Configures the unit.
    fn enter() -> Self;
    /// Frees it.
    fn leave(self);
    /// # Safety
    /// The CPU has the unit.
    unsafe fn zero<const T: u8>(&mut self);
    /// # Safety
    /// As for `zero`, and there must be 16 rows of 64 bytes, `stride` bytes apart.
    unsafe fn load<const T: u8>(&mut self, at: *const u8, stride: usize);
    /// Adds to the sums in `C` the products of the pairs of `A` and `B` (TDPBF16PS).
    ///
    /// # Safety
    /// As for `zero`.
    unsafe fn multiply<const C: u8, const A: u8, const B: u8>(&mut self);
    /// # Safety
    /// As for `load`.
    unsafe fn store<const T: u8>(&mut self, at: *mut u8, stride: usize);
}

/// No unit is known elsewhere.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) enum Cpu {}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn available() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
impl TileUnit for Cpu {
    fn enter() -> Self {
        unreachable!("no tile unit is available")
    }
    fn leave(self) {}
    unsafe fn zero<const T: u8>(&mut self) {}
    unsafe fn load<const T: u8>(&mut self, _: *const u8, _: usize) {}
    unsafe fn multiply<const C: u8, const A: u8, const B: u8>(&mut self) {}
    unsafe fn store<const T: u8>(&mut self, _: *mut u8, _: usize) {}
}

/// Tiles in plain Rust, for CPUs without a unit.
#[cfg(test)]
pub(crate) mod emulated;
