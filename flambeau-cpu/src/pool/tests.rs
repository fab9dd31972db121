use super::*;
use crate::float::Float;

fn ints<T: Float>(len: usize, mul: usize, modulus: usize) -> Vec<T> {
    (0..len)
        .map(|i| T::from_f64((i * mul % modulus) as f64 - (modulus / 2) as f64))
        .collect()
}

/// Panics unless `got` is `want` rounded to `T` within a few units, NaN where `want` is.
fn same<T: Float>(got: &[T], want: &str, what: &str) {
    let want: Vec<f64> = want.split(' ').map(|v| v.parse().unwrap()).collect();
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        let (got, tolerance) = (got.to_f64(), if size_of::<T>() == 4 { 1e-6 } else { 1e-15 });
        let close = (got - want).abs() <= tolerance * (1.0 + want.abs());
        assert!(
            close || got == want || (got.is_nan() && want.is_nan()),
            "{what}: {got} for {want}"
        );
    }
}

fn goldens_of<T: Float>() {
    let mut lines = include_str!("../../tests/goldens/pool.txt").lines();
    let mut seen = 0;
    while let Some(head) = lines.next() {
        seen += 1;
        let words: Vec<&str> = head.split(' ').collect();
        let n: Vec<usize> = words[2..].iter().map(|n| n.parse().unwrap()).collect();
        let triple = |at: usize| [n[at], n[at + 1], n[at + 2]];
        let adaptive = AdaptiveShape {
            planes: n[0],
            input: triple(1),
            output: triple(4),
        };
        let fixed = PoolShape {
            planes: n[0],
            input: triple(1),
            kernel: triple(4),
            stride: if n.len() > 7 { triple(7) } else { [1; 3] },
            padding: if n.len() > 7 { triple(10) } else { [0; 3] },
            dilation: if n.len() > 7 { triple(13) } else { [1; 3] },
            ceil_mode: n.len() > 7 && n[16] == 1,
        };
        let mut x = ints::<T>(adaptive.input_len(), 37, 17);
        match words[1] {
            "nan" => x
                .iter_mut()
                .step_by(7)
                .for_each(|x| *x = T::from_f64(f64::NAN)),
            "lowest" => x.fill(T::NEG_INFINITY),
            _ => {}
        }
        let outputs = if n.len() > 7 {
            fixed.output_len()
        } else {
            adaptive.output_len()
        };
        let mut out = vec![T::from_f64(f64::NAN); outputs];
        let mut grad_in = vec![T::from_f64(f64::NAN); x.len()];
        let mut indices = vec![-7; outputs];
        let grad_out = ints::<T>(outputs, 31, 11);
        let options = || AvgOptions {
            count_include_pad: n[17] == 1,
            divisor_override: (n[18] > 0).then_some(n[18] as i64),
        };
        match words[0] {
            "max" => max_pool_forward(&fixed, &x, &mut out, &mut indices),
            "avg" => avg_pool_forward(&fixed, options(), &x, &mut out),
            "adaptive_max" => adaptive_max_pool_forward(&adaptive, &x, &mut out, &mut indices),
            _ => adaptive_avg_pool_forward(&adaptive, &x, &mut out),
        }
        same(&out, lines.next().unwrap(), head);
        if words[0].ends_with("max") {
            let want: Vec<i64> = lines
                .next()
                .unwrap()
                .split(' ')
                .map(|v| v.parse().unwrap())
                .collect();
            assert_eq!(indices, want, "{head}");
        }
        match words[0] {
            "avg" => avg_pool_backward(&fixed, options(), &grad_out, &mut grad_in),
            "adaptive_avg" => adaptive_avg_pool_backward(&adaptive, &grad_out, &mut grad_in),
            _ => max_pool_backward(n[0], &grad_out, &indices, &mut grad_in),
        }
        same(&grad_in, lines.next().unwrap(), head);
        if words[0] == "max" {
            let mut values = vec![T::ZERO; outputs];
            max_pool_values(&fixed, &x, &mut values);
            assert!(
                values
                    .iter()
                    .zip(&out)
                    .all(|(a, b)| a == b || (a.is_nan() && b.is_nan())),
                "{head}"
            );
        }
    }
    assert_eq!(seen, 43);
}

#[test]
fn pytorch_goldens() {
    goldens_of::<f32>();
    goldens_of::<f64>();
}

#[test]
fn impossible_shapes_are_errors() {
    let ok = PoolShape::pool2d(1, [8, 8], 2);
    assert_eq!(ok.output().unwrap(), [1, 4, 4]);
    for s in [
        PoolShape {
            kernel: [1, 0, 2],
            ..ok
        },
        PoolShape {
            stride: [1, 0, 2],
            ..ok
        },
        PoolShape {
            dilation: [1, 0, 2],
            ..ok
        },
        PoolShape {
            padding: [0, 2, 0],
            ..ok
        },
        PoolShape {
            kernel: [1, 9, 2],
            ..ok
        },
        PoolShape {
            dilation: [1, 1, usize::MAX],
            ..ok
        },
        PoolShape {
            input: [1, 0, 8],
            ..ok
        },
    ] {
        assert!(s.output().is_err(), "{s:?}");
    }
    assert!(
        AdaptiveShape {
            planes: 1,
            input: [1, 0, 2],
            output: [1, 1, 1]
        }
        .check()
        .is_err()
    );
}

#[test]
fn no_planes() {
    let s = PoolShape::pool2d(0, [4, 4], 2);
    max_pool_forward::<f32>(&s, &[], &mut [], &mut []);
    max_pool_backward::<f32>(0, &[], &[], &mut []);
    avg_pool_forward::<f32>(&s, AvgOptions::default(), &[], &mut []);
}

/// A window whose elements all lie outside: dilation steps from the left padding over the input.
#[test]
fn window_without_elements() {
    let s = PoolShape {
        planes: 1,
        input: [1, 1, 1],
        kernel: [1, 1, 2],
        stride: [1; 3],
        padding: [0, 0, 2],
        dilation: [1, 1, 3],
        ceil_mode: false,
    };
    assert_eq!(s.output().unwrap(), [1, 1, 2]);
    let (mut out, mut at, mut grad) = ([0.0f32; 2], [0; 2], [0.0; 1]);
    max_pool_forward(&s, &[1.0], &mut out, &mut at);
    assert_eq!((out, at), ([f32::NEG_INFINITY; 2], [-1; 2]));
    max_pool_backward(1, &[5.0, 7.0], &at, &mut grad);
    assert_eq!(grad, [0.0]);
}

#[test]
fn two_by_two_is_the_plain_loop_at_every_width() {
    for width in 2..45 {
        let (planes, height, even) = (3, 5, width / 2 * 2);
        let s = PoolShape::pool2d(planes, [height, width], 2);
        let mut x = ints::<f32>(s.input_len(), 37, 17);
        x.iter_mut().step_by(11).for_each(|x| *x = f32::NAN);
        // `ceil_mode` takes the plain loop; without the odd edges its result is the same.
        let plain = PoolShape {
            ceil_mode: true,
            ..PoolShape::pool2d(planes, [height - 1, even], 2)
        };
        let cropped: Vec<f32> = x
            .chunks(height * width)
            .flat_map(|plane| plane.chunks(width).take(height - 1))
            .flat_map(|row| &row[..even])
            .copied()
            .collect();
        let n = s.output_len();
        let (mut got, mut got_at, mut values) = (vec![0.0; n], vec![0; n], vec![0.0; n]);
        let (mut want, mut want_at) = (vec![0.0; n], vec![0; n]);
        max_pool_forward(&s, &x, &mut got, &mut got_at);
        max_pool_values(&s, &x, &mut values);
        max_pool_forward(&plain, &cropped, &mut want, &mut want_at);
        let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let even = even as i64;
        want_at
            .iter_mut()
            .for_each(|at| *at = *at / even * width as i64 + *at % even);
        assert_eq!(
            (bits(&got), bits(&values), got_at),
            (bits(&want), bits(&want), want_at),
            "width {width}"
        );
    }
}
