//! Operations that are as fast as memory allows, one object of JSON a line:
//! `cargo run --release -p flambeau-core --example memory -- [a part, or part of a name]`.
//! `FLAMBEAU_NUM_THREADS` sets the threads; `examples/memory.py` runs PyTorch beside it.

use flambeau_core::autograd::Backward;
use flambeau_core::{BatchNormOptions, ClassLoss, DType, PoolOptions, Result, Tensor, no_grad};
use std::hint::black_box;
use std::time::Instant;

struct Bench {
    only: Option<String>,
}

impl Bench {
    fn wanted(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only))
    }

    /// Prints the shortest of the runs that fit into some 60 ms.
    fn time(&self, name: &str, mut f: impl FnMut() -> Result<Tensor>) -> Result<()> {
        if !self.wanted(name) {
            return Ok(());
        }
        black_box(f()?);
        let start = Instant::now();
        black_box(f()?);
        let calls = (1e-3 / start.elapsed().as_secs_f64()).clamp(1.0, 1e4) as u32;
        let (mut best, begun) = (f64::INFINITY, Instant::now());
        let mut rounds = 0;
        while rounds < 5 || begun.elapsed().as_secs_f64() < 0.06 {
            let start = Instant::now();
            for _ in 0..calls {
                black_box(f()?);
            }
            best = best.min(start.elapsed().as_secs_f64() / f64::from(calls));
            rounds += 1;
        }
        println!("{{\"name\": \"{name}\", \"seconds\": {best:e}}}");
        Ok(())
    }

    /// The forward pass without a graph, and the backward pass alone.
    fn both(
        &self,
        name: &str,
        inputs: &[&Tensor],
        f: impl Fn(&[Tensor]) -> Result<Tensor>,
    ) -> Result<()> {
        if !self.wanted(name) {
            return Ok(());
        }
        let plain: Vec<Tensor> = inputs.iter().map(|x| x.detach()).collect();
        self.time(&format!("{name} fwd"), || no_grad(|| f(&plain)))?;
        let leaves = inputs
            .iter()
            .map(|x| x.detach().requires_grad_(x.is_floating_point()))
            .collect::<Result<Vec<_>>>()?;
        let grad = f(&leaves)?.detach().ones_like()?;
        self.time(&format!("{name} fwd+bwd"), || {
            let y = f(&leaves)?;
            y.backward_with(Backward::new().gradient(&grad))?;
            leaves.iter().for_each(Tensor::zero_grad);
            Ok(y)
        })
    }
}

const SIZES: [(&str, usize); 4] = [
    ("1k", 1 << 10),
    ("32k", 1 << 15),
    ("1M", 1 << 20),
    ("16M", 1 << 24),
];

fn elementwise(b: &Bench) -> Result<()> {
    for (label, n) in SIZES {
        let (x, y) = (Tensor::randn([n])?, Tensor::randn([n])?);
        let mask = x.gt(0.0)?;
        let positive = x.abs()?.add(0.1)?;
        b.time(&format!("add {label}"), || x.add(&y))?;
        b.time(&format!("add_ {label}"), || x.add_(&y))?;
        b.time(&format!("add scalar {label}"), || x.add(0.5))?;
        b.time(&format!("mul_ scalar {label}"), || x.mul_(1.0))?;
        b.time(&format!("div {label}"), || x.div(&y))?;
        b.time(&format!("relu {label}"), || x.relu())?;
        b.time(&format!("relu_ {label}"), || x.relu_())?;
        b.time(&format!("sqrt {label}"), || positive.sqrt())?;
        b.time(&format!("exp {label}"), || y.exp())?;
        b.time(&format!("log {label}"), || positive.log())?;
        b.time(&format!("tanh {label}"), || y.tanh())?;
        b.time(&format!("erf {label}"), || y.erf())?;
        b.time(&format!("sigmoid {label}"), || y.sigmoid())?;
        b.time(&format!("gelu {label}"), || y.gelu())?;
        b.time(&format!("silu {label}"), || y.silu())?;
        b.time(&format!("clamp {label}"), || y.clamp(-1.0, 1.0))?;
        b.time(&format!("gt {label}"), || x.gt(&y))?;
        b.time(&format!("where {label}"), || mask.where_(&x, &y))?;
        b.time(&format!("masked_fill {label}"), || {
            x.masked_fill(&mask, 0.0)
        })?;
        b.time(&format!("dropout {label}"), || x.dropout(0.5, true))?;
        b.time(&format!("fill_ {label}"), || x.fill_(1.0))?;
        b.time(&format!("clone {label}"), || y.copy())?;
        let half = y.to_dtype(DType::BF16)?;
        b.time(&format!("f32 to bf16 {label}"), || y.to_dtype(DType::BF16))?;
        b.time(&format!("bf16 to f32 {label}"), || {
            half.to_dtype(DType::F32)
        })?;
        b.time(&format!("bf16 add {label}"), || half.add(&half))?;
        b.time(&format!("bf16 gelu {label}"), || half.gelu())?;
        let f16 = y.to_dtype(DType::F16)?;
        b.time(&format!("f32 to f16 {label}"), || y.to_dtype(DType::F16))?;
        b.time(&format!("f16 add {label}"), || f16.add(&f16))?;
        let int = x.to_dtype(DType::I64)?;
        b.time(&format!("i64 to f32 {label}"), || int.to_dtype(DType::F32))?;
        let byte = mask.to_dtype(DType::U8)?;
        b.time(&format!("u8 to f32 {label}"), || byte.to_dtype(DType::F32))?;
    }
    for (label, n) in &SIZES[..3] {
        let x = Tensor::randn([*n])?;
        b.both(&format!("gelu {label}"), &[&x], |x| x[0].gelu())?;
        b.both(&format!("relu {label}"), &[&x], |x| x[0].relu())?;
        b.both(&format!("tanh {label}"), &[&x], |x| x[0].tanh())?;
        b.both(&format!("silu {label}"), &[&x], |x| x[0].silu())?;
        b.both(&format!("mul {label}"), &[&x, &x], |x| x[0].mul(&x[1]))?;
    }
    let image = Tensor::randn([32, 64, 32, 32])?;
    let channel = Tensor::randn([64, 1, 1])?;
    let rows = Tensor::randn([4096, 1024])?;
    let (row, column) = (Tensor::randn([1024])?, Tensor::randn([4096, 1])?);
    b.both("add [32,64,32,32]+[64,1,1]", &[&image, &channel], |x| {
        x[0].add(&x[1])
    })?;
    b.both("add 4096x1024 + 1024", &[&rows, &row], |x| x[0].add(&x[1]))?;
    b.both("mul 4096x1024 * 4096x1", &[&rows, &column], |x| {
        x[0].mul(&x[1])
    })?;
    b.time("add 4096x1024 + t", || {
        rows.view([1024, 4096])?.add(&rows.t()?)
    })?;
    Ok(())
}

fn reductions(b: &Bench) -> Result<()> {
    for (label, n) in SIZES {
        let x = Tensor::randn([n])?;
        b.time(&format!("sum {label}"), || x.sum())?;
        b.time(&format!("mean {label}"), || x.mean())?;
        b.time(&format!("max {label}"), || x.max())?;
        b.time(&format!("argmax {label}"), || x.argmax((), false))?;
        b.time(&format!("var {label}"), || x.var())?;
        b.time(&format!("norm {label}"), || x.norm(2.0, (), false))?;
        let half = x.to_dtype(DType::BF16)?;
        b.time(&format!("bf16 sum {label}"), || half.sum())?;
        let mask = x.gt(0.0)?;
        b.time(&format!("bool sum {label}"), || mask.sum())?;
        b.time(&format!("any {label}"), || mask.logical_not()?.any())?;
    }
    for shape in [
        &[4096usize, 1024][..],
        &[64, 256, 256],
        &[32, 64, 1024],
        &[100_000, 10],
    ] {
        let x = Tensor::randn(shape)?;
        for dim in 0..shape.len() as i64 {
            let label = format!("{shape:?} dim {dim}");
            b.time(&format!("sum {label}"), || x.sum_dim(dim, false))?;
            b.time(&format!("mean {label}"), || x.mean_dim(dim, false))?;
            b.time(&format!("amax {label}"), || x.amax(dim, false))?;
            b.time(&format!("max {label}"), || Ok(x.max_dim(dim, false)?.0))?;
            b.time(&format!("argmax {label}"), || x.argmax(dim, false))?;
            b.time(&format!("var {label}"), || x.var_dim(dim, 1.0, false))?;
            b.time(&format!("std {label}"), || x.std_dim(dim, 1.0, false))?;
            b.time(&format!("cumsum {label}"), || x.cumsum(dim))?;
            b.both(&format!("softmax {label}"), &[&x], |x| x[0].softmax(dim))?;
            b.both(&format!("log_softmax {label}"), &[&x], |x| {
                x[0].log_softmax(dim)
            })?;
        }
    }
    let image = Tensor::randn([32, 64, 32, 32])?;
    b.both("sum [32,64,32,32] dims 0,2,3", &[&image], |x| {
        x[0].sum_dim([0, 2, 3], false)
    })?;
    b.both("mean [32,64,32,32] dims 2,3", &[&image], |x| {
        x[0].mean_dim([2, 3], false)
    })?;
    b.time("var [32,64,32,32] dims 0,2,3", || {
        image.var_dim([0, 2, 3], 1.0, false)
    })?;
    for (rows, classes) in [(128, 10), (4096, 1024), (256, 50_000)] {
        let x = Tensor::randn([rows, classes])?;
        let y = Tensor::randint(0, classes as i64, [rows])?;
        b.both(&format!("cross_entropy {rows}x{classes}"), &[&x], |x| {
            x[0].cross_entropy(&y, ClassLoss::default())
        })?;
    }
    Ok(())
}

fn norms(b: &Bench) -> Result<()> {
    for (rows, width) in [
        (4096usize, 1024usize),
        (1024, 256),
        (32, 768),
        (100_000, 32),
    ] {
        let x = Tensor::randn([rows, width])?;
        let (w, bias) = (Tensor::randn([width])?, Tensor::randn([width])?);
        b.both(
            &format!("layer_norm {rows}x{width}"),
            &[&x, &w, &bias],
            |x| x[0].layer_norm(&[width], Some(&x[1]), Some(&x[2]), 1e-5),
        )?;
    }
    for shape in [
        [32usize, 64, 32, 32],
        [32, 512, 4, 4],
        [4, 16, 8, 8],
        [128, 1024, 1, 1],
    ] {
        let x = Tensor::randn(shape)?;
        let (w, bias) = (Tensor::randn([shape[1]])?, Tensor::randn([shape[1]])?);
        let running = (Tensor::zeros([shape[1]])?, Tensor::ones([shape[1]])?);
        for training in [true, false] {
            let mode = if training { "train" } else { "eval" };
            b.both(
                &format!("batch_norm {mode} {shape:?}"),
                &[&x, &w, &bias],
                |x| {
                    x[0].batch_norm(BatchNormOptions {
                        running: Some((&running.0, &running.1)),
                        weight: Some(&x[1]),
                        bias: Some(&x[2]),
                        training,
                        ..Default::default()
                    })
                },
            )?;
        }
        if shape[2] > 1 {
            b.both(&format!("group_norm {shape:?}"), &[&x, &w, &bias], |x| {
                x[0].group_norm(8, Some(&x[1]), Some(&x[2]), 1e-5)
            })?;
        }
    }
    Ok(())
}

fn pools(b: &Bench) -> Result<()> {
    for shape in [[32usize, 64, 32, 32], [32, 64, 112, 112], [4, 6, 28, 28]] {
        let x = Tensor::randn(shape)?;
        let p = |kernel: usize, stride: usize, padding: usize| PoolOptions {
            stride: Some([stride; 2]),
            padding: [padding; 2],
            ..PoolOptions::new([kernel; 2])
        };
        b.both(&format!("max_pool 2x2 {shape:?}"), &[&x], |x| {
            x[0].max_pool2d(2)
        })?;
        b.both(&format!("max_pool 3x3 s2 p1 {shape:?}"), &[&x], |x| {
            x[0].max_pool2d(p(3, 2, 1))
        })?;
        b.both(&format!("avg_pool 2x2 {shape:?}"), &[&x], |x| {
            x[0].avg_pool2d(2)
        })?;
        b.both(&format!("avg_pool 3x3 s1 p1 {shape:?}"), &[&x], |x| {
            x[0].avg_pool2d(p(3, 1, 1))
        })?;
        b.both(&format!("adaptive_avg 1 {shape:?}"), &[&x], |x| {
            x[0].adaptive_avg_pool2d([1, 1])
        })?;
        b.both(&format!("adaptive_avg 7 {shape:?}"), &[&x], |x| {
            x[0].adaptive_avg_pool2d([7, 7])
        })?;
    }
    Ok(())
}

fn copies(b: &Bench) -> Result<()> {
    for (rows, columns) in [
        (4096usize, 1024usize),
        (64, 64),
        (1000, 1000),
        (3, 1_000_000),
    ] {
        let x = Tensor::randn([rows, columns])?;
        b.time(&format!("transpose {rows}x{columns}"), || {
            x.t()?.contiguous()
        })?;
        b.time(&format!("transpose bf16 {rows}x{columns}"), {
            let x = x.to_dtype(DType::BF16)?;
            move || x.t()?.contiguous()
        })?;
    }
    let image = Tensor::randn([32, 64, 32, 32])?;
    let last = Tensor::randn([32, 32, 32, 64])?;
    let heads = Tensor::randn([8, 128, 4, 64])?;
    b.time("NCHW to NHWC", || image.permute([0, 2, 3, 1])?.contiguous())?;
    b.time("NHWC to NCHW", || last.permute([0, 3, 1, 2])?.contiguous())?;
    b.time("heads [8,128,4,64] 0,2,1,3", || {
        heads.permute([0, 2, 1, 3])?.contiguous()
    })?;
    b.time("heads [8,128,4,64] 0,2,3,1", || {
        heads.permute([0, 2, 3, 1])?.contiguous()
    })?;
    b.time("slice columns", || image.slice(3, 0, 32, 2)?.contiguous())?;
    b.time("copy_ t", || image.copy_(&last.permute([0, 3, 1, 2])?))?;
    b.time("expand contiguous", || {
        Tensor::ones([1024])?.expand([4096, 1024])?.contiguous()
    })?;
    for dim in [0, 1, 3] {
        b.both(&format!("cat dim {dim}"), &[&image, &image], |x| {
            Tensor::cat(x, dim)
        })?;
    }
    let row = Tensor::randn([3, 32, 32])?;
    let rows = vec![&row; 128];
    b.time("stack 128 of [3,32,32]", || Tensor::stack(&rows, 0))?;
    b.time("flip", || image.flip(3))?;
    let table = Tensor::randn([50_000, 256])?;
    let index = Tensor::randint(0, 50_000, [4096])?;
    b.both("index_select 4096 of 50000x256", &[&table], |x| {
        x[0].index_select(0, &index)
    })?;
    let small = Tensor::randn([1000, 64])?;
    let tokens = Tensor::randint(0, 1000, [32, 128])?;
    b.both("embedding 1000x64 [32,128]", &[&small], |x| {
        tokens.embedding(&x[0], None, false)
    })?;
    b.both("embedding 50000x256 [4096]", &[&table], |x| {
        index.embedding(&x[0], None, false)
    })?;
    let x = Tensor::randn([4096, 1024])?;
    let along = Tensor::randint(0, 1024, [4096, 1024])?;
    b.both("gather 4096x1024 dim 1", &[&x], |x| x[0].gather(1, &along))?;
    b.both("gather 4096x1024 dim 0", &[&x], |x| x[0].gather(0, &along))?;
    b.time("scatter_add 4096x1024 dim 1", || {
        x.scatter_add(1, &along, &x)
    })?;
    b.time("scatter 4096x1024 dim 1", || x.scatter(1, &along, &x))?;
    let target = Tensor::zeros([50_000, 256])?;
    let source = Tensor::randn([4096, 256])?;
    b.time("index_add 4096 into 50000x256", || {
        target.index_add(0, &index, &source, 1.0)
    })?;
    let wide = Tensor::randn([1 << 20])?;
    let mask = wide.gt(0.0)?;
    b.time("masked_select 1M", || wide.masked_select(&mask))?;
    b.time("tril 1024", || x.slice(0, 0, 1024, 1)?.tril(0))?;
    Ok(())
}

fn main() -> Result<()> {
    type Part = fn(&Bench) -> Result<()>;
    let parts: [(&str, Part); 5] = [
        ("elementwise", elementwise),
        ("reductions", reductions),
        ("norms", norms),
        ("pools", pools),
        ("copies", copies),
    ];
    let only = std::env::args().nth(1);
    match parts.iter().find(|(name, _)| only.as_deref() == Some(name)) {
        Some((_, part)) => part(&Bench { only: None }),
        None => parts
            .iter()
            .try_for_each(|(_, part)| part(&Bench { only: only.clone() })),
    }
}
