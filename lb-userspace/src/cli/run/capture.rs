//! A capture: begun by the owner, followed by a task of its own, ended by the owner.

use std::io;
use std::time::{Duration, SystemTime};

use lb_common::abi::CaptureCounts;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::owner::Owner;
use crate::api::{Answer, RefusalKind, Reply};
use crate::dataplane::capture::{CaptureBuffer, Captured};
use crate::dataplane::clock;
use crate::stats::capture::{Began, Ended, Fate, Image, Packet, Wish, reason_at};

/// The owner is asked to end the capture, and says here what was counted.
pub(super) type Over = oneshot::Sender<CaptureCounts>;

/// Answers that may wait for a caller who is slow: packets in the program's buffers wait behind them.
const QUEUE: usize = 16;

/// Begins a capture, or says why not.
pub(super) fn begin(owner: &mut Owner, wish: &Wish) -> Reply {
    if owner.dataplane.is_capturing() {
        let message = "another capture of this instance is under way, and there is one at a time; \
                       hint: end it, or wait until its time is over";
        return Reply::refused(RefusalKind::Busy, message);
    }
    let filter = match wish.filter() {
        Ok(filter) => filter,
        Err(error) => return Reply::refused(RefusalKind::Failed, error.to_string()),
    };
    let buffers = match owner.dataplane.begin_capture(filter) {
        Ok(buffers) => buffers,
        Err(error) => {
            let message = format!("the capture does not begin: {error}");
            tracing::error!("{message}");
            return Reply::refused(RefusalKind::Host, message);
        }
    };
    tracing::info!(seconds = wish.seconds, "a capture begins");
    let interfaces = match owner.reader.interfaces() {
        // Beside those of `--iface` the VLANs on them: packets leave by them.
        Ok(served) => served
            .into_iter()
            .filter_map(|(ifindex, _)| Some((ifindex, owner.node.link(ifindex)?.name)))
            .collect(),
        Err(error) => return Reply::refused(RefusalKind::Host, error.to_string()),
    };
    let (answers, receiver) = mpsc::channel(QUEUE);
    let stop = CancellationToken::new();
    let following = Following {
        buffers,
        epoch: epoch(),
        left: wish.count.unwrap_or(u64::MAX),
        bytes: wish.bytes,
        until: Instant::now() + Duration::from_secs(wish.seconds),
        answers,
        packets: 0,
    };
    let (over, ended) = (owner.captures.clone(), stop.clone());
    tokio::spawn(async move { following.run(Began { interfaces }, ended, over).await });
    Reply::Stream { answers: receiver, stop }
}

/// When the programs' clock stood at 0, in nanoseconds since 1970.
fn epoch() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(clock::monotonic()).as_nanos() as u64
}

impl Owner {
    /// The capture's task wants it ended.
    pub(super) fn capture_over(&mut self, over: Over) {
        // Nobody may be listening any more.
        let _ = over.send(self.end_capture());
    }

    /// Ends a capture if there is one.
    pub(super) fn end_capture(&mut self) -> CaptureCounts {
        if !self.dataplane.is_capturing() {
            return CaptureCounts::default();
        }
        match self.dataplane.end_capture() {
            Ok(counts) => {
                tracing::info!(matched = counts.matched, lost = counts.lost, "the capture ended");
                counts
            }
            Err(error) => {
                tracing::error!(
                    "the capture does not end: {error}; packets are forwarded all the same, and the next capture's \
                     end or the next start puts the programs right"
                );
                CaptureCounts::default()
            }
        }
    }
}

struct Following {
    buffers: Vec<CaptureBuffer>,
    epoch: u64,
    /// How many packets are wanted yet.
    left: u64,
    /// How many bytes of them.
    bytes: u64,
    until: Instant,
    answers: mpsc::Sender<Answer>,
    /// How many were sent.
    packets: u64,
}

impl Following {
    async fn run(mut self, began: Began, stop: CancellationToken, over: mpsc::Sender<Over>) {
        // A caller that is gone is noticed below.
        let _ = self.answers.send(Answer::CaptureBegan(began)).await;
        let why = self.follow(&stop).await;
        let (counted, counts) = oneshot::channel();
        // An owner that is gone has ended the capture.
        let _ = over.send(counted).await;
        let counts = counts.await.unwrap_or_default();
        // What came before the programs were changed back.
        let rest = self.drain();
        let _ = self.send(rest).await;
        let ended = Ended {
            packets: self.packets,
            matched: counts.matched,
            lost: counts.lost,
            why: why.to_owned(),
        };
        let _ = self.answers.send(Answer::CaptureEnded(ended)).await;
    }

    /// Sends packets on until there is a reason not to.
    async fn follow(&mut self, stop: &CancellationToken) -> &'static str {
        let answers = self.answers.clone();
        loop {
            if self.left == 0 {
                return "as many packets as were asked for";
            }
            if self.bytes == 0 {
                return "as many bytes as were asked for";
            }
            let come = tokio::select! {
                biased;
                () = stop.cancelled() => return "ended by the caller",
                () = answers.closed() => return "the caller is gone",
                () = sleep_until(self.until) => return "the time is over",
                come = self.next() => come,
            };
            match come {
                Ok(packets) => {
                    if self.send(packets).await.is_err() {
                        return "the caller is gone";
                    }
                }
                Err(error) => {
                    tracing::error!("captured packets cannot be read: {error}");
                    return "packets cannot be read; the daemon's log says why";
                }
            }
        }
    }

    /// The packets that have come, of all CPUs, as soon as there are any.
    async fn next(&mut self) -> io::Result<Vec<Captured>> {
        let waiting = self.buffers.iter_mut().map(|buffer| Box::pin(buffer.next()));
        let (first, ..) = futures::future::select_all(waiting).await;
        let mut packets = first?;
        // The others too, or one busy CPU would keep them waiting.
        packets.extend(self.drain());
        Ok(packets)
    }

    fn drain(&mut self) -> Vec<Captured> {
        self.buffers.iter_mut().flat_map(CaptureBuffer::drain).collect()
    }

    async fn send(&mut self, mut packets: Vec<Captured>) -> Result<(), mpsc::error::SendError<()>> {
        packets.sort_by_key(|packet| packet.head.time);
        packets.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        if packets.is_empty() {
            return Ok(());
        }
        let mut batch = Vec::with_capacity(packets.len());
        for captured in &packets {
            let packet = self.packet(captured);
            let Some(packet) = self.room(packet) else { break };
            batch.push(packet);
        }
        if batch.is_empty() {
            return Ok(());
        }
        let count = batch.len() as u64;
        let sent = self.answers.send(Answer::Captured(batch)).await;
        self.left -= count;
        self.packets += count;
        sent.map_err(|_| mpsc::error::SendError(()))
    }

    /// The packet, if its bytes are wanted yet; the first that is too large ends the capture.
    fn room(&mut self, packet: Packet) -> Option<Packet> {
        let left = packet.left.as_ref().map_or(0, |(_, image)| image.bytes.len());
        let bytes = (packet.arrived.bytes.len() + left) as u64;
        let fits = bytes <= self.bytes;
        self.bytes = if fits { self.bytes - bytes } else { 0 };
        fits.then_some(packet)
    }

    fn packet(&self, captured: &Captured) -> Packet {
        let head = &captured.head;
        let verdict = captured.verdict();
        let left = || Image { length: head.left, bytes: captured.bytes.clone() };
        Packet {
            time_ns: self.epoch.wrapping_add(head.time),
            came_in_by: head.ifindex,
            fate: Fate::of_slot(verdict.slot()),
            reason: reason_at(verdict.slot()).map(str::to_owned),
            arrived: Image { length: head.arrived, bytes: captured.arrived() },
            left: verdict.leaves().then(|| (verdict.ifindex(), left())),
        }
    }
}
