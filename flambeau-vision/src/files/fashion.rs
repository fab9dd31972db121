//! Fashion-MNIST: the embedded sample, and the whole set from disk.
//!
//! Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking
//! Machine Learning Algorithms", 2017, <https://github.com/zalandoresearch/fashion-mnist>.

use std::path::Path;

use super::{ImageSet, Labels, RgbImage, Split, idx};
use crate::{Error, ErrorKind, Result};

/// The names of the ten classes, by label.
pub const CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// How many training and test pictures the sample has; classes take turns in both.
const SAMPLE: [usize; 2] = [6000, 1000];
const SIDE: usize = 28;
/// Tiles of one picture, 100 a row; make_sample.py beside it says which.
const SHEET: &[u8] = include_bytes!("../../data/fashion-mnist-sample.png");

/// The embedded sample: the first 600 training or 100 test pictures of each class, as 28 x 28
/// grey pictures, the classes taking turns. [`ImageSet::framed_rgb32`] fits them to networks
/// made for CIFAR-10.
///
/// ```
/// use flambeau_vision::files::{Split, fashion};
/// let set = fashion::sample(Split::Test)?;
/// assert_eq!((set.len(), set.image(0).map(<[u8]>::len)), (1000, Some(28 * 28)));
/// # Ok::<(), flambeau_core::Error>(())
/// ```
///
/// # Errors
/// Never, unless the program itself is damaged.
pub fn sample(split: Split) -> Result<ImageSet> {
    let sheet = RgbImage::decode(SHEET, "embedded sample of Fashion-MNIST")?;
    let columns = sheet.width / SIDE;
    let numbers = match split {
        Split::Train => 0..SAMPLE[0],
        Split::Test => SAMPLE[0]..SAMPLE[0] + SAMPLE[1],
    };
    let mut images = Vec::with_capacity(numbers.len() * SIDE * SIDE);
    for tile in numbers.clone() {
        for y in 0..SIDE {
            let start = (tile / columns * SIDE + y) * sheet.width + tile % columns * SIDE;
            let row = &sheet.pixels[3 * start..3 * (start + SIDE)];
            images.extend(row.iter().step_by(3));
        }
    }
    let values = numbers.map(|tile| (tile % CLASSES.len()) as u8).collect();
    let classes = CLASSES.map(str::to_owned).to_vec();
    Ok(ImageSet {
        images,
        shape: [1, SIDE, SIDE],
        labels: Labels { values, classes },
        coarse: None,
    })
}

/// The whole set (60,000 training or 10,000 test pictures) from its four idx files, which lie
/// in `dir`, in torchvision's `dir/FashionMNIST/raw` or in `dir/fashion-mnist`.
///
/// # Errors
/// As [`idx::read_set`].
pub fn load(dir: &Path, split: Split) -> Result<ImageSet> {
    let folders = [
        dir.to_owned(),
        dir.join("FashionMNIST/raw"),
        dir.join("fashion-mnist"),
    ];
    for folder in &folders {
        match idx::read_set(folder, split, &CLASSES) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            result => return result,
        }
    }
    Err(Error::new(
        ErrorKind::NotFound,
        dir.display(),
        "the idx files of Fashion-MNIST are neither there nor in FashionMNIST/raw or fashion-mnist",
        "name the folder that holds them",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_what_its_script_wrote() {
        let (train, test) = (sample(Split::Train).unwrap(), sample(Split::Test).unwrap());
        assert_eq!((train.len(), test.len()), (6000, 1000));
        for (set, each) in [(&train, 600), (&test, 100)] {
            assert_eq!(set.images.len(), set.len() * 28 * 28);
            for class in 0..10 {
                assert_eq!(
                    set.labels
                        .values
                        .iter()
                        .filter(|&&label| label == class)
                        .count(),
                    each
                );
            }
        }
        // Printed by make_sample.py.
        let pixels = train.images.iter().chain(&test.images);
        assert_eq!(pixels.map(|&p| u64::from(p)).sum::<u64>(), 401_134_185);
        // The first training picture of class 9 is the set's very first picture, an ankle boot:
        // row 3 of train-images-idx3-ubyte.
        let boot = [
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 13, 73, 0, 0, 1, 4, 0, 0, 0, 0, 1, 1, 0,
        ];
        assert_eq!(train.image(9).unwrap()[3 * 28..4 * 28], boot);
        assert_eq!(train.labels.classes[9], "Ankle boot");
    }

    #[test]
    fn a_folder_without_the_set_is_an_error() {
        let error = load(Path::new("no/such/folder"), Split::Train).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
