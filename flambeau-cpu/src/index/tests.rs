use super::*;

/// Numbers that look random.
fn numbers(n: usize, below: usize) -> Vec<i64> {
    (0..n)
        .map(|i| ((i * 7919 + i / 7 * 104_729) % below) as i64)
        .collect()
}

/// The place that element `i` of an index of `shape` names, one dimension after the other.
fn place(i: usize, index: i64, shape: &[usize], sizes: &[usize], dim: usize) -> usize {
    let (mut rest, mut at, mut stride) = (i, 0, 1);
    for d in (0..shape.len()).rev() {
        at += stride
            * if d == dim {
                index as usize
            } else {
                rest % shape[d]
            };
        (rest, stride) = (rest / shape[d], stride * sizes[d]);
    }
    at
}

#[test]
fn an_index_for_each_element_is_followed() {
    let cases: &[(&[usize], &[usize], usize)] = &[
        (&[5], &[3], 0),
        (&[50_000], &[70], 0),
        (&[3, 40_000], &[4, 50], 1),
        (&[300, 170], &[90, 170], 0),
        (&[300, 150], &[90, 170], 0),
        (&[9000, 3], &[9000, 5], 1),
        (&[4, 30, 6, 50], &[5, 20, 6, 50], 1),
        (&[4, 30, 5, 50], &[5, 20, 6, 60], 1),
        (&[40, 10, 5, 9], &[41, 10, 6, 60], 3),
        (&[2, 0, 3], &[2, 5, 3], 1),
    ];
    for &(shape, sizes, dim) in cases {
        let (n, all) = (shape.iter().product(), sizes.iter().product::<usize>());
        let index = numbers(n, sizes[dim]);
        let along = Along::new(&index, shape, sizes, dim);
        let x: Vec<i32> = (0..all as i32).collect();
        let src: Vec<i32> = (0..n as i32).map(|v| -v - 1).collect();
        let mut got = vec![0; n];
        gather(&x, along, &mut got).unwrap();
        let (mut put, mut sum) = (x.clone(), x.clone());
        scatter(&mut put, along, &src).unwrap();
        scatter_add(&mut sum, along, &src).unwrap();
        let (mut want_put, mut want_sum) = (x.clone(), x.clone());
        for i in 0..n {
            let at = place(i, index[i], shape, sizes, dim);
            assert_eq!(got[i], x[at], "{shape:?} {sizes:?} {dim}");
            want_put[at] = src[i];
            want_sum[at] += src[i];
        }
        assert!(
            put == want_put && sum == want_sum,
            "{shape:?} {sizes:?} {dim}"
        );
    }
}

#[test]
fn an_index_out_of_range_is_returned() {
    let mut out = [0; 3];
    let bad = |i| gather(&[1, 2], Along::new(&[0, i, 1], &[3], &[2], 0), &mut [0; 3]);
    assert_eq!((bad(2), bad(-1), bad(1)), (Err(2), Err(-1), Ok(())));
    let along = Along::new(&[0, 3, -4], &[3], &[3], 0);
    assert_eq!(scatter(&mut out, along, &[1, 1, 1]), Err(3));
}

#[test]
#[should_panic(expected = "an index of")]
fn an_index_that_is_too_long_is_refused() {
    Along::new(&[0; 6], &[2, 3], &[2, 2], 0);
}

#[test]
fn places_are_followed() {
    let n = 3000;
    for (before, scale, after, block) in [
        (&[][..], 1, &[][..], 1),
        (&[], 300, &[], 300),
        (&[], 7, &[], 5),
        (&[(40, 500)], 2, &[], 1),
        (&[(3, 40_000)], 100, &[(2, 50)], 40),
        (&[(2, 70_000), (3, 1)], 300, &[(10, 30), (3, 7)], 1),
        // Rows that overlap.
        (&[(4, 1)], 2, &[], 70),
    ] {
        let index = numbers(if before.is_empty() { n } else { n / 10 }, 90);
        let places = Places {
            before,
            index: &index,
            scale,
            after,
            block,
        };
        let (first, behind) = (offsets(before), offsets(after));
        let all = first.iter().flat_map(|b| {
            let (behind, index) = (&behind, &index);
            index.iter().flat_map(move |&i| {
                let base = b + i as usize * scale;
                behind
                    .iter()
                    .flat_map(move |a| (0..block).map(move |k| base + a + k))
            })
        });
        let all: Vec<usize> = all.collect();
        let x: Vec<i64> = (0..=*all.iter().max().unwrap() as i64).collect();
        let values: Vec<i64> = (0..all.len() as i64).map(|v| v * 3 + 1).collect();
        let mut got = vec![0; all.len()];
        pick(&x, places, &mut got);
        let (mut with, mut sum) = (x.clone(), x.clone());
        put(&mut with, places, &values);
        put_add(&mut sum, places, &values);
        let (mut want_with, mut want_sum) = (x.clone(), x.clone());
        for (k, &at) in all.iter().enumerate() {
            assert_eq!(got[k], x[at]);
            want_with[at] = values[k];
            want_sum[at] += values[k];
        }
        assert!(with == want_with && sum == want_sum, "{places:?}");
    }
}

fn offsets(dims: &[(usize, usize)]) -> Vec<usize> {
    let mut out = vec![0];
    for &(size, stride) in dims {
        out = (out.iter())
            .flat_map(|&at| (0..size).map(move |i| at + i * stride))
            .collect();
    }
    out
}

#[test]
#[should_panic(expected = "reach out of")]
fn places_outside_are_refused() {
    let rows = Places {
        before: &[],
        index: &[2],
        scale: 2,
        after: &[],
        block: 2,
    };
    put(&mut [0; 5], rows, &[1, 2]);
}

#[test]
fn integers_are_counted() {
    for (n, below) in [(0, 5), (10, 7), (10_001, 50), (20_000, 5000)] {
        let x = numbers(n, below);
        let (mut out, mut want) = (vec![7; below], vec![0; below]);
        count(&x, &mut out);
        x.iter().for_each(|&v| want[v as usize] += 1);
        assert_eq!(out, want, "{n} below {below}");
    }
}
