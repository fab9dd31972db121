//! A sample's channels copied into planes where every read of a kernel element is one contiguous
//! run: padded with zeros, and for a stride `s` cut into `s` interleaved planes an axis (output
//! `o` reads padded position `o * s + t`, which is place `o + t / s` of plane `t % s`).
//!
//! Planes hold operands, each of one channel or, where operands are pairs, of two. They lie either
//! one after the other or, in blocks of as many as registers have lanes, interleaved.

use std::marker::PhantomData;
use std::ops::Range;

use super::ConvShape;
use super::operand::{Held, Stored};
use crate::alloc::{Buffer, Pod};
use crate::float::Float;
use crate::lanes::{Kernel, Lanes, with_lanes};

/// Values that a kernel may read past the last plane: 15 positions of 16 operands.
const SLACK: usize = 256;

/// Memory for `len` values, from the caching allocator.
pub(super) fn scratch<T: Pod>(len: usize, zeroed: bool) -> Buffer {
    let buffer = if zeroed {
        Buffer::zeroed_of::<T>(len)
    } else {
        Buffer::uninit_of::<T>(len)
    };
    buffer.unwrap_or_else(|e| panic!("convolution: {e}"))
}

/// A convolution whose kernel is one element, and every position read: the plane is one long row.
pub(super) fn flat(s: &ConvShape) -> ConvShape {
    match s.kernel == [1; 3] && s.stride == [1; 3] && s.padding == [0; 3] {
        true => ConvShape {
            input: [1, 1, s.input.iter().product()],
            ..*s
        },
        false => *s,
    }
}

/// Where the values of a padded plane lie.
#[derive(Debug, Clone)]
pub(super) struct Planes {
    /// Size of the source plane.
    pub source: [usize; 3],
    /// Padded position of the source's first element; negative where it is cropped.
    before: [isize; 3],
    /// Interleaved planes of each axis.
    pub step: [usize; 3],
    /// Places of each axis, the last being the distance between rows.
    size: [usize; 3],
    /// Rows that hold something (the row distance may be less than the last axis' extent).
    width: usize,
    /// Distance between channels.
    channel: usize,
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
            channel: size.iter().chain(&step).product(),
        }
    }

    /// What the forward convolution reads: the input.
    pub fn of_input(s: &ConvShape) -> Self {
        let o = s.valid_output();
        let before = s.padding.map(|p| p as isize);
        let extent = [0, 1, 2].map(|d| o[d] + s.dilation[d] * (s.kernel[d] - 1) / s.stride[d]);
        Self::new(s.input, before, s.stride, extent)
    }

    /// The same where columns are not taken apart: output `o` reads from place `o * stride` of its
    /// row on.
    pub fn of_input_in_rows(s: &ConvShape) -> Self {
        let all = Self::of_input(s);
        let span = s.dilation[2] * (s.kernel[2] - 1) + 1;
        let width = (s.valid_output()[2] - 1) * s.stride[2] + span;
        let step = [s.stride[0], s.stride[1], 1];
        Self::new(s.input, all.before, step, [all.size[0], all.size[1], width])
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

    /// The same with rows that begin where `cells` of them do, if that takes little more room.
    pub fn aligned(mut self, cells: usize) -> Self {
        let pitch = self.size[2].next_multiple_of(cells);
        if 4 * pitch <= 5 * self.size[2] {
            self.size[2] = pitch;
            self.channel = self.size.iter().chain(&self.step).product();
        }
        self
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
        self.channel
    }

    /// Operands to be allocated for `channels` planes.
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
    pub fn run(&self, d: usize, phase: usize) -> (usize, usize, usize) {
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

    /// Copies `src`, `[channels, source...]`, into zeroed `dst`, plane after plane. What is not
    /// written (the padding) is the same for every sample.
    pub fn fill<T: Float, E: Pod, X: Held<E>>(&self, src: &[E], dst: &mut [X]) {
        with_lanes(Fill::<T, E, X> {
            planes: self,
            src,
            dst,
            sums: PhantomData,
        });
    }

    #[inline(always)]
    fn fill_now<T: Float, L: Lanes<T>, E: Pod, X: Held<E>>(&self, src: &[E], dst: &mut [X]) {
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
                    for (c, src) in src.chunks(X::LEN * plane).enumerate() {
                        for d in 0..count_d {
                            for y in 0..count_h {
                                let from =
                                    ((d0 + d * self.step[0]) * h + h0 + y * self.step[1]) * w + w0;
                                let to =
                                    base + c * self.channel() + d * self.slice() + y * self.pitch();
                                let at = to;
                                let span = (count_w - 1) * self.step[2] + 1;
                                if let Some(src) = X::same(src)
                                    && size_of::<X>() == size_of::<T>()
                                    && self.step[2] <= 2
                                {
                                    let from = &src[from..][..span];
                                    let end = self.offset([pd, ph, pw]) + (c + 1) * self.channel()
                                        - (self.channel() - self.size.iter().product::<usize>());
                                    let room = &mut dst[at..end];
                                    // SAFETY: inside a kernel; both are as large as values, whose
                                    // bits are moved only.
                                    unsafe {
                                        copy_row::<T, L, X>(from, room, count_w, self.step[2]);
                                    }
                                    continue;
                                }
                                let to = &mut dst[at..][..count_w];
                                let first = &src[from..][..span];
                                let second = match X::LEN == 2 && src.len() > plane {
                                    true => Some(&src[plane + from..][..span]),
                                    false => None,
                                };
                                match self.step[2] {
                                    1 => join::<E, X, 1>(first, second, to, 1),
                                    2 => join::<E, X, 2>(first, second, to, 2),
                                    step => join::<E, X, 0>(first, second, to, step),
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Copies up to a block of planes into zeroed `dst`, interleaved: `[place, lane]`.
    pub fn fill_block<T: Float, E: Stored<T>, X: Held<E>>(&self, src: &[E], dst: &mut [X]) {
        with_lanes(FillBlock {
            planes: self,
            src,
            dst,
            sums: PhantomData,
        });
    }

    /// Where source position `at` of axis `d` lies: its plane and place, unless it is not read.
    fn place(&self, d: usize, at: usize) -> Option<(usize, usize)> {
        let padded = (at as isize + self.before[d]).try_into().ok();
        let limit = if d == 2 { self.width } else { self.size[d] };
        padded
            .map(|padded: usize| (padded % self.step[d], padded / self.step[d]))
            .filter(|&(_, place)| place < limit)
    }

    /// The source columns that are read.
    fn columns(&self) -> Range<usize> {
        let start = (-self.before[2]).max(0) as usize;
        let end = (self.width * self.step[2]) as isize - self.before[2];
        start..self.source[2].min(end.max(0) as usize).max(start)
    }
}

/// [`Planes::fill`].
struct Fill<'a, T, E, X> {
    planes: &'a Planes,
    src: &'a [E],
    dst: &'a mut [X],
    sums: PhantomData<T>,
}

impl<T: Float, E: Pod, X: Held<E>> Kernel<T> for Fill<'_, T, E, X> {
    #[inline(always)]
    fn run<L: Lanes<T>>(self) {
        self.planes.fill_now::<T, L, E, X>(self.src, self.dst);
    }
}

/// `to[i] = from[i * step]` for `i < len` and a step of 1 or 2: rows are short, what loops leave over
/// would take most of the time. Up to a register of zeros is written after the row, as far as `to`
/// reaches: rows are written in order, and what lies between them is zero anyway.
///
/// # Safety
/// Inside a kernel; `X` is as large as `T`.
#[inline(always)]
unsafe fn copy_row<T: Float, L: Lanes<T>, X: Pod>(
    from: &[X],
    to: &mut [X],
    len: usize,
    step: usize,
) {
    assert!(len == 0 || (len - 1) * step < from.len() && len <= to.len());
    let (x, y) = (from.as_ptr().cast::<T>(), to.as_mut_ptr().cast::<T>());
    for i in (0..len).step_by(L::N) {
        let count = L::N.min(len - i);
        // SAFETY: the caller's promise; no more is read and written than there is.
        unsafe {
            let v = if step == 1 {
                L::load_first(x.add(i), count)
            } else {
                let left = from.len() - 2 * i;
                let a = L::load_first(x.add(2 * i), left.min(L::N));
                let rest = left.saturating_sub(L::N).min(L::N);
                let b = L::load_first(x.wrapping_add(2 * i + L::N), rest);
                L::split(a, b).0
            };
            // A store with a mask takes several times as long.
            match i + L::N <= to.len() {
                true => L::store(y.add(i), v),
                false => L::store_first(y.add(i), v, count),
            }
        }
    }
}

/// `to[i]` from elements `i * step` of the rows; `STEP` is `step` where it is known, or 0.
#[inline(always)]
pub(super) fn join<E: Pod, X: Held<E>, const STEP: usize>(
    first: &[E],
    second: Option<&[E]>,
    to: &mut [X],
    step: usize,
) {
    let step = if STEP > 0 { STEP } else { step };
    // Whole chunks first, which the compiler turns to shuffles; the last may be a part of one.
    let whole = first.len() / step;
    let (now, rest) = to.split_at_mut(whole);
    match second {
        Some(second) => {
            let rows = first.chunks_exact(step).zip(second.chunks_exact(step));
            for (to, (a, b)) in now.iter_mut().zip(rows) {
                *to = X::of([a[0], b[0]]);
            }
        }
        None => {
            for (to, a) in now.iter_mut().zip(first.chunks_exact(step)) {
                *to = X::of_first(a[0]);
            }
        }
    }
    if let [last] = rest {
        let a = first[whole * step];
        *last = match second {
            Some(second) => X::of([a, second[whole * step]]),
            None => X::of_first(a),
        };
    }
}

/// [`Planes::fill_block`].
struct FillBlock<'a, T, E, X> {
    planes: &'a Planes,
    src: &'a [E],
    dst: &'a mut [X],
    sums: PhantomData<T>,
}

/// The most operands of a square of registers.
const SQUARE: usize = 16 * 16;

impl<T: Float, E: Stored<T>, X: Held<E>> Kernel<T> for FillBlock<'_, T, E, X> {
    #[inline(always)]
    fn run<L: Lanes<T>>(self) {
        const { assert!(size_of::<X>() == size_of::<T>() && L::N * L::N <= SQUARE) };
        let Self {
            planes, src, dst, ..
        } = self;
        let [depth, height, width] = planes.source;
        let plane = depth * height * width;
        let channels = src.len() / plane.max(1);
        let operands = channels.div_ceil(X::LEN);
        assert!(operands <= L::N && dst.len() >= planes.channel() * L::N);
        let columns = planes.columns();
        let mut square = [X::NONE; SQUARE];
        let mut turned = [X::NONE; SQUARE];
        for d in 0..depth {
            let Some((pd, place_d)) = planes.place(0, d) else {
                continue;
            };
            for h in 0..height {
                let Some((ph, place_h)) = planes.place(1, h) else {
                    continue;
                };
                let row = planes.offset([pd, ph, 0])
                    + place_d * planes.slice()
                    + place_h * planes.pitch();
                for c in columns.clone().step_by(L::N) {
                    let count = L::N.min(columns.end - c);
                    let from = (d * height + h) * width + c;
                    let (from, distance) = match X::same(src) {
                        Some(src) => {
                            let last = (operands - 1) * plane + from + count;
                            assert!(last <= src.len());
                            (src[from..].as_ptr(), plane)
                        }
                        None => {
                            for (i, to) in square.chunks_exact_mut(L::N).take(operands).enumerate()
                            {
                                let first = &src[X::LEN * i * plane + from..][..count];
                                let second = match X::LEN == 2 && 2 * i + 1 < channels {
                                    true => Some(&src[(2 * i + 1) * plane + from..][..count]),
                                    false => None,
                                };
                                // A loop over as many as a register holds is unrolled.
                                match count == L::N {
                                    true => join::<E, X, 1>(
                                        &first[..L::N],
                                        second.map(|s| &s[..L::N]),
                                        &mut to[..L::N],
                                        1,
                                    ),
                                    false => join::<E, X, 1>(first, second, &mut to[..count], 1),
                                }
                            }
                            (square.as_ptr(), L::N)
                        }
                    };
                    // Columns of stride 1 follow each other.
                    let (to, direct) = match planes.step[2] {
                        1 => {
                            let place = row + (c as isize + planes.before[2]) as usize;
                            let end = (place + count) * L::N;
                            assert!(end <= dst.len());
                            (dst[place * L::N..end].as_mut_ptr(), true)
                        }
                        _ => (turned.as_mut_ptr(), false),
                    };
                    // SAFETY: inside a kernel; operands are as large as values and any bits may be
                    // turned; `count` registers lie in the planes or in `turned`.
                    unsafe {
                        L::transpose(
                            from.cast(),
                            distance,
                            (operands, count),
                            None,
                            to.cast(),
                            L::N,
                            L::N,
                        );
                    }
                    if !direct {
                        for (i, from) in turned.chunks_exact(L::N).take(count).enumerate() {
                            let (phase, place) = planes.place(2, c + i).expect("a column read");
                            let at = row + planes.offset([0, 0, phase]) + place;
                            dst[at * L::N..][..L::N].copy_from_slice(from);
                        }
                    }
                }
            }
        }
    }
}
