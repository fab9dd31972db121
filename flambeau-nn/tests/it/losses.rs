//! Every loss and its gradient as in PyTorch, and what they refuse.

use crate::{alone, close, goldens, numbers, pattern, pattern_between, values};
use flambeau_core::{DType, Result, Tensor};
use flambeau_nn::functional as f;
use flambeau_nn::*;

/// As `classes` in make.py.
fn classes(shape: &[usize], n: usize) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let v: Vec<i64> = (0..count).map(|i| ((i * 31 + 5) % n) as i64).collect();
    Tensor::from_vec(v, shape)
}

fn loss(name: &str, x: &Tensor) -> Result<Tensor> {
    let r = match name.rsplit('_').next() {
        Some("none") => Reduction::None,
        Some("sum") => Reduction::Sum,
        _ => Reduction::Mean,
    };
    let kind = name
        .strip_suffix("_mean")
        .or(name.strip_suffix("_sum"))
        .or(name.strip_suffix("_none"))
        .unwrap_or(name);
    let w4 = || pattern_between(&[4], 7, 0.2, 2.0);
    let signs = |shape: &[usize]| classes(shape, 2)?.mul(2)?.sub(1)?.to_dtype(DType::F32);
    let t = || pattern(x.shape(), 9);
    let t01 = || pattern_between(x.shape(), 9, 0.0, 1.0);
    match kind {
        "cross_entropy" => CrossEntropyLoss::new()
            .reduction(r)
            .forward(x, &classes(&[6], 4)?),
        "cross_entropy_weight" => CrossEntropyLoss::new()
            .weight(w4()?)
            .label_smoothing(0.1)
            .ignore_index(2)
            .reduction(r)
            .forward(x, &classes(&[6], 4)?),
        "cross_entropy_smooth" => CrossEntropyLoss::new()
            .label_smoothing(0.2)
            .reduction(r)
            .forward(x, &classes(&[6], 4)?),
        "cross_entropy_planes" => {
            let t: Vec<i64> = classes(&[2, 3, 2], 4)?
                .to_vec()?
                .into_iter()
                .enumerate()
                .map(|(i, c)| if i % 3 == 0 { -100 } else { c })
                .collect();
            let t = Tensor::from_vec(t, [2, 3, 2])?;
            CrossEntropyLoss::new()
                .weight(w4()?)
                .reduction(r)
                .forward(x, &t)
        }
        "cross_entropy_soft" => CrossEntropyLoss::new()
            .weight(w4()?)
            .label_smoothing(0.1)
            .reduction(r)
            .forward(x, &pattern_between(&[5, 4], 8, 0.0, 1.0)?),
        "cross_entropy_one" => CrossEntropyLoss::new().forward(x, &Tensor::scalar(2i64)?),
        "nll" => NLLLoss::new()
            .weight(w4()?)
            .ignore_index(1)
            .reduction(r)
            .forward(&f::log_softmax(x, 1)?, &classes(&[6], 4)?),
        "nll_planes" => NLLLoss::new()
            .reduction(r)
            .forward(&f::log_softmax(x, 1)?, &classes(&[2, 3], 4)?),
        "mse" => MSELoss::new().reduction(r).forward(x, &t()?),
        "l1" => L1Loss::new().reduction(r).forward(x, &t()?),
        "smooth_l1" => SmoothL1Loss::new().beta(0.5).reduction(r).forward(x, &t()?),
        "huber" => HuberLoss::new().delta(0.7).reduction(r).forward(x, &t()?),
        "bce" => BCELoss::new()
            .weight(w4()?)
            .reduction(r)
            .forward(&f::sigmoid(x)?, &t01()?),
        "bce_logits" => BCEWithLogitsLoss::new().reduction(r).forward(x, &t01()?),
        "bce_logits_weights" => BCEWithLogitsLoss::new()
            .weight(w4()?)
            .pos_weight(w4()?.mul(2.0)?)
            .reduction(r)
            .forward(x, &t01()?),
        "kl" => KLDivLoss::new()
            .reduction(r)
            .forward(&f::log_softmax(x, 1)?, &t()?.relu()?),
        "kl_batchmean" => KLDivLoss::new()
            .batchmean(true)
            .forward(&f::log_softmax(x, 1)?, &t()?.relu()?),
        "kl_log" => KLDivLoss::new()
            .log_target(true)
            .reduction(r)
            .forward(&f::log_softmax(x, 1)?, &t()?),
        "cosine" => CosineEmbeddingLoss::new().margin(0.1).reduction(r).forward(
            x,
            &pattern(&[5, 4], 10)?,
            &signs(&[5])?,
        ),
        "ranking" => MarginRankingLoss::new().margin(0.2).reduction(r).forward(
            x,
            &pattern(&[6], 10)?,
            &signs(&[6])?,
        ),
        "hinge" => HingeEmbeddingLoss::new()
            .reduction(r)
            .forward(x, &signs(&[6])?),
        "triplet" => {
            TripletMarginLoss::new()
                .reduction(r)
                .forward(x, &t()?, &pattern(&[3, 4], 10)?)
        }
        "soft_margin" => SoftMarginLoss::new()
            .reduction(r)
            .forward(x, &signs(&[3, 4])?),
        "poisson" => PoissonNLLLoss::new()
            .reduction(r)
            .forward(x, &pattern_between(&[3, 4], 9, 0.0, 3.0)?),
        other => panic!("no such loss: {other}"),
    }
}

fn input_shape(name: &str) -> &'static [usize] {
    match name {
        "cross_entropy_one" => &[4],
        n if n.starts_with("cross_entropy_planes") => &[2, 4, 3, 2],
        n if n.starts_with("cross_entropy_soft") => &[5, 4],
        n if n.starts_with("nll_planes") => &[2, 4, 3],
        n if n.starts_with("cosine") => &[5, 4],
        n if n.starts_with("ranking") || n.starts_with("hinge") => &[6],
        n if n.starts_with("cross_entropy") || n.starts_with("nll") => &[6, 4],
        _ => &[3, 4],
    }
}

fn check(name: &str, want: &serde_json::Value, dtype: DType) -> Result<()> {
    let x = pattern(input_shape(name), 1)?
        .mul(2.0)?
        .to_dtype(dtype)?
        .requires_grad_(true)?;
    let y = loss(name, &x)?;
    y.mul(&pattern_between(y.shape(), 2, 0.5, 1.5)?)?
        .sum()?
        .backward()?;
    close(name, &values(&y), &numbers(&want["output"]), 2e-6);
    let grad = x.grad().unwrap();
    close(
        &format!("{name}: gradient"),
        &values(&grad),
        &numbers(&want["input_grad"]),
        2e-6,
    );
    Ok(())
}

#[test]
fn losses_are_pytorchs() {
    let _alone = alone();
    let goldens = goldens("losses");
    let mut failed = Vec::new();
    for (name, want) in goldens.as_object().unwrap() {
        let run = std::panic::AssertUnwindSafe(|| check(name, want, DType::F32));
        match std::panic::catch_unwind(run) {
            Ok(Ok(())) => {}
            Ok(Err(e)) => failed.push(format!("{name}: {e}")),
            Err(_) => failed.push(name.to_owned()),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn binary_cross_entropy_at_its_ends() -> Result<()> {
    // Values and the two large slopes are PyTorch's; the slopes of 1 are those of -log(1 - x) at 0
    // and -log(x) at 1, where PyTorch's formula loses them.
    let x = Tensor::new([0.0f32, 0.0, 1.0, 1.0])?.requires_grad_(true)?;
    let t = Tensor::new([0.0f32, 1.0, 0.0, 1.0])?;
    let y = f::binary_cross_entropy(&x, &t, None, Reduction::None)?;
    assert_eq!(y.to_vec::<f32>()?, [0.0, 100.0, 100.0, 0.0]);
    y.sum()?.backward()?;
    assert_eq!(x.grad().unwrap().to_vec::<f32>()?, [1.0, -1e12, 1e12, -1.0]);
    Ok(())
}

#[track_caller]
fn refuses(result: Result<Tensor>, text: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(text), "{error:?} does not say {text:?}");
    assert!(error.contains("losses.rs"), "{error:?} does not say where");
}

#[test]
fn losses_do_not_broadcast() -> Result<()> {
    let (column, row) = (Tensor::ones([4, 1])?, Tensor::ones([4])?);
    let text = "the input has shape [4, 1], the target [4]; a loss does not broadcast. reshape one to the other: target.view([4, 1]), or input.squeeze()";
    refuses(MSELoss::new().forward(&column, &row), text);
    refuses(L1Loss::new().forward(&column, &row), text);
    refuses(HuberLoss::new().forward(&column, &row), text);
    refuses(SmoothL1Loss::new().forward(&column, &row), text);
    refuses(BCEWithLogitsLoss::new().forward(&column, &row), text);
    refuses(BCELoss::new().forward(&column, &row), text);
    refuses(KLDivLoss::new().forward(&column, &row), text);
    refuses(
        f::mse_loss(&row, &Tensor::ones([3])?, Reduction::Mean),
        "each element",
    );
    Ok(())
}

#[test]
fn classes_are_checked() -> Result<()> {
    let logits = Tensor::zeros([3, 4])?;
    let criterion = CrossEntropyLoss::new();
    refuses(
        criterion.forward(&logits, &Tensor::new([0i64, 4, 1])?),
        "target 4 of sample 1 is no class: the input has 4 classes, so targets are 0 to 3",
    );
    refuses(
        criterion.forward(&logits, &Tensor::new([0i64, -1, 1])?),
        "target -1 of sample 1",
    );
    refuses(
        criterion.forward(&logits, &Tensor::new([0.0f32, 1.0, 2.0])?),
        "to_dtype(DType::I64)",
    );
    refuses(
        NLLLoss::new().forward(&logits, &Tensor::new([0.0f32, 1.0, 2.0])?),
        "to_dtype(DType::I64)",
    );
    refuses(criterion.forward(&logits, &Tensor::new([0i64, 1])?), "[3]");
    // How the classes' numbers are held is no matter.
    let scores = pattern(&[3, 4], 1)?;
    let want = criterion.forward(&scores, &Tensor::new([0i64, 3, 1])?)?;
    for dtype in [DType::U8, DType::I8, DType::I16, DType::I32] {
        let target = Tensor::new([0, 3, 1])?.to_dtype(dtype)?;
        let loss = criterion.forward(&scores, &target)?;
        assert!(loss.equal(&want)?, "{dtype}");
        let loss = NLLLoss::new().forward(&scores.log_softmax(1)?, &target)?;
        close("nll", &values(&loss), &values(&want), 1e-6);
    }
    refuses(
        BCELoss::new().forward(&logits.add(2.0)?, &logits),
        "between 0 and 1",
    );
    Ok(())
}
