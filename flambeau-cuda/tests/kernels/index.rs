use crate::support::*;
use flambeau_cuda::kernels::{Along, Indexed, Scan, compact, flatten_index, scan, sort};
use flambeau_cuda::{Type, View, row_major};

fn view(ptr: u64, ty: Type, strides: &[usize]) -> View<'_> {
    View { ptr, ty, strides }
}

#[test]
fn positions_of_several_indices_together() {
    if !ready() {
        return;
    }
    // The indices broadcast: [3, 1] and [4], into dimensions of 5 and 7.
    let (a, b) = ([0.0, -1.0, 2.0], [6.0, 0.0, -7.0, 3.0]);
    for ty in [Type::I64, Type::I32, Type::I8] {
        let [got, fault] = both_orders(|order| {
            let (mut xa, mut xb) = (Buffer::of(ty, &a), Buffer::of(ty, &b));
            let (mut out, mut fault) = (Buffer::new(Type::I64, 12), Buffer::zeros(Type::I64, 3));
            let shape = [3, 4];
            for (x, strides, size, first) in
                [(&mut xa, [1, 0], 5, true), (&mut xb, [0, 1], 7, false)]
            {
                let x = view(x.ptr(), ty, &strides);
                let launch = flatten_index(&shape, x, size, (first, true), out.ptr(), fault.ptr());
                run(order, launch.unwrap());
            }
            [out, fault]
        });
        let want: Vec<f64> = (0..12)
            .map(|i| (a[i / 4] + 5.0) % 5.0 * 7.0 + (b[i % 4] + 7.0) % 7.0)
            .collect();
        assert_eq!((got, fault), (want, vec![0.0; 3]));
    }
    let mut index = Buffer::of(Type::I64, &[1.0, 9.0, -1.0]);
    let (mut out, mut fault) = (Buffer::new(Type::I64, 3), Buffer::zeros(Type::I64, 3));
    let x = view(index.ptr(), Type::I64, &[1]);
    let launch = flatten_index(&[3], x, 5, (true, true), out.ptr(), fault.ptr());
    run(flambeau_cuda::emulate::Order::Forward, launch.unwrap());
    assert_eq!(fault.values(), [1.0, 9.0, 5.0]);
}

/// Picks from, and puts and adds into, dimensions 1 and 2 of four, all against plain loops.
#[test]
fn picking_putting_and_adding() {
    if !ready() {
        return;
    }
    let shape = [2, 3, 5, 4];
    let strides = row_major(&shape);
    let positions: Vec<f64> = [14, 0, 7, 7, 3, 7, 0].map(f64::from).to_vec();
    let indexed = Indexed {
        shape: &shape,
        dims: &[1, 2],
        front: 1,
        count: positions.len(),
    };
    let count = positions.len();
    let place = |f: usize, p: f64, b: usize| f * 60 + p as usize * 4 + b;
    for ty in Type::ALL {
        let (x, src) = (numbers(ty, 120, 1), numbers(ty, 2 * count * 4, 2));
        let got = both_orders(|order| {
            let mut xs = Buffer::of(ty, &x);
            let (mut at, mut from) = (Buffer::of(Type::I64, &positions), Buffer::of(ty, &src));
            let mut picked = Buffer::new(ty, 2 * count * 4);
            let (mut set, mut added) = (Buffer::of(ty, &x), Buffer::of(ty, &x));
            let mut scratch = Scratch::default();
            let launch = indexed.pick(view(xs.ptr(), ty, &strides), at.ptr(), picked.ptr());
            run(order, launch.unwrap());
            for (to, add) in [(&mut set, false), (&mut added, true)] {
                let to = view(to.ptr(), ty, &strides);
                let memory = &mut |b| scratch.take(b);
                run(
                    order,
                    indexed.put(to, from.ptr(), at.ptr(), add, memory).unwrap(),
                );
            }
            [picked, set, added]
        });
        let (mut picked, mut set, mut added) = (vec![], x.clone(), x.clone());
        for f in 0..2 {
            for (i, &p) in positions.iter().enumerate() {
                for b in 0..4 {
                    let v = src[(f * count + i) * 4 + b];
                    picked.push(x[place(f, p, b)]);
                    set[place(f, p, b)] = v;
                    added[place(f, p, b)] += v;
                }
            }
        }
        let added: Vec<f64> = added.iter().map(|&v| rounded(ty, v)).collect();
        for (got, want) in got.iter().zip([picked, set, added]) {
            // Rounded once at the end, as by one sum.
            close(&format!("{ty:?}"), got, &want, 0.0);
        }
    }
}

#[test]
fn gathering_and_scattering() {
    if !ready() {
        return;
    }
    // An index [2, 4] along dimension 1 of [3, 5].
    let index = [4.0, 0.0, 4.0, 4.0, 1.0, 1.0, 3.0, 1.0];
    let (sizes, shape) = ([3, 5], [2, 4]);
    for dim in [0, 1] {
        let index: Vec<f64> = index.iter().map(|i| i % [3.0, 5.0][dim]).collect();
        let along = Along {
            sizes: &sizes,
            dim,
            shape: &shape,
        };
        let place = |i: usize| {
            let k = index[i] as usize;
            if dim == 0 {
                k * 5 + i % 4
            } else {
                i / 4 * 5 + k
            }
        };
        for ty in [Type::F32, Type::F16, Type::I64, Type::U8, Type::Bool] {
            let (x, src) = (numbers(ty, 15, 1), numbers(ty, 8, 2));
            let got = both_orders(|order| {
                let (mut xs, mut from) = (Buffer::of(ty, &x), Buffer::of(ty, &src));
                let (mut at, mut fault) =
                    (Buffer::of(Type::I32, &index), Buffer::zeros(Type::I64, 3));
                let mut picked = Buffer::new(ty, 8);
                let (mut set, mut added) = (Buffer::of(ty, &x), Buffer::of(ty, &x));
                let mut scratch = Scratch::default();
                let i = view(at.ptr(), Type::I32, &[4, 1]);
                let launch =
                    along.gather(view(xs.ptr(), ty, &[5, 1]), i, picked.ptr(), fault.ptr());
                run(order, launch.unwrap());
                for (to, add) in [(&mut set, false), (&mut added, true)] {
                    let to = (to.ptr(), ty);
                    let memory = &mut |b| scratch.take(b);
                    run(
                        order,
                        along
                            .scatter(to, i, from.ptr(), add, fault.ptr(), memory)
                            .unwrap(),
                    );
                }
                [picked, set, added, fault]
            });
            let (mut set, mut added) = (x.clone(), x.clone());
            for (i, v) in src.iter().enumerate() {
                set[place(i)] = *v;
                added[place(i)] += v;
            }
            let added: Vec<f64> = added.iter().map(|&v| rounded(ty, v)).collect();
            let picked: Vec<f64> = (0..8).map(|i| x[place(i)]).collect();
            for (got, want) in got.iter().zip([picked, set, added, vec![0.0; 3]]) {
                close(&format!("{ty:?} {dim}"), got, &want, 0.0);
            }
        }
    }
    // Out of range: reported, the rest done. A 0-d tensor counts as one of a single element.
    let mut x = Buffer::of(Type::F32, &[7.0]);
    let mut at = Buffer::of(Type::I64, &[-1.0]);
    let (mut out, mut fault) = (Buffer::of(Type::F32, &[1.0]), Buffer::zeros(Type::I64, 3));
    let along = Along {
        sizes: &[],
        dim: 0,
        shape: &[],
    };
    let index = view(at.ptr(), Type::I64, &[]);
    let launch = along.gather(view(x.ptr(), Type::F32, &[]), index, out.ptr(), fault.ptr());
    run(flambeau_cuda::emulate::Order::Forward, launch.unwrap());
    assert_eq!(
        (fault.values(), out.values()),
        (vec![1.0, -1.0, 1.0], vec![1.0])
    );
}

#[test]
fn running_results_along_rows_and_columns() {
    if !ready() {
        return;
    }
    // The last two by several blocks for a row.
    let shapes = [
        [1, 1, 1],
        [3, 700, 1],
        [2, 9, 5],
        [2, 0, 3],
        [1, 20_000, 1],
        [2, 8_193, 1],
    ];
    for op in [
        Scan::Sum,
        Scan::Prod,
        Scan::Linear,
        Scan::MaxAt,
        Scan::MinAt,
    ] {
        for ty in [Type::F32, Type::F64, Type::BF16, Type::I32, Type::Bool] {
            if op == Scan::Linear && !ty.is_float() {
                continue;
            }
            for (shape, reverse) in shapes.iter().flat_map(|s| [(*s, false), (*s, true)]) {
                let [outer, n, inner] = shape;
                let len = outer * n * inner;
                let (mut x, c) = (numbers(ty, len, 1), vec![0.5; len]);
                if op == Scan::Prod && ty.is_float() {
                    x.iter_mut().for_each(|v| {
                        *v = if *v > 1.0 {
                            2.0
                        } else if *v > -1.0 {
                            0.5
                        } else {
                            -1.0
                        }
                    });
                } else if op == Scan::Prod {
                    x.iter_mut().for_each(|v| *v = v.signum());
                } else if op == Scan::MaxAt && ty == Type::F32 && len > 20 {
                    x[len / 2] = f64::NAN;
                }
                let extreme = matches!(op, Scan::MaxAt | Scan::MinAt);
                let to = if ty.is_float() || extreme {
                    ty
                } else {
                    Type::I64
                };
                let [y, at] = both_orders(|order| {
                    let (mut xs, mut cs) = (Buffer::of(ty, &x), Buffer::of(ty, &c));
                    let (mut y, mut at) = (Buffer::new(to, len), Buffer::zeros(Type::I64, len));
                    let factors = if op == Scan::Linear { cs.ptr() } else { 0 };
                    let places = [y.ptr(), at.ptr()];
                    let mut scratch = Scratch::default();
                    let memory = &mut |b| scratch.take(b);
                    let from = [xs.ptr(), factors];
                    run(
                        order,
                        scan(op, (ty, to), shape, reverse, from, places, memory),
                    );
                    [y, at]
                });
                let (mut want, mut want_at) = (vec![0.0; len], vec![0.0; len]);
                for column in (0..outer * inner).filter(|_| n > 0) {
                    let top = column / inner * n * inner + column % inner;
                    let mut run: (f64, f64) = (if op == Scan::Prod { 1.0 } else { 0.0 }, -1.0);
                    for k in 0..n {
                        let k = if reverse { n - 1 - k } else { k };
                        let v = x[top + k * inner];
                        let stays =
                            |beats: bool| run.1 >= 0.0 && !v.is_nan() && (beats || run.0.is_nan());
                        run = match op {
                            Scan::Sum => (run.0 + v, 0.0),
                            Scan::Prod => (run.0 * v, 0.0),
                            Scan::Linear => (v + 0.5 * run.0, 0.0),
                            Scan::MaxAt if stays(run.0 > v) => run,
                            Scan::MinAt if stays(run.0 < v) => run,
                            _ => (v, k as f64),
                        };
                        want[top + k * inner] = rounded(to, run.0);
                        want_at[top + k * inner] = run.1;
                    }
                }
                let what = format!("{op:?} {ty:?} {shape:?} {reverse}");
                close(
                    &what,
                    &y,
                    &want,
                    if ty.is_float() {
                        2.0 * epsilon(ty)
                    } else {
                        0.0
                    },
                );
                if extreme {
                    close(&what, &at, &want_at, 0.0);
                }
            }
        }
    }
}

#[test]
fn what_is_not_zero_in_order() {
    if !ready() {
        return;
    }
    let x = numbers(Type::F32, 777, 5)
        .iter()
        .map(|v| (*v > 0.5) as u8 as f64)
        .collect::<Vec<_>>();
    let want: Vec<f64> = (0..777)
        .filter(|&i| x[i] != 0.0)
        .map(|i| i as f64)
        .collect();
    for ty in [Type::Bool, Type::F32] {
        let [got] = both_orders(|order| {
            let mut mask = Buffer::of(ty, &x);
            let (mut counted, mut out) = (
                Buffer::new(Type::I64, 777),
                Buffer::new(Type::I64, want.len()),
            );
            let types = (ty, Type::I64);
            let shape = [1, 777, 1];
            if ty == Type::Bool {
                run(
                    order,
                    scan(
                        Scan::Sum,
                        types,
                        shape,
                        false,
                        [mask.ptr(), 0],
                        [counted.ptr(), 0],
                        &mut |_| 0,
                    ),
                );
            } else {
                let mut truth = Buffer::of(Type::Bool, &x);
                let types = (Type::Bool, Type::I64);
                run(
                    order,
                    scan(
                        Scan::Sum,
                        types,
                        shape,
                        false,
                        [truth.ptr(), 0],
                        [counted.ptr(), 0],
                        &mut |_| 0,
                    ),
                );
            }
            run(
                order,
                compact(ty, 777, mask.ptr(), counted.ptr(), out.ptr()),
            );
            [out]
        });
        assert_eq!(got, want);
    }
}

#[test]
fn sorting_short_and_long_rows() {
    if !ready() {
        return;
    }
    for ty in Type::ALL {
        // The last four are beyond what a block sorts alone.
        for [rows, n, k] in [
            [3, 1, 1],
            [2, 5, 2],
            [3, 100, 100],
            [1, 1024, 7],
            [2, 1500, 1500],
            [1, 5000, 10],
            [2, 4097, 4097],
            [1, 7000, 3000],
        ] {
            if n > 1024 && !matches!(ty, Type::F32 | Type::I64 | Type::F16) {
                continue;
            }
            for descending in [false, true] {
                let mut x = numbers(ty, rows * n, 9);
                if ty.is_float() && n > 4 {
                    (x[1], x[3]) = (f64::NAN, f64::NEG_INFINITY);
                    (x[n - 1], x[n / 2]) = (f64::NAN, f64::INFINITY);
                }
                let [values, order] = both_orders(|order| {
                    let mut xs = Buffer::of(ty, &x);
                    let (mut out, mut at) =
                        (Buffer::new(ty, rows * k), Buffer::new(Type::I64, rows * k));
                    let mut scratch = Scratch::default();
                    let to = [out.ptr(), at.ptr()];
                    run(
                        order,
                        sort(ty, [rows, n], descending, k, xs.ptr(), to, &mut |b| {
                            scratch.take(b)
                        }),
                    );
                    [out, at]
                });
                let (mut want, mut want_at) = (vec![], vec![]);
                for row in x.chunks(n) {
                    let mut at: Vec<usize> = (0..n).collect();
                    // Stable; NaN as the greatest.
                    let key = |v: f64| if v.is_nan() { (1, 0.0) } else { (0, v) };
                    at.sort_by(|&a, &b| {
                        let (a, b) = (key(row[a]), key(row[b]));
                        let order = a.0.cmp(&b.0).then(a.1.total_cmp(&b.1));
                        if descending { order.reverse() } else { order }
                    });
                    want.extend(at[..k].iter().map(|&i| row[i]));
                    want_at.extend(at[..k].iter().map(|&i| i as f64));
                }
                let what = format!("sort {ty:?} {rows} {n} {descending}");
                close(&what, &values, &want, 0.0);
                close(&what, &order, &want_at, 0.0);
            }
        }
    }
}
