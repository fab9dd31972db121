//! `flambeau train`: the tutorial's training loop, with checkpoints from which training goes on to
//! the same bits.

use crate::args::TrainArgs;
use crate::evaluate::{Score, check_summary, score, write_json};
use crate::{Failure, pictures, run, saved};
use flambeau::nn::Checkpoint;
use flambeau::prelude::*;
use flambeau::random;
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

/// Steps between two printed losses, as in the tutorial; shorter epochs print more often.
const REPORT: usize = 2000;

/// Where training stands; with the weights, the optimizer and the random state, all that a
/// checkpoint needs.
#[derive(Default)]
struct Position {
    /// Complete epochs.
    epoch: usize,
    /// Complete steps of the current one.
    step: usize,
    /// Steps in all.
    steps: usize,
    /// The random state at the start of the current epoch, before its order was drawn.
    epoch_start: Vec<u8>,
    /// Sum of the losses since the last report.
    running: f64,
    last_loss: f64,
    train_seconds: f64,
    test_seconds: f64,
    /// (epochs, mean loss) at each report, (epochs, accuracy) at each test.
    losses: Vec<(f64, f64)>,
    accuracies: Vec<(f64, f64)>,
}

impl Position {
    fn value(&self) -> Value {
        json!({
            "epoch": self.epoch, "step": self.step, "steps": self.steps, "epoch_start": self.epoch_start,
            "running": self.running, "last_loss": self.last_loss, "train_seconds": self.train_seconds,
            "test_seconds": self.test_seconds, "losses": self.losses, "accuracies": self.accuracies,
        })
    }

    fn of(value: &Value) -> Option<Position> {
        let whole = |key: &str| value.get(key)?.as_u64().map(|n| n as usize);
        // JSON has no NaN or infinity; a loss that diverged comes back as NaN.
        let number = |v: &Value| v.as_f64().or(v.is_null().then_some(f64::NAN));
        let real = |key: &str| number(value.get(key)?);
        let points = |key: &str| -> Option<Vec<(f64, f64)>> {
            value
                .get(key)?
                .as_array()?
                .iter()
                .map(|p| Some((number(p.get(0)?)?, number(p.get(1)?)?)))
                .collect()
        };
        Some(Position {
            epoch: whole("epoch")?,
            step: whole("step")?,
            steps: whole("steps")?,
            epoch_start: value
                .get("epoch_start")?
                .as_array()?
                .iter()
                .map(|b| b.as_u64()?.try_into().ok())
                .collect::<Option<_>>()?,
            running: real("running")?,
            last_loss: real("last_loss")?,
            train_seconds: real("train_seconds")?,
            test_seconds: real("test_seconds")?,
            losses: points("losses")?,
            accuracies: points("accuracies")?,
        })
    }
}

/// The options that decide the bits: a checkpoint goes on only under the same ones.
fn options(args: &TrainArgs, train_images: usize) -> Value {
    json!({
        "batch_size": args.batch_size, "lr": args.lr, "momentum": args.momentum, "seed": args.seed,
        "train_images": train_images,
    })
}

struct Training {
    about: saved::About,
    options: Value,
    net: LeNet,
    optimizer: Sgd,
    position: Position,
}

impl Training {
    fn save(&self, out: &Path) -> Result<(), Failure> {
        let checkpoint = Checkpoint::new()
            .model(&self.net)
            .optimizer("optimizer", &self.optimizer)
            .random_state()?
            .value("about", self.about.value())
            .value("options", self.options.clone())
            .value("position", self.position.value());
        Ok(checkpoint.save(out.join(saved::FILE))?)
    }

    fn restore(&mut self, path: &Path) -> Result<(), Failure> {
        let path = saved::file(path);
        let checkpoint = Checkpoint::load(&path)?;
        let refuse = |what: String| Failure::from(format!("{}: {what}", path.display()));
        let about = saved::About::of(&checkpoint)?;
        if about.value() != self.about.value() {
            return Err(refuse(format!(
                "it was trained on {} with {}; this run is on {} with {}",
                about.dataset.text(),
                about.model.text(),
                self.about.dataset.text(),
                self.about.model.text()
            )));
        }
        if checkpoint.get("options") != Some(&self.options) {
            let old = checkpoint
                .get("options")
                .map_or("none".into(), Value::to_string);
            return Err(refuse(format!(
                "it was trained with other options ({old}); this run has {}",
                self.options
            )));
        }
        let position = checkpoint.get("position").and_then(Position::of);
        self.position = position.ok_or_else(|| {
            refuse("its position is damaged; resume from another checkpoint".into())
        })?;
        checkpoint.load_model(&self.net)?;
        checkpoint.load_optimizer("optimizer", &mut self.optimizer)?;
        Ok(checkpoint.restore_random_state()?)
    }
}

pub(crate) fn train(args: &TrainArgs) -> Result<(), Failure> {
    run::prepare(args.threads, args.device)?;
    check_summary(args.summary.as_deref())?;
    let data = run::data(&args.data, crate::args::DatasetName::Cifar10)?;
    std::fs::create_dir_all(&args.out)
        .map_err(|e| format!("{}: cannot make the folder: {e}", args.out.display()))?;
    sweep(&args.out);
    let classes = data.train.classes().to_vec();
    let (train_images, test_images) = (data.train.len(), data.test.len());
    say!(
        "{}: {train_images} training and {test_images} test images of {} classes",
        data.name.text(),
        classes.len()
    );

    manual_seed(args.seed);
    let net = run::model(args.model, classes.len()).to(args.device)?;
    say!("{net}");
    let optimizer = Sgd::new(net.parameters(), args.lr).momentum(args.momentum);
    let loader = DataLoader::new(data.train)
        .batch_size(args.batch_size)
        .shuffle(true)
        .num_workers(args.workers)
        .pin_memory(args.device != Device::Cpu);
    let test_loader = DataLoader::new(data.test)
        .batch_size(100)
        .num_workers(args.workers);
    let mut training = Training {
        about: saved::About {
            dataset: data.name,
            model: args.model,
            classes,
        },
        options: options(args, train_images),
        net,
        optimizer,
        position: Position::default(),
    };
    match &args.resume {
        Some(path) => {
            training.restore(path)?;
            say!(
                "going on after epoch {}, step {}",
                training.position.epoch,
                training.position.step
            );
        }
        None => training.save(&args.out)?,
    }

    let mut tested: Option<Score> = None;
    while training.position.epoch < args.epochs {
        epoch(&mut training, &loader, args)?;
        let classes = training.about.classes.len();
        // Testing draws nothing from the generator that training goes on from.
        let state = random::get_rng_state();
        let score = score(&training.net, &test_loader, classes, args.device)?;
        random::set_rng_state(&state)?;
        let position = &mut training.position;
        position
            .accuracies
            .push((position.epoch as f64, score.accuracy()));
        position.test_seconds = score.seconds;
        if position.epoch < args.epochs {
            say!(
                "[{}] accuracy: {:.1} %",
                position.epoch,
                100.0 * score.accuracy()
            );
        }
        tested = Some(score);
        training.save(&args.out)?;
    }
    say!("Finished Training");

    let classes = training.about.classes.len();
    let score = match tested {
        Some(score) => score,
        None => score(&training.net, &test_loader, classes, args.device)?,
    };
    score.print(&training.about.classes);
    training
        .net
        .state_dict()
        .save(args.out.join("model.safetensors"))?;
    pictures::curves(
        &args.out,
        &training.position.losses,
        &training.position.accuracies,
    )?;
    pictures::predictions(
        &args.out,
        &training.net,
        &test_loader,
        &training.about.classes,
        args.device,
    )?;
    say!(
        "wrote {}, model.safetensors, loss.png, accuracy.png and predictions.png to {}",
        saved::FILE,
        args.out.display()
    );
    if let Some(path) = &args.summary {
        let p = &training.position;
        let summary = json!({
            "dataset": training.about.dataset.text(),
            "model": training.about.model.text(),
            "train_images": train_images,
            "test_images": test_images,
            "epochs": p.epoch,
            "batch_size": args.batch_size,
            "steps": p.steps,
            "train_seconds": p.train_seconds,
            "test_seconds": score.seconds,
            "accuracy": score.accuracy(),
            "accuracy_by_epoch": p.accuracies.iter().map(|a| a.1).collect::<Vec<_>>(),
            "final_loss": p.last_loss,
            "threads": flambeau_cpu::threads::num_threads(),
            "seed": args.seed,
        });
        write_json(path, &summary)?;
    }
    Ok(())
}

/// Removes what a run that was killed while it saved left behind: checkpoints that never got
/// their name. Failing is no harm.
fn sweep(out: &Path) {
    for entry in std::fs::read_dir(out).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(saved::FILE) && name.ends_with(".tmp") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Trains to the end of the current epoch.
fn epoch(training: &mut Training, loader: &DataLoader, args: &TrainArgs) -> Result<(), Failure> {
    let report = if loader.len() >= REPORT {
        REPORT
    } else {
        (loader.len() / 3).max(1)
    };
    let bar =
        ProgressBar::with_draw_target(Some(loader.len() as u64), ProgressDrawTarget::stderr())
            .with_style(run::style(
                "{prefix} [{bar:30}] {pos}/{len} steps, {per_sec}, {eta} left",
            ))
            .with_prefix(format!(
                "epoch {}/{}",
                training.position.epoch + 1,
                args.epochs
            ));

    // The epoch's order is drawn from the state it began with; then the state goes on from where
    // the checkpoint was written.
    let skip = training.position.step;
    let resumed = (skip > 0).then(random::get_rng_state);
    if resumed.is_some() {
        random::set_rng_state(&training.position.epoch_start)?;
    } else {
        training.position.epoch_start = random::get_rng_state();
    }
    let mut batches = loader.iter_from(skip);
    let mut next = batches.next();
    if let Some(state) = resumed {
        random::set_rng_state(&state)?;
    }

    let criterion = CrossEntropyLoss::new();
    let mut graphed = GraphedStep::new();
    let mut clock = Instant::now();
    while let Some(batch) = next {
        let (inputs, labels) = batch?.to(args.device)?;
        let loss = if args.graph {
            let net = &training.net;
            graphed.run(&mut training.optimizer, [&inputs, &labels], |[x, y]| {
                criterion.forward(&net.forward(x)?, y)
            })?
        } else {
            training.optimizer.zero_grad();
            let loss = criterion.forward(&training.net.forward(&inputs)?, &labels)?;
            loss.backward()?;
            training.optimizer.step()?;
            loss
        };

        let loss = f64::from(loss.item::<f32>()?);
        let p = &mut training.position;
        p.running += loss;
        p.last_loss = loss;
        p.step += 1;
        p.steps += 1;
        if p.step.is_multiple_of(report) {
            let mean = p.running / report as f64;
            bar.suspend(|| say!("[{}, {:5}] loss: {mean:.3}", p.epoch + 1, p.step));
            p.losses
                .push((p.epoch as f64 + p.step as f64 / loader.len() as f64, mean));
            p.running = 0.0;
        }
        if p.step.is_multiple_of(64) {
            bar.set_position(p.step as u64);
        }
        if p.step.is_multiple_of(args.checkpoint_every) && p.step < loader.len() {
            p.train_seconds += clock.elapsed().as_secs_f64();
            training.save(&args.out)?;
            clock = Instant::now();
        }
        next = batches.next();
    }
    bar.finish_and_clear();
    let p = &mut training.position;
    p.train_seconds += clock.elapsed().as_secs_f64();
    p.epoch += 1;
    (p.step, p.running) = (0, 0.0);
    Ok(())
}
