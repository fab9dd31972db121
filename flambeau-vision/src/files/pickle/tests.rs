use super::*;
use crate::files::tests::fixture;

fn load(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

fn problem(input: &[u8]) -> String {
    Pickle::read(input).unwrap_err().problem
}

#[test]
fn reads_a_batch_of_python_2() {
    let bytes = load("cifar10-py2.pickle");
    let pickle = Pickle::read(&bytes).unwrap();
    let root = pickle.root();
    let labels: Vec<_> = root
        .get("labels")
        .unwrap()
        .items()
        .unwrap()
        .map(|v| v.int())
        .collect();
    assert_eq!(labels, [Some(1), Some(8), Some(5)]);
    assert_eq!(
        root.get("batch_label").unwrap().bytes().unwrap(),
        b"training batch 1 of 5"
    );
    let names = root.get("filenames").unwrap().items().unwrap();
    assert_eq!(
        names.map(|v| v.text().unwrap()).last(),
        Some("picture_s_000002.png")
    );
    let data = root.get("data").unwrap().array().unwrap();
    assert_eq!(
        (data.dtype, data.shape, data.fortran),
        ("u1", &[3, 3072][..], false)
    );
    assert!(
        data.bytes
            .iter()
            .enumerate()
            .all(|(i, &b)| usize::from(b) == (i * 31 + 1) % 256)
    );
    assert!(root.get("fine_labels").is_none());
}

#[test]
fn reads_every_protocol() {
    for protocol in 0..6 {
        let bytes = load(&format!("cifar10-protocol{protocol}.pickle"));
        let pickle = Pickle::read(&bytes).unwrap_or_else(|e| panic!("protocol {protocol}: {e}"));
        let data = pickle.root().get("data").unwrap().array().unwrap();
        assert_eq!((data.dtype, data.shape), ("u1", &[2, 3072][..]));
        assert!(
            data.bytes
                .iter()
                .enumerate()
                .all(|(i, &b)| usize::from(b) == (i * 31 + 1) % 256)
        );

        let bytes = load(&format!("kinds-protocol{protocol}.pickle"));
        let pickle = Pickle::read(&bytes).unwrap_or_else(|e| panic!("protocol {protocol}: {e}"));
        let kinds: Vec<_> = pickle.root().items().unwrap().collect();
        assert!(kinds[0].is_none());
        assert_eq!(
            [kinds[1].bool(), kinds[2].bool()],
            [Some(true), Some(false)]
        );
        let ints: Vec<_> = kinds[3..10].iter().map(|v| v.int().unwrap()).collect();
        assert_eq!(ints, [0, 255, 65535, -1, 1 << 31, i64::MIN, i64::MAX]);
        assert_eq!(
            [kinds[10].float(), kinds[11].float()],
            [Some(0.5), Some(-1e300)]
        );
        assert_eq!(kinds[12].text(), Some(""));
        assert_eq!(kinds[13].text(), Some("é\n€\u{1f600}\\u"));
        assert_eq!(kinds[14].bytes(), Some(&b"\x00\xff'\\\n"[..]));
        let lengths = kinds[15..23]
            .iter()
            .map(|v| v.items().map(|items| items.len()));
        assert_eq!(
            lengths.collect::<Vec<_>>(),
            [
                Some(0),
                Some(0),
                None,
                Some(1),
                Some(2),
                Some(3),
                Some(4),
                Some(2)
            ]
        );
        assert_eq!(
            kinds[23]
                .get("a")
                .and_then(|v| v.get("b"))
                .and_then(|v| v.int()),
            Some(1)
        );
    }
    for protocol in [2, 5] {
        let bytes = load(&format!("arrays-protocol{protocol}.pickle"));
        let pickle = Pickle::read(&bytes).unwrap();
        let arrays: Vec<_> = pickle
            .root()
            .items()
            .unwrap()
            .map(|v| v.array().unwrap())
            .collect();
        assert_eq!(
            (arrays[0].dtype, arrays[0].big_endian, arrays[0].fortran),
            ("i4", true, false)
        );
        assert_eq!(arrays[0].bytes[20..], [0, 0, 0, 5]);
        assert_eq!(
            (arrays[1].dtype, arrays[1].big_endian, arrays[1].fortran),
            ("f8", false, true)
        );
        assert_eq!(arrays[1].bytes[8..16], 3f64.to_le_bytes());
    }
}

#[test]
fn code_is_named_and_never_run() {
    let named = problem(b"cos\nsystem\n(S'echo hello'\ntR.");
    assert!(named.contains("os.system"), "{named}");
    assert!(problem(b"\x80\x04\x8c\x05posix\x8c\x06system\x93.").contains("posix.system"));
    assert!(problem(b"cnumpy.core.multiarray\nscalar\n.").contains("numpy.core.multiarray.scalar"));
    // Instances, persistent ids, extensions.
    for opcode in [b'i', b'o', b'P', b'Q', 0x81, 0x82, 0x92, 0x97] {
        assert!(problem(&[b'(', opcode, b'.']).contains("opcode"));
    }
    // Names can be called only as numpy calls them.
    assert!(problem(b"cnumpy\ndtype\n(tR.").contains("Dtype"));
    assert!(problem(b"cnumpy\ndtype\n(U\x01OtR.").contains("\"O\""));
    assert!(problem(b"K\x01)R.").contains("call"));
    assert!(problem(b"K\x01)b.").contains("state"));
}

#[test]
fn damage_is_an_error() {
    let names = [
        "cifar10-py2",
        "cifar10-protocol0",
        "cifar10-protocol5",
        "kinds-protocol0",
        "arrays-protocol5",
    ];
    for name in names {
        let whole = load(&format!("{name}.pickle"));
        let lengths = (0..whole.len()).filter(|n| whole.len() < 2000 || n % 61 == 0 || *n < 300);
        for length in lengths {
            Pickle::read(&whole[..length]).unwrap_err();
        }
        // Whatever a damaged byte gives, it is no panic, and nor is looking at it.
        for i in (0..whole.len()).filter(|i| whole.len() < 2000 || i % 61 == 0 || *i < 300) {
            for flip in [0x01, 0x55, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[i] ^= flip;
                let Ok(pickle) = Pickle::read(&bytes) else {
                    continue;
                };
                let data = pickle.root().get("data").and_then(|v| v.array());
                assert!(
                    data.is_none_or(|a| a.shape.iter().product::<usize>() * 8 >= a.bytes.len())
                );
            }
        }
    }
    assert!(problem(b"").contains("cut off"));
    assert!(problem(b".").contains("stack"));
    assert!(problem(b"(0.").contains("stack"));
    assert!(problem(b"1").contains("mark"));
    assert!(problem(b"h\x07.").contains("remembered as 7"));
    assert!(problem(b"K\x01K\x02a.").contains("no list"));
    assert!(problem(b"(K\x01d.").contains("key"));
    assert!(problem(b"S'a\n.").contains("literal"));
    assert!(problem(b"S'\n.").contains("literal"));
    assert!(problem(b"S'\\xg0'\n.").contains("literal"));
    assert!(problem(b"V\\u12\n.").contains("damaged string"));
    assert!(problem(b"\x8a\x09\0\0\0\0\0\0\0\0\x01.").contains("64 bits"));
}

#[test]
fn promises_cost_nothing() {
    // 2^64 - 1 bytes are promised.
    assert!(problem(b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.").contains("cut off"));
    assert!(problem(b"\x8b\xff\xff\xff\x7f.").contains("cut off"));
    // An array of 2^32 x 2^32 x 2^32 elements.
    let huge = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85U\x01btR\
        (K\x01\x8a\x05\0\0\0\0\x01\x8a\x05\0\0\0\0\x01\x8a\x05\0\0\0\0\x01\x87\
        cnumpy\ndtype\n(U\x02u1K\0K\x01tR\x89U\0tb.";
    assert!(problem(huge).contains("shape"), "{}", problem(huge));
    // A million lists in each other, a list that holds itself, 2^100 leaves by sharing.
    let nested = [b"]".repeat(1_000_000), b"a".repeat(999_999), b".".to_vec()].concat();
    assert_eq!(
        Pickle::read(&nested).unwrap().root().items().unwrap().len(),
        1
    );
    let own = Pickle::read(b"]q\0h\0a.").unwrap();
    assert!(
        own.root()
            .items()
            .unwrap()
            .next()
            .unwrap()
            .items()
            .is_some()
    );
    let shared = [&b"]"[..], &b"2\x86".repeat(100), b"."].concat();
    assert_eq!(
        Pickle::read(&shared).unwrap().root().items().unwrap().len(),
        2
    );
    assert!(problem(&b"N0".repeat(2_000_001)).contains("opcodes"));
}
