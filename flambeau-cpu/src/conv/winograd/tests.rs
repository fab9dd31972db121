use super::*;
use crate::conv::choice::Part;
use crate::conv::tests::noise;
use crate::conv::{correlate, weight};
use crate::threads::{num_threads, set_num_threads};

/// 3x3, the sizes in the order batch, input and output channels, height, width.
fn shape(sizes: [usize; 5], stride: usize, padding: [usize; 2]) -> ConvShape {
    let [batch, c, k, height, width] = sizes;
    ConvShape {
        stride: [1, stride, stride],
        padding: [0, padding[0], padding[1]],
        ..ConvShape::conv2d(batch, c, [height, width], k, [3, 3])
    }
}

/// 1x1.
fn point(sizes: [usize; 5], stride: usize) -> ConvShape {
    ConvShape {
        kernel: [1; 3],
        ..shape(sizes, stride, [0, 0])
    }
}

struct Operands {
    x: Vec<f32>,
    w: Vec<f32>,
    bias: Vec<f32>,
    g: Vec<f32>,
}

impl Operands {
    fn new(s: &ConvShape) -> Self {
        Self {
            x: noise(s.input_len(), 11),
            w: noise(s.weight_len(), 12),
            bias: noise(s.out_channels, 13),
            g: noise(s.output_len(), 14),
        }
    }

    /// Forward, gradient of the input, gradient of the weight.
    fn results(&self, s: &ConvShape) -> [Vec<f32>; 3] {
        let [mut out, mut data, mut weight] =
            [self.g.len(), self.x.len(), self.w.len()].map(|len| vec![f32::NAN; len]);
        forward(s, &self.x, &self.w, Some(&self.bias), &mut out);
        backward_data(s, &self.g, &self.w, &mut data);
        backward_weight(s, &self.x, &self.g, &mut weight);
        [out, data, weight]
    }

    /// The same by direct sums in f64, which have tests of their own.
    fn expected(&self, s: &ConvShape) -> [Vec<f64>; 3] {
        let wide = |v: &[f32]| v.iter().map(|&v| v as f64).collect::<Vec<_>>();
        let [x, w, bias, g] = [&self.x, &self.w, &self.bias, &self.g].map(|v| wide(v));
        let [mut out, mut data, mut grad] =
            [g.len(), x.len(), w.len()].map(|len| vec![f64::NAN; len]);
        correlate::forward::<f64, f64, f64>(s, &x, &w, Some(&bias), &mut out);
        correlate::backward_data::<f64, f64, f64>(s, &g, &w, &mut data);
        weight::backward_weight::<f64, f64, f64>(s, &x, &g, &mut grad);
        [out, data, grad]
    }
}

/// Root mean square and greatest error, relative to the root mean square of the values.
fn errors(got: &[f32], want: &[f64]) -> (f64, f64) {
    let mean = |sum: f64| (sum / want.len() as f64).sqrt();
    let size = mean(want.iter().map(|v| v * v).sum());
    let errors = || got.iter().zip(want).map(|(g, w)| (*g as f64 - w).abs());
    // Not `max`, which drops NaN.
    let greatest = errors().fold(0.0, |a, b| if a >= b { a } else { b });
    (mean(errors().map(|e| e * e).sum()) / size, greatest / size)
}

fn check(s: &ConvShape, usual: f64, greatest: f64) {
    assert!(kind(s).is_some(), "{s:?}");
    let operands = Operands::new(s);
    let all = operands.results(s).into_iter().zip(operands.expected(s));
    for ((got, want), what) in all.zip(["out", "grad_in", "grad_w"]) {
        let (rms, most) = errors(&got, &want);
        assert!(
            rms <= usual && most <= greatest,
            "{what}: {rms:e}, {most:e} in {s:?}"
        );
    }
}

#[test]
fn odd_sizes_and_paddings() {
    for sizes in [
        [3, 17, 29, 9, 13],
        [2, 16, 16, 4, 4],
        [1, 33, 40, 7, 8],
        [5, 1, 70, 3, 5],
        [2, 65, 48, 6, 150],
        [1, 90, 3, 5, 66],
    ] {
        for padding in [[0, 0], [1, 1], [2, 2], [0, 1], [2, 0]] {
            check(&shape(sizes, 1, padding), 4e-6, 4e-5);
        }
        check(&shape(sizes, 2, [1, 1]), 4e-6, 4e-5);
        for stride in [1, 2] {
            check(&point(sizes, stride), 1e-6, 1e-5);
        }
    }
}

/// Channels and tiles enough that no operand is stored at once.
#[test]
fn large_operands_are_cut() {
    check(&shape([1, 256, 256, 64, 64], 1, [1, 1]), 3e-6, 4e-5);
    check(&shape([128, 512, 160, 4, 4], 1, [1, 1]), 3e-6, 4e-5);
    check(&shape([90, 384, 200, 7, 7], 2, [1, 1]), 1e-6, 1e-5);
    check(&point([40, 256, 130, 8, 9], 1), 1e-6, 1e-5);
    check(&point([2, 1024, 300, 7, 7], 1), 1e-6, 1e-5);
}

#[test]
fn rows_of_few_channels() {
    for (sizes, kernel, padding) in [
        ([3, 3, 6, 32, 32], [5, 5], [0, 0]),
        ([64, 3, 6, 12, 32], [5, 5], [0, 0]),
        ([2, 3, 7, 13, 33], [5, 5], [2, 2]),
        ([1, 1, 13, 9, 70], [3, 3], [1, 1]),
        ([2, 20, 2, 6, 64], [3, 5], [2, 4]),
        ([1, 2, 1, 7, 28], [5, 1], [4, 0]),
        ([1, 4, 4, 3, 1], [3, 1], [0, 0]),
        ([3, 16, 6, 14, 14], [5, 5], [0, 0]),
        ([3, 5, 9, 5, 10], [3, 3], [1, 1]),
    ] {
        let mut s = shape(sizes, 1, padding);
        s.kernel = [1, kernel[0], kernel[1]];
        assert!(rows::possible(&s), "{s:?}");
        let operands = Operands::new(&s);
        let Operands { x, w, bias, g } = &operands;
        let [out, data, _] = operands.expected(&s);
        let [mut got_out, mut got_data] = [&out, &data].map(|v| vec![f32::NAN; v.len()]);
        rows::forward(&s, x, w, Some(bias), &mut got_out);
        rows::backward_data(&s, g, w, &mut got_data);
        let usual = match rows::fine(&s, Part::Forward) {
            true => 3e-7,
            false => 1e-6,
        };
        for (got, want, usual) in [(got_out, out, usual), (got_data, data, 1e-6)] {
            let (rms, most) = errors(&got, &want);
            assert!(
                rms <= usual && most <= 10.0 * usual,
                "{rms:e}, {most:e} in {s:?}"
            );
        }
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let s = shape([6, 40, 40, 30, 21], 1, [1, 1]);
    let operands = Operands::new(&s);
    let before = num_threads();
    set_num_threads(1);
    let one = operands.results(&s);
    set_num_threads(3);
    let three = operands.results(&s);
    set_num_threads(before);
    assert!(one == three);
}

/// Maps of bf16 give what the same values in f32 give, rounded.
#[test]
fn bf16_maps_are_f32_maps_rounded() {
    use half::bf16;
    for s in [
        shape([3, 17, 29, 9, 13], 1, [1, 1]),
        shape([2, 40, 64, 4, 4], 1, [1, 1]),
        shape([2, 33, 20, 8, 21], 2, [1, 1]),
        point([2, 20, 40, 5, 9], 1),
        point([2, 20, 40, 5, 9], 2),
    ] {
        let narrow = |v: &[f32]| v.iter().map(|v| bf16::from_f32(*v)).collect::<Vec<_>>();
        let wide = |v: &[bf16]| v.iter().map(|v| v.to_f32()).collect::<Vec<_>>();
        let mut operands = Operands::new(&s);
        let (x, g) = (narrow(&operands.x), narrow(&operands.g));
        (operands.x, operands.g) = (wide(&x), wide(&g));
        let [out, data, weight] = operands.results(&s);
        let [mut low_out, mut low_data] = [&g, &x].map(|v| vec![bf16::NAN; v.len()]);
        let mut low_weight = vec![f32::NAN; weight.len()];
        forward(&s, &x, &operands.w, Some(&operands.bias), &mut low_out);
        backward_data(&s, &g, &operands.w, &mut low_data);
        backward_weight(&s, &x, &g, &mut low_weight);
        assert!(
            low_out == narrow(&out) && low_data == narrow(&data),
            "{s:?}"
        );
        assert!(low_weight == weight, "{s:?}");
    }
}

#[test]
fn other_shapes_are_left_to_others() {
    let s = shape([2, 16, 16, 9, 9], 1, [1, 1]);
    assert!(kind(&s).is_some());
    for other in [
        ConvShape { groups: 2, ..s },
        ConvShape {
            dilation: [1, 2, 1],
            ..s
        },
        ConvShape {
            stride: [1, 2, 1],
            ..s
        },
        ConvShape {
            padding: [0, 3, 1],
            ..s
        },
        ConvShape {
            kernel: [1, 3, 1],
            ..s
        },
        ConvShape {
            kernel: [3, 3, 3],
            input: [9, 9, 9],
            ..s
        },
        shape([2, 16, 16, 9, 9], 2, [0, 0]),
        shape([2, 16, 16, 9, 9], 3, [1, 1]),
    ] {
        assert!(kind(&other).is_none(), "{other:?}");
    }
}
