//! Picking and putting by position, running results, orders.

use super::{Launches, Memory, TooManyDims, blocks, flat, part_count};
use crate::{Launch, Layout, Ptr, Type, Unit, View};

/// What is moved without being looked at: a type for each size.
fn moved(ty: Type) -> &'static str {
    match ty.size() {
        1 => "u8",
        2 => "i16",
        4 => "int",
        _ => "i64",
    }
}

fn unit(element: &'static str, acc: &'static str, index: Type) -> Unit {
    Unit::new("index.cu")
        .define("ELEMENT", element)
        .define("ACC", acc)
        .define("INDEX", index.name())
}

/// `flat = flat * size + index` for each element of an index tensor over `shape`, row by row; `flat`
/// is not read where `first`. Negative indices count from the end where `wrap`; `fault` (a `Fault` of
/// `common.cuh`, 24 bytes of zeros) takes one that is out of range.
///
/// # Errors
/// Where the layout has too many dimensions.
pub fn flatten_index(
    shape: &[usize],
    index: View<'_>,
    size: usize,
    (first, wrap): (bool, bool),
    flattened: Ptr,
    fault: Ptr,
) -> Result<Option<Launch>, TooManyDims> {
    let n: usize = shape.iter().product();
    if n == 0 {
        return Ok(None);
    }
    let layout = Layout::new(shape, [index.strides]).ok_or(TooManyDims)?;
    let mut launch = flat(unit("u8", "u8", index.ty), "flatten_index", blocks(n));
    let args = launch.args.push(index.ptr).push(flattened).push(layout);
    let args = args.push(n as i64).push(size as i64);
    args.push(i32::from(first))
        .push(i32::from(wrap))
        .push(fault);
    Ok(Some(launch))
}

/// A tensor whose dimensions `dims` are indexed together by `count` positions, which stand behind
/// the first `front` of the other dimensions in what is picked or put.
#[derive(Clone, Copy, Debug)]
pub struct Indexed<'a> {
    /// The tensor's sizes.
    pub shape: &'a [usize],
    /// The indexed dimensions, ascending.
    pub dims: &'a [usize],
    /// How many of the others come first.
    pub front: usize,
    /// How many positions there are.
    pub count: usize,
}

impl Indexed<'_> {
    /// Layouts of the other and of the indexed dimensions; the products of those in front and
    /// behind.
    fn plan(&self, strides: &[usize]) -> Result<(Layout<1>, Layout<1>, usize, usize), TooManyDims> {
        let pick = |inside: bool| -> (Vec<usize>, Vec<usize>) {
            (0..self.shape.len())
                .filter(|d| self.dims.contains(d) == inside)
                .map(|d| (self.shape[d], strides[d]))
                .unzip()
        };
        let ((rest, rest_strides), (inside, inside_strides)) = (pick(false), pick(true));
        let front = rest[..self.front].iter().product();
        let back = rest[self.front..].iter().product();
        let rest = Layout::new(&rest, [&rest_strides]).ok_or(TooManyDims)?;
        let inside = Layout::new(&inside, [&inside_strides]).ok_or(TooManyDims)?;
        Ok((rest, inside, front, back))
    }

    /// `out`, contiguous `[front…, count, back…]`, gets the elements of `x` at `positions` (`i64`,
    /// row-major among the indexed dimensions, checked).
    ///
    /// # Errors
    /// Where a layout has too many dimensions.
    pub fn pick(
        &self,
        x: View<'_>,
        positions: Ptr,
        out: Ptr,
    ) -> Result<Option<Launch>, TooManyDims> {
        let (rest, inside, front, back) = self.plan(x.strides)?;
        let n = front * self.count * back;
        if n == 0 {
            return Ok(None);
        }
        let name = moved(x.ty);
        let mut launch = flat(unit(name, name, Type::I64), "pick", blocks(n));
        let args = launch.args.push(x.ptr).push(positions).push(out);
        let args = args.push(rest).push(inside).push(self.count as i64);
        args.push(back as i64).push(n as i64);
        Ok(Some(launch))
    }

    /// `src`, contiguous `[front…, count, back…]`, is put (or added) into `out` at `positions`; what
    /// meets is taken in the order of the positions. The positions are sorted first.
    ///
    /// # Errors
    /// Where a layout has too many dimensions.
    pub fn put(
        &self,
        out: View<'_>,
        src: Ptr,
        positions: Ptr,
        add: bool,
        memory: Memory<'_>,
    ) -> Result<Launches, TooManyDims> {
        let (rest, inside, front, back) = self.plan(out.strides)?;
        let (others, count) = (front * back, self.count);
        let n = count * others;
        if n == 0 {
            return Ok(Launches::new());
        }
        let [sorted, order] = [0; 2].map(|_| memory(count * Type::I64.size()));
        let mut launches = sort(
            Type::I64,
            [1, count],
            false,
            count,
            positions,
            [sorted, order],
            memory,
        );
        let unit = if add {
            unit(out.ty.name(), out.ty.accumulate().name(), Type::I64)
        } else {
            unit(moved(out.ty), moved(out.ty), Type::I64)
        };
        let mut launch = flat(unit, "put", blocks(n));
        let args = launch.args.push(out.ptr).push(src).push(sorted).push(order);
        let args = args
            .push(rest)
            .push(inside)
            .push(count as i64)
            .push(back as i64);
        args.push(others as i64).push(n as i64).push(i32::from(add));
        launches.push(launch);
        Ok(launches)
    }
}

/// An index of its own for every element, along dimension `dim` of a tensor of `sizes`; the index
/// has `shape`, no larger in the other dimensions.
#[derive(Clone, Copy, Debug)]
pub struct Along<'a> {
    /// The tensor's sizes.
    pub sizes: &'a [usize],
    /// The indexed dimension.
    pub dim: usize,
    /// The index's sizes.
    pub shape: &'a [usize],
}

impl Along<'_> {
    fn plan(
        &self,
        index: &[usize],
        strides: &[usize],
    ) -> Result<(Layout<2>, i64, i64, usize), TooManyDims> {
        let mut others = strides.to_vec();
        let (mut step, mut size) = (0, 1);
        if self.dim < others.len() {
            (step, size) = (others[self.dim] as i64, self.sizes[self.dim] as i64);
            others[self.dim] = 0;
        }
        let layout = Layout::new(self.shape, [index, &others]).ok_or(TooManyDims)?;
        Ok((layout, step, size, self.shape.iter().product()))
    }

    /// `out`, contiguous of the index's shape, gets what the index names in `x`.
    ///
    /// # Errors
    /// Where a layout has too many dimensions.
    pub fn gather(
        &self,
        x: View<'_>,
        index: View<'_>,
        out: Ptr,
        fault: Ptr,
    ) -> Result<Option<Launch>, TooManyDims> {
        let (layout, step, size, n) = self.plan(index.strides, x.strides)?;
        if n == 0 {
            return Ok(None);
        }
        let name = moved(x.ty);
        let mut launch = flat(unit(name, name, index.ty), "gather", blocks(n));
        let args = launch
            .args
            .push(x.ptr)
            .push(index.ptr)
            .push(out)
            .push(layout);
        args.push(step).push(size).push(n as i64).push(fault);
        Ok(Some(launch))
    }

    /// `src`, contiguous of the index's shape, is put (or added) into the contiguous `out` of type
    /// `ty` where the index says, in order.
    ///
    /// # Errors
    /// Where a layout has too many dimensions.
    #[allow(clippy::too_many_arguments)]
    pub fn scatter(
        &self,
        (out, ty): (Ptr, Type),
        index: View<'_>,
        src: Ptr,
        add: bool,
        fault: Ptr,
        memory: Memory<'_>,
    ) -> Result<Launches, TooManyDims> {
        let strides = crate::row_major(self.sizes);
        let (layout, step, size, n) = self.plan(index.strides, &strides)?;
        if n == 0 {
            return Ok(Launches::new());
        }
        let places = memory(n * Type::I64.size());
        let mut launch = flat(unit("u8", "u8", index.ty), "scatter_places", blocks(n));
        let args = launch.args.push(index.ptr).push(places).push(layout);
        args.push(step).push(size).push(n as i64).push(fault);
        let whole: usize = self.sizes.iter().product();
        let all = Indexed {
            shape: &[whole],
            dims: &[0],
            front: 0,
            count: n,
        };
        let mut launches = Launches::from_iter([launch]);
        let strides = &[1];
        let out = View {
            ptr: out,
            ty,
            strides,
        };
        launches.extend(all.put(out, src, places, add, memory)?);
        Ok(launches)
    }
}

/// The positions (`i64`) of what is not zero in the contiguous `mask` of `n`; `counted` is its
/// running count from [`scan`].
pub fn compact(ty: Type, n: usize, mask: Ptr, counted: Ptr, out: Ptr) -> Option<Launch> {
    let unit = unit(ty.name(), ty.accumulate().name(), Type::I64);
    let mut launch = (n > 0).then(|| flat(unit, "compact", blocks(n)))?;
    launch
        .args
        .push(mask)
        .push(counted)
        .push(out)
        .push(n as i64);
    Some(launch)
}

/// What runs along a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// The sum so far.
    Sum,
    /// The product so far.
    Prod,
    /// `y[k] = x[k] + c[k] * y[k - 1]`.
    Linear,
    /// The greatest so far and where it stands, the last among equals.
    MaxAt,
    /// The least so far.
    MinAt,
}

/// Elements of a row that a block takes before another one helps.
const SCAN_PIECE: usize = 1 << 13;

/// Running results along the middle dimension of the contiguous `[outer, n, inner]`, from the end
/// where `reverse`. Sums and products of floating-point numbers run in `f64`, of integers in `i64`.
/// `c` holds the factors of `Linear`, else it is 0; `at` takes positions, else it is 0.
pub fn scan(
    op: Scan,
    (ty, to): (Type, Type),
    [outer, n, inner]: [usize; 3],
    reverse: bool,
    [x, c]: [Ptr; 2],
    [out, at]: [Ptr; 2],
    memory: Memory<'_>,
) -> Launches {
    let mut launches = Launches::new();
    if outer * n * inner == 0 {
        return launches;
    }
    let (name, acc, state) = match op {
        Scan::MaxAt => ("MaxAt", ty.accumulate(), 16),
        Scan::MinAt => ("MinAt", ty.accumulate(), 16),
        _ if !ty.is_float() => (if op == Scan::Prod { "Prod" } else { "Sum" }, Type::I64, 8),
        Scan::Sum => ("Sum", Type::F64, 8),
        Scan::Prod => ("Prod", Type::F64, 8),
        Scan::Linear => ("Linear", Type::F64, 16),
    };
    let unit = Unit::new("scan.cu")
        .define("OP", name)
        .define("ELEMENT", ty.name())
        .define("ACC", acc.name())
        .define("OUT", to.name());
    let reverse = i32::from(reverse);
    if inner > 1 {
        let mut launch = flat(unit, "scan_columns", blocks(outer * inner));
        let args = launch.args.push(x).push(c).push(out).push(at);
        let args = args.push(outer as i64).push(n as i64).push(inner as i64);
        args.push(reverse);
        launches.push(launch);
        return launches;
    }
    let (pieces, piece) = part_count(n, SCAN_PIECE, i32::MAX as usize / outer);
    let parts = match pieces {
        1 => 0,
        _ => memory(outer * pieces * state),
    };
    if pieces > 1 {
        let mut totals = flat(unit.clone(), "scan_totals", (outer * pieces) as u32);
        let args = totals.args.push(x).push(c).push(parts);
        let args = args.push(n as i64).push(pieces as i64).push(piece as i64);
        args.push(reverse);
        let mut before = flat(unit.clone(), "scan_parts", outer as u32);
        before.args.push(parts).push(pieces as i64);
        launches.extend([totals, before]);
    }
    let mut rows = flat(unit, "scan_rows", (outer * pieces) as u32);
    let args = rows.args.push(x).push(c).push(out).push(at).push(parts);
    let args = args.push(n as i64).push(pieces as i64).push(piece as i64);
    args.push(reverse);
    launches.push(rows);
    launches
}

/// Elements that a block sorts in shared memory: `LOCAL` of `sort.cu`.
const LOCAL: usize = 1024;

/// The first `k` elements of each of the contiguous rows in ascending or descending order, equal
/// ones as they stand, NaN as the greatest: values (0: not wanted) and positions (`i64`).
pub fn sort(
    ty: Type,
    [rows, n]: [usize; 2],
    descending: bool,
    k: usize,
    x: Ptr,
    [values, positions]: [Ptr; 2],
    memory: Memory<'_>,
) -> Launches {
    let mut launches = Launches::new();
    if rows * k == 0 {
        return launches;
    }
    let unit = Unit::new("sort.cu")
        .define("ELEMENT", ty.name())
        .define("ACC", ty.accumulate().name());
    let size = n.next_power_of_two().max(2);
    let descending = i32::from(descending);
    if size <= LOCAL {
        let mut launch = flat(unit, "sort_rows", rows as u32);
        launch.block[0] = size as u32 / 2;
        let args = launch.args.push(x).push(values).push(positions);
        args.push(n as i64).push(k as i64).push(descending);
        launches.push(launch);
        return launches;
    }
    let mut half = || [memory(rows * n * ty.size()), memory(rows * n * 4)];
    let (mut work, mut other) = (half(), half());
    let local = |entry, blocks: usize| {
        let mut launch = flat(unit.clone(), entry, blocks as u32);
        launch.block[0] = LOCAL as u32 / 2;
        launch
    };
    let mut start = local("sort_start", rows * n.div_ceil(LOCAL));
    let args = start.args.push(x).push(work[0]).push(work[1]);
    args.push(n as i64).push(descending);
    launches.push(start);
    let mut span = LOCAL;
    while span < n {
        let (pairs, tiles) = (n.div_ceil(2 * span), (2 * span).min(k).div_ceil(LOCAL));
        let mut merge = local("sort_merge", rows * pairs * tiles);
        let args = merge.args.push(work[0]).push(work[1]);
        let args = args.push(other[0]).push(other[1]);
        let args = args.push(n as i64).push(k as i64).push(span as i64);
        args.push(pairs as i64).push(tiles as i64).push(descending);
        launches.push(merge);
        (work, other) = (other, work);
        span *= 2;
    }
    let mut finish = flat(unit, "sort_finish", blocks(rows * k));
    let args = finish.args.push(work[0]).push(work[1]);
    let args = args.push(values).push(positions);
    args.push(rows as i64).push(n as i64).push(k as i64);
    launches.push(finish);
    launches
}
