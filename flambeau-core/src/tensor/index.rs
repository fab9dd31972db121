//! Python's square brackets: `x.i((1, 0..3, &mask))` for `x[1, 0:3, mask]`, `x.set(.., v)` for the
//! assignment.

use super::{Operand, Tensor};
use crate::autograd::note_writer;
use crate::ops::elementwise::lane_of;
use crate::ops::index::plan::{Plan, pick, put, put_in_memory};
use crate::shape::Shape;
use crate::{DType, Result, bail};
use smallvec::SmallVec;
use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};
use std::panic::Location;

/// What stands between two commas.
///
/// ```
/// use flambeau_core::{IndexItem, Tensor};
/// let x = Tensor::arange(0, 12, 1)?.view([3, 4])?;
/// let rows = IndexItem::Slice { start: Some(1), stop: None, step: 1 };
/// assert_eq!(x.i(vec![rows, IndexItem::Int(-1)])?.to_vec::<i64>()?, [7, 11]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum IndexItem {
    /// One index; the dimension vanishes. Negative ones count from the end.
    Int(i64),
    /// `start:stop:step`; negative bounds count from the end, bounds beyond the size are cut.
    Slice {
        /// The first index; the dimension's start where left out.
        start: Option<i64>,
        /// The index to stop before; the dimension's end where left out.
        stop: Option<i64>,
        /// The distance, above zero.
        step: i64,
    },
    /// A new dimension of size 1 (`None` in Python).
    NewAxis,
    /// As many whole dimensions as are left (`...`).
    Ellipsis,
    /// Integers that broadcast with other index tensors, or a mask of one or several dimensions.
    Tensor(Tensor),
    /// A list of indices.
    List(Vec<i64>),
    /// A new dimension of size 1 or 0.
    Bool(bool),
}

/// A new dimension in an index ([`IndexItem::NewAxis`]).
///
/// ```
/// use flambeau_core::{NewAxis, Tensor};
/// assert_eq!(Tensor::zeros([2, 3])?.i((.., NewAxis))?.shape(), [2, 1, 3]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct NewAxis;

/// All dimensions that are left in an index ([`IndexItem::Ellipsis`]).
///
/// ```
/// use flambeau_core::{Ellipsis, Tensor};
/// assert_eq!(Tensor::zeros([2, 3, 5])?.i((Ellipsis, 0))?.shape(), [2, 3]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Ellipsis;

/// `start:stop:step` in an index. Bounds beyond the size are cut, so `s(1, i64::MAX, 2)` goes to
/// the end.
///
/// ```
/// use flambeau_core::{Tensor, s};
/// assert_eq!(Tensor::arange(0, 8, 1)?.i(s(1, -1, 2))?.to_vec::<i64>()?, [1, 3, 5]);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
pub fn s(start: i64, stop: i64, step: i64) -> IndexItem {
    IndexItem::Slice {
        start: Some(start),
        stop: Some(stop),
        step,
    }
}

/// What may stand between two commas of an index.
pub trait IntoIndexItem {
    /// As data.
    fn into_index_item(self) -> IndexItem;
}

macro_rules! items {
    ($($t:ty, |$v:ident| $e:expr;)*) => {$(
        impl IntoIndexItem for $t {
            fn into_index_item(self) -> IndexItem {
                let $v = self;
                $e
            }
        }
    )*};
}
macro_rules! number_items {
    ($($t:ty),*) => {$(items! {
        $t, |v| IndexItem::Int(v as i64);
        Range<$t>, |r| slice(Some(r.start as i64), Some(r.end as i64));
        RangeFrom<$t>, |r| slice(Some(r.start as i64), None);
        RangeTo<$t>, |r| slice(None, Some(r.end as i64));
        RangeInclusive<$t>, |r| slice(Some(*r.start() as i64), after(*r.end() as i64));
        RangeToInclusive<$t>, |r| slice(None, after(r.end as i64));
        Vec<$t>, |v| IndexItem::List(v.iter().map(|&i| i as i64).collect());
        &[$t], |v| IndexItem::List(v.iter().map(|&i| i as i64).collect());
    }
    impl<const N: usize> IntoIndexItem for [$t; N] {
        fn into_index_item(self) -> IndexItem {
            IndexItem::List(self.iter().map(|&i| i as i64).collect())
        }
    })*};
}
number_items!(i64, i32, usize);
items! {
    IndexItem, |v| v;
    &IndexItem, |v| v.clone();
    RangeFull, |_v| slice(None, None);
    NewAxis, |_v| IndexItem::NewAxis;
    Ellipsis, |_v| IndexItem::Ellipsis;
    Tensor, |v| IndexItem::Tensor(v);
    &Tensor, |v| IndexItem::Tensor(v.clone());
    bool, |v| IndexItem::Bool(v);
}

fn slice(start: Option<i64>, stop: Option<i64>) -> IndexItem {
    IndexItem::Slice {
        start,
        stop,
        step: 1,
    }
}

/// The stop that includes `end`: nothing comes after -1, the last index.
fn after(end: i64) -> Option<i64> {
    (end != -1).then(|| end.saturating_add(1))
}

/// An index: one item, a tuple of up to six, or a list of [`IndexItem`]s.
pub trait TensorIndex {
    /// The items in order.
    fn items(self) -> SmallVec<[IndexItem; 6]>;
}

impl<T: IntoIndexItem> TensorIndex for T {
    fn items(self) -> SmallVec<[IndexItem; 6]> {
        SmallVec::from_iter([self.into_index_item()])
    }
}
impl TensorIndex for &[IndexItem] {
    fn items(self) -> SmallVec<[IndexItem; 6]> {
        self.iter().cloned().collect()
    }
}
impl TensorIndex for Vec<IndexItem> {
    fn items(self) -> SmallVec<[IndexItem; 6]> {
        self.into()
    }
}
macro_rules! tuples {
    ($($($t:ident)*;)*) => {$(
        impl<$($t: IntoIndexItem),*> TensorIndex for ($($t,)*) {
            fn items(self) -> SmallVec<[IndexItem; 6]> {
                #[allow(non_snake_case)]
                let ($($t,)*) = self;
                SmallVec::from_iter([$($t.into_index_item()),*])
            }
        }
    )*};
}
tuples! { A; A B; A B C; A B C D; A B C D E; A B C D E F; }

/// The dimensions of the tensor that an item uses up.
fn uses(item: &IndexItem) -> usize {
    match item {
        IndexItem::Int(_) | IndexItem::Slice { .. } | IndexItem::List(_) => 1,
        IndexItem::Tensor(t) if t.dtype() == DType::Bool => t.dim(),
        IndexItem::Tensor(_) => 1,
        IndexItem::NewAxis | IndexItem::Ellipsis | IndexItem::Bool(_) => 0,
    }
}

impl Tensor {
    /// The mask, where the index is one for each element.
    fn whole_mask<'a>(&self, items: &'a [IndexItem]) -> Option<&'a Tensor> {
        match items {
            [IndexItem::Tensor(mask)] => Some(mask)
                .filter(|m| m.dtype() == DType::Bool && m.dim() > 0 && m.shape() == self.shape()),
            _ => None,
        }
    }

    /// The view that integers, slices and new axes give, and what index tensors and masks pick
    /// from it.
    #[track_caller]
    fn resolve(&self, items: SmallVec<[IndexItem; 6]>) -> Result<(Tensor, Option<Plan>)> {
        let used: usize = items.iter().map(uses).sum();
        let ellipses = items
            .iter()
            .filter(|i| matches!(i, IndexItem::Ellipsis))
            .count();
        if used > self.dim() {
            bail!(
                "index",
                "the index takes {used} dimensions, the tensor of shape {:?} has {}",
                self.shape(),
                self.dim()
            );
        }
        if ellipses > 1 {
            bail!("index", "an index may have one Ellipsis, not {ellipses}");
        }
        let mut view = self.clone();
        // The dimension of `view` that the next item is about.
        let mut at = 0;
        let mut picked: SmallVec<[(usize, Tensor); 2]> = SmallVec::new();
        for item in items {
            match item {
                IndexItem::Int(i) => view = view.select(at as i64, i)?,
                IndexItem::Slice { start, stop, step } => {
                    if step <= 0 {
                        bail!(
                            "index",
                            "the step of a slice must be above zero, not {step}; use flip"
                        );
                    }
                    let n = view.shape()[at] as i64;
                    let bound = |v: Option<i64>, default: i64| match v {
                        None => default,
                        Some(v) if v < 0 => (v + n).max(0),
                        Some(v) => v.min(n),
                    };
                    let (from, to) = (bound(start, 0), bound(stop, n));
                    if (from, to, step) != (0, n, 1) {
                        view = view.slice(at as i64, from as usize, to as usize, step as usize)?;
                    }
                    at += 1;
                }
                IndexItem::NewAxis => {
                    view = view.unsqueeze(at as i64)?;
                    at += 1;
                }
                IndexItem::Ellipsis => at += self.dim() - used,
                IndexItem::Bool(b) => {
                    view = view.unsqueeze(at as i64)?;
                    picked.push((
                        at,
                        Tensor::zeros_with(b as usize, (DType::I64, self.device()))?,
                    ));
                    at += 1;
                }
                IndexItem::List(list) => {
                    let n = list.len();
                    picked.push((at, Tensor::from_vec(list, n)?.to_device(self.device())?));
                    at += 1;
                }
                IndexItem::Tensor(t) if t.dtype() == DType::Bool => {
                    if t.dim() == 0 {
                        view = view.unsqueeze(at as i64)?;
                        let n = t.item::<bool>()? as usize;
                        picked.push((at, Tensor::zeros_with(n, (DType::I64, self.device()))?));
                        at += 1;
                        continue;
                    }
                    let covered = &view.shape()[at..at + t.dim()];
                    if t.shape() != covered {
                        bail!(
                            "index",
                            "a mask of shape {:?} does not fit dimensions {at} to {} of the tensor of shape {:?}",
                            t.shape(),
                            at + t.dim() - 1,
                            view.shape()
                        );
                    }
                    let places = t.nonzero()?;
                    for d in 0..t.dim() {
                        picked.push((at + d, places.select(1, d as i64)?));
                    }
                    at += t.dim();
                }
                IndexItem::Tensor(t) => {
                    if !t.dtype().is_integer() || t.dtype() == DType::U8 {
                        bail!(
                            "index",
                            "index tensors must be bool masks or signed integers, not {}; convert with to_dtype(DType::Bool) or to_dtype(DType::I64)",
                            t.dtype()
                        );
                    }
                    if t.dim() == 0 {
                        view = view.select(at as i64, t.item::<i64>()?)?;
                        continue;
                    }
                    picked.push((at, t));
                    at += 1;
                }
            }
        }
        if picked.is_empty() {
            return Ok((view, None));
        }
        let (dims, indices): (SmallVec<[usize; 4]>, Vec<Tensor>) = picked.into_iter().unzip();
        let plan = Plan::new("index", view.shape(), &dims, &indices, true)?;
        Ok((view, Some(plan)))
    }

    /// Python's `x[..]` for an integer, a range, `..` (a whole dimension), [`s`]`(start, stop,
    /// step)`, [`NewAxis`], [`Ellipsis`], an integer tensor or list, a bool mask, or a tuple of
    /// up to six of these. Without tensors, lists and masks the result is a view.
    ///
    /// Several index tensors broadcast; their dimensions come where the first of them stood if
    /// they are neighbours, else in front, as in NumPy and PyTorch.
    ///
    /// ```
    /// use flambeau_core::{Ellipsis, NewAxis, Tensor, s};
    /// let x = Tensor::arange(0, 24, 1)?.view([2, 3, 4])?;
    /// assert_eq!(x.i((1, 2, -1))?.item::<i64>()?, 23);
    /// assert_eq!(x.i((.., 1.., s(0, 4, 2)))?.shape(), [2, 2, 2]);
    /// assert_eq!(x.i((Ellipsis, NewAxis, 0))?.shape(), [2, 3, 1]);
    /// assert_eq!(x.i((0, [2, 0], 1))?.to_vec::<i64>()?, [9, 1]);
    /// assert_eq!(x.i(&x.gt(20)?)?.to_vec::<i64>()?, [21, 22, 23]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where an index is out of range, a mask does not fit, index tensors do not broadcast, a step
    /// is not above zero, or there are more items than dimensions.
    #[track_caller]
    pub fn i(&self, index: impl TensorIndex) -> Result<Tensor> {
        let items = index.items();
        if let Some(mask) = self.whole_mask(&items) {
            return self.masked_select(mask);
        }
        match self.resolve(items)? {
            (view, Some(plan)) => pick(&view, &plan),
            // `x[...]` and the like make a new tensor on the same memory.
            (view, None) if view.is(self) => {
                self.view(Shape::from_slice(self.shape())).or(Ok(view))
            }
            (view, None) => Ok(view),
        }
    }

    /// A copy with `value` at the places that [`i`](Tensor::i) would return; added there where
    /// `accumulate` (places named several times add up, else one of the values stays)
    /// ([`torch.Tensor.index_put`](https://pytorch.org/docs/stable/generated/torch.Tensor.index_put.html)).
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::zeros([3])?;
    /// let y = x.index_put([0, 2, 2], 1.0, true)?;
    /// assert_eq!(y.to_vec::<f32>()?, [1.0, 0.0, 2.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`i`](Tensor::i), and where `value` does not broadcast to the places.
    #[track_caller]
    pub fn index_put(
        &self,
        index: impl TensorIndex,
        value: impl Operand,
        accumulate: bool,
    ) -> Result<Tensor> {
        let out = self.copy()?;
        out.index_put_(index, value, accumulate)?;
        Ok(out)
    }

    /// [`index_put`](Tensor::index_put) in place.
    ///
    /// # Errors
    /// As [`index_put`](Tensor::index_put), and where the tensor must not be changed in place.
    #[track_caller]
    pub fn index_put_(
        &self,
        index: impl TensorIndex,
        value: impl Operand,
        accumulate: bool,
    ) -> Result<Tensor> {
        self.check_inplace("index_put_")?;
        let (items, value) = (index.items(), value.operand()?);
        if let Some(mask) = self.whole_mask(&items)
            && !accumulate
            && value.dim() == 0
            && !value.tracked()
        {
            return self.masked_fill_(mask, &value.to_dtype(self.dtype())?);
        }
        let (view, plan) = self.resolve(items)?;
        let shape = match &plan {
            Some(plan) => plan.result_shape(view.shape()),
            None => Shape::from_slice(view.shape()),
        };
        let value = fitted(&value, &shape, self.dtype())?;
        let Some(plan) = plan else {
            let value = if accumulate { view.add(value)? } else { value };
            view.copy_(&value)?;
            return Ok(self.clone());
        };
        // Sums of other types are added up in a lane first.
        let in_memory = !accumulate || lane_of(self.dtype()) == self.dtype();
        if !in_memory || !self.changes_unrecorded(&[&value]) {
            view.assign("index_put_", put(&view, &plan, &value, accumulate)?)?;
        } else {
            put_in_memory(&view, &plan, &value, accumulate)?;
            view.0.storage.bump_version();
            note_writer(&view.0.storage, "index_put_", Location::caller());
        }
        Ok(self.clone())
    }

    /// Python's `x[..] = value`.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let x = Tensor::zeros([2, 3])?;
    /// x.set((.., 1), 5.0)?;
    /// x.set(&x.eq(0)?, -1.0)?;
    /// assert_eq!(x.to_vec::<f32>()?, [-1.0, 5.0, -1.0, -1.0, 5.0, -1.0]);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`index_put_`](Tensor::index_put_).
    #[track_caller]
    pub fn set(&self, index: impl TensorIndex, value: impl Operand) -> Result<()> {
        self.index_put_(index, value, false).map(|_| ())
    }
}

/// `value` broadcast to `shape`, dimensions of size 1 too many in front dropped, and converted.
#[track_caller]
fn fitted(value: &Tensor, shape: &[usize], dtype: DType) -> Result<Tensor> {
    let mut value = value.to_dtype(dtype)?;
    while value.dim() > shape.len() && value.shape()[0] == 1 {
        value = value.select(0, 0)?;
    }
    let fits = value.dim() <= shape.len()
        && crate::shape::broadcast("index_put", value.shape(), shape)
            .is_ok_and(|s| s[..] == *shape);
    if !fits {
        bail!(
            "index_put",
            "a value of shape {:?} does not broadcast to the indexed shape {shape:?}",
            value.shape()
        );
    }
    value.expand(shape)
}
