//! How a picture's elements lie in memory, and copying them elsewhere.
//!
//! Crops, flips and paddings only move elements: they are changes of a [`Layout`], or one copy
//! through an [`Axis`] for rows and one for columns.

/// Where element (channel, row, column) lies: at `offset` plus the indices times the strides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    offset: usize,
    /// Channels, height, width.
    pub shape: [usize; 3],
    strides: [isize; 3],
}

impl Layout {
    /// Plane after plane, row after row (C x H x W), from `offset` on.
    pub fn planar(offset: usize, shape: [usize; 3]) -> Layout {
        let [_, h, w] = shape;
        // Wrapping, here and below: planes of which there is none may have any size.
        Layout {
            offset,
            shape,
            strides: [h.wrapping_mul(w) as isize, w as isize, 1],
        }
    }

    /// Pixel after pixel (H x W x C).
    pub fn interleaved(shape: [usize; 3]) -> Layout {
        let [c, _, w] = shape;
        Layout {
            offset: 0,
            shape,
            strides: [1, (w * c) as isize, c as isize],
        }
    }

    /// The rows (axis 1) or columns (axis 2) in reverse order.
    pub fn flipped(mut self, axis: usize) -> Layout {
        let last = self.shape[axis].saturating_sub(1);
        self.offset = self.at(axis, last);
        self.strides[axis] = -self.strides[axis];
        self
    }

    /// `height` rows from `top` on and `width` columns from `left` on, which must lie within.
    pub fn cropped(mut self, top: usize, left: usize, height: usize, width: usize) -> Layout {
        debug_assert!(top + height <= self.shape[1] && left + width <= self.shape[2]);
        self.offset = self.at(1, top);
        self.offset = self.at(2, left);
        (self.shape[1], self.shape[2]) = (height, width);
        self
    }

    fn at(&self, axis: usize, index: usize) -> usize {
        self.offset
            .wrapping_add_signed(self.strides[axis] * index as isize)
    }

    /// Calls `write` for every row, in order of channels and rows, with the channel, the number of
    /// elements and the elements. Rows that follow each other without gaps come as one.
    pub fn rows<'a, E>(&self, data: &'a [E], mut write: impl FnMut(usize, usize, Row<'a, E>)) {
        let mut layout = *self;
        let [channels, height, width] = self.shape;
        if self.strides[1] == self.strides[2].wrapping_mul(width as isize) {
            layout.shape = [channels, height.min(1), height.wrapping_mul(width)];
        }
        let [_, height, width] = layout.shape;
        if width == 0 {
            return;
        }
        for c in 0..channels {
            for y in 0..height {
                write(c, width, layout.row(data, c, y));
            }
        }
    }

    fn row<'a, E>(&self, data: &'a [E], c: usize, y: usize) -> Row<'a, E> {
        let steps = self.strides[0] * c as isize + self.strides[1] * y as isize;
        let (start, width) = (self.offset.wrapping_add_signed(steps), self.shape[2]);
        match self.strides[2] {
            1 => Row::Forward(&data[start..start + width]),
            -1 => Row::Backward(&data[start + 1 - width..start + 1]),
            step => Row::Strided(data, start, step),
        }
    }

    /// Copies the elements to `out`, C x H x W, each row through `rows` and each column through
    /// `columns`; what lies outside becomes its channel's `fill` (the last one stands for all
    /// further channels).
    pub fn gather<E: Copy>(
        &self,
        data: &[E],
        rows: &Axis,
        columns: &Axis,
        fill: &[E],
        out: &mut [E],
    ) {
        let (height, width) = (rows.len(), columns.len());
        if out.is_empty() {
            return;
        }
        for (i, out) in out.chunks_exact_mut(width).enumerate() {
            let (c, y) = (i / height, i % height);
            let fill = fill[c.min(fill.len() - 1)];
            let Some(y) = rows.source(y) else {
                out.fill(fill);
                continue;
            };
            let row = self.row(data, c, y);
            match columns {
                Axis::Window {
                    before,
                    start,
                    inside,
                    ..
                } => {
                    out[..*before].fill(fill);
                    out[before + inside..].fill(fill);
                    let inner = &mut out[*before..before + inside];
                    match row {
                        Row::Forward(r) => inner.copy_from_slice(&r[*start..start + inside]),
                        row => (inner.iter_mut().enumerate())
                            .for_each(|(x, o)| *o = row.get(start + x, self.shape[2])),
                    }
                }
                Axis::Map(sources) => out
                    .iter_mut()
                    .zip(sources)
                    .for_each(|(o, &x)| *o = row.get(x, self.shape[2])),
            }
        }
    }
}

/// The elements of one row.
pub(crate) enum Row<'a, E> {
    /// The slice.
    Forward(&'a [E]),
    /// The slice from its end to its start.
    Backward(&'a [E]),
    /// From the index on, in steps.
    Strided(&'a [E], usize, isize),
}

impl<E: Copy> Row<'_, E> {
    #[inline]
    fn get(&self, x: usize, width: usize) -> E {
        match self {
            Row::Forward(r) => r[x],
            Row::Backward(r) => r[width - 1 - x],
            Row::Strided(data, start, step) => data[start.wrapping_add_signed(step * x as isize)],
        }
    }

    /// `out[x] = f(element x)`.
    #[inline]
    pub fn map<T>(&self, out: &mut [T], f: impl Fn(E) -> T) {
        match self {
            Row::Forward(r) => out.iter_mut().zip(*r).for_each(|(o, &e)| *o = f(e)),
            Row::Backward(r) => out
                .iter_mut()
                .zip(r.iter().rev())
                .for_each(|(o, &e)| *o = f(e)),
            Row::Strided(data, start, step) => {
                let mut at = *start;
                for o in out {
                    *o = f(data[at]);
                    at = at.wrapping_add_signed(*step);
                }
            }
        }
    }
}

/// Which of the old rows (or columns) each new one is.
pub(crate) enum Axis {
    /// `before` outside, then `inside` old ones from `start` on, then `after` outside.
    Window {
        before: usize,
        start: usize,
        inside: usize,
        after: usize,
    },
    /// The old index of each.
    Map(Vec<usize>),
}

impl Axis {
    /// `len` indices from `first` on of `size` old ones; those outside stay outside.
    pub fn window(first: isize, len: usize, size: usize) -> Axis {
        let before = first.min(0).unsigned_abs().min(len);
        let start = (first.max(0) as usize).min(size);
        let inside = (len - before).min(size - start);
        Axis::Window {
            before,
            start,
            inside,
            after: len - before - inside,
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Axis::Window {
                before,
                inside,
                after,
                ..
            } => before + inside + after,
            Axis::Map(map) => map.len(),
        }
    }

    fn source(&self, i: usize) -> Option<usize> {
        match self {
            Axis::Window {
                before,
                start,
                inside,
                ..
            } => {
                let at = i.checked_sub(*before)?;
                (at < *inside).then_some(start + at)
            }
            Axis::Map(map) => Some(map[i]),
        }
    }
}
