//! Operands put in the order in which the tiles read them.

use super::Cut;
use super::scratch::{Line, room};
use super::tiles::Pass;
use crate::gemm::half;
use crate::gemm::kernel::{PackFn, Piece};
use crate::threads::{SyncPtr, parallel_for};
use std::ops::Range;

/// Panels or tiles that are packed side by side, and the rows packed by one task.
const GROUP: usize = 8;
const SLICE: usize = 128;

impl Pass<'_> {
    /// Packs the pass's part of `b` in panels of `width` columns.
    pub(super) unsafe fn pack_panels(&self, panels: usize, threads: usize, to: *mut u8) {
        let (p, kernels, width) = (self.p, self.kernels, self.width);
        let (pad, length) = (self.pad(), self.steps.1 - self.steps.0);
        // A single group's rows are cut finer, for all threads to have some.
        let slice = match panels.div_ceil(GROUP) {
            1 => SLICE.min(length.div_ceil(4)).max(SLICE / 8),
            _ => SLICE,
        };
        let slices = Cut::new(length / pad, slice / pad);
        let to = SyncPtr(to);
        let task = |range: Range<usize>| {
            for t in range {
                let (group, slice) = (t / slices.parts, t % slices.parts);
                let (s0, s1) = (slices.start(slice) * pad, slices.start(slice + 1) * pad);
                let mut pieces = [Piece::default(); GROUP];
                let last = panels.min((group + 1) * GROUP);
                for panel in group * GROUP..last {
                    let first = self.cols.0 + panel * width;
                    pieces[panel % GROUP] = Piece {
                        first,
                        width: width.min(self.cols.1 - first),
                        to: (panel * length + s0) * width,
                        stride: width,
                    };
                }
                let pieces = &pieces[..last - group * GROUP];
                let (k0, k1) = self.elements(self.steps.0 + s0, self.steps.0 + s1);
                // SAFETY: the panels' columns are in `b`; their places in `to` are their own. The
                // width is a multiple of the vector, so that no store reaches another slice's.
                unsafe {
                    let from = p.b.at(k0, 0);
                    self.pack(
                        kernels.pack,
                        k1 - k0,
                        pieces,
                        from,
                        (p.b.row, p.b.col),
                        to.get(),
                    );
                    // What a tile unit reads beyond the end of `k`.
                    let done = (k1 - k0).div_ceil(kernels.pair);
                    for piece in pieces.iter().filter(|_| done < s1 - s0) {
                        let at = to.get().add((piece.to + done * width) * kernels.sum);
                        at.write_bytes(0, (s1 - s0 - done) * width * kernels.sum);
                    }
                }
            }
        };
        let tasks = panels.div_ceil(GROUP) * slices.parts;
        match threads == 1 || panels * width * length < 32 << 10 {
            true => task(0..tasks),
            false => parallel_for(tasks, 1, task),
        }
    }

    unsafe fn pack(
        &self,
        pack: PackFn,
        k: usize,
        pieces: &[Piece],
        from: *const u8,
        strides: (usize, usize),
        to: *mut u8,
    ) {
        // SAFETY: handed on.
        unsafe {
            match self.kernels.half {
                Some(half) if self.kernels.widened => {
                    half::pack(half, pack, k, pieces, from, strides, to);
                }
                _ => pack(k, pieces, from, strides, to),
            }
        }
    }

    /// Packs some tiles' rows of `a`.
    unsafe fn pack_tiles(&self, tiles: (usize, usize), steps: (usize, usize), to: *mut u8) {
        let (p, length) = (self.p, steps.1 - steps.0);
        let (k0, k1) = self.elements(steps.0, steps.1);
        let top = self.rows.start(tiles.0);
        for group in (tiles.0..tiles.1).step_by(GROUP) {
            let mut pieces = [Piece::default(); GROUP];
            let last = tiles.1.min(group + GROUP);
            for t in group..last {
                let (first, end) = (self.rows.start(t), self.rows.start(t + 1));
                pieces[t - group] = match self.unit {
                    Some(unit) => Piece {
                        first,
                        width: end - first,
                        to: (t - tiles.0) * unit.rows * length,
                        stride: length,
                    },
                    None => Piece {
                        first,
                        width: end - first,
                        to: (first - top) * length,
                        stride: end - first,
                    },
                };
            }
            let pack = self.unit.map_or(self.kernels.pack, |u| u.pack_a);
            let (pieces, from) = (&pieces[..last - group], p.a.at(0, k0));
            // SAFETY: rows and columns of `a`; tiles are packed in order, each ending where the
            // next begins, and there is a vector's room after the last.
            unsafe { self.pack(pack, k1 - k0, pieces, from, (p.a.col, p.a.row), to) };
        }
    }
}

/// Some tiles' rows of `a`, packed part by part along `k` as they are asked for, in order. There is
/// room for all parts, which stay then, or for one.
pub(super) struct Packed<'a> {
    pass: &'a Pass<'a>,
    tiles: (usize, usize),
    at: *mut u8,
    /// Distance of the parts.
    bytes: usize,
    all: bool,
    /// The part packed last.
    last: Option<usize>,
}

impl<'a> Packed<'a> {
    /// `parts` is how many there is room for, all or one, `steps` the length of the longest.
    pub fn new(
        pass: &'a Pass<'a>,
        tiles: (usize, usize),
        (parts, steps): (usize, usize),
        scratch: &mut Vec<Line>,
    ) -> Self {
        let most = pass
            .unit
            .map_or(pass.p.m.div_ceil(pass.rows.parts), |u| u.rows);
        let units = (tiles.1 - tiles.0) * most * steps + 64;
        let bytes = units * pass.kernels.sum;
        let parts = if pass.pack_a { parts } else { 0 };
        Packed {
            pass,
            tiles,
            at: room(scratch, parts * bytes),
            bytes,
            all: parts > 1,
            last: None,
        }
    }

    /// Where part `d` is, of those steps.
    ///
    /// # Safety
    /// The steps lie in `a`.
    pub unsafe fn part(&mut self, d: usize, steps: (usize, usize)) -> *const u8 {
        let (at, held) = match self.all {
            true => (
                self.at.wrapping_add(d * self.bytes),
                self.last.is_some_and(|last| d <= last),
            ),
            false => (self.at, self.last == Some(d)),
        };
        if !held {
            // SAFETY: handed on; there is room for the part.
            unsafe { self.pass.pack_tiles(self.tiles, steps, at) };
            self.last = Some(d);
        }
        at
    }
}
