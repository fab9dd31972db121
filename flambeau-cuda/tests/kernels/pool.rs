use crate::support::*;
use flambeau_cpu::pool as cpu;
use flambeau_cuda::Type;
use flambeau_cuda::kernels::Pool;

/// Results of an input and a gradient, as `compare` lists them.
type Reference<'a> = dyn Fn(&[f64], &[f64]) -> [Vec<f64>; 5] + 'a;

/// Values, places, both gradients; the CPU's in f64 beside the kernels'. Of planes one after another, and
/// of channels that are innermost.
fn compare(what: &str, pool: &Pool, planes: usize, sizes: [usize; 2], reference: &Reference<'_>) {
    let [inputs, outputs] = sizes;
    let turns = [1, planes].into_iter().take(if planes > 1 { 2 } else { 1 });
    for (ty, inner) in turns.flat_map(|inner| Type::FLOATS.map(|ty| (ty, inner))) {
        let pool = pool.innermost(inner);
        let (mut x, g) = (numbers(ty, inputs, 1), numbers(ty, outputs, 2));
        if inputs > 8 {
            (x[3], x[5]) = (f64::NAN, f64::NAN);
        }
        let got = both_orders(|order| {
            let (mut xs, mut gs) = (
                Buffer::of(ty, &turned(&x, inner)),
                Buffer::of(ty, &turned(&g, inner)),
            );
            let [mut max, mut avg] = [0; 2].map(|_| Buffer::new(ty, outputs));
            let mut at = Buffer::new(Type::I64, outputs);
            let [mut dmax, mut davg] = [0; 2].map(|_| Buffer::new(ty, inputs));
            run(order, pool.max_forward(ty, xs.ptr(), max.ptr(), at.ptr()));
            run(order, pool.avg_forward(ty, xs.ptr(), avg.ptr()));
            run(order, pool.max_backward(ty, gs.ptr(), at.ptr(), dmax.ptr()));
            run(order, pool.avg_backward(ty, gs.ptr(), davg.ptr()));
            [max, at, avg, dmax, davg]
        });
        let tolerance = if ty == Type::F64 {
            1e-13
        } else {
            4.0 * epsilon(ty)
        };
        for (k, (got, want)) in got.iter().zip(&reference(&x, &g)).enumerate() {
            let what = format!("{what} {ty:?} {inner} {k}");
            close(&what, got, &turned(want, inner), tolerance);
        }
    }
}

#[test]
fn windows_of_one_size() {
    if !ready() {
        return;
    }
    let flat = |planes, input, kernel| cpu::PoolShape {
        planes,
        input,
        kernel,
        stride: kernel,
        padding: [0; 3],
        dilation: [1; 3],
        ceil_mode: false,
    };
    let shapes = [
        flat(3, [1, 8, 9], [1, 2, 2]),
        cpu::PoolShape {
            stride: [1, 2, 1],
            padding: [0, 1, 1],
            ..flat(2, [1, 7, 6], [1, 3, 3])
        },
        cpu::PoolShape {
            ceil_mode: true,
            stride: [1, 3, 2],
            ..flat(2, [1, 8, 7], [1, 3, 3])
        },
        cpu::PoolShape {
            stride: [2, 1, 2],
            padding: [1, 0, 1],
            ..flat(1, [5, 4, 6], [3, 2, 2])
        },
        flat(4, [1, 1, 11], [1, 1, 3]),
        flat(0, [1, 4, 4], [1, 2, 2]),
    ];
    for s in shapes {
        let o = s.output().unwrap();
        let pool = Pool::fixed(
            s.planes,
            [s.input, o],
            [s.kernel, s.stride, s.padding, s.dilation],
        );
        for (include, divisor) in [(true, None), (false, None), (true, Some(3))] {
            let options = cpu::AvgOptions {
                count_include_pad: include,
                divisor_override: divisor,
            };
            let (inputs, outputs) = (s.input_len(), s.output_len());
            let pool = pool.average(include, divisor);
            compare(
                &format!("{s:?}"),
                &pool,
                s.planes,
                [inputs, outputs],
                &|x, g| {
                    let (mut max, mut avg) = (vec![0.0; outputs], vec![0.0; outputs]);
                    let (mut dmax, mut davg) = (vec![0.0; inputs], vec![0.0; inputs]);
                    let mut at = vec![0i64; outputs];
                    if outputs > 0 {
                        cpu::max_pool_forward(&s, x, &mut max, &mut at);
                        cpu::avg_pool_forward(&s, options, x, &mut avg);
                        cpu::max_pool_backward(s.planes, g, &at, &mut dmax);
                        cpu::avg_pool_backward(&s, options, g, &mut davg);
                    }
                    [max, at.iter().map(|&v| v as f64).collect(), avg, dmax, davg]
                },
            );
        }
    }
}

/// Windows with holes: maxima alone, averages have none.
#[test]
fn dilated_windows_and_such_without_an_element() {
    if !ready() {
        return;
    }
    let s = cpu::PoolShape {
        planes: 2,
        input: [1, 7, 2],
        kernel: [1, 3, 2],
        stride: [1, 1, 1],
        padding: [0, 1, 1],
        dilation: [1, 2, 3],
        ceil_mode: false,
    };
    let o = s.output().unwrap();
    let pool = Pool::fixed(
        s.planes,
        [s.input, o],
        [s.kernel, s.stride, s.padding, s.dilation],
    );
    let (inputs, outputs) = (s.input_len(), s.output_len());
    let (x, g) = (
        numbers(Type::F32, inputs, 1),
        numbers(Type::F32, outputs, 2),
    );
    let got = both_orders(|order| {
        let (mut xs, mut gs) = (Buffer::of(Type::F32, &x), Buffer::of(Type::F32, &g));
        let (mut max, mut at) = (
            Buffer::new(Type::F32, outputs),
            Buffer::new(Type::I64, outputs),
        );
        let mut dmax = Buffer::new(Type::F32, inputs);
        run(
            order,
            pool.max_forward(Type::F32, xs.ptr(), max.ptr(), at.ptr()),
        );
        run(
            order,
            pool.max_backward(Type::F32, gs.ptr(), at.ptr(), dmax.ptr()),
        );
        [max, at, dmax]
    });
    let (mut max, mut at, mut dmax) = (vec![0.0; outputs], vec![0; outputs], vec![0.0; inputs]);
    cpu::max_pool_forward(&s, &x, &mut max, &mut at);
    cpu::max_pool_backward(s.planes, &g, &at, &mut dmax);
    close("values", &got[0], &max, 0.0);
    close(
        "places",
        &got[1],
        &at.iter().map(|&v| v as f64).collect::<Vec<_>>(),
        0.0,
    );
    close("gradient", &got[2], &dmax, 1e-6);
    assert!(got[1].contains(&-1.0), "a window without an element");
}

#[test]
fn adaptive_windows() {
    if !ready() {
        return;
    }
    for (input, output) in [
        ([1, 8, 9], [1, 1, 1]),
        ([1, 7, 10], [1, 3, 4]),
        ([3, 5, 4], [2, 5, 3]),
        ([1, 3, 2], [1, 5, 4]),
    ] {
        let s = cpu::AdaptiveShape {
            planes: 3,
            input,
            output,
        };
        let (inputs, outputs) = (s.input_len(), s.output_len());
        let pool = Pool::adaptive(3, [input, output]);
        compare(
            &format!("{s:?}"),
            &pool,
            s.planes,
            [inputs, outputs],
            &|x, g| {
                let (mut max, mut avg) = (vec![0.0; outputs], vec![0.0; outputs]);
                let (mut dmax, mut davg) = (vec![0.0; inputs], vec![0.0; inputs]);
                let mut at = vec![0i64; outputs];
                cpu::adaptive_max_pool_forward(&s, x, &mut max, &mut at);
                cpu::adaptive_avg_pool_forward(&s, x, &mut avg);
                cpu::max_pool_backward(s.planes, g, &at, &mut dmax);
                cpu::adaptive_avg_pool_backward(&s, g, &mut davg);
                [max, at.iter().map(|&v| v as f64).collect(), avg, dmax, davg]
            },
        );
    }
}
