//! The four official archives: names, checksums, formats.
//!
//! MD5 sums are those of the data set's page and of torchvision; SHA-256 sums those that
//! Keras, TensorFlow Datasets and torchvision's Ruby port publish, which agree.

use super::{Checksum, File, Split, Variant};

/// One official archive and the folder in it.
pub(super) struct Source {
    pub variant: Variant,
    pub folder: &'static str,
    pub archive: &'static str,
    pub checksum: Checksum,
    train: &'static [File],
    test: &'static [File],
    pub format: Format,
}

pub(super) enum Format {
    /// Records of label bytes and pixels. With the files that list the names of the classes,
    /// one for each label byte of a record, in its order.
    Binary { names: &'static [&'static str] },
    /// Pickled dicts. With the file that holds the names of the classes.
    Python { names: &'static str },
}

/// A kind of label: CIFAR-100 has two.
pub(super) struct LabelKind {
    /// The key of the labels in a pickled batch.
    pub key: &'static str,
    /// The key of the names of the classes in the pickled list.
    pub names_key: &'static str,
    /// The official names, in order.
    names: &'static str,
}

impl LabelKind {
    pub fn official_names(&self) -> Vec<String> {
        self.names.split_whitespace().map(str::to_owned).collect()
    }
}

impl Source {
    /// The archives of a set, the preferred one first: records are read without a parser.
    pub fn of(variant: Variant) -> &'static [Self] {
        match variant {
            Variant::Cifar10 => &CIFAR10,
            Variant::Cifar100 => &CIFAR100,
        }
    }

    pub fn files(&self, split: Split) -> Vec<File> {
        match split {
            Split::Train => self.train.to_vec(),
            Split::Test => self.test.to_vec(),
        }
    }

    pub fn all_files(&self) -> Vec<File> {
        [self.train, self.test].concat()
    }

    /// The files that list the names of the classes.
    pub fn name_files(&self) -> &[&'static str] {
        match &self.format {
            Format::Binary { names } => names,
            Format::Python { names } => std::slice::from_ref(names),
        }
    }

    /// The kinds of label, in the order of a binary record's first bytes.
    pub fn label_kinds(&self) -> &'static [LabelKind] {
        match self.variant {
            Variant::Cifar10 => &[LABELS],
            Variant::Cifar100 => &[COARSE, FINE],
        }
    }
}

const fn sha256(digits: &'static str) -> Checksum {
    Checksum::Sha256(digits)
}

const fn md5(digits: &'static str) -> Checksum {
    Checksum::Md5(digits)
}

#[rustfmt::skip]
const CIFAR10: [Source; 2] = [
    Source {
        variant: Variant::Cifar10,
        folder: "cifar-10-batches-bin",
        archive: "cifar-10-binary.tar.gz",
        checksum: sha256("c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
        train: &[
            ("data_batch_1.bin", sha256("cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5")),
            ("data_batch_2.bin", sha256("a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed")),
            ("data_batch_3.bin", sha256("bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67")),
            ("data_batch_4.bin", sha256("014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48")),
            ("data_batch_5.bin", sha256("755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add")),
        ],
        test: &[("test_batch.bin", sha256("8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"))],
        format: Format::Binary { names: &["batches.meta.txt"] },
    },
    Source {
        variant: Variant::Cifar10,
        folder: "cifar-10-batches-py",
        archive: "cifar-10-python.tar.gz",
        checksum: sha256("6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"),
        train: &[
            ("data_batch_1", md5("c99cafc152244af753f735de768cd75f")),
            ("data_batch_2", md5("d4bba439e000b95fd0a9bffe97cbabec")),
            ("data_batch_3", md5("54ebc095f3ab1f0389bbae665268c751")),
            ("data_batch_4", md5("634d18415352ddfa80567beed471001a")),
            ("data_batch_5", md5("482c414d41f54cd18b22e5b47cb7c3cb")),
        ],
        test: &[("test_batch", md5("40351d587109b95175f43aff81a1287e"))],
        format: Format::Python { names: "batches.meta" },
    },
];

#[rustfmt::skip]
const CIFAR100: [Source; 2] = [
    Source {
        variant: Variant::Cifar100,
        folder: "cifar-100-binary",
        archive: "cifar-100-binary.tar.gz",
        checksum: sha256("58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"),
        train: &[("train.bin", sha256("f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"))],
        test: &[("test.bin", sha256("d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"))],
        format: Format::Binary { names: &["coarse_label_names.txt", "fine_label_names.txt"] },
    },
    Source {
        variant: Variant::Cifar100,
        folder: "cifar-100-python",
        archive: "cifar-100-python.tar.gz",
        checksum: sha256("85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"),
        train: &[("train", md5("16019d7e3df5f24257cddd939b257f8d"))],
        test: &[("test", md5("f0ef6b0ae62326f3e7ffdfab6717acfc"))],
        format: Format::Python { names: "meta" },
    },
];

const LABELS: LabelKind = LabelKind {
    key: "labels",
    names_key: "label_names",
    names: "airplane automobile bird cat deer dog frog horse ship truck",
};

const COARSE: LabelKind = LabelKind {
    key: "coarse_labels",
    names_key: "coarse_label_names",
    names: "aquatic_mammals fish flowers food_containers fruit_and_vegetables \
        household_electrical_devices household_furniture insects large_carnivores \
        large_man-made_outdoor_things large_natural_outdoor_scenes \
        large_omnivores_and_herbivores medium_mammals non-insect_invertebrates people reptiles \
        small_mammals trees vehicles_1 vehicles_2",
};

const FINE: LabelKind = LabelKind {
    key: "fine_labels",
    names_key: "fine_label_names",
    names: "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge \
        bus butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach \
        couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house \
        kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle \
        mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree \
        plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark \
        shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table \
        tank telephone television tiger tractor train trout tulip turtle wardrobe whale \
        willow_tree wolf woman worm",
};
