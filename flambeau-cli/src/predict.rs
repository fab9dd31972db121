//! `flambeau predict`: the most probable classes of pictures.

use crate::args::PredictArgs;
use crate::{Failure, run, saved};
use flambeau::data::SampleRng;
use flambeau::nn::Checkpoint;
use flambeau::prelude::*;
use flambeau::vision::Image;

pub(crate) fn predict(args: &PredictArgs) -> Result<(), Failure> {
    run::prepare(None, args.device)?;
    let checkpoint = Checkpoint::load(saved::file(&args.checkpoint))?;
    let about = saved::About::of(&checkpoint)?;
    let net = run::model(about.model, about.classes.len());
    checkpoint.load_model(&net)?;
    let net = net.to(args.device)?;
    net.eval();
    let transform = Compose::new()
        .then(Resize::new([32, 32]))
        .then(ToTensor)
        .then(Normalize::new(run::MEAN, run::STD));
    let mut failed = 0;
    for path in &args.images {
        let predicted = (|| -> Result<Vec<(f32, usize)>, Failure> {
            let image = transform.apply(Image::open(path)?, &mut SampleRng::new(0, 0))?;
            let x = image.to_tensor()?.unsqueeze(0)?.to(args.device)?;
            let p = inference_mode(|| net.forward(&x)?.softmax(1)?.to_vec::<f32>())?;
            let mut ranked: Vec<(f32, usize)> = p.into_iter().zip(0..).collect();
            ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
            Ok(ranked)
        })();
        match predicted {
            Ok(ranked) => {
                let named = ranked
                    .iter()
                    .take(args.top)
                    .map(|&(p, c)| format!("{} {:.1} %", about.classes[c], 100.0 * p));
                say!(
                    "{}: {}",
                    path.display(),
                    named.collect::<Vec<_>>().join(", ")
                );
            }
            Err(failure) if args.images.len() == 1 => return Err(failure),
            Err(failure) => {
                failed += 1;
                complain!("flambeau: {}", crate::reason(&failure));
            }
        }
    }
    match failed {
        0 => Ok(()),
        n => Err(format!("{n} of {} pictures could not be read", args.images.len()).into()),
    }
}
