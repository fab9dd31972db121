//! Softmax, and the loss that is fused with it.

use super::{BLOCK, Launches, blocks, flat, held_threads, row_threads};
use crate::{Launch, Ptr, Type, Unit};

fn unit(ty: Type, log: bool) -> Unit {
    Unit::new("softmax.cu")
        .define("ELEMENT", ty.name())
        .define("ACC", ty.accumulate().name())
        .define("LOG", if log { "1" } else { "0" })
}

/// Softmax (or its logarithm) along the middle dimension of the contiguous `[outer, n, inner]`.
pub fn softmax(ty: Type, log: bool, shape: [usize; 3], x: Ptr, out: Ptr) -> Option<Launch> {
    let [outer, n, inner] = shape;
    if outer * n * inner == 0 {
        return None;
    }
    if inner > 1 {
        let mut launch = flat(unit(ty, log), "softmax_columns", blocks(outer * inner));
        let args = launch.args.push(x).push(out);
        args.push(outer as i64).push(n as i64).push(inner as i64);
        return Some(launch);
    }
    let mut launch = flat(unit(ty, log), "softmax_rows", outer as u32);
    let (threads, held) = held_threads(n, ty);
    launch.block[0] = threads;
    let args = launch.args.push(x).push(out);
    args.push(n as i64).push(i32::from(held));
    Some(launch)
}

/// The gradient of softmax's input from that of its output, `g`, and the output, `y`.
pub fn softmax_backward(
    ty: Type,
    log: bool,
    shape: [usize; 3],
    [g, y]: [Ptr; 2],
    out: Ptr,
) -> Option<Launch> {
    let [outer, n, inner] = shape;
    if outer * n * inner == 0 {
        return None;
    }
    let columns = inner > 1;
    let mut launch = if columns {
        flat(
            unit(ty, log),
            "softmax_backward_columns",
            blocks(outer * inner),
        )
    } else {
        flat(unit(ty, log), "softmax_backward_rows", outer as u32)
    };
    let args = launch.args.push(g).push(y).push(out);
    if columns {
        args.push(outer as i64).push(n as i64).push(inner as i64);
    } else {
        let (threads, held) = held_threads(n, ty);
        args.push(n as i64).push(i32::from(held));
        launch.block[0] = threads;
    }
    Some(launch)
}

/// A loss of class indices over `[rows, classes]`; see `class_loss.cu`. Addresses are 0 where there
/// is nothing.
#[derive(Clone, Copy, Debug)]
pub struct ClassLoss {
    /// The type of logits, losses and their gradients; log-probabilities and class weights are of
    /// its accumulating type.
    pub ty: Type,
    /// Whether the input is logits, not log-probabilities.
    pub logits: bool,
    /// Samples.
    pub rows: usize,
    /// Classes.
    pub classes: usize,
    /// `[rows]`, `i64`.
    pub target: Ptr,
    /// `[classes]`, or 0.
    pub weight: Ptr,
    /// The target that counts for nothing.
    pub ignore: i64,
    /// How much of each target is spread evenly.
    pub smoothing: f64,
}

impl ClassLoss {
    fn unit(&self) -> Unit {
        Unit::new("class_loss.cu")
            .define("ELEMENT", self.ty.name())
            .define("ACC", self.ty.accumulate().name())
            .define("LOGITS", if self.logits { "1" } else { "0" })
    }

    /// Writes the log-probabilities `[rows, classes]`, the loss of each row and its target's weight
    /// (`[rows]`, `f64`), then the sum of the weights (`total`, `f32`) and, where `out` is not 0, the
    /// losses' sum, or weighted mean where `mean`. `fault` takes a target that is no class.
    pub fn forward(
        &self,
        x: Ptr,
        log_probabilities: Ptr,
        [losses, weights]: [Ptr; 2],
        (out, mean): (Ptr, bool),
        total: Ptr,
        fault: Ptr,
    ) -> Launches {
        let mut launches = Launches::new();
        if self.rows > 0 && self.classes > 0 {
            let mut rows = flat(self.unit(), "class_loss_rows", self.rows as u32);
            rows.block[0] = row_threads(self.classes, self.ty);
            let args = rows.args.push(x).push(self.target).push(self.weight);
            let args = args.push(log_probabilities).push(losses).push(weights);
            args.push(self.classes as i64).push(self.ignore);
            rows.args.push(self.smoothing).push(fault);
            launches.push(rows);
        }
        let mut sum = flat(self.unit(), "class_loss_sum", 1);
        sum.block[0] = 4 * BLOCK;
        let args = sum.args.push(losses).push(weights).push(out).push(total);
        args.push(self.rows as i64).push(i32::from(mean));
        launches.push(sum);
        launches
    }

    /// The gradient `[rows, classes]` from that of the loss: `grad` holds one number, or one for
    /// each row where `each`; `total` is 0 where nothing was divided by it.
    pub fn backward(
        &self,
        log_probabilities: Ptr,
        (grad, each): (Ptr, bool),
        total: Ptr,
        out: Ptr,
    ) -> Option<Launch> {
        if self.rows * self.classes == 0 {
            return None;
        }
        let mut launch = flat(self.unit(), "class_loss_backward", self.rows as u32);
        launch.block[0] = row_threads(self.classes, self.ty);
        let args = launch.args.push(log_probabilities).push(self.target);
        let args = args.push(self.weight).push(grad).push(i32::from(each));
        let args = args.push(total).push(out).push(self.classes as i64);
        args.push(self.ignore).push(self.smoothing);
        Some(launch)
    }
}
