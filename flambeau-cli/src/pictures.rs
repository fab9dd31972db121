//! What training leaves to look at: curves, and test pictures with what the network took them for.

use crate::{Failure, run};
use flambeau::prelude::*;
use flambeau::vision::files::Sheet;
use flambeau::vision::files::plot::Chart;
use flambeau::vision::utils::Grid;
use std::path::Path;

/// Pictures on the sheet of predictions.
const SHOWN: usize = 32;

/// Writes `loss.png` and `accuracy.png`.
pub(crate) fn curves(
    out: &Path,
    losses: &[(f64, f64)],
    accuracies: &[(f64, f64)],
) -> Result<(), Failure> {
    Chart::new("Training loss", "epoch")
        .line("loss", losses.iter().copied())
        .write_png(&out.join("loss.png"))?;
    Chart::new("Test accuracy", "epoch")
        .percent()
        .line("accuracy", accuracies.iter().copied())
        .write_png(&out.join("accuracy.png"))?;
    Ok(())
}

/// Writes `predictions.png`: the first test pictures, each with its predicted class, and with the
/// true one where that is another.
pub(crate) fn predictions(
    out: &Path,
    net: &impl Forward,
    loader: &DataLoader,
    classes: &[String],
    device: Device,
) -> Result<(), Failure> {
    let Some(batch) = loader.iter().next() else {
        return Ok(());
    };
    let (images, labels) = batch?;
    net.eval();
    let predicted = inference_mode(|| {
        net.forward(&images.to_device(device)?)?
            .max_dim(1, false)?
            .1
            .to_vec::<i64>()
    })?;
    net.train();
    let mut sheet = Sheet::new(8);
    for (i, (p, y)) in predicted
        .into_iter()
        .zip(labels.to_vec::<i64>()?)
        .take(SHOWN)
        .enumerate()
    {
        let picture = Grid::new()
            .unnormalize(run::MEAN, run::STD)
            .picture(&images.select(0, i as i64)?)?;
        let (named, truth) = (&classes[p as usize], &classes[y as usize]);
        sheet = if p == y {
            sheet.right(picture, named)
        } else {
            sheet.wrong(picture, format!("{named}, not {truth}"))
        };
    }
    Ok(sheet.write_png(&out.join("predictions.png"))?)
}
