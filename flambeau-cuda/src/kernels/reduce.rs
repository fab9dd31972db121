//! Folds along dimensions.

use super::{Launches, Memory, TooManyDims, WARP, flat, part_count};
use crate::{Layout, Ptr, Type, Unit, View};

/// What the elements along the dimensions become.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reduce {
    /// Their sum; integers in 64 bits.
    Sum,
    /// Their mean.
    Mean,
    /// Their product.
    Prod,
    /// The greatest; NaN where there is one.
    Max,
    /// The least; NaN where there is one.
    Min,
    /// The greatest, and where it stands first (`aux`, `i64`).
    MaxAt,
    /// The least, and where it stands first (`aux`, `i64`).
    MinAt,
    /// Whether any is true.
    Any,
    /// Whether all are true.
    All,
    /// The square root of the sum of squares.
    Norm2,
    /// The `p`-th root of the sum of the `p`-th powers.
    NormP(f64),
    /// The variance, divided by the count less the correction; `aux` gets the mean, if not null.
    Var {
        /// What the divisor is less than the count.
        correction: f64,
    },
    /// Its square root.
    Std {
        /// As of the variance.
        correction: f64,
    },
}

impl Reduce {
    /// Its name in the kernels, the bytes of its state, and its number.
    fn parts(self, acc: Type) -> (&'static str, usize, f64) {
        let one = acc.size();
        match self {
            Reduce::Sum => ("Sum", one, 0.0),
            Reduce::Mean => ("Mean", one, 0.0),
            Reduce::Prod => ("Prod", one, 0.0),
            Reduce::Max => ("Max", one, 0.0),
            Reduce::Min => ("Min", one, 0.0),
            Reduce::MaxAt => ("MaxAt", 16, 0.0),
            Reduce::MinAt => ("MinAt", 16, 0.0),
            Reduce::Any => ("Any", 4, 0.0),
            Reduce::All => ("All", 4, 0.0),
            Reduce::Norm2 => ("Norm2", one, 0.0),
            Reduce::NormP(p) => ("NormP", one, p),
            Reduce::Var { correction } => ("Var", 24, correction),
            Reduce::Std { correction } => ("Std", 24, correction),
        }
    }
}

/// Elements of a row that a block takes before another one helps.
const ROW_PIECE: usize = 1 << 14;
/// Rows of columns that a block takes before another one helps.
const COLUMN_PIECE: usize = 1 << 9;
/// Rows up to this length are left to a warp.
const SHORT: usize = 512;

/// Dimensions `dims` (ascending) of `x`, which has `shape`, folded into `out`, contiguous over the
/// other dimensions, of type `to`. `aux` takes the second result where there is one, or is 0.
///
/// # Errors
/// Where the layout does not join to few enough dimensions.
#[allow(clippy::too_many_arguments)]
pub fn reduce(
    op: Reduce,
    shape: &[usize],
    dims: &[usize],
    x: View<'_>,
    (out, to): (Ptr, Type),
    aux: Ptr,
    memory: Memory<'_>,
) -> Result<Launches, TooManyDims> {
    let pick = |inside: bool| {
        let chosen = |&d: &usize| dims.contains(&d) == inside && shape[d] != 1;
        let mut all: Vec<_> = (0..shape.len())
            .filter(chosen)
            .map(|d| (shape[d], x.strides[d]))
            .collect();
        // Folded in the order of memory, but where places are told, which count in that of the dimensions.
        if inside && !matches!(op, Reduce::MaxAt | Reduce::MinAt) {
            all.sort_by_key(|&(_, stride)| std::cmp::Reverse(stride));
        }
        let (sizes, strides): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        let n: usize = sizes.iter().product();
        let layout = Layout::new(&sizes, [&strides]).ok_or(TooManyDims);
        layout.map(|layout| (layout, n))
    };
    let ((kept, rows), (reduced, n)) = (pick(false)?, pick(true)?);
    if rows == 0 {
        return Ok(Launches::new());
    }
    let acc = match op {
        Reduce::Any | Reduce::All => Type::I64,
        _ => x.ty.accumulate(),
    };
    let (name, state, p) = op.parts(acc);
    let mut unit = Unit::new("reduce.cu")
        .define("OP", name)
        .define("ELEMENT", x.ty.name())
        .define("ACC", acc.name())
        .define("OUT", to.name());
    if matches!(op, Reduce::MaxAt | Reduce::MinAt) {
        unit = unit.define("AUX", "i64");
    }
    let columns = kept.last_stride(0) == Some(1) && reduced.last_stride(0) != Some(1);
    let mut launches = Launches::new();
    let mut parts = |pieces: usize| {
        if pieces > 1 {
            memory(rows * pieces * state)
        } else {
            0
        }
    };
    let (pieces, parts) = if columns {
        let (pieces, piece) = part_count(n, COLUMN_PIECE, 65535);
        let parts = parts(pieces);
        let mut launch = flat(unit.clone(), "reduce_columns", rows.div_ceil(WARP) as u32);
        launch.grid[1] = pieces as u32;
        launch.block = [WARP as u32, 8, 1];
        let args = launch.args.push(x.ptr).push(out).push(aux).push(parts);
        let args = args.push(kept).push(reduced).push(rows as i64);
        args.push(n as i64)
            .push(pieces as i64)
            .push(piece as i64)
            .push(p);
        launches.push(launch);
        (pieces, parts)
    } else if n <= SHORT {
        let mut launch = flat(unit.clone(), "reduce_warps", rows.div_ceil(8) as u32);
        let args = launch.args.push(x.ptr).push(out).push(aux);
        args.push(kept)
            .push(reduced)
            .push(rows as i64)
            .push(n as i64)
            .push(p);
        launches.push(launch);
        (1, 0)
    } else {
        let (pieces, piece) = part_count(n, ROW_PIECE, i32::MAX as usize / rows);
        let parts = parts(pieces);
        let mut launch = flat(unit.clone(), "reduce_rows", (rows * pieces) as u32);
        let args = launch.args.push(x.ptr).push(out).push(aux).push(parts);
        let args = args.push(kept).push(reduced).push(n as i64);
        args.push(pieces as i64).push(piece as i64).push(p);
        launches.push(launch);
        (pieces, parts)
    };
    if pieces > 1 {
        let mut launch = flat(unit, "reduce_parts", rows.div_ceil(8) as u32);
        let args = launch.args.push(parts).push(out).push(aux);
        args.push(rows as i64)
            .push(n as i64)
            .push(pieces as i64)
            .push(p);
        launches.push(launch);
    }
    Ok(launches)
}
