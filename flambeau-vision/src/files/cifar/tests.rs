use std::fs;

use super::*;
use crate::files::tests::{fixture, folder};

/// Records of `heads` label bytes and 3,072 pixels; pixel i of file `seed` is i * 31 + seed.
fn records(labels: &[&[u8]], seed: usize) -> Vec<u8> {
    let pixels = |n| (n * 3072..(n + 1) * 3072).map(move |i| (i * 31 + seed) as u8);
    labels
        .iter()
        .enumerate()
        .flat_map(|(n, l)| l.iter().copied().chain(pixels(n)))
        .collect()
}

fn fake_binary(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    for i in 1..=5 {
        fs::write(
            dir.join(format!("data_batch_{i}.bin")),
            records(&[&[i], &[9]], i.into()),
        )
        .unwrap();
    }
    fs::write(dir.join("test_batch.bin"), records(&[&[7]], 0)).unwrap();
}

fn fake_python(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    for i in 1..=5 {
        fs::copy(
            fixture("cifar10-py2.pickle"),
            dir.join(format!("data_batch_{i}")),
        )
        .unwrap();
    }
    fs::copy(fixture("cifar10-protocol5.pickle"), dir.join("test_batch")).unwrap();
}

fn message(dir: &Path, split: Split) -> String {
    load(dir, Variant::Cifar10, split).unwrap_err().to_string()
}

#[test]
fn binary_cifar10() {
    let dir = folder("cifar10-bin");
    let inner = dir.join("cifar-10-batches-bin");
    fake_binary(&inner);
    let set = load(&dir, Variant::Cifar10, Split::Train).unwrap();
    assert_eq!(
        (set.len(), set.shape, set.coarse.as_ref()),
        (10, [3, 32, 32], None)
    );
    assert_eq!(set.labels.values, [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]);
    assert_eq!(set.labels.classes[3], "cat");
    assert_eq!(set.image(3).unwrap(), &records(&[&[], &[]], 2)[3072..]);
    // The layout's folder itself, and its own names.
    fs::write(
        inner.join("batches.meta.txt"),
        "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n",
    )
    .unwrap();
    let set = load(&inner, Variant::Cifar10, Split::Test).unwrap();
    assert_eq!(
        (
            set.len(),
            set.labels.values[0],
            set.labels.classes[7].as_str()
        ),
        (1, 7, "h")
    );
    fs::write(inner.join("batches.meta.txt"), "a\nb\n").unwrap();
    assert!(message(&dir, Split::Test).contains("2 names of classes instead of 10"));
}

#[test]
fn python_cifar10() {
    let dir = folder("cifar10-py");
    let inner = dir.join("cifar-10-batches-py");
    fake_python(&inner);
    fs::copy(fixture("meta10-py2.pickle"), inner.join("batches.meta")).unwrap();
    let set = load(&dir, Variant::Cifar10, Split::Train).unwrap();
    assert_eq!(set.labels.values, [1, 8, 5].repeat(5));
    assert_eq!(set.labels.classes[2], "class 2");
    assert_eq!(
        set.image(14).unwrap(),
        &records(&[&[], &[], &[]], 1)[2 * 3072..]
    );
    assert_eq!(
        load(&inner, Variant::Cifar10, Split::Test)
            .unwrap()
            .labels
            .values,
        [1, 8]
    );

    let path = inner.join("data_batch_4");
    fs::copy(fixture("cifar100-py2.pickle"), &path).unwrap();
    let found = message(&dir, Split::Train);
    assert!(found.contains("data_batch_4: no list 'labels'"), "{found}");
    let mut bytes = fs::read(fixture("cifar10-py2.pickle")).unwrap();
    // The labels 1, 8, 5 as BININT1, the second becomes 10.
    let at = bytes
        .windows(6)
        .position(|w| w == b"K\x01K\x08K\x05")
        .unwrap();
    bytes[at + 3] = 10;
    fs::write(&path, &bytes).unwrap();
    let found = message(&dir, Split::Train);
    assert!(
        found.contains("data_batch_4: record 1: label 10 is out of range 0..10"),
        "{found}"
    );
    fs::write(&path, &bytes[..5000]).unwrap();
    assert!(message(&dir, Split::Train).contains("data_batch_4: pickle, byte"));
    fs::write(&path, b"cos\nsystem\n(S'true'\ntR.").unwrap();
    assert!(message(&dir, Split::Train).contains("os.system"));
    for bad in [&b"}."[..], b"N.", b"}U\x04dataK\x01s."] {
        fs::write(&path, bad).unwrap();
        assert!(message(&dir, Split::Train).contains("'data'"));
    }
}

#[test]
fn cifar100_of_both_layouts() {
    let dir = folder("cifar100");
    let inner = dir.join("cifar-100-python");
    fs::create_dir_all(&inner).unwrap();
    fs::copy(fixture("cifar100-py2.pickle"), inner.join("train")).unwrap();
    let set = load(&dir, Variant::Cifar100, Split::Train).unwrap();
    // Record n has fine and coarse label n * 7 + 2.
    assert_eq!(set.labels.values, [2, 9, 16]);
    let coarse = set.coarse.unwrap();
    assert_eq!(coarse.values, [2, 9, 16]);
    assert_eq!((set.labels.classes.len(), coarse.classes.len()), (100, 20));
    assert!(set.labels.classes.is_sorted() && coarse.classes.is_sorted());

    let inner = dir.join("cifar-100-binary");
    fs::create_dir_all(&inner).unwrap();
    fs::write(inner.join("test.bin"), records(&[&[19, 99], &[0, 1]], 0)).unwrap();
    let set = load(&dir, Variant::Cifar100, Split::Test).unwrap();
    assert_eq!(
        (set.labels.values, set.coarse.unwrap().values),
        (vec![99, 1], vec![19, 0])
    );
    assert_eq!(set.labels.classes[99], "worm");
    fs::write(inner.join("test.bin"), records(&[&[19, 99], &[20, 1]], 0)).unwrap();
    let error = load(&dir, Variant::Cifar100, Split::Test)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("test.bin: record 1: label 20 is out of range 0..20"),
        "{error}"
    );
}

#[test]
fn missing_and_damaged_files() {
    let dir = folder("cifar-bad");
    let error = load(&dir, Variant::Cifar10, Split::Train).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("cifar-10-batches-py"), "{error}");
    assert!(message(Path::new("no/such/folder"), Split::Test).contains("no CIFAR-10 there"));

    let inner = dir.join("cifar-10-batches-bin");
    fake_binary(&inner);
    fs::remove_file(inner.join("data_batch_3.bin")).unwrap();
    assert!(
        message(&dir, Split::Train).contains("data_batch_3.bin: this file of CIFAR-10 is missing")
    );
    assert!(
        message(&inner, Split::Train)
            .contains("data_batch_3.bin: this file of CIFAR-10 is missing")
    );
    // Not as if there were none.
    let error = load(&dir, Variant::Cifar10, Split::Train).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(load(&dir, Variant::Cifar10, Split::Test).unwrap().len(), 1);
    // The other layout is whole.
    fake_python(&dir.join("cifar-10-batches-py"));
    assert_eq!(
        load(&dir, Variant::Cifar10, Split::Train).unwrap().len(),
        15
    );

    fake_binary(&inner);
    let path = inner.join("data_batch_2.bin");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let found = message(&dir, Split::Train);
    assert!(
        found.contains("data_batch_2.bin: 6145 bytes") && found.contains("record 1"),
        "{found}"
    );
    fs::write(&path, []).unwrap();
    assert!(message(&dir, Split::Train).contains("data_batch_2.bin: 0 bytes"));
    fs::write(&path, records(&[&[0], &[10]], 0)).unwrap();
    assert!(message(&dir, Split::Train).contains("record 1: label 10 is out of range 0..10"));

    let error = verify(&dir, Variant::Cifar10).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Checksum);
    assert!(error.to_string().contains("data_batch_1.bin"), "{error}");
}

/// An archive of a fake binary layout, with entries that do not belong there.
fn fake_archive(path: &Path, leave_out: &str) {
    let dir = folder("to-pack");
    fake_binary(&dir);
    let gz = flate2::write::GzEncoder::new(fs::File::create(path).unwrap(), Default::default());
    let mut tar = tar::Builder::new(gz);
    let mut add = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Unlike append_data, this lets a path climb out, as a hostile archive would.
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, content).unwrap();
    };
    add("cifar-10-batches-bin/../../evil", b"evil");
    add("../evil", b"evil");
    add("cifar-10-batches-bin/readme.html", b"hello");
    for file in CIFAR10_FILES.iter().filter(|&&name| name != leave_out) {
        add(
            &format!("cifar-10-batches-bin/{file}"),
            &fs::read(dir.join(file)).unwrap(),
        );
    }
    tar.into_inner().unwrap().finish().unwrap();
}

const CIFAR10_FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];

#[test]
fn archives() {
    let dir = folder("archive");
    let source = &Source::of(Variant::Cifar10)[0];
    let (archive, inner) = (dir.join(source.archive), dir.join(source.folder));
    fake_archive(&archive, "");
    // Not the official one: never unpacked.
    let error = load(&dir, Variant::Cifar10, Split::Train).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Checksum);
    assert!(!inner.exists());

    archive::unpack(source, &archive, &inner).unwrap();
    assert_eq!(
        load(&dir, Variant::Cifar10, Split::Train).unwrap().len(),
        10
    );
    assert_eq!(fs::read_dir(&inner).unwrap().count(), 6);
    assert!(!dir.parent().unwrap().join("evil").exists() && !dir.join("evil").exists());
    // Unpacked by another process meanwhile.
    archive::unpack(source, &archive, &inner).unwrap();

    fs::remove_dir_all(&inner).unwrap();
    let whole = fs::read(&archive).unwrap();
    for length in [0, 100, whole.len() / 2, whole.len() - 100] {
        fs::write(&archive, &whole[..length]).unwrap();
        let error = archive::unpack(source, &archive, &inner).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    fake_archive(&archive, "data_batch_2.bin");
    let error = archive::unpack(source, &archive, &inner)
        .unwrap_err()
        .to_string();
    assert!(error.contains("data_batch_2.bin is not in it"), "{error}");
    // Nothing is left but the archive.
    assert_eq!(fs::read_dir(&*dir).unwrap().count(), 1);
}
