//! Sums of products by subscripts, over permutations, diagonals and matrix products.

use crate::ops::spec::{Arg, OpSpec, Sample};
use crate::shape::numel;
use crate::tensor::Tensor;
use crate::{Result, bail};
use std::collections::BTreeMap;

const OP: &str = "einsum";

/// A dimension's name. Those of the ellipsis, counted from the last, come before letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Ellipsis(std::cmp::Reverse<usize>),
    Letter(char),
}

/// The subscripts of a tensor before its dimensions are known; `None` is the ellipsis.
#[track_caller]
fn parse(text: &str, equation: &str) -> Result<Vec<Option<char>>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("...") {
            if out.contains(&None) {
                bail!(
                    OP,
                    "{equation:?} has two ellipses in {text:?}; one is allowed"
                );
            }
            out.push(None);
            rest = after;
        } else if c.is_ascii_alphabetic() {
            out.push(Some(c));
            rest = &rest[1..];
        } else {
            bail!(
                OP,
                "{equation:?} has {c:?} among its subscripts; they must be letters or ..."
            );
        }
    }
    Ok(out)
}

/// The labels, with `ellipsis` dimensions in the ellipsis's place.
fn labels(subscripts: &[Option<char>], ellipsis: usize) -> Vec<Label> {
    let mut out = Vec::new();
    for s in subscripts {
        match s {
            Some(c) => out.push(Label::Letter(*c)),
            None => {
                let dims = (0..ellipsis).rev();
                out.extend(dims.map(|d| Label::Ellipsis(std::cmp::Reverse(d))));
            }
        }
    }
    out
}

/// An operand with a dimension for each of `order`, of size 1 where it has none.
#[track_caller]
fn arrange(x: &Tensor, mut names: Vec<Label>, order: &[Label]) -> Result<Tensor> {
    let mut x = x.clone();
    // What is named twice becomes its diagonal, in the first one's place.
    let mut i = 0;
    while i < names.len() {
        while let Some(j) = (i + 1..names.len()).find(|&j| names[j] == names[i]) {
            let (a, b) = (x.shape()[i], x.shape()[j]);
            if a != b {
                bail!(
                    OP,
                    "a subscript is repeated for dimensions {i} and {j} of an operand, whose sizes {a} and {b} differ"
                );
            }
            x = x.diagonal(0, i as i64, j as i64)?.movedim(-1, i as i64)?;
            names.remove(j);
        }
        i += 1;
    }
    let at = |label: &Label| names.iter().position(|n| n == label);
    let dims: Vec<i64> = order.iter().filter_map(at).map(|d| d as i64).collect();
    x = x.permute(dims)?;
    for (d, label) in order.iter().enumerate() {
        if at(label).is_none() {
            x = x.unsqueeze(d as i64)?;
        }
    }
    Ok(x)
}

/// The product of two arranged operands, summed over `over`, whose dimensions stay with size 1.
#[track_caller]
fn pair(mut left: Tensor, mut right: Tensor, over: &[usize]) -> Result<Tensor> {
    // Where both have a size; the left one alone; the right one alone, or none; both, to be summed.
    let (mut both, mut lefts, mut rights, mut sums) = (vec![], vec![], vec![], vec![]);
    for d in 0..left.dim() {
        let (l, r) = (left.shape()[d] != 1, right.shape()[d] != 1);
        match (over.contains(&d), l, r) {
            (true, true, true) => sums.push(d),
            (true, true, false) => {
                left = left.sum_dim(d as i64, true)?;
                rights.push(d);
            }
            (true, false, true) => {
                right = right.sum_dim(d as i64, true)?;
                rights.push(d);
            }
            (_, true, true) => both.push(d),
            (_, true, false) => lefts.push(d),
            _ => rights.push(d),
        }
    }
    if sums.is_empty() {
        return left.mul(&right);
    }
    let sizes = |t: &Tensor, dims: &[usize]| dims.iter().map(|&d| t.shape()[d]).collect::<Vec<_>>();
    let count = |t: &Tensor, dims: &[usize]| numel(&sizes(t, dims));
    let matrices = |t: &Tensor, order: [&[usize]; 4], rows: &[usize], columns: &[usize]| {
        let dims: Vec<i64> = order.concat().iter().map(|&d| d as i64).collect();
        let shape = [sizes(t, &both), vec![count(t, rows), count(t, columns)]].concat();
        t.permute(dims)?.reshape(shape)
    };
    let product = matrices(&left, [&both, &lefts, &sums, &rights], &lefts, &sums)?.matmul(
        &matrices(&right, [&both, &sums, &rights, &lefts], &sums, &rights)?,
    )?;
    let shape = [
        sizes(&left, &both),
        sizes(&left, &lefts),
        vec![1; sums.len()],
        sizes(&right, &rights),
    ];
    let order = [both, lefts, sums, rights].concat();
    let mut back: Vec<i64> = vec![0; order.len()];
    for (i, &d) in order.iter().enumerate() {
        back[d] = i as i64;
    }
    product.reshape(shape.concat())?.permute(back)
}

impl Tensor {
    /// The sum of products that the subscripts of `equation` name
    /// ([`torch.einsum`](https://pytorch.org/docs/stable/generated/torch.einsum.html)), operand by
    /// operand from the left.
    ///
    /// Each operand's dimensions have a letter each, and `...` stands for any others, which
    /// broadcast; a letter twice in one operand is the diagonal. What stands after `->` is kept in
    /// that order, all else summed. Without `->` the result has the ellipsis, then in the alphabet's
    /// order the letters that occur once.
    ///
    /// ```
    /// use flambeau_core::Tensor;
    /// let (a, b) = (Tensor::ones([2, 3])?, Tensor::ones([3, 4])?);
    /// assert_eq!(Tensor::einsum("ij,jk->ki", &[&a, &b])?.shape(), [4, 2]);
    /// let square = Tensor::new([[1.0f32, 2.0], [3.0, 4.0]])?;
    /// assert_eq!(Tensor::einsum("ii", &[&square])?.item::<f32>()?, 5.0);
    /// # Ok::<(), flambeau_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where the equation is not of that form, or sizes under one letter differ.
    #[track_caller]
    pub fn einsum<T: AsRef<Tensor>>(equation: &str, operands: &[T]) -> Result<Tensor> {
        let operands: Vec<&Tensor> = operands.iter().map(AsRef::as_ref).collect();
        let plain: String = equation.split_whitespace().collect();
        let (inputs, output) = match plain.split_once("->") {
            Some((inputs, output)) => (inputs, Some(parse(output, equation)?)),
            None => (&plain[..], None),
        };
        let inputs: Vec<&str> = inputs.split(',').collect();
        if inputs.len() != operands.len() || operands.is_empty() {
            bail!(
                OP,
                "{equation:?} has subscripts for {} operands; {} were given",
                inputs.len(),
                operands.len()
            );
        }
        let mut names = Vec::new();
        for (i, (text, x)) in inputs.iter().zip(&operands).enumerate() {
            let subscripts = parse(text, equation)?;
            let letters = subscripts.iter().flatten().count();
            let fits = if subscripts.contains(&None) {
                letters <= x.dim()
            } else {
                letters == x.dim()
            };
            if !fits {
                bail!(
                    OP,
                    "operand {i} has shape {:?}, but {} subscripts in {equation:?}; it needs one for each dimension, or ...",
                    x.shape(),
                    letters
                );
            }
            names.push(labels(&subscripts, x.dim() - letters));
        }
        // Sizes, and how often each label occurs.
        let mut known: BTreeMap<Label, (usize, usize)> = BTreeMap::new();
        for (label, &size) in (names.iter().flatten()).zip(operands.iter().flat_map(|x| x.shape()))
        {
            let (old, count) = known.entry(*label).or_insert((1, 0));
            *count += 1;
            if *old == 1 {
                *old = size;
            } else if size != 1 && size != *old {
                bail!(
                    OP,
                    "sizes {old} and {size} under one subscript in {equation:?}; they must be equal, or one of them 1"
                );
            }
        }
        let output = match output {
            Some(subscripts) => {
                let dims = known.keys().filter(|l| matches!(l, Label::Ellipsis(_)));
                labels(&subscripts, dims.count())
            }
            None => {
                let once = known.iter().filter(|(label, (_, count))| {
                    matches!(label, Label::Ellipsis(_)) || *count == 1
                });
                once.map(|(label, _)| *label).collect()
            }
        };
        for (i, label) in output.iter().enumerate() {
            if output[..i].contains(label) || !known.contains_key(label) {
                bail!(
                    OP,
                    "the output of {equation:?} names a subscript twice, or one that no operand has"
                );
            }
        }
        let summed = known.keys().filter(|label| !output.contains(label));
        let order: Vec<Label> = output.iter().chain(summed).copied().collect();
        let mut arranged = Vec::new();
        for (x, names) in operands.iter().zip(&names) {
            arranged.push(arrange(x, names.clone(), &order)?);
        }
        let mut rest = arranged.into_iter();
        let Some(mut result) = rest.next() else {
            unreachable!("there is an operand")
        };
        for (i, x) in rest.enumerate() {
            // What no later operand has is summed now.
            let later = &names[i + 2..];
            let over: Vec<usize> = (output.len()..order.len())
                .filter(|&d| !later.iter().flatten().any(|label| *label == order[d]))
                .collect();
            result = pair(result, x, &over)?;
        }
        let over: Vec<i64> = (output.len()..order.len()).map(|d| d as i64).collect();
        match (over.is_empty(), operands.len()) {
            (true, _) => Ok(result),
            (false, 1) => result.sum_dim(over, false),
            _ => result.squeeze_dims(over),
        }
    }
}

/// What tests and goldens know of this file.
#[inline]
pub(crate) fn specs() -> Vec<OpSpec> {
    let args = |equation: &'static str, shapes: &[&[usize]]| {
        let operands = shapes.iter().map(|s| Arg::uniform(*s, (-2.0, 2.0)));
        vec![Arg::S(equation), Arg::Ts(operands.collect())]
    };
    let sample = |equation, shapes: &[&[usize]]| Sample::new(args(equation, shapes));
    vec![
        OpSpec::new("einsum", "lambda e, x: torch.einsum(e, *x)", |a| {
            Ok(vec![Tensor::einsum(a[0].word()?, &a[1].tensors()?)?])
        })
        .samples(vec![
            sample("ij,jk->ik", &[&[2, 3], &[3, 4]]),
            sample("ij,jk", &[&[2, 3], &[3, 4]]),
            sample("ba", &[&[2, 3]]),
            sample("ii", &[&[3, 3]]),
            sample("ii->i", &[&[3, 3]]),
            sample("iji->ji", &[&[3, 2, 3]]),
            sample("i,j->ji", &[&[2], &[3]]),
            sample("i,i->", &[&[3], &[3]]),
            sample("ij,ij->ij", &[&[2, 3], &[2, 3]]),
            sample("bij,bjk->bik", &[&[2, 3, 4], &[2, 4, 2]]),
            sample(
                "b n h d, b m h d -> b h n m",
                &[&[2, 3, 2, 4], &[2, 5, 2, 4]],
            ),
            sample("...ij,...jk", &[&[2, 1, 3, 4], &[3, 4, 2]]),
            sample("...ij->...ji", &[&[2, 3, 4]]),
            sample("i...->...", &[&[2, 3, 4]]),
            sample("...i,i->i", &[&[2, 3], &[3]]),
            sample("Ba,aC->BC", &[&[2, 3], &[3, 4]]),
            sample("aB,Bc", &[&[2, 3], &[3, 4]]),
            sample("bn,anm,bm->ba", &[&[2, 3], &[4, 3, 2], &[2, 2]]),
            sample("ij,kj->i", &[&[2, 3], &[4, 3]]),
            sample("ij,jk->ik", &[&[2, 1], &[3, 4]]),
            sample("ij,jk->ik", &[&[2, 0], &[0, 4]]),
            sample("->", &[&[]]),
            sample(",i", &[&[], &[3]]),
        ])
        .errors(vec![
            (
                args("ij,jk", &[&[2, 3]]),
                "subscripts for 2 operands; 1 were given",
            ),
            (
                args("ij", &[&[2, 3, 4]]),
                "has shape [2, 3, 4], but 2 subscripts",
            ),
            (
                args("ij,jk", &[&[2, 3], &[4, 2]]),
                "sizes 3 and 4 under one subscript",
            ),
            (args("i1", &[&[2, 3]]), "must be letters or ..."),
            (args("ij->ik", &[&[2, 3]]), "one that no operand has"),
            (args("ij->ii", &[&[2, 3]]), "names a subscript twice"),
            (args("......", &[&[2, 3]]), "two ellipses"),
            (args("ii", &[&[2, 3]]), "sizes 2 and 3"),
        ]),
    ]
}
