//! Transforms against torchvision and Pillow.

use crate::goldens::*;
use flambeau_core::{DType, Result, Tensor};
use flambeau_data::{Collate, Dataset, SampleRng};
use flambeau_vision::Image;
use flambeau_vision::transforms::*;

const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const STD: [f64; 3] = [0.229, 0.224, 0.225];

fn tensor(transform: &dyn Transform, image: &Image) -> Tensor {
    apply(transform, image.clone()).to_tensor().unwrap()
}

#[test]
fn bytes_become_torchvisions_numbers_to_the_bit() -> Result<()> {
    for (_, image) in kinds(&small())
        .into_iter()
        .filter(|(kind, _)| *kind == "bytes")
    {
        let both = |n: Normalize| Compose::new().then(ToTensor).then(n);
        check("to_tensor", &tensor(&ToTensor, &image), 0.0);
        let normalize = Normalize::new(MEAN, STD);
        // Twice, for the second time tables come from the cache.
        let pipeline = both(normalize.clone());
        check("normalize", &tensor(&pipeline, &image), 0.0);
        check("normalize", &tensor(&pipeline, &image), 0.0);
        let half = both(Normalize::new([0.5; 3], [0.5; 3]));
        check("normalize-half", &tensor(&half, &image), 0.0);
        check(
            "normalize-half",
            &tensor(&both(Normalize::new([0.5], [0.5])), &image),
            0.0,
        );
        let twice = both(normalize.clone()).then(Normalize::new([0.1], [3.0]));
        check("normalize-twice", &tensor(&twice, &image), 0.0);
        // The same object after another picture's table.
        let again = Compose::new().then(ToTensor).then(twice_with(&normalize));
        assert_ne!(
            tensor(&again, &image).to_vec::<f32>()?,
            tensor(&pipeline, &image).to_vec::<f32>()?
        );
        check("normalize", &tensor(&pipeline, &image), 0.0);

        let x = tensor(&ToTensor, &image);
        check(
            "normalize",
            &tensor(&normalize, &x.clone().try_into()?),
            0.0,
        );
        let x = x.to_dtype(DType::F64)?.try_into()?;
        check("normalize-f64", &tensor(&normalize, &x), 1e-7);
    }
    let bytes = tensor(&PilToTensor, &small());
    assert_eq!((bytes.dtype(), bytes.shape()), (DType::U8, &[3, 7, 9][..]));
    Ok(())
}

/// `normalize` twice, the second time on what it made itself.
fn twice_with(normalize: &Normalize) -> Compose {
    Compose::new()
        .then(normalize.clone())
        .then(normalize.clone())
}

#[test]
fn collating_writes_what_to_tensor_writes() -> Result<()> {
    let pipeline = Compose::new()
        .then(ToTensor)
        .then(Normalize::new(MEAN, STD));
    let images: Vec<Image> = kinds(&small())[..2]
        .iter()
        .map(|(_, x)| apply(&pipeline, x.clone()))
        .collect();
    let flipped = apply(&RandomHorizontalFlip::new(1.0), images[0].clone());
    let cropped = apply(&CenterCrop::new([7, 9]), flipped.clone());
    let expected: Vec<f32> = [&images[0], &images[1], &flipped, &cropped]
        .iter()
        .flat_map(|image| image.to_tensor().unwrap().to_vec::<f32>().unwrap())
        .collect();
    let lazy = vec![
        images[0].clone(),
        images[1].clone(),
        flipped.clone(),
        cropped,
    ];
    let batch = Image::collate(lazy)?;
    assert_eq!(
        (batch.shape(), batch.to_vec::<f32>()?),
        (&[4, 3, 7, 9][..], expected.clone())
    );
    // Tensors among them.
    let mixed = vec![images[0].clone(), images[1].to_tensor()?.try_into()?];
    assert_eq!(Image::collate(mixed)?.to_vec::<f32>()?, expected[..2 * 189]);

    let error = Image::collate(vec![small()]).unwrap_err().to_string();
    assert!(
        error.contains("end the dataset's transform with ToTensor"),
        "{error}"
    );
    let other = vec![apply(&ToTensor, small()), apply(&ToTensor, wide())];
    let error = Image::collate(other).unwrap_err().to_string();
    assert!(
        error.contains("[3, 7, 9] and sample 1 is float32 [3, 20, 33]"),
        "{error}"
    );
    assert!(Image::collate(vec![]).is_err());
    Ok(())
}

#[test]
fn flips_crops_and_frames_equal_torchvisions() {
    for (kind, image) in kinds(&small()) {
        let run = |name: &str, transform: &dyn Transform| {
            check(&format!("{name}-{kind}"), &tensor(transform, &image), 0.0);
        };
        run("hflip", &RandomHorizontalFlip::new(1.0));
        run("vflip", &RandomVerticalFlip::new(1.0));
        run("pad", &Pad::new([1, 2, 3, 0]).fill(1.0));
        // A crop of exactly the padded size has no choice.
        run(
            "pad",
            &RandomCrop::new([9, 13]).padding([1, 2, 3, 0]).fill(1.0),
        );
        for (name, mode) in [
            ("edge", PaddingMode::Edge),
            ("reflect", PaddingMode::Reflect),
            ("symmetric", PaddingMode::Symmetric),
        ] {
            run(
                &format!("pad-{name}"),
                &Pad::new([2, 3, 4, 1]).padding_mode(mode),
            );
        }
        for size in [[3, 4], [4, 4], [5, 3], [6, 12], [11, 2], [12, 14]] {
            run(
                &format!("center-{}x{}", size[0], size[1]),
                &CenterCrop::new(size),
            );
        }
        // Twice mirrored is as before, wherever the picture lay.
        let twice = Compose::new()
            .then(RandomHorizontalFlip::new(1.0))
            .then(RandomVerticalFlip::new(1.0))
            .then(RandomHorizontalFlip::new(1.0));
        run("vflip", &twice);
    }
    let colour = Pad::new(1).fill([10.0, 20.0, 30.0]);
    check("pad-colour-bytes", &tensor(&colour, &small()), 0.0);
}

#[test]
fn frames_may_repeat_a_picture_more_than_once() {
    // numpy.pad([1, 2, 3], 5, mode)
    let row = Image::from_chw(vec![1, 2, 3], [1, 1, 3]).unwrap();
    let padded = |mode| {
        let pad = Pad::new([5, 0]).padding_mode(mode);
        tensor(&pad, &row).to_vec::<u8>().unwrap()
    };
    assert_eq!(
        padded(PaddingMode::Reflect),
        [2, 1, 2, 3, 2, 1, 2, 3, 2, 1, 2, 3, 2]
    );
    assert_eq!(
        padded(PaddingMode::Symmetric),
        [2, 3, 3, 2, 1, 1, 2, 3, 3, 2, 1, 1, 2]
    );
    assert_eq!(
        padded(PaddingMode::Edge),
        [1, 1, 1, 1, 1, 1, 2, 3, 3, 3, 3, 3, 3]
    );
    let dot = Image::from_chw(vec![9], [1, 1, 1]).unwrap();
    let pad = Pad::new(1).padding_mode(PaddingMode::Reflect);
    assert_eq!(tensor(&pad, &dot).to_vec::<u8>().unwrap(), [9; 9]);
}

#[test]
fn tensors_with_more_dimensions_keep_them() -> Result<()> {
    let x = Tensor::arange(0, 2 * 3 * 2 * 2, 1)?.view([2, 3, 2, 2])?;
    let image: Image = x.clone().try_into()?;
    let padded = tensor(&Pad::new([1, 0, 0, 0]).fill([7.0, 8.0, 9.0]), &image);
    assert_eq!(padded.shape(), [2, 3, 2, 3]);
    let expected: Vec<i64> = x
        .to_vec::<i64>()?
        .chunks(2)
        .enumerate()
        .flat_map(|(row, v)| [7 + (row as i64 / 2) % 3, v[0], v[1]])
        .collect();
    assert_eq!(padded.to_vec::<i64>()?, expected);
    // Not contiguous, and in half precision.
    let turned: Image = x.to_dtype(DType::F16)?.transpose(2, 3)?.try_into()?;
    let flipped = tensor(&RandomVerticalFlip::new(1.0), &turned).to_dtype(DType::I64)?;
    assert_eq!(flipped.to_vec::<i64>()?[..4], [1, 3, 0, 2]);
    Ok(())
}

#[test]
fn grey_pictures_equal_pillows_and_torchvisions() {
    for (kind, image) in kinds(&small()) {
        let apart = if kind == "float" { 1e-7 } else { 0.0 };
        check(
            &format!("gray1-{kind}"),
            &tensor(&Grayscale::new(), &image),
            apart,
        );
        let three = tensor(&Grayscale::new().three_channels(), &image);
        check(&format!("gray3-{kind}"), &three, apart);
        let again = Compose::new()
            .then(Grayscale::new())
            .then(Grayscale::new().three_channels());
        check(&format!("gray3-{kind}"), &tensor(&again, &image), apart);
    }
}

#[test]
fn resized_pictures_equal_pillows_and_torchs() -> Result<()> {
    for (name, how) in [
        ("nearest", Interpolation::Nearest),
        ("bilinear", Interpolation::Bilinear),
        ("bicubic", Interpolation::Bicubic),
    ] {
        for [h, w] in [[5, 8], [13, 40], [9, 30], [9, 25], [41, 33], [20, 11]] {
            let resize = Resize::new([h, w]).interpolation(how);
            for (kind, image) in kinds(&wide()) {
                let y = tensor(&resize, &image);
                assert_eq!(y.shape(), [3, h, w]);
                let shown = y.narrow(0, 1, 1)?.slice(1, 0, h, 3)?;
                // PyTorch sums floats in f32 in another order; a byte at a half may fall either way.
                let apart = match kind {
                    "float" => 3e-6,
                    "uint8" => 1.0,
                    _ => 0.0,
                };
                check(&format!("resize-{name}-{h}x{w}-{kind}"), &shown, apart);
            }
        }
    }
    let double = tensor(&ToTensor, &wide())
        .to_dtype(DType::F64)?
        .try_into()?;
    let y = tensor(&Resize::new([5, 8]), &double).narrow(0, 1, 1)?;
    check("resize-f64", &y, 1e-7);
    Ok(())
}

#[test]
fn the_shorter_side_decides_as_in_torchvision() {
    let upright = Image::from_chw(vec![0; 3 * 33 * 20], [3, 33, 20]).unwrap();
    for (name, resize) in [
        ("short", Resize::new(12)),
        ("short_max", Resize::new(12).max_size(15)),
        ("same", Resize::new(20)),
    ] {
        for (end, image) in [("", wide()), ("-upright", upright.clone())] {
            let size = golden(&format!("resize-{name}{end}")).numbers.clone();
            let found = apply(&resize, image).shape();
            assert_eq!(found.map(|d| d as f64)[1..], size, "{name}{end}");
        }
    }
}

#[test]
fn types_convert_with_their_ranges() -> Result<()> {
    for to in [
        DType::F32,
        DType::F64,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
    ] {
        let x = tensor(&ConvertImageDtype(to), &small())
            .narrow(0, 0, 1)?
            .narrow(1, 0, 3)?;
        check(&format!("convert-uint8-{to}"), &x, 1e-8);
    }
    for to in [DType::U8, DType::I16, DType::F64] {
        let x = tensor(&ConvertImageDtype(to), &apply(&ToTensor, small()));
        let x = x.narrow(0, 0, 1)?.narrow(1, 0, 3)?;
        check(&format!("convert-float32-{to}"), &x, 1e-8);
    }
    let x = Tensor::new([[[-5, 0, (1 << 24) - 1, 1 << 24, i32::MAX]]])?.try_into()?;
    check(
        "convert-int32-uint8",
        &tensor(&ConvertImageDtype(DType::U8), &x),
        0.0,
    );
    let error = error(&ConvertImageDtype(DType::I64), apply(&ToTensor, small()));
    assert!(
        error.contains("float32 does not count through the range of int64"),
        "{error}"
    );
    Ok(())
}

#[test]
fn wrong_pictures_are_errors_that_name_the_remedy() -> Result<()> {
    let float = apply(&ToTensor, small());
    let bytes: Image = tensor(&PilToTensor, &small()).try_into()?;
    let cases: [(&dyn Transform, Image, &str); 17] = [
        (&ToTensor, float.clone(), "is a tensor already"),
        (&PilToTensor, float.clone(), "is a tensor already"),
        (
            &Normalize::new(MEAN, STD),
            small(),
            "put ToTensor before Normalize",
        ),
        (
            &Normalize::new(MEAN, STD),
            bytes,
            "uint8, not floating-point",
        ),
        (
            &Normalize::new([0.5; 3], [0.5, 0.0, 0.5]),
            float.clone(),
            "std of channel 1 is 0",
        ),
        (
            &Normalize::new([0.5; 3], [1e-60; 3]),
            float.clone(),
            "std of channel 0 is 0",
        ),
        (
            &Normalize::new([0.5; 2], [0.5; 3]),
            float.clone(),
            "3 channels, but mean has 2 numbers",
        ),
        (
            &Normalize::new([0.5; 3], []),
            float.clone(),
            "std has 0 numbers",
        ),
        (
            &RandomHorizontalFlip::new(1.5),
            small(),
            "between 0 and 1; 1.5",
        ),
        (
            &RandomVerticalFlip::new(f64::NAN),
            small(),
            "between 0 and 1; NaN",
        ),
        (
            &RandomCrop::new(8),
            small(),
            "[8, 8] is larger than the picture of [7, 9]",
        ),
        (
            &Pad::new(1).fill(0.5),
            small(),
            "whole numbers of 0 to 255, not 0.5",
        ),
        (
            &Pad::new(1).fill([1.0, 2.0]),
            small(),
            "3 channels, but 2 fill values",
        ),
        (&Pad::new(usize::MAX), small(), "too large"),
        (&Resize::new(0), small(), "cannot become 0"),
        (&Resize::new([1 << 30, 1 << 30]), small(), "more than 2^31"),
        (
            &Resize::new(9).max_size(9),
            small(),
            "max_size 9 must be above",
        ),
    ];
    for (transform, image, text) in cases {
        let error = error(transform, image);
        assert!(error.contains(text), "{error}");
    }
    let two = Image::from_chw(vec![0; 2], [2, 1, 1])?;
    assert!(error(&Grayscale::new(), two).contains("1 or 3 channels; this one has 2"));
    assert!(Image::from_chw(vec![0; 5], [1, 2, 3]).is_err());
    assert!(Image::from_hwc(vec![], [0, 2, 3]).is_err());
    assert!(Image::from_hwc(vec![], [usize::MAX, 2, 3]).is_err());
    assert!(Image::try_from(Tensor::zeros([2, 2])?).is_err());
    Ok(())
}

/// With so wide a frame a part may lie beside the picture altogether.
#[test]
fn parts_of_the_frame_alone() -> Result<()> {
    let crop = RandomCrop::new(3).padding([12, 10]);
    let mut blank = 0;
    for place in 0..200 {
        let part = crop.apply(small(), &mut SampleRng::new(0, place))?;
        assert_eq!(part.shape(), [3, 3, 3]);
        let bytes = part.to_tensor()?.to_vec::<u8>()?;
        blank += usize::from(bytes.iter().all(|&b| b == 0));
    }
    assert!((50..200).contains(&blank), "{blank}");
    Ok(())
}

/// Sizes of which only a 0 beside them makes a picture, and frames too long to be written down.
#[test]
fn pictures_of_nothing() -> Result<()> {
    let big = 1usize << 62;
    for shape in [
        &[0, 3, big, 5][..],
        &[big, big, 0, 3, 4],
        &[0, big, big],
        &[3, big, 0],
    ] {
        let nothing = || Image::try_from(Tensor::zeros(shape).unwrap()).unwrap();
        assert!(error(&Resize::new([2, 2]), nothing()).contains("empty"));
        let rng = &mut SampleRng::new(0, 0);
        let framed = Pad::new(1)
            .padding_mode(PaddingMode::Edge)
            .apply(nothing(), rng);
        assert!(framed.is_err() || framed?.to_tensor()?.is_empty());
        let flipped = RandomHorizontalFlip::new(1.0).apply(nothing(), rng);
        assert!(flipped.is_err() || flipped?.to_tensor()?.is_empty());
    }
    for size in [[0, (1 << 31) - 1], [(1 << 31) - 1, 1]] {
        let frame = RandomCrop::new(size)
            .padding(1 << 32)
            .padding_mode(PaddingMode::Reflect);
        assert!(error(&frame, small()).contains("too large"));
    }
    Ok(())
}

#[test]
fn functions_and_choices_are_transforms_too() -> Result<()> {
    let invert = || Lambda::new(|x: Tensor| x.mul(-1.0)?.add(1.0));
    let pipeline = Compose::new().then(ToTensor).then(invert());
    let x = tensor(&pipeline, &small()).add(tensor(&ToTensor, &small()))?;
    assert!(x.to_vec::<f32>()?.iter().all(|v| (v - 1.0).abs() < 1e-6));
    let never = RandomApply::new(invert(), 0.0);
    check(
        "to_tensor",
        &tensor(&never, &apply(&ToTensor, small())),
        0.0,
    );
    let always = RandomApply::new(Compose::new().then(ToTensor), 1.0);
    check("to_tensor", &tensor(&always, &small()), 0.0);
    // In a dataset of one's own.
    let set = flambeau_data::ListDataset::from(vec![(small(), 3i64)]);
    let set = set.map(|(image, label), rng| Ok((ToTensor.apply(image, rng)?, label)));
    let (image, label) = set.get(0, &mut SampleRng::new(0, 0))?;
    check("to_tensor", &image.to_tensor()?, 0.0);
    assert_eq!(
        (label, format!("{image:?}")),
        (3, "Image(float32, 3 x 7 x 9)".into())
    );
    Ok(())
}
