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

    /// Loads the sums of `P` x `V` tiles, at most two each way, whose rows are `row` bytes apart; the
    /// second row of tiles begins `below` bytes after the first.
    ///
    /// # Safety
    /// As for `load`.
    #[inline(always)]
    unsafe fn load_sums<const P: usize, const V: usize>(
        &mut self,
        at: *const u8,
        row: usize,
        below: usize,
    ) {
        // SAFETY: handed on.
        unsafe {
            self.load::<0>(at, row);
            if V == 2 {
                self.load::<1>(at.add(ROW), row);
            }
            if P == 2 {
                self.load::<2>(at.add(below), row);
                if V == 2 {
                    self.load::<3>(at.add(below + ROW), row);
                }
            }
        }
    }

    /// Stores them.
    ///
    /// # Safety
    /// As for `load`.
    #[inline(always)]
    unsafe fn store_sums<const P: usize, const V: usize>(
        &mut self,
        at: *mut u8,
        row: usize,
        below: usize,
    ) {
        // SAFETY: handed on.
        unsafe {
            self.store::<0>(at, row);
            if V == 2 {
                self.store::<1>(at.add(ROW), row);
            }
            if P == 2 {
                self.store::<2>(at.add(below), row);
                if V == 2 {
                    self.store::<3>(at.add(below + ROW), row);
                }
            }
        }
    }

    /// Adds to them the products of `P` tiles, whose rows are `a_row` bytes apart, with `V` tiles
    /// side by side, in rows `b_row` bytes apart.
    ///
    /// # Safety
    /// As for `load`.
    #[inline(always)]
    unsafe fn step<const P: usize, const V: usize>(
        &mut self,
        a: [*const u8; P],
        a_row: usize,
        b: *const u8,
        b_row: usize,
    ) {
        // SAFETY: handed on.
        unsafe {
            self.load::<4>(a[0], a_row);
            self.load::<6>(b, b_row);
            self.multiply::<0, 4, 6>();
            if V == 2 {
                self.load::<7>(b.add(ROW), b_row);
                self.multiply::<1, 4, 7>();
            }
            if P == 2 {
                self.load::<5>(a[P - 1], a_row);
                self.multiply::<2, 5, 6>();
                if V == 2 {
                    self.multiply::<3, 5, 7>();
                }
            }
        }
    }
}

/// Bytes of a tile's row.
pub(crate) const ROW: usize = 64;

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
