//! Optimizers and schedules, step by step as PyTorch's; their state saved and restored.

use crate::{alone, close, goldens, numbers, pattern, pattern_between, values};
use flambeau_core::{DType, Result, Tensor};
use flambeau_nn::Module;
use flambeau_nn::lr_scheduler::*;
use flambeau_nn::optim::*;

/// One step on the bowl of make.py.
fn step(p: &[Tensor], optimizer: &mut impl Optimizer) -> Result<()> {
    optimizer.zero_grad();
    let mut loss = Tensor::zeros_with((), p[0].dtype())?;
    for (i, q) in p.iter().enumerate() {
        let dtype = q.dtype();
        let centre = pattern(q.shape(), 20 + i)?.mul(0.5)?.to_dtype(dtype)?;
        let steepness = pattern_between(q.shape(), 30 + i, 0.5, 3.0)?.to_dtype(dtype)?;
        loss = loss.add(&q.sub(&centre)?.square()?.mul(&steepness)?.sum()?)?;
    }
    loss.backward()?;
    optimizer.step()
}

fn parameters(dtype: DType) -> Result<Vec<Tensor>> {
    [(vec![3, 37], 1), (vec![5], 2)]
        .iter()
        .map(|(shape, salt)| pattern(shape, *salt)?.to_dtype(dtype)?.requires_grad_(true))
        .collect()
}

/// Twenty steps, looking after some; or, with `interrupt`, the state taken over by another optimizer
/// half way.
fn run(name: &str, dtype: DType, interrupt: bool) -> Result<Vec<(usize, Vec<Vec<f64>>)>> {
    fn twenty<O: Optimizer>(
        p: Vec<Tensor>,
        make: impl Fn(&[Tensor]) -> O,
        interrupt: bool,
    ) -> Result<Vec<(usize, Vec<Vec<f64>>)>> {
        let mut optimizer = make(&p);
        let mut seen = Vec::new();
        for n in 1..=20 {
            if interrupt && n == 10 {
                let state = optimizer.state_dict();
                optimizer = make(&p);
                optimizer.load_state_dict(&state)?;
            }
            step(&p, &mut optimizer)?;
            if [1, 2, 20].contains(&n) {
                seen.push((n, p.iter().map(values).collect()));
            }
        }
        Ok(seen)
    }
    let p = parameters(dtype)?;
    macro_rules! table {
        ($($case:literal => |$q:ident| $make:expr,)*) => {
            match name {
                $($case => twenty(p, |$q: &[Tensor]| $make, interrupt),)*
                other => panic!("no such optimizer: {other}"),
            }
        };
    }
    table! {
        "sgd" => |q| Sgd::new(q, 0.1),
        "sgd_momentum" => |q| Sgd::new(q, 0.1).momentum(0.9),
        "sgd_dampening" => |q| Sgd::new(q, 0.1).momentum(0.9).dampening(0.3).weight_decay(0.1),
        "sgd_nesterov" => |q| Sgd::new(q, 0.1).momentum(0.8).nesterov(true).weight_decay(0.01),
        "sgd_maximize" => |q| Sgd::new(q, 0.01).momentum(0.5).maximize(true),
        "adam" => |q| Adam::new(q, 0.05),
        "adam_options" => |q| Adam::new(q, 0.05).betas((0.8, 0.95)).eps(1e-3).weight_decay(0.1).amsgrad(true),
        "adam_slow" => |q| Adam::new(q, 0.05).betas((0.3, 0.6)).eps(1e-2),
        "adam_maximize" => |q| Adam::new(q, 0.01).maximize(true),
        "adamw" => |q| AdamW::new(q, 0.05),
        "adamw_options" => |q| AdamW::new(q, 0.05).betas((0.7, 0.9)).weight_decay(0.2).amsgrad(true),
        "rmsprop" => |q| RMSprop::new(q, 0.02),
        "rmsprop_momentum" => |q| RMSprop::new(q, 0.02).alpha(0.9).momentum(0.7).weight_decay(0.05),
        "rmsprop_centered" => |q| RMSprop::new(q, 0.02).centered(true),
        "rmsprop_both" => |q| RMSprop::new(q, 0.02).centered(true).momentum(0.5),
        "adagrad" => |q| Adagrad::new(q, 0.1),
        "adagrad_options" => |q| Adagrad::new(q, 0.1).lr_decay(0.1).weight_decay(0.1).initial_accumulator_value(0.5),
        "adadelta" => |q| Adadelta::new(q, 1.0),
        "adadelta_options" => |q| Adadelta::new(q, 0.5).rho(0.7).eps(1e-4).weight_decay(0.1),
        "adamax" => |q| Adamax::new(q, 0.05),
        "adamax_options" => |q| Adamax::new(q, 0.05).betas((0.7, 0.9)).weight_decay(0.1),
        "nadam" => |q| NAdam::new(q, 0.05),
        "nadam_options" => |q| NAdam::new(q, 0.05).weight_decay(0.1).momentum_decay(0.01).decoupled_weight_decay(true),
        "radam" => |q| RAdam::new(q, 0.05),
        "radam_options" => |q| RAdam::new(q, 0.05).betas((0.8, 0.9)).weight_decay(0.1),
        "radam_decoupled" => |q| RAdam::new(q, 0.05).betas((0.8, 0.9)).weight_decay(0.1).decoupled_weight_decay(true),
    }
}

#[test]
fn optimizers_are_pytorchs() -> Result<()> {
    for (name, want) in goldens("optimizers").as_object().unwrap() {
        for (n, got) in run(name, DType::F32, false)? {
            for (i, got) in got.iter().enumerate() {
                let want = numbers(&want[n.to_string()][i]);
                close(
                    &format!("{name} after {n} steps, parameter {i}"),
                    got,
                    &want,
                    1e-6,
                );
            }
        }
    }
    Ok(())
}

#[test]
fn a_restored_optimizer_goes_on_with_the_same_bits() -> Result<()> {
    for (name, _) in goldens("optimizers").as_object().unwrap() {
        assert_eq!(
            run(name, DType::F32, true)?,
            run(name, DType::F32, false)?,
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn other_types_agree_with_single_precision() -> Result<()> {
    for name in ["sgd_nesterov", "adam_options", "rmsprop_both"] {
        let (single, double) = (run(name, DType::F32, false)?, run(name, DType::F64, false)?);
        let half = run(name, DType::BF16, false)?;
        close(name, &double[2].1[0], &single[2].1[0], 1e-5);
        close(name, &half[2].1[0], &single[2].1[0], 0.1);
    }
    Ok(())
}

#[test]
fn groups_have_their_own_options() -> Result<()> {
    let p = parameters(DType::F32)?;
    let mut optimizer = Sgd::new([&p[0]], 0.1).momentum(0.5).group([&p[1]], |o| {
        o.lr = 0.0;
        o.weight_decay = 1.0;
    });
    let before = values(&p[1]);
    step(&p, &mut optimizer)?;
    assert_eq!(values(&p[1]), before);
    assert_eq!(optimizer.param_groups()[1].options().momentum, 0.5);
    optimizer.set_lr(0.3);
    assert_eq!(
        optimizer.rates().iter().map(Rate::lr).collect::<Vec<_>>(),
        [0.3, 0.3]
    );
    Ok(())
}

#[track_caller]
fn refuses(result: Result<()>, text: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(text), "{error:?} does not say {text:?}");
}

#[test]
fn what_an_optimizer_refuses() -> Result<()> {
    let p = parameters(DType::F32)?;
    refuses(Sgd::new(&p, -1.0).step(), "lr = -1 is out of its range");
    refuses(
        Adam::new(&p, 0.1).betas((1.0, 0.9)).step(),
        "betas.0 = 1 is out of its range",
    );
    refuses(
        Sgd::new(&p, 0.1).nesterov(true).step(),
        "nesterov needs a momentum",
    );
    refuses(Sgd::new(&[] as &[Tensor], 0.1).step(), "no parameters");
    refuses(Sgd::new([&p[0], &p[0]], 0.1).step(), "given twice");
    let mut sgd = Sgd::new(&p, 0.1).momentum(0.9);
    let adam = Adam::new(&p, 0.1);
    refuses(
        sgd.load_state_dict(&adam.state_dict()),
        "the state is that of Adam, not of SGD. Nothing was loaded",
    );
    refuses(
        sgd.load_state_dict(&Sgd::new([&p[0]], 0.1).state_dict()),
        "the groups differ: [1] parameters in the state, [2] in the optimizer",
    );
    let mut other = Sgd::new([&p[1], &p[0]], 0.1).momentum(0.9);
    step(&p, &mut other)?;
    refuses(
        sgd.load_state_dict(&other.state_dict()),
        "0.momentum_buffer: [5] in the state, [3, 37] in the optimizer",
    );
    Ok(())
}

#[test]
fn norms_are_clipped() -> Result<()> {
    let want = &goldens("others")["clip"];
    for (name, kind) in [("two", 2.0), ("one", 1.0), ("inf", f64::INFINITY)] {
        let p = [Tensor::zeros([3, 4])?, Tensor::zeros([5])?];
        for (i, q) in p.iter().enumerate() {
            q.set_grad(Some(pattern(q.shape(), i + 1)?.mul(3.0)?))?;
        }
        let norm = clip_grad_norm_(&p, 1.5, kind)?;
        close(
            name,
            &values(&norm),
            &[want[name][0].as_f64().unwrap()],
            1e-6,
        );
        for (i, q) in p.iter().enumerate() {
            close(
                name,
                &values(&q.grad().unwrap()),
                &numbers(&want[name][i + 1]),
                1e-6,
            );
        }
    }
    let p = Tensor::zeros([3])?;
    p.set_grad(Some(Tensor::new([-2.0f32, 0.5, 7.0])?))?;
    clip_grad_value_([&p], 1.0)?;
    assert_eq!(p.grad().unwrap().to_vec::<f32>()?, [-1.0, 0.5, 1.0]);
    assert!(clip_grad_norm_([&p], -1.0, 2.0).is_err() && clip_grad_value_([&p], -1.0).is_err());
    Ok(())
}

/// Learning rate and momentum of twenty epochs; half way all is made anew from what was saved.
fn rates(make: impl Fn(&Sgd) -> Vec<Box<dyn LrScheduler>>) -> Result<Vec<[f64; 2]>> {
    let p = Tensor::zeros([1])?;
    let mut optimizer = Sgd::new([&p], 0.5).momentum(0.9);
    let mut schedulers = make(&optimizer);
    let mut seen = Vec::new();
    for n in 0..20 {
        if n == 10 {
            let saved = optimizer.state_dict();
            let states: Vec<_> = schedulers.iter().map(|s| s.state_dict()).collect();
            optimizer = Sgd::new([&p], 0.5).momentum(0.9);
            schedulers = make(&optimizer);
            optimizer.load_state_dict(&saved)?;
            for (s, state) in schedulers.iter_mut().zip(&states) {
                s.load_state_dict(state)?;
            }
        }
        let o = optimizer.param_groups()[0].options();
        seen.push([o.lr, o.momentum]);
        schedulers.iter_mut().for_each(|s| s.step());
    }
    Ok(seen)
}

#[test]
fn schedules_are_pytorchs() -> Result<()> {
    let goldens = goldens("schedulers");
    let check = |name: &str, make: &dyn Fn(&Sgd) -> Vec<Box<dyn LrScheduler>>| -> Result<()> {
        let (lr, momentum): (Vec<f64>, Vec<f64>) =
            rates(make)?.into_iter().map(|[a, b]| (a, b)).unzip();
        let want: Vec<Vec<f64>> = goldens[name]
            .as_array()
            .unwrap()
            .iter()
            .map(numbers)
            .collect();
        close(
            name,
            &lr,
            &want.iter().map(|w| w[0]).collect::<Vec<_>>(),
            1e-12,
        );
        close(
            name,
            &momentum,
            &want.iter().map(|w| w[1]).collect::<Vec<_>>(),
            1e-12,
        );
        Ok(())
    };
    macro_rules! check {
        ($($name:literal: |$o:ident| $($make:expr),+;)*) => {
            $(check($name, &|$o| vec![$(Box::new($make)),+])?;)*
        };
    }
    check! {
        "step": |o| StepLR::new(o, 3).gamma(0.5);
        "multi_step": |o| MultiStepLR::new(o, vec![2, 5, 5, 9]).gamma(0.3);
        "exponential": |o| ExponentialLR::new(o, 0.9);
        "constant": |o| ConstantLR::new(o).factor(0.25).total_iters(4);
        "linear": |o| LinearLR::new(o).start_factor(0.2).end_factor(0.9).total_iters(6);
        "polynomial": |o| PolynomialLR::new(o).total_iters(8).power(2.0);
        "lambda": |o| LambdaLR::new(o, Box::new(|e| 0.95f64.powi(e as i32)));
        "multiplicative": |o| MultiplicativeLR::new(o, Box::new(|e| 1.0 - 0.01 * e as f64));
        "cosine": |o| CosineAnnealingLR::new(o, 5).eta_min(0.01);
        "warm_restarts": |o| CosineAnnealingWarmRestarts::new(o, 3).t_mult(2).eta_min(0.01);
        "one_cycle": |o| OneCycleLR::new(o, 1.0, 20);
        "one_cycle_linear": |o| OneCycleLR::new(o, 1.0, 20).linear(true).three_phase(true).pct_start(0.4).div_factor(10.0).final_div_factor(100.0);
        "chained": |o| LinearLR::new(o).start_factor(0.5).total_iters(4), ExponentialLR::new(o, 0.9);
    }
    Ok(())
}

#[test]
fn plateaus_are_pytorchs() -> Result<()> {
    const LOSSES: [f64; 17] = [
        1.0, 0.9, 0.91, 0.92, 0.9, 0.95, 0.9, 0.93, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6,
    ];
    let goldens = goldens("schedulers");
    let check = |name: &str, make: &dyn Fn(&Sgd) -> ReduceLROnPlateau| -> Result<()> {
        let optimizer = Sgd::new([Tensor::zeros([1])?], 0.5);
        let mut s = make(&optimizer);
        let mut seen = Vec::new();
        for (i, loss) in LOSSES.into_iter().enumerate() {
            s.step(loss);
            seen.push(optimizer.lr());
            if i == 8 {
                let state = s.state_dict();
                s = make(&optimizer);
                s.load_state_dict(&state)?;
            }
        }
        close(name, &seen, &numbers(&goldens[name]), 1e-12);
        Ok(())
    };
    check("plateau", &|o| {
        ReduceLROnPlateau::new(o)
            .patience(1)
            .cooldown(2)
            .factor(0.5)
    })?;
    check("plateau_abs", &|o| {
        ReduceLROnPlateau::new(o)
            .patience(0)
            .threshold(0.05)
            .absolute(true)
            .min_lr(0.1)
    })?;
    check("plateau_max", &|o| {
        ReduceLROnPlateau::new(o).maximize(true).patience(2)
    })
}

#[test]
fn an_optimizer_takes_a_modules_parameters() -> Result<()> {
    let _alone = alone();
    let net = flambeau_nn::Linear::new(2, 1);
    let mut optimizer = Adam::new(net.parameters(), 0.1);
    let before = net.weight.to_vec::<f32>()?;
    net.weight.sum()?.backward()?;
    optimizer.step()?;
    assert_ne!(net.weight.to_vec::<f32>()?, before);
    assert_eq!(net.weight.name().as_deref(), Some("weight"));
    Ok(())
}
