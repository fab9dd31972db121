//! What kernels know of tensors: element types, addresses, layouts.

use crate::Pod;

/// The address of a tensor's first element on the device.
pub type Ptr = u64;

/// The type of elements in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned 8-bit integer.
    U8,
    /// Signed 8-bit integer.
    I8,
    /// Signed 16-bit integer.
    I16,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer.
    I64,
    /// IEEE half precision.
    F16,
    /// Brain float.
    BF16,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
}

impl Type {
    /// Every type.
    pub const ALL: [Type; 10] = [
        Type::Bool,
        Type::U8,
        Type::I8,
        Type::I16,
        Type::I32,
        Type::I64,
        Type::F16,
        Type::BF16,
        Type::F32,
        Type::F64,
    ];

    /// The floating-point types.
    pub const FLOATS: [Type; 4] = [Type::F16, Type::BF16, Type::F32, Type::F64];

    /// Its name in the kernels.
    pub const fn name(self) -> &'static str {
        match self {
            Type::Bool => "bool",
            Type::U8 => "u8",
            Type::I8 => "i8",
            Type::I16 => "i16",
            Type::I32 => "int",
            Type::I64 => "i64",
            Type::F16 => "f16",
            Type::BF16 => "bf16",
            Type::F32 => "float",
            Type::F64 => "double",
        }
    }

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Type::Bool | Type::U8 | Type::I8 => 1,
            Type::I16 | Type::F16 | Type::BF16 => 2,
            Type::I32 | Type::F32 => 4,
            Type::I64 | Type::F64 => 8,
        }
    }

    /// Whether it is one of the floating-point types.
    pub const fn is_float(self) -> bool {
        matches!(self, Type::F16 | Type::BF16 | Type::F32 | Type::F64)
    }

    /// The type that elementwise kernels compute in.
    pub const fn compute(self) -> Type {
        match self {
            Type::F16 | Type::BF16 | Type::F32 => Type::F32,
            Type::F64 => Type::F64,
            Type::I64 => Type::I64,
            _ => Type::I32,
        }
    }

    /// The type that sums are taken in: as [`compute`](Type::compute), integers in 64 bits.
    pub const fn accumulate(self) -> Type {
        match self {
            Type::F16 | Type::BF16 | Type::F32 => Type::F32,
            Type::F64 => Type::F64,
            _ => Type::I64,
        }
    }
}

/// A tensor as a kernel sees it; its sizes are given beside it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The first element.
    pub ptr: Ptr,
    /// The type of the elements.
    pub ty: Type,
    /// How many elements apart neighbours along each dimension are.
    pub strides: &'a [usize],
}

/// Dimensions that a [`Layout`] has room for.
pub const MAX_DIMS: usize = 8;

/// The sizes that `N` tensors share and the strides of each: `Layout` in `common.cuh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Layout<const N: usize> {
    ndim: i32,
    unused: i32,
    size: [i64; MAX_DIMS],
    magic: [u32; MAX_DIMS],
    shift: [u32; MAX_DIMS],
    stride: [[i64; MAX_DIMS]; N],
}

// SAFETY: integers alone; their sizes leave no padding, and the C++ struct has the same fields.
unsafe impl<const N: usize> Pod for Layout<N> {}

impl<const N: usize> Layout<N> {
    /// The layout of tensors of this shape, dimensions joined where all tensors allow it. `None`
    /// where more than [`MAX_DIMS`] are left: such a tensor has to be made contiguous first.
    ///
    /// # Panics
    /// If the lists differ in length.
    pub fn new(shape: &[usize], strides: [&[usize]; N]) -> Option<Layout<N>> {
        let mut out = Layout {
            ndim: 0,
            unused: 0,
            size: [1; MAX_DIMS],
            magic: [0; MAX_DIMS],
            shift: [0; MAX_DIMS],
            stride: [[0; MAX_DIMS]; N],
        };
        let mut n = 0;
        for (d, &size) in shape.iter().enumerate() {
            if size == 1 {
                continue;
            }
            let joins =
                n > 0 && (0..N).all(|i| out.stride[i][n - 1] == (strides[i][d] * size) as i64);
            if joins {
                out.size[n - 1] *= size as i64;
            } else if n == MAX_DIMS {
                return None;
            } else {
                out.size[n] = size as i64;
                n += 1;
            }
            for (to, from) in out.stride.iter_mut().zip(strides) {
                to[n - 1] = from[d] as i64;
            }
        }
        out.ndim = n as i32;
        for d in 0..n {
            (out.magic[d], out.shift[d]) = divisor(out.size[d]);
        }
        Some(out)
    }

    /// How far apart neighbours along the innermost dimension are in tensor `i`; `None` of a single
    /// element.
    pub(crate) fn last_stride(&self, i: usize) -> Option<i64> {
        let last = (self.ndim as usize).checked_sub(1)?;
        Some(self.stride[i][last])
    }

    /// Whether tensor `i` is one run of neighbours.
    pub fn contiguous(&self, i: usize) -> bool {
        self.ndim == 0 || (self.ndim == 1 && self.stride[i][0] == 1)
    }
}

/// Factor and shift by which `(high word of i * factor + i) >> shift` is `i / size` for `i` below
/// 2^31.
fn divisor(size: i64) -> (u32, u32) {
    if size < 1 || size > i64::from(u32::MAX >> 1) {
        return (0, 0);
    }
    let shift = (0..32).find(|&s| 1i64 << s >= size).unwrap_or(31);
    let magic = ((1u64 << 32) * ((1u64 << shift) - size as u64)) / size as u64 + 1;
    (magic as u32, shift)
}

/// Strides of a contiguous tensor.
pub fn row_major(shape: &[usize]) -> smallvec::SmallVec<[usize; 6]> {
    let mut strides = smallvec::smallvec![0; shape.len()];
    let mut step = 1;
    for (stride, &size) in strides.iter_mut().zip(shape).rev() {
        *stride = step;
        step *= size.max(1);
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_join_where_every_tensor_allows_it() {
        let whole = Layout::new(&[2, 1, 3, 4], [&[12, 7, 4, 1]]).unwrap();
        assert_eq!((whole.ndim, whole.size[0]), (1, 24));
        assert!(whole.contiguous(0));
        let both = Layout::new(&[2, 3, 4], [&[12, 4, 1], &[4, 0, 1]]).unwrap();
        assert_eq!(both.ndim, 3);
        let rows = Layout::new(&[2, 3, 4], [&[12, 4, 1], &[1, 0, 0]]).unwrap();
        assert_eq!((rows.ndim, &rows.size[..2]), (2, &[2, 12][..]));
        assert!(!Layout::new(&[3, 2], [&[1, 3]]).unwrap().contiguous(0));
        assert!(Layout::new(&[2; 9], [&[0, 1, 0, 1, 0, 1, 0, 1, 0]]).is_none());
        assert!(Layout::new(&[], [&[]]).unwrap().contiguous(0));
    }

    #[test]
    fn division_by_multiplication_is_exact() {
        for size in (1..600).chain([1 << 20, (1 << 31) - 1, 1_000_003, 65_537]) {
            let (magic, shift) = divisor(size);
            let all = [0, 1, 2, (1u64 << 31) - 1, 123_456_789];
            let near = |k: u64| (size as u64 * k).saturating_sub(1)..size as u64 * k + 2;
            for i in (0..3).chain(17..19).flat_map(near).chain(all) {
                let i = i.min((1 << 31) - 1);
                let high = (i * u64::from(magic)) >> 32;
                assert_eq!((high + i) >> shift, i / size as u64, "{i} / {size}");
            }
        }
    }
}
