//! Buffers with guarded edges, and numbers to fill them with.

use flambeau_cuda::emulate::{self, Order};
use flambeau_cuda::{Launch, Ptr, Type};
use half::{bf16, f16};

/// Bytes in front of a buffer and behind it that no kernel may write.
const EDGE: usize = 64;
/// As integers and as floats a number that spoils whatever reads it.
const PATTERN: u8 = 0xf3;

/// Memory of a device that is the CPU.
pub struct Buffer {
    ty: Type,
    len: usize,
    /// Words, for the alignment that device memory has.
    words: Vec<u128>,
}

impl Buffer {
    /// `len` elements of no meaning.
    pub fn new(ty: Type, len: usize) -> Buffer {
        let words = (len * ty.size() + 2 * EDGE).div_ceil(16);
        let words = vec![u128::from_ne_bytes([PATTERN; 16]); words];
        Buffer { ty, len, words }
    }

    /// The numbers in type `ty`, rounded.
    pub fn of(ty: Type, values: &[f64]) -> Buffer {
        let mut buffer = Buffer::new(ty, values.len());
        for (i, &v) in values.iter().enumerate() {
            let bytes = encode(ty, v);
            let at = EDGE + i * ty.size();
            buffer.bytes_mut()[at..at + ty.size()].copy_from_slice(&bytes[..ty.size()]);
        }
        buffer
    }

    /// `len` zeros.
    pub fn zeros(ty: Type, len: usize) -> Buffer {
        Buffer::of(ty, &vec![0.0; len])
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.words.len() * 16;
        // SAFETY: the words' own bytes; any value is one.
        unsafe { std::slice::from_raw_parts_mut(self.words.as_mut_ptr().cast(), len) }
    }

    fn bytes(&self) -> &[u8] {
        let len = self.words.len() * 16;
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), len) }
    }

    pub fn ptr(&mut self) -> Ptr {
        self.at(0)
    }

    /// The address of element `i`.
    pub fn at(&mut self, i: usize) -> Ptr {
        let offset = EDGE + i * self.ty.size();
        self.bytes_mut()[offset..].as_mut_ptr() as u64
    }

    /// The elements; panics where the edges were written.
    pub fn values(&self) -> Vec<f64> {
        let bytes = self.bytes();
        let end = EDGE + self.len * self.ty.size();
        let edges = bytes[..EDGE].iter().chain(&bytes[end..]);
        assert!(edges.copied().all(|b| b == PATTERN), "written outside");
        bytes[EDGE..end]
            .chunks_exact(self.ty.size())
            .map(|b| decode(self.ty, b))
            .collect()
    }

    fn raw(&self) -> &[u8] {
        &self.bytes()[EDGE..EDGE + self.len * self.ty.size()]
    }
}

fn encode(ty: Type, v: f64) -> [u8; 8] {
    let mut out = [0; 8];
    let mut put = |bytes: &[u8]| out[..bytes.len()].copy_from_slice(bytes);
    match ty {
        Type::Bool => put(&[u8::from(v != 0.0)]),
        Type::U8 => put(&(v as i64 as u8).to_ne_bytes()),
        Type::I8 => put(&(v as i64 as i8).to_ne_bytes()),
        Type::I16 => put(&(v as i64 as i16).to_ne_bytes()),
        Type::I32 => put(&(v as i64 as i32).to_ne_bytes()),
        Type::I64 => put(&(v as i64).to_ne_bytes()),
        Type::F16 => put(&f16::from_f32(v as f32).to_ne_bytes()),
        Type::BF16 => put(&bf16::from_f32(v as f32).to_ne_bytes()),
        Type::F32 => put(&(v as f32).to_ne_bytes()),
        Type::F64 => put(&v.to_ne_bytes()),
    }
    out
}

fn decode(ty: Type, b: &[u8]) -> f64 {
    let word = |i: usize| b.get(i).copied().unwrap_or(0);
    let two = [word(0), word(1)];
    let four: [u8; 4] = std::array::from_fn(word);
    let eight: [u8; 8] = std::array::from_fn(word);
    match ty {
        Type::Bool | Type::U8 => f64::from(b[0]),
        Type::I8 => f64::from(b[0] as i8),
        Type::I16 => f64::from(i16::from_ne_bytes(two)),
        Type::I32 => f64::from(i32::from_ne_bytes(four)),
        Type::I64 => i64::from_ne_bytes(eight) as f64,
        Type::F16 => f16::from_ne_bytes(two).to_f64(),
        Type::BF16 => bf16::from_ne_bytes(two).to_f64(),
        Type::F32 => f64::from(f32::from_ne_bytes(four)),
        Type::F64 => f64::from_ne_bytes(eight),
    }
}

/// What the type makes of a number.
pub fn rounded(ty: Type, v: f64) -> f64 {
    decode(ty, &encode(ty, v)[..ty.size()])
}

/// A unit in the last place of 1 in that type; 0 for integers.
pub fn epsilon(ty: Type) -> f64 {
    match ty {
        Type::F16 => 0.5f64.powi(10),
        Type::BF16 => 0.5f64.powi(7),
        Type::F32 => 0.5f64.powi(23),
        Type::F64 => 0.5f64.powi(52),
        _ => 0.0,
    }
}

/// Memory that launches work in, kept as long as this.
#[derive(Default)]
pub struct Scratch(Vec<Buffer>);

impl Scratch {
    pub fn take(&mut self, bytes: usize) -> Ptr {
        self.0.push(Buffer::new(Type::U8, bytes));
        self.0.last_mut().map_or(0, Buffer::ptr)
    }
}

/// Whether there is a compiler; says so where there is none.
pub fn ready() -> bool {
    let found = emulate::compiler().is_some();
    if !found {
        eprintln!("skipped: there is no C++ compiler to run kernels with");
    }
    found
}

/// `body` makes buffers, runs launches in the order it is given, and returns the results, which
/// have to be the same for both orders to the last bit.
pub fn both_orders<const N: usize>(body: impl Fn(Order) -> [Buffer; N]) -> [Vec<f64>; N] {
    let (forward, reverse) = (body(Order::Forward), body(Order::Reverse));
    for (a, b) in forward.iter().zip(&reverse) {
        assert_eq!(a.raw(), b.raw(), "the results depend on the order");
    }
    forward.map(|b| b.values())
}

/// Runs launches over buffers that the caller keeps.
pub fn run(order: Order, launches: impl IntoIterator<Item = Launch>) {
    for mut launch in launches {
        // SAFETY: the launches are made by `kernels`, whose functions know the parameters; the
        // buffers are as large as they are said to be, which the guarded edges watch.
        unsafe { emulate::run_in(&mut launch, order) }.unwrap_or_else(|e| panic!("{e}"));
    }
}

/// Panics unless `got` is `want` but for `tolerance` relative to its size, NaN where that is.
#[track_caller]
pub fn close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let near = (g - w).abs() <= tolerance * w.abs().max(1.0);
        assert!(
            g == w || near || (g.is_nan() && w.is_nan()),
            "{what}: element {i} is {g}, not {w}"
        );
    }
}

/// Numbers between -2 and 2 that are exact in every floating-point type, small integers in others.
pub fn numbers(ty: Type, n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 33
    };
    (0..n)
        .map(|_| match ty {
            Type::Bool => (next() % 2) as f64,
            Type::U8 => (next() % 7) as f64,
            ty if ty.is_float() => (next() % 129) as f64 / 32.0 - 2.0,
            _ => (next() % 13) as f64 - 6.0,
        })
        .collect()
}

/// The elements of `[rows, columns]` as `[columns, rows]`.
pub fn turned(x: &[f64], rows: usize) -> Vec<f64> {
    let columns = x.len() / rows.max(1);
    let place = |i: usize| x[i % rows * columns + i / rows];
    (0..x.len()).map(place).collect()
}
