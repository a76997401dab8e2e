//! Packets that wait until their next hop answers ARP: a router's neighbour queue.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use lb_common::abi::{HopId, HopState, NextHop, RealId};
use lb_common::wire::Mac;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::owner::Owner;
use crate::dataplane::held::{HeldBuffer, HeldFrame, HeldFrames, Onward, Sender};

/// How long a packet waits: as long as the kernel asks for a neighbour (three times, a second apart).
const PATIENCE: Duration = Duration::from_secs(3);
/// Packets that wait for one next hop.
const OF_ONE_HOP: usize = 64;
/// Packets that wait for all of them.
const OF_ALL: usize = 1_024;

/// The packets, in the order they came.
#[derive(Debug, Default)]
struct Queue(VecDeque<(Instant, HeldFrame)>);

impl Queue {
    /// Takes one in; returns the oldest if there is no room for both, as the kernel does.
    fn push(&mut self, frame: HeldFrame, now: Instant) -> Option<HeldFrame> {
        let of_hop = |(_, other): &(Instant, HeldFrame)| other.head.hop == frame.head.hop;
        let oldest = if self.0.iter().filter(|other| of_hop(other)).count() >= OF_ONE_HOP {
            self.0.iter().position(of_hop)
        } else {
            (self.0.len() >= OF_ALL).then_some(0)
        };
        let gone = oldest.and_then(|oldest| self.0.remove(oldest));
        self.0.push_back((now, frame));
        gone.map(|(_, frame)| frame)
    }

    /// Takes those out that are `meant`, in their order.
    fn take(&mut self, meant: impl Fn(Instant, HopId) -> bool) -> Vec<HeldFrame> {
        let (out, stay) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(since, frame)| meant(*since, frame.head.hop));
        self.0 = stay;
        out.into_iter().map(|(_, frame): (_, HeldFrame)| frame).collect()
    }
}

/// Packets that wait and the way to send them on.
pub(super) struct Waiting {
    queue: Queue,
    /// `None`: nothing is held.
    sender: Option<Sender>,
}

impl Waiting {
    pub(super) fn new(sender: Option<Sender>) -> Self {
        Self { queue: Queue::default(), sender }
    }
}

/// What the tables say of a next hop.
enum Way {
    Open,
    Closed,
    /// Nobody will ever open it.
    Gone,
}

impl Owner {
    /// The program handed a frame over.
    pub(super) fn frame_held(&mut self, frame: HeldFrame, now: Instant) {
        match self.way(frame.head.hop) {
            // It opened while the frame was on its way here.
            Way::Open => self.send_on(&[frame], Try::Another),
            Way::Gone => self.send_on(&[frame], Try::Last),
            Way::Closed => {
                if let Some(oldest) = self.waiting.queue.push(frame, now) {
                    self.send_on(&[oldest], Try::Last);
                }
            }
        }
    }

    /// The tables changed: whoever waited for that goes on.
    pub(super) fn release_held(&mut self) {
        if self.waiting.queue.0.is_empty() {
            return;
        }
        let mut queue = std::mem::take(&mut self.waiting.queue);
        let open = queue.take(|_, hop| matches!(self.way(hop), Way::Open));
        let gone = queue.take(|_, hop| matches!(self.way(hop), Way::Gone));
        self.waiting.queue = queue;
        self.send_on(&open, Try::Another);
        self.send_on(&gone, Try::Last);
    }

    /// Those that waited long enough are dropped, and counted by the program as what they are.
    pub(super) fn give_up_held(&mut self, now: Instant) {
        let late = self.waiting.queue.take(|since, _| now.duration_since(since) >= PATIENCE);
        self.send_on(&late, Try::Last);
    }

    /// The daemon ends: nobody waits any longer.
    pub(super) fn dismiss_held(&mut self) {
        let all = self.waiting.queue.take(|_, _| true);
        self.send_on(&all, Try::Last);
    }

    fn way(&self, hop: HopId) -> Way {
        let (mirror, id) = (self.state.mirror(), RealId(hop.0));
        if !mirror.reals.contains_key(&id) {
            return Way::Gone;
        }
        match mirror.hops.get(&id).map_or(HopState::Unresolved as u8, |hop| hop.state) {
            state if state == HopState::Valid as u8 => Way::Open,
            state if state == HopState::Gone as u8 => Way::Gone,
            _ => Way::Closed,
        }
    }

    fn send_on(&self, frames: &[HeldFrame], which: Try) {
        let Some(sender) = &self.waiting.sender else { return };
        let (mut lost, mut why) = (0_u32, None);
        for frame in frames {
            let leads_to = |to, from| self.interface_towards(to, from, frame.head.hop);
            match sender.send(frame, matches!(which, Try::Last), leads_to) {
                Ok(Onward::Sent { .. } | Onward::Ended) => {}
                Ok(Onward::Homeless) => lost += 1,
                Err(error) => {
                    lost += 1;
                    why = Some(error);
                }
            }
        }
        if lost > 0 {
            let why =
                why.map_or_else(|| "their service or flow is gone".into(), |why| why.to_string());
            tracing::warn!("{lost} held packets are lost: {why}");
        }
    }

    /// The interface that a real server is reached by in frames of these addresses; the one that was waited for if its are
    /// those. Whatever is translated or put around a packet, that is written last.
    fn interface_towards(&self, to: Mac, from: Mac, awaited: HopId) -> Option<u32> {
        let hops = &self.state.mirror().hops;
        let meant =
            |hop: &&NextHop| (hop.state, hop.dst, hop.src) == (HopState::Valid as u8, to, from);
        let awaited = hops.get(&RealId(awaited.0)).filter(meant);
        awaited.or_else(|| hops.values().find(meant)).map(|hop| hop.ifindex)
    }
}

/// Whether a frame may be handed over again.
#[derive(Clone, Copy)]
enum Try {
    Another,
    Last,
}

/// Reads the buffers until `stop`.
pub(super) fn read(
    buffers: Vec<HeldBuffer>,
    stop: &CancellationToken,
) -> mpsc::Receiver<HeldFrame> {
    let (frames, receiver) = mpsc::channel(OF_ALL);
    for buffer in buffers {
        match buffer.watch() {
            Ok(buffer) => {
                let following = follow(buffer, frames.clone());
                tokio::spawn(stop.clone().run_until_cancelled_owned(following));
            }
            Err(error) => tracing::warn!("packets of one CPU are not held: {error}"),
        }
    }
    receiver
}

/// Reads one buffer for ever. While the owner is behind the buffer fills, and the program drops and counts.
async fn follow(mut buffer: HeldFrames, frames: mpsc::Sender<HeldFrame>) {
    loop {
        let come = match buffer.next().await {
            Ok(come) => come,
            Err(error) => return tracing::error!("packets are no longer held: {error}"),
        };
        for frame in come {
            if frames.send(frame).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lb_common::abi::HeldHead;

    use super::*;

    fn frame(hop: u32, n: u32) -> HeldFrame {
        let head = HeldHead { hop: HopId(hop), len: 4, ..HeldHead::default() };
        HeldFrame { head, bytes: n.to_be_bytes().to_vec() }
    }

    #[test]
    fn those_of_one_hop_go_on_in_the_order_they_came() {
        let now = Instant::now();
        let mut queue = Queue::default();
        for n in 0..6 {
            assert_eq!(queue.push(frame(n % 2, n), now), None);
        }
        assert_eq!(queue.take(|_, hop| hop == HopId(1)), [frame(1, 1), frame(1, 3), frame(1, 5)]);
        assert_eq!(queue.take(|_, _| true), [frame(0, 0), frame(0, 2), frame(0, 4)]);
    }

    #[test]
    fn a_full_queue_lets_the_oldest_go() {
        let now = Instant::now();
        let mut queue = Queue::default();
        let room = OF_ONE_HOP as u32;
        for n in 0..room {
            assert_eq!(queue.push(frame(0, n), now), None);
        }
        assert_eq!(queue.push(frame(1, 0), now), None, "another hop has room of its own");
        assert_eq!(queue.push(frame(0, room), now), Some(frame(0, 0)));
        for n in 0..OF_ALL as u32 - room - 1 {
            assert_eq!(queue.push(frame(2 + n / room, n), now), None);
        }
        assert_eq!(queue.push(frame(1, 1), now), Some(frame(0, 1)), "the oldest of all");
        assert_eq!(queue.0.len(), OF_ALL);
    }

    #[test]
    fn patience_ends() {
        let start = Instant::now();
        let mut queue = Queue::default();
        queue.push(frame(0, 0), start);
        queue.push(frame(0, 1), start + Duration::from_secs(1));
        let late = |now: Instant| move |since: Instant, _| now.duration_since(since) >= PATIENCE;
        assert_eq!(queue.take(late(start + Duration::from_millis(2_999))), []);
        assert_eq!(queue.take(late(start + PATIENCE)), [frame(0, 0)]);
    }
}
