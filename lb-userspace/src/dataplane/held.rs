//! Frames that wait for a neighbour: taken from the program, and sent through it again.
//!
//! A frame that is given back runs through the loaded program that it came from, at XDP or at tc, by
//! `BPF_PROG_TEST_RUN` (kernel 5.15 and later run it as if it came in by a given interface) and what the program makes
//! of it leaves by a packet socket, past the host's own netfilter as all that xlb forwards. XDP's would not do for
//! both: a run as if by an interface needs queues that are set up for XDP there (`xdp_rxq_info_is_reg`).

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use aya::Ebpf;
use aya::maps::perf::{PerfBufferError, PerfEvent, PerfEventArrayBuffer};
use aya::maps::{MapData, MapError, PerfEventArray};
use lb_common::abi::{GIVEN_BACK, HeldHead, LAST_TRY, map};
use lb_common::engine::PacketBytes as _;
use lb_common::host::Frame;
use lb_common::wire::Mac;
use lb_common::wire::eth::Ethernet;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::attach::{AttachedMode, Program};
use super::table::Table;
use super::{half_made, sample, sys, test_run};

/// Pages of one CPU's buffer: 40 frames of full size, or some hundred SYNs.
const PAGES: usize = 16;

/// A frame that the program handed over, untouched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldFrame {
    pub head: HeldHead,
    pub bytes: Vec<u8>,
}

impl HeldFrame {
    fn of_sample(head: &[u8], tail: &[u8]) -> Option<Self> {
        let (head, bytes) = sample::parse(head, tail, |head: &HeldHead| head.len)?;
        Some(Self { head, bytes })
    }
}

/// Why frames cannot be held. The data path works without: such packets are dropped and counted.
#[derive(Debug, thiserror::Error)]
pub enum HeldError {
    #[error("the object has no map {}", map::HELD)]
    Missing,
    #[error("the CPUs are not known: {0}")]
    Cpus(io::Error),
    #[error(transparent)]
    Map(#[from] MapError),
    #[error(transparent)]
    Buffer(#[from] PerfBufferError),
    #[error("no packet socket: {0}; hint: it needs CAP_NET_RAW")]
    Socket(io::Error),
    #[error("no second descriptor of the program: {0}")]
    Program(io::Error),
}

/// Where one CPU's frames arrive.
pub struct HeldBuffer(PerfEventArrayBuffer<MapData>);

impl AsRawFd for HeldBuffer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl HeldBuffer {
    /// Watches the buffer; a runtime must be there.
    pub fn watch(self) -> io::Result<HeldFrames> {
        // SAFETY: the buffer owns its descriptor and keeps it open until it is dropped, which is never while inside.
        Ok(HeldFrames(unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) }?))
    }

    fn drain(&mut self) -> Vec<HeldFrame> {
        let mut frames = Vec::new();
        self.0.for_each(|event| {
            // The program counts a frame that found no room as dropped; the kernel's own word of it adds nothing.
            if let PerfEvent::Sample { head, tail } = event {
                frames.extend(HeldFrame::of_sample(head, tail));
            }
        });
        frames
    }
}

/// A buffer that is watched.
pub struct HeldFrames(AsyncFd<HeldBuffer>);

impl HeldFrames {
    /// The frames that have come, as soon as there are any.
    pub async fn next(&mut self) -> io::Result<Vec<HeldFrame>> {
        let mut ready = self.0.readable_mut().await?;
        ready.clear_ready();
        Ok(ready.get_inner_mut().drain())
    }
}

/// Opens the buffers of all CPUs that are there now. Those that come later hold nothing.
pub(super) fn open_arrays(
    ebpf: &mut Ebpf,
) -> Result<Vec<PerfEventArrayBuffer<MapData>>, HeldError> {
    let held = ebpf.take_map(map::HELD).ok_or(HeldError::Missing)?;
    let mut held = PerfEventArray::try_from(held)?;
    let cpus = aya::util::online_cpus().map_err(|(_, error)| HeldError::Cpus(error))?;
    cpus.into_iter().map(|cpu| Ok(held.open(cpu, Some(PAGES))?)).collect()
}

/// What takes frames, before it is known which program gives them.
pub(super) struct Takers {
    buffers: Vec<HeldBuffer>,
    socket: OwnedFd,
}

impl Takers {
    /// Opens the buffers.
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, HeldError> {
        let socket = sys::packet_socket().map_err(HeldError::Socket)?;
        let buffers = open_arrays(ebpf)?.into_iter().map(HeldBuffer).collect();
        Ok(Self { buffers, socket })
    }

    /// Frames go back through the program that hands them over.
    pub(super) fn for_frames_of(
        self,
        program: &Program,
        devices: Table<u32, [u32; 2]>,
    ) -> Result<Holding, HeldError> {
        let sender = Sender {
            program: Arc::new(program.fd.try_clone().map_err(HeldError::Program)?),
            at_tc: program.mode == AttachedMode::Tc,
            socket: Arc::new(self.socket),
            devices,
        };
        Ok(Holding { buffers: self.buffers, sender })
    }
}

/// Both ends of the holding.
pub struct Holding {
    pub buffers: Vec<HeldBuffer>,
    pub sender: Sender,
}

/// What became of a frame that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onward {
    /// It left by this interface.
    Sent { ifindex: u32 },
    /// The program dropped it, or handed it over again, and counted that.
    Ended,
    /// The program would leave it to the kernel, which it cannot be given any more: its service or flow is gone.
    Homeless,
}

/// Sends frames through the program. One thread at a time: they share scratch memory there.
#[derive(Clone)]
pub struct Sender {
    program: Arc<OwnedFd>,
    at_tc: bool,
    socket: Arc<OwnedFd>,
    /// By which device an interface's frames leave.
    devices: Table<u32, [u32; 2]>,
}

impl Sender {
    /// Gives a frame back. `last`: the program must not hand it over once more. `leads_to` names the interface that a frame
    /// of these link-layer addresses, destination and source, leaves by; what it does not know goes where it came from.
    pub fn send(
        &self,
        frame: &HeldFrame,
        last: bool,
        leads_to: impl FnOnce(Mac, Mac) -> Option<u32>,
    ) -> io::Result<Onward> {
        let mark = if last { LAST_TRY } else { GIVEN_BACK };
        let came_in = frame.head.ifindex;
        let (fate, bytes) = if self.at_tc {
            self.through_tc(frame, mark)?
        } else {
            let metadata = mark.to_ne_bytes();
            let run = test_run::run_frame(self.program.as_fd(), &metadata, &frame.bytes, came_in)?;
            (Fate::of_xdp(run.returned), run.frame)
        };
        let ifindex = match fate {
            Fate::Back => came_in,
            Fate::Leaves => {
                let link =
                    Frame::new(bytes.clone()).at::<Ethernet>(0).map(|eth| (eth.dst(), eth.src()));
                link.and_then(|(to, from)| leads_to(to, from)).unwrap_or(came_in)
            }
            Fate::Passed => return Ok(Onward::Homeless),
            Fate::Ended => return Ok(Onward::Ended),
        };
        // A VLAN's frame has its tags by now.
        let device =
            self.devices.get(&ifindex).ok().flatten().map_or(ifindex, |[device, _]| device);
        sys::send_frame(self.socket.as_fd(), device, &bytes)?;
        Ok(Onward::Sent { ifindex })
    }

    fn through_tc(&self, frame: &HeldFrame, mark: u32) -> io::Result<(Fate, Vec<u8>)> {
        let mut bytes = frame.bytes.clone();
        half_made::finish(&mut bytes);
        let run = test_run::run_skb(self.program.as_fd(), mark, &bytes, frame.head.ifindex)?;
        Ok((Fate::of_tc(run.returned), run.frame))
    }
}

/// What a program says shall become of a frame.
pub(super) enum Fate {
    Passed,
    Ended,
    /// By the interface it came in by.
    Back,
    /// By the interface behind its next hop.
    Leaves,
}

impl Fate {
    /// `enum xdp_action`.
    pub(super) fn of_xdp(returned: u32) -> Self {
        match returned {
            2 => Self::Passed,
            3 => Self::Back,
            4 => Self::Leaves,
            _ => Self::Ended,
        }
    }

    /// `TC_ACT_*` of `include/uapi/linux/pkt_cls.h`: unspecified, and redirect.
    fn of_tc(returned: u32) -> Self {
        match returned.cast_signed() {
            -1 => Self::Passed,
            7 => Self::Leaves,
            _ => Self::Ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use lb_common::abi::HopId;

    use super::*;

    #[test]
    fn samples_are_read_across_the_buffers_end_and_without_the_kernels_padding() {
        let head = HeldHead { hop: HopId(3), ifindex: 2, len: 5, pad: 0 };
        let mut sample = bytemuck::bytes_of(&head).to_vec();
        sample.extend(b"frame\0\0\0");
        for cut in 0..=sample.len() {
            let frame = HeldFrame::of_sample(&sample[..cut], &sample[cut..]).unwrap();
            assert_eq!(frame, HeldFrame { head, bytes: b"frame".to_vec() });
        }
        assert_eq!(HeldFrame::of_sample(&sample[..20], &[]), None);
        assert_eq!(HeldFrame::of_sample(&[], &[]), None);
    }
}
