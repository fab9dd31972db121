//! Dilation as a batch of smaller pictures: with a dilation `d` and a stride of 1, outputs of one
//! residue modulo `d` read inputs of one residue, as a dense convolution of every `d`th column of
//! every `d`th row. Taken apart that way, a dilated convolution goes by `winograd`.

use super::ConvShape;
use super::planes::scratch;
use super::winograd::{self, Element};
use crate::alloc::Buffer;
use crate::simd::dispatch;
use crate::threads::{SyncPtr, parallel_for};

/// Elements that are worth a task of their own.
const TASK: usize = 1 << 14;

/// The dense convolution of all residues, samples of the same picture next to each other. `None`
/// where there is no dilation, or the residues' windows would not begin alike.
pub(super) fn dense(s: &ConvShape) -> Option<ConvShape> {
    let flat = s.kernel[0] == 1 && s.padding[0] == 0 && s.input[0] == 1;
    let alike = (1..3).all(|d| s.padding[d].is_multiple_of(s.dilation[d]));
    if s.dilation[1..] == [1; 2] || s.stride[1..] != [1; 2] || !flat || !alike {
        return None;
    }
    let [_, dh, dw] = s.dilation;
    Some(ConvShape {
        batch: s.batch.checked_mul(dh)?.checked_mul(dw)?,
        input: [1, s.input[1].div_ceil(dh), s.input[2].div_ceil(dw)],
        padding: [0, s.padding[1] / dh, s.padding[2] / dw],
        dilation: [1; 3],
        ..*s
    })
}

/// [`dense`] of a shape that has been chosen for it.
fn dense_of(s: &ConvShape) -> ConvShape {
    dense(s).unwrap_or_else(|| panic!("convolution: no residues of {s:?}"))
}

/// See [`super::conv_forward`]; for a shape with residues that `winograd` has a scheme for.
pub(super) fn forward<E: Element>(
    s: &ConvShape,
    x: &[E],
    w: &[f32],
    bias: Option<&[f32]>,
    out: &mut [E],
) {
    let dense = dense_of(s);
    let x = apart(s, x, s.in_channels, s.input);
    let mut parts = scratch::<E>(dense.output_len(), false);
    let parts = parts.as_mut_slice::<E>();
    winograd::forward(&dense, x.as_slice::<E>(), w, bias, parts);
    together(s, parts, s.out_channels, s.valid_output(), out);
}

/// See [`super::conv_backward_data`]; for such a shape.
pub(super) fn backward_data<E: Element>(
    s: &ConvShape,
    grad_out: &[E],
    w: &[f32],
    grad_in: &mut [E],
) {
    let dense = dense_of(s);
    let grads = apart(s, grad_out, s.out_channels, s.valid_output());
    let mut parts = scratch::<E>(dense.input_len(), false);
    let parts = parts.as_mut_slice::<E>();
    winograd::backward_data(&dense, grads.as_slice::<E>(), w, parts);
    together(s, parts, s.in_channels, s.input, grad_in);
}

/// See [`super::conv_backward_weight`]; for such a shape.
pub(super) fn backward_weight<E: Element>(
    s: &ConvShape,
    x: &[E],
    grad_out: &[E],
    grad_w: &mut [f32],
) {
    let x = apart(s, x, s.in_channels, s.input);
    let grads = apart(s, grad_out, s.out_channels, s.valid_output());
    winograd::backward_weight(&dense_of(s), x.as_slice::<E>(), grads.as_slice(), grad_w);
}

/// Maps of `channels` planes of `size` in the order `[residue, channel]`, rows and columns that a
/// residue lacks filled up with zeros.
fn apart<E: Element>(s: &ConvShape, maps: &[E], channels: usize, size: [usize; 3]) -> Buffer {
    let planes = Planes::new(s, channels, size);
    let (source, len) = (planes.source(), planes.len());
    let all = s.batch * channels * planes.steps[0] * planes.steps[1];
    let mut buffer = scratch::<E>(all * len, false);
    let to = SyncPtr(buffer.as_mut_slice::<E>().as_mut_ptr());
    planes.each(s.batch, |plane, residue, place| {
        let from = &maps[plane * source..][..source];
        // SAFETY: each residue of each plane has a place of its own.
        let to = unsafe { std::slice::from_raw_parts_mut(to.get().add(place * len), len) };
        dispatch(
            #[inline(always)]
            || planes.gather(residue, from, to),
        );
    });
    buffer
}

/// The reverse of [`apart`].
fn together<E: Element>(
    s: &ConvShape,
    from: &[E],
    channels: usize,
    size: [usize; 3],
    maps: &mut [E],
) {
    let planes = Planes::new(s, channels, size);
    let (source, len) = (planes.source(), planes.len());
    assert_eq!(maps.len(), s.batch * channels * source);
    let to = SyncPtr(maps.as_mut_ptr());
    planes.each(s.batch, |plane, residue, place| {
        let from = &from[place * len..][..len];
        // SAFETY: the residues of a plane are dealt with one after the other by one task.
        let to = unsafe { std::slice::from_raw_parts_mut(to.get().add(plane * source), source) };
        dispatch(
            #[inline(always)]
            || planes.scatter(residue, from, to),
        );
    });
}

/// Planes that are taken apart.
struct Planes {
    channels: usize,
    /// Rows and columns of a plane.
    size: [usize; 2],
    /// The dilations.
    steps: [usize; 2],
    /// Rows and columns of a residue.
    part: [usize; 2],
}

impl Planes {
    fn new(s: &ConvShape, channels: usize, [_, h, w]: [usize; 3]) -> Self {
        let [_, dh, dw] = s.dilation;
        Self {
            channels,
            size: [h, w],
            steps: [dh, dw],
            part: [h.div_ceil(dh), w.div_ceil(dw)],
        }
    }

    /// Elements of a residue's plane.
    fn len(&self) -> usize {
        self.part[0] * self.part[1]
    }

    /// Elements of a plane.
    fn source(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Calls `f(plane, residue, place)` for all residues of all planes, those of a plane on one
    /// thread; `place` is the number of the residue's plane.
    fn each(&self, batch: usize, f: impl Fn(usize, usize, usize) + Sync) {
        let (channels, residues) = (self.channels, self.steps[0] * self.steps[1]);
        let grain = TASK / self.source().max(1) + 1;
        parallel_for(batch * channels, grain, |range| {
            for plane in range {
                let (n, channel) = (plane / channels, plane % channels);
                for residue in 0..residues {
                    f(
                        plane,
                        residue,
                        (n * residues + residue) * channels + channel,
                    );
                }
            }
        });
    }

    #[inline(always)]
    fn gather<E: Element>(&self, residue: usize, from: &[E], to: &mut [E]) {
        let ([h, w], [dh, dw]) = (self.size, self.steps);
        let (a, b) = (residue / dw, residue % dw);
        for (j, to) in to.chunks_exact_mut(self.part[1].max(1)).enumerate() {
            let row = a + j * dh;
            let columns = if row < h {
                w.saturating_sub(b).div_ceil(dw)
            } else {
                0
            };
            let (now, rest) = to.split_at_mut(columns);
            if columns > 0 {
                let from = &from[row * w + b..(row + 1) * w];
                for (to, from) in now.iter_mut().zip(from.iter().step_by(dw)) {
                    *to = *from;
                }
            }
            rest.fill(E::default());
        }
    }

    #[inline(always)]
    fn scatter<E: Element>(&self, residue: usize, from: &[E], to: &mut [E]) {
        let ([h, w], [dh, dw]) = (self.size, self.steps);
        let (a, b) = (residue / dw, residue % dw);
        for (j, from) in from.chunks_exact(self.part[1].max(1)).enumerate() {
            let row = a + j * dh;
            if row < h && b < w {
                let to = &mut to[row * w + b..(row + 1) * w];
                for (to, from) in to.iter_mut().step_by(dw).zip(from) {
                    *to = *from;
                }
            }
        }
    }
}
