//! Collectives between devices: every rank calls the same ones in the same order.
//!
//! A [`Communicator`] is one rank's end. What it does is put on its device's stream, as kernels are, and
//! so it runs after what was started before. NCCL does the work, found at run time; the device in
//! plain memory has ranks that are threads of one process.

use crate::Type;
use crate::device::Device;
use crate::driver::{Links, Transfer};
use crate::error::{Result, fail};
use crate::tensor::{Slice, SliceMut};
use std::fmt;

/// How elements of all ranks become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReduceOp {
    /// Their sum; of bools whether any is true.
    Sum,
    /// Their product.
    Product,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// Their sum over the number of ranks.
    Average,
}

/// What the ranks of one communicator find each other by: one of them makes it, and brings it to the
/// others as bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct UniqueId(pub [u8; 128]);

impl fmt::Debug for UniqueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UniqueId({:02x?}..)", &self.0[..4])
    }
}

impl UniqueId {
    /// A new one, by the library that `device` communicates with.
    ///
    /// # Errors
    /// Where that is missing.
    pub fn new(device: &Device) -> Result<UniqueId> {
        device.driver().unique_id()
    }
}

/// One rank among those that communicate.
pub struct Communicator {
    device: &'static Device,
    rank: usize,
    ranks: usize,
    links: Box<dyn Links>,
}

impl fmt::Debug for Communicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rank {} of {} on {:?}",
            self.rank, self.ranks, self.device
        )
    }
}

impl Communicator {
    /// Joins as `rank` of `ranks`; returns once all have joined.
    ///
    /// # Errors
    /// Where `rank` is none of them, NCCL is missing, or it fails.
    pub fn new(
        device: &'static Device,
        id: UniqueId,
        rank: usize,
        ranks: usize,
    ) -> Result<Communicator> {
        if rank >= ranks || ranks > i32::MAX as usize {
            fail!("rank {rank} of {ranks}; ranks count from 0 and are below their number");
        }
        device.check_host("joining a communicator")?;
        let links = device.driver().join(id, rank, ranks)?;
        Ok(Communicator {
            device,
            rank,
            ranks,
            links,
        })
    }

    /// Its number.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many there are.
    pub fn ranks(&self) -> usize {
        self.ranks
    }

    /// Where its tensors are.
    pub fn device(&self) -> &'static Device {
        self.device
    }

    /// Whether a rank has failed since.
    ///
    /// # Errors
    /// Where one has.
    pub fn check(&self) -> Result<()> {
        self.links.check()
    }

    /// Collectives that start together, as NCCL's between `ncclGroupStart` and `ncclGroupEnd`; sends
    /// and receives that wait for each other have to be in one.
    pub fn group(&self) -> Group<'_> {
        Group {
            of: self,
            transfers: Vec::new(),
            addresses: Vec::new(),
        }
    }
}

/// Collectives to be started together. The tensors are borrowed until then; all are contiguous.
#[derive(Debug)]
#[must_use = "nothing is started before run()"]
pub struct Group<'a> {
    of: &'a Communicator,
    transfers: Vec<Transfer>,
    addresses: Vec<u64>,
}

impl<'a> Group<'a> {
    /// The elements of each rank's `x` become those of all ranks together.
    ///
    /// # Errors
    /// Where `x` is on another device or not contiguous, or its type cannot be reduced.
    pub fn all_reduce(&mut self, x: SliceMut<'a>, op: ReduceOp) -> Result<&mut Self> {
        let (at, count, ty) = self.target(&x)?;
        let op = reducible(ty, op)?;
        self.transfers
            .push(Transfer::AllReduce { at, count, ty, op });
        Ok(self)
    }

    /// The same at `root` alone; what the others' `x` holds afterwards is arbitrary.
    ///
    /// # Errors
    /// As [`all_reduce`](Group::all_reduce), and where `root` is no rank.
    pub fn reduce(&mut self, x: SliceMut<'a>, op: ReduceOp, root: usize) -> Result<&mut Self> {
        let (at, count, ty) = self.target(&x)?;
        let (op, root) = (reducible(ty, op)?, self.peer(root)?);
        self.transfers.push(Transfer::Reduce {
            at,
            count,
            ty,
            op,
            root,
        });
        Ok(self)
    }

    /// `x` becomes that of `root`.
    ///
    /// # Errors
    /// As [`reduce`](Group::reduce).
    pub fn broadcast(&mut self, x: SliceMut<'a>, root: usize) -> Result<&mut Self> {
        let (at, count, ty) = self.target(&x)?;
        let root = self.peer(root)?;
        self.transfers.push(Transfer::Broadcast {
            at,
            count,
            ty,
            root,
        });
        Ok(self)
    }

    /// `to` becomes the `from` of all ranks, one after the other.
    ///
    /// # Errors
    /// As [`all_reduce`](Group::all_reduce), and where `to` has not as many elements as all `from`.
    pub fn all_gather(&mut self, from: Slice<'a>, to: SliceMut<'a>) -> Result<&mut Self> {
        let (from, count, ty) = self.source(&from)?;
        let (to, room, to_ty) = self.target(&to)?;
        self.parts("all_gather", (count, ty), (room, to_ty))?;
        self.transfers.push(Transfer::AllGather {
            from,
            to,
            count,
            ty,
        });
        Ok(self)
    }

    /// `to` becomes this rank's part of the `from` of all ranks together.
    ///
    /// # Errors
    /// As [`all_gather`](Group::all_gather), the other way round.
    pub fn reduce_scatter(
        &mut self,
        from: Slice<'a>,
        to: SliceMut<'a>,
        op: ReduceOp,
    ) -> Result<&mut Self> {
        let (from, whole, from_ty) = self.source(&from)?;
        let (to, count, ty) = self.target(&to)?;
        self.parts("reduce_scatter", (count, ty), (whole, from_ty))?;
        let op = reducible(ty, op)?;
        self.transfers.push(Transfer::ReduceScatter {
            from,
            to,
            count,
            ty,
            op,
        });
        Ok(self)
    }

    /// Sends `x` to `peer`, which receives as many elements of the same type.
    ///
    /// # Errors
    /// Where `x` is on another device or not contiguous, or `peer` is no other rank.
    pub fn send(&mut self, x: Slice<'a>, peer: usize) -> Result<&mut Self> {
        let (from, count, ty) = self.source(&x)?;
        let peer = self.other(peer)?;
        self.transfers.push(Transfer::Send {
            from,
            count,
            ty,
            peer,
        });
        Ok(self)
    }

    /// Receives `x` from `peer`.
    ///
    /// # Errors
    /// As [`send`](Group::send).
    pub fn receive(&mut self, x: SliceMut<'a>, peer: usize) -> Result<&mut Self> {
        let (to, count, ty) = self.target(&x)?;
        let peer = self.other(peer)?;
        self.transfers.push(Transfer::Receive {
            to,
            count,
            ty,
            peer,
        });
        Ok(self)
    }

    /// Starts them.
    ///
    /// # Errors
    /// Where a rank or the device fails.
    pub fn run(self) -> Result<()> {
        let device = self.of.device;
        device.hold(&self.addresses)?;
        if self.transfers.is_empty() {
            return Ok(());
        }
        // SAFETY: every place was checked to lie within its buffer, which is borrowed until here;
        // one that is dropped is reused only by what runs later on the same stream.
        unsafe { self.of.links.start(&self.transfers)? };
        device.started()
    }

    fn source(&mut self, x: &Slice<'a>) -> Result<(u64, usize, Type)> {
        self.place(x.device(), x.whole()?)
    }

    fn target(&mut self, x: &SliceMut<'a>) -> Result<(u64, usize, Type)> {
        self.place(x.device(), x.whole()?)
    }

    fn place(
        &mut self,
        device: &Device,
        (at, count, ty): (u64, usize, Type),
    ) -> Result<(u64, usize, Type)> {
        if !std::ptr::eq(device, self.of.device) {
            fail!("the tensor is on {device:?}, and {:?}", self.of);
        }
        self.addresses.push(at);
        Ok((at, count, ty))
    }

    /// Whether `all` are the parts of every rank.
    fn parts(&self, what: &str, part: (usize, Type), all: (usize, Type)) -> Result<()> {
        let ranks = self.of.ranks;
        if part.1 != all.1 || part.0.checked_mul(ranks) != Some(all.0) {
            fail!(
                "{what}: {} elements {:?} of each of {ranks} ranks are not {} elements {:?}",
                part.0,
                part.1,
                all.0,
                all.1
            );
        }
        Ok(())
    }

    fn peer(&self, rank: usize) -> Result<i32> {
        if rank >= self.of.ranks {
            fail!("there is no rank {rank}; there are {}", self.of.ranks);
        }
        Ok(rank as i32)
    }

    fn other(&self, rank: usize) -> Result<i32> {
        if rank == self.of.rank {
            fail!("rank {rank} cannot send to itself or receive from itself");
        }
        self.peer(rank)
    }
}

/// The reduction that stands for `op` on elements of `ty`.
fn reducible(ty: Type, op: ReduceOp) -> Result<ReduceOp> {
    match (ty, op) {
        (Type::I16, _) => fail!("NCCL does not reduce elements of type i16; convert to i32"),
        (Type::Bool, ReduceOp::Average) => fail!("bools have no average"),
        (Type::Bool, ReduceOp::Sum) => Ok(ReduceOp::Max),
        _ => Ok(op),
    }
}
