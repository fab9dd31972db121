//! Matrix products.

use super::{Row, tensors};
use flambeau::prelude::*;

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for n in [64, 256, 1024, 2048] {
        rows.push(product("f32", DType::F32, [n; 3], format!("{n}")));
        rows.push(product("bf16", DType::BF16, [n; 3], format!("{n}")));
    }
    for [m, k, n] in [
        [1, 1024, 1024],
        [4, 400, 120],
        [1024, 1024, 8],
        [32, 4096, 32],
    ] {
        rows.push(product(
            "f32",
            DType::F32,
            [m, k, n],
            format!("{m}x{k}x{n}"),
        ));
    }
    rows.push(
        tensors(
            "bmm_32x128x64x128",
            || Ok([Tensor::randn([32, 128, 64])?, Tensor::randn([32, 64, 128])?]),
            |[x, y]| x.bmm(y),
        )
        .flop(2 * 32 * 128 * 64 * 128),
    );
    rows
}

fn product(label: &str, dtype: DType, [m, k, n]: [usize; 3], shape: String) -> Row {
    tensors(
        format!("matmul_{label}_{shape}"),
        move || {
            let (x, y) = (Tensor::randn([m, k])?, Tensor::randn([k, n])?);
            Ok([x.to_dtype(dtype)?, y.to_dtype(dtype)?])
        },
        |[x, y]| x.matmul(y),
    )
    .flop(2 * m * k * n)
}
