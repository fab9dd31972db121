//! Recurrent layers: LSTM, GRU and plain recurrence over a whole sequence, forward and backward.
//!
//! The inputs are projected before, in one product for all steps; here each step is one product
//! with the state and one pass over the gates. Rows are cut by size, so the bits do not depend on
//! the number of threads.

use crate::float::Float;
use crate::gemm::{gemm, gemm_batch};
use crate::math::Real;
use crate::threads::{SyncPtr, parallel_for};

/// Elements of the state that a thread takes at a time.
const GRAIN: usize = 1 << 11;
/// Columns of a weight that lie together.
const PANEL: usize = 32;

/// What makes the next state of gates and state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Long short-term memory (Hochreiter and Schmidhuber 1997); gates i, f, g, o.
    Lstm,
    /// Gated recurrent unit (Cho et al., arXiv 1406.1078) as PyTorch has it; gates r, z, n.
    Gru,
    /// tanh of the sum.
    Tanh,
    /// max(0, sum).
    Relu,
}

impl Cell {
    /// Blocks of rows in the weight: one for each gate.
    pub fn gates(self) -> usize {
        match self {
            Cell::Lstm => 4,
            Cell::Gru => 3,
            Cell::Tanh | Cell::Relu => 1,
        }
    }

    /// Numbers kept for the backward pass, for each of the state: LSTM's gates and cell; GRU's gates
    /// and the state's part of n; nothing else, where the state says it all.
    pub fn kept(self) -> usize {
        match self {
            Cell::Lstm => 5,
            Cell::Gru => 4,
            Cell::Tanh | Cell::Relu => 0,
        }
    }
}

/// Sizes and kind of a sequence.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// The kind.
    pub cell: Cell,
    /// Length of the sequence.
    pub steps: usize,
    /// Sequences side by side.
    pub batch: usize,
    /// Numbers of a state.
    pub hidden: usize,
    /// Whether the last step comes first.
    pub reverse: bool,
}

macro_rules! kernels {
    ($t:ident, $lstm:ident, $lstm_back:ident, $gru:ident, $gru_back:ident, $plain:ident, $plain_back:ident) => {
        crate::simd_fn! {
            // Rows of `x` and `g`, which may be longer: input's and state's part of the gates; of `c`:
            // the cell before, `stride` apart.
            fn $lstm(x: &[$t], g: &[$t], c: &[$t], stride: usize, keep: &mut [$t], out: &mut [$t], h: usize) {
                let wide = g.len() / (out.len() / h);
                for (row, out) in out.chunks_exact_mut(h).enumerate() {
                    let c = &c[row * stride..][..h];
                    let (x, g) = (four(&x[row * 4 * h..], h), four(&g[row * wide..], h));
                    let (ki, rest) = keep[row * 5 * h..][..5 * h].split_at_mut(h);
                    let (kf, rest) = rest.split_at_mut(h);
                    let (kg, rest) = rest.split_at_mut(h);
                    let (ko, kc) = rest.split_at_mut(h);
                    for j in 0..h {
                        let i = (x[0][j] + g[0][j]).sigmoid();
                        let f = (x[1][j] + g[1][j]).sigmoid();
                        let n = Real::tanh(x[2][j] + g[2][j]);
                        let o = (x[3][j] + g[3][j]).sigmoid();
                        let cell = f * c[j] + i * n;
                        (ki[j], kf[j], kg[j], ko[j], kc[j]) = (i, f, n, o, cell);
                        out[j] = o * Real::tanh(cell);
                    }
                }
            }

            // `dh`: the state's gradient; `dc`: the cell's, which becomes that of the cell before.
            fn $lstm_back(keep: &[$t], c: &[$t], stride: usize, dh: &[$t], dx: &mut [$t], dc: &mut [$t], h: usize) {
                for (row, dc) in dc.chunks_exact_mut(h).enumerate() {
                    let (c, dh) = (&c[row * stride..][..h], &dh[row * h..][..h]);
                    let k = four(&keep[row * 5 * h..], h);
                    let cell = &keep[row * 5 * h + 4 * h..][..h];
                    let (di, rest) = dx[row * 4 * h..][..4 * h].split_at_mut(h);
                    let (df, rest) = rest.split_at_mut(h);
                    let (dn, d_o) = rest.split_at_mut(h);
                    for j in 0..h {
                        let (i, f, n, o) = (k[0][j], k[1][j], k[2][j], k[3][j]);
                        let t = Real::tanh(cell[j]);
                        let d = dc[j] + dh[j] * o * (1.0 - t * t);
                        d_o[j] = dh[j] * t * o * (1.0 - o);
                        di[j] = d * n * i * (1.0 - i);
                        dn[j] = d * i * (1.0 - n * n);
                        df[j] = d * c[j] * f * (1.0 - f);
                        dc[j] = d * f;
                    }
                }
            }

            // `state`: the state before; `bias`: that of the state's part.
            fn $gru(x: &[$t], g: &[$t], bias: &[$t], state: &[$t], keep: &mut [$t], out: &mut [$t], h: usize) {
                let wide = g.len() / (out.len() / h);
                for (row, out) in out.chunks_exact_mut(h).enumerate() {
                    let state = &state[row * h..][..h];
                    let (x, g, b) = (three(&x[row * 3 * h..], h), three(&g[row * wide..], h), three(bias, h));
                    let (kr, rest) = keep[row * 4 * h..][..4 * h].split_at_mut(h);
                    let (kz, rest) = rest.split_at_mut(h);
                    let (kn, ks) = rest.split_at_mut(h);
                    for j in 0..h {
                        let r = (x[0][j] + (g[0][j] + b[0][j])).sigmoid();
                        let z = (x[1][j] + (g[1][j] + b[1][j])).sigmoid();
                        let s = g[2][j] + b[2][j];
                        let n = Real::tanh(x[2][j] + r * s);
                        (kr[j], kz[j], kn[j], ks[j]) = (r, z, n, s);
                        out[j] = (1.0 - z) * n + z * state[j];
                    }
                }
            }

            // Rows of `dg`: the gradients of the state's parts of the gates, then what goes to the
            // state before by the gate z.
            fn $gru_back(keep: &[$t], state: &[$t], stride: usize, dh: &[$t], dx: &mut [$t], dg: &mut [$t], h: usize) {
                for (row, dg) in dg.chunks_exact_mut(4 * h).enumerate() {
                    let (state, dh) = (&state[row * stride..][..h], &dh[row * h..][..h]);
                    let k = four(&keep[row * 4 * h..], h);
                    let (xr, rest) = dx[row * 3 * h..][..3 * h].split_at_mut(h);
                    let (xz, xn) = rest.split_at_mut(h);
                    let (gr, rest) = dg.split_at_mut(h);
                    let (gz, rest) = rest.split_at_mut(h);
                    let (gn, by_z) = rest.split_at_mut(h);
                    for j in 0..h {
                        let (r, z, n, s) = (k[0][j], k[1][j], k[2][j], k[3][j]);
                        let dn = dh[j] * (1.0 - z) * (1.0 - n * n);
                        let dz = dh[j] * (state[j] - n) * z * (1.0 - z);
                        let dr = dn * s * r * (1.0 - r);
                        (xr[j], xz[j], xn[j]) = (dr, dz, dn);
                        (gr[j], gz[j], gn[j], by_z[j]) = (dr, dz, dn * r, dh[j] * z);
                    }
                }
            }

            fn $plain(x: &[$t], g: &[$t], relu: bool, out: &mut [$t], h: usize) {
                let wide = g.len() / (out.len() / h);
                for ((out, x), g) in out.chunks_exact_mut(h).zip(x.chunks_exact(h)).zip(g.chunks_exact(wide)) {
                    if relu {
                        for ((o, x), g) in out.iter_mut().zip(x).zip(g) {
                            let sum = *x + *g;
                            // NaN stays NaN.
                            *o = if sum < 0.0 { 0.0 } else { sum };
                        }
                    } else {
                        for ((o, x), g) in out.iter_mut().zip(x).zip(g) {
                            *o = Real::tanh(*x + *g);
                        }
                    }
                }
            }

            fn $plain_back(state: &[$t], dh: &[$t], relu: bool, dx: &mut [$t]) {
                for ((o, s), d) in dx.iter_mut().zip(state).zip(dh) {
                    *o = match relu {
                        true => if *s > 0.0 { *d } else { 0.0 },
                        false => *d * (1.0 - *s * *s),
                    };
                }
            }
        }

        impl Recurrent for $t {
            const KERNELS: Kernels<$t> = Kernels {
                lstm: $lstm,
                lstm_back: $lstm_back,
                gru: $gru,
                gru_back: $gru_back,
                plain: $plain,
                plain_back: $plain_back,
            };
        }
    };
}

/// The first four blocks of `h` elements.
#[inline(always)]
fn four<T>(x: &[T], h: usize) -> [&[T]; 4] {
    let (a, rest) = x[..4 * h].split_at(h);
    let (b, rest) = rest.split_at(h);
    let (c, d) = rest.split_at(h);
    [a, b, c, d]
}

/// The first three.
#[inline(always)]
fn three<T>(x: &[T], h: usize) -> [&[T]; 3] {
    let (a, rest) = x[..3 * h].split_at(h);
    let (b, c) = rest.split_at(h);
    [a, b, c]
}

/// LSTM's pass forward: input's and state's part of the gates, the cell before with its row stride; what
/// is kept, the states.
type Lstm<T> = fn(&[T], &[T], &[T], usize, &mut [T], &mut [T], usize);
/// GRU's: both parts, the bias, the state before.
type Gru<T> = fn(&[T], &[T], &[T], &[T], &mut [T], &mut [T], usize);
/// A pass backward: what was kept, what came before with its row stride, the state's gradient; the
/// input's, and a second result.
type Backward<T> = fn(&[T], &[T], usize, &[T], &mut [T], &mut [T], usize);

/// The passes over the gates, compiled for a type.
#[doc(hidden)]
pub struct Kernels<T: 'static> {
    lstm: Lstm<T>,
    lstm_back: Backward<T>,
    gru: Gru<T>,
    gru_back: Backward<T>,
    plain: fn(&[T], &[T], bool, &mut [T], usize),
    plain_back: fn(&[T], &[T], bool, &mut [T]),
}

/// The types that sequences are computed in: f32 and f64.
pub trait Recurrent: Float {
    #[doc(hidden)]
    const KERNELS: Kernels<Self>;
}

kernels!(
    f32,
    lstm_f32,
    lstm_back_f32,
    gru_f32,
    gru_back_f32,
    plain_f32,
    plain_back_f32
);
kernels!(
    f64,
    lstm_f64,
    lstm_back_f64,
    gru_f64,
    gru_back_f64,
    plain_f64,
    plain_back_f64
);

/// Calls `f(first row, rows of a, rows of b)` for pieces of both, which have as many rows.
fn rows_mut<T: Send>(
    a: (&mut [T], usize),
    b: (&mut [T], usize),
    rows: usize,
    grain: usize,
    f: impl Fn(usize, &mut [T], &mut [T]) + Sync,
) {
    let ((a, a_row), (b, b_row)) = (a, b);
    assert!(a.len() == rows * a_row && b.len() == rows * b_row);
    let (a, b) = (SyncPtr(a.as_mut_ptr()), SyncPtr(b.as_mut_ptr()));
    parallel_for(rows, grain.max(1), |r| {
        let (from, n) = (r.start, r.len());
        // SAFETY: the ranges are disjoint parts of 0..rows, so the pieces are disjoint parts of two
        // different slices, whose lengths were checked and which stay borrowed until the loop ends.
        let (a, b) = unsafe {
            (
                std::slice::from_raw_parts_mut(a.get().add(from * a_row), n * a_row),
                std::slice::from_raw_parts_mut(b.get().add(from * b_row), n * b_row),
            )
        };
        f(from, a, b);
    });
}

impl Steps {
    fn rows_at_a_time(&self) -> usize {
        GRAIN / self.hidden.max(1)
    }

    /// The steps in the order they are done.
    fn order(&self) -> impl DoubleEndedIterator<Item = usize> + use<> {
        let (steps, reverse) = (self.steps, self.reverse);
        (0..steps).map(move |i| if reverse { steps - 1 - i } else { i })
    }

    /// The step done before `t`.
    fn before(&self, t: usize) -> Option<usize> {
        match self.reverse {
            true => (t + 1 < self.steps).then_some(t + 1),
            false => t.checked_sub(1),
        }
    }

    /// All states, `out` `[steps, batch, hidden]`, and for the backward pass `keep` `[steps, batch,
    /// kept · hidden]`.
    ///
    /// `x` `[steps, batch, gates · hidden]` is the inputs' part of the gates with all biases that can
    /// be added before; `weight` `[gates · hidden, hidden]`; `bias` `[3 · hidden]` GRU's of the
    /// state's part, else empty; `h0`, and for LSTM `c0`, `[batch, hidden]`.
    ///
    /// # Panics
    /// Where lengths do not fit.
    #[allow(clippy::too_many_arguments)]
    pub fn forward<T: Recurrent>(
        &self,
        x: &[T],
        weight: &[T],
        bias: &[T],
        h0: &[T],
        c0: &[T],
        out: &mut [T],
        keep: &mut [T],
    ) {
        let (n, h, gates, kept) = (self.batch, self.hidden, self.cell.gates(), self.cell.kept());
        if n * h == 0 {
            return;
        }
        let width = gates * h;
        let weight = Panels::new(h, width, |row, column| weight[column * h + row]);
        let wide = weight.columns();
        let mut parts = vec![T::ZERO; n * wide];
        for t in self.order() {
            let (past, now, later) = around(out, t, n * h);
            let state = match self.before(t) {
                Some(p) if p < t => &past[p * n * h..],
                Some(p) => &later[(p - t - 1) * n * h..],
                None => h0,
            };
            let state = &state[..n * h];
            weight.product(state, h, &mut parts);
            let x = &x[t * n * width..][..n * width];
            let (past, keep, later) = around(keep, t, n * kept * h);
            let cell = match self.before(t) {
                Some(p) if p < t => (&past[p * n * kept * h..], kept * h),
                Some(p) => (&later[(p - t - 1) * n * kept * h..], kept * h),
                None => (c0, h),
            };
            let grain = self.rows_at_a_time();
            rows_mut((keep, kept * h), (now, h), n, grain, |row, keep, out| {
                let rows = out.len() / h;
                let x = &x[row * width..][..rows * width];
                let g = &parts[row * wide..][..rows * wide];
                let k = &T::KERNELS;
                match self.cell {
                    Cell::Lstm => {
                        let from = if cell.1 == h { 0 } else { 4 * h };
                        let c = &cell.0[row * cell.1 + from..];
                        (k.lstm)(x, g, c, cell.1, keep, out, h);
                    }
                    Cell::Gru => (k.gru)(x, g, bias, &state[row * h..], keep, out, h),
                    cell => (k.plain)(x, g, cell == Cell::Relu, out, h),
                }
            });
        }
    }

    /// The gradients: `dx` as `x`, `dw` as `weight`, `db` as `bias`, `dh0` and `dc0` as `h0` and `c0`,
    /// from `dout`, that of the states, and `dc0`, which comes as that of the last cell.
    ///
    /// # Panics
    /// Where lengths do not fit.
    #[allow(clippy::too_many_arguments)]
    pub fn backward<T: Recurrent>(
        &self,
        weight: &[T],
        h0: &[T],
        c0: &[T],
        out: &[T],
        keep: &[T],
        dout: &[T],
        dx: &mut [T],
        dw: &mut [T],
        db: &mut [T],
        dh0: &mut [T],
        dc0: &mut [T],
    ) {
        let (n, h, gates, kept) = (self.batch, self.hidden, self.cell.gates(), self.cell.kept());
        dh0.fill(T::ZERO);
        dw.fill(T::ZERO);
        db.fill(T::ZERO);
        if n * h == 0 {
            return;
        }
        let width = gates * h;
        let gru = self.cell == Cell::Gru;
        // GRU's gates have another gradient on the state's side, and z passes some on directly.
        let side = if gru { 4 * h } else { 0 };
        let mut sides = vec![T::ZERO; self.steps * n * side];
        let weight = Panels::new(width, h, |row, column| weight[row * h + column]);
        let wide = weight.columns();
        // The state's gradient, and what of it comes from the step done after.
        let mut dh = vec![T::ZERO; n * h];
        let mut back = vec![T::ZERO; n * wide];
        let mut dc = vec![T::ZERO; n * h];
        if self.cell == Cell::Lstm {
            dc.copy_from_slice(dc0);
        }
        let grain = self.rows_at_a_time();
        for t in self.order().rev() {
            let dout = &dout[t * n * h..][..n * h];
            let rows = dh.chunks_exact_mut(h).zip(dout.chunks_exact(h));
            for ((dh, dout), back) in rows.zip(back.chunks_exact(wide)) {
                for ((d, g), b) in dh.iter_mut().zip(dout).zip(back) {
                    *d = *g + *b;
                }
            }
            let (state, cell) = match self.before(t) {
                Some(p) => (&out[p * n * h..], Some(&keep[p * n * kept * h..])),
                None => (h0, None),
            };
            let keep = &keep[t * n * kept * h..][..n * kept * h];
            let out = &out[t * n * h..][..n * h];
            let dx = &mut dx[t * n * width..][..n * width];
            let sides = &mut sides[t * n * side..][..n * side];
            let k = &T::KERNELS;
            match self.cell {
                Cell::Lstm => rows_mut((dx, width), (&mut dc[..], h), n, grain, |row, dx, dc| {
                    let (c, stride) = match cell {
                        Some(c) => (&c[row * 5 * h + 4 * h..], 5 * h),
                        None => (&c0[row * h..], h),
                    };
                    let dh = &dh[row * h..][..dc.len()];
                    (k.lstm_back)(&keep[row * 5 * h..], c, stride, dh, dx, dc, h);
                }),
                Cell::Gru => rows_mut((dx, width), (&mut *sides, side), n, grain, |row, dx, dg| {
                    let dh = &dh[row * h..];
                    (k.gru_back)(&keep[row * 4 * h..], &state[row * h..], h, dh, dx, dg, h);
                }),
                cell => rows_mut((dx, width), (&mut [][..], 0), n, grain, |row, dx, _| {
                    let rows = row * h..row * h + dx.len();
                    (k.plain_back)(&out[rows.clone()], &dh[rows], cell == Cell::Relu, dx);
                }),
            }
            // To the state before: by the gates, and by z.
            let (by_gates, row) = match gru {
                true => (&*sides, side),
                false => (&*dx, width),
            };
            weight.product(by_gates, row, &mut back);
            if gru {
                for (b, s) in back.chunks_exact_mut(wide).zip(sides.chunks_exact(side)) {
                    for (b, s) in b.iter_mut().zip(&s[3 * h..]) {
                        *b += *s;
                    }
                }
            }
        }
        for (d, b) in dh0.chunks_exact_mut(h).zip(back.chunks_exact(wide)) {
            d.copy_from_slice(&b[..h]);
        }
        dc0.copy_from_slice(&dc[..dc0.len()]);

        // All steps but the first have the states next to them as their own.
        let (all, row) = match gru {
            true => (&sides[..], side),
            false => (&*dx, width),
        };
        let (later, earlier) = match self.reverse {
            true => (0, 1),
            false => (1, 0),
        };
        let count = (self.steps - 1) * n;
        let first = if self.reverse { self.steps - 1 } else { 0 };
        for (gates, states, rows) in [
            (&all[later * n * row..], &out[earlier * n * h..], count),
            (&all[first * n * row..], h0, n),
        ] {
            if rows > 0 {
                let (g, s) = ((1, row as isize), (h as isize, 1));
                gemm(width, h, rows, T::ONE, gates, g, states, s, T::ONE, dw, s);
            }
        }
        if !db.is_empty() {
            for gates in all.chunks_exact(row) {
                for (d, g) in db.iter_mut().zip(gates) {
                    *d += *g;
                }
            }
        }
    }
}

/// What lies before, in and after block `i` of `size` elements.
fn around<T>(x: &mut [T], i: usize, size: usize) -> (&[T], &mut [T], &[T]) {
    let (past, rest) = x.split_at_mut(i * size);
    let (now, later) = rest.split_at_mut(size);
    (past, now, later)
}

/// A weight laid out once for all steps: columns in panels, which products read as they lie, padded
/// with zeros.
struct Panels<T> {
    data: Vec<T>,
    rows: usize,
    count: usize,
}

impl<T: Float> Panels<T> {
    fn new(rows: usize, columns: usize, at: impl Fn(usize, usize) -> T) -> Panels<T> {
        let count = columns.div_ceil(PANEL);
        let mut data = vec![T::ZERO; count * rows * PANEL];
        for (p, panel) in data.chunks_exact_mut(rows * PANEL).enumerate() {
            for column in 0..PANEL.min(columns - p * PANEL) {
                for row in 0..rows {
                    panel[row * PANEL + column] = at(row, p * PANEL + column);
                }
            }
        }
        Panels { data, rows, count }
    }

    /// With the padding.
    fn columns(&self) -> usize {
        self.count * PANEL
    }

    /// The product of rows of `a`, which are `stride` apart, as rows of `c`.
    fn product(&self, a: &[T], stride: usize, c: &mut [T]) {
        let columns = self.columns();
        gemm_batch(
            self.count,
            c.len() / columns,
            PANEL,
            self.rows,
            T::ONE,
            a,
            0,
            (stride as isize, 1),
            &self.data,
            self.rows * PANEL,
            (PANEL as isize, 1),
            T::ZERO,
            c,
            PANEL,
            (columns as isize, 1),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::set_num_threads;

    fn numbers(n: usize, salt: usize) -> Vec<f64> {
        let at = |i: usize| ((i * 7919 + salt * 104_729) % 997) as f64 / 498.5 - 1.0;
        (0..n).map(at).collect()
    }

    struct Run {
        out: Vec<f64>,
        keep: Vec<f64>,
        grads: [Vec<f64>; 5],
    }

    /// Everything, with numbers all over.
    fn run(s: &Steps, moved: impl Fn(usize, &mut Vec<f64>)) -> Run {
        let (n, h, gates) = (s.batch, s.hidden, s.cell.gates());
        let width = gates * h;
        let lstm = s.cell == Cell::Lstm;
        let gru = s.cell == Cell::Gru;
        let lengths = [
            s.steps * n * width,
            width * h,
            if gru { width } else { 0 },
            n * h,
            if lstm { n * h } else { 0 },
        ];
        let mut inputs: Vec<Vec<f64>> = (0..5).map(|i| numbers(lengths[i], i + 1)).collect();
        for (i, x) in inputs.iter_mut().enumerate() {
            moved(i, x);
        }
        let mut out = vec![f64::NAN; s.steps * n * h];
        let mut keep = vec![f64::NAN; s.steps * n * s.cell.kept() * h];
        let [x, w, b, h0, c0] = &inputs[..] else {
            unreachable!()
        };
        s.forward(x, w, b, h0, c0, &mut out, &mut keep);
        let mut grads = lengths.map(|n| vec![f64::NAN; n]);
        grads[4] = numbers(lengths[4], 9);
        let [dx, dw, db, dh0, dc0] = &mut grads;
        let dout = numbers(out.len(), 8);
        s.backward(w, h0, c0, &out, &keep, &dout, dx, dw, db, dh0, dc0);
        Run { out, keep, grads }
    }

    /// The sum of all states, and of LSTM's last cell, times the gradients that `run` gives them.
    fn loss(s: &Steps, r: &Run) -> f64 {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut sum = dot(&r.out, &numbers(r.out.len(), 8));
        if s.cell == Cell::Lstm {
            let (n, h) = (s.batch, s.hidden);
            let last = if s.reverse { 0 } else { s.steps - 1 };
            let weights = numbers(n * h, 9);
            for row in 0..n {
                let cell = &r.keep[(last * n + row) * 5 * h + 4 * h..][..h];
                sum += dot(cell, &weights[row * h..]);
            }
        }
        sum
    }

    #[test]
    fn gradients_are_finite_differences() {
        for cell in [Cell::Lstm, Cell::Gru, Cell::Tanh, Cell::Relu] {
            for (steps, reverse) in [(3, false), (3, true), (1, false)] {
                let s = Steps {
                    cell,
                    steps,
                    batch: 2,
                    hidden: 3,
                    reverse,
                };
                let grads = run(&s, |_, _| ()).grads;
                for (k, grad) in grads.iter().enumerate() {
                    for (i, g) in grad.iter().enumerate() {
                        let at = |by: f64| {
                            let moved = run(&s, |input, x| {
                                if input == k {
                                    x[i] += by;
                                }
                            });
                            loss(&s, &moved)
                        };
                        let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
                        assert!(
                            (g - numeric).abs() < 1e-7 * (1.0 + numeric.abs()),
                            "{s:?}: of input {k} at {i} {g}, differences give {numeric}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn threads_do_not_change_the_bits() {
        for cell in [Cell::Lstm, Cell::Gru, Cell::Relu] {
            let s = Steps {
                cell,
                steps: 3,
                batch: 70,
                hidden: 65,
                reverse: false,
            };
            let before = crate::threads::num_threads();
            let runs = [1, 3].map(|threads| {
                set_num_threads(threads);
                run(&s, |_, _| ())
            });
            set_num_threads(before);
            assert_eq!(runs[0].out, runs[1].out);
            assert_eq!(runs[0].grads, runs[1].grads);
        }
    }
}
