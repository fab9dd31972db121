//! Datasets: from files and from the program itself.

use flambeau_core::{DType, Result, Tensor};
use flambeau_data::{DataLoader, Dataset, SampleRng};
use flambeau_vision::datasets::*;
use flambeau_vision::files::{ImageSet, Labels, RgbImage, Split, fashion};
use flambeau_vision::transforms::*;
use flambeau_vision::{ErrorKind, Image};
use std::path::PathBuf;

fn rng() -> SampleRng {
    SampleRng::new(0, 0)
}

/// A folder that is removed when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("flambeau-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn cifar_pixel(record: usize, at: usize) -> u8 {
    (record * 7 + at * 13 + at / 1024) as u8
}

#[test]
fn cifar_10_from_its_binary_records() -> Result<()> {
    let folder = Folder::new("cifar10");
    let records = |first: usize, count: usize| -> Vec<u8> {
        (first..first + count)
            .flat_map(|r| {
                std::iter::once((r % 10) as u8).chain((0..3072).map(move |at| cifar_pixel(r, at)))
            })
            .collect()
    };
    for file in 1..=5 {
        let name = format!("cifar-10-batches-bin/data_batch_{file}.bin");
        folder.write(&name, &records(file * 4, 4));
    }
    folder.write("cifar-10-batches-bin/test_batch.bin", &records(0, 3));
    let train = Cifar10::train(&folder.0)?;
    assert_eq!(
        (train.len(), train.shape(), train.name()),
        (20, [3, 32, 32], "Cifar10".into())
    );
    assert_eq!(train.classes()[0], "airplane");
    let (image, label) = train.get(5, &mut rng())?;
    let expected: Vec<u8> = (0..3072).map(|at| cifar_pixel(9, at)).collect();
    assert_eq!((image.to_tensor()?.to_vec::<u8>()?, label), (expected, 9));
    let error = train.get(20, &mut rng()).unwrap_err().to_string();
    assert!(
        error.contains("index 20 is out of range: Cifar10 has 20 pictures"),
        "{error}"
    );
    let error = Cifar10::test(folder.0.join("none")).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    // The tutorial's loader.
    let transform = Compose::new()
        .then(ToTensor)
        .then(Normalize::new([0.5; 3], [0.5; 3]));
    let testset = Cifar10::test(&folder.0)?
        .transform(transform)
        .target_transform(|l| l + 100);
    let loader = DataLoader::new(testset).batch_size(2).num_workers(2);
    let batches: Vec<(Tensor, Tensor)> = loader.iter().collect::<Result<_>>()?;
    let labels: Vec<Vec<i64>> = batches.iter().map(|b| b.1.to_vec().unwrap()).collect();
    assert_eq!(labels, [vec![100, 101], vec![102]]);
    let x = &batches[1].0;
    assert_eq!((x.shape(), x.dtype()), (&[1, 3, 32, 32][..], DType::F32));
    for (at, v) in x.to_vec::<f32>()?.into_iter().enumerate() {
        assert_eq!(v, (cifar_pixel(2, at) as f32 / 255.0 - 0.5) / 0.5);
    }
    // What is there is not fetched.
    Cifar10::download(&folder.0, |_, _| panic!("nothing is to be fetched"))?;
    Ok(())
}

#[test]
fn cifar_100_has_two_kinds_of_labels() -> Result<()> {
    let folder = Folder::new("cifar100");
    let record = |coarse: u8, fine: u8| [vec![coarse, fine], vec![5; 3072]].concat();
    let records = [record(4, 99), record(19, 0)].concat();
    folder.write("cifar-100-binary/train.bin", &records);
    folder.write("cifar-100-binary/test.bin", &records);
    let set = Cifar100::train(&folder.0)?;
    assert_eq!((set.labels(), set.classes().len()), (&[99, 0][..], 100));
    let coarse = set.coarse().unwrap();
    assert_eq!(
        (coarse.labels(), coarse.classes().len()),
        (&[4, 19][..], 20)
    );
    assert_eq!(coarse.get(1, &mut rng())?.1, 19);
    assert!(FashionSample::test()?.coarse().is_none());
    Ok(())
}

#[test]
fn the_sample_is_framed_for_networks_of_cifar_10() -> Result<()> {
    let (train, test) = (FashionSample::train()?, FashionSample::test()?);
    assert_eq!(
        (train.len(), test.len(), train.shape()),
        (6000, 1000, [3, 32, 32])
    );
    let raw = fashion::sample(Split::Test)?;
    let (image, label) = test.get(7, &mut rng())?;
    assert_eq!(label, i64::from(raw.labels.values[7]));
    // Cut out of its frame, in each of the planes, it is the raw picture.
    let cropped = CenterCrop::new(28)
        .apply(image, &mut rng())?
        .to_tensor()?
        .to_vec::<u8>()?;
    assert_eq!(cropped, raw.image(7).unwrap().repeat(3));
    Ok(())
}

#[test]
fn sets_whose_parts_do_not_fit_are_refused() {
    let labels = |values: Vec<u8>| Labels {
        values,
        classes: vec!["a".into(), "b".into()],
    };
    let set = |bytes: usize, values: Vec<u8>, coarse: Option<Vec<u8>>| {
        let (labels, coarse) = (labels(values), coarse.map(labels));
        Pictures::new(
            "set",
            ImageSet {
                images: vec![0; bytes],
                shape: [1, 2, 2],
                labels,
                coarse,
            },
        )
    };
    assert_eq!(set(8, vec![0, 1], None).unwrap().len(), 2);
    for wrong in [
        set(7, vec![0, 1], None),
        set(8, vec![0, 2], None),
        set(8, vec![0], None),
        set(8, vec![0, 1], Some(vec![0])),
        set(8, vec![0, 1], Some(vec![0, 9])),
    ] {
        assert_eq!(wrong.err().unwrap().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn pictures_in_folders() -> Result<()> {
    let folder = Folder::new("folder");
    let picture = |grey: u8| RgbImage::new(2, 3, vec![grey; 18]).unwrap();
    for (name, grey) in [
        ("dog/b.png", 1),
        ("cat/z.PNG", 2),
        ("cat/sub/a.png", 3),
        ("cat/a.png", 4),
    ] {
        let path = folder.0.join(name);
        picture(grey).write_png(&path)?;
    }
    folder.write("cat/notes.txt", b"no picture");
    folder.write("readme.txt", b"no class");
    let set = ImageFolder::new(&folder.0)?.target_transform(|l| 10 * l);
    assert_eq!(set.classes(), ["cat", "dog"]);
    // sorted(os.walk()): a folder's own files before those of the folders in it.
    let greys: Vec<(u8, i64)> = (0..set.len())
        .map(|i| {
            let (image, label) = set.get(i, &mut rng()).unwrap();
            assert_eq!(image.shape(), [3, 3, 2]);
            (image.to_tensor().unwrap().to_vec::<u8>().unwrap()[0], label)
        })
        .collect();
    assert_eq!(greys, [(4, 0), (2, 0), (3, 0), (1, 10)]);
    assert!(set.get(4, &mut rng()).is_err());

    // A damaged picture is named, and the others still come.
    folder.write("dog/a.jpg", b"\xff\xd8 cut off");
    let loader = DataLoader::new(ImageFolder::new(&folder.0)?.transform(ToTensor));
    let results: Vec<Result<(Tensor, Tensor)>> = loader.iter().collect();
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 4);
    let error = results[3].as_ref().err().unwrap().to_string();
    assert!(
        error.contains("sample 3 of ImageFolder") && error.contains("a.jpg"),
        "{error}"
    );

    std::fs::create_dir(folder.0.join("empty")).unwrap();
    let error = ImageFolder::new(&folder.0).err().unwrap().to_string();
    assert!(error.contains("class empty has no picture"), "{error}");
    let error = ImageFolder::new(folder.0.join("dog"))
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("no folder of a class"), "{error}");
    assert!(ImageFolder::new(folder.0.join("none")).is_err());
    assert!(Image::open(folder.0.join("none.png")).is_err());
    Ok(())
}

#[test]
fn augmentation_is_fixed_by_the_seed_whatever_the_workers() -> Result<()> {
    let run = |workers: usize| -> Vec<f32> {
        let transform = Compose::new()
            .then(RandomCrop::new(32).padding(4))
            .then(RandomHorizontalFlip::new(0.5))
            .then(ToTensor)
            .then(Normalize::new([0.5; 3], [0.5; 3]));
        let set = FashionSample::test().unwrap().transform(transform);
        let set = flambeau_data::Subset::new(set, (0..50).collect::<Vec<_>>()).unwrap();
        let loader = DataLoader::new(set).batch_size(8).shuffle(true);
        let loader = loader.num_workers(workers).generator(3);
        // The second of two epochs.
        loader.iter().for_each(|b| drop(b.unwrap()));
        loader
            .iter()
            .flat_map(|b| b.unwrap().0.to_vec::<f32>().unwrap())
            .collect()
    };
    let expected = run(0);
    assert!(run(1) == expected && run(3) == expected);
    Ok(())
}
