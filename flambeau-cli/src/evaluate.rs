//! `flambeau test`: accuracy, overall and for each class.

use crate::args::TestArgs;
use crate::{Failure, run, saved};
use flambeau::nn::Checkpoint;
use flambeau::prelude::*;
use flambeau::vision::files::write_atomically;
use serde_json::json;
use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

/// How a network did on a set of pictures.
pub(crate) struct Score {
    /// For each class: how many were named right, of how many.
    pub(crate) classes: Vec<(usize, usize)>,
    pub(crate) seconds: f64,
}

impl Score {
    pub(crate) fn total(&self) -> usize {
        self.classes.iter().map(|c| c.1).sum()
    }

    pub(crate) fn accuracy(&self) -> f64 {
        let right: usize = self.classes.iter().map(|c| c.0).sum();
        right as f64 / self.total().max(1) as f64
    }

    /// Prints the tutorial's lines and a table.
    pub(crate) fn print(&self, names: &[String]) {
        say!(
            "Accuracy of the network on the {} test images: {:.1} %",
            self.total(),
            100.0 * self.accuracy()
        );
        let width = names
            .iter()
            .map(|n| n.chars().count())
            .max()
            .unwrap_or(0)
            .max(5);
        say!("{:width$}  accuracy  right/all", "class");
        for (name, &(right, all)) in names.iter().zip(&self.classes) {
            say!(
                "{name:width$}  {:>6.1} %  {right:>5}/{all}",
                100.0 * right as f64 / all.max(1) as f64
            );
        }
    }
}

/// Tests `net` on every sample of `loader`.
pub(crate) fn score(
    net: &impl Forward,
    loader: &DataLoader,
    classes: usize,
    device: Device,
) -> flambeau::Result<Score> {
    let start = Instant::now();
    let mut counts = vec![(0, 0); classes];
    net.eval();
    inference_mode(|| {
        for batch in loader {
            let (inputs, labels) = batch?.to(device)?;
            let (_, predicted) = net.forward(&inputs)?.max_dim(1, false)?;
            for (p, y) in predicted
                .to_vec::<i64>()?
                .into_iter()
                .zip(labels.to_vec::<i64>()?)
            {
                let class = &mut counts[y as usize];
                class.1 += 1;
                class.0 += usize::from(p == y);
            }
        }
        Ok::<_, Error>(())
    })?;
    net.train();
    Ok(Score {
        classes: counts,
        seconds: start.elapsed().as_secs_f64(),
    })
}

pub(crate) fn test(args: &TestArgs) -> Result<(), Failure> {
    run::prepare(args.threads, args.device)?;
    check_summary(args.summary.as_deref())?;
    let checkpoint = Checkpoint::load(saved::file(&args.checkpoint))?;
    let about = saved::About::of(&checkpoint)?;
    let data = run::data(&args.data, about.dataset)?;
    about.check_classes(data.test.classes())?;
    let net = run::model(about.model, about.classes.len());
    checkpoint.load_model(&net)?;
    let net = net.to(args.device)?;
    let loader = DataLoader::new(data.test).batch_size(args.batch_size);
    let score = score(&net, &loader, about.classes.len(), args.device)?;
    score.print(&about.classes);
    if let Some(path) = &args.summary {
        let summary = json!({
            "dataset": data.name.text(),
            "test_images": score.total(),
            "test_seconds": score.seconds,
            "accuracy": score.accuracy(),
        });
        write_json(path, &summary)?;
    }
    Ok(())
}

/// Finds out before the work, not after it, that a summary cannot be written.
pub(crate) fn check_summary(path: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let open = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let is_new = !path.try_exists()?;
        File::options().create(true).append(true).open(path)?;
        if is_new {
            fs::remove_file(path)
        } else {
            Ok(())
        }
    };
    open().map_err(|e| {
        format!(
            "{}: the summary cannot be written there: {e}",
            path.display()
        )
        .into()
    })
}

/// Writes JSON to a temporary name and renames it.
pub(crate) fn write_json(path: &Path, value: &serde_json::Value) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    Ok(write_atomically(path, |file| {
        file.write_all(text.as_bytes())
    })?)
}
