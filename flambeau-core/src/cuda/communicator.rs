//! Collectives over tensors: what the training of one model on several devices is made of.

use super::{device, failed, place};
use crate::tensor::Tensor;
use crate::{Device, Error, Result, fused};
use flambeau_cuda as cuda;
use flambeau_cuda::tensor::{Slice, SliceMut};

pub use flambeau_cuda::{ReduceOp, UniqueId};

/// One rank among those that work together, by NCCL
/// ([`torch.distributed`](https://pytorch.org/docs/stable/distributed.html)). Every rank calls the
/// same collectives in the same order, each with contiguous tensors of its device; they run in the
/// device's stream, after what was started before. No gradient flows through them.
///
/// ```
/// use flambeau_core::cuda::{Communicator, ReduceOp, UniqueId};
/// use flambeau_core::{Device, Tensor, cuda};
/// if cuda::is_available() {
///     // The ranks bring the id of one of them to the others; here there is one alone.
///     let id = UniqueId(Communicator::unique_id(Device::Cuda(0))?.0);
///     let ranks = Communicator::new(Device::Cuda(0), id, 0, 1)?;
///     let gradient = Tensor::ones([3])?.cuda()?;
///     ranks.all_reduce(&[&gradient], ReduceOp::Average)?;
///     assert_eq!(gradient.to_vec::<f32>()?, [1.0; 3]);
/// }
/// # Ok::<(), flambeau_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Communicator(cuda::Communicator);

/// A half of an exchange between two ranks, for [`Communicator::exchange`]
/// ([`torch.distributed.P2POp`](https://pytorch.org/docs/stable/distributed.html#torch.distributed.P2POp)).
#[derive(Clone, Copy, Debug)]
pub enum Exchange<'a> {
    /// The tensor goes to that rank.
    Send(&'a Tensor, usize),
    /// The tensor becomes what that rank sends.
    Receive(&'a Tensor, usize),
}

impl Communicator {
    /// An id for ranks to find each other by: one rank makes it and brings its bytes to the others.
    ///
    /// # Errors
    /// Where the device is no CUDA device, or NCCL is missing: how to get it.
    #[track_caller]
    pub fn unique_id(device: Device) -> Result<UniqueId> {
        UniqueId::new(on_cuda(device)?).map_err(|e| failed("Communicator", e))
    }

    /// Joins as `rank` (from 0 on) of `ranks`, with tensors on `device`; returns once all have joined.
    ///
    /// # Errors
    /// Where `rank` is none of them, the device is no CUDA device, or NCCL is missing or fails.
    #[track_caller]
    pub fn new(device: Device, id: UniqueId, rank: usize, ranks: usize) -> Result<Communicator> {
        let joined = cuda::Communicator::new(on_cuda(device)?, id, rank, ranks);
        joined
            .map(Communicator)
            .map_err(|e| failed("Communicator", e))
    }

    /// This rank's number.
    pub fn rank(&self) -> usize {
        self.0.rank()
    }

    /// How many ranks there are.
    pub fn ranks(&self) -> usize {
        self.0.ranks()
    }

    /// Whether a rank has failed since.
    ///
    /// # Errors
    /// Where one has.
    #[track_caller]
    pub fn check(&self) -> Result<()> {
        self.0.check().map_err(|e| failed("Communicator", e))
    }

    /// The elements of each tensor become those of all ranks together, in place; several tensors go in
    /// one group
    /// ([`all_reduce_coalesced`](https://pytorch.org/docs/stable/distributed.html#torch.distributed.all_reduce)).
    ///
    /// # Errors
    /// Where a tensor cannot be written in place, is not contiguous, on another device or of a type
    /// that is not reduced (`i16`); two share memory; or a rank fails.
    #[track_caller]
    pub fn all_reduce(&self, tensors: &[&Tensor], op: ReduceOp) -> Result<()> {
        self.run("all_reduce", tensors, &[], |group, written, _| {
            for x in written {
                group.all_reduce(x, op)?;
            }
            Ok(())
        })
    }

    /// The same at rank `root` alone; the others' tensors are arbitrary afterwards
    /// ([`reduce`](https://pytorch.org/docs/stable/distributed.html#torch.distributed.reduce)).
    ///
    /// # Errors
    /// As [`all_reduce`](Communicator::all_reduce), and where there is no such rank.
    #[track_caller]
    pub fn reduce(&self, tensors: &[&Tensor], op: ReduceOp, root: usize) -> Result<()> {
        self.run("reduce", tensors, &[], |group, written, _| {
            for x in written {
                group.reduce(x, op, root)?;
            }
            Ok(())
        })
    }

    /// Each tensor becomes that of rank `root`
    /// ([`broadcast`](https://pytorch.org/docs/stable/distributed.html#torch.distributed.broadcast)).
    ///
    /// # Errors
    /// As [`reduce`](Communicator::reduce).
    #[track_caller]
    pub fn broadcast(&self, tensors: &[&Tensor], root: usize) -> Result<()> {
        self.run("broadcast", tensors, &[], |group, written, _| {
            for x in written {
                group.broadcast(x, root)?;
            }
            Ok(())
        })
    }

    /// `out` becomes the `input` of all ranks, one after the other
    /// ([`all_gather_into_tensor`](https://pytorch.org/docs/stable/distributed.html#torch.distributed.all_gather_into_tensor)).
    ///
    /// # Errors
    /// As [`all_reduce`](Communicator::all_reduce), and where `out` has not as many elements as all
    /// `input`.
    #[track_caller]
    pub fn all_gather(&self, out: &Tensor, input: &Tensor) -> Result<()> {
        self.run("all_gather", &[out], &[input], |group, written, read| {
            for (to, from) in written.into_iter().zip(read) {
                group.all_gather(from, to)?;
            }
            Ok(())
        })
    }

    /// `out` becomes this rank's part of the `input` of all ranks together
    /// ([`reduce_scatter_tensor`](https://pytorch.org/docs/stable/distributed.html#torch.distributed.reduce_scatter_tensor)).
    ///
    /// # Errors
    /// As [`all_gather`](Communicator::all_gather), the other way round.
    #[track_caller]
    pub fn reduce_scatter(&self, out: &Tensor, input: &Tensor, op: ReduceOp) -> Result<()> {
        self.run(
            "reduce_scatter",
            &[out],
            &[input],
            |group, written, read| {
                for (to, from) in written.into_iter().zip(read) {
                    group.reduce_scatter(from, to, op)?;
                }
                Ok(())
            },
        )
    }

    /// Sends and receives tensors, all at the same time
    /// ([`batch_isend_irecv`](https://pytorch.org/docs/stable/distributed.html#torch.distributed.batch_isend_irecv)).
    ///
    /// # Errors
    /// As [`all_reduce`](Communicator::all_reduce), and where a rank is this one or none.
    #[track_caller]
    pub fn exchange(&self, exchanges: &[Exchange<'_>]) -> Result<()> {
        let received = exchanges.iter().filter_map(|e| match *e {
            Exchange::Receive(t, from) => Some((t, from)),
            Exchange::Send(..) => None,
        });
        let sent = exchanges.iter().filter_map(|e| match *e {
            Exchange::Send(t, to) => Some((t, to)),
            Exchange::Receive(..) => None,
        });
        let (to, from): (Vec<&Tensor>, Vec<usize>) = received.unzip();
        let (what, peers): (Vec<&Tensor>, Vec<usize>) = sent.unzip();
        self.run("exchange", &to, &what, |group, written, read| {
            for (x, peer) in read.into_iter().zip(peers) {
                group.send(x, peer)?;
            }
            for (x, peer) in written.into_iter().zip(from) {
                group.receive(x, peer)?;
            }
            Ok(())
        })
    }

    /// Fills a group with collectives over the elements of tensors, and runs it.
    #[track_caller]
    fn run(
        &self,
        op: &'static str,
        written: &[&Tensor],
        read: &[&Tensor],
        fill: impl for<'a> FnOnce(
            &mut cuda::Group<'a>,
            Vec<SliceMut<'a>>,
            Vec<Slice<'a>>,
        ) -> cuda::Result<()>,
    ) -> Result<()> {
        let here = Device::Cuda(self.0.device().index());
        for (i, t) in written.iter().enumerate() {
            t.check_inplace(op)?;
            let others = written[..i].iter().chain(read);
            if others.into_iter().any(|o| o.shares_storage(t)) {
                return Err(Error::new(
                    op,
                    "a tensor that is written shares memory with another one",
                ));
            }
        }
        for t in written.iter().chain(read) {
            if t.device() != here || !t.is_contiguous() {
                return Err(Error::new(
                    op,
                    format!(
                        "every tensor has to be contiguous and on {here}; got shape {:?}, strides {:?} on {}",
                        t.shape(),
                        t.strides(),
                        t.device()
                    ),
                ));
            }
        }
        {
            let (mut w, r) = fused::lock(written, read);
            let absent = || cuda::Error::new("a tensor is on no CUDA device");
            let run = || -> cuda::Result<()> {
                let mut to = Vec::with_capacity(written.len());
                for (t, guard) in written.iter().zip(w.iter_mut()) {
                    to.push(SliceMut::new(guard.cuda().ok_or_else(absent)?, place(t))?);
                }
                let mut from = Vec::with_capacity(read.len());
                for (t, guard) in read.iter().zip(r.iter()) {
                    from.push(Slice::new(guard.cuda().ok_or_else(absent)?, place(t))?);
                }
                let mut group = self.0.group();
                fill(&mut group, to, from)?;
                group.run()
            };
            run().map_err(|e| failed(op, e))?;
        }
        for t in written {
            t.written(op);
        }
        Ok(())
    }
}

/// The CUDA device that `device` is.
#[track_caller]
fn on_cuda(device: Device) -> Result<&'static cuda::Device> {
    match device {
        Device::Cuda(index) => self::device("Communicator", index),
        Device::Cpu => Err(Error::new(
            "Communicator",
            "NCCL connects CUDA devices, not the cpu",
        )),
    }
}
