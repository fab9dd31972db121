//! Planes filled by whole registers.

use crate::alloc::Pod;
use crate::conv::places;
use crate::conv::planes::Planes;
use crate::float::Float;
use crate::lanes::Lanes;

/// Bytes that are copied at once.
const CHUNK: usize = 64;

/// What is copied from a source plane to [`Planes`], worked out once.
pub(super) struct Fill {
    phases: Vec<Phase>,
    /// Distance of columns in the source that are next to each other in a phase.
    step: usize,
}

/// The rows of one of the interleaved planes.
struct Phase {
    /// First element in the source, and the distance of slices and rows there.
    from: usize,
    source: [usize; 2],
    /// The same in the planes.
    to: usize,
    planes: [usize; 2],
    /// Slices, rows, elements of a row.
    count: [usize; 3],
}

impl Fill {
    pub fn new(planes: &Planes) -> Self {
        let ([_, h, w], step) = (planes.source, planes.step);
        let phases = places(step)
            .map(|at| {
                let runs = [0, 1, 2].map(|d| planes.run(d, at[d]));
                let [first, place, count] =
                    [runs.map(|r| r.0), runs.map(|r| r.1), runs.map(|r| r.2)];
                Phase {
                    from: (first[0] * h + first[1]) * w + first[2],
                    source: [step[0] * h * w, step[1] * w],
                    to: planes.offset(at)
                        + place[0] * planes.slice()
                        + place[1] * planes.pitch()
                        + place[2],
                    planes: [planes.slice(), planes.pitch()],
                    count,
                }
            })
            .filter(|phase| !phase.count.contains(&0))
            .collect();
        Self {
            phases,
            step: step[2],
        }
    }

    /// Copies the plane of `x` that begins at `at` into zeroed `to`. Each row is followed by up to
    /// a chunk of zeros, which the next row overwrites as far as it reaches.
    ///
    /// # Safety
    /// Inside a kernel.
    #[inline(always)]
    pub unsafe fn plane<T: Float, L: Lanes<T>, C: Pod>(&self, x: &[C], at: usize, to: &mut [C]) {
        for phase in &self.phases {
            let [depth, height, width] = phase.count;
            let last = (depth - 1) * phase.planes[0] + (height - 1) * phase.planes[1];
            assert!(phase.to + last + width + CHUNK / size_of::<C>() <= to.len());
            for d in 0..depth {
                for h in 0..height {
                    let from = phase.from + d * phase.source[0] + h * phase.source[1];
                    let place = phase.to + d * phase.planes[0] + h * phase.planes[1];
                    // SAFETY: inside a kernel; the assertion found the last row and a chunk behind
                    // it in `to`.
                    unsafe {
                        let to = to.as_mut_ptr().add(place);
                        copy_row::<T, L, C>(&x[at + from..], to, width, self.step);
                    }
                }
            }
        }
    }
}

/// `to[i] = from[i * step]` for `i < count`, and zeros after that, a chunk at most.
///
/// # Safety
/// Inside a kernel; there is room for `count` elements and a chunk.
#[inline(always)]
pub(super) unsafe fn copy_row<T: Float, L: Lanes<T>, C: Pod>(
    from: &[C],
    to: *mut C,
    count: usize,
    step: usize,
) {
    assert!(count > 0 && (count - 1) * step < from.len());
    let chunk = CHUNK / size_of::<C>();
    let mut i = 0;
    // SAFETY: of `from` no more is read than there is, of `to` less than a chunk after the end is
    // written; all bits are good values.
    unsafe {
        let x = from.as_ptr();
        match step {
            1 if size_of::<C>() == size_of::<T>() => {
                for i in (0..count).step_by(L::N) {
                    let part = L::load_first(x.add(i).cast(), L::N.min(count - i));
                    L::store(to.add(i).cast(), part);
                }
                return;
            }
            1 => {
                while i < count && i + chunk <= from.len() {
                    let part = x.add(i).cast::<[u64; CHUNK / 8]>().read_unaligned();
                    to.add(i).cast::<[u64; CHUNK / 8]>().write_unaligned(part);
                    i += chunk;
                }
            }
            2 if size_of::<C>() == size_of::<T>() => {
                while i < count && 2 * (i + L::N) <= from.len() {
                    let x = x.add(2 * i).cast::<T>();
                    let even = L::split(L::load(x), L::load(x.add(L::N))).0;
                    L::store(to.add(i).cast(), even);
                    i += L::N;
                }
            }
            2 => {
                while i < count && 2 * (i + 16) <= from.len() {
                    let part = x.add(2 * i).cast::<[[C; 2]; 16]>().read_unaligned();
                    to.add(i)
                        .cast::<[C; 16]>()
                        .write_unaligned(part.map(|pair| pair[0]));
                    i += 16;
                }
            }
            _ => {}
        }
        for i in i..count {
            *to.add(i) = *x.add(i * step);
        }
        to.add(count)
            .cast::<[u64; CHUNK / 8]>()
            .write_unaligned([0; CHUNK / 8]);
    }
}
