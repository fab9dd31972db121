use crate::support::*;
use flambeau_cuda::Type;
use flambeau_cuda::emulate::Order;
use flambeau_cuda::kernels::{Arrays, NUMBERS, Update, list_norm, list_unscale};

/// More tensors than a launch takes; one longer than a block's chunk, one empty.
fn lengths() -> Vec<usize> {
    (0..55).map(|i| [7, 4, 9000, 0, 33][i % 5]).collect()
}

/// Runs an update over arrays of those lengths, `scale` on the gradients; the arrays afterwards.
fn updated(
    update: Update,
    ty: Type,
    p: &[f64],
    arrays: &[Vec<Vec<f64>>],
    scale: f64,
    found: f64,
) -> Vec<Vec<f64>> {
    let mut numbers = [0.0; NUMBERS];
    numbers[..p.len()].copy_from_slice(p);
    let [all] = both_orders(|order| {
        let mut buffers: Vec<Vec<Buffer>> = arrays
            .iter()
            .map(|of_tensor| of_tensor.iter().map(|v| Buffer::of(ty, v)).collect())
            .collect();
        let ptrs: Vec<Vec<u64>> = buffers
            .iter_mut()
            .map(|of_tensor| of_tensor.iter_mut().map(Buffer::ptr).collect())
            .collect();
        let tensors: Vec<Arrays<'_>> = ptrs
            .iter()
            .zip(arrays)
            .map(|(ptrs, v)| Arrays {
                ptrs,
                len: v[0].len(),
            })
            .collect();
        let mut scale = Buffer::of(Type::F32, &[scale]);
        let mut found = Buffer::of(Type::F32, &[found]);
        let flags = [scale.ptr(), found.ptr()];
        run(order, update.launch(ty, &tensors, numbers, 0, flags));
        // All one after another, for the comparison of the orders.
        let flat: Vec<f64> = buffers.iter().flatten().flat_map(Buffer::values).collect();
        [Buffer::of(Type::F64, &flat)]
    });
    let mut rest = &all[..];
    arrays
        .iter()
        .flatten()
        .map(|v| {
            let (mine, others) = rest.split_at(v.len());
            rest = others;
            mine.to_vec()
        })
        .collect()
}

/// Compares an update with `formula`, which changes the written numbers by the read ones.
fn check(update: Update, p: &[f64], formula: impl Fn(&mut [f64], f64)) {
    for ty in Type::FLOATS {
        let depth = update.writes + update.reads;
        let arrays: Vec<Vec<Vec<f64>>> = lengths()
            .iter()
            .enumerate()
            .map(|(t, &n)| {
                let array = |a: usize| {
                    let v = numbers(ty, n, (t * 8 + a + 1) as u64);
                    // Second averages are not negative.
                    if a >= 2 && a < update.writes {
                        v.iter().map(|v| v.abs()).collect()
                    } else {
                        v
                    }
                };
                (0..depth).map(array).collect()
            })
            .collect();
        let got = updated(update, ty, p, &arrays, 0.5, 0.0);
        let mut want: Vec<Vec<f64>> = Vec::new();
        for tensor in &arrays {
            let mut after = tensor.clone();
            for i in 0..tensor[0].len() {
                let mut w: Vec<f64> = (0..update.writes).map(|a| tensor[a][i]).collect();
                formula(&mut w, 0.5 * tensor[update.writes][i]);
                w.iter().enumerate().for_each(|(a, &v)| after[a][i] = v);
            }
            want.extend(after);
        }
        let tolerance = if ty == Type::F64 {
            1e-14
        } else {
            16.0 * epsilon(ty)
        };
        for (got, want) in got.iter().zip(&want) {
            close(&format!("{} {ty:?}", update.body), got, want, tolerance);
        }
        if ty == Type::F32 {
            // Where something is not finite nothing is done.
            let kept = updated(update, ty, p, &arrays, 0.5, 1.0);
            assert!(kept.iter().eq(arrays.iter().flatten()));
        }
    }
}

#[test]
fn sgd_with_and_without_momentum() {
    if !ready() {
        return;
    }
    let (lr, decay, momentum, damp) = (0.1, 0.01, 0.9, 0.8);
    check(Update::SGD, &[lr, decay, -1.0], |w, g| {
        w[0] -= lr * (decay * w[0] - g)
    });
    for nesterov in [0.0, 1.0] {
        for first in [0.0, 1.0] {
            let p = [lr, decay, 1.0, momentum, damp, nesterov, first];
            check(Update::SGD_MOMENTUM, &p, |w, g| {
                let g = g + decay * w[0];
                w[1] = if first == 1.0 {
                    g
                } else {
                    momentum * w[1] + damp * g
                };
                w[0] -= lr
                    * if nesterov == 1.0 {
                        g + momentum * w[1]
                    } else {
                        w[1]
                    };
            });
        }
    }
}

#[test]
fn adam_adamw_and_amsgrad() {
    if !ready() {
        return;
    }
    let (lr, b1, b2, eps, step) = (0.02f64, 0.9f64, 0.99f64, 1e-3, 3);
    let (c1, c2) = (1.0 - b1.powi(step), (1.0 - b2.powi(step)).sqrt());
    for (decay, shrink) in [(0.1, 1.0), (0.0, 1.0 - lr * 0.1)] {
        let p = [1.0 - b1, b2, 1.0 - b2, eps, lr / c1, c2, decay, shrink, 1.0];
        let moments = |w: &mut [f64], g: f64| {
            w[0] *= shrink;
            let g = g + decay * w[0];
            w[1] = b1 * w[1] + (1.0 - b1) * g;
            w[2] = b2 * w[2] + (1.0 - b2) * g * g;
        };
        check(Update::ADAM, &p, |w, g| {
            moments(w, g);
            w[0] -= lr * (w[1] / c1) / (w[2].sqrt() / c2 + eps);
        });
        check(Update::ADAM_AMSGRAD, &p, |w, g| {
            moments(w, g);
            w[3] = w[3].max(w[2]);
            w[0] -= lr * (w[1] / c1) / (w[3].sqrt() / c2 + eps);
        });
    }
}

#[test]
fn norms_of_many_and_unscaling_with_a_watch_for_infinities() {
    if !ready() {
        return;
    }
    for ty in Type::FLOATS {
        let mut values: Vec<Vec<f64>> = (0..55)
            .map(|i| numbers(ty, lengths()[i], i as u64 + 1))
            .collect();
        for bad in [None, Some(f64::INFINITY), Some(f64::NAN)] {
            if let Some(bad) = bad {
                values[52][8999] = bad;
            }
            let mut lists: Vec<Buffer> = values.iter().map(|v| Buffer::of(ty, v)).collect();
            let ptrs: Vec<[u64; 1]> = lists.iter_mut().map(|b| [b.ptr()]).collect();
            let tensors: Vec<Arrays<'_>> = ptrs
                .iter()
                .zip(&values)
                .map(|(ptrs, v)| Arrays { ptrs, len: v.len() })
                .collect();
            let [mut norm, mut found] = [0; 2].map(|_| Buffer::zeros(Type::F32, 1));
            let mut scale = Buffer::of(Type::F32, &[0.25]);
            let mut scratch = Scratch::default();
            run(
                Order::Forward,
                list_norm(ty, &tensors, norm.ptr(), &mut |b| scratch.take(b)),
            );
            run(
                Order::Reverse,
                list_unscale(ty, &tensors, scale.ptr(), found.ptr()),
            );
            assert_eq!(found.values(), [f64::from(u8::from(bad.is_some()))]);
            let sum: f64 = values.iter().flatten().map(|v| v * v).sum();
            close("norm", &norm.values(), &[sum.sqrt()], 1e-6 * sum.sqrt());
            for (list, v) in lists.iter().zip(&values) {
                let want: Vec<f64> = v.iter().map(|v| v * 0.25).collect();
                close("unscaled", &list.values(), &want, 0.0);
            }
        }
    }
}
