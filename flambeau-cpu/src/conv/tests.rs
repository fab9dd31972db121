use super::*;

/// Numbers without a pattern in [-1, 1].
pub(super) fn noise<T: Float>(len: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..len).map(|_| T::from_f64(next())).collect()
}

/// The nearest values of bf16.
pub(super) fn narrow(v: Vec<f32>) -> Vec<bf16> {
    v.into_iter().map(bf16::from_f32).collect()
}

/// The same values in f32.
pub(super) fn wide(v: &[bf16]) -> Vec<f32> {
    v.iter().map(|v| v.to_f32()).collect()
}

fn ints<T: Float>(len: usize, mul: usize, modulus: usize) -> Vec<T> {
    (0..len)
        .map(|i| T::from_f64((i * mul % modulus) as f64 - (modulus / 2) as f64))
        .collect()
}

fn goldens_of<T: Convolve>() {
    let text = include_str!("../../tests/goldens/conv.txt");
    let rows: Vec<Vec<i64>> = text
        .lines()
        .map(|line| line.split(' ').map(|n| n.parse().unwrap()).collect())
        .collect();
    assert!(rows.len() >= 35 && rows.len().is_multiple_of(5));
    for case in rows.chunks(5) {
        let n: Vec<usize> = case[0].iter().map(|&n| n as usize).collect();
        let triple = |at: usize| [n[at], n[at + 1], n[at + 2]];
        let s = ConvShape {
            batch: n[0],
            in_channels: n[1],
            out_channels: n[2],
            groups: n[3],
            input: triple(4),
            kernel: triple(7),
            stride: triple(10),
            padding: triple(13),
            dilation: triple(16),
        };
        let x = ints::<T>(s.input_len(), 37, 17);
        let w = ints::<T>(s.weight_len(), 29, 13);
        let bias: Vec<T> = (0..s.out_channels)
            .map(|i| T::from_f64((i % 5) as f64 - 2.0))
            .collect();
        let grad_out = ints::<T>(s.output_len(), 31, 11);
        let nan = |len: usize| vec![T::from_f64(f64::NAN); len];
        let (mut out, mut grad_in, mut grad_w, mut grad_bias) = (
            nan(s.output_len()),
            nan(x.len()),
            nan(w.len()),
            nan(bias.len()),
        );
        conv_forward(&s, &x, &w, Some(&bias), &mut out);
        conv_backward_data(&s, &grad_out, &w, &mut grad_in);
        conv_backward_weight(&s, &x, &grad_out, &mut grad_w);
        conv_backward_bias(&s, &grad_out, &mut grad_bias);
        for (got, want, what) in [
            (&out, &case[1], "out"),
            (&grad_in, &case[2], "grad_in"),
            (&grad_w, &case[3], "grad_w"),
            (&grad_bias, &case[4], "grad_bias"),
        ] {
            let want: Vec<T> = want.iter().map(|&v| T::from_f64(v as f64)).collect();
            assert_eq!(got, &want, "{what} of {s:?}");
        }
    }
}

#[test]
fn pytorch_goldens() {
    goldens_of::<f32>();
    goldens_of::<f64>();
}

#[test]
fn impossible_shapes_are_errors() {
    let ok = ConvShape::conv2d(1, 4, [8, 8], 4, [3, 3]);
    assert_eq!(ok.output().unwrap(), [1, 6, 6]);
    let odd = [
        ConvShape { groups: 0, ..ok },
        ConvShape { groups: 3, ..ok },
        ConvShape {
            stride: [1, 0, 1],
            ..ok
        },
        ConvShape {
            dilation: [1, 1, 0],
            ..ok
        },
        ConvShape {
            kernel: [1, 0, 3],
            ..ok
        },
        ConvShape {
            kernel: [1, 9, 3],
            ..ok
        },
        ConvShape {
            dilation: [1, usize::MAX, 1],
            ..ok
        },
        ConvShape {
            padding: [0, usize::MAX, 0],
            ..ok
        },
    ];
    for s in odd {
        assert!(s.output().is_err(), "{s:?}");
    }
}

#[test]
fn empty_batch_and_no_input_channels() {
    let s = ConvShape::conv2d(0, 2, [4, 4], 3, [3, 3]);
    conv_forward::<f32>(&s, &[], &[1.0; 54], Some(&[0.0; 3]), &mut []);
    conv_backward_data::<f32>(&s, &[], &[1.0; 54], &mut []);
    let (mut grad_w, mut grad_bias) = ([f32::NAN; 54], [f32::NAN; 3]);
    conv_backward_weight(&s, &[], &[], &mut grad_w);
    conv_backward_bias(&s, &[], &mut grad_bias);
    assert_eq!((grad_w, grad_bias), ([0.0; 54], [0.0; 3]));

    let s = ConvShape {
        batch: 1,
        in_channels: 0,
        out_channels: 1,
        ..s
    };
    let mut out = [f32::NAN; 4];
    conv_forward(&s, &[], &[], Some(&[2.5]), &mut out);
    assert_eq!(out, [2.5; 4]);
}

/// `<conv(x), g> == <x, conv_backward_data(g)> == <w, conv_backward_weight(x, g)>`.
fn adjoint<T: Convolve>(s: &ConvShape, tolerance: f64) {
    let (x, w, g) = (
        noise::<T>(s.input_len(), 1),
        noise::<T>(s.weight_len(), 2),
        noise::<T>(s.output_len(), 3),
    );
    let nan = |len: usize| vec![T::from_f64(f64::NAN); len];
    let (mut out, mut grad_in, mut grad_w) = (nan(g.len()), nan(x.len()), nan(w.len()));
    conv_forward(s, &x, &w, None, &mut out);
    conv_backward_data(s, &g, &w, &mut grad_in);
    conv_backward_weight(s, &x, &g, &mut grad_w);
    let dot = |a: &[T], b: &[T]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| a.to_f64() * b.to_f64())
            .sum::<f64>()
    };
    let size = dot(&out, &out).sqrt() * dot(&g, &g).sqrt() + 1.0;
    let forward = dot(&out, &g);
    assert!(
        (dot(&x, &grad_in) - forward).abs() < tolerance * size,
        "data: {s:?}"
    );
    assert!(
        (dot(&w, &grad_w) - forward).abs() < tolerance * size,
        "weight: {s:?}"
    );
}

#[test]
fn gradients_are_adjoint() {
    let s = ConvShape::conv2d(3, 4, [9, 11], 6, [3, 2]);
    for s in [
        s,
        ConvShape {
            stride: [1, 3, 2],
            padding: [0, 2, 1],
            ..s
        },
        ConvShape {
            groups: 2,
            dilation: [1, 2, 3],
            ..s
        },
    ] {
        adjoint::<f32>(&s, 1e-6);
        adjoint::<f64>(&s, 1e-14);
    }
}

/// Shapes that between them meet every branch: 1-d to 3-d, stride above and below the kernel,
/// padding none, half, full and beyond, dilation, groups, depthwise, channels around the block
/// sizes, widths around the vector sizes, one long row.
fn sweep() -> Vec<ConvShape> {
    let two = ConvShape::conv2d(2, 3, [12, 12], 6, [5, 5]);
    let mut shapes = vec![
        ConvShape {
            batch: 4,
            input: [1, 32, 32],
            ..two
        },
        ConvShape {
            batch: 4,
            in_channels: 6,
            out_channels: 16,
            input: [1, 14, 14],
            ..two
        },
        ConvShape { batch: 0, ..two },
        ConvShape { batch: 9, ..two },
        ConvShape {
            padding: [0, 9, 7],
            ..two
        },
        ConvShape {
            padding: [0, 7, 9],
            stride: [1, 2, 2],
            ..two
        },
        ConvShape {
            kernel: [1, 1, 1],
            stride: [1, 3, 2],
            ..two
        },
        ConvShape {
            input: [1, 1, 5000],
            kernel: [1, 1, 3],
            padding: [0, 0, 1],
            ..two
        },
        ConvShape {
            input: [1, 70, 40],
            kernel: [1, 3, 3],
            padding: [0, 1, 1],
            ..two
        },
        ConvShape {
            input: [1, 5, 5],
            ..two
        },
        ConvShape {
            in_channels: 40,
            out_channels: 40,
            groups: 40,
            kernel: [1, 3, 3],
            padding: [0, 1, 1],
            ..two
        },
        ConvShape {
            in_channels: 5,
            out_channels: 5,
            groups: 5,
            input: [1, 13, 39],
            stride: [1, 2, 1],
            ..two
        },
        ConvShape {
            in_channels: 5,
            out_channels: 5,
            groups: 5,
            input: [7, 5, 70],
            kernel: [2, 3, 3],
            stride: [2, 1, 2],
            padding: [0, 1, 1],
            ..two
        },
        ConvShape {
            in_channels: 3,
            out_channels: 6,
            groups: 3,
            input: [1, 11, 35],
            kernel: [1, 2, 5],
            stride: [1, 3, 3],
            ..two
        },
        ConvShape {
            in_channels: 12,
            out_channels: 24,
            groups: 12,
            kernel: [1, 3, 3],
            stride: [1, 2, 2],
            ..two
        },
        ConvShape {
            batch: 1,
            in_channels: 64,
            out_channels: 48,
            input: [1, 7, 7],
            kernel: [1, 3, 3],
            padding: [0, 1, 1],
            ..two
        },
        ConvShape {
            batch: 1,
            in_channels: 33,
            out_channels: 70,
            input: [1, 6, 6],
            kernel: [1, 1, 1],
            ..two
        },
    ];
    // Dilation of pictures whose sides its residues do not share out evenly.
    for (dilation, padding, size) in [
        ([2, 2], [2, 2], [9, 12]),
        ([1, 3], [1, 0], [6, 16]),
        ([2, 4], [4, 8], [7, 6]),
    ] {
        shapes.push(ConvShape {
            in_channels: 17,
            out_channels: 20,
            input: [1, size[0], size[1]],
            kernel: [1, 3, 3],
            padding: [0, padding[0], padding[1]],
            dilation: [1, dilation[0], dilation[1]],
            ..two
        });
    }
    // Depthwise: kernels of every height of a column, widths around the registers', few rows.
    for (i, width) in [1, 2, 5, 7, 14, 16, 17, 31, 33, 64, 66, 100]
        .into_iter()
        .enumerate()
    {
        let kernel = 1 + i % 7;
        let s = ConvShape {
            in_channels: 3,
            out_channels: 3,
            groups: 3,
            input: [1, 3 + i, width],
            kernel: [1, kernel, (kernel + i % 2).min(width)],
            padding: [0, kernel / 2, kernel / 2],
            ..two
        };
        for (step, dilation) in [(1, 1), (2, 1), (1, 2), (2, 2), (3, 1), (2, 3)] {
            let stride = [1, step, if i % 3 == 0 { 1 } else { step }];
            let dilation = [1, dilation, dilation];
            shapes.push(ConvShape {
                stride,
                dilation,
                padding: [0, 3, 6],
                ..s
            });
            shapes.push(ConvShape {
                stride,
                out_channels: 6,
                ..s
            });
        }
        shapes.push(ConvShape {
            input: [1, 1, 31 * width],
            kernel: [1, 1, 31],
            padding: [0, 0, 15],
            ..s
        });
    }
    for channels in 1..=17 {
        shapes.push(ConvShape {
            in_channels: 18 - channels,
            out_channels: channels,
            kernel: [1, 3, 2],
            ..two
        });
    }
    for width in [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 49] {
        shapes.push(ConvShape {
            input: [1, 6, width],
            kernel: [1, 3, 3],
            padding: [0, 1, 1],
            ..two
        });
    }
    // Small planes with many channels, where registers hold channels.
    for (width, channels) in [
        (1, 16),
        (2, 32),
        (3, 40),
        (4, 64),
        (5, 17),
        (6, 96),
        (7, 32),
        (8, 16),
        (9, 64),
        (10, 30),
        (13, 33),
    ] {
        let s = ConvShape {
            in_channels: channels,
            out_channels: channels + 2,
            input: [1, 5, width],
            kernel: [1, 3, 3],
            padding: [0, 1, 1],
            ..two
        };
        shapes.push(s);
        shapes.push(ConvShape {
            kernel: [1, 2, 1],
            stride: [1, 3, 2],
            ..s
        });
        shapes.push(ConvShape {
            in_channels: 2 * channels,
            out_channels: 2 * channels,
            groups: 2,
            ..s
        });
    }
    for stride in 1..=4 {
        for dilation in 1..=3 {
            for padding in [0, 1, 3] {
                let side = [1, 4 + 2 * dilation, 5 + 2 * dilation];
                let s = ConvShape {
                    in_channels: 4,
                    groups: 2,
                    input: side,
                    kernel: [1, 3, 2],
                    stride: [1, stride, 5 - stride],
                    padding: [0, padding, padding / 2],
                    dilation: [1, dilation, 4 - dilation],
                    ..two
                };
                shapes.push(s);
                shapes.push(ConvShape {
                    input: [side[1], 5, side[2]],
                    kernel: [3, 2, 2],
                    stride: [stride, 1, 2],
                    padding: [padding, 1, 0],
                    dilation: [dilation, 1, 2],
                    ..s
                });
            }
        }
    }
    shapes.retain(|s| s.output().is_ok());
    assert!(shapes.len() > 100);
    shapes
}

fn close<T: Float>(got: &[T], want: &[T], what: &str, s: &ConvShape) {
    // Relative to the size of a sum of so many random products.
    let terms = (s.output_len() * s.patch()) as f64 / want.len().max(1) as f64;
    let tolerance = if size_of::<T>() == 4 { 1e-5 } else { 1e-14 };
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let (got, want) = (got.to_f64(), want.to_f64());
        // Negated, so that NaN fails.
        assert!(
            (got - want).abs() <= tolerance * (1.0 + terms.sqrt() + want.abs()),
            "{what}[{i}]: {got} for {want} in {s:?}"
        );
    }
}

fn against_reference<T: Convolve>(s: &ConvShape) {
    let (x, w) = (noise::<T>(s.input_len(), 5), noise::<T>(s.weight_len(), 6));
    let (bias, g) = (noise::<T>(s.out_channels, 7), noise::<T>(s.output_len(), 8));
    let nan = |len: usize| vec![T::from_f64(f64::NAN); len];
    let check = |len: usize, what: &str, fast: &dyn Fn(&mut [T]), plain: &dyn Fn(&mut [T])| {
        let (mut got, mut want) = (nan(len), nan(len));
        fast(&mut got);
        plain(&mut want);
        close(&got, &want, what, s);
    };
    check(
        g.len(),
        "out",
        &|o| conv_forward(s, &x, &w, Some(&bias), o),
        &|o| reference::forward(s, &x, &w, Some(&bias), o),
    );
    check(
        x.len(),
        "grad_in",
        &|o| conv_backward_data(s, &g, &w, o),
        &|o| reference::backward_data(s, &g, &w, o),
    );
    check(
        w.len(),
        "grad_w",
        &|o| conv_backward_weight(s, &x, &g, o),
        &|o| reference::backward_weight(s, &x, &g, o),
    );
    check(
        bias.len(),
        "grad_bias",
        &|o| conv_backward_bias(s, &g, o),
        &|o| reference::backward_bias(s, &g, o),
    );
}

#[test]
fn fast_paths_equal_the_reference() {
    for s in sweep() {
        against_reference::<f32>(&s);
        against_reference::<f64>(&s);
    }
}

/// Maps of bf16 give what the same values in f32 give, rounded: sums are exact to f32.
#[test]
fn bf16_maps_equal_the_reference_rounded() {
    for s in sweep() {
        let (x, g) = (
            narrow(noise(s.input_len(), 5)),
            narrow(noise(s.output_len(), 8)),
        );
        let w = wide(&narrow(noise(s.weight_len(), 6)));
        let bias = noise::<f32>(s.out_channels, 7);
        let mut low = [&g, &x].map(|v| vec![bf16::NAN; v.len()]);
        let mut grad_w = vec![f32::NAN; w.len()];
        conv_forward_bf16(&s, &x, &w, Some(&bias), &mut low[0]);
        conv_backward_data_bf16(&s, &g, &w, &mut low[1]);
        conv_backward_weight_bf16(&s, &x, &g, &mut grad_w);
        let (x, g) = (wide(&x), wide(&g));
        let (mut out, mut data) = (vec![f32::NAN; g.len()], vec![f32::NAN; x.len()]);
        let mut weight = vec![f32::NAN; w.len()];
        reference::forward(&s, &x, &w, Some(&bias), &mut out);
        reference::backward_data(&s, &g, &w, &mut data);
        reference::backward_weight(&s, &x, &g, &mut weight);
        close(&grad_w, &weight, "grad_w", &s);
        for (got, want) in low.iter().zip([&out, &data]) {
            for (i, (got, want)) in got.iter().zip(want).enumerate() {
                let error = (got.to_f32() - want).abs();
                let allowed = 4e-3 * want.abs() + 1e-4;
                assert!(error <= allowed, "[{i}]: {got} for {want} in {s:?}");
            }
        }
    }
}
