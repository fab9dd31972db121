//! Collectives between threads of one process, for tests.

use crate::Type;
use crate::driver::{Links, Transfer};
use crate::error::{Error, Result, fail};
use crate::nccl::{ReduceOp, UniqueId};
use half::{bf16, f16};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a rank waits for the others.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the ranks of one communicator meet.
#[derive(Default)]
struct Room {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    joined: usize,
    /// The collectives under way by their number.
    rounds: HashMap<u64, Round>,
    /// What was sent and not received, by the two ranks.
    mail: HashMap<(usize, usize), VecDeque<Vec<u8>>>,
}

#[derive(Default)]
struct Round {
    /// What each rank wants.
    calls: Vec<Option<Transfer>>,
    done: Option<Result<()>>,
    left: usize,
}

pub(crate) fn unique_id() -> UniqueId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut id = [0; 128];
    id[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_ne_bytes());
    UniqueId(id)
}

/// One rank.
pub(crate) struct Rank {
    room: Arc<Room>,
    rank: usize,
    ranks: usize,
    /// How many collectives it has taken part in.
    done: AtomicU64,
    /// Runs what waits in the device's stream.
    settle: Box<dyn Fn() -> Result<()> + Send + Sync>,
}

impl Rank {
    /// Joins, and waits for the others.
    pub(crate) fn join(
        id: UniqueId,
        (rank, ranks): (usize, usize),
        settle: Box<dyn Fn() -> Result<()> + Send + Sync>,
    ) -> Result<Rank> {
        static ROOMS: LazyLock<Mutex<HashMap<UniqueId, Arc<Room>>>> = LazyLock::new(Mutex::default);
        let room = {
            let mut rooms = ROOMS.lock().unwrap_or_else(PoisonError::into_inner);
            rooms.entry(id).or_default().clone()
        };
        let this = Rank {
            room,
            rank,
            ranks,
            done: AtomicU64::new(0),
            settle,
        };
        let mut state = this.state();
        state.joined += 1;
        this.room.changed.notify_all();
        drop(this.wait(state, "the others to join", |s| s.joined >= ranks)?);
        Ok(this)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.room
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        what: &str,
        until: impl Fn(&State) -> bool,
    ) -> Result<MutexGuard<'a, State>> {
        let waited = (self.room.changed).wait_timeout_while(state, PATIENCE, |s| !until(s));
        let (state, late) = waited.unwrap_or_else(PoisonError::into_inner);
        if late.timed_out() {
            fail!("rank {} waited {PATIENCE:?} for {what}", self.rank);
        }
        Ok(state)
    }

    /// Takes part in a collective; the last rank to come does the work of all.
    fn meet(&self, transfer: &Transfer) -> Result<()> {
        let number = self.done.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        let round = state.rounds.entry(number).or_default();
        round.calls.resize(self.ranks, None);
        round.calls[self.rank] = Some(transfer.clone());
        let calls: Vec<Transfer> = round.calls.iter().flatten().cloned().collect();
        if calls.len() == self.ranks {
            // SAFETY: every rank is in its call of `start`, whose caller has promised the memory.
            round.done = Some(unsafe { together(&calls) });
            self.room.changed.notify_all();
        }
        let done = |s: &State| s.rounds.get(&number).is_none_or(|r| r.done.is_some());
        let mut state = self.wait(state, "the others' collective", done)?;
        let Some(round) = state.rounds.get_mut(&number) else {
            fail!("a collective was lost");
        };
        round.left += 1;
        let result = round.done.clone().unwrap_or(Ok(()));
        if round.left == self.ranks {
            state.rounds.remove(&number);
        }
        result
    }

    fn receive(&self, peer: usize, bytes: usize) -> Result<Vec<u8>> {
        let key = (peer, self.rank);
        let came = |s: &State| s.mail.get(&key).is_some_and(|m| !m.is_empty());
        let mut state = self.wait(self.state(), "what it receives", came)?;
        let mail = state.mail.get_mut(&key).and_then(VecDeque::pop_front);
        match mail {
            Some(mail) if mail.len() == bytes => Ok(mail),
            Some(mail) => fail!("{} bytes were sent, and {bytes} expected", mail.len()),
            None => fail!("what was sent was lost"),
        }
    }
}

impl Links for Rank {
    unsafe fn start(&self, transfers: &[Transfer]) -> Result<()> {
        (self.settle)()?;
        // What the others wait for comes first.
        for transfer in transfers {
            if let Transfer::Send {
                from,
                count,
                ty,
                peer,
            } = *transfer
            {
                // SAFETY: the caller's.
                let sent = unsafe { slice(from, count * ty.size()) }.to_vec();
                let mut state = self.state();
                let mail = state.mail.entry((self.rank, peer as usize)).or_default();
                mail.push_back(sent);
                self.room.changed.notify_all();
            }
        }
        for transfer in transfers {
            match *transfer {
                Transfer::Send { .. } => {}
                Transfer::Receive {
                    to,
                    count,
                    ty,
                    peer,
                } => {
                    let mail = self.receive(peer as usize, count * ty.size())?;
                    // SAFETY: the caller's.
                    unsafe { slice_mut(to, count * ty.size()) }.copy_from_slice(&mail);
                }
                ref collective => self.meet(collective)?,
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// # Safety
/// There are `bytes` bytes at `at`, which nobody changes meanwhile.
unsafe fn slice<'a>(at: u64, bytes: usize) -> &'a [u8] {
    match bytes {
        0 => &[],
        // SAFETY: the caller's.
        _ => unsafe { std::slice::from_raw_parts(at as *const u8, bytes) },
    }
}

/// # Safety
/// There are `bytes` bytes at `at`, which nobody else looks at meanwhile.
unsafe fn slice_mut<'a>(at: u64, bytes: usize) -> &'a mut [u8] {
    match bytes {
        0 => &mut [],
        // SAFETY: the caller's.
        _ => unsafe { std::slice::from_raw_parts_mut(at as *mut u8, bytes) },
    }
}

/// The collective that every rank has called, in the order of ranks.
///
/// # Safety
/// As of [`Links::start`], for all ranks.
unsafe fn together(calls: &[Transfer]) -> Result<()> {
    let shape = |t: &Transfer| {
        let kind = std::mem::discriminant(t);
        match *t {
            Transfer::AllReduce { count, ty, op, .. }
            | Transfer::ReduceScatter { count, ty, op, .. } => (kind, count, ty, Some(op), 0),
            Transfer::Reduce {
                count,
                ty,
                op,
                root,
                ..
            } => (kind, count, ty, Some(op), root),
            Transfer::Broadcast {
                count, ty, root, ..
            } => (kind, count, ty, None, root),
            Transfer::AllGather { count, ty, .. }
            | Transfer::Send { count, ty, .. }
            | Transfer::Receive { count, ty, .. } => (kind, count, ty, None, 0),
        }
    };
    if let Some(other) = calls.iter().find(|c| shape(c) != shape(&calls[0])) {
        fail!(
            "ranks call different collectives: {:?} and {other:?}",
            calls[0]
        );
    }
    let (_, count, ty, op, root) = shape(&calls[0]);
    let bytes = count * ty.size();
    let address = |t: &Transfer| match *t {
        Transfer::AllReduce { at, .. }
        | Transfer::Reduce { at, .. }
        | Transfer::Broadcast { at, .. } => (at, at),
        Transfer::AllGather { from, to, .. } | Transfer::ReduceScatter { from, to, .. } => {
            (from, to)
        }
        Transfer::Send { from, .. } => (from, from),
        Transfer::Receive { to, .. } => (to, to),
    };
    let scatters = matches!(calls[0], Transfer::ReduceScatter { .. });
    let each = if scatters { bytes * calls.len() } else { bytes };
    // Copies, so that a rank's result may lie where its elements were.
    let given: Vec<Vec<u8>> = (calls.iter())
        // SAFETY: the caller's.
        .map(|c| unsafe { slice(address(c).0, each) }.to_vec())
        .collect();
    let reduced = match op {
        Some(op) => reduce(ty, op, &given)?,
        None => given.concat(),
    };
    for (rank, call) in calls.iter().enumerate() {
        let (to, from) = (address(call).1, rank * bytes);
        let part = match call {
            Transfer::Reduce { .. } if rank as i32 != root => continue,
            Transfer::ReduceScatter { .. } => &reduced[from..from + bytes],
            Transfer::Broadcast { .. } => &given[root as usize],
            _ => &reduced[..],
        };
        // SAFETY: the caller's.
        unsafe { slice_mut(to, part.len()) }.copy_from_slice(part);
    }
    Ok(())
}

/// Element by element, in the order of ranks.
fn reduce(ty: Type, op: ReduceOp, given: &[Vec<u8>]) -> Result<Vec<u8>> {
    macro_rules! by {
        ($t:ty, $wide:ty, $to:expr, $back:expr) => {{
            const SIZE: usize = size_of::<$t>();
            let at = |list: &[u8], i: usize| -> $wide {
                let mut bytes = [0; SIZE];
                bytes.copy_from_slice(&list[i * SIZE..][..SIZE]);
                $to(<$t>::from_ne_bytes(bytes))
            };
            let count = given[0].len() / SIZE;
            let one = |i: usize| {
                let values = given.iter().map(|list| at(list, i));
                let ranks = given.len() as $wide;
                let value: Option<$wide> = match op {
                    ReduceOp::Sum => values.reduce(|a, b| a + b),
                    ReduceOp::Product => values.reduce(|a, b| a * b),
                    ReduceOp::Max => values.reduce(|a, b| if b > a { b } else { a }),
                    ReduceOp::Min => values.reduce(|a, b| if b < a { b } else { a }),
                    ReduceOp::Average => values.reduce(|a, b| a + b).map(|s| s / ranks),
                };
                let back: $t = $back(value.unwrap_or_default());
                back.to_ne_bytes()
            };
            Ok((0..count).flat_map(one).collect())
        }};
    }
    match ty {
        Type::F32 => by!(f32, f64, f64::from, |v| v as f32),
        Type::F64 => by!(f64, f64, |v| v, |v| v),
        Type::F16 => by!(f16, f64, f16::to_f64, f16::from_f64),
        Type::BF16 => by!(bf16, f64, bf16::to_f64, bf16::from_f64),
        Type::I64 => by!(i64, i128, i128::from, |v| v as i64),
        Type::I32 => by!(i32, i128, i128::from, |v| v as i32),
        Type::I8 => by!(i8, i128, i128::from, |v| v as i8),
        Type::U8 | Type::Bool => by!(u8, i128, i128::from, |v| v as u8),
        Type::I16 => Err(Error::new("i16 is not reduced")),
    }
}
