//! What random transforms choose.

use crate::goldens::{apply, small};
use flambeau_core::Result;
use flambeau_data::SampleRng;
use flambeau_vision::Image;
use flambeau_vision::transforms::*;
use std::collections::HashMap;

fn bytes(image: Image) -> Vec<u8> {
    image.to_tensor().unwrap().to_vec().unwrap()
}

/// How often `transform` made each picture of `small` in 4,000 samples.
fn count(transform: &dyn Transform) -> HashMap<Vec<u8>, usize> {
    let mut counts = HashMap::new();
    for place in 0..4000 {
        let image = transform
            .apply(small(), &mut SampleRng::new(1, place))
            .unwrap();
        *counts.entry(bytes(image)).or_default() += 1;
    }
    counts
}

#[test]
fn flips_come_as_often_as_asked() {
    for transform in [
        &RandomHorizontalFlip::new(0.3) as &dyn Transform,
        &RandomVerticalFlip::new(0.3),
    ] {
        let counts = count(transform);
        assert_eq!(counts.len(), 2);
        // Five standard deviations.
        assert!(counts[&bytes(small())].abs_diff(2800) < 145, "{counts:?}");
    }
    let applied = count(&RandomApply::new(RandomVerticalFlip::new(1.0), 0.3));
    assert!(applied[&bytes(small())].abs_diff(2800) < 145);
}

#[test]
fn every_crop_comes_equally_often() {
    for (frame, mode) in [
        ([0; 4], PaddingMode::Constant),
        ([2, 1, 0, 1], PaddingMode::Symmetric),
    ] {
        let crop = RandomCrop::new([5, 6]).padding(frame).padding_mode(mode);
        let counts = count(&crop);
        let padded = apply(&Pad::new(frame).padding_mode(mode), small());
        let [_, h, w] = padded.shape();
        let (rows, columns) = (h - 5 + 1, w - 6 + 1);
        assert_eq!(counts.len(), rows * columns);
        let whole = bytes(padded);
        let expected = 4000 / (rows * columns);
        for top in 0..rows {
            for left in 0..columns {
                let part: Vec<u8> = (0..3 * 5 * 6)
                    .map(|i| {
                        let (c, y, x) = (i / 30, i / 6 % 5 + top, i % 6 + left);
                        whole[(c * h + y) * w + x]
                    })
                    .collect();
                let found = counts[&part];
                assert!(
                    found.abs_diff(expected) < 5 * expected.isqrt(),
                    "{found} {expected}"
                );
            }
        }
    }
}

#[test]
fn pictures_too_small_get_frames_where_asked() -> Result<()> {
    let crop = RandomCrop::new([9, 5]).pad_if_needed(true).fill(200.0);
    for place in 0..50 {
        let part = crop.apply(small(), &mut SampleRng::new(2, place))?;
        assert_eq!(part.shape(), [3, 9, 5]);
        // Seven rows of the picture and two of the frame, wherever it lies.
        let rows = bytes(part).chunks(5).filter(|row| *row == [200; 5]).count();
        assert_eq!(rows, 3 * 2);
    }
    // A first frame, then what is lacking; torchvision pads the padded picture.
    let twice = RandomCrop::new([13, 9]).padding([0, 1]).pad_if_needed(true);
    assert_eq!(
        twice.apply(small(), &mut SampleRng::new(2, 0))?.shape(),
        [3, 13, 9]
    );
    Ok(())
}
