//! Products and convolutions through the stand-in libraries against plain loops: what is asked of
//! cuBLASLt and cuDNN is what was meant, for every layout, type and batch.

use flambeau_cuda::tensor::{Convolution, Place, Slice, SliceMut, product};
use flambeau_cuda::{Buffer, Device, Result, Type, device, emulate, row_major, settings};
use half::{bf16, f16};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The device, for one test at a time: switches hold for the whole process.
fn alone() -> Option<(&'static Device, MutexGuard<'static, ()>)> {
    static LOCK: Mutex<()> = Mutex::new(());
    let turn = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(e) = emulate::install() {
        eprintln!("skipped: {e}");
        return None;
    }
    let device = device(0).unwrap();
    assert!(device.libraries().iter().all(Result::is_ok));
    Some((device, turn))
}

/// Numbers that every type holds exactly, and whose sums of products do not round in `f32`.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn list(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.below(17) as f64 / 4.0 - 2.0).collect()
    }
}

fn encode(ty: Type, values: &[f64]) -> Vec<u8> {
    let each = values.iter().flat_map(|&v| match ty {
        Type::F16 => f16::from_f64(v).to_ne_bytes().to_vec(),
        Type::BF16 => bf16::from_f64(v).to_ne_bytes().to_vec(),
        Type::F32 => (v as f32).to_ne_bytes().to_vec(),
        _ => v.to_ne_bytes().to_vec(),
    });
    each.collect()
}

fn decode(ty: Type, bytes: &[u8]) -> Vec<f64> {
    let each = bytes.chunks_exact(ty.size()).map(|b| match ty {
        Type::F16 => f16::from_ne_bytes([b[0], b[1]]).to_f64(),
        Type::BF16 => bf16::from_ne_bytes([b[0], b[1]]).to_f64(),
        Type::F32 => f64::from(f32::from_ne_bytes([b[0], b[1], b[2], b[3]])),
        _ => f64::from_ne_bytes(b.try_into().unwrap()),
    });
    each.collect()
}

fn rounded(ty: Type, v: f64) -> f64 {
    decode(ty, &encode(ty, &[v]))[0]
}

fn buffer(device: &'static Device, ty: Type, values: &[f64]) -> Buffer {
    let bytes = encode(ty, values);
    let mut buffer = device.allocate(bytes.len()).unwrap();
    buffer.upload(0, &bytes).unwrap();
    buffer
}

fn numbers(ty: Type, buffer: &Buffer) -> Vec<f64> {
    let mut bytes = vec![0; buffer.len()];
    buffer.download(0, &mut bytes).unwrap();
    decode(ty, &bytes)
}

/// A whole buffer.
fn whole<'a>(ty: Type, shape: &'a [usize], strides: &'a [usize]) -> Place<'a> {
    Place {
        ty,
        offset: 0,
        shape,
        strides,
    }
}

/// A number with more than the 10 bits of mantissa that TF32 has.
const LONG: f64 = 1.0 + 1.0 / 4096.0;

/// What `product` makes of [`LONG`] and 1, in tensors of so many dimensions.
fn times_one(
    device: &'static Device,
    dims: usize,
    product: impl Fn(&Slice<'_>, &Slice<'_>, &mut SliceMut<'_>) -> Result<()>,
) -> Result<f64> {
    let ones = [1; 3];
    let one = whole(Type::F32, &ones[..dims], &ones[..dims]);
    let (a, b) = (
        buffer(device, Type::F32, &[LONG]),
        buffer(device, Type::F32, &[1.0]),
    );
    let mut out = device.allocate(4)?;
    product(
        &Slice::new(&a, one)?,
        &Slice::new(&b, one)?,
        &mut SliceMut::new(&mut out, one)?,
    )?;
    Ok(numbers(Type::F32, &out)[0])
}

/// A tensor somewhere in a list of numbers, with any strides.
struct Elements {
    values: Vec<f64>,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl Elements {
    /// Of a shape whose last two dimensions may change places or lie apart, and whose first ones may be
    /// broadcast or in another order.
    fn any(numbers: &mut Numbers, shape: &[usize]) -> Elements {
        let n = shape.len();
        let mut order: Vec<usize> = (0..n).collect();
        if numbers.below(2) == 1 {
            order.swap(n - 1, n - 2);
        }
        if n > 3 && numbers.below(2) == 1 {
            order.swap(0, 1);
        }
        if n > 2 && numbers.below(4) == 0 {
            order.swap(n - 3, n - 2);
        }
        let (mut strides, mut step) = (vec![0; n], [1, 1, 2][numbers.below(3)]);
        for &d in order.iter().rev() {
            let broadcast = d + 2 < n && numbers.below(4) == 0;
            if !broadcast {
                strides[d] = step;
                step *= shape[d] + numbers.below(2);
            }
        }
        let offset = numbers.below(5);
        Elements {
            values: numbers.list(offset + step.max(1) + 8),
            offset,
            shape: shape.to_vec(),
            strides,
        }
    }

    fn place(&self, ty: Type) -> Place<'_> {
        Place {
            ty,
            offset: self.offset,
            shape: &self.shape,
            strides: &self.strides,
        }
    }

    fn at(&self, index: &[usize]) -> f64 {
        let at: usize = index.iter().zip(&self.strides).map(|(i, s)| i * s).sum();
        self.values[self.offset + at]
    }
}

/// Place `i` in row-major order of a shape.
fn index(shape: &[usize], mut i: usize) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (index, &size) in index.iter_mut().zip(shape).rev() {
        (*index, i) = (i % size, i / size);
    }
    index
}

#[test]
fn products_are_asked_for_as_meant() -> Result<()> {
    let Some((device, _turn)) = alone() else {
        return Ok(());
    };
    let mut random = Numbers(1);
    for case in 0..1200 {
        let ty = Type::FLOATS[case % 4];
        let batch: Vec<usize> = (0..random.below(4)).map(|_| 1 + random.below(3)).collect();
        // Now and then more products than are walked over one by one.
        let batch = if case % 40 == 0 { vec![5, 3, 6] } else { batch };
        let [m, n, k] = [7, 6, 5].map(|most| 1 + random.below(most));
        let a = Elements::any(&mut random, &[&batch[..], &[m, k]].concat());
        let b = Elements::any(&mut random, &[&batch[..], &[k, n]].concat());
        let bias = (random.below(2) == 1).then(|| random.list(n));
        let [alpha, beta] = [[1.0, 0.0], [0.5, 0.0], [1.0, 1.0], [-2.0, 0.5]][random.below(4)];
        let shape = [&batch[..], &[m, n]].concat();
        let count = shape.iter().product();
        // What factor 0 multiplies is not read.
        let before = match beta {
            0.0 => vec![f64::NAN; count],
            _ => random.list(count),
        };
        let (x, y) = (buffer(device, ty, &a.values), buffer(device, ty, &b.values));
        let c = bias.as_ref().map(|c| buffer(device, ty, c));
        let mut out = buffer(device, ty, &before);
        let strides = row_major(&shape);
        let row = [n];
        let row = whole(ty, &row, &[1]);
        let c = c.as_ref().map(|c| Slice::new(c, row)).transpose()?;
        let (x, y) = (Slice::new(&x, a.place(ty))?, Slice::new(&y, b.place(ty))?);
        let mut to = SliceMut::new(&mut out, whole(ty, &shape, &strides))?;
        product(&x, &y, [alpha, beta], c.as_ref(), &mut to)?;
        for (i, got) in numbers(ty, &out).into_iter().enumerate() {
            let at = index(&shape, i);
            let (front, &[r, c]) = at.split_at(batch.len()) else {
                panic!("{at:?}");
            };
            let terms =
                (0..k).map(|l| a.at(&[front, &[r, l]].concat()) * b.at(&[front, &[l, c]].concat()));
            let mut want = alpha * terms.sum::<f64>();
            if beta != 0.0 {
                want += beta * before[i];
            }
            if let (Some(bias), true) = (&bias, ty == Type::F64) {
                want += bias[c];
            } else if let Some(bias) = &bias {
                want = rounded(ty, want + bias[c]);
            }
            assert_eq!(
                got,
                rounded(ty, want),
                "case {case}: {ty:?} {:?} {:?} and {:?} {:?} at {at:?}",
                a.shape,
                a.strides,
                b.shape,
                b.strides
            );
        }
    }
    Ok(())
}

#[test]
fn tf32_is_off_for_products_until_it_is_wanted() -> Result<()> {
    let Some((device, _turn)) = alone() else {
        return Ok(());
    };
    let run = || times_one(device, 2, |a, b, to| product(a, b, [1.0, 0.0], None, to));
    assert_eq!(run()?, LONG);
    settings::set_matmul_precision(1);
    let short = run()?;
    // Our own kernel does not shorten.
    settings::CUBLAS.set(false);
    let own = run()?;
    settings::CUBLAS.set(true);
    settings::set_matmul_precision(0);
    assert_eq!((short, own, run()?), (1.0, LONG, LONG));
    Ok(())
}

/// The three members of the family through the library, and by our own kernels.
fn convolutions(
    device: &'static Device,
    ty: Type,
    of: &Convolution,
    random: &mut Numbers,
) -> Result<[Vec<f64>; 2]> {
    let [ins, outs, groups] = of.channels;
    let [input, output, kernel] = of.sizes.map(|s| s.iter().product::<usize>());
    let counts = [
        of.batch * ins * input,
        outs * (ins / groups) * kernel,
        of.batch * outs * output,
    ];
    let lists = counts.map(|n| random.list(n));
    let bias = buffer(device, ty, &random.list(outs));
    let [x, w, y] = lists.each_ref().map(|l| buffer(device, ty, l));
    let (shapes, each) = (counts.map(|n| [n]), [outs]);
    let place = |i: usize| whole(ty, &shapes[i], &[1]);
    let mut results = Vec::new();
    for library in [true, false] {
        settings::CUDNN.set(library);
        let (x, w) = (Slice::new(&x, place(0))?, Slice::new(&w, place(1))?);
        let y = Slice::new(&y, place(2))?;
        let bias = Slice::new(&bias, whole(ty, &each, &[1]))?;
        let mut out = counts.map(|n| buffer(device, ty, &vec![f64::NAN; n]));
        let [dx, dw, to] = &mut out;
        of.forward(&x, &w, Some(&bias), &mut SliceMut::new(to, place(2))?)?;
        of.data(&y, &w, &mut SliceMut::new(dx, place(0))?)?;
        of.weight(&x, &y, &mut SliceMut::new(dw, place(1))?)?;
        results.push(out.iter().flat_map(|b| numbers(ty, b)).collect::<Vec<_>>());
    }
    settings::CUDNN.set(true);
    Ok([results.remove(0), results.remove(0)])
}

#[test]
fn convolutions_are_asked_for_as_meant() -> Result<()> {
    let Some((device, _turn)) = alone() else {
        return Ok(());
    };
    settings::CUDNN_TF32.set(false);
    let mut random = Numbers(2);
    for case in 0..60 {
        let groups = 1 + random.below(2);
        let flat = case % 3 != 0;
        let mut pick = |most: usize, least: usize| -> [usize; 3] {
            let mut all = [0; 3].map(|_: usize| least + random.below(most));
            if flat {
                all[0] = least;
            }
            all
        };
        let (kernel, stride, padding, dilation) = (pick(3, 1), pick(3, 1), pick(3, 0), pick(2, 1));
        let output = pick(3, 1);
        let input: [usize; 3] = std::array::from_fn(|d| {
            let reach = (output[d] - 1) * stride[d] + (kernel[d] - 1) * dilation[d] + 1;
            reach.saturating_sub(2 * padding[d]).max(1)
        });
        let output = std::array::from_fn(|d| {
            let reach = (kernel[d] - 1) * dilation[d] + 1;
            (input[d] + 2 * padding[d] - reach) / stride[d] + 1
        });
        let of = Convolution {
            batch: 1 + case % 2,
            channels: [groups * 2, groups * (1 + case % 3), groups],
            sizes: [input, output, kernel],
            steps: [stride, padding, dilation],
            channels_last: case % 4 > 1,
        };
        settings::CUDNN_BENCHMARK.set(case % 5 == 0);
        // Of our own kernels each type costs a compilation.
        for ty in [Type::F32, Type::BF16] {
            let [library, own] = convolutions(device, ty, &of, &mut random)?;
            // In bf16 the library's output is rounded before the bias is added.
            let near = if ty == Type::F32 { 1e-6 } else { 2e-2 };
            for (a, b) in library.iter().zip(&own) {
                assert!(
                    (a - b).abs() <= near * (1.0 + b.abs()),
                    "{ty:?} {of:?}: {a} and {b}"
                );
            }
        }
    }
    settings::CUDNN_BENCHMARK.set(false);
    settings::CUDNN_TF32.set(true);
    Ok(())
}

#[test]
fn tf32_is_on_for_convolutions_until_it_is_not_wanted() -> Result<()> {
    let Some((device, _turn)) = alone() else {
        return Ok(());
    };
    let of = Convolution {
        batch: 1,
        channels: [1; 3],
        sizes: [[1; 3]; 3],
        steps: [[1; 3], [0; 3], [1; 3]],
        channels_last: false,
    };
    let run = || times_one(device, 1, |a, b, to| of.forward(a, b, None, to));
    let short = run()?;
    settings::CUDNN_TF32.set(false);
    let long = run()?;
    settings::CUDNN_TF32.set(true);
    assert_eq!((short, long), (1.0, LONG));
    Ok(())
}
