//! Memory formats: the order in which the elements of a batch of maps lie in memory.

use crate::shape::{Shape, Strides, contiguous_strides, is_contiguous, memory_order};
use crate::tensor::Tensor;

/// How elements lie in memory, whatever the order of the dimensions
/// ([`torch.memory_format`](https://pytorch.org/docs/stable/tensor_attributes.html#torch.memory_format)).
///
/// A batch of pictures `[batch, channels, height, width]` keeps its shape in each of them; convolutions
/// of half types are fastest on CUDA devices where the channels of a pixel are neighbours. Operations on
/// maps return results in the format of their input, as in PyTorch.
///
/// ```
/// use flambeau_core::{MemoryFormat, Tensor};
/// let x = Tensor::zeros([2, 3, 4, 5])?.contiguous_format(MemoryFormat::ChannelsLast)?;
/// assert_eq!((x.shape(), x.strides()), (&[2, 3, 4, 5][..], &[60, 1, 15, 3][..]));
/// assert_eq!(x.relu()?.suggest_memory_format(), MemoryFormat::ChannelsLast);
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemoryFormat {
    /// Row-major: neighbours along the last dimension are neighbours in memory.
    Contiguous,
    /// `[batch, channels, height, width]` with the channels innermost.
    ChannelsLast,
    /// `[batch, channels, depth, height, width]` with the channels innermost.
    ChannelsLast3d,
    /// The format that there is.
    Preserve,
}

use MemoryFormat::{ChannelsLast, ChannelsLast3d, Contiguous, Preserve};

impl MemoryFormat {
    /// Dimensions from the outermost in memory to the innermost, where that is not their order.
    pub(crate) fn order(self) -> Option<&'static [usize]> {
        match self {
            Contiguous | Preserve => None,
            ChannelsLast => Some(&[0, 2, 3, 1]),
            ChannelsLast3d => Some(&[0, 2, 3, 4, 1]),
        }
    }

    /// The number of dimensions that tensors of this format have, where it says one.
    pub(crate) fn rank(self) -> Option<usize> {
        self.order().map(<[usize]>::len)
    }

    /// Whether channels are innermost.
    pub(crate) fn is_channels_last(self) -> bool {
        self.order().is_some()
    }

    /// The strides of a tensor of `shape`, which has this format's rank.
    pub(crate) fn strides(self, shape: &[usize]) -> Strides {
        let Some(order) = self.order() else {
            return contiguous_strides(shape);
        };
        let sizes: Shape = order.iter().map(|&d| shape[d]).collect();
        let mut strides = Strides::from_elem(0, shape.len());
        for (&d, step) in order.iter().zip(contiguous_strides(&sizes)) {
            strides[d] = step;
        }
        strides
    }

    /// Whether elements of these strides follow each other in this format; in any order of dimensions
    /// for `Preserve`. Strides of dimensions of size 1 do not matter.
    pub(crate) fn holds(self, shape: &[usize], strides: &[usize]) -> bool {
        match self.order() {
            None if self == Preserve => {
                is_contiguous(shape, strides) || memory_order(shape, strides).is_some()
            }
            None => is_contiguous(shape, strides),
            Some(order) if order.len() == shape.len() => {
                let mut step = 1usize;
                order.iter().rev().all(|&d| {
                    let fits = shape[d] == 1 || strides[d] == step;
                    step = step.wrapping_mul(shape[d]);
                    fits
                })
            }
            Some(_) => false,
        }
    }

    /// The format that strides speak for, by PyTorch's rules (`suggest_memory_format`): where sizes of 1
    /// leave it open, `Contiguous`.
    pub(crate) fn of(shape: &[usize], strides: &[usize]) -> MemoryFormat {
        let format = match shape.len() {
            4 => ChannelsLast,
            5 => ChannelsLast3d,
            _ => return Contiguous,
        };
        // Channels of stride 0 are one channel, stretched.
        if strides[1] == 0 || shape.contains(&0) {
            return Contiguous;
        }
        let mut least = 0;
        for &d in format.order().unwrap_or_default().iter().rev() {
            // A batch whose elements lie as far apart as the channels: [N, 1, 1, 1] tells nothing.
            if strides[d] < least || (d == 0 && least == strides[1]) {
                return Contiguous;
            }
            least = strides[d].saturating_mul(shape[d]);
        }
        format
    }
}

/// Whether two layouts of one shape put every element in the same place.
pub(crate) fn same_places(shape: &[usize], a: &[usize], b: &[usize]) -> bool {
    (shape.iter().zip(a.iter().zip(b))).all(|(&d, (a, b))| d == 1 || a == b)
}

/// The strides of the result of an elementwise operation, where they are not row-major: those of the
/// operands, where these are alike and without gaps, or the channels-last ones, where the first operand of
/// the result's shape is in such a format. As PyTorch, but for operands in several other orders.
pub(crate) fn result_strides(shape: &[usize], inputs: &[&Tensor]) -> Option<Strides> {
    let mut full = inputs.iter().filter(|t| t.numel() != 1);
    let first = full.next()?;
    if first.is_contiguous() && first.shape() == shape {
        return None;
    }
    if first.shape() == shape && full.all(|t| t.shape() == shape && t.strides() == first.strides())
    {
        return memory_order(shape, first.strides()).map(|_| Strides::from_slice(first.strides()));
    }
    let first = inputs.iter().find(|t| t.shape() == shape)?;
    let format = first.suggest_memory_format();
    format.is_channels_last().then(|| format.strides(shape))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What PyTorch 2.15 says of `torch.empty_strided(shape, strides)`: `is_contiguous(channels_last)`,
    /// and whether `to(memory_format=channels_last)` is the same tensor.
    #[test]
    fn formats_are_told_from_strides_as_in_pytorch() {
        let cases: [([usize; 4], [usize; 4], bool, bool); 12] = [
            ([2, 3, 4, 5], [60, 20, 5, 1], false, false),
            ([2, 3, 4, 5], [60, 1, 15, 3], true, true),
            ([2, 3, 1, 1], [3, 1, 1, 1], true, false),
            ([2, 3, 1, 1], [3, 1, 3, 3], true, true),
            ([2, 1, 4, 5], [20, 20, 5, 1], true, false),
            ([2, 1, 4, 5], [20, 1, 5, 1], true, true),
            ([2, 1, 1, 1], [1, 1, 1, 1], true, false),
            ([1, 3, 4, 5], [60, 1, 15, 3], true, true),
            ([1, 3, 4, 5], [7, 1, 15, 3], true, false),
            ([2, 2, 4, 5], [60, 1, 15, 3], false, true),
            ([1, 1, 1, 1], [1, 1, 1, 1], true, false),
            ([2, 1, 1, 5], [5, 5, 5, 1], true, false),
        ];
        for (shape, strides, contiguous, suggested) in cases {
            let found = ChannelsLast.holds(&shape, &strides);
            assert_eq!(found, contiguous, "{shape:?} {strides:?}");
            let found = MemoryFormat::of(&shape, &strides) == ChannelsLast;
            assert_eq!(found, suggested, "{shape:?} {strides:?}");
        }
    }

    #[test]
    fn strides_have_the_channels_innermost() {
        assert_eq!(&ChannelsLast.strides(&[2, 3, 4, 5])[..], &[60, 1, 15, 3]);
        assert_eq!(&ChannelsLast.strides(&[2, 1, 1, 5])[..], &[5, 1, 5, 1]);
        assert_eq!(
            &ChannelsLast3d.strides(&[2, 3, 4, 5, 6])[..],
            &[360, 1, 90, 18, 3]
        );
        assert_eq!(&Contiguous.strides(&[2, 3, 4])[..], &[12, 4, 1]);
    }
}
