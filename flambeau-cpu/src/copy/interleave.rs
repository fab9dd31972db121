//! Elements of several slices in turn.

use crate::alloc::Pod;
use crate::simd::dispatch;
use crate::threads::parallel_slices_mut;

/// Elements a thread takes at a time.
const GRAIN: usize = 1 << 14;

/// The first elements of all `parts`, then the second ones, and so on.
///
/// ```
/// let mut out = [0; 6];
/// flambeau_cpu::copy::interleave(&[&[1, 2, 3], &[4, 5, 6]], &mut out);
/// assert_eq!(out, [1, 4, 2, 5, 3, 6]);
/// ```
///
/// # Panics
/// If a part is shorter than there is room for in `out`, or that is not a whole number for each.
pub fn interleave<T: Pod>(parts: &[&[T]], out: &mut [T]) {
    let width = parts.len();
    assert!(
        width > 0 && out.len().is_multiple_of(width),
        "interleave: room"
    );
    let n = out.len() / width;
    assert!(parts.iter().all(|p| p.len() >= n), "interleave: parts");
    parallel_slices_mut(out, width, GRAIN, |start, out| {
        let first = start / width;
        let part = |k: usize| &parts[k][first..][..out.len() / width];
        // A width that the compiler knows is shuffled in registers.
        match width {
            2 => known([part(0), part(1)], out),
            3 => known([part(0), part(1), part(2)], out),
            4 => known([part(0), part(1), part(2), part(3)], out),
            _ => {
                for k in 0..width {
                    for (out, &x) in out.chunks_exact_mut(width).zip(&parts[k][first..]) {
                        out[k] = x;
                    }
                }
            }
        }
    });
}

fn known<T: Pod, const N: usize>(parts: [&[T]; N], out: &mut [T]) {
    dispatch(
        #[inline(always)]
        || {
            let (rows, _) = out.as_chunks_mut::<N>();
            let parts = parts.map(|p| &p[..rows.len()]);
            for (i, row) in rows.iter_mut().enumerate() {
                for k in 0..N {
                    row[k] = parts[k][i];
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_take_turns() {
        for width in 1..7 {
            for n in [0, 1, 5, 33, 20_000] {
                let parts: Vec<Vec<usize>> = (0..width)
                    .map(|k| (0..n + 2).map(|i| i * width + k).collect())
                    .collect();
                let parts: Vec<&[usize]> = parts.iter().map(Vec::as_slice).collect();
                let mut out = vec![0; n * width];
                interleave(&parts, &mut out);
                assert!(out.iter().enumerate().all(|(i, &v)| i == v), "{width} {n}");
            }
        }
    }
}
