//! Grids and picture files against torchvision's.

use crate::goldens::{check, golden};
use flambeau_core::{DType, Result, Tensor};
use flambeau_vision::files::RgbImage;
use flambeau_vision::utils::{Grid, make_grid, save_image};

/// The pictures of make_transforms.py.
fn pictures() -> Tensor {
    let numbers = (0..12 * 36)
        .map(|i| (i * 37 % 101) as f32 / 25.0 - 1.5)
        .collect();
    Tensor::from_vec(numbers, [12, 3, 3, 4]).unwrap()
}

fn first(n: usize) -> Tensor {
    pictures().narrow(0, 0, n).unwrap()
}

#[test]
fn grids_equal_torchvisions() -> Result<()> {
    check("grid", &Grid::new().nrow(3).make(&first(5))?, 1e-6);
    check("grid-one", &make_grid(&first(1))?, 1e-6);
    check("grid-one", &make_grid(&first(1).select(0, 0)?)?, 1e-6);
    let grey = first(2).narrow(1, 0, 1)?;
    check(
        "grid-grey",
        &Grid::new().padding(1).pad_value(0.25).make(&grey)?,
        1e-6,
    );
    check(
        "grid-flat",
        &make_grid(&first(1).select(0, 0)?.select(0, 0)?)?,
        1e-6,
    );
    let two = || Grid::new().nrow(2).normalize(true);
    check("grid-normalize", &two().make(&first(3))?, 1e-6);
    check(
        "grid-each",
        &two().scale_each(true).padding(0).make(&first(3))?,
        1e-6,
    );
    check(
        "grid-range",
        &two().value_range(-1.0, 1.0).make(&first(3))?,
        1e-6,
    );
    let flat = Tensor::full([2, 3, 1, 1], 0.3)?;
    check(
        "grid-flat-values",
        &Grid::new().normalize(true).make(&flat)?,
        1e-6,
    );
    let bytes = first(3).mul(50.0)?.add(100.0)?.to_dtype(DType::U8)?;
    check(
        "grid-bytes",
        &Grid::new().nrow(2).pad_value(7.0).make(&bytes)?,
        0.0,
    );
    Ok(())
}

#[test]
fn normalised_pictures_are_brought_back() -> Result<()> {
    let x = Tensor::from_vec((0..24).map(|i| i as f32 / 24.0).collect(), [2, 3, 2, 2])?;
    let (mean, std) = ([0.4, 0.5, 0.6], [0.2, 0.3, 0.5]);
    let of = |l: [f64; 3]| {
        Tensor::from_slice(&l, [3, 1, 1])
            .unwrap()
            .to_dtype(DType::F32)
            .unwrap()
    };
    let normal = x.sub(of(mean))?.div(of(std))?;
    let shown = Grid::new().unnormalize(mean, std).make(&normal)?;
    let expected = make_grid(&x)?;
    for (a, b) in shown.to_vec::<f32>()?.iter().zip(expected.to_vec::<f32>()?) {
        assert!((a - b).abs() < 1e-6);
    }
    let error = Grid::new()
        .unnormalize([0.5; 2], [0.5])
        .make(&x)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("3 channels, but unnormalize was given 2"),
        "{error}"
    );
    Ok(())
}

#[test]
fn saved_pictures_read_back_as_torchvisions_bytes() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("flambeau-utils-{}", std::process::id()));
    let path = folder.join("new/grid.PNG");
    Grid::new().nrow(2).save(&first(3), &path)?;
    let read = RgbImage::read(&path)?;
    let saved = golden("saved");
    assert_eq!([read.height, read.width], saved.shape[1..]);
    let plane = read.height * read.width;
    for (i, &byte) in read.pixels.iter().enumerate() {
        assert_eq!(
            f64::from(byte),
            saved.numbers[i % 3 * plane + i / 3],
            "byte {i}"
        );
    }
    // Bytes stay bytes; grey becomes RGB; not-a-numbers do no harm.
    let grey = Tensor::new([[7u8, 200], [0, 255]])?;
    save_image(&grey, folder.join("grey.png"))?;
    assert_eq!(
        RgbImage::read(&folder.join("grey.png"))?.pixels[..6],
        [7, 7, 7, 200, 200, 200]
    );
    save_image(&Tensor::full([1, 1], f32::NAN)?, folder.join("nan.png"))?;

    let error = save_image(&grey, folder.join("grey.jpg"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("does not end in .png"), "{error}");
    let error = save_image(&Tensor::zeros([2, 4, 4])?, &path)
        .unwrap_err()
        .to_string();
    assert!(error.contains("1 or 3 channels"), "{error}");
    let error = save_image(&grey, folder.join("grey.png/x.png"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot"), "{error}");
    std::fs::remove_dir_all(folder).unwrap();
    Ok(())
}

#[test]
fn grids_that_cannot_be_are_errors() -> Result<()> {
    let wrong = |grid: Grid, x: &Tensor| grid.make(x).unwrap_err().to_string();
    assert!(wrong(Grid::new().nrow(0), &first(2)).contains("nrow above 0"));
    assert!(wrong(Grid::new(), &Tensor::zeros([0, 3, 2, 2])?).contains("there are 0"));
    assert!(wrong(Grid::new(), &Tensor::zeros([4])?).contains("not of shape [4]"));
    assert!(wrong(Grid::new().padding(usize::MAX), &first(2)).contains("too large"));
    let bytes = Tensor::zeros([2, 3, 2, 2])?.to_dtype(DType::U8)?;
    assert!(wrong(Grid::new().normalize(true), &bytes).contains("not uint8"));
    Ok(())
}
