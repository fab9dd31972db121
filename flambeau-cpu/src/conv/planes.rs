//! A sample's channels copied into planes where every read of a kernel element is one contiguous
//! run: padded with zeros, and for a stride `s` cut into `s` interleaved planes an axis (output
//! `o` reads padded position `o * s + t`, which is place `o + t / s` of plane `t % s`).

use super::ConvShape;
use crate::alloc::Buffer;
use crate::float::Float;
use crate::simd::{Task, dispatch};

/// Values that a kernel may read past the last plane.
const SLACK: usize = 64;

/// Memory for `len` values, from the caching allocator.
pub(super) fn scratch<T: Float>(len: usize, zeroed: bool) -> Buffer {
    let buffer = if zeroed {
        Buffer::zeroed_of::<T>(len)
    } else {
        Buffer::uninit_of::<T>(len)
    };
    buffer.unwrap_or_else(|e| panic!("convolution: {e}"))
}

/// Where the values of a padded plane lie.
#[derive(Debug, Clone)]
pub(super) struct Planes {
    /// Size of the source plane.
    source: [usize; 3],
    /// Padded position of the source's first element; negative where it is cropped.
    before: [isize; 3],
    /// Interleaved planes of each axis.
    step: [usize; 3],
    /// Places of each axis, the last being the distance between rows.
    size: [usize; 3],
    /// Rows that hold something (the row distance may be less than the last axis' extent).
    width: usize,
}

impl Planes {
    /// `extent` is the number of places of each axis that will be read.
    fn new(source: [usize; 3], before: [isize; 3], step: [usize; 3], extent: [usize; 3]) -> Self {
        let mut size = extent;
        // The zeros on the left of a row serve as those on the right of the row before.
        if step[2] == 1 && before[2] > 0 {
            let before = before[2] as usize;
            size[2] = extent[2].min((before + source[2]).max(extent[2].saturating_sub(before)));
        }
        Self {
            source,
            before,
            step,
            size,
            width: extent[2],
        }
    }

    /// What the forward convolution reads: the input.
    pub fn of_input(s: &ConvShape) -> Self {
        let o = s.valid_output();
        let before = s.padding.map(|p| p as isize);
        let extent = [0, 1, 2].map(|d| o[d] + s.dilation[d] * (s.kernel[d] - 1) / s.stride[d]);
        Self::new(s.input, before, s.stride, extent)
    }

    /// What the gradient of the input reads: the gradient of the output. `at(o)` is place
    /// `o + before`, and input `i` reads places from `(i + padding) / stride + before` down.
    pub fn of_output(s: &ConvShape) -> Self {
        let before = [0, 1, 2].map(|d| {
            let reach = s.dilation[d] * (s.kernel[d] - 1) / s.stride[d];
            reach as isize - (s.padding[d] / s.stride[d]) as isize
        });
        let extent = [0, 1, 2].map(|d| {
            let last = (s.padding[d] + s.input[d] - 1) / s.stride[d];
            (last as isize + before[d] + 1) as usize
        });
        Self::new(s.valid_output(), before, [1; 3], extent)
    }

    /// Whether the planes are the source, so that a reader that stays within them needs no copy.
    pub fn is_source(&self) -> bool {
        self.size == self.source && self.before == [0; 3] && self.step == [1; 3]
    }

    /// Position of the source's first element.
    pub fn before(&self) -> [isize; 3] {
        self.before
    }

    /// Distance between rows.
    pub fn pitch(&self) -> usize {
        self.size[2]
    }

    /// Distance between the slices of the first axis.
    pub fn slice(&self) -> usize {
        self.size[1] * self.size[2]
    }

    /// Distance between channels.
    pub fn channel(&self) -> usize {
        self.size.iter().chain(&self.step).product()
    }

    /// Values to be allocated for `channels` channels.
    pub fn len(&self, channels: usize) -> usize {
        channels * self.channel() + self.width + SLACK
    }

    /// Offset of a padded position within a channel.
    pub fn offset(&self, at: [usize; 3]) -> usize {
        let (phase, place) = (
            [0, 1, 2].map(|d| at[d] % self.step[d]),
            [0, 1, 2].map(|d| at[d] / self.step[d]),
        );
        let phase = (phase[0] * self.step[1] + phase[1]) * self.step[2] + phase[2];
        let place = (place[0] * self.size[1] + place[1]) * self.size[2] + place[2];
        phase * self.size.iter().product::<usize>() + place
    }

    /// The part of the source's axis `d` that lies in plane `phase`: first source index, first
    /// place, count.
    fn run(&self, d: usize, phase: usize) -> (usize, usize, usize) {
        let (step, before) = (self.step[d] as isize, self.before[d]);
        let mut first = (phase as isize - before).rem_euclid(step);
        while first + before < 0 {
            first += step;
        }
        let place = ((first + before) / step) as usize;
        let first = first as usize;
        let limit = if d == 2 { self.width } else { self.size[d] };
        let count = self.source[d].saturating_sub(first).div_ceil(self.step[d]);
        (first, place, count.min(limit.saturating_sub(place)))
    }

    /// Copies `src`, `[channels, source...]`, into zeroed `dst`. What is not written (the padding)
    /// is the same for every sample.
    pub fn fill<T: Float>(&self, src: &[T], dst: &mut [T]) {
        dispatch(Fill {
            planes: self,
            src,
            dst,
        });
    }

    #[inline(always)]
    fn fill_now<T: Float>(&self, src: &[T], dst: &mut [T]) {
        let plane: usize = self.source.iter().product();
        let [_, h, w] = self.source;
        for pd in 0..self.step[0] {
            let (d0, place_d, count_d) = self.run(0, pd);
            for ph in 0..self.step[1] {
                let (h0, place_h, count_h) = self.run(1, ph);
                for pw in 0..self.step[2] {
                    let (w0, place_w, count_w) = self.run(2, pw);
                    if count_w == 0 {
                        continue;
                    }
                    let base = self.offset([pd, ph, pw])
                        + place_d * self.slice()
                        + place_h * self.pitch()
                        + place_w;
                    for (c, src) in src.chunks_exact(plane).enumerate() {
                        for d in 0..count_d {
                            for y in 0..count_h {
                                let from =
                                    ((d0 + d * self.step[0]) * h + h0 + y * self.step[1]) * w + w0;
                                let to =
                                    base + c * self.channel() + d * self.slice() + y * self.pitch();
                                let to = &mut dst[to..][..count_w];
                                match self.step[2] {
                                    1 => to.copy_from_slice(&src[from..][..count_w]),
                                    2 => every_second(&src[from..], to),
                                    step => {
                                        let from = src[from..].iter().step_by(step);
                                        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// [`Planes::fill`], to be compiled for each level.
struct Fill<'a, T> {
    planes: &'a Planes,
    src: &'a [T],
    dst: &'a mut [T],
}

impl<T: Float> Task for Fill<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        self.planes.fill_now(self.src, self.dst);
    }
}

/// `to[i] = from[2 i]`, in pairs, which the compiler turns to shuffles.
#[inline(always)]
fn every_second<T: Float>(from: &[T], to: &mut [T]) {
    let pairs = to.len().min(from.len() / 2);
    let (now, rest) = to.split_at_mut(pairs);
    for (to, from) in now.iter_mut().zip(from.chunks_exact(2)) {
        *to = from[0];
    }
    if let [last] = rest {
        *last = from[2 * pairs];
    }
}
