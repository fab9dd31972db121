//! Functions, initial values, optimizers, schedules, loaders and pictures.

use crate::Family;
use crate::draw::Draw;
use flambeau::amp::GradScaler;
use flambeau::data::*;
use flambeau::nn::{functional as f, init, lr_scheduler::*};
use flambeau::optim::*;
use flambeau::vision::{Image, transforms::*, utils::Grid};
use flambeau::{Result, Tensor};
use std::time::Duration;

pub const ALL: &[(&str, Family, u64)] = &[
    ("functional", functional, 300),
    ("init", initial, 60),
    ("optimizer", optimizer, 200),
    ("schedule", schedule, 250),
    ("loader", loader, 150),
    ("split", split, 60),
    ("transform", transform, 200),
    ("grid", grid, 100),
];

fn functional(r: &mut Draw) -> Result<Vec<Tensor>> {
    let x = r.tensor(&[2, 4, 3, 3])?;
    let per_channel = |r: &mut Draw| r.maybe(|r| r.tensor(&[4]));
    Ok(vec![match r.below(16) {
        0 | 1 => {
            let (mean, var) = (per_channel(r)?, per_channel(r)?);
            let (w, b) = (per_channel(r)?, per_channel(r)?);
            let (train, momentum, eps) = (r.flag(), r.float(0.1), r.float(1e-5));
            let norm = if r.flag() {
                f::batch_norm
            } else {
                f::instance_norm
            };
            let parts = [&mean, &var, &w, &b].map(Option::as_ref);
            norm(
                &x, parts[0], parts[1], parts[2], parts[3], train, momentum, eps,
            )?
        }
        2 => {
            let (w, b) = (
                r.maybe(|r| r.tensor(&[3, 3]))?,
                r.maybe(|r| r.tensor(&[3, 3]))?,
            );
            let shape = r.sizes::<2>(3);
            f::layer_norm(&x, &shape, w.as_ref(), b.as_ref(), r.float(1e-5))?
        }
        3 => {
            let (w, b) = (per_channel(r)?, per_channel(r)?);
            f::group_norm(&x, r.size(2), w.as_ref(), b.as_ref(), r.float(1e-5))?
        }
        4 => {
            let (w, b) = (r.tensor(&[6, 2, 2, 2])?, r.maybe(|r| r.tensor(&[6]))?);
            let (s, p, d) = (r.sizes::<2>(1), r.sizes::<2>(1), r.sizes::<2>(1));
            f::conv2d(&x, &w, b.as_ref(), s, p, d, r.size(2))?
        }
        5 => {
            let (w, b) = (r.tensor(&[4, 3, 2, 2])?, r.maybe(|r| r.tensor(&[6]))?);
            let (s, p, d) = (r.sizes::<2>(2), r.sizes::<2>(1), r.sizes::<2>(1));
            let extra = r.sizes::<2>(1);
            f::conv_transpose2d(&x, &w, b.as_ref(), s, p, extra, r.size(2), d)?
        }
        6 => {
            let w = r.tensor(&[5, 3])?;
            f::linear(&x, &w, r.maybe(|r| r.tensor(&[5]))?.as_ref())?
        }
        7 => {
            let w = r.tensor(&[5, 3, 3])?;
            let y = r.like(&x)?;
            f::bilinear(&x, &y, &w, r.maybe(|r| r.tensor(&[5]))?.as_ref())?
        }
        8 => {
            let table = r.tensor(&[6, 4])?;
            let padding = r.flag().then(|| r.int(2));
            f::embedding(&r.indices(&[2, 3], 6)?, &table, padding)?
        }
        9 => {
            let count = 2 * r.below(6) + r.below(10) / 9;
            let sides: Vec<i64> = (0..count).map(|_| r.int(1)).collect();
            let mode = r.pick(&[
                f::PaddingMode::Zeros,
                f::PaddingMode::Reflect,
                f::PaddingMode::Replicate,
                f::PaddingMode::Circular,
            ]);
            f::pad(&x, &sides, mode, r.float(0.0))?
        }
        10 => f::dropout(&x, r.float(0.5), r.flag())?,
        11 => f::dropout2d(&x, r.float(0.5), r.flag())?,
        12 | 13 => {
            let q = r.tensor(&[2, 2, 3, 4])?;
            let (k, v) = (r.tensor(&[2, 2, 5, 4])?, r.tensor(&[2, 2, 5, 4])?);
            let mask = r.maybe(|r| match r.flag() {
                true => r.tensor(&[3, 5]),
                false => r.tensor(&[3, 5])?.gt(0.5),
            })?;
            let scale = r.flag().then(|| r.float(0.3));
            let (p, causal) = (r.float(0.0), r.chance(20));
            f::scaled_dot_product_attention(&q, &k, &v, mask.as_ref(), p, causal, scale)?
        }
        14 => f::glu(&x, r.int(1))?,
        _ => f::prelu(&x, &r.tensor(&[4])?)?,
    }])
}

fn initial(r: &mut Draw) -> Result<Vec<Tensor>> {
    let x = r.tensor(&[4, 3, 2])?.detach();
    let mode = r.pick(&[init::FanMode::FanIn, init::FanMode::FanOut]);
    let slope = init::Nonlinearity::LeakyReLU(r.float(0.1));
    Ok(vec![match r.below(9) {
        0 => init::uniform_(&x, r.float(-1.0), r.float(1.0))?,
        1 => init::normal_(&x, r.float(0.0), r.float(1.0))?,
        2 => init::constant_(&x, r.float(0.0))?,
        3 => init::eye_(&r.tensor(&[3, 4])?.detach())?,
        4 => init::xavier_uniform_(&x, r.float(1.0))?,
        5 => init::xavier_normal_(&x, r.float(1.0))?,
        6 => init::kaiming_uniform_(&x, mode, slope)?,
        7 => init::kaiming_normal_(&x, mode, slope)?,
        _ => init::zeros_(&x)?,
    }])
}

/// Two parameters, with gradients that fit or not.
fn parameters(r: &mut Draw) -> Result<Vec<Tensor>> {
    let mut all = Vec::new();
    for shape in [&[3, 2][..], &[4]] {
        let p = r.tensor(shape)?.detach();
        let p = if p.is_floating_point() {
            p.requires_grad_(true)?
        } else {
            p
        };
        if r.chance(80) {
            let g = r.like(&p)?.detach();
            let _ = p.set_grad(Some(g));
        }
        all.push(p);
    }
    if r.chance(5) {
        all.push(all[0].clone());
    }
    Ok(all)
}

fn steps<O: Optimizer>(
    r: &mut Draw,
    make: impl Fn(&mut Draw, Vec<Tensor>) -> O,
) -> Result<Vec<Tensor>> {
    let all = parameters(r)?;
    let mut one = make(r, all.clone());
    if r.chance(30) {
        clip_grad_norm_(all.clone(), r.float(1.0), r.float(2.0))?;
    }
    if r.chance(20) {
        clip_grad_value_(all.clone(), r.float(1.0))?;
    }
    for _ in 0..3 {
        if r.chance(20) {
            let mut scaler = GradScaler::new()
                .init_scale(r.float(2.0))
                .growth_factor(r.float(2.0));
            scaler = scaler
                .backoff_factor(r.float(0.5))
                .growth_interval(r.size(1) as u64);
            scaler.scale(&all[0].sum()?)?;
            scaler.step(&mut one)?;
            scaler.update()?;
        } else {
            one.step()?;
        }
        if r.chance(10) {
            one.set_lr(r.float(0.1));
        }
    }
    let saved = one.state_dict();
    let fresh = parameters(r)?;
    let mut other = make(r, fresh);
    other.load_state_dict(&saved)?;
    other.step()?;
    other.zero_grad();
    Ok(all)
}

fn optimizer(r: &mut Draw) -> Result<Vec<Tensor>> {
    let betas = |r: &mut Draw| (r.float(0.9), r.float(0.999));
    macro_rules! adam {
        ($t:ident) => {
            steps(r, |r, p| {
                let o = $t::new(p, r.float(0.1)).betas(betas(r)).eps(r.float(1e-8));
                o.weight_decay(r.float(0.1)).maximize(r.flag())
            })
        };
    }
    match r.below(9) {
        0 | 1 => steps(r, |r, p| {
            let o = Sgd::new(p, r.float(0.1)).momentum(r.float(0.9));
            o.dampening(r.float(0.0))
                .weight_decay(r.float(0.1))
                .nesterov(r.flag())
        }),
        2 => adam!(Adam),
        3 => adam!(AdamW),
        4 => adam!(Adamax),
        5 => adam!(NAdam),
        6 => adam!(RAdam),
        7 => steps(r, |r, p| {
            let o = RMSprop::new(p, r.float(0.1))
                .alpha(r.float(0.9))
                .eps(r.float(1e-8));
            o.momentum(r.float(0.9))
                .centered(r.flag())
                .weight_decay(r.float(0.1))
        }),
        _ => match r.flag() {
            true => steps(r, |r, p| {
                let o = Adagrad::new(p, r.float(0.1)).lr_decay(r.float(0.1));
                o.initial_accumulator_value(r.float(0.0)).eps(r.float(1e-8))
            }),
            false => steps(r, |r, p| Adadelta::new(p, r.float(0.1)).rho(r.float(0.9))),
        },
    }
}

/// A few epochs, then from a saved place that makes no sense.
fn epochs(r: &mut Draw, mut s: impl LrScheduler) -> Result<Vec<Tensor>> {
    for _ in 0..4 {
        s.step();
    }
    let mut saved = s.state_dict();
    if r.chance(60) {
        saved["last_epoch"] = r.int(3).into();
    }
    if r.chance(20) {
        saved["last_lr"] = r.float(0.1).into();
    }
    s.load_state_dict(&saved)?;
    s.step();
    s.step();
    Ok(vec![Tensor::new(s.get_last_lr())?])
}

fn schedule(r: &mut Draw) -> Result<Vec<Tensor>> {
    let o = Sgd::new([Tensor::ones([2])?], r.float(0.1)).momentum(0.9);
    match r.below(12) {
        0 => {
            let s = StepLR::new(&o, r.size(2) as u64).gamma(r.float(0.1));
            epochs(r, s)
        }
        1 => {
            let s = MultiStepLR::new(&o, vec![r.int(1), r.int(2)]).gamma(r.float(0.1));
            epochs(r, s)
        }
        2 => {
            let s = ExponentialLR::new(&o, r.float(0.9));
            epochs(r, s)
        }
        3 => {
            let s = ConstantLR::new(&o)
                .factor(r.float(0.5))
                .total_iters(r.int(2));
            epochs(r, s)
        }
        4 => {
            let s = LinearLR::new(&o)
                .start_factor(r.float(0.5))
                .end_factor(r.float(1.0));
            let s = s.total_iters(r.int(3));
            epochs(r, s)
        }
        5 => {
            let s = PolynomialLR::new(&o)
                .total_iters(r.int(3))
                .power(r.float(1.0));
            epochs(r, s)
        }
        6 => {
            let s = LambdaLR::new(&o, Box::new(|e| 1.0 / e as f64));
            epochs(r, s)
        }
        7 => {
            let s = CosineAnnealingLR::new(&o, r.size(3) as u64).eta_min(r.float(0.0));
            epochs(r, s)
        }
        8 | 9 => {
            let s = CosineAnnealingWarmRestarts::new(&o, r.size(2) as u64);
            let s = s.t_mult(r.size(2) as u64).eta_min(r.float(0.0));
            epochs(r, s)
        }
        10 => {
            let s = OneCycleLR::new(&o, r.float(0.1), r.size(5) as u64).pct_start(r.float(0.3));
            let s = s
                .div_factor(r.float(25.0))
                .linear(r.flag())
                .three_phase(r.flag());
            epochs(r, s)
        }
        _ => {
            let mut s = ReduceLROnPlateau::new(&o).patience(r.size(1) as u64);
            s = s
                .cooldown(r.size(1) as u64)
                .factor(r.float(0.1))
                .threshold(r.float(1e-4));
            for _ in 0..4 {
                s.step(r.float(1.0));
            }
            let mut saved = s.state_dict();
            saved["last_epoch"] = r.int(3).into();
            saved["bad_epochs"] = r.size(1).into();
            saved["cooldown_left"] = r.size(1).into();
            s.load_state_dict(&saved)?;
            s.step(r.float(1.0));
            Ok(Vec::new())
        }
    }
}

fn loader(r: &mut Draw) -> Result<Vec<Tensor>> {
    let (x, y) = (r.tensor(&[10, 3])?.detach(), r.indices(&[10], 3)?);
    let rows = x.shape().first().copied().unwrap_or(0);
    let set = TensorDataset::new((x, y))?;
    let mut l = DataLoader::new(set)
        .batch_size(r.size(3))
        .drop_last(r.flag());
    match r.below(8) {
        0 | 1 => l = l.shuffle(true),
        2 => l = l.sampler(RandomSampler::new(r.size(10)).num_samples(r.size(4))),
        3 => {
            let s = RandomSampler::new(r.size(10)).replacement(true);
            l = l.sampler(s.num_samples(r.size(4)));
        }
        4 => l = l.sampler(SubsetRandomSampler::new([r.size(1), r.size(2), r.size(3)])),
        5 => {
            let w = [r.float(0.1), r.float(0.5), r.float(1.0)];
            l = l.sampler(WeightedRandomSampler::new(w, r.size(4))?.replacement(r.flag()));
        }
        6 => l = l.sampler(SequentialSampler::new(r.size(10))),
        _ => {
            let whole = BatchSampler::new(SequentialSampler::new(r.size(10)), r.size(3))?;
            l = l
                .batch_size(1)
                .drop_last(false)
                .batch_sampler(whole.drop_last(r.flag()));
        }
    }
    if r.chance(40) {
        l = l.num_workers(r.size(2));
        if r.chance(50) {
            l = l.prefetch_factor(r.size(2));
        }
        if r.chance(30) {
            l = l.timeout(r.pick(&[Duration::MAX, Duration::from_secs(3), Duration::ZERO]));
        }
    }
    let _ = (l.len(), l.is_empty(), l.dataset_len());
    let skip = if r.chance(80) {
        0
    } else {
        r.below(rows.clamp(1, 10))
    };
    let mut last = Vec::new();
    for batch in l.iter_from(skip).take(5) {
        let (x, y) = batch?;
        last = vec![x, y];
    }
    Ok(last)
}

fn split(r: &mut Draw) -> Result<Vec<Tensor>> {
    let set = ListDataset::from((0..r.below(12) as i64).collect::<Vec<_>>());
    let parts = match r.flag() {
        true => random_split(set, [r.size(8), r.size(2)], None)?,
        false => random_split(set, [r.float(0.5), r.float(0.5)], None)?,
    };
    let part = Subset::new(parts[0].clone(), [r.size(0), r.size(1)])?;
    part.get(r.size(0), &mut SampleRng::new(0, 0))?;
    Ok(Vec::new())
}

fn transform(r: &mut Draw) -> Result<Vec<Tensor>> {
    let shape = [r.size(6), r.size(5), r.size(3)];
    let count = shape.iter().fold(1usize, |n, &d| n.wrapping_mul(d));
    let image = match r.below(3) {
        0 => Image::from_hwc(vec![7; count.min(1 << 12)], shape)?,
        1 => Image::from_chw(vec![7; count.min(1 << 12)], [shape[2], shape[0], shape[1]])?,
        _ => r.tensor(&[3, 6, 5])?.detach().try_into()?,
    };
    let mode = r.pick(&[
        PaddingMode::Constant,
        PaddingMode::Edge,
        PaddingMode::Reflect,
        PaddingMode::Symmetric,
    ]);
    let mut steps = Compose::new();
    for _ in 0..1 + r.below(3) {
        steps = match r.below(14) {
            0 => steps.then(ToTensor),
            1 => steps.then(PilToTensor),
            2 => steps.then(ConvertImageDtype(r.dtype())),
            3 => steps.then(Normalize::new([r.float(0.5); 3], [r.float(0.5); 3])),
            4 => steps.then(Normalize::new(vec![0.5; r.below(4)], vec![0.5; r.below(4)])),
            5 => steps.then(RandomHorizontalFlip::new(r.float(0.5))),
            6 => steps.then(RandomVerticalFlip::new(r.float(0.5))),
            7 => steps.then(Grayscale::new()),
            8 => {
                let t = Resize::new(r.sizes::<2>(8));
                let how = r.pick(&[Interpolation::Nearest, Interpolation::Bilinear]);
                steps.then(t.interpolation(how))
            }
            9 => {
                let t = Resize::new(r.size(8));
                steps.then(if r.flag() { t.max_size(r.size(9)) } else { t })
            }
            10 => steps.then(CenterCrop::new(r.sizes::<2>(4))),
            11 => {
                let t = Pad::new(r.sizes::<4>(2)).padding_mode(mode);
                steps.then(if r.chance(80) {
                    t
                } else {
                    t.fill([r.float(1.0); 3])
                })
            }
            12 => {
                let t = RandomCrop::new(r.sizes::<2>(4)).padding(r.sizes::<2>(1));
                steps.then(t.pad_if_needed(r.flag()).padding_mode(mode))
            }
            _ => steps.then(RandomApply::new(
                Grayscale::new().three_channels(),
                r.float(0.5),
            )),
        };
    }
    let out = steps.apply(image, &mut SampleRng::new(1, 2))?;
    Ok(vec![out.to_tensor()?])
}

fn grid(r: &mut Draw) -> Result<Vec<Tensor>> {
    let usual: &[usize] = &[5, 3, 4, 4];
    let skip = if r.chance(80) { 0 } else { r.below(4) };
    let x = r.tensor(&usual[skip..])?;
    let mut g = Grid::new()
        .nrow(r.size(3))
        .padding(r.size(2))
        .pad_value(r.float(0.0));
    if r.flag() {
        g = g.normalize(true).scale_each(r.flag());
        if r.flag() {
            g = g.value_range(r.float(0.0), r.float(1.0));
        }
    }
    if r.chance(30) {
        g = g.unnormalize([r.float(0.5); 3], vec![0.5; r.below(4)]);
    }
    let y = g.make(&x)?;
    let folder = std::env::temp_dir().join(format!("flambeau-hostile-{}", std::process::id()));
    let _ = std::fs::create_dir_all(&folder);
    let saved = g.save(&x, folder.join("grid.png"));
    let _ = std::fs::remove_dir_all(&folder);
    saved.map(|()| vec![y])
}
