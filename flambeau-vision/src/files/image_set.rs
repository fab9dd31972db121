//! A labelled set of small pictures in memory, as data-set files hold them.

/// Pictures of one size with their labels, in file order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSet {
    /// N x C x H x W bytes: picture after picture, plane after plane, row after row.
    pub images: Vec<u8>,
    /// `[C, H, W]` of every picture.
    pub shape: [usize; 3],
    /// What each picture shows.
    pub labels: Labels,
    /// CIFAR-100's superclasses; `None` for every other set.
    pub coarse: Option<Labels>,
}

/// A label for every picture, with the names of the classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// One a picture, each less than `classes.len()`.
    pub values: Vec<u8>,
    /// The name of every class.
    pub classes: Vec<String>,
}

impl ImageSet {
    /// The number of pictures, N.
    pub fn len(&self) -> usize {
        self.labels.values.len()
    }

    /// Whether there is no picture.
    pub fn is_empty(&self) -> bool {
        self.labels.values.is_empty()
    }

    /// The C x H x W bytes of picture `index`, or `None` past the end.
    pub fn image(&self, index: usize) -> Option<&[u8]> {
        self.images
            .chunks_exact(self.shape.iter().product())
            .nth(index)
    }

    /// The set as 3 x 32 x 32 pictures: grey becomes RGB with three equal planes, and a smaller
    /// picture gets a black frame around it. A set of that shape already is returned as it is,
    /// and so is one of more than 32 pixels a side or of two planes, which has no such form.
    ///
    /// A frame keeps every pixel as it was. Resizing 28x28 to 32x32 instead was tried on the
    /// sample of Fashion-MNIST: two epochs of LeNet end 1 to 2 points of accuracy lower.
    ///
    /// ```
    /// use flambeau_vision::files::{Split, fashion};
    /// let set = fashion::sample(Split::Test)?.framed_rgb32();
    /// assert_eq!(set.image(0).unwrap().len(), 3 * 32 * 32);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    pub fn framed_rgb32(self) -> Self {
        const SIDE: usize = 32;
        let [planes, height, width] = self.shape;
        let fits = matches!(planes, 1 | 3) && height <= SIDE && width <= SIDE;
        if self.shape == [3, SIDE, SIDE] || !fits || width == 0 || height == 0 {
            return self;
        }
        let (top, left) = ((SIDE - height) / 2, (SIDE - width) / 2);
        let mut images = vec![0; self.len() * 3 * SIDE * SIDE];
        let pictures = self.images.chunks_exact(planes * height * width);
        for (to, from) in images.chunks_exact_mut(3 * SIDE * SIDE).zip(pictures) {
            for plane in 0..3 {
                let source = &from[plane % planes * height * width..][..height * width];
                for (y, row) in source.chunks_exact(width).enumerate() {
                    let start = (plane * SIDE + top + y) * SIDE + left;
                    to[start..start + width].copy_from_slice(row);
                }
            }
        }
        Self {
            images,
            shape: [3, SIDE, SIDE],
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_centres_and_repeats_the_plane() {
        let images: Vec<u8> = (0..2 * 28 * 28).map(|i| (i % 251) as u8).collect();
        let labels = Labels {
            values: vec![0, 1],
            classes: vec!["a".into(), "b".into()],
        };
        let set = ImageSet {
            images,
            shape: [1, 28, 28],
            labels,
            coarse: None,
        };
        let framed = set.clone().framed_rgb32();
        assert_eq!((framed.len(), framed.shape), (2, [3, 32, 32]));
        for n in 0..2 {
            let (old, new) = (set.image(n).unwrap(), framed.image(n).unwrap());
            for (i, &value) in new.iter().enumerate() {
                let (y, x) = (i / 32 % 32, i % 32);
                let inside = (2..30).contains(&y) && (2..30).contains(&x);
                let expected = if inside { old[(y - 2) * 28 + x - 2] } else { 0 };
                assert_eq!(value, expected, "picture {n}, byte {i}");
            }
        }
        assert_eq!(framed.image(2), None);
        assert_eq!(framed.clone().framed_rgb32(), framed);
    }
}
