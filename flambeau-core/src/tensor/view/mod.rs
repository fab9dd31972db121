//! Methods that look at the same memory in another way.

mod order;
mod part;
mod sizes;

use super::Tensor;
use crate::Result;
use crate::ops::view::{Kind, View};
use crate::shape::{Shape, Strides};

impl Tensor {
    /// All elements, from the same first one on, under these sizes and strides.
    #[track_caller]
    fn relabel(
        &self,
        name: &'static str,
        kind: Kind,
        shape: Shape,
        strides: Strides,
    ) -> Result<Tensor> {
        View {
            name,
            kind,
            shape,
            strides,
            offset: self.0.offset,
        }
        .of(self)
    }
}
