//! How often integers occur.

/// Results for which there are several tables: an addition need not wait for the one before it where
/// that was to the same place.
const FEW: usize = 1 << 12;

/// Counts in `out` how often each of its indices occurs in `x`.
///
/// ```
/// let mut out = [0; 3];
/// flambeau_cpu::index::count(&[2, 0, 2], &mut out);
/// assert_eq!(out, [1, 0, 2]);
/// ```
///
/// # Panics
/// If an element is negative or not below the length of `out`.
pub fn count(x: &[i64], out: &mut [i64]) {
    out.fill(0);
    if out.len() > FEW || x.len() < 4 * out.len() {
        for &v in x {
            out[v as usize] += 1;
        }
        return;
    }
    let mut tables = vec![0u32; 4 * out.len()];
    // Fewer than what a number in a table holds.
    for x in x.chunks(u32::MAX as usize) {
        let (a, rest) = tables.split_at_mut(out.len());
        let (b, rest) = rest.split_at_mut(out.len());
        let (c, d) = rest.split_at_mut(out.len());
        let (fours, last) = x.as_chunks::<4>();
        for v in fours {
            a[v[0] as usize] += 1;
            b[v[1] as usize] += 1;
            c[v[2] as usize] += 1;
            d[v[3] as usize] += 1;
        }
        for &v in last {
            a[v as usize] += 1;
        }
        for (i, o) in out.iter_mut().enumerate() {
            *o += [&a[i], &b[i], &c[i], &d[i]]
                .into_iter()
                .map(|&n| n as i64)
                .sum::<i64>();
        }
        tables.fill(0);
    }
}
