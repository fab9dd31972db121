//! One pass over many tensors: optimizers' updates in one launch.

use super::{BLOCK, Launches, Memory, flat};
use crate::{Pod, Ptr, Type, Unit};

/// Tensors of a launch, arrays of a tensor, numbers of an update, elements of a block: as in `fused.cu`.
const TENSORS: usize = 48;
const DEPTH: usize = 6;
/// How many numbers an update takes.
pub const NUMBERS: usize = 24;
const CHUNK: usize = 4096;

/// The arrays of one tensor, all of one length: those that are written, then those that are read.
#[derive(Clone, Copy, Debug)]
pub struct Arrays<'a> {
    /// Their first elements.
    pub ptrs: &'a [Ptr],
    /// How many elements each has.
    pub len: usize,
}

/// `List` of `fused.cu`.
#[derive(Clone, Copy)]
#[repr(C)]
struct List {
    array: [[Ptr; TENSORS]; DEPTH],
    length: [i64; TENSORS],
    first: [u32; TENSORS + 1],
    count: u32,
}

// SAFETY: integers; 49 + 1 of four bytes leave no padding, and the C++ struct has the same fields.
unsafe impl Pod for List {}

#[derive(Clone, Copy)]
#[repr(C)]
struct Numbers([f64; NUMBERS]);

// SAFETY: numbers of eight bytes.
unsafe impl Pod for Numbers {}

/// An update of each element: `writes` arrays that change, `reads` that do not, and statements over
/// `w0` to `w3` (which they assign), `r0` (the gradient), `r1`, and `p0` to `p11`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    /// Arrays that change, at most 4.
    pub writes: usize,
    /// Arrays that are read, at most 2.
    pub reads: usize,
    /// CUDA C++, without a semicolon at the end; `ACC` is the computing type.
    pub body: &'static str,
}

impl Update {
    /// SGD without momentum. Reads the gradient. `p0` learning rate, `p1` weight decay, `p2` 1 or,
    /// to climb, -1.
    pub const SGD: Update = Update {
        writes: 1,
        reads: 1,
        body: "ACC g = p2 * r0; if (p1 != 0) g += p1 * w0; w0 -= p0 * g",
    };
    /// SGD with momentum in `w1`. `p0` to `p2` as of [`SGD`](Update::SGD), `p3` momentum, `p4` 1 less
    /// dampening, `p5` whether Nesterov's, `p6` whether this is the first step.
    pub const SGD_MOMENTUM: Update = Update {
        writes: 2,
        reads: 1,
        body: "ACC g = p2 * r0; if (p1 != 0) g += p1 * w0; \
               w1 = p6 != 0 ? g : p3 * w1 + p4 * g; \
               w0 -= p0 * (p5 != 0 ? g + p3 * w1 : w1)",
    };
    /// Adam and AdamW, averages in `w1` and `w2`. `p0` 1 - beta1, `p1` beta2, `p2` 1 - beta2, `p3` eps,
    /// `p4` step size (learning rate over 1 - beta1^n), `p5` sqrt(1 - beta2^n), `p6` weight decay
    /// (Adam's), `p7` what the parameter is multiplied by first (AdamW's 1 - lr * decay), `p8` 1 or -1.
    pub const ADAM: Update = Update {
        writes: 3,
        reads: 1,
        body: "w0 *= p7; ACC g = p8 * r0; if (p6 != 0) g += p6 * w0; \
               w1 += p0 * (g - w1); w2 = p1 * w2 + p2 * g * g; \
               w0 -= p4 * w1 / (sqrt(w2) / p5 + p3)",
    };
    /// The same with the greatest second average so far in `w3`.
    pub const ADAM_AMSGRAD: Update = Update {
        writes: 4,
        reads: 1,
        body: "w0 *= p7; ACC g = p8 * r0; if (p6 != 0) g += p6 * w0; \
               w1 += p0 * (g - w1); w2 = p1 * w2 + p2 * g * g; w3 = maximum(w3, w2); \
               w0 -= p4 * w1 / (sqrt(w3) / p5 + p3)",
    };

    /// Runs the update over all tensors, of one type. `on_device`, where not 0, holds the numbers
    /// (`f64`) on the device instead, for launches that are replayed. Gradients are multiplied by
    /// `scale`, and nothing is done where `found` is not 0 (both `f32` on the device, or 0).
    ///
    /// # Panics
    /// If a tensor has not as many arrays as the update takes.
    pub fn launch(
        self,
        ty: Type,
        tensors: &[Arrays<'_>],
        numbers: [f64; NUMBERS],
        on_device: Ptr,
        [scale, found]: [Ptr; 2],
    ) -> Launches {
        const COUNT: [&str; 5] = ["0", "1", "2", "3", "4"];
        let unit = unit(ty)
            .define("WRITES", COUNT[self.writes])
            .define("READS", COUNT[self.reads])
            .define("BODY", self.body);
        lists(tensors, self.writes + self.reads)
            .map(|(list, chunks)| {
                let mut launch = flat(unit.clone(), "update", chunks);
                let args = launch.args.push(list).push(Numbers(numbers));
                args.push(on_device).push(scale).push(found);
                launch
            })
            .collect()
    }
}

fn unit(ty: Type) -> Unit {
    Unit::new("fused.cu")
        .define("ELEMENT", ty.name())
        .define("ACC", ty.accumulate().name())
}

/// The tensors by as many as a launch takes, empty ones left out, and the blocks of each launch.
fn lists<'a>(tensors: &'a [Arrays<'a>], depth: usize) -> impl Iterator<Item = (List, u32)> + 'a {
    let some: Vec<_> = tensors.iter().filter(|t| t.len > 0).collect();
    let count = some.len().div_ceil(TENSORS);
    (0..count).map(move |i| {
        let some = &some[i * TENSORS..some.len().min((i + 1) * TENSORS)];
        let mut list = List {
            array: [[0; TENSORS]; DEPTH],
            length: [0; TENSORS],
            first: [0; TENSORS + 1],
            count: some.len() as u32,
        };
        let mut chunks = 0;
        for (t, tensor) in some.iter().enumerate() {
            assert_eq!(tensor.ptrs.len(), depth, "arrays of a tensor");
            for (array, &ptr) in list.array.iter_mut().zip(tensor.ptrs) {
                array[t] = ptr;
            }
            list.length[t] = tensor.len as i64;
            list.first[t] = chunks;
            chunks += tensor.len.div_ceil(CHUNK) as u32;
            list.first[t + 1] = chunks;
        }
        (list, chunks)
    })
}

/// The norm (`f32`) of all tensors taken together, each given as one array.
pub fn list_norm(ty: Type, tensors: &[Arrays<'_>], out: Ptr, memory: Memory<'_>) -> Launches {
    let total: usize = tensors.iter().map(|t| t.len.div_ceil(CHUNK)).sum();
    let parts = memory(total.max(1) * size_of::<f64>());
    let mut at = parts;
    let mut launches: Launches = lists(tensors, 1)
        .map(|(list, chunks)| {
            let mut launch = flat(unit(ty), "list_squares", chunks);
            launch.args.push(list).push(at);
            at += u64::from(chunks) * size_of::<f64>() as u64;
            launch
        })
        .collect();
    let mut norm = flat(unit(ty), "list_norm", 1);
    norm.block[0] = 4 * BLOCK;
    norm.args.push(parts).push(total as i64).push(out);
    launches.push(norm);
    launches
}

/// Multiplies all tensors by `scale` (`f32`, on the device); `found` (`f32`) becomes 1 where an
/// element is then not finite, and is else left alone.
pub fn list_unscale(ty: Type, tensors: &[Arrays<'_>], scale: Ptr, found: Ptr) -> Launches {
    lists(tensors, 1)
        .map(|(list, chunks)| {
            let mut launch = flat(unit(ty), "list_unscale", chunks);
            launch.args.push(list).push(scale).push(found);
            launch
        })
        .collect()
}
