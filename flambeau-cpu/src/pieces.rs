//! Loops over equal pieces of several output slices at once.

use crate::threads::{SyncPtr, parallel_for};

/// Runs `f(i, piece i of a, piece i of b, piece i of c)` for the `n` equal pieces of the slices on
/// several threads. `work` is the number of elements that a piece deals with. What is left over at
/// the end of a slice is not touched; an empty slice has empty pieces.
pub(crate) fn for_pieces3<A: Send, B: Send, C: Send>(
    n: usize,
    work: usize,
    (a, b, c): (&mut [A], &mut [B], &mut [C]),
    f: impl Fn(usize, &mut [A], &mut [B], &mut [C]) + Sync,
) {
    if n == 0 {
        return;
    }
    let (la, lb, lc) = (a.len() / n, b.len() / n, c.len() / n);
    let (a, b, c) = (
        SyncPtr(a.as_mut_ptr()),
        SyncPtr(b.as_mut_ptr()),
        SyncPtr(c.as_mut_ptr()),
    );
    parallel_for(n, (1 << 14) / work.max(1) + 1, |range| {
        for i in range {
            // SAFETY: `parallel_for` hands out each `i` once, `i < n`, and pieces of different `i`
            // are disjoint parts of slices of at least `n` times the piece's length.
            let (a, b, c) = unsafe {
                (
                    std::slice::from_raw_parts_mut(a.get().add(i * la), la),
                    std::slice::from_raw_parts_mut(b.get().add(i * lb), lb),
                    std::slice::from_raw_parts_mut(c.get().add(i * lc), lc),
                )
            };
            f(i, a, b, c);
        }
    });
}

/// [`for_pieces3`] of two slices.
pub(crate) fn for_pieces<A: Send, B: Send>(
    n: usize,
    work: usize,
    a: &mut [A],
    b: &mut [B],
    f: impl Fn(usize, &mut [A], &mut [B]) + Sync,
) {
    for_pieces3::<A, B, ()>(n, work, (a, b, &mut []), |i, a, b, _| f(i, a, b));
}

/// [`for_pieces3`] of one slice.
pub(crate) fn for_planes<A: Send>(
    n: usize,
    work: usize,
    a: &mut [A],
    f: impl Fn(usize, &mut [A]) + Sync,
) {
    for_pieces3::<A, (), ()>(n, work, (a, &mut [], &mut []), |i, a, _, _| f(i, a));
}
