//! Every loss, as a module and as a function.

use crate::Family;
use crate::draw::Draw;
use flambeau::nn::{functional as f, *};
use flambeau::{Result, Tensor};

pub const ALL: &[(&str, Family, u64)] = &[
    ("classes", classes, 200),
    ("pairs", pairs, 200),
    ("loss_function", function, 100),
];

fn reduction(r: &mut Draw) -> Reduction {
    r.pick(&[Reduction::Mean, Reduction::Sum, Reduction::None])
}

fn classes(r: &mut Draw) -> Result<Vec<Tensor>> {
    let deep = r.chance(30);
    let x = r.tensor(if deep { &[4, 5, 2, 3] } else { &[4, 5] })?;
    let target = match r.below(5) {
        0 => r.like(&x)?.softmax(-1)?,
        _ => r.indices(if deep { &[4, 2, 3] } else { &[4] }, 5)?,
    };
    let weight = r.maybe(|r| r.tensor(&[5]))?;
    let ignore = r.int(-100);
    if r.flag() {
        let loss = CrossEntropyLoss::new().ignore_index(ignore);
        let loss = loss.label_smoothing(r.float(0.0)).reduction(reduction(r));
        let loss = match weight {
            Some(w) => loss.weight(w),
            None => loss,
        };
        let _ = loss.to_string();
        return Ok(vec![loss.forward(&x, &target)?]);
    }
    let loss = NLLLoss::new().ignore_index(ignore).reduction(reduction(r));
    let loss = match weight {
        Some(w) => loss.weight(w),
        None => loss,
    };
    Ok(vec![loss.forward(&x.log_softmax(1)?, &target)?])
}

fn pairs(r: &mut Draw) -> Result<Vec<Tensor>> {
    let x = r.tensor(&[4, 5])?;
    let y = match r.below(3) {
        0 => r.like(&x)?,
        _ => r.tensor(&[4, 5])?,
    };
    macro_rules! any {
        ($($t:ident $(.$option:ident($value:expr))*;)*) => {{
            let count = [$(stringify!($t)),*].len();
            let at = r.below(count);
            let mut i = 0;
            $(if { i += 1; i - 1 == at } {
                let loss = $t::new().reduction(reduction(r))$(.$option($value))*;
                let _ = loss.to_string();
                return Ok(vec![loss.forward(&x, &y)?]);
            })*
        }};
    }
    match r.below(5) {
        0 => {
            let mut loss = BCEWithLogitsLoss::new().reduction(reduction(r));
            if let Some(w) = r.maybe(|r| r.tensor(&[5]))? {
                loss = loss.weight(w);
            }
            if let Some(w) = r.maybe(|r| r.tensor(&[5]))? {
                loss = loss.pos_weight(w);
            }
            return Ok(vec![loss.forward(&x, &y)?]);
        }
        1 => {
            let mut loss = BCELoss::new().reduction(reduction(r));
            if let Some(w) = r.maybe(|r| r.tensor(&[5]))? {
                loss = loss.weight(w);
            }
            return Ok(vec![loss.forward(&x.sigmoid()?, &y)?]);
        }
        2 => {
            let t = r.tensor(&[4])?;
            let sign = t.sub(0.3)?.sign()?;
            let z = r.like(&x)?;
            return Ok(vec![match r.below(3) {
                0 => CosineEmbeddingLoss::new()
                    .margin(r.float(0.1))
                    .reduction(reduction(r))
                    .forward(&x, &y, &sign)?,
                1 => MarginRankingLoss::new()
                    .margin(r.float(0.1))
                    .reduction(reduction(r))
                    .forward(&x, &y, &z)?,
                _ => TripletMarginLoss::new()
                    .margin(r.float(0.1))
                    .p(r.float(2.0))
                    .reduction(reduction(r))
                    .forward(&x, &y, &z)?,
            }]);
        }
        _ => {}
    }
    any! {
        MSELoss;
        L1Loss;
        SmoothL1Loss.beta(r.float(1.0));
        HuberLoss.delta(r.float(1.0));
        KLDivLoss.log_target(r.flag()).batchmean(r.flag());
        HingeEmbeddingLoss.margin(r.float(1.0));
        SoftMarginLoss;
        PoissonNLLLoss.log_input(r.flag()).eps(r.float(1e-8));
    }
    Ok(vec![x])
}

fn function(r: &mut Draw) -> Result<Vec<Tensor>> {
    let x = r.tensor(&[4, 5])?;
    let y = r.tensor(&[4, 5])?;
    Ok(vec![match r.below(6) {
        0 => f::normalize(&x, r.float(2.0), r.int(1), r.float(1e-12))?,
        1 => f::cosine_similarity(&x, &y, r.int(1), r.float(1e-8))?,
        2 => f::pairwise_distance(&x, &y, r.float(2.0), r.float(1e-6))?,
        3 => f::smooth_l1_loss(&x, &y, reduction(r), r.float(1.0))?,
        4 => {
            let w = r.maybe(|r| r.tensor(&[5]))?;
            let t = r.indices(&[4], 5)?;
            f::cross_entropy(&x, &t, w.as_ref(), r.int(-100), reduction(r), r.float(0.1))?
        }
        _ => f::kl_div(&x, &y, reduction(r), r.flag())?,
    }])
}
